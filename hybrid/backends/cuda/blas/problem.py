"""A product as a library is asked for it.

Invariant: the algorithm depends on the `Problem` alone, which says nothing of distances in memory;
so eager calls and plans, which may lay operands out in different ways, sum in the same order.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np

from ....core import dtypes as dt
from ...plan import GemmKernel

__all__ = ["ALIGNMENT", "MatrixLayout", "Problem", "alignment", "is_for_library", "tight"]

ALIGNMENT = 16  # bytes that starts of operands are multiples of
LEAST = 16  # rows, columns and steps of a product that is worth a library's call


class Problem(NamedTuple):
    """out[p, i, j] = sum over k of left[p, i, k] * right[p, k, j], plus bias[j] where `biased`,
    rounded once.  A factor is `turned` where the other of its last two indices is the one whose
    neighbours lie side by side."""

    dtype: np.dtype
    batch: int
    m: int
    n: int
    k: int
    left_turned: bool
    right_turned: bool
    biased: bool


class MatrixLayout(NamedTuple):
    """Elements from line to line of a matrix (rows, or columns where it is turned), and from
    product to product."""

    line: int
    batch: int


def tight(problem: Problem) -> tuple[MatrixLayout, MatrixLayout, MatrixLayout]:
    """Left, right and result without gaps."""
    batch, m, n, k = problem[1:5]
    many = batch > 1
    return (
        MatrixLayout(m if problem.left_turned else k, m * k * many),
        MatrixLayout(k if problem.right_turned else n, k * n * many),
        MatrixLayout(n, m * n * many),
    )


def alignment(layout: MatrixLayout, itemsize: int) -> int:
    """Bytes that all lines start at a multiple of, if the first one does."""
    return gcd(ALIGNMENT, layout.line * itemsize, layout.batch * itemsize)


def _of_columns(kernel: GemmKernel) -> bool:
    """Whether the bias has the factors' dtype and differs from column to column only."""
    read, columns = kernel.reads[0], len(kernel.outs[0].cols.sizes)
    return read.dtype is kernel.a.dtype and not any(read.strides[: len(read.strides) - columns])


def is_for_library(kernel: GemmKernel) -> bool:
    """Whether a product goes to the library where there is one; sizes and dtypes decide."""
    left, right = kernel.a.dtype, kernel.b.dtype
    if left is not right or not (dt.is_half(left) or kernel.fast):
        return False
    if kernel.order != "chain" or len(kernel.a.cols.sizes) != 1 or not kernel.batch:
        return False
    if kernel.biased and not _of_columns(kernel):
        return False
    return min(kernel.m, kernel.n, kernel.k) >= LEAST
