"""Values of any dtype as those that the kernels work on: converted, or as keys that order them.

Invariant: keys are unsigned integers; they are less, equal or greater as the values are, both zeros
being equal and NaN the largest, for each dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ....core import dtypes as dt
from ....core.shapes import contiguous_strides
from ....ir.scalar import half
from ....ir.scalar.compose import conversion, operand_type
from ....ir.scalar.program import TYPE, Builder, Program, Val
from ...plan import Access, LoopKernel
from .. import emit
from ..function import Card, GpuFunction
from .writer import Memory

__all__ = ["converted", "keys", "key_dtype", "moved", "plain"]


def plain(dtype: np.dtype) -> np.dtype:
    """The dtype that values of a dtype are compared in."""
    return dt.float32 if dt.is_half(dtype) else dtype


def key_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of keys of a plain dtype."""
    return dt.uint64 if dtype.itemsize == 8 else dt.uint32


def _value(builder: Builder, source: np.dtype, target: np.dtype) -> Val:
    read = builder.arg(operand_type(source))
    value = half.unpack(builder, read, source) if dt.is_half(source) else read
    return builder.convert(value, TYPE[target])


@lru_cache(None)
def _key(source: np.dtype, common: np.dtype, descending: bool) -> Program:
    builder = Builder()
    value, bits = _value(builder, source, common), 8 * key_dtype(common).itemsize
    unsigned, top = TYPE[key_dtype(common)], 1 << (bits - 1)
    if dt.is_float(common):
        number = builder.select(value == 0, 0.0, value)
        pattern = builder.bitcast(number, unsigned)
        key = builder.select(pattern >= top, ~pattern, pattern | top)
        key = builder.select(value == value, key, (1 << bits) - 1)
    elif dt.kind(common) == "i":
        key = (
            builder.bitcast(builder.convert(value, TYPE[np.dtype(f"i{bits // 8}")]), unsigned) ^ top
        )
    else:
        key = builder.convert(value, unsigned)
    return builder.program(~key if descending else key)


def _walked(
    program: Program,
    shape: Sequence[int],
    source: tuple[Memory, np.dtype],
    target: tuple[Memory, np.dtype],
    steps: Sequence[int],
    card: Card,
    guarded: bool,
) -> list[GpuFunction]:
    """A loop over contiguous values, whose results have these strides."""
    (read, kind), (written, made) = source, target
    loop = LoopKernel(
        tuple(shape),
        None,
        program,
        (Access(read.slot, kind, read.offset // kind.itemsize, contiguous_strides(shape)),),
        (Access(written.slot, made, written.offset // made.itemsize, tuple(steps)),),
    )
    return emit.generate(loop, card, written.slot, guarded)


def converted(
    count: int,
    source: tuple[Memory, np.dtype],
    target: tuple[Memory, np.dtype],
    card: Card,
    guarded: bool,
) -> list[GpuFunction]:
    """So many values in another dtype."""
    return _walked(conversion(source[1], target[1]), (count,), source, target, (1,), card, guarded)


def moved(
    shape: Sequence[int],
    source: Memory,
    target: Memory,
    steps: Sequence[int],
    card: Card,
    guarded: bool,
) -> list[GpuFunction]:
    """int64 values at the offsets that these strides say."""
    program = conversion(dt.int64, dt.int64)
    return _walked(program, shape, (source, dt.int64), (target, dt.int64), steps, card, guarded)


def keys(
    shape: Sequence[int],
    source: tuple[Memory, np.dtype],
    common: np.dtype,
    target: Memory,
    card: Card,
    guarded: bool,
    steps: Sequence[int] = (1,),
    descending: bool = False,
) -> list[GpuFunction]:
    """Keys that order values as their dtype `common` does."""
    program = _key(source[1], common, descending)
    return _walked(program, shape, source, (target, key_dtype(common)), steps, card, guarded)
