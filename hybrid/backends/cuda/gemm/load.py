"""Factors on their way into shared memory, step of k by step of k.

Invariant: nothing outside a factor is read: lines past the last repeat the last one (their sums
are never stored), and a k past the last is zero or repeats the last one (no chain takes it).
"""

from __future__ import annotations

from typing import NamedTuple

from .finish import memory_type, widen
from .forms import Accumulator, Spacing
from .tile import ALONG_DEEP_K, ALONG_K, BLOCK, SWAPPED, LoadForm, Tile, Visit
from .words import GLOBAL, NEAR, GemmWriter

__all__ = [
    "TABLE",
    "FactorArea",
    "FactorLines",
    "LoadThreads",
    "LoadedFactor",
    "Range",
    "ThreadVisits",
    "visits_of",
]

TABLE = 2 * BLOCK  # offsets of k that are known at a time


class Range:
    """The k of a block of threads: from `first` below `last`, and whether the last step of it may
    be partial (`ragged`)."""

    def __init__(self, first: str, last: str, ragged: bool) -> None:
        self.first, self.last, self.ragged = first, last, ragged


class LoadThreads(NamedTuple):
    """Threads that load together: the number of this one among them, and their number."""

    own: str
    number: int


class FactorArea(NamedTuple):
    """`lines` of a factor lie in shared memory from byte `start` of the first stage on; its table
    of offsets of k, if it has one, is at byte `table`."""

    lines: int
    start: str
    table: str


class FactorLines(NamedTuple):
    """Which lines of a factor a tile takes: those of a batch position from `first` on, of `total`
    lines that are there."""

    batch: str
    first: str
    total: str


class ThreadVisits(NamedTuple):
    """What a thread loads of each step of k: `visits`, counted from the k and the line that it
    takes first; `idle` (an i1): it has none of them; `deep`: 16 threads lie along k."""

    threads: LoadThreads
    visits: list[Visit]
    own_k: str
    own_line: str
    idle: str | None
    deep: bool = False


def visits_of(
    writer: GemmWriter, form: LoadForm, tile: Tile, threads: LoadThreads, lines: int, deep: bool
) -> ThreadVisits:
    """How threads share the elements of one step of k of `lines` lines."""

    def beyond(own: str, count: int, at_once: int) -> str | None:
        return writer.code.op(f"icmp uge i32 {own}, {count}") if at_once > count else None

    if form.along == "k":
        along = ALONG_DEEP_K if deep else ALONG_K
        at_once = threads.number // along
        steps, starts = range(0, tile.depth, along), range(0, lines, at_once)
        visits = [Visit(k, line) for k in steps for line in starts]
        line, k_own = writer.divide(threads.own, str(along))
        return ThreadVisits(threads, visits, k_own, line, beyond(line, lines, at_once), deep)
    per_k = lines // form.vector
    if per_k > threads.number:
        starts = range(0, lines, threads.number * form.vector)
        visits = [Visit(k, line) for k in range(tile.depth) for line in starts]
        line = writer.integer("mul", threads.own, str(form.vector))
        return ThreadVisits(threads, visits, "0", line, None)
    at_once = threads.number // per_k
    visits = [Visit(k, 0) for k in range(0, tile.depth, at_once)]
    k_own, line = writer.divide(threads.own, str(per_k))
    line = writer.integer("mul", line, str(form.vector))
    return ThreadVisits(threads, visits, k_own, line, beyond(k_own, tile.depth, at_once))


class LoadedFactor:
    """One factor of one tile."""

    def __init__(
        self,
        writer: GemmWriter,
        form: LoadForm,
        tile: Tile,
        element: Accumulator,
        area: FactorArea,
        visits: ThreadVisits,
        lines: FactorLines,
    ) -> None:
        self.writer, self.form, self.tile, self.element = writer, form, tile, element
        self.area, self.deep = area, visits.deep
        self.threads, self.visits, self.own_k, own_line, self.idle, _ = visits
        self.pitch = form.pitch(area.lines, element) * element.size  # bytes from k to k
        base = writer.base(form.name)
        offset = writer.offset(f"{form.name}.batch", form.operand.batch, lines.batch)
        self.base = writer.at(base, offset)
        # constant part of a line -> bytes from base
        self.line_offsets = self._offsets(lines, own_line)
        spot = writer.integer("mul", self.own_k, str(self.pitch))
        place = own_line
        if self.deep:
            late = writer.integer("and", self.own_k, str(ALONG_K))
            late = writer.integer("lshr", late, str((ALONG_K // SWAPPED).bit_length() - 1))
            place = writer.integer("xor", own_line, late)
        across = writer.integer("mul", place, str(element.size))
        self.target = writer.integer("add", writer.integer("add", spot, across), area.start)

    def _offsets(self, lines: FactorLines, own_line: str) -> dict[int, str]:
        """Where the lines that this thread visits start."""
        writer, form, found = self.writer, self.form, dict[int, str]()
        last = writer.integer("sub", lines.total, str(form.vector))
        own = writer.integer("add", lines.first, own_line)
        for further in sorted({visit.line for visit in self.visits}):
            number = writer.least(writer.integer("add", own, str(further)), last)
            line_offset = writer.offset(form.parts[0], form.lines, number)
            if not form.far and line_offset != "0":  # half the registers
                line_offset = writer.code.op(f"trunc i64 {line_offset} to i32")
            found[further] = line_offset
        return found

    def arranged(self, k: int, values: list[str]) -> list[str]:
        """Values of four lines at one k of a stage, as they lie there, in the order of lines."""
        return values[SWAPPED:] + values[:SWAPPED] if self.deep and k & ALONG_K else values

    # ---- before the loop
    def fill(self, block: str, last: str) -> None:
        """Write the offsets (bytes) of one block of k into the table."""
        if not self.form.tabled:
            return
        writer, code = self.writer, self.writer.code
        thread = self.threads.own
        for first in range(0, BLOCK, self.threads.number):
            own = writer.integer("add", thread, str(first))

            def one(own: str = own) -> None:
                k = writer.integer("add", writer.integer("mul", block, str(BLOCK)), own)
                index = writer.least(k, writer.integer("sub", last, "1"))
                offset = writer.offset(self.form.parts[1], self.form.k, index)
                spot = self._table_pointer(writer.integer("and", k, str(TABLE - 1)))
                code.do(f"store i64 {offset}, {NEAR} {spot}, align 8")

            if first + self.threads.number <= BLOCK:
                one()
            else:
                code.when(code.op(f"icmp ult i32 {own}, {BLOCK}"), one)

    def _table_pointer(self, k: str) -> str:
        """Pointer to the offset of a k in the table."""
        offset = self.writer.integer("mul", k, "8")
        return self.writer.near(self.writer.integer("add", offset, self.area.table))

    # ---- in the loop
    def _sources(self, k: str, span: Range) -> list[str]:
        """Addresses of all visits of the step that starts at k."""
        writer, code, form = self.writer, self.writer.code, self.form
        own = writer.integer("add", k, self.own_k)
        offsets: dict[int, str] = {}
        start = ""
        known = (
            self._table_pointer(writer.integer("and", own, str(TABLE - 1))) if form.tabled else ""
        )
        for visit in self.visits:
            if visit.k in offsets:
                continue
            if form.tabled:
                spot = writer.past(known, 8 * visit.k)
                offsets[visit.k] = code.op(f"load i64, {NEAR} {spot}, align 8")
            elif not form.direct:  # a step that is not there is fetched too
                number = writer.integer("add", own, str(visit.k))
                number = writer.least(number, writer.integer("sub", span.last, "1"))
                offsets[visit.k] = writer.offset(form.parts[1], form.k, number)
            else:
                if not start:
                    start = writer.offset(form.parts[1], form.k, own)
                offsets[visit.k] = code.add(start, self._distance(visit.k))
        starts = {k: writer.at(self.base, offset) for k, offset in offsets.items()}
        return [self._source(starts[visit.k], visit) for visit in self.visits]

    def _source(self, start: str, visit: Visit) -> str:
        offset = self.line_offsets[visit.line]
        if offset != "0" and not self.form.far:
            offset = self.writer.code.op(f"zext i32 {offset} to i64")
        return self.writer.at(start, offset)

    def _distance(self, k: int) -> str:
        """Bytes from a k to another, so many later."""
        if k == 0 or self.form.k.rank == 0:
            return "0"
        if self.form.k.step is Spacing.ADJACENT:
            return str(k * self.form.operand.size)
        return self.writer.code.once(
            f"mul i64 {self.writer.word(self.form.parts[1] + '.stride0')}, {k}"
        )

    def copy(self, k: str, stage: str, span: Range) -> None:
        """Have the step from k on copied into a stage while threads go on."""
        if not self.form.direct:
            return
        code = self.writer.code
        if self.idle is None:
            self._copy(k, stage, span)
        else:
            busy = code.op(f"xor i1 {self.idle}, true")
            code.when(busy, lambda: self._copy(k, stage, span))

    def _copy(self, k: str, stage: str, span: Range) -> None:
        """Elements one by one where the buffer is not aligned as vectors need it."""
        writer, form = self.writer, self.form
        if form.vector == 1:
            self._copy_parts(k, stage, span, 1)
            return
        writer.either(
            writer.aligned(form.name, 16),
            lambda: self._copy_parts(k, stage, span, form.vector),
            lambda: self._copy_parts(k, stage, span, 1),
        )

    def _copy_parts(self, k: str, stage: str, span: Range, count: int) -> None:
        """Copy what this thread visits, `count` elements at a time."""
        writer, code, size = self.writer, self.writer.code, self.element.size
        nbytes = count * size
        pointer = writer.near(writer.integer("add", self.target, stage))
        sizes: dict[int, str] = {}
        if span.ragged and not self.form.tabled:
            own = writer.integer("add", k, self.own_k)
            for number in sorted({visit.k for visit in self.visits}):
                inside = writer.integer("add", own, str(number))
                inside = code.op(f"icmp slt i32 {inside}, {span.last}")
                sizes[number] = code.op(f"select i1 {inside}, i32 {nbytes}, i32 0")
        for visit, source in zip(self.visits, self._sources(k, span)):
            spot = writer.past(pointer, visit.k * self.pitch + visit.line * size)
            for part in range(0, self.form.vector, count):
                there = writer.past(spot, part * size)
                here = writer.at(source, str(part * size))
                writer.copy_async(nbytes, there, here, sizes.get(visit.k))

    def fetch(self, k: str, span: Range) -> list[str]:
        """Begin to read the step from k on into registers, as it lies in memory."""
        if self.form.direct:
            return []
        operand, scalar = self.form.operand, memory_type(self.form.operand.dtype)
        return [
            self.writer.code.op(f"load {scalar}, {GLOBAL} {source}, align {operand.size}")
            for source in self._sources(k, span)
        ]

    def stash(self, values: list[str], stage: str) -> None:
        """Write what was fetched into a stage, as accumulators."""
        if not values:
            return
        code, element = self.writer.code, self.element
        wide = [widen(self.writer, self.form.operand.dtype, value, element) for value in values]

        def store() -> None:
            pointer = self.writer.near(self.writer.integer("add", self.target, stage))
            for visit, value in zip(self.visits, wide):
                distance = visit.k * self.pitch + visit.line * element.size
                spot = self.writer.past(pointer, distance)
                code.do(f"store {element.scalar} {value}, {NEAR} {spot}, align {element.size}")

        if self.idle is None:
            store()
        else:
            code.when(code.op(f"xor i1 {self.idle}, true"), store)
