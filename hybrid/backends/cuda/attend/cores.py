"""Products of attention on tensor cores: pieces of 16 x 8 by warps of a block of threads.

A warp has 16 rows of the block's 64; its 32 lanes are 8 groups of 4.  A piece's elements are those
of an mma of 16 x 8: lane (group, member) holds rows group and group + 8, columns 2 * member and the
next.  Invariant: factors are rounded to TF32 or bfloat16, sums are float32 in the order of the
hardware, which depends on sizes only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .tile import THREADS, WIDE, Area
from .writer import SHARED, AttendWriter, Matrix

__all__ = ["BLOCK_ROWS", "MOST_COLUMNS", "STEP", "Cores", "HeldTile", "Piece", "CoreTile"]

BLOCK_ROWS = 64
MOST_COLUMNS = 64  # of every matrix
STEP = 8  # rows or columns of a piece
WORD = 4  # bytes
_FOUR = "{float, float, float, float}"
Piece = list[str]  # (row, column) = (0, 0), (0, 1), (8, 0), (8, 1) from the lane's first


class HeldTile(NamedTuple):
    """The warp's rows of a matrix, as left factors: four registers for every step of a sum."""

    steps: list[list[str]]


Across = Callable[[HeldTile, int], Piece]
Along = Callable[[list[Piece], int, list[str]], list[str]]


class CoreTile(NamedTuple):
    """64 rows of a matrix in shared memory: as what rows are multiplied with (`across`), as what
    weights are multiplied with (`along`), or both; the number of the matrix's columns."""

    across: Area | None
    along: Area | None
    columns: int

    @property
    def stop(self) -> int:
        return max(area.stop for area in (self.across, self.along) if area is not None)


class Cores:
    """The products of one kernel.  `pairs`: factors are pairs of bfloat16 in a register, and sums
    go in steps of 16; else they are TF32, in steps of 8."""

    def __init__(self, writer: AttendWriter, pairs: bool) -> None:
        self.writer, code, indices = writer, writer.code, writer.indices
        self.pairs = pairs
        self.pieces = 2 if pairs else 1  # of weights, for one step along a tile
        self.group = code.op(f"lshr i64 {indices.lane}, 2")
        self.member = code.op(f"and i64 {indices.lane}, 3")
        warp = code.mul(code.op(f"lshr i64 {indices.thread}, 5"), "16")
        self.own_row = code.add(warp, self.group)
        self.own_column = code.mul(self.member, "2")

    def tile(self, start: int, columns: int, across: bool, along: bool) -> CoreTile:
        """Shared memory of a tile from `start` on; lines are so long that reads meet all banks."""
        step = STEP * self.pieces
        wide = -(-columns // step) * step
        if not self.pairs:  # one area serves both
            area = Area(start, (wide + 4) * WORD, BLOCK_ROWS, wide)
            return CoreTile(area if across else None, area if along else None, columns)
        first = Area(start, (wide // 2 + 4) * WORD, BLOCK_ROWS, wide)
        wide_line = -(-wide // 32) * 32 + STEP
        start = first.stop if across else start
        second = Area(start, wide_line * WORD, BLOCK_ROWS // 2, wide)
        return CoreTile(first if across else None, second if along else None, columns)

    # ---- factors
    def _one(self, value: str) -> str:
        """A float as TF32, in an i32."""
        return self.writer.code.call("llvm.nvvm.f2tf32.rna", "i32", f"float {value}")

    def _two(self, low: str, high: str) -> str:
        """Two floats as bfloat16, in an i32."""
        code, name = self.writer.code, "llvm.nvvm.ff2bf16x2.rn"
        made = code.call(name, "<2 x bfloat>", f"float {high}", f"float {low}")
        return code.op(f"bitcast <2 x bfloat> {made} to i32")

    def _mma(self, left: list[str], right: list[str], total: Piece) -> Piece:
        code = self.writer.code
        given = [f"i32 {x}" for x in (*left, *right)] + [f"float {x}" for x in total]
        name = "m16n8k16.row.col.bf16" if self.pairs else "m16n8k8.row.col.tf32"
        name = f"llvm.nvvm.mma.{name}"
        kinds = ", ".join(["i32"] * 6 + ["float"] * 4)
        code.declared[name] = f"declare {_FOUR} @{name}({kinds})"
        found = code.op(f"call {_FOUR} @{name}({', '.join(given)})")
        return [code.op(f"extractvalue {_FOUR} {found}, {i}") for i in range(4)]

    # ---- from global memory
    def _element(self, line: str, column: str, columns: int) -> str:
        """Of a row; zero past the last column."""
        writer, code = self.writer, self.writer.code
        inside = code.smin(column, str(columns - 1))
        value = writer.load_global(writer.beyond(line, code.mul(inside, str(WORD))))
        if not columns % (STEP * self.pieces):
            return value
        there = code.op(f"icmp slt i64 {column}, {columns}")
        return writer.pick(there, value, writer.number(0.0))

    def held(self, matrix: Matrix, first: str, stop: str, columns: int) -> HeldTile:
        """Rows from `first` on; those past the last are the last, columns past the last zeros."""
        writer, code = self.writer, self.writer.code
        last = code.op(f"sub i64 {stop}, 1")
        lines = []
        for row in (0, STEP):
            index = code.add(code.add(first, self.own_row), str(row))
            offset = code.mul(code.smin(index, last), matrix.step)
            lines.append(writer.beyond(matrix.pointer, offset))
        steps, step = [], STEP * self.pieces
        for start in range(0, columns, step):
            registers = []
            for half in (0, step // 2):
                column = code.add(self.own_column if self.pairs else self.member, str(start + half))
                for line in lines:
                    values = [
                        self._element(line, code.add(column, str(i)), columns)
                        for i in range(self.pieces)
                    ]
                    made = self._two(*values) if self.pairs else self._one(values[0])
                    registers.append(made)
            steps.append(registers)
        return HeldTile(steps)

    def stage(self, matrix: Matrix, first: str, stop: str, tile: CoreTile) -> None:
        """64 rows of a matrix into shared memory, zeros where there are none; a thread moves four
        columns of one row, or of two."""
        writer, code, rows = self.writer, self.writer.code, self.pieces
        area = tile.across or tile.along
        assert area is not None
        quads, last = area.columns // 4, code.op(f"sub i64 {stop}, 1")
        moves = []
        for number in range(0, BLOCK_ROWS // rows * quads, THREADS):
            index = code.add(writer.indices.thread, str(number))
            line = code.mul(code.op(f"udiv i64 {index}, {quads}"), str(rows))
            quad = code.op(f"urem i64 {index}, {quads}")
            moves.append((line, quad))

        def all_of(is_wide: bool) -> None:
            for line, quad in moves:
                found = []
                for row in range(rows):
                    index = code.add(code.add(first, line), str(row))
                    there = code.op(f"icmp slt i64 {index}, {stop}")
                    offset = code.mul(code.smin(index, last), matrix.step)
                    source = writer.beyond(matrix.pointer, offset)
                    values = self._quad(source, quad, tile.columns, is_wide)
                    found.append([writer.pick(there, x, writer.number(0.0)) for x in values])
                self._put(found, line, quad, tile)

        if tile.columns % (STEP * rows):
            all_of(False)
            return
        code.when(matrix.aligned, lambda: all_of(True))
        code.when(code.op(f"xor i1 {matrix.aligned}, true"), lambda: all_of(False))

    def _quad(self, line: str, quad: str, columns: int, is_wide: bool) -> list[str]:
        writer, code = self.writer, self.writer.code
        if not is_wide:
            first = code.mul(quad, "4")
            return [self._element(line, code.add(first, str(i)), columns) for i in range(4)]
        vector = writer.load_global(writer.beyond(line, code.mul(quad, str(WIDE))), wide=True)
        kind = writer.element.vector
        return [code.op(f"extractelement {kind} {vector}, i64 {i}") for i in range(4)]

    def _put(self, found: list[list[str]], line: str, quad: str, tile: CoreTile) -> None:
        """Four columns of one row, or of two, where a tile has them."""
        if not self.pairs:
            area = tile.across or tile.along
            assert area is not None
            self._write([self._one(x) for x in found[0]], area, line, quad, WIDE)
            return
        code = self.writer.code
        if tile.across is not None:
            for row, values in enumerate(found):
                words = [self._two(*values[:2]), self._two(*values[2:])]
                self._write(words, tile.across, code.add(line, str(row)), quad, WIDE // 2)
        if tile.along is not None:
            words = [self._two(low, high) for low, high in zip(*found)]
            self._write(words, tile.along, code.op(f"lshr i64 {line}, 1"), quad, WIDE)

    def _write(self, words: list[str], area: Area, row: str, quad: str, step: int) -> None:
        code, vector, kind = self.writer.code, "poison", f"<{len(words)} x i32>"
        offset = code.add(code.mul(row, str(area.stride)), code.mul(quad, str(step)))
        target = self.writer.shared(code.add(offset, str(area.start)))
        for i, word in enumerate(words):
            vector = code.op(f"insertelement {kind} {vector}, i32 {word}, i64 {i}")
        code.do(f"store {kind} {vector}, {SHARED} {target}, align {WORD * len(words)}")

    # ---- products
    def zeros(self, columns: int) -> list[tuple[str, str]]:
        """Loop variables of the pieces of 16 rows and so many columns."""
        step = STEP * self.pieces  # as many as a tile has
        return [("float", self.writer.number(0.0))] * (-(-columns // step) * step // 2)

    def _load(self, pointer: str, offset: int) -> str:
        source = self.writer.inside(pointer, offset)
        return self.writer.code.op(f"load i32, {SHARED} {source}")

    def _pointer(self, area: Area, row: str, word: str) -> str:
        code = self.writer.code
        offset = code.add(code.mul(row, str(area.stride)), code.mul(word, str(WORD)))
        return self.writer.shared(code.add(offset, str(area.start)))

    def across(self, tile: CoreTile) -> Across:
        """A function that gives the products of the held rows with 8 rows of a tile."""
        area = tile.across
        assert area is not None
        pointer, stride = self._pointer(area, self.group, self.member), area.stride

        def piece(held: HeldTile, number: int) -> Piece:
            total = [self.writer.number(0.0)] * 4
            for step, left in enumerate(held.steps):
                offset = STEP * (number * stride + step * WORD)
                right = [self._load(pointer, offset), self._load(pointer, offset + 4 * WORD)]
                total = self._mma(left, right, total)
            return total

        return piece

    def along(self, tile: CoreTile) -> Along:
        """A function that adds weights of the next 8 (in pairs: 16) rows of a tile times those
        rows to sums.

        Which row is which in the hardware's sum is free, so weights stay in their lanes: of TF32 a
        lane's two columns are its two steps, of pairs the columns of the first piece are its first
        pair."""
        area = tile.along
        assert area is not None
        row = self.member if self.pairs else self.own_column
        pointer, stride = self._pointer(area, row, self.group), area.stride
        gap = (4 if self.pairs else 1) * stride

        def add(weights: list[Piece], number: int, sums: list[str]) -> list[str]:
            if self.pairs:
                both = [piece[i : i + 2] for piece in weights for i in (0, 2)]
                left = [self._two(*pair) for pair in both]
            else:
                left = [self._one(weights[0][i]) for i in (0, 2, 1, 3)]
            found = []
            for column in range(0, area.columns, STEP):
                offset = STEP * number * stride + column * WORD
                right = [self._load(pointer, offset), self._load(pointer, offset + gap)]
                found += self._mma(left, right, sums[column // 2 : column // 2 + 4])
            return found

        return add
