"""Column kernels: reductions along axes that others follow, several adjacent columns a thread.

Invariant: a thread adds the rows of a block of 256 in order; the results of blocks are joined in
order, by the thread itself or, where columns are few, by another function.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ....ir.scalar.program import REDUCTIONS
from ...emit.columns import BLOCK
from ...emit.form import Form, Walk
from ...emit.lanes import memory_scalar
from ...emit.loops import Layout
from ...emit.memory import SIZE, Position, load_scalar, store_scalar
from ...emit.reduce import Reduction, reductions_of
from ..function import Card
from .body import Group, Row, Threads, magic_of, return_unless
from .lanes import join_blocks
from .schedule import Numbers, widest, work_of

__all__ = [
    "ColumnPlace",
    "ColumnSchedule",
    "Columns",
    "column_steps",
    "column_reductions",
    "THREADS",
]

THREADS = 128
_LONGEST = 1000  # instructions of a loop's body
_SHARE = 4  # of the card's threads: as many columns a thread as leave so many threads busy
_SMALL = 1 << 22  # elements up to which strips take less time than to wait for rows one by one
_FLIGHT = 32 << 10  # bytes that a multiprocessor should have on their way
_STRIP_BLOCKS, _STRIP_SHARED = 4, 160 << 10  # most blocks of rows of a strip, and their bytes
_DEEP = 64  # blocks from which on a warp joins them
_ITEMS, _ACROSS, _ACROSS_MAGIC, _BLOCKS, _BLOCKS_MAGIC = range(5)  # words of the schedule


ColumnStepName = Literal["whole", "part", "join", "deep", "strip", "strip_part"]


class ColumnSchedule(NamedTuple):
    """`step`: "whole", or "part" and "join" (a thread a column) or "deep" (a warp a column), or
    "strip" and "strip_part"; `vector` adjacent columns a thread, `unroll` rows at once; `warps`
    read the `row_blocks` blocks of rows of a strip."""

    step: ColumnStepName
    vector: int
    unroll: int
    spans: tuple[int, ...]
    narrow: bool
    row_blocks: int = 1
    warps: int = THREADS // 32


class ColumnStep(NamedTuple):
    """A function: its schedule, the words of the schedule, its grid."""

    schedule: ColumnSchedule
    own: tuple[int, ...]
    blocks: int
    threads: int = THREADS
    shared: int = 0


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
    cells = outer * blocks * length * sum(len(r.parts) for r in column_reductions(form))

    def step(name: ColumnStepName, items: int, wide: int = 1) -> ColumnStep:
        adjacent = vector if name in ("whole", "part") else 1
        schedule = ColumnSchedule(name, adjacent, unroll, spans, numbers.narrow())
        across = length // adjacent
        own = (items, across, magic_of(across), blocks, magic_of(blocks))
        return ColumnStep(schedule, own, -(-items * wide // THREADS))

    last = step("deep", outer * length, 32) if blocks >= _DEEP else step("join", outer * length)
    if numbers.depth and _is_strip(form, numbers, card):
        strip = _strip(form, numbers, unroll, card)
        return ([strip], 0) if strip.schedule.step == "strip" else ([strip, last], 8 * cells)
    if blocks == 1 or outer * (length // vector) >= card.threads:
        return [step("whole", outer * (length // vector))], 0
    return [step("part", outer * blocks * (length // vector)), last], 8 * cells


def _is_strip(form: Form, numbers: Numbers, card: Card) -> bool:
    """Whether a thread a column would have too little on its way, and a block of rows fits."""
    if strip_bytes(form) > card.shared_bytes:
        return False
    columns = numbers.outer * numbers.length * -(-numbers.depth // BLOCK)
    sizes = [
        SIZE[memory_scalar(operand.type)]
        for operand, strides in zip(form.reads, numbers.group_strides())
        if any(strides)
    ]
    flight = columns * 16 * sum(sizes)
    small = numbers.outer * numbers.length * numbers.depth <= _SMALL
    return small or flight < _FLIGHT * card.multiprocessors


def _strip(form: Form, numbers: Numbers, unroll: int, card: Card) -> ColumnStep:
    """Strips of 32 columns, all blocks of rows at once where they are few."""
    blocks, across = -(-numbers.depth // BLOCK), -(-numbers.length // 32)
    each = strip_bytes(form)
    most = max(1, min(_STRIP_BLOCKS, min(_STRIP_SHARED, card.shared_bytes) // each))
    whole = blocks <= most
    count = blocks if whole else 1
    warps = min(32, 16 * count)
    schedule = ColumnSchedule(
        "strip" if whole else "strip_part",
        1,
        min(unroll, 8),
        (),
        numbers.narrow(),
        count,
        warps,
    )
    own = (0, across, magic_of(across), blocks, magic_of(blocks))
    grid = numbers.outer * across * (1 if whole else blocks)
    return ColumnStep(schedule, own, grid, 32 * warps, each * count)


def strip_bytes(form: Form) -> int:
    """Shared memory of one block of rows: a line of 33 cells for each row and staged value, and
    the results of 32 columns."""
    operands = {r.operand for r in column_reductions(form)}
    sizes = [SIZE[memory_scalar(form.program.instrs[n].type)] for n in operands]
    parts = sum(len(r.parts) for r in column_reductions(form))
    return sum(BLOCK * 33 * size for size in sizes) + 256 * parts


class ColumnPlace(NamedTuple):
    """Where a thread works: what lies outside, the block of rows, its first column.

    Where warps share a strip: whether there is such a column (an i1), and the number of the warp.
    """

    outer: str
    block: str
    column: str
    there: str = "true"
    warp: str = "0"


class Columns(Threads):
    def __init__(self, form: Form, schedule: ColumnSchedule, guarded: bool) -> None:
        super().__init__(form, guarded, schedule.spans, schedule.narrow)
        code, body, self.schedule = self.code, self.body, schedule
        self.reductions = column_reductions(form)
        self.types = [kind for r in self.reductions for kind in r.parts]
        self.depth = body.row_length()
        self.length, self.blocks = body.word(body.words.n), body.word(body.own(_BLOCKS))
        self.empty = code.once(f"icmp eq i64 {self.depth}, 0")
        self.aligned = body.aligned(schedule.vector) if schedule.vector > 1 else None
        self.lane = code.once(f"and i64 {self.tid}, 31")
        self.place = self.located()
        body.begin_row(self.place.outer)
        self.top = body.row()

    def located(self) -> ColumnPlace:
        """Where this thread works; threads without work are done."""
        code, body, step = self.code, self.body, self.schedule.step
        thread = code.once(f"add i64 {code.once(f'mul i64 {self.cta}, {THREADS}')}, {self.tid}")
        item = code.once(f"lshr i64 {thread}, 5") if step == "deep" else thread
        return_unless(code, code.op(f"icmp slt i64 {item}, {body.word(body.own(_ITEMS))}"))
        outer, number = self.across(item)
        column = code.op(f"mul i64 {number}, {self.schedule.vector}")
        if step == "part":
            return ColumnPlace(*self.split_block(outer), column)
        return ColumnPlace(outer, "0", column)

    def across(self, item: str) -> tuple[str, str]:
        """(number of what lies outside, number among the groups of columns) of an item."""
        body = self.body
        return body.divide(item, body.word(body.own(_ACROSS)), body.own(_ACROSS_MAGIC))

    def split_block(self, outer: str) -> tuple[str, str]:
        """(number of what lies outside, block of rows) of a number that counts both."""
        return self.body.divide(outer, self.blocks, self.body.own(_BLOCKS_MAGIC))

    def positions(self) -> list[Position]:
        column = self.place.column
        return [Position(self.code.add(column, str(k))) for k in range(self.schedule.vector)]

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
        row = code.add(code.mul(self.place.outer, self.blocks), block)
        line = code.add(code.mul(row, str(len(self.types))), str(part))
        cell = code.add(code.mul(line, self.length), code.add(self.place.column, str(lane)))
        return code.at("i64", self.body.workspace(), cell)

    def part(self) -> None:
        code, block = self.code, self.place.block
        names = iter(self.block_rows(self.operands(), code.mul(block, str(BLOCK))))
        for lane in range(self.schedule.vector):
            for part, kind in enumerate(self.types):
                store_scalar(code, kind, next(names), self.spot(block, part, lane))

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

            totals += join_blocks(self.body, reduction, load, self.blocks, self.lane)
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
