"""What the follower notes of containers in one recorded call.

Invariant: an instruction that did something else in one of its runs is noted so, too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["FreshNotes"]


class FreshNotes:
    """`of_made`: subscripts of containers that the call made and that are followed, `of_others`:
    those of others; `looked_up`: calls that took what an older dict holds at a key: the dict and
    the key."""

    def __init__(self) -> None:
        self.of_made: set[tuple[int, int]] = set()
        self.of_others: set[tuple[int, int]] = set()
        self.looked_up: dict[tuple[int, int], list[tuple[Any, Any]]] = {}
