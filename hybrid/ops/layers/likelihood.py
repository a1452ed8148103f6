"""Losses of probabilities in PyTorch's form: binary cross entropy, of logits too, and kl_div.

Invariant: logarithms of 0 and their gradients are PyTorch's finite stand-ins, never NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import ShapeError
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.op import map_op
from ...ir.scalar.program import Builder, Val
from ..axes.reduce import sum as sum_
from ..base.common import draw, wide
from ..base.surface import public
from ..elementwise.arithmetic import abs, add, divide, multiply, negative, subtract
from ..elementwise.functions import exp, log, log1p
from ..elementwise.logic import equal
from ..elementwise.selection import clip, maximum, where
from ..formulas import log as log_
from ..formulas import log1p as log1p_
from .loss import reduced

Tensor = Any


def _logs(algebra: Builder, operand: Val) -> tuple[Val, Val]:
    """log x and log(1 - x), at least -100."""
    return algebra.max(log_(algebra, operand), -100.0), algebra.max(
        log1p_(algebra, -operand), -100.0
    )


def _bce_body(algebra: Builder, operand: Val, target: Val) -> Val:
    log_chance, log_rest = _logs(algebra, operand)
    return -(target * log_chance + (1.0 - target) * log_rest)


def _bce_logs(operand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        return np.maximum(np.log(operand), -100), np.maximum(np.log1p(-operand), -100)


def _bce_reference(operand: np.ndarray, target: np.ndarray) -> np.ndarray:
    log_chance, log_rest = _bce_logs(wide(operand))
    result: np.ndarray = -(wide(target) * log_chance + (1 - wide(target)) * log_rest)
    return result


def _bce_vjp(gradient: Tensor, out: Tensor, operand: Tensor, target: Tensor) -> tuple[Any, Any]:
    def by_target() -> Tensor:
        log_chance, log_rest = (
            clip(log(operand), -100.0, None),
            clip(log1p(negative(operand)), -100.0, None),
        )
        return multiply(gradient, subtract(log_rest, log_chance))

    return lambda: bind(BCE_GRAD, gradient, operand, target), by_target


def _probabilities(count: int) -> Any:
    def samples(rng: np.random.Generator) -> Any:
        for shape in ((3, 5), (), (0,)):
            yield [draw(rng, *shape, low=0.1, high=0.9) for _ in range(count)], {}

    return samples


BCE = map_op(
    "binary_cross_entropy",
    2,
    _bce_body,
    vjp=_bce_vjp,
    reference=_bce_reference,
    result="float",
    accepts="f",
    samples=_probabilities(2),
    domain=(0.1, 0.9),
    ulp=16.0,
    doc="-(t log x + (1 - t) log(1 - x)), logarithms at least -100.",
)


def _bce_grad_vjp(
    outer: Tensor, out: Tensor, gradient: Tensor, operand: Tensor, target: Tensor
) -> tuple[Any, Any, Any]:
    spread = maximum(multiply(operand, subtract(1.0, operand)), 1e-12)

    def by_input() -> Tensor:
        bend = subtract(
            1.0,
            divide(
                multiply(subtract(operand, target), subtract(1.0, add(operand, operand))), spread
            ),
        )
        return multiply(multiply(outer, gradient), divide(bend, spread))

    return (
        lambda: bind(BCE_GRAD, outer, operand, target),
        by_input,
        lambda: negative(divide(multiply(outer, gradient), spread)),
    )


BCE_GRAD = map_op(
    "binary_cross_entropy_grad",
    3,
    lambda algebra, gradient, operand, target: (
        gradient * ((operand - target) / algebra.max(operand * (1.0 - operand), 1e-12))
    ),
    vjp=_bce_grad_vjp,
    reference=lambda gradient, operand, target: (
        wide(gradient)
        * (wide(operand) - wide(target))
        / np.maximum(wide(operand) * (1 - wide(operand)), 1e-12)
    ),
    result="float",
    accepts="f",
    samples=_probabilities(3),
    domain=(0.1, 0.9),
    ulp=64.0,
    doc="g * (x - t) / (x (1 - x)), the divisor at least 1e-12.",
)


@public(functional=True)
def binary_cross_entropy(
    x: Tensor, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, as PyTorch has it: logarithms are at
    least -100, and the gradient of x is (x - t) / (x (1 - x)) with a divisor of at least 1e-12.

    Raises ShapeError unless x and target have one shape.

    >>> x, target = hybrid.tensor([0.5, 0.9, 0.0]), hybrid.tensor([1.0, 1.0, 1.0])
    >>> hybrid.binary_cross_entropy(x, target, reduction="none")
    tensor([  0.6931,   0.1054, 100.    ])
    """
    x, truth = operands(x, target)
    if x.shape != truth.shape:
        raise ShapeError(
            f"binary_cross_entropy: prediction {x.shape} and target {truth.shape} must have one "
            "shape"
        )
    loss = bind(BCE, x, truth)
    return reduced(loss if weight is None else multiply(loss, weight), reduction)


@public(functional=True)
def binary_cross_entropy_with_logits(
    x: Tensor, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """binary_cross_entropy of sigmoid(x), without overflow.

    ShapeError unless x and target have one shape; `pos_weight` multiplies the losses of positives.

    >>> x, target = hybrid.tensor([0.0, 5.0, 200.0]), hybrid.tensor([1.0, 1.0, 0.0])
    >>> hybrid.binary_cross_entropy_with_logits(x, target, reduction="none")
    tensor([6.9315e-01, 6.7153e-03, 2.0000e+02])
    """
    x, truth = operands(x, target)
    if x.shape != truth.shape:
        raise ShapeError(
            f"binary_cross_entropy_with_logits: logits {x.shape} and target {truth.shape} must "
            "have one shape"
        )
    soft = add(log1p(exp(negative(abs(x)))), maximum(negative(x), 0.0))  # log(1 + exp(-x))
    pos_weight = None if pos_weight is None else as_tensor(pos_weight, x.device, x.dtype)
    scale = (
        soft
        if pos_weight is None
        else multiply(soft, add(multiply(subtract(pos_weight, 1.0), truth), 1.0))
    )
    loss = add(multiply(subtract(1.0, truth), x), scale)
    return reduced(loss if weight is None else multiply(loss, weight), reduction)


@public(functional=True)
def kl_div(x: Tensor, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """PyTorch's kl_div: t * (log t - x) for log probabilities x;
    'batchmean' divides by the first size.

    ShapeError unless x and target have one shape.  Kullback and Leibler (1951).

    >>> x, target = hybrid.log(hybrid.tensor([[0.5, 0.5]])), hybrid.tensor([[1.0, 0.0]])
    >>> hybrid.kl_div(x, target, reduction="batchmean")
    tensor(0.6931)
    """
    x, truth = operands(x, target)
    if log_target:
        loss = multiply(exp(truth), subtract(truth, x))
    else:
        loss = where(
            equal(truth, 0),
            0.0,
            multiply(truth, subtract(log(where(equal(truth, 0), 1.0, truth)), x)),
        )
    return divide(sum_(loss), x.shape[0]) if reduction == "batchmean" else reduced(loss, reduction)
