"""Shape decisions of a matrix product: which factor is broadcast, tile sizes, what is packed, work
items.

Invariant: nothing decided here can change a bit of the result, because every output is its own
chain of k in blocks of 256; decisions depend on the kernel and the target only.  Costs are cycles
of one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import ceil, inf
from typing import NamedTuple

import numpy as np

from ....core.extents import apart, is_extent
from ...plan import Dims, GemmKernel, Operand
from ..machine.core import LINE, Core
from .factors import (
    BLOCK,
    AMode,
    BMode,
    Factor,
    Patch,
    Runs,
    a_modes,
    b_modes,
    factor,
    runs_of,
    straight_a,
    straight_b,
)
from .micro import ELEMENTS, PackedElement
from .pack import storage
from .tilings import Target, Tiling, Varying, host_target, target_of, worth_trying

__all__ = [
    "ROW_PAD",
    "Geometry",
    "Target",
    "choose",
    "dispatch",
    "factors_of",
    "host_target",
    "option",
    "target_of",
    "with_batch_in_columns",
]

BESIDE = 4 / 3  # times as long as a stream of nothing else takes one beside a product
# lines of another core's cache that are no long stream: what of their wait is not overlapped
MET, STREAM = 0.4, 32 << 10
# the same of lines from beyond the second cache that no stream leads to
PIECES = 0.28
ITEM, OFFSET = 150, 3.0  # cycles of an item, and of an offset in a table of its own
LINES = 110  # of a vector of columns of a tile that is transposed and stored
LAUNCH = 600  # cycles of one more kernel
HANDING = 2.4  # barriers to hand work to a thread that has other work, and wait for it
ROW_PAD = 16  # elements after each packed row, so that rows fall into different cache sets


class Geometry(NamedTuple):
    """Everything the generator needs besides the kernel."""

    swapped: bool
    m: int
    n: int
    a: Factor
    b: Factor
    a_mode: AMode
    b_mode: BMode
    rows: int  # rows of a full micro tile
    full_rows: int  # how many row panels have `rows` rows; the others one less
    row_panels: int
    tile_vectors: int  # vectors of a full micro tile
    vectors: int  # vectors of 16 columns in all
    panels_m: int  # row panels per item
    panels_n: int  # column panels per item
    cost: float  # of the whole product, over the threads
    batch: int
    blocks: int  # blocks of k
    large: bool = False  # the result is larger than the second cache
    split: int = 0  # > 0: items also split k, by that many blocks; sums go to a workspace
    patch: Patch | None = None  # where a is read in patches
    ahead: bool = False  # b is packed by a kernel of its own, into the workspace

    @property
    def items(self) -> int:
        if self.m == 0 or self.n == 0:
            return 0
        groups = -(-self.blocks // self.split) if self.split else 1
        return self.items_m * self.items_n * self.batch * groups

    @property
    def column_panels(self) -> int:
        return -(-self.vectors // self.tile_vectors)

    @property
    def tail_vectors(self) -> int:
        return self.vectors - (self.column_panels - 1) * self.tile_vectors

    @property
    def items_m(self) -> int:
        return -(-self.row_panels // self.panels_m)

    @property
    def items_n(self) -> int:
        return -(-self.column_panels // self.panels_n)


def _vectors(b: Factor, mode: BMode) -> int:
    if mode == "segmented" and b.lines.starts is not None:
        return len(b.lines.starts) * -(-b.lines.length // 16)
    return -(-b.lines.size // 16)


def _partial(b: Factor, mode: BMode, tiling: Tiling) -> int:
    """Vectors of each k that are read under a mask: the last ones, once where b is packed."""
    if b.lines.size % 16 == 0 and mode != "segmented":
        return 0
    runs = len(b.lines.starts) if mode == "segmented" and b.lines.starts is not None else 1
    return runs * (tiling.row_panels if mode in ("direct", "segmented") else 1)


def factors_of(kernel: GemmKernel, element: PackedElement) -> tuple[Factor, Factor]:
    """The left and the right factor of a product."""
    return (
        factor("a", kernel.a, element, kernel.a.rows, kernel.a.cols),
        factor("b", kernel.b, element, kernel.b.cols, kernel.b.rows),
    )


Factors = tuple[Factor, Factor]
Way = tuple[bool, Varying]  # whether it is the transpose; what of it varies


def option(kernel: GemmKernel, element: PackedElement, target: Target, swapped: bool) -> Geometry:
    """The best decisions for the product (or its transpose)."""
    return _option(kernel, element, target, (swapped, Varying()), factors_of(kernel, element))


def _option(
    kernel: GemmKernel, element: PackedElement, target: Target, way: Way, factors: Factors
) -> Geometry:
    swapped, varying = way
    a, b = factors
    m, n, out = kernel.m, kernel.n, kernel.outs[0]
    if swapped:
        a, b, m, n = b, a, n, m
    along = runs_of(out.rows if swapped else out.cols, 1)
    # lane by lane, also where vectors span two runs
    scattered = n > 1 and (along.stride != 1 or (along.starts is not None and along.length % 16))
    blocks = -(-max(kernel.k, 1) // BLOCK)
    finish = 0.06 * blocks * m * n
    found = []
    for b_mode, b_cost in b_modes(b):
        vectors = max(_vectors(b, b_mode), 1)
        shape = (m, kernel.k, vectors)
        for tiling in worth_trying(a, shape, b_mode, element, target, varying):
            tiles = tiling.row_panels * -(-vectors // tiling.tile_vectors) * blocks
            compute = tiling.cost * max(kernel.k, 1) + tiles * 40 + finish
            if scattered:  # of 16 lanes of a line as many are stored as a panel has rows
                lines = LINES * tiling.row_panels * vectors if tiling.patch is not None else 0
                compute += max(0.5 * m * n, lines)
            compute += target.core.masked * kernel.k * _partial(b, b_mode, tiling)
            if b_mode == "direct":
                compute += tiles * straight_b(b, 16 * tiling.tile_vectors, target.core)
            whole = _whole(kernel, (a, b), swapped, tiling, vectors)
            whole = whole._replace(large=m * n * element.size > target.core.second.size)
            packable = tiling.patch is not None and b_cost > 0 and _may_pack_ahead(b, target)
            when_packed = (False, True) if packable else (False,)
            for a_mode, lost, a_cost, offsets in _ways(a, kernel.k, tiling, tiles, target):
                read = whole._replace(a_mode=a_mode, b_mode=b_mode)
                costs = Costs(compute + lost, a_cost, b_cost, offsets)
                found += [
                    _split(read._replace(ahead=ahead), costs, target, element)
                    for ahead in when_packed
                ]
    return min(found, key=lambda geometry: geometry.cost)


def _ways(
    a: Factor, k: int, tiling: Tiling, tiles: int, target: Target
) -> Iterator[tuple[AMode, float, float, float]]:
    """How a may be read for a tiling, with the cycles that all tiles lose by it, those of packing
    it once, and those of a table of offsets."""
    if tiling.patch is not None:
        yield "patches", 0.0, 0.0, OFFSET * k
        return
    for a_mode, cost in a_modes(a):
        straight = straight_a(a, tiling.rows, target.core) if a_mode == "direct" else 0.0
        yield a_mode, tiles * straight, cost, 0.0


def _may_pack_ahead(b: Factor, target: Target) -> bool:
    """Whether one packed b serves all items, and there is room for it."""
    return target.workspace and _is_shared(b) and b.nbytes < 32 << 20


def _is_shared(factor: Factor) -> bool:
    """Whether one factor serves all products of the batch."""
    sizes, strides = factor.operand.batch
    return not any(stride for size, stride in zip(sizes, strides) if size > 1)


def _whole(
    kernel: GemmKernel, factors: Factors, swapped: bool, tiling: Tiling, vectors: int
) -> Geometry:
    """A tiling of the product as one item, its factors read where they lie."""
    m, n = (kernel.n, kernel.m) if swapped else (kernel.m, kernel.n)
    return Geometry(
        swapped,
        m,
        n,
        *factors,
        a_mode="direct",
        b_mode="direct",
        rows=tiling.rows,
        full_rows=max(m, 1) - tiling.row_panels * (tiling.rows - 1),
        row_panels=tiling.row_panels,
        tile_vectors=tiling.tile_vectors,
        vectors=vectors,
        panels_m=tiling.row_panels,
        panels_n=-(-vectors // tiling.tile_vectors),
        cost=0.0,
        batch=kernel.batch,
        blocks=-(-max(kernel.k, 1) // BLOCK),
        patch=tiling.patch,
    )


class Costs(NamedTuple):
    """Cycles of one product: multiplying, packing each factor once, and the table of offsets of an
    item with all k."""

    compute: float
    pack_a: float
    pack_b: float
    offsets: float


class Cut(NamedTuple):
    """Row panels, column panels and blocks of k of an item."""

    panels_m: int
    panels_n: int
    split: int


def _split(geometry: Geometry, costs: Costs, target: Target, element: PackedElement) -> Geometry:
    """Cut the result into items: columns of b that stay in the second cache while all rows pass,
    a bound for sums that wait for the last block of k, and enough items for the threads."""
    room, width = target.core.second.size, geometry.tile_vectors * 16 * element.size
    most_n = max(1, room // (4 * width * BLOCK))
    groups = _groups(geometry, target, element)
    best, least = Cut(1, 1, 0), inf
    for panels_n in _cuts(geometry.column_panels, most_n, target.threads):
        most_m = geometry.row_panels
        if geometry.blocks > 1:
            most_m = max(1, 5 * room // (4 * panels_n * geometry.rows * width))
        for panels_m in _cuts(geometry.row_panels, most_m, target.threads):
            for split in groups:
                cut = Cut(panels_m, panels_n, split)
                duration = _span(geometry, cut, costs, target)
                if duration < least * 0.999:
                    best, least = cut, duration
    return geometry._replace(
        cost=least, panels_m=best.panels_m, panels_n=best.panels_n, split=best.split
    )


def _span(geometry: Geometry, cut: Cut, costs: Costs, target: Target) -> float:
    """Cycles until the last thread is done."""
    m, n, blocks, batch = geometry.m, geometry.n, geometry.blocks, geometry.batch
    items_m = -(-geometry.row_panels // cut.panels_m)
    items_n = -(-geometry.column_panels // cut.panels_n)
    again = _again(geometry, (items_m, items_n), costs, target.core)
    groups = -(-blocks // cut.split) if cut.split else 1
    items = max(items_m * items_n * batch * groups, 1)
    total = (costs.compute + again) * batch + (ITEM + costs.offsets / groups) * items
    busy = min(target.threads, items)
    # the last items may be smaller than the others
    longest = total / items * cut.panels_m * items_m / geometry.row_panels
    longest *= cut.panels_n * items_n / geometry.column_panels
    duration = min(-(-items // busy) * longest, total / busy + longest)
    foreign, line = 0.0, target.core.measured.waited / LINE
    if busy > 1:  # a busy neighbour delays its last item, so smaller items are better
        foreign = _foreign(geometry, (items_m, items_n), target.threads)
        duration += dispatch(target.core) + 0.15 * total / items
    if geometry.ahead:  # others packed their share of b
        packed = blocks * BLOCK * geometry.vectors * 16 * geometry.a.storage.size
        foreign += packed / items_n * (1 - 1 / target.threads)
    if geometry.patch is not None and batch < target.threads:
        # what others made, as far as caches hold it, line by line where it is needed
        held = min(geometry.a.reach, target.core.second.size)
        duration += line * held * (1 - 1 / target.threads)
    streamed = BESIDE * target.core.measured.streamed / LINE
    duration += MET * line * min(foreign, STREAM) + streamed * max(foreign - STREAM, 0)
    if cut.split:
        duration += dispatch(target.core) + blocks * batch * m * n * 0.3
    if geometry.ahead:
        sharing = min(target.threads, blocks * geometry.column_panels)
        duration += costs.pack_b / sharing + (
            dispatch(target.core) if target.threads > 1 else LAUNCH
        )
    return duration


def dispatch(core: Core) -> float:
    """Cycles to hand work to another thread and wait for it."""
    return HANDING * core.measured.barrier


def _again(geometry: Geometry, items: tuple[int, int], costs: Costs, core: Core) -> float:
    """Cycles in which the items of one product pack and read their parts of the factors."""
    items_m, items_n = items
    read = 0.03 * geometry.blocks * BLOCK
    pack_b = 0.0 if geometry.ahead else costs.pack_b
    again = (costs.pack_a + read * geometry.m) * items_n + (pack_b + read * geometry.n) * items_m
    # taps of patches come from the first caches but for the first of them
    a_bytes = geometry.a.nbytes if geometry.patch is None else geometry.a.reach
    b_bytes = geometry.b.nbytes
    if a_bytes + b_bytes > core.second.size:
        again += BESIDE * core.measured.beyond * (a_bytes * items_n + b_bytes * items_m)
    straight, width = geometry.b_mode == "direct", 16 * geometry.tile_vectors
    if straight and _in_pieces(geometry.b, width, geometry.batch, core):
        again += PIECES * core.measured.waited / LINE * b_bytes * items_m
    straight = geometry.a_mode in ("direct", "cols")
    if straight and _in_pieces(geometry.a, geometry.rows, geometry.batch, core):
        again += PIECES * core.measured.waited / LINE * a_bytes * items_n
    return again


def _in_pieces(factor: Factor, width: int, batch: int, core: Core) -> bool:
    """Whether tiles of `width` lines that are read k by k take short pieces, each far from the last
    one, of what the second cache does not hold: all products' factors together."""
    far = abs(factor.k.stride) > 2 * width * factor.storage.size
    nbytes = factor.nbytes * (1 if _is_shared(factor) else batch)
    return far and not factor.k.unit(factor.storage.size) and nbytes > core.second.size // 2


def _foreign(geometry: Geometry, items: tuple[int, int], threads: int) -> float:
    """Bytes that a thread reads, or has others read, and that were last in another core's cache.

    What flows through a program is made row by row, each thread a run of rows: those of the left
    factor and of the result. The right factor is a weight, which every core keeps; beside a left
    factor whose lines are columns (a weight's gradient) both are what flows."""
    alone = max(-(-threads // geometry.batch), 1)  # threads that share one product
    part_m = 1 / min(items[0], alone)
    part_n = 1 / min(items[1], max(int(alone * part_m), 1))
    own, other, part, beside = geometry.a, geometry.b, part_m, part_n
    if geometry.swapped:
        own, other, part, beside = other, own, beside, part
    share, size = 1 / alone, own.storage.size
    if own.lines.unit(size) and not own.k.unit(size):
        return (part * own.nbytes + beside * other.nbytes) * (1 - share)
    return (part - share) * (own.nbytes + geometry.m * geometry.n * size)


def _groups(geometry: Geometry, target: Target, element: PackedElement) -> list[int]:
    """Blocks of k per item worth trying; 0: all, one after the other."""
    blocks = geometry.blocks
    space = blocks * geometry.batch * geometry.m * geometry.n * element.size
    possible = target.workspace and target.threads > 1 and not geometry.ahead
    possible = possible and geometry.b_mode != "segmented"
    if not possible or blocks < 4 * target.threads or space > 8 << 20:
        return [0]
    counts = [min(blocks, times * target.threads) for times in (1, 2, 4)]
    return [0, *dict.fromkeys(-(-blocks // count) for count in counts)]


def _cuts(panels: int, most: int, threads: int) -> list[int]:
    """Panels per item worth trying: balanced cuts into few items."""
    least = -(-panels // most)
    tried = (2, 4, 6, 8, 16, threads)
    counts = sorted({least, *(count for count in tried if least <= count <= panels)})
    return list(dict.fromkeys(-(-panels // count) for count in counts))


def with_batch_in_columns(kernel: GemmKernel) -> GemmKernel | None:
    """The same product over the columns of the whole batch, where one left factor serves all of
    it: images with few positions fill vectors together.  Each result is the same sum."""
    counts = (kernel.batch, kernel.m, kernel.n, kernel.k)
    shared = not any(s for n, s in zip(kernel.a.batch.sizes, kernel.a.batch.strides) if n > 1)
    if kernel.order != "chain" or any(map(is_extent, counts)) or kernel.batch < 2 or not shared:
        return None
    none = Dims((), ())

    def joined(operand: Operand) -> Operand:
        batch, cols = operand.batch, operand.cols
        joint = Dims((*batch.sizes, *cols.sizes), (*batch.strides, *cols.strides))
        return operand._replace(batch=none, cols=joint)

    written = kernel.outs[0]
    start, stop = len(written.batch.sizes), len(written.batch.sizes) + len(written.rows.sizes)
    strides = [r.strides[start:stop] + r.strides[:start] + r.strides[stop:] for r in kernel.reads]
    reads = [r._replace(strides=s) for r, s in zip(kernel.reads, strides)]
    return kernel._replace(
        batch=1,
        n=kernel.batch * kernel.n,
        a=kernel.a._replace(batch=none),
        b=joined(kernel.b),
        outs=tuple(map(joined, kernel.outs)),
        reads=tuple(reads),
    )


def choose(kernel: GemmKernel, element: PackedElement, target: Target) -> Geometry:
    """The cheaper of the product and its transpose."""
    factors = factors_of(kernel, element)
    plain = kernel._replace(epilogue=None, reads=())
    lines = (is_extent(kernel.m), is_extent(kernel.n))
    dims = [d for f in (kernel.a, kernel.b) for d in (f.rows, f.cols)]
    some = any([is_extent(n) for d in dims for n in (*d.sizes, *d.strides)])
    decided = _decided(plain, (target, element.name, lines, any(lines) or some), factors)
    m, n = (kernel.n, kernel.m) if decided.swapped else (kernel.m, kernel.n)
    a, b = reversed(factors) if decided.swapped else factors
    return decided._replace(m=m, n=n, a=a, b=b, batch=kernel.batch)


_NO_RUNS = Runs(None, 0, 0, 0)
_NOTHING = Factor(
    "",
    Operand(0, np.dtype(np.float32), 0, Dims((), ()), Dims((), ()), Dims((), ())),
    storage("float32", ELEMENTS["f32"]),
    _NO_RUNS,
    _NO_RUNS,
    _NO_RUNS,
    Dims((), ()),
    0,
)


@apart
@lru_cache(1024)
def _decided(
    kernel: GemmKernel, way: tuple[Target, str, tuple[bool, bool], bool], factors: Factors
) -> Geometry:
    """What is chosen, with whole cycles and no factors; of m and n that is lines which varies, if
    one does."""
    target, element, lines, some = way[0], ELEMENTS[way[1]], way[2], way[3]
    ways = [lines[1]] if lines[0] != lines[1] else [False, True]
    varying = Varying(any(lines), some)
    options = [_option(kernel, element, target, (swap, varying), factors) for swap in ways]
    best = min(options, key=lambda geometry: geometry.cost)
    return best._replace(m=0, n=0, a=_NOTHING, b=_NOTHING, batch=0, cost=ceil(best.cost))
