"""Who took and gave back memory, and when: what `hybrid.cuda.memory_snapshot` draws.

Invariant: nothing is noted, and taking memory costs one test more, unless somebody watches; at most
LIMIT events are kept, the latest.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from ....core.errors import Site
from ....core.sites import user_site

__all__ = ["TimedEvent", "History", "LIMIT"]

LIMIT = 1 << 18


class TimedEvent(NamedTuple):
    """A block that was taken (`nbytes` positive) or came back (negative), when, and by which line
    of the program."""

    seconds: float
    address: int
    nbytes: int
    site: Site | None


class History:
    """What happened to the blocks of a pool while it was watched."""

    def __init__(self) -> None:
        self.events: deque[TimedEvent] = deque(maxlen=LIMIT)
        self.watched: list[bool] = []  # true while it holds something: others hold this list

    def start(self) -> None:
        """Watch; what was noted before is forgotten."""
        self.events.clear()
        self.watched[:] = [True]

    def stop(self) -> None:
        """Watch no more; what was noted stays."""
        self.watched.clear()

    def taken(self, address: int, nbytes: int) -> None:
        """Note that a block was handed out."""
        self.events.append(TimedEvent(time.perf_counter(), address, nbytes, user_site()))

    def freed(self, address: int, nbytes: int) -> None:
        """Note that a block came back."""
        self.events.append(TimedEvent(time.perf_counter(), address, -nbytes, None))
