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
from ...core.cache import keep
from ...core.errors import DTypeError, ShapeError
from ...core.shapes import reduced_axes
from ...ir.door.bind import FAST, TABLE_LIMIT, Resolved, as_tensor, bind, resolve, run
from ...ir.door.bind import convert as astype
from ...ir.op import Op, RowOp, extend, register
from ...ir.scalar.program import Builder, Val
from ..base.common import SHAPE_ONLY, as_type, groups, shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import add, clone, divide, multiply, subtract
from ..elementwise.logic import equal
from ..elementwise.selection import where
from .masks import beginning, counting, masked
from .views import BROADCAST, broadcast_to, reshape

Ints = tuple[int, ...]
Axis = Any
Tensor = Any


# ---- the adjoint of broadcasting
def sum_like(gradient: Tensor, shape: Ints) -> Tensor:
    """The adjoint of broadcasting a tensor of that shape: summed over what was repeated."""
    if gradient.shape == shape:
        return gradient
    lead = gradient.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, d in enumerate(shape) if d == 1 and gradient.shape[lead + i] != 1
    )
    return reshape(sum(gradient, axis=axes) if axes else gradient, shape)


extend(BROADCAST, vjp=lambda gradient, out, operand, shape: (sum_like(gradient, operand.shape),))


def keep_shape(shape: Ints, axes: Ints) -> Ints:
    """A shape with size 1 at the reduced axes."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape))


# ---- records
def dropped(shape: Ints, axes: tuple[int, int]) -> Ints:
    return shape[: axes[0]] + shape[axes[1] :]


def _infer(
    operand: Aval, *, axes: tuple[int, int], dtype: np.dtype | None = None
) -> tuple[Aval, ...]:
    return (operand.with_(dropped(operand.shape, axes), dtype),)


def infer_nonempty(name: str, dtype: np.dtype | None) -> Any:
    """The infer rule of a reduction that has no value for no elements; None keeps the dtype."""

    def infer(operand: Aval, *, axes: tuple[int, int]) -> tuple[Aval, ...]:
        if 0 in operand.shape[axes[0] : axes[1]]:
            raise ShapeError(
                f"{name} of no elements has no value: shape {operand.shape} has size 0 along a "
                "reduced axis"
            )
        return (operand.with_(dropped(operand.shape, axes), dtype),)

    return infer


def _spread(gradient: Tensor, shape: Ints, axes: tuple[int, int]) -> Tensor:
    """A gradient repeated along the reduced axes; leading ones need no axis of size 1."""
    if axes[0]:
        gradient = reshape(gradient, keep_shape(shape, tuple(range(*axes))))
    return broadcast_to(gradient, shape)


def _sum_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axes: tuple[int, int], dtype: np.dtype
) -> tuple[Tensor]:
    return (_spread(gradient, operand.shape, axes),)


def _mean_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axes: tuple[int, int], dtype: np.dtype
) -> tuple[Tensor]:
    return (
        _spread(
            divide(gradient, builtins.max(product(operand.shape[axes[0] : axes[1]]), 1)),
            operand.shape,
            axes,
        ),
    )


def _prod_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axes: tuple[int, int], dtype: np.dtype
) -> tuple[Tensor]:
    """The gradient times the product of the other elements, also where elements are zero; zeros
    stay factors where there are up to two, so that second derivatives are right too."""
    over, kept = tuple(range(*axes)), keep_shape(operand.shape, tuple(range(*axes)))
    zero = equal(operand, 0)
    nonzeros = where(zero, 1, operand)
    nonzero = prod(nonzeros, axis=over, keepdims=True)
    count = sum(astype(zero, dt.int64), axis=over, keepdims=True)
    total = sum(where(zero, operand, 0), axis=over, keepdims=True)  # the one zero, or two
    at_zero = where(equal(count, 1), 1, where(equal(count, 2), subtract(total, operand), 0))
    elsewhere = where(equal(count, 0), 1, where(equal(count, 1), total, 0))
    others = where(zero, multiply(nonzero, at_zero), multiply(divide(nonzero, nonzeros), elsewhere))
    return (multiply(reshape(gradient, kept), others),)


def walk(prim: str) -> Any:
    """The body of a record that is one reduction of the algebra."""

    def body(
        algebra: Builder, operand: Val, *, axes: tuple[int, int], dtype: np.dtype | None = None
    ) -> Val:
        return algebra.reduce(prim, operand if dtype is None else as_type(algebra, operand, dtype))

    return body


def _mean_body(algebra: Builder, operand: Val, *, axes: tuple[int, int], dtype: np.dtype) -> Val:
    widened = as_type(algebra, operand, dtype)
    return algebra.rsum(widened) / algebra.rlen(widened.type)


def oracle_of(function: Any) -> Any:
    def reference(
        operand: np.ndarray, axes: tuple[int, int], dtype: np.dtype | None = None
    ) -> np.ndarray:
        with np.errstate(all="ignore"):
            result: np.ndarray = function(wide(operand), axis=tuple(range(*axes)))
            return result

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
    return shapes_of([(s, {"axes": a, **more}) for s, a in rows], low=0.5, high=1.5)


SUM = register(
    RowOp(
        "sum",
        1,
        _infer,
        body=walk("rsum"),
        vjp=_sum_vjp,
        params=("axes", "dtype"),
        keeps=SHAPE_ONLY,
        reference=oracle_of(np.sum),
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
        reference=oracle_of(np.prod),
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
        reference=oracle_of(
            lambda operand, axis: (
                np.sum(operand, axis=axis)
                / np.array(product(operand.shape[a] for a in axis), operand.dtype)
            )
        ),
        samples=cases(dtype=dt.float64),
        ulp=3.0,
        doc="Mean over a group of axes; NaN of nothing.",
    )
)


# ---- public functions
def finish(out: Tensor, shape: Ints, axes: Ints, keepdims: bool) -> Tensor:
    """The result, with the reduced axes of `shape` as size 1 if asked."""
    return reshape(out, keep_shape(shape, axes)) if keepdims else out


def _converted(operand: Tensor, dtype: np.dtype) -> Tensor:
    """A fresh handle on the operand in a dtype."""
    return clone(operand) if operand.dtype is dtype else astype(operand, dtype)


def _sum_dtype(operand: Tensor, dtype: Any) -> np.dtype:
    if dtype is not None:
        return dt.canonical(dtype)
    own: np.dtype = operand.dtype
    if dt.is_inexact(own):
        return own
    return dt.uint64 if dt.kind(own) == "u" else dt.int64


# (op, aval, axis, dtype) -> what a call resolves to that is one record without conversion, and the
# shape with the reduced axes kept
_ONE: dict[Any, tuple[Resolved, Ints]] = {}
FAST.append(_ONE)


def _one(op: Op, operand: Tensor, axis: Axis, dtype: Any, keepdims: bool) -> Tensor | None:
    """The result of a call whose axes were normalised before, else None."""
    if type(axis) is not int and axis is not None:
        if type(axis) is not tuple or builtins.any(type(a) is not int for a in axis):
            return None  # what is equal to an axis (1.0, True) need not be one
    try:
        plan = _ONE.get((op, operand._a, axis, dtype))
    except (AttributeError, TypeError):
        return None
    if plan is None:
        return None
    result = run(plan[0], (operand,))
    return reshape(result, plan[1]) if keepdims else result


def _remember(
    op: Op, operand: Tensor, axis: Axis, dtype: Any, axes: Ints, params: dict[str, Any]
) -> None:
    plain = axis is None or type(axis) is int or type(axis) is tuple
    if plain and not dt.is_complex(operand.dtype):
        plan = resolve(op, (operand,), params)[0], keep_shape(operand.shape, axes)
        keep(_ONE, (op, operand._a, axis, dtype), plan, TABLE_LIMIT)


def _converts_first(own: np.dtype, wanted: np.dtype) -> bool:
    """Whether elements are rounded to the dtype of the result before they are reduced; the others
    are converted by the kernel, which has no complex numbers."""
    if own is wanted or dt.is_complex(wanted):
        return own is not wanted
    return dt.is_inexact(own) and (dt.is_half(wanted) or not dt.is_half(own))


def _additive(op: Op, operand: Tensor, axis: Axis, dtype: Any, keepdims: bool) -> Tensor:
    """sum and prod: conversion first where dtype narrows,
    one rounding at the end for half types."""
    known = _one(op, operand, axis, dtype, keepdims)
    if known is not None:
        return known
    given = operand = as_tensor(operand)
    axes, wanted = reduced_axes(axis, operand.ndim, op.name), _sum_dtype(operand, dtype)
    if wanted is dt.bool_:
        raise DTypeError(f"{op.name} does not work in bool; use any or all")
    if _converts_first(operand.dtype, wanted):
        operand = astype(operand, wanted)
    runs = groups(axes)
    if not runs:
        return _converted(operand, wanted)
    if len(runs) == 1 and operand is given:
        _remember(op, operand, axis, dtype, axes, {"axes": runs[0], "dtype": wanted})
    result = operand
    for position, group in enumerate(reversed(runs)):
        result = bind(
            op,
            result,
            axes=group,
            dtype=wanted if position == len(runs) - 1 else dt.compute_type(wanted),
        )
    return finish(result, operand.shape, axes, keepdims)


def _partly(
    record: Op, x: Any, axis: Axis, dtype: Any, keepdims: bool, initial: Any, condition: Any
) -> Tensor:
    """sum and prod of the elements in a mask, combined with `initial` before the last rounding."""
    operand = as_tensor(x)
    wanted = _sum_dtype(operand, dtype)
    operand = masked(record.name, operand, condition, 0 if record is SUM else 1)
    if initial is None:
        return _additive(record, operand, axis, wanted, keepdims)
    first = beginning(record.name, initial, operand, dt.compute_type(wanted))
    total = _additive(record, operand, axis, first.dtype, keepdims)
    return astype((add if record is SUM else multiply)(total, first), wanted)


@public(method=True)
def sum(
    x: Tensor,
    /,
    axis: Axis = None,
    *,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """Sum over axes: an int, a tuple, or None for all; the reduced axes go unless `keepdims`.

    Integers and bools sum in int64, unsigned ones in uint64; floats keep their dtype, half types
    accumulate in float32.  `dtype` says otherwise.  The number `initial` is added; elements that
    are not in the mask `where`, which broadcasts to x, count as 0.  Raises ShapeError for an axis
    out of range and a mask that does not fit, DTypeError for dtype bool.

    >>> hybrid.sum(hybrid.ones((2, 3)), axis=1).tolist()
    [3.0, 3.0]
    >>> hybrid.sum(hybrid.tensor([1.0, 2.0]), where=[True, False], initial=10.0)
    tensor(11.)
    """
    if where is True and initial is None:
        return _additive(SUM, x, axis, dtype, keepdims)
    return _partly(SUM, x, axis, dtype, keepdims, initial, where)


@public(method=True)
def prod(
    x: Tensor,
    /,
    axis: Axis = None,
    *,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Tensor:
    """Product over axes (all by default), with the dtype rule of `sum`, times `initial`.

    Axes, `keepdims` and errors are those of `sum`; what is not in the mask `where` counts as 1.

    >>> hybrid.prod(hybrid.tensor([[1, 2], [3, 4]]), axis=0)
    tensor([3, 8])
    """
    if where is True and initial is None:
        return _additive(PROD, x, axis, dtype, keepdims)
    return _partly(PROD, x, axis, dtype, keepdims, initial, where)


def _mean_dtype(x: Tensor, dtype: Any) -> np.dtype:
    return dt.canonical(dtype or (x.dtype if dt.is_inexact(x.dtype) else dt.default_float))


def masked_mean(
    caller: str, operand: Tensor, axis: Axis, dtype: Any, keepdims: bool, condition: Any
) -> Tensor:
    """The mean of the elements in a mask; NaN where there is none."""
    wanted = _mean_dtype(operand, dtype)
    total = sum(
        masked(caller, operand, condition, 0),
        axis,
        dtype=dt.compute_type(wanted),
        keepdims=keepdims,
    )
    count = sum(counting(caller, operand, condition), axis, keepdims=keepdims)
    return astype(divide(total, astype(count, dt.real_of(total.dtype))), wanted)


@public(method=True)
def mean(
    x: Tensor,
    /,
    axis: Axis = None,
    *,
    dtype: Any = None,
    keepdims: bool = False,
    where: Any = True,
) -> Tensor:
    """Mean over axes, as `sum` takes them, of the elements in the mask `where`; NaN of no elements.

    Floats keep their dtype (half types accumulate in float32), integers and bools give float32;
    `dtype` says otherwise.

    >>> hybrid.mean(hybrid.tensor([[1, 2], [3, 6]]), axis=1, keepdims=True)
    tensor([[1.5],
            [4.5]])
    >>> hybrid.mean(hybrid.tensor([[1, 2], [3, 6]]), axis=1, where=[True, False])
    tensor([1., 3.])
    """
    if where is not True:
        return masked_mean("mean", as_tensor(x), axis, dtype, keepdims, where)
    known = _one(MEAN, x, axis, dtype, keepdims)
    if known is not None:
        return known
    given = x = as_tensor(x)
    axes = reduced_axes(axis, x.ndim, "mean")
    wanted = _mean_dtype(x, dtype)
    runs = groups(axes)
    if len(runs) == 1:
        first = dt.is_complex(wanted) or (dt.is_inexact(x.dtype) and not dt.is_half(x.dtype))
        x = astype(x, wanted) if first else x
        if x is given:
            _remember(MEAN, x, axis, dtype, axes, {"axes": runs[0], "dtype": wanted})
        return finish(bind(MEAN, x, axes=runs[0], dtype=wanted), x.shape, axes, keepdims)
    if not runs:
        return _converted(x, wanted)
    x = x if dt.is_half(wanted) else astype(x, wanted)
    total = sum(x, axis=axes, dtype=dt.compute_type(wanted), keepdims=keepdims)
    return astype(divide(total, product(x.shape[a] for a in axes)), wanted)
