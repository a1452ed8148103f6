"""Packing code of a product: the parts of the factors an item needs, as dense panels in scratch
memory.

Invariant: a panel of b holds the same 16 * vecs columns for every k of a block; what is written
past a row's columns or the last k is written again or never used.
"""

from __future__ import annotations

from ...emit.code import Code
from .geometry import Geometry
from .micro import Element, mask_of, store
from .pack import Walk, copy_walk, for_runs, load_widened, offset_of
from .words import Words

__all__ = ["Panels"]


class Panels:
    """The packing half of a product's driver; the other half sets the fields."""

    code: Code
    g: Geometry
    elem: Element
    words: Words
    width: int  # columns of a panel of b
    a_row: int | None  # bytes from a row of a to the next where that is constant
    a_panel: int  # bytes of a panel of a (mode cols)
    b_panel: int  # bytes of a panel of b
    p0: str  # first and last row panel of the item
    p1: str
    j0: str  # first and last column panel of the item
    j1: str
    m0: str  # first row of the item
    k0: str  # first k and number of k of the block
    kc: str
    a_base: str
    b_base: str
    a_pack: str
    b_pack: str
    a_walk: Walk
    ak_walk: Walk
    bk_walk: Walk
    b_walk: Walk
    block_buffer: str
    transposes: bool

    def w(self, name: str, value: int) -> str:
        return self.words.word(self.code, name, value)

    def row_of(self, panel: str) -> str:
        """First row of a row panel: first panels of `rows` rows, then panels of one row less."""
        c, g = self.code, self.g
        over = c.op(f"sub i64 {panel}, {self.w('full_rows', g.full_rows)}")
        over = c.call("llvm.smax.i64", "i64", f"i64 {over}", "i64 0")
        return c.op(f"sub i64 {c.mul(panel, str(g.rows))}, {over}")

    def pack(self) -> None:
        """Pack what the item needs of one block of k."""
        c, mode = self.code, self.g.b_mode
        if self.g.a_mode == "rows":
            self.pack_a_rows()
        elif self.g.a_mode == "cols":
            c.loop(self.p0, self.p1, "1", [], self.pack_a_cols)
        if mode == "unit":
            self.pack_b_unit()
        elif mode in ("trans", "any"):
            c.loop(
                self.j0, self.j1, "1", [], self.pack_b_trans if mode == "trans" else self.pack_b_any
            )

    def pack_a_rows(self) -> None:
        c = self.code

        def row(i: str, _: list[str]) -> list[str]:
            src = c.at("i8", self.a_base, offset_of(c, self.a_walk, i))
            dst = c.at("i8", self.a_pack, c.mul(c.op(f"sub i64 {i}, {self.m0}"), str(self.a_row)))
            runs = self.g.a.k  # a row is followed by ROW_PAD unused elements
            short = not runs.uniform and runs.length <= 16
            copy_walk(
                c, self.g.a.storage, self.elem, src, self.ak_walk, self.k0, self.kc, dst, short
            )
            return []

        c.loop(self.m0, self.row_of(self.p1), "1", [], row)

    def pack_a_cols(self, p: str, _: list[str]) -> list[str]:
        """A panel of rows, k by k: 16 lanes of which the panel's rows are used."""
        c, st = self.code, self.g.a.storage
        first = self.row_of(p)
        mask = mask_of(c, c.op(f"sub i64 {self.row_of(c.op(f'add i64 {p}, 1'))}, {first}"))
        src = c.at("i8", self.a_base, c.mul(first, str(st.size)))
        dst = c.at("i8", self.a_pack, c.mul(c.op(f"sub i64 {p}, {self.p0}"), str(self.a_panel)))

        def run(offset: str, done: str, n: str) -> None:
            def one(k: str, _: list[str]) -> list[str]:
                at = c.at("i8", src, c.add(offset, c.mul(k, self.ak_walk.stride)))
                value = load_widened(c, st, self.elem, at, mask)
                store(c, self.elem, value, c.at(self.elem.vec, dst, c.add(done, k)), None)
                return []

            c.loop("0", n, "1", [], one)

        for_runs(c, self.ak_walk, self.k0, self.kc, run)
        return []

    def panel_of(self, j: str) -> tuple[str, str, str]:
        """(first column, columns left from there, packed panel) of column panel j."""
        c = self.code
        first = c.mul(j, str(self.width))
        left = c.op(f"sub i64 {self.w('n', self.g.n)}, {first}")
        where = c.at("i8", self.b_pack, c.mul(c.op(f"sub i64 {j}, {self.j0}"), str(self.b_panel)))
        return first, left, where

    def pack_b_unit(self) -> None:
        """Rows of k, each through all panels of the item, so that memory is read in order."""
        c, st, elem = self.code, self.g.b.storage, self.elem
        # panels without a ragged edge
        whole = c.op(f"udiv i64 {self.w('n', self.g.n)}, {self.width}")
        full = c.call("llvm.smax.i64", "i64", f"i64 {c.smin(self.j1, whole)}", f"i64 {self.j0}")

        def rows(first: str, last: str, masks: list[str | None]) -> None:
            def run(offset: str, done: str, n: str) -> None:
                def one(k: str, _: list[str]) -> list[str]:
                    src = c.at("i8", self.b_base, c.add(offset, c.mul(k, self.bk_walk.stride)))
                    dst = c.at(
                        "i8", self.b_pack, c.mul(c.add(done, k), str(self.width * elem.size))
                    )

                    def panel(j: str, _: list[str]) -> list[str]:
                        at = c.at("i8", src, c.mul(j, str(self.width * st.size)))
                        to = c.at(
                            "i8", dst, c.mul(c.op(f"sub i64 {j}, {self.j0}"), str(self.b_panel))
                        )
                        for v, mask in enumerate(masks):
                            value = load_widened(c, st, elem, c.at(st.vec, at, str(v)), mask)
                            store(c, elem, value, c.at(elem.vec, to, str(v)), None)
                        return []

                    c.loop(first, last, "1", [], panel)
                    return []

                c.loop("0", n, "1", [], one)

            for_runs(c, self.bk_walk, self.k0, self.kc, run)

        rows(self.j0, full, [None] * self.g.vecs)
        if self.g.n % self.width:
            left = c.op(f"sub i64 {self.w('n', self.g.n)}, {c.mul(full, str(self.width))}")
            c.when(
                c.op(f"icmp slt i64 {full}, {self.j1}"),
                lambda: rows(
                    full,
                    self.j1,
                    [mask_of(c, c.op(f"sub i64 {left}, {16 * v}")) for v in range(self.g.vecs)],
                ),
            )

    def pack_b_trans(self, j: str, _: list[str]) -> list[str]:
        """Columns lie along k: 16 x 16 blocks are transposed, whole ones where they lie."""
        c, st = self.code, self.g.b.storage
        first, left, panel = self.panel_of(j)
        self.transposes = True

        def group(v: str, _: list[str]) -> list[str]:
            col = c.add(first, v)
            dst = c.at(self.elem.scalar, panel, v)
            all_lines = c.op(f"icmp sge i64 {c.op(f'sub i64 {left}, {v}')}, 16")

            def run(offset: str, done: str, n: str) -> None:
                def block(k: str, _: list[str]) -> list[str]:
                    src = c.at("i8", self.b_base, c.add(offset, c.mul(k, str(st.size))))
                    rest = c.op(f"sub i64 {n}, {k}")
                    to = c.at("i8", dst, c.mul(c.add(done, k), str(self.width * self.elem.size)))
                    self.pack_block(src, col, rest, all_lines, to)
                    return []

                c.loop("0", n, "16", [], block)

            for_runs(c, self.bk_walk, self.k0, self.kc, run)
            return []

        c.loop("0", c.smin(left, str(self.width)), "16", [], group)
        return []

    def pack_block(self, src: str, col: str, rest: str, all_lines: str, to: str) -> None:
        """One 16 x 16 block: `rest` elements of 16 columns from `col` on, at src + offset."""
        c, st, elem = self.code, self.g.b.storage, self.elem

        def transpose(at: str, step: str) -> None:
            line = self.width * elem.size
            c.do(f"call void @NAME.transpose(ptr {at}, i64 {step}, ptr {to}, i64 {line})")

        def gather() -> None:
            mask = mask_of(c, rest)
            end = c.op(f"sub i64 {self.w('n', self.g.n)}, 1")

            def one(i: str, _: list[str]) -> list[str]:
                p = c.at("i8", src, offset_of(c, self.b_walk, c.smin(c.add(col, i), end)))
                store(
                    c,
                    elem,
                    load_widened(c, st, elem, p, mask),
                    c.at(elem.vec, self.block_buffer, i),
                    None,
                )
                return []

            c.loop("0", "16", "1", [], one)
            transpose(self.block_buffer, str(16 * elem.size))

        if not self.g.b.lines.uniform or st.widen != "same":
            gather()
            return
        step = self.b_walk.stride
        whole = c.op(f"and i1 {all_lines}, {c.op(f'icmp sge i64 {rest}, 16')}")
        c.when(whole, lambda: transpose(c.at("i8", src, c.mul(col, step)), step))
        c.when(c.op(f"xor i1 {whole}, true"), gather)

    def pack_b_any(self, j: str, _: list[str]) -> list[str]:
        c = self.code
        first, left, panel = self.panel_of(j)
        count = c.smin(left, str(self.width))
        # what a short run writes too far is written again by the next row of k
        short = not self.g.b.lines.uniform and self.g.b.lines.length <= 16

        def one(k: str, _: list[str]) -> list[str]:
            src = c.at("i8", self.b_base, offset_of(c, self.bk_walk, c.add(self.k0, k)))
            dst = c.at("i8", panel, c.mul(k, str(self.width * self.elem.size)))
            copy_walk(c, self.g.b.storage, self.elem, src, self.b_walk, first, count, dst, short)
            return []

        c.loop("0", self.kc, "1", [], one)
        return []
