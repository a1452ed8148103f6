"""Rules of pooling and normalisation: rows are more images, or more leading axes.

Invariant: statistics and windows are those of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.door.bind import bind
from ...ir.op import Op, extend
from ..elementwise.arithmetic import add, multiply
from ..layers.affine import AFFINE_GRAD
from ..layers.normalize import LAYER_GRAD, LAYER_NORM, RMS_NORM
from ..layers.pool_records import MAX_GRAD, MAX_POOL, SUM_POOL, SUM_POOL_GRAD
from .tools import Flags, aligned, every, filled, folded, inner_rank, unfolded

Group = tuple[int, int]
Tensor = Any
Inputs = Sequence[Tensor]


# ---- pooling
def _pool(op: Op) -> Any:
    def rule(inputs: Inputs, flags: Flags, size: int, **params: Any) -> Any:
        images = [folded(x) for x in every(inputs, flags, size)]
        if "shape" in params:
            count, *rest = params["shape"]
            params["shape"] = (size * count, *rest)
        made = bind(op, *images, **params)
        if isinstance(made, tuple):
            return tuple([unfolded(out, size) for out in made])
        return unfolded(made, size)

    return rule


# ---- normalisation
def _further(axes: Group) -> Group:
    return axes[0] + 1, axes[1] + 1


def _norm(op: Op) -> Any:
    """A batched weight or bias is applied to what the record gives without them."""

    def rule(inputs: Inputs, flags: Flags, size: int, axes: Group, eps: float) -> Any:
        operand = filled(inputs[0], flags[0], size)
        moved = {"axes": _further(axes), "eps": eps}
        if not any(flags[1:]):
            return bind(op, operand, *inputs[1:], **moved)
        rank = operand._a.ndim - 1
        out, *rest = bind(op, operand, **moved)
        for combine, given, flag in zip((multiply, add), inputs[1:], flags[1:]):
            out = combine(out, aligned(given, flag, rank))
        return (out, *rest)

    return rule


def _layer_grad(inputs: Inputs, flags: Flags, size: int, axes: Group) -> Tensor:
    given = every(inputs[:4], flags, size)
    if len(inputs) > 4 and flags[4]:
        rank = inner_rank(given[0], True)
        given[0] = multiply(given[0], aligned(inputs[4], True, rank))
        return bind(LAYER_GRAD, *given, axes=_further(axes))
    return bind(LAYER_GRAD, *given, *inputs[4:], axes=_further(axes))


def _affine_grad(inputs: Inputs, flags: Flags, size: int, axes: Group) -> Any:
    return bind(AFFINE_GRAD, *every(inputs, flags, size), axes=_further(axes))


for _op in (MAX_POOL, MAX_GRAD, SUM_POOL, SUM_POOL_GRAD):
    extend(_op, batch=_pool(_op))
extend(LAYER_NORM, batch=_norm(LAYER_NORM))
extend(RMS_NORM, batch=_norm(RMS_NORM))
extend(LAYER_GRAD, batch=_layer_grad)
extend(AFFINE_GRAD, batch=_affine_grad)
