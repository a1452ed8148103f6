"""Classes of which a function gets ever new objects.

Invariant: a class is opened only after objects of it belonged to signatures that served no call,
so that those which live on, and are told apart by identity, stay what they are.
"""

from __future__ import annotations

from typing import Any

from ...core.cache import keep
from .structure import may_open, open_class

__all__ = ["FreshObjects"]

ENOUGH = 2  # objects of a class that served no second call before the class is opened
_MOST = 128  # classes that are remembered


class FreshObjects:
    """How many signatures died, or wait, with an object, by the class of the object."""

    def __init__(self) -> None:
        self.unserved: dict[int, int] = {}

    def note(self, cls: type) -> None:
        """A signature that an object of a class belonged to served no call."""
        if may_open(cls):
            keep(self.unserved, id(cls), self.unserved.get(id(cls), 0) + 1, _MOST)

    def opens(self, objects: list[Any]) -> bool:
        """Have objects of such classes taken by structure; whether one of these is."""
        found = [type(v) for v in objects if self.unserved.get(id(type(v)), 0) >= ENOUGH]
        for cls in found:
            self.unserved.pop(id(cls), None)
            open_class(cls)
        return bool(found)
