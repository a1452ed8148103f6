"""What is known of one frame: its stack and variables, slot by slot.

Invariant: a slot holds no tensor, for references to tensors decide what eager code does.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from ..bytecode.summary import exception_targets, handled_at, instructions_of, successors
from ..heap.allowlist import Wrapped, is_a, lookup
from .terms import NUMBERS, Term, is_number, kind_of

__all__ = [
    "CREATED",
    "PURE",
    "UNKNOWN",
    "UNSEEN",
    "NULL",
    "TENSOR",
    "StackSlot",
    "Lazy",
    "classes",
    "numeric",
    "Stepper",
    "value_of",
    "runs",
    "unwrapped",
]


# opcodes, of all interpreters, that change nothing but the stack and variables of their frame
PURE = frozenset(
    (
        *("RESUME", "NOP", "CACHE", "EXTENDED_ARG", "MAKE_CELL", "COPY_FREE_VARS", "PRECALL"),
        *("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "POP_TOP", "COPY", "SWAP"),
        *("JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP", "PUSH_NULL", "GET_ITER", "FOR_ITER"),
        *("RETURN_VALUE", "LOAD_CONST", "LOAD_FAST", "STORE_FAST", "DELETE_FAST", "LOAD_GLOBAL"),
        *("LOAD_DEREF", "LOAD_CLOSURE", "LOAD_ATTR", "LOAD_METHOD", "BINARY_SUBSCR", "BINARY_OP"),
        *("COMPARE_OP", "IS_OP", "CONTAINS_OP", "UNARY_NEGATIVE", "UNARY_NOT", "UNARY_POSITIVE"),
        *("UNARY_INVERT", "BUILD_TUPLE", "UNPACK_SEQUENCE", "KW_NAMES", "CALL", "LOAD_CLASSDEREF"),
        *("BUILD_SLICE", "BUILD_LIST", "BUILD_MAP", "BUILD_CONST_KEY_MAP", "MAKE_FUNCTION"),
        *("LOAD_FAST_CHECK", "LOAD_FAST_AND_CLEAR", "LOAD_SUPER_ATTR", "RETURN_CONST", "END_FOR"),
        *("TO_BOOL", "CALL_KW", "LOAD_FAST_LOAD_FAST", "STORE_FAST_LOAD_FAST", "BINARY_SLICE"),
        *("STORE_FAST_STORE_FAST", "SET_FUNCTION_ATTRIBUTE"),
        *[f"POP_JUMP_IF_{what}" for what in ("FALSE", "TRUE", "NONE", "NOT_NONE")],
        *[
            f"POP_JUMP_{way}_IF_{what}"
            for way in ("FORWARD", "BACKWARD")
            for what in ("FALSE", "TRUE", "NONE", "NOT_NONE")
        ],
    )
)


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


def value_of(frame: types.FrameType, slot: StackSlot) -> Any:
    """The object in a slot, or UNKNOWN."""
    if type(slot.value) is not Lazy:
        return slot.value
    return frame.f_locals.get(slot.value.name, UNKNOWN)


def numeric(slot: StackSlot) -> bool:
    """Whether a slot holds a number, which may be known by its type only."""
    return is_number(slot.value) or (slot.value is UNKNOWN and kind_of(slot.term) in NUMBERS)


def classes(asked: Any) -> tuple[type, ...] | None:
    """What `isinstance` is asked for, where no code of a user answers."""
    kinds = asked if type(asked) is tuple else (asked,)
    return kinds if all(type(kind) is type for kind in kinds) else None


UNSEEN = StackSlot()
NULL = StackSlot(method="<null>")
CREATED = "<created>"  # the method of an array that has no name yet
TENSOR = StackSlot(method="<tensor>")  # a tensor, which one is not held here


class Stepper:
    """The stack and variables of one frame."""

    __slots__ = (
        "code",
        "function",
        "outer",
        "stack",
        "variables",
        "finish",
        "reads",
        "returned",
        "entered",
        "stopped",
        "offset",
        "depth",
        "handlers",
        "names",
        "passed",
        "instructions",
        "after",
        "ticks",
        "consumes",
        "produces",
        "cells",
        "leaks",
    )

    def __init__(self, code: types.CodeType, function: Any) -> None:
        self.code, self.function = code, function
        self.outer: Stepper | None = None  # the frame of which a comprehension is part
        self.stack: list[StackSlot] = []
        self.variables: dict[str, StackSlot] = {}
        # what the previous instruction still has to do, now that the next one is known
        self.finish: Callable[[Any, int], None] | None = None
        self.reads: list[tuple[int, str, int]] = []  # host reads during this instruction
        self.returned: list[Any] = []  # what Python code returned to this instruction
        self.entered: list[Stepper] = []  # frames entered from this instruction
        self.stopped = False  # whether it raised a StopIteration
        self.offset, self.ticks = -1, 0  # of the instruction, and how many have run
        self.depth = 0  # of the stack before the instruction
        self.handlers, self.instructions = exception_targets(code), instructions_of(code)
        self.after = successors(code)
        self.names: tuple[str, ...] = ()  # of keyword arguments of the coming call
        self.passed: list[StackSlot] = []  # arguments of the call under way
        # generator expressions: the one that the instruction under way runs, and the one it is
        self.consumes: Any = None
        self.produces: Any = None
        # variables that only comprehensions look at beside the frame itself; whether one of these
        # may run where it is not followed
        self.cells: dict[str, StackSlot] = {}
        self.leaks = False

    def unwind(self, target: int) -> bool:
        """What the instruction under way raised is handled: go there; false where that is more than
        the end of an iterator or generator, which what it goes over decides."""
        block = handled_at(self.code, self.offset, target) if self.stopped else None
        if block is None:
            return False
        depth, marked = block
        del self.stack[depth:]
        self.stack += [UNSEEN] * (2 if marked else 1)
        return True

    def cell(self, name: str) -> Any:
        """The cell of a variable of an outer function, where the function is known."""
        if self.outer is not None:
            return self.outer.cell(name)
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


def runs(callee: Any) -> tuple[Any, bool | None]:
    """The Python function that a call of an object enters first, and whether that gets an object
    before the arguments (None: it may get others)."""
    if callee is UNKNOWN:
        return None, None
    if type(callee) is type and lookup(callee, "__new__") is object.__new__:
        return lookup(callee, "__init__"), True
    function = unwrapped(callee)
    if lookup(type(callee), "__call__") is function or type(callee) is types.MethodType:
        simple = type(callee) is not types.MethodType or callee.__func__ is function
        return function, True if simple else None
    return function, False if callee is function else None
