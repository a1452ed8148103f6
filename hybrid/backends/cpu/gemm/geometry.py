"""Shape decisions of a matrix product: which factor is broadcast, tile sizes, what is packed, work
items.

Invariant: nothing decided here can change a bit of the result, because every output is its own
chain of k in blocks of 256; decisions depend on the kernel and the target only.  Costs are cycles
of one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from ....core.shapes import collapse
from ...plan import Dims, GemmKernel, Operand
from ..machine.host import machine
from .micro import Element
from .pack import Storage, storage

__all__ = [
    "BLOCK",
    "DISPATCH",
    "ROW_PAD",
    "Target",
    "host_target",
    "Runs",
    "runs_of",
    "Factor",
    "factor",
    "Geometry",
    "option",
    "choose",
]

BLOCK = 256  # k per block: part of the numerics contract
DISPATCH = 6000  # cycles to hand work to another thread and wait for it
ROW_PAD = 16  # elements after each packed row, so that rows fall into different cache sets


class Target(NamedTuple):
    """The machine as far as tile sizes depend on it."""

    vector_bytes: int = 64
    registers: int = 32
    threads: int = 2
    workspace: bool = True  # the caller gives one, so long sums may be split


def host_target() -> Target:
    m = machine()
    return Target(m.vector_bytes, m.vector_registers, m.cores)


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
    for n, s in zip(sizes[:-1], strides[:-1]):
        starts = (starts[:, None] + np.arange(n, dtype=np.int64) * (s * itemsize)).reshape(-1)
    return Runs(tuple(starts.tolist()), sizes[-1], strides[-1] * itemsize, size)


class Factor(NamedTuple):
    """One factor, called `name` in the kernel: `lines` is its m or n index, `k` the summed one."""

    name: str
    operand: Operand
    storage: Storage
    lines: Runs
    k: Runs
    batch: Runs

    @property
    def direct(self) -> bool:
        return self.lines.uniform and self.k.uniform and self.storage.widen == "same"

    @property
    def nbytes(self) -> int:
        return self.lines.size * self.k.size * self.storage.size


class Geometry(NamedTuple):
    """Everything the generator needs besides the kernel.  `a_mode`: direct, rows (panel row by
    row), cols (panel k by k); `b_mode`: direct, segmented, unit (rows of k copied), trans (rows of
    n transposed), any."""

    swap: bool
    m: int
    n: int
    a: Factor
    b: Factor
    a_mode: str
    b_mode: str
    rows: int  # rows of a full micro tile
    full_rows: int  # how many row panels have `rows` rows; the others one less
    row_panels: int
    vecs: int  # vectors of a full micro tile
    vectors: int  # vectors of 16 columns in all
    panels_m: int  # row panels per item
    panels_n: int  # column panels per item
    cost: float  # of the whole product, over the threads
    batch: int
    blocks: int  # blocks of k
    split: int = 0  # > 0: items also split k, by that many blocks; sums go to a workspace

    @property
    def items(self) -> int:
        if self.m == 0 or self.n == 0:
            return 0
        groups = -(-self.blocks // self.split) if self.split else 1
        return self.items_m * self.items_n * self.batch * groups

    @property
    def col_panels(self) -> int:
        return -(-self.vectors // self.vecs)

    @property
    def tail_vecs(self) -> int:
        return self.vectors - (self.col_panels - 1) * self.vecs

    @property
    def items_m(self) -> int:
        return -(-self.row_panels // self.panels_m)

    @property
    def items_n(self) -> int:
        return -(-self.col_panels // self.panels_n)


def factor(name: str, op: Operand, elem: Element, lines: Dims, k: Dims) -> Factor:
    """The operand called `name` as a factor whose m or n index is `lines`."""
    st = storage(op.dtype.name, elem)
    return Factor(
        name, op, st, runs_of(lines, st.size), runs_of(k, st.size), runs_of(op.batch, st.size)
    )


def _micro_cost(rows: int, vecs: int, wide: int, far: bool) -> float:
    """Cycles per k of a micro tile: multiply-adds, one broadcast a cycle, loads (vectors of b may
    straddle cache lines), the latency of one chain, and b's way from the second cache where it does
    not stay in the first."""
    lines = vecs * wide
    return max(rows * lines / 2, rows * 0.9, (rows + 1.5 * lines) / 2, 4.0, 2.0 * lines * far)


def _tiles(
    m: int, vectors: int, k: int, elem: Element, target: Target
) -> Iterator[tuple[float, int, int]]:
    """(cycles per k of the whole result, row panels, vecs) of every micro tile that fits."""
    wide = 16 * elem.size // target.vector_bytes
    room = target.registers - 1
    for vecs in (1, 2, 3, 4, 6, 8):
        if vecs > max(vectors, 1):
            break
        most = min((room - vecs * wide) // (vecs * wide), 14)
        if most < 1:
            continue
        panels = -(-m // most)
        for q in (panels, panels + 1):
            rows = -(-m // q)
            if rows < 1:
                continue
            cols = -(-vectors // vecs)
            tail = vectors - (cols - 1) * vecs
            fulls = m - q * (rows - 1)
            per = [(fulls, rows), (q - fulls, rows - 1)]
            far = q > 1 and vecs * 16 * elem.size * min(k, BLOCK) > 40 << 10
            cost = sum(
                c * ((cols - 1) * _micro_cost(r, vecs, wide, far) + _micro_cost(r, tail, wide, far))
                for c, r in per
                if r
            )
            yield cost, q, vecs


def _a_mode(a: Factor) -> tuple[str, float]:
    """How rows of a are read, and the cycles of packing all of it once."""
    size = a.storage.size
    elements = a.lines.size * a.k.size
    if a.direct:  # broadcasts from strided rows cost no more than from packed ones
        return "direct", 0.0
    if a.k.unit(size):
        run = max(min(a.k.length, BLOCK), 1)
        return "rows", elements * (0.12 + (4.5 if run <= 16 else 12) / run)
    if a.lines.unit(size) and a.lines.uniform:
        return "cols", elements * 0.15
    return "rows", elements * 1.5


def _b_modes(b: Factor, m: int) -> list[tuple[str, float]]:
    """Ways to read b worth comparing, each with the cycles of packing all of it once."""
    size = b.storage.size
    elements = b.lines.size * b.k.size
    unit = b.lines.unit(size) or b.lines.size == 1
    if unit and b.lines.uniform:
        collide = b.k.stride % 4096 == 0 and b.nbytes > 1 << 18  # all rows in the same cache sets
        if b.direct and not (collide and m >= 256):
            return [("direct", 0.0)]
        return [("unit", elements * 0.15)]
    found = []
    if unit and b.storage.widen == "same" and b.lines.length >= 4 and b.k.size <= 8192:
        found.append(("segmented", 0.0))
    if b.k.unit(size) and b.k.length >= 8:
        run = min(b.k.length, BLOCK)
        waste = -(-run // 16) * 16 / run  # partial blocks, which are copied first
        copied = (
            1.0 if not b.lines.uniform or b.storage.widen != "same" else min(4.0 * (waste - 1), 1.0)
        )
        found.append(("trans", elements * waste * (0.3 + 0.25 * copied)))
    found.append(("any", elements * (0.2 + 12 / min(b.lines.length, 32) if unit else 1.8)))
    return found


def _vectors(b: Factor, mode: str) -> int:
    if mode == "segmented" and b.lines.starts is not None:
        return len(b.lines.starts) * -(-b.lines.length // 16)
    return -(-b.lines.size // 16)


def option(kernel: GemmKernel, elem: Element, target: Target, swap: bool) -> Geometry:
    """The best decisions for the product (or its transpose)."""
    ka, kb = kernel.a, kernel.b
    a, b = factor("a", ka, elem, ka.rows, ka.cols), factor("b", kb, elem, kb.cols, kb.rows)
    m, n = kernel.m, kernel.n
    if swap:
        a, b, m, n = b, a, n, m
    out = kernel.outs[0]
    scattered = n > 1 and runs_of(out.rows if swap else out.cols, 1).stride != 1
    blocks = -(-max(kernel.k, 1) // BLOCK)
    finish = (0.06 * blocks + 0.5 * scattered) * m * n
    a_mode, a_cost = _a_mode(a)
    found = []
    for b_mode, b_cost in _b_modes(b, m):
        vectors = max(_vectors(b, b_mode), 1)
        work, q, vecs = min(_tiles(max(m, 1), vectors, kernel.k, elem, target))
        rows, panels = -(-max(m, 1) // q), -(-vectors // vecs)
        compute = work * max(kernel.k, 1) + q * panels * blocks * 40 + finish
        shape = Geometry(
            swap,
            m,
            n,
            a,
            b,
            a_mode,
            b_mode,
            rows,
            max(m, 1) - q * (rows - 1),
            q,
            vecs,
            vectors,
            q,
            panels,
            0.0,
            kernel.batch,
            blocks,
        )
        found.append(_split(shape, compute, a_cost, b_cost, target, elem))
    return min(found, key=lambda g: g.cost)


def _split(
    g: Geometry, compute: float, a_cost: float, b_cost: float, target: Target, elem: Element
) -> Geometry:
    """Cut the result into items: bounded packing space, and enough items for the threads."""
    most_m = max(1, (240 << 10) // (g.rows * (BLOCK + ROW_PAD) * elem.size))
    most_n = max(1, (256 << 10) // (g.vecs * 16 * BLOCK * elem.size))
    best: tuple[float, int, int, int] | None = None
    reads_m, reads_n = 0.03 * g.blocks * BLOCK * g.m, 0.03 * g.blocks * BLOCK * g.n
    splits = _groups(g, target, elem)
    for pm in _cuts(g.row_panels, most_m):
        for pn in _cuts(g.col_panels, most_n):
            items_m, items_n = -(-g.row_panels // pm), -(-g.col_panels // pn)
            # each item packs and reads its part of the factors
            again = (a_cost + reads_m) * items_n + (b_cost + reads_n) * items_m
            for split in splits:
                groups = -(-g.blocks // split) if split else 1
                items = max(items_m * items_n * g.batch * groups, 1)
                total = (compute + again) * g.batch + 150 * items
                busy = min(target.threads, items)
                span = total * -(-items // busy) / items
                if busy > 1:  # a busy neighbour delays its last item, so smaller items are better
                    span += DISPATCH + min(0.06 * total / items, 5.0 * DISPATCH)
                if split:
                    span += DISPATCH + g.blocks * g.batch * g.m * g.n * 0.3
                if best is None or span < best[0] * 0.999:
                    best = span, pm, pn, split
    assert best is not None
    return g._replace(cost=best[0], panels_m=best[1], panels_n=best[2], split=best[3])


def _groups(g: Geometry, target: Target, elem: Element) -> list[int]:
    """Blocks of k per item worth trying; 0: all, one after the other."""
    space = g.blocks * g.batch * g.m * g.n * elem.size
    possible = target.workspace and target.threads > 1 and g.b_mode != "segmented"
    if not possible or g.blocks < 4 * target.threads or space > 8 << 20:
        return [0]
    return [0, *dict.fromkeys(-(-g.blocks // min(g.blocks, c * target.threads)) for c in (1, 2, 4))]


def _cuts(panels: int, most: int) -> list[int]:
    """Panels per item worth trying: balanced cuts into few items."""
    least = -(-panels // most)
    counts = sorted({least, *(c for c in (2, 4, 6, 8, 16) if least <= c <= panels)})
    return list(dict.fromkeys(-(-panels // c) for c in counts))


def choose(kernel: GemmKernel, elem: Element, target: Target) -> Geometry:
    """The cheaper of the product and its transpose."""
    return min((option(kernel, elem, target, s) for s in (False, True)), key=lambda g: g.cost)
