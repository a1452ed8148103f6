"""Calls of Python's own world that user code makes (print, clocks, log records, random numbers),
and the texts that it makes of followed numbers.

Invariant: a call is noted only with arguments of which each is a term or a value that facts
decide; of any other the watch has a reason, for nothing here takes it as seen.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ir.tensor import Handle
from ..bytecode.summary import caught
from ..heap.allowlist import is_a, lookup, plain
from ..host.again import saved, state_of
from ..host.table import HostFunction, Site, host_function
from .machine import UNKNOWN, UNSEEN, Lazy, StackSlot, Stepper
from .terms import (
    MAX_TERM,
    Collection,
    Constant,
    HostCall,
    Made,
    Term,
    formatted,
    is_number,
    joined,
    percent,
    size,
    text,
)

__all__ = ["Hosted", "called_again", "format_value", "build_string", "text_of", "percent_of"]
__all__ += ["decided", "method_of", "term_of", "value_of", "format_with", "convert_value"]

MAX_CALLS = 64  # in one call
MAX_DEPTH = 4  # containers in an argument
_STREAMS = ("file", "end", "sep", "flush")  # named arguments of `print`


class Hosted(NamedTuple):
    """One such call: what it is for, the function and the object whose method it is (UNKNOWN:
    none), the arguments and the names of the last of them, what stands for its result, where it
    is (code, offset; `site` for people), and how many operations had run."""

    entry: HostFunction
    function: Any
    owner: Any
    arguments: tuple[Term, ...]
    names: tuple[str, ...]
    call: HostCall
    at: tuple[int, int]
    site: Site
    ran: int


def _apart(function: Any, owner: Any) -> tuple[Any, Any]:
    """A function, and the object whose method it is."""
    if is_a(function, types.MethodType):
        return function.__func__, function.__self__
    if is_a(function, types.BuiltinFunctionType):
        bound = function.__self__
        if bound is not None and not is_a(bound, types.ModuleType):
            return lookup(type(bound), function.__name__), bound
    return function, owner


def method_of(base: Any, name: str) -> Any:
    """A method in C that is followed by itself: of a stream or generator, or one that makes texts;
    None: there is none."""
    found = lookup(type(base), name)
    if type(base) is str and name in ("format", "join"):
        return found
    if is_a(found, types.FunctionType) or not callable(found):
        return None
    return found if host_function(found, base) is not None else None


def value_of(frame: types.FrameType, slot: StackSlot) -> Any:
    """The object in a slot, or UNKNOWN."""
    if type(slot.value) is not Lazy:
        return slot.value
    return frame.f_locals.get(slot.value.name, UNKNOWN)


def decided(value: Any, depth: int = 0) -> bool:
    """A value that facts decide whole."""
    if plain(value) or (is_a(value, type) and issubclass(value, np.generic)):
        return True
    return type(value) is tuple and depth < MAX_DEPTH and all(decided(v, depth + 1) for v in value)


def _whole(term: Any) -> bool:
    """Whether a term says everything of a value."""
    if type(term) is Collection:
        named = term.type is not dict or len(term.keys) == len(term.items)
        return named and all(item is not None and _whole(item) for item in term.items)
    return term is not None


def term_of(frame: types.FrameType, slot: StackSlot) -> Term | None:
    """What an argument is; None where that is not known."""
    if slot.term is not None:
        return slot.term if _whole(slot.term) and size(slot.term) <= MAX_TERM else None
    value = value_of(frame, slot)
    if type(value) is slice and decided(value):  # slices cannot be hashed
        ends = value.start, value.stop, value.step
        return Made(slice, tuple(map(Constant, ends)), slice)
    return Constant(value) if value is not UNKNOWN and decided(value) else None


def _stream(value: Any) -> bool:
    """An object that something is written to, or a class."""
    return is_a(value, type) or (
        value is not UNKNOWN and host_function(lookup(type(value), "write"), value) is not None
    )


def _arguments(frame: types.FrameType, given: Sequence[StackSlot]) -> list[Term] | None:
    """What the arguments of a call are; None where that is not known of one."""
    found: list[Term] = []
    for slot in given:
        term = term_of(frame, slot)
        if term is None:
            value = value_of(frame, slot)
            if slot.term is not None or is_a(value, Handle) or not _stream(value):
                return None
            term = Constant(value)
        found.append(term)
    return found


def called_again(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: list[StackSlot],
    names: tuple[str, ...],
) -> bool:
    """Note a call of Python's own world; false where it is none, or cannot be made again."""
    owner = given[0].value if given and not is_a(function, types.MethodType) else None
    entry = host_function(function, owner)
    if entry is None or follow.regions or len(follow.hosted) >= MAX_CALLS:
        return False
    if entry.use == "text":
        return _text_call(follow, machine, frame, function, given)
    inner, bound = _apart(function, UNKNOWN)
    rest = given
    if bound is UNKNOWN and "." in getattr(inner, "__qualname__", ""):  # a method by itself
        bound, rest = value_of(frame, given[0]), given[1:]
        if bound is UNKNOWN:
            return False
    terms = _arguments(frame, rest)
    if terms is None or (names and not _by_name(entry, names)):
        return False
    if entry.use == "output" and caught(frame, follow.root):
        return False
    value: Any = UNKNOWN
    if entry.use == "draw":
        value = _tried(inner, bound, frame, rest, names)
        if value is UNKNOWN:
            return False
    follow.serial += 1
    call = HostCall(follow.serial, entry.result if value is UNKNOWN else type(value))
    at = id(machine.code), machine.offset
    code = frame.f_code
    site = Site(code.co_filename, frame.f_lineno or 0, code.co_name, frame.f_globals)
    noted = Hosted(entry, inner, bound, tuple(terms), names, call, at, site, follow.progress())
    follow.hosted.append(noted)
    follow.keep += [inner, bound]
    follow.impure += 1
    machine.stack.append(StackSlot(value, call))
    moves = id(bound) in follow.states
    if moves and state_of(bound) != follow.states[id(bound)]:
        follow.unhosted.add(at)  # somebody else has drawn

    def finish(follow: Any, offset: int) -> None:
        if moves:
            follow.states[id(bound)] = state_of(bound)
        if machine.entered:
            follow.unhosted.add(at)  # code of a user took part

    machine.finish = finish
    return True


def _tried(
    function: Any,
    owner: Any,
    frame: types.FrameType,
    given: Sequence[StackSlot],
    names: tuple[str, ...],
) -> Any:
    """What a generator is about to give, which then is where it was; UNKNOWN: nothing to follow."""
    values = [value_of(frame, slot) for slot in given]
    if any(value is UNKNOWN for value in values):
        return UNKNOWN
    count, restore = len(values) - len(names), saved(owner)
    try:
        value = function(owner, *values[:count], **dict(zip(names, values[count:])))
    except Exception:  # the program is about to see it
        return UNKNOWN
    finally:
        restore()
    return value if is_number(value) or is_a(value, (np.ndarray, np.generic)) else UNKNOWN


def _text_call(
    follow: Any, machine: Stepper, frame: types.FrameType, function: Any, given: list[StackSlot]
) -> bool:
    """A function in Python that makes a text of its arguments."""
    made = text_of(frame, function, given)
    if made is None:
        return False
    follow.texts[id(machine.code), machine.offset] += 1
    machine.stack.append(made)

    def finish(follow: Any, offset: int) -> None:
        value = machine.returned[-1] if machine.returned else UNKNOWN
        if machine.entered or type(value) is not str:
            follow.escape([made])
        else:
            machine.stack[-1] = StackSlot(value, made.term)

    machine.finish = finish
    return True


def _by_name(entry: HostFunction, names: tuple[str, ...]) -> bool:
    """Whether these arguments may be given by name."""
    if entry.name == "print":
        return all(name in _STREAMS for name in names)
    return entry.placed is None


# ---- texts
def _filled(function: Callable[..., str], terms: Sequence[Any], values: Sequence[Any]) -> StackSlot:
    """The text that a function makes."""
    value: Any = UNKNOWN
    if all(v is not UNKNOWN for v in values):
        try:
            value = function(*values)
        except Exception:
            return UNSEEN
    return StackSlot(value, text(function, *terms))


def _parts(
    follow: Any, frame: types.FrameType, slots: Sequence[StackSlot]
) -> tuple[list[Any], list[Any]] | None:
    """Terms and values of what goes into a text, some of which is followed; None where that is not
    known: it is looked at."""
    if not any(slot.term is not None for slot in slots):
        return None
    terms = [term_of(frame, slot) for slot in slots]
    if None in terms:
        follow.escape(slots)
        return None
    return terms, [value_of(frame, slot) for slot in slots]


def format_value(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    """`{value!r:spec}` in an f-string; up to 3.12 one instruction."""
    flags = instruction.arg or 0
    spec = machine.stack.pop() if flags & 4 else StackSlot("")
    convert(follow, machine, frame, flags & 3)
    _format(follow, machine, frame, spec)


def convert(follow: Any, machine: Stepper, frame: Any, how: int) -> None:
    """`!s`, `!r` or `!a` (0: none of them)."""
    if how:
        slot = machine.stack.pop()
        function: Any = (str, repr, ascii)[how - 1]
        parts = _parts(follow, frame, [slot])
        machine.stack.append(UNSEEN if parts is None else _filled(function, *parts))


def _format(follow: Any, machine: Stepper, frame: Any, spec: StackSlot) -> None:
    slot = machine.stack.pop()
    parts = _parts(follow, frame, [slot, spec])
    machine.stack.append(UNSEEN if parts is None else _filled(formatted, *parts))


def format_with(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    """FORMAT_SIMPLE and FORMAT_WITH_SPEC."""
    spec = machine.stack.pop() if instruction.opname == "FORMAT_WITH_SPEC" else StackSlot("")
    _format(follow, machine, frame, spec)


def convert_value(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    convert(follow, machine, frame, instruction.arg or 0)


def build_string(follow: Any, machine: Stepper, frame: Any, instruction: Any) -> None:
    count = instruction.arg or 0
    slots = machine.stack[len(machine.stack) - count :]
    del machine.stack[len(machine.stack) - count :]
    parts = _parts(follow, frame, slots)
    machine.stack.append(UNSEEN if parts is None else _filled(joined, *parts))


_MAKERS: tuple[Any, ...] = (str, repr, format, str.format, str.join, json.dumps)


def text_of(frame: types.FrameType, function: Any, given: list[StackSlot]) -> StackSlot | None:
    """A call that makes a text of followed values; None: it is none."""
    if not any(slot.term is not None for slot in given):
        return None
    if not any(function is maker for maker in _MAKERS):
        return None
    terms = [term_of(frame, slot) for slot in given]
    if None in terms:
        return None
    values = [value_of(frame, slot) for slot in given]
    values = [UNKNOWN if type(t) is Collection else v for t, v in zip(terms, values)]
    return _filled(function, terms, values)


def percent_of(frame: types.FrameType, left: StackSlot, right: StackSlot) -> StackSlot | None:
    """`pattern % values`; None where the left is no text."""
    pattern = value_of(frame, left)
    if type(pattern) is not str or right.term is None:
        return None
    several = type(right.term) is Collection and right.term.type is tuple
    terms = [Constant(pattern), *(right.term.items if several else (right.term,))]  # type: ignore[union-attr]
    if not all(map(_whole, terms)):
        return None
    slots = [StackSlot(value_of(frame, right), right.term)]
    values = [pattern, *(UNKNOWN if several else s.value for s in slots)]
    return _filled(percent, terms, values)
