"""The plain schedules: a column per thread, a row per 64 threads.

Invariant: a row is summed by 64 threads in the lanes order of the numerics contract and a column by
one thread in its order, so results do not depend on the launch.
"""

from __future__ import annotations

from ...emit.code import Code
from ...emit.columns import emit_column_threads
from ...emit.form import Form
from ...emit.memory import Position, load_scalar, store_scalar
from ...emit.reduce import Reduction, reductions_of
from ...emit.rows import RowPass, pass_targets, row_plan
from .body import Threads, barrier, grid_loop

__all__ = ["emit_rows", "emit_columns", "CELLS"]

_LANES, _BLOCK = 64, 4096
CELLS = "@cells = internal addrspace(3) global [128 x i64] poison, align 8"


# ---- rows
class _RowThreads(Threads):
    """One block of 64 threads per row; thread i is lane i."""

    def cell(self, part: int, lane: str) -> str:
        cell = self.code.add(lane, str(_LANES * part))
        spot = self.code.op(f"getelementptr i64, ptr addrspace(3) @cells, i64 {cell}")
        return self.code.op(f"addrspacecast ptr addrspace(3) {spot} to ptr")

    def tree(self, reduction: Reduction, accumulator: list[str]) -> list[str]:
        """Lanes 0..63 -> one value, the same in all threads."""
        code, lanes = self.code, self.body.scalar

        def get(lane: str) -> list[str]:
            return [
                load_scalar(code, ty, self.cell(p, lane)) for p, ty in enumerate(reduction.parts)
            ]

        def put(values: list[str]) -> None:
            for part, (scalar_type, value) in enumerate(zip(reduction.parts, values)):
                store_scalar(code, scalar_type, value, self.cell(part, self.tid))

        def four() -> None:
            groups = [get(code.add(self.tid, str(16 * u))) for u in range(4)]
            put(
                reduction.combine(
                    lanes,
                    reduction.combine(lanes, groups[0], groups[1]),
                    reduction.combine(lanes, groups[2], groups[3]),
                )
            )

        put(accumulator)
        barrier(code)
        code.when(code.op(f"icmp ult i64 {self.tid}, 16"), four)
        for half in (8, 4, 2, 1):

            def pair(half: int = half) -> None:
                put(reduction.combine(lanes, get(self.tid), get(code.add(self.tid, str(half)))))

            barrier(code)
            code.when(code.op(f"icmp ult i64 {self.tid}, {half}"), pair)
        barrier(code)
        result = get("0")
        barrier(code)
        return result

    def visit(self, row_pass: RowPass, numbers: list[int], element: str) -> dict[int, str]:
        position = Position(element)
        values = self.body.vector(numbers, position)
        for write in row_pass.writes:
            self.body.write(write, self.body.value(self.program.outs[write], values), position)
        return values

    def reduce_pass(self, row_pass: RowPass, numbers: list[int], length: str) -> None:
        code = self.code
        lanes = self.body.scalar
        reductions = reductions_of(self.program, row_pass.reductions)
        start = [(lanes.ty(ty), e) for r in reductions for ty, e in zip(r.parts, r.neutral(lanes))]

        def cut(names: list[str]) -> list[list[str]]:
            parts, start = [], 0
            for reduction in reductions:
                parts.append(names[start : start + len(reduction.parts)])
                start += len(reduction.parts)
            return parts

        def block(first: str, totals: list[str]) -> list[str]:
            stop = code.smin(code.add(first, str(_BLOCK)), length)

            def one(element: str, accumulators: list[str]) -> list[str]:
                values = self.visit(row_pass, numbers, element)
                inputs = [
                    r.feed(lanes, self.body.value(r.operand, values), element) for r in reductions
                ]
                return [
                    x
                    for r, a, v in zip(reductions, cut(accumulators), inputs)
                    for x in r.follow(lanes, a, v)
                ]

            _, accumulators = code.loop(code.add(first, self.tid), stop, str(_LANES), start, one)
            return [
                x
                for r, t, a in zip(reductions, cut(totals), cut(accumulators))
                for x in r.combine(lanes, t, self.tree(r, a))
            ]

        _, totals = code.loop("0", length, str(_BLOCK), start, block)
        empty = code.once(f"icmp eq i64 {length}, 0")
        for reduction, total in zip(reductions, cut(totals)):
            self.body.known[reduction.number] = reduction.result(lanes, total, empty)

    def row(self, item: str, _: list[str]) -> list[str]:
        code = self.code
        body = self.body
        plan = row_plan(self.form)
        length = self.body.word(self.body.words.n)
        body.begin_row(item)
        for row_pass in plan.passes:
            numbers = body.prepare(pass_targets(self.form, row_pass))
            if row_pass.reductions:
                self.reduce_pass(row_pass, numbers, length)
            else:

                def one(
                    element: str,
                    _: list[str],
                    row_pass: RowPass = row_pass,
                    numbers: list[int] = numbers,
                ) -> list[str]:
                    self.visit(row_pass, numbers, element)
                    return []

                code.loop(self.tid, length, str(_LANES), [], one)
        values = [body.scalar_value(self.program.outs[k]) for k in plan.once]
        barrier(code)  # no thread may still read what is overwritten now

        def store() -> None:
            for write, value in zip(plan.once, values):
                body.write_once(write, value)

        code.when(code.op(f"icmp eq i64 {self.tid}, 0"), store)
        barrier(code)
        return []


def emit_rows(form: Form, guarded: bool) -> Code:
    """A row per block of 64 threads; the function body."""
    threads = _RowThreads(form, guarded)
    threads.code.loop(threads.cta, threads.rows(), threads.ncta, [], threads.row)
    return threads.code


# ---- columns
def emit_columns(form: Form, guarded: bool) -> Code:
    """A column per thread; the function body."""
    threads = Threads(form, guarded)
    length = threads.body.word(threads.body.words.n)
    column = emit_column_threads(threads.body)

    def visit(item: str) -> None:
        row_number, column_number = threads.body.divide_by_word(item, threads.body.words.n)
        threads.body.begin_row(row_number)
        column(Position(column_number))

    grid_loop(threads.code, threads.code.once(f"mul i64 {threads.rows()}, {length}"), visit)
    return threads.code
