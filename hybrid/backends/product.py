"""From an op's Contraction (ir/contract.py) to the GemmKernel of an eager call.

Invariant: order, accumulator and rounding are those of ir/contract.py, which lowering uses too,
hence eager and planned calls of an op give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import dtypes as dt
from ..core.precision import MATMUL
from ..ir.contract import Contraction, View, accumulator, rounded
from ..ir.scalar.compose import Composer
from ..ir.scalar.program import Builder, Program, ScalarType
from .plan import Access, GemmKernel, Operand

__all__ = ["kernel_of", "bias_program", "epilogue_of", "may_be_fast"]


def may_be_fast(dtype: np.dtype) -> bool:
    """Whether products of a dtype may lose precision under the setting that is in force."""
    return MATMUL.fast and dtype is dt.float32


def bias_program(acc: np.dtype, bias: np.dtype, out: np.dtype) -> Program:
    """round(sum + bias)."""
    composer = Composer()
    total = composer.arg(acc)
    return composer.s.program(rounded(composer.s, total, composer.arg(bias), out))


def epilogue_of(kernel: GemmKernel, total: ScalarType) -> Program | None:
    """The program to run on finished sums, which are `total`s; None when they are stored as they
    are."""
    if kernel.epilogue is not None:
        return kernel.epilogue
    out = kernel.outs[0].dtype
    if not dt.is_half(out) and out.itemsize == kernel.acc.itemsize:
        return None
    builder = Builder()
    return builder.program(rounded(builder, builder.arg(total), None, out))


def _operand(view: View, slot: int, dtype: np.dtype) -> Operand:
    return Operand(slot, dtype, view.offset, view.batch, view.rows, view.cols)


def kernel_of(
    contraction: Contraction, dtypes: Sequence[np.dtype], out_dtype: np.dtype
) -> GemmKernel:
    """The kernel of a contraction of operands with these dtypes; operand i lies in slot i and the
    result in the slot after them."""
    left, right, bias = contraction.a, contraction.b, contraction.bias
    acc = accumulator(dtypes[left.operand])
    epilogue: Program | None = None
    reads: tuple[Access, ...] = ()
    if bias is not None:
        dtype = dtypes[bias.operand]
        epilogue = bias_program(acc, dtype, out_dtype)
        strides = bias.batch.strides + bias.rows.strides + bias.cols.strides
        reads = (Access(bias.operand, dtype, bias.offset, strides),)
    return GemmKernel(
        contraction.batch,
        contraction.m,
        contraction.n,
        contraction.k,
        _operand(left, left.operand, dtypes[left.operand]),
        _operand(right, right.operand, dtypes[right.operand]),
        (_operand(contraction.out, len(dtypes), out_dtype),),
        acc,
        contraction.order,
        epilogue,
        reads,
        biased=bias is not None,
        fast=may_be_fast(dtypes[left.operand]),
    )
