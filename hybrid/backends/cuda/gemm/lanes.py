"""Products in the order of dot products: per block of 256 k the tree over 64 lanes.

Invariant: a lane takes every 64th k of a block in increasing order, starting from +0.0, and lanes
without an element take part in the tree; block sums are added in order, the first as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from .direct import add, load_at, multiply_add
from .finish import finish_sums
from .forms import FinishForm, GemmOperand, Spacing
from .tile import BLOCK
from .words import GemmText, GemmWriter

__all__ = ["LANES_THREADS", "LanesForm", "lanes_text", "rows_at_once"]

LANES_THREADS, WARPS, LANES = 128, 4, 64


class LanesForm(NamedTuple):
    """`by_thread`: a thread takes all lanes of one row, because rows lie side by side; else a warp
    takes `rows` rows, two lanes a thread.  `split`: one block of k each, into the workspace."""

    a: GemmOperand
    b: GemmOperand
    finish: FinishForm
    by_thread: bool
    rows: int
    split: bool
    ragged: bool
    guarded: bool


def rows_at_once(a: GemmOperand, rows: int, few: bool) -> tuple[bool, int]:
    """Whether a thread takes a row, and how many rows a warp takes."""
    by_thread = a.rows.step is Spacing.ADJACENT and a.cols.step is not Spacing.ADJACENT
    if by_thread and rows >= 32:
        return True, 32
    return False, 1 if few else 4


class _WarpPlace(NamedTuple):
    """What a warp takes: rows from `row` on and a column of a batch position, a block of k;
    `inside` (an i1): it is there."""

    batch: str
    part: str
    row: str
    col: str
    inside: str


class _Lines(NamedTuple):
    """Where the rows and the column start."""

    rows: list[str]
    col: str


class _Lanes:
    def __init__(self, form: LanesForm) -> None:
        self.form, self.element = form, form.finish.element
        self.writer = GemmWriter()
        self.code = self.writer.code
        if form.guarded:
            self.writer.guard()
        thread, block = self.writer.register("tid.x"), self.writer.register("ctaid.x")
        self.lane = self.writer.integer("and", thread, "31")
        self.place = self._located(thread, block)
        self.k = self.writer.count("k")

    def _located(self, thread: str, block: str) -> _WarpPlace:
        writer = self.writer
        warp = writer.integer("lshr", thread, "5")
        unit = writer.integer("add", writer.integer("mul", block, str(WARPS)), warp)
        inside = self.code.op(f"icmp ult i32 {unit}, {writer.count('all_units')}")
        rest, group = writer.divide(unit, writer.count("row_groups"))
        rest, col = writer.divide(rest, writer.count("n"))
        part, batch = "0", rest
        if self.form.split:
            part, batch = writer.divide(rest, writer.count("batch"))
        row = writer.integer("mul", group, str(self.form.rows))
        return _WarpPlace(batch, part, row, col, inside)

    # ---- elements
    def _lines(self, rows: list[str]) -> _Lines:
        writer, form, place = self.writer, self.form, self.place
        last = writer.integer("sub", writer.count("m"), "1")
        starts = [writer.pointer(form.a, place.batch, writer.least(row, last), "0") for row in rows]
        return _Lines(starts, writer.pointer(form.b, place.batch, "0", place.col))

    def _inside(self, k: str) -> tuple[str, str | None]:
        """(a k that is there, whether it is the one asked for)."""
        if not self.form.ragged:
            return k, None
        inside = self.code.op(f"icmp slt i32 {k}, {self.k}")
        return self.writer.least(k, self.writer.integer("sub", self.k, "1")), inside

    def _load(self, factor: GemmOperand, start: str, k: str) -> str:
        return load_at(self.writer, factor, start, k, self.element)

    def _taken(self, inside: str | None, new: str, old: str) -> str:
        if inside is None:
            return new
        kind = self.element.scalar
        return self.code.op(f"select i1 {inside}, {kind} {new}, {kind} {old}")

    # ---- one block of k
    def block(self, lines: _Lines, start: str) -> list[str]:
        """Sums of the block that starts at k `start`, for each row."""
        if self.form.by_thread:
            return [self._thread_block(lines, start)]
        return self._warp_block(lines, start)

    def _warp_block(self, lines: _Lines, start: str) -> list[str]:
        code, element, form = self.code, self.element, self.form
        own = self.writer.integer("add", start, self.lane)
        spots = [self._inside(self.writer.integer("add", own, str(k))) for k in range(0, BLOCK, 32)]
        right = [self._load(form.b, lines.col, k) for k, _ in spots]
        left = [[self._load(form.a, pointer, k) for k, _ in spots] for pointer in lines.rows]
        sums = []
        for values in left:
            lanes = [element.zero, element.zero]
            for turn, (_, inside) in enumerate(spots):
                old = lanes[turn % 2]
                new = multiply_add(code, element, values[turn], right[turn], old)
                lanes[turn % 2] = self._taken(inside, new, old)
            low, high = (self._joined(value, 16) for value in lanes)
            total = add(code, element, low, high)
            for distance in (8, 4, 2, 1):
                total = self._joined(total, distance)
            sums.append(total)
        return sums

    def _joined(self, value: str, distance: int) -> str:
        other = self.writer.exchange(value, distance, self.element.scalar)
        return add(self.code, self.element, value, other)

    def _thread_block(self, lines: _Lines, start: str) -> str:
        code, element, form = self.code, self.element, self.form

        def lane(number: int) -> str:
            total = element.zero
            for k in range(number, BLOCK, LANES):
                index, inside = self._inside(self.writer.integer("add", start, str(k)))
                left = self._load(form.a, lines.rows[0], index)
                right = self._load(form.b, lines.col, index)
                new = multiply_add(code, element, left, right, total)
                total = self._taken(inside, new, total)
            return total

        return lane_tree(lambda left, right: add(code, element, left, right), lane)

    # ---- all of them
    def write(self) -> None:
        self.code.when(self.place.inside, self._work)

    def _work(self) -> None:
        writer, form, place = self.writer, self.form, self.place
        rows = [writer.integer("add", place.row, str(row)) for row in range(form.rows)]
        if form.by_thread:
            rows = [writer.integer("add", place.row, self.lane)]
        lines = self._lines(rows)
        first = "0"
        if form.split:
            part = writer.integer("add", place.part, writer.count("first_part"))
            first = writer.integer("shl", part, "8")
        sums = self.block(lines, first)
        if not form.split:
            sums = self._others(lines, sums)
        self._store(sums)

    def _others(self, lines: _Lines, sums: list[str]) -> list[str]:
        """The sums of further blocks, added in order."""

        def one(number: str, totals: list[str]) -> list[str]:
            more = self.block(lines, self.writer.integer("shl", number, "8"))
            return [add(self.code, self.element, *pair) for pair in zip(totals, more)]

        carried = [(self.element.scalar, value) for value in sums]
        return self.writer.loop(self.writer.count("blocks"), carried, one, "1")

    def _store(self, sums: list[str]) -> None:
        writer, code, finish, place = self.writer, self.code, self.form.finish, self.place
        row = writer.integer("add", place.row, self.lane)
        own, kind = sums[0], self.element.scalar
        for number, value in enumerate(sums[1:], 1):
            here = code.op(f"icmp eq i32 {self.lane}, {number}")
            own = code.op(f"select i1 {here}, {kind} {value}, {kind} {own}")
        inside = code.op(f"icmp ult i32 {row}, {writer.count('m')}")
        if not self.form.by_thread:
            among = code.op(f"icmp ult i32 {self.lane}, {self.form.rows}")
            inside = code.op(f"and i1 {inside}, {among}")
        batch = place.batch
        if self.form.split:
            before = writer.integer("mul", place.part, writer.count("batch"))
            batch = writer.integer("add", before, batch)

        def one() -> None:
            finish_sums(writer, finish, [own], batch, row, place.col)

        code.when(inside, one)


def lane_tree(join: Callable[[str, str], str], lane: Callable[[int], str]) -> str:
    """The sum of 64 lanes: (v0 + v1) + (v2 + v3), then halves."""

    def joined(number: int, half: int) -> str:
        if half == 16:
            low = join(lane(number), lane(number + 16))
            return join(low, join(lane(number + 32), lane(number + 48)))
        return join(joined(number, 2 * half), joined(number + half, 2 * half))

    return joined(0, 1)


@lru_cache(256)
def lanes_text(form: LanesForm) -> GemmText:
    """The text of a form."""
    lanes = _Lanes(form)
    lanes.write()
    return lanes.writer.finish("lanes", LANES_THREADS)
