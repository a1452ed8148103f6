"""What the generators of attention share: argument words, operands, shared memory, shuffles.

Invariant: sizes, strides and addresses are argument words, so a text depends on dtypes, on which
operands there are, on the number of batch axes and on which sizes are whole multiples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ....ir.scalar.program import bits_of
from ...attend import READS
from ...emit.code import Code
from ...emit.lanes import Lanes
from ...emit.programs.whole import emit_program
from ...generated import SlotRef, Word
from ...plan import Access, AttendKernel
from .tile import LANE_COLUMNS, AttendTiling, Element

__all__ = ["AttendWriter", "Matrix", "AttendWords"]

GLOBAL = "ptr addrspace(1)"
SHARED = "ptr addrspace(3)"


class AttendWords:
    """The argument words in the order in which the generator asks for them."""

    def __init__(self) -> None:
        self.values: list[Word] = []
        self.names: dict[str, int] = {}

    def position(self, name: str, value: Word) -> int:
        number = self.names.get(name)
        if number is None:
            number = self.names[name] = len(self.values)
            self.values.append(value)
        return number


class Matrix(NamedTuple):
    """An operand of one batch position: where it starts, bytes from row to row, whether all its
    rows start at multiples of 16 bytes (an i1), and how many columns it has."""

    pointer: str
    step: str
    aligned: str
    columns: str


class ThreadIndices(NamedTuple):
    """Where a thread stands: all i64."""

    thread: str
    warp_row: str  # of the four warps, 2 x 2
    warp_column: str
    lane: str
    lane_row: str  # of the 32 lanes, 4 x 8
    lane_column: str


class AttendWriter:
    """One kernel under construction."""

    def __init__(self, kernel: AttendKernel, tiling: AttendTiling) -> None:
        self.kernel, self.tiling = kernel, tiling
        self.element: Element = tiling.element
        self.code, self.words = Code(), AttendWords()
        self.lanes = Lanes(1, self.code)
        self.reads = {n: a for n, a in zip(READS, kernel.reads) if a is not None}
        self.sizes = {name: self.word(name, getattr(kernel, name)) for name in "mnef"}
        self.indices = self._indices()

    def _indices(self) -> ThreadIndices:
        code = self.code
        thread = self.register("tid.x")
        warp, lane = code.op(f"lshr i64 {thread}, 5"), code.op(f"and i64 {thread}, 31")
        warp_row, warp_column = code.op(f"lshr i64 {warp}, 1"), code.op(f"and i64 {warp}, 1")
        lane_row = code.op(f"lshr i64 {lane}, 3")
        lane_column = code.op(f"and i64 {lane}, {LANE_COLUMNS - 1}")
        return ThreadIndices(thread, warp_row, warp_column, lane, lane_row, lane_column)

    # ---- words
    def word(self, name: str, value: Word) -> str:
        """The i64 argument called `name`."""
        number = self.words.position(name, value)
        pointer = self.code.once(f"getelementptr i64, ptr %args, i64 {number}")
        return self.code.once(f"load i64, ptr {pointer}")

    def scalar_word(self, name: str, value: float) -> str:
        word = self.word(name, bits_of(self.element.name, value))
        if self.element.size == 8:
            return self.code.once(f"bitcast i64 {word} to double")
        return self.code.once(f"bitcast i32 {self.code.once(f'trunc i64 {word} to i32')} to float")

    def address(self, name: str) -> str:
        """Where the buffer of an operand starts, plus its offset; i64."""
        start = self.word(name + ".slot", SlotRef(name))
        return self.code.once(
            f"add i64 {start}, {self.word(name + '.offset', SlotRef(name, True))}"
        )

    def guard(self) -> None:
        """Return at once when a check has failed before."""
        code, status = self.code, self.word("status", SlotRef("status"))
        pointer = code.op(f"inttoptr i64 {status} to {GLOBAL}")
        go_on, leave = code.label("go"), code.label("leave")
        failed = code.op(f"icmp ne i64 {code.op(f'load i64, {GLOBAL} {pointer}')}, 0")
        code.branch(failed, leave, go_on)
        code.start(leave)
        code.do("ret void")
        code.start(go_on)

    # ---- operands
    def divide(self, number: str, size: str) -> tuple[str, str]:
        """(quotient, rest) of numbers below 2**31."""
        code = self.code
        small, by = (code.op(f"trunc i64 {x} to i32") for x in (number, size))
        quotient, rest = code.op(f"udiv i32 {small}, {by}"), code.op(f"urem i32 {small}, {by}")
        return code.op(f"zext i32 {quotient} to i64"), code.op(f"zext i32 {rest} to i64")

    def split(self, batch: str) -> list[str]:
        """Coordinates of a batch number."""
        sizes = self.kernel.batch
        found: list[str] = []
        for axis in range(len(sizes) - 1, 0, -1):
            batch, coordinate = self.divide(batch, self.word(f"batch{axis}", sizes[axis]))
            found.append(coordinate)
        return [batch, *reversed(found)] if sizes else []

    def step(self, name: str, access: Access, axis: int = 0) -> str:
        """Bytes from row to row (axis 1: from column to column)."""
        stride = access.strides[len(self.kernel.batch) + axis]
        return self.word(f"{name}.step{axis}", stride * access.dtype.itemsize)

    def start(self, name: str, access: Access, coordinates: Sequence[str]) -> str:
        """Address (i64) of an operand's matrix or vector at a batch position."""
        code, address = self.code, self.address(name)
        for axis, coordinate in enumerate(coordinates):
            step = self.word(f"{name}.batch{axis}", access.strides[axis] * access.dtype.itemsize)
            address = code.add(address, code.mul(coordinate, step))
        return address

    def matrix(self, name: str, access: Access, coordinates: Sequence[str], columns: str) -> Matrix:
        code = self.code
        address, step = self.start(name, access, coordinates), self.step(name, access)
        low = code.op(f"and i64 {code.op(f'or i64 {address}, {step}')}, 15")
        aligned = code.op(f"icmp eq i64 {low}, 0")
        pointer = code.op(f"inttoptr i64 {address} to {GLOBAL}")
        return Matrix(pointer, step, aligned, self.sizes[columns])

    def vector(self, name: str, access: Access, coordinates: Sequence[str]) -> str:
        return self.code.op(f"inttoptr i64 {self.start(name, access, coordinates)} to {GLOBAL}")

    # ---- memory
    def beyond(self, pointer: str, offset: str) -> str:
        """Global pointer plus bytes."""
        if offset == "0":
            return pointer
        return self.code.op(f"getelementptr i8, {GLOBAL} {pointer}, i64 {offset}")

    def load_global(self, pointer: str, wide: bool = False, scalar: str = "") -> str:
        if wide:
            return self.code.op(f"load {self.element.vector}, {GLOBAL} {pointer}, align 16")
        return self.code.op(f"load {scalar or self.element.scalar}, {GLOBAL} {pointer}")

    def store_global(self, value: str, pointer: str) -> None:
        self.code.do(f"store {self.element.scalar} {value}, {GLOBAL} {pointer}")

    def shared(self, offset: str | int) -> str:
        return self.code.op(f"getelementptr i8, {SHARED} @shared, i64 {offset}")

    def inside(self, pointer: str, offset: str | int) -> str:
        """Shared pointer plus bytes."""
        if str(offset) == "0":
            return pointer
        return self.code.op(f"getelementptr i8, {SHARED} {pointer}, i64 {offset}")

    def load_wide(self, pointer: str, offset: int) -> list[str]:
        """The elements of 16 bytes of shared memory."""
        code, kind = self.code, self.element.vector
        value = code.op(f"load {kind}, {SHARED} {self.inside(pointer, offset)}, align 16")
        return [
            code.op(f"extractelement {kind} {value}, i64 {i}") for i in range(self.element.wide)
        ]

    def load_shared(self, pointer: str, offset: str | int = 0) -> str:
        return self.code.op(f"load {self.element.scalar}, {SHARED} {self.inside(pointer, offset)}")

    def store_shared(self, value: str, pointer: str, offset: str | int = 0) -> None:
        target = self.inside(pointer, offset)
        self.code.do(f"store {self.element.scalar} {value}, {SHARED} {target}")

    # ---- threads
    def register(self, name: str) -> str:
        full = f"llvm.nvvm.read.ptx.sreg.{name}"
        self.code.declare(full, "i32", ())
        return self.code.once(f"zext i32 {self.code.once(f'call i32 @{full}()')} to i64")

    def barrier(self) -> None:
        self.code.call("llvm.nvvm.barrier0", "void")

    def exchange(self, value: str, distance: int, kind: str = "") -> str:
        """The value of the lane whose number differs in one bit."""
        code, kind = self.code, kind or self.element.scalar
        lanes = ("i32 -1", f"i32 {distance}", "i32 31")
        name = "llvm.nvvm.shfl.sync.bfly"
        if kind == "float":
            return code.call(f"{name}.f32", "float", lanes[0], f"float {value}", *lanes[1:])
        if kind == "i32":
            return code.call(f"{name}.i32", "i32", lanes[0], f"i32 {value}", *lanes[1:])
        bits = code.op(f"bitcast double {value} to i64")
        parts = [bits, code.op(f"lshr i64 {bits}, 32")]
        moved = [
            self.exchange(code.op(f"trunc i64 {part} to i32"), distance, "i32") for part in parts
        ]
        low, high = (code.op(f"zext i32 {part} to i64") for part in moved)
        joined = code.op(f"or i64 {low}, {code.op(f'shl i64 {high}, 32')}")
        return code.op(f"bitcast i64 {joined} to double")

    # ---- arithmetic
    def number(self, value: float) -> str:
        return self.lanes.const(self.element.name, bits_of(self.element.name, value))

    def apply(self, operation: str, left: str, right: str) -> str:
        """An LLVM instruction on two elements."""
        return self.code.op(f"{operation} {self.element.scalar} {left}, {right}")

    def pick(self, condition: str, left: str, right: str) -> str:
        scalar = self.element.scalar
        return self.code.op(f"select i1 {condition}, {scalar} {left}, {scalar} {right}")

    def chain(self, left: str, right: str, total: str) -> str:
        """One step of a chain."""
        return self.lanes.intrinsic("fma", self.element.name, (left, right, total))

    def greatest(self, left: str, right: str) -> str:
        """The greater of two; of a NaN and a number the number."""
        return self.lanes.intrinsic("maxnum", self.element.name, (left, right))

    def weight(self, score: str, base: str) -> str:
        return emit_program(self.lanes, self.kernel.weight, (score, base), ())[0]

    def base_of(self, top: str) -> str:
        """What is subtracted from scores: the top, but 0 where it is -inf, since inf - inf is no
        number."""
        none = self.apply("fcmp oeq", top, self.number(float("-inf")))
        return self.pick(none, self.number(0.0), top)

    def limit(self, number: str, most: str) -> str:
        """The number, at least 0 and at most `most`."""
        least = self.code.call("llvm.smax.i64", "i64", f"i64 {number}", "i64 0")
        return self.code.smin(least, most)
