"""Losses in PyTorch's form: cross_entropy and nll_loss, regression losses.

Invariant: cross_entropy on class indices is one pass over a row of logits, and so is its gradient;
everything else is composed of public functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import HybridError, ShapeError
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.door.bind import convert as astype
from ...ir.op import RowOp, register
from ...ir.scalar.program import Builder, Val
from ...ir.tensor import Handle
from ..axes.reduce import dropped, keep_shape, mean
from ..axes.reduce import sum as sum_
from ..axes.rows import log_softmax
from ..axes.views import RESHAPE, broadcast_to, expand_dims, moveaxis, reshape, squeeze
from ..base.common import draw, ints, need_float, wide
from ..base.surface import public
from ..elementwise.arithmetic import abs, add, divide, multiply, negative, square, subtract
from ..elementwise.functions import exp
from ..elementwise.logic import greater_equal, less
from ..elementwise.selection import maximum, where
from ..formulas import exp as exp_
from ..formulas import log as log_
from ..indexing.along import take_along_axis
from ..indexing.index import index_check, take

Ints = tuple[int, ...]
Group = tuple[int, int]
Tensor = Any


def _row(operand: Aval) -> Ints:
    return operand.shape[:-1] + (1,)


# ---- the fused record: logits [..., C], class indices [..., 1]
def _ce_infer(operand: Aval, target: Aval, *, axes: Group) -> tuple[Aval, ...]:
    if target.shape != _row(operand):
        raise ShapeError(
            f"cross_entropy: targets of shape {target.shape[:-1]} do not fit logits of shape "
            f"{operand.shape}"
        )
    return operand.with_(_row(operand)), operand.with_(
        _row(operand), dt.compute_type(operand.dtype)
    )


def _ce_body(algebra: Builder, operand: Val, target: Val, *, axes: Group) -> tuple[Val, Val]:
    peak = algebra.rmax(operand)
    shifted = operand - peak
    lse = log_(algebra, algebra.rsum(exp_(algebra, shifted)))
    # one element of the row is kept, the others are -0.0, which adds nothing
    own = algebra.rsum(algebra.select(algebra.coord(axes[0]) == target, shifted, -0.0))
    return algebra.select(target < 0, 0.0, lse - own), lse + peak


def _ce_reference(
    operand: np.ndarray, target: np.ndarray, *, axes: Group
) -> tuple[np.ndarray, np.ndarray]:
    widened = wide(operand)
    peak = widened.max(-1, keepdims=True)
    lse = np.log(np.exp(widened - peak).sum(-1, keepdims=True))
    own = np.take_along_axis(widened - peak, np.maximum(target, 0), -1)
    return np.where(target < 0, 0, lse - own), lse + peak


def _ce_vjp(
    gradients: tuple[Any, Any], outs: tuple[Any, Any], operand: Tensor, target: Tensor, axes: Group
) -> tuple[Any, None]:
    gradient, grad_log = gradients
    by_logits = (
        None if gradient is None else bind(CE_GRAD, gradient, operand, target, outs[1], axes=axes)
    )
    if grad_log is not None:
        part = multiply(grad_log, exp(subtract(operand, outs[1])))
        by_logits = part if by_logits is None else add(by_logits, part)
    return by_logits, None


def _ce_samples(rng: np.random.Generator) -> Any:
    for shape in ((10,), (5, 10), (2, 3, 70), (4, 1), (0, 3)):
        count = len(shape)
        yield (
            [draw(rng, *shape), ints(rng, *shape[:-1], 1, low=-1, high=shape[-1])],
            {"axes": (count - 1, count)},
        )


CE = register(
    RowOp(
        "cross_entropy",
        2,
        _ce_infer,
        body=_ce_body,
        params=("axes",),
        nout=2,
        vjp=_ce_vjp,
        accepts="f",
        reference=_ce_reference,
        samples=_ce_samples,
        ulp=64.0,
        facts=frozenset(["optional_grads"]),
        keeps=frozenset(["0", "1", "out"]),
        doc="-log(softmax(x)[class]) of every row of logits, and the row's logsumexp; class -1 "
        "gives 0.",
    )
)


def _ce_grad_body(
    algebra: Builder, gradient: Val, operand: Val, target: Val, lse: Val, *, axes: Group
) -> Val:
    chance = exp_(algebra, operand - lse)
    return algebra.select(
        target < 0,
        0.0,
        gradient * algebra.select(algebra.coord(axes[0]) == target, chance - 1.0, chance),
    )


def _ce_grad_reference(
    gradient: np.ndarray, operand: np.ndarray, target: np.ndarray, lse: np.ndarray, *, axes: Group
) -> np.ndarray:
    chance, classes = np.exp(wide(operand) - wide(lse)), np.maximum(target, 0)
    np.put_along_axis(chance, classes, np.take_along_axis(chance, classes, -1) - 1, -1)
    return np.where(target < 0, 0, chance * wide(gradient))


def _ce_grad_vjp(
    outer: Tensor,
    out: Tensor,
    gradient: Tensor,
    operand: Tensor,
    target: Tensor,
    lse: Tensor,
    axes: Group,
) -> tuple[Any, ...]:
    outer = where(less(target, 0), 0, outer)
    chance = exp(subtract(operand, lse))
    own = take_along_axis(outer, maximum(target, 0), -1)
    scaled = multiply(outer, chance)
    slope = multiply(scaled, gradient)
    return (
        subtract(sum_(scaled, axis=-1, keepdims=True), own),
        slope,
        None,
        negative(sum_(slope, axis=-1, keepdims=True)),
    )


def _ce_grad_samples(rng: np.random.Generator) -> Any:
    for shape in ((10,), (5, 10), (2, 70)):
        row = shape[:-1] + (1,)
        yield (
            [
                draw(rng, *row),
                draw(rng, *shape),
                ints(rng, *row, high=shape[-1]),
                draw(rng, *row, low=3.0, high=5.0),
            ],
            {"axes": (len(shape) - 1, len(shape))},
        )


CE_GRAD = register(
    RowOp(
        "cross_entropy_grad",
        4,
        lambda gradient, operand, target, lse, axes: (operand,),
        body=_ce_grad_body,
        params=("axes",),
        vjp=_ce_grad_vjp,
        accepts="f",
        reference=_ce_grad_reference,
        samples=_ce_grad_samples,
        ulp=64.0,
        doc="g * (softmax(x) - one_hot(class)) from the saved logsumexp.",
    )
)


def _counted_body(algebra: Builder, operand: Val, target: Val, *, axes: Group) -> tuple[Val, Val]:
    count = algebra.rsum(algebra.select(target < 0, algebra.const(operand.type, 0.0), 1.0))
    return algebra.rsum(operand) / count, count


def _counted_reference(
    operand: np.ndarray, target: np.ndarray, *, axes: Group
) -> tuple[np.ndarray, np.ndarray]:
    over = tuple(range(*axes))
    count = np.asarray((target >= 0).sum(over), np.float64)
    with np.errstate(all="ignore"):
        return np.asarray(wide(operand).sum(over) / count), count


def _counted_vjp(
    gradients: tuple[Any, Any], outs: tuple[Any, Any], operand: Tensor, target: Tensor, axes: Group
) -> tuple[Any, None]:
    part = divide(gradients[0], astype(outs[1], operand.dtype))
    kept = keep_shape(operand.shape, tuple(range(*axes)))
    return broadcast_to(reshape(part, kept), operand.shape), None


def _counted_samples(rng: np.random.Generator) -> Any:
    for shape in ((7, 1), (1,), (3, 50, 1)):
        yield [draw(rng, *shape, low=0.5), ints(rng, *shape, high=3)], {"axes": (0, len(shape))}


COUNTED_MEAN = register(
    RowOp(
        "counted_mean",
        2,
        lambda operand, target, axes: (
            operand.with_(dropped(operand.shape, axes)),
            operand.with_(dropped(operand.shape, axes), dt.compute_type(operand.dtype)),
        ),
        body=_counted_body,
        params=("axes",),
        nout=2,
        vjp=_counted_vjp,
        accepts="f",
        reference=_counted_reference,
        samples=_counted_samples,
        ulp=4.0,
        keeps=frozenset(["out"]),
        doc="Sum of the losses divided by the number of classes that are not negative, and that "
        "number.",
    )
)


# ---- reductions of a loss
def reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum_(loss)
    if reduction == "none":
        return loss
    raise HybridError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


# ---- cross entropy
def _target(target: Any, operand: Tensor) -> Tensor:
    """Class indices as they are; Python floats are probabilities in the dtype of the logits."""
    tensor = as_tensor(target, operand.device)
    return as_tensor(target, operand.device, operand.dtype) if dt.is_float(tensor.dtype) else tensor


def _weight(weight: Any, operand: Tensor) -> Tensor | None:
    return None if weight is None else as_tensor(weight, operand.device, operand.dtype)


def _scale(classes: Tensor, weight: Tensor | None, dtype: np.dtype) -> Tensor:
    """What each loss counts in a mean:
    0 where the class is -1 (ignored), else 1 or its class's weight."""
    keep = greater_equal(classes, 0)
    return (
        astype(keep, dtype)
        if weight is None
        else where(keep, take(weight, maximum(classes, 0), 0), 0)
    )


def _finish(loss: Tensor, classes: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce losses that are weighted already."""
    if reduction != "mean":
        return reduced(loss, reduction)
    dtype = dt.compute_type(loss.dtype)
    count = (
        sum_(greater_equal(classes, 0), dtype=dtype)
        if weight is None
        else sum_(_scale(classes, weight, dtype))
    )
    return divide(sum_(loss), astype(count, loss.dtype))


def _rows_first(name: str, operand: Tensor, target: Tensor) -> tuple[Tensor, int]:
    """[N, C, ...] as [N, ..., C], and the axis of the classes."""
    axis = 0 if operand.ndim == 1 else 1
    rows = operand if operand.ndim == axis + 1 else moveaxis(operand, axis, -1)
    if not dt.is_float(target.dtype) and target.shape != rows.shape[:-1]:
        raise ShapeError(
            f"{name}: targets of shape {target.shape} do not fit input of shape {operand.shape}"
        )
    return rows, axis


@public(functional=True)
def cross_entropy(
    logits: Tensor,
    target: Any,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """PyTorch's cross_entropy of logits [N, C, ...] (or [C]).

    Targets are class indices [N, ...], or probabilities of the logits' shape; `weight` is [C].
    Indices equal to `ignore_index` do not count; others outside 0..C-1 raise IndexOutOfRange.
    reduction 'none' gives [N, ...], 'mean' and 'sum' a scalar, in the logits' dtype.  Raises
    ShapeError when shapes do not fit, DTypeError for logits that are not floating.  Smoothing as in
    Szegedy et al., arXiv:1512.00567.

    >>> logits = hybrid.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> hybrid.cross_entropy(logits, hybrid.tensor([0, 1]), reduction="none")
    tensor([0.1269, 0.6931])
    """
    logits = as_tensor(logits)
    target, weight = _target(target, logits), _weight(weight, logits)
    need_float("cross_entropy", logits._a)
    operand, axis = _rows_first("cross_entropy", logits, target)
    smoothing = float(label_smoothing)
    if dt.is_float(target.dtype):
        return _soft_cross_entropy(operand, target, axis, logits, weight, reduction, smoothing)
    classes = index_check(target, operand.shape[-1], axis, wrap=False, ignore=int(ignore_index))
    if smoothing:
        loss = _smoothed(log_softmax(operand), classes, weight, smoothing)
    else:
        rank = operand.ndim
        row = bind(RESHAPE, classes, shape=(*classes.shape, 1))
        loss = bind(CE, operand, row, axes=(rank - 1, rank))[0]
        if weight is None and reduction == "mean":
            return bind(COUNTED_MEAN, loss, row, axes=(0, rank))[0]
        loss = reshape(loss, target.shape)
        loss = loss if weight is None else multiply(loss, _scale(classes, weight, operand.dtype))
    return _finish(loss, classes, weight, reduction)


def _own(operand: Tensor, classes: Tensor, weight: Tensor | None) -> Tensor:
    """-x at the class of every row, weighted; 0 where it is ignored."""
    got = squeeze(take_along_axis(operand, expand_dims(maximum(classes, 0), -1), -1), -1)
    got = negative(got if weight is None else multiply(got, _scale(classes, weight, operand.dtype)))
    return where(less(classes, 0), 0, got)


def _smoothed(
    log_chance: Tensor, classes: Tensor, weight: Tensor | None, smoothing: float
) -> Tensor:
    """(1 - s) * nll + s / C * (sum over classes), each weighted as PyTorch does."""
    every = negative(sum_(log_chance if weight is None else multiply(log_chance, weight), axis=-1))
    every = where(less(classes, 0), 0, multiply(every, smoothing / log_chance.shape[-1]))
    return add(multiply(_own(log_chance, classes, weight), 1 - smoothing), every)


def _soft_cross_entropy(
    operand: Tensor,
    target: Tensor,
    axis: int,
    logits: Tensor,
    weight: Tensor | None,
    reduction: str,
    smoothing: float,
) -> Tensor:
    if target.shape != logits.shape:
        raise ShapeError(
            f"cross_entropy: probabilities of shape {target.shape} do not fit logits of shape "
            f"{logits.shape}"
        )
    truth = target if operand is logits else moveaxis(target, axis, -1)
    if smoothing:
        truth = add(multiply(truth, 1 - smoothing), smoothing / operand.shape[-1])
    log_chance = log_softmax(operand)
    log_chance = log_chance if weight is None else multiply(log_chance, weight)
    loss = negative(sum_(multiply(log_chance, truth), axis=-1))
    if reduction == "mean":
        return divide(sum_(loss), max(loss.size, 1))
    return reduced(loss, reduction)


@public(functional=True)
def nll_loss(
    log_probs: Tensor,
    target: Any,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """PyTorch's nll_loss: log probabilities [N, C, ...] (or [C]) and class indices [N, ...].

    Weights, ignored targets, reductions and errors are those of `cross_entropy`.

    >>> log_probs = hybrid.log(hybrid.tensor([[0.5, 0.5], [0.1, 0.9]]))
    >>> hybrid.nll_loss(log_probs, hybrid.tensor([0, -100]))  # -100 does not count
    tensor(0.6931)
    """
    log_probs = as_tensor(log_probs)
    target, weight = _target(target, log_probs), _weight(weight, log_probs)
    operand, axis = _rows_first("nll_loss", log_probs, target)
    classes = index_check(target, operand.shape[-1], axis, wrap=False, ignore=int(ignore_index))
    return _finish(_own(operand, classes, weight), classes, weight, reduction)


# ---- regression
def _difference(name: str, operand: Tensor, target: Any) -> Tensor:
    if not (isinstance(operand, Handle) and isinstance(target, Handle)):
        operand, target = operands(operand, target)
    if operand.shape != target.shape:
        raise ShapeError(
            f"{name}: prediction {operand.shape} and target {target.shape} must have one shape; "
            "reshape or broadcast_to one of them"
        )
    return subtract(operand, target)


@public(functional=True)
def mse_loss(x: Tensor, target: Any, *, reduction: str = "mean") -> Tensor:
    """Squared differences; ShapeError unless x and target have one shape (nothing
    broadcasts).

    >>> hybrid.mse_loss(hybrid.tensor([1.0, 2.0]), hybrid.tensor([0.0, 4.0]))
    tensor(2.5)
    """
    return reduced(square(_difference("mse_loss", x, target)), reduction)


@public(functional=True)
def l1_loss(x: Tensor, target: Any, *, reduction: str = "mean") -> Tensor:
    """Absolute differences; ShapeError unless x and target have one shape.

    >>> x, target = hybrid.tensor([1.0, 2.0]), hybrid.tensor([0.0, 4.0])
    >>> hybrid.l1_loss(x, target, reduction="none")
    tensor([1., 2.])
    """
    return reduced(abs(_difference("l1_loss", x, target)), reduction)


@public(functional=True)
def smooth_l1_loss(x: Tensor, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Quadratic below `beta`, linear above (PyTorch's smooth_l1_loss).

    d^2 / (2 beta) where |d| < beta, else |d| - beta / 2: Girshick, arXiv:1504.08083.

    ShapeError unless x and target have one shape.

    >>> x, target = hybrid.tensor([0.5, 3.0]), hybrid.tensor([0.0, 0.0])
    >>> hybrid.smooth_l1_loss(x, target, reduction="none")
    tensor([0.125, 2.5  ])
    """
    distance, beta = abs(_difference("smooth_l1_loss", x, target)), float(beta)
    if beta == 0:
        return reduced(distance, reduction)
    inner = divide(multiply(multiply(distance, 0.5), distance), beta)
    return reduced(where(less(distance, beta), inner, subtract(distance, 0.5 * beta)), reduction)


@public(functional=True)
def huber_loss(x: Tensor, target: Any, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Quadratic up to `delta`, linear above (PyTorch's huber_loss).

    d^2 / 2 where |d| < delta, else delta * (|d| - delta / 2): Huber (1964).

    ShapeError unless x and target have one shape.

    >>> x, target = hybrid.tensor([0.5, 3.0]), hybrid.tensor([0.0, 0.0])
    >>> hybrid.huber_loss(x, target, reduction="none", delta=2.0)
    tensor([0.125, 4.   ])
    """
    distance, delta = abs(_difference("huber_loss", x, target)), float(delta)
    return reduced(
        where(
            greater_equal(distance, delta),
            multiply(subtract(distance, 0.5 * delta), delta),
            multiply(multiply(distance, 0.5), distance),
        ),
        reduction,
    )
