"""Reductions over axes, and sum_like, the adjoint of broadcasting.

Invariant: a record reduces one group of adjacent axes; several groups are reduced from the last to
the first, so the order of additions depends on shape and axes only.  Sums of half types accumulate
in float32 and are rounded once.
"""

from __future__ import annotations

import builtins
from math import prod as product
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError, ShapeError
from ...core.shapes import normalize_axes
from ...ir.door.bind import FAST, as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import Op, RowOp, extend, register
from ...ir.scalar.program import Builder, Val
from ..base.common import SHAPE_ONLY, as_type, groups, shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import clone, divide, multiply, subtract
from ..elementwise.logic import equal, logical_or, not_equal
from ..elementwise.selection import where
from .views import BROADCAST, broadcast_to, reshape

Ints = tuple[int, ...]
Axis = Any
Tensor = Any


# ---- the adjoint of broadcasting
def sum_like(g: Tensor, shape: Ints) -> Tensor:
    """The adjoint of broadcasting a tensor of that shape: g summed over what was repeated."""
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, d in enumerate(shape) if d == 1 and g.shape[lead + i] != 1
    )
    return reshape(sum(g, axis=axes) if axes else g, shape)


extend(BROADCAST, vjp=lambda g, out, x, shape: (sum_like(g, x.shape),))


def keep_shape(shape: Ints, axes: Ints) -> Ints:
    """A shape with size 1 at the reduced axes."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape))


# ---- records
def _dropped(shape: Ints, axes: tuple[int, int]) -> Ints:
    return shape[: axes[0]] + shape[axes[1] :]


def _infer(a: Aval, *, axes: tuple[int, int], dtype: np.dtype | None = None) -> tuple[Aval, ...]:
    return (a.with_(_dropped(a.shape, axes), dtype),)


def _infer_bool(a: Aval, *, axes: tuple[int, int]) -> tuple[Aval, ...]:
    return (a.with_(_dropped(a.shape, axes), dt.bool_),)


def infer_nonempty(name: str, d: np.dtype | None) -> Any:
    """The infer rule of a reduction that has no value for no elements; d None keeps the dtype."""

    def infer(a: Aval, *, axes: tuple[int, int]) -> tuple[Aval, ...]:
        if 0 in a.shape[axes[0] : axes[1]]:
            raise ShapeError(
                f"{name} of no elements has no value: shape {a.shape} has size 0 along a reduced "
                "axis"
            )
        return (a.with_(_dropped(a.shape, axes), d),)

    return infer


def _spread(g: Tensor, shape: Ints, axes: tuple[int, int]) -> Tensor:
    """g repeated along the reduced axes."""
    return broadcast_to(reshape(g, keep_shape(shape, tuple(range(*axes)))), shape)


def _sum_vjp(
    g: Tensor, out: Tensor, x: Tensor, axes: tuple[int, int], dtype: np.dtype
) -> tuple[Tensor]:
    return (_spread(g, x.shape, axes),)


def _mean_vjp(
    g: Tensor, out: Tensor, x: Tensor, axes: tuple[int, int], dtype: np.dtype
) -> tuple[Tensor]:
    return (
        _spread(divide(g, builtins.max(product(x.shape[axes[0] : axes[1]]), 1)), x.shape, axes),
    )


def _extreme_vjp(g: Tensor, out: Tensor, x: Tensor, axes: tuple[int, int]) -> tuple[Tensor]:
    """g shared by the elements that are the extreme; NaN for all where the extreme is NaN."""
    over, kept = tuple(range(*axes)), keep_shape(x.shape, tuple(range(*axes)))
    best = reshape(out, kept)
    hit = equal(x, best)
    count = sum(astype(hit, dt.compute_type(x.dtype)), axis=over, keepdims=True)
    share = where(equal(best, best), astype(divide(reshape(g, kept), count), x.dtype), best)
    return (where(logical_or(hit, not_equal(best, best)), broadcast_to(share, x.shape), 0),)


def _prod_vjp(
    g: Tensor, out: Tensor, x: Tensor, axes: tuple[int, int], dtype: np.dtype
) -> tuple[Tensor]:
    """g times the product of the other elements, also where elements are zero; zeros stay factors
    where there are up to two, so that second derivatives are right too."""
    over, kept = tuple(range(*axes)), keep_shape(x.shape, tuple(range(*axes)))
    zero = equal(x, 0)
    v = where(zero, 1, x)
    nonzero = prod(v, axis=over, keepdims=True)
    count = sum(astype(zero, dt.int64), axis=over, keepdims=True)
    total = sum(where(zero, x, 0), axis=over, keepdims=True)  # the one zero, or two
    at_zero = where(equal(count, 1), 1, where(equal(count, 2), subtract(total, x), 0))
    elsewhere = where(equal(count, 0), 1, where(equal(count, 1), total, 0))
    others = where(zero, multiply(nonzero, at_zero), multiply(divide(nonzero, v), elsewhere))
    return (multiply(reshape(g, kept), others),)


def walk(prim: str) -> Any:
    """The body of a record that is one reduction of the algebra."""

    def body(s: Builder, x: Val, *, axes: tuple[int, int], dtype: np.dtype | None = None) -> Val:
        return s.reduce(prim, x if dtype is None else as_type(s, x, dtype))

    return body


def _truth(prim: str) -> Any:
    def body(s: Builder, x: Val, *, axes: tuple[int, int]) -> Val:
        return s.reduce(prim, s.convert(x, "b1"))

    return body


def _mean_body(s: Builder, x: Val, *, axes: tuple[int, int], dtype: np.dtype) -> Val:
    v = as_type(s, x, dtype)
    return s.rsum(v) / s.rlen(v.type)


def _oracle(fn: Any) -> Any:
    def reference(
        x: np.ndarray, axes: tuple[int, int], dtype: np.dtype | None = None
    ) -> np.ndarray:
        with np.errstate(all="ignore"):
            return fn(wide(x), axis=tuple(range(*axes)))

    return reference


def cases(nonempty: bool = False, **more: Any) -> Any:
    """Samples of a reduction: one group of axes at every place, with and without elements."""
    rows: list[Any] = [
        ((7,), (0, 1)),
        ((3, 5), (1, 2)),
        ((5, 3), (0, 1)),
        ((2, 3, 4), (1, 2)),
        ((2, 3, 4), (1, 3)),
        ((130,), (0, 1)),
        ((3, 1), (1, 2)),
        ((0, 3), (1, 2)),
    ]
    rows += [] if nonempty else [((0,), (0, 1)), ((2, 0), (1, 2)), ((0, 3), (0, 1))]
    return shapes_of([(s, {"axes": a, **more}) for s, a in rows], lo=0.5, hi=1.5)


SUM = register(
    RowOp(
        "sum",
        1,
        _infer,
        body=walk("rsum"),
        vjp=_sum_vjp,
        params=("axes", "dtype"),
        keeps=SHAPE_ONLY,
        reference=_oracle(np.sum),
        samples=cases(dtype=dt.float64),
        doc="Sum over a group of axes.",
    )
)
PROD = register(
    RowOp(
        "prod",
        1,
        _infer,
        body=walk("rprod"),
        vjp=_prod_vjp,
        params=("axes", "dtype"),
        reference=_oracle(np.prod),
        samples=cases(dtype=dt.float64),
        ulp=70.0,
        doc="Product over a group of axes.",
    )
)
MEAN = register(
    RowOp(
        "mean",
        1,
        _infer,
        body=_mean_body,
        vjp=_mean_vjp,
        params=("axes", "dtype"),
        keeps=SHAPE_ONLY,
        reference=_oracle(
            lambda x, axis: (
                np.sum(x, axis=axis) / np.array(product(x.shape[a] for a in axis), x.dtype)
            )
        ),
        samples=cases(dtype=dt.float64),
        ulp=3.0,
        doc="Mean over a group of axes; NaN of nothing.",
    )
)
MAX = register(
    RowOp(
        "max",
        1,
        infer_nonempty("max", None),
        body=walk("rmax"),
        vjp=_extreme_vjp,
        params=("axes",),
        reference=_oracle(np.max),
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
        reference=_oracle(np.min),
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
        reference=_oracle(np.all),
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
        reference=_oracle(np.any),
        samples=cases(),
        ulp=0.0,
        doc="Whether some element is nonzero.",
    )
)


extend(MAX, truth=ANY)
extend(MIN, truth=ALL)


# ---- public functions
def finish(out: Tensor, shape: Ints, axes: Ints, keepdims: bool) -> Tensor:
    """The result, with the reduced axes of `shape` as size 1 if asked."""
    return reshape(out, keep_shape(shape, axes)) if keepdims else out


def _order_free(op: Op, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim, op.name)
    if x.dtype is dt.bool_ and op.truth is not None:
        for g in groups(axes):
            op.infer(x._a, axes=g)  # no elements have no extreme
        op = op.truth
    if not axes:
        return not_equal(x, 0) if op.has("truth") else clone(x)
    out = x
    for g in reversed(groups(axes)):
        out = bind(op, out, axes=g)
    return finish(out, x.shape, axes, keepdims)


def _converted(x: Tensor, d: np.dtype) -> Tensor:
    """A fresh handle on x in dtype d."""
    return clone(x) if x.dtype is d else astype(x, d)


def _sum_dtype(x: Tensor, dtype: Any) -> np.dtype:
    if dtype is not None:
        return dt.canonical(dtype)
    if dt.is_float(x.dtype):
        return x.dtype
    return dt.uint64 if dt.kind(x.dtype) == "u" else dt.int64


# (op, aval, axis, dtype) -> parameters of a call that is one record without conversion, and the
# shape with the reduced axes kept
_ONE: dict[Any, tuple[dict[str, Any], Ints]] = {}
FAST.append(_ONE)


def _one(op: Op, x: Tensor, axis: Axis, dtype: Any, keepdims: bool) -> Tensor | None:
    """The result of a call whose axes were normalised before, else None."""
    if type(axis) is not int and axis is not None:
        if type(axis) is not tuple or builtins.any(type(a) is not int for a in axis):
            return None  # what is equal to an axis (1.0, True) need not be one
    try:
        plan = _ONE.get((op, x._a, axis, dtype))
    except (AttributeError, TypeError):
        return None
    if plan is None:
        return None
    out = bind(op, x, **plan[0])
    return reshape(out, plan[1]) if keepdims else out


def _remember(
    op: Op, x: Tensor, axis: Axis, dtype: Any, axes: Ints, params: dict[str, Any]
) -> None:
    if axis is None or type(axis) is int or type(axis) is tuple:
        if len(_ONE) > 4096:
            _ONE.clear()
        _ONE[op, x._a, axis, dtype] = params, keep_shape(x.shape, axes)


def _additive(op: Op, x: Tensor, axis: Axis, dtype: Any, keepdims: bool) -> Tensor:
    """sum and prod: conversion first where dtype narrows,
    one rounding at the end for half types."""
    known = _one(op, x, axis, dtype, keepdims)
    if known is not None:
        return known
    given = x = as_tensor(x)
    axes, d = normalize_axes(axis, x.ndim, op.name), _sum_dtype(x, dtype)
    if d is dt.bool_:
        raise DTypeError(f"{op.name} does not work in bool; use any or all")
    if dt.is_float(x.dtype) and x.dtype is not d and (dt.is_half(d) or not dt.is_half(x.dtype)):
        x = astype(x, d)
    runs = groups(axes)
    if not runs:
        return _converted(x, d)
    if len(runs) == 1 and x is given:
        _remember(op, x, axis, dtype, axes, {"axes": runs[0], "dtype": d})
    out = x
    for i, g in enumerate(reversed(runs)):
        out = bind(op, out, axes=g, dtype=d if i == len(runs) - 1 else dt.compute_type(d))
    return finish(out, x.shape, axes, keepdims)


@public(method=True)
def sum(x: Tensor, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over axes: an int, a tuple, or None for all; the reduced axes go unless `keepdims`.

    Integers and bools sum in int64, unsigned ones in uint64; floats keep their dtype, half types
    accumulate in float32.  `dtype` says otherwise.  Raises ShapeError for an axis out of range,
    DTypeError for dtype bool.

    >>> import hybrid
    >>> hybrid.sum(hybrid.ones((2, 3)), axis=1).tolist()
    [3.0, 3.0]
    """
    return _additive(SUM, x, axis, dtype, keepdims)


@public(method=True)
def prod(x: Tensor, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Product over axes (all by default), with the dtype rule of `sum`."""
    return _additive(PROD, x, axis, dtype, keepdims)


@public(method=True)
def mean(x: Tensor, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Mean over axes, as `sum` takes them; NaN of no elements.

    Floats keep their dtype (half types accumulate in float32), integers and bools give float32.
    """
    known = _one(MEAN, x, axis, dtype, keepdims)
    if known is not None:
        return known
    given = x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim, "mean")
    d = dt.canonical(dtype or (x.dtype if dt.is_float(x.dtype) else dt.default_float))
    runs = groups(axes)
    if len(runs) == 1:
        x = x if dt.is_half(x.dtype) or not dt.is_float(x.dtype) else astype(x, d)
        if x is given:
            _remember(MEAN, x, axis, dtype, axes, {"axes": runs[0], "dtype": d})
        return finish(bind(MEAN, x, axes=runs[0], dtype=d), x.shape, axes, keepdims)
    if not runs:
        return _converted(x, d)
    total = sum(
        astype(x, d) if not dt.is_half(d) else x,
        axis=axes,
        dtype=dt.compute_type(d),
        keepdims=keepdims,
    )
    return astype(divide(total, product(x.shape[a] for a in axes)), d)


@public(method=True)
def max(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Largest element over axes, NaN if any is, +0 before -0; ShapeError where there is no element.

    Equal largest elements (zeros of both signs too) share the gradient; it is NaN for all elements
    where the result is, as in torch.amax."""
    return _order_free(MAX, x, axis, keepdims)


@public(method=True)
def min(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Smallest element over axes, NaN if any is, -0 before +0; gradient and errors as `max`'s."""
    return _order_free(MIN, x, axis, keepdims)


amax = public(max, hybrid="amax", method=True)
amin = public(min, hybrid="amin", method=True)


@public(method=True)
def all(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether every element over the axes is nonzero (NaN is)."""
    return _order_free(ALL, x, axis, keepdims)


@public(method=True)
def any(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether some element over the axes is nonzero (NaN is)."""
    return _order_free(ANY, x, axis, keepdims)


@public(method=True)
def count_nonzero(x: Tensor, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """How many elements are nonzero, as int64."""
    return sum(not_equal(x, 0), axis=axis, keepdims=keepdims)
