"""Affine index maps: how elements of a value are found from positions of another iteration space.

Invariant: a map is exact or absent: strides and offsets count elements, None means that no affine
form exists and the caller makes a copy.  Strides along axes of size 1 are always 0 in a canonical
map.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from ...core import shapes
from ...core.shapes import broadcast_strides, contiguous_strides
from ...ir.graph.graph import Node

__all__ = [
    "Ints",
    "AffineMap",
    "View",
    "Broadcast",
    "Embed",
    "Path",
    "walk_path",
    "reshape_strides",
    "canonical",
    "dense_order",
    "same_order",
    "whole",
    "row_embed",
    "refine",
    "inverse_strides",
]

Ints = tuple[int, ...]
AffineMap = tuple[int, Ints]  # offset, strides


def canonical(shape: Ints, strides: Sequence[int]) -> Ints:
    """Strides with 0 along axes of size 1, so that equal maps have equal strides."""
    return tuple(0 if d == 1 else s for d, s in zip(shape, strides))


def reshape_strides(shape: Ints, strides: Sequence[int], new: Ints) -> Ints | None:
    """Strides of the same elements in the same order under shape `new`, or None.

    >>> reshape_strides((4, 6), (6, 1), (2, 2, 6)), reshape_strides((4, 6), (1, 4), (24,))
    ((12, 6, 1), None)
    """
    if shape == new:
        return tuple(strides)
    if 0 in shape or 0 in new:
        return (0,) * len(new)
    if prod(shape) != prod(new):
        return None
    got = shapes.reshape_strides(shape, strides, new)
    return None if got is None else canonical(new, got)


# ---- steps of a path
class View(NamedTuple):
    """Through a view node: a map over its input becomes a map over its output."""

    node: Node

    def apply(self, at: AffineMap) -> AffineMap | None:
        n = self.node
        assert n.op.layout is not None
        got = n.op.layout(n.inputs[0].aval, at[1], at[0], **n.params)
        return None if got is None else (int(got[0]), tuple(map(int, got[1])))


class Broadcast(NamedTuple):
    """NumPy broadcasting of `shape` to `to`."""

    shape: Ints
    to: Ints

    def apply(self, at: AffineMap) -> AffineMap | None:
        return at[0], broadcast_strides(self.shape, at[1], self.to)


class Embed(NamedTuple):
    """A space of `shape` placed in a region's space of rank `rank`: its axes in the order `perm`
    are split or merged into `sizes`, which are the region's axes `axes`; the region's other axes
    repeat."""

    shape: Ints
    perm: Ints
    sizes: Ints
    axes: Ints
    rank: int

    def apply(self, at: AffineMap) -> AffineMap | None:
        sorted_shape = tuple(self.shape[p] for p in self.perm)
        got = reshape_strides(sorted_shape, [at[1][p] for p in self.perm], self.sizes)
        if got is None:
            return None
        out = [0] * self.rank
        for a, s in zip(self.axes, got):
            out[a] = s
        return at[0], tuple(out)


Path = tuple[View | Broadcast | Embed, ...]


def walk_path(path: Path, at: AffineMap) -> AffineMap | None:
    """The map after all steps."""
    for step in path:
        got = step.apply(at)
        if got is None:
            return None
        at = got
    return at


def refine(a: Ints, b: Ints) -> Ints:
    """The coarsest row-major sizes that both a and b are merges of.

    >>> refine((6, 4), (2, 12))
    (2, 3, 4)
    """
    if 0 in a or 0 in b:
        return b
    marks = sorted({prod(s[k:]) for s in (a, b) for k in range(len(s) + 1)}, reverse=True)
    if any(x % y for x, y in zip(marks, marks[1:])):
        return a
    return tuple(x // y for x, y in zip(marks, marks[1:]))


# ---- building embeddings
def whole(shape: Ints, space: Ints) -> Embed | None:
    """`shape` as all of `space`, in row-major order; None when the sizes differ."""
    if prod(shape) != prod(space):
        return None
    return Embed(shape, tuple(range(len(shape))), space, tuple(range(len(space))), len(space))


def row_embed(shape: Ints, space: Ints, group: tuple[int, int]) -> Embed | None:
    """`shape` as the rows of `space`: the axes of the group repeat."""
    axes = tuple(a for a in range(len(space)) if not group[0] <= a < group[1])
    sizes = tuple(space[a] for a in axes)
    if prod(shape) != prod(sizes):
        return None
    return Embed(shape, tuple(range(len(shape))), sizes, axes, len(space))


def dense_order(shape: Ints, strides: Sequence[int]) -> Ints | None:
    """Axes (of size above 1) from the slowest to the fastest, when the strides visit 0..size-1
    exactly once each; None otherwise."""
    axes = sorted((a for a, d in enumerate(shape) if d != 1), key=lambda a: -strides[a])
    want = 1
    for a in reversed(axes):
        if strides[a] != want:
            return None
        want *= shape[a]
    return tuple(axes)


def same_order(
    shape: Ints, strides: Sequence[int], space: Ints, over: Sequence[int]
) -> Embed | None:
    """The embedding that makes position p of `shape` and position q of `space` meet when they are
    maps onto the same dense elements: `strides` over `shape`, `over` over `space` (0 where it
    repeats)."""
    perm = dense_order(shape, strides)
    axes = tuple(a for a, s in enumerate(over) if s != 0 and space[a] != 1)
    order = dense_order(tuple(space[a] for a in axes), [over[a] for a in axes])
    if perm is None or order is None:
        return None
    axes = tuple(axes[k] for k in order)
    sizes = tuple(space[a] for a in axes)
    if prod(shape) != prod(sizes):
        return None
    ones = tuple(a for a, d in enumerate(shape) if d == 1)
    return Embed(shape, ones + perm, sizes, axes, len(space))


def inverse_strides(
    shape: Ints, path: Path, offset: int, strides: Ints, to: Ints
) -> AffineMap | None:
    """Where element i of a value of `shape` goes when `path` reads it as a value of shape `to` that
    lies at (offset, strides); None unless the path visits every element exactly once."""
    at = walk_path(path, (0, contiguous_strides(shape)))
    if at is None or at[0] != 0 or prod(shape) != prod(to) or 0 in shape:
        return None
    order = dense_order(to, at[1])
    if order is None:
        return None
    got = reshape_strides(tuple(to[a] for a in order), [strides[a] for a in order], shape)
    return None if got is None else (offset, got)
