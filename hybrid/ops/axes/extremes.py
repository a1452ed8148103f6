"""Reductions whose order is free: extremes, all and any, and how many elements are nonzero.

Invariant: on truth values, the extremes are `all` and `any`; results are exact in any order.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ArgumentError
from ...core.shapes import reduced_axes
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import RowOp, extend, register
from ...ir.scalar.program import Builder, Val
from ...ir.tensor import Handle
from ..base.common import groups
from ..base.surface import public
from ..elementwise.arithmetic import clone, divide
from ..elementwise.logic import equal, logical_or, not_equal
from ..elementwise.selection import maximum, minimum
from ..elementwise.selection import where as where_
from .masks import beginning, lowest, masked
from .reduce import cases, dropped, finish, infer_nonempty, keep_shape, oracle_of, walk
from .reduce import sum as sum_
from .views import broadcast_to, reshape

Axis = Any
Tensor = Any


def _infer_bool(operand: Aval, *, axes: tuple[int, int]) -> tuple[Aval, ...]:
    return (operand.with_(dropped(operand.shape, axes), dt.bool_),)


def _extreme_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axes: tuple[int, int]
) -> tuple[Tensor]:
    """The gradient shared by the elements that are the extreme; NaN for all where the extreme is
    NaN."""
    over, kept = tuple(range(*axes)), keep_shape(operand.shape, tuple(range(*axes)))
    best = reshape(out, kept)
    hit = equal(operand, best)
    count = sum_(astype(hit, dt.compute_type(operand.dtype)), axis=over, keepdims=True)
    share = where_(
        equal(best, best), astype(divide(reshape(gradient, kept), count), operand.dtype), best
    )
    return (where_(logical_or(hit, not_equal(best, best)), broadcast_to(share, operand.shape), 0),)


def _truth(prim: str) -> Any:
    def body(algebra: Builder, operand: Val, *, axes: tuple[int, int]) -> Val:
        return algebra.reduce(prim, algebra.convert(operand, "b1"))

    return body


MAX = register(
    RowOp(
        "max",
        1,
        infer_nonempty("max", None),
        body=walk("rmax"),
        vjp=_extreme_vjp,
        params=("axes",),
        reference=oracle_of(np.max),
        samples=cases(True),
        ulp=0.0,
        doc="Largest element; NaN if any is.",
    )
)
MIN = register(
    RowOp(
        "min",
        1,
        infer_nonempty("min", None),
        body=walk("rmin"),
        vjp=_extreme_vjp,
        params=("axes",),
        reference=oracle_of(np.min),
        samples=cases(True),
        ulp=0.0,
        doc="Smallest element; NaN if any is.",
    )
)
ALL = register(
    RowOp(
        "all",
        1,
        _infer_bool,
        body=_truth("rall"),
        facts=frozenset(["truth"]),
        params=("axes",),
        reference=oracle_of(np.all),
        samples=cases(),
        ulp=0.0,
        doc="Whether every element is nonzero.",
    )
)
ANY = register(
    RowOp(
        "any",
        1,
        _infer_bool,
        body=_truth("rany"),
        facts=frozenset(["truth"]),
        params=("axes",),
        reference=oracle_of(np.any),
        samples=cases(),
        ulp=0.0,
        doc="Whether some element is nonzero.",
    )
)


extend(MAX, truth=ANY)
extend(MIN, truth=ALL)


def _order_free(op: RowOp, operand: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    if isinstance(axis, Handle):
        other = {"max": "; the larger of two tensors is hybrid.maximum(x, y)"}
        other["min"] = "; the smaller of two tensors is hybrid.minimum(x, y)"
        raise ArgumentError(f"{op.name}: axis is a tensor{other.get(op.name, '')}")
    operand = as_tensor(operand)
    axes = reduced_axes(axis, operand.ndim, op.name)
    if operand.dtype is dt.bool_ and op.truth is not None:
        for group in groups(axes):
            op.infer(operand._a, axes=group)  # no elements have no extreme
        op = op.truth
    if not axes:
        return not_equal(operand, 0) if op.has("truth") else clone(operand)
    result = operand
    for group in reversed(groups(axes)):
        result = bind(op, result, axes=group)
    return finish(result, operand.shape, axes, keepdims)


def _beside(
    record: RowOp, x: Any, axis: Axis, keepdims: bool, initial: Any, condition: Any
) -> Tensor:
    """The extreme of `initial` and the elements in a mask, of which there may be none."""
    operand = as_tensor(x)
    if condition is not True:
        neutral = lowest(record.name, operand.dtype, initial, record is MAX)
        operand = masked(record.name, operand, condition, neutral)
    first = beginning(record.name, initial, operand, operand.dtype)
    axes = reduced_axes(axis, operand.ndim, record.name)
    if builtins.any(operand.shape[a] == 0 for a in axes):
        kept = keep_shape(operand.shape, axes)
        shape = kept if keepdims else tuple(n for a, n in enumerate(kept) if a not in axes)
        return clone(broadcast_to(first, shape))
    return (maximum if record is MAX else minimum)(
        _order_free(record, operand, axis, keepdims), first
    )


@public(method=True)
def max(
    x: Tensor,
    /,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """Largest element over axes, NaN if any is, +0 before -0; at least `initial`.  ShapeError where
    there is no element and no `initial`.

    A mask `where` says which elements count, and takes an `initial` (ArgumentError without).  Equal
    largest elements (zeros of both signs too) share the gradient; it is NaN for all elements where
    the result is, as in torch.amax.

    >>> hybrid.max(hybrid.tensor([[1.0, 5.0], [hybrid.nan, 2.0]]), axis=1)
    tensor([ 5., nan])
    >>> hybrid.max(hybrid.tensor([1.0, 5.0]), initial=0.0, where=[True, False])
    tensor(1.)
    """
    if where is True and initial is None:
        return _order_free(MAX, x, axis, keepdims)
    return _beside(MAX, x, axis, keepdims, initial, where)


@public(method=True)
def min(
    x: Tensor,
    /,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """Smallest element over axes, NaN if any is, -0 before +0; at most `initial`; mask, gradient
    and errors as `max`'s.

    >>> hybrid.min(hybrid.tensor([[3, 1], [2, 4]]), axis=(0, 1))
    tensor(1)
    """
    if where is True and initial is None:
        return _order_free(MIN, x, axis, keepdims)
    return _beside(MIN, x, axis, keepdims, initial, where)


amax = public(max, hybrid="amax", method=True)
amin = public(min, hybrid="amin", method=True)


@public(method=True)
def all(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False, where: Any = True) -> Tensor:
    """Whether every element over the axes, in the mask `where`, is nonzero (NaN is).

    Axes as for `sum`, ShapeError for one out of range; bool, true where there is no element.

    >>> hybrid.all(hybrid.tensor([[1, 2], [0, 3]]), axis=1)
    tensor([ True, False])
    """
    if where is not True:
        x = masked("all", not_equal(x, 0), where, True)
    return _order_free(ALL, x, axis, keepdims)


@public(method=True)
def any(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False, where: Any = True) -> Tensor:
    """Whether some element over the axes, in the mask `where`, is nonzero (NaN is).

    Axes as for `sum`, ShapeError for one out of range; bool, false where there is no element.

    >>> hybrid.any(hybrid.tensor([[0, 0], [0, 3]]), axis=1)
    tensor([False,  True])
    """
    if where is not True:
        x = masked("any", not_equal(x, 0), where, False)
    return _order_free(ANY, x, axis, keepdims)


@public(method=True)
def count_nonzero(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """How many elements are nonzero, as int64.

    Axes as for `sum`, ShapeError for one out of range.

    >>> hybrid.count_nonzero(hybrid.tensor([[0, 1], [2, 3]]), axis=0)
    tensor([1, 2])
    """
    return sum_(not_equal(x, 0), axis=axis, keepdims=keepdims)
