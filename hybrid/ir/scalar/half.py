"""Rounding of float32 to half precision in the algebra: integer code, the same on every CPU.

Invariant: `round_to` returns an f32 value exactly representable in the half type (or NaN), ties to
even; `pack` and `unpack` convert between such f32 values and their 16-bit patterns.
"""

from __future__ import annotations

import numpy as np

from ...core import dtypes as dt
from .program import Builder, Val

__all__ = ["round_to", "pack", "unpack"]


def _pack_bf16(s: Builder, x: Val) -> Val:
    u = s.bitcast(x, "u32")
    rounded = (u + (((u >> 16) & 1) + 0x7FFF)) >> 16
    return s.convert(s.select(x == x, rounded, (u >> 16) | 0x40), "u16")


def _pack_f16(s: Builder, x: Val) -> Val:
    u = s.bitcast(x, "u32")
    sign = (u >> 16) & 0x8000
    a = u & 0x7FFFFFFF
    # normal result: re-bias the exponent, round to nearest even on the 13 dropped bits
    normal = (a + (((a >> 13) & 1) + (0xFFF - (112 << 23) & 0xFFFFFFFF))) >> 13
    # subnormal result: adding 0.5 aligns the value so that the hardware rounds at 2**-24
    sub = s.bitcast(s.bitcast(a, "f32") + 0.5, "u32") - 0x3F000000
    h = s.select(a < 0x38800000, sub, normal)
    h = s.select(a >= 0x477FF000, s.const("u32", 0x7C00), h)
    h = s.select(a > 0x7F800000, s.const("u32", 0x7E00), h)
    return s.convert(h | sign, "u16")


def _unpack_f16(s: Builder, h: Val) -> Val:
    u = s.convert(h, "u32")
    sign, a = (u & 0x8000) << 16, (u & 0x7FFF) << 13
    normal = a + (112 << 23)
    special = a + (224 << 23)
    sub = s.bitcast(s.bitcast(a + (113 << 23), "f32") - s.bits("f32", 113 << 23), "u32")
    out = s.select(a >= (0x7C00 << 13), special, s.select(a < (0x0400 << 13), sub, normal))
    return s.bitcast(out | sign, "f32")


def pack(s: Builder, x: Val, d: np.dtype) -> Val:
    """The 16-bit pattern (u16) of an f32 value rounded to half type d."""
    return _pack_bf16(s, x) if d is dt.bfloat16 else _pack_f16(s, x)


def unpack(s: Builder, h: Val, d: np.dtype) -> Val:
    """The f32 value of a u16 pattern of half type d."""
    return s.bitcast(s.convert(h, "u32") << 16, "f32") if d is dt.bfloat16 else _unpack_f16(s, h)


def round_to(s: Builder, x: Val, d: np.dtype) -> Val:
    """x rounded to half type d, still as f32."""
    return unpack(s, pack(s, x, d), d)
