"""What a comprehension goes over: the containers behind an iterator of Python's own.

Invariant: asking moves no iterator and runs no code of a user.
"""

from __future__ import annotations

import types
from typing import Any

from .allowlist import BOXES, VIEWS, is_a, plain

__all__ = ["Zipped", "walk_of"]

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
