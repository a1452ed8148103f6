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
from ...core.shapes import normalize_axes, normalize_axis
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, Op, RowOp, register
from ...ir.scalar.program import Builder, Val
from ..base.common import need_float, same_infer, shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import divide, multiply, subtract
from ..elementwise.functions import exp, log
from ..formulas import exp as exp_
from ..formulas import log as log_
from .reduce import MAX, keep_shape
from .reduce import sum as sum_
from .views import moveaxis, reshape

Ints = tuple[int, ...]
Group = tuple[int, int]
Tensor = Any


def last_axis(fn: Callable[[Tensor], Tensor], x: Tensor, axis: int) -> Tensor:
    """fn applied along an axis that is last: moved there and back as views."""
    a = normalize_axis(axis, x.ndim)
    return fn(x) if a == x.ndim - 1 else moveaxis(fn(moveaxis(x, a, -1)), -1, a)


def _rows(*shapes: Ints) -> Any:
    return shapes_of([(s, {"axes": (len(s) - 1, len(s))}) for s in shapes])


# ---- softmax
def _softmax_body(s: Builder, x: Val, *, axes: Group) -> Val:
    e = exp_(s, x - s.rmax(x))
    return e / s.rsum(e)


def _log_softmax_body(s: Builder, x: Val, *, axes: Group) -> Val:
    d = x - s.rmax(x)
    return d - log_(s, s.rsum(exp_(s, d)))


def axes_of(axes: Group) -> Ints:
    return tuple(range(*axes))


def _softmax_reference(x: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        v = wide(x)
        e = np.exp(v - v.max(axes_of(axes), keepdims=True, initial=-np.inf))
        return e / e.sum(axes_of(axes), keepdims=True)


def _log_softmax_reference(x: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        v = wide(x)
        d = v - v.max(axes_of(axes), keepdims=True, initial=-np.inf)
        return d - np.log(np.exp(d).sum(axes_of(axes), keepdims=True))


SOFTMAX = register(
    RowOp(
        "softmax",
        1,
        same_infer,
        body=_softmax_body,
        params=("axes",),
        accepts="f",
        ulp=6.0,
        vjp=lambda g, out, x, axes: (bind(SOFTMAX_GRAD, g, out, axes=axes),),
        reference=_softmax_reference,
        samples=_rows((7,), (3, 10), (2, 3, 70), (2, 1), (0, 4), (2, 0)),
        doc="exp(x) over its sum along a row, without overflow.",
    )
)


def _softmax_grad_body(s: Builder, g: Val, y: Val, *, axes: Group) -> Val:
    return y * (g - s.rsum(g * y))


def _softmax_grad_vjp(u: Tensor, out: Tensor, g: Tensor, y: Tensor, axes: Group) -> tuple[Any, Any]:
    over = axes_of(axes)

    def by_result() -> Tensor:
        inner = sum_(multiply(g, y), axis=over, keepdims=True)
        outer = sum_(multiply(u, y), axis=over, keepdims=True)
        return subtract(multiply(u, subtract(g, inner)), multiply(g, outer))

    return lambda: bind(SOFTMAX_GRAD, u, y, axes=axes), by_result


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
        reference=lambda g, y, axes: (
            wide(y) * (wide(g) - (wide(g) * wide(y)).sum(axes_of(axes), keepdims=True))
        ),
        accepts="f",
        samples=_two_rows,
        ulp=400.0,
        doc="Gradient of softmax from its result.",
    )
)


def _log_softmax_grad_body(s: Builder, g: Val, y: Val, *, axes: Group) -> Val:
    return g - exp_(s, y) * s.rsum(g)


def _log_softmax_grad_vjp(
    u: Tensor, out: Tensor, g: Tensor, y: Tensor, axes: Group
) -> tuple[Any, Any]:
    over, p = axes_of(axes), exp(y)
    up = multiply(u, p)
    return (
        subtract(u, sum_(up, axis=over, keepdims=True)),
        multiply(multiply(up, sum_(g, axis=over, keepdims=True)), -1),
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
        reference=lambda g, y, axes: (
            wide(g) - np.exp(wide(y)) * wide(g).sum(axes_of(axes), keepdims=True)
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
        vjp=lambda g, out, x, axes: (bind(LOG_SOFTMAX_GRAD, g, out, axes=axes),),
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


def _row_function(op: Op, columns: Callable[[Tensor, int], Tensor], x: Tensor, axis: int) -> Tensor:
    """A record along the last axis; along another axis the composition `columns`,
    whose sums run down columns."""
    x = as_tensor(x)
    need_float(op.name, x._a)
    if x.ndim == 0:
        return reshape(_row_function(op, columns, reshape(x, (1,)), 0), ())
    a = normalize_axis(axis, x.ndim, op.name)
    if a == x.ndim - 1 or x.size == 0:
        return last_axis(lambda v: bind(op, v, axes=(v.ndim - 1, v.ndim)), x, a)
    return astype(columns(astype(x, dt.compute_type(x.dtype)), a), x.dtype)


def _shifted(x: Tensor, axis: int) -> Tensor:
    """x minus its largest element along an axis."""
    return subtract(x, reshape(bind(PEAK, x, axes=(axis, axis + 1)), keep_shape(x.shape, (axis,))))


def _softmax_columns(x: Tensor, axis: int) -> Tensor:
    e = exp(_shifted(x, axis))
    return divide(e, sum_(e, axis=axis, keepdims=True))


def _log_softmax_columns(x: Tensor, axis: int) -> Tensor:
    d = _shifted(x, axis)
    return subtract(d, log(sum_(exp(d), axis=axis, keepdims=True)))


@public(method=True)
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) divided by its sum along an axis, without overflow; same shape and dtype.

    Raises DTypeError for tensors that are not floating, ShapeError for an axis out of range.
    """
    return _row_function(SOFTMAX, _softmax_columns, x, axis)


@public(method=True)
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Logarithm of `softmax` along an axis, exact where the softmax itself would be 0."""
    return _row_function(LOG_SOFTMAX, _log_softmax_columns, x, axis)


# ---- row -> one value: logsumexp, var, norm
ROWS = [
    ((7,), {"axes": (0, 1)}),
    ((3, 10), {"axes": (1, 2)}),
    ((2, 3, 4), {"axes": (1, 3)}),
    ((3, 0), {"axes": (1, 2)}),
]


def row_infer(a: Aval, *, axes: Group, **_: Any) -> tuple[Aval, ...]:
    return (a.with_(a.shape[: axes[0]]),)


def spread_row(g: Tensor, x: Tensor, axes: Group) -> Tensor:
    return reshape(g, keep_shape(x.shape, axes_of(axes)))


def _logsumexp_body(s: Builder, x: Val, *, axes: Group) -> Val:
    m = s.rmax(x)
    m = s.select(s.abs(m) == float("inf"), 0.0, m)
    return m + log_(s, s.rsum(exp_(s, x - m)))


def _logsumexp_reference(x: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        v = wide(x)
        m = v.max(axes_of(axes), keepdims=True, initial=-np.inf)
        m = np.where(np.isinf(m), 0, m)
        return np.log(np.exp(v - m).sum(axes_of(axes))) + m.reshape(x.shape[: axes[0]])


LOGSUMEXP = register(
    RowOp(
        "logsumexp",
        1,
        row_infer,
        body=_logsumexp_body,
        params=("axes",),
        accepts="f",
        ulp=4.0,
        vjp=lambda g, out, x, axes: (
            multiply(spread_row(g, x, axes), exp(subtract(x, spread_row(out, x, axes)))),
        ),
        reference=_logsumexp_reference,
        samples=shapes_of(ROWS, lo=1.0, hi=4.0),
        doc="log of the sum of exponentials along a row.",
    )
)


def _to_rows(x: Tensor, axes: Ints) -> Tensor:
    """The axes moved to the end."""
    return moveaxis(x, axes, tuple(range(x.ndim - len(axes), x.ndim)))


def row_value(op: Op, x: Tensor, axis: Any, keepdims: bool, **params: Any) -> Tensor:
    axes = normalize_axes(axis, x.ndim, op.name)
    shape = x.shape
    if not axes:
        x, count = reshape(x, (*shape, 1)), 1
    else:
        x, count = _to_rows(x, axes), len(axes)
    out = bind(op, x, axes=(x.ndim - count, x.ndim), **params)
    return reshape(out, keep_shape(shape, axes)) if keepdims else out


@public(method=True)
def logsumexp(x: Tensor, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow."""
    x = as_tensor(x)
    need_float("logsumexp", x._a)
    return row_value(LOGSUMEXP, x, axis, keepdims)
