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
from .lines import FURTHER, Kind, Line, function, kind_of, sizes_of, words_of
from .values import CHUNK, Keys, Registers, copied, network_of, region, scratch_of, vectors_of
from .vectors import Vectors

__all__ = ["parted", "selected"]

_BUFFER = 16 * 64  # bytes for the keys of a network


class _Chosen(NamedTuple):
    """The keys at the places that are asked for go to a table; `buffer`: room for a network's."""

    keys: Keys
    buffer: str
    table: str

    def each(self, body: Callable[[str, str], None]) -> None:
        """body(number, place) for all places that are asked for."""
        code = self.keys.code

        def one(number: str) -> None:
            word = code.at("i64", code.at("i8", "%args", str(FURTHER + 8)), number)
            body(number, code.op(f"load i64, ptr {word}"))

        each(code, "0", argument(code, FURTHER), "1", one)

    def wanted(self, place: str, size: str) -> str | None:
        code = self.keys.code
        found = code.alloca("i1")
        code.do(f"store i1 false, ptr {found}")

        def look(number: str, asked: str) -> None:
            offset = code.op(f"sub i64 {asked}, {place}")
            inside = code.op(f"icmp ult i64 {offset}, {size}")
            code.when(inside, lambda: code.do(f"store i1 true, ptr {found}"))

        self.each(look)
        return code.op(f"load i1, ptr {found}")

    def _keep(self, place: str, size: str, key_at: Callable[[str], str]) -> None:
        """key_at(offset) for each place that is asked for and among these."""
        code, vectors = self.keys.code, self.keys.vectors

        def look(number: str, asked: str) -> None:
            offset = code.op(f"sub i64 {asked}, {place}")

            def keep() -> None:
                target = vectors.at(self.table, number)
                code.do(f"store {vectors.key} {key_at(offset)}, ptr {target}")

            code.when(code.op(f"icmp ult i64 {offset}, {size}"), keep)

        self.each(look)

    def sorted(self, vectors: list[str], place: str, size: str) -> None:
        code, form = self.keys.code, self.keys.vectors
        for number, vector in enumerate(vectors):
            form.store(vector, self.buffer, str(number * form.lanes))

        def key_at(offset: str) -> str:
            return code.op(f"load {form.key}, ptr {form.at(self.buffer, offset)}")

        self._keep(place, size, key_at)

    def repeated(self, key: str, place: str, size: str) -> None:
        self._keep(place, size, lambda offset: key)


def _counted(keys: Keys, check: str, limit: str) -> str:
    """How many keys of a line hold a comparison with a limit."""
    code, vectors, extent = keys.code, keys.vectors, keys.line.extent

    def more(index: str, counts: list[str]) -> list[str]:
        found = vectors.load(keys.first, index)
        mask = code.op(f"icmp {check} {vectors.type} {found}, {limit}")
        valid = vectors.first(code.op(f"sub i64 {extent}, {index}"))
        return [code.add(counts[0], vectors.count(code.op(f"and {vectors.mask} {mask}, {valid}")))]

    return code.loop("0", extent, str(vectors.lanes), [("i64", "0")], more)[1][0]


def _position(keys: Keys, wanted: str, asked: str) -> str:
    """Where the element of a line is whose key is known, and its place in the order: equal ones are
    as they follow each other in the line."""
    code, vectors, line = keys.code, keys.vectors, keys.line
    lanes, limit, extent = vectors.lanes, vectors.spread(wanted), line.extent

    def less(index: str, counts: list[str]) -> list[str]:
        mask = vectors.below(vectors.load(keys.first, index), limit)
        valid = vectors.first(code.op(f"sub i64 {extent}, {index}"))
        return [code.add(counts[0], vectors.count(code.op(f"and {vectors.mask} {mask}, {valid}")))]

    _, (ahead,) = code.loop("0", extent, str(lanes), [("i64", "0")], less)
    behind = code.op(f"sub i64 {extent}, {code.op(f'urem i64 {extent}, {lanes}')}")

    def equal(index: str, values: list[str]) -> list[str]:
        """How many equal ones go ahead of the element behind a vector, and where it is: in this
        one, which ends the walk, or not yet."""
        more, place = values
        key = keys.keys_of(keys.stored.load(line.source, index), lanes)
        count = vectors.count(code.op(f"icmp eq {vectors.type} {key}, {limit}"))
        here = code.op(f"icmp slt i64 {more}, {count}")
        rest = code.op(f"sub i64 {more}, {count}")
        return [
            code.op(f"select i1 {here}, i64 {more}, i64 {rest}"),
            code.op(f"select i1 {here}, i64 {index}, i64 {place}"),
            code.op(f"select i1 {here}, i64 {extent}, i64 {code.add(index, str(lanes))}"),
        ]

    more = code.op(f"sub i64 {asked}, {ahead}")
    given = [("i64", more), ("i64", behind)]
    _, (more, begin) = code.loop("0", extent, None, given, equal, full=lanes)

    def alone(index: str, values: list[str]) -> list[str]:
        more, place = values
        key = keys.keys_of(line.bits(index), 1)
        same = code.op(f"icmp eq {vectors.key} {key}, {wanted}")
        none = code.op(f"icmp eq i64 {more}, 0")
        here = code.op(f"and i1 {same}, {none}")
        return [
            code.op(f"sub i64 {more}, {code.op(f'zext i1 {same} to i64')}"),
            code.op(f"select i1 {here}, i64 {index}, i64 {place}"),
            code.op(f"select i1 {here}, i64 {extent}, i64 {code.add(index, '1')}"),
        ]

    given = [("i64", more), ("i64", begin)]
    return code.loop(begin, extent, None, given, alone)[1][1]


def _chosen(line: Line, vectors: Vectors, count: int) -> _Chosen:
    """The keys at the places that are asked for, found."""
    keys, buffer = Keys(line, vectors, region(line, vectors, 0)), region(line, vectors, 1)
    chosen = _Chosen(keys, buffer, line.code.at("i8", buffer, str(_BUFFER)))
    keys.fill()
    put_in_order(vectors, (keys.first, "%scratch"), line.extent, chosen, count)
    return chosen


@lru_cache(None)
def _choosing(kind: Kind, positions: bool, count: int, given: Registers) -> tuple[str, str]:
    def write(line: Line) -> None:
        code, vectors = line.code, vectors_of(line.code, kind, given)
        chosen = _chosen(line, vectors, count)
        keys = chosen.keys

        def result(number: str, asked: str) -> None:
            place = vectors.at(chosen.table, number)
            wanted = code.op(f"load {vectors.key}, ptr {place}")
            if positions:
                line.store(_position(keys, wanted, asked), number)
            else:
                line.store(_element(keys, wanted, asked), number)

        chosen.each(result)

    head = vectors_of(Code(), kind, given).table()
    stored = "i64" if positions else kind.integer
    name = "positions_chosen" if positions else "chosen"
    return function(kind, name, write, stored, counted=True, head=head)


def _element(keys: Keys, wanted: str, asked: str) -> str:
    """The bits of that element: its key tells them, but where equal elements may differ."""
    code, kind = keys.code, keys.line.kind
    value = keys.elements(wanted, 1)
    if not kind.floating:
        return value
    found = code.alloca(kind.integer)
    code.do(f"store {kind.integer} {value}, ptr {found}")
    is_nan, is_zero = keys.line.special(value)

    def look() -> None:
        bits = keys.line.bits(_position(keys, wanted, asked))
        code.do(f"store {kind.integer} {bits}, ptr {found}")

    code.when(code.op(f"or i1 {is_nan}, {is_zero}"), look)
    return code.op(f"load {kind.integer}, ptr {found}")


def selected(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that finds some elements of contiguous lines, or where they are."""
    ranks: Any = step.algorithm
    given, places = step.avals[0], ranks.places
    lines, extent, inner = sizes_of(given, given.ndim - 1)
    kind, here = kind_of(given.dtype), values.registers()
    operands = step.inputs[0], 0, step.outputs[0], 0
    words = pack_words(
        (*operands, extent, inner, *words_of(given.dtype, False), len(places), *places), {}
    )
    made = _choosing(kind, ranks.positions, network_of(kind, here, extent), here)
    grain = max(1, 2 * CHUNK // max(extent, 1))
    scratch = scratch_of(kind, extent, 1) + _BUFFER + 8 * len(places)
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
        code, vectors = self.chosen.keys.code, self.chosen.keys.vectors
        code.do(f"store i64 0, ptr {self.places}")

        def one(number: str, _: str) -> None:
            limit = vectors.spread(self.key(number))
            for ahead, check in enumerate(("ult", "ule"), 1):
                count = _counted(self.chosen.keys, check, limit)
                part = code.add(code.mul(number, "2"), str(ahead))
                code.do(f"store i64 {count}, ptr {self.at(part)}")

        self.chosen.each(one)

    def key(self, number: str) -> str:
        vectors = self.chosen.keys.vectors
        place = vectors.at(self.chosen.table, number)
        return vectors.code.op(f"load {vectors.key}, ptr {place}")

    def put(self, given: str, mask: str, part: str, index: str) -> None:
        """The lanes of a mask to their part."""
        keys = self.chosen.keys
        code, vectors, line = keys.code, keys.vectors, keys.line
        moved, count = vectors.compressed(given, mask), vectors.count(mask)
        begin = code.op(f"load i64, ptr {self.at(part)}")
        code.do(f"store i64 {code.add(begin, count)}, ptr {self.at(part)}")
        form = Vectors(code, 64 if self.positions else line.kind.bits, vectors.lanes)
        if form.bits > vectors.bits:
            moved = code.op(f"zext {vectors.type} {moved} to {form.type}")
        elif form.bits < vectors.bits:
            moved = code.op(f"trunc {vectors.type} {moved} to {form.type}")
        if self.positions:
            moved = code.op(f"add {form.type} {moved}, {form.spread(index)}")
        form.store_some(moved, form.at(line.target, begin), vectors.front(count))

    def move(self, bits: str, index: str, valid: str) -> None:
        """Elements side by side, of which some are in the line."""
        keys = self.chosen.keys
        code, vectors, kind = keys.code, keys.vectors, keys.line.kind
        key, given = keys.keys_of(bits, vectors.lanes), bits
        if self.positions:
            given = "<" + ", ".join(f"{vectors.key} {lane}" for lane in range(vectors.lanes)) + ">"
        elif kind.bits < vectors.bits:
            given = code.op(f"zext {kind.type_of(vectors.lanes)} {bits} to {vectors.type}")

        def one(number: str, masks: list[str]) -> list[str]:
            limit, (rest,), part = vectors.spread(self.key(number)), masks, code.mul(number, "2")
            for ahead, check in enumerate(("ult", "eq")):
                mask = code.op(f"icmp {check} {vectors.type} {key}, {limit}")
                mask = code.op(f"and {vectors.mask} {rest}, {mask}")
                self.put(given, mask, code.add(part, str(ahead)), index)
                rest = code.op(f"xor {vectors.mask} {rest}, {mask}")
            return [rest]

        count = argument(code, FURTHER)
        _, (rest,) = code.loop("0", count, "1", [(vectors.mask, valid)], one)
        self.put(given, rest, code.mul(count, "2"), index)


@lru_cache(None)
def _parting(kind: Kind, positions: bool, count: int, given: Registers) -> tuple[str, str]:
    stored = "i64" if positions else kind.integer

    def write(line: Line) -> None:
        code, vectors = line.code, vectors_of(line.code, kind, given)
        apart, number = code.op(f"icmp ne i64 {line.inner}, 1"), argument(code, FURTHER)
        table = code.at("i8", region(line, vectors, 1), str(_BUFFER))
        places = code.at("i64", table, number)
        raw = code.at("i64", places, code.add(code.mul(number, "2"), "8"))
        made = code.at("i64", raw, code.add(line.extent, "128"))
        source = code.op(f"select i1 {apart}, ptr {raw}, ptr {line.source}")
        target = code.op(f"select i1 {apart}, ptr {made}, ptr {line.target}")
        beside = line._replace(source=source, target=target, inner="1")
        code.when(apart, lambda: copied(line, beside, (line.source, source), kind.integer))
        parts = _Parts(_chosen(beside, vectors, count), places, positions)
        parts.begin()
        _move_all(parts, beside)
        code.when(apart, lambda: copied(beside, line, (target, line.target), stored))

    head = vectors_of(Code(), kind, given).table()
    name = "positions_parted" if positions else "parted"
    return function(kind, name, write, stored, head=head)


def _move_all(parts: _Parts, line: Line) -> None:
    """All vectors of a line; the last one is read from a copy, as nothing behind it may be."""
    keys = parts.chosen.keys
    code, stored, lanes = line.code, keys.stored, keys.vectors.lanes

    def some(index: str, _: list[str]) -> list[str]:
        parts.move(stored.load(line.source, index), index, "splat (i1 true)")
        return []

    end, _ = code.loop("0", line.extent, str(lanes), [], some, full=lanes)
    left = code.op(f"sub i64 {line.extent}, {end}")

    def one(index: str) -> None:
        bits = line.bits(code.add(end, index))
        code.do(f"store {stored.key} {bits}, ptr {stored.at(parts.chosen.buffer, index)}")

    each(code, "0", left, "1", one)
    parts.move(stored.load(parts.chosen.buffer), end, keys.vectors.front(left))


def parted(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that puts the elements of contiguous lines, or their positions, in parts."""
    asked: Any = step.algorithm
    given, places = step.avals[0], asked.places
    lines, extent, inner = sizes_of(given, asked.axis)
    kind, here = kind_of(given.dtype), values.registers()
    operands = step.inputs[0], 0, step.outputs[0], 0
    sizes = extent, inner, *words_of(given.dtype, False), len(places)
    words = pack_words((*operands, *sizes, *places), {})
    made = _parting(kind, asked.positions, network_of(kind, here, extent), here)
    grain = max(1, CHUNK // max(extent, 1))
    apart = 16 * (extent + 128) if inner > 1 else 0
    scratch = scratch_of(kind, extent, 1) + _BUFFER + 24 * len(places) + 64 + apart
    return [Generated(*made, words, lines if extent else 0, grain, scratch)]
