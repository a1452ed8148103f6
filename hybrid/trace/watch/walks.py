"""Where data among the arguments of a call goes past the instructions that name it: out of the
iterators of comprehensions, and to whoever gets what a function returns.

Invariant: of an iterator that is not known, all data may come; a receiver is known only if its
frame has its instructions counted, so that what becomes of data in it is looked at as well.
"""

from __future__ import annotations

from types import CodeType, FrameType, GeneratorType
from typing import Any, NamedTuple

from ..bytecode.summary import start_of
from ..heap.allowlist import NUMPY, trusted
from ..heap.data import Carried, carried

__all__ = ["ITERATOR", "Handed", "Receiver", "Walks"]

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


class Receiver(NamedTuple):
    """An instruction of counted code that got a result; `within`: hybrid's own code, which it
    called, got it."""

    code: CodeType
    offset: int
    within: bool


class Handed:
    """By id of the code that returned: the places, None where one is not known."""

    def __init__(self) -> None:
        self.places: dict[int, set[Receiver | None]] = {}

    def note(self, frame: FrameType, counted: set[int]) -> None:
        """A counted frame is left."""
        back, within = frame.f_back, False
        while back is not None and trusted(back.f_code.co_filename):
            if back.f_code.co_filename.startswith((NUMPY, "<frozen")):
                back = None
                break
            back, within = back.f_back, True
        place = None
        if back is not None and id(back) in counted:
            place = Receiver(back.f_code, start_of(back.f_code, back.f_lasti), within)
        self.places.setdefault(id(frame.f_code), set()).add(place)
