"""Rounding of float32 to half precision in the algebra: integer code, the same on every CPU.

Invariant: `round_to` returns an f32 value exactly representable in the half type (or NaN), ties to
even; `pack` and `unpack` convert between such f32 values and their 16-bit patterns.
"""

from __future__ import annotations

import numpy as np

from ...core import dtypes as dt
from .program import Builder, Val

__all__ = ["round_to", "pack", "unpack"]


def _pack_bf16(builder: Builder, value: Val) -> Val:
    bits = builder.bitcast(value, "u32")
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return builder.convert(builder.select(value == value, rounded, (bits >> 16) | 0x40), "u16")


def _pack_f16(builder: Builder, value: Val) -> Val:
    bits = builder.bitcast(value, "u32")
    sign = (bits >> 16) & 0x8000
    magnitude = bits & 0x7FFFFFFF
    # normal result: re-bias the exponent, round to nearest even on the 13 dropped bits
    normal = (magnitude + (((magnitude >> 13) & 1) + (0xFFF - (112 << 23) & 0xFFFFFFFF))) >> 13
    # subnormal result: adding 0.5 aligns the value so that the hardware rounds at 2**-24
    subnormal = builder.bitcast(builder.bitcast(magnitude, "f32") + 0.5, "u32") - 0x3F000000
    pattern = builder.select(magnitude < 0x38800000, subnormal, normal)
    pattern = builder.select(magnitude >= 0x477FF000, builder.const("u32", 0x7C00), pattern)
    pattern = builder.select(magnitude > 0x7F800000, builder.const("u32", 0x7E00), pattern)
    return builder.convert(pattern | sign, "u16")


def _unpack_f16(builder: Builder, pattern: Val) -> Val:
    bits = builder.convert(pattern, "u32")
    sign, magnitude = (bits & 0x8000) << 16, (bits & 0x7FFF) << 13
    normal = magnitude + (112 << 23)
    special = magnitude + (224 << 23)
    subnormal = builder.bitcast(
        builder.bitcast(magnitude + (113 << 23), "f32") - builder.bits("f32", 113 << 23), "u32"
    )
    result = builder.select(
        magnitude >= (0x7C00 << 13),
        special,
        builder.select(magnitude < (0x0400 << 13), subnormal, normal),
    )
    return builder.bitcast(result | sign, "f32")


def pack(builder: Builder, value: Val, dtype: np.dtype) -> Val:
    """The 16-bit pattern (u16) of an f32 value rounded to a half type."""
    return _pack_bf16(builder, value) if dtype is dt.bfloat16 else _pack_f16(builder, value)


def unpack(builder: Builder, pattern: Val, dtype: np.dtype) -> Val:
    """The f32 value of a u16 pattern of a half type."""
    return (
        builder.bitcast(builder.convert(pattern, "u32") << 16, "f32")
        if dtype is dt.bfloat16
        else _unpack_f16(builder, pattern)
    )


def round_to(builder: Builder, value: Val, dtype: np.dtype) -> Val:
    """A value rounded to a half type, still as f32."""
    return unpack(builder, pack(builder, value, dtype), dtype)
