"""Sizes of micro tiles, and what they cost.

Invariant: a tiling fits the registers: sums, a row of b and one broadcast are there at once.  Costs
are cycles of one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from ..machine.core import Core, core
from ..machine.host import machine
from ..measure.calibration import calibrated
from .factors import BLOCK, BMode, Factor, Patch, patches_of
from .micro import PackedElement

__all__ = ["Target", "Tiling", "Varying", "host_target", "patched", "target_of", "worth_trying"]

LOOKUP = 0.4  # cycles of a k that a micro tile finds by a table
LARGE = 1 << 20  # multiply-adds from which on memory and threads decide how a product is cut


class Target(NamedTuple):
    """The machine as far as tile sizes depend on it."""

    vector_bytes: int = 64
    registers: int = 32
    threads: int = 2
    workspace: bool = True  # the caller gives one, so long sums may be split
    core: Core = Core()


def target_of(core: Core, threads: int) -> Target:
    """Cores of one kind."""
    return Target(core.vector_bytes, core.registers, threads, core=core)


def host_target(work: int = 0) -> Target:
    """This machine, for a product of so many multiply-adds: calibrated for large ones."""
    return target_of(calibrated().core if work >= LARGE else core(), machine().cores)


def _micro_cost(core: Core, wide: int, far: bool, rows: int, tile_vectors: int) -> float:
    """Cycles per k of a micro tile whose vectors are `wide` registers: multiply-adds, one broadcast
    a cycle, loads (vectors of b may straddle cache lines), the latency of one chain, and b's way
    from the second cache where it does not stay in the first."""
    lines = tile_vectors * wide
    arithmetic, traffic = rows * lines / core.fma, (rows + 1.5 * lines) / core.loads
    return max(arithmetic, rows * 0.9, traffic, core.latency, core.nearby * lines * far)


class Varying(NamedTuple):
    """What differs between the sizes that one choice is for: m or n, or any number at all."""

    lines: bool = False
    some: bool = False


class Tiling(NamedTuple):
    """A size of micro tiles for a whole result; the order of the fields ranks them."""

    cost: float  # cycles per k
    row_panels: int
    tile_vectors: int
    rows: int  # of the higher panels
    patch: Patch | None = None


def _tilings(
    m: int, vectors: int, k: int, element: PackedElement, target: Target, varying: bool = False
) -> Iterator[Tiling]:
    """Every micro tile that fits: sums, a row of b and one broadcast are in registers at once;
    where m is `varying`, those of a few heights."""
    wide = 16 * element.size // target.vector_bytes
    room = target.registers - 1
    for tile_vectors in (1, 2, 3, 4, 6, 8):
        if tile_vectors > max(vectors, 1):
            break
        most = min((room - tile_vectors * wide) // (tile_vectors * wide), 14)
        if most < 1:
            continue
        height = _height(m, most) if varying else most
        panels = -(-m // height)
        for row_panels in (panels,) if varying else (panels, panels + 1):
            rows = height if varying else -(-m // row_panels)
            if rows < 1 or not (varying or row_panels <= m):
                continue
            # b is read again for each row panel: from the first cache if a panel of it stays there
            panel_bytes = tile_vectors * 16 * element.size * min(k, BLOCK)
            far = row_panels > 1 and panel_bytes > target.core.first.size * 5 // 6
            cost = partial(_micro_cost, target.core, wide, far)
            total = _tiling_cost(m, vectors, row_panels, tile_vectors, cost)
            yield Tiling(total, row_panels, tile_vectors, rows)


def patched(
    a: Factor, vectors: int, k: int, element: PackedElement, target: Target
) -> Iterator[Tiling]:
    """Micro tiles whose rows are read where they lie, as far as they are all alike."""
    wide = 16 * element.size // target.vector_bytes
    for tile_vectors in (1, 2, 3, 4, 6, 8):
        if tile_vectors > max(vectors, 1):
            break
        most_rows = min((target.registers - 1 - tile_vectors * wide) // (tile_vectors * wide), 14)
        far = tile_vectors * 16 * element.size * min(k, BLOCK) > target.core.first.size * 5 // 6
        cost = partial(_looked_up, target.core, wide, far)
        for patch in patches_of(a, max(most_rows, 1)):
            height, groups = patch.units * patch.unit, patch.groups.size
            heights = (patch.full, height), (patch.panels - patch.full, height - patch.unit)
            total = groups * _panels_cost(heights, vectors, tile_vectors, cost)
            yield Tiling(total, patch.panels * groups, tile_vectors, height, patch)


def _looked_up(core: Core, wide: int, far: bool, rows: int, tile_vectors: int) -> float:
    return _micro_cost(core, wide, far, rows, tile_vectors) + LOOKUP


def _tiling_cost(
    m: int, vectors: int, row_panels: int, tile_vectors: int, cost: Callable[[int, int], float]
) -> float:
    """Cycles per k, for row panels with all rows and with one less."""
    rows = -(-m // row_panels)
    full_rows = m - row_panels * (rows - 1)
    heights = (full_rows, rows), (row_panels - full_rows, rows - 1)
    return _panels_cost(heights, vectors, tile_vectors, cost)


def _panels_cost(
    heights: Iterable[tuple[int, int]],
    vectors: int,
    tile_vectors: int,
    cost: Callable[[int, int], float],
) -> float:
    """Cycles per k of so many row panels of each height: full and last column panels."""
    full_panels = -(-vectors // tile_vectors) - 1
    tail = vectors - full_panels * tile_vectors
    total = 0.0
    for count, height in heights:
        if count and height:
            total += count * (full_panels * cost(height, tile_vectors) + cost(height, tail))
    return total


def worth_trying(
    a: Factor,
    shape: tuple[int, int, int],
    b_mode: BMode,
    element: PackedElement,
    target: Target,
    varying: Varying,
) -> Iterable[Tiling]:
    """The best tiling, the best one whose row panels threads can share evenly, and the best one of
    patches, whose numbers are part of the text; `shape`: m, k and vectors."""
    m, k, vectors = shape
    tilings = sorted(_tilings(max(m, 1), vectors, k, element, target, varying.lines), key=_rank)
    even = [t for t in tilings if t.row_panels % target.threads == 0 and not varying.lines]
    patched_tilings = list[Tiling]()
    if not (a.direct or varying.some or b_mode == "segmented"):
        patched_tilings = sorted(patched(a, vectors, k, element, target), key=_rank)
    return dict.fromkeys((tilings[0], *even[:1], *patched_tilings[:1]))


def _rank(tiling: Tiling) -> tuple[float, ...]:
    return tiling[:4]


def _height(m: int, most: int) -> int:
    """Rows of the higher panels where m varies: few heights, of which with one less m is a sum."""
    fits = (rows for rows in (most, 6, 3) if rows <= most and m >= (rows - 1) * (rows - 2))
    return next(fits, 2)
