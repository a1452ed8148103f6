"""The two products of attention by a block of threads: rows by columns over features, and weights
in shared memory by rows of values.

Invariant: every element is one fma chain in increasing order of what is summed; what fills up a
tile or a chunk is never part of a chain of an element that is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .tile import COLUMNS, LANE_COLUMNS, LANE_ROWS, THREADS, WIDE, Area
from .writer import AttendWriter, Matrix

__all__ = ["Chain", "Products", "MatrixRows", "Weights"]

KEYS = 8  # steps of a chain in one turn of the loop over weights


class MatrixRows(NamedTuple):
    """Rows of a matrix from `first` on, those past `stop` being the last one again."""

    matrix: Matrix
    first: str
    stop: str


class Weights(NamedTuple):
    """Rows in shared memory whose elements multiply rows of values."""

    area: Area
    pointer: str  # the thread's first row


class Chain(NamedTuple):
    """What a chain sums over: rows `start` to `stop` of the values' rows, in chunks up to `most`,
    which all threads agree on."""

    start: str
    stop: str
    most: str


class Products:
    """Both products of one kernel; `ragged`: sizes that are no multiples of a chunk."""

    def __init__(self, writer: AttendWriter, memory: int) -> None:
        self.writer, tiling = writer, writer.tiling
        element, kernel = writer.element, writer.kernel
        wide = element.wide
        self.left = Area(memory, tiling.chunk, tiling.block_rows, tiling.features)
        self.right = Area(self.left.stop, tiling.chunk + WIDE, tiling.block_pairs, tiling.features)
        self.values = Area(memory, COLUMNS * element.size, tiling.value_rows, COLUMNS)
        self.stop = max(self.right.stop, self.values.stop)
        self.ragged_sums = bool(kernel.m % KEYS or kernel.n % KEYS)
        self.wide = wide
        indices, code = writer.indices, writer.code
        self.own_row = code.add(code.mul(indices.warp_row, str(tiling.warp_rows)), indices.lane_row)
        pairs = LANE_COLUMNS * tiling.pairs
        self.own_pair = code.add(code.mul(indices.warp_column, str(pairs)), indices.lane_column)
        self.left_pointer = self._row(self.left, self.own_row)
        self.right_pointer = self._row(self.right, self.own_pair)
        # a thread's columns: pieces of 16 bytes, each with those of the other lanes beside it
        self.columns = [
            piece * LANE_COLUMNS * wide + i
            for piece in range(tiling.columns // wide)
            for i in range(wide)
        ]
        columns = LANE_COLUMNS * tiling.columns
        self.own_column = code.add(
            code.mul(indices.warp_column, str(columns)), code.mul(indices.lane_column, str(wide))
        )
        offset = code.mul(self.own_column, str(element.size))
        self.value_pointer = writer.shared(code.add(offset, str(memory)))

    def _row(self, area: Area, row: str) -> str:
        code = self.writer.code
        return self.writer.shared(code.add(code.mul(row, str(area.stride)), str(area.start)))

    def weights(self, area: Area) -> Weights:
        return Weights(area, self._row(area, self.own_row))

    # ---- from global to shared memory
    def _own_pieces(self, rows: MatrixRows, area: Area) -> list[tuple[str, str, str]]:
        """(start of its row, first column, shared pointer) of every 16 bytes that this thread
        moves."""
        writer, code = self.writer, self.writer.code
        pieces = area.columns // self.wide
        piece = code.op(f"and i64 {writer.indices.thread}, {pieces - 1}")
        turn, found = THREADS // pieces, []
        own = code.op(f"udiv i64 {writer.indices.thread}, {pieces}")
        own = code.op(f"and i64 {own}, {area.rows - 1}") if area.rows < turn else own
        column = code.mul(piece, str(self.wide))
        last = code.op(f"sub i64 {rows.stop}, 1")
        start = code.add(code.mul(own, str(area.stride)), code.mul(piece, str(WIDE)))
        target = writer.shared(code.add(start, str(area.start)))
        for row in range(0, area.rows, turn):
            inside = code.smin(code.add(code.add(rows.first, own), str(row)), last)
            pointer = writer.beyond(rows.matrix.pointer, code.mul(inside, rows.matrix.step))
            found.append((pointer, column, writer.inside(target, row * area.stride)))
        return found

    def _move(self, source: str, target: str, is_wide: bool) -> None:
        writer = self.writer
        if is_wide:
            value = writer.load_global(source, wide=True)
            kind = writer.element.vector
            writer.code.do(f"store {kind} {value}, ptr addrspace(3) {target}, align 16")
            return
        size = writer.element.size
        offsets = [size * i for i in range(self.wide)]
        values = [writer.load_global(writer.beyond(source, str(x))) for x in offsets]
        for offset, value in zip(offsets, values):
            writer.store_shared(value, target, offset)

    def _copy(self, aligned: str, moves: list[tuple[str, str]]) -> None:
        code = self.writer.code

        def all_of(is_wide: bool) -> None:
            for source, target in moves:
                self._move(source, target, is_wide)

        code.when(aligned, lambda: all_of(True))
        code.when(code.op(f"xor i1 {aligned}, true"), lambda: all_of(False))

    def _copy_each(self, pieces: list[tuple[str, str, str]], first: str, columns: str) -> None:
        """Element by element, those past the last column being the last one again."""
        writer, code, size = self.writer, self.writer.code, self.writer.element.size
        last = code.op(f"sub i64 {columns}, 1")
        for pointer, column, target in pieces:
            for i in range(self.wide):
                index = code.smin(code.add(code.add(first, column), str(i)), last)
                value = writer.load_global(writer.beyond(pointer, code.mul(index, str(size))))
                writer.store_shared(value, target, size * i)

    # ---- rows by columns
    def zeros(self, columns: int) -> list[tuple[str, str]]:
        count = self.writer.tiling.rows * columns
        return [(self.writer.element.scalar, self.writer.number(0.0))] * count

    def scores(self, left: MatrixRows, right: MatrixRows, ragged: bool) -> list[str]:
        """Chains over the features of rows and of rows that are columns, for the thread's rows
        and pairs."""
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        size, columns = writer.element.size, left.matrix.columns
        pieces = [self._own_pieces(left, self.left), self._own_pieces(right, self.right)]
        aligned = [rows.matrix.aligned for rows in (left, right)]
        full = code.op(f"and i64 {columns}, -{tiling.features}") if ragged else columns

        def chunk(first: str, totals: list[str]) -> list[str]:
            offset = code.mul(first, str(size))
            writer.barrier()
            for side, is_aligned in zip(pieces, aligned):
                moves = [
                    (writer.beyond(pointer, code.add(offset, code.mul(column, str(size)))), target)
                    for pointer, column, target in side
                ]
                self._copy(is_aligned, moves)
            writer.barrier()
            return self._multiply(totals)

        start = self.zeros(tiling.pairs)
        _, totals = code.loop("0", full, str(tiling.features), start, chunk)
        return self._rest(pieces, full, columns, totals) if ragged else totals

    def _multiply(self, totals: list[str]) -> list[str]:
        writer, tiling, totals = self.writer, self.writer.tiling, list(totals)
        for offset in range(0, tiling.chunk, WIDE):
            right = [
                writer.load_wide(self.right_pointer, offset + LANE_COLUMNS * i * self.right.stride)
                for i in range(tiling.pairs)
            ]
            for row in range(tiling.rows):
                start = offset + LANE_ROWS * row * self.left.stride
                left = writer.load_wide(self.left_pointer, start)
                for k, value in enumerate(left):
                    for column in range(tiling.pairs):
                        number = row * tiling.pairs + column
                        totals[number] = writer.chain(value, right[column][k], totals[number])
        return totals

    def _rest(
        self,
        pieces: list[list[tuple[str, str, str]]],
        first: str,
        columns: str,
        totals: list[str],
    ) -> list[str]:
        """The last features, fewer than a chunk."""
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        left_rows = [LANE_ROWS * i * self.left.stride for i in range(tiling.rows)]
        right_rows = [LANE_COLUMNS * i * self.right.stride for i in range(tiling.pairs)]

        def copy() -> None:
            for side in pieces:
                self._copy_each(side, first, columns)

        def feature(index: str, sums: list[str]) -> list[str]:
            offset = code.mul(index, str(writer.element.size))
            left = writer.inside(self.left_pointer, offset)
            right = writer.inside(self.right_pointer, offset)
            rows = [writer.load_shared(left, distance) for distance in left_rows]
            pairs = [writer.load_shared(right, distance) for distance in right_rows]
            both = [(row, pair) for row in rows for pair in pairs]
            return [writer.chain(row, pair, total) for (row, pair), total in zip(both, sums)]

        writer.barrier()
        count = code.op(f"sub i64 {columns}, {first}")
        code.when(code.op(f"icmp ne i64 {count}, 0"), copy)
        writer.barrier()
        start = [(writer.element.scalar, total) for total in totals]
        return code.loop("0", count, "1", start, feature)[1]

    # ---- weights by values
    def weighted(
        self,
        weights: Weights,
        values: MatrixRows,
        first_column: str,
        chain: Chain,
        totals: list[str],
    ) -> list[str]:
        """Chains that go on with weights[row, i] * values[i, column] for the thread's rows and
        columns."""
        writer, code, scalar = self.writer, self.writer.code, self.writer.element.scalar
        most = self.values.rows

        def chunk(first: str, sums: list[str]) -> list[str]:
            rows = values._replace(first=code.add(values.first, first))
            writer.barrier()
            self._copy_values(rows, first_column)
            writer.barrier()
            own = self.writer.inside(weights.pointer, code.mul(first, str(writer.element.size)))
            start, stop = (
                writer.limit(code.op(f"sub i64 {x}, {first}"), str(most))
                for x in (chain.start, chain.stop)
            )
            return self._sum(own, weights.area, code.smin(start, stop), stop, sums)

        begin = [(scalar, total) for total in totals]
        return code.loop("0", chain.most, str(most), begin, chunk)[1]

    def _copy_values(self, rows: MatrixRows, first_column: str) -> None:
        writer, code, size = self.writer, self.writer.code, self.writer.element.size
        matrix, pieces = rows.matrix, self._own_pieces(rows, self.values)
        if self._ragged_columns(matrix):
            self._copy_each(pieces, first_column, matrix.columns)
            return
        last, moves = code.op(f"sub i64 {matrix.columns}, {self.wide}"), []
        for pointer, column, target in pieces:
            inside = code.smin(code.add(first_column, column), last)
            moves.append((writer.beyond(pointer, code.mul(inside, str(size))), target))
        self._copy(matrix.aligned, moves)

    def _ragged_columns(self, matrix: Matrix) -> bool:
        sizes = self.writer.sizes
        number = self.writer.kernel.e if matrix.columns == sizes["e"] else self.writer.kernel.f
        return bool(number % self.wide)

    def _sum(self, own: str, area: Area, start: str, stop: str, totals: list[str]) -> list[str]:
        """Steps `start` to `stop` of a chunk."""
        code, scalar = self.writer.code, self.writer.element.scalar
        whole = stop
        if self.ragged_sums:
            steps = code.op(f"and i64 {code.op(f'sub i64 {stop}, {start}')}, -{KEYS}")
            whole = code.add(start, steps)
        begin = [(scalar, total) for total in totals]
        _, sums = code.loop(start, whole, str(KEYS), begin, self._steps(own, area, KEYS))
        if not self.ragged_sums:
            return sums
        begin = [(scalar, total) for total in sums]
        return code.loop(whole, stop, "1", begin, self._steps(own, area, 1))[1]

    def _steps(self, own: str, area: Area, count: int) -> Callable[[str, list[str]], list[str]]:
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        size = writer.element.size

        def body(index: str, totals: list[str]) -> list[str]:
            totals = list(totals)
            weights = writer.inside(own, code.mul(index, str(size)))
            values = writer.inside(self.value_pointer, code.mul(index, str(self.values.stride)))
            group = min(count, self.wide)
            for first in range(0, count, group):
                rows = self._row_weights(weights, area, first, group)
                for k in range(group):
                    line = self._value_row(values, first + k)
                    for row in range(tiling.rows):
                        for column in range(tiling.columns):
                            number = row * tiling.columns + column
                            totals[number] = writer.chain(
                                rows[row][k], line[column], totals[number]
                            )
            return totals

        return body

    def _row_weights(self, pointer: str, area: Area, first: int, group: int) -> list[list[str]]:
        writer, size = self.writer, self.writer.element.size
        offsets = [
            LANE_ROWS * row * area.stride + first * size for row in range(writer.tiling.rows)
        ]
        if group == 1:
            return [[writer.load_shared(pointer, offset)] for offset in offsets]
        return [writer.load_wide(pointer, offset) for offset in offsets]

    def _value_row(self, pointer: str, row: int) -> list[str]:
        start, piece = row * self.values.stride, LANE_COLUMNS * WIDE
        pieces = self.writer.tiling.columns // self.wide
        return [x for i in range(pieces) for x in self.writer.load_wide(pointer, start + i * piece)]
