"""Products in 'chain' order of a few rows with a matrix that lies k by k: rows of it are added up.

Two or four rows of the matrix at a time are read from end to end, each times its elements of k, and
added to sums in memory of the thread, which the first cache holds: no short pieces far apart.
Invariant: a sum is one fma chain from +0.0 in increasing k in each block of 256; block sums are
added in order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from .....core.extents import is_extent
from ....emit.code import Code
from ....plan import GemmKernel
from ..epilogue import Finish
from ..factors import BLOCK, Factor
from ..finish import FinishedLines, call_finish, prepare
from ..geometry import Target, factors_of
from ..micro import (
    DESCRIPTOR,
    PackedElement,
    add_vectors,
    describe,
    load,
    mask_of,
    multiply_add,
    splat,
    store,
)
from ..pack import IndexWalk, divide, each, load_widened, offset_of, widen
from ..words import GemmWords, Loader

__all__ = ["FINISHED", "SweepShape", "sweep_shape", "write_sweep"]

MOST_ROWS, FEW_ROWS = 8, 4
RUN = 4096  # bytes of sums of one of few rows, at most, and of a row of the matrix read in one go
FINISHED = 4  # vectors finished together
ENOUGH = 8  # threads


def _run_bytes(rows: int) -> int:
    """Bytes of sums of each of so many rows."""
    return RUN if rows <= FEW_ROWS else RUN // 2


class SweepShape(NamedTuple):
    """`rows` times a matrix of `lines` columns, for each product of the batch."""

    swapped: bool  # rows are columns of the product
    element: PackedElement
    rows: int
    lines: int
    row_factor: Factor  # the rows
    matrix: Factor
    batch: int
    depth: int  # k
    width: int  # vectors of an item

    @property
    def step(self) -> int:
        """Rows of the matrix read side by side, whose elements of all rows registers hold."""
        return 4 if self.rows <= FEW_ROWS else 2

    @property
    def vectors(self) -> int:
        return -(-self.lines // 16)

    @property
    def parts(self) -> int:
        return -(-self.vectors // self.width)

    @property
    def items(self) -> int:
        return self.parts * self.batch

    @property
    def blocks(self) -> int:
        return -(-max(self.depth, 1) // BLOCK)

    @property
    def row_bytes(self) -> int:
        """Room for the sums of a row: as much for any number of columns, for one text."""
        return _run_bytes(self.rows)

    @property
    def scratch(self) -> int:
        """Bytes: sums of all blocks, then those of one; a finish that transposes reads 16 rows."""
        return 2 * self.rows * self.row_bytes + 16 * FINISHED * 16 * self.element.size


def sweep_shape(kernel: GemmKernel, element: PackedElement, target: Target) -> SweepShape | None:
    """How a product is swept; None where it may not be, or the caches hold its matrix."""
    if any(map(is_extent, (kernel.batch, kernel.m, kernel.n, kernel.k))) or not kernel.batch:
        return None
    left, right = factors_of(kernel, element)
    for swapped in (False, True):
        row_factor, matrix, rows, lines = left, right, kernel.m, kernel.n
        if swapped:
            row_factor, matrix, rows, lines = matrix, row_factor, lines, rows
        size = matrix.storage.size
        lies_right = matrix.lines.uniform and matrix.lines.unit(size) and matrix.k.uniform
        if not 1 <= rows <= MOST_ROWS or not lies_right or matrix.k.unit(size):
            continue
        vectors, longest = -(-lines // 16), _run_bytes(rows) // (16 * element.size)
        wanted = min(-(-target.threads // kernel.batch), vectors // (longest // 4))
        parts = max(-(-vectors // longest), wanted, 1)
        factors, width = (row_factor, matrix), -(-vectors // parts)
        shape = SweepShape(swapped, element, rows, lines, *factors, kernel.batch, kernel.k, width)
        # in shorter pieces a micro-kernel is as good; a few threads use all of the memory's rate
        worthwhile = vectors >= longest // 4 and shape.items >= min(target.threads, ENOUGH)
        if worthwhile and matrix.nbytes * kernel.batch > target.core.second.size // 2:
            return shape
    return None


class Sweep(NamedTuple):
    """The function under construction and what holds in all of it."""

    shape: SweepShape
    loader: Loader
    descriptors: str
    uniform: str  # what the finishing function gets

    @property
    def code(self) -> Code:
        return self.loader.code

    @property
    def element(self) -> PackedElement:
        return self.shape.element

    def word(self, name: str, value: int) -> str:
        return self.loader.word(name, value)


class SweepItem(NamedTuple):
    """Some vectors of columns of one product of the batch."""

    batch: str
    first: str  # column
    columns: str
    whole: str  # vectors without a mask
    matrix: str  # pointers
    row_factor: str
    depth: IndexWalk  # k of the matrix
    row_lines: IndexWalk
    row_depth: IndexWalk


def write_sweep(shape: SweepShape, finish: Finish, words: GemmWords) -> Code:
    """The kernel-ABI function of one product."""
    code = Code()
    sweep = Sweep(
        shape=shape,
        loader=Loader(code, words),
        descriptors=code.alloca(f"[{DESCRIPTOR * FINISHED} x i8]"),
        uniform=prepare(finish, code),
    )
    each(code, "%begin", "%end", "1", partial(_write_item, sweep))
    code.do("ret i64 0")
    return code


def _write_item(sweep: Sweep, number: str) -> None:
    code, shape = sweep.code, sweep.shape
    item = _item_of(sweep, number)

    def block(index: str) -> None:
        start = code.mul(index, str(BLOCK))
        length = code.smin(code.op(f"sub i64 {sweep.word('k', shape.depth)}, {start}"), str(BLOCK))
        later = code.op(f"icmp sgt i64 {index}, 0")
        distance = code.op(f"select i1 {later}, i64 {shape.rows * shape.row_bytes}, i64 0")
        partial_sums = code.at("i8", "%scratch", distance)
        _clear(sweep, item, partial_sums)
        stop = code.add(start, length)
        reached, _ = code.loop(
            start, stop, str(shape.step), [], partial(_rows, sweep, item, partial_sums), shape.step
        )
        each(code, reached, stop, "1", lambda depth: _add_rows(sweep, item, partial_sums, depth, 1))
        code.when(later, partial(_add_block, sweep, item, partial_sums))

    each(code, "0", sweep.word("blocks", shape.blocks), "1", block)
    for row in range(shape.rows):
        _finish(sweep, item, row)


def _item_of(sweep: Sweep, number: str) -> SweepItem:
    code, shape, loader = sweep.code, sweep.shape, sweep.loader
    batch, part = divide(code, number, sweep.word("parts", shape.parts))
    first = code.mul(part, sweep.word("item_columns", 16 * shape.width))
    remaining = code.op(f"sub i64 {sweep.word('line_count', shape.lines)}, {first}")
    columns = code.smin(remaining, sweep.word("item_columns", 16 * shape.width))
    size, row_size = shape.matrix.storage.size, shape.row_factor.storage.size
    matrix = code.at("i8", loader.factor("x", shape.matrix, batch), code.mul(first, str(size)))
    return SweepItem(
        batch=batch,
        first=first,
        columns=columns,
        whole=code.op(f"lshr i64 {columns}, 4"),
        matrix=matrix,
        row_factor=loader.factor("v", shape.row_factor, batch),
        depth=loader.walk("x.k", shape.matrix.k, size),
        row_lines=loader.walk("v.lines", shape.row_factor.lines, row_size),
        row_depth=loader.walk("v.k", shape.row_factor.k, row_size),
    )


def _places(sweep: Sweep, partial_sums: str, vector: str) -> list[str]:
    """Where the sums of a vector of columns are, of each row."""
    code, shape = sweep.code, sweep.shape
    starts = [code.at("i8", partial_sums, str(row * shape.row_bytes)) for row in range(shape.rows)]
    return [code.at(shape.element.vector, start, vector) for start in starts]


def _each_vector(sweep: Sweep, item: SweepItem, body: Callable[[str, str | None], None]) -> None:
    """body(vector, mask) for all vectors of columns; the last one may be partial."""
    code = sweep.code
    each(code, "0", item.whole, "1", lambda vector: body(vector, None))
    remaining = code.op(f"and i64 {item.columns}, 15")
    code.when(
        code.op(f"icmp ne i64 {remaining}, 0"), lambda: body(item.whole, mask_of(code, remaining))
    )


def _clear(sweep: Sweep, item: SweepItem, partial_sums: str) -> None:
    def one(vector: str, _: str | None) -> None:
        for place in _places(sweep, partial_sums, vector):
            store(sweep.code, sweep.element, "zeroinitializer", place, None)

    _each_vector(sweep, item, one)


def _rows(sweep: Sweep, item: SweepItem, partial_sums: str, depth: str, _: list[str]) -> list[str]:
    _add_rows(sweep, item, partial_sums, depth, sweep.shape.step)
    return []


def _add_rows(sweep: Sweep, item: SweepItem, partial_sums: str, depth: str, count: int) -> None:
    """sums += so many rows of the matrix from `depth` on, each times its elements."""
    code, shape, element = sweep.code, sweep.shape, sweep.element
    stored = shape.matrix.storage
    depths = [code.add(depth, str(number)) for number in range(count)]
    lines = [code.at("i8", item.matrix, offset_of(code, item.depth, own)) for own in depths]
    factors = [[_element(sweep, item, row, own) for own in depths] for row in range(shape.rows)]

    def one(vector: str, mask: str | None) -> None:
        places = _places(sweep, partial_sums, vector)
        totals = [load(code, element, place, None) for place in places]
        for number, line in enumerate(lines):
            own = load_widened(code, stored, element, code.at(stored.vector, line, vector), mask)
            totals = [
                multiply_add(code, element, scales[number], own, total)
                for scales, total in zip(factors, totals)
            ]
        for place, total in zip(places, totals):
            store(code, element, total, place, None)

    _each_vector(sweep, item, one)


def _element(sweep: Sweep, item: SweepItem, row: int, depth: str) -> str:
    """An element of a row in all lanes."""
    code, stored = sweep.code, sweep.shape.row_factor.storage
    line = code.at("i8", item.row_factor, offset_of(code, item.row_lines, str(row)))
    place = code.at("i8", line, offset_of(code, item.row_depth, depth))
    value = code.op(f"load {stored.scalar}, ptr {place}")
    return splat(code, sweep.element, widen(code, stored, sweep.element, value, 1))


def _add_block(sweep: Sweep, item: SweepItem, partial_sums: str) -> None:
    """Sums of a block to those of the blocks before it."""
    code, element = sweep.code, sweep.element

    def one(vector: str, _: str | None) -> None:
        totals, addends = (_places(sweep, start, vector) for start in ("%scratch", partial_sums))
        for place, addend in zip(totals, addends):
            before, added = (load(code, element, pointer, None) for pointer in (place, addend))
            store(code, element, add_vectors(code, element, before, added), place, None)

    _each_vector(sweep, item, one)


def _finish(sweep: Sweep, item: SweepItem, row: int) -> None:
    """A row, a few vectors at a time; of those past the last column none is there."""
    code, shape = sweep.code, sweep.shape

    def group(first: str) -> None:
        for number in range(FINISHED):
            column = code.add(first, str(16 * number))
            remaining = code.smin(code.op(f"sub i64 {item.columns}, {column}"), "16")
            lane_count = code.call("llvm.smax.i64", "i64", f"i64 {remaining}", "i64 0")
            describe(code, sweep.descriptors, number, lane_count, code.add(item.first, column))
        tile = code.at("i8", "%scratch", str(row * shape.row_bytes))
        tile = code.at(shape.element.scalar, tile, first)
        rows = FinishedLines(item.batch, str(row), "1", sweep.descriptors, FINISHED)
        call_finish(code, tile, rows, sweep.uniform)

    each(code, "0", item.columns, str(16 * FINISHED), group)
