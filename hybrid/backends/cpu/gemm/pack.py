"""Packing: strided factors of any storage type copied into dense panels of the accumulator type.

Invariant: packing moves and widens values exactly; it reads only elements of the factor (partial
vectors are masked, missing rows repeat the last one), and what it leaves undefined is never stored
to a result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from ...emit.code import Code
from .micro import Element, load, mask_of, store

__all__ = [
    "Storage",
    "storage",
    "Walk",
    "for_runs",
    "offset_of",
    "copy_walk",
    "load_widened",
    "TRANSPOSE",
    "transpose_function",
]


class Storage(NamedTuple):
    """How a dtype lies in memory: LLVM scalar, bytes, and how it widens to the accumulator."""

    scalar: str
    size: int
    widen: str  # same | f16 | bf16 | sext | zext | trunc

    @property
    def vec(self) -> str:
        return f"<16 x {self.scalar}>"


def storage(name: str, elem: Element) -> Storage:
    """Storage of the dtype called `name`, read into accumulators `elem`."""
    if name == "float16":
        return Storage("i16", 2, "f16")
    if name == "bfloat16":
        return Storage("i16", 2, "bf16")
    if name in ("float32", "float64"):
        size = 4 if name == "float32" else 8
        how = "same" if size == elem.size else "fpext" if size < elem.size else "fptrunc"
        return Storage("float" if size == 4 else "double", size, how)
    if name == "bool":
        return Storage("i8", 1, "zext")
    bits = int(name.lstrip("uint"))
    how = (
        "same"
        if bits == 8 * elem.size
        else "trunc"
        if bits > 8 * elem.size
        else "zext"
        if name[0] == "u"
        else "sext"
    )
    return Storage(f"i{bits}", bits // 8, how)


def widen(code: Code, st: Storage, elem: Element, x: str, lanes: int) -> str:
    """A stored value (or 16) as accumulator type."""

    def ty(scalar: str) -> str:
        return scalar if lanes == 1 else f"<{lanes} x {scalar}>"

    if st.widen == "same":
        return x
    if st.widen == "f16":
        short = code.op(f"bitcast {ty('i16')} {x} to {ty('half')}")
        return code.op(f"fpext {ty('half')} {short} to {ty('float')}")
    if st.widen == "bf16":
        wide = code.op(f"zext {ty('i16')} {x} to {ty('i32')}")
        by = "16" if lanes == 1 else "splat (i32 16)"
        high = code.op(f"shl {ty('i32')} {wide}, {by}")
        return code.op(f"bitcast {ty('i32')} {high} to {ty('float')}")
    return code.op(f"{st.widen} {ty(st.scalar)} {x} to {ty(elem.scalar)}")


def load_widened(code: Code, st: Storage, elem: Element, ptr: str, mask: str | None) -> str:
    """16 adjacent stored values as a vector of accumulator type (masked: zero where off)."""
    if st.widen == "same":
        return load(code, elem, ptr, mask)
    if mask is None:
        raw = code.op(f"load {st.vec}, ptr {ptr}, align {st.size}")
    else:
        suffix = {"float": "v16f32", "double": "v16f64"}.get(st.scalar, f"v16{st.scalar}")
        raw = code.call(
            f"llvm.masked.load.{suffix}.p0",
            st.vec,
            f"ptr {ptr}",
            f"i32 {st.size}",
            f"<16 x i1> {mask}",
            f"{st.vec} zeroinitializer",
        )
    return widen(code, st, elem, raw, 16)


class Walk(NamedTuple):
    """An index space in IR: element i lies at i * stride, or at table[i / length] + (i % length) *
    stride (bytes).  Fields are names of i64 values or constants; `table` is a pointer or None."""

    table: str | None
    length: str
    stride: str


def offset_of(code: Code, walk: Walk, i: str) -> str:
    """Byte offset of element i."""
    if walk.table is None:
        return code.mul(i, walk.stride)
    run = code.op(f"udiv i64 {i}, {walk.length}")
    inside = code.op(f"sub i64 {i}, {code.mul(run, walk.length)}")
    start = code.op(f"load i64, ptr {code.at('i64', walk.table, run)}")
    return code.add(start, code.mul(inside, walk.stride))


def for_runs(
    code: Code, walk: Walk, first: str, count: str, body: Callable[[str, str, str], None]
) -> None:
    """body(byte offset of the run, elements done before it, elements in it) for the stretches of
    [first, first + count) that have one stride."""
    if walk.table is None:
        body(code.mul(first, walk.stride), "0", count)
        return
    first_run = code.op(f"udiv i64 {first}, {walk.length}")
    inside = code.op(f"sub i64 {first}, {code.mul(first_run, walk.length)}")
    table = code.at("i64", walk.table, first_run)
    head, run, after, before = code.label("runs"), code.label("run"), code.label("ran"), code.block
    names = [f"%{what}{code.count}" for what in ("done", "inside", "start")]
    done, at, start = names
    code.jump(head)
    code.start(head)
    place = len(code.lines)
    code.lines += [""] * 3
    code.branch(code.op(f"icmp slt i64 {done}, {count}"), run, after)
    code.start(run)
    left = code.smin(code.op(f"sub i64 {walk.length}, {at}"), code.op(f"sub i64 {count}, {done}"))
    body(code.add(code.op(f"load i64, ptr {start}"), code.mul(at, walk.stride)), done, left)
    new = code.op(f"add i64 {done}, {left}"), "0", code.op(f"getelementptr i64, ptr {start}, i64 1")
    for k, (ty, init) in enumerate((("i64", "0"), ("i64", inside), ("ptr", table))):
        code.lines[place + k] = (
            f"  {names[k]} = phi {ty} [{init}, %{before}], [{new[k]}, %{code.block}]"
        )
    code.jump(head)
    code.start(after)


def copy_walk(
    code: Code,
    st: Storage,
    elem: Element,
    src: str,
    walk: Walk,
    first: str,
    count: str,
    dst: str,
    short: bool = False,
) -> None:
    """dst[0:count] = widened elements [first, first + count) of a walk.  `short`: runs have at most
    16 elements, and up to 15 elements after the last may be overwritten."""

    def run(offset: str, done: str, n: str) -> None:
        base, out = code.at("i8", src, offset), code.at(elem.scalar, dst, done)
        if walk.stride == str(st.size) and short:
            mask = mask_of(code, n)
            store(code, elem, load_widened(code, st, elem, base, mask), out, None)
        elif walk.stride == str(st.size):
            copy_unit(code, st, elem, base, n, out)
        else:
            copy_strided(code, st, elem, base, walk.stride, n, out)

    for_runs(code, walk, first, count, run)


def copy_unit(code: Code, st: Storage, elem: Element, src: str, n: str, dst: str) -> None:
    def vector(i: str, mask: str | None) -> None:
        value = load_widened(code, st, elem, code.at(st.scalar, src, i), mask)
        store(code, elem, value, code.at(elem.scalar, dst, i), mask)

    def body(i: str, _: list[str]) -> list[str]:
        vector(i, None)
        return []

    rest, _ = code.loop("0", n, "16", [], body, full=16)
    left = code.op(f"sub i64 {n}, {rest}")
    code.when(code.op(f"icmp sgt i64 {left}, 0"), lambda: vector(rest, mask_of(code, left)))


def copy_strided(
    code: Code, st: Storage, elem: Element, src: str, stride: str, n: str, dst: str
) -> None:
    def body(i: str, _: list[str]) -> list[str]:
        value = code.op(f"load {st.scalar}, ptr {code.at('i8', src, code.mul(i, stride))}")
        value = widen(code, st, elem, value, 1)
        code.do(f"store {elem.scalar} {value}, ptr {code.at(elem.scalar, dst, i)}")
        return []

    code.loop("0", n, "1", [], body)


TRANSPOSE = "define internal void @NAME.transpose(ptr %src, i64 %step, ptr %dst, i64 %to)"


@lru_cache(None)
def transpose_function(elem: Element) -> Code:
    """Rows 0..15 of 16 elements at src (`step` bytes apart) become columns at dst (rows `to` bytes
    apart). Four rows are gathered by quarters while loading, which leaves only interleaving within
    quarters."""
    code, v = Code(), elem.vec
    quarter, half = f"<4 x {elem.scalar}>", f"<8 x {elem.scalar}>"

    def shuffle(ty: str, x: str, y: str, lanes: list[int]) -> str:
        text = ", ".join(f"i32 {k}" for k in lanes)
        return code.op(f"shufflevector {ty} {x}, {ty} {y}, <{len(lanes)} x i32> <{text}>")

    def pair(x: str, y: str, first: int) -> str:
        quads = range(0, 16, 4)
        return shuffle(
            v, x, y, [q + k for q in quads for k in (first, 16 + first, first + 1, 17 + first)]
        )

    rows = ["%src"]
    for _ in range(15):
        rows.append(code.at("i8", rows[-1], "%step"))
    out = "%dst"
    for group in range(4):
        z = []
        for r in range(4):
            q = [
                code.op(
                    f"load {quarter}, ptr {code.at(quarter, rows[r + 4 * i], str(group))}, "
                    f"align {elem.size}"
                )
                for i in range(4)
            ]
            low, high = (shuffle(quarter, q[i], q[i + 1], list(range(8))) for i in (0, 2))
            z.append(shuffle(half, low, high, list(range(16))))
        low02, high02, low13, high13 = (pair(z[i], z[i + 2], k) for i in (0, 1) for k in (0, 2))
        columns = [pair(x, y, k) for x, y in ((low02, low13), (high02, high13)) for k in (0, 2)]
        for value in columns:
            store(code, elem, value, out, None)
            out = code.at("i8", out, "%to")
    code.do("ret void")
    return code
