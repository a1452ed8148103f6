"""The record of the gradients of a normalisation's weight and bias: both sums in one walk.

Invariant: sums run over the group of axes in the order of `sum`, each rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.aval import Aval
from ...ir.op import RowOp, register
from ...ir.scalar.program import Builder, Val
from ..axes.reduce import dropped, keep_shape, sum_like
from ..axes.views import broadcast_to, reshape
from ..base.common import draw, wide
from ..elementwise.arithmetic import add, multiply, subtract

__all__ = ["AFFINE_GRAD"]

Group = tuple[int, int]
Tensor = Any


def _affine_infer(
    grad: Aval, operand: Aval, center: Aval, inverse: Aval, *, axes: Group
) -> tuple[Aval, Aval]:
    one = grad.with_(dropped(grad.shape, axes))
    return one, one


def _affine_body(
    algebra: Builder, grad: Val, operand: Val, center: Val, inverse: Val, *, axes: Group
) -> tuple[Val, Val]:
    return algebra.rsum(grad * ((operand - center) * inverse)), algebra.rsum(grad)


def _affine_reference(
    grad: np.ndarray, operand: np.ndarray, center: np.ndarray, inverse: np.ndarray, *, axes: Group
) -> tuple[np.ndarray, np.ndarray]:
    over, wide_grad = tuple(range(*axes)), wide(grad)
    unit = (wide(operand) - wide(center)) * wide(inverse)
    return (wide_grad * unit).sum(over), wide_grad.sum(over)


def _affine_vjp(
    grads: tuple[Any, Any],
    outs: tuple[Any, Any],
    grad: Tensor,
    operand: Tensor,
    center: Tensor,
    inverse: Tensor,
    *,
    axes: Group,
) -> tuple[Any, ...]:
    shape = keep_shape(grad.shape, tuple(range(*axes)))
    by_weight, by_bias = (None if each is None else reshape(each, shape) for each in grads)
    away = subtract(operand, center)
    if by_weight is None:
        return broadcast_to(by_bias, grad.shape), None, None, None
    by_grad = multiply(by_weight, multiply(away, inverse))
    spread = multiply(by_weight, grad)
    by_operand = multiply(spread, inverse)
    return (
        by_grad if by_bias is None else add(by_grad, by_bias),
        by_operand,
        lambda: multiply(sum_like(by_operand, center.shape), -1),
        lambda: sum_like(multiply(spread, away), inverse.shape),
    )


def _affine_grad_samples(rng: np.random.Generator) -> Any:
    for shape, lead in (((3, 10), 1), ((2, 3, 7), 2), ((2, 70, 3), 1), ((300, 4), 1)):
        row = shape[:lead] + (1,) * (len(shape) - lead)
        statistics = [draw(rng, *row), draw(rng, *row, low=0.5, high=2.0)]
        yield [draw(rng, *shape), draw(rng, *shape), *statistics], {"axes": (0, lead)}
    for shape in ((3, 4, 5), (2, 3, 70), (5, 2, 1)):
        statistics = [draw(rng, 1, shape[1], 1), draw(rng, 1, shape[1], 1, low=0.5, high=2.0)]
        yield [draw(rng, *shape), draw(rng, *shape), *statistics], {"axes": (2, 3)}


AFFINE_GRAD = register(
    RowOp(
        "affine_grad",
        None,
        _affine_infer,
        body=_affine_body,
        params=("axes",),
        nout=2,
        vjp=_affine_vjp,
        reference=_affine_reference,
        samples=_affine_grad_samples,
        accepts="f",
        ulp=2000.0,
        facts=frozenset(["optional_grads"]),
        doc="Sums of g * (x - center) * inverse and of g: gradients of weight and bias.",
    )
)
