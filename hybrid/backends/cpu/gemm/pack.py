"""Packing: strided factors of any storage type copied into dense panels of the accumulator type.

Invariant: packing moves and widens values exactly; it reads only elements of the factor (partial
vectors are masked, missing rows repeat the last one), and what it leaves undefined is never stored
to a result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

from ...emit.code import Code
from .micro import PackedElement, load, mask_of, masked_load, store

__all__ = [
    "Storage",
    "storage",
    "IndexWalk",
    "divide",
    "each",
    "for_runs",
    "offset_of",
    "copy_walk",
    "load_widened",
    "TRANSPOSE",
    "transpose_function",
]


# same, bits of a half type, or the LLVM conversion
Widening = Literal["same", "f16", "bf16", "sext", "zext", "trunc", "fpext", "fptrunc"]


class Storage(NamedTuple):
    """How a dtype lies in memory: LLVM scalar, bytes, and how it widens to the accumulator."""

    scalar: str
    size: int
    widen: Widening

    @property
    def vector(self) -> str:
        """LLVM type of 16 adjacent elements."""
        return f"<16 x {self.scalar}>"


def storage(name: str, element: PackedElement) -> Storage:
    """Storage of the dtype called `name`, read into accumulators `element`."""
    if name == "float16":
        return Storage("i16", 2, "f16")
    if name == "bfloat16":
        return Storage("i16", 2, "bf16")
    if name == "bool":
        return Storage("i8", 1, "zext")
    if name in ("float32", "float64"):
        scalar, size = ("float", 4) if name == "float32" else ("double", 8)
        return Storage(scalar, size, _conversion(size, element.size, "fpext", "fptrunc"))
    bits = int(name.lstrip("uint"))
    extend: Widening = "zext" if name[0] == "u" else "sext"
    return Storage(f"i{bits}", bits // 8, _conversion(bits // 8, element.size, extend, "trunc"))


def _conversion(size: int, wanted: int, extend: Widening, shorten: Widening) -> Widening:
    if size == wanted:
        return "same"
    return extend if size < wanted else shorten


def widen(code: Code, stored: Storage, element: PackedElement, value: str, lanes: int) -> str:
    """A stored value (or 16) as accumulator type."""

    def lanes_of(scalar: str) -> str:
        return scalar if lanes == 1 else f"<{lanes} x {scalar}>"

    if stored.widen == "same":
        return value
    if stored.widen == "f16":
        short = code.op(f"bitcast {lanes_of('i16')} {value} to {lanes_of('half')}")
        return code.op(f"fpext {lanes_of('half')} {short} to {lanes_of('float')}")
    if stored.widen == "bf16":  # the upper half of a float32
        wide = code.op(f"zext {lanes_of('i16')} {value} to {lanes_of('i32')}")
        places = "16" if lanes == 1 else "splat (i32 16)"
        high = code.op(f"shl {lanes_of('i32')} {wide}, {places}")
        return code.op(f"bitcast {lanes_of('i32')} {high} to {lanes_of('float')}")
    source, target = lanes_of(stored.scalar), lanes_of(element.scalar)
    return code.op(f"{stored.widen} {source} {value} to {target}")


def load_widened(
    code: Code, stored: Storage, element: PackedElement, pointer: str, mask: str | None
) -> str:
    """16 adjacent stored values as a vector of accumulator type (masked: zero where off)."""
    if stored.widen == "same":
        return load(code, element, pointer, mask)
    if mask is None:
        raw = code.op(f"load {stored.vector}, ptr {pointer}, align {stored.size}")
    else:
        raw = masked_load(code, stored.scalar, stored.size, pointer, mask)
    return widen(code, stored, element, raw, 16)


class IndexWalk(NamedTuple):
    """An index space in IR: element i lies at i * stride, or at table[i / length] + (i % length) *
    stride (bytes).  Fields are names of i64 values or constants; `table` is a pointer or None."""

    table: str | None
    length: str
    stride: str


def divide(code: Code, number: str, divisor: str) -> tuple[str, str]:
    """(quotient, remainder) of unsigned numbers."""
    quotient = code.op(f"udiv i64 {number}, {divisor}")
    return quotient, code.op(f"sub i64 {number}, {code.mul(quotient, divisor)}")


def offset_of(code: Code, walk: IndexWalk, index: str) -> str:
    """Byte offset of an element."""
    if walk.table is None:
        return code.mul(index, walk.stride)
    run, inside = divide(code, index, walk.length)
    start = code.op(f"load i64, ptr {code.at('i64', walk.table, run)}")
    return code.add(start, code.mul(inside, walk.stride))


def each(code: Code, start: str, stop: str, step: str, body: Callable[[str], None]) -> None:
    """body(i) for i from start to stop."""

    def carried(index: str, _: list[str]) -> list[str]:
        body(index)
        return []

    code.loop(start, stop, step, [], carried)


def for_runs(
    code: Code, walk: IndexWalk, first: str, count: str, body: Callable[[str, str, str], None]
) -> None:
    """body(byte offset of the run, elements done before it, elements in it) for the stretches of
    [first, first + count) that have one stride.

    The loop is written by hand: it carries elements done, the place inside the run (0 after the
    first) and a pointer into the table, so that the one division stands before it."""
    if walk.table is None:
        body(code.mul(first, walk.stride), "0", count)
        return
    first_run, first_inside = divide(code, first, walk.length)
    table = code.at("i64", walk.table, first_run)
    head, run, after, before = code.label("runs"), code.label("run"), code.label("ran"), code.block
    names = [f"%{what}{code.count}" for what in ("done", "inside", "start")]
    done, inside, start = names
    code.jump(head)
    code.start(head)
    reserved = len(code.lines)
    code.lines.extend([""] * 3)
    code.branch(code.op(f"icmp slt i64 {done}, {count}"), run, after)
    code.start(run)
    in_run = code.op(f"sub i64 {walk.length}, {inside}")
    remaining = code.smin(in_run, code.op(f"sub i64 {count}, {done}"))
    offset = code.op(f"load i64, ptr {start}")
    body(code.add(offset, code.mul(inside, walk.stride)), done, remaining)
    following = (
        code.op(f"add i64 {done}, {remaining}"),
        "0",
        code.op(f"getelementptr i64, ptr {start}, i64 1"),
    )
    initial = (("i64", "0"), ("i64", first_inside), ("ptr", table))
    for number, (type, value) in enumerate(initial):
        code.lines[reserved + number] = (
            f"  {names[number]} = phi {type} [{value}, %{before}], "
            f"[{following[number]}, %{code.block}]"
        )
    code.jump(head)
    code.start(after)


def copy_walk(
    code: Code,
    stored: Storage,
    element: PackedElement,
    source: str,
    walk: IndexWalk,
    first: str,
    count: str,
    target: str,
    short: bool = False,
) -> None:
    """target[0:count] = widened elements [first, first + count) of a walk.  `short`: runs have at
    most 16 elements, and up to 15 elements after the last may be overwritten: one vector without a
    loop then copies a run."""

    def run(offset: str, done: str, length: str) -> None:
        base, out = code.at("i8", source, offset), code.at(element.scalar, target, done)
        if walk.stride != str(stored.size):
            copy_strided(code, stored, element, base, walk.stride, length, out)
        elif short:
            mask = mask_of(code, length)
            store(code, element, load_widened(code, stored, element, base, mask), out, None)
        else:
            copy_unit(code, stored, element, base, length, out)

    for_runs(code, walk, first, count, run)


def copy_unit(
    code: Code, stored: Storage, element: PackedElement, source: str, count: str, target: str
) -> None:
    """Adjacent elements: whole vectors, then a masked one."""

    def vector(index: str, mask: str | None) -> None:
        value = load_widened(code, stored, element, code.at(stored.scalar, source, index), mask)
        store(code, element, value, code.at(element.scalar, target, index), mask)

    def body(index: str, _: list[str]) -> list[str]:
        vector(index, None)
        return []

    rest, _ = code.loop("0", count, "16", [], body, full=16)
    remaining = code.op(f"sub i64 {count}, {rest}")
    code.when(
        code.op(f"icmp sgt i64 {remaining}, 0"), lambda: vector(rest, mask_of(code, remaining))
    )


def copy_strided(
    code: Code,
    stored: Storage,
    element: PackedElement,
    source: str,
    stride: str,
    count: str,
    target: str,
) -> None:
    def body(index: str) -> None:
        place = code.at("i8", source, code.mul(index, stride))
        value = widen(code, stored, element, code.op(f"load {stored.scalar}, ptr {place}"), 1)
        code.do(f"store {element.scalar} {value}, ptr {code.at(element.scalar, target, index)}")

    each(code, "0", count, "1", body)


TRANSPOSE = "define internal void @NAME.transpose(ptr %src, i64 %step, ptr %dst, i64 %to)"


@lru_cache(None)
def transpose_function(element: PackedElement) -> Code:
    """Rows 0..15 of 16 elements at src (`step` bytes apart) become columns at dst (rows `to` bytes
    apart). Four rows are gathered by quarters while loading, which leaves only interleaving within
    quarters."""
    code = Code()
    rows = ["%src"]
    for _ in range(15):
        rows.append(code.at("i8", rows[-1], "%step"))
    target = "%dst"
    for group in range(4):
        # vector r: columns 4 * group .. + 3 of rows r, r + 4, r + 8, r + 12
        mixed = [
            _quarters(code, element, [rows[r + 4 * i] for i in range(4)], group) for r in range(4)
        ]
        low02, high02, low13, high13 = (
            _interleaved(code, element, mixed[i], mixed[i + 2], k) for i in (0, 1) for k in (0, 2)
        )
        columns = [
            _interleaved(code, element, even, odd, k)
            for even, odd in ((low02, low13), (high02, high13))
            for k in (0, 2)
        ]
        for value in columns:
            store(code, element, value, target, None)
            target = code.at("i8", target, "%to")
    code.do("ret void")
    return code


def _shuffle(code: Code, vector: str, left: str, right: str, lanes: list[int]) -> str:
    numbers = ", ".join(f"i32 {lane}" for lane in lanes)
    mask = f"<{len(lanes)} x i32> <{numbers}>"
    return code.op(f"shufflevector {vector} {left}, {vector} {right}, {mask}")


def _quarters(code: Code, element: PackedElement, rows: list[str], group: int) -> str:
    """Quarter `group` of each of four rows, as one vector."""
    quarter, half = f"<4 x {element.scalar}>", f"<8 x {element.scalar}>"
    parts = []
    for row in rows:
        pointer = code.at(quarter, row, str(group))
        parts.append(code.op(f"load {quarter}, ptr {pointer}, align {element.size}"))
    low = _shuffle(code, quarter, parts[0], parts[1], list(range(8)))
    high = _shuffle(code, quarter, parts[2], parts[3], list(range(8)))
    return _shuffle(code, half, low, high, list(range(16)))


def _interleaved(code: Code, element: PackedElement, left: str, right: str, first: int) -> str:
    """Elements `first` and `first` + 1 of every quarter of two vectors, in turns."""
    lanes = [
        quarter + lane
        for quarter in range(0, 16, 4)
        for lane in (first, 16 + first, first + 1, 17 + first)
    ]
    return _shuffle(code, element.vector, left, right, lanes)
