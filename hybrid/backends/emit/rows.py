"""Code of row kernels: stages of one row, split by its reductions; a row stays in cache between
stages.

Invariant: sums follow the lanes order of the numerics contract, and no result that shares memory
with an operand is stored before the last read of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ...ir.scalar.program import REDUCTIONS
from .body import WIDTH, Body, cost
from .code import Code
from .form import Form, Walk
from .maps import unroll_of
from .memory import Position, tail_mask
from .reduce import Reduction, reductions_of

__all__ = [
    "emit_rows",
    "row_plan",
    "pass_targets",
    "split_parts",
    "Pass",
    "RowPlan",
    "Rows",
    "BLOCK",
]

_WALK_PRICE = {Walk.ADJACENT: 0, Walk.RUNS: 4, Walk.STRIDED: 8}  # of reading again; others: 16
_KEEP = 6  # recomputing fewer instructions than this is cheaper than a row buffer
_LIGHT = 56  # bodies of at most this cost are written out four times in a reduction loop
BLOCK = 4096  # elements per block of the lanes order
_LANES = 4


class Pass(NamedTuple):
    """One walk over the row: reductions fed and results stored in it."""

    reductions: tuple[int, ...]
    writes: tuple[int, ...]


class RowPlan(NamedTuple):
    """`once`: results stored once per row, after all else; `buffers`: instruction numbers."""

    passes: tuple[Pass, ...]
    once: tuple[int, ...]
    buffers: tuple[int, ...]


def _stages(form: Form) -> list[int]:
    out: list[int] = []
    for ins in form.program.instrs:
        s = max((out[a] for a in ins.args), default=0)
        out.append(s + 1 if ins.prim in REDUCTIONS else s)
    return out


@lru_cache(4096)
def row_plan(form: Form) -> RowPlan:
    """What each pass over a row does, and which values are kept between passes."""
    program, stage = form.program, _stages(form)
    last = max(
        (stage[i] for i, ins in enumerate(program.instrs) if ins.prim in REDUCTIONS), default=0
    )
    passes: list[Pass] = []
    for s in range(last + 1):
        reds = tuple(
            i
            for i, ins in enumerate(program.instrs)
            if ins.prim in REDUCTIONS and stage[i] == s + 1
        )
        writes = tuple(
            k
            for k, o in enumerate(program.outs)
            if form.writes[k].walk is not Walk.ONCE
            and (last if form.writes[k].late else stage[o]) == s
        )
        if reds or writes:
            passes.append(Pass(reds, writes))
    once = tuple(k for k, w in enumerate(form.writes) if w.walk is Walk.ONCE)
    return RowPlan(tuple(passes), once, _buffers(form, passes) if form.buffered else ())


def pass_targets(form: Form, p: Pass) -> list[int]:
    """What a pass evaluates per element."""
    return [form.program.instrs[i].args[0] for i in p.reductions] + [
        form.program.outs[k] for k in p.writes
    ]


def _buffers(form: Form, passes: Sequence[Pass]) -> tuple[int, ...]:
    """Values of earlier passes that later ones use and that are dearer to compute than to load."""
    body = Body(Code(), form)
    done: set[int] = set()
    kept: set[int] = set()
    for p in passes:
        targets = pass_targets(form, p)
        numbers = body.elements(targets, kept)
        for i in numbers:
            if i not in done or i in kept:
                continue
            fresh_user = i in targets or any(
                i in form.program.instrs[u].args for u in numbers if u not in done
            )
            if fresh_user and _price(form, body.elements([i], kept)) >= _KEEP:
                kept.add(i)
        done |= set(body.elements(targets, kept))
    return tuple(sorted(kept))


def _price(form: Form, numbers: Sequence[int]) -> int:
    """Cost of computing again, reads included: adjacent elements are free, others are not."""
    total = cost(form.program, numbers)
    for i in numbers:
        ins = form.program.instrs[i]
        if ins.prim == "arg":
            total += _WALK_PRICE.get(form.reads[ins.attr].walk, 16)
    return total


class Rows:
    """Emits whole rows; `staged` runs the passes of long rows as functions of their own."""

    def __init__(self, form: Form) -> None:
        self.code = Code()
        self.body = Body(self.code, form)
        self.form, self.program, self.plan = form, form.program, row_plan(form)
        self.n = self.body.word(self.body.words.n)
        self.empty = self.code.once(f"icmp eq i64 {self.n}, 0")
        self.ready: set[int] = set()
        for b, i in enumerate(self.plan.buffers):
            offset = self.body.word(self.body.words.buffer(b))
            self.body.buffers[i] = self.code.once(f"getelementptr i8, ptr %scratch, i64 {offset}")

    # ---- one position
    def visit(self, p: Pass, numbers: list[int], at: Position) -> dict[int, str]:
        """Evaluate a pass at a position and store what it stores."""
        return self.visit_all(p, numbers, [at])[0]

    def visit_all(
        self, p: Pass, numbers: list[int], ats: list[Position], stream: bool = False
    ) -> list[dict[int, str]]:
        envs = self.body.vectors(numbers, ats, self.ready)
        for env, at in zip(envs, ats):
            for i in numbers:
                if i in self.body.buffers and i not in self.ready:
                    self.body.keep(i, env[i], at)
            for k in p.writes:
                self.body.write(k, self.body.value(self.program.outs[k], env), at, stream)
        return envs

    def first_reads(self) -> list[int]:
        """Operands that the first pass over a row reads."""
        numbers = self.body.elements(pass_targets(self.form, self.plan.passes[0]))
        return [
            self.program.instrs[i].attr for i in numbers if self.program.instrs[i].prim == "arg"
        ]

    def next_positions(self, j: str, count: int) -> list[Position]:
        return [Position(self.code.add(j, str(WIDTH * u))) for u in range(count)]

    def feed(self, r: Reduction, env: dict[int, str], at: Position) -> list[str]:
        index = self.body.lane_index(at.j) if r.indexed else ""
        return r.feed(self.body.lanes, self.body.value(r.operand, env), index)

    # ---- passes
    def store_pass(self, p: Pass, numbers: list[int], start: str, stop: str) -> None:
        """A pass without reductions over elements start..stop."""
        code = self.code
        unroll = unroll_of(cost(self.program, numbers), self._strided(p, numbers))
        if unroll:

            def main(j: str, stream: bool) -> list[str]:
                ats = self.next_positions(j, unroll)
                self.visit_all(p, numbers, ats, stream)
                for at in ats if stream else ():
                    self.body.fetch_next_row(self.first_reads(), at)
                return []

            far, step = self.body.streams(p.writes, start, stop), WIDTH * unroll
            if far is not None:
                start, _ = code.loop(
                    start, far, str(step), [], lambda j, _: main(j, True), full=step
                )
            start, _ = code.loop(start, stop, str(step), [], lambda j, _: main(j, False), full=step)

        def tail(j: str, _: list[str]) -> list[str]:
            self.visit(p, numbers, self.tail_position(j, stop))
            return []

        code.loop(start, stop, str(WIDTH), [], tail)

    def _strided(self, p: Pass, numbers: list[int]) -> bool:
        reads = (
            self.form.reads[self.program.instrs[i].attr].walk
            for i in numbers
            if self.program.instrs[i].prim == "arg" and i not in self.ready
        )
        return any(w.lane_by_lane for w in (*reads, *(self.form.writes[k].walk for k in p.writes)))

    def tail_position(self, j: str, stop: str) -> Position:
        count = self.code.op(f"sub i64 {stop}, {j}")
        return Position(j, tail_mask(self.body.lanes, count), count)

    def reduce_pass(self, p: Pass, numbers: list[int]) -> None:
        code, reds = self.code, reductions_of(self.program, p.reductions)
        scalar, boxes = self.body.scalar, self.make_boxes(reds)
        carried = [(scalar.ty(ty), e) for r in reds for ty, e in zip(r.parts, r.neutral(scalar))]

        def block(lo: str, totals: list[str]) -> list[str]:
            hi = code.smin(code.add(lo, str(BLOCK)), self.n)
            j = self.main_loop(p, numbers, reds, boxes, lo, hi)
            self.tail_loop(p, numbers, reds, boxes, j, hi)
            return self.fold_boxes(reds, boxes, totals)

        _, totals = code.loop("0", self.n, str(BLOCK), carried, block)
        for r, total in zip(reds, split_parts(reds, totals, 1)):
            self.body.known[r.number] = r.result(scalar, total[0], self.empty)

    def make_boxes(self, reds: list[Reduction]) -> list[list[str]]:
        """Memory for the four accumulators of every reduction."""
        lanes = self.body.lanes
        return [[self.code.alloca(f"[{_LANES} x {lanes.ty(ty)}]") for ty in r.parts] for r in reds]

    def main_loop(
        self,
        p: Pass,
        numbers: list[int],
        reds: list[Reduction],
        boxes: list[list[str]],
        lo: str,
        hi: str,
    ) -> str:
        """Whole groups of 64 elements in registers; leaves the accumulators in the boxes."""
        code, lanes = self.code, self.body.lanes
        accs = [
            (lanes.ty(ty), e)
            for r in reds
            for _ in range(_LANES)
            for ty, e in zip(r.parts, r.neutral(lanes))
        ]
        j = lo
        if self._light(p, numbers):

            def main(j: str, names: list[str]) -> list[str]:
                state = split_parts(reds, names, _LANES)
                ats = self.next_positions(j, _LANES)
                for u, (env, at) in enumerate(zip(self.visit_all(p, numbers, ats), ats)):
                    for r, acc in zip(reds, state):
                        acc[u] = r.follow(lanes, acc[u], self.feed(r, env, at))
                return [x for acc in state for v in acc for x in v]

            j, names = code.loop(lo, hi, str(WIDTH * _LANES), accs, main, full=WIDTH * _LANES)
        else:
            names = [e for _, e in accs]
        for r, acc, box in zip(reds, split_parts(reds, names, _LANES), boxes):
            for u in range(_LANES):
                for ty, spot, x in zip(r.parts, box, acc[u]):
                    where = code.at(lanes.ty(ty), spot, str(u))
                    code.do(f"store {lanes.ty(ty)} {x}, ptr {where}, align 2")
        return j

    def tail_loop(
        self,
        p: Pass,
        numbers: list[int],
        reds: list[Reduction],
        boxes: list[list[str]],
        start: str,
        hi: str,
    ) -> None:
        """The rest of a block (costly bodies: all of it) by vectors, the last of them masked."""
        code, lanes = self.code, self.body.lanes

        def add(at: Position) -> list[str]:
            env = self.visit(p, numbers, at)
            group = code.op(f"and i64 {code.op(f'lshr i64 {at.j}, 4')}, {_LANES - 1}")
            for r, box in zip(reds, boxes):
                spots = [code.at(lanes.ty(ty), b, group) for ty, b in zip(r.parts, box)]
                old = [
                    code.op(f"load {lanes.ty(ty)}, ptr {s}, align 2")
                    for ty, s in zip(r.parts, spots)
                ]
                new = r.follow(lanes, old, r.masked(lanes, self.feed(r, env, at), at.mask))
                for ty, s, x in zip(r.parts, spots, new):
                    code.do(f"store {lanes.ty(ty)} {x}, ptr {s}, align 2")
            return []

        if not self._light(p, numbers) and not self.form.short:
            start, _ = code.loop(
                start, hi, str(WIDTH), [], lambda j, _: add(Position(j)), full=WIDTH
            )
        code.loop(start, hi, str(WIDTH), [], lambda j, _: add(self.tail_position(j, hi)))

    def _light(self, p: Pass, numbers: list[int]) -> bool:
        """Whether a body is short enough to be written out four times."""
        return cost(self.program, numbers) <= _LIGHT and not self.form.multi

    def fold_boxes(
        self, reds: list[Reduction], boxes: list[list[str]], totals: list[str]
    ) -> list[str]:
        code, lanes, out = self.code, self.body.lanes, []
        for r, box, total in zip(reds, boxes, split_parts(reds, totals, 1)):
            accs = [
                [
                    code.op(f"load {lanes.ty(ty)}, ptr {code.at(lanes.ty(ty), b, str(u))}, align 2")
                    for ty, b in zip(r.parts, box)
                ]
                for u in range(_LANES)
            ]
            out += r.combine(self.body.scalar, total[0], r.fold(code, accs))
        return out

    # ---- rows
    def row(self, t: str, _: list[str]) -> list[str]:
        self.body.begin_row(t)
        self.ready = set()
        for p in self.plan.passes:
            targets = pass_targets(self.form, p)
            numbers = self.body.prepare(targets, self.ready)
            if p.reductions:
                self.reduce_pass(p, numbers)
            else:
                self.store_pass(p, numbers, "0", self.n)
            self.ready |= set(numbers) & set(self.plan.buffers)
        self.write_once()
        return []

    def short_row(self, t: str, _: list[str]) -> list[str]:
        """A row of at most one vector: every value stays in a register."""
        self.body.begin_row(t)
        at = Position("0", self.mask, self.n)
        env: dict[int, str] = {}
        for p in self.plan.passes:
            numbers = self.body.prepare(pass_targets(self.form, p), env)
            env.update(self.body.vector([i for i in numbers if i not in env], at, env=env))
            for r in reductions_of(self.program, p.reductions):
                value = r.masked(self.body.lanes, self.feed(r, env, at), self.mask)
                self.body.known[r.number] = r.result(
                    self.body.scalar, r.fold(self.code, [value]), self.empty
                )
        for p in self.plan.passes:
            for k in p.writes:
                self.body.write(k, self.body.value(self.program.outs[k], env), at)
        self.write_once()
        return []

    def write_once(self) -> None:
        values = [self.body.scalar_value(self.program.outs[k]) for k in self.plan.once]
        for k, v in zip(self.plan.once, values):
            self.body.write_once(k, v)

    def items(self) -> None:
        if self.form.short:
            self.mask = tail_mask(self.body.lanes, self.n)
        self.code.loop("%begin", "%end", "1", [], self.short_row if self.form.short else self.row)


def split_parts(
    reds: Sequence[Reduction], names: Sequence[str], vectors: int
) -> list[list[list[str]]]:
    """Flat names -> per reduction, per vector, the accumulator's parts."""
    out, at = [], 0
    for r in reds:
        step = len(r.parts)
        out.append([list(names[at + u * step : at + (u + 1) * step]) for u in range(vectors)])
        at += step * vectors
    return out


def emit_rows(form: Form) -> Code:
    """The function body of a row kernel."""
    rows = Rows(form)
    rows.items()
    rows.code.do("ret i64 0")
    return rows.code
