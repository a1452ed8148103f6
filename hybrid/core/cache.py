"""Tables that stay small: a mapping bounded in entries and bytes, a bound for plain dicts that hot
paths read, objects held weakly, and what native code has cost.

Invariant: a table never grows past its bounds, whatever a program does, and what is dropped can be
made again.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Bounded", "keep", "Living", "NativeCost", "NATIVE", "until_exit"]

Key = TypeVar("Key")
Value = TypeVar("Value")


def keep(
    table: dict[Key, Value], key: Key, value: Value, most: int, *others: dict[Any, Any]
) -> Value:
    """Put a value into a table of at most `most` entries, which starts anew when it is full, and
    `others`, which hold parts of it, with it.

    The table is a plain dict, so that those who read it pay for nothing but a dict.

    >>> table = {}
    >>> [keep(table, k, str(k), 2) for k in (1, 2, 3)], table
    (['1', '2', '3'], {3: '3'})
    """
    if len(table) >= most:
        for full in (table, *others):
            full.clear()
    table[key] = value
    return value


def until_exit(callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """A callback of weak references that does nothing when the interpreter ends: the names it needs
    may be gone by then.

    >>> until_exit(print)("died")
    died
    """
    ends = sys.is_finalizing

    def call(reference: Any) -> None:
        if not ends():
            callback(reference)

    return call


class Bounded(Generic[Value]):
    """The values used last, at most `entries` of them and about `nbytes` bytes in all.

    >>> kept = Bounded[str](entries=2)
    >>> [kept.of(k, lambda: str(k)) for k in (1, 2, 1, 3)], 1 in kept, 2 in kept
    (['1', '2', '1', '3'], True, False)
    """

    def __init__(
        self, entries: int, nbytes: int = 0, size: Callable[[Value], int] | None = None
    ) -> None:
        self.entries, self.nbytes, self.size = entries, nbytes, size
        self.held = 0  # bytes
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = threading.RLock()  # re-entrant: a value that is dropped may use the table

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made when it is not there."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found[0]
        # made without the lock, as making may take long and use the table: of two threads that make
        # the same value the later one's stays, and the bytes of the earlier one are given back
        value = make()
        cost = self.size(value) if self.size is not None else 0
        with self._lock:
            replaced = self._kept.pop(key, None)
            self._kept[key] = value, cost
            self.held += cost - (replaced[1] if replaced is not None else 0)
            while len(self._kept) > self.entries or (self.nbytes and self.held > self.nbytes):
                _, (_, dropped) = self._kept.popitem(last=False)
                self.held -= dropped
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.held = 0


class Living(Generic[Value]):
    """Those objects that are alive, held weakly: any thread may add one while another one reads,
    which a `weakref.WeakSet` refuses.

    >>> class Thing: pass
    >>> thing, things = Thing(), Living()
    >>> things.add(thing); things.add(Thing()); list(things) == [thing]
    True
    """

    __slots__ = ("_refs",)

    def __init__(self) -> None:
        self._refs: set[weakref.ref[Value]] = set()

    def add(self, value: Value) -> None:
        """Hold an object for as long as it lives."""
        self._refs.add(weakref.ref(value, self._refs.discard))

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Value]:
        for ref in list(self._refs):
            value = ref()
            if value is not None:
                yield value


class NativeCost:
    """Bytes of native code made so far in this process, whether it is still there or not."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = 0


NATIVE = NativeCost()
