"""Convolutions and correlations of sequences, inner products, windows for spectra.

Invariant: a convolution is one of images of height 1.  Windows are computed in float64 and rounded
once; one point has the weight 1.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.floating import plainly
from ...ir.door.bind import as_tensor, operands
from ...ir.door.bind import convert as astype
from ..axes.slices import embed, flip, narrow
from ..axes.views import reshape
from ..axes.windows import unfold
from ..base.surface import public
from ..build.create import arange, ones
from ..build.pairs import complex_of, conjugate, parts_of
from ..elementwise.arithmetic import abs, add, multiply, subtract
from ..elementwise.logic import not_equal
from ..elementwise.trigonometry import cos
from ..products.contract import matmul, tensordot, vecdot
from ..products.convolution import conv2d

Tensor = Any
MODES = ("full", "same", "valid")


def _range(left: int, right: int, mode: str) -> tuple[int, int]:
    """Where in the full convolution of two sizes the result of a mode begins, and its size."""
    if mode == "full":
        return 0, left + right - 1
    short, long = min(left, right), max(left, right)
    return ((short - 1) // 2, long) if mode == "same" else (short - 1, long - short + 1)


def convolved(left: Tensor, right: Tensor, mode: str) -> Tensor:
    """The convolution of two sequences of one dtype; of complex ones, four of their parts."""
    if dt.is_complex(left.dtype):
        (a, b), (c, d) = parts_of(left), parts_of(right)
        real_part = subtract(convolved(a, c, mode), convolved(b, d, mode))
        return complex_of(real_part, add(convolved(a, d, mode), convolved(b, c, mode)))
    begin, size = _range(left.shape[0], right.shape[0], mode)
    if left.shape[0] < right.shape[0]:
        left, right = right, left
    if left.dtype is dt.bool_:
        whole = convolved(astype(left, dt.default_int), astype(right, dt.default_int), mode)
        return not_equal(whole, 0)
    if dt.is_int(left.dtype):  # images are floats
        more = right.shape[0] - 1
        spread = embed(left, (left.shape[0] + 2 * more,), (more,), (1,))
        windows = unfold(reshape(spread, (1, spread.size)), (1, right.shape[0]))
        found = matmul(reshape(windows, (-1, right.shape[0])), flip(right))
        return narrow(found, 0, begin, size)
    images, kernel = (reshape(t, (1, 1, 1, t.size)) for t in (left, flip(right)))
    found = reshape(conv2d(images, kernel, padding=(0, right.shape[0] - 1)), (-1,))
    return found if size == found.size else narrow(found, 0, begin, size)


def _sequences(what: str, a: Any, v: Any, mode: str) -> tuple[Tensor, Tensor]:
    if mode not in MODES:
        raise ArgumentError(f"{what}: mode {mode!r} is none of 'full', 'same' and 'valid'")
    left, right = operands(a, v)
    left, right = (reshape(t, (1,)) if t.ndim == 0 else t for t in (left, right))
    if left.ndim != 1 or right.ndim != 1 or not left.size or not right.size:
        raise ShapeError(
            f"{what} takes sequences that are not empty, not shapes {left.shape} and {right.shape}"
        )
    wanted = dt.promote(left.dtype, right.dtype)
    return astype(left, wanted), astype(right, wanted)


@public
def convolve(a: Any, v: Any, mode: str = "full") -> Tensor:
    """The convolution of two sequences: sum over k of a[k] * v[n - k].

    mode 'full' gives all len(a) + len(v) - 1 results, 'same' the middle max(len(a), len(v)) of
    them, 'valid' those where the sequences overlap completely.  Dtypes promote.  ShapeError for
    operands that are empty or have more than one dimension.

    >>> hybrid.convolve(hybrid.tensor([1.0, 2.0, 3.0]), [0.0, 1.0, 0.5])
    tensor([0. , 1. , 2.5, 4. , 1.5])
    """
    left, right = _sequences("convolve", a, v, mode)
    return convolved(left, right, mode)


@public
def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    """The cross-correlation of two sequences: sum over n of a[n + k] * conj(v[n]); modes are those
    of `convolve`.

    >>> hybrid.correlate(hybrid.tensor([1.0, 2.0, 3.0]), [0.0, 1.0, 0.5], "same")
    tensor([2. , 3.5, 3. ])
    """
    left, right = _sequences("correlate", a, v, mode)
    right = conjugate(right)
    if left.shape[0] < right.shape[0]:  # NumPy exchanges them, which moves the middle
        return flip(convolved(right, flip(left), mode))
    return convolved(left, flip(right), mode)


@public
def inner(a: Any, b: Any, /) -> Tensor:
    """Sums of products over the last axes of a and b; products where one of them is 0-d.

    The result has a's other axes, then b's.  ShapeError where the last axes differ in size.

    >>> hybrid.inner(hybrid.tensor([[1, 2], [3, 4]]), hybrid.tensor([10, 1]))
    tensor([12, 34])
    """
    a, b = operands(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    if a.ndim == 1 or b.ndim == 1:
        return matmul(a, b) if b.ndim == 1 else matmul(b, a)
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))


@public
def vdot(a: Any, b: Any, /) -> Tensor:
    """The sum of products of the elements of two flattened tensors of one size, of complex ones
    with the conjugate of a.

    >>> hybrid.vdot(hybrid.tensor([[1, 2], [3, 4]]), hybrid.tensor([[1, 1], [10, 10]]))
    tensor(73)
    """
    a, b = operands(a, b)
    return vecdot(reshape(a, (a.size,)), reshape(b, (b.size,)))


# ---- windows
def _window(size: Any, weights: tuple[float, ...], dtype: Any, device: Any) -> Tensor:
    """Cosines of 0, 1, ... periods over the points, by their weights."""
    count = operator.index(size) if hasattr(size, "__index__") else math.ceil(size)
    wanted = dt.canonical(dtype or dt.default_float)
    if count <= 1:
        return ones((max(count, 0),), dtype=wanted, device=device)
    places = arange(1 - count, count, 2, dtype=dt.float64, device=device)
    found: Any = weights[0]
    for periods, weight in enumerate(weights[1:], 1):
        angles = multiply(places, periods * math.pi / (count - 1))
        found = add(multiply(cos(angles), weight), found)
    return astype(found, wanted)


@public
def hanning(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Hann window of M points: 0.5 - 0.5 cos(2 pi n / (M - 1)).

    >>> hybrid.hanning(5)
    tensor([0. , 0.5, 1. , 0.5, 0. ])
    """
    return _window(M, (0.5, 0.5), dtype, device)


@public
def hamming(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Hamming window of M points: 0.54 - 0.46 cos(2 pi n / (M - 1)).

    >>> hybrid.hamming(5)
    tensor([0.08, 0.54, 1.  , 0.54, 0.08])
    """
    return _window(M, (0.54, 0.46), dtype, device)


@public
def blackman(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Blackman window of M points: 0.42 - 0.5 cos(u) + 0.08 cos(2 u) with u = 2 pi n / (M - 1).

    >>> hybrid.blackman(5).round(2)
    tensor([-0.  ,  0.34,  1.  ,  0.34, -0.  ])
    """
    return _window(M, (0.42, 0.5, 0.08), dtype, device)


@public
def bartlett(M: int, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The triangle of M points from 0 to 1 and back.

    >>> hybrid.bartlett(5)
    tensor([0. , 0.5, 1. , 0.5, 0. ])
    """
    count = operator.index(M) if hasattr(M, "__index__") else math.ceil(M)
    if count <= 1:
        return _window(count, (1.0,), dtype, device)
    places = arange(1 - count, count, 2, dtype=dt.float64, device=device)
    found = subtract(1.0, multiply(abs(places), 1.0 / (count - 1)))
    return astype(found, dt.canonical(dtype or dt.default_float))


@public
def kaiser(M: int, beta: float, *, dtype: Any = None, device: Any = None) -> Tensor:  # noqa: N803
    """The Kaiser window of M points: I0(beta sqrt(1 - (2 n / (M - 1) - 1)^2)) / I0(beta), with the
    modified Bessel function I0; its weights are computed on the host.

    >>> hybrid.kaiser(5, 14.0)
    tensor([7.7269e-06, 1.6493e-01, 1.0000e+00, 1.6493e-01, 7.7269e-06])
    """
    wanted = dt.canonical(dtype or dt.default_float)
    weights = plainly(np.kaiser, M, float(beta)).astype(np.float64)
    return astype(as_tensor(weights, ones((), device=device).device), wanted)
