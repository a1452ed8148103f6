"""Taking apart and repeating: split, chunk, unstack, tile, repeat, roll.

Invariant: nothing here makes a record; all are views of their operand, joined where they must be.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ...core.errors import HybridError, ShapeError
from ...core.shapes import items_of, normalize_axis, whole
from ...ir.door.bind import as_tensor
from ..axes.slices import narrow
from ..axes.views import broadcast_to, expand_dims, reshape
from ..base.surface import public
from ..elementwise.arithmetic import clone
from .join import concat

Tensor = Any


# ---- taking apart
@public(method=True)
def split(x: Tensor, sizes: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """PyTorch's split: pieces of `sizes` elements (the last may be smaller),
    or of the given sizes.

    ShapeError where the sizes do not add up to that of the axis.

    >>> hybrid.split(hybrid.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    >>> [p.shape for p in hybrid.split(hybrid.zeros(5, 2), [1, 4])]
    [(1, 2), (4, 2)]
    """
    x = as_tensor(x)
    along_axis = normalize_axis(axis, x.ndim, "split")
    extent = x.shape[along_axis]
    if hasattr(sizes, "__index__"):
        size = operator.index(sizes)
        if size < 1:
            raise ShapeError(f"split: pieces of {size} elements")
        parts = [min(size, extent - b) for b in range(0, extent, size)] or [0]
    else:
        parts = [whole(k, "split: a size") for k in items_of(sizes, "split: sizes")]
        if sum(parts) != extent or min(parts, default=0) < 0:
            raise ShapeError(f"split: sizes {parts} do not add up to {extent}")
    starts = [0, *accumulate(parts)]
    return tuple(narrow(x, along_axis, b, k) for b, k in zip(starts, parts))


@public(method=True)
def chunk(x: Tensor, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size (the last may be smaller), as PyTorch's chunk.

    ShapeError for less than one piece.

    >>> hybrid.chunk(hybrid.arange(7), 3)
    (tensor([0, 1, 2]), tensor([3, 4, 5]), tensor([6]))
    """
    x = as_tensor(x)
    along_axis = normalize_axis(axis, x.ndim, "chunk")
    if chunks < 1:
        raise ShapeError(f"chunk: {chunks} pieces")
    return split(x, max(1, -(-x.shape[along_axis] // chunks)), along_axis)


@public(method=("unstack", "unbind"))
def unstack(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without it.

    ShapeError for an axis out of range.

    >>> hybrid.unstack(hybrid.tensor([[1, 2], [3, 4]]), axis=1)
    (tensor([1, 3]), tensor([2, 4]))
    """
    x = as_tensor(x)
    along_axis = normalize_axis(axis, x.ndim, "unstack")
    return tuple(narrow(x, along_axis, i, 1, drop=True) for i in range(x.shape[along_axis]))


# ---- repetition
@public(method=True)
def tile(x: Tensor, reps: Any) -> Tensor:
    """x repeated as a whole along each axis.

    NumPy's tile: `reps` is an int, or one count per axis from the last on.

    >>> hybrid.tile(hybrid.tensor([1, 2]), (2, 2))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    x = as_tensor(x)
    counts = (
        (operator.index(reps),)
        if hasattr(reps, "__index__")
        else tuple(whole(r, "tile: a count") for r in items_of(reps, "tile: reps"))
    )
    rank = max(len(counts), x.ndim)
    counts = (1,) * (rank - len(counts)) + counts
    shape = (1,) * (rank - x.ndim) + x.shape
    both = tuple(v for r, d in zip(counts, shape) for v in (r, d))
    wide = broadcast_to(reshape(x, tuple(v for d in shape for v in (1, d))), both)
    return reshape(wide, tuple(r * d for r, d in zip(counts, shape)))


@public(method=True)
def repeat(x: Tensor, repeats: int, axis: int | None = None) -> Tensor:
    """Each element `repeats` times along an axis (None: of the flattened tensor).

    ShapeError for a negative count and an axis out of range.

    >>> hybrid.repeat(hybrid.tensor([1, 2]), 3)
    tensor([1, 1, 1, 2, 2, 2])
    """
    x = as_tensor(x)
    if not hasattr(repeats, "__index__"):
        raise HybridError(
            "repeat takes one count; for a count per element use take(x, indices, axis)"
        )
    times = operator.index(repeats)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    along_axis = normalize_axis(axis, x.ndim, "repeat")
    wide = broadcast_to(
        expand_dims(x, along_axis + 1),
        x.shape[: along_axis + 1] + (times,) + x.shape[along_axis + 1 :],
    )
    return reshape(
        wide, x.shape[:along_axis] + (x.shape[along_axis] * times,) + x.shape[along_axis + 1 :]
    )


@public(method=True)
def roll(x: Tensor, shift: Any, axis: Any = None) -> Tensor:
    """Elements moved along axes, those pushed out at one end re-entering at the other.

    An axis of None rolls the flattened tensor; ShapeError for an axis out of range.

    >>> hybrid.roll(hybrid.arange(5), 2), hybrid.roll(hybrid.arange(5), -1)
    (tensor([3, 4, 0, 1, 2]), tensor([1, 2, 3, 4, 0]))
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, (x.size,)), shift, 0), x.shape)
    axes = [
        normalize_axis(a, x.ndim, "roll") for a in ((axis,) if hasattr(axis, "__index__") else axis)
    ]
    shifts = [shift] * len(axes) if hasattr(shift, "__index__") else list(shift)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    result = x
    for steps, along_axis in zip(shifts, axes):
        extent = x.shape[along_axis]
        steps = operator.index(steps) % extent if extent else 0
        if steps:
            result = concat(
                [
                    narrow(result, along_axis, extent - steps, steps),
                    narrow(result, along_axis, 0, extent - steps),
                ],
                along_axis,
            )
    return clone(x) if result is x else result
