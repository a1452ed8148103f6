"""Micro-kernels: a tile of `rows` x (16 * `vecs`) sums of products over one block of k, held in
registers.

Invariant: every output is one fma chain from +0.0 in increasing k (wrapping multiply-add for
integers); lanes past the column count are computed from whatever is there and never stored to the
result.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...emit.code import Code

__all__ = [
    "DESC",
    "Element",
    "ELEMENTS",
    "Micro",
    "micro_kernel",
    "describe",
    "mask_of",
    "multiply_add",
    "splat",
    "load",
    "store",
]

DESC = 24  # bytes of a vector descriptor: pointer into b, lanes, first column

LANE_NUMBERS = "<" + ", ".join(f"i32 {i}" for i in range(16)) + ">"


class Element(NamedTuple):
    """Type of the accumulators and of packed factors."""

    name: str  # program type
    scalar: str  # LLVM type
    size: int
    suffix: str  # of vector intrinsics

    @property
    def vec(self) -> str:
        return f"<16 x {self.scalar}>"

    @property
    def is_float(self) -> bool:
        return self.name[0] == "f"


ELEMENTS = {
    "f32": Element("f32", "float", 4, "v16f32"),
    "f64": Element("f64", "double", 8, "v16f64"),
    "i32": Element("i32", "i32", 4, "v16i32"),
    "i64": Element("i64", "i64", 8, "v16i64"),
}


class Micro(NamedTuple):
    """A micro-kernel variant.  Row i of a starts `row_step` * i bytes after row 0 (None: a run-time
    stride). `segmented`: every vector has its own pointer and lane count, and rows of b come from
    an offset table; otherwise vectors are adjacent.  `read_mask`/`write_mask`: the last vector
    (segmented: any) is partial when reading b / storing."""

    elem: Element
    rows: int
    vecs: int
    row_step: int | None
    segmented: bool = False
    read_mask: bool = False
    write_mask: bool = False
    adds: bool = False  # may add to previous sums
    prefetch: bool = False  # bring the result's lines near while summing

    @property
    def name(self) -> str:
        flags = (
            "s" * self.segmented + "r" * self.read_mask + "w" * self.write_mask + "a" * self.adds
        )
        return f"mk{self.rows}x{self.vecs}{flags}"


def splat(code: Code, elem: Element, scalar: str) -> str:
    one = code.op(f"insertelement {elem.vec} poison, {elem.scalar} {scalar}, i64 0")
    return code.op(f"shufflevector {elem.vec} {one}, {elem.vec} poison, <16 x i32> zeroinitializer")


def mask_of(code: Code, count: str) -> str:
    """Lanes below an i64 count (which fits 32 bits)."""
    one = code.op(
        f"insertelement <16 x i32> poison, i32 {code.op(f'trunc i64 {count} to i32')}, i64 0"
    )
    every = code.op(
        f"shufflevector <16 x i32> {one}, <16 x i32> poison, <16 x i32> zeroinitializer"
    )
    return code.op(f"icmp slt <16 x i32> {LANE_NUMBERS}, {every}")


def describe(code: Code, descriptors: str, v: int, count: str, col: str, ptr: str = "null") -> None:
    """Write the descriptor of vector v."""
    for at, text in ((0, f"ptr {ptr}"), (8, f"i64 {count}"), (16, f"i64 {col}")):
        code.do(f"store {text}, ptr {code.at('i8', descriptors, str(DESC * v + at))}")


def load(code: Code, elem: Element, ptr: str, mask: str | None) -> str:
    if mask is None:
        return code.op(f"load {elem.vec}, ptr {ptr}, align {elem.size}")
    return code.call(
        f"llvm.masked.load.{elem.suffix}.p0",
        elem.vec,
        f"ptr {ptr}",
        f"i32 {elem.size}",
        f"<16 x i1> {mask}",
        f"{elem.vec} zeroinitializer",
    )


def store(code: Code, elem: Element, value: str, ptr: str, mask: str | None) -> None:
    if mask is None:
        code.do(f"store {elem.vec} {value}, ptr {ptr}, align {elem.size}")
    else:
        code.call(
            f"llvm.masked.store.{elem.suffix}.p0",
            "void",
            f"{elem.vec} {value}",
            f"ptr {ptr}",
            f"i32 {elem.size}",
            f"<16 x i1> {mask}",
        )


def multiply_add(code: Code, elem: Element, a: str, b: str, c: str) -> str:
    if elem.is_float:
        return code.call(
            f"llvm.fma.{elem.suffix}",
            elem.vec,
            f"{elem.vec} {a}",
            f"{elem.vec} {b}",
            f"{elem.vec} {c}",
        )
    return code.op(f"add {elem.vec} {code.op(f'mul {elem.vec} {a}, {b}')}, {c}")


class _Rows:
    """Addresses of rows 0, 1, 2, ... from a moving pointer.  With a run-time stride row i = odd <<
    s is addressed as pointer + (odd * stride) << s, so that few registers serve many rows."""

    def __init__(self, code: Code, spec: Micro) -> None:
        self.code, self.step = code, spec.row_step
        self.odd = {}
        if self.step is None:
            for odd in range(1, spec.rows, 2):
                self.odd[odd] = code.op(f"mul i64 %as, {odd}")

    def address(self, base: str, row: int) -> str:
        if row == 0:
            return base
        if self.step is not None:
            return self.code.op(f"getelementptr i8, ptr {base}, i64 {self.step * row}")
        shift = (row & -row).bit_length() - 1
        shift = min(shift, 3)
        unit = row >> shift
        if unit not in self.odd:  # 16 and above never occur with these tiles
            self.odd[unit] = self.code.op(f"mul i64 %as, {unit}")
        return self.code.op(f"getelementptr i{8 << shift}, ptr {base}, i64 {self.odd[unit]}")


def _signature(spec: Micro) -> str:
    table = "ptr %kt, " if spec.segmented else "i64 %bk, "
    return (
        f"define internal void @NAME.{spec.name}(ptr %a, i64 %as, i64 %ak, ptr %b, {table}"
        f"i64 %kc, i64 %cnt, "
        f"ptr %prev, i64 %ldp, i1 %more, ptr %c, i64 %ldc)"
    )


@lru_cache(256)
def micro_kernel(spec: Micro) -> tuple[str, Code]:
    """(signature, body) of `void @NAME.<variant>(a, row stride, k stride, b, k stride or offset
    table, k count, lanes of the last vector, previous sums, their row stride, add them?, result,
    its row stride)`; strides in bytes.  Segmented: b points at descriptors, one per vector."""
    code = Code()
    elem, rows, vecs = spec.elem, spec.rows, spec.vecs
    pointers, masks = _vectors(code, spec)
    address = _Rows(code, spec)
    tile = [(i, j) for i in range(rows) for j in range(vecs)]
    if spec.prefetch:
        _prefetch(code, spec)
    entry = code.block
    code.branch(code.op("icmp sgt i64 %kc, 0"), "loop", "done")
    code.start("loop")
    code.do(f"%k = phi i64 [0, %{entry}], [%k1, %loop]")
    code.do(f"%pa = phi ptr [%a, %{entry}], [%pa1, %loop]")
    if not spec.segmented:
        code.do(f"%pb = phi ptr [%b, %{entry}], [%pb1, %loop]")
    for i, j in tile:
        code.do(f"%c{i}_{j} = phi {elem.vec} [zeroinitializer, %{entry}], [%n{i}_{j}, %loop]")
    bs = _load_row(code, spec, pointers, masks)
    for i in range(rows):
        a = splat(code, elem, code.op(f"load {elem.scalar}, ptr {address.address('%pa', i)}"))
        for j in range(vecs):
            last = multiply_add(code, elem, a, bs[j], f"%c{i}_{j}")
            code.lines[-1] = code.lines[-1].replace(f"{last} =", f"%n{i}_{j} =", 1)
    code.do("%k1 = add i64 %k, 1")
    code.do("%pa1 = getelementptr i8, ptr %pa, i64 %ak")
    if not spec.segmented:
        code.do("%pb1 = getelementptr i8, ptr %pb, i64 %bk")
    code.branch(code.op("icmp slt i64 %k1, %kc"), "loop", "done")
    code.start("done")
    for i, j in tile:
        code.do(f"%s{i}_{j} = phi {elem.vec} [zeroinitializer, %{entry}], [%n{i}_{j}, %loop]")
    _store_tile(code, spec)
    return _signature(spec), code


def _load_row(code: Code, spec: Micro, pointers: list[str], masks: list[str | None]) -> list[str]:
    """The vectors of b at the current k."""
    elem = spec.elem
    if spec.segmented:
        offset = code.op(f"load i64, ptr {code.at('i64', '%kt', '%k')}")
        return [load(code, elem, code.at("i8", p, offset), m) for p, m in zip(pointers, masks)]
    return [
        load(code, elem, code.at("i8", "%pb", str(16 * elem.size * j)), m)
        for j, m in enumerate(masks)
    ]


def _prefetch(code: Code, spec: Micro) -> None:
    row = "%c"
    for i in range(spec.rows):
        row = code.at("i8", row, "%ldc") if i else row
        for at in range(0, 16 * spec.elem.size * spec.vecs, 64):
            code.call(
                "llvm.prefetch.p0",
                "void",
                f"ptr {code.at('i8', row, str(at))}",
                "i32 1",
                "i32 3",
                "i32 1",
            )


def _vectors(code: Code, spec: Micro) -> tuple[list[str], list[str | None]]:
    """Pointer and read mask of each vector of b."""
    if not spec.segmented:
        masks: list[str | None] = [None] * spec.vecs
        if spec.read_mask:
            masks[-1] = mask_of(code, "%cnt")
        return [], masks
    pointers, masks = [], []
    for j in range(spec.vecs):
        pair = code.at("i8", "%b", str(DESC * j))
        pointers.append(code.op(f"load ptr, ptr {pair}"))
        count = code.op(f"load i64, ptr {code.at('i8', pair, '8')}") if spec.read_mask else ""
        masks.append(mask_of(code, count) if spec.read_mask else None)
    return pointers, masks


def _store_tile(code: Code, spec: Micro) -> None:
    """result = sums, or previous sums + sums."""
    elem, size = spec.elem, 16 * spec.elem.size
    mask = mask_of(code, "%cnt") if spec.write_mask and not spec.segmented else None
    masks = [None] * (spec.vecs - 1) + [mask]
    add = "fadd" if elem.is_float else "add"
    if spec.adds:
        code.branch("%more", "onto", "first")
    for label in ("onto", "first") if spec.adds else ("",):
        if label:
            code.start(label)
        c, p = "%c", "%prev"
        for i in range(spec.rows):
            for j in range(spec.vecs):
                value = f"%s{i}_{j}"
                if label == "onto":
                    old = load(code, elem, code.at("i8", p, str(size * j)), masks[j])
                    value = code.op(f"{add} {elem.vec} {old}, {value}")
                store(code, elem, value, code.at("i8", c, str(size * j)), masks[j])
            if i + 1 < spec.rows:
                c = code.op(f"getelementptr i8, ptr {c}, i64 %ldc")
                if label == "onto":
                    p = code.op(f"getelementptr i8, ptr {p}, i64 %ldp")
        code.do("ret void")
