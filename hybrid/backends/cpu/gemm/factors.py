"""The factors of a product: their indices as bytes, and the ways to read them.

Invariant: a way says how elements come to the micro-kernels, never which or in what order they are
multiplied.  Costs are cycles of one core.
"""

from __future__ import annotations

from math import prod
from typing import Literal, NamedTuple

import numpy as np

from ....core.extents import is_extent
from ....core.shapes import collapse
from ...plan import Dims, Operand
from ..machine.core import LINE, PAGE, Core, usable
from .micro import PackedElement
from .pack import Storage, storage

__all__ = [
    "BLOCK",
    "AMode",
    "BMode",
    "Factor",
    "Patch",
    "Runs",
    "a_modes",
    "b_modes",
    "factor",
    "patches_of",
    "runs_of",
    "straight_a",
    "straight_b",
]

BLOCK = 256  # k per block: part of the numerics contract


class Runs(NamedTuple):
    """An index as bytes: i * stride, or starts[i // length] + i % length * stride."""

    starts: tuple[int, ...] | None
    length: int
    stride: int
    size: int

    @property
    def uniform(self) -> bool:
        return self.starts is None

    def unit(self, itemsize: int) -> bool:
        return self.stride == itemsize


def runs_of(dims: Dims, itemsize: int) -> Runs:
    """A multi-dimensional index as runs along its last dimension; an empty one is one empty run."""
    sizes, (strides,) = collapse(dims.sizes, [dims.strides])
    size = prod(sizes)
    if len(sizes) <= 1 or not size:
        return Runs(None, size, strides[-1] * itemsize if sizes else itemsize, size)
    starts = np.zeros(1, np.int64)
    for count, stride in zip(sizes[:-1], strides[:-1]):
        steps = np.arange(count, dtype=np.int64) * (stride * itemsize)
        starts = (starts[:, None] + steps).reshape(-1)
    return Runs(tuple(starts.tolist()), sizes[-1], strides[-1] * itemsize, size)


class Factor(NamedTuple):
    """One factor, called `name` in the kernel: `lines` is its m or n index, `k` the summed one."""

    name: str
    operand: Operand
    storage: Storage
    lines: Runs
    k: Runs
    batch: Runs
    grid: Dims  # the lines again, merged, in bytes
    reach: int  # bytes that it takes in memory: taps of one element count once

    @property
    def nbytes(self) -> int:
        return self.lines.size * self.k.size * self.storage.size

    @property
    def direct(self) -> bool:
        return self.lines.uniform and self.k.uniform and self.storage.widen == "same"


class Patch(NamedTuple):
    """How the lines of a factor that is read where it lies are cut into row panels: groups of
    `group` lines, of which each gives `panels` panels.  A panel is `units` units (behind the first
    `full` of a group: one less) of `unit` lines each, `step` bytes apart; all units are alike."""

    groups: Runs
    group: int
    unit: int
    step: int
    units: int
    panels: int
    full: int
    inner: tuple[int, ...]  # bytes to each line of a unit

    def offsets(self, rows: int) -> tuple[int, ...]:
        """Bytes to each of the first lines of a panel."""
        places = (divmod(row, self.unit) for row in range(rows))
        return tuple([number * self.step + self.inner[line] for number, line in places])


# rows: panels of a are copied row by row; cols: k by k; patches: rows are read where they lie, at
# distances that all panels share, k by a table of offsets
AMode = Literal["direct", "rows", "cols", "patches"]
# segmented: vectors are read where they lie, none crosses from run to run; unit: rows of k are
# copied; trans: rows of n are transposed; any: column by column
BMode = Literal["direct", "segmented", "unit", "trans", "any"]


def factor(name: str, operand: Operand, element: PackedElement, lines: Dims, k: Dims) -> Factor:
    """The operand called `name` as a factor whose m or n index is `lines`."""
    stored = storage(operand.dtype.name, element)
    size = stored.size
    batch = runs_of(operand.batch, size)
    sizes, (strides,) = collapse(lines.sizes, [lines.strides])
    grid = Dims(sizes, tuple([stride * size for stride in strides]))
    walks = runs_of(lines, size), runs_of(k, size), batch
    return Factor(name, operand, stored, *walks, grid, _memory_of(lines, k, size))


def _memory_of(lines: Dims, k: Dims, size: int) -> int:
    """Bytes between the first and the last element, or of all of them where these are fewer."""
    sizes, strides = (*lines.sizes, *k.sizes), (*lines.strides, *k.strides)
    whole = prod(sizes) * size
    if any(map(is_extent, (*sizes, *strides))):
        return whole
    reach = 1 + sum((count - 1) * abs(stride) for count, stride in zip(sizes, strides))
    return min(whole, max(reach, 0) * size)


def patches_of(a: Factor, most: int) -> list[Patch]:
    """The ways to cut the lines of a into panels of at most `most` rows that are all alike."""
    sizes, strides = a.grid
    if a.storage.widen != "same" or not prod(sizes):
        return []
    found, unit, inner = list[Patch](), 1, np.zeros(1, np.int64)
    for level in range(len(sizes) - 1, -1, -1):
        count, step = sizes[level], strides[level]
        if unit > most:
            break
        panels = -(-count * unit // (most - most % unit))
        units = -(-count // panels)
        full = count - panels * (units - 1)
        groups = runs_of(Dims(sizes[:level], strides[:level]), 1)
        shape = (count * unit, unit, step, units, panels, full)
        found.append(Patch(groups, *shape, tuple(inner.tolist())))
        steps = np.arange(count, dtype=np.int64) * step
        unit, inner = unit * count, (steps[:, None] + inner).reshape(-1)
    return found


def a_modes(a: Factor) -> list[tuple[AMode, float]]:
    """Ways to read a worth comparing, each with the cycles of packing all of it once."""
    itemsize = a.storage.size
    elements = a.lines.size * a.k.size
    candidates: list[tuple[AMode, float]] = [("direct", 0.0)] if a.direct else []
    if a.k.unit(itemsize):
        run = max(min(a.k.length, BLOCK), 1)
        candidates.append(("rows", elements * (0.12 + (4.5 if run <= 16 else 12) / run)))
    elif a.lines.unit(itemsize) and a.lines.uniform:
        candidates.append(("cols", elements * 0.15))
    elif not candidates:
        candidates.append(("rows", elements * 1.5))
    return candidates


def b_modes(b: Factor) -> list[tuple[BMode, float]]:
    """Ways to read b worth comparing, each with the cycles of packing all of it once."""
    itemsize = b.storage.size
    elements = b.lines.size * b.k.size
    unit = b.lines.unit(itemsize) or b.lines.size == 1
    if unit and b.lines.uniform:
        direct: list[tuple[BMode, float]] = [("direct", 0.0)] if b.direct else []
        return [*direct, ("unit", elements * 0.15)]
    candidates: list[tuple[BMode, float]] = []
    if unit and b.storage.widen == "same" and b.lines.length >= 4 and b.k.size <= 8192:
        candidates.append(("segmented", 0.0))
    if b.k.unit(itemsize) and b.k.length >= 8:
        run = min(b.k.length, BLOCK)
        waste = -(-run // 16) * 16 / run  # partial blocks, which are copied first
        copied = 1.0
        if b.lines.uniform and b.storage.widen == "same":
            copied = min(4.0 * (waste - 1), 1.0)
        candidates.append(("trans", elements * waste * (0.3 + 0.25 * copied)))
    run_cost = (8 if b.lines.length <= 16 else 12) / max(min(b.lines.length, 32), 1)
    candidates.append(("any", elements * (0.2 + run_cost if unit else 1.8)))
    return candidates


def straight_a(a: Factor, rows: int, core: Core) -> float:
    """Cycles that a micro tile loses for each block of k where a is read as it lies."""
    itemsize, depth = a.storage.size, min(a.k.size, BLOCK)
    if a.k.unit(itemsize):  # rows far apart: each on a page of its own
        stride = abs(a.lines.stride)
        crowded = usable(core.second, stride, depth * itemsize) < core.second.size // 2
        return rows * core.translation * min(stride / PAGE, 1.0) * (2 if crowded else 1)
    return depth * _scattered(a.k.stride, rows * itemsize, depth, core)


def straight_b(b: Factor, width: int, core: Core) -> float:
    """Cycles that a micro tile of `width` columns loses for each block of k where b is read as it
    lies."""
    itemsize, depth = b.storage.size, min(b.k.size, BLOCK)
    return depth * _scattered(b.k.stride, min(width, b.lines.size) * itemsize, depth, core)


def _scattered(stride: int, width: int, depth: int, core: Core) -> float:
    """Cycles for each of `depth` short rows at a distance that are read again by the next tile:
    from the second cache where they do not stay in the first, through page after page where they
    are far apart."""
    needed = depth * -(-width // LINE) * LINE
    distant = needed > usable(core.first, abs(stride), width)
    return 0.4 * distant + 0.5 * (abs(stride) >= PAGE // 2 and depth > 64)
