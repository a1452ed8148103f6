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


def _logs(s: Builder, x: Val) -> tuple[Val, Val]:
    """log x and log(1 - x), at least -100."""
    return s.max(log_(s, x), -100.0), s.max(log1p_(s, -x), -100.0)


def _bce_body(s: Builder, x: Val, t: Val) -> Val:
    yes, no = _logs(s, x)
    return -(t * yes + (1.0 - t) * no)


def _bce_logs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        return np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)


def _bce_reference(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    yes, no = _bce_logs(wide(x))
    return -(wide(t) * yes + (1 - wide(t)) * no)


def _bce_vjp(g: Tensor, out: Tensor, x: Tensor, t: Tensor) -> tuple[Any, Any]:
    def by_target() -> Tensor:
        yes, no = clip(log(x), -100.0, None), clip(log1p(negative(x)), -100.0, None)
        return multiply(g, subtract(no, yes))

    return lambda: bind(BCE_GRAD, g, x, t), by_target


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


def _bce_grad_vjp(h: Tensor, out: Tensor, g: Tensor, x: Tensor, t: Tensor) -> tuple[Any, Any, Any]:
    spread = maximum(multiply(x, subtract(1.0, x)), 1e-12)

    def by_input() -> Tensor:
        bend = subtract(1.0, divide(multiply(subtract(x, t), subtract(1.0, add(x, x))), spread))
        return multiply(multiply(h, g), divide(bend, spread))

    return (
        lambda: bind(BCE_GRAD, h, x, t),
        by_input,
        lambda: negative(divide(multiply(h, g), spread)),
    )


BCE_GRAD = map_op(
    "binary_cross_entropy_grad",
    3,
    lambda s, g, x, t: g * ((x - t) / s.max(x * (1.0 - x), 1e-12)),
    vjp=_bce_grad_vjp,
    reference=lambda g, x, t: (
        wide(g) * (wide(x) - wide(t)) / np.maximum(wide(x) * (1 - wide(x)), 1e-12)
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
    """
    x, t = operands(x, target)
    if x.shape != t.shape:
        raise ShapeError(
            f"binary_cross_entropy: prediction {x.shape} and target {t.shape} must have one shape"
        )
    loss = bind(BCE, x, t)
    return reduced(loss if weight is None else multiply(loss, weight), reduction)


@public(functional=True)
def binary_cross_entropy_with_logits(
    x: Tensor, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """binary_cross_entropy of sigmoid(x), without overflow."""
    x, t = operands(x, target)
    if x.shape != t.shape:
        raise ShapeError(
            f"binary_cross_entropy_with_logits: logits {x.shape} and target {t.shape} must have "
            "one shape"
        )
    soft = add(log1p(exp(negative(abs(x)))), maximum(negative(x), 0.0))  # log(1 + exp(-x))
    pos_weight = None if pos_weight is None else as_tensor(pos_weight, x.device, x.dtype)
    scale = (
        soft
        if pos_weight is None
        else multiply(soft, add(multiply(subtract(pos_weight, 1.0), t), 1.0))
    )
    loss = add(multiply(subtract(1.0, t), x), scale)
    return reduced(loss if weight is None else multiply(loss, weight), reduction)


@public(functional=True)
def kl_div(x: Tensor, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """PyTorch's kl_div: t * (log t - x) for log probabilities x;
    'batchmean' divides by the first size."""
    x, t = operands(x, target)
    if log_target:
        loss = multiply(exp(t), subtract(t, x))
    else:
        loss = where(equal(t, 0), 0.0, multiply(t, subtract(log(where(equal(t, 0), 1.0, t)), x)))
    return divide(sum_(loss), x.shape[0]) if reduction == "batchmean" else reduced(loss, reduction)
