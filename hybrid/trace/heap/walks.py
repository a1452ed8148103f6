"""Containers behind objects of Python's own: what a comprehension goes over, and where a function
of `functools.cache` or `lru_cache` keeps its results.

Invariant: asking moves no iterator, counts as no use of a cache, and runs no code of a user.
"""

from __future__ import annotations

import functools
import gc
import types
from typing import Any, Literal, NamedTuple

from ...backends.api import layout
from .allowlist import BOXES, MISSING, VIEWS, is_a, plain, tame_key

__all__ = ["CACHED", "LINK", "Kept", "Zipped", "kept_by", "result_in", "walk_of"]

_OWN = ("builtins", "collections", "_collections")
_JOINED = (zip, enumerate)  # whose items are fresh tuples of items


class Zipped:
    """Containers whose items a comprehension gets side by side, in fresh tuples."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts

    @property
    def known(self) -> bool:
        """Whether all that is gone over can be looked at."""
        kinds = (*BOXES, *VIEWS, types.GeneratorType)  # events tell what a generator gave
        return all(is_a(part, kinds) or plain(part) for part in self.parts)


def _container(iterator: Any) -> Any:
    """The container behind an iterator of a built-in type; another object itself."""
    kind = type(iterator)
    if kind.__module__ not in _OWN or not kind.__name__.endswith("iterator"):
        return iterator
    reduced = iterator.__reduce__()
    return reduced[1][0] if len(reduced) > 1 and reduced[1] else iterator


def walk_of(iterator: Any) -> Any:
    """What the argument of a comprehension goes over."""
    if type(iterator) not in _JOINED:
        return _container(iterator)
    parts = iterator.__reduce__()[1]
    return Zipped(tuple([_container(part) for part in parts]))


# ---- functools.cache and lru_cache
MAX_KEPT = 20_000  # results of one function


@functools.lru_cache(1)
def _probe(number: int) -> int:
    return number


CACHED: Any = type(_probe)


class _Parts(NamedTuple):
    """The dict of results, what stands between arguments and keywords in its keys, and the class of
    its values where their number is bounded."""

    results: dict[Any, Any]
    mark: Any
    link: type


def _parts_of(wrapper: Any) -> _Parts | None:
    """What the collector is told of a wrapper, the last of which are always the same."""
    told = gc.get_referents(wrapper)
    if len(told) < 6 or told[-1] is not wrapper.__dict__ or type(told[-6]) is not dict:
        return None
    return _Parts(told[-6], told[-4], told[-3])


def _link() -> Any:
    """The class of an entry of a bounded cache, by experiment."""
    _probe(1 << 20)
    parts = _parts_of(_probe)
    held = None if parts is None else parts.results.get(1 << 20)
    return type(held) if parts is not None and type(held) is parts.link else None


LINK = _link()


class Kept(NamedTuple):
    """A result that is kept: the dict, its own key there, and what it is."""

    results: dict[Any, Any]
    key: Any
    value: Any


def result_in(held: Any) -> Any:
    """The result in an entry of such a dict; MISSING where it cannot be read."""
    known = layout() if type(held) is LINK else None
    if known is not None:
        return known.kept(held)
    return MISSING if type(held) is LINK else held


def kept_by(
    wrapper: Any, arguments: tuple[Any, ...], named: dict[str, Any]
) -> Kept | Literal["missing"] | None:
    """What a wrapper is going to give for plain arguments; None where that is not known."""
    parts = _parts_of(wrapper) if LINK is not None else None
    if parts is None or type(wrapper) is not CACHED:
        return None
    settings = wrapper.__dict__.get("cache_parameters")
    if type(settings) is not types.FunctionType or settings()["typed"]:
        return None
    results = parts.results
    if len(results) > MAX_KEPT or not all(map(tame_key, results)):
        return None
    key: Any = arguments
    if named:
        key = *arguments, parts.mark, *[part for pair in named.items() for part in pair]
    elif len(arguments) == 1 and type(arguments[0]) in (int, str):
        key = arguments[0]
    if key not in results:
        return "missing"
    own = next((other for other in results if hash(other) == hash(key) and other == key), MISSING)
    value = MISSING if own is MISSING else result_in(results[own])
    return None if value is MISSING else Kept(results, own, value)
