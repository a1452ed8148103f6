"""Batch normalisation by the batch's own statistics: its records, in few walks over the batch.

Invariant: operands are x[N, C, L] and statistics [1, C, 1]; sums over a row of L are made first,
then those over N.  The formula is that of section 3 of Ioffe and Szegedy, arXiv:1502.03167.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.door.bind import bind, stands_for
from ...ir.op import RowOp, TapeOp, map_op, register
from ...ir.scalar.program import Builder, Val
from ..axes.reduce import dropped, keep_shape
from ..axes.reduce import sum as sum_
from ..axes.views import reshape
from ..base.common import draw, wide
from ..elementwise.arithmetic import add, divide, multiply, subtract
from .affine import AFFINE_GRAD

__all__ = ["by_own_statistics", "squares_about"]

Group = tuple[int, int]
Tensor = Any


def _statistics(rng: np.random.Generator, channels: int, count: int) -> list[np.ndarray]:
    return [draw(rng, 1, channels, 1, low=0.5, high=2.0) for _ in range(count)]


def _samples(batches: int, statistics: int, rows: bool) -> Any:
    """Operands of the shape of the batch, then statistics; of maps such that no digits cancel."""

    def samples(rng: np.random.Generator) -> Any:
        for shape in ((3, 4, 5), (2, 3, 70), (5, 2, 1)):
            lows = [-1.0] * batches if rows else [40.0, 3.0][-batches:]
            arrays = [draw(rng, *shape, low=low, high=low + 2.0) for low in lows]
            params: dict[str, Any] = {"axes": (2, 3)} if rows else {}
            yield [*arrays, *_statistics(rng, shape[1], statistics)], params

    return samples


# ---- the sum of squares
def _squares_body(algebra: Builder, operand: Val, center: Val, *, axes: Group) -> Val:
    away = operand - center
    return algebra.rsum(away * away)


def _squares_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, center: Tensor, axes: Group
) -> tuple[Tensor, Tensor]:
    kept = reshape(gradient, keep_shape(operand.shape, tuple(range(*axes))))
    by_operand = multiply(multiply(kept, 2.0), subtract(operand, center))
    return by_operand, multiply(by_operand, -1.0)


SQUARES = register(
    RowOp(
        "squares_about",
        2,
        lambda operand, center, axes: (operand.with_(dropped(operand.shape, axes)),),
        body=_squares_body,
        params=("axes",),
        vjp=_squares_vjp,
        reference=lambda operand, center, axes: np.square(wide(operand) - wide(center)).sum(
            tuple(range(*axes))
        ),
        samples=_samples(1, 1, True),
        accepts="f",
        ulp=2000.0,
        doc="Sums of the squares of what rows are away from a center.",
    )
)


def squares_about(operand: Tensor, center: Tensor) -> Tensor:
    """Of x[N, C, L] and center[1, C, 1] the sums of (x - center)^2 over N and L, [C]."""
    (total,) = _walked(SQUARES, operand, center)
    return total


def _walked(op: RowOp, *operands: Tensor) -> list[Tensor]:
    """Results of a reduction over all but the channels, [C]: by the rows of each image, then over
    the images; images of one element are a column."""
    _, channels, length = operands[0].shape
    column = length == 1
    found = bind(op, *operands, axes=(0, 1) if column else (2, 3))
    parts = found if isinstance(found, tuple) else (found,)
    return [reshape(part, (channels,)) if column else sum_(part, axis=0) for part in parts]


# ---- the result
SCALED = map_op(
    "scaled_and_shifted",
    4,
    lambda algebra, operand, center, scale, shift: (operand - center) * scale + shift,
    vjp=lambda gradient, out, operand, center, scale, shift: (
        lambda: multiply(gradient, scale),
        lambda: multiply(multiply(gradient, scale), -1.0),
        lambda: multiply(gradient, subtract(operand, center)),
        gradient,
    ),
    reference=lambda operand, center, scale, shift: (
        (wide(operand) - wide(center)) * wide(scale) + wide(shift)
    ),
    samples=_samples(1, 3, False),
    accepts="f",
    ulp=32.0,
    doc="(x - center) * scale + shift.",
)


# ---- gradients
def _grad_vjp(
    outer: Tensor,
    out: Tensor,
    gradient: Tensor,
    operand: Tensor,
    center: Tensor,
    inverse: Tensor,
    total: Tensor,
    along: Tensor,
    factor: Tensor,
) -> tuple[Any, ...]:
    away, scaled = subtract(operand, center), multiply(outer, factor)
    normal, by_normal = multiply(away, inverse), multiply(multiply(scaled, along), -1.0)
    return (
        scaled,
        lambda: multiply(by_normal, inverse),
        lambda: multiply(multiply(by_normal, inverse), -1.0),
        lambda: multiply(by_normal, away),
        lambda: multiply(scaled, -1.0),
        lambda: multiply(multiply(scaled, normal), -1.0),
        lambda: multiply(outer, subtract(gradient, add(total, multiply(normal, along)))),
    )


GRAD = map_op(
    "batch_norm_grad",
    7,
    lambda algebra, gradient, operand, center, inverse, total, along, factor: (
        (gradient - (total + (operand - center) * inverse * along)) * factor
    ),
    vjp=_grad_vjp,
    reference=lambda *operands: _grad_reference(*map(wide, operands)),
    samples=_samples(2, 5, False),
    accepts="f",
    ulp=128.0,
    doc="(g - (total + (x - center) * inverse * along)) * factor.",
)


def _grad_reference(gradient: Any, operand: Any, center: Any, inverse: Any, *rest: Any) -> Any:
    total, along, factor = rest
    return (gradient - (total + (operand - center) * inverse * along)) * factor


def _vjp(
    gradient: Tensor,
    out: Tensor,
    operand: Tensor,
    center: Tensor,
    inverse: Tensor,
    scale: Tensor,
    shift: Tensor,
) -> tuple[Any, ...]:
    """The statistics get none: what moves them is in that of the operand."""
    count = operand.shape[0] * operand.shape[2]
    sums = _walked(AFFINE_GRAD, gradient, operand, center, inverse)
    along, total = (reshape(part, scale.shape) for part in sums)

    def of_operand() -> Tensor:
        shares = divide(total, count), divide(along, count)
        given = gradient, operand, center, inverse, *shares, multiply(inverse, scale)
        return bind(GRAD, *given)

    return of_operand, None, None, lambda: along, lambda: total


BATCH_NORM = TapeOp(
    "batch_norm",
    5,
    lambda operand, center, inverse, scale, shift: (operand,),
    vjp=_vjp,
    doc="(x - center) * (inverse * scale) + shift, by x's own mean and deviation.",
)


def by_own_statistics(
    operand: Tensor, center: Tensor, inverse: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    """x[N, C, L] normalised by its statistics[1, C, 1], scaled and shifted, with one gradient."""
    result = bind(SCALED, operand, center, multiply(inverse, scale), shift)
    return stands_for(BATCH_NORM, result, operand, center, inverse, scale, shift)
