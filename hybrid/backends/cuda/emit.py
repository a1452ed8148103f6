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
from ..emit.rows import Pass, pass_targets, row_plan
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
        """visit(t) for every t below total, spread over all threads of the grid."""
        code = self.code
        first = code.once(f"add i64 {code.once(f'mul i64 {self.cta}, {self.ntid}')}, {self.tid}")
        step = code.once(f"mul i64 {self.ncta}, {self.ntid}")

        def one(t: str, _: list[str]) -> list[str]:
            visit(t)
            return []

        code.loop(first, total, step, [], one)

    def rows(self) -> str:
        total = "1"
        for d in range(self.form.outer):
            total = self.code.once(f"mul i64 {total}, {self.body.word(self.body.words.dim(d))}")
        return total

    def divide(self, t: str, size: str) -> tuple[str, str]:
        q = self.code.op(f"udiv i64 {t}, {size}")
        return q, self.code.op(f"sub i64 {t}, {self.code.op(f'mul i64 {q}, {size}')}")


# ---- maps
def _emit_map(form: Form) -> Code:
    k = _Threads(form)
    code, body, n = k.code, k.body, k.body.word(k.body.words.n)

    def element(t: str) -> None:
        row, j = k.divide(t, n)
        body.begin_row(row)
        at = Position(j)
        env = body.vector(body.prepare(k.program.outs), at)
        if form.check:
            bad = body.value(k.program.outs[0], env)
            place = code.op(f"add i64 {body.affine(len(form.affine) - 1, at)}, 1")
            code.when(bad, lambda: code.do(f"store i64 {place}, ptr %status, align 8"))
            return
        for i, o in enumerate(k.program.outs):
            body.write(i, body.value(o, env), at)

    k.grid_loop(code.once(f"mul i64 {k.rows()}, {n}"), element)
    return code


# ---- rows
class _RowThreads(_Threads):
    """One block of 64 threads per row; thread i is lane i."""

    def cell(self, part: int, i: str) -> str:
        place = self.code.add(i, str(_LANES * part))
        spot = self.code.op(f"getelementptr i64, ptr addrspace(3) @cells, i64 {place}")
        return self.code.op(f"addrspacecast ptr addrspace(3) {spot} to ptr")

    def tree(self, r: Reduction, acc: list[str]) -> list[str]:
        """Lanes 0..63 -> one value, the same in all threads."""
        code, lanes = self.code, self.body.scalar

        def get(i: str) -> list[str]:
            return [load_scalar(code, ty, self.cell(p, i)) for p, ty in enumerate(r.parts)]

        def put(values: list[str]) -> None:
            for p, (ty, v) in enumerate(zip(r.parts, values)):
                store_scalar(code, ty, v, self.cell(p, self.tid))

        def four() -> None:
            a = [get(code.add(self.tid, str(16 * u))) for u in range(4)]
            put(r.combine(lanes, r.combine(lanes, a[0], a[1]), r.combine(lanes, a[2], a[3])))

        put(acc)
        _barrier(code)
        code.when(code.op(f"icmp ult i64 {self.tid}, 16"), four)
        for half in (8, 4, 2, 1):

            def pair(half: int = half) -> None:
                put(r.combine(lanes, get(self.tid), get(code.add(self.tid, str(half)))))

            _barrier(code)
            code.when(code.op(f"icmp ult i64 {self.tid}, {half}"), pair)
        _barrier(code)
        top = get("0")
        _barrier(code)
        return top

    def visit(self, p: Pass, numbers: list[int], j: str) -> dict[int, str]:
        at = Position(j)
        env = self.body.vector(numbers, at)
        for k in p.writes:
            self.body.write(k, self.body.value(self.program.outs[k], env), at)
        return env

    def reduce_pass(self, p: Pass, numbers: list[int], n: str) -> None:
        code, lanes, reds = self.code, self.body.scalar, reductions_of(self.program, p.reductions)
        start = [(lanes.ty(ty), e) for r in reds for ty, e in zip(r.parts, r.neutral(lanes))]

        def cut(names: list[str]) -> list[list[str]]:
            out, at = [], 0
            for r in reds:
                out.append(names[at : at + len(r.parts)])
                at += len(r.parts)
            return out

        def block(lo: str, totals: list[str]) -> list[str]:
            hi = code.smin(code.add(lo, str(_BLOCK)), n)

            def one(j: str, accs: list[str]) -> list[str]:
                env = self.visit(p, numbers, j)
                fed = [r.feed(lanes, self.body.value(r.operand, env), j) for r in reds]
                return [x for r, a, v in zip(reds, cut(accs), fed) for x in r.follow(lanes, a, v)]

            _, accs = code.loop(code.add(lo, self.tid), hi, str(_LANES), start, one)
            return [
                x
                for r, t, a in zip(reds, cut(totals), cut(accs))
                for x in r.combine(lanes, t, self.tree(r, a))
            ]

        _, totals = code.loop("0", n, str(_BLOCK), start, block)
        empty = code.once(f"icmp eq i64 {n}, 0")
        for r, total in zip(reds, cut(totals)):
            self.body.known[r.number] = r.result(lanes, total, empty)

    def row(self, t: str, _: list[str]) -> list[str]:
        code, body, plan, n = (
            self.code,
            self.body,
            row_plan(self.form),
            self.body.word(self.body.words.n),
        )
        body.begin_row(t)
        for p in plan.passes:
            numbers = body.prepare(pass_targets(self.form, p))
            if p.reductions:
                self.reduce_pass(p, numbers, n)
            else:

                def one(
                    j: str, _: list[str], p: Pass = p, numbers: list[int] = numbers
                ) -> list[str]:
                    self.visit(p, numbers, j)
                    return []

                code.loop(self.tid, n, str(_LANES), [], one)
        values = [body.scalar_value(self.program.outs[k]) for k in plan.once]
        _barrier(code)  # no thread may still read what is overwritten now

        def store() -> None:
            for k, v in zip(plan.once, values):
                body.write_once(k, v)

        code.when(code.op(f"icmp eq i64 {self.tid}, 0"), store)
        _barrier(code)
        return []


def _emit_rows(form: Form) -> Code:
    k = _RowThreads(form)
    k.code.loop(k.cta, k.rows(), k.ncta, [], k.row)
    return k.code


# ---- columns
def _emit_columns(form: Form) -> Code:
    k = _Threads(form)
    n = k.body.word(k.body.words.n)
    column = emit_column_threads(k.body)

    def visit(t: str) -> None:
        row, c = k.divide(t, n)
        k.body.begin_row(row)
        column(Position(c))

    k.grid_loop(k.code.once(f"mul i64 {k.rows()}, {n}"), visit)
    return k.code


_EMIT = {FormKind.MAP: _emit_map, FormKind.ROW: _emit_rows, FormKind.COLUMN: _emit_columns}


@lru_cache(1)
def _target() -> llvm.Target:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        return llvm.Target.from_triple(TRIPLE)
    except RuntimeError as e:
        raise BackendError(
            f"this llvmlite cannot generate PTX ({e}); install a build with the NVPTX target"
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
    except RuntimeError as e:
        raise BackendError(f"generated GPU code is not valid LLVM IR: {e}") from None
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
