"""Affine index maps: how elements of a value are found from positions of another iteration space.

Invariant: a map is exact or absent: strides and offsets count elements, None means that no affine
form exists and the caller makes a copy.  Strides along axes of size 1 are always 0 in a canonical
map.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

from ...core import shapes
from ...core.extents import plain_int
from ...core.shapes import broadcast_strides, contiguous_strides
from ...ir.graph.graph import Node

__all__ = [
    "Ints",
    "AffineMap",
    "AffineView",
    "Broadcast",
    "Embed",
    "Path",
    "walk_path",
    "reshape_strides",
    "canonical",
    "dense_strides",
    "dense_order",
    "same_order",
    "whole",
    "row_embed",
    "refine",
    "inverse_strides",
]

Ints = tuple[int, ...]
AffineMap = tuple[int, Ints]  # offset, strides


@lru_cache(4096)
def dense_strides(shape: Ints) -> Ints:
    """Row-major strides; of a few shapes, many times."""
    return contiguous_strides(shape)


def canonical(shape: Ints, strides: Sequence[int]) -> Ints:
    """Strides with 0 along axes of size 1, so that equal maps have equal strides."""
    return tuple(0 if d == 1 else s for d, s in zip(shape, strides))


def reshape_strides(shape: Ints, strides: Sequence[int], target: Ints) -> Ints | None:
    """Strides of the same elements in the same order under shape `new`, or None.

    >>> reshape_strides((4, 6), (6, 1), (2, 2, 6)), reshape_strides((4, 6), (1, 4), (24,))
    ((12, 6, 1), None)
    """
    if shape == target:
        return tuple(strides)
    if 0 in shape or 0 in target:
        return (0,) * len(target)
    if prod(shape) != prod(target):
        return None
    found = shapes.reshape_strides(shape, strides, target)
    return None if found is None else canonical(target, found)


# ---- steps of a path
class AffineView(NamedTuple):
    """Through a view node: a map over its input becomes a map over its output."""

    node: Node

    def apply(self, affine: AffineMap) -> AffineMap | None:
        node = self.node
        assert node.op.layout is not None
        mapped = node.op.layout(node.inputs[0].aval, affine[1], affine[0], **node.params)
        if mapped is None:
            return None
        return plain_int(mapped[0]), tuple(map(plain_int, mapped[1]))


class Broadcast(NamedTuple):
    """NumPy broadcasting of `shape` to `to`."""

    shape: Ints
    target: Ints

    def apply(self, affine: AffineMap) -> AffineMap | None:
        return affine[0], broadcast_strides(self.shape, affine[1], self.target)


class Embed(NamedTuple):
    """A space of `shape` placed in a region's space of rank `rank`: its axes in the order `perm`
    are split or merged into `sizes`, which are the region's axes `axes`; the region's other axes
    repeat."""

    shape: Ints
    perm: Ints
    sizes: Ints
    axes: Ints
    rank: int

    def apply(self, affine: AffineMap) -> AffineMap | None:
        rank = self.rank
        if self.perm == self.axes == tuple(range(rank)) and self.shape == self.sizes:
            return affine[0], tuple(affine[1])  # all of a space of that shape
        sorted_shape = tuple(self.shape[p] for p in self.perm)
        found = reshape_strides(sorted_shape, [affine[1][p] for p in self.perm], self.sizes)
        if found is None:
            return None
        strides = [0] * rank
        for axis, stride in zip(self.axes, found):
            strides[axis] = stride
        return affine[0], tuple(strides)


Path = tuple[AffineView | Broadcast | Embed, ...]


def walk_path(path: Path, affine: AffineMap) -> AffineMap | None:
    """The map after all steps."""
    for step in path:
        mapped = step.apply(affine)
        if mapped is None:
            return None
        affine = mapped
    return affine


def refine(first: Ints, second: Ints) -> Ints:
    """The coarsest row-major sizes that both are merges of.

    >>> refine((6, 4), (2, 12))
    (2, 3, 4)
    """
    if 0 in first or 0 in second:
        return second
    marks = sorted({prod(s[k:]) for s in (first, second) for k in range(len(s) + 1)}, reverse=True)
    if any(x % y for x, y in zip(marks, marks[1:])):
        return first
    return tuple(x // y for x, y in zip(marks, marks[1:]))


# ---- building embeddings
@lru_cache(4096)
def whole(shape: Ints, space: Ints) -> Embed | None:
    """`shape` as all of `space`, in row-major order; None when the sizes differ."""
    if prod(shape) != prod(space):
        return None
    return Embed(shape, tuple(range(len(shape))), space, tuple(range(len(space))), len(space))


@lru_cache(4096)
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
    axes = sorted((a for a, d in enumerate(shape) if d != 1), key=lambda axis: -strides[axis])
    expected = 1
    for axis in reversed(axes):
        if strides[axis] != expected:
            return None
        expected *= shape[axis]
    return tuple(axes)


def same_order(
    shape: Ints, strides: Sequence[int], space: Ints, region_strides: Sequence[int]
) -> Embed | None:
    """The embedding that makes position p of `shape` and position q of `space` meet when they are
    maps onto the same dense elements: `strides` over `shape`, `over` over `space` (0 where it
    repeats)."""
    perm = dense_order(shape, strides)
    axes = tuple(a for a, s in enumerate(region_strides) if s != 0 and space[a] != 1)
    order = dense_order(tuple(space[a] for a in axes), [region_strides[a] for a in axes])
    if perm is None or order is None:
        return None
    axes = tuple(axes[k] for k in order)
    sizes = tuple(space[a] for a in axes)
    if prod(shape) != prod(sizes):
        return None
    ones = tuple(a for a, d in enumerate(shape) if d == 1)
    return Embed(shape, ones + perm, sizes, axes, len(space))


def inverse_strides(
    shape: Ints, path: Path, offset: int, strides: Ints, target: Ints
) -> AffineMap | None:
    """Where element i of a value of `shape` goes when `path` reads it as a value of shape `to` that
    lies at (offset, strides); None unless the path visits every element exactly once."""
    affine = walk_path(path, (0, dense_strides(shape)))
    if affine is None or affine[0] != 0 or prod(shape) != prod(target) or 0 in shape:
        return None
    order = dense_order(target, affine[1])
    if order is None:
        return None
    found = reshape_strides(tuple(target[a] for a in order), [strides[a] for a in order], shape)
    return None if found is None else (offset, found)
