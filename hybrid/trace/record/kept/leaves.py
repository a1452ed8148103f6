"""Leaves of terms that a replay can read: places, lengths, objects, states of arrays.

Invariant: reading one runs no code of a user and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ....core.aval import Aval
from ....ir.door.bind import scalar_maker
from ...heap.data import copier
from ...heap.facts import Holder, Key, fetch

__all__ = ["ArrayBehind", "Counted", "HeldObject", "LoadedNumber", "NumberOperand", "behind"]


class LoadedNumber(NamedTuple):
    """A place whose number a replay reads, and the exact type it must have."""

    key: Key
    holder: Holder
    type: type

    def place(self) -> Any:
        """What is equal for the same place."""
        return "place", self.key, self.type

    def now(self) -> Any:
        """The number that is there."""
        return fetch(self.key.kind, self.holder.get(), self.key.key)


class Counted(NamedTuple):
    """A list whose length a replay reads."""

    owner: Holder

    def place(self) -> Any:
        """What is equal for the same list."""
        return "length", self.owner.id

    def now(self) -> int:
        """How long it is."""
        return len(self.owner.get())


class HeldObject(NamedTuple):
    """An object that a call of Python's own world gets, or a list or tuple of numbers that a replay
    reads."""

    owner: Holder

    def place(self) -> Any:
        """What is equal for the same object."""
        return "object", self.owner.id

    def now(self) -> Any:
        """The object."""
        return self.owner.get()


class NumberOperand(NamedTuple):
    """A number that an operation takes as an input of the graph: the term that gives it, its exact
    type, and the record of the tensor."""

    term: Any
    type: type
    aval: Aval

    def maker(self) -> Callable[[Any], Any]:
        """Makes the tensor of a number, with the bits of its literal; OverflowError where there is
        none."""
        if issubclass(self.type, (np.ndarray, np.generic)):
            return copier(self.aval)
        return scalar_maker(self.type, self.aval)


def behind(array: Any, key: Any, value: Any) -> Any:
    """A copy of an array, with this value stored."""
    copied = array.copy()
    copied[key] = value
    return copied


class ArrayBehind:
    """An array behind the last of so many `stores` to it: `operands` are the array before that one,
    the key and the value.  It is made once in a call."""

    __slots__ = ("ident", "operands", "stores")

    def __init__(self, ident: int, stores: int, operands: tuple[Any, Any, Any]) -> None:
        self.ident, self.stores, self.operands = ident, stores, operands

    def place(self) -> Any:
        """What is equal for the same state of the same array."""
        return "array", self.ident, self.stores
