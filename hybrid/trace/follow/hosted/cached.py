"""Calls of functions of `functools.cache` and `lru_cache`: what they give is a place in the dict of
results.

Invariant: a call is noted only if the result is there before it, for arguments that facts decide;
a replay finds it at its start and makes the same call again at its end, which counts it.
"""

from __future__ import annotations

import types
from typing import Any

from ...heap.walks import CACHED, LINK, kept_by
from ...host.table import CallSite, HostFunction
from ..machine import UNKNOWN, StackSlot, Stepper, value_of
from ..terms import Constant, HostCall, Live
from .notes import Hosted
from .recall import decided, operand_at

__all__ = ["cached_call"]

MAX_CALLS = 64  # in one call
_ENTRY = HostFunction("a cached function", "output")


def _arguments(
    machine: Stepper, frame: types.FrameType, given: list[StackSlot], first: int
) -> tuple[Any, ...] | None:
    """The arguments, the first of which lies at this place; None where facts may not decide one."""
    found = []
    for place, slot in enumerate(given, first):
        value = slot.term.value if type(slot.term) is Constant else value_of(frame, slot)
        if value is UNKNOWN and slot.term is None and place >= 0:
            value = operand_at(machine, frame, place)
        if isinstance(slot.term, Live) or not decided(value) or value != value:
            return None
        found.append(value)
    return tuple(found)


def cached_call(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: list[StackSlot],
    names: tuple[str, ...],
    first: int,
) -> bool:
    """Follow a call of such a function; false where it is none, or what it gives is not known."""
    if type(function) is not CACHED or follow.regions or len(follow.touches) >= MAX_CALLS:
        return False
    values = _arguments(machine, frame, given, first)
    if values is None:
        return False
    follow.escape(given)
    split = len(values) - len(names)
    kept = kept_by(function, values[:split], dict(zip(names, values[split:])))
    if kept == "missing":
        follow.unkept = True
    if kept is None or kept == "missing":
        return False
    at = id(machine.code), machine.offset
    _note(follow, frame, function, values, names, at)
    follow.caches[id(kept.results)] = function, kept.results
    follow.looked_up.setdefault(at, []).append((kept.results, kept.key))
    kind = "kept" if type(kept.results[kept.key]) is LINK else "item"
    place, value = len(machine.stack), kept.value
    machine.stack.append(follow.load_result(machine, kind, kept))

    def finish(follow: Any, offset: int) -> None:
        if machine.entered or operand_at(machine, frame, place) is not value:
            follow.fail("a cache gave another result than it held")

    machine.finish = finish
    return True


def _note(
    follow: Any,
    frame: types.FrameType,
    function: Any,
    values: tuple[Any, ...],
    names: tuple[str, ...],
    at: tuple[int, int],
) -> None:
    """The call counts as a use of the cache, in a replay, too."""
    follow.serial += 1
    code, terms = frame.f_code, tuple(map(Constant, values))
    site = CallSite(code.co_filename, frame.f_lineno or 0, code.co_name, frame.f_globals)
    call = HostCall(follow.serial, None)
    noted = Hosted(_ENTRY, function, UNKNOWN, terms, names, call, at, site, follow.progress())
    follow.touches.append(noted)
    follow.keep.append(function)
