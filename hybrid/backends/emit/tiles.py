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


def _turn(lanes: Lanes, mem: str, rows: list[str]) -> list[str]:
    """Transpose WIDTH vectors by exchanging blocks of 1, 2, 4, 8 lanes."""
    v, s = lanes.raw(mem), 1
    while s < WIDTH:
        low = [k if not k & s else WIDTH + k - s for k in range(WIDTH)]
        high = [k + s if not k & s else WIDTH + k for k in range(WIDTH)]
        texts = [f"<{WIDTH} x i32> <{', '.join(f'i32 {k}' for k in m)}>" for m in (low, high)]
        rows = list(rows)
        for i in range(WIDTH):
            if not i & s:
                a, b = rows[i], rows[i | s]
                rows[i], rows[i | s] = (
                    lanes.code.op(f"shufflevector {v} {a}, {v} {b}, {t}") for t in texts
                )
        s *= 2
    return rows


class _Tiled:
    def __init__(self, form: Form) -> None:
        self.code = Code()
        self.body = Body(self.code, form)
        self.form, self.outs = form, form.program.outs
        self.numbers = self.body.elements(self.outs)
        self.turned = [k for k, o in enumerate(form.reads) if o.walk is Walk.TURNED]
        mems = [memory_scalar(form.reads[k].type) for k in self.turned]
        self.body.tiles = {
            k: self.code.alloca(f"[{WIDTH} x {self.body.lanes.raw(m)}]")
            for k, m in zip(self.turned, mems)
        }

    def fetch(self, k: int, base: str, a: str, b: str, left_a: str, mask_b: str) -> None:
        """Read a tile of operand k row by row, put it into its box column by column."""
        code, lanes = self.code, self.body.lanes
        mem = memory_scalar(self.form.reads[k].type)
        across = self.body.word(self.body.words.stride(k, self.form.outer))
        p = code.at("i8", code.at(mem, base, b), code.mul(a, across))
        rows, v = [], lanes.raw(mem)
        name = {"float": "f32", "double": "f64"}.get(mem, mem)
        for i in range(WIDTH):
            there = code.op(f"icmp sgt i64 {left_a}, {i}")
            mask = code.op(
                f"select i1 {there}, {lanes.ty('b1')} {mask_b}, {lanes.ty('b1')} zeroinitializer"
            )
            rows.append(
                code.call(
                    f"llvm.masked.load.v{WIDTH}{name}.p0",
                    v,
                    f"ptr {p}",
                    "i32 1",
                    f"{lanes.ty('b1')} {mask}",
                    f"{v} zeroinitializer",
                )
            )
            p = code.at("i8", p, across)
        for i, x in enumerate(_turn(lanes, mem, rows)):
            code.do(f"store {v} {x}, ptr {code.at(v, self.body.tiles[k], str(i))}, align 64")

    def tile(
        self, base: list[str], start: list[str], a: str, b: str, stop_a: str, stop_b: str
    ) -> None:
        body, code, w = self.body, self.code, self.body.words
        left_a, left_b = code.op(f"sub i64 {stop_a}, {a}"), code.op(f"sub i64 {stop_b}, {b}")
        mask_b = tail_mask(body.lanes, left_b)
        for k in self.turned:
            self.fetch(k, base[k], a, b, left_a, mask_b)
        at = Position(a, tail_mask(body.lanes, left_a), left_a)
        axis = self.form.outer - 1

        def line(i: str, _: list[str]) -> list[str]:
            row = code.op(f"add i64 {b}, {i}")
            body.base = [
                x
                if body.walk(k) in (Walk.GATHERED, Walk.TURNED)
                else code.at("i8", x, code.mul(row, body.word(w.stride(k, axis))))
                for k, x in enumerate(base)
            ]
            body.start = [
                code.add(x, code.mul(row, body.word(w.stride(w.ops + k, axis))))
                for k, x in enumerate(start)
            ]
            body.known, body.splats, body.tile_row = {}, {}, i
            env = body.vector(body.prepare(self.outs), at)
            for k, o in enumerate(self.outs):
                body.write(k, body.value(o, env), at)
            return []

        code.loop("0", code.smin(left_b, str(WIDTH)), "1", [], line)

    def items(self) -> None:
        code, body, w = self.code, self.body, self.body.words
        n, blocks = body.word(w.n), body.word(w.n + 2)
        down = body.word(w.dim(self.form.outer - 1))
        strips = code.once(
            f"udiv i64 {code.once(f'add i64 {down}, {BLOCK_DOWN - 1}')}, {BLOCK_DOWN}"
        )

        def split(x: str, size: str) -> tuple[str, str]:
            q = code.op(f"udiv i64 {x}, {size}")
            return q, code.op(f"sub i64 {x}, {code.op(f'mul i64 {q}, {size}')}")

        def item(t: str, _: list[str]) -> list[str]:
            rest, part = split(t, blocks)
            outer, strip = split(rest, strips)
            body.begin_row(outer, self.form.outer - 1)
            base, start = body.base, body.start
            a0, b0 = (
                code.op(f"mul i64 {part}, {BLOCK_ALONG}"),
                code.op(f"mul i64 {strip}, {BLOCK_DOWN}"),
            )
            a1 = code.smin(code.add(a0, str(BLOCK_ALONG)), n)
            b1 = code.smin(code.add(b0, str(BLOCK_DOWN)), down)

            def along(a: str, _: list[str]) -> list[str]:
                def across(b: str, _: list[str]) -> list[str]:
                    self.tile(base, start, a, b, a1, b1)
                    return []

                code.loop(b0, b1, str(WIDTH), [], across)
                return []

            code.loop(a0, a1, str(WIDTH), [], along)
            return []

        code.loop("%begin", "%end", "1", [], item)


def emit_tiled(form: Form) -> Code:
    """The function body of a map kernel with turned operands."""
    tiled = _Tiled(form)
    tiled.items()
    tiled.code.do("ret i64 0")
    return tiled.code
