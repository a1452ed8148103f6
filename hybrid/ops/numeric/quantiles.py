"""Medians and quantiles, of all elements and of those that are not NaN.

Invariant: results are selected elements, or lie between two of them; gradients go to these and, by
the slope between the two, to the quantile that was asked for.
Places are computed in float64, whatever the dtype (R. J. Hyndman and Y. Fan, Sample Quantiles in
Statistical Packages, The American Statistician 50, 1996).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.shapes import normalize_axes
from ...ir.door.bind import as_tensor, grad_enabled
from ...ir.door.bind import convert as astype
from ...ir.tensor import Handle
from ..axes.cumulative import cumulative_sum
from ..axes.extremes import any as any_
from ..axes.reduce import mean
from ..axes.reduce import sum as sum_
from ..axes.slices import narrow
from ..axes.views import broadcast_to, expand_dims, moveaxis, reshape
from ..base.common import real_only
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, subtract
from ..elementwise.logic import equal, greater_equal, isnan, less, logical_and, logical_not
from ..elementwise.rounding import ceil, floor, remainder
from ..elementwise.rounding import round as round_
from ..elementwise.selection import maximum, minimum, where
from ..indexing.along import take_along_axis
from ..indexing.sort import argsort
from .ranks import elements_at, floating, lines

Ints = tuple[int, ...]
Tensor = Any
# method -> the alpha and beta of its places
_SPREAD = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
_EXACT = ("lower", "higher", "nearest", "inverted_cdf", "closest_observation")
_METHODS = (*_EXACT, *_SPREAD, "linear", "midpoint", "averaged_inverted_cdf")
_TENSORS = SimpleNamespace(
    floor=floor,
    ceil=ceil,
    round=round_,
    where=where,
    remainder=remainder,
    maximum=maximum,
    minimum=minimum,
)


# ---- places
def _exact_place(math: Any, count: Any, share: Any, method: str) -> Any:
    """The place of a method that picks one element; `math` holds NumPy's functions or tensors'."""
    if method == "inverted_cdf":
        return math.maximum(math.ceil(count * share - 1), 0.0)
    if method == "closest_observation":
        virtual = count * share - 1.5
        below = math.floor(virtual)
        odd = (virtual == below) & (math.remainder(below, 2.0) == 1)
        return math.maximum(math.where(odd, below, below + 1), 0.0)
    place = (count - 1) * share
    return {"lower": math.floor, "higher": math.ceil, "nearest": math.round}[method](place)


def _virtual_place(math: Any, count: Any, share: Any, method: str) -> tuple[Any, Any]:
    """The place of a method that lies between elements, and the share of the upper one."""
    if method in _SPREAD:
        alpha, beta = _SPREAD[method]
        virtual = count * share + (alpha + share * (1 - alpha - beta)) - 1
    elif method == "averaged_inverted_cdf":
        virtual = count * share - 1
        return virtual, math.where(virtual == math.floor(virtual), 0.5, 1.0)
    else:
        virtual = (count - 1) * share
    if method == "midpoint":
        virtual = (math.floor(virtual) + math.ceil(virtual)) * 0.5
        return virtual, math.where(virtual == math.floor(virtual), 0.0, 0.5)
    return virtual, virtual - math.floor(virtual)


def _places(math: Any, count: Any, share: Any, method: str) -> tuple[Any, Any, Any]:
    """The places of the lower and the upper element, and the share of the upper (None: one)."""
    last = count - 1
    if method in _EXACT:
        place = math.minimum(_exact_place(math, count, share, method), math.maximum(last, 0.0))
        return place, place, None
    virtual, upper = _virtual_place(math, count, share, method)
    low = math.maximum(math.floor(virtual), 0.0)
    high = math.where(virtual < 0, 0.0, low + 1)
    return (
        math.where(virtual >= last, last, low),
        math.where(virtual >= last, last, high),
        upper,
    )


def _shares(q: Any, what: str, limit: float = 1.0) -> np.ndarray:
    """The quantiles asked for, as float64 between 0 and 1."""
    values: Any = q.numpy() if hasattr(q, "numpy") else np.asarray(q)
    try:
        shares = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{what}: q has to be a number, or numbers, from 0 to {limit:g}"
        ) from None
    if not ((shares >= 0) & (shares <= limit)).all():
        raise ArgumentError(f"{what}: every q has to lie between 0 and {limit:g}")
    return shares / limit


def _moving(q: Any, shares: np.ndarray, limit: float) -> Tensor | None:
    """Zeros in a row, one a quantile, with the gradient of the shares; None where q has none."""
    if not isinstance(q, Handle) or q._node is None or not grad_enabled():
        return None
    tensor: Tensor = q
    if not dt.is_float(tensor.dtype):
        return None
    asked = divide(astype(reshape(tensor, (-1,)), dt.float64), limit)
    return subtract(asked, as_tensor(shares.reshape(-1), tensor.device))


def _slope(count: int, method: str) -> float:
    """How fast the place moves with the share."""
    if method in ("midpoint", "averaged_inverted_cdf"):
        return 0.0
    ends = [_virtual_place(np, float(count), share, method)[0] for share in (0.0, 1.0)]
    return float(ends[1] - ends[0])


def _between(low: Tensor, high: Tensor, upper: Tensor) -> Tensor:
    """From one tensor to another, from the nearer end."""
    distance = subtract(high, low)
    return where(
        greater_equal(upper, 0.5),
        subtract(high, multiply(distance, subtract(1.0, upper))),
        add(low, multiply(distance, upper)),
    )


def _check(what: str, x: Tensor, method: str, weights: Any) -> None:
    real_only(what, x)
    if method not in _METHODS:
        raise ArgumentError(f"{what}: method {method!r} is none of {', '.join(_METHODS)}")
    if weights is not None and method != "inverted_cdf":
        raise ArgumentError(f"{what}: weights need method='inverted_cdf', not {method!r}")
    if x.dtype is dt.bool_ and method not in _EXACT:
        raise DTypeError(f"{what}: nothing lies between truth values; convert with .astype")


def _ahead(found: Tensor, q_shape: Ints, kept: Ints, keepdims: bool) -> Tensor:
    """Results along the last axis, one per quantile, as the first axes of the result."""
    found = moveaxis(found, -1, 0)
    rest = kept if keepdims else found.shape[1:]
    return reshape(found, q_shape + rest)


def _wide(q: Any, dtype: np.dtype) -> np.dtype:
    """float64 quantiles that are no Python numbers give a float64 result, as in NumPy."""
    strong = getattr(q, "dtype", None) == np.float64
    return dt.float64 if strong else dtype


def _no_element(what: str, axis: Any, operand: Tensor) -> ShapeError:
    return ShapeError(f"{what}: there is no element along axis {axis} of shape {operand.shape}")


def _nothing(rows: Tensor, shares: np.ndarray, kept: Ints, keepdims: bool) -> Tensor:
    """The quantiles of lines without elements: NaN."""
    found = broadcast_to(mean(rows, -1, keepdims=True), (*rows.shape[:-1], shares.size))
    return _ahead(found, shares.shape, kept, keepdims)


def _quantile(
    what: str, a: Any, q: Any, limit: float, axis: Any, method: str, keepdims: bool
) -> Tensor:
    x, shares = as_tensor(a), _shares(q, what, limit)
    _check(what, x, method, None)
    rows, kept = lines(x, axis, what)
    count = rows.shape[-1]
    if not count:
        raise _no_element(what, axis, x)
    low, high, upper = _places(np, float(count), shares.reshape(-1), method)
    below, above = ([int(place) for place in places] for places in (low, high))
    floats = dt.is_float(x.dtype)
    found = elements_at(rows, tuple(below + above + [count - 1]))
    last = narrow(found, found.ndim - 1, 2 * len(below), 1)
    result = narrow(found, found.ndim - 1, 0, len(below))
    if upper is not None:
        dtype = _wide(q, x.dtype if floats else dt.default_float)
        ends = [
            astype(t, dtype)
            for t in (result, narrow(found, found.ndim - 1, len(below), len(below)))
        ]
        part = astype(as_tensor(upper, x.device), dtype)
        moving = _moving(q, shares, limit)
        if moving is not None:
            part = add(part, astype(multiply(moving, _slope(count, method)), dtype))
        result = _between(ends[0], ends[1], part)
    if floats:
        result = where(isnan(last), astype(last, result.dtype), result)
    return _ahead(result, shares.shape, kept, keepdims)


# ---- weights
def _weights_of(what: str, x: Tensor, weights: Any, axis: Any) -> Tensor:
    """Weights in the shape of x."""
    weights = as_tensor(weights, x.device)
    if weights.shape != x.shape:
        axes = normalize_axes(axis, x.ndim, what)
        if axis is None or weights.shape != tuple(x.shape[a] for a in axes):
            raise ShapeError(
                f"{what}: weights of shape {weights.shape} fit neither shape {x.shape} nor its axis"
            )
        aligned = tuple(size if a in axes else 1 for a, size in enumerate(x.shape))
        weights = broadcast_to(reshape(weights, aligned), x.shape)
    if any_(less(weights, 0)):
        raise ArgumentError(f"{what}: weights have to be 0 or more")
    return weights


def _weighted(
    what: str, a: Any, q: Any, limit: float, axis: Any, keepdims: bool, weights: Any, nans: bool
) -> Tensor:
    """The first element, in order, at which the weights up to it reach the share of all."""
    x = as_tensor(a)
    shares = _shares(q, what, limit)
    rows, kept = lines(x, axis, what)
    loads, _ = lines(astype(_weights_of(what, x, weights, axis), dt.float64), axis, what)
    count = rows.shape[-1]
    if not count:
        if not nans:
            raise _no_element(what, axis, x)
        return _nothing(rows, shares, kept, keepdims)
    if nans:
        loads = where(isnan(rows), 0.0, loads)
    order = argsort(rows, -1)
    ordered = take_along_axis(rows, order, -1)
    reached = cumulative_sum(take_along_axis(loads, order, -1), axis=-1)
    reached = divide(reached, narrow(reached, reached.ndim - 1, count - 1, 1))
    invalid = isnan(narrow(reached, reached.ndim - 1, count - 1, 1))
    if nans:  # lines of nothing but NaN ask for no weights
        invalid = logical_and(invalid, logical_not(isnan(narrow(ordered, ordered.ndim - 1, 0, 1))))
    if any_(invalid):
        raise ArgumentError(f"{what}: the weights hold NaN or infinity, or all are 0")
    reached = where(equal(reached, 0), -1.0, reached)
    wanted = as_tensor(shares.reshape(-1, 1), x.device)
    behind = sum_(less(expand_dims(reached, -2), wanted), axis=-1)
    result = take_along_axis(ordered, minimum(behind, count - 1), -1)
    if dt.is_float(x.dtype):
        last = narrow(ordered, ordered.ndim - 1, 0 if nans else count - 1, 1)
        result = where(isnan(last), last, result)
    return _ahead(result, shares.shape, kept, keepdims)


# ---- what is public
@public(method=True)
def quantile(
    a: Tensor,
    q: Any,
    axis: Any = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
    weights: Any = None,
) -> Tensor:
    """The values below which the shares q (0 to 1) of the elements over the axes lie.

    The result has the shape of q, then that of a without the axes.  method is one of NumPy's: the
    discrete "inverted_cdf" (the only one that takes weights), "averaged_inverted_cdf" and
    "closest_observation", the continuous "interpolated_inverted_cdf", "hazen", "weibull", "linear",
    "median_unbiased" and "normal_unbiased", and "lower", "higher", "midpoint" and "nearest".  NaN
    where an element is.  Integers give float32 where a value lies between two of them.  Gradients
    go to the elements that were selected, as in PyTorch, and to q by the slope between two elements
    (of the upper interval where q meets an element; 0 for the last element and wherever the result
    does not move with q).

    ArgumentError for a q out of range or an unknown method, ShapeError where there is no element.

    >>> x = hybrid.tensor([4.0, 1.0, 3.0, 2.0])
    >>> hybrid.quantile(x, 0.5), hybrid.quantile(x, [0.0, 0.25, 1.0])
    (tensor(2.5), tensor([1.  , 1.75, 4.  ]))
    >>> hybrid.quantile(x, 0.5, method="lower")
    tensor(2.)
    """
    if weights is not None:
        _check("quantile", as_tensor(a), method, weights)
        return _weighted("quantile", a, q, 1.0, axis, keepdims, weights, False)
    return _quantile("quantile", a, q, 1.0, axis, method, keepdims)


@public
def percentile(
    a: Tensor,
    q: Any,
    axis: Any = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
    weights: Any = None,
) -> Tensor:
    """`quantile` with q from 0 to 100.

    >>> hybrid.percentile(hybrid.tensor([[1.0, 2.0], [3.0, 6.0]]), 50, axis=1)
    tensor([1.5, 4.5])
    """
    if weights is not None:
        _check("percentile", as_tensor(a), method, weights)
        return _weighted("percentile", a, q, 100.0, axis, keepdims, weights, False)
    return _quantile("percentile", a, q, 100.0, axis, method, keepdims)


@public(method=True)
def median(a: Tensor, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The middle element over the axes (all by default), or the mean of the two in the middle.

    Floats keep their dtype, integers and bools give float32; NaN where an element is NaN or there
    is none.  The gradient goes to the elements in the middle.

    >>> hybrid.median(hybrid.tensor([[3, 1, 2], [9, 7, 8]]), axis=1)
    tensor([2., 8.])
    >>> hybrid.median(hybrid.tensor([4.0, 1.0, 3.0, 2.0]))
    tensor(2.5)
    """
    x = as_tensor(a)
    real_only("median", x)
    rows, kept = lines(x, axis, "median")
    count = rows.shape[-1]
    if not count:
        return mean(x, axis, keepdims=keepdims)
    middle = (count // 2,) if count % 2 else (count // 2 - 1, count // 2)
    floats = dt.is_float(x.dtype)
    found = elements_at(rows, tuple(sorted({*middle, count - 1} if floats else middle)))
    result = mean(narrow(found, found.ndim - 1, 0, len(middle)), -1)
    if floats:
        last = narrow(found, found.ndim - 1, found.shape[-1] - 1, 1, drop=True)
        result = where(isnan(last), last, result)
    return reshape(result, kept) if keepdims else result


# ---- without NaN
def _nan_quantile(
    what: str, a: Any, q: Any, limit: float, axis: Any, method: str, keepdims: bool
) -> Tensor:
    """Quantiles of the elements that are no NaN: how many there are is known for each line."""
    x = as_tensor(a)
    real_only(what, x)
    if not dt.is_float(x.dtype):
        return _quantile(what, x, q, limit, axis, method, keepdims)
    _check(what, x, method, None)
    shares = _shares(q, what, limit)
    rows, kept = lines(x, axis, what)
    if not rows.shape[-1]:
        return _nothing(rows, shares, kept, keepdims)
    count = sum_(astype(logical_not(isnan(rows)), dt.float64), axis=-1, keepdims=True)
    wanted, moving = as_tensor(shares.reshape(-1), x.device), _moving(q, shares, limit)
    wanted = wanted if moving is None else add(wanted, moving)
    low, high, upper = _places(_TENSORS, count, wanted, method)
    ordered = elements_at(rows, None)
    below, above = (
        take_along_axis(ordered, maximum(astype(place, dt.int64), 0), -1) for place in (low, high)
    )
    result = below
    if upper is not None:
        dtype = _wide(q, x.dtype)
        result = _between(astype(below, dtype), astype(above, dtype), astype(upper, dtype))
    result = where(equal(count, 0), float("nan"), result)
    return _ahead(result, shares.shape, kept, keepdims)


@public(method=True)
def nanquantile(
    a: Tensor,
    q: Any,
    axis: Any = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
    weights: Any = None,
) -> Tensor:
    """`quantile` of the elements that are not NaN; NaN where there is none.

    >>> hybrid.nanquantile(hybrid.tensor([[1.0, hybrid.nan, 3.0], [4.0, 5.0, 6.0]]), 0.5, axis=1)
    tensor([2., 5.])
    """
    if weights is not None:
        _check("nanquantile", as_tensor(a), method, weights)
        return _weighted("nanquantile", floating(a), q, 1.0, axis, keepdims, weights, True)
    return _nan_quantile("nanquantile", a, q, 1.0, axis, method, keepdims)


@public
def nanpercentile(
    a: Tensor,
    q: Any,
    axis: Any = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
    weights: Any = None,
) -> Tensor:
    """`nanquantile` with q from 0 to 100.

    >>> hybrid.nanpercentile(hybrid.tensor([1.0, hybrid.nan, 3.0]), [0, 50, 100])
    tensor([1., 2., 3.])
    """
    if weights is not None:
        _check("nanpercentile", as_tensor(a), method, weights)
        return _weighted("nanpercentile", floating(a), q, 100.0, axis, keepdims, weights, True)
    return _nan_quantile("nanpercentile", a, q, 100.0, axis, method, keepdims)


@public(method=True)
def nanmedian(a: Tensor, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """`median` of the elements that are not NaN; NaN where there is none.

    >>> hybrid.nanmedian(hybrid.tensor([[1.0, hybrid.nan, 4.0], [4.0, 5.0, 6.0]]), axis=1)
    tensor([2.5, 5. ])
    """
    x = as_tensor(a)
    real_only("nanmedian", x)
    if not dt.is_float(x.dtype):
        return median(x, axis, keepdims=keepdims)
    rows, kept = lines(x, axis, "nanmedian")
    if not rows.shape[-1]:
        return mean(x, axis, keepdims=keepdims)
    count = sum_(logical_not(isnan(rows)), axis=-1, keepdims=True)
    middle = [maximum(subtract(add(count, step), 1), 0) // 2 for step in (0, 1)]
    ordered = elements_at(rows, None)
    low, high = (take_along_axis(ordered, place, -1) for place in middle)
    result = where(equal(low, high), low, multiply(add(low, high), 0.5))
    result = where(equal(count, 0), float("nan"), result)
    return reshape(result, kept if keepdims else result.shape[:-1])
