"""From an op's Contraction (ir/contract.py) to a GemmKernel: the one door for the eager backend and
lowering.

Invariant: eager and planned calls of an op get the same order, accumulator and epilogue here, hence
the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....core import dtypes as dt
from ....ir import half
from ....ir.contract import Contraction, View
from ....ir.scalar import TYPE, Builder, Program, Val
from ...plan import Access, GemmKernel, Operand

__all__ = ["kernel_of", "accumulator", "read_value", "written_value", "bias_program"]


def accumulator(d: np.dtype) -> np.dtype:
    """The dtype products of d are summed in."""
    if dt.is_half(d):
        return dt.float32
    if dt.is_float(d):
        return d
    return dt.int64 if d.itemsize == 8 else dt.int32


def read_value(s: Builder, d: np.dtype, acc: str) -> Val:
    """An epilogue operand of dtype d in the accumulator's type."""
    x = half.unpack(s, s.arg("u16"), d) if dt.is_half(d) else s.arg(TYPE[d])
    return s.convert(x, acc)


def written_value(s: Builder, x: Val, d: np.dtype) -> Val:
    """An accumulator-typed value as it is stored in dtype d (the one rounding)."""
    return half.pack(s, x, d) if dt.is_half(d) else s.convert(x, TYPE[d])


def bias_program(acc: np.dtype, bias: np.dtype, out: np.dtype) -> Program:
    """round(sum + bias)."""
    s = Builder()
    total = s.arg(TYPE[acc])
    return s.program(written_value(s, s.add(total, read_value(s, bias, TYPE[acc])), out))


def _operand(view: View, slot: int, d: np.dtype) -> Operand:
    return Operand(slot, d, view.offset, view.batch, view.rows, view.cols)


def kernel_of(
    c: Contraction,
    dtypes: Sequence[np.dtype],
    out_dtype: np.dtype,
    slots: Sequence[int] | None = None,
    out_slot: int | None = None,
) -> GemmKernel:
    """The kernel of a contraction of operands with these dtypes; operand i lies in slots[i]
    (default i) and the result in out_slot (default: after the operands)."""
    slots = range(len(dtypes)) if slots is None else slots
    out_slot = len(dtypes) if out_slot is None else out_slot
    acc = accumulator(dtypes[c.a.operand])
    out = _operand(c.out, out_slot, out_dtype)
    a = _operand(c.a, slots[c.a.operand], dtypes[c.a.operand])
    b = _operand(c.b, slots[c.b.operand], dtypes[c.b.operand])
    epilogue: Program | None = None
    reads: tuple[Access, ...] = ()
    if c.bias is not None:
        v, d = c.bias, dtypes[c.bias.operand]
        epilogue = bias_program(acc, d, out_dtype)
        strides = v.batch.strides + v.rows.strides + v.cols.strides
        reads = (Access(slots[v.operand], d, v.offset, strides),)
    return GemmKernel(c.batch, c.m, c.n, c.k, a, b, (out,), acc, c.order, epilogue, reads)
