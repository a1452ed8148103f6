"""Row functions: softmax, log_softmax, logsumexp, variance, standard deviation, vector norm.

Invariant: a row record takes its group as the last axes; the public functions permute another axis
to the end and back, which are views.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.shapes import normalize_axes, normalize_axis
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.door.flat import function_of
from ...ir.op import NO_GRAD, Op, map_op, register
from ...ir.scalar.program import Builder, Val
from ..base.common import need_float, same_infer, shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import abs, divide, multiply, square, subtract
from ..elementwise.functions import exp, log, power
from ..elementwise.logic import equal, not_equal
from ..elementwise.selection import where
from ..formulas import exp as exp_
from ..formulas import log as log_
from .reduce import MAX, keep_shape, mean
from .reduce import max as max_
from .reduce import min as min_
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


def _axes(axes: Group) -> Ints:
    return tuple(range(*axes))


def _softmax_reference(x: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        v = wide(x)
        e = np.exp(v - v.max(_axes(axes), keepdims=True, initial=-np.inf))
        return e / e.sum(_axes(axes), keepdims=True)


def _log_softmax_reference(x: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        v = wide(x)
        d = v - v.max(_axes(axes), keepdims=True, initial=-np.inf)
        return d - np.log(np.exp(d).sum(_axes(axes), keepdims=True))


SOFTMAX = register(
    Op(
        "softmax",
        "row",
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
    over = _axes(axes)

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
    Op(
        "softmax_grad",
        "row",
        2,
        same_infer,
        body=_softmax_grad_body,
        params=("axes",),
        vjp=_softmax_grad_vjp,
        reference=lambda g, y, axes: (
            wide(y) * (wide(g) - (wide(g) * wide(y)).sum(_axes(axes), keepdims=True))
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
    over, p = _axes(axes), exp(y)
    up = multiply(u, p)
    return (
        subtract(u, sum_(up, axis=over, keepdims=True)),
        multiply(multiply(up, sum_(g, axis=over, keepdims=True)), -1),
    )


LOG_SOFTMAX_GRAD = register(
    Op(
        "log_softmax_grad",
        "row",
        2,
        same_infer,
        body=_log_softmax_grad_body,
        params=("axes",),
        vjp=_log_softmax_grad_vjp,
        accepts="f",
        samples=_two_rows,
        ulp=400.0,
        reference=lambda g, y, axes: (
            wide(g) - np.exp(wide(y)) * wide(g).sum(_axes(axes), keepdims=True)
        ),
        doc="Gradient of log_softmax from its result.",
    )
)
LOG_SOFTMAX = register(
    Op(
        "log_softmax",
        "row",
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
    Op(
        "peak",
        "row",
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


def _drop(a: Aval, *, axes: Group, **_: Any) -> tuple[Aval, ...]:
    return (a.with_(a.shape[: axes[0]]),)


def _kept(g: Tensor, x: Tensor, axes: Group) -> Tensor:
    return reshape(g, keep_shape(x.shape, _axes(axes)))


def _logsumexp_body(s: Builder, x: Val, *, axes: Group) -> Val:
    m = s.rmax(x)
    m = s.select(s.abs(m) == float("inf"), 0.0, m)
    return m + log_(s, s.rsum(exp_(s, x - m)))


def _logsumexp_reference(x: np.ndarray, axes: Group) -> np.ndarray:
    with np.errstate(all="ignore"):
        v = wide(x)
        m = v.max(_axes(axes), keepdims=True, initial=-np.inf)
        m = np.where(np.isinf(m), 0, m)
        return np.log(np.exp(v - m).sum(_axes(axes))) + m.reshape(x.shape[: axes[0]])


LOGSUMEXP = register(
    Op(
        "logsumexp",
        "row",
        1,
        _drop,
        body=_logsumexp_body,
        params=("axes",),
        accepts="f",
        ulp=4.0,
        vjp=lambda g, out, x, axes: (
            multiply(_kept(g, x, axes), exp(subtract(x, _kept(out, x, axes)))),
        ),
        reference=_logsumexp_reference,
        samples=shapes_of(ROWS, lo=1.0, hi=4.0),
        doc="log of the sum of exponentials along a row.",
    )
)


def _var_body(s: Builder, x: Val, *, axes: Group, correction: float) -> Val:
    n = s.rlen(x.type)
    d = x - s.rsum(x) / n
    return s.rsum(d * d) / s.max(n - correction, 0.0)


def _var_vjp(g: Tensor, out: Tensor, x: Tensor, axes: Group, correction: float) -> tuple[Tensor]:
    over = _axes(axes)
    n = max(prod(x.shape[a] for a in over) - correction, 0)
    d = subtract(x, mean(x, axis=over, keepdims=True))
    return (multiply(multiply(_kept(g, x, axes), 2 / n if n else float("nan")), d),)


def _var_reference(x: np.ndarray, axes: Group, correction: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        v, over = wide(x), _axes(axes)
        n = np.array(prod(x.shape[a] for a in over), v.dtype)
        d = v - v.sum(over, keepdims=True) / n
        return (d * d).sum(over) / np.maximum(n - correction, 0)


VAR = register(
    Op(
        "var",
        "row",
        1,
        _drop,
        body=_var_body,
        params=("axes", "correction"),
        vjp=_var_vjp,
        accepts="f",
        ulp=16.0,
        reference=_var_reference,
        samples=shapes_of(
            [
                ((7,), {"axes": (0, 1), "correction": 0.0}),
                ((3, 10), {"axes": (1, 2), "correction": 1.0}),
                ((2, 3, 30), {"axes": (1, 3), "correction": 0.0}),
                ((3, 1), {"axes": (1, 2), "correction": 1.0}),
                ((0, 4), {"axes": (1, 2), "correction": 0.0}),
            ]
        ),
        doc="Mean of the squared distance from the mean, the count reduced by `correction`.",
    )
)


_root = function_of(
    map_op(
        "std_root",
        1,
        lambda s, x: s.sqrt(x),
        vjp=lambda g, out, x: (where(equal(out, 0.0), 0.0, divide(g, multiply(out, 2.0))),),
        reference=lambda x: np.sqrt(wide(x)),
        result="float",
        accepts="f",
        domain=(0.1, 5.0),
        ulp=1.0,
        doc="Square root whose gradient at zero is zero.",
    )
)


def _norm_reference(x: np.ndarray, axes: Group) -> np.ndarray:
    return np.sqrt((wide(x) ** 2).sum(_axes(axes)))


NORM = register(
    Op(
        "norm",
        "row",
        1,
        _drop,
        body=lambda s, x, *, axes: s.sqrt(s.rsum(x * x)),
        params=("axes",),
        accepts="f",
        ulp=4.0,
        vjp=lambda g, out, x, axes: (
            multiply(_kept(where(equal(out, 0), 0, divide(g, out)), x, axes), x),
        ),
        reference=_norm_reference,
        samples=shapes_of(ROWS),
        doc="Euclidean length of a row; its gradient at zero is zero.",
    )
)


def _to_rows(x: Tensor, axes: Ints) -> Tensor:
    """The axes moved to the end."""
    return moveaxis(x, axes, tuple(range(x.ndim - len(axes), x.ndim)))


def _row_value(op: Op, x: Tensor, axis: Any, keepdims: bool, **params: Any) -> Tensor:
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
    return _row_value(LOGSUMEXP, x, axis, keepdims)


@public(method=True)
def var(x: Tensor, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance over axes; divides by the count minus `correction` (array API;
    PyTorch's default is 1)."""
    x = as_tensor(x)
    x = x if dt.is_float(x.dtype) else astype(x, dt.default_float)
    axes = normalize_axes(axis, x.ndim, "var")
    if not axes or axes == tuple(range(axes[0], x.ndim)) or x.size == 0:
        return _row_value(VAR, x, axis, keepdims, correction=float(correction))
    v = astype(x, dt.compute_type(x.dtype))
    n = max(prod(x.shape[a] for a in axes) - correction, 0)
    total = sum_(
        square(subtract(v, mean(v, axis=axes, keepdims=True))), axis=axes, keepdims=keepdims
    )
    return astype(multiply(total, float("nan")) if n == 0 else divide(total, n), x.dtype)


@public(method=True)
def std(x: Tensor, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation over axes; see `var`.  Its gradient where all elements are equal is zero,
    as in PyTorch."""
    return _root(var(x, axis, correction=correction, keepdims=keepdims))


@public(method=True)
def norm(x: Tensor, axis: Any = None, *, ord: float = 2, keepdims: bool = False) -> Tensor:
    """Vector norm over axes (all by default): ord 2, 1, 0, inf, -inf or any other power.

    Elements that are zero, and vectors of zeros, have the gradient zero; equal extremes share it
    for ord inf and -inf.  ord 0 has no gradient.

    >>> import hybrid
    >>> norm(hybrid.tensor([3.0, 4.0])).item()
    5.0
    """
    x = as_tensor(x)
    x = x if dt.is_float(x.dtype) else astype(x, dt.default_float)
    if ord == 2:
        return _row_value(NORM, x, axis, keepdims)
    if ord in (float("inf"), float("-inf")):
        return (max_ if ord > 0 else min_)(abs(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum_(astype(not_equal(x, 0), x.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum_(abs(x), axis=axis, keepdims=keepdims)
    return _power_norm(x, axis, float(ord), keepdims)


def _power_norm(x: Tensor, axis: Any, ord: float, keepdims: bool) -> Tensor:
    """sum(|x|^ord)^(1/ord); zeros are put in beside the powers, whose slope there may be NaN."""
    size = abs(x)
    zero = equal(size, 0)
    powers = where(zero, 0.0 if ord > 0 else float("inf"), power(where(zero, 1.0, size), ord))
    total = sum_(powers, axis=axis, keepdims=keepdims)
    none = equal(total, 0)
    return where(none, 0.0 if ord > 0 else float("inf"), power(where(none, 1.0, total), 1.0 / ord))
