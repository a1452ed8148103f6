"""Code of map kernels that read an operand across its rows (transposed): square tiles, turned in
registers.

Invariant: a tile is 16 x 16 elements; an item is a block of tiles, and items write disjoint
elements.
"""

from __future__ import annotations

from .body import WIDTH, Body
from .code import Code
from .form import Form, Walk
from .lanes import Lanes, memory_scalar
from .memory import Position, tail_mask

__all__ = ["emit_tiled", "BLOCK_DOWN", "BLOCK_ALONG"]

BLOCK_DOWN = 64  # elements of the crossing axis per item
BLOCK_ALONG = 256  # elements of the inner axis per item


def _turn(lanes: Lanes, memory_type: str, rows: list[str]) -> list[str]:
    """Transpose WIDTH vectors by exchanging blocks of 1, 2, 4, 8 lanes."""
    vector, step = lanes.raw(memory_type), 1
    while step < WIDTH:
        low_lanes = [k if not k & step else WIDTH + k - step for k in range(WIDTH)]
        high_lanes = [k + step if not k & step else WIDTH + k for k in range(WIDTH)]
        texts = [
            f"<{WIDTH} x i32> <{', '.join(f'i32 {k}' for k in m)}>" for m in (low_lanes, high_lanes)
        ]
        rows = list(rows)
        for row in range(WIDTH):
            if not row & step:
                first, second = rows[row], rows[row | step]
                rows[row], rows[row | step] = (
                    lanes.code.op(f"shufflevector {vector} {first}, {vector} {second}, {t}")
                    for t in texts
                )
        step *= 2
    return rows


class _Tiled:
    def __init__(self, form: Form) -> None:
        self.code = Code()
        self.body = Body(self.code, form)
        self.form, self.outs = form, form.program.outs
        self.numbers = self.body.elements(self.outs)
        self.turned = [k for k, o in enumerate(form.reads) if o.walk is Walk.TURNED]
        memory_types = [memory_scalar(form.reads[k].type) for k in self.turned]
        self.body.tiles = {
            k: self.code.alloca(f"[{WIDTH} x {self.body.lanes.raw(m)}]")
            for k, m in zip(self.turned, memory_types)
        }

    def fetch(
        self, operand: int, base: str, along: str, down: str, left_a: str, mask_b: str
    ) -> None:
        """Read a tile of an operand row by row, put it into its box column by column."""
        code, lanes = self.code, self.body.lanes
        memory_type = memory_scalar(self.form.reads[operand].type)
        stride = self.body.word(self.body.words.stride(operand, self.form.outer))
        pointer = code.at("i8", code.at(memory_type, base, down), code.mul(along, stride))
        rows, vector = [], lanes.raw(memory_type)
        name = {"float": "f32", "double": "f64"}.get(memory_type, memory_type)
        for row in range(WIDTH):
            there = code.op(f"icmp sgt i64 {left_a}, {row}")
            mask = code.op(
                f"select i1 {there}, {lanes.ty('b1')} {mask_b}, {lanes.ty('b1')} zeroinitializer"
            )
            rows.append(
                code.call(
                    f"llvm.masked.load.v{WIDTH}{name}.p0",
                    vector,
                    f"ptr {pointer}",
                    "i32 1",
                    f"{lanes.ty('b1')} {mask}",
                    f"{vector} zeroinitializer",
                )
            )
            pointer = code.at("i8", pointer, stride)
        for row, column in enumerate(_turn(lanes, memory_type, rows)):
            spot = code.at(vector, self.body.tiles[operand], str(row))
            code.do(f"store {vector} {column}, ptr {spot}, align 64")

    def tile(
        self, base: list[str], start: list[str], along: str, down: str, stop_a: str, stop_b: str
    ) -> None:
        body, code, words = self.body, self.code, self.body.words
        left_a, left_b = code.op(f"sub i64 {stop_a}, {along}"), code.op(f"sub i64 {stop_b}, {down}")
        mask_b = tail_mask(body.lanes, left_b)
        for operand in self.turned:
            self.fetch(operand, base[operand], along, down, left_a, mask_b)
        position = Position(along, tail_mask(body.lanes, left_a), left_a)
        axis = self.form.outer - 1

        def line(line_number: str, _: list[str]) -> list[str]:
            row = code.op(f"add i64 {down}, {line_number}")
            body.base = [
                x
                if body.walk(k) in (Walk.GATHERED, Walk.TURNED)
                else code.at("i8", x, code.mul(row, body.word(words.stride(k, axis))))
                for k, x in enumerate(base)
            ]
            body.start = [
                code.add(x, code.mul(row, body.word(words.stride(words.ops + k, axis))))
                for k, x in enumerate(start)
            ]
            body.known, body.splats, body.tile_row = {}, {}, line_number
            values = body.vector(body.prepare(self.outs), position)
            for write, result in enumerate(self.outs):
                body.write(write, body.value(result, values), position)
            return []

        code.loop("0", code.smin(left_b, str(WIDTH)), "1", [], line)

    def items(self) -> None:
        code, body, words = self.code, self.body, self.body.words
        length, blocks = body.word(words.n), body.word(words.n + 2)
        down = body.word(words.dim(self.form.outer - 1))
        strips = code.once(
            f"udiv i64 {code.once(f'add i64 {down}, {BLOCK_DOWN - 1}')}, {BLOCK_DOWN}"
        )

        def split(number: str, size: str) -> tuple[str, str]:
            quotient = code.op(f"udiv i64 {number}, {size}")
            return quotient, code.op(f"sub i64 {number}, {code.op(f'mul i64 {quotient}, {size}')}")

        def item(item: str, _: list[str]) -> list[str]:
            rest, part = split(item, blocks)
            outer, strip = split(rest, strips)
            body.begin_row(outer, self.form.outer - 1)
            base, start = body.base, body.start
            first_along = code.op(f"mul i64 {part}, {BLOCK_ALONG}")
            first_down = code.op(f"mul i64 {strip}, {BLOCK_DOWN}")
            stop_along = code.smin(code.add(first_along, str(BLOCK_ALONG)), length)
            stop_down = code.smin(code.add(first_down, str(BLOCK_DOWN)), down)

            def along(along_start: str, _: list[str]) -> list[str]:
                def across(down_start: str, _: list[str]) -> list[str]:
                    self.tile(base, start, along_start, down_start, stop_along, stop_down)
                    return []

                code.loop(first_down, stop_down, str(WIDTH), [], across)
                return []

            code.loop(first_along, stop_along, str(WIDTH), [], along)
            return []

        code.loop("%begin", "%end", "1", [], item)


def emit_tiled(form: Form) -> Code:
    """The function body of a map kernel with turned operands."""
    tiled = _Tiled(form)
    tiled.items()
    tiled.code.do("ret i64 0")
    return tiled.code
