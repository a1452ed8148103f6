"""From an op's Contraction (ir/contract.py) to the GemmKernel of an eager call.

Invariant: order, accumulator and rounding are those of ir/contract.py, which lowering uses too,
hence eager and planned calls of an op give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir.contract import Contraction, View, accumulator, rounded
from ..ir.scalar.compose import Composer
from ..ir.scalar.program import Program
from .plan import Access, GemmKernel, Operand

__all__ = ["kernel_of", "bias_program"]


def bias_program(acc: np.dtype, bias: np.dtype, out: np.dtype) -> Program:
    """round(sum + bias)."""
    c = Composer()
    total = c.arg(acc)
    return c.s.program(rounded(c.s, total, c.arg(bias), out))


def _operand(view: View, slot: int, d: np.dtype) -> Operand:
    return Operand(slot, d, view.offset, view.batch, view.rows, view.cols)


def kernel_of(c: Contraction, dtypes: Sequence[np.dtype], out_dtype: np.dtype) -> GemmKernel:
    """The kernel of a contraction of operands with these dtypes; operand i lies in slot i and the
    result in the slot after them."""
    acc = accumulator(dtypes[c.a.operand])
    out = _operand(c.out, len(dtypes), out_dtype)
    a = _operand(c.a, c.a.operand, dtypes[c.a.operand])
    b = _operand(c.b, c.b.operand, dtypes[c.b.operand])
    epilogue: Program | None = None
    reads: tuple[Access, ...] = ()
    if c.bias is not None:
        v, d = c.bias, dtypes[c.bias.operand]
        epilogue = bias_program(acc, d, out_dtype)
        strides = v.batch.strides + v.rows.strides + v.cols.strides
        reads = (Access(v.operand, d, v.offset, strides),)
    return GemmKernel(c.batch, c.m, c.n, c.k, a, b, (out,), acc, c.order, epilogue, reads)
