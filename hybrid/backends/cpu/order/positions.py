"""Positions that sort lines: by counting who comes before for short ones, by digits for longer ones
and for narrow elements, by sorts of keys above positions for others.

Invariant: elements are compared by their keys alone, whole numbers without a sign that are ordered
as `Order` says (zeros of both signs have one, so have all NaN); positions are all that is stored,
so which way is taken changes no bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from ...generated import Generated, pack_words
from ...plan import HostStep
from ..gemm.micro import LANE_NUMBERS, spread
from ..gemm.pack import each
from . import shared, values
from .lines import ElementKind, Line, extremes_of, function, kind_of, sizes_of, words_of
from .pairs import sorted_pairs

__all__ = ["generate"]

_SHORT = 128  # elements of a line whose order is counted
_MIDDLE = 1024  # of one that goes by digits as fast as by sorts of vectors
_LONG = 1 << 32  # of one whose positions need more than 32 bits
_DIGITS = 256
_PAIR = ElementKind(64, False)
_CHUNK = 1 << 14  # comparisons, or moved elements, that make a sensible chunk of work


# ---- short lines
class _Counting(NamedTuple):
    """A line whose keys lie in scratch memory, 16 of them compared at once."""

    line: Line

    @property
    def vector(self) -> str:
        return f"<16 x {self.line.kind.integer}>"

    def place(self, index: str) -> str:
        return self.line.code.at(self.line.kind.integer, "%scratch", index)

    def numbers(self, index: str) -> str:
        """A position in all lanes."""
        builder = self.line.code
        return spread(builder, "i32", builder.op(f"trunc i64 {index} to i32"))

    def before(self, key: str, number: str, first: str, count: str) -> str:
        """With how many of 16 elements come before one, added up."""
        builder, vector = self.line.code, self.vector
        alignment = self.line.kind.bits // 8
        others = builder.op(f"load {vector}, ptr {self.place(first)}, align {alignment}")
        numbers = builder.op(f"add <16 x i32> {self.numbers(first)}, {LANE_NUMBERS}")
        sooner = builder.op(f"icmp slt <16 x i32> {numbers}, {number}")
        less = builder.op(f"icmp ult {vector} {others}, {key}")
        equal = builder.op(f"icmp eq {vector} {others}, {key}")
        found = builder.op(f"and <16 x i1> {equal}, {sooner}")
        found = builder.op(f"or <16 x i1> {found}, {less}")
        bits = builder.op(f"bitcast <16 x i1> {found} to i16")
        occurrences = builder.call("llvm.ctpop.i16", "i16", f"i16 {bits}")
        return builder.add(count, builder.op(f"zext i16 {occurrences} to i64"))


@lru_cache(None)
def _counted(kind: ElementKind) -> tuple[str, str]:
    """The place of an element is how many have a smaller key, or the same one ahead of it."""

    def write(line: Line) -> None:
        builder, counting = line.code, _Counting(line)

        def keep(index: str) -> None:
            builder.do(f"store {kind.integer} {line.sort_key(index)}, ptr {counting.place(index)}")

        def sorted_place(index: str) -> None:
            present = builder.op(f"load {kind.integer}, ptr {counting.place(index)}")
            key, number = spread(builder, kind.integer, present), counting.numbers(index)

            def block(first: str, counts: list[str]) -> list[str]:
                return [counting.before(key, number, first, counts[0])]

            _, (found,) = builder.loop("0", line.extent, "16", [("i64", "0")], block)
            line.store(index, found)

        line.each(line.extent, keep)
        # the greatest keys behind the last: none of them comes before an element
        highest = f"store {counting.vector} splat ({kind.integer} -1)"
        builder.do(f"{highest}, ptr {counting.place(line.extent)}, align {kind.bits // 8}")
        line.each(line.extent, sorted_place)

    return function(kind, "counted", write)


# ---- digits
class _Records(NamedTuple):
    """What is moved for an element: its key and its position, side by side, or as one number where
    keys have at most 32 bits behind `least`, which is subtracted."""

    line: Line
    wide: bool
    least: str = ""

    @property
    def size(self) -> int:
        return 16 if self.wide else 8

    @property
    def digits(self) -> int:
        return min(self.line.kind.bits // 8, 8 if self.wide else 4)

    @property
    def shift(self) -> int:
        """Of the lowest digit."""
        return 0 if self.wide else 32

    def at(self, address: str, index: str) -> str:
        return self.line.code.at(f"[{self.size} x i8]", address, index)

    def load(self, address: str, index: str) -> list[str]:
        builder, place = self.line.code, self.at(address, index)
        places = [place, builder.at("i64", place, "1")] if self.wide else [place]
        return [builder.op(f"load i64, ptr {pointer}") for pointer in places]

    def store(self, record: list[str], address: str, index: str) -> None:
        builder, place = self.line.code, self.at(address, index)
        for number, part in enumerate(record):
            builder.do(f"store i64 {part}, ptr {builder.at('i64', place, str(number))}")

    def record_of(self, index: str) -> list[str]:
        """That of the element at a position."""
        builder, integer, key = self.line.code, self.line.kind.integer, self.line.sort_key(index)
        number = key if integer == "i64" else builder.op(f"zext {integer} {key} to i64")
        if self.wide:
            return [number, index]
        if self.least:
            number = builder.op(f"sub i64 {number}, {self.least}")
        return [builder.op(f"or i64 {builder.op(f'shl i64 {number}, 32')}, {index}")]

    def position(self, record: list[str]) -> str:
        if self.wide:
            return record[1]
        return self.line.code.op(f"and i64 {record[0]}, {(1 << 32) - 1}")

    def digit(self, record: list[str], shift: str) -> str:
        builder = self.line.code
        return builder.op(f"and i64 {builder.op(f'lshr i64 {record[0]}, {shift}')}, {_DIGITS - 1}")


@lru_cache(None)
def _by_digits(kind: ElementKind, long_lines: bool) -> tuple[str, str]:
    """Whole numbers of 64 bits whose range has 32 are sorted as numbers of 32.  `long_lines`:
    positions need more."""

    def write(line: Line) -> None:
        builder = line.code
        if long_lines or kind.bits <= 32 or kind.floating:
            _sort(_Records(line, long_lines or kind.bits > 32))
            return
        least, greatest = extremes_of(line)
        span = builder.op(f"sub i64 {greatest}, {least}")
        narrow = builder.op(f"icmp ult i64 {span}, {1 << 32}")
        builder.when(narrow, lambda: _sort(_Records(line, False, least)))
        builder.when(builder.op(f"xor i1 {narrow}, true"), lambda: _sort(_Records(line, True)))

    return function(kind, "digits", write)


def _sort(records: _Records) -> None:
    """From the lowest digit of eight bits to the highest, each pass in order; one that all elements
    share is skipped."""
    line, builder, tables = records.line, records.line.code, "%scratch"
    counters = str(records.digits * _DIGITS)
    first = builder.at("i64", tables, counters)
    second = records.at(first, line.extent)

    def clear(index: str) -> None:
        place = builder.at("i64", tables, index)
        builder.do(f"store <16 x i64> zeroinitializer, ptr {place}, align 8")

    def count(index: str) -> None:
        record = records.record_of(index)
        records.store(record, first, index)
        for number in range(records.digits):
            digit = records.digit(record, str(records.shift + 8 * number))
            counter = builder.at("i64", tables, builder.add(digit, str(number * _DIGITS)))
            more = builder.op(f"add i64 {builder.op(f'load i64, ptr {counter}')}, 1")
            builder.do(f"store i64 {more}, ptr {counter}")

    def one_pass(number: str, pointers: list[str]) -> list[str]:
        table = builder.at("i64", tables, builder.mul(number, str(_DIGITS)))
        shift = builder.add(builder.mul(number, "8"), str(records.shift))
        return _pass(records, table, shift, pointers)

    each(builder, "0", counters, "16", clear)
    line.each(line.extent, count)
    pointers = [("ptr", first), ("ptr", second)]
    _, (ordered, _) = builder.loop("0", str(records.digits), "1", pointers, one_pass)

    def result(sorted_place: str) -> None:
        line.store(records.position(records.load(ordered, sorted_place)), sorted_place)

    line.each(line.extent, result)


def _pass(records: _Records, table: str, shift: str, pointers: list[str]) -> list[str]:
    """Records in the order of one digit, whose counts are in a table: where they are then, and
    where there is room."""
    builder, line = records.line.code, records.line
    source, target = pointers
    present = builder.at("i64", table, records.digit(records.load(source, "0"), shift))
    alike = builder.op(f"icmp eq i64 {builder.op(f'load i64, ptr {present}')}, {line.extent}")
    stop = builder.op(f"select i1 {alike}, i64 0, i64 {line.extent}")

    def begin(digit: str, before: list[str]) -> list[str]:
        counter = builder.at("i64", table, digit)
        occurrences = builder.op(f"load i64, ptr {counter}")
        builder.do(f"store i64 {before[0]}, ptr {counter}")
        return [builder.add(before[0], occurrences)]

    def move(index: str) -> None:
        record = records.load(source, index)
        counter = builder.at("i64", table, records.digit(record, shift))
        sorted_place = builder.op(f"load i64, ptr {counter}")
        records.store(record, target, sorted_place)
        builder.do(f"store i64 {builder.op(f'add i64 {sorted_place}, 1')}, ptr {counter}")

    builder.loop("0", str(_DIGITS), "1", [("i64", "0")], begin)
    line.each(stop, move)
    return [
        builder.op(f"select i1 {alike}, ptr {source}, ptr {target}"),
        builder.op(f"select i1 {alike}, ptr {target}, ptr {source}"),
    ]


# ---- kernels
def generate(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that orders contiguous values."""
    order: Any = step.algorithm
    given = step.avals[0]
    lines, extent, inner = sizes_of(given, order.axis)
    kind = kind_of(given.dtype)
    operands = step.inputs[0], 0, step.outputs[0], 0
    sizes = extent, inner, *words_of(given.dtype, order.descending)
    if lines == 1 and shared.LONG <= extent < _LONG and kind.bits == 32:
        long = shared.LongOrder(kind, True, values.registers())
        return shared.sorted_by_all(long, (*operands, temp_slot), sizes)
    words = pack_words((*operands, *sizes), {})
    if extent <= _SHORT:
        made, effort = _counted(kind), extent * (2 + extent // 16)
        scratch = (_SHORT + 16) * kind.bits // 8
    elif kind.bits > 16 and _MIDDLE < extent < _LONG:
        made = sorted_pairs(kind, values.registers())
        effort = extent * extent.bit_length()
        scratch = values.scratch_of(_PAIR, extent, 3)
    else:
        long_lines = extent >= _LONG
        made = _by_digits(kind, long_lines)
        effort = extent * (2 + kind.bits // 8) + _DIGITS * kind.bits // 8
        record = 16 if long_lines or kind.bits > 32 else 8
        scratch = _DIGITS * kind.bits + 2 * extent * record
    grain = max(1, _CHUNK // max(effort, 1))
    return [Generated(*made, words, lines if extent else 0, grain, scratch)]
