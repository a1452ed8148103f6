"""Row kernels of longer rows: a block of threads a row, values between passes in shared memory.

Invariant: sums whose order shows are staged in shared memory, where a warp walks the 64 lanes of
each block of 4096 in increasing order; the results of blocks are joined in order.  A thread reads
back only what it has put there itself, but for these walks.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ...emit.code import Code
from ...emit.form import Form
from ...emit.lanes import memory_scalar
from ...emit.memory import SIZE, Position, load_scalar, store_scalar
from ...emit.reduce import Pick, Reduction
from ...emit.rows import RowPass, row_plan
from .access import Span, load_spans, store_spans
from .areas import (
    StagedSchedule,
    cells_of,
    joined_reductions,
    pass_elements,
    pass_reductions,
    row_uses,
)
from .body import Group, Row, Threads, barrier
from .lanes import BLOCK, LANES, butterfly, join_lanes, shared_base

__all__ = ["emit_staged"]

_CHUNK, _FIRST_AREA = 0, 1  # words of the schedule: elements staged at once; bytes before areas


class _Pass(NamedTuple):
    """A pass over a row in the making: what it evaluates and what it stages of that, what earlier
    passes have staged, and its reductions whose order does not show."""

    row: Row
    row_pass: RowPass
    numbers: list[int]
    made: list[int]
    there: frozenset[int]
    reductions: list[Reduction]


class _Staged(Threads):
    def __init__(self, form: Form, schedule: StagedSchedule, guarded: bool) -> None:
        super().__init__(form, guarded, schedule.spans, schedule.narrow)
        code, self.schedule = self.code, schedule
        self.plan, self.areas = row_plan(form), dict(schedule.areas)
        self.length = self.body.word(self.body.words.n)
        self.chunk = self.body.word(self.body.own(_CHUNK))
        self.late = any(write.late for write in form.writes)
        self.lane = code.once(f"and i64 {self.tid}, 31")
        self.warp = code.once(f"lshr i64 {self.tid}, 5")
        self.warps = schedule.threads // 32
        self.shared = shared_base(code)
        self.aligned = self.body.aligned(schedule.vector) if schedule.spans else None
        self.empty = code.once(f"icmp eq i64 {self.length}, 0")

    # ---- shared memory
    def cell(self, reduction: Reduction, part: int, number: str) -> str:
        """Where a warp puts one part of its result; for sums in order: where a block's is."""
        before = 0
        for other in joined_reductions(self.form):
            if other.number == reduction.number:
                break
            before += cells_of(other)
        return self.code.at("i64", self.shared, self.code.add(number, str(before + 32 * part)))

    def spot(self, number: int, element: str) -> str:
        """Where a value of an element is; elements are counted from the start of the chunk."""
        offset = self.body.word(self.body.own(_FIRST_AREA + self.areas[number]))
        base = self.code.once(f"getelementptr i8, ptr {self.shared}, i64 {offset}")
        return self.code.at(memory_scalar(self.program.instrs[number].type), base, element)

    def span(self, number: int, element: str) -> Span:
        kind = self.program.instrs[number].type
        return Span(kind, self.spot(number, element), self.schedule.vector)

    # ---- passes
    def row_pass(self, row: Row, row_pass: RowPass, there: frozenset[int]) -> frozenset[int]:
        """What is staged after the pass, if `there` was before."""
        code, body, scalar = self.code, self.body, self.body.scalar
        body.enter(row)
        found = pass_reductions(self.form, row_pass)
        ordered, others = list(found.ordered), list(found.others)
        for reduction, pick in found.picked:
            body.known[reduction.number] = self.picked(row, reduction, pick)
        work = self.work(row, row_pass, self.schedule.kept, there)
        if self.late and row_pass.writes:
            barrier(code)
        start = [
            (scalar.ty(ty), x)
            for r in (*ordered, *others)
            for ty, x in zip(r.parts, r.neutral(scalar))
        ]

        def chunk(first: str, names: list[str], work: _Pass = work) -> list[str]:
            sums, rest = names[: len(ordered)], names[len(ordered) :]
            stop = code.smin(code.add(first, self.chunk), self.length)
            rest = self.chunk_pass(work, (first, stop), rest)
            if ordered:
                sums = self.walks(ordered, code.op(f"sub i64 {stop}, {first}"), sums)
            return [*sums, *rest]

        totals, following = [name for _, name in start], "0"
        if self.schedule.partly:
            totals, following = chunk("0", totals), self.chunk
            chunk = partial(chunk, work=self.work(row, row_pass, (), frozenset()))
        carried = [(kind, total) for (kind, _), total in zip(start, totals)]
        totals = code.loop(following, self.length, self.chunk, carried, chunk)[1]
        body.enter(row)
        for reduction, total in zip(ordered, totals):
            body.known[reduction.number] = reduction.result(scalar, [total], self.empty)
        self.join_warps(others, totals[len(ordered) :])
        return there | set(work.numbers) & set(self.schedule.kept)

    def work(
        self, row: Row, row_pass: RowPass, kept: tuple[int, ...], there: frozenset[int]
    ) -> _Pass:
        """What a pass has to do on elements of which `there` is staged."""
        numbers = self.body.prepare(pass_elements(self.form, row_pass), there)
        made = list(row_uses(self.form, kept, there, row_pass).made)
        others = list(pass_reductions(self.form, row_pass).others)
        return _Pass(row, row_pass, numbers, made, there, others)

    def picked(self, row: Row, reduction: Reduction, pick: Pick) -> str:
        """The one element that the reduction takes, if it is there, computed by every thread."""
        code, body, scalar = self.code, self.body, self.body.scalar
        first = Group(row, [Position("0")])
        start = body.evaluate([pick.position], [first], None)[0][0][pick.position]
        element = code.op(f"sub i64 {body.scalar_value(pick.wanted)}, {start}")
        inside = code.op(f"icmp ult i64 {element}, {self.length}")
        stop = code.op(f"select i1 {inside}, i64 {code.add(element, '1')}, i64 {element}")
        numbers = body.prepare([pick.value])

        def take(place: str, names: list[str]) -> list[str]:
            group = Group(row, [Position(place)])
            values = body.evaluate(numbers, [group], None)[0][0]
            value = body.value_of(pick.value, group, values)
            return reduction.combine(scalar, names, [value])

        carried = [(scalar.ty(reduction.type), reduction.neutral(scalar)[0])]
        total = code.loop(element, stop, "1", carried, take)[1]
        body.enter(row)
        return reduction.result(scalar, total, self.empty)

    def chunk_pass(
        self, work: _Pass, bounds: tuple[str, str], accumulators: list[str]
    ) -> list[str]:
        """All elements of a chunk, spread over the threads."""
        code, schedule = self.code, self.schedule
        first, stop = bounds
        step, types = (
            schedule.threads * schedule.vector,
            [self.body.scalar.ty(ty) for r in work.reductions for ty in r.parts],
        )

        def groups(element: str, names: list[str], count: int) -> list[str]:
            starts = [code.add(element, str(step * k)) for k in range(count)]
            return self.groups(work, first, starts, names)

        mine = code.op(f"mul i64 {self.tid}, {schedule.vector}")
        element, count = code.add(first, mine), schedule.unroll
        if count > 1:
            element, accumulators = code.loop(
                element,
                stop,
                str(step * count),
                list(zip(types, accumulators)),
                lambda x, names: groups(x, names, count),
                full=step * (count - 1) + 1,
            )
        carried = list(zip(types, accumulators))
        return code.loop(element, stop, str(step), carried, lambda x, names: groups(x, names, 1))[1]

    def groups(
        self, work: _Pass, first: str, starts: list[str], accumulators: list[str]
    ) -> list[str]:
        """Groups of adjacent elements from these on: evaluated, fed, staged, stored."""
        code, body, width = self.code, self.body, self.schedule.vector
        lists = [[code.add(x, str(k)) for k in range(width)] for x in starts]
        groups = [Group(work.row, [Position(x) for x in elements]) for elements in lists]
        inside = [code.op(f"sub i64 {x}, {first}") for x in starts] if self.areas else starts
        kept = [n for n in work.numbers if n in work.there]
        found = {n: load_spans(code, [self.span(n, x) for x in inside], "true") for n in kept}

        def known(number: int, group: int, lane: int) -> str | None:
            return found[number][group][lane] if number in found else None

        values = body.evaluate(work.numbers, groups, self.aligned, known)
        for group, lanes, elements in zip(groups, values, lists):
            for names, element in zip(lanes, elements):
                accumulators = self.feed(work.reductions, group, names, element, accumulators)
        for number in work.made:
            spans = [self.span(number, x) for x in inside]
            lines = [
                [body.value_of(number, group, names) for names in lanes]
                for group, lanes in zip(groups, values)
            ]
            store_spans(code, spans, lines, "true")
        body.store(work.row_pass.writes, groups, values, self.aligned)
        return accumulators

    def feed(
        self,
        reductions: list[Reduction],
        group: Group,
        names: dict[int, str],
        element: str,
        accumulators: list[str],
    ) -> list[str]:
        """Accumulators after one more element."""
        body, scalar, changed, at = self.body, self.body.scalar, list[str](), 0
        for reduction in reductions:
            value = body.value_of(reduction.operand, group, names)
            fed = reduction.feed(scalar, value, element)
            before = accumulators[at : at + len(reduction.parts)]
            changed += reduction.follow(scalar, before, fed)
            at += len(reduction.parts)
        return changed

    # ---- sums in order
    def walks(self, ordered: list[Reduction], count: str, sums: list[str]) -> list[str]:
        """Sums with those of the `count` elements that are staged added."""
        code = self.code
        barrier(code)
        blocks = code.op(f"lshr i64 {code.add(count, str(BLOCK - 1))}, {BLOCK.bit_length() - 1}")
        for reduction in ordered:

            def block(number: str, _: list[str], reduction: Reduction = reduction) -> list[str]:
                self.walk(reduction, number, count)
                return []

            code.loop(self.warp, blocks, str(self.warps), [], block)
        barrier(code)
        totals = []
        for reduction, total in zip(ordered, sums):

            def join(number: str, names: list[str], reduction: Reduction = reduction) -> list[str]:
                part = load_scalar(code, reduction.type, self.cell(reduction, 0, number))
                return reduction.combine(self.body.scalar, names, [part])

            carried = [(self.body.scalar.ty(reduction.type), total)]
            totals += code.loop("0", blocks, "1", carried, join)[1]
        return totals

    def walk(self, reduction: Reduction, block: str, count: str) -> None:
        """One warp sums one block, two lanes a thread."""
        code, scalar = self.code, self.body.scalar
        start = code.op(f"shl i64 {block}, {BLOCK.bit_length() - 1}")
        left = code.op(f"sub i64 {code.smin(code.add(start, str(BLOCK)), count)}, {start}")
        mine = code.op(f"shl i64 {self.lane}, 1")
        base = self.spot(reduction.operand, code.add(start, mine))
        kind, size = reduction.type, SIZE[memory_scalar(reduction.type)]

        def steps(step: str, names: list[str], many: int) -> list[str]:
            spots = [
                code.at("i8", base, code.mul(code.add(step, str(LANES * k)), str(size)))
                for k in range(many)
            ]
            for pair in load_spans(code, [Span(kind, spot, 2) for spot in spots], "true"):
                names = [reduction.follow(scalar, [x], [y])[0] for x, y in zip(names, pair)]
            return names

        neutral = reduction.neutral(scalar)[0]
        names, element, element_type = [neutral, neutral], "0", scalar.ty(kind)
        for many in (8, 1):
            carried = [(element_type, x) for x in names]
            element, names = code.loop(
                element,
                left,
                str(LANES * many),
                carried,
                partial(steps, many=many),
                full=LANES * many,
            )
        names = self.rest(reduction, base, element, left, names)
        total = join_lanes(code, reduction, [[x] for x in names])
        code.when(
            code.op(f"icmp eq i64 {self.lane}, 0"),
            lambda: store_scalar(code, kind, total[0], self.cell(reduction, 0, block)),
        )

    def rest(
        self, reduction: Reduction, base: str, element: str, left: str, names: list[str]
    ) -> list[str]:
        """The last elements, fewer than there are lanes; areas have room behind a row."""
        code, scalar, size = self.code, self.body.scalar, SIZE[memory_scalar(reduction.type)]
        spot = code.at("i8", base, code.op(f"mul i64 {element}, {size}"))
        pair = load_spans(code, [Span(reduction.type, spot, 2)], "true")[0]
        missing = code.op(f"sub i64 {left}, {element}")
        mine = code.op(f"shl i64 {self.lane}, 1")
        changed = []
        for lane, (before, value) in enumerate(zip(names, pair)):
            valid = code.op(f"icmp slt i64 {code.add(mine, str(lane))}, {missing}")
            fed = reduction.masked(scalar, [value], valid)
            changed += reduction.follow(scalar, [before], fed)
        return changed

    # ---- the others
    def join_warps(self, reductions: list[Reduction], accumulators: list[str]) -> None:
        """Results of all threads -> the value of each reduction, in every thread."""
        code, body, at = self.code, self.body, 0
        joined = []
        for reduction in reductions:
            mine = accumulators[at : at + len(reduction.parts)]
            at += len(reduction.parts)
            joined.append(butterfly(code, reduction, mine))

        def put() -> None:
            for reduction, values in zip(reductions, joined):
                for part, (kind, value) in enumerate(zip(reduction.parts, values)):
                    store_scalar(code, kind, value, self.cell(reduction, part, self.warp))

        if not reductions:
            return
        if self.warps > 1:
            code.when(code.op(f"icmp eq i64 {self.lane}, 0"), put)
            barrier(code)
        for reduction, values in zip(reductions, joined):
            if self.warps > 1:
                lane = code.op(f"and i64 {self.lane}, {self.warps - 1}")
                values = [
                    load_scalar(code, kind, self.cell(reduction, part, lane))
                    for part, kind in enumerate(reduction.parts)
                ]
                values = butterfly(code, reduction, values, self.warps)
            body.known[reduction.number] = reduction.result(body.scalar, values, self.empty)

    # ---- rows
    def run(self) -> None:
        body = self.body
        body.begin_row(self.cta)
        row = body.row()
        there: frozenset[int] = frozenset()
        for row_pass in self.plan.passes:
            there = self.row_pass(row, row_pass, there)
        meet = (lambda: barrier(self.code)) if self.late else None
        self.finish_row(row, self.plan.once, self.tid, meet)


def emit_staged(form: Form, schedule: StagedSchedule, guarded: bool) -> Code:
    """The function body of a kernel of long rows."""
    writer = _Staged(form, schedule, guarded)
    writer.run()
    return writer.code
