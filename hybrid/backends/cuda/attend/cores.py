"""Products of attention on tensor cores: pieces of 16 x 8 by warps of a block of threads.

A warp has 16 rows of the block's 64; its 32 lanes are 8 groups of 4.  A piece's element pairs are
those of mma.m16n8k8: lane (group, member) holds rows group and group + 8, columns 2 * member and
the next.  Invariant: factors are rounded to TF32, sums are float32 in the order of the hardware,
which depends on sizes only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .tile import THREADS, WIDE, Area
from .writer import SHARED, Matrix, Writer

__all__ = ["BLOCK_ROWS", "MOST_COLUMNS", "Cores", "Held", "Piece"]

BLOCK_ROWS = 64
MOST_COLUMNS = 64  # of every matrix
STEP = 8  # of a product's sum, and rows or columns of a piece
_FOUR = "{float, float, float, float}"
Piece = list[str]  # (row, column) = (0, 0), (0, 1), (8, 0), (8, 1) from the lane's first


class Held(NamedTuple):
    """The warp's rows of a matrix, as left factors: four registers for every 8 columns."""

    steps: list[list[str]]


class Cores:
    """The products of one kernel, whose row tiles lie in shared memory from `memory` on."""

    def __init__(self, writer: Writer) -> None:
        self.writer, code, place = writer, writer.code, writer.place
        self.group = code.op(f"lshr i64 {place.lane}, 2")
        self.member = code.op(f"and i64 {place.lane}, 3")
        warp = code.mul(code.op(f"lshr i64 {place.thread}, 5"), "16")
        self.own_row = code.add(warp, self.group)
        self.own_column = code.mul(self.member, "2")

    def area(self, start: int, columns: int) -> Area:
        """Shared memory of a tile of 64 rows; reads of both kinds meet all banks."""
        wide = -(-columns // STEP) * STEP
        return Area(start, (wide + 4) * 4, BLOCK_ROWS, wide)

    # ---- from global memory
    def rounded(self, value: str) -> str:
        """A float as TF32, in an i32."""
        return self.writer.code.call("llvm.nvvm.f2tf32.rna", "i32", f"float {value}")

    def held(self, matrix: Matrix, first: str, stop: str, columns: int) -> Held:
        """Rows from `first` on; those past the last are the last, columns past the last zeros."""
        writer, code = self.writer, self.writer.code
        last = code.op(f"sub i64 {stop}, 1")
        lines = []
        for row in (0, STEP):
            index = code.add(code.add(first, self.own_row), str(row))
            place = code.mul(code.smin(index, last), matrix.step)
            lines.append(writer.beyond(matrix.pointer, place))
        steps = []
        for start in range(0, columns, STEP):
            column = [code.add(self.member, str(start + more)) for more in (0, 4)]
            both = [(line, at) for at in column for line in lines]
            steps.append([self._one(line, at, columns) for line, at in both])
        return Held(steps)

    def _one(self, line: str, column: str, columns: int) -> str:
        writer, code = self.writer, self.writer.code
        inside = code.smin(column, str(columns - 1))
        value = writer.load_global(writer.beyond(line, code.mul(inside, "4")))
        if columns % STEP:
            there = code.op(f"icmp slt i64 {column}, {columns}")
            value = writer.pick(there, value, writer.number(0.0))
        return self.rounded(value)

    def stage(self, matrix: Matrix, first: str, stop: str, area: Area, columns: int) -> None:
        """64 rows of a matrix into shared memory, zeros where there are none."""
        writer, code, thread = self.writer, self.writer.code, self.writer.place.thread
        pieces, last = area.columns // 4, code.op(f"sub i64 {stop}, 1")
        moves = []
        for number in range(0, BLOCK_ROWS * pieces, THREADS):
            index = code.add(thread, str(number))
            row = code.op(f"udiv i64 {index}, {pieces}")
            column = code.op(f"urem i64 {index}, {pieces}")
            source = code.add(first, row)
            there = code.op(f"icmp slt i64 {source}, {stop}")
            line = code.mul(code.smin(source, last), matrix.step)
            start = code.add(code.mul(row, str(area.stride)), code.mul(column, str(WIDE)))
            target = writer.shared(code.add(start, str(area.start)))
            moves.append((writer.beyond(matrix.pointer, line), column, there, target))

        def whole() -> None:
            for line, column, there, target in moves:
                pointer = writer.beyond(line, code.mul(column, str(WIDE)))
                vector = writer.load_global(pointer, wide=True)
                values = [
                    code.op(f"extractelement {writer.element.vector} {vector}, i64 {i}")
                    for i in range(4)
                ]
                self._put(values, there, target)

        def single() -> None:
            for line, column, there, target in moves:
                at = code.mul(column, "4")
                values = [self._element(line, code.add(at, str(i)), columns) for i in range(4)]
                self._put(values, there, target)

        if columns % STEP:
            single()
            return
        code.when(matrix.aligned, whole)
        code.when(code.op(f"xor i1 {matrix.aligned}, true"), single)

    def _element(self, line: str, column: str, columns: int) -> str:
        writer, code = self.writer, self.writer.code
        inside = code.smin(column, str(columns - 1))
        value = writer.load_global(writer.beyond(line, code.mul(inside, "4")))
        there = code.op(f"icmp slt i64 {column}, {columns}")
        return writer.pick(there, value, writer.number(0.0))

    def _put(self, values: list[str], there: str, target: str) -> None:
        code, vector = self.writer.code, "poison"
        for i, value in enumerate(values):
            kept = self.writer.pick(there, value, self.writer.number(0.0))
            element = self.rounded(kept)
            vector = code.op(f"insertelement <4 x i32> {vector}, i32 {element}, i64 {i}")
        code.do(f"store <4 x i32> {vector}, {SHARED} {target}, align 16")

    # ---- products
    def zeros(self, columns: int) -> list[tuple[str, str]]:
        """Loop variables of the pieces of 16 rows and so many columns."""
        return [("float", self.writer.number(0.0))] * (4 * -(-columns // STEP))

    def _mma(self, left: list[str], right: list[str], total: Piece) -> Piece:
        code = self.writer.code
        given = [f"i32 {x}" for x in (*left, *right)] + [f"float {x}" for x in total]
        name = "llvm.nvvm.mma.m16n8k8.row.col.tf32"
        kinds = ", ".join(["i32"] * 6 + ["float"] * 4)
        code.declared[name] = f"declare {_FOUR} @{name}({kinds})"
        found = code.op(f"call {_FOUR} @{name}({', '.join(given)})")
        return [code.op(f"extractvalue {_FOUR} {found}, {i}") for i in range(4)]

    def _load(self, pointer: str, offset: int) -> str:
        place = self.writer.inside(pointer, offset)
        return self.writer.code.op(f"load i32, {SHARED} {place}")

    def across(self, area: Area) -> Callable[[Held, int], Piece]:
        """A function that gives the products of the held rows with 8 rows of a tile."""
        writer, code = self.writer, self.writer.code
        row = code.add(code.mul(self.group, str(area.stride)), code.mul(self.member, "4"))
        pointer = writer.shared(code.add(row, str(area.start)))

        def piece(held: Held, number: int) -> Piece:
            total = [writer.number(0.0)] * 4
            for step, left in enumerate(held.steps):
                offset = STEP * (number * area.stride + step * 4)
                right = [self._load(pointer, offset), self._load(pointer, offset + 16)]
                total = self._mma(left, right, total)
            return total

        return piece

    def along(self, area: Area) -> Callable[[Piece, int, list[str]], list[str]]:
        """A function that adds weights of 8 rows of a tile times those rows to sums.

        Which of the 8 is which in the hardware's sum is free: the lane's two columns are its two
        steps, so weights stay where they are."""
        writer, code = self.writer, self.writer.code
        row = code.add(code.mul(self.member, str(2 * area.stride)), code.mul(self.group, "4"))
        pointer = writer.shared(code.add(row, str(area.start)))

        def add(weights: Piece, number: int, sums: list[str]) -> list[str]:
            left = [self.rounded(weights[i]) for i in (0, 2, 1, 3)]
            found = []
            for column in range(0, area.columns, STEP):
                offset = STEP * number * area.stride + column * 4
                right = [self._load(pointer, offset), self._load(pointer, offset + area.stride)]
                total = sums[column // 2 : column // 2 + 4]
                found += self._mma(left, right, total)
            return found

        return add
