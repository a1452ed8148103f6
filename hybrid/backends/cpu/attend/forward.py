"""Attention: one item is a tile of 32 queries of one batch position, over all its keys.

Invariant: the order of ops/attend.py; nothing as large as queries x keys is stored.
"""

from __future__ import annotations

from functools import partial

from ....ir.attend import BLOCK, TILE
from ...plan import AttendKernel
from ..gemm.geometry import Target
from ..gemm.micro import Element
from .work import Work

__all__ = ["Forward"]

LANES = 64  # of a block's sum


class Forward(Work):
    """The function that writes out, peak and total."""

    results = ("to out", "to peak", "to total")

    def __init__(self, kernel: AttendKernel, elem: Element, target: Target) -> None:
        super().__init__(kernel, elem, target)
        self.tiles = -(-kernel.m // TILE)
        self.wide = self.padded("f")
        self.tile_memory()
        self.sums = self.area("sums", LANES, TILE)
        self.out = self.area("out", TILE, self.wide)
        self.product_area = self.area("product", TILE, self.wide)
        if self.few:
            self.turned_k = self.area("turned_k", kernel.e, TILE)
            self.by_key = self.area("by_key", self.shape.rows, BLOCK)
        self.out_line = self.w("out_line", self.wide * elem.size)
        kind = f"[{TILE} x {elem.scalar}]"
        self.top, self.total, self.part, self.decay = (self.code.alloca(kind) for _ in range(4))

    @property
    def items(self) -> int:
        """Items of one batch position."""
        return self.tiles

    def build(self) -> None:
        self.each("%begin", "%end", 1, self.item)
        self.code.do("ret i64 0")

    def item(self, item: str) -> None:
        c, k = self.code, self.kernel
        tiles = self.w("tiles", self.tiles)
        batch = c.op(f"udiv i64 {item}, {tiles}")
        i0 = c.mul(c.op(f"sub i64 {item}, {c.mul(batch, tiles)}"), str(TILE))
        rows = c.smin(str(TILE), c.op(f"sub i64 {self.size['m']}, {i0}"))
        coords = self.split(batch)
        at = {n: self.pointer(n, a, coords) for n, a in self.reads.items()}
        if not self.few:
            q = self.reads["q"]
            start = self.row("q", q, at["q"], i0)
            self.turn(start, self.step("q", q), rows, self.size["e"], self.turned_q)
        for v in self.vectors:
            self.store(self.number(float("-inf")), self.at(self.top, "0", TILE, v))
            self.store(self.number(0.0), self.at(self.total, "0", TILE, v))
        stop = self.size["n"]
        if k.causal:
            stop = c.smin(stop, c.op(f"add i64 {i0}, {TILE}"))
        self.each("0", stop, BLOCK, lambda j0: self.block(at, j0, stop, i0, rows))
        self.finish(coords, i0, rows)

    # ---- one block of keys
    def block(self, at: dict[str, str], j0: str, stop: str, i0: str, rows: str) -> None:
        c = self.code
        keys = c.smin(str(BLOCK), c.op(f"sub i64 {stop}, {j0}"))
        self.prepare(at, j0, keys, i0, rows)
        before, bases = self.maxima(c.op(f"sub i64 {j0}, {i0}"), keys)
        self.weights(keys, bases)
        first = c.op(f"icmp eq i64 {j0}, 0")
        to = c.op(f"select i1 {first}, ptr {self.out}, ptr {self.product_area}")
        v = self.reads["v"]
        self.product(
            (self.scores, str(self.elem.size), str(self.line)),
            rows,
            (self.row("v", v, at["v"], j0), self.step("v", v)),
            self.size["f"],
            keys,
            (to, self.out_line),
        )
        c.when(first, self.take)
        c.when(c.op(f"xor i1 {first}, true"), lambda: self.join(before, bases, rows))

    def raw_scores(self, at: dict[str, str], j0: str, keys: str, i0: str, rows: str) -> None:
        """Of one or two queries: keys are turned and are the lanes."""
        if not self.few:
            return super().raw_scores(at, j0, keys, i0, rows)
        c, q, k, side = self.code, self.reads["q"], self.reads["k"], str(self.elem.size)

        def tile(j: str) -> None:
            keys_at = self.row("k", k, at["k"], c.op(f"add i64 {j0}, {j}"))
            left = c.smin(str(TILE), c.op(f"sub i64 {keys}, {j}"))
            self.turn(keys_at, self.step("k", k), left, self.size["e"], self.turned_k)
            self.product(
                (self.row("q", q, at["q"], i0), self.step("q", q), side),
                rows,
                (self.turned_k, str(self.line)),
                str(TILE),
                self.size["e"],
                (c.at(self.elem.scalar, self.by_key, j), str(BLOCK * self.elem.size)),
            )

        self.each("0", keys, TILE, tile)
        scalar = self.elem.scalar

        def move(i: str) -> None:
            line = c.at(scalar, self.by_key, c.mul(i, str(BLOCK)))

            def one(j: str) -> None:
                x = c.op(f"load {scalar}, ptr {c.at(scalar, line, j)}")
                p = c.at(scalar, self.scores, c.add(c.mul(j, str(TILE)), i))
                c.do(f"store {scalar} {x}, ptr {p}")

            self.each("0", keys, 1, one)

        self.each("0", rows, 1, move)

    def maxima(self, ahead: str, keys: str) -> tuple[list[str], list[str]]:
        """Scores in place of raw ones; the tops before, and the bases of the new ones."""
        c, vec = self.code, self.elem.vec
        before = [self.load(self.at(self.top, "0", TILE, v)) for v in self.vectors]

        def key(j: str, tops: list[str]) -> list[str]:
            out = []
            for v in self.vectors:
                x = self.score(j, ahead, v, keys)
                self.store(x, self.at(self.scores, j, TILE, v))
                out.append(self.greater(x, tops[v]))
            return out

        _, tops = c.loop("0", keys, "1", [(vec, b) for b in before], key)
        for v in self.vectors:
            self.store(tops[v], self.at(self.top, "0", TILE, v))
        return before, [self.base_of(t) for t in tops]

    def weights(self, keys: str, bases: list[str]) -> None:
        """Weights in place of scores, and their sum in the 64-lane order; two lanes at a time."""
        c, vec = self.code, self.elem.vec
        for v in self.vectors:  # a key that has no weight, for the last pair
            self.store(self.number(float("-inf")), self.at(self.scores, keys, TILE, v))

        def lanes(s: str) -> None:
            def pair(j: str, sums: list[str]) -> list[str]:
                out = [""] * len(sums)

                def one(k: int, i: str, v: int) -> None:
                    p = self.at(self.scores, i, TILE, v)
                    w = self.weight(self.load(p), bases[v])
                    self.store(self.times_factor(w, i, v), p)
                    out[k] = self.fop("fadd", sums[k], w)

                both = [(i, v) for i in (j, c.op(f"add i64 {j}, 1")) for v in self.vectors]
                self.together([partial(one, k, *at) for k, at in enumerate(both)])
                return out

            zeros = [(vec, self.number(-0.0))] * (2 * len(self.vectors))
            _, sums = c.loop(s, keys, str(LANES), zeros, pair)
            for k, total in enumerate(sums):
                i, v = divmod(k, len(self.vectors))
                self.store(total, self.at(self.sums, c.add(s, str(i)), TILE, v))

        used = c.op(f"and i64 {c.op(f'add i64 {c.smin(keys, str(LANES))}, 1')}, -2")
        self.each("0", used, 2, lanes)
        left = c.op(f"sub i64 {LANES}, {used}")
        self.zero(self.at(self.sums, used, TILE), left, str(self.line))
        self.tree()

    def tree(self) -> None:
        """The 64 lanes as one: (v0 + v1) + (v2 + v3), then halves of 8, 4, 2, 1."""
        c = self.code

        def quarter(x: str) -> None:
            for v in self.vectors:
                a, b, d, e = (
                    self.load(self.at(self.sums, c.add(x, str(16 * i)), TILE, v)) for i in range(4)
                )
                total = self.fop("fadd", self.fop("fadd", a, b), self.fop("fadd", d, e))
                self.store(total, self.at(self.sums, x, TILE, v))

        self.each("0", "16", 1, quarter)
        for half in (8, 4, 2, 1):

            def pair(x: str, half: int = half) -> None:
                for v in self.vectors:
                    a, b = (
                        self.load(self.at(self.sums, c.add(x, str(i)), TILE, v)) for i in (0, half)
                    )
                    self.store(self.fop("fadd", a, b), self.at(self.sums, x, TILE, v))

            self.each("0", str(half), 1, pair)

    def take(self) -> None:
        """The first block: its sum is the total; its product is in `out` already."""
        for v in self.vectors:
            self.store(
                self.load(self.at(self.sums, "0", TILE, v)), self.at(self.total, "0", TILE, v)
            )

    def join(self, before: list[str], bases: list[str], rows: str) -> None:
        """total = total * decay + part, out = out * decay + product."""
        c = self.code
        for v in self.vectors:
            decay = self.weight(before[v], bases[v])
            self.store(decay, self.at(self.decay, "0", TILE, v))
            p = self.at(self.total, "0", TILE, v)
            part = self.load(self.at(self.sums, "0", TILE, v))
            self.store(self.fop("fadd", self.fop("fmul", self.load(p), decay), part), p)

        def row(i: str) -> None:
            decay = self.lanes.splat(
                self.elem.name,
                c.op(f"load {self.elem.scalar}, ptr {c.at(self.elem.scalar, self.decay, i)}"),
            )
            line = c.mul(i, self.out_line)

            def part(j: str) -> None:
                at = c.add(line, c.mul(j, str(self.elem.size)))
                p, y = c.at("i8", self.out, at), c.at("i8", self.product_area, at)
                x = self.fop("fmul", self.load(p), decay)
                self.store(self.fop("fadd", x, self.load(y)), p)

            self.each("0", self.size["f"], 16, part)

        self.each("0", rows, 1, row)

    # ---- results
    def finish(self, coords: list[str], i0: str, rows: str) -> None:
        c, scalar = self.code, self.elem.scalar
        places = dict(zip(self.results, self.kernel.writes))
        to = {n: self.pointer(n, a, coords) for n, a in places.items()}

        def row(i: str) -> None:
            here = c.op(f"add i64 {i0}, {i}")
            one = c.op(f"load {scalar}, ptr {c.at(scalar, self.total, i)}")
            top = c.op(f"load {scalar}, ptr {c.at(scalar, self.top, i)}")
            for name, x in (("to peak", top), ("to total", one)):
                c.do(f"store {scalar} {x}, ptr {self.row(name, places[name], to[name], here)}")
            total = self.lanes.splat(self.elem.name, one)
            none = c.op(f"fcmp oeq {self.elem.vec} {total}, zeroinitializer")
            line = c.at("i8", self.out, c.mul(i, self.out_line))
            dest = self.row("to out", places["to out"], to["to out"], here)

            def part(j: str, mask: str | None) -> None:
                x = self.fop("fdiv", self.load(c.at(scalar, line, j)), total)
                self.store(self.pick(none, self.number(0.0), x), c.at(scalar, dest, j), mask)

            self.columns(self.size["f"], part)

        self.each("0", rows, 1, row)
