"""Code of running sums and products: chains (blocks of lines) one element after the other.

Invariant: a chain starts from the neutral element, -0.0 or 1, with which a combination is the other
operand bit for bit; its elements are combined in their order by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....ir.algorithm import SCAN_BLOCK
from ..emit.body import barrier
from .writer import AlgorithmWriter

__all__ = ["Chains", "StagedChains", "WARP"]

WARP = 32
_THREADS = 64
_FAR = 32
_AHEAD = 8  # elements that are asked for together


Visit = Callable[[str, str, str], str]


class Chains(AlgorithmWriter):
    """Writes the kernels for one operation on elements of one type."""

    def __init__(
        self,
        guarded: bool,
        kind: str,
        operation: str,
        neutral: str,
        threads: int = _THREADS,
        scratch: Sequence[str] = (),
    ) -> None:
        super().__init__(guarded, threads, scratch)
        self.kind, self.operation, self.neutral = kind, operation, neutral
        self.memory = {"float": "i32", "double": "i64"}.get(kind, kind)

    def get(self, name: str, index: str) -> str:
        value = self.load(self.memory, name, index)
        if self.memory == self.kind:
            return value
        return self.code.op(f"bitcast {self.memory} {value} to {self.kind}")

    def put(self, name: str, index: str, value: str) -> None:
        if self.memory != self.kind:
            value = self.code.op(f"bitcast {self.kind} {value} to {self.memory}")
        self.store(self.memory, name, index, value)

    def combined(self, left: str, right: str) -> str:
        return self.code.op(f"{self.operation} {self.kind} {left}, {right}")

    def walk(
        self, source: str, first: str, step: str, many: str, visit: Visit, most: int = _AHEAD
    ) -> str:
        """The total of `many` elements `step` apart; visit(index, total, element) gives it with
        that element."""
        code, number, total = self.code, "0", self.neutral
        for ahead in (most, 1):

            def some(number: str, now: list[str], ahead: int = ahead) -> list[str]:
                after = code.add(first, code.mul(number, step))
                spots = [after]
                for _ in range(ahead - 1):
                    spots.append(code.op(f"add i64 {spots[-1]}, {step}"))
                for spot, value in zip(spots, [self.get(source, spot) for spot in spots]):
                    now = [visit(spot, now[0], value)]
                return now

            number, (total,) = code.loop(
                number, many, str(ahead), [(self.kind, total)], some, full=ahead
            )
        return total

    def of_chain(self, chain: str, visit: Visit) -> str:
        """The total of a chain: blocks of the lines, those of adjacent lines side by side."""
        code, extent, inner = self.code, self.number("extent"), self.number("inner")
        rest, column = self.split(chain, inner)
        outer, block = self.split(rest, self.number("blocks"))
        start = code.op(f"mul i64 {block}, {SCAN_BLOCK}")
        many = code.smin(code.op(f"sub i64 {extent}, {start}"), str(SCAN_BLOCK))
        row = code.add(code.op(f"mul i64 {outer}, {extent}"), start)
        first = code.add(code.op(f"mul i64 {row}, {inner}"), column)
        return self.walk("x", first, inner, many, visit)

    def totals(self) -> None:
        """That of each chain."""
        self.run(before=False, results=False)

    def before(self) -> None:
        """Totals of the chains become what is before them in their line."""
        code, inner = self.code, self.number("inner")

        def line(number: str) -> None:
            outer, column = self.split(number, inner)
            blocks = self.number("blocks")
            row = code.op(f"mul i64 {outer}, {code.op(f'mul i64 {blocks}, {inner}')}")

            def visit(spot: str, total: str, value: str) -> str:
                self.put("totals", spot, total)
                return self.combined(total, value)

            self.walk("totals", code.add(row, column), inner, blocks, visit, _FAR)

        self.each(self.number("lines"), line)

    def results(self) -> None:
        """Of lines that are one block."""
        self.run(before=False, results=True)

    def behind(self) -> None:
        """Results behind the totals before their chains."""
        self.run(before=True, results=True)

    def run(self, before: bool, results: bool) -> None:
        """Every chain: its results, behind what is `before` it, or its total."""

        def chain(number: str) -> None:
            ahead = self.get("totals", number) if before else ""

            def visit(spot: str, total: str, value: str) -> str:
                total = self.combined(total, value)
                if results:
                    self.put("out", spot, self.combined(ahead, total) if before else total)
                return total

            total = self.of_chain(number, visit)
            if not results:
                self.put("totals", number, total)

        self.each(self.number("chains"), chain)


class StagedChains(Chains):
    """Chains that lie side by side in memory: a warp takes a chain a lane and moves parts of all of
    them through shared memory, so that it reads and writes whole lines."""

    def __init__(self, guarded: bool, kind: str, operation: str, neutral: str) -> None:
        row = WARP + 1  # lanes that walk along rows use different banks
        spaces = ("values", kind, WARP * row), ("firsts", "i64", WARP), ("sizes", "i64", WARP)
        scratch = [
            f"@{name} = internal addrspace(3) global [{size} x {each}] poison, align 16"
            for name, each, size in spaces
        ]
        super().__init__(guarded, kind, operation, neutral, WARP, scratch)
        self.types = {name: each for name, each, _ in spaces}

    def spot(self, name: str, index: str) -> str:
        base = self.code.once(f"addrspacecast ptr addrspace(3) @{name} to ptr")
        return self.code.at(self.types[name], base, index)

    def fetch(self, name: str, index: str) -> str:
        return self.code.op(f"load {self.types[name]}, ptr {self.spot(name, index)}")

    def keep(self, name: str, index: str, value: str) -> None:
        self.code.do(f"store {self.types[name]} {value}, ptr {self.spot(name, index)}")

    def locate(self) -> tuple[str, str]:
        """(number of this lane's chain, i1: whether there is one); tells the others where it is."""
        code, extent = self.code, self.number("extent")
        chain = code.add(code.op(f"mul i64 {self.block()}, {WARP}"), self.thread())
        there = code.op(f"icmp slt i64 {chain}, {self.number('chains')}")
        chain = code.op(f"select i1 {there}, i64 {chain}, i64 0")
        line, block = self.split(chain, self.number("blocks"))
        start = code.op(f"mul i64 {block}, {SCAN_BLOCK}")
        many = code.smin(code.op(f"sub i64 {extent}, {start}"), str(SCAN_BLOCK))
        self.keep("firsts", self.thread(), code.add(code.op(f"mul i64 {line}, {extent}"), start))
        self.keep("sizes", self.thread(), code.op(f"select i1 {there}, i64 {many}, i64 0"))
        barrier(code)
        return chain, there

    def run(self, before: bool, results: bool) -> None:
        code = self.code
        chain, there = self.locate()
        ahead = self.get("totals", chain) if before else ""
        mine = code.once(f"mul i64 {self.thread()}, {WARP + 1}")

        def part(first: str, now: list[str]) -> list[str]:
            total, position = now[0], code.add(first, self.thread())
            self.bring(position)
            barrier(code)
            spots = [code.add(mine, str(k)) for k in range(WARP)]
            for spot, value in zip(spots, [self.fetch("values", spot) for spot in spots]):
                total = self.combined(total, value)
                if results:
                    self.keep("values", spot, self.combined(ahead, total) if before else total)
            barrier(code)
            if results:
                self.send(position)
                barrier(code)
            return [total]

        carried = [(self.kind, self.neutral)]
        _, (total,) = code.loop("0", self.number("longest"), str(WARP), carried, part)
        if not results:
            code.when(there, lambda: self.put("totals", chain, total))

    def rows(self, position: str) -> list[tuple[str, str, str]]:
        """For each chain: (where its element at a position is in memory, i1: whether it is one,
        where it is in shared memory)."""
        code, found = self.code, []
        for row in range(WARP):
            first, size = self.fetch("firsts", str(row)), self.fetch("sizes", str(row))
            there = code.op(f"icmp slt i64 {position}, {size}")
            local = code.add(self.thread(), str(row * (WARP + 1)))
            found.append((code.add(first, position), there, local))
        return found

    def bring(self, position: str) -> None:
        """Elements to shared memory; in the place of what is none comes some other."""
        code, rows = self.code, self.rows(position)
        spots = [code.op(f"select i1 {there}, i64 {spot}, i64 0") for spot, there, _ in rows]
        for (_, _, local), value in zip(rows, [self.get("x", spot) for spot in spots]):
            self.keep("values", local, value)

    def send(self, position: str) -> None:
        """Results from shared memory."""
        for spot, there, local in self.rows(position):
            value = self.fetch("values", local)

            def put(spot: str = spot, value: str = value) -> None:
                self.put("out", spot, value)

            self.code.when(there, put)
