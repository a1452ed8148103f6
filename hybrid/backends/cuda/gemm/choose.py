"""Which schedule a product gets, from its sizes and the card.

Invariant: nothing decided here can change a bit of a result; costs are cycles of the whole card and
only their order matters.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...plan import GemmKernel
from ..function import Card
from .forms import Element, element_of
from .schedule import Schedule, oriented
from .tile import BLOCK, Tile

__all__ = ["TILES", "WIDE_TILES", "candidates", "choose", "cost"]

# rows, columns, depth, rows and columns of a thread, lanes down, stages, resident blocks
TILES = (
    Tile("128x128", 128, 128, 8, 16, 8, 4, 4, 2),
    Tile("128x64", 128, 64, 8, 8, 8, 8, 4, 3),
    Tile("64x64", 64, 64, 16, 8, 4, 8, 3, 4),
    Tile("64x32", 64, 32, 16, 4, 4, 8, 4, 4),
    Tile("32x64", 32, 64, 16, 4, 4, 8, 4, 4),
    Tile("32x32", 32, 32, 16, 4, 4, 8, 4, 8),
    Tile("16x128", 16, 128, 16, 4, 4, 4, 4, 4),
)
# for accumulators of 8 bytes
WIDE_TILES = (
    Tile("64x64w", 64, 64, 16, 8, 4, 8, 3, 2),
    Tile("32x32w", 32, 32, 16, 4, 4, 8, 3, 4),
    Tile("16x64w", 16, 64, 16, 4, 4, 4, 3, 4),
)
LAUNCH, START = 3000.0, 2500.0  # a further function; a block of threads until it multiplies
MEMORY, NEAR = 1900.0, 3500.0  # bytes a cycle from memory, and from L2


def candidates(kernel: GemmKernel) -> Iterator[Schedule]:
    """Schedules worth a thought."""
    if kernel.order == "lanes":
        is_turned = kernel.n > kernel.m
        yield Schedule(None, False, is_turned)
        yield Schedule(None, False, is_turned, few=True)
        if kernel.k > BLOCK:
            yield Schedule(None, True, is_turned, few=True)
        return
    is_turned = not oriented(kernel)
    yield Schedule(None, turned=is_turned)
    if kernel.k == 0:
        return
    for tile in TILES if element_of(kernel.acc).size == 4 else WIDE_TILES:
        yield Schedule(tile, False, is_turned)
        if kernel.k > BLOCK:
            yield Schedule(tile, True, is_turned)


def choose(kernel: GemmKernel, card: Card) -> Schedule:
    """The cheapest."""
    return min(candidates(kernel), key=lambda schedule: cost(kernel, schedule, card))


def _share(warps: int) -> float:
    """The share of a multiprocessor's speed that so many warps reach."""
    return warps / (warps + 1.5)


def _sharing(tile: Tile) -> float:
    """The share of instructions that multiply."""
    rows, cols = tile.thread_rows, tile.thread_cols
    return rows * cols / (rows * cols + 1.2 * (rows + cols))


def cost(kernel: GemmKernel, schedule: Schedule, card: Card) -> float:
    """Cycles of a product."""
    m, n = (kernel.n, kernel.m) if schedule.turned else (kernel.m, kernel.n)
    element = element_of(kernel.acc)
    memory = _bytes(kernel, element) / MEMORY
    if kernel.order == "lanes":
        return LAUNCH + max(memory, _lanes_cost(kernel, schedule, card))
    if schedule.tile is None:
        threads = float(kernel.batch * m * n)
        waves = max(1.0, threads / (card.multiprocessors * 1024))
        return LAUNCH + max(memory, waves * (kernel.k + 20) * 120)
    tile = schedule.tile
    parts = -(-kernel.k // BLOCK) if schedule.split else 1
    depth = min(kernel.k, BLOCK) if schedule.split else kernel.k
    items = kernel.batch * parts * -(-m // tile.rows) * -(-n // tile.cols)
    each = -(-items // card.multiprocessors)
    work = tile.rows * tile.cols * depth / (128 * _sharing(tile)) * element.size / 4
    work += tile.rows * tile.cols / 16
    rounds, rest = divmod(each, tile.resident)
    busy = rounds * tile.resident * work / _share(tile.resident * tile.warps)
    if rest:
        busy += rest * work / _share(rest * tile.warps)
    total = LAUNCH + max(memory, busy + START * (rounds + (rest > 0)))
    if schedule.split:
        moved = 2 * parts * kernel.batch * m * n * element.size
        total += LAUNCH + moved / NEAR + 40 * parts
    return total


def _lanes_cost(kernel: GemmKernel, schedule: Schedule, card: Card) -> float:
    """Cycles of dot products: waiting for memory block by block."""
    blocks = -(-kernel.k // BLOCK)
    rows = 1 if schedule.few else 4
    warps = kernel.batch * -(-max(kernel.m, kernel.n) // rows) * min(kernel.m, kernel.n)
    each = 600 + 100 * rows
    if schedule.split:
        return LAUNCH + 30 * blocks + each * max(1.0, warps * blocks / (32 * card.multiprocessors))
    return each * blocks * max(1.0, warps / (32 * card.multiprocessors))


def _bytes(kernel: GemmKernel, element: Element) -> int:
    factors = kernel.m * kernel.k * kernel.a.dtype.itemsize
    factors += kernel.k * kernel.n * kernel.b.dtype.itemsize
    results = sum(out.dtype.itemsize for out in kernel.outs)
    results += sum(read.dtype.itemsize for read in kernel.reads)
    return kernel.batch * (factors + kernel.m * kernel.n * results)
