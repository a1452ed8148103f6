"""Code of row kernels: passes over one row, split by its reductions; a row stays in cache between
passes.

Invariant: sums follow the lanes order of the numerics contract, and no result that shares memory
with an operand is stored before the last read of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from ...ir.scalar.program import REDUCTIONS, ScalarType
from .body import WIDTH, Body
from .code import Code
from .form import Form, Walk
from .maps import unroll_of
from .memory import Position, tail_mask
from .programs.analysis import cost
from .reduce import Reduction, reductions_of

__all__ = [
    "emit_rows",
    "row_plan",
    "row_buffers",
    "pass_targets",
    "split_parts",
    "RowPass",
    "RowPlan",
    "Rows",
    "BLOCK",
]

_WALK_PRICE = {
    Walk.ADJACENT: 0,
    Walk.COPIED: 0,
    Walk.EVERY_OTHER: 2,
    Walk.RUNS: 4,
    Walk.STRIDED: 8,
}  # of reading again; others: 16
_KEEP = 6  # recomputing fewer instructions than this is cheaper than a row buffer
_LIGHT = 56  # bodies of at most this cost are written out four times in a reduction loop
# The lanes order: element k of a block is added to lane k % 64, the 64 lanes are folded in a fixed
# tree, block results are added in order.  Four vectors of 16 lanes give four independent chains of
# additions, and every target and every split into threads the same bits.
BLOCK = 4096  # elements per block
_LANES = 4  # vectors


class RowPass(NamedTuple):
    """One walk over the row: reductions fed and results stored in it."""

    reductions: tuple[int, ...]
    writes: tuple[int, ...]


class RowPlan(NamedTuple):
    """`once`: results stored once per row, after all else; `buffers`: instruction numbers."""

    passes: tuple[RowPass, ...]
    once: tuple[int, ...]
    buffers: tuple[int, ...]


def _depths(form: Form) -> list[int]:
    """How many reductions lead to each instruction: the pass after which it is known."""
    depths: list[int] = []
    for instr in form.program.instrs:
        depth = max((depths[a] for a in instr.args), default=0)
        depths.append(depth + 1 if instr.prim in REDUCTIONS else depth)
    return depths


@lru_cache(4096)
def row_plan(form: Form) -> RowPlan:
    """What each pass over a row does, and which values are kept between passes."""
    program, depth = form.program, _depths(form)
    last = max(
        (depth[i] for i, ins in enumerate(program.instrs) if ins.prim in REDUCTIONS), default=0
    )
    passes: list[RowPass] = []
    for number in range(last + 1):
        reductions = tuple(
            i
            for i, ins in enumerate(program.instrs)
            if ins.prim in REDUCTIONS and depth[i] == number + 1
        )
        writes = tuple(
            k
            for k, o in enumerate(program.outs)
            if form.writes[k].walk is not Walk.ONCE
            and (last if form.writes[k].late else depth[o]) == number
        )
        if reductions or writes:
            passes.append(RowPass(reductions, writes))
    once = tuple(k for k, w in enumerate(form.writes) if w.walk is Walk.ONCE)
    return RowPlan(tuple(passes), once, _buffers(form, passes) if form.buffered else ())


def pass_targets(form: Form, row_pass: RowPass) -> list[int]:
    """What a pass evaluates per element."""
    return [form.program.instrs[i].args[0] for i in row_pass.reductions] + [
        form.program.outs[k] for k in row_pass.writes
    ]


def _buffers(form: Form, passes: Sequence[RowPass]) -> tuple[int, ...]:
    """Values of earlier passes that later ones use and that are dearer to compute than to load."""
    body = Body(Code(), form)
    done: set[int] = set()
    kept: set[int] = set()
    for row_pass in passes:
        targets = pass_targets(form, row_pass)
        numbers = body.elements(targets, kept)
        for number in numbers:
            if number not in done or number in kept:
                continue
            fresh_user = number in targets or any(
                number in form.program.instrs[u].args for u in numbers if u not in done
            )
            if fresh_user and _price(form, body.elements([number], kept)) >= _KEEP:
                kept.add(number)
        done |= set(body.elements(targets, kept))
    return tuple(sorted(kept))


def row_buffers(form: Form) -> list[ScalarType]:
    """What the row buffers hold: values kept between passes, then copies of operands."""
    if form.short:
        return []
    kept = [form.program.instrs[number].type for number in row_plan(form).buffers]
    return kept + [o.type for o in (*form.reads, *form.writes) if o.walk is Walk.COPIED]


def _price(form: Form, numbers: Sequence[int]) -> int:
    """Cost of computing again, reads included: adjacent elements are free, others are not."""
    total = cost(form.program, numbers)
    for number in numbers:
        instr = form.program.instrs[number]
        if instr.prim == "arg":
            total += _WALK_PRICE.get(form.reads[instr.attr].walk, 16)
    return total


class PassWork(NamedTuple):
    """A pass in the making: what it evaluates, and what earlier ones keep in buffers."""

    row_pass: RowPass
    numbers: list[int]
    ready: frozenset[int] = frozenset()


class Rows:
    """Emits whole rows; `split_rows` runs the passes of long rows as functions of their own."""

    def __init__(self, form: Form) -> None:
        self.code = Code()
        self.body = Body(self.code, form)
        self.form, self.program, self.plan = form, form.program, row_plan(form)
        self.n = self.body.word(self.body.words.n)
        self.empty = self.code.once(f"icmp eq i64 {self.n}, 0")
        self.copied = [k for k, walk in enumerate(form.walks) if walk is Walk.COPIED]
        buffers = [self._buffer(k) for k in range(len(row_buffers(form)))]
        self.body.buffers = dict(zip(self.plan.buffers, buffers))
        self.body.copies = dict(zip(self.copied, buffers[len(self.plan.buffers) :]))

    def _buffer(self, number: int) -> str:
        offset = self.body.word(self.body.words.buffer(number))
        return self.code.once(f"getelementptr i8, ptr %scratch, i64 {offset}")

    # ---- one position
    def visit(self, work: PassWork, position: Position) -> dict[int, str]:
        """Evaluate a pass at a position and store what it stores."""
        return self.visit_all(work, [position])[0]

    def visit_all(
        self, work: PassWork, positions: list[Position], stream: bool = False
    ) -> list[dict[int, str]]:
        values = self.body.vectors(work.numbers, positions, work.ready)
        for known, position in zip(values, positions):
            for number in work.numbers:
                if number in self.body.buffers and number not in work.ready:
                    self.body.keep(number, known[number], position)
            for write in work.row_pass.writes:
                self.body.write(
                    write, self.body.value(self.program.outs[write], known), position, stream
                )
        return values

    def first_reads(self) -> list[int]:
        """Operands that the first pass over a row reads."""
        numbers = self.body.elements(pass_targets(self.form, self.plan.passes[0]))
        return [
            self.program.instrs[i].attr for i in numbers if self.program.instrs[i].prim == "arg"
        ]

    def next_positions(self, element: str, count: int) -> list[Position]:
        return [Position(self.code.add(element, str(WIDTH * u))) for u in range(count)]

    def feed(self, reduction: Reduction, values: dict[int, str], position: Position) -> list[str]:
        index = self.body.lane_index(position.j) if reduction.indexed else ""
        return reduction.feed(self.body.lanes, self.body.value(reduction.operand, values), index)

    # ---- passes
    def store_pass(self, work: PassWork, start: str, stop: str) -> None:
        """A pass without reductions over elements start..stop."""
        code = self.code
        unroll = unroll_of(self.program, work.numbers, self._strided(work))
        if unroll:

            def main(element: str, stream: bool) -> list[str]:
                positions = self.next_positions(element, unroll)
                self.visit_all(work, positions, stream)
                for position in positions if stream else ():
                    self.body.fetch_next_row(self.first_reads(), position)
                return []

            start = self.body.turns(work.row_pass.writes, start, stop, WIDTH * unroll, main)

        def tail(element: str, _: list[str]) -> list[str]:
            self.visit(work, self.tail_position(element, stop))
            return []

        code.loop(start, stop, str(WIDTH), [], tail)

    def _strided(self, work: PassWork) -> bool:
        reads = (
            self.form.reads[self.program.instrs[i].attr].walk
            for i in work.numbers
            if self.program.instrs[i].prim == "arg" and i not in work.ready
        )
        return any(
            w.lane_by_lane
            for w in (*reads, *(self.form.writes[k].walk for k in work.row_pass.writes))
        )

    def tail_position(self, element: str, stop: str) -> Position:
        count = self.code.op(f"sub i64 {stop}, {element}")
        return Position(element, tail_mask(self.body.lanes, count), count)

    def reduce_pass(self, work: PassWork) -> None:
        code, reductions = self.code, reductions_of(self.program, work.row_pass.reductions)
        scalar, boxes = self.body.scalar, self.make_boxes(reductions)
        carried = [
            (scalar.ty(ty), e) for r in reductions for ty, e in zip(r.parts, r.neutral(scalar))
        ]

        def block(start: str, totals: list[str]) -> list[str]:
            stop = code.smin(code.add(start, str(BLOCK)), self.n)
            element = self.main_loop(work, reductions, boxes, start, stop)
            self.tail_loop(work, reductions, boxes, element, stop)
            return self.fold_boxes(reductions, boxes, totals)

        _, totals = code.loop("0", self.n, str(BLOCK), carried, block)
        for reduction, total in zip(reductions, split_parts(reductions, totals, 1)):
            self.body.known[reduction.number] = reduction.result(scalar, total[0], self.empty)

    def make_boxes(self, reductions: list[Reduction]) -> list[list[str]]:
        """Memory for the four accumulators of every reduction."""
        lanes = self.body.lanes
        return [
            [self.code.alloca(f"[{_LANES} x {lanes.ty(ty)}]") for ty in r.parts] for r in reductions
        ]

    def main_loop(
        self,
        work: PassWork,
        reductions: list[Reduction],
        boxes: list[list[str]],
        start: str,
        stop: str,
    ) -> str:
        """Whole groups of 64 elements in registers; leaves the accumulators in the boxes."""
        code, lanes = self.code, self.body.lanes
        accumulators = [
            (lanes.ty(ty), e)
            for r in reductions
            for _ in range(_LANES)
            for ty, e in zip(r.parts, r.neutral(lanes))
        ]
        element = start
        if self._light(work):

            def main(element: str, names: list[str]) -> list[str]:
                state = split_parts(reductions, names, _LANES)
                positions = self.next_positions(element, _LANES)
                for vector, (known, position) in enumerate(
                    zip(self.visit_all(work, positions), positions)
                ):
                    for reduction, vectors in zip(reductions, state):
                        vectors[vector] = reduction.follow(
                            lanes, vectors[vector], self.feed(reduction, known, position)
                        )
                return [x for acc in state for v in acc for x in v]

            element, names = code.loop(
                start, stop, str(WIDTH * _LANES), accumulators, main, full=WIDTH * _LANES
            )
        else:
            names = [e for _, e in accumulators]
        self.fill_boxes(reductions, boxes, split_parts(reductions, names, _LANES))
        return element

    def fill_boxes(
        self, reductions: list[Reduction], boxes: list[list[str]], state: list[list[list[str]]]
    ) -> None:
        """Put the four accumulators of every reduction into memory."""
        code, lanes = self.code, self.body.lanes
        for reduction, vectors, box in zip(reductions, state, boxes):
            for vector, parts in enumerate(vectors):
                for scalar_type, spot, value in zip(reduction.parts, box, parts):
                    where = code.at(lanes.ty(scalar_type), spot, str(vector))
                    code.do(f"store {lanes.ty(scalar_type)} {value}, ptr {where}, align 2")

    def tail_loop(
        self,
        work: PassWork,
        reductions: list[Reduction],
        boxes: list[list[str]],
        start: str,
        stop: str,
    ) -> None:
        """The rest of a block (costly bodies: all of it) by vectors, the last of them masked."""
        code, lanes = self.code, self.body.lanes

        def add(position: Position) -> list[str]:
            values = self.visit(work, position)
            # element j belongs to vector j // 16 % 4, also where the vectors come one by one
            group = code.op(f"and i64 {code.op(f'lshr i64 {position.j}, 4')}, {_LANES - 1}")
            for reduction, box in zip(reductions, boxes):
                spots = [code.at(lanes.ty(ty), b, group) for ty, b in zip(reduction.parts, box)]
                old = [
                    code.op(f"load {lanes.ty(ty)}, ptr {s}, align 2")
                    for ty, s in zip(reduction.parts, spots)
                ]
                new = reduction.follow(
                    lanes,
                    old,
                    reduction.masked(lanes, self.feed(reduction, values, position), position.mask),
                )
                for scalar_type, spot, value in zip(reduction.parts, spots, new):
                    code.do(f"store {lanes.ty(scalar_type)} {value}, ptr {spot}, align 2")
            return []

        if not self._light(work) and not self.form.short:
            start, _ = code.loop(
                start, stop, str(WIDTH), [], lambda element, _: add(Position(element)), full=WIDTH
            )
        code.loop(
            start, stop, str(WIDTH), [], lambda element, _: add(self.tail_position(element, stop))
        )

    def _light(self, work: PassWork) -> bool:
        """Whether a body is short enough to be written out four times."""
        walks = (*self.form.walks, *(walk for _, walk in self.form.affine))
        several = any(walk.several_axes for walk in walks)
        return cost(self.program, work.numbers) <= _LIGHT and not several

    def fold_boxes(
        self, reductions: list[Reduction], boxes: list[list[str]], totals: list[str]
    ) -> list[str]:
        code, lanes, folded = self.code, self.body.lanes, []
        for reduction, box, total in zip(reductions, boxes, split_parts(reductions, totals, 1)):
            accumulators = [
                [
                    code.op(f"load {lanes.ty(ty)}, ptr {code.at(lanes.ty(ty), b, str(u))}, align 2")
                    for ty, b in zip(reduction.parts, box)
                ]
                for u in range(_LANES)
            ]
            folded += reduction.combine(
                self.body.scalar, total[0], reduction.fold(code, accumulators)
            )
        return folded

    # ---- rows
    def row(self) -> None:
        for operand in self.copied:
            if operand < self.body.nreads:
                self.body.copy_runs(operand)
        ready: frozenset[int] = frozenset()
        for row_pass in self.plan.passes:
            targets = pass_targets(self.form, row_pass)
            work = PassWork(row_pass, self.body.prepare(targets, ready), ready)
            if row_pass.reductions:
                self.reduce_pass(work)
            else:
                self.store_pass(work, "0", self.n)
            ready |= set(work.numbers) & set(self.plan.buffers)
        for operand in self.copied:
            if operand >= self.body.nreads:
                self.body.copy_runs(operand)
        self.write_once()

    def short_row(self, mask: str) -> None:
        """A row of at most one vector: every value stays in a register."""
        position = Position("0", mask, self.n)
        values: dict[int, str] = {}
        for row_pass in self.plan.passes:
            numbers = self.body.prepare(pass_targets(self.form, row_pass), values)
            values.update(
                self.body.vector([i for i in numbers if i not in values], position, known=values)
            )
            for reduction in reductions_of(self.program, row_pass.reductions):
                value = reduction.masked(
                    self.body.lanes, self.feed(reduction, values, position), mask
                )
                self.body.known[reduction.number] = reduction.result(
                    self.body.scalar, reduction.fold(self.code, [value]), self.empty
                )
        for row_pass in self.plan.passes:
            for write in row_pass.writes:
                self.body.write(write, self.body.value(self.program.outs[write], values), position)
        self.write_once()

    def write_once(self) -> None:
        values = [self.body.scalar_value(self.program.outs[k]) for k in self.plan.once]
        for write, value in zip(self.plan.once, values):
            self.body.write_once(write, value)

    def items(self) -> None:
        row: Callable[[], None] = self.row
        if self.form.short:
            row = partial(self.short_row, tail_mask(self.body.lanes, self.n))
        self.body.each_row("%begin", "%end", lambda _: row())


def split_parts(
    reductions: Sequence[Reduction], names: Sequence[str], vectors: int
) -> list[list[list[str]]]:
    """Flat names -> per reduction, per vector, the accumulator's parts."""
    split, start = [], 0
    for reduction in reductions:
        step = len(reduction.parts)
        split.append(
            [list(names[start + u * step : start + (u + 1) * step]) for u in range(vectors)]
        )
        start += step * vectors
    return split


def emit_rows(form: Form) -> Code:
    """The function body of a row kernel."""
    rows = Rows(form)
    rows.items()
    rows.code.do("ret i64 0")
    return rows.code
