"""Code of column kernels: reductions along axes that others follow; columns go through the rows
side by side.

Invariant: blocks of 256 rows, rows in order inside a block, block results in order; an item is a
strip of columns, so neither strips nor vector width change a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...ir.scalar.program import REDUCTIONS, ScalarType
from .body import WIDTH, Body
from .code import Code
from .form import Form, FormKind, Walk
from .memory import Position, load_row, store_row, tail_mask
from .programs.analysis import cost
from .reduce import reductions_of

__all__ = ["emit_columns", "emit_column_threads", "cells_per_strip", "STRIP", "BLOCK"]

STRIP = 64  # columns per item
BLOCK = 256  # rows per block
_LIGHT = 12


class _Strip(NamedTuple):
    """Where block results of a strip lie: its number, the block of rows that is added up, the first
    column of the strip, and the first of those that are walked now."""

    number: str
    block: str
    first: str
    column: str


_NO_STRIP = _Strip("", "", "", "")  # where no results of blocks are kept


class _Columns:
    def __init__(self, body: Body) -> None:
        self.code, self.body = body.code, body
        self.form = form = body.form
        self.program = form.program
        found = [i for i, ins in enumerate(self.program.instrs) if ins.prim in REDUCTIONS]
        self.reductions = reductions_of(self.program, found)
        self.operands = [r.operand for r in self.reductions]
        self.rows = self.body.row_length()
        self.temp = self.blocks = ""
        if form.kind is not FormKind.COLUMN:
            spot = self.code.once(f"getelementptr ptr, ptr %bufs, i64 {body.word(body.words.temp)}")
            self.temp = self.code.once(f"load ptr, ptr {spot}, align 8")
            self.blocks = body.word(body.words.temp + 1)
        self.empty = self.code.once(f"icmp eq i64 {self.rows}, 0")

    # ---- one row
    def enter(self, row: str, base: list[str], start: list[str]) -> None:
        """Point the body at a row of the group; base and start are those of row 0."""
        body, code, words, group = self.body, self.code, self.body.words, self.form.group
        coords = [""] * group
        for axis in range(group - 1, 0, -1):
            row, coords[axis] = self.divide(row, body.word(words.group(axis)))
        coords[0] = row

        def far(operand: int) -> str:
            total = "0"
            for axis, coord in enumerate(coords):
                total = code.add(
                    total, code.mul(coord, body.word(words.stride(operand, self.form.outer + axis)))
                )
            return total

        body.base = [
            b if body.walk(k) is Walk.GATHERED or k >= body.nreads else code.at("i8", b, far(k))
            for k, b in enumerate(base)
        ]
        body.start = [code.add(s, far(words.ops + k)) for k, s in enumerate(start)]

    # ---- a strip
    def strip(self, positions: list[Position], place: _Strip = _NO_STRIP) -> None:
        """All rows, then what follows the reductions, for the columns at these positions."""
        body, code, lanes = self.body, self.code, self.body.lanes
        numbers = body.prepare(self.operands)
        base, start = body.base, body.start
        first = [
            (lanes.ty(ty), e)
            for _ in positions
            for r in self.reductions
            for ty, e in zip(r.parts, r.neutral(lanes))
        ]

        def rows(first_row: str) -> list[str]:
            def row(number: str, accumulators: list[str]) -> list[str]:
                self.enter(number, base, start)
                return self.add_row(numbers, positions, number, accumulators)

            return code.loop(
                first_row, code.smin(code.add(first_row, str(BLOCK)), self.rows), "1", first, row
            )[1]

        def block(first_row: str, totals: list[str]) -> list[str]:
            return self.combine(totals, rows(first_row), len(positions))

        def joined(block: str, totals: list[str]) -> list[str]:
            return self.combine(totals, self.saved(place, block, len(positions)), len(positions))

        if self.form.kind is FormKind.STRIP_PART:
            self.save(place, rows(code.mul(place.block, str(BLOCK))), len(positions))
            return
        if self.form.kind is FormKind.STRIP_JOIN:
            totals = code.loop("0", self.blocks, "1", first, joined)[1]
        else:
            totals = code.loop("0", self.rows, str(BLOCK), first, block)[1]
        body.base, body.start = base, start
        self.finish(positions, totals)

    # ---- block results in workspace: per strip, block and part, one cell of 8 bytes a column
    def spots(self, place: _Strip, block: str, count: int) -> list[tuple[ScalarType, str]]:
        """(type, address) of every part of the current vectors in a block's results."""
        code, types = self.code, [ty for r in self.reductions for ty in r.parts]
        row = code.add(code.mul(place.number, self.blocks), block)
        found = []
        for vector in range(count):
            for part, scalar_type in enumerate(types):
                column = code.add(
                    code.op(f"sub i64 {place.column}, {place.first}"), str(WIDTH * vector)
                )
                line = code.add(code.mul(row, str(len(types))), str(part))
                found.append(
                    (
                        scalar_type,
                        code.at("i64", self.temp, code.add(code.mul(line, str(STRIP)), column)),
                    )
                )
        return found

    def save(self, place: _Strip, accumulators: list[str], count: int) -> None:
        for (scalar_type, spot), value in zip(self.spots(place, place.block, count), accumulators):
            store_row(self.body.lanes, scalar_type, value, spot, None, Position("0"))

    def saved(self, place: _Strip, block: str, count: int) -> list[str]:
        return [
            load_row(self.body.lanes, ty, spot, None, Position("0"))
            for ty, spot in self.spots(place, block, count)
        ]

    def add_row(
        self, numbers: list[int], positions: list[Position], row: str, accumulators: list[str]
    ) -> list[str]:
        values: list[str] = []
        for position in positions:
            elements = self.body.vector(numbers, position)
            for reduction in self.reductions:
                index = self.body.lanes.splat("i64", row) if reduction.indexed else ""
                values += reduction.feed(
                    self.body.lanes, self.body.value(reduction.operand, elements), index
                )
        return self.combine(accumulators, values, len(positions))

    def combine(self, before: list[str], added: list[str], count: int) -> list[str]:
        combined: list[str] = []
        for _ in range(count):
            for reduction in self.reductions:
                start = len(combined)
                combined += reduction.follow(
                    self.body.lanes,
                    before[start : start + len(reduction.parts)],
                    added[start : start + len(reduction.parts)],
                )
        return combined

    def finish(self, positions: list[Position], totals: list[str]) -> None:
        """Row-domain results from the totals."""
        body, at_part, results = self.body, 0, []
        for position in positions:
            values: dict[int, str] = {}
            for reduction in self.reductions:
                values[reduction.number] = reduction.result(
                    body.lanes, totals[at_part : at_part + len(reduction.parts)], self.empty
                )
                at_part += len(reduction.parts)
            numbers = body.prepare(self.program.outs, values)
            results.append((position, body.vector(numbers, position, known=values)))
        for position, values in results:
            for write, number in enumerate(self.program.outs):
                body.write(write, body.value(number, values), position)

    def divide(self, number: str, size: str) -> tuple[str, str]:
        quotient = self.code.op(f"udiv i64 {number}, {size}")
        return quotient, self.code.op(
            f"sub i64 {number}, {self.code.op(f'mul i64 {quotient}, {size}')}"
        )

    # ---- items
    def items(self) -> None:
        code, body, words = self.code, self.body, self.body.words
        length, strips = body.word(words.n), body.word(words.n + 2)
        wide = cost(self.program, body.elements(self.operands)) * len(self.reductions) <= _LIGHT
        wide = wide and not any(o.walk is Walk.STRIDED for o in self.form.reads)

        def item(item: str, _: list[str]) -> list[str]:
            block = ""
            if self.form.kind is FormKind.STRIP_PART:
                item, block = self.divide(item, self.blocks)
            row, strip = self.divide(item, strips)
            body.begin_row(row)
            first = code.op(f"mul i64 {strip}, {STRIP}")
            last = code.smin(code.add(first, str(STRIP)), length)
            base, start = body.base, body.start
            place = _Strip(item, block, first, first)

            def one(column: str, _: list[str]) -> list[str]:
                body.base, body.start, body.known, body.splats = base, start, {}, {}
                count = code.op(f"sub i64 {last}, {column}")
                position = Position(column, tail_mask(body.lanes, count), count)
                self.strip([position], place._replace(column=column))
                return []

            def four(column: str, _: list[str]) -> list[str]:
                starts = [code.add(column, str(WIDTH * u)) for u in range(STRIP // WIDTH)]
                self.strip([Position(x) for x in starts], place._replace(column=column))
                return []

            rest = code.loop(first, last, str(STRIP), [], four, full=STRIP)[0] if wide else first
            code.loop(rest, last, str(WIDTH), [], one)
            return []

        code.loop("%begin", "%end", "1", [], item)


def emit_columns(form: Form) -> Code:
    """The function body of a column kernel."""
    columns = _Columns(Body(Code(), form))
    columns.items()
    columns.code.do("ret i64 0")
    return columns.code


def emit_column_threads(body: Body) -> Callable[[Position], None]:
    """For width 1: a function that emits one whole column at a position of the current row."""
    columns = _Columns(body)
    return lambda position: columns.strip([position])


def cells_per_strip(form: Form) -> int:
    """Workspace of one block of a strip, in cells of 8 bytes."""
    found = [i for i, ins in enumerate(form.program.instrs) if ins.prim in REDUCTIONS]
    return STRIP * sum(len(r.parts) for r in reductions_of(form.program, found))
