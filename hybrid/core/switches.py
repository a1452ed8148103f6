"""Switches of the process that change when something is said, never a result.

Invariant: whoever turns a switch puts it back.
"""

from __future__ import annotations

__all__ = ["SWITCHES"]


class _Switches:
    """`wait`: how many scopes ask that every call which may fail is waited for."""

    __slots__ = ("wait",)

    def __init__(self) -> None:
        self.wait = 0


SWITCHES = _Switches()
