"""One kernel under construction: its code, and its argument words as values.

Invariant: the position of a word depends on the form only (the order in which the generator asks),
and every word is read where the kernel begins, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...emit.code import Code, finish_module
from ..function import STATUS, signature
from .forms import Accumulator, GemmOperand, Numbers, WalkForm

__all__ = ["GLOBAL", "NEAR", "GemmText", "GemmWriter", "with_status"]

GLOBAL, NEAR = "ptr addrspace(1)", "ptr addrspace(3)"
SHARED = "@shared = external addrspace(3) global [0 x i8], align 16\n"


class GemmText(NamedTuple):
    """A finished text and the names of its argument words."""

    text: str
    symbol: str
    names: tuple[str, ...]

    def words(self, numbers: Numbers) -> tuple[int, ...]:
        return tuple(numbers[name] for name in self.names)

    def slots(self) -> tuple[int, ...]:
        return tuple(i for i, name in enumerate(self.names) if name.endswith(".slot"))


class GemmWriter:
    """Code, and words by name."""

    def __init__(self) -> None:
        self.code = Code()
        self.names: dict[str, int] = {}

    # ---- words
    def word(self, name: str, llvm_type: str = "i64") -> str:
        """The word called `name` (its low bits)."""
        number = self.names.setdefault(name, len(self.names))
        pointer = self.code.once(f"getelementptr i64, ptr %args, i64 {number}")
        return self.code.once(f"load {llvm_type}, ptr {pointer}, align 8")

    def count(self, name: str) -> str:
        """A word that is a count below 2^31."""
        return self.word(name, "i32")

    def base(self, name: str) -> str:
        """Address of the first element of an operand."""
        buffer = self.word(f"{name}.slot", GLOBAL)
        return self.code.once(
            f"getelementptr i8, {GLOBAL} {buffer}, i64 {self.word(name + '.offset')}"
        )

    def aligned(self, name: str, nbytes: int) -> str:
        """Whether an operand starts at a multiple of so many bytes (an i1, known at the start)."""
        address = self.code.once(f"ptrtoint {GLOBAL} {self.base(name)} to i64")
        rest = self.code.once(f"and i64 {address}, {nbytes - 1}")
        return self.code.once(f"icmp eq i64 {rest}, 0")

    def guard(self) -> None:
        """Return at once where an earlier check has failed."""
        code = self.code
        status = code.op(f"load i64, {GLOBAL} {self.word('status.slot', GLOBAL)}, align 8")
        stop, go = code.label("stop"), code.label("go")
        code.branch(code.op(f"icmp ne i64 {status}, 0"), stop, go)
        code.start(stop)
        code.do("ret void")
        code.start(go)

    # ---- threads
    def register(self, name: str) -> str:
        """A special register as i32."""
        full = f"llvm.nvvm.read.ptx.sreg.{name}"
        self.code.declare(full, "i32", ())
        return self.code.once(f"call i32 @{full}()")

    def barrier(self) -> None:
        self.code.call("llvm.nvvm.barrier0", "void")

    def barrier_of(self, number: str, threads: int) -> None:
        """Wait for so many threads that come to barrier `number`."""
        self.code.call("llvm.nvvm.barrier", "void", f"i32 {number}", f"i32 {threads}")

    def copy_async(self, nbytes: int, to: str, source: str, count: str | None = None) -> None:
        """Begin a copy into shared memory; with `count`, of that many bytes, then zeros."""
        name = f"llvm.nvvm.cp.async.{'cg' if nbytes == 16 else 'ca'}.shared.global.{nbytes}"
        types, more = f"{NEAR}, {GLOBAL}", ""
        if count is not None:
            name, types, more = name + ".s", types + ", i32", f", i32 {count}"
        self.code.declared.setdefault(name, f"declare void @{name}({types})")
        self.code.do(f"call void @{name}({NEAR} {to}, {GLOBAL} {source}{more})")

    def commit(self) -> None:
        """What was begun since the last commit is one group."""
        self.code.call("llvm.nvvm.cp.async.commit.group", "void")

    def wait(self, groups: int) -> None:
        """Wait until at most so many groups of this thread are under way."""
        name = "llvm.nvvm.cp.async.wait.group"
        self.code.declared.setdefault(name, f"declare void @{name}(i32 immarg)")
        self.code.do(f"call void @{name}(i32 {groups})")

    def exchange(self, value: str, distance: int, scalar: str) -> str:
        """The value of the thread of the warp whose number differs in that bit."""
        code = self.code
        if scalar in ("float", "i32"):
            return self._exchange(value, distance, scalar)
        bits = value if scalar == "i64" else code.op(f"bitcast {scalar} {value} to i64")
        low = code.op(f"trunc i64 {bits} to i32")
        high = code.op(f"trunc i64 {code.op(f'lshr i64 {bits}, 32')} to i32")
        low, high = (self.wide(self._exchange(half, distance, "i32")) for half in (low, high))
        whole = code.op(f"or i64 {code.op(f'shl i64 {high}, 32')}, {low}")
        return whole if scalar == "i64" else code.op(f"bitcast i64 {whole} to {scalar}")

    def _exchange(self, value: str, distance: int, scalar: str) -> str:
        name = f"llvm.nvvm.shfl.sync.bfly.{'f32' if scalar == 'float' else 'i32'}"
        operands = "i32 -1", f"{scalar} {value}", f"i32 {distance}", "i32 31"
        return self.code.call(name, scalar, *operands)

    # ---- i32 arithmetic
    def integer(self, opcode: str, left: str, right: str) -> str:
        """An operation on i32; what changes nothing is left out."""
        if right == "0" and opcode in ("add", "sub", "or", "shl", "lshr", "xor"):
            return left
        if left == "0" and opcode in ("add", "or", "xor", "shl", "lshr", "udiv"):
            return right if opcode in ("add", "or", "xor") else "0"
        if opcode == "mul" and "0" in (left, right):
            return "0"
        if opcode in ("mul", "udiv") and right == "1":
            return left
        return self.code.op(f"{opcode} i32 {left}, {right}")

    def wide(self, value: str) -> str:
        return "0" if value == "0" else self.code.op(f"zext i32 {value} to i64")

    def least(self, left: str, right: str) -> str:
        return self.code.call("llvm.umin.i32", "i32", f"i32 {left}", f"i32 {right}")

    def divide(self, value: str, by: str) -> tuple[str, str]:
        """(quotient, remainder) of counts."""
        quotient = self.integer("udiv", value, by)
        return quotient, self.integer("sub", value, self.integer("mul", quotient, by))

    # ---- control
    def either(self, condition: str, then: Callable[[], None], other: Callable[[], None]) -> None:
        """if condition: then() else: other()"""
        code = self.code
        yes, no, after = code.label("then"), code.label("else"), code.label("fi")
        code.branch(condition, yes, no)
        code.start(yes)
        then()
        code.jump(after)
        code.start(no)
        other()
        code.jump(after)
        code.start(after)

    def loop(
        self,
        count: str,
        carried: Sequence[tuple[str, str]],
        body: Callable[[str, list[str]], Sequence[str]],
        start: str = "0",
    ) -> list[str]:
        """carried = body(i, carried) for i (an i32) from start below count; the last carried."""
        code = self.code
        head, inside, after = code.label("head"), code.label("body"), code.label("done")
        before, number = code.block, code.count
        code.jump(head)
        code.start(head)
        reserved = len(code.lines)
        index, names = f"%i{number}", [f"%c{number}_{k}" for k in range(len(carried))]
        code.lines += [""] * (1 + len(carried))
        code.branch(code.op(f"icmp slt i32 {index}, {count}"), inside, after)
        code.start(inside)
        changed = list(body(index, names))
        following = code.op(f"add i32 {index}, 1")
        last = code.block
        code.jump(head)
        phis = [(index, "i32", start, following)]
        phis += [(name, ty, init, x) for name, (ty, init), x in zip(names, carried, changed)]
        for line, (name, llvm_type, initial, later) in enumerate(phis, reserved):
            values = f"[{initial}, %{before}], [{later}, %{last}]"
            code.lines[line] = f"  {name} = phi {llvm_type} {values}"
        code.start(after)
        return names

    # ---- addresses
    def near(self, offset: str) -> str:
        """Address of so many bytes (i32) into shared memory."""
        if offset == "0":
            return "@shared"
        return self.code.op(f"getelementptr i8, {NEAR} @shared, i32 {offset}")

    def past(self, pointer: str, distance: int) -> str:
        """A constant number of bytes on in shared memory."""
        if distance == 0:
            return pointer
        return self.code.op(f"getelementptr i8, {NEAR} {pointer}, i32 {distance}")

    def take(self, pointer: str, distance: int, count: int, element: Accumulator) -> list[str]:
        """Adjacent accumulators in shared memory, so many bytes from a pointer."""
        spot, scalar, align = self.past(pointer, distance), element.scalar, count * element.size
        if count == 1:
            return [self.code.op(f"load {scalar}, {NEAR} {spot}, align {align}")]
        vector = f"<{count} x {scalar}>"
        whole = self.code.op(f"load {vector}, {NEAR} {spot}, align {align}")
        return [
            self.code.op(f"extractelement {vector} {whole}, i64 {lane}") for lane in range(count)
        ]

    def put(self, pointer: str, distance: int, values: Sequence[str], element: Accumulator) -> None:
        """Store accumulators side by side in shared memory."""
        spot, count, scalar = self.past(pointer, distance), len(values), element.scalar
        align = count * element.size
        if count == 1:
            self.code.do(f"store {scalar} {values[0]}, {NEAR} {spot}, align {align}")
            return
        whole, vector = "poison", f"<{count} x {scalar}>"
        for lane, value in enumerate(values):
            whole = self.code.op(f"insertelement {vector} {whole}, {scalar} {value}, i64 {lane}")
        self.code.do(f"store {vector} {whole}, {NEAR} {spot}, align {align}")

    def at(self, base: str, offset: str) -> str:
        """base + bytes in global memory."""
        if offset == "0":
            return base
        return self.code.op(f"getelementptr i8, {GLOBAL} {base}, i64 {offset}")

    def offset(self, name: str, form: WalkForm, index: str) -> str:
        """Bytes from the start to the element with this i32 index of a walk."""
        if form.rank == 0 or index == "0":
            return "0"
        code, total = self.code, "0"
        for axis in range(form.rank - 1, -1, -1):
            here = index
            if axis:
                index, here = self.divide(index, self.count(f"{name}.size{axis}"))
            step = code.op(f"mul i64 {self.wide(here)}, {self.word(f'{name}.stride{axis}')}")
            total = code.add(total, step)
        return total

    def pointer(self, operand: GemmOperand, batch: str, row: str, col: str) -> str:
        """Pointer to an element."""
        where = self.base(operand.name)
        for part, form, index in (
            ("batch", operand.batch, batch),
            ("rows", operand.rows, row),
            ("cols", operand.cols, col),
        ):
            where = self.at(where, self.offset(f"{operand.name}.{part}", form, index))
        return where

    # ---- the end
    def finish(self, prefix: str, threads: int, blocks: int = 1) -> GemmText:
        """The text of a kernel of so many threads, `blocks` of which share a multiprocessor."""
        self.code.do("ret void")
        bounds = f'nounwind "nvvm.maxntid"="{threads}" "nvvm.minctasm"="{blocks}"'
        text, symbol = finish_module(self.code, signature(len(self.names)), prefix, bounds)
        if "@shared" in text:
            text = SHARED + text
        return GemmText(text, symbol, tuple(self.names))


def with_status(numbers: Numbers) -> Numbers:
    """The numbers of a guarded kernel."""
    return {**numbers, "status.slot": STATUS}
