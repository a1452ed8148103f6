"""Loop kernels as PTX: the same programs, forms and argument words as on the CPU, one element per
thread.

Invariant: a row is summed by 64 threads in the lanes order of the numerics contract and a column by
one thread in its order, so results do not depend on the launch; nothing is contracted, approximated
or flushed to zero.

A kernel is `void kernel(ptr bufs, ptr args, ptr status)`: arrays of device addresses and of
argument words (architecture.md), and one i64 that a failed check sets to 1 + a position.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import NamedTuple

import llvmlite.binding as llvm

from ...core.errors import BackendError
from ..emit.body import Body
from ..emit.code import Code, check_externals, finish_module
from ..emit.columns import emit_column_threads
from ..emit.form import Form, FormKind
from ..emit.loops import lay_out
from ..emit.memory import Position, load_scalar, store_scalar
from ..emit.reduce import Reduction, reductions_of
from ..emit.rows import RowPass, pass_targets, row_plan
from ..plan import LoopKernel

__all__ = ["Launch", "generate_ptx"]

TRIPLE = "nvptx64-nvidia-cuda"
SIGNATURE = "define ptx_kernel void @NAME(ptr %bufs, ptr %args, ptr %status)"
_LANES, _BLOCK, _THREADS = 64, 4096, 256
_CELLS = "@cells = internal addrspace(3) global [128 x i64] poison, align 8"


class Launch(NamedTuple):
    """How to start a kernel: symbol, argument words, thread blocks and threads per block."""

    symbol: str
    words: tuple[int, ...]
    blocks: int
    threads: int


def _register(code: Code, name: str) -> str:
    full = f"llvm.nvvm.read.ptx.sreg.{name}"
    code.declare(full, "i32", ())
    return code.once(f"zext i32 {code.once(f'call i32 @{full}()')} to i64")


def _barrier(code: Code) -> None:
    code.call("llvm.nvvm.barrier0", "void")


class _Threads:
    """What the three kinds of kernel share."""

    def __init__(self, form: Form) -> None:
        self.code = Code()
        self.form, self.program = form, form.program
        self.body = Body(self.code, form, 1)
        self.tid, self.cta = _register(self.code, "tid.x"), _register(self.code, "ctaid.x")
        self.ntid, self.ncta = _register(self.code, "ntid.x"), _register(self.code, "nctaid.x")

    def grid_loop(self, total: str, visit: Callable[[str], None]) -> None:
        """visit(item) for every item below total, spread over all threads of the grid."""
        code = self.code
        first = code.once(f"add i64 {code.once(f'mul i64 {self.cta}, {self.ntid}')}, {self.tid}")
        step = code.once(f"mul i64 {self.ncta}, {self.ntid}")

        def one(item: str, _: list[str]) -> list[str]:
            visit(item)
            return []

        code.loop(first, total, step, [], one)

    def rows(self) -> str:
        total = "1"
        for axis in range(self.form.outer):
            total = self.code.once(f"mul i64 {total}, {self.body.word(self.body.words.dim(axis))}")
        return total

    def divide(self, item: str, size: str) -> tuple[str, str]:
        quotient = self.code.op(f"udiv i64 {item}, {size}")
        return quotient, self.code.op(
            f"sub i64 {item}, {self.code.op(f'mul i64 {quotient}, {size}')}"
        )


# ---- maps
def _emit_map(form: Form) -> Code:
    threads = _Threads(form)
    code, body, length = threads.code, threads.body, threads.body.word(threads.body.words.n)

    def element(item: str) -> None:
        row_number, element = threads.divide(item, length)
        body.begin_row(row_number)
        position = Position(element)
        values = body.vector(body.prepare(threads.program.outs), position)
        if form.check:
            invalid = body.value(threads.program.outs[0], values)
            report = code.op(f"add i64 {body.affine(len(form.affine) - 1, position)}, 1")
            code.when(invalid, lambda: code.do(f"store i64 {report}, ptr %status, align 8"))
            return
        for write, result in enumerate(threads.program.outs):
            body.write(write, body.value(result, values), position)

    threads.grid_loop(code.once(f"mul i64 {threads.rows()}, {length}"), element)
    return code


# ---- rows
class _RowThreads(_Threads):
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
        _barrier(code)
        code.when(code.op(f"icmp ult i64 {self.tid}, 16"), four)
        for half in (8, 4, 2, 1):

            def pair(half: int = half) -> None:
                put(reduction.combine(lanes, get(self.tid), get(code.add(self.tid, str(half)))))

            _barrier(code)
            code.when(code.op(f"icmp ult i64 {self.tid}, {half}"), pair)
        _barrier(code)
        result = get("0")
        _barrier(code)
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
        _barrier(code)  # no thread may still read what is overwritten now

        def store() -> None:
            for write, value in zip(plan.once, values):
                body.write_once(write, value)

        code.when(code.op(f"icmp eq i64 {self.tid}, 0"), store)
        _barrier(code)
        return []


def _emit_rows(form: Form) -> Code:
    threads = _RowThreads(form)
    threads.code.loop(threads.cta, threads.rows(), threads.ncta, [], threads.row)
    return threads.code


# ---- columns
def _emit_columns(form: Form) -> Code:
    threads = _Threads(form)
    length = threads.body.word(threads.body.words.n)
    column = emit_column_threads(threads.body)

    def visit(item: str) -> None:
        row_number, column_number = threads.divide(item, length)
        threads.body.begin_row(row_number)
        column(Position(column_number))

    threads.grid_loop(threads.code.once(f"mul i64 {threads.rows()}, {length}"), visit)
    return threads.code


_EMIT = {FormKind.MAP: _emit_map, FormKind.ROW: _emit_rows, FormKind.COLUMN: _emit_columns}


@lru_cache(1)
def _target() -> llvm.Target:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        return llvm.Target.from_triple(TRIPLE)
    except RuntimeError as error:
        raise BackendError(
            f"this llvmlite cannot generate PTX ({error}); install a build with the NVPTX target"
        ) from None


@lru_cache(1024)
def _ptx(form: Form, arch: str) -> tuple[str, str]:
    code = _EMIT[form.kind](form)
    code.do("ret void")
    text, symbol = finish_module(code, SIGNATURE, form.kind)
    if "@cells" in text:
        text = f"{_CELLS}\n{text}"
    check_externals(text)
    machine = _target().create_target_machine(cpu=arch, opt=3)
    context = llvm.create_context()
    try:
        module = llvm.parse_assembly(f'target triple = "{TRIPLE}"\n{text}', context)
        module.verify()
    except RuntimeError as error:
        raise BackendError(f"generated GPU code is not valid LLVM IR: {error}") from None
    return machine.emit_assembly(module), symbol


def generate_ptx(kernel: LoopKernel, arch: str = "sm_90") -> tuple[str, Launch]:
    """PTX of a loop kernel and how to launch it.

    >>> ptx, launch = generate_ptx(kernel)  # doctest: +SKIP
    """
    made = lay_out(kernel, plain=True)
    ptx, symbol = _ptx(made.form, arch)
    if made.form.kind is FormKind.ROW:
        assert kernel.group is not None
        return ptx, Launch(
            symbol, made.words, max(1, min(prod(kernel.shape[: kernel.group[0]]), 1 << 20)), _LANES
        )
    threads = prod(
        d
        for a, d in enumerate(kernel.shape)
        if kernel.group is None or not kernel.group[0] <= a < kernel.group[1]
    )
    return ptx, Launch(symbol, made.words, max(1, min(-(-threads // _THREADS), 1 << 20)), _THREADS)
