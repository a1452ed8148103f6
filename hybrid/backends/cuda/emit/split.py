"""Few, very long rows: each pass by blocks of 4096, a warp each, whose results another function
joins.

Invariant: blocks are those of the lanes order and are joined in order.  Workspace, in cells of 8
bytes per row: the value of each reduction, then the results of its blocks, part by part.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from ...emit.code import Code
from ...emit.form import Form
from ...emit.loops import Layout
from ...emit.memory import Position, load_scalar, store_scalar
from ...emit.reduce import Reduction, reductions_of
from ...emit.rows import RowPass, pass_targets, row_plan
from ...emit.split_rows import cells_per_row, pass_forms
from ..function import Card
from .areas import row_reductions
from .body import Group, Threads, magic_of, return_unless
from .lanes import BLOCK, LANES, is_ordered, join_blocks, join_lanes, warp_barrier
from .schedule import Numbers, work_of

__all__ = ["SplitSchedule", "emit_split", "is_split", "split_steps", "THREADS"]

THREADS = 256
_LONG, _LONGER = 32768, 65536  # elements of rows that are split: few rows, more rows
_LONGEST = 1200  # instructions of a loop's body
# Many blocks of sums are joined in several goes, each beside the next part, which is shorter in
# the ratio of what a block costs to join and to add up; only the last goes alone.
_MANY, _RATIO, _LAST, _GOES = 2048, 0.55, 512, 6


class WordIndex(IntEnum):
    """Positions of words of the schedule: warps in all; blocks of a row; those of this part (and
    their magic number) from `FIRST` on; cells of a row; rows whose blocks `JOIN_FIRST` to
    `JOIN_STOP` are joined."""

    WARPS = 0
    BLOCKS = 1
    PART = 2
    PART_MAGIC = 3
    CELLS = 4
    FIRST = 5
    JOINS = 6
    JOIN_FIRST = 7
    JOIN_STOP = 8


class SplitSchedule(NamedTuple):
    """One function of a long row: a pass over its blocks, or (`joins`) the last join.
    `continued`: with the join of the part before, or after it."""

    pass_number: int
    joins: bool
    continued: bool
    unroll: int
    spans: tuple[int, ...]
    narrow: bool


class SplitStep(NamedTuple):
    """A function: its schedule, the words of the schedule, its warps."""

    schedule: SplitSchedule
    own: tuple[int, ...]
    warps: int


def is_split(made: Layout, card: Card) -> bool:
    numbers = Numbers(made)
    rows, length = numbers.outer, numbers.length
    few = rows * 4 <= card.multiprocessors and length >= _LONG
    more = rows <= 2 * card.multiprocessors and length >= _LONGER
    return (few or more) and bool(pass_forms(made.form))


def _parts(blocks: int, in_order: bool) -> list[tuple[int, int]]:
    """Blocks of each part of a pass, from and to."""
    sizes = [blocks]
    while in_order and blocks >= _MANY and len(sizes) < _GOES and sizes[-1] > _LAST:
        count = len(sizes) + 1
        first = blocks * (1 - _RATIO) / (1 - _RATIO**count)
        sizes = [max(1, round(first * _RATIO**k)) for k in range(count)]
    bounds = [0]
    for size in sizes[:-1]:
        bounds.append(bounds[-1] + size)
    return list(zip(bounds, [*bounds[1:], blocks]))


def split_steps(made: Layout) -> tuple[list[SplitStep], int]:
    """(functions, bytes of workspace)."""
    form, numbers = made.form, Numbers(made)
    rows, blocks = numbers.outer, -(-numbers.length // BLOCK)
    cells, unroll = cells_per_row(form, blocks), 8
    while unroll > 1 and unroll * 2 * work_of(form) > _LONGEST:
        unroll //= 2
    spans, narrow, steps = numbers.wide_operands(2), numbers.narrow(), list[SplitStep]()
    for number, row_pass in enumerate(row_plan(form).passes):
        reductions = reductions_of(form.program, row_pass.reductions)
        parts = _parts(blocks, bool(reductions) and all(map(is_ordered, reductions)))
        before = (0, 0)
        for first, stop in parts:
            count, joins = stop - first, rows if first else 0
            schedule = SplitSchedule(number, False, first > 0, unroll, spans, narrow)
            warps = rows * count + joins
            own = (warps, blocks, count, magic_of(count), cells, first, joins, *before)
            steps.append(SplitStep(schedule, own, warps))
            before = (first, stop)
        if reductions:
            schedule = SplitSchedule(number, True, len(parts) > 1, unroll, spans, narrow)
            own = (rows, blocks, 1, magic_of(1), cells, 0, rows, *before)
            steps.append(SplitStep(schedule, own, rows))
    return steps, rows * cells * 8


class _Split(Threads):
    def __init__(self, form: Form, schedule: SplitSchedule, guarded: bool) -> None:
        super().__init__(form, guarded, schedule.spans, schedule.narrow)
        code, body, self.schedule = self.code, self.body, schedule
        self.plan, self.reductions = row_plan(form), row_reductions(form)
        self.length, self.blocks = body.word(body.words.n), self.number(WordIndex.BLOCKS)
        self.lane = code.once(f"and i64 {self.tid}, 31")
        self.mine = code.once(f"shl i64 {self.lane}, 1")
        self.empty = code.once(f"icmp eq i64 {self.length}, 0")
        self.start = body.workspace()
        self.aligned = body.aligned(2) if schedule.spans else None
        warp = code.once(f"lshr i64 {self.tid}, 5")
        first = code.once(f"mul i64 {self.cta}, {THREADS // 32}")
        self.item = code.once(f"add i64 {first}, {warp}")
        return_unless(code, code.op(f"icmp slt i64 {self.item}, {self.number(WordIndex.WARPS)}"))

    def number(self, index: WordIndex) -> str:
        return self.body.word(self.body.own(index))

    # ---- workspace
    def enter(self, row: str) -> str:
        """Start a row: reductions of earlier passes are known; gives where its cells are."""
        code, body = self.code, self.body
        body.begin_row(row)
        distance = code.mul(row, self.number(WordIndex.CELLS))
        cells = code.at("i64", self.start, distance)
        done = {i for p in self.plan.passes[: self.schedule.pass_number] for i in p.reductions}
        for cell, reduction in enumerate(self.reductions):
            if reduction.number in done:
                kind = self.program.instrs[reduction.number].type
                spot = code.at("i64", cells, str(cell))
                body.known[reduction.number] = load_scalar(code, kind, spot)
        return cells

    def spots(self, cells: str, reduction: Reduction, block: str) -> list[str]:
        """Addresses of the parts of one block's result."""
        code, before = self.code, 0
        for other in self.reductions:
            if other.number == reduction.number:
                break
            before += len(other.parts)
        spots = []
        for part in range(len(reduction.parts)):
            line = code.mul(self.blocks, str(before + part))
            cell = code.add(code.add(line, block), str(len(self.reductions)))
            spots.append(code.at("i64", cells, cell))
        return spots

    # ---- a block of a row
    def part(self) -> None:
        code, body = self.code, self.body
        row_pass = self.plan.passes[self.schedule.pass_number]
        item = self.item
        if self.schedule.continued:
            joins = self.number(WordIndex.JOINS)
            mine = code.op(f"icmp slt i64 {item}, {joins}")
            code.when(mine, self.join_before)
            return_unless(code, code.op(f"xor i1 {mine}, true"))
            item = code.op(f"sub i64 {item}, {joins}")
        part, magic = self.number(WordIndex.PART), body.own(WordIndex.PART_MAGIC)
        row, inside = body.divide(item, part, magic)
        block = code.op(f"add i64 {inside}, {self.number(WordIndex.FIRST)}")
        cells = self.enter(row)
        numbers = body.prepare(pass_targets(self.form, row_pass))
        reductions = reductions_of(self.program, row_pass.reductions)
        start = code.op(f"mul i64 {block}, {BLOCK}")
        stop = code.smin(code.add(start, str(BLOCK)), self.length)
        state = [r.neutral(body.scalar) for r in reductions for _ in range(2)]
        lanes = self.elements(row_pass, numbers, reductions, (start, stop), state)
        for at, reduction in enumerate(reductions):
            total = join_lanes(code, reduction, lanes[2 * at : 2 * at + 2])

            def put(reduction: Reduction = reduction, total: list[str] = total) -> None:
                spots = self.spots(cells, reduction, block)
                for kind, value, spot in zip(reduction.parts, total, spots):
                    store_scalar(code, kind, value, spot)

            code.when(code.op(f"icmp eq i64 {self.lane}, 0"), put)

    def elements(
        self,
        row_pass: RowPass,
        numbers: list[int],
        reductions: list[Reduction],
        bounds: tuple[str, str],
        state: list[list[str]],
    ) -> list[list[str]]:
        """Elements between two bounds, two lanes a thread; accumulators of every lane."""
        code, scalar = self.code, self.body.scalar
        types = [scalar.ty(kind) for r in reductions for _ in range(2) for kind in r.parts]
        element, stop = bounds
        names = [name for parts in state for name in parts]
        for many in (self.schedule.unroll, 1):

            def step(first: str, now: list[str], many: int = many) -> list[str]:
                starts = [code.add(first, str(LANES * k)) for k in range(many)]
                return self.steps(row_pass, numbers, reductions, starts, now)

            element, names = code.loop(
                element,
                stop,
                str(LANES * many),
                list(zip(types, names)),
                step,
                full=LANES * many,
            )
        names = self.rest(row_pass, numbers, reductions, element, stop, names)
        return _cut([r for r in reductions for _ in range(2)], names)

    def steps(
        self,
        row_pass: RowPass,
        numbers: list[int],
        reductions: list[Reduction],
        starts: list[str],
        names: list[str],
    ) -> list[str]:
        code, body, row = self.code, self.body, self.body.row()
        firsts = [code.add(start, self.mine) for start in starts]
        groups = [Group(row, [Position(x), Position(code.add(x, "1"))]) for x in firsts]
        values = body.evaluate(numbers, groups, self.aligned)
        state = _cut([r for r in reductions for _ in range(2)], names)
        for group, lanes in zip(groups, values):
            for at, reduction in enumerate(reductions):
                for lane, position in enumerate(group.positions):
                    value = body.value_of(reduction.operand, group, lanes[lane])
                    fed = reduction.feed(body.scalar, value, position.j)
                    before = state[2 * at + lane]
                    state[2 * at + lane] = reduction.follow(body.scalar, before, fed)
        body.store(row_pass.writes, groups, values, self.aligned)
        body.enter(row)
        return [name for parts in state for name in parts]

    def rest(
        self,
        row_pass: RowPass,
        numbers: list[int],
        reductions: list[Reduction],
        element: str,
        stop: str,
        names: list[str],
    ) -> list[str]:
        """Fewer elements than there are lanes; those that are not there read the first of the
        row."""
        code, body, row = self.code, self.body, self.body.row()
        state = _cut([r for r in reductions for _ in range(2)], names)
        for lane in range(2):
            number = code.add(code.add(element, self.mine), str(lane))
            valid = code.op(f"icmp slt i64 {number}, {stop}")
            inside = code.op(f"select i1 {valid}, i64 {number}, i64 0")
            group = Group(row, [Position(inside)])
            values = body.evaluate(numbers, [group], None)
            for at, reduction in enumerate(reductions):
                value = body.value_of(reduction.operand, group, values[0][0])
                fed = reduction.feed(body.scalar, value, number)
                fed = reduction.masked(body.scalar, fed, valid)
                before = state[2 * at + lane]
                state[2 * at + lane] = reduction.follow(body.scalar, before, fed)
            if row_pass.writes:
                code.when(
                    valid,
                    partial(body.store, row_pass.writes, [group], values, None),
                )
        body.enter(row)
        return [name for parts in state for name in parts]

    # ---- the results of the blocks of a row
    def joined(self, cells: str) -> Iterator[tuple[Reduction, str, list[str]]]:
        """(reduction, its cell, what its blocks and those before are together) of the pass."""
        code, number = self.code, self.schedule.pass_number
        first, stop = self.number(WordIndex.JOIN_FIRST), self.number(WordIndex.JOIN_STOP)
        blocks = code.op(f"sub i64 {stop}, {first}")
        for reduction in reductions_of(self.program, self.plan.passes[number].reductions):

            def load(block: str, reduction: Reduction = reduction) -> list[str]:
                spots = self.spots(cells, reduction, code.op(f"add i64 {block}, {first}"))
                return [load_scalar(code, k, s) for k, s in zip(reduction.parts, spots)]

            cell = [x.number for x in self.reductions].index(reduction.number)
            spot, start = code.at("i64", cells, str(cell)), None
            if self.schedule.continued:
                scalar, fresh = self.body.scalar, code.op(f"icmp eq i64 {first}, 0")
                before = load_scalar(code, reduction.type, spot)
                neutral = reduction.neutral(scalar)[0]
                start = [scalar.pick(reduction.type, fresh, neutral, before)]
            many = self.schedule.continued and not self.schedule.joins
            joined = join_blocks(self.body, reduction, load, blocks, self.lane, start, many)
            yield reduction, spot, joined

    def join_before(self) -> None:
        """The blocks of the part before, of one row."""
        code = self.code
        cells = self.enter(self.item)
        first = code.op(f"icmp eq i64 {self.lane}, 0")
        for reduction, spot, total in self.joined(cells):
            warp_barrier(code)  # all have read the cell
            code.when(
                first,
                partial(store_scalar, code, reduction.type, total[0], spot),
            )

    def join(self) -> None:
        """The last blocks of a row; its results where no later pass has reductions."""
        code, body, number = self.code, self.body, self.schedule.pass_number
        cells = self.enter(self.item)
        first = code.op(f"icmp eq i64 {self.lane}, 0")
        for reduction, spot, total in self.joined(cells):
            value = reduction.result(body.scalar, total, self.empty)
            body.known[reduction.number] = value
            kind = self.program.instrs[reduction.number].type
            warp_barrier(code)  # all have read the cell
            code.when(first, partial(store_scalar, code, kind, value, spot))
        if not any(p.reductions for p in self.plan.passes[number + 1 :]):
            values = [body.scalar_value(self.program.outs[k]) for k in self.plan.once]
            code.when(first, lambda: self.write_once(values))

    def write_once(self, values: list[str]) -> None:
        for number, value in zip(self.plan.once, values):
            self.body.write_once(number, value)


def _cut(reductions: list[Reduction], names: list[str]) -> list[list[str]]:
    """Flat names -> the parts of every accumulator."""
    found, start = [], 0
    for reduction in reductions:
        found.append(names[start : start + len(reduction.parts)])
        start += len(reduction.parts)
    return found


def emit_split(form: Form, schedule: SplitSchedule, guarded: bool) -> Code:
    """The function body of one pass over long rows, or of the join of its blocks."""
    writer = _Split(form, schedule, guarded)
    if schedule.joins:
        writer.join()
    else:
        writer.part()
    return writer.code
