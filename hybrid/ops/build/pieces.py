"""Taking apart and repeating: split, chunk, unstack, tile, roll.

Invariant: nothing here makes a record; all are views of their operand, joined where they must be.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ...core.errors import ShapeError
from ...core.shapes import items_of, normalize_axis, whole
from ...ir.door.bind import as_tensor
from ..axes.slices import narrow
from ..axes.views import RESHAPE, apart, broadcast_to, reshape
from ..base.surface import public
from ..elementwise.arithmetic import clone
from .join import concat

Tensor = Any


# ---- taking apart
def _pieces(operand: Tensor, axis: int, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """One piece behind the other along an axis."""
    starts = [0, *accumulate(sizes)]
    return tuple(narrow(operand, axis, b, k) for b, k in zip(starts, sizes))


@public(method=True)
def split(x: Tensor, indices_or_sections: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """NumPy's split: that many equal sections, or the pieces between the positions of a sequence.

    `chunk` makes pieces that need not be equal.  ShapeError where the sections are not equal.

    >>> hybrid.split(hybrid.arange(6), 2)
    (tensor([0, 1, 2]), tensor([3, 4, 5]))
    >>> [p.shape for p in hybrid.split(hybrid.zeros(5, 2), [1, 4])]
    [(1, 2), (3, 2), (1, 2)]
    """
    x = as_tensor(x)
    along = normalize_axis(axis, x.ndim, "split")
    extent = x.shape[along]
    if hasattr(indices_or_sections, "__index__") and not getattr(indices_or_sections, "ndim", 0):
        count = operator.index(indices_or_sections)
        if count < 1 or extent % count:
            raise ShapeError(
                f"split: {extent} elements do not make {count} equal sections; the borders of "
                f"pieces of {count} elements are range({count}, {extent}, {count})"
            )
        return _pieces(x, along, [extent // count] * count)
    given = items_of(indices_or_sections, "split: indices")
    borders = [0, *[whole(k, "split: an index") for k in given], None]
    chosen = [range(extent)[slice(*pair)] for pair in zip(borders, borders[1:])]
    return tuple(narrow(x, along, c.start if len(c) else 0, len(c)) for c in chosen)


@public(method=True)
def chunk(x: Tensor, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size (the last may be smaller), as PyTorch's chunk.

    ShapeError for less than one piece.

    >>> hybrid.chunk(hybrid.arange(7), 3)
    (tensor([0, 1, 2]), tensor([3, 4, 5]), tensor([6]))
    """
    x = as_tensor(x)
    along = normalize_axis(axis, x.ndim, "chunk")
    if chunks < 1:
        raise ShapeError(f"chunk: {chunks} pieces")
    extent = x.shape[along]
    size = max(1, -(-extent // chunks))
    return _pieces(x, along, [min(size, extent - b) for b in range(0, extent, size)] or [0])


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
    return apart(RESHAPE, wide, shape=tuple(r * d for r, d in zip(counts, shape)))


@public(method=True)
def roll(x: Tensor, shift: Any, axis: Any = None) -> Tensor:
    """Elements moved along axes, those pushed out at one end re-entering at the other.

    An axis of None rolls the flattened tensor; one shift goes for all axes, and several for one
    axis add up.  ShapeError for an axis out of range.

    >>> hybrid.roll(hybrid.arange(5), 2), hybrid.roll(hybrid.arange(5), -1)
    (tensor([3, 4, 0, 1, 2]), tensor([1, 2, 3, 4, 0]))
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, (x.size,)), shift, 0), x.shape)
    axes = (axis,) if hasattr(axis, "__index__") else tuple(axis)
    shifts = (shift,) if hasattr(shift, "__index__") else tuple(shift)
    count = max(len(axes), len(shifts))
    axes, shifts = (v * count if len(v) == 1 else v for v in (axes, shifts))
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    result = x
    for steps, along in zip(shifts, axes):
        along_axis = normalize_axis(along, x.ndim, "roll")
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
