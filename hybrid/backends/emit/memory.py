"""Vector loads and stores along a row: unit stride, any stride, computed positions; whole or with a
tail mask.

Invariant: no lane that the mask switches off touches memory.
"""

from __future__ import annotations

from typing import NamedTuple

from ...ir.scalar.program import ScalarType
from .code import Code
from .lanes import Lanes, memory_scalar

__all__ = [
    "Position",
    "load_row",
    "store_row",
    "load_scalar",
    "store_scalar",
    "gather",
    "scatter",
    "SIZE",
    "tail_mask",
]

SIZE = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}


class Position(NamedTuple):
    """A vector of elements j, j + 1, ... of a row; with `mask`, only the first `live` of them."""

    j: str
    mask: str | None = None
    live: str | None = None


def tail_mask(lanes: Lanes, count: str) -> str:
    """Lanes below `count` (i64, may exceed the width)."""
    code, w = lanes.code, lanes.width
    few = code.op(f"trunc i64 {code.smin(count, str(w))} to i32")
    numbers = "<" + ", ".join(f"i32 {k}" for k in range(w)) + ">"
    return code.op(f"icmp ugt <{w} x i32> {lanes.splat('i32', few)}, {numbers}")


def _name(mem: str) -> str:
    return {"float": "f32", "double": "f64"}.get(mem, mem)


def _suffix(lanes: Lanes, mem: str) -> str:
    return f"v{lanes.width}{_name(mem)}"


def from_memory(lanes: Lanes, ty: ScalarType, v: str) -> str:
    """A value as programs see it: truth values are stored as bytes."""
    return (
        v if ty != "b1" else lanes.code.op(f"icmp ne {lanes.raw('i8')} {v}, {lanes.const('u8', 0)}")
    )


def to_memory(lanes: Lanes, ty: ScalarType, v: str) -> str:
    return v if ty != "b1" else lanes.cast("zext", v, "i1", "i8")


def load_scalar(code: Code, ty: ScalarType, p: str) -> str:
    """One element at an address."""
    mem = memory_scalar(ty)
    return from_memory(Lanes(1, code), ty, code.op(f"load {mem}, ptr {p}, align {SIZE[mem]}"))


def store_scalar(code: Code, ty: ScalarType, value: str, p: str) -> None:
    mem = memory_scalar(ty)
    code.do(f"store {mem} {to_memory(Lanes(1, code), ty, value)}, ptr {p}, align {SIZE[mem]}")


# ---- lane by lane
def _lane_pointers(lanes: Lanes, base: str, stride: str) -> list[str]:
    """base + k * stride (bytes) for each lane, in a form that folds into addressing modes."""
    code, out = lanes.code, []
    twice = code.op(f"shl i64 {stride}, 1")
    thrice, four = code.op(f"add i64 {stride}, {twice}"), code.op(f"shl i64 {stride}, 2")
    for k in range(lanes.width):
        if k % 4 == 0:
            base = base if k == 0 else code.at("i8", base, four)
            out.append(base)
        else:
            out.append(code.at("i8", base, (stride, twice, thrice)[k % 4 - 1]))
    return out


def _load_lanes(lanes: Lanes, mem: str, pointers: list[str]) -> str:
    code, v = lanes.code, "poison"
    for k, p in enumerate(pointers):
        x = code.op(f"load {mem}, ptr {p}, align 1")
        v = code.op(f"insertelement {lanes.raw(mem)} {v}, {mem} {x}, i64 {k}")
    return v


def _store_lanes(lanes: Lanes, mem: str, v: str, pointers: list[str]) -> None:
    code = lanes.code
    for k, p in enumerate(pointers):
        x = code.op(f"extractelement {lanes.raw(mem)} {v}, i64 {k}")
        code.do(f"store {mem} {x}, ptr {p}, align 1")


def _strided_tail(lanes: Lanes, mem: str, base: str, stride: str, count: str, v: str | None) -> str:
    """Move `count` (at most the width) elements to or from a vector on the stack, one at a time."""
    code = lanes.code
    box = code.alloca(lanes.raw(mem))
    src_box = v is not None
    code.do(f"store {lanes.raw(mem)} {v if src_box else 'zeroinitializer'}, ptr {box}, align 64")
    stop = code.smin(count, str(lanes.width))

    def move(k: str, _: list[str]) -> list[str]:
        inside = code.at(mem, box, k)
        outside = code.at("i8", base, code.mul(k, stride))
        source, target = (inside, outside) if src_box else (outside, inside)
        code.do(
            f"store {mem} {code.op(f'load {mem}, ptr {source}, align 1')}, ptr {target}, align 1"
        )
        return []

    code.loop("0", stop, "1", [], move)
    return "" if src_box else code.op(f"load {lanes.raw(mem)}, ptr {box}, align 64")


def _spot(code: Code, mem: str, base: str, stride: str | None, j: str) -> str:
    return code.at(mem, base, j) if stride is None else code.at("i8", base, code.mul(j, stride))


# ---- rows
def load_row(lanes: Lanes, ty: ScalarType, base: str, stride: str | None, at: Position) -> str:
    """Elements `at` of the row at base; stride in bytes, None for unit stride."""
    code, mem = lanes.code, memory_scalar(ty)
    v = lanes.raw(mem)
    if lanes.width == 1:
        return load_scalar(code, ty, _spot(code, mem, base, stride, at.j))
    if stride is None:
        p = code.at(mem, base, at.j)
        if at.mask is None:
            x = code.op(f"load {v}, ptr {p}, align 1")
        else:
            x = code.call(
                f"llvm.masked.load.{_suffix(lanes, mem)}.p0",
                v,
                f"ptr {p}",
                "i32 1",
                f"{lanes.ty('b1')} {at.mask}",
                f"{v} zeroinitializer",
            )
    else:
        p = code.at("i8", base, code.mul(at.j, stride))
        if at.mask is None:
            x = _load_lanes(lanes, mem, _lane_pointers(lanes, p, stride))
        else:
            assert at.live is not None
            x = _strided_tail(lanes, mem, p, stride, at.live, None)
    return from_memory(lanes, ty, x)


def store_row(
    lanes: Lanes,
    ty: ScalarType,
    value: str,
    base: str,
    stride: str | None,
    at: Position,
    stream: bool = False,
) -> None:
    """Write elements `at` of the row at base; `stream`: past the caches, to an aligned address."""
    code, mem = lanes.code, memory_scalar(ty)
    if lanes.width == 1:
        return store_scalar(code, ty, value, _spot(code, mem, base, stride, at.j))
    v, x = lanes.raw(mem), to_memory(lanes, ty, value)
    if stride is None:
        p = code.at(mem, base, at.j)
        if stream:
            code.do(
                f"store {v} {x}, ptr {p}, align {min(64, SIZE[mem] * lanes.width)}, !nontemporal !0"
            )
        elif at.mask is None:
            code.do(f"store {v} {x}, ptr {p}, align 1")
        else:
            code.call(
                f"llvm.masked.store.{_suffix(lanes, mem)}.p0",
                "void",
                f"{v} {x}",
                f"ptr {p}",
                "i32 1",
                f"{lanes.ty('b1')} {at.mask}",
            )
        return None
    p = code.at("i8", base, code.mul(at.j, stride))
    if at.mask is None:
        _store_lanes(lanes, mem, x, _lane_pointers(lanes, p, stride))
    else:
        assert at.live is not None
        _strided_tail(lanes, mem, p, stride, at.live, x)
    return None


# ---- computed positions
def _element_pointers(lanes: Lanes, mem: str, base: str, index: str, mask: str | None) -> list[str]:
    code = lanes.code
    # switched-off lanes read element 0: some lane is on, so the operand is not empty
    if mask is not None:
        index = lanes.pick("i64", mask, index, lanes.const("i64", 0))
    picks = [
        code.op(f"extractelement {lanes.ty('i64')} {index}, i64 {k}") for k in range(lanes.width)
    ]
    return [code.at(mem, base, k) for k in picks]


def gather(
    lanes: Lanes, ty: ScalarType, base: str, index: str, mask: str | None, unit: str | None = None
) -> str:
    """Elements at base + index (i64 lanes, counted in elements, or in bytes with unit 'i8')."""
    code, mem = lanes.code, memory_scalar(ty)
    unit = unit or mem
    if lanes.width == 1:
        return load_scalar(code, ty, code.at(unit, base, index))
    if SIZE[mem] < 4:
        v = _load_lanes(lanes, mem, _element_pointers(lanes, unit, base, index, mask))
        return from_memory(lanes, ty, v)
    ptrs = code.op(f"getelementptr {unit}, ptr {base}, {lanes.ty('i64')} {index}")
    mask = mask or lanes.const("b1", 1)
    return code.call(
        f"llvm.masked.gather.{_suffix(lanes, mem)}.v{lanes.width}p0",
        lanes.raw(mem),
        f"{lanes.raw('ptr')} {ptrs}",
        "i32 1",
        f"{lanes.ty('b1')} {mask}",
        f"{lanes.raw(mem)} zeroinitializer",
    )


def scatter(lanes: Lanes, ty: ScalarType, value: str, base: str, offset: str, at: Position) -> None:
    """Write lanes to base + offset (bytes, i64 lanes), in lane order."""
    code, mem = lanes.code, memory_scalar(ty)
    if lanes.width == 1:
        return store_scalar(code, ty, value, code.at("i8", base, offset))
    box = code.alloca(lanes.raw(mem))
    spots = code.alloca(lanes.ty("i64"))
    code.do(f"store {lanes.raw(mem)} {to_memory(lanes, ty, value)}, ptr {box}, align 64")
    code.do(f"store {lanes.ty('i64')} {offset}, ptr {spots}, align 64")
    stop = str(lanes.width) if at.live is None else code.smin(at.live, str(lanes.width))

    def move(k: str, _: list[str]) -> list[str]:
        x = code.op(f"load {mem}, ptr {code.at(mem, box, k)}, align 1")
        off = code.op(f"load i64, ptr {code.at('i64', spots, k)}, align 8")
        code.do(f"store {mem} {x}, ptr {code.at('i8', base, off)}, align 1")
        return []

    code.loop("0", stop, "1", [], move)
    return None
