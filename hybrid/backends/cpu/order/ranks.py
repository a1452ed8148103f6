"""Elements at some places of the order or their positions, and lines in parts around them.

Invariant: keys are walked as for a sort, but parts with no place that is asked for stay as they
are; equal elements are told apart by where they are in the line.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from ...emit.code import Code
from ...generated import Generated, pack_words
from ...plan import HostStep
from ..gemm.pack import each
from ..words import argument
from . import values
from .divided import put_in_order
from .lines import FURTHER, ElementKind, Line, function, kind_of, sizes_of, words_of
from .values import CHUNK, LineKeys, Registers, copied, network_of, region, scratch_of, vectors_of
from .vectors import Vectors

__all__ = ["parted", "selected"]

_BUFFER = 16 * 64  # bytes for the keys of a network


class _Chosen(NamedTuple):
    """The keys at the places that are asked for go to a table; `buffer`: room for a network's."""

    keys: LineKeys
    buffer: str
    table: str

    def each(self, body: Callable[[str, str], None]) -> None:
        """body(number, place) for all places that are asked for."""
        builder = self.keys.code

        def one(number: str) -> None:
            word = builder.at("i64", builder.at("i8", "%args", str(FURTHER + 8)), number)
            body(number, builder.op(f"load i64, ptr {word}"))

        each(builder, "0", argument(builder, FURTHER), "1", one)

    def wanted(self, place: str, size: str) -> str | None:
        builder = self.keys.code
        found = builder.alloca("i1")
        builder.do(f"store i1 false, ptr {found}")

        def look(number: str, asked: str) -> None:
            offset = builder.op(f"sub i64 {asked}, {place}")
            inside = builder.op(f"icmp ult i64 {offset}, {size}")
            builder.when(inside, lambda: builder.do(f"store i1 true, ptr {found}"))

        self.each(look)
        return builder.op(f"load i1, ptr {found}")

    def _keep(self, place: str, size: str, key_at: Callable[[str], str]) -> None:
        """key_at(offset) for each place that is asked for and among these."""
        builder, vectors = self.keys.code, self.keys.vectors

        def look(number: str, asked: str) -> None:
            offset = builder.op(f"sub i64 {asked}, {place}")

            def keep() -> None:
                target = vectors.at(self.table, number)
                builder.do(f"store {vectors.key} {key_at(offset)}, ptr {target}")

            builder.when(builder.op(f"icmp ult i64 {offset}, {size}"), keep)

        self.each(look)

    def sorted(self, vectors: list[str], place: str, size: str) -> None:
        builder, form = self.keys.code, self.keys.vectors
        for number, vector in enumerate(vectors):
            form.store(vector, self.buffer, str(number * form.lanes))

        def key_at(offset: str) -> str:
            return builder.op(f"load {form.key}, ptr {form.at(self.buffer, offset)}")

        self._keep(place, size, key_at)

    def repeated(self, key: str, place: str, size: str) -> None:
        self._keep(place, size, lambda offset: key)


def _counted(keys: LineKeys, check: str, limit: str) -> str:
    """How many keys of a line hold a comparison with a limit."""
    builder, vectors, extent = keys.code, keys.vectors, keys.line.extent

    def more(index: str, counts: list[str]) -> list[str]:
        found = vectors.load(keys.first, index)
        chosen_lanes = builder.op(f"icmp {check} {vectors.type} {found}, {limit}")
        valid = vectors.first(builder.op(f"sub i64 {extent}, {index}"))
        return [
            builder.add(
                counts[0], vectors.count(builder.op(f"and {vectors.mask} {chosen_lanes}, {valid}"))
            )
        ]

    return builder.loop("0", extent, str(vectors.lanes), [("i64", "0")], more)[1][0]


def _position(keys: LineKeys, wanted: str, asked: str) -> str:
    """Where the element of a line is whose key is known, and its place in the order: equal ones are
    as they follow each other in the line."""
    builder, vectors, line = keys.code, keys.vectors, keys.line
    lanes, limit, extent = vectors.lanes, vectors.spread(wanted), line.extent
    smaller = _counted(keys, "ult", limit)
    behind = builder.op(f"sub i64 {extent}, {builder.op(f'urem i64 {extent}, {lanes}')}")

    def following(here: str, index: str, step: int) -> str:
        """The next index, or the end."""
        return builder.op(f"select i1 {here}, i64 {extent}, i64 {builder.add(index, str(step))}")

    def together(index: str, values: list[str]) -> list[str]:
        """How many equal ones are ahead of the element behind a vector; whether it is in this one,
        which ends the walk."""
        ahead, place = values
        key = keys.keys_of(keys.stored.load(line.source, index), lanes)
        count = vectors.count(builder.op(f"icmp eq {vectors.type} {key}, {limit}"))
        here = builder.op(f"icmp slt i64 {ahead}, {count}")
        others = builder.op(f"sub i64 {ahead}, {count}")
        return [
            builder.op(f"select i1 {here}, i64 {ahead}, i64 {others}"),
            builder.op(f"select i1 {here}, i64 {index}, i64 {place}"),
            following(here, index, lanes),
        ]

    def alone(index: str, values: list[str]) -> list[str]:
        ahead, place = values
        key = keys.keys_of(line.bits(index), 1)
        same = builder.op(f"icmp eq {vectors.key} {key}, {wanted}")
        here = builder.op(f"and i1 {same}, {builder.op(f'icmp eq i64 {ahead}, 0')}")
        return [
            builder.op(f"sub i64 {ahead}, {builder.op(f'zext i1 {same} to i64')}"),
            builder.op(f"select i1 {here}, i64 {index}, i64 {place}"),
            following(here, index, 1),
        ]

    start = [("i64", builder.op(f"sub i64 {asked}, {smaller}")), ("i64", behind)]
    _, (ahead, begin) = builder.loop("0", extent, None, start, together, full=lanes)
    return builder.loop(begin, extent, None, [("i64", ahead), ("i64", begin)], alone)[1][1]


def _chosen(line: Line, vectors: Vectors, count: int) -> _Chosen:
    """The keys at the places that are asked for, found."""
    keys, buffer = LineKeys(line, vectors, region(line, vectors, 0)), region(line, vectors, 1)
    chosen = _Chosen(keys, buffer, line.code.at("i8", buffer, str(_BUFFER)))
    keys.fill()
    put_in_order(vectors, (keys.first, "%scratch"), line.extent, chosen, count)
    return chosen


@lru_cache(None)
def _choosing(
    elements: ElementKind, positions: bool, count: int, given: Registers
) -> tuple[str, str]:
    def write(line: Line) -> None:
        builder, vectors = line.code, vectors_of(line.code, elements, given)
        chosen = _chosen(line, vectors, count)
        keys = chosen.keys

        def result(number: str, asked: str) -> None:
            place = vectors.at(chosen.table, number)
            wanted = builder.op(f"load {vectors.key}, ptr {place}")
            if positions:
                line.store(_position(keys, wanted, asked), number)
            else:
                line.store(_element(keys, wanted, asked), number)

        chosen.each(result)

    head = vectors_of(Code(), elements, given).table()
    stored = "i64" if positions else elements.integer
    name = "positions_chosen" if positions else "chosen"
    return function(elements, name, write, stored, counted=True, head=head)


def _element(keys: LineKeys, wanted: str, asked: str) -> str:
    """The bits of that element: its key tells them, but where equal elements may differ."""
    builder, elements = keys.code, keys.line.kind
    value = keys.elements(wanted, 1)
    if not elements.floating:
        return value
    found = builder.alloca(elements.integer)
    builder.do(f"store {elements.integer} {value}, ptr {found}")
    is_nan, is_zero = keys.line.special(value)

    def look() -> None:
        bits = keys.line.bits(_position(keys, wanted, asked))
        builder.do(f"store {elements.integer} {bits}, ptr {found}")

    builder.when(builder.op(f"or i1 {is_nan}, {is_zero}"), look)
    return builder.op(f"load {elements.integer}, ptr {found}")


def selected(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that finds some elements of contiguous lines, or where they are."""
    ranks: Any = step.algorithm
    given, places = step.avals[0], ranks.places
    lines, extent, inner = sizes_of(given, given.ndim - 1)
    elements, here = kind_of(given.dtype), values.registers()
    operands = step.inputs[0], 0, step.outputs[0], 0
    words = pack_words(
        (*operands, extent, inner, *words_of(given.dtype, False), len(places), *places), {}
    )
    made = _choosing(elements, ranks.positions, network_of(elements, here, extent), here)
    grain = max(1, 2 * CHUNK // max(extent, 1))
    scratch = scratch_of(elements, extent, 1) + _BUFFER + 8 * len(places)
    return [Generated(*made, words, lines if places else 0, grain, scratch)]


# ---- parts
class _Parts(NamedTuple):
    """Where the elements of each part go next: those below a place's element, those that equal it,
    and so on, at last those above all."""

    chosen: _Chosen
    places: str
    positions: bool

    def at(self, number: str) -> str:
        return self.chosen.keys.code.at("i64", self.places, number)

    def begin(self) -> None:
        """The first place of each part."""
        builder, vectors = self.chosen.keys.code, self.chosen.keys.vectors
        builder.do(f"store i64 0, ptr {self.places}")

        def one(number: str, _: str) -> None:
            limit = vectors.spread(self.key(number))
            for number_ahead, check in enumerate(("ult", "ule"), 1):
                count = _counted(self.chosen.keys, check, limit)
                part = builder.add(builder.mul(number, "2"), str(number_ahead))
                builder.do(f"store i64 {count}, ptr {self.at(part)}")

        self.chosen.each(one)

    def key(self, number: str) -> str:
        vectors = self.chosen.keys.vectors
        place = vectors.at(self.chosen.table, number)
        return vectors.code.op(f"load {vectors.key}, ptr {place}")

    def put(self, given: str, chosen_lanes: str, part: str, index: str) -> None:
        """The lanes of a mask to their part."""
        keys = self.chosen.keys
        builder, vectors, line = keys.code, keys.vectors, keys.line
        moved, count = vectors.compressed(given, chosen_lanes), vectors.count(chosen_lanes)
        begin = builder.op(f"load i64, ptr {self.at(part)}")
        builder.do(f"store i64 {builder.add(begin, count)}, ptr {self.at(part)}")
        form = Vectors(builder, 64 if self.positions else line.kind.bits, vectors.lanes)
        if form.bits > vectors.bits:
            moved = builder.op(f"zext {vectors.type} {moved} to {form.type}")
        elif form.bits < vectors.bits:
            moved = builder.op(f"trunc {vectors.type} {moved} to {form.type}")
        if self.positions:
            moved = builder.op(f"add {form.type} {moved}, {form.spread(index)}")
        form.store_some(moved, form.at(line.target, begin), vectors.front(count))

    def move(self, bits: str, index: str, valid: str) -> None:
        """Elements side by side, of which some are in the line."""
        keys = self.chosen.keys
        builder, vectors, elements = keys.code, keys.vectors, keys.line.kind
        key, given = keys.keys_of(bits, vectors.lanes), bits
        if self.positions:
            given = "<" + ", ".join(f"{vectors.key} {lane}" for lane in range(vectors.lanes)) + ">"
        elif elements.bits < vectors.bits:
            given = builder.op(f"zext {elements.type_of(vectors.lanes)} {bits} to {vectors.type}")

        def one(number: str, masks: list[str]) -> list[str]:
            limit, (rest,), part = vectors.spread(self.key(number)), masks, builder.mul(number, "2")
            for number_ahead, check in enumerate(("ult", "eq")):
                chosen_lanes = builder.op(f"icmp {check} {vectors.type} {key}, {limit}")
                chosen_lanes = builder.op(f"and {vectors.mask} {rest}, {chosen_lanes}")
                self.put(given, chosen_lanes, builder.add(part, str(number_ahead)), index)
                rest = builder.op(f"xor {vectors.mask} {rest}, {chosen_lanes}")
            return [rest]

        count = argument(builder, FURTHER)
        _, (rest,) = builder.loop("0", count, "1", [(vectors.mask, valid)], one)
        self.put(given, rest, builder.mul(count, "2"), index)


@lru_cache(None)
def _parting(
    elements: ElementKind, positions: bool, count: int, given: Registers
) -> tuple[str, str]:
    stored = "i64" if positions else elements.integer

    def write(line: Line) -> None:
        builder, vectors = line.code, vectors_of(line.code, elements, given)
        apart, number = builder.op(f"icmp ne i64 {line.inner}, 1"), argument(builder, FURTHER)
        table = builder.at("i8", region(line, vectors, 1), str(_BUFFER))
        places = builder.at("i64", table, number)
        raw = builder.at("i64", places, builder.add(builder.mul(number, "2"), "8"))
        made = builder.at("i64", raw, builder.add(line.extent, "128"))
        source = builder.op(f"select i1 {apart}, ptr {raw}, ptr {line.source}")
        target = builder.op(f"select i1 {apart}, ptr {made}, ptr {line.target}")
        beside = line._replace(source=source, target=target, inner="1")
        builder.when(apart, lambda: copied(line, beside, (line.source, source), elements.integer))
        parts = _Parts(_chosen(beside, vectors, count), places, positions)
        parts.begin()
        _move_all(parts, beside)
        builder.when(apart, lambda: copied(beside, line, (target, line.target), stored))

    head = vectors_of(Code(), elements, given).table()
    name = "positions_parted" if positions else "parted"
    return function(elements, name, write, stored, head=head)


def _move_all(parts: _Parts, line: Line) -> None:
    """All vectors of a line; the last one is read from a copy, as nothing behind it may be."""
    keys = parts.chosen.keys
    builder, stored, lanes = line.code, keys.stored, keys.vectors.lanes

    def some(index: str, _: list[str]) -> list[str]:
        parts.move(stored.load(line.source, index), index, "splat (i1 true)")
        return []

    end, _ = builder.loop("0", line.extent, str(lanes), [], some, full=lanes)
    left = builder.op(f"sub i64 {line.extent}, {end}")

    def one(index: str) -> None:
        bits = line.bits(builder.add(end, index))
        builder.do(f"store {stored.key} {bits}, ptr {stored.at(parts.chosen.buffer, index)}")

    each(builder, "0", left, "1", one)
    parts.move(stored.load(parts.chosen.buffer), end, keys.vectors.front(left))


def parted(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that puts the elements of contiguous lines, or their positions, in parts."""
    asked: Any = step.algorithm
    given, places = step.avals[0], asked.places
    lines, extent, inner = sizes_of(given, asked.axis)
    elements, here = kind_of(given.dtype), values.registers()
    operands = step.inputs[0], 0, step.outputs[0], 0
    sizes = extent, inner, *words_of(given.dtype, False), len(places)
    words = pack_words((*operands, *sizes, *places), {})
    made = _parting(elements, asked.positions, network_of(elements, here, extent), here)
    grain = max(1, CHUNK // max(extent, 1))
    apart = 16 * (extent + 128) if inner > 1 else 0
    scratch = scratch_of(elements, extent, 1) + _BUFFER + 24 * len(places) + 64 + apart
    return [Generated(*made, words, lines if extent else 0, grain, scratch)]
