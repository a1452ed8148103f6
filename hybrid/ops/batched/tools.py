"""What rules share: inputs brought to a common form.

Invariant: nothing here names a record but those of views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.door.bind import bind
from ...ir.op import Op
from ..axes.views import broadcast_to, moveaxis, reshape

__all__ = [
    "aligned",
    "every",
    "filled",
    "folded",
    "inner_rank",
    "merged",
    "over_last_axes",
    "unfolded",
]

Flags = Sequence[bool]
Tensor = Any


def filled(tensor: Tensor, flag: bool, size: int) -> Tensor:
    """A tensor with the batch axis, repeated where it has none."""
    return tensor if flag else broadcast_to(tensor, (size, *tensor._a.shape))


def every(inputs: Sequence[Tensor], flags: Flags, size: int) -> list[Tensor]:
    """All inputs with the batch axis."""
    return [filled(tensor, flag, size) for tensor, flag in zip(inputs, flags)]


def inner_rank(tensor: Tensor, flag: bool) -> int:
    """The number of axes of one row."""
    rank: int = tensor._a.ndim - flag
    return rank


def aligned(tensor: Tensor, flag: bool, rank: int) -> Tensor:
    """A tensor that broadcasts against rows of that rank: axes of size 1 behind the batch axis."""
    if not flag or tensor._a.ndim - 1 == rank:
        return tensor
    size, *rest = tensor._a.shape
    return reshape(tensor, (size, *[1] * (rank - len(rest)), *rest))


def folded(tensor: Tensor) -> Tensor:
    """The batch axis and the next as one."""
    size, first, *rest = tensor._a.shape
    return reshape(tensor, (size * first, *rest))


def unfolded(tensor: Tensor, size: int) -> Tensor:
    """The inverse of `folded`."""
    both, *rest = tensor._a.shape
    return reshape(tensor, (size, both // size if size else 0, *rest))


def merged(tensor: Tensor, axis: int) -> Tensor:
    """The batch axis in front of that axis of a row, as one with it."""
    moved = moveaxis(tensor, 0, axis)
    shape = moved._a.shape
    return reshape(moved, (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]))


def over_last_axes(op: Op) -> Callable[..., Any]:
    """The rule of a record that works on the last axes, whatever is before them."""

    def rule(inputs: Sequence[Tensor], flags: Flags, size: int, **params: Any) -> Any:
        rank = max(map(inner_rank, inputs, flags))
        return bind(op, *[aligned(x, flag, rank) for x, flag in zip(inputs, flags)], **params)

    return rule
