"""What is known of one frame: its stack and variables, slot by slot.

Invariant: a slot holds no tensor, for references to tensors decide what eager code does.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from ..bytecode.summary import exception_targets, instructions_of, successors
from ..heap.allowlist import Wrapped, is_a, lookup
from .terms import Term

__all__ = ["UNKNOWN", "UNSEEN", "NULL", "StackSlot", "Lazy", "Stepper", "unwrapped"]


class _Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = _Unknown()


class StackSlot(NamedTuple):
    """A value on the stack or in a variable: the object where it is known, its term if it may
    differ between calls, and, for a method looked up in an object, its name."""

    value: Any = UNKNOWN
    term: Term | None = None
    method: str = ""


class Lazy(NamedTuple):
    """The object that a variable of the frame holds, looked up only where it is needed."""

    name: str


UNSEEN = StackSlot()
NULL = StackSlot(method="<null>")


class Stepper:
    """The stack and variables of one frame."""

    __slots__ = (
        "code",
        "function",
        "stack",
        "variables",
        "finish",
        "reads",
        "returned",
        "entered",
        "offset",
        "handlers",
        "names",
        "passed",
        "instructions",
        "after",
    )

    def __init__(self, code: types.CodeType, function: Any) -> None:
        self.code, self.function = code, function
        self.stack: list[StackSlot] = []
        self.variables: dict[str, StackSlot] = {}
        # what the previous instruction still has to do, now that the next one is known
        self.finish: Callable[[Any, int], None] | None = None
        self.reads: list[tuple[int, str, int]] = []  # host reads during this instruction
        self.returned: list[Any] = []  # what Python code returned to this instruction
        self.entered: list[Stepper] = []  # frames entered from this instruction
        self.offset = -1
        self.handlers, self.instructions = exception_targets(code), instructions_of(code)
        self.after = successors(code)
        self.names: tuple[str, ...] = ()  # of keyword arguments of the coming call
        self.passed: list[StackSlot] = []  # arguments of the call under way

    def cell(self, name: str) -> Any:
        """The cell of a variable of an outer function, where the function is known."""
        closure = getattr(self.function, "__closure__", None) or ()
        return dict(zip(self.code.co_freevars, closure)).get(name)


def unwrapped(function: Any) -> Any:
    """The Python function behind a callable."""
    for _ in range(16):
        if is_a(function, types.MethodType):
            function = function.__func__
        elif is_a(function, functools.partial):
            function = function.func
        elif is_a(function, Wrapped):
            function = function.fn
        else:
            break
    if is_a(function, (types.FunctionType, type)):
        return function
    return lookup(type(function), "__call__")
