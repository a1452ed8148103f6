"""From the sums of a tile in shared memory to results.

Invariant: sums of blocks of k are joined in order, the first as it is; no read of an element is
made after a store of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .direct import add
from .finish import by_alignment, load_reads, store_results
from .forms import FinishForm, GemmOperand
from .tile import Tile
from .words import GemmWriter

__all__ = ["ResultTiles", "TilePosition"]


class TilePosition(NamedTuple):
    """Where the tile lies: batch, first row and column, and how many of them there are."""

    batch: str
    row: str
    col: str
    m: str
    n: str


class ResultTiles:
    """The sums of one tile, for each of `groups` of threads, from byte `start` of shared memory
    on."""

    def __init__(
        self,
        writer: GemmWriter,
        finish: FinishForm,
        tile: Tile,
        groups: int,
        start: int,
        position: TilePosition,
    ) -> None:
        self.writer, self.finish, self.tile = writer, finish, tile
        self.code, self.element = writer.code, finish.element
        self.groups, self.start, self.position = groups, start, position
        self.vector = 16 // self.element.size
        self.row_chunk = min(self.vector, tile.thread_rows)
        self.col_chunk = min(self.vector, tile.thread_cols)

    @property
    def nbytes(self) -> int:
        """Of the sums of one group."""
        return self.tile.rows * self.tile.cols * self.element.size

    # ---- into shared memory
    def _spot(self, row: str, col: str) -> str:
        """Byte of a sum: chunks of rows that one access touches lie apart."""
        writer, size = self.writer, self.element.size
        chunk = writer.integer("udiv", col, str(self.vector))
        inside = writer.integer("and", col, str(self.vector - 1))
        if self.tile.cols >= 8 * self.vector:
            turn = writer.integer("and", writer.integer("udiv", row, str(self.row_chunk)), "3")
            chunk = writer.integer("xor", chunk, writer.integer("shl", turn, "1"))
        at = writer.integer("mul", chunk, "16")
        at = writer.integer("add", at, writer.integer("mul", inside, str(size)))
        line = writer.integer("mul", row, str(self.tile.cols * size))
        return writer.integer("add", writer.integer("add", line, at), str(self.start))

    def _spots(self, row: str, col: str, group: str) -> list[str]:
        """Where the chunks of a thread's first row lie."""
        writer, spots = self.writer, []
        further = writer.integer("mul", group, str(self.nbytes))
        for part in range(self.tile.thread_cols // self.col_chunk):
            across = str(part * self.tile.lanes_across * self.col_chunk)
            spot = self._spot(row, writer.integer("add", col, across))
            spots.append(writer.near(writer.integer("add", spot, further)))
        return spots

    def keep(self, sums: list[str], row: str, col: str, group: str) -> None:
        """Store the sums of the only block of k of a group; the thread's first is at row, col."""
        self._put(sums, self._spots(row, col, group if self.groups > 1 else "0"), False)

    def join(self, sums: list[str], row: str, col: str, block: str) -> None:
        """Join the sums of a block of k to those that are there."""
        code, spots = self.code, self._spots(row, col, "0")
        fresh, more, done = code.label("first"), code.label("more"), code.label("kept")
        code.branch(code.op(f"icmp eq i32 {block}, 0"), fresh, more)
        code.start(fresh)
        self._put(sums, spots, False)
        code.jump(done)
        code.start(more)
        self._put(sums, spots, True)
        code.jump(done)
        code.start(done)

    def _put(self, sums: list[str], spots: list[str], joined: bool) -> None:
        tile, chunk, element = self.tile, self.col_chunk, self.element
        for row in range(tile.thread_rows):
            down = row // self.row_chunk * tile.lanes_down * self.row_chunk + row % self.row_chunk
            distance = down * tile.cols * element.size
            for part, spot in enumerate(spots):
                start = row * tile.thread_cols + part * chunk
                values = sums[start : start + chunk]
                if joined:
                    old = self.writer.take(spot, distance, chunk, element)
                    values = [add(self.code, element, *pair) for pair in zip(old, values)]
                self.writer.put(spot, distance, values, element)

    def _sums(self, row: str, col: str) -> list[str]:
        """Finished sums of adjacent columns."""
        pointer = self.writer.near(self._spot(row, col))
        found = [
            self.writer.take(pointer, group * self.nbytes, self.finish.width, self.element)
            for group in range(self.groups)
        ]
        total = found[0]
        for more in found[1:]:
            total = [add(self.code, self.element, *pair) for pair in zip(total, more)]
        return total

    # ---- out of it
    def store(self) -> None:
        """Finish the sums in shared memory, row by row."""
        writer, code, tile, position = self.writer, self.code, self.tile, self.position
        width = self.finish.width
        writer.barrier()
        per_row = tile.cols // width
        down, across = writer.divide(writer.register("tid.x"), str(per_row))
        across = writer.integer("mul", across, str(width))
        col = writer.integer("add", position.col, across)
        at_once = tile.threads * self.groups // per_row
        rounds = -(-tile.rows // at_once)
        ahead = _rows_ahead(self.finish, rounds)

        starts: dict[str, str] = {}

        def rows(wide: bool) -> None:
            def some(index: str, _: list[str]) -> list[str]:
                first = writer.integer("mul", index, str(at_once * ahead))
                first = writer.integer("add", first, down)
                own = [writer.integer("add", first, str(at_once * i)) for i in range(ahead)]
                self._finish_rows(own, across, starts, wide)
                return []

            writer.loop(str(rounds // ahead), [], some)

        def begin() -> None:
            for stream in self._streams():
                starts[stream.name] = writer.pointer(stream, position.batch, "0", col)
            by_alignment(writer, self.finish, rows)

        inside = code.op(f"icmp ult i32 {col}, {position.n}")
        if at_once > tile.rows:
            busy = code.op(f"icmp ult i32 {down}, {tile.rows}")
            inside = code.op(f"and i1 {inside}, {busy}")
        code.when(inside, begin)

    def _streams(self) -> tuple[GemmOperand, ...]:
        return self.finish.reads + self.finish.outs

    def _finish_rows(
        self, rows: list[str], across: str, starts: dict[str, str], wide: bool
    ) -> None:
        """Finish the sums of some rows of the tile: all reads are under way before the first is
        waited for."""
        writer, code, finish = self.writer, self.code, self.finish
        last, stop = writer.integer("sub", self.position.m, "1"), self.position.m
        per_row = self.tile.cols // finish.width
        if self.tile.rows % (self.tile.threads * self.groups // per_row):  # rows behind the tile
            end = writer.integer("add", self.position.row, str(self.tile.rows))
            stop = writer.least(stop, end)
        numbers = [writer.integer("add", self.position.row, own) for own in rows]
        reads = []
        for number in numbers:
            row = writer.least(number, last) if finish.reads else number
            pointers = [self._pointer(read, starts, row) for read in finish.reads]
            reads.append(load_reads(writer, finish, pointers, wide))
        for own, number, values in zip(rows, numbers, reads):

            def one(own: str = own, number: str = number, values: Any = values) -> None:
                pointers = [self._pointer(out, starts, number) for out in finish.outs]
                store_results(writer, finish, self._sums(own, across), values, pointers, wide)

            code.when(code.op(f"icmp ult i32 {number}, {stop}"), one)

    def _pointer(self, stream: GemmOperand, starts: dict[str, str], row: str) -> str:
        offset = self.writer.offset(f"{stream.name}.rows", stream.rows, row)
        return self.writer.at(starts[stream.name], offset)


def _rows_ahead(finish: FinishForm, rounds: int) -> int:
    """How many rows a thread finishes at a time: the fewer, the longer the program."""
    if not finish.reads or finish.program is None:
        return 1
    work = len(finish.program.instrs) * finish.width
    return next(
        rows for rows in (4, 2, 1) if rounds % rows == 0 and (rows * work < 800 or rows == 1)
    )
