"""Tables that stay small: a mapping bounded in entries and bytes, and what native code has cost.

Invariant: a table never grows past its bounds, whatever a program does; the least used go first,
and what is dropped can be made again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Bounded", "NativeCost", "NATIVE"]

V = TypeVar("V")


class Bounded(Generic[V]):
    """The values used last, at most `entries` of them and about `nbytes` bytes in all.

    >>> kept = Bounded[str](entries=2)
    >>> [kept.of(k, lambda: str(k)) for k in (1, 2, 1, 3)], 1 in kept, 2 in kept
    (['1', '2', '1', '3'], True, False)
    """

    def __init__(
        self, entries: int, nbytes: int = 0, size: Callable[[V], int] | None = None
    ) -> None:
        self.entries, self.nbytes, self.size = entries, nbytes, size
        self.held = 0  # bytes
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.RLock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key, made when it is not there."""
        with self._lock:
            got = self._kept.get(key)
            if got is not None:
                self._kept.move_to_end(key)
                return got[0]
        value = make()
        cost = self.size(value) if self.size is not None else 0
        with self._lock:
            old = self._kept.pop(key, None)
            self._kept[key] = value, cost
            self.held += cost - (old[1] if old is not None else 0)
            while len(self._kept) > self.entries or (self.nbytes and self.held > self.nbytes):
                _, (_, gone) = self._kept.popitem(last=False)
                self.held -= gone
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.held = 0


class NativeCost:
    """Bytes of native code made so far in this process, whether it is still there or not."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = 0


NATIVE = NativeCost()
