"""Row functions: softmax, log_softmax, logsumexp.

Invariant: a row record takes its group as the last axes; the public functions permute another axis
to the end and back, which are views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.cache import keep
from ...core.shapes import normalize_axis, reduced_axes
from ...ir.door.bind import FAST, TABLE_LIMIT, Resolved, as_tensor, bind, resolve, run
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, Op, RowOp, register
from ...ir.scalar.program import Builder, Val
from ..base.common import need_float, same_infer, shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import divide, multiply, subtract
from ..elementwise.functions import exp, log
from ..formulas import exp as exp_
from ..formulas import log as log_
from .extremes import MAX
from .reduce import keep_shape
from .reduce import sum as sum_
from .views import moveaxis, reshape

Ints = tuple[int, ...]
Group = tuple[int, int]
Tensor = Any


def last_axis(function: Callable[[Tensor], Tensor], operand: Tensor, axis: int) -> Tensor:
    """A function applied along an axis that is last: moved there and back as views."""
    along_axis = normalize_axis(axis, operand.ndim)
    return (
        function(operand)
        if along_axis == operand.ndim - 1
        else moveaxis(function(moveaxis(operand, along_axis, -1)), -1, along_axis)
    )


def _rows(*shapes: Ints) -> Any:
    return shapes_of([(s, {"axes": (len(s) - 1, len(s))}) for s in shapes])


# ---- softmax
def _softmax_body(algebra: Builder, operand: Val, *, axes: Group) -> Val:
    powers = exp_(algebra, operand - algebra.rmax(operand))
    return powers / algebra.rsum(powers)


def _log_softmax_body(algebra: Builder, operand: Val, *, axes: Group) -> Val:
    shifted = operand - algebra.rmax(operand)
    return shifted - log_(algebra, algebra.rsum(exp_(algebra, shifted)))


def axes_of(axes: Group) -> Ints:
    return tuple(range(*axes))


def _softmax_reference(operand: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        widened = wide(operand)
        powers = np.exp(widened - widened.max(axes_of(axes), keepdims=True, initial=-np.inf))
        result: np.ndarray = powers / powers.sum(axes_of(axes), keepdims=True)
        return result


def _log_softmax_reference(operand: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        widened = wide(operand)
        shifted = widened - widened.max(axes_of(axes), keepdims=True, initial=-np.inf)
        result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axes_of(axes), keepdims=True))
        return result


SOFTMAX = register(
    RowOp(
        "softmax",
        1,
        same_infer,
        body=_softmax_body,
        params=("axes",),
        accepts="f",
        ulp=6.0,
        vjp=lambda gradient, out, operand, axes: (bind(SOFTMAX_GRAD, gradient, out, axes=axes),),
        reference=_softmax_reference,
        samples=_rows((7,), (3, 10), (2, 3, 70), (2, 1), (0, 4), (2, 0)),
        doc="exp(x) over its sum along a row, without overflow.",
    )
)


def _softmax_grad_body(algebra: Builder, gradient: Val, result: Val, *, axes: Group) -> Val:
    return result * (gradient - algebra.rsum(gradient * result))


def _softmax_grad_vjp(
    upstream: Tensor, out: Tensor, gradient: Tensor, result: Tensor, axes: Group
) -> tuple[Any, Any]:
    over = axes_of(axes)

    def by_result() -> Tensor:
        inner = sum_(multiply(gradient, result), axis=over, keepdims=True)
        outer = sum_(multiply(upstream, result), axis=over, keepdims=True)
        return subtract(multiply(upstream, subtract(gradient, inner)), multiply(gradient, outer))

    return lambda: bind(SOFTMAX_GRAD, upstream, result, axes=axes), by_result


def _two_rows(rng: np.random.Generator) -> Any:
    for shape in ((7,), (3, 10), (2, 70), (2, 1), (2, 0)):
        yield (
            [rng.uniform(-1, 1, shape), rng.uniform(0.05, 1, shape)],
            {"axes": (len(shape) - 1, len(shape))},
        )


SOFTMAX_GRAD: Op = register(
    RowOp(
        "softmax_grad",
        2,
        same_infer,
        body=_softmax_grad_body,
        params=("axes",),
        vjp=_softmax_grad_vjp,
        reference=lambda gradient, result, axes: (
            wide(result)
            * (wide(gradient) - (wide(gradient) * wide(result)).sum(axes_of(axes), keepdims=True))
        ),
        accepts="f",
        samples=_two_rows,
        ulp=400.0,
        doc="Gradient of softmax from its result.",
    )
)


def _log_softmax_grad_body(algebra: Builder, gradient: Val, result: Val, *, axes: Group) -> Val:
    return gradient - exp_(algebra, result) * algebra.rsum(gradient)


def _log_softmax_grad_vjp(
    outer: Tensor, out: Tensor, gradient: Tensor, result: Tensor, axes: Group
) -> tuple[Any, Any]:
    over, weights = axes_of(axes), exp(result)
    scaled = multiply(outer, weights)
    return (
        subtract(outer, sum_(scaled, axis=over, keepdims=True)),
        multiply(multiply(scaled, sum_(gradient, axis=over, keepdims=True)), -1),
    )


LOG_SOFTMAX_GRAD = register(
    RowOp(
        "log_softmax_grad",
        2,
        same_infer,
        body=_log_softmax_grad_body,
        params=("axes",),
        vjp=_log_softmax_grad_vjp,
        accepts="f",
        samples=_two_rows,
        ulp=400.0,
        reference=lambda gradient, result, axes: (
            wide(gradient) - np.exp(wide(result)) * wide(gradient).sum(axes_of(axes), keepdims=True)
        ),
        doc="Gradient of log_softmax from its result.",
    )
)
LOG_SOFTMAX = register(
    RowOp(
        "log_softmax",
        1,
        same_infer,
        body=_log_softmax_body,
        params=("axes",),
        accepts="f",
        ulp=8.0,
        vjp=lambda gradient, out, operand, axes: (
            bind(LOG_SOFTMAX_GRAD, gradient, out, axes=axes),
        ),
        reference=_log_softmax_reference,
        samples=_rows((7,), (3, 10), (2, 3, 70), (0, 4), (2, 0)),
        doc="log(softmax(x)) without cancellation.",
    )
)


PEAK = register(
    RowOp(
        "peak",
        1,
        MAX.infer,
        body=MAX.body,
        params=("axes",),
        vjp=NO_GRAD,
        accepts="f",
        ulp=0.0,
        reference=MAX.reference,
        samples=MAX.samples,
        doc="Largest element of a group, as a constant without gradient.",
    )
)


_LAST: dict[Any, Resolved] = {}  # by op, record of a tensor and its last axis
FAST.append(_LAST)


def _row_function(
    op: Op, columns: Callable[[Tensor, int], Tensor], operand: Tensor, axis: int
) -> Tensor:
    """A record along the last axis; along another axis the composition `columns`,
    whose sums run down columns."""
    key = op, getattr(operand, "_a", None), axis
    found = _LAST.get(key) if type(axis) is int else None
    if found is not None:
        return run(found, (operand,))
    operand = as_tensor(operand)
    need_float(op.name, operand._a)
    if operand.ndim == 0:
        return reshape(_row_function(op, columns, reshape(operand, (1,)), 0), ())
    along_axis = normalize_axis(axis, operand.ndim, op.name)
    if along_axis == operand.ndim - 1 and key[1] is operand._a and type(axis) is int:
        params = {"axes": (along_axis, operand.ndim)}
        keep(_LAST, key, resolve(op, (operand,), params)[0], TABLE_LIMIT)
    if along_axis == operand.ndim - 1 or operand.size == 0:
        return last_axis(
            lambda rows: bind(op, rows, axes=(rows.ndim - 1, rows.ndim)), operand, along_axis
        )
    return astype(
        columns(astype(operand, dt.compute_type(operand.dtype)), along_axis), operand.dtype
    )


def _shifted(operand: Tensor, axis: int) -> Tensor:
    """The operand minus its largest element along an axis."""
    return subtract(
        operand,
        reshape(bind(PEAK, operand, axes=(axis, axis + 1)), keep_shape(operand.shape, (axis,))),
    )


def _softmax_columns(operand: Tensor, axis: int) -> Tensor:
    powers = exp(_shifted(operand, axis))
    return divide(powers, sum_(powers, axis=axis, keepdims=True))


def _log_softmax_columns(operand: Tensor, axis: int) -> Tensor:
    shifted = _shifted(operand, axis)
    return subtract(shifted, log(sum_(exp(shifted), axis=axis, keepdims=True)))


@public(method=True)
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) divided by its sum along an axis, without overflow; same shape and dtype.

    Raises DTypeError for tensors that are not floating, ShapeError for an axis out of range.

    >>> hybrid.softmax(hybrid.tensor([[0.0, 1.0, 2.0], [1000.0, 0.0, 0.0]]))
    tensor([[0.09  , 0.2447, 0.6652],
            [1.    , 0.    , 0.    ]])
    """
    return _row_function(SOFTMAX, _softmax_columns, x, axis)


@public(method=True)
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Logarithm of `softmax` along an axis, exact where the softmax itself would be 0.

    Shape, dtype and errors are those of `softmax`.

    >>> hybrid.log_softmax(hybrid.tensor([0.0, 1.0, 200.0]))
    tensor([-200., -199.,    0.])
    """
    return _row_function(LOG_SOFTMAX, _log_softmax_columns, x, axis)


# ---- row -> one value: logsumexp, var, norm
ROWS = [
    ((7,), {"axes": (0, 1)}),
    ((3, 10), {"axes": (1, 2)}),
    ((2, 3, 4), {"axes": (1, 3)}),
    ((3, 0), {"axes": (1, 2)}),
]


def row_infer(operand: Aval, *, axes: Group, **_: Any) -> tuple[Aval, ...]:
    return (operand.with_(operand.shape[: axes[0]]),)


def spread_row(gradient: Tensor, operand: Tensor, axes: Group) -> Tensor:
    return reshape(gradient, keep_shape(operand.shape, axes_of(axes)))


def _logsumexp_body(algebra: Builder, operand: Val, *, axes: Group) -> Val:
    peak = algebra.rmax(operand)
    peak = algebra.select(algebra.abs(peak) == float("inf"), 0.0, peak)
    return peak + log_(algebra, algebra.rsum(exp_(algebra, operand - peak)))


def _logsumexp_reference(operand: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        widened = wide(operand)
        peak = widened.max(axes_of(axes), keepdims=True, initial=-np.inf)
        peak = np.where(np.isinf(peak), 0, peak)
        result: np.ndarray = np.log(np.exp(widened - peak).sum(axes_of(axes))) + peak.reshape(
            operand.shape[: axes[0]]
        )
        return result


LOGSUMEXP = register(
    RowOp(
        "logsumexp",
        1,
        row_infer,
        body=_logsumexp_body,
        params=("axes",),
        accepts="f",
        ulp=4.0,
        vjp=lambda gradient, out, operand, axes: (
            multiply(
                spread_row(gradient, operand, axes),
                exp(subtract(operand, spread_row(out, operand, axes))),
            ),
        ),
        reference=_logsumexp_reference,
        samples=shapes_of(ROWS, low=1.0, high=4.0),
        doc="log of the sum of exponentials along a row.",
    )
)


def _to_rows(operand: Tensor, axes: Ints) -> Tensor:
    """The axes moved to the end."""
    last = tuple(range(operand.ndim - len(axes), operand.ndim))
    return operand if axes == last else moveaxis(operand, axes, last)


def row_value(op: Op, operand: Tensor, axis: Any, keepdims: bool, **params: Any) -> Tensor:
    axes = reduced_axes(axis, operand.ndim, op.name)
    shape = operand.shape
    if not axes:
        operand, count = reshape(operand, (*shape, 1)), 1
    else:
        operand, count = _to_rows(operand, axes), len(axes)
    result = bind(op, operand, axes=(operand.ndim - count, operand.ndim), **params)
    return reshape(result, keep_shape(shape, axes)) if keepdims else result


@public(method=True)
def logsumexp(x: Tensor, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow.

    An axis is an int, a tuple, or None for all.  DTypeError for tensors that are not floating.

    >>> hybrid.logsumexp(hybrid.tensor([[0.0, 0.0], [1000.0, 1000.0]]), axis=1)
    tensor([6.9315e-01, 1.0007e+03])
    """
    x = as_tensor(x)
    need_float("logsumexp", x._a)
    return row_value(LOGSUMEXP, x, axis, keepdims)
