"""Code objects as lists of steps, which may be taken apart and put together in other orders.

A step names its variables, constants and goals, so it means the same wherever it stands.
Invariant: `assemble` of the steps of a code object runs, raises and reports lines as that does.
"""

from __future__ import annotations

import dis
import opcode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any, NamedTuple

__all__ = ["CodeStep", "Free", "Handler", "steps_of", "assemble"]

Position = tuple[int | None, int | None, int | None, int | None]

_ENTRIES: Any = vars(opcode)["_inline_cache_entries"]
_CACHES = dict(_ENTRIES) if isinstance(_ENTRIES, dict) else dict(zip(opcode.opname, _ENTRIES))
_JUMPS = frozenset(dis.opname[op] for op in (*dis.hasjrel, *dis.hasjabs))
_CONSTANTS = frozenset(dis.opname[op] for op in dis.hasconst) | {"KW_NAMES"}
_VARIABLES = frozenset(dis.opname[op] for op in (*dis.haslocal, *dis.hasfree))
# two instructions in one (3.13): taken apart, since each variable has only four bits in it
_PAIRS = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}


class Free(NamedTuple):
    """A variable of an enclosing function."""

    name: str


class Handler(NamedTuple):
    """Where an exception goes: the step, how much of the stack stays, whether the place is put on
    it."""

    goal: CodeStep
    depth: int
    place: bool


@dataclass(eq=False, slots=True)
class CodeStep:
    """One instruction.  `arg` is a variable's name (or `Free`), a constant, the step a jump goes
    to, or a plain number; `offset` that of the instruction it was, -1 for a new one."""

    name: str
    arg: Any = 0
    position: Position = (None, None, None, None)
    offset: int = -1
    handler: Handler | None = None

    @property
    def goal(self) -> CodeStep | None:
        """Where a jump goes."""
        return self.arg if self.name in _JUMPS else None


def _raw(code: CodeType) -> Iterator[tuple[int, int, str, int, int]]:
    """Each instruction: where it starts (with its prefixes), its offset, name, number, end."""
    raw, at, start, high = code.co_code, 0, None, 0
    while at < len(raw):
        name, number = opcode.opname[raw[at]], raw[at + 1] | high
        start = at if start is None else start
        if name == "EXTENDED_ARG":
            high, at = number << 8, at + 2
            continue
        end = at + 2 + 2 * _CACHES.get(name, 0)
        yield start, at, name, number, end
        at, start, high = end, None, 0


def _variables(code: CodeType) -> list[Any]:
    cells = [name for name in code.co_cellvars if name not in code.co_varnames]
    return [*code.co_varnames, *cells, *map(Free, code.co_freevars)]


def steps_of(code: CodeType) -> list[CodeStep]:
    """The steps of a code object, in order."""
    positions, variables = list(code.co_positions()), _variables(code)
    steps: list[CodeStep] = []
    starts: dict[int, CodeStep] = {}
    jumps = []
    for start, at, name, number, end in _raw(code):
        step = CodeStep(name, number, positions[at // 2], at)
        starts[start] = starts[at] = step
        steps.append(step)
        if name in _PAIRS:
            step.name, second = _PAIRS[name]
            step.arg = variables[number >> 4]
            steps.append(CodeStep(second, variables[number & 15], step.position, at))
        elif name in _JUMPS:
            jumps.append((step, end - 2 * number if "BACKWARD" in name else end + 2 * number))
        elif name in _CONSTANTS:
            step.arg = code.co_consts[number]
        elif name in _VARIABLES:
            step.arg = variables[number]
    for step, goal in jumps:
        step.arg = starts[goal]
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        handler = Handler(starts[entry.target], entry.depth, entry.lasti)
        for step in steps:
            if entry.start <= step.offset < entry.end:
                step.handler = handler
    return steps


class _Layout:
    """Steps with their numbers and places."""

    def __init__(self, steps: Sequence[CodeStep], variables: list[Any]) -> None:
        self.steps, self.end = steps, 0
        self.starts: list[int] = []
        self.prefixes: list[int] = []
        self.constants: list[Any] = []
        self.numbers: list[int] = []
        known: dict[int, int] = {}
        places = {name: number for number, name in enumerate(variables)}
        for step in steps:
            number = step.arg
            if step.name in _CONSTANTS:
                number = known.setdefault(id(step.arg), len(self.constants))
                self.constants[number:] = (
                    [step.arg] if number == len(self.constants) else (self.constants[number:])
                )
            elif step.name in _VARIABLES:
                number = places[step.arg]
            self.numbers.append(0 if step.goal else number)
        self.place()

    def place(self) -> None:
        """Sizes and jumps, until they agree; a size never shrinks, so that is soon."""
        index = {id(step): number for number, step in enumerate(self.steps)}
        caches = [_CACHES.get(step.name, 0) for step in self.steps]
        prefixes = [_prefixes(number) for number in self.numbers]
        jumps = [
            (n, index[id(s.goal)], "BACKWARD" in s.name) for n, s in enumerate(self.steps) if s.goal
        ]
        while True:
            self.starts, at = [], 0
            for prefix, cache in zip(prefixes, caches):
                self.starts.append(at)
                at += prefix + 1 + cache
            self.prefixes, self.end, grown = prefixes, at, False
            ends = [*self.starts[1:], at]
            for number, goal, back in jumps:
                distance = self.starts[goal] - ends[number]
                distance = -distance if back else distance
                if distance < 0:
                    raise ValueError(f"{self.steps[number].name} goes the other way")
                self.numbers[number] = distance
                if _prefixes(distance) > prefixes[number]:
                    prefixes[number], grown = _prefixes(distance), True
            if not grown:
                return

    def code(self) -> bytes:
        out = bytearray()
        for step, number, prefix in zip(self.steps, self.numbers, self.prefixes):
            for high in range(prefix, 0, -1):
                out += bytes((opcode.EXTENDED_ARG, number >> 8 * high & 255))
            out += bytes((opcode.opmap[step.name], number & 255))
            out += bytes(2 * _CACHES.get(step.name, 0))
        return bytes(out)

    def offset(self, number: int) -> int:
        return 2 * (self.starts[number] + self.prefixes[number])

    def lengths(self) -> list[int]:
        return [b - a for a, b in zip(self.starts, [*self.starts[1:], self.end])]


def _prefixes(number: int) -> int:
    return (number > 0xFF) + (number > 0xFFFF) + (number > 0xFFFFFF)


def _varint(number: int) -> bytearray:
    out = bytearray()
    while number >= 64:
        out.append(number & 63 | 64)
        number >>= 6
    out.append(number)
    return out


def _signed(number: int) -> bytearray:
    return _varint(-number << 1 | 1 if number < 0 else number << 1)


def _lines(layout: _Layout, first: int) -> bytes:
    """The line table (Objects/locations.md of CPython); its long forms only."""
    out, line = bytearray(), first
    for step, length in zip(layout.steps, layout.lengths()):
        start, end, column, end_column = step.position
        while length > 0:
            part = min(length, 8)
            length -= part
            if start is None:
                out.append(0x80 | 15 << 3 | part - 1)
                continue
            exact = end is not None and column is not None and end_column is not None
            out.append(0x80 | (14 if exact else 13) << 3 | part - 1)
            out += _signed(start - line)
            if exact:
                out += _varint(end - start) + _varint(column + 1) + _varint(end_column + 1)  # type: ignore[operator]
            line = start
    return bytes(out)


def _big(number: int, first: int = 0) -> bytearray:
    """A number of the exception table: the high bits come first."""
    parts = [number & 63]
    while number := number >> 6:
        parts.append(number & 63 | 64)
    parts.reverse()
    parts[0] |= first
    return bytearray(parts)


def _handlers(layout: _Layout) -> bytes:
    out = bytearray()
    index = {id(step): number for number, step in enumerate(layout.steps)}
    runs: list[tuple[Handler, int, int]] = []
    for step, start, length in zip(layout.steps, layout.starts, layout.lengths()):
        if step.handler is None:
            continue
        if runs and runs[-1][0] == step.handler and sum(runs[-1][1:]) == start:
            runs[-1] = step.handler, runs[-1][1], runs[-1][2] + length
        else:
            runs.append((step.handler, start, length))
    for handler, start, length in runs:
        out += _big(start, 128) + _big(length) + _big(layout.starts[index[id(handler.goal)]])
        out += _big(handler.depth << 1 | handler.place)
    return bytes(out)


def assemble(
    code: CodeType, steps: Sequence[CodeStep], **changes: Any
) -> tuple[CodeType, dict[int, int]]:
    """`code` with other steps (and other fields, as `code.replace` takes them), and the offset of
    each instruction -> the one it had."""
    frame = code.replace(**changes) if changes else code
    layout = _Layout(steps, _variables(frame))
    made = frame.replace(
        co_code=layout.code(),
        co_consts=tuple(layout.constants),
        co_linetable=_lines(layout, frame.co_firstlineno),
        co_exceptiontable=_handlers(layout),
    )
    return made, {layout.offset(n): s.offset for n, s in enumerate(steps) if s.offset >= 0}
