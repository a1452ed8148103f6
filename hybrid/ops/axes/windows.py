"""Views that repeat or thin out positions: sliding windows and diagonals, with their adjoints.

Invariant: as in movement.py, a layout is exact affine arithmetic in elements.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.errors import ShapeError
from ...core.shapes import contiguous_strides, normalize_axis
from ...ir.door.bind import as_tensor, bind
from ...ir.op import Op, PlaceOp, ViewOp, register
from ..base.common import SHAPE_ONLY, pair, shapes_of
from ..base.surface import public
from ..elementwise.arithmetic import add
from .reduce import sum as sum_
from .slices import embed, slice_
from .views import moveaxis

Ints = tuple[int, ...]
Tensor = Any


# ---- windows
def _windows(shape: Ints, kernel: Ints, stride: Ints, dilation: Ints) -> Ints:
    if min(kernel + stride + dilation) < 1:
        raise ShapeError(
            f"a window of {kernel} with stride {stride} and dilation {dilation}: they begin at 1"
        )
    result = tuple(
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(shape[-2:], kernel, stride, dilation)
    )
    if len(shape) < 2 or min(result) < 1:
        raise ShapeError(
            f"a window of {kernel} with dilation {dilation} does not fit shape {shape}"
        )
    return result


def _unfold_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, kernel: Ints, stride: Ints, dilation: Ints
) -> tuple[Tensor]:
    shape, rank = operand.shape, operand.ndim
    total = None
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            part = slice_(
                gradient, (0,) * rank + (i, j), gradient.shape[:-2] + (1, 1), drop=(rank, rank + 1)
            )
            begin = (0,) * (rank - 2) + (i * dilation[0], j * dilation[1])
            part = embed(part, shape, begin, (1,) * (rank - 2) + stride)
            total = part if total is None else add(total, part)
    return (total,)


def _unfold_reference(
    operand: np.ndarray, kernel: Ints, stride: Ints, dilation: Ints
) -> np.ndarray:
    full = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    windows = np.lib.stride_tricks.sliding_window_view(operand, full, (-2, -1))
    return windows[..., :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


UNFOLD = register(
    ViewOp(
        "unfold",
        1,
        lambda operand, kernel, stride, dilation: (
            operand.with_(
                operand.shape[:-2] + _windows(operand.shape, kernel, stride, dilation) + kernel
            ),
        ),
        layout=lambda operand, st, offset=0, *, kernel, stride, dilation: (
            offset,
            tuple(st[:-2])
            + (st[-2] * stride[0], st[-1] * stride[1], st[-2] * dilation[0], st[-1] * dilation[1]),
        ),
        params=("kernel", "stride", "dilation"),
        keeps=SHAPE_ONLY,
        vjp=_unfold_vjp,
        reference=_unfold_reference,
        samples=shapes_of(
            [
                ((2, 5, 6), {"kernel": (2, 3), "stride": (1, 2), "dilation": (2, 1)}),
                ((3, 3), {"kernel": (3, 3), "stride": (1, 1), "dilation": (1, 1)}),
            ]
        ),
        doc="Sliding windows over the last two axes: [..., H, W] -> [..., OH, OW, KH, KW].",
    )
)


@public
def unfold(x: Tensor, kernel: Any, stride: Any = 1, dilation: Any = 1) -> Tensor:
    """Sliding windows over the last two axes, as two new last axes.

    x[..., H, W] gives [..., OH, OW, KH, KW]; windows that overlap share their
    elements, without a copy.

    ShapeError where the kernel does not fit.

    >>> hybrid.unfold(hybrid.arange(12).reshape(3, 4), 2, stride=(1, 2)).shape
    (2, 2, 2, 2)
    >>> hybrid.unfold(hybrid.arange(12).reshape(3, 4), 2)[1, 2]
    tensor([[ 6,  7],
            [10, 11]])
    """
    return bind(
        UNFOLD,
        x,
        kernel=pair(kernel, "kernel"),
        stride=pair(stride, "stride"),
        dilation=pair(dilation, "dilation"),
    )


# ---- diagonals
def _diagonal_size(rows: int, cols: int, offset: int) -> int:
    return max(0, min(rows + min(offset, 0), cols - max(offset, 0)))


def _diagonal_at(offset: int, strides: Sequence[int]) -> int:
    return max(-offset, 0) * strides[-2] + max(offset, 0) * strides[-1]


def _diagonal_layout(operand: Aval, strides: Ints, offset: int = 0, *, k: int) -> tuple[int, Ints]:
    extent = _diagonal_size(operand.shape[-2], operand.shape[-1], k)
    return offset + (_diagonal_at(k, strides) if extent else 0), tuple(strides[:-2]) + (
        strides[-2] + strides[-1],
    )


def _put_diagonal_layout(operand: Aval, *, shape: Ints, k: int) -> list[tuple[int, Ints, Ints]]:
    steps = contiguous_strides(operand.shape[:-1] + shape)
    return [
        (
            _diagonal_at(k, steps) if operand.size else 0,
            operand.shape,
            steps[:-2] + (steps[-2] + steps[-1],),
        )
    ]


def _put_diagonal_reference(operand: np.ndarray, shape: Ints, k: int) -> np.ndarray:
    result = np.zeros(operand.shape[:-1] + shape, operand.dtype)
    positions = np.arange(operand.shape[-1])
    result[..., positions + max(-k, 0), positions + max(k, 0)] = operand
    return result


DIAGONAL = register(
    ViewOp(
        "diagonal",
        1,
        lambda operand, k: (
            operand.with_(
                operand.shape[:-2] + (_diagonal_size(operand.shape[-2], operand.shape[-1], k),)
            ),
        ),
        layout=_diagonal_layout,
        params=("k",),
        keeps=SHAPE_ONLY,
        vjp=lambda gradient, out, operand, k: (
            bind(EMBED_DIAGONAL, gradient, shape=operand.shape[-2:], k=k),
        ),
        reference=lambda operand, k: np.diagonal(operand, k, -2, -1),
        samples=shapes_of(
            [((3, 4), {"k": 1}), ((2, 4, 3), {"k": -2}), ((2, 2), {"k": 5}), ((0, 3), {"k": 0})]
        ),
        doc="Diagonal k of the last two axes.",
    )
)
EMBED_DIAGONAL: Op = register(
    PlaceOp(
        "embed_diagonal",
        1,
        lambda operand, shape, k: (operand.with_(operand.shape[:-1] + shape),),
        layout=_put_diagonal_layout,
        params=("shape", "k"),
        keeps=SHAPE_ONLY,
        facts=frozenset(["zeros"]),
        vjp=lambda gradient, out, operand, shape, k: (bind(DIAGONAL, gradient, k=k),),
        reference=_put_diagonal_reference,
        samples=shapes_of(
            [((3,), {"shape": (3, 4), "k": 1}), ((2, 1), {"shape": (3, 1), "k": -2})]
        ),
        doc="Zeros with x on diagonal k.",
    )
)


@public(method=True)
def diagonal(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal of two axes (the first two by default, as NumPy's; `hybrid.linalg.diagonal` is
    that of the last two), as a new last axis.

    ShapeError below two dimensions and for an axis out of range.

    >>> hybrid.diagonal(hybrid.arange(9).reshape(3, 3), offset=1)
    tensor([1, 5])
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"diagonal takes at least two dimensions, not shape {x.shape}")
    left, right = (
        normalize_axis(axis1, x.ndim, "diagonal"),
        normalize_axis(axis2, x.ndim, "diagonal"),
    )
    if left == right:
        raise ShapeError("diagonal: the two axes must differ")
    return bind(DIAGONAL, moveaxis(x, (left, right), (-2, -1)), k=operator.index(offset))


@public(method=True)
def trace(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Tensor:
    """Sum along the diagonal of two axes (the first two by default, as NumPy's;
    `hybrid.linalg.trace` is that of the last two), with the dtype rule of `sum`.

    ShapeError below two dimensions and for an axis out of range.

    >>> hybrid.trace(hybrid.arange(9).reshape(3, 3))
    tensor(12)
    """
    return sum_(diagonal(x, offset, axis1, axis2), axis=-1, dtype=dtype)


@public(hybrid=False, linalg="diagonal")
def matrix_diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonals of matrices, which are the last two axes (array API).

    ShapeError below two dimensions.

    >>> hybrid.linalg.diagonal(hybrid.arange(8).reshape(2, 2, 2))
    tensor([[0, 3],
            [4, 7]])
    """
    return diagonal(x, offset, -2, -1)


@public(hybrid=False, linalg="trace")
def matrix_trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sums along the diagonals of matrices, which are the last two axes (array API), with the
    dtype rule of `sum`.

    ShapeError below two dimensions.

    >>> hybrid.linalg.trace(hybrid.arange(8).reshape(2, 2, 2))
    tensor([ 3, 11])
    """
    return trace(x, offset, -2, -1, dtype)


@public
def embed_diagonal(x: Tensor, offset: int = 0) -> Tensor:
    """Square matrices with the last axis of x on diagonal `offset` (torch.diag_embed).

    x[..., n] gives [..., n + |offset|, n + |offset|].

    >>> hybrid.embed_diagonal(hybrid.tensor([1, 2]), offset=1)
    tensor([[0, 1, 0],
            [0, 0, 2],
            [0, 0, 0]])
    """
    extent = x.shape[-1] + abs(operator.index(offset))
    return bind(EMBED_DIAGONAL, x, shape=(extent, extent), k=operator.index(offset))
