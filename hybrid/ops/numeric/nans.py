"""Reductions and running sums that leave NaN out.

Invariant: elements that are NaN, or not in the mask `where`, count as if they were not there and
have the gradient 0; integers and bools have no NaN and go the way of the function without `nan` in
its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError
from ...core.shapes import normalize_axes
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import RowOp, map_op, register
from ...ir.scalar.program import Builder, Val
from ..axes.cumulative import cumulative_prod, cumulative_sum
from ..axes.extremes import all as all_
from ..axes.extremes import any as any_
from ..axes.extremes import max as max_
from ..axes.extremes import min as min_
from ..axes.masks import beginning, masked
from ..axes.positions import argmax, argmin
from ..axes.reduce import cases, finish, infer_nonempty, keep_shape, mean, prod
from ..axes.reduce import sum as sum_
from ..axes.statistics import std_root
from ..axes.views import broadcast_to, expand_dims, reshape
from ..base.common import groups, real_only, shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import abs, clone, divide, square, subtract
from ..elementwise.logic import equal, greater, isnan, logical_not
from ..elementwise.selection import maximum, minimum
from ..elementwise.selection import where as where_
from ..indexing.along import take_along_axis
from .ranks import floating

Axis = Any
Group = tuple[int, int]
Tensor = Any


def _replaced_body(algebra: Builder, operand: Val, *, number: float) -> Val:
    return algebra.select(operand == operand, operand, number)


REPLACED = map_op(
    "nan_replaced",
    1,
    _replaced_body,
    params=("number",),
    accepts="f",
    vjp=lambda gradient, out, operand, number: (where_(isnan(operand), 0.0, gradient),),
    reference=lambda operand, number: np.where(np.isnan(operand), number, operand),
    samples=shapes_of([((7,), {"number": 1.0}), ((3, 5), {"number": float("-inf")})]),
    ulp=0.0,
    doc="x with a number in the place of NaN.",
)


def without_nans(operand: Tensor, number: float) -> Tensor:
    """x with a number in the place of NaN."""
    if dt.is_complex(operand.dtype):
        return where_(isnan(operand), number, operand)
    return bind(REPLACED, operand, number=number) if dt.is_float(operand.dtype) else operand


def _present(operand: Tensor, axis: Axis, keepdims: bool, dtype: np.dtype) -> Tensor:
    """How many elements are no NaN, in a floating dtype (the real one of a complex one)."""
    return sum_(
        astype(logical_not(isnan(operand)), dt.real_of(dtype)), axis=axis, keepdims=keepdims
    )


# ---- extremes
def _key(algebra: Builder, operand: Val) -> Val:
    """The bits of a float as an integer that orders as the float does (its own inverse)."""
    if operand.type not in ("i32", "i64"):
        operand = algebra.bitcast(operand, "i32" if operand.type == "f32" else "i64")
    return operand ^ ((operand >> _SIGN[operand.type]) & _REST[operand.type])


_SIGN = {"i32": 31, "i64": 63}
_REST = {"i32": (1 << 31) - 1, "i64": (1 << 63) - 1}


def _extreme_body(largest: bool) -> Callable[..., Val]:
    """One reduction of integers: NaN lies behind every number, and comes out where nothing else is
    there."""

    def body(algebra: Builder, operand: Val, *, axes: Group) -> Val:
        key = _key(algebra, operand)
        behind = algebra.const(key.type, -_REST[key.type] - 1 if largest else _REST[key.type])
        keys = algebra.select(operand == operand, key, behind)
        best = algebra.reduce("rmax" if largest else "rmin", keys)
        return algebra.bitcast(_key(algebra, best), operand.type)

    return body


def _extreme_vjp(gradient: Tensor, out: Tensor, operand: Tensor, axes: Group) -> tuple[Tensor]:
    over, kept = tuple(range(*axes)), keep_shape(operand.shape, tuple(range(*axes)))
    inner = dt.compute_type(operand.dtype)
    hit = equal(operand, reshape(out, kept))
    count = maximum(sum_(astype(hit, inner), axis=over, keepdims=True), 1.0)
    share = astype(divide(reshape(gradient, kept), count), operand.dtype)
    return (where_(hit, broadcast_to(share, operand.shape), 0),)


def _extreme_reference(function: Any) -> Callable[..., Any]:
    return lambda operand, axes: function(wide(operand), axis=tuple(range(*axes)))


def _extreme(name: str, largest: bool, function: Any) -> RowOp:
    return register(
        RowOp(
            name,
            1,
            infer_nonempty(name, None),
            body=_extreme_body(largest),
            vjp=_extreme_vjp,
            params=("axes",),
            accepts="f",
            reference=_extreme_reference(function),
            samples=cases(True),
            ulp=0.0,
            doc=f"{'Largest' if largest else 'Smallest'} element that is no NaN; NaN if none is.",
        )
    )


NANMAX = _extreme("nanmax", True, np.fmax.reduce)
NANMIN = _extreme("nanmin", False, np.fmin.reduce)


def _best(op: RowOp, plain: Callable[..., Tensor], x: Tensor, axis: Axis) -> Tensor:
    """The extreme over axes, which are kept."""
    if not dt.is_float(x.dtype):
        return plain(x, axis, keepdims=True)
    axes = normalize_axes(axis, x.ndim, op.name)
    result = x if axes else clone(x)
    for group in reversed(groups(axes)):
        result = bind(op, result, axes=group)
    return finish(result, x.shape, axes, True)


def _extreme_of(
    op: RowOp, functions: tuple[Any, Any], a: Any, axis: Axis, keepdims: bool, start: Any, mask: Any
) -> Tensor:
    plain, better = functions
    x = as_tensor(a)
    real_only(op.name, x)
    if start is not None:
        start = beginning(op.name, start, x, x.dtype)
    elif mask is not True:
        raise ArgumentError(f"{op.name}: where= takes initial=, for what it leaves nothing of")
    x = masked(op.name, x, mask, start)
    result = _best(op, plain, x, axis)
    if start is not None:
        lone = isnan(result) if dt.is_float(result.dtype) else False
        result = where_(lone, start, better(result, start))
    return result if keepdims else _dropped(result, x.shape, axis)


def _dropped(result: Tensor, shape: tuple[int, ...], axis: Axis) -> Tensor:
    """A result without the axes that were reduced."""
    axes = normalize_axes(axis, len(shape))
    return reshape(result, tuple(n for i, n in enumerate(result.shape) if i not in axes))


@public
def nanmax(
    a: Tensor,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """Largest element over axes that is not NaN, NaN where there is none; at least `initial`.

    A mask `where` says which elements count, and takes an `initial`.  ShapeError where there is no
    element at all.  Equal largest elements share the gradient.

    >>> hybrid.nanmax(hybrid.tensor([[1.0, hybrid.nan], [3.0, 2.0]]), axis=1)
    tensor([1., 3.])
    """
    return _extreme_of(NANMAX, (max_, maximum), a, axis, keepdims, initial, where)


@public
def nanmin(
    a: Tensor,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """Smallest element over axes that is not NaN; otherwise as `nanmax`.

    >>> hybrid.nanmin(hybrid.tensor([[1.0, hybrid.nan], [3.0, 2.0]]))
    tensor(1.)
    """
    return _extreme_of(NANMIN, (min_, minimum), a, axis, keepdims, initial, where)


def _place(what: str, find: Any, fill: float, a: Any, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(a)
    real_only(what, x)
    found = find(without_nans(x, fill), axis, keepdims=keepdims)
    if dt.is_float(x.dtype) and x.size and any_(isnan(_there(x, found, axis))):
        if any_(all_(isnan(x), axis)):  # else infinities stand behind NaN
            raise ArgumentError(f"{what}: there are only NaN along axis {axis}")
    return found


def _there(x: Tensor, positions: Tensor, axis: int | None) -> Tensor:
    """The elements at positions along an axis, or in the flattened tensor; the axis is kept."""
    if axis is None:
        return take_along_axis(reshape(x, (x.size,)), reshape(positions, (1,)), 0)
    if positions.ndim < x.ndim:
        positions = expand_dims(positions, axis)
    return take_along_axis(x, positions, axis)


@public
def nanargmax(a: Tensor, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first largest element that is not NaN, along an axis or in the
    flattened tensor.

    Reads the data: ArgumentError where there are only NaN.

    >>> hybrid.nanargmax(hybrid.tensor([[1.0, hybrid.nan], [2.0, 3.0]]), axis=1)
    tensor([0, 1])
    """
    return _place("nanargmax", argmax, float("-inf"), a, axis, keepdims)


@public
def nanargmin(a: Tensor, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first smallest element that is not NaN; otherwise as `nanargmax`.

    >>> hybrid.nanargmin(hybrid.tensor([hybrid.nan, 2.0, 1.0]))
    tensor(2)
    """
    return _place("nanargmin", argmin, float("inf"), a, axis, keepdims)


# ---- sums and products
@public(method=True)
def nansum(
    a: Tensor,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """`sum` with 0 in the place of NaN and of elements that are not in the mask `where`; `initial`
    is added.

    >>> hybrid.nansum(hybrid.tensor([[1.0, hybrid.nan], [3.0, 4.0]]), axis=0)
    tensor([4., 4.])
    """
    x = without_nans(as_tensor(a), 0.0)
    return sum_(x, axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)


@public
def nanprod(
    a: Tensor,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """`prod` with 1 in the place of NaN and of elements that are not in the mask `where`, times
    `initial`.

    >>> hybrid.nanprod(hybrid.tensor([2.0, hybrid.nan, 3.0]))
    tensor(6.)
    """
    x = without_nans(as_tensor(a), 1.0)
    return prod(x, axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)


@public
def nancumsum(a: Tensor, axis: int | None = None, dtype: Any = None) -> Tensor:
    """`cumsum` with 0 in the place of NaN.

    >>> hybrid.nancumsum(hybrid.tensor([[1.0, hybrid.nan], [3.0, 4.0]]))
    tensor([1., 1., 4., 8.])
    """
    return cumsum(without_nans(as_tensor(a), 0.0), axis, dtype)


@public
def nancumprod(a: Tensor, axis: int | None = None, dtype: Any = None) -> Tensor:
    """`cumprod` with 1 in the place of NaN.

    >>> hybrid.nancumprod(hybrid.tensor([2.0, hybrid.nan, 3.0]))
    tensor([2., 2., 6.])
    """
    return cumprod(without_nans(as_tensor(a), 1.0), axis, dtype)


@public(method=True)
def cumsum(a: Tensor, axis: int | None = None, dtype: Any = None) -> Tensor:
    """Running sums along an axis, or of the flattened tensor (`cumulative_sum` asks for an axis).

    Integers and bools sum in int64, unsigned ones in uint64, floats keep their dtype; `dtype` says
    otherwise.  ShapeError for an axis out of range.

    >>> hybrid.cumsum(hybrid.tensor([[1, 2], [3, 4]]))
    tensor([ 1,  3,  6, 10])
    >>> hybrid.cumsum(hybrid.tensor([[1, 2], [3, 4]]), axis=1)
    tensor([[1, 3],
            [3, 7]])
    """
    return _running(cumulative_sum, a, axis, dtype)


@public(method=True)
def cumprod(a: Tensor, axis: int | None = None, dtype: Any = None) -> Tensor:
    """Running products along an axis, or of the flattened tensor; otherwise as `cumsum`.

    >>> hybrid.cumprod(hybrid.tensor([[1, 2], [3, 4]]))
    tensor([ 1,  2,  6, 24])
    """
    return _running(cumulative_prod, a, axis, dtype)


def _running(function: Callable[..., Tensor], a: Any, axis: int | None, dtype: Any) -> Tensor:
    x = as_tensor(a)
    if axis is None or not x.ndim:
        x, axis = reshape(x, (x.size,)), 0 if axis is None else axis
    return function(x, axis=axis, dtype=dtype)


# ---- means
def _counting(what: str, a: Any, mask: Any) -> Tensor:
    """x with NaN in the place of what is not in the mask."""
    x = as_tensor(a)
    if mask is True:
        return x
    x = x if dt.is_inexact(x.dtype) else astype(x, dt.default_float)
    return masked(what, x, mask, float("nan"))


@public(method=True)
def nanmean(
    a: Tensor,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Any = True,
) -> Tensor:
    """Mean of the elements over axes that are not NaN, and in the mask `where`; NaN where there is
    none.

    Dtypes are those of `mean`.

    >>> hybrid.nanmean(hybrid.tensor([[1.0, hybrid.nan], [3.0, 4.0]]), axis=1)
    tensor([1. , 3.5])
    """
    x = _counting("nanmean", a, where)
    if not dt.is_inexact(x.dtype):
        return mean(x, axis, dtype=dtype, keepdims=keepdims)
    wanted = x.dtype if dtype is None else dt.canonical(dtype)
    inner = dt.compute_type(wanted)
    total = sum_(without_nans(x, 0.0), axis, dtype=inner, keepdims=keepdims)
    return astype(divide(total, _present(x, axis, keepdims, inner)), wanted)


def _fewer(what: str, ddof: float, correction: float | None) -> float:
    if correction is not None and ddof != 0:
        raise ArgumentError(f"{what}: ddof and correction are two names of one argument")
    return float(ddof if correction is None else correction)


@public
def nanvar(
    a: Tensor,
    axis: Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Tensor:
    """Variance of the elements over axes that are not NaN, and in the mask `where`; their number is
    reduced by `ddof` (or `correction`).

    `mean` is the mean, with the axes kept, where it is known.  NaN where no more elements than that
    are left.  Integers and bools give float32, complex numbers the mean of |x - mean|^2.

    >>> hybrid.nanvar(hybrid.tensor([[1.0, hybrid.nan, 3.0], [3.0, 4.0, 8.0]]), axis=1)
    tensor([1.    , 4.6667])
    """
    fewer = _fewer("nanvar", ddof, correction)
    x = floating(_counting("nanvar", a, where))
    wanted = x.dtype if dtype is None else dt.canonical(dtype)
    inner = dt.compute_type(wanted)
    x = astype(x, inner)
    count = _present(x, axis, True, inner)
    if mean is None:
        mean = divide(sum_(without_nans(x, 0.0), axis, keepdims=True), count)
    distance = where_(isnan(x), 0.0, subtract(x, mean))
    if dt.is_complex(inner):
        wanted, distance = dt.real_of(wanted), abs(distance)
    squares = sum_(square(distance), axis, keepdims=True)
    left = subtract(count, fewer)
    result = where_(greater(left, 0), divide(squares, left), float("nan"))
    return astype(result if keepdims else _dropped(result, x.shape, axis), wanted)


@public
def nanstd(
    a: Tensor,
    axis: Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation of the elements over axes that are not NaN; see `nanvar`.

    >>> hybrid.nanstd(hybrid.tensor([1.0, hybrid.nan, 3.0]))
    tensor(1.)
    """
    fewer = _fewer("nanstd", ddof, correction)
    return std_root(nanvar(a, axis, dtype, ddof=fewer, keepdims=keepdims, where=where, mean=mean))
