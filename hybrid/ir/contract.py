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
    "conv2d_layout",
    "conv2d_weight_layout",
    "matmul_shape",
    "linear_shape",
    "conv2d_shape",
    "conv2d_weight_shape",
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
def accumulator(d: np.dtype) -> np.dtype:
    """The dtype in which products of d are summed.

    >>> accumulator(dt.bfloat16).name, accumulator(dt.int8).name, accumulator(dt.float64).name
    ('float32', 'int32', 'float64')
    """
    if dt.is_half(d):
        return dt.float32
    if dt.is_float(d):
        return d
    return dt.int64 if d.itemsize == 8 else dt.int32


def rounded(s: Builder, total: Val, bias: Val | None, d: np.dtype) -> Val:
    """What a contraction of dtype d stores: its sum plus the bias, rounded once; of half types the
    16-bit pattern.  `bias` is a value as ops see it (half types as f32)."""
    if bias is not None:
        total = s.add(total, s.convert(bias, total.type))
    return half.pack(s, total, d) if dt.is_half(d) else s.convert(total, TYPE[d])


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
    ba, bb, bc, bo = _dims(batch)
    ma, _, mc, mo = _dims(m)
    _, nb, nc, no = _dims(n)
    ka, kb, _, _ = _dims(k)
    bias = View(2, offsets[2], bc, mc, nc) if biased else None
    fa, fb = factors
    return Contraction(
        prod(batch.sizes),
        prod(m.sizes),
        prod(n.sizes),
        prod(k.sizes),
        View(fa, offsets[fa], ba, ma, ka),
        View(fb, offsets[fb], bb, kb, nb),
        bias,
        View(0, 0, bo, mo, no),
        order,
    )


def _zeros(n: int) -> Ints:
    return (0,) * n


# ---- matmul
def matmul_shape(a: Ints, b: Ints) -> Ints:
    """The shape of a @ b (NumPy's rules; 0-d operands are refused).

    >>> matmul_shape((5, 1, 2, 3), (4, 3, 7)), matmul_shape((3,), (3,)), matmul_shape((2, 3), (3,))
    ((5, 4, 2, 7), (), (2,))
    """
    if not a or not b:
        raise ShapeError("matmul: operands need at least one dimension; use multiply for scalars")
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise ShapeError(
            f"matmul: shapes {a} and {b} do not fit: {a[-1]} columns meet {inner} rows"
        )
    batch = broadcast_shapes("matmul", a[:-2], b[:-2])
    return batch + (a[-2:-1] if len(a) > 1 else ()) + (b[-1:] if len(b) > 1 else ())


def matmul_layout(
    avals: Sequence[Aval], strides: Sequence[Ints], offsets: Sequence[int] = (0, 0)
) -> Contraction:
    """a @ b for every rank.  A batch that b does not have is part of the rows."""
    a, b = avals[0].shape, avals[1].shape
    sa, sb = tuple(strides[0]), tuple(strides[1])
    matmul_shape(a, b)
    if len(a) == 1:
        a, sa = (1,) + a, (0,) + sa
    if len(b) == 1:
        b, sb = b + (1,), sb + (0,)
    batch = broadcast_shapes("matmul", a[:-2], b[:-2])
    ga = broadcast_strides(a[:-2], sa[:-2], batch)
    gb = broadcast_strides(b[:-2], sb[:-2], batch)
    so = contiguous_strides(batch + (a[-2], b[-1]))
    split = 0 if prod(b[:-2]) == 1 else len(batch)  # axes from `split` on go to the rows
    zb, rows = _zeros(split), batch[split:] + a[-2:-1]
    zm = _zeros(len(rows))
    return _contraction(
        _Axes(batch[:split], (ga[:split], gb[:split], zb, so[:split])),
        _Axes(rows, (ga[split:] + sa[-2:-1], zm, zm, so[split:-1])),
        _Axes(b[-1:], ((0,), sb[-1:], (0,), so[-1:])),
        _Axes(a[-1:], (sa[-1:], sb[-2:-1], (0,), (0,))),
        offsets,
        "lanes" if b[-1] == 1 else "chain",
    )


# ---- linear
def linear_shape(x: Ints, w: Ints, bias: Ints | None = None) -> Ints:
    """The shape of x @ w.T + bias with w[out, in].

    >>> linear_shape((5, 2, 3), (7, 3))
    (5, 2, 7)
    """
    if len(w) != 2 or not x or x[-1] != w[1]:
        raise ShapeError(
            f"linear: x of shape {x} does not fit a weight of shape {w}; "
            "it takes x[..., in] and weight[out, in]"
        )
    if bias is not None and bias != (w[0],):
        raise ShapeError(f"linear: bias has shape {bias}; a weight of shape {w} takes ({w[0]},)")
    return x[:-1] + (w[0],)


def linear_layout(
    avals: Sequence[Aval], strides: Sequence[Ints], offsets: Sequence[int] = (0, 0, 0)
) -> Contraction:
    """x[..., in] @ w[out, in].T (+ bias[out]): all leading axes of x are rows."""
    x, w = avals[0].shape, avals[1].shape
    biased = len(avals) > 2
    out = linear_shape(x, w, avals[2].shape if biased else None)
    sx, sw, so = tuple(strides[0]), tuple(strides[1]), contiguous_strides(out)
    sc = tuple(strides[2]) if biased else (0,)
    rows = x[:-1]
    zm = _zeros(len(rows))
    order: SumOrder = "lanes" if w[0] == 1 or prod(rows) == 1 else "chain"
    return _contraction(
        _Axes((), ((), (), (), ())),
        _Axes(rows, (sx[:-1], zm, zm, so[:-1])),
        _Axes(w[:1], ((0,), sw[:1], sc, so[-1:])),
        _Axes(w[1:], (sx[-1:], sw[1:], (0,), (0,))),
        offsets,
        order,
        biased,
    )


# ---- two-dimensional convolution
def conv2d_shape(
    x: Ints,
    w: Ints,
    bias: Ints | None = None,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Ints:
    """The shape of the convolution of padded images x[N, C, H, W] with w[O, C / groups, KH, KW].

    >>> conv2d_shape((2, 3, 8, 8), (16, 3, 3, 3), stride=(2, 2))
    (2, 16, 3, 3)
    """
    if len(x) != 4 or len(w) != 4:
        raise ShapeError(
            f"conv2d takes x[N, C, H, W] and weight[O, C/groups, KH, KW], not {x} and {w}"
        )
    if groups < 1 or w[1] * groups != x[1] or w[0] % groups:
        raise ShapeError(
            f"conv2d: {x[1]} channels, a weight of shape {w} and {groups} groups do not fit"
        )
    if bias is not None and bias != (w[0],):
        raise ShapeError(f"conv2d: bias has shape {bias}; a weight of shape {w} takes ({w[0]},)")
    size = [(x[2 + i] - dilation[i] * (w[2 + i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    if min(size) < 1:
        raise ShapeError(
            f"conv2d: a kernel of {w[2]}x{w[3]} does not fit in a padded image of {x[2]}x{x[3]}"
        )
    return (x[0], w[0], size[0], size[1])


def conv2d_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int] = (0, 0, 0),
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Contraction:
    """w[O, (C, KH, KW)] @ patches[(C, KH, KW), (OH, OW)] per image and group, read in place from
    the already padded image."""
    x, w = avals[0].shape, avals[1].shape
    biased = len(avals) > 2
    out = conv2d_shape(
        x, w, avals[2].shape if biased else None, stride=stride, dilation=dilation, groups=groups
    )
    sx, sw, so = tuple(strides[0]), tuple(strides[1]), contiguous_strides(out)
    sc = tuple(strides[2])[0] if biased else 0
    og, cg = w[0] // groups, w[1]
    return _contraction(
        _Axes(
            (x[0], groups),
            ((0, og * sw[0]), (sx[0], cg * sx[1]), (0, og * sc), (so[0], og * so[1])),
        ),
        _Axes((og,), ((sw[0],), (0,), (sc,), (so[1],))),
        _Axes(out[2:], ((0, 0), (stride[0] * sx[2], stride[1] * sx[3]), (0, 0), so[2:])),
        _Axes(
            w[1:], (sw[1:], (sx[1], dilation[0] * sx[2], dilation[1] * sx[3]), _zeros(3), _zeros(3))
        ),
        offsets,
        "chain",
        biased,
        (1, 0),
    )


def conv2d_weight_shape(
    g: Ints,
    x: Ints,
    *,
    kernel: Pair,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Ints:
    """The shape of the weight gradient from the output gradient g[N, O, OH, OW] and padded images
    x.

    >>> conv2d_weight_shape((2, 16, 3, 3), (2, 3, 8, 8), kernel=(3, 3), stride=(2, 2))
    (16, 3, 3, 3)
    """
    w = (g[1], x[1] // max(groups, 1), *kernel) if len(g) == 4 and len(x) == 4 else ()
    if not w or conv2d_shape(x, w, stride=stride, dilation=dilation, groups=groups) != g:
        raise ShapeError(
            f"conv2d_weight_grad: gradient {g}, images {x} and kernel {kernel} do not fit"
        )
    return w


def conv2d_weight_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int] = (0, 0),
    *,
    kernel: Pair,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Contraction:
    """g[O, (N, OH, OW)] @ patches[(N, OH, OW), (C, KH, KW)] per group; inputs are (g, padded x)."""
    g, x = avals[0].shape, avals[1].shape
    w = conv2d_weight_shape(g, x, kernel=kernel, stride=stride, dilation=dilation, groups=groups)
    sg, sx, so = tuple(strides[0]), tuple(strides[1]), contiguous_strides(w)
    og, cg = w[0] // groups, w[1]
    return _contraction(
        _Axes((groups,), ((og * sg[1],), (cg * sx[1],), (0,), (og * so[0],))),
        _Axes((og,), ((sg[1],), (0,), (0,), (so[0],))),
        _Axes(
            w[1:], (_zeros(3), (sx[1], dilation[0] * sx[2], dilation[1] * sx[3]), _zeros(3), so[1:])
        ),
        _Axes(
            (g[0],) + g[2:],
            (
                (sg[0],) + sg[2:],
                (sx[0], stride[0] * sx[2], stride[1] * sx[3]),
                _zeros(3),
                _zeros(3),
            ),
        ),
        offsets,
        "chain",
    )
