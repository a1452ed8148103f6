"""Contractions as data: what a record of kind 'contract' computes, as strided index spaces.

A contract record's `layout(avals, strides, offsets, **params)` is one of the functions below and
returns a Contraction; backends read nothing else.  Invariant: `order` depends on logical shapes
only, never on strides, so layout, tiling and threads cannot change a bit of the result; what a
product is summed in and how it is rounded is said here and nowhere else. Strides and offsets count
elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple

import numpy as np

from ..core import dtypes as dt
from ..core.aval import Aval
from ..core.errors import ShapeError
from ..core.shapes import broadcast_shapes, broadcast_strides, collapse, contiguous_strides
from .scalar import half
from .scalar.program import TYPE, Builder, Val

__all__ = [
    "SumOrder",
    "Dims",
    "View",
    "Contraction",
    "accumulator",
    "rounded",
    "matmul_layout",
    "linear_layout",
    "conv_layout",
    "conv_weight_layout",
    "matmul_shape",
    "linear_shape",
    "conv_shape",
    "conv_weight_shape",
]

SumOrder = Literal["chain", "lanes"]  # of the products of a contraction
Ints = tuple[int, ...]
Pair = tuple[int, int]


class Dims(NamedTuple):
    """A logical index split into row-major dimensions: index -> sum(coordinate * stride).
    Without dimensions the index has one value and adds nothing."""

    sizes: Ints
    strides: Ints

    @property
    def size(self) -> int:
        return prod(self.sizes)


class View(NamedTuple):
    """A factor, a bias or the result: element (b, i, j) is at offset + batch(b) + rows(i) + cols(j)
    of operand number `operand` (of the outputs: 0)."""

    operand: int
    offset: int
    batch: Dims
    rows: Dims
    cols: Dims


class Contraction(NamedTuple):
    """out[b, m, n] = sum over k of a[b, m, k] * b[b, k, n], plus bias[b, m, n] before the one
    rounding.

    `out` describes a fresh row-major result.  Operands walk an index by the same sizes: batch
    everywhere, rows of a, bias and out, cols of b, bias and out, cols of a and rows of b. `order`
    is GemmKernel's: 'chain' or 'lanes'.
    """

    batch: int
    m: int
    n: int
    k: int
    a: View
    b: View
    bias: View | None
    out: View
    order: SumOrder


# ---- numerics
def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which products of a dtype are summed.

    >>> accumulator(dt.bfloat16).name, accumulator(dt.int8).name, accumulator(dt.float64).name
    ('float32', 'int32', 'float64')
    """
    if dt.is_half(dtype):
        return dt.float32
    if dt.is_float(dtype):
        return dtype
    return dt.int64 if dtype.itemsize == 8 else dt.int32


def rounded(algebra: Builder, total: Val, bias: Val | None, dtype: np.dtype) -> Val:
    """What a contraction of a dtype stores: its sum plus the bias, rounded once; of half types the
    16-bit pattern.  `bias` is a value as ops see it (half types as f32)."""
    if bias is not None:
        total = algebra.add(total, algebra.convert(bias, total.type))
    return (
        half.pack(algebra, total, dtype)
        if dt.is_half(dtype)
        else algebra.convert(total, TYPE[dtype])
    )


class _Axes(NamedTuple):
    """Index spaces before collapsing: sizes, and strides for (a, b, bias, out)."""

    sizes: Ints
    strides: tuple[Ints, Ints, Ints, Ints]


def _dims(axes: _Axes) -> list[Dims]:
    sizes, strides = collapse(axes.sizes, axes.strides)
    return [Dims(sizes, s) for s in strides]


def _contraction(
    batch: _Axes,
    m: _Axes,
    n: _Axes,
    k: _Axes,
    offsets: Sequence[int],
    order: SumOrder,
    biased: bool = False,
    factors: Pair = (0, 1),
) -> Contraction:
    left_batch, right_batch, bias_batch, out_batch = _dims(batch)
    left_rows, _, bias_rows, out_rows = _dims(m)
    _, right_cols, bias_cols, out_cols = _dims(n)
    left_inner, right_inner, _, _ = _dims(k)
    bias_view = View(2, offsets[2], bias_batch, bias_rows, bias_cols) if biased else None
    left, right = factors
    return Contraction(
        prod(batch.sizes),
        prod(m.sizes),
        prod(n.sizes),
        prod(k.sizes),
        View(left, offsets[left], left_batch, left_rows, left_inner),
        View(right, offsets[right], right_batch, right_inner, right_cols),
        bias_view,
        View(0, 0, out_batch, out_rows, out_cols),
        order,
    )


def _zeros(count: int) -> Ints:
    return (0,) * count


# ---- matmul
def matmul_shape(left: Ints, right: Ints) -> Ints:
    """The shape of a @ b (NumPy's rules; 0-d operands are refused).

    >>> matmul_shape((5, 1, 2, 3), (4, 3, 7)), matmul_shape((3,), (3,)), matmul_shape((2, 3), (3,))
    ((5, 4, 2, 7), (), (2,))
    """
    if not left or not right:
        raise ShapeError("matmul: operands need at least one dimension; use multiply for scalars")
    inner = right[-2] if len(right) > 1 else right[0]
    if left[-1] != inner:
        raise ShapeError(
            f"matmul: shapes {left} and {right} do not fit: {left[-1]} columns meet {inner} rows"
        )
    batch = broadcast_shapes("matmul", left[:-2], right[:-2])
    return batch + (left[-2:-1] if len(left) > 1 else ()) + (right[-1:] if len(right) > 1 else ())


def matmul_layout(
    avals: Sequence[Aval], strides: Sequence[Ints], offsets: Sequence[int] = (0, 0)
) -> Contraction:
    """a @ b for every rank.  A batch that b does not have is part of the rows."""
    left, right = avals[0].shape, avals[1].shape
    left_steps, right_steps = tuple(strides[0]), tuple(strides[1])
    matmul_shape(left, right)
    if len(left) == 1:
        left, left_steps = (1,) + left, (0,) + left_steps
    if len(right) == 1:
        right, right_steps = right + (1,), right_steps + (0,)
    batch = broadcast_shapes("matmul", left[:-2], right[:-2])
    left_batch = broadcast_strides(left[:-2], left_steps[:-2], batch)
    right_batch = broadcast_strides(right[:-2], right_steps[:-2], batch)
    result_steps = contiguous_strides(batch + (left[-2], right[-1]))
    split = 0 if prod(right[:-2]) == 1 else len(batch)  # axes from `split` on go to the rows
    no_batch, rows = _zeros(split), batch[split:] + left[-2:-1]
    no_rows = _zeros(len(rows))
    return _contraction(
        _Axes(
            batch[:split], (left_batch[:split], right_batch[:split], no_batch, result_steps[:split])
        ),
        _Axes(
            rows, (left_batch[split:] + left_steps[-2:-1], no_rows, no_rows, result_steps[split:-1])
        ),
        _Axes(right[-1:], ((0,), right_steps[-1:], (0,), result_steps[-1:])),
        _Axes(left[-1:], (left_steps[-1:], right_steps[-2:-1], (0,), (0,))),
        offsets,
        "lanes" if right[-1] == 1 else "chain",
    )


# ---- linear
def linear_shape(rows: Ints, weight: Ints, bias: Ints | None = None) -> Ints:
    """The shape of x @ w.T + bias with w[out, in].

    >>> linear_shape((5, 2, 3), (7, 3))
    (5, 2, 7)
    """
    if len(weight) != 2 or not rows or rows[-1] != weight[1]:
        raise ShapeError(
            f"linear: x of shape {rows} does not fit a weight of shape {weight}; "
            "it takes x[..., in] and weight[out, in]"
        )
    if bias is not None and bias != (weight[0],):
        raise ShapeError(
            f"linear: bias has shape {bias}; a weight of shape {weight} takes ({weight[0]},)"
        )
    return rows[:-1] + (weight[0],)


def linear_layout(
    avals: Sequence[Aval], strides: Sequence[Ints], offsets: Sequence[int] = (0, 0, 0)
) -> Contraction:
    """x[..., in] @ w[out, in].T (+ bias[out]): all leading axes of x are rows."""
    given, weight = avals[0].shape, avals[1].shape
    biased = len(avals) > 2
    result = linear_shape(given, weight, avals[2].shape if biased else None)
    given_steps, weight_steps = tuple(strides[0]), tuple(strides[1])
    result_steps = contiguous_strides(result)
    bias_steps = tuple(strides[2]) if biased else (0,)
    rows = given[:-1]
    no_rows = _zeros(len(rows))
    summing_order: SumOrder = "lanes" if weight[0] == 1 or prod(rows) == 1 else "chain"
    return _contraction(
        _Axes((), ((), (), (), ())),
        _Axes(rows, (given_steps[:-1], no_rows, no_rows, result_steps[:-1])),
        _Axes(weight[:1], ((0,), weight_steps[:1], bias_steps, result_steps[-1:])),
        _Axes(weight[1:], (given_steps[-1:], weight_steps[1:], (0,), (0,))),
        offsets,
        summing_order,
        biased,
    )


# ---- convolution, over any number of spatial axes
def _check_channels(name: str, channels: int, weight: Ints, bias: Ints | None, groups: int) -> None:
    if groups < 1 or weight[1] * groups != channels or weight[0] % groups:
        raise ShapeError(
            f"{name}: {channels} channels, a weight of shape {weight} and {groups} groups "
            "do not fit"
        )
    if bias is not None and bias != (weight[0],):
        raise ShapeError(
            f"{name}: bias has shape {bias}; a weight of shape {weight} takes ({weight[0]},)"
        )


def conv_shape(
    images: Ints,
    weight: Ints,
    bias: Ints | None = None,
    *,
    stride: Ints | None = None,
    dilation: Ints | None = None,
    groups: int = 1,
    border: Ints = (),
) -> Ints:
    """The shape of the convolution of padded images x[N, C, *extents] with w[O, C / groups,
    *kernel].  A stride or dilation of None is 1 along every axis; `border` (before each axis, then
    behind each) says whose gradient nobody asks for.

    >>> conv_shape((2, 3, 8, 8), (16, 3, 3, 3), stride=(2, 2))
    (2, 16, 3, 3)
    """
    kernel, name = weight[2:], f"conv{len(weight) - 2}d"
    if len(images) != len(weight) or not kernel:
        raise ShapeError(
            f"{name} takes x[N, C, ...] and weight[O, C/groups, ...] of as many axes, not {images} "
            f"and {weight}"
        )
    _check_channels(name, images[1], weight, bias, groups)
    steps, gaps = (given or (1,) * len(kernel) for given in (stride, dilation))
    size = [
        (extent - gap * (taps - 1) - 1) // step + 1
        for extent, taps, step, gap in zip(images[2:], kernel, steps, gaps)
    ]
    if min(size) < 1:
        raise ShapeError(
            f"{name}: a kernel of {_written(kernel)} does not fit in a padded image of "
            f"{_written(images[2:])}"
        )
    return (images[0], weight[0], *size)


def _written(extents: Ints) -> str:
    return "x".join(map(str, extents))


def conv_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int] = (0, 0, 0),
    *,
    stride: Ints | None = None,
    dilation: Ints | None = None,
    groups: int = 1,
    border: Ints = (),
) -> Contraction:
    """w[O, (C, *kernel)] @ patches[(C, *kernel), outputs] per image and group, read in place from
    the already padded image."""
    images, weight = avals[0].shape, avals[1].shape
    biased = len(avals) > 2
    shapes = images, weight, avals[2].shape if biased else None
    result = conv_shape(*shapes, stride=stride, dilation=dilation, groups=groups)
    image_steps, kernel_steps, out = (
        tuple(strides[0]),
        tuple(strides[1]),
        contiguous_strides(result),
    )
    bias_step = tuple(strides[2])[0] if biased else 0
    outputs, channels = weight[0] // groups, weight[1]
    group = (0, outputs * kernel_steps[0]), (image_steps[0], channels * image_steps[1])
    group_out = (0, outputs * bias_step), (out[0], outputs * out[1])
    patch_steps = (image_steps[1], *_spread(image_steps, dilation))
    no_taps, no_place = _zeros(len(weight) - 1), _zeros(len(weight) - 2)
    return _contraction(
        _Axes((images[0], groups), (*group, *group_out)),
        _Axes((outputs,), ((kernel_steps[0],), (0,), (bias_step,), (out[1],))),
        _Axes(result[2:], (no_place, _spread(image_steps, stride), no_place, out[2:])),
        _Axes(weight[1:], (kernel_steps[1:], patch_steps, no_taps, no_taps)),
        offsets,
        "chain",
        biased,
        (1, 0),
    )


def _spread(image_steps: Ints, factors: Ints | None) -> Ints:
    """Steps along the spatial axes of images, that many elements each."""
    steps = image_steps[2:]
    return tuple([n * step for n, step in zip(factors, steps)]) if factors else steps


def conv_weight_shape(
    gradient: Ints,
    images: Ints,
    *,
    kernel: Ints,
    stride: Ints | None = None,
    dilation: Ints | None = None,
    groups: int = 1,
) -> Ints:
    """The shape of the weight gradient from the output gradient g[N, O, *outputs] and padded
    images x.

    >>> conv_weight_shape((2, 16, 3, 3), (2, 3, 8, 8), kernel=(3, 3), stride=(2, 2))
    (16, 3, 3, 3)
    """
    weight = (
        (gradient[1], images[1] // max(groups, 1), *kernel)
        if len(gradient) == len(images) == len(kernel) + 2
        else ()
    )
    if (
        not weight
        or conv_shape(images, weight, stride=stride, dilation=dilation, groups=groups) != gradient
    ):
        raise ShapeError(
            f"conv{len(kernel)}d: an output gradient {gradient}, images {images} and kernel "
            f"{kernel} do not fit"
        )
    return weight


def conv_weight_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int] = (0, 0),
    *,
    kernel: Ints,
    stride: Ints | None = None,
    dilation: Ints | None = None,
    groups: int = 1,
) -> Contraction:
    """g[O, (N, *outputs)] @ patches[(N, *outputs), (C, *kernel)] per group; inputs are (g, padded
    x)."""
    gradient, images = avals[0].shape, avals[1].shape
    weight = conv_weight_shape(
        gradient, images, kernel=kernel, stride=stride, dilation=dilation, groups=groups
    )
    given, image_steps, out = tuple(strides[0]), tuple(strides[1]), contiguous_strides(weight)
    outputs, channels = weight[0] // groups, weight[1]
    patch_steps = (image_steps[1], *_spread(image_steps, dilation))
    summed_steps = (given[0],) + given[2:], (image_steps[0], *_spread(image_steps, stride))
    none = _zeros(len(kernel) + 1)
    return _contraction(
        _Axes(
            (groups,),
            ((outputs * given[1],), (channels * image_steps[1],), (0,), (outputs * out[0],)),
        ),
        _Axes((outputs,), ((given[1],), (0,), (0,), (out[0],))),
        _Axes(weight[1:], (none, patch_steps, none, out[1:])),
        _Axes((gradient[0],) + gradient[2:], (*summed_steps, none, none)),
        offsets,
        "chain",
    )
