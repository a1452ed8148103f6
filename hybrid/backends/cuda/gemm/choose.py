"""Which schedule a product gets, from its sizes and the card.

Invariant: nothing decided here can change a bit of a result; costs are cycles of the whole card and
only their order matters.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...plan import GemmKernel
from ..function import Card
from .forms import Accumulator, element_of
from .schedule import Schedule, loads_of
from .shape import oriented
from .tile import BLOCK, Tile, is_deep

__all__ = ["TILES", "TRIALS", "WIDE_TILES", "candidates", "choose", "cost", "variants"]

# rows, columns, depth, rows and columns of a thread, lanes down, stages, resident blocks
TILES = (
    Tile("128x128", 128, 128, 16, 16, 8, 4, 2, 2),
    Tile("128x256", 128, 256, 16, 16, 8, 4, 3, 1),
    Tile("128x128 8x8", 128, 128, 16, 8, 8, 8, 2, 2),
    Tile("128x64", 128, 64, 16, 8, 8, 8, 3, 3),
    Tile("64x128 4x8", 64, 128, 16, 4, 8, 8, 3, 2),
    Tile("64x64 8x8", 64, 64, 16, 8, 8, 8, 3, 6),
    Tile("64x64", 64, 64, 16, 8, 4, 8, 3, 4),
    Tile("64x32", 64, 32, 32, 4, 4, 8, 3, 4),
    Tile("32x64", 32, 64, 32, 4, 4, 8, 3, 4),
    Tile("32x32", 32, 32, 32, 4, 2, 8, 3, 4),
    Tile("16x128", 16, 128, 16, 4, 4, 4, 4, 4),
    Tile("16x32", 16, 32, 64, 2, 2, 8, 3, 4),
    Tile("16x16", 16, 16, 64, 2, 2, 8, 3, 4),
)
# for accumulators of 8 bytes
WIDE_TILES = (
    Tile("64x64w", 64, 64, 16, 8, 4, 8, 3, 2),
    Tile("32x32w", 32, 32, 16, 4, 2, 8, 3, 4),
    Tile("16x64w", 16, 64, 16, 4, 4, 4, 3, 4),
    Tile("16x16w", 16, 16, 32, 2, 2, 8, 3, 4),
)
# schedules that were tried beside the first of TILES
TRIALS = (
    Tile("128x128 8x8 alone", 128, 128, 16, 8, 8, 8, 3, 1),
    Tile("128x128 deep 8", 128, 128, 8, 16, 8, 4, 4, 2),
    Tile("256x128", 256, 128, 16, 16, 8, 4, 3, 1),
)
# What an H100 took for products of 1024 to 8192 over what `_step` foresees, factors not turned
# (benchmarks/kernels/gemm_schedules.py).
SLACK = {
    "128x128": 1.14,
    "128x256": 1.09,
    "128x128 8x8": 1.09,
    "128x64": 0.99,
    "64x128 4x8": 1.085,
    "64x64 8x8": 1.06,
    "64x64": 1.065,
    "64x32": 1.155,
    "32x64": 1.145,
    "32x32": 1.24,
    "16x128": 1.105,
    "16x32": 1.1,
    "16x16": 1.085,
}
# Cycles of a multiprocessor to put an element of a turned factor into its place, and so much more
# where no other block hides them; outputs in flight that would be waited for as long again; what a
# block with a warp a scheduler and two stages waits for.
TURNED, ALONE, FEW, BARE = 0.085, 4.0, 40.0, 1.6
LAUNCH, START = 2000.0, 1500.0  # a function; a block of threads until it multiplies
MEMORY, NEAR = 1700.0, 3000.0  # bytes a cycle from memory, and from L2


def candidates(kernel: GemmKernel, card: Card) -> Iterator[Schedule]:
    """Schedules worth a thought, that fit the card."""
    yield from (schedule for schedule in _possible(kernel) if _fits(kernel, schedule, card))


def _possible(kernel: GemmKernel) -> Iterator[Schedule]:
    """Those on a card of any size."""
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
        if BLOCK < kernel.k <= 4 * BLOCK and tile.threads * kernel.k <= 512 * BLOCK:
            yield Schedule(tile, False, is_turned, together=True)


def _fits(kernel: GemmKernel, schedule: Schedule, card: Card) -> bool:
    """Whether a block gets the shared memory it needs at most, and sums can be counted."""
    tile, size = schedule.tile, element_of(kernel.acc).size
    if schedule.split and kernel.batch * kernel.m * kernel.n >= 1 << 31:
        return False
    if tile is None:
        return True
    groups = -(-kernel.k // BLOCK) if schedule.together else 1
    staged = tile.stages * tile.depth * (tile.rows + tile.cols + 32 // size) * size
    return groups * (staged + tile.rows * tile.cols * size) + (16 << 10) <= card.shared_bytes


def variants(kernel: GemmKernel, card: Card) -> Iterator[Schedule]:
    """All schedules there are, for measuring them beside each other."""
    yield from candidates(kernel, card)
    if kernel.order == "chain" and kernel.k and element_of(kernel.acc).size == 4:
        trials = [Schedule(tile, False, not oriented(kernel)) for tile in TRIALS]
        yield from (trial for trial in trials if _fits(kernel, trial, card))


def choose(kernel: GemmKernel, card: Card) -> Schedule:
    """The cheapest."""
    return min(candidates(kernel, card), key=lambda schedule: cost(kernel, schedule, card))


def _step(tile: Tile, blocks: int, size: int) -> float:
    """Cycles that so many blocks on one multiprocessor need for one k: those of the scheduler with
    most warps, or of shared memory, or of the chain."""
    rows, cols = tile.thread_rows, tile.thread_cols
    vector = 16 // size
    loads = [-(-count // min(vector, count)) for count in (rows, cols)]
    waves = sum(n * (2 if count * size >= 16 else 1) for n, count in zip(loads, (rows, cols)))
    visits = 0.6 * (tile.rows + tile.cols) / tile.threads
    issued = rows * cols * size / 4 + sum(loads) + 2.2 * visits + 25 / tile.depth
    warps = blocks * tile.warps
    busy = max(-(-warps // 4) * issued, warps * waves, 5.0)
    busy += 80 / tile.depth / min(blocks, 2) + (2 if warps <= 4 else 0)
    bare = BARE if warps <= 4 and tile.stages == 2 else 1.0
    return busy * SLACK.get(tile.name, 1.1) * (1 + FEW / (warps * rows * cols)) * bare


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
        return LAUNCH + max(memory, START + waves * kernel.k * 100)
    tile = schedule.tile
    parts = -(-kernel.k // BLOCK) if schedule.split else 1
    depth = min(kernel.k, BLOCK) if schedule.split or schedule.together else kernel.k
    groups = -(-kernel.k // BLOCK) if schedule.together else 1
    resident = max(1, tile.resident // groups)
    items = kernel.batch * parts * -(-m // tile.rows) * -(-n // tile.cols)
    each = -(-items // card.multiprocessors)
    rounds, rest = divmod(each, resident)
    finish = 300 + tile.rows * tile.cols / tile.threads / groups * (2 + _program(kernel) / 8)
    alone = START + finish
    along = _turned(kernel, schedule, element)

    def each_k(blocks: int) -> float:
        return _step(tile, blocks, element.size) + max(float(blocks), ALONE) * along

    busy = rounds * (depth * each_k(resident * groups) + alone)
    if rest:
        busy += depth * each_k(rest * groups) + alone
    total = LAUNCH + max(memory, busy)
    if schedule.split:
        moved = 2 * parts * kernel.batch * m * n * element.size
        total += LAUNCH + START + moved / NEAR + 30 * parts
    return total


def _turned(kernel: GemmKernel, schedule: Schedule, element: Accumulator) -> float:
    """Cycles for one k of the factors that are turned on their way into shared memory."""
    tile = schedule.tile
    assert tile is not None
    sides = [(tile.rows, tile.thread_rows), (tile.cols, tile.thread_cols)]
    ragged, total = kernel.k % tile.depth != 0, 0.0
    if schedule.turned:
        sides.reverse()
    for load, (lines, own) in zip(loads_of(kernel, element), sides):
        if load.along == "k":
            total += TURNED * lines / (3 if is_deep(load, tile, element, own, ragged) else 1)
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


def _program(kernel: GemmKernel) -> int:
    return len(kernel.epilogue.instrs) if kernel.epilogue is not None else 0


def _bytes(kernel: GemmKernel, element: Accumulator) -> int:
    factors = kernel.m * kernel.k * kernel.a.dtype.itemsize
    factors += kernel.k * kernel.n * kernel.b.dtype.itemsize
    results = sum(out.dtype.itemsize for out in kernel.outs)
    results += sum(read.dtype.itemsize for read in kernel.reads)
    return kernel.batch * (factors + kernel.m * kernel.n * results)
