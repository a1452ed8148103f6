"""Gradients of attention: blocks of 256 keys, in each the tiles of 32 queries in order.

An item is a batch position with all its keys and queries ('all'), one block of its keys ('keys':
dk and dv), or one tile of its queries ('queries': dq).  Invariant: the order of ops/attend.py,
which these ways of cutting the work share.
"""

from __future__ import annotations

from functools import partial

from ....ir.attend import BLOCK, TILE
from ...plan import Access, AttendKernel
from ..gemm.geometry import Target
from ..gemm.micro import Element
from .work import Work

__all__ = ["Backward"]


class Backward(Work):
    """The function that writes dq ('all', 'queries'), dk and dv ('all', 'keys')."""

    results = ("dq", "dk", "dv")

    def __init__(self, kernel: AttendKernel, elem: Element, target: Target, how: str) -> None:
        super().__init__(kernel, elem, target)
        self.how = how
        self.of_queries, self.of_keys = how != "keys", how != "queries"
        self.tiles, self.blocks = -(-kernel.m // TILE), -(-kernel.n // BLOCK)
        self.dq, self.dk, self.dv = kernel.writes
        self.tile_memory()
        self.turned_g = self.area("turned_g", kernel.f, TILE)
        self.by_value = self.area("by_value", BLOCK + 1, TILE)
        self.lines = {n: self.w(f"line.{n}", self.padded(n) * elem.size) for n in ("e", "f")}
        if self.of_queries:
            rows = TILE * (self.tiles if how == "all" else 1)
            self.sum_q = self.area("sum_q", rows, self.padded("e"))
            self.chain_q = self.area("chain_q", TILE, self.padded("e"))
        if self.of_keys:
            self.sums = [self.area(f"sum_{n}", BLOCK, self.padded(n)) for n in ("e", "f")]
            self.chains = [self.area(f"chain_{n}", BLOCK, self.padded(n)) for n in ("e", "f")]
        kind = f"[{TILE} x {elem.scalar}]"
        self.peak, self.total, self.delta = (self.code.alloca(kind) for _ in range(3))

    @property
    def items(self) -> int:
        """Items of one batch position."""
        return {"all": 1, "keys": self.blocks, "queries": self.tiles}[self.how]

    def build(self) -> None:
        self.each("%begin", "%end", 1, self.item)
        self.code.do("ret i64 0")

    def item(self, item: str) -> None:
        c = self.code
        per = self.w("per_batch", max(self.items, 1))
        batch = c.op(f"udiv i64 {item}, {per}")
        part = c.op(f"sub i64 {item}, {c.mul(batch, per)}")
        coords = self.split(batch)
        at = {n: self.pointer(n, a, coords) for n, a in self.reads.items()}
        to = {
            n: self.pointer(n, a, coords)
            for n, a in (("dq", self.dq), ("dk", self.dk), ("dv", self.dv))
            if (self.of_queries if n == "dq" else self.of_keys)
        }
        if self.how == "keys":
            return self.keys(at, to, c.mul(part, str(BLOCK)), "0")
        first = "0" if self.how == "all" else part
        self.none(first)
        stop = self.size["n"]
        if self.how == "queries" and self.kernel.causal:
            stop = c.smin(stop, c.mul(c.op(f"add i64 {part}, 1"), str(TILE)))
        if self.how == "queries":
            self.each("0", stop, BLOCK, lambda j0: self.pair(at, j0, c.mul(part, str(TILE)), part))
        else:
            self.each("0", stop, BLOCK, lambda j0: self.keys(at, to, j0, first))
        i0 = c.mul(first, str(TILE))
        rows = c.op(f"sub i64 {self.size['m']}, {i0}")
        rows = c.smin(rows, str(TILE)) if self.how == "queries" else rows
        self.write("dq", self.dq, to["dq"], self.sum_q, "e", i0, rows, True)

    def none(self, first: str) -> None:
        """No keys: zeros in place of the first block's chains."""
        c = self.code
        rows = self.size["m"] if self.how == "all" else str(TILE)
        c.when(
            c.op(f"icmp eq i64 {self.size['n']}, 0"),
            lambda: self.zero(self.sum_q, rows, self.lines["e"]),
        )

    # ---- one block of keys
    def keys(self, at: dict[str, str], to: dict[str, str], j0: str, first: str) -> None:
        """All queries against a block of keys; its dk and dv."""
        c = self.code
        count = c.smin(str(BLOCK), c.op(f"sub i64 {self.size['n']}, {j0}"))
        self.clear(self.sums, count)
        start = j0 if self.kernel.causal else "0"

        def queries(i0: str) -> None:
            more = c.op(f"icmp ne i64 {i0}, {start}")
            c.when(more, lambda: self.clear(self.chains, count))
            stop = c.smin(c.op(f"add i64 {i0}, {BLOCK}"), self.size["m"])
            chains = [
                c.op(f"select i1 {more}, ptr {x}, ptr {y}") for x, y in zip(self.chains, self.sums)
            ]

            def tile(i: str) -> None:
                self.pair(at, j0, i, first, chains)

            self.each(i0, stop, TILE, tile)
            c.when(more, lambda: self.add_chains(count))

        self.each(start, self.size["m"], BLOCK, queries)
        self.write("dk", self.dk, to["dk"], self.sums[0], "e", j0, count, True)
        self.write("dv", self.dv, to["dv"], self.sums[1], "f", j0, count, False)

    def clear(self, areas: list[str], rows: str) -> None:
        for area, n in zip(areas, "ef"):
            self.zero(area, rows, self.lines[n])

    def add(self, to: str, x: str, rows: str, line: str) -> None:
        """to += x, whole rows of areas."""
        c = self.code
        count = c.op(f"sdiv i64 {c.mul(rows, line)}, {16 * self.elem.size}")

        def part(k: str) -> None:
            p = self.at(to, k, 16)
            self.store(self.fop("fadd", self.load(p), self.load(self.at(x, k, 16))), p)

        self.each("0", count, 1, part)

    def add_chains(self, rows: str) -> None:
        for to, x, n in zip(self.sums, self.chains, "ef"):
            self.add(to, x, rows, self.lines[n])

    # ---- a tile of queries and a block of keys
    def pair(
        self, at: dict[str, str], j0: str, i0: str, first: str, chains: list[str] | None = None
    ) -> None:
        c, r, size = self.code, self.reads, self.size
        rows = c.smin(str(TILE), c.op(f"sub i64 {size['m']}, {i0}"))
        stop = size["n"]
        if self.kernel.causal:
            stop = c.smin(stop, c.op(f"add i64 {i0}, {TILE}"))
        keys = c.smin(str(BLOCK), c.op(f"sub i64 {stop}, {j0}"))
        q, g = self.row("q", r["q"], at["q"], i0), self.row("g", r["g"], at["g"], i0)
        self.turn(q, self.step("q", r["q"]), rows, size["e"], self.turned_q)
        self.turn(g, self.step("g", r["g"]), rows, size["f"], self.turned_g)
        self.statistics(at, i0, rows)
        self.prepare(at, j0, keys, i0, rows)
        side = str(self.elem.size)
        self.product(
            (self.row("v", r["v"], at["v"], j0), self.step("v", r["v"]), side),
            keys,
            (self.turned_g, str(self.line)),
            self.lanes_used,
            size["f"],
            (self.by_value, str(self.line)),
        )
        self.weights_and_scores(c.op(f"sub i64 {j0}, {i0}"), keys)
        if chains is not None:
            for area, to, b, name, n in zip(
                (self.by_value, self.scores), chains, (q, g), ("q", "g"), "ef"
            ):
                self.product(
                    (area, str(self.line), side),
                    keys,
                    (b, self.step(name, r[name])),
                    size[n],
                    rows,
                    (to, self.lines[n]),
                    "true",
                )
        if self.of_queries:
            self.queries(at, j0, i0, first, rows, keys)

    def queries(
        self, at: dict[str, str], j0: str, i0: str, first: str, rows: str, keys: str
    ) -> None:
        """dq of a tile: this block's chain, stored or added."""
        c, k = self.code, self.reads["k"]
        here = c.op(f"sub i64 {i0}, {c.mul(first, str(TILE))}")
        total = c.at("i8", self.sum_q, c.mul(here, self.lines["e"]))
        begin = c.op(f"icmp eq i64 {j0}, 0")
        to = c.op(f"select i1 {begin}, ptr {total}, ptr {self.chain_q}")
        self.product(
            (self.by_value, str(self.elem.size), str(self.line)),
            rows,
            (self.row("k", k, at["k"], j0), self.step("k", k)),
            self.size["e"],
            keys,
            (to, self.lines["e"]),
        )
        c.when(
            c.op(f"xor i1 {begin}, true"),
            lambda: self.add(total, self.chain_q, rows, self.lines["e"]),
        )

    def statistics(self, at: dict[str, str], i0: str, rows: str) -> None:
        """Peak, total and delta of a tile's queries; lanes past the last repeat it."""
        c, scalar = self.code, self.elem.scalar

        def one(i: str) -> None:
            here = c.op(f"add i64 {i0}, {c.smin(i, c.op(f'sub i64 {rows}, 1'))}")
            for name, to in (("peak", self.peak), ("total", self.total), ("delta", self.delta)):
                p = self.row(name, self.reads[name], at[name], here)
                c.do(f"store {scalar} {c.op(f'load {scalar}, ptr {p}')}, ptr {c.at(scalar, to, i)}")

        self.each("0", str(TILE), 1, one)

    def weights_and_scores(self, ahead: str, keys: str) -> None:
        """The weights of the values in place of the scores, the scores' gradients in `by_value`;
        with a row more where the number of keys is odd."""
        bases, shares, deltas = [], [], []
        for v in self.vectors:
            bases.append(self.base_of(self.load(self.at(self.peak, "0", TILE, v))))
            total = self.load(self.at(self.total, "0", TILE, v))
            none = self.code.op(f"fcmp oeq {self.elem.vec} {total}, zeroinitializer")
            share = self.fop("fdiv", self.number(1.0), total)
            shares.append(self.pick(none, self.number(0.0), share))
            deltas.append(self.load(self.at(self.delta, "0", TILE, v)))

        def one(j: str, v: int) -> None:
            x = self.weight(self.score(j, ahead, v, keys), bases[v])
            p = self.fop("fmul", x, shares[v])
            at = self.at(self.by_value, j, TILE, v)
            inner = self.fop("fsub", self.times_factor(self.load(at), j, v), deltas[v])
            self.store(self.fop("fmul", p, inner), at)
            self.store(self.times_factor(p, j, v), self.at(self.scores, j, TILE, v))

        def pair(j: str) -> None:
            both = (j, self.code.op(f"add i64 {j}, 1"))
            self.together([partial(one, i, v) for i in both for v in self.vectors])

        self.each("0", keys, 2, pair)

    def write(
        self,
        name: str,
        a: Access,
        to: str,
        area: str,
        n: str,
        start: str,
        rows: str,
        scaled: bool,
    ) -> None:
        """Rows of an area as rows from `start` on of a result, times scale."""
        c, scalar = self.code, self.elem.scalar

        def row(i: str) -> None:
            dest = self.row(name, a, to, c.op(f"add i64 {start}, {i}"))
            line = c.at("i8", area, c.mul(i, self.lines[n]))

            def part(j: str, mask: str | None) -> None:
                x = self.load(c.at(scalar, line, j))
                x = self.fop("fmul", x, self.scale) if scaled else x
                self.store(x, c.at(scalar, dest, j), mask)

            self.columns(self.size[n], part)

        self.each("0", rows, 1, row)
