"""logsumexp, softmax and log_softmax with SciPy's arguments, made of hybrid's own.

Invariant: `axis` is None for all axes, an int or a tuple; integers are computed as float32.
"""

from __future__ import annotations

import math as plain
from collections.abc import Callable
from typing import Any

from ...core import dtypes as dt
from ...core.shapes import normalize_axes
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ..axes.reduce import keep_shape
from ..axes.reduce import sum as sum_
from ..axes.rows import PEAK
from ..axes.rows import log_softmax as log_softmax_along
from ..axes.rows import logsumexp as logsumexp_plain
from ..axes.rows import softmax as softmax_along
from ..axes.views import broadcast_arrays, moveaxis, reshape
from ..base.surface import public
from ..elementwise.arithmetic import abs, add, multiply, sign, subtract
from ..elementwise.functions import exp, log
from ..elementwise.logic import equal, isfinite, less
from ..elementwise.selection import where

Tensor = Any
Ints = tuple[int, ...]


def _floating(operand: Any) -> Tensor:
    operand = as_tensor(operand)
    return operand if dt.is_float(operand.dtype) else astype(operand, dt.default_float)


def _as_rows(operand: Tensor, axes: Ints) -> Tensor:
    """The axes as one, the last."""
    last = tuple(range(operand.ndim - len(axes), operand.ndim))
    moved = moveaxis(operand, axes, last)
    kept = moved.shape[: operand.ndim - len(axes)]
    return reshape(moved, (*kept, plain.prod(moved.shape[len(kept) :])))


def _along(function: Callable[[Tensor], Tensor], x: Any, axis: Any, name: str) -> Tensor:
    """A function of the last axis over several axes."""
    x = _floating(x)
    axes = normalize_axes(axis, x.ndim, name)
    last = tuple(range(x.ndim - len(axes), x.ndim))
    shape = moveaxis(x, axes, last).shape
    return moveaxis(reshape(function(_as_rows(x, axes)), shape), last, axes)


@public(hybrid=False, special=True)
def softmax(x: Tensor, axis: Any = None) -> Tensor:
    """exp(x) divided by its sum over axes, all of them where axis is None; `hybrid.softmax` is over
    the last one.

    An axis is an int, a tuple, or None.  ShapeError for an axis out of range.

    >>> hybrid.special.softmax(hybrid.tensor([[0.0, 0.0], [0.0, 0.0]]))
    tensor([[0.25, 0.25],
            [0.25, 0.25]])
    """
    return _along(softmax_along, x, axis, "softmax")


@public(hybrid=False, special=True)
def log_softmax(x: Tensor, axis: Any = None) -> Tensor:
    """Logarithm of `softmax` over axes, all of them where axis is None.

    Arguments and errors are those of `softmax`.

    >>> hybrid.special.log_softmax(hybrid.tensor([0.0, 1.0, 200.0]))
    tensor([-200., -199.,    0.])
    """
    return _along(log_softmax_along, x, axis, "log_softmax")


def _weighted(a: Tensor, b: Tensor, axes: Ints) -> tuple[Tensor, Tensor]:
    """(log |s|, sign of s) with s the sum of b e^a; terms with b = 0 do not count."""
    a, b = broadcast_arrays(a, b)
    rows, weights = _as_rows(a, axes), _as_rows(b, axes)
    rows = where(equal(weights, 0.0), -plain.inf, rows)
    peak = bind(PEAK, rows, axes=(rows.ndim - 1, rows.ndim))
    peak = where(isfinite(peak), peak, 0.0)
    total = sum_(multiply(weights, exp(subtract(rows, reshape(peak, (*peak.shape, 1))))), axis=-1)
    return add(log(abs(total)), peak), sign(total)


@public(hybrid=False, special=True)
def logsumexp(
    a: Tensor, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """log(sum(b exp(a))) over axes without overflow; b is 1 where it is None.

    With return_sign the logarithm of the magnitude and the sign of the sum; without, a negative sum
    gives NaN.  An axis is an int, a tuple, or None for all; a and b broadcast.

    >>> hybrid.special.logsumexp(hybrid.tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    >>> hybrid.special.logsumexp(hybrid.tensor([1.0, 2.0]), b=hybrid.tensor([1.0, -1.0]),
    ...                          return_sign=True)
    (tensor(1.5413), tensor(-1.))
    """
    a = _floating(a)
    if b is None and not return_sign:
        return logsumexp_plain(a, axis, keepdims=keepdims)
    weights = _floating(1.0 if b is None else b)
    shape = broadcast_arrays(a, weights)[0].shape
    axes = normalize_axes(axis, len(shape), "logsumexp")
    result, signs = _weighted(a, weights, axes)
    if keepdims:
        result, signs = (reshape(part, keep_shape(shape, axes)) for part in (result, signs))
    return (result, signs) if return_sign else where(less(signs, 0.0), plain.nan, result)
