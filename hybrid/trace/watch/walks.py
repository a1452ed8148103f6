"""What the iterators of comprehensions give, as far as data among the arguments of a call is among
it.

Invariant: of an iterator that is not known, all data may come.
"""

from __future__ import annotations

from types import CodeType, GeneratorType
from typing import Any

from ..heap.data import Carried, carried

__all__ = ["ITERATOR", "Walks"]

ITERATOR = ".0"  # the variable of a comprehension that it walks
_WALKERS: tuple[type, ...] = (type(iter([])), type(iter(())), type(reversed([])))
_OF_TUPLES = (zip, enumerate)
_DICTS: tuple[type, ...] = (type(iter({}.values())), type(iter({}.items())), type(iter({})))


class Walks:
    """`given`: what the iterators of comprehensions gave, by id of the code."""

    def __init__(self) -> None:
        self.given: dict[int, set[tuple[int, int]]] = {}
        self._iterators: dict[int, tuple[Any, bool]] = {}  # by id, and whether they give any

    def carries(self, code: CodeType, names: dict[str, Any], data: dict[int, Any]) -> bool:
        """Whether a comprehension that is entered walks an iterator that may give data."""
        if ITERATOR not in names:
            return False
        iterator = names[ITERATOR]
        if id(iterator) not in self._iterators:  # a generator is entered again for each item
            found = walked(iterator, data).levels
            self._iterators[id(iterator)] = iterator, bool(found)
            self.given.setdefault(id(code), set()).update(found)
        return self._iterators[id(iterator)][1] or type(iterator) is GeneratorType


def walked(iterator: Any, data: dict[int, Any]) -> Carried:
    """The data that an iterator gives, which has not begun; of one that is not known, all."""
    found = Carried(set())
    if type(iterator) is GeneratorType:
        return found  # what it gives is seen
    parts = _given_by(iterator)
    if parts is None:
        found.levels.update((ident, level) for ident in data for level in (1, 2))
    else:
        found.levels.update((i, level + 1) for i, level in carried(parts, data).levels)
    return found


def _given_by(iterator: Any) -> list[Any] | None:
    """What an iterator gives; None where that is not known."""
    cls = type(iterator)
    if any(cls is kind for kind in (*_WALKERS, *_DICTS)):
        held = iterator.__reduce__()[1]
        return list(held[0]) if held else []
    if any(cls is kind for kind in _OF_TUPLES):
        inner = [_given_by(part) for part in iterator.__reduce__()[1] if type(part) is not int]
        return None if None in inner else inner
    return [] if cls is type(iter(range(0))) else None
