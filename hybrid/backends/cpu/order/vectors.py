"""Vectors of sort keys: networks that sort a few of them, and their lanes moved together by a mask.

Invariant: what is in a vector is a multiset of keys; nothing here tells equal keys apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...emit.code import Code

__all__ = ["Vectors"]


def _lanes(numbers: Sequence[int], of: str = "i32") -> str:
    return "<" + ", ".join(f"{of} {number}" for number in numbers) + ">"


@dataclass(frozen=True)
class Vectors:
    """Keys side by side in a register: how many bits each has, and how many there are."""

    code: Code
    bits: int
    lanes: int

    @property
    def key(self) -> str:
        return f"i{self.bits}"

    @property
    def type(self) -> str:
        return f"<{self.lanes} x {self.key}>"

    @property
    def mask(self) -> str:
        return f"<{self.lanes} x i1>"

    @property
    def wide(self) -> bool:
        """Whether registers have 512 bits."""
        return self.lanes * self.bits == 512

    @property
    def few(self) -> int:
        """Vectors that a network sorts at most."""
        return 16 if self.wide and self.bits >= 32 else 8

    @property
    def name(self) -> str:
        """As intrinsics name the type."""
        return f"v{self.lanes}{self.key}"

    def at(self, base: str, index: str) -> str:
        return self.code.at(self.key, base, index)

    def load(self, base: str, index: str = "0") -> str:
        place = self.at(base, index)
        return self.code.op(f"load {self.type}, ptr {place}, align {self.bits // 8}")

    def store(self, vector: str, base: str, index: str = "0") -> None:
        place = self.at(base, index)
        self.code.do(f"store {self.type} {vector}, ptr {place}, align {self.bits // 8}")

    def store_some(self, vector: str, place: str, mask: str) -> None:
        """The lanes that a mask has."""
        where = f"i32 {self.bits // 8}", f"{self.mask} {mask}"
        name = f"llvm.masked.store.{self.name}.p0"
        self.code.declared[name] = (
            f"declare void @{name}({self.type}, ptr, i32 immarg, {self.mask})"
        )
        self.code.do(f"call void @{name}({self.type} {vector}, ptr {place}, {', '.join(where)})")

    def spread(self, value: str) -> str:
        """A key in all lanes."""
        builder = self.code
        one = builder.op(f"insertelement {self.type} poison, {self.key} {value}, i64 0")
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return builder.op(f"shufflevector {self.type} {one}, {self.type} poison, {zeros}")

    def first(self, count: str) -> str:
        """The mask of the first lanes, `count` of them (i64, any number)."""
        none = self.code.smax(count, "0")
        return self.front(self.code.smin(none, str(self.lanes)))

    def front(self, count: str) -> str:
        """The same of a count that is no more than the lanes and not negative."""
        builder, bits = self.code, f"i{self.lanes}"
        if self.wide:
            behind = builder.op(f"sub i64 {self.lanes}, {count}")
            ones = builder.op(f"lshr i64 {(1 << self.lanes) - 1}, {behind}")
            if self.lanes == 64:  # a shift by all bits is none
                ones = builder.op(
                    f"select i1 {builder.op(f'icmp eq i64 {count}, 0')}, i64 0, i64 {ones}"
                )
            return builder.op(f"bitcast {bits} {self._cut(ones)} to {self.mask}")
        short = count if self.bits == 64 else builder.op(f"trunc i64 {count} to {self.key}")
        numbers = _lanes(range(self.lanes), self.key)
        return builder.op(f"icmp sgt {self.type} {self.spread(short)}, {numbers}")

    def below(self, vector: str, limit: str) -> str:
        return self.code.op(f"icmp ult {self.type} {vector}, {limit}")

    def count(self, mask: str) -> str:
        """How many lanes a mask has (i64)."""
        bits = self.code.op(f"bitcast {self.mask} {mask} to i{self.lanes}")
        if self.lanes < 64:
            bits = self.code.op(f"zext i{self.lanes} {bits} to i64")
        return self.code.call("llvm.ctpop.i64", "i64", f"i64 {bits}")

    def _cut(self, number: str) -> str:
        """A number of 64 bits with a bit for each lane."""
        return number if self.lanes == 64 else self.code.op(f"trunc i64 {number} to i{self.lanes}")

    def least(self, left: str, right: str) -> str:
        return self._extreme("umin", left, right)

    def most(self, left: str, right: str) -> str:
        return self._extreme("umax", left, right)

    def _extreme(self, which: str, left: str, right: str) -> str:
        name, of = f"llvm.{which}.{self.name}", self.type
        return self.code.call(name, of, f"{of} {left}", f"{of} {right}")

    def reduced(self, which: str, vector: str) -> str:
        """The least ('umin') or the greatest ('umax') key of a vector."""
        name = f"llvm.vector.reduce.{which}.{self.name}"
        return self.code.call(name, self.key, f"{self.type} {vector}")

    # ---- networks
    def sorted(self, vectors: Sequence[str]) -> list[str]:
        """The keys of some vectors, a power of two, in order: by bitonic merges, for which an
        element's neighbour is in the next vector, so that most comparisons move no lanes."""
        made, size, count = list(vectors), 2, len(vectors)
        while size <= self.lanes * count:
            self._folded(made, size)
            apart = size // 4
            while apart:
                self._compared(made, apart)
                apart //= 2
            size *= 2
        return self._in_turns(made)

    def _folded(self, vectors: list[str], size: int) -> None:
        """Of runs of a size the first element beside the last one, and so on."""
        count = len(vectors)
        if size <= count:
            return self._crossed(vectors, size - 1, size // 2)
        flips, upper = size // count - 1, size // count // 2
        if count == 1:
            return self._inside(vectors, flips, upper)
        for low in range(count // 2):
            high = count - 1 - low
            other = self._shuffled(vectors[high], flips)
            least, most = self.least(vectors[low], other), self.most(vectors[low], other)
            vectors[low] = self._blended(least, most, upper)
            vectors[high] = self._shuffled(self._blended(most, least, upper), flips)
        return None

    def _compared(self, vectors: list[str], apart: int) -> None:
        """Elements beside those that are so far behind them."""
        count = len(vectors)
        if apart < count:
            return self._crossed(vectors, apart, apart)
        return self._inside(vectors, apart // count, apart // count)

    def _crossed(self, vectors: list[str], flips: int, upper: int) -> None:
        """Vectors beside others: those with the bit `upper` keep the greater keys."""
        for number, low in enumerate(vectors):
            if not number & upper:
                high = vectors[number ^ flips]
                vectors[number] = self.least(low, high)
                vectors[number ^ flips] = self.most(low, high)

    def _inside(self, vectors: list[str], flips: int, upper: int) -> None:
        """Lanes beside others of their vector; those with the bit `upper` keep the greater key."""
        for number, vector in enumerate(vectors):
            other = self._shuffled(vector, flips)
            least, most = self.least(vector, other), self.most(vector, other)
            vectors[number] = self._blended(least, most, upper)

    def _shuffled(self, vector: str, flips: int) -> str:
        return self._picked(vector, vector, [lane ^ flips for lane in range(self.lanes)])

    def _picked(self, left: str, right: str, lanes: Sequence[int]) -> str:
        """Lanes of two vectors."""
        order = f"<{self.lanes} x i32> {_lanes(lanes)}"
        return self.code.op(f"shufflevector {self.type} {left}, {self.type} {right}, {order}")

    def _blended(self, least: str, most: str, upper: int) -> str:
        """The second one's lanes that have the bit `upper`, and the first one's others."""
        chosen = [bool(lane & upper) for lane in range(self.lanes)]
        if not self.wide:
            order = [lane + self.lanes * there for lane, there in enumerate(chosen)]
            return self._picked(least, most, order)
        # no constant for LLVM, which then makes the comparison itself a masked one
        builder, bits = self.code, f"i{self.lanes}"
        zero = builder.once("lshr i64 %begin, 63")
        zero = zero if self.lanes == 64 else builder.once(f"trunc i64 {zero} to {bits}")
        number = sum(1 << lane for lane, there in enumerate(chosen) if there)
        mask = builder.once(
            f"bitcast {bits} {builder.once(f'or {bits} {zero}, {number}')} to {self.mask}"
        )
        return builder.op(f"select {self.mask} {mask}, {self.type} {most}, {self.type} {least}")

    def _in_turns(self, vectors: list[str]) -> list[str]:
        """Lane 0 of all vectors, then lane 1 of all, and so on."""
        if len(vectors) == 1:
            return vectors
        even, odd = self._in_turns(vectors[::2]), self._in_turns(vectors[1::2])
        made, lanes = list[str](), self.lanes
        for pair in zip(even, odd):
            for first in (0, lanes // 2):
                order = [first + lane // 2 + lanes * (lane % 2) for lane in range(lanes)]
                made.append(self._picked(*pair, order))
        return made

    # ---- lanes together
    def compressed(self, vector: str, mask: str) -> str:
        """The lanes that a mask has in front, in any order behind them what there is."""
        builder = self.code
        if self.wide:
            name = f"llvm.x86.avx512.mask.compress.{self.name}"
            given = f"{self.type} {vector}", f"{self.type} {vector}", f"{self.mask} {mask}"
            return builder.call(name, self.type, *given)
        bits = builder.op(f"bitcast {self.mask} {mask} to i{self.lanes}")
        row = builder.op(f"zext i{self.lanes} {bits} to i64")
        order = builder.op(f"load <8 x i32>, ptr {builder.at('<8 x i32>', '@together', row)}")
        words = builder.op(f"bitcast {self.type} {vector} to <8 x i32>")
        moved = builder.call(
            "llvm.x86.avx2.permd", "<8 x i32>", f"<8 x i32> {words}", f"<8 x i32> {order}"
        )
        return builder.op(f"bitcast <8 x i32> {moved} to {self.type}")

    def table(self) -> str:
        """What `compressed` reads: for each mask where the words of its lanes are."""
        if self.wide:
            return ""
        rows, words = [], 8 // self.lanes
        for mask in range(1 << self.lanes):
            chosen = [lane for lane in range(self.lanes) if mask >> lane & 1]
            order = [lane * words + word for lane in chosen for word in range(words)]
            rows.append(f"<8 x i32> {_lanes(order + [0] * (8 - len(order)))}")
        return (
            f"@together = private constant [{len(rows)} x <8 x i32>] "
            f"[{', '.join(rows)}], align 32\n"
        )
