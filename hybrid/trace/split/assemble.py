"""Code objects from lists of instructions: operands of any size, places of jumps, lines, handlers.

Invariant: what is put together does what its instructions say; nothing is left out or reordered.
"""

from __future__ import annotations

import dis
import opcode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Label", "Place", "assembled", "handlers_table", "lines_table", "word"]

OPS = dis.opmap
NO_LINE, WHOLE = 15, 14  # kinds of entries in a table of lines
UNITS = 8  # of an entry in it
Position = tuple[int | None, int | None, int | None, int | None]


class Label:
    """A place that jumps go to."""

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset = 0


@dataclass(slots=True)
class Place:
    """An instruction: its operand or where it jumps to, its position in the source, its handler
    (where to, depth of the stack, whether the instruction is pushed), and in the end its offset
    and its size in bytes."""

    opname: str
    operand: int | Label = 0
    position: Position = (None, None, None, None)
    handler: tuple[Label, int, bool] | None = None
    origin: int | None = None
    offset: int = 0
    size: int = 2


def caches(opname: str) -> int:
    """Words behind an instruction that the interpreter keeps to itself."""
    found: Any = vars(opcode)["_inline_cache_entries"]
    return int(found.get(opname, 0) if type(found) is dict else found[OPS[opname]])


def word(opname: str, operand: int) -> bytes:
    """An instruction with its operand, without what is behind."""
    parts = [OPS[opname], operand & 255]
    while operand > 255:
        operand >>= 8
        parts = [OPS["EXTENDED_ARG"], operand & 255, *parts]
    return bytes(parts)


def _operand(place: Place) -> int:
    if not isinstance(place.operand, Label):
        return place.operand
    distance = (place.operand.offset - place.offset - place.size) // 2
    return -distance if "BACKWARD" in place.opname else distance


def assembled(items: Sequence[Place | Label]) -> tuple[bytes, list[Place]]:
    """The code, and its instructions with their offsets."""
    places = [item for item in items if isinstance(item, Place)]
    changed = True
    while changed:
        changed, offset = False, 0
        for item in items:
            item.offset, changed = offset, changed or item.offset != offset
            if isinstance(item, Place):
                offset += item.size
        for place in places:
            size = len(word(place.opname, max(_operand(place), 0))) + 2 * caches(place.opname)
            if size > place.size:  # never smaller again, so this ends
                place.size, changed = size, True
    out = bytearray()
    for place in places:
        operand = _operand(place)
        assert operand >= 0, f"{place.opname} goes the other way"
        made = word(place.opname, operand)
        behind = 2 * caches(place.opname)
        missing = (place.size - behind - len(made)) // 2
        out += bytes([OPS["EXTENDED_ARG"], 0]) * missing + made + bytes(behind)
    return bytes(out), places


def _number(value: int) -> bytes:
    out = []
    while value >= 64:
        out.append(value & 63 | 64)
        value >>= 6
    return bytes([*out, value])


def _signed(value: int) -> bytes:
    return _number(-value << 1 | 1 if value < 0 else value << 1)


def lines_table(places: list[Place], first: int) -> bytes:
    """`co_linetable` for these instructions of a function that begins at line `first`."""
    out, last = bytearray(), first
    for place in places:
        line, end, column, stop = place.position
        left = place.size // 2
        while left:
            units = min(left, UNITS)
            left -= units
            kind = NO_LINE if line is None else WHOLE
            out.append(128 | kind << 3 | units - 1)
            if line is not None:
                out += _signed(line - last) + _number(max((end or line) - line, 0))
                out += _number(0 if column is None else column + 1)
                out += _number(0 if stop is None else stop + 1)
                last = line
    return bytes(out)


def handlers_table(places: list[Place]) -> bytes:
    """`co_exceptiontable` for these instructions."""
    out, start = bytearray(), 0
    runs: list[tuple[int, int, Any]] = []
    for place in places:
        start, end = place.offset, place.offset + place.size
        if runs and runs[-1][1] == start and runs[-1][2] == place.handler:
            runs[-1] = runs[-1][0], end, place.handler
        else:
            runs.append((start, end, place.handler))
    for start, end, handler in runs:
        if handler is not None:
            label, depth, pushed = handler
            numbers = start // 2, (end - start) // 2, label.offset // 2, depth << 1 | pushed
            parts = [_most_first(number) for number in numbers]
            out += bytes([parts[0][0] | 128]) + parts[0][1:] + b"".join(parts[1:])
    return bytes(out)


def _most_first(value: int) -> bytes:
    parts = [value & 63]
    while value > 63:
        value >>= 6
        parts.insert(0, value & 63 | 64)
    return bytes(parts)
