"""How a function takes its arguments from one call to the next: what is seen to vary becomes data,
what Python looks at goes back into the signature.

Invariant: what goes back stays there, so a function settles.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

from ....core.cache import keep
from ....ir.tensor import Handle
from ...follow.rows import SUPPORTED
from ...follow.terms import is_number
from ...heap.allowlist import is_a, is_tuple, plain
from ...heap.facts import same
from ...heap.given.paths import numbers_inside
from ...heap.lists import listable
from ...heap.signature import MAX_DATA_LEVEL, Regard, is_scalar, signature_of
from ...heap.structure import structure_of
from ..events import Watch

__all__ = ["freed", "other_regard"]

MAX_INSIDE = 1024  # paths to numbers that are known to vary
MAX_SEEN = 128  # signatures but for what varies, of which the latest content is known


def freed(
    function: Any,
    seen: dict[Any, tuple[Any, ...]],
    regard: Regard,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Regard:
    """How a function takes the arguments of a call with a new signature: numbers that are `seen`
    with a second value are part of signatures by their type alone from now on, and lists of numbers
    with a second content are data."""
    if not SUPPORTED or type(function) is not types.FunctionType:
        return regard
    code = function.__code__
    given = list(args[: code.co_argcount])
    if not code.co_flags & inspect.CO_VARARGS:  # by keyword only: behind all others
        given += list(kwargs.values())[: code.co_kwonlyargcount]
    places = [k for k, v in enumerate(given) if k not in regard.fixed and _varies(v)]
    numbers = _inside(given, regard)
    if regard.free.issuperset(places) and regard.inside.issuperset(numbers):
        return regard
    free, inside = regard.free.union(places), regard.inside.union(numbers)
    key = signature_of(args, kwargs, regard._replace(free=free, inside=inside))[0]
    key = key[:-1] if type(key[-1]) is tuple else key  # whichever of them are one
    values = (*[_content(given[k]) for k in places], *numbers.values())
    before = seen.get(key, values)
    keep(seen, key, values, MAX_SEEN)
    pairs = zip([*places, *numbers], before, values)
    moved = [place for place, old, new in pairs if not same(old, new)]
    free = regard.free.union([place for place in moved if type(place) is int])
    inside = regard.inside.union([place for place in moved if type(place) is tuple])
    return regard._replace(free=free, inside=inside)


def _inside(given: list[Any], regard: Regard) -> dict[tuple[Any, ...], Any]:
    """The numbers inside of arguments that may be free, by path."""
    found: dict[tuple[Any, ...], Any] = {}
    if len(regard.inside) + len(regard.fixed) > MAX_INSIDE:  # trees of ever other forms, say
        return found
    for position, value in enumerate(given):
        if not plain(value) and not is_a(value, Handle):
            found.update(numbers_inside(value, position))
    return {path: number for path, number in found.items() if path not in regard.fixed}


def _varies(value: Any, level: int = 0) -> bool:
    """Whether an argument is a number, or may hold lists of numbers."""
    kind = type(value)
    if listable(value) or level > MAX_DATA_LEVEL:
        return listable(value)
    if kind is dict or is_tuple(value):
        inside = dict.values(value) if kind is dict else tuple.__iter__(value)
        return any([_varies(item, level + 1) for item in inside if not plain(item)])
    if plain(value) or is_a(value, Handle):
        return level == 0 and (kind is int or kind is float or is_scalar(value))
    structure = structure_of(value)
    return structure is not None and any([_varies(part, level + 1) for part in structure.parts])


def _content(value: Any) -> Any:
    """A number, or all that a signature says of something that holds lists."""
    number = is_number(value) or is_scalar(value)
    return value if number else signature_of((value,), {}, Regard())[0]


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
    looked = "content" in falls or bool(watch.walked)
    if looked and not regard.prepares and not regard.content and SUPPORTED:
        return regard._replace(prepares=True)
    fixed = fixed if served else fixed | watch.walked
    wanted = Regard(
        regard.content or "content" in falls,
        regard.identity or "identity" in falls,
        regard.free - fixed,
        fixed,
        regard.prepares,
        regard.inside - fixed,
    )
    if wanted == regard:
        return None
    differs = signature_of(args, kwargs, wanted)[0] != signature_of(args, kwargs, regard)[0]
    return wanted if differs else None
