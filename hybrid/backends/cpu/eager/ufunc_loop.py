"""NumPy inner loops: `void loop(char **args, npy_intp *dims, npy_intp *steps, void *data)` of an
elementwise program.

Invariant: one vector loop serves every step pattern; operands that are not adjacent go through
small buffers. An output may be the same memory as an input (element by element); other overlaps
NumPy never hands over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....core.errors import BackendError
from ....ir.scalar.program import Program
from ...emit.analysis import cost
from ...emit.code import Code, check_externals
from ...emit.lanes import Lanes, emit_program, memory_scalar
from ...emit.maps import unroll_of
from ...emit.memory import SIZE, Position, load_row, store_row, tail_mask
from ..machine.host import INTRINSICS

__all__ = ["ufunc_loop_text"]

_BUFFER = 128  # elements buffered at a time when some operand is strided
_WIDTH = 16


class _Loop:
    def __init__(self, program: Program) -> None:
        self.code = Code()
        self.lanes, self.program = Lanes(_WIDTH, self.code), program
        self.types = [*program.args, *(program.instrs[o].type for o in program.outs)]
        self.mems = [memory_scalar(t) for t in self.types]
        self.nin = len(program.args)
        self.unroll = unroll_of(cost(program, range(len(program.instrs))), False)

    def item(self, array: str, ty: str, k: int) -> str:
        p = self.code.once(f"getelementptr {ty}, ptr {array}, i64 {k}")
        return self.code.once(f"load {ty}, ptr {p}, align 8")

    def emit(self) -> None:
        code, n = self.code, self.item("%dims", "i64", 0)
        count = range(len(self.types))
        self.bases = [self.item("%args", "ptr", k) for k in count]
        self.steps = [self.item("%steps", "i64", k) for k in count]
        self.adjacent = [
            code.once(f"icmp eq i64 {s}, {SIZE[m]}") for s, m in zip(self.steps, self.mems)
        ]
        self.fixed = [code.once(f"icmp eq i64 {s}, 0") for s in self.steps[: self.nin]]
        simple = "true"
        for k in count:
            ok = (
                code.once(f"or i1 {self.adjacent[k]}, {self.fixed[k]}")
                if k < self.nin
                else self.adjacent[k]
            )
            simple = code.once(f"and i1 {simple}, {ok}")
        self.boxes = [code.alloca(f"[{_BUFFER} x {m}]") for m in self.mems]
        block = code.once(f"select i1 {simple}, i64 {n}, i64 {_BUFFER}")

        def piece(i: str, _: list[str]) -> list[str]:
            m = code.smin(block, code.op(f"sub i64 {n}, {i}"))
            starts = [code.at("i8", b, code.mul(i, s)) for b, s in zip(self.bases, self.steps)]
            reads = [self.read(k, starts[k], m) for k in range(self.nin)]
            writes = [
                code.op(f"select i1 {self.adjacent[k]}, ptr {starts[k]}, ptr {self.boxes[k]}")
                for k in count[self.nin :]
            ]
            self.vectors(reads, writes, m)
            for k in count[self.nin :]:
                self.unless(self.adjacent[k], lambda k=k: self.copy(k, starts[k], m, out=True))
            return []

        code.loop("0", n, block, [], piece)

    def unless(self, cond: str, then) -> None:  # type: ignore[no-untyped-def]
        self.code.when(self.code.op(f"xor i1 {cond}, true"), then)

    def read(self, k: int, start: str, m: str) -> tuple[str, str]:
        """(address, index mask) of an input, in place or buffered; a fixed element is spread."""
        code = self.code

        def fill() -> None:
            whole, part, after = code.label("one"), code.label("many"), code.label("filled")
            code.branch(self.fixed[k], whole, part)
            code.start(whole)
            x = code.op(f"load {self.mems[k]}, ptr {start}, align 1")
            v = self.lanes.raw(self.mems[k])
            first = code.op(f"insertelement {v} poison, {self.mems[k]} {x}, i64 0")
            zero = f"<{_WIDTH} x i32> zeroinitializer"
            spread = code.op(f"shufflevector {v} {first}, {v} poison, {zero}")
            code.do(f"store {v} {spread}, ptr {self.boxes[k]}, align 64")
            code.jump(after)
            code.start(part)
            self.copy(k, start, m, out=False)
            code.jump(after)
            code.start(after)

        self.unless(self.adjacent[k], fill)
        where = code.op(f"select i1 {self.adjacent[k]}, ptr {start}, ptr {self.boxes[k]}")
        return where, code.once(f"select i1 {self.fixed[k]}, i64 0, i64 -1")

    def copy(self, k: int, start: str, m: str, out: bool) -> None:
        """Move m elements between an operand and its buffer."""
        code, mem = self.code, self.mems[k]

        def one(j: str, _: list[str]) -> list[str]:
            inside = code.at(mem, self.boxes[k], j)
            outside = code.at("i8", start, code.mul(j, self.steps[k]))
            source, target = (inside, outside) if out else (outside, inside)
            value = code.op(f"load {mem}, ptr {source}, align 1")
            code.do(f"store {mem} {value}, ptr {target}, align 1")
            return []

        code.loop("0", m, "1", [], one)

    def vectors(self, reads: list[tuple[str, str]], writes: list[str], m: str) -> None:
        code, start = self.code, "0"

        def visit(at: Position) -> None:
            args = []
            for (where, keep), ty in zip(reads, self.types):
                place = at._replace(j=code.op(f"and i64 {at.j}, {keep}"))
                args.append(load_row(self.lanes, ty, where, None, place))
            outs = emit_program(self.lanes, self.program, args, [])
            for value, where, ty in zip(outs, writes, self.types[self.nin :]):
                store_row(self.lanes, ty, value, where, None, at)

        if self.unroll:

            def main(j: str, _: list[str]) -> list[str]:
                for u in range(self.unroll):
                    visit(Position(code.add(j, str(_WIDTH * u))))
                return []

            start, _ = code.loop(
                "0", m, str(_WIDTH * self.unroll), [], main, full=_WIDTH * self.unroll
            )

        def tail(j: str, _: list[str]) -> list[str]:
            count = code.op(f"sub i64 {m}, {j}")
            visit(Position(j, tail_mask(self.lanes, count), count))
            return []

        code.loop(start, m, str(_WIDTH), [], tail)


def _check(program: Program, dtypes_in: Sequence[np.dtype], dtypes_out: Sequence[np.dtype]) -> None:
    if (
        any(i.prim in ("index", "coord", "load", "param") for i in program.instrs)
        or not program.args
    ):
        raise BackendError("a NumPy loop takes elementwise programs of its operands only")
    types = [*program.args, *(program.instrs[o].type for o in program.outs)]
    dtypes = (*dtypes_in, *dtypes_out)
    if [SIZE[memory_scalar(t)] for t in types] != [d.itemsize for d in dtypes]:
        raise BackendError(f"dtypes {[d.name for d in dtypes]} do not hold program types {types}")


def ufunc_loop_text(
    program: Program, dtypes_in: Sequence[np.dtype], dtypes_out: Sequence[np.dtype], symbol: str
) -> str:
    """Module text that defines the NumPy inner loop `symbol` of an elementwise program."""
    _check(program, dtypes_in, dtypes_out)
    loop = _Loop(program)
    code = loop.code
    csr = code.op("call i32 @hy_fp_enter()")
    loop.emit()
    code.do(f"call void @hy_fp_leave(i32 {csr})")
    code.do("ret void")
    head = f"define void @{symbol}(ptr %args, ptr %dims, ptr %steps, ptr %data) nounwind {{"
    text = "\n".join(
        [
            *sorted(code.declared.values()),
            INTRINSICS,
            head,
            "entry:",
            *code.entry,
            *code.lines,
            "}",
            "",
        ]
    )
    check_externals(text)
    return text
