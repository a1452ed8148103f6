"""How a function takes its arguments from now on: what a new signature, or a call that was watched,
says of its `Regard`.

Invariant: each change is made once, so signatures that follow from it settle.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

from ....core.cache import keep
from ...bytecode.opcodes import SUPPORTED
from ...heap.facts import same
from ...heap.signature import Regard, is_scalar, signature_of
from ..events import Watch

__all__ = ["freed", "other_regard"]

MOST = 128  # signatures whose numbers are remembered


def freed(
    function: Any,
    seen: dict[Any, tuple[Any, ...]],
    regard: Regard,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Regard:
    """How a function takes the arguments of a call with a new signature: numbers that are `seen`
    with a second value are part of signatures by their type alone from now on."""
    if not SUPPORTED or type(function) is not types.FunctionType:
        return regard
    code = function.__code__
    given = list(args[: code.co_argcount])
    if not code.co_flags & inspect.CO_VARARGS:  # by keyword only: behind all others
        given += list(kwargs.values())[: code.co_kwonlyargcount]
    numbers = [k for k, v in enumerate(given) if type(v) is int or type(v) is float or is_scalar(v)]
    places = [k for k in numbers if k not in regard.fixed]
    if regard.free.issuperset(places):
        return regard
    key = signature_of(args, kwargs, regard._replace(free=regard.free.union(places)))[0]
    values = tuple([given[k] for k in places])
    before = seen.get(key, values)
    keep(seen, key, values, MOST)
    moved = [k for k, old, new in zip(places, before, values) if not same(old, new)]
    return regard._replace(free=regard.free.union(moved))


def other_regard(
    regard: Regard, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any], served: bool
) -> Regard | None:
    """How a function has to take its arguments so that a call like this one may be replayed, where
    it has been taken as data, or by structure, so far; None where nothing is left to try.

    `served`: other calls with these arguments are replayed, so no number goes back by value."""
    falls, fixed = set(watch.falls), regard.fixed | (set() if served else watch.fixed)
    scalars = [k for k, v in enumerate([*args, *kwargs.values()]) if is_scalar(v)]
    if "content" in falls and not regard.free.isdisjoint(scalars):
        falls.discard("content")  # of arrays, it may be
        fixed = fixed.union(scalars)
    if "content" in falls and not regard.prepares and not regard.content and SUPPORTED:
        return regard._replace(prepares=True)
    wanted = Regard(
        regard.content or "content" in falls,
        regard.identity or "identity" in falls,
        regard.free - fixed,
        fixed,
        regard.prepares,
    )
    if wanted == regard:
        return None
    differs = signature_of(args, kwargs, wanted)[0] != signature_of(args, kwargs, regard)[0]
    return wanted if differs else None
