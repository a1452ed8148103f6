"""The kernel-ABI function of a product: items, blocks of k, packing, and calls of the
micro-kernels.

Invariant: an item reads the factors and writes its own tile of the result, nothing else; sums of
several blocks of k are kept per output and added in order, so any split of items gives the same
bits.
"""

from __future__ import annotations

from ....core.errors import BackendError
from ...emit.code import Code
from ...plan import GemmKernel
from .finish import Finish
from .geometry import BLOCK, ROW_PAD, Geometry
from .micro import DESC, Element, Micro, describe, micro_kernel
from .pack import Walk
from .panels import Panels
from .words import Words

__all__ = ["Driver"]


class Driver(Panels):
    """Writes the functions of one product."""

    def __init__(
        self, kernel: GemmKernel, g: Geometry, elem: Element, finish: Finish, words: Words
    ) -> None:
        self.kernel, self.g, self.elem, self.finish, self.words = kernel, g, elem, finish, words
        self.code = Code()
        self.multi = kernel.k > BLOCK
        self.partial = g.split > 0
        self.direct = self.partial or (finish.storable and g.b_mode != "segmented")
        self.adds = self.multi and not self.partial  # blocks of k are added where they are stored
        self.width = g.vecs * 16  # columns of a full panel
        self.segmented = g.b_mode == "segmented"
        self.packed_b = g.b_mode in ("unit", "trans", "any")
        es = elem.size
        self.a_row = {"rows": (BLOCK + ROW_PAD) * es, "cols": es}.get(g.a_mode)
        self.a_panel = BLOCK * 16 * es  # of mode cols
        self.b_panel = BLOCK * self.width * es
        self.tile = g.rows * self.width * es
        self.a_bytes = {
            "rows": g.panels_m * g.rows * (self.a_row or 0),
            "cols": g.panels_m * self.a_panel,
        }.get(g.a_mode, 0)
        self.b_bytes = g.panels_n * self.b_panel + 16 * self.width * es if self.packed_b else 0
        tiles = g.panels_m * g.panels_n if self.multi else 1
        self.c_bytes = 0 if self.direct else tiles * self.tile
        # the finishing transpose reads 16 rows of a smaller tile
        self.scratch = self.a_bytes + self.b_bytes + self.c_bytes + 16 * self.width * es
        self.variants: dict[Micro, str] = {}
        self.transposes = finish.transposed and not self.direct

    # ---- the function
    def build(self) -> Code:
        c = self.code
        self.desc = c.alloca(f"[{DESC * self.g.vecs} x i8]")
        self.block_buffer = c.alloca(f"[16 x {self.elem.vec}]") if self.g.b_mode == "trans" else ""
        self.uniform = "null" if self.direct else self.finish.prepare(c)
        c.loop("%begin", "%end", "1", [], self.item)
        c.do("ret i64 0")
        return c

    def item(self, it: str, _: list[str]) -> list[str]:
        c, g = self.code, self.g
        tiles_m = self.w("items_m", g.items_m)
        per = self.w("items_mn", g.items_m * g.items_n)
        group = "0"
        if self.partial:  # items of one group of k blocks are adjacent
            whole = self.w("items_bmn", g.items_m * g.items_n * self.kernel.batch)
            group = c.op(f"udiv i64 {it}, {whole}")
            it = c.op(f"sub i64 {it}, {c.mul(group, whole)}")
        self.b_index = c.op(f"udiv i64 {it}, {per}")
        inside = c.op(f"sub i64 {it}, {c.mul(self.b_index, per)}")
        tn = c.op(f"udiv i64 {inside}, {tiles_m}")
        tm = c.op(f"sub i64 {inside}, {c.mul(tn, tiles_m)}")
        step_m, step_n = self.w("panels_m", g.panels_m), self.w("panels_n", g.panels_n)
        self.p0, self.j0 = c.mul(tm, step_m), c.mul(tn, step_n)
        self.p1 = c.smin(c.add(self.p0, step_m), self.w("row_panels", g.row_panels))
        self.j1 = c.smin(c.add(self.j0, step_n), self.w("col_panels", g.col_panels))
        self.m0 = self.row_of(self.p0)
        self.a_base = self.words.factor(c, "a", g.a, self.b_index)
        self.b_base = self.words.factor(c, "b", g.b, self.b_index)
        self.a_pack = "%scratch"
        self.b_pack = (
            c.at("i8", "%scratch", self.w("a_bytes", self.a_bytes)) if self.b_bytes else "%scratch"
        )
        self.c_tile = c.at("i8", "%scratch", self.w("ab_bytes", self.a_bytes + self.b_bytes))
        if self.direct and not self.partial:
            self.out_base = self.finish.line_base(c, self.b_index)
        if self.multi:
            first, end = "0", self.w("blocks", g.blocks)
            if self.partial:
                many = self.w("split", g.split)
                first = c.mul(group, many)
                end = c.smin(c.add(first, many), end)
            c.loop(first, end, "1", [], lambda kb, _: self.block(kb, end))
        else:
            self.block("0", "1")
        return []

    def block(self, kb: str, blocks: str) -> list[str]:
        """One block of k: pack, then all micro tiles of the item."""
        c = self.code
        k = self.w("k", self.kernel.k)
        if self.multi:
            self.k0 = c.mul(kb, str(BLOCK))
            self.kc = c.smin(c.op(f"sub i64 {k}, {self.k0}"), str(BLOCK))
            self.more = c.op(f"icmp sgt i64 {kb}, 0") if self.adds else "false"
            self.last = c.op(f"icmp eq i64 {c.op(f'add i64 {kb}, 1')}, {blocks}")
        else:
            self.k0, self.kc, self.more, self.last = "0", k, "false", "true"
        if self.partial:
            self.out_base = self.partial_base(kb)
        size = self.g.a.storage.size
        self.a_walk = self.words.walk(c, "a.lines", self.g.a.lines, size)
        self.ak_walk = self.words.walk(c, "a.k", self.g.a.k, size)
        size = self.g.b.storage.size
        self.bk_walk = (
            Walk(None, "0", "0") if self.segmented else self.words.walk(c, "b.k", self.g.b.k, size)
        )
        self.b_walk = self.words.walk(c, "b.lines", self.g.b.lines, size)
        self.pack()
        c.loop(self.j0, self.j1, "1", [], self.column)
        return []

    def partial_base(self, kb: str) -> str:
        """Where the sums of a block of k go in the workspace: [block][batch][line][column]."""
        c, g = self.code, self.g
        temp = self.words.temp(c)
        number = c.add(c.mul(kb, self.w("batch", self.kernel.batch)), self.b_index)
        return c.at("i8", temp, c.mul(number, self.w("mn_bytes", g.m * g.n * self.elem.size)))

    # ---- micro tiles
    def column(self, j: str, _: list[str]) -> list[str]:
        """All micro tiles of one column panel."""
        c, g = self.code, self.g
        if self.segmented:
            self.describe_segments(j)
            b, count = self.desc, "16"
        else:
            first, left, packed = self.panel_of(j)
            b = packed
            if not self.packed_b:
                b = c.at("i8", self.b_base, c.mul(first, str(self.elem.size)))
                b = c.at("i8", b, c.mul(self.k0, self.bk_walk.stride))
            if not self.direct:
                self.describe_columns(first, left)
            self.col_first = first
            count = c.op(f"sub i64 {left}, {16 * (g.tail_vecs - 1)}")
        full = self.spec(g.rows, g.vecs, False)
        tail = self.spec(g.rows, g.tail_vecs, True)
        if full == tail:
            self.row_panels(j, b, "16", tail, g.vecs)
        elif g.col_panels == 1:
            self.row_panels(j, b, count, tail, g.tail_vecs)
        else:
            is_tail = c.op(
                f"icmp eq i64 {c.op(f'add i64 {j}, 1')}, {self.w('col_panels', g.col_panels)}"
            )
            c.when(is_tail, lambda: self.row_panels(j, b, count, tail, g.tail_vecs))
            c.when(
                c.op(f"xor i1 {is_tail}, true"), lambda: self.row_panels(j, b, "16", full, g.vecs)
            )
        return []

    def spec(self, rows: int, vecs: int, tail: bool) -> Micro:
        g = self.g
        if self.segmented:
            partial = g.b.lines.length % 16 != 0
            return Micro(self.elem, rows, vecs, self.a_row_step, True, partial, False, self.adds)
        ragged = tail and g.n % 16 != 0
        return Micro(
            self.elem,
            rows,
            vecs,
            self.a_row_step,
            False,
            ragged and not self.packed_b,
            ragged and self.direct,
            self.adds,
            self.direct and self.multi,
        )

    @property
    def a_row_step(self) -> int | None:
        if self.a_row is not None:
            return self.a_row
        return self.elem.size if self.g.a.lines.unit(self.elem.size) else None

    def describe_segments(self, j: str) -> None:
        c, g, es = self.code, self.g, self.elem.size
        per = self.w("vecs_per_run", -(-g.b.lines.length // 16))
        final = self.w("last_vector", g.vectors - 1)
        for v in range(g.vecs):
            own = c.add(c.mul(j, str(g.vecs)), str(v))
            number = c.smin(own, final)
            run = c.op(f"udiv i64 {number}, {per}")
            piece = c.mul(c.op(f"sub i64 {number}, {c.mul(run, per)}"), "16")
            start = c.op(f"load i64, ptr {c.at('i64', self.b_walk.table or '', run)}")
            ptr = c.at("i8", self.b_base, c.add(start, c.mul(piece, str(es))))
            left = c.smin(c.op(f"sub i64 {self.b_walk.length}, {piece}"), "16")
            if g.vectors % g.vecs:  # past the last vector: computed again, and not stored again
                left = c.op(f"select i1 {c.op(f'icmp sle i64 {own}, {final}')}, i64 {left}, i64 0")
            describe(c, self.desc, v, left, c.add(c.mul(run, self.b_walk.length), piece), ptr)

    def describe_columns(self, first: str, left: str) -> None:
        c = self.code
        for v in range(self.g.vecs):
            count = c.smin(c.op(f"sub i64 {left}, {16 * v}"), "16")
            describe(c, self.desc, v, count, c.op(f"add i64 {first}, {16 * v}"))

    def row_panels(self, j: str, b: str, count: str, spec: Micro, vecs: int) -> None:
        """The micro tiles of one column panel, from the first row panel of the item to the last."""
        c, g = self.code, self.g
        if g.full_rows == g.row_panels:
            c.loop(
                self.p0, self.p1, "1", [], lambda p, _: self.micro_tile(p, j, b, count, spec, vecs)
            )
            return
        middle = c.smin(self.w("full_rows", g.full_rows), self.p1)
        c.loop(self.p0, middle, "1", [], lambda p, _: self.micro_tile(p, j, b, count, spec, vecs))
        start = c.call("llvm.smax.i64", "i64", f"i64 {middle}", f"i64 {self.p0}")
        less = spec._replace(rows=spec.rows - 1)
        c.loop(start, self.p1, "1", [], lambda p, _: self.micro_tile(p, j, b, count, less, vecs))

    def micro_tile(self, p: str, j: str, b: str, count: str, spec: Micro, vecs: int) -> list[str]:
        c, g, es = self.code, self.g, self.elem.size
        row = self.row_of(p)
        local = c.op(f"sub i64 {p}, {self.p0}")
        if g.a_mode == "direct":
            steps, a_stride = self.a_walk.stride, self.ak_walk.stride
            a = c.at("i8", self.a_base, c.add(c.mul(row, steps), c.mul(self.k0, a_stride)))
        elif g.a_mode == "rows":
            steps, a_stride = "0", str(es)
            a = c.at("i8", self.a_pack, c.mul(c.op(f"sub i64 {row}, {self.m0}"), str(self.a_row)))
        else:
            steps, a_stride = "0", str(16 * es)
            a = c.at("i8", self.a_pack, c.mul(local, str(self.a_panel)))
        if self.direct:
            ldc = self.w("n_bytes", g.n * es) if self.partial else self.finish.line_stride(c)
            out = c.at("i8", self.out_base, c.add(c.mul(row, ldc), c.mul(self.col_first, str(es))))
        else:
            ldc, out = str(self.width * es), self.c_tile
            if self.multi:
                number = c.add(
                    c.mul(c.op(f"sub i64 {j}, {self.j0}"), self.w("panels_m", g.panels_m)), local
                )
                out = c.at("i8", out, c.mul(number, str(self.tile)))
        if self.segmented:
            table = self.words.table(c, "b.kt", self.k_offsets())
            b_step = f"ptr {c.at('i64', table, self.k0)}"
        else:
            b_step = f"i64 {str(self.width * es) if self.packed_b else self.bk_walk.stride}"
        if not self.direct:

            def fetch() -> None:
                self.finish.fetch(c, self.b_index, row, str(spec.rows), self.desc, str(vecs))

            c.when(self.last, fetch) if self.multi else fetch()
        c.do(
            f"call void {self.variant(spec)}(ptr {a}, i64 {steps}, i64 {a_stride}, "
            f"ptr {b}, {b_step}, "
            f"i64 {self.kc}, i64 {count}, ptr {out}, i64 {ldc}, "
            f"i1 {self.more}, ptr {out}, i64 {ldc})"
        )
        if not self.direct:
            call = (
                f"call void @NAME.finish(ptr %bufs, ptr %args, ptr {out}, "
                f"i64 {self.b_index}, i64 {row}, "
                f"i64 {spec.rows}, ptr {self.desc}, i64 {vecs}, ptr {self.uniform})"
            )
            if self.multi:
                c.when(self.last, lambda: c.do(call))
            else:
                c.do(call)
        return []

    def k_offsets(self) -> list[int]:
        k = self.g.b.k
        if k.starts is None:
            return [i * k.stride for i in range(k.size)]
        return [s + i * k.stride for s in k.starts for i in range(k.length)]

    def variant(self, spec: Micro) -> str:
        if spec.rows < 1:
            raise BackendError("a micro tile without rows cannot be generated")
        return self.variants.setdefault(spec, f"@NAME.{spec.name}")

    def functions(self) -> list[tuple[str, Code]]:
        return [micro_kernel(spec) for spec in self.variants]
