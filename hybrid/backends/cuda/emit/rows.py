"""Row kernels of short rows: a few threads a row, which stays in their registers.

Invariant: a thread owns K adjacent lanes of the 64 and adds their elements in increasing order; no
thread waits for another warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from ...emit.body import Body
from ...emit.code import Code
from ...emit.form import Form
from ...emit.loops import Layout
from ...emit.memory import Position
from ...emit.programs.analysis import cost
from ...emit.reduce import Reduction, reductions_of
from ...emit.rows import RowPass, pass_targets, row_plan
from ..function import Card
from .body import Group, Row, Threads, return_unless
from .lanes import LANES, join_lanes, warp_barrier
from .schedule import Numbers, widest, work_of

__all__ = ["RowSchedule", "schedule_rows", "emit_rows", "kept_values", "THREADS"]

THREADS = 128
_KEEP, _READ = 6, 16  # cheaper values are computed again; the price of reading again
_LONGEST_ROW, _LONGEST = 2048, 2600  # elements of a row; instructions of a thread
_REGISTERS = 64  # of kept values
_BATCH = 32  # registers of what is read at once
_ROWS = 0  # word of the schedule


class RowSchedule(NamedTuple):
    """`lanes` adjacent elements of each of `steps` per thread, `width` threads a row; `whole`: they
    are all there; `even`: groups are there or not as a whole."""

    lanes: int
    width: int
    steps: int
    whole: bool
    even: bool
    spans: tuple[int, ...]
    narrow: bool


@lru_cache(4096)
def kept_values(form: Form) -> tuple[int, ...]:
    """Values of earlier passes that later ones use and that are dearer to make than to keep."""
    body, done, kept = Body(Code(), form, 1), set[int](), set[int]()
    instrs = form.program.instrs

    def price(number: int) -> int:
        numbers = [n for n in body.elements([number], kept) if n not in kept]
        reads = sum(instrs[n].prim == "arg" for n in numbers)
        return cost(form.program, numbers) + _READ * reads

    for row_pass in row_plan(form).passes:
        targets = pass_targets(form, row_pass)
        numbers = body.elements(targets, kept)
        for number in numbers:
            if number not in done or number in kept:
                continue
            fresh = number in targets or any(
                number in instrs[user].args for user in numbers if user not in done
            )
            if fresh and price(number) >= _KEEP:
                kept.add(number)
        done |= set(body.elements(targets, kept))
    return tuple(sorted(kept))


def _registers(form: Form, numbers: Sequence[int]) -> int:
    return sum(1 + (form.program.instrs[n].type in ("f64", "i64", "u64")) for n in numbers)


@lru_cache(4096)
def _kept_registers(form: Form) -> int:
    """Registers that kept values of one element take at most: in a pass values may take the place
    of others."""
    body, there, most = Body(Code(), form, 1), set[int](), 0
    kept = set(kept_values(form))
    needed: list[set[int]] = []
    for row_pass in row_plan(form).passes:
        numbers = set(body.elements(pass_targets(form, row_pass), there))
        needed.append(numbers)
        there |= numbers & kept
    there = set()
    for number, numbers in enumerate(needed):
        there |= numbers & kept
        later = set[int]().union(*needed[number + 1 :])
        most = max(most, _registers(form, sorted(there & later)))
        there &= later
    return most


def _lanes(form: Form, rows: int, length: int, short: int, card: Card) -> int:
    """Lanes of a thread: 4 where that leaves threads for the whole card and room for the row."""
    lanes = min(widest(form, 4), short)
    if short < LANES:
        return lanes
    full = rows * 16 >= card.threads and length * _kept_registers(form) // 16 <= _REGISTERS // 2
    return 4 if lanes == 4 and full else 2


def schedule_rows(made: Layout, card: Card) -> tuple[RowSchedule, tuple[int, ...], int] | None:
    """(schedule, its words, blocks); None where a row takes more threads."""
    form, numbers = made.form, Numbers(made)
    rows, length = numbers.outer, numbers.length
    short = 1 << max(length - 1, 0).bit_length()
    lanes = _lanes(form, rows, length, short, card)
    period = min(LANES, max(short, lanes))
    steps = -(-length // period)
    few = rows * (period // lanes) * 16 < card.threads and length >= 512
    if length > _LONGEST_ROW or few or steps * lanes * _kept_registers(form) > _REGISTERS:
        return None
    if steps > 1 and steps * lanes * work_of(form) > _LONGEST:
        return None
    even = length % lanes == 0
    schedule = RowSchedule(
        lanes,
        period // lanes,
        steps,
        length == steps * period,
        even,
        numbers.wide_operands(lanes) if even else (),
        numbers.narrow(),
    )
    return schedule, (rows,), -(-rows * schedule.width // THREADS)


class _Rows(Threads):
    def __init__(self, form: Form, schedule: RowSchedule, guarded: bool) -> None:
        super().__init__(form, guarded, schedule.spans, schedule.narrow)
        code, self.schedule = self.code, schedule
        self.plan, self.period = row_plan(form), schedule.width * schedule.lanes
        self.length = self.body.word(self.body.words.n)
        self.late = any(write.late for write in form.writes)
        self.thread = code.once(f"and i64 {self.tid}, {schedule.width - 1}")
        self.first = code.once(f"mul i64 {self.thread}, {schedule.lanes}")
        self.mask = self._mask()
        self.kept: dict[int, list[list[str]]] = {}
        self.aligned = self.body.aligned(schedule.lanes) if schedule.spans else None

    def _mask(self) -> str:
        """Threads of the row in their warp."""
        code, width = self.code, self.schedule.width
        if width == 32:
            return "-1"
        start = code.once(f"and i64 {self.tid}, {32 - width}")
        short = code.once(f"trunc i64 {start} to i32")
        return code.once(f"shl i32 {(1 << width) - 1}, {short}")

    # ---- elements
    def elements(self, step: int) -> list[str]:
        """Numbers of the elements of a step, also of those that are not there."""
        start = self.code.add(self.first, str(step * self.period))
        return [self.code.add(start, str(lane)) for lane in range(self.schedule.lanes)]

    def there(self, step: int, elements: Sequence[str]) -> list[str] | None:
        """i1 of each element; None where all are there."""
        schedule = self.schedule
        if schedule.whole or step + 1 < schedule.steps:
            return None
        if schedule.even:
            return [self.code.op(f"icmp slt i64 {elements[0]}, {self.length}")] * len(elements)
        return [self.code.op(f"icmp slt i64 {x}, {self.length}") for x in elements]

    def group(self, row: Row, elements: Sequence[str], there: list[str] | None) -> Group:
        """Elements that are not there read from the start of the row."""
        code = self.code
        if there is None:
            return Group(row, [Position(x) for x in elements])
        if self.schedule.even:
            start = code.op(f"select i1 {there[0]}, i64 {elements[0]}, i64 0")
            return Group(row, [Position(code.add(start, str(k))) for k in range(len(elements))])
        inside = [code.op(f"select i1 {t}, i64 {x}, i64 0") for t, x in zip(there, elements)]
        return Group(row, [Position(x) for x in inside])

    # ---- passes
    def row_pass(self, row: Row, row_pass: RowPass, keep: Sequence[int]) -> None:
        body, schedule = self.body, self.schedule
        body.enter(row)
        numbers = body.prepare(pass_targets(self.form, row_pass), self.kept)
        reductions = reductions_of(self.program, row_pass.reductions)
        state = [[r.neutral(body.scalar) for _ in range(schedule.lanes)] for r in reductions]
        if self.late and row_pass.writes:
            warp_barrier(self.code, self.mask)
        fresh: dict[int, list[list[str]]] = {n: [] for n in numbers if n in keep}
        for steps in self.batches(numbers):
            self.batch(row, row_pass, numbers, steps, reductions, state, fresh)
        self.kept.update(fresh)
        body.enter(row)
        empty = "true" if not schedule.steps else "false"
        for reduction, lanes in zip(reductions, state):
            total = join_lanes(self.code, reduction, lanes, self.period, self.mask)
            body.known[reduction.number] = reduction.result(body.scalar, total, empty)

    def batches(self, numbers: Sequence[int]) -> list[range]:
        """Steps whose reads are asked for together."""
        read = [n for n in numbers if self.program.instrs[n].prim == "arg" and n not in self.kept]
        registers = max(1, self.schedule.lanes * _registers(self.form, read))
        count = max(1, _BATCH // registers) if read else self.schedule.steps
        steps = self.schedule.steps
        return [range(k, min(k + count, steps)) for k in range(0, steps, max(count, 1))]

    def batch(
        self,
        row: Row,
        row_pass: RowPass,
        numbers: list[int],
        steps: range,
        reductions: list[Reduction],
        state: list[list[list[str]]],
        fresh: dict[int, list[list[str]]],
    ) -> None:
        body, scalar = self.body, self.body.scalar
        elements = [self.elements(step) for step in steps]
        there = [self.there(step, x) for step, x in zip(steps, elements)]
        groups = [self.group(row, x, t) for x, t in zip(elements, there)]

        def known(number: int, group: int, lane: int) -> str | None:
            kept = self.kept.get(number)
            return None if kept is None else kept[steps[group]][lane]

        values = body.evaluate(numbers, groups, self.aligned, known)
        for number, kept in fresh.items():
            kept += [[names[number] for names in lanes] for lanes in values]
        for group, lanes, numbers_of, valid in zip(groups, values, elements, there):
            for reduction, accumulators in zip(reductions, state):
                for lane, names in enumerate(lanes):
                    value = body.value_of(reduction.operand, group, names)
                    fed = reduction.feed(scalar, value, numbers_of[lane])
                    fed = reduction.masked(scalar, fed, valid[lane] if valid else None)
                    accumulators[lane] = reduction.follow(scalar, accumulators[lane], fed)
        self.store(row_pass.writes, groups, values, there)

    def store(
        self,
        writes: Sequence[int],
        groups: list[Group],
        values: list[list[dict[int, str]]],
        there: list[list[str] | None],
    ) -> None:
        """Results of the groups; those that may not be there are the last."""
        if not writes:
            return
        body, code = self.body, self.code
        full = [k for k, valid in enumerate(there) if valid is None]
        body.store(writes, [groups[k] for k in full], [values[k] for k in full], self.aligned)
        for group, lanes, valid in zip(groups, values, there):
            if valid is None:
                continue
            if self.schedule.even:
                code.when(
                    valid[0],
                    partial(body.store, writes, [group], [lanes], self.aligned),
                )
                continue
            for position, names, inside in zip(group.positions, lanes, valid):
                one = Group(group.row, [position])
                code.when(
                    inside,
                    partial(body.store, writes, [one], [[names]], None),
                )

    # ---- rows
    def run(self) -> None:
        code, body, per_block = self.code, self.body, THREADS // self.schedule.width
        inside = code.once(f"udiv i64 {self.tid}, {self.schedule.width}")
        number = code.once(f"add i64 {code.once(f'mul i64 {self.cta}, {per_block}')}, {inside}")
        return_unless(code, code.op(f"icmp slt i64 {number}, {body.word(body.own(_ROWS))}"))
        body.begin_row(number)
        row, keep = body.row(), kept_values(self.form)
        for row_pass in self.plan.passes:
            self.row_pass(row, row_pass, keep)
        meet = (lambda: warp_barrier(self.code, self.mask)) if self.late else None
        self.finish_row(row, self.plan.once, self.thread, meet)


def emit_rows(form: Form, schedule: RowSchedule, guarded: bool) -> Code:
    """The function body of a kernel of short rows."""
    writer = _Rows(form, schedule, guarded)
    writer.run()
    return writer.code
