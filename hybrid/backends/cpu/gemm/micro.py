"""Micro-kernels: a tile of `rows` x (16 * `vectors`) sums of products over one block of k, held in
registers.

Invariant: every output is one fma chain from +0.0 in increasing k (wrapping multiply-add for
integers); lanes past the column count are computed from whatever is there and never stored to the
result.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

from ....ir.scalar.program import ScalarType
from ...emit.code import Code

__all__ = [
    "DESCRIPTOR",
    "LANE_NUMBERS",
    "PackedElement",
    "ELEMENTS",
    "Micro",
    "add_vectors",
    "describe",
    "load",
    "mask_of",
    "masked_load",
    "masked_store",
    "micro_kernel",
    "multiply_add",
    "splat",
    "spread",
    "store",
]

DESCRIPTOR = 24  # bytes of a vector descriptor: pointer into b, lanes, first column

LANE_NUMBERS = "<" + ", ".join(f"i32 {i}" for i in range(16)) + ">"


class PackedElement(NamedTuple):
    """Type of the accumulators and of packed factors."""

    name: ScalarType  # program type
    scalar: str  # LLVM type
    size: int
    suffix: str  # of vector intrinsics

    @property
    def vector(self) -> str:
        """LLVM type of 16 lanes."""
        return f"<16 x {self.scalar}>"

    @property
    def is_float(self) -> bool:
        return self.name[0] == "f"


ELEMENTS = {
    "f32": PackedElement("f32", "float", 4, "v16f32"),
    "f64": PackedElement("f64", "double", 8, "v16f64"),
    "i32": PackedElement("i32", "i32", 4, "v16i32"),
    "i64": PackedElement("i64", "i64", 8, "v16i64"),
}


class Micro(NamedTuple):
    """A micro-kernel variant.  Row i of a starts `row_step` * i bytes after row 0 (None: a run-time
    stride), or `offsets[i]`; k of a then comes from a table of offsets, too.  `segmented`: every
    vector has its own pointer and lane count, and rows of b come from an offset table; otherwise
    vectors are adjacent.  `read_mask`/`write_mask`: the last vector (segmented: any) is partial
    when reading b / storing."""

    element: PackedElement
    rows: int
    vectors: int
    row_step: int | None
    segmented: bool = False
    read_mask: bool = False
    write_mask: bool = False
    adds: bool = False  # may add to previous sums
    depth_step: int | None = None  # bytes from k to k of a, where they are a constant
    column_step: int | None = None  # of b
    offsets: tuple[int, ...] = ()
    prefetch: int = 0  # k by which all lines of the result have been asked for; 0: none are

    @property
    def unroll(self) -> int:
        """Steps of k between two jumps; with run-time strides there are no registers for more."""
        if self.offsets:
            return 2
        return 1 if self.segmented or self.depth_step is None else 2

    @property
    def name(self) -> str:
        flags = (
            "s" * self.segmented + "r" * self.read_mask + "w" * self.write_mask + "a" * self.adds
        )
        flags += "o" * bool(self.offsets)
        return f"mk{self.rows}x{self.vectors}{flags}"


def spread(code: Code, scalar: str, value: str) -> str:
    """A value in all 16 lanes."""
    vector = f"<16 x {scalar}>"
    one = code.op(f"insertelement {vector} poison, {scalar} {value}, i64 0")
    return code.op(f"shufflevector {vector} {one}, {vector} poison, <16 x i32> zeroinitializer")


def splat(code: Code, element: PackedElement, value: str) -> str:
    return spread(code, element.scalar, value)


def mask_of(code: Code, lane_count: str) -> str:
    """Lanes below an i64 count (which fits 32 bits)."""
    every = spread(code, "i32", code.op(f"trunc i64 {lane_count} to i32"))
    return code.op(f"icmp slt <16 x i32> {LANE_NUMBERS}, {every}")


def describe(
    code: Code, descriptors: str, number: int, lane_count: str, column: str, pointer: str = "null"
) -> None:
    """Write the descriptor of a vector: where it is read, its lanes, its first column."""
    for offset, text in ((0, f"ptr {pointer}"), (8, f"i64 {lane_count}"), (16, f"i64 {column}")):
        code.do(
            f"store {text}, ptr {code.at('i8', descriptors, str(DESCRIPTOR * number + offset))}"
        )


def _suffix(scalar: str) -> str:
    """Of intrinsics on 16 lanes."""
    return {"float": "v16f32", "double": "v16f64"}.get(scalar, f"v16{scalar}")


def masked_load(code: Code, scalar: str, itemsize: int, pointer: str, mask: str | None) -> str:
    """16 adjacent elements, zero where the mask is off; memory there is not read, so that the last
    vector of a row may end at the border of a page."""
    vector = f"<16 x {scalar}>"
    return code.call(
        f"llvm.masked.load.{_suffix(scalar)}.p0",
        vector,
        f"ptr {pointer}",
        f"i32 {itemsize}",
        f"<16 x i1> {mask}",
        f"{vector} zeroinitializer",
    )


def masked_store(
    code: Code, scalar: str, itemsize: int, value: str, pointer: str, mask: str | None
) -> None:
    code.call(
        f"llvm.masked.store.{_suffix(scalar)}.p0",
        "void",
        f"<16 x {scalar}> {value}",
        f"ptr {pointer}",
        f"i32 {itemsize}",
        f"<16 x i1> {mask}",
    )


def load(code: Code, element: PackedElement, pointer: str, mask: str | None) -> str:
    if mask is None:
        return code.op(f"load {element.vector}, ptr {pointer}, align {element.size}")
    return masked_load(code, element.scalar, element.size, pointer, mask)


def store(code: Code, element: PackedElement, value: str, pointer: str, mask: str | None) -> None:
    if mask is None:
        code.do(f"store {element.vector} {value}, ptr {pointer}, align {element.size}")
    else:
        masked_store(code, element.scalar, element.size, value, pointer, mask)


def multiply_add(code: Code, element: PackedElement, left: str, right: str, addend: str) -> str:
    """left * right + addend: one rounding for floats, wrapping for integers."""
    vector = element.vector
    if element.is_float:
        args = [f"{vector} {value}" for value in (left, right, addend)]
        return code.call(f"llvm.fma.{element.suffix}", vector, *args)
    product = code.op(f"mul {vector} {left}, {right}")
    return code.op(f"add {vector} {product}, {addend}")


def add_vectors(code: Code, element: PackedElement, left: str, right: str) -> str:
    return code.op(f"{'fadd' if element.is_float else 'add'} {element.vector} {left}, {right}")


class _Rows:
    """Addresses of rows 0, 1, 2, ... of a from a moving pointer.

    With a run-time stride row i = odd << shift is addressed as pointer + (odd * stride) << shift:
    the shift is part of an x86 address (up to 8 times), so that 14 rows need 7 registers."""

    def __init__(self, code: Code, variant: Micro) -> None:
        self.code, self.step, self.offsets = code, variant.row_step, variant.offsets
        self.multiples: dict[int, str] = {}
        if self.step is None and not self.offsets:
            for odd in range(1, variant.rows, 2):
                self.multiples[odd] = code.op(f"mul i64 %as, {odd}")

    def address(self, base: str, row: int) -> str:
        if row == 0:
            return base
        if self.offsets:
            return self.code.op(f"getelementptr i8, ptr {base}, i64 {self.offsets[row]}")
        if self.step is not None:
            return self.code.op(f"getelementptr i8, ptr {base}, i64 {self.step * row}")
        shift = min((row & -row).bit_length() - 1, 3)
        unit = row >> shift
        if unit not in self.multiples:  # 16 and above never occur with these tiles
            self.multiples[unit] = self.code.op(f"mul i64 %as, {unit}")
        return self.code.op(f"getelementptr i{8 << shift}, ptr {base}, i64 {self.multiples[unit]}")


def _signature(variant: Micro) -> str:
    table = "ptr %kt, " if variant.segmented else "i64 %bk, "
    depth = "ptr %ao" if variant.offsets else "i64 %ak"
    return (
        f"define internal void @NAME.{variant.name}(ptr %a, i64 %as, {depth}, ptr %b, {table}"
        f"i64 %kc, i64 %cnt, "
        f"ptr %prev, i64 %ldp, i1 %more, ptr %c, i64 %ldc)"
    )


@lru_cache(256)
def micro_kernel(variant: Micro) -> tuple[str, Code]:
    """(signature, body) of `void @NAME.<variant>(a, row stride, k stride or offset table, b, k
    stride or offset table, k count, lanes of the last vector, previous sums, their row stride, add
    them?, result, its row stride)`; strides in bytes.  Segmented: b points at descriptors, one per
    vector."""
    code, vector = Code(), variant.element.vector
    walk = _Walk(code, variant)
    types = ["ptr", "ptr", *[vector] * (variant.rows * variant.vectors)]
    depth, state = "0", ["%a", "%b", *["zeroinitializer"] * (variant.rows * variant.vectors)]
    if variant.unroll > 1:
        whole = code.op(f"and i64 %kc, {-variant.unroll}")
        several = partial(walk.steps, variant.unroll)
        depth, state = code.turns(depth, whole, list(zip(types, state)), several)
    _, state = code.turns(depth, "%kc", list(zip(types, state)), partial(walk.steps, 1))
    _store_tile(code, variant, state[2:])
    return _signature(variant), code


class _Walk:
    """Steps along k: a row of b, then a multiply-add for every row of a and vector of b."""

    def __init__(self, code: Code, variant: Micro) -> None:
        self.code, self.variant = code, variant
        self.pointers, self.masks = _vectors(code, variant)
        self.rows = _Rows(code, variant)

    def steps(self, count: int, depth: str, state: list[str]) -> tuple[str, list[str]]:
        """k and the state `count` steps later: pointers into a and b, and the sums, row by row."""
        code, variant = self.code, self.variant
        left, right, *sums = state
        if variant.prefetch:
            _prefetch(code, variant, depth, count)
        depth_step = "%ak" if variant.depth_step is None else str(variant.depth_step)
        column_step = "%bk" if variant.column_step is None else str(variant.column_step)
        for step in range(count):
            place = left
            if variant.offsets:
                own = code.add(depth, str(step)) if step else depth
                offset = code.op(f"load i64, ptr {code.at('i64', '%ao', own)}")
                place = code.at("i8", left, offset)
            sums = self._step(depth, place, right, sums)
            left = left if variant.offsets else code.at("i8", left, depth_step)
            right = right if variant.segmented else code.at("i8", right, column_step)
        return code.op(f"add i64 {depth}, {count}"), [left, right, *sums]

    def _step(self, depth: str, left: str, right: str, sums: list[str]) -> list[str]:
        code, element, vectors = self.code, self.variant.element, self.variant.vectors
        columns = self._row_of_b(depth, right)
        following_sums = []
        for row in range(self.variant.rows):
            address = self.rows.address(left, row)
            scalar = splat(code, element, code.op(f"load {element.scalar}, ptr {address}"))
            columns_and_sums = zip(columns, sums[row * vectors : (row + 1) * vectors])
            following_sums += [
                multiply_add(code, element, scalar, column, total)
                for column, total in columns_and_sums
            ]
        return following_sums

    def _row_of_b(self, depth: str, right: str) -> list[str]:
        """The vectors of b at one k."""
        code, element = self.code, self.variant.element
        if self.variant.segmented:
            offset = code.op(f"load i64, ptr {code.at('i64', '%kt', depth)}")
            return [
                load(code, element, code.at("i8", pointer, offset), mask)
                for pointer, mask in zip(self.pointers, self.masks)
            ]
        return [
            load(code, element, code.at("i8", right, str(16 * element.size * number)), mask)
            for number, mask in enumerate(self.masks)
        ]


def _prefetch(code: Code, variant: Micro, k: str, steps: int) -> None:
    """Ask for a line of the result, which is written when the loop over k ends: another one after
    every few k, since a core waits for few lines of memory at a time."""
    lines = -(-16 * variant.element.size * variant.vectors // 64)
    within = (lines - 1).bit_length()  # lines of a row, as a power of two
    every = max((variant.prefetch // (variant.rows << within)).bit_length() - 1, 0)
    for ahead in range(0, steps, 1 << every):
        own = code.add(k, str(ahead))
        row = code.op(f"lshr i64 {own}, {every + within}")
        pointer = code.at("i8", "%c", code.mul(row, "%ldc"))
        if within:
            line = code.op(f"and i64 {code.op(f'lshr i64 {own}, {every}')}, {(1 << within) - 1}")
            pointer = code.at("i8", pointer, code.op(f"shl i64 {line}, 6"))
        code.call("llvm.prefetch.p0", "void", f"ptr {pointer}", "i32 1", "i32 3", "i32 1")


def _vectors(code: Code, variant: Micro) -> tuple[list[str], list[str | None]]:
    """Pointer and read mask of each vector of b."""
    masks: list[str | None] = [None] * variant.vectors
    if not variant.segmented:
        if variant.read_mask:
            masks[-1] = mask_of(code, "%cnt")
        return [], masks
    pointers = []
    for number in range(variant.vectors):
        descriptor = code.at("i8", "%b", str(DESCRIPTOR * number))
        pointers.append(code.op(f"load ptr, ptr {descriptor}"))
        if variant.read_mask:
            lane_count = code.op(f"load i64, ptr {code.at('i8', descriptor, '8')}")
            masks[number] = mask_of(code, lane_count)
    return pointers, masks


def _store_tile(code: Code, variant: Micro, sums: list[str]) -> None:
    """result = sums, or previous sums + sums."""
    mask = mask_of(code, "%cnt") if variant.write_mask and not variant.segmented else None
    masks = [None] * (variant.vectors - 1) + [mask]
    if not variant.adds:
        _store_rows(code, variant, (sums, masks), onto=False)
        return
    code.branch("%more", "onto", "first")
    for label in ("onto", "first"):
        code.start(label)
        _store_rows(code, variant, (sums, masks), onto=label == "onto")


def _store_rows(
    code: Code, variant: Micro, values: tuple[list[str], list[str | None]], onto: bool
) -> None:
    sums, masks = values
    element, size = variant.element, 16 * variant.element.size
    result, previous = "%c", "%prev"
    for row in range(variant.rows):
        for vector in range(variant.vectors):
            value, offset = sums[row * variant.vectors + vector], str(size * vector)
            if onto:
                old = load(code, element, code.at("i8", previous, offset), masks[vector])
                value = add_vectors(code, element, old, value)
            store(code, element, value, code.at("i8", result, offset), masks[vector])
        if row + 1 < variant.rows:
            result = code.op(f"getelementptr i8, ptr {result}, i64 %ldc")
            if onto:
                previous = code.op(f"getelementptr i8, ptr {previous}, i64 %ldp")
    code.do("ret void")
