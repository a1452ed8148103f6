"""A long line in order by all threads: keys go to parts between pivots, each of which is sorted.

Invariant: pivots come from places that the size of the line fixes, and parts from the keys, so who
works on what changes nothing; keys are whole numbers, so any order of equal ones is the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...emit.code import Code, finish_module
from ...emit.loops import SIGNATURE
from ...generated import Generated, pack_words
from ..gemm.pack import each
from ..words import address
from .divided import DEPTH, SortedKeys, put_in_order
from .lines import FURTHER, ElementKind, Line, line_of
from .pairs import SortedPairs
from .values import LineKeys, Registers, SortedLine, restore, vectors_of
from .vectors import Vectors

__all__ = ["LONG", "LongOrder", "sorted_by_all"]

LONG = 1 << 17  # elements of a line that is sorted in parts
_PARTS = 8
_SAMPLES = 32 * _PARTS
_CHUNK = 1 << 14  # elements whose keys are moved together
_TOLD = 4  # what is counted of special floats
# bytes of the workspace: pivots, where parts begin, counts of special floats, a row for each chunk
_STARTS = 8 * (_PARTS - 1)
_TOTALS = _STARTS + 8 * (_PARTS + 1)
_ROWS = _TOTALS + 8 * _TOLD
_ROW = _PARTS + _TOLD
_ROOM = 18 * 64  # bytes behind keys that a network may read


class _Stored(NamedTuple):
    """Sorted keys go to memory."""

    keys: LineKeys
    target: str

    def wanted(self, place: str, size: str) -> str | None:
        return None

    def sorted(self, vectors: list[str], place: str, size: str) -> None:
        builder, form = self.keys.code, self.keys.vectors
        for number, vector in enumerate(vectors):
            ahead = str(number * form.lanes)
            inside = form.first(builder.op(f"sub i64 {size}, {ahead}"))
            form.store_some(vector, form.at(self.target, builder.add(place, ahead)), inside)

    def repeated(self, key: str, place: str, size: str) -> None:
        builder, form = self.keys.code, self.keys.vectors

        def store_key(index: str) -> None:
            target = form.at(self.target, builder.add(place, index))
            builder.do(f"store {form.key} {key}, ptr {target}")

        each(builder, "0", size, "1", store_key)


class LongOrder(NamedTuple):
    """What is sorted: elements, or their `positions` below their keys of 32 bits, with registers of
    a size."""

    elements: ElementKind
    positions: bool
    given: Registers

    def vectors(self, builder: Code) -> Vectors:
        if self.positions:
            return Vectors(builder, 64, self.given.size // 8)
        return vectors_of(builder, self.elements, self.given)

    @property
    def told(self) -> int:
        """How many numbers are counted of special floats."""
        return _TOLD if self.elements.floating and not self.positions else 0


class _Phase:
    """A function over the line, its workspace, and chunks or parts of it."""

    def __init__(self, order: LongOrder) -> None:
        self.order, elements = order, order.elements
        self.code = builder = Code()
        stored = "i64" if order.positions else elements.integer
        self.line: Line = line_of(builder, elements, stored)
        self.vectors = order.vectors(builder)
        self.space = address(builder, FURTHER)
        count = builder.op(f"add i64 {self.line.extent}, {_CHUNK - 1}")
        self.chunks = builder.op(f"udiv i64 {count}, {_CHUNK}")
        rows = builder.mul(self.chunks, str(8 * _ROW))
        ahead = builder.op(f"and i64 {builder.add(rows, str(_ROWS + 63))}, -64")
        self.parts = builder.at("i8", self.space, ahead)
        self.keys = LineKeys(self.line, self.vectors, self.parts)

    # ---- keys
    def key_at(self, index: str) -> str:
        """That of an element."""
        key = self.keys.keys_of(self.line.bits(index), 1)
        return self._above(key, index, "i64", "32") if self.order.positions else key

    def keys_at(self, index: str) -> str:
        """Those of elements side by side."""
        builder, vectors = self.code, self.vectors
        key = self.keys.keys_of(self.keys.stored.load(self.line.source, index), vectors.lanes)
        if not self.order.positions:
            return key
        lanes = "<" + ", ".join(f"i64 {lane}" for lane in range(vectors.lanes)) + ">"
        numbers = builder.op(f"add {vectors.type} {vectors.spread(index)}, {lanes}")
        return self._above(key, numbers, vectors.type, "splat (i64 32)")

    def _above(self, key: str, position: str, many: str, shift: str) -> str:
        """A key above a position, as one number."""
        return self.code.op(f"or {many} {self.code.op(f'shl {many} {key}, {shift}')}, {position}")

    # ---- the workspace
    def word(self, offset: int, index: str) -> str:
        """Where a number of the workspace is."""
        return self.code.at("i64", self.code.at("i8", self.space, str(offset)), index)

    def number(self, offset: int, index: str) -> str:
        return self.code.op(f"load i64, ptr {self.word(offset, index)}")

    def keep(self, value: str, offset: int, index: str) -> None:
        self.code.do(f"store i64 {value}, ptr {self.word(offset, index)}")

    def pivots(self) -> list[str]:
        places = [self.vectors.at(self.space, str(number)) for number in range(_PARTS - 1)]
        return [self.code.op(f"load {self.vectors.key}, ptr {place}") for place in places]

    def ends(self, chunk: str) -> tuple[str, str]:
        """The first element of a chunk, and the one behind its last."""
        first = self.code.mul(chunk, str(_CHUNK))
        return first, self.code.smin(self.code.add(first, str(_CHUNK)), self.line.extent)

    def from_on(self, key: str, pivot: str, lanes: int) -> str:
        """Whether keys are a pivot or more."""
        many = self.vectors.key if lanes == 1 else self.vectors.type
        return self.code.op(f"icmp uge {many} {key}, {pivot}")

    def finish(self, name: str) -> tuple[str, str]:
        self.code.do("ret i64 0")
        text, symbol = finish_module(self.code, SIGNATURE, f"order_all_{name}")
        return self.vectors.table() + text, symbol


@lru_cache(None)
def _sampled(order: LongOrder) -> tuple[str, str]:
    """Pivots are every so manieth of some sorted keys."""
    phase = _Phase(order)
    builder, vectors, line = phase.code, phase.vectors, phase.line
    sample = builder.at("i8", "%scratch", str(32 * DEPTH))
    ordered = builder.at("i8", sample, str(8 * _SAMPLES + _ROOM))
    step = builder.op(f"udiv i64 {line.extent}, {_SAMPLES}")

    def choose(_: str) -> None:
        def look(index: str) -> None:
            key = phase.key_at(builder.mul(index, step))
            builder.do(f"store {vectors.key} {key}, ptr {vectors.at(sample, index)}")

        each(builder, "0", str(_SAMPLES), "1", look)
        receiver = _Stored(phase.keys, ordered)
        put_in_order(vectors, (sample, "%scratch"), str(_SAMPLES), receiver, 0)
        for number in range(_PARTS - 1):
            place = vectors.at(ordered, str((number + 1) * (_SAMPLES // _PARTS)))
            key = builder.op(f"load {vectors.key}, ptr {place}")
            builder.do(f"store {vectors.key} {key}, ptr {vectors.at(phase.space, str(number))}")

    each(builder, "%begin", "%end", "1", choose)
    return phase.finish("sampled")


@lru_cache(None)
def _counted(order: LongOrder) -> tuple[str, str]:
    """A row of a chunk: how many keys are each pivot or more, and special floats."""
    phase = _Phase(order)
    builder, vectors, line, keys = phase.code, phase.vectors, phase.line, phase.keys
    pivots = phase.pivots()
    spread = [vectors.spread(pivot) for pivot in pivots]
    counters = len(pivots) + order.told

    def count_chunk(chunk: str) -> None:
        first, stop = phase.ends(chunk)

        def some(index: str, found: list[str]) -> list[str]:
            key = phase.keys_at(index)
            masks = [phase.from_on(key, pivot, vectors.lanes) for pivot in spread]
            if order.told:
                masks += keys.told(keys.stored.load(line.source, index), vectors.lanes)
            return [builder.add(n, vectors.count(mask)) for n, mask in zip(found, masks)]

        def single(index: str, found: list[str]) -> list[str]:
            key = phase.key_at(index)
            truths = [phase.from_on(key, pivot, 1) for pivot in pivots]
            truths += keys.told(line.bits(index), 1) if order.told else []
            more = [builder.op(f"zext i1 {truth} to i64") for truth in truths]
            return [builder.add(n, one) for n, one in zip(found, more)]

        zeros, lanes = [("i64", "0")] * counters, vectors.lanes
        index, counts = builder.loop(first, stop, str(lanes), zeros, some, full=lanes)
        counts = builder.loop(index, stop, "1", [("i64", n) for n in counts], single)[1]
        row_start = builder.mul(chunk, str(_ROW))
        parts = [builder.op(f"sub i64 {stop}, {first}"), *counts[: len(pivots)], "0"]
        for section, (more, less) in enumerate(zip(parts, parts[1:])):
            size = builder.op(f"sub i64 {more}, {less}")
            phase.keep(size, _ROWS, builder.add(row_start, str(section)))
        for number, count in enumerate(counts[len(pivots) :]):
            phase.keep(count, _ROWS, builder.add(row_start, str(_PARTS + number)))

    each(builder, "%begin", "%end", "1", count_chunk)
    return phase.finish("counted")


@lru_cache(None)
def _added(order: LongOrder) -> tuple[str, str]:
    """In the place of how many keys of a chunk are in a part comes where they go."""
    phase = _Phase(order)
    builder = phase.code

    def add_up(_: str) -> None:
        def one_part(section: str, before: list[str]) -> list[str]:
            phase.keep(before[0], _STARTS, section)

            def one_chunk(chunk: str, ahead: list[str]) -> list[str]:
                place = builder.add(builder.mul(chunk, str(_ROW)), section)
                size = phase.number(_ROWS, place)
                phase.keep(ahead[0], _ROWS, place)
                return [builder.add(ahead[0], size)]

            return builder.loop("0", phase.chunks, "1", [("i64", before[0])], one_chunk)[1]

        total = builder.loop("0", str(_PARTS), "1", [("i64", "0")], one_part)[1][0]
        phase.keep(total, _STARTS, str(_PARTS))
        for number in range(order.told):

            def told(chunk: str, sums: list[str]) -> list[str]:
                place = builder.add(builder.mul(chunk, str(_ROW)), str(_PARTS + number))  # noqa: B023
                return [builder.add(sums[0], phase.number(_ROWS, place))]

            sums = builder.loop("0", phase.chunks, "1", [("i64", "0")], told)[1]
            phase.keep(sums[0], _TOTALS, str(number))

    each(builder, "%begin", "%end", "1", add_up)
    return phase.finish("added")


@lru_cache(None)
def _moved(order: LongOrder) -> tuple[str, str]:
    """The keys of a chunk go to their parts."""
    phase = _Phase(order)
    builder, vectors, pivots = phase.code, phase.vectors, phase.pivots()
    spread = [vectors.spread(pivot) for pivot in pivots]
    everywhere = "splat (i1 true)"

    def move_chunk(chunk: str) -> None:
        first, stop = phase.ends(chunk)
        row_start = builder.mul(chunk, str(_ROW))

        def some(index: str, _: list[str]) -> list[str]:
            key = phase.keys_at(index)
            ahead = [phase.from_on(key, pivot, vectors.lanes) for pivot in spread]
            for section, (inside, behind) in enumerate(zip([everywhere, *ahead], [*ahead, ""])):
                if behind:
                    outside = builder.op(f"xor {vectors.mask} {behind}, {everywhere}")
                    inside = builder.op(f"and {vectors.mask} {inside}, {outside}")
                _put(phase, key, inside, builder.add(row_start, str(section)))
            return []

        def single(index: str) -> None:
            key, section = phase.key_at(index), "0"
            for pivot in pivots:
                more = builder.op(f"zext i1 {phase.from_on(key, pivot, 1)} to i64")
                section = builder.add(section, more)
            place = builder.add(row_start, section)
            target = phase.number(_ROWS, place)
            phase.keep(builder.add(target, "1"), _ROWS, place)
            builder.do(f"store {vectors.key} {key}, ptr {vectors.at(phase.parts, target)}")

        lanes = vectors.lanes
        index, _ = builder.loop(first, stop, str(lanes), [], some, full=lanes)
        each(builder, index, stop, "1", single)

    each(builder, "%begin", "%end", "1", move_chunk)
    return phase.finish("moved")


def _put(phase: _Phase, key: str, inside: str, place: str) -> None:
    """The lanes of a mask behind what is in their part."""
    builder, vectors = phase.code, phase.vectors
    target, count = phase.number(_ROWS, place), vectors.count(inside)
    phase.keep(builder.add(target, count), _ROWS, place)
    moved = vectors.compressed(key, inside)
    vectors.store_some(moved, vectors.at(phase.parts, target), vectors.front(count))


@lru_cache(None)
def _ordered(order: LongOrder) -> tuple[str, str]:
    phase = _Phase(order)
    builder, vectors, line = phase.code, phase.vectors, phase.line

    def sort_part(section: str) -> None:
        start = phase.number(_STARTS, section)
        count = builder.op(f"sub i64 {phase.number(_STARTS, builder.add(section, '1'))}, {start}")
        keys = vectors.at(phase.parts, start)
        target, places = builder.at(line.stored, line.target, start), (keys, "%scratch")
        receiver: SortedKeys = SortedPairs(vectors, target, False)
        if not order.positions:
            receiver = SortedLine(LineKeys(line._replace(target=target), vectors, keys))
        some = builder.op(f"icmp ne i64 {count}, 0")
        builder.when(some, lambda: put_in_order(vectors, places, count, receiver, 0))

    each(builder, "%begin", "%end", "1", sort_part)
    return phase.finish("ordered")


@lru_cache(None)
def _restored(order: LongOrder) -> tuple[str, str]:
    phase = _Phase(order)
    counts = [phase.number(_TOTALS, str(number)) for number in range(_TOLD)]
    each(phase.code, "%begin", "%end", "1", lambda _: restore(phase.line, counts))
    return phase.finish("restored")


def sorted_by_all(
    order: LongOrder, operands: tuple[int, ...], sizes: tuple[int, ...]
) -> list[Generated]:
    """The functions that sort one line; `operands`: those of the line and the slot of the
    workspace."""
    extent, chunks = sizes[0], -(-sizes[0] // _CHUNK)
    words = pack_words((*operands[:4], *sizes, operands[4], 0), {})
    bytes_of_key = order.vectors(Code()).bits // 8
    temp = _ROWS + 8 * _ROW * chunks + 64 + extent * bytes_of_key + _ROOM
    sample = 32 * DEPTH + 2 * (8 * _SAMPLES + _ROOM)
    phases = [(_sampled, 1, sample), (_counted, chunks, 0), (_added, 1, 0), (_moved, chunks, 0)]
    phases += [(_ordered, _PARTS, 32 * DEPTH)]
    phases += [(_restored, 1, 0)] if order.told else []
    return [
        Generated(*text(order), words, items, 1, scratch, temp) for text, items, scratch in phases
    ]
