"""The operands of every instruction of a code object, as sets of expressions.

Invariant: an operand that an instruction takes off the stack, or changes, is among those named here
(one that it leaves as it is may be, too).
"""

from __future__ import annotations

from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

from .expressions import Slot
from .summary import settled, step

__all__ = ["Use", "uses_of"]


class Use(NamedTuple):
    """One instruction and the slots it takes, lowest first."""

    offset: int
    name: str
    key: Any
    slots: tuple[Slot, ...]


@lru_cache(1024)
def uses_of(code: CodeType) -> tuple[Use, ...]:
    """The instructions of a code object that is understood, each with its operands."""
    frame, uses = settled(code), []
    for number in sorted(frame.states):
        before = frame.states[number]
        step(frame, number)
        same = 0
        while same < min(len(before), len(frame.stack)) and before[same] == frame.stack[same]:
            same += 1
        instruction = frame.instructions[number]
        if instruction.opname == "RETURN_VALUE":  # the run ends there, with the value on the stack
            same = len(before) - 1
        if same < len(before):
            uses.append(
                Use(instruction.offset, instruction.opname, instruction.argval, before[same:])
            )
    return tuple(uses)
