"""Switches of the process that change when something is said, never a result.

Invariant: whoever turns a switch puts it back.
"""

from __future__ import annotations

import numpy as np

__all__ = ["SWITCHES"]


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
