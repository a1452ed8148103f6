"""Switches of the process that change when something is said or tidied up, never a result.

Invariant: whoever turns a switch puts it back, whatever threads overlap; in a forked child, in
which these are not, it is back.
"""

from __future__ import annotations

import gc
import os
import threading

import numpy as np

__all__ = ["SWITCHES", "UNCOLLECTED"]


class _Switches:
    """`wait`: how many scopes ask that every call which may fail is waited for; native code reads
    it in `words`."""

    __slots__ = ("words",)

    def __init__(self) -> None:
        self.words = np.zeros(1, np.int64)

    @property
    def wait(self) -> int:
        return int(self.words[0])

    @wait.setter
    def wait(self, count: int) -> None:
        self.words[0] = count


SWITCHES = _Switches()


class _Uncollected:
    """Scope without collections: each would look at all objects of the program once more.

    >>> with UNCOLLECTED:
    ...     gc.isenabled()
    False
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._enabled = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._enabled = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._enabled:
                gc.enable()

    def renew(self) -> None:
        """In a forked child."""
        if self._inside and self._enabled:
            gc.enable()
        self._lock, self._inside = threading.Lock(), 0


UNCOLLECTED = _Uncollected()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=UNCOLLECTED.renew)
