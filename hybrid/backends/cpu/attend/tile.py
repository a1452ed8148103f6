"""The inner functions of attention: a tile of fma chains, and rows turned into columns.

Invariant: every output of `tile` is one fma chain in increasing k, from +0.0 or going on from what
is there; rows past the last are copies of it and lanes past the count are zero, in memory of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from ....ir.attend import TILE
from ...emit.code import Code
from ..gemm.geometry import Target
from ..gemm.micro import PackedElement, load, mask_of, multiply_add, splat, store
from ..gemm.pack import each

__all__ = ["Shape", "tile_shape", "tile_function", "turn_function", "copy_function"]

TILE_SIGNATURE = (
    "define internal void @NAME.tile(ptr %a, i64 %as, i64 %ak, i64 %last, ptr %b, i64 %bk, "
    "i64 %cnt, i64 %kc, ptr %c, i64 %ldc, i1 %more)"
)
TURN_SIGNATURE = (
    "define internal void @NAME.turn(ptr %src, i64 %step, i64 %rows, i64 %cols, ptr %dst)"
)
COPY_SIGNATURE = (
    "define internal void @NAME.copy(ptr %src, i64 %step, i64 %next, i64 %rows, i64 %cols, "
    "ptr %dst)"
)

Masks = Sequence[str | None]  # of each vector of b


class Shape(NamedTuple):
    """Rows and vectors of 16 columns of one tile."""

    rows: int
    vectors: int

    @property
    def width(self) -> int:
        return 16 * self.vectors


def tile_shape(element: PackedElement, target: Target, most: int, few: bool) -> Shape:
    """What the registers hold, of at most so many vectors (`few`: for two rows); any shape gives
    the same bits."""
    registers = max(16 * element.size // target.vector_bytes, 1)  # of a vector of 16
    room = (target.registers - 1) // registers
    if few:
        return Shape(2, 2 if room >= 6 else 1)
    vectors, rows = 1, 4
    if target.registers >= 32:
        vectors, rows = min(max(2 // registers, 1), max(most, 1)), 8
    while rows > 2 and (rows + 1) * vectors > room:
        rows //= 2  # what divides a tile of queries
    return Shape(rows, vectors)


class _Tile(NamedTuple):
    """One way through the function: where each row of a begins, and what is read of b."""

    code: Code
    element: PackedElement
    shape: Shape
    starts: list[str]
    masks: Masks

    def step(self, depth: str, state: list[str]) -> tuple[str, list[str]]:
        """Multiply-adds of one k."""
        code, element, vectors = self.code, self.element, self.shape.vectors
        offset, pointer, *sums = state
        columns = [
            load(code, element, code.at(element.vector, pointer, str(vector)), mask)
            for vector, mask in enumerate(self.masks)
        ]
        added = []
        for row in range(self.shape.rows):
            one = code.op(f"load {element.scalar}, ptr {code.at('i8', self.starts[row], offset)}")
            lanes = splat(code, element, one)
            own = zip(columns, sums[row * vectors : (row + 1) * vectors])
            added += [multiply_add(code, element, lanes, column, total) for column, total in own]
        following = [code.op(f"add i64 {offset}, %ak"), code.at("i8", pointer, "%bk")]
        return code.op(f"add i64 {depth}, 1"), [*following, *added]

    def walk(self, name: str) -> None:
        """All k, from zero or from the sums that are there; the end of the function."""
        code, element = self.code, self.element
        lines = ["%c"]
        for _ in range(1, self.shape.rows):
            lines.append(code.at("i8", lines[-1], "%ldc"))
        places = [
            code.at(element.vector, line, str(vector))
            for line in lines
            for vector in range(self.shape.vectors)
        ]
        started = self._begin(name, places)
        carried = [("i64", "0"), ("ptr", "%b"), *[(element.vector, value) for value in started]]
        _, (_, _, *sums) = code.turns("0", "%kc", carried, self.step)
        for pointer, total in zip(places, sums):
            store(code, element, total, pointer, None)
        code.do("ret void")

    def _begin(self, name: str, places: Sequence[str]) -> list[str]:
        """Zeros, or what is there where the sums go on."""
        code, element = self.code, self.element
        code.branch("%more", f"{name}.go.on", f"{name}.zero")
        code.start(f"{name}.go.on")
        before = [load(code, element, pointer, None) for pointer in places]
        code.jump(f"{name}.begin")
        code.start(f"{name}.zero")
        code.jump(f"{name}.begin")
        code.start(f"{name}.begin")
        phi, zero = f"phi {element.vector}", f"[zeroinitializer, %{name}.zero]"
        return [code.op(f"{phi} [{value}, %{name}.go.on], {zero}") for value in before]


@lru_cache(16)
def tile_function(element: PackedElement, shape: Shape) -> tuple[str, Code]:
    """c[i, :] = (c[i, :] when %more) + sum over k of a[min(i, last), k] * b[k, :]; strides in
    bytes; of b's columns the first %cnt are read.  A tile that is all there has a way of its own:
    a mask is work for the units that multiply, or costs more than the rest."""
    code = Code()
    rows, vectors = range(1, shape.rows), range(shape.vectors)
    wide = code.op(f"icmp sge i64 %cnt, {shape.width}")
    high = code.op(f"icmp sge i64 %last, {shape.rows - 1}")
    code.branch(code.op(f"and i1 {wide}, {high}"), "all.there", "some.there")
    code.start("all.there")
    starts = ["%a"]
    for _ in rows:
        starts.append(code.at("i8", starts[-1], "%as"))
    _Tile(code, element, shape, starts, [None] * shape.vectors).walk("all")
    code.start("some.there")
    masks = [mask_of(code, code.op(f"sub i64 %cnt, {16 * vector}")) for vector in vectors]
    # rows past the last are computed again from the last
    inside = [code.mul(code.smin(str(row), "%last"), "%as") for row in rows]
    starts = ["%a", *[code.at("i8", "%a", offset) for offset in inside]]
    _Tile(code, element, shape, starts, masks).walk("some")
    return TILE_SIGNATURE, code


def _row(code: Code, index: str) -> str:
    """Byte offset of a row, or of the last."""
    return code.mul(code.smin(index, code.once("sub i64 %rows, 1")), "%step")


@lru_cache(16)
def turn_function(element: PackedElement) -> tuple[str, Code]:
    """dst[j, i] = src[min(i, rows - 1), j] for i < TILE, j < cols; columns of src are adjacent.
    Groups of 16 rows past the last are left as they are."""
    code = Code()
    rows = code.smin("%rows", str(TILE))
    each(code, "0", rows, "16", partial(_turn_rows, code, element))
    code.do("ret void")
    return TURN_SIGNATURE, code


def _turn_rows(code: Code, element: PackedElement, first: str) -> None:
    """16 rows from `first` on: squares of 16 where all are there, columns one by one elsewhere."""
    line = str(TILE * element.size)
    left = code.op(f"sub i64 %rows, {first}")
    whole = code.op(f"icmp sge i64 {left}, 16")
    even = code.op(f"select i1 {whole}, i64 {code.op('and i64 %cols, -16')}, i64 0")
    source = code.at("i8", "%src", code.mul(first, "%step"))
    target = code.at(element.scalar, "%dst", first)

    def square(index: str) -> None:
        start = code.at(element.scalar, source, index)
        place = code.at("i8", target, code.mul(index, line))
        code.do(f"call void @NAME.transpose(ptr {start}, i64 %step, ptr {place}, i64 {line})")

    def column(index: str) -> None:
        start = code.at(element.scalar, "%src", index)
        place = code.at("i8", target, code.mul(index, line))

        def lane(number: str) -> None:
            pointer = code.at("i8", start, _row(code, code.add(first, number)))
            value = code.op(f"load {element.scalar}, ptr {pointer}")
            code.do(f"store {element.scalar} {value}, ptr {code.at(element.scalar, place, number)}")

        each(code, "0", "16", "1", lane)

    each(code, "0", even, "16", square)
    each(code, even, "%cols", "1", column)


@lru_cache(16)
def copy_function(element: PackedElement, truth: bool) -> tuple[str, Code]:
    """`turn` for any column stride (%next); `truth`: bytes become 0 and 1."""
    code, scalar = Code(), element.scalar

    def column(index: str) -> None:
        start = code.at("i8", "%src", code.mul(index, "%next"))
        place = code.at("i8", "%dst", code.mul(index, str(TILE * element.size)))

        def lane(number: str) -> None:
            pointer = code.at("i8", start, _row(code, number))
            if truth:
                value = code.op(f"uitofp i8 {code.op(f'load i8, ptr {pointer}')} to {scalar}")
            else:
                value = code.op(f"load {scalar}, ptr {pointer}")
            code.do(f"store {scalar} {value}, ptr {code.at(scalar, place, number)}")

        each(code, "0", str(TILE), "1", lane)

    each(code, "0", "%cols", "1", column)
    code.do("ret void")
    return COPY_SIGNATURE, code
