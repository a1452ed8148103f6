"""Positions that sort long lines: keys of 32 bits above positions are sorted as one number.

Invariant: positions tell all pairs apart, so whatever sorts them is stable.  Keys of 64 bits go by
their upper half first, then by their lower one where upper halves are alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...emit.code import Code
from ..gemm.pack import each
from .divided import put_in_order
from .lines import ElementKind, Line, extremes_of, function
from .values import Registers, copied, region
from .vectors import Vectors

__all__ = ["SortedPairs", "sorted_pairs"]

_LOW = (1 << 32) - 1


class SortedPairs(NamedTuple):
    """Ordered pairs, or their positions, go to memory side by side."""

    vectors: Vectors
    target: str
    whole: bool

    def shown(self, pairs: str, many: str) -> str:
        low = _LOW if many == "i64" else f"splat (i64 {_LOW})"
        return pairs if self.whole else self.vectors.code.op(f"and {many} {pairs}, {low}")

    def wanted(self, place: str, size: str) -> str | None:
        return None

    def sorted(self, vectors: list[str], place: str, size: str) -> None:
        builder, form = self.vectors.code, self.vectors
        for number, vector in enumerate(vectors):
            ahead = str(number * form.lanes)
            inside = form.first(builder.op(f"sub i64 {size}, {ahead}"))
            target = form.at(self.target, builder.add(place, ahead))
            form.store_some(self.shown(vector, form.type), target, inside)

    def repeated(self, key: str, place: str, size: str) -> None:
        builder, shown = self.vectors.code, self.shown(key, "i64")

        def one(index: str) -> None:
            target = self.vectors.at(self.target, builder.add(place, index))
            builder.do(f"store i64 {shown}, ptr {target}")

        each(builder, "0", size, "1", one)


class _Sorting(NamedTuple):
    """A line whose positions are to be at `target`, side by side."""

    line: Line
    vectors: Vectors
    target: str

    def room(self, number: int) -> str:
        return region(self.line, self.vectors, number)

    def fill(self, key: str, place: str, position: str) -> None:
        """A pair of the lower half of a key."""
        builder = self.line.code
        pair = builder.op(f"or i64 {builder.op(f'shl i64 {key}, 32')}, {position}")
        builder.do(f"store i64 {pair}, ptr {place}")

    def key(self, index: str) -> str:
        key, integer = self.line.sort_key(index), self.line.kind.integer
        return key if integer == "i64" else self.line.code.op(f"zext {integer} {key} to i64")

    def order(self, keys: str, key_count: str, target: str, whole: bool) -> None:
        receiver = SortedPairs(self.vectors, target, whole)
        put_in_order(self.vectors, (keys, "%scratch"), key_count, receiver, 0)

    def narrow(self, least: str) -> None:
        """Keys that have 32 bits behind the least one."""
        builder, room = self.line.code, self.room(0)

        def one(index: str) -> None:
            key = self.key(index)
            key = builder.op(f"sub i64 {key}, {least}") if least else key
            self.fill(key, self.vectors.at(room, index), index)

        self.line.each(self.line.extent, one)
        self.order(room, self.line.extent, self.target, False)

    def wide(self) -> None:
        builder, room, halves = self.line.code, self.room(0), self.room(1)

        def upper(index: str) -> None:
            key = builder.op(f"lshr i64 {self.key(index)}, 32")
            self.fill(key, self.vectors.at(room, index), index)

        self.line.each(self.line.extent, upper)
        self.order(room, self.line.extent, halves, True)
        self._runs(room, halves)

    def _runs(self, room: str, halves: str) -> None:
        """Pairs whose upper halves are alike, by the lower ones."""
        builder, extent = self.line.code, self.line.extent

        def pair_at(index: str) -> str:
            return builder.op(f"load i64, ptr {self.vectors.at(halves, index)}")

        def position_at(index: str) -> str:
            return builder.op(f"and i64 {pair_at(index)}, {_LOW}")

        def lower(index: str) -> None:
            position = position_at(index)
            self.fill(self.key(position), self.vectors.at(room, index), position)

        def run(begin: str, _: list[str]) -> list[str]:
            upper = builder.op(f"lshr i64 {pair_at(begin)}, 32")

            def further(index: str, ends: list[str]) -> list[str]:
                other = builder.op(f"lshr i64 {pair_at(index)}, 32")
                alike = builder.op(f"icmp eq i64 {other}, {upper}")
                after = builder.add(index, "1")
                end = builder.op(f"select i1 {alike}, i64 {after}, i64 {ends[0]}")
                return [end, builder.op(f"select i1 {alike}, i64 {after}, i64 {extent}")]

            first = builder.add(begin, "1")
            (stop,) = builder.loop(first, extent, None, [("i64", first)], further)[1]
            target = self.vectors.at(self.target, begin)
            builder.do(f"store i64 {position_at(begin)}, ptr {target}")

            def by_lower_halves() -> None:
                each(builder, begin, stop, "1", lower)
                count = builder.op(f"sub i64 {stop}, {begin}")
                self.order(self.vectors.at(room, begin), count, target, False)

            builder.when(builder.op(f"icmp ugt i64 {stop}, {first}"), by_lower_halves)
            return [stop]

        builder.loop("0", extent, None, [], run)


@lru_cache(None)
def sorted_pairs(kind: ElementKind, given: Registers) -> tuple[str, str]:
    """The function that orders lines of fewer than 2**32 elements."""
    lanes = given.size // 8

    def write(line: Line) -> None:
        builder = line.code
        vectors = Vectors(builder, 64, lanes)
        apart = builder.op(f"icmp ne i64 {line.inner}, 1")
        beside = region(line, vectors, 2)
        target = builder.op(f"select i1 {apart}, ptr {beside}, ptr {line.target}")
        sorting = _Sorting(line, vectors, target)
        if kind.bits <= 32:
            sorting.narrow("")
        elif kind.floating:
            sorting.wide()
        else:
            least, greatest = extremes_of(line)
            span = builder.op(f"sub i64 {greatest}, {least}")
            near = builder.op(f"icmp ult i64 {span}, {1 << 32}")
            builder.when(near, lambda: sorting.narrow(least))
            builder.when(builder.op(f"xor i1 {near}, true"), sorting.wide)
        straight = line._replace(target=target, inner="1")
        places = target, line.target
        builder.when(apart, lambda: copied(straight, line, places, "i64"))

    return function(kind, "pairs", write, head=Vectors(Code(), 64, lanes).table())
