"""Sorted values: keys in order, and elements of them.

Invariant: keys are sorted without their positions; equal elements that differ in bits (zeros, NaN)
are put back in the order of the line, so results are those of a stable sort.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...emit.code import Code
from ..machine.host import machine
from .divided import DEPTH, put_in_order
from .lines import ElementKind, Line, function
from .vectors import Vectors

__all__ = [
    "CHUNK",
    "LineKeys",
    "Registers",
    "copied",
    "network_of",
    "region",
    "registers",
    "scratch_of",
    "SortedLine",
    "restore",
    "sorting",
    "vectors_of",
]

CHUNK = 1 << 13  # elements that make a sensible chunk of work


class Registers(NamedTuple):
    """What vectors of keys may be: bytes of a register, and whether narrow keys move by lanes."""

    size: int
    narrow: bool


def registers() -> Registers:
    """Those of this machine."""
    here = machine()
    narrow = {"+avx512vbmi", "+avx512vbmi2"} <= set(here.features.split(","))
    return Registers(here.vector_bytes, here.vector_bytes == 64 and narrow)


class LineKeys(NamedTuple):
    """The keys of a line whose elements lie side by side, in scratch memory."""

    line: Line
    vectors: Vectors
    first: str

    @property
    def code(self) -> Code:
        return self.line.code

    @property
    def stored(self) -> Vectors:
        """Elements side by side, as many as keys."""
        return Vectors(self.code, self.line.kind.bits, self.vectors.lanes)

    def elements(self, key: str, lanes: int) -> str:
        """The bits of the elements with these keys."""
        elements = self.line.kind
        if elements.bits != self.vectors.bits:
            wide = self.vectors.key if lanes == 1 else self.vectors.type
            key = self.code.op(f"trunc {wide} {key} to {elements.type_of(lanes)}")
        return self.line.element(key, lanes)

    def keys_of(self, bits: str, lanes: int) -> str:
        elements = self.line.kind
        key = self.line.key(bits, lanes)
        if elements.bits == self.vectors.bits:
            return key
        wide = self.vectors.key if lanes == 1 else self.vectors.type
        return self.code.op(f"zext {elements.type_of(lanes)} {key} to {wide}")

    def fill(self) -> list[str]:
        """All keys; how many elements are NaN, zeros, zeros with a sign, and have a sign
        (floats)."""
        builder, line, vectors = self.code, self.line, self.vectors
        counts = [("i64", "0")] * (4 if line.kind.floating else 0)

        def some(index: str, found: list[str]) -> list[str]:
            bits = self.stored.load(line.source, index)
            vectors.store(self.keys_of(bits, vectors.lanes), self.first, index)
            masks = self.told(bits, vectors.lanes)
            return [
                builder.add(n, vectors.count(chosen_lanes)) for n, chosen_lanes in zip(found, masks)
            ]

        def one(index: str, found: list[str]) -> list[str]:
            bits = line.bits(index)
            place = vectors.at(self.first, index)
            builder.do(f"store {vectors.key} {self.keys_of(bits, 1)}, ptr {place}")
            masks = self.told(bits, 1)
            return [
                builder.add(n, builder.op(f"zext i1 {chosen_lanes} to i64"))
                for n, chosen_lanes in zip(found, masks)
            ]

        step, extent = str(vectors.lanes), line.extent
        start, reached = builder.loop("0", extent, step, counts, some, full=vectors.lanes)
        counts = [("i64", count) for count in reached]
        return builder.loop(start, extent, "1", counts, one)[1]

    def told(self, bits: str, lanes: int) -> list[str]:
        """Masks of what `fill` counts."""
        elements, builder, many = self.line.kind, self.code, self.line.kind.type_of(lanes)
        if not elements.floating:
            return []
        truths = "i1" if lanes == 1 else self.vectors.mask
        is_nan, is_zero = self.line.special(bits, lanes)
        negative = builder.op(f"icmp slt {many} {bits}, {elements.constant(lanes, 0)}")
        other = builder.op(f"or {truths} {is_nan}, {is_zero}")
        both = builder.op(f"and {truths} {is_zero}, {negative}")
        number = builder.op(f"xor {truths} {other}, {'true' if lanes == 1 else 'splat (i1 true)'}")
        return [is_nan, is_zero, both, builder.op(f"and {truths} {number}, {negative}")]


# ---- all of them
class SortedLine(NamedTuple):
    """Sorted elements go to the result, side by side."""

    keys: LineKeys

    def wanted(self, place: str, size: str) -> str | None:
        return None

    def sorted(self, vectors: list[str], place: str, size: str) -> None:
        builder, lanes, stored = self.keys.code, self.keys.vectors.lanes, self.keys.stored
        for number, vector in enumerate(vectors):
            value, first = self.keys.elements(vector, lanes), str(number * lanes)
            chosen_lanes = self.keys.vectors.first(builder.op(f"sub i64 {size}, {first}"))
            target = stored.at(self.keys.line.target, builder.add(place, first))
            stored.store_some(value, target, chosen_lanes)

    def repeated(self, key: str, place: str, size: str) -> None:
        builder, lanes, stored = self.keys.code, self.keys.vectors.lanes, self.keys.stored
        value = self.keys.elements(self.keys.vectors.spread(key), lanes)
        base = stored.at(self.keys.line.target, place)

        def some(index: str, _: list[str]) -> list[str]:
            stored.store(value, base, index)
            return []

        index, _ = builder.loop("0", size, str(lanes), [], some, full=lanes)
        chosen_lanes = self.keys.vectors.first(builder.op(f"sub i64 {size}, {index}"))
        stored.store_some(value, stored.at(base, index), chosen_lanes)


def vectors_of(builder: Code, elements: ElementKind, given: Registers) -> Vectors:
    bits = max(elements.bits, 16 if given.narrow else 32)
    return Vectors(builder, bits, 8 * given.size // bits)


def network_of(elements: ElementKind, given: Registers, extent: int) -> int:
    """Vectors of the network that sorts a line, a power of two; 0: none does."""
    vectors = vectors_of(Code(), elements, given)
    count = 1 << max(-(-extent // vectors.lanes) - 1, 0).bit_length()
    return count if count <= vectors.few else 0


def region(line: Line, vectors: Vectors, number: int) -> str:
    """Scratch memory for a line of keys and what a network reads behind it; ahead of the first
    region is what remembers parts."""
    builder, size = line.code, vectors.bits // 8
    more = (vectors.few + 1) * vectors.lanes
    padded = builder.mul(builder.add(line.extent, str(more)), str(size * number))
    return builder.at("i8", builder.at("i8", "%scratch", str(32 * DEPTH)), padded)


def scratch_of(elements: ElementKind, extent: int, regions: int) -> int:
    """Bytes of all that."""
    return 32 * DEPTH + regions * (extent * max(elements.bits // 8, 4) + 17 * 64)


@lru_cache(None)
def sorting(elements: ElementKind, count: int, given: Registers) -> tuple[str, str]:
    """`count`: vectors that hold a line, where a network sorts it."""

    def write(line: Line) -> None:
        builder, vectors = line.code, vectors_of(line.code, elements, given)
        apart = builder.op(f"icmp ne i64 {line.inner}, 1")
        places = [
            builder.op(f"select i1 {apart}, ptr {region(line, vectors, number)}, ptr {place}")
            for number, place in ((1, line.source), (2, line.target))
        ]
        beside = line._replace(source=places[0], target=places[1], inner="1")
        builder.when(
            apart, lambda: copied(line, beside, (line.source, beside.source), elements.integer)
        )
        keys = LineKeys(beside, vectors, region(line, vectors, 0))
        counts = keys.fill()
        put_in_order(vectors, (keys.first, "%scratch"), line.extent, SortedLine(keys), count)
        if counts:
            restore(beside, counts)
        builder.when(
            apart, lambda: copied(beside, line, (beside.target, line.target), elements.integer)
        )

    head = vectors_of(Code(), elements, given).table()
    return function(elements, "sorted", write, elements.integer, head=head)


def copied(given: Line, made: Line, places: tuple[str, str], integer: str) -> None:
    """Elements, or results, between two lines."""
    builder = given.code

    def one(index: str) -> None:
        source = builder.at(integer, places[0], builder.mul(index, given.inner))
        target = builder.at(integer, places[1], builder.mul(index, made.inner))
        builder.do(f"store {integer} {builder.op(f'load {integer}, ptr {source}')}, ptr {target}")

    given.each(given.extent, one)


def restore(line: Line, counts: list[str]) -> None:
    """Zeros and NaN as they follow each other in the line."""
    builder = line.code
    nans, zeros, signed, front = counts
    behind = builder.op(f"sub i64 {line.extent}, {nans}")
    rising = builder.op(f"icmp eq {line.kind.integer} {line.flips}, 0")
    last = builder.op(f"sub i64 {line.extent}, {builder.add(front, zeros)}")
    front = builder.op(f"select i1 {rising}, i64 {front}, i64 {last}")
    behind = builder.op(f"select i1 {rising}, i64 {behind}, i64 0")

    def one(index: str, places: list[str]) -> list[str]:
        bits = line.bits(index)
        is_nan, is_zero = line.special(bits)
        builder.when(is_zero, lambda: line.store(bits, places[0]))
        builder.when(is_nan, lambda: line.store(bits, places[1]))
        grown = [builder.op(f"zext i1 {truth} to i64") for truth in (is_zero, is_nan)]
        return [builder.add(place, more) for place, more in zip(places, grown)]

    def again() -> None:
        builder.loop("0", line.extent, "1", [("i64", front), ("i64", behind)], one)

    builder.when(builder.op(f"icmp ne i64 {builder.add(nans, signed)}, 0"), again)
