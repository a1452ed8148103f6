"""NumPy inner loops: `void loop(char **args, npy_intp *dims, npy_intp *steps, void *data)` of an
elementwise program.

Invariant: one vector loop serves every step pattern; operands that are not adjacent go through
small buffers. An output may be the same memory as an input (element by element); other overlaps
NumPy never hands over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ....core.errors import BackendError
from ....ir.scalar.program import Program
from ...emit.code import Code, check_externals
from ...emit.lanes import Lanes, memory_scalar
from ...emit.maps import unroll_of
from ...emit.memory import SIZE, Position, load_row, store_row, tail_mask
from ...emit.programs.whole import emit_together
from ..machine.target import control_text

__all__ = ["ufunc_loop_text"]

_BUFFER = 128  # elements buffered at a time when some operand is strided
_WIDTH = 16
_LONGEST = 900  # instructions of a loop: that of an op is compiled once, and called ever again


class _Operand(NamedTuple):
    """One operand of a call: its first element, bytes from element to element, whether elements are
    adjacent, whether there is but one (an i1 each), and the buffer that takes its place."""

    base: str
    step: str
    adjacent: str
    fixed: str
    box: str


class _Loop:
    """Writes a loop; what it finds in its arguments is passed on as operands."""

    def __init__(self, program: Program) -> None:
        self.code = Code()
        self.lanes, self.program = Lanes(_WIDTH, self.code), program
        self.types = [*program.args, *(program.instrs[o].type for o in program.outs)]
        self.mems = [memory_scalar(t) for t in self.types]
        self.nin = len(program.args)
        self.unroll = unroll_of(program, range(len(program.instrs)), False, _LONGEST)

    def item(self, array: str, kind: str, operand: int) -> str:
        pointer = self.code.once(f"getelementptr {kind}, ptr {array}, i64 {operand}")
        return self.code.once(f"load {kind}, ptr {pointer}, align 8")

    def operands(self) -> tuple[list[_Operand], str]:
        """(inputs and outputs, an i1: all of them may be used where they are)."""
        code, count = self.code, len(self.types)
        bases = [self.item("%args", "ptr", k) for k in range(count)]
        steps = [self.item("%steps", "i64", k) for k in range(count)]
        adjacent = [code.once(f"icmp eq i64 {s}, {SIZE[m]}") for s, m in zip(steps, self.mems)]
        fixed = [code.once(f"icmp eq i64 {s}, 0") for s in steps[: self.nin]]
        simple = "true"
        for operand in range(count):
            usable = adjacent[operand]
            if operand < self.nin:
                usable = code.once(f"or i1 {usable}, {fixed[operand]}")
            simple = code.once(f"and i1 {simple}, {usable}")
        fixed += ["false"] * (count - self.nin)
        boxes = [code.alloca(f"[{_BUFFER} x {m}]") for m in self.mems]
        return [_Operand(*parts) for parts in zip(bases, steps, adjacent, fixed, boxes)], simple

    def emit(self) -> None:
        code, length = self.code, self.item("%dims", "i64", 0)
        operands, simple = self.operands()
        inputs, outputs = operands[: self.nin], operands[self.nin :]
        block = code.once(f"select i1 {simple}, i64 {length}, i64 {_BUFFER}")

        def piece(offset: str, _: list[str]) -> list[str]:
            extent = code.smin(block, code.op(f"sub i64 {length}, {offset}"))
            starts = [code.at("i8", o.base, code.mul(offset, o.step)) for o in operands]
            firsts = starts[self.nin :]
            reads = [
                self.read(o, stored, start, extent)
                for o, stored, start in zip(inputs, self.mems, starts)
            ]
            writes = [
                code.op(f"select i1 {o.adjacent}, ptr {start}, ptr {o.box}")
                for o, start in zip(outputs, firsts)
            ]
            self.vectors(reads, writes, extent)
            for o, stored, start in zip(outputs, self.mems[self.nin :], firsts):
                self.unless(o.adjacent, partial(self.copy, o, stored, start, extent, out=True))
            return []

        code.loop("0", length, block, [], piece)

    def unless(self, cond: str, then: Callable[[], None]) -> None:
        self.code.when(self.code.op(f"xor i1 {cond}, true"), then)

    def read(self, operand: _Operand, stored: str, start: str, extent: str) -> tuple[str, str]:
        """(address, index mask) of an input, in place or buffered; a fixed element is spread."""
        code = self.code

        def fill() -> None:
            whole, part, after = code.label("one"), code.label("many"), code.label("filled")
            code.branch(operand.fixed, whole, part)
            code.start(whole)
            element = code.op(f"load {stored}, ptr {start}, align 1")
            vector = self.lanes.raw(stored)
            first = code.op(f"insertelement {vector} poison, {stored} {element}, i64 0")
            zero = f"<{_WIDTH} x i32> zeroinitializer"
            spread = code.op(f"shufflevector {vector} {first}, {vector} poison, {zero}")
            code.do(f"store {vector} {spread}, ptr {operand.box}, align 64")
            code.jump(after)
            code.start(part)
            self.copy(operand, stored, start, extent, out=False)
            code.jump(after)
            code.start(after)

        self.unless(operand.adjacent, fill)
        where = code.op(f"select i1 {operand.adjacent}, ptr {start}, ptr {operand.box}")
        return where, code.once(f"select i1 {operand.fixed}, i64 0, i64 -1")

    def copy(self, operand: _Operand, stored: str, start: str, extent: str, out: bool) -> None:
        """Move `extent` elements between an operand and its buffer."""
        code = self.code

        def move(j: str, _: list[str]) -> list[str]:
            inside = code.at(stored, operand.box, j)
            outside = code.at("i8", start, code.mul(j, operand.step))
            source, target = (inside, outside) if out else (outside, inside)
            value = code.op(f"load {stored}, ptr {source}, align 1")
            code.do(f"store {stored} {value}, ptr {target}, align 1")
            return []

        code.loop("0", extent, "1", [], move)

    def vectors(self, reads: list[tuple[str, str]], writes: list[str], extent: str) -> None:
        code, start = self.code, "0"

        def loaded(position: Position) -> list[str]:
            values = []
            for (where, keep), kind in zip(reads, self.types):
                place = position._replace(j=code.op(f"and i64 {position.j}, {keep}"))
                values.append(load_row(self.lanes, kind, where, None, place))
            return values

        def visit(positions: list[Position]) -> None:
            found = [loaded(position) for position in positions]
            for results, position in zip(
                emit_together(self.lanes, self.program, found, []), positions
            ):
                for value, where, kind in zip(results, writes, self.types[self.nin :]):
                    store_row(self.lanes, kind, value, where, None, position)

        if self.unroll:

            def main(j: str, _: list[str]) -> list[str]:
                visit([Position(code.add(j, str(_WIDTH * part))) for part in range(self.unroll)])
                return []

            start, _ = code.loop(
                "0", extent, str(_WIDTH * self.unroll), [], main, full=_WIDTH * self.unroll
            )

        def tail(j: str, _: list[str]) -> list[str]:
            count = code.op(f"sub i64 {extent}, {j}")
            visit([Position(j, tail_mask(self.lanes, count), count)])
            return []

        code.loop(start, extent, str(_WIDTH), [], tail)


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
    control_word = code.op("call i32 @hy_fp_enter()")
    loop.emit()
    code.do(f"call void @hy_fp_leave(i32 {control_word})")
    code.do("ret void")
    head = f"define void @{symbol}(ptr %args, ptr %dims, ptr %steps, ptr %data) nounwind {{"
    text = "\n".join(
        [
            *sorted(code.declared.values()),
            control_text(),
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
