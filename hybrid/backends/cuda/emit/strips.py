"""Column kernels of moderate size: a block of threads reads 32 columns, a warp a row, and puts them
into shared memory; then a warp adds each block of 256 rows in order.

Invariant: a thread adds the rows of one column and block in increasing order; blocks are joined in
order.
"""

from __future__ import annotations

from functools import partial

from ...emit.code import Code
from ...emit.columns import BLOCK
from ...emit.form import Form
from ...emit.lanes import memory_scalar
from ...emit.memory import SIZE, Position, load_scalar, store_scalar
from .body import Group, barrier
from .columns import ColumnPlace, Columns, ColumnSchedule
from .lanes import shared_base

__all__ = ["emit_columns"]

_LINE = 33  # cells of a line in shared memory
_AHEAD = 32  # cells that are asked for together


class _Strips(Columns):
    def __init__(self, form: Form, schedule: ColumnSchedule, guarded: bool) -> None:
        super().__init__(form, schedule, guarded)
        self.operands_in_order = sorted({r.operand for r in self.reductions})

    def located(self) -> ColumnPlace:
        code, body, block = self.code, self.body, "0"
        warp = code.once(f"lshr i64 {self.tid}, 5")
        outer, number = self.across(self.cta)
        first = code.op(f"mul i64 {number}, 32")
        if self.schedule.step == "strip_part":
            outer, block = self.split_block(outer)
        column = code.add(first, self.lane)
        there = code.op(f"icmp slt i64 {column}, {body.word(body.words.n)}")
        column = code.op(f"select i1 {there}, i64 {column}, i64 {first}")
        return ColumnPlace(outer, block, column, there, warp)

    # ---- shared memory
    def cell(self, operand: int, row: str) -> str:
        """Where a value of a row of the strip is, in this thread's column."""
        offset, rows = 0, BLOCK * self.schedule.row_blocks
        for other in self.operands_in_order:
            kind = memory_scalar(self.program.instrs[other].type)
            if other == operand:
                break
            offset += rows * _LINE * SIZE[kind]
        start = self.code.at("i8", shared_base(self.code), str(offset))
        line = self.code.add(self.code.op(f"mul i64 {row}, {_LINE}"), self.lane)
        return self.code.at(kind, start, line)

    def total(self, block: str, part: int) -> str:
        """Where a part of the result of a block of rows is; behind all values."""
        code, sizes = self.code, 0
        for operand in self.operands_in_order:
            sizes += SIZE[memory_scalar(self.program.instrs[operand].type)]
        start = code.at(
            "i8", shared_base(code), str(BLOCK * self.schedule.row_blocks * _LINE * sizes)
        )
        cells = code.add(code.mul(block, str(32 * len(self.types))), str(32 * part))
        return code.at("i64", start, code.add(cells, self.lane))

    # ---- reading
    def fetch(self, first: str) -> None:
        """Put the rows from `first` on into shared memory, a warp a row."""
        code = self.code
        numbers = self.operands()
        stop = code.smin(code.add(first, str(BLOCK * self.schedule.row_blocks)), self.depth)
        step = self.schedule.warps

        def rows(row: str, _: list[str], many: int) -> list[str]:
            self.put(numbers, [code.add(row, str(step * k)) for k in range(many)], first)
            return []

        row, unroll = code.add(first, self.place.warp), self.schedule.unroll
        for many in dict.fromkeys((unroll, 1)):
            row, _ = code.loop(
                row,
                stop,
                str(step * many),
                [],
                partial(rows, many=many),
                full=step * (many - 1) + 1,
            )

    def put(self, numbers: list[int], rows: list[str], first: str) -> None:
        code, body = self.code, self.body
        groups = [Group(self.row_at(row), [Position(self.place.column)]) for row in rows]
        values = body.evaluate(numbers, groups, None)
        for operand in self.operands_in_order:
            kind = self.program.instrs[operand].type
            for row, group, lanes in zip(rows, groups, values):
                value = body.value_of(operand, group, lanes[0])
                inside = code.op(f"sub i64 {row}, {first}")
                store_scalar(code, kind, value, self.cell(operand, inside))

    # ---- adding
    def walk(self, first: str) -> list[str]:
        """What this thread's column of one block of rows is together; a warp a block."""
        code, scalar = self.code, self.body.scalar
        start = code.op(f"mul i64 {self.place.warp}, {BLOCK}")
        left = code.op(f"sub i64 {self.depth}, {first}")
        stop = code.smin(code.add(start, str(BLOCK)), left)
        names, row = self.neutral(), start
        for many in (max(1, _AHEAD // len(self.operands_in_order)), 1):

            def add(row: str, now: list[str], many: int = many) -> list[str]:
                rows = [code.add(row, str(k)) for k in range(many)]
                found = {
                    (operand, k): load_scalar(
                        code, self.program.instrs[operand].type, self.cell(operand, x)
                    )
                    for k, x in enumerate(rows)
                    for operand in self.operands_in_order
                }
                for k, x in enumerate(rows):
                    fed: list[str] = []
                    for reduction in self.reductions:
                        value = found[reduction.operand, k]
                        fed += reduction.feed(scalar, value, code.add(first, x))
                    now = self.combined(now, fed)
                return now

            row, after = code.loop(row, stop, str(many), names, add, full=many)
            names = [(kind, name) for (kind, _), name in zip(names, after)]
        return [name for _, name in names]

    # ---- functions
    def strip(self) -> None:
        """All blocks of rows, and what follows."""
        code, count = self.code, self.schedule.row_blocks
        self.fetch("0")
        barrier(code)

        def save() -> None:
            for part, (kind, value) in enumerate(zip(self.types, self.walk("0"))):
                store_scalar(code, kind, value, self.total(self.place.warp, part))

        code.when(code.op(f"icmp slt i64 {self.place.warp}, {count}"), save)
        barrier(code)
        own = code.op(f"icmp eq i64 {self.place.warp}, 0")
        code.when(code.op(f"and i1 {own}, {self.place.there}"), self.join_here)

    def join_here(self) -> None:
        names = [name for _, name in self.neutral()]
        for block in range(self.schedule.row_blocks):
            parts = [
                load_scalar(self.code, kind, self.total(str(block), part))
                for part, kind in enumerate(self.types)
            ]
            names = self.combined(names, parts)
        self.finish(names)

    def strip_part(self) -> None:
        """One block of rows, into the workspace."""
        code = self.code
        first = code.op(f"mul i64 {self.place.block}, {BLOCK}")
        self.fetch(first)
        barrier(code)

        def save() -> None:
            for part, (kind, value) in enumerate(zip(self.types, self.walk(first))):
                spot = self.spot(self.place.block, part, 0)
                code.when(self.place.there, partial(store_scalar, code, kind, value, spot))

        code.when(code.op(f"icmp eq i64 {self.place.warp}, 0"), save)


def emit_columns(form: Form, schedule: ColumnSchedule, guarded: bool) -> Code:
    """The function body of a column kernel, or of one of its steps."""
    kind = _Strips if schedule.step in ("strip", "strip_part") else Columns
    writer = kind(form, schedule, guarded)
    getattr(writer, schedule.step)()
    return writer.code
