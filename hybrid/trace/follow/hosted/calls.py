"""Calls of Python's own world that user code makes: print, clocks, log records, random numbers.

Invariant: a call is noted only with arguments of which each is a term or a value that facts
decide; of any other the watch has a reason, for nothing here takes it as seen.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.tensor import Handle
from ...bytecode.summary import caught
from ...heap.allowlist import is_a, lookup
from ...host.again import saved, state_of
from ...host.table import CallSite, HostFunction, host_function
from ..machine import TENSOR, UNKNOWN, StackSlot, Stepper, value_of
from ..terms import Constant, HostCall, Term, is_number
from .notes import Hosted
from .recall import box_term
from .texts import shown, term_of, text_of

__all__ = ["called_again", "method_of"]

MAX_CALLS = 64  # in one call
SHOWN = Constant("<tensor>")  # an argument that is shown; the end of the call tells what it is
_STREAMS = ("file", "end", "sep", "flush")  # named arguments of `print`


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
    if found is str.format or found is str.join:
        return found
    if is_a(found, types.FunctionType) or not callable(found):
        return None
    return found if host_function(found, base) is not None else None


def _stream(value: Any) -> bool:
    """An object that something is written to, or a class."""
    return is_a(value, type) or (
        value is not UNKNOWN and host_function(lookup(type(value), "write"), value) is not None
    )


def _arguments(
    follow: Any, machine: Stepper, frame: types.FrameType, given: Sequence[StackSlot]
) -> list[Term] | None:
    """What the arguments of a call are; None where that is not known of one."""
    found: list[Term] = []
    for slot in given:
        term = term_of(frame, slot)
        if term is None and slot.term is None:
            box = value_of(frame, slot)
            term = box_term(box)
            follow.boxes += [] if term is None else [(box, (id(machine.code), machine.offset))]
        if term is None:
            value = value_of(frame, slot)
            tensor = slot is TENSOR or is_a(value, Handle)
            if slot.term is not None or not (tensor or _stream(value)):
                return None
            term = SHOWN if tensor else Constant(value)
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
        return not names and _text_call(follow, machine, frame, function, given)
    inner, bound = _apart(function, UNKNOWN)
    if bound is UNKNOWN and "." in getattr(inner, "__qualname__", ""):  # a method by itself
        bound, given = value_of(frame, given[0]), given[1:]
        if bound is UNKNOWN:
            return False
    terms = _arguments(follow, machine, frame, given)
    if terms is None or (names and not _by_name(entry, names)):
        return False
    if not entry.shows and any(term is SHOWN for term in terms):
        return False
    if entry.use == "output" and caught(frame, follow.root):
        return False
    value = _tried(inner, bound, frame, given, names) if entry.use == "draw" else UNKNOWN
    if entry.use == "draw" and value is UNKNOWN:
        return False
    follow.serial += 1
    call = HostCall(follow.serial, entry.result if value is UNKNOWN else type(value))
    code, at = frame.f_code, (id(machine.code), machine.offset)
    site = CallSite(code.co_filename, frame.f_lineno or 0, code.co_name, frame.f_globals)
    noted = Hosted(entry, inner, bound, tuple(terms), names, call, at, site, follow.progress())
    _note(follow, machine, noted, value)
    return True


def _note(follow: Any, machine: Stepper, noted: Hosted, value: Any) -> None:
    """The call is about to be made, and is to give this value (UNKNOWN: that is not known)."""
    owner, at = noted.owner, noted.at
    place = len(follow.hosted)
    follow.hosted.append(noted)
    follow.keep += [noted.function, owner]
    follow.drawn.update({} if value is UNKNOWN else {noted.call: value})
    follow.impure += 1
    machine.stack.append(StackSlot(value, noted.call))
    moves = id(owner) in follow.states
    if moves and state_of(owner) != follow.states[id(owner)]:
        follow.unhosted.add(at)  # somebody else has drawn

    def finish(follow: Any, offset: int) -> None:
        if moves:
            follow.states[id(owner)] = state_of(owner)
        if machine.entered or not _show(follow, machine, place):
            follow.unhosted.add(at)  # code of a user took part, or a tensor was not shown whole

    machine.finish = finish


def _show(follow: Any, machine: Stepper, place: int) -> bool:
    """Put the texts of the tensors that a call has shown among its arguments."""
    noted: Hosted = follow.hosted[place]
    count = sum(term is SHOWN for term in noted.arguments)
    texts = shown(machine, count) if count else []
    if texts is None:
        return False
    rest = iter(texts)
    arguments = tuple([next(rest) if term is SHOWN else term for term in noted.arguments])
    follow.hosted[place] = noted._replace(arguments=arguments)
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
    count, restore = len(values) - len(names), saved(owner, function.__name__)
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
    if entry.shows:
        return all(name in _STREAMS for name in names)
    return entry.placed is None
