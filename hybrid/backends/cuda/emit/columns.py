"""Column kernels: reductions along axes that others follow, several adjacent columns a thread.

Invariant: a thread adds the rows of a block of 256 in order; the results of blocks are joined in
order, by the thread itself or, where columns are few, by another function.
"""

from __future__ import annotations

from typing import NamedTuple

from ....ir.scalar.program import REDUCTIONS
from ...emit.code import Code
from ...emit.columns import BLOCK
from ...emit.form import Form, Walk
from ...emit.loops import Layout
from ...emit.memory import Position, load_scalar, store_scalar
from ...emit.reduce import Reduction, reductions_of
from ..function import Card
from .body import Group, Row, Threads, magic_of, return_unless
from .joins import join_blocks
from .schedule import Numbers, widest, work_of

__all__ = ["ColumnSchedule", "column_steps", "emit_columns", "THREADS"]

THREADS = 128
_LONGEST = 1000  # instructions of a loop's body
_SHARE = 4  # of the card's threads: as many columns a thread as leave so many threads busy
_DEEP = 64  # blocks from which on a warp joins them
_ITEMS, _ACROSS, _ACROSS_MAGIC, _BLOCKS, _BLOCKS_MAGIC = range(5)  # words of the schedule


class ColumnSchedule(NamedTuple):
    """`step`: "whole", or "part" and "join" (a thread a column) or "deep" (a warp a column);
    `vector` adjacent columns a thread, `unroll` rows at once."""

    step: str
    vector: int
    unroll: int
    spans: tuple[int, ...]
    narrow: bool


class ColumnStep(NamedTuple):
    """A function: its schedule, the words of the schedule, its threads in all."""

    schedule: ColumnSchedule
    own: tuple[int, ...]
    threads: int


def column_reductions(form: Form) -> list[Reduction]:
    found = [i for i, ins in enumerate(form.program.instrs) if ins.prim in REDUCTIONS]
    return reductions_of(form.program, found)


def column_steps(made: Layout, card: Card) -> tuple[list[ColumnStep], int]:
    """The functions of a column kernel, and their workspace in bytes."""
    form, numbers = made.form, Numbers(made)
    length, outer, blocks = numbers.length, numbers.outer, max(1, -(-numbers.depth // BLOCK))
    vector = widest(form, 4)
    while vector > 1 and (
        length % vector or outer * blocks * (length // vector) < card.threads // _SHARE
    ):
        vector //= 2
    spans = numbers.wide_operands(vector)
    vector = vector if spans else 1
    unroll = 8 if vector > 2 else 16
    while unroll > 1 and unroll * vector * work_of(form) > _LONGEST:
        unroll //= 2
    narrow = numbers.narrow()
    across = length // vector

    def step(name: str, items: int, wide: int = 1) -> ColumnStep:
        schedule = ColumnSchedule(
            name, vector if name in ("whole", "part") else 1, unroll, spans, narrow
        )
        across = length // schedule.vector
        own = (items, across, magic_of(across), blocks, magic_of(blocks))
        return ColumnStep(schedule, own, items * wide)

    if blocks == 1 or outer * across >= card.threads:
        return [step("whole", outer * across)], 0
    cells = outer * blocks * length * sum(len(r.parts) for r in column_reductions(form))
    last = step("deep", outer * length, 32) if blocks >= _DEEP else step("join", outer * length)
    return [step("part", outer * blocks * across), last], 8 * cells


class _Columns(Threads):
    def __init__(self, form: Form, schedule: ColumnSchedule, guarded: bool) -> None:
        super().__init__(form, guarded, schedule.spans, schedule.narrow)
        code, body, self.schedule = self.code, self.body, schedule
        self.reductions = column_reductions(form)
        self.types = [kind for r in self.reductions for kind in r.parts]
        self.depth = body.row_length()
        self.length, self.blocks = body.word(body.words.n), body.word(body.own(_BLOCKS))
        self.empty = code.once(f"icmp eq i64 {self.depth}, 0")
        self.aligned = body.aligned(schedule.vector) if schedule.vector > 1 else None
        thread = code.once(f"add i64 {code.once(f'mul i64 {self.cta}, {THREADS}')}, {self.tid}")
        self.lane = code.once(f"and i64 {self.tid}, 31")
        item = code.once(f"lshr i64 {thread}, 5") if schedule.step == "deep" else thread
        return_unless(code, code.op(f"icmp slt i64 {item}, {body.word(body.own(_ITEMS))}"))
        across = body.word(body.own(_ACROSS))
        rest, number = body.divide(item, across, body.own(_ACROSS_MAGIC))
        self.outer, self.block = rest, "0"
        if schedule.step == "part":
            self.outer, self.block = body.divide(rest, self.blocks, body.own(_BLOCKS_MAGIC))
        self.column = code.op(f"mul i64 {number}, {schedule.vector}")
        body.begin_row(self.outer)
        self.top = body.row()

    def positions(self) -> list[Position]:
        return [Position(self.code.add(self.column, str(k))) for k in range(self.schedule.vector)]

    # ---- rows
    def row_at(self, number: str) -> Row:
        """The row of the group with that number."""
        code, body, words, form = self.code, self.body, self.body.words, self.form
        rest, coords = number, [""] * form.group
        for axis in range(form.group - 1, 0, -1):
            rest, coords[axis] = body.divide_by_word(rest, words.group(axis))
        coords[0] = rest

        def far(walk: int) -> str:
            total = "0"
            for axis, coord in enumerate(coords):
                stride = words.stride(walk, form.outer + axis)
                total = code.add(total, body.times_word(coord, stride))
            return total

        base = [
            b if body.walk(k) is Walk.GATHERED or k >= body.nreads else code.at("i8", b, far(k))
            for k, b in enumerate(self.top.base)
        ]
        start = [code.add(s, far(words.ops + k)) for k, s in enumerate(self.top.start)]
        return Row(base, start, self.top.known, self.top.splats)

    def add_rows(self, numbers: list[int], rows: list[str], names: list[str]) -> list[str]:
        """Accumulators of all columns after these rows."""
        body, scalar = self.body, self.body.scalar
        groups = [Group(self.row_at(row), self.positions()) for row in rows]
        values = body.evaluate(numbers, groups, self.aligned)
        for row, group, lanes in zip(rows, groups, values):
            fed = []
            for lane in lanes:
                for reduction in self.reductions:
                    value = body.value_of(reduction.operand, group, lane)
                    fed += reduction.feed(scalar, value, row)
            names = self.combined(names, fed)
        return names

    def combined(self, before: list[str], added: list[str]) -> list[str]:
        """Accumulators of all columns joined with later ones."""
        names: list[str] = []
        for _ in range(self.schedule.vector):
            for reduction in self.reductions:
                span = slice(len(names), len(names) + len(reduction.parts))
                names += reduction.follow(self.body.scalar, before[span], added[span])
        return names

    def neutral(self) -> list[tuple[str, str]]:
        """(type, name) of the accumulators of all columns before any row."""
        scalar = self.body.scalar
        one = [
            (scalar.ty(k), x) for r in self.reductions for k, x in zip(r.parts, r.neutral(scalar))
        ]
        return one * self.schedule.vector

    def block_rows(self, numbers: list[int], first: str) -> list[str]:
        """Accumulators of a block of rows from `first` on."""
        code = self.code
        stop, row = code.smin(code.add(first, str(BLOCK)), self.depth), first
        carried = self.neutral()
        for many in dict.fromkeys((self.schedule.unroll, 1)):

            def step(row: str, names: list[str], many: int = many) -> list[str]:
                return self.add_rows(numbers, [code.add(row, str(k)) for k in range(many)], names)

            row, names = code.loop(row, stop, str(many), carried, step, full=many)
            carried = [(kind, name) for (kind, _), name in zip(carried, names)]
        return [name for _, name in carried]

    # ---- functions
    def operands(self) -> list[int]:
        return self.body.prepare([r.operand for r in self.reductions])

    def whole(self) -> None:
        numbers = self.operands()

        def block(first: str, names: list[str]) -> list[str]:
            return self.combined(names, self.block_rows(numbers, first))

        totals = self.code.loop("0", self.depth, str(BLOCK), self.neutral(), block)[1]
        self.finish(totals)

    def spot(self, block: str, part: int, lane: int) -> str:
        """Where a part of the result of a block is."""
        code = self.code
        row = code.add(code.mul(self.outer, self.blocks), block)
        line = code.add(code.mul(row, str(len(self.types))), str(part))
        cell = code.add(code.mul(line, self.length), code.add(self.column, str(lane)))
        return code.at("i64", self.body.workspace(), cell)

    def part(self) -> None:
        code = self.code
        names = iter(self.block_rows(self.operands(), code.mul(self.block, str(BLOCK))))
        for lane in range(self.schedule.vector):
            for part, kind in enumerate(self.types):
                store_scalar(code, kind, next(names), self.spot(self.block, part, lane))

    def saved(self, block: str) -> list[str]:
        return [
            load_scalar(self.code, kind, self.spot(block, part, 0))
            for part, kind in enumerate(self.types)
        ]

    def join(self) -> None:
        code = self.code
        carried, block = self.neutral(), "0"
        for many in (8, 1):

            def step(first: str, names: list[str], many: int = many) -> list[str]:
                found = [self.saved(code.add(first, str(k))) for k in range(many)]
                for parts in found:
                    names = self.combined(names, parts)
                return names

            block, names = code.loop(block, self.blocks, str(many), carried, step, full=many)
            carried = [(kind, name) for (kind, _), name in zip(carried, names)]
        self.finish([name for _, name in carried])

    def deep(self) -> None:
        code, first, totals = self.code, 0, []
        for reduction in self.reductions:

            def load(block: str, first: int = first, reduction: Reduction = reduction) -> list[str]:
                return [
                    load_scalar(code, kind, self.spot(block, first + part, 0))
                    for part, kind in enumerate(reduction.parts)
                ]

            totals += join_blocks(self, reduction, load, self.blocks, self.lane)
            first += len(reduction.parts)
        code.when(code.op(f"icmp eq i64 {self.lane}, 0"), lambda: self.finish(totals))

    def finish(self, totals: list[str]) -> None:
        """Results from the totals of all columns."""
        body, names = self.body, iter(totals)
        values: list[dict[int, str]] = []
        for _ in range(self.schedule.vector):
            values.append(
                {
                    r.number: r.result(body.scalar, [next(names) for _ in r.parts], self.empty)
                    for r in self.reductions
                }
            )
        body.enter(self.top)
        numbers = body.prepare(self.program.outs, values[0])
        group = Group(self.top, self.positions())
        lanes = body.evaluate(
            numbers, [group], self.aligned, lambda number, _, lane: values[lane].get(number)
        )
        body.store(range(len(self.program.outs)), [group], lanes, self.aligned)


def emit_columns(form: Form, schedule: ColumnSchedule, guarded: bool) -> Code:
    """The function body of a column kernel, or of one of its steps."""
    writer = _Columns(form, schedule, guarded)
    getattr(writer, schedule.step)()
    return writer.code
