"""Who records now, and whether other threads ran recorded functions meanwhile.

Invariant: one thread records at a time (the watch needs the collector's young generation for
itself).  Each change here is a few stores without a call between them, so that neither another
thread nor a signal's handler finds half of it; nothing waits for ever.
"""

from __future__ import annotations

import threading
import time
from typing import Any

__all__ = ["Turn", "TURN", "Runs", "RUNS"]

PATIENCE = 5.0  # seconds that a call waits for a recording of the same function, and the reverse


class Turn:
    """The right to record: `owner` is the thread that has it, or 0, `function` what it records."""

    __slots__ = ("owner", "function")

    def __init__(self) -> None:
        self.owner, self.function = 0, None

    def take(self, function: Any) -> bool:
        """Get the turn if nobody has it; given back by ``TURN.owner = 0``."""
        thread = threading.get_ident()
        if self.owner:
            return False
        self.owner, self.function = thread, function
        return True

    def others_go_on(self) -> None:
        """The recorded call may wait for another thread: nobody waits for its end any longer."""
        self.function = None

    def wait(self, function: Any) -> bool:
        """Wait while another thread records this function; false when that takes too long."""
        limit = time.monotonic() + PATIENCE
        while self.function is function and self.owner != threading.get_ident():
            if time.monotonic() > limit:
                return False
            time.sleep(1e-3)
        return True

    def renew(self) -> None:
        """In the child of a fork: nobody records."""
        self.owner, self.function = 0, None


class Runs:
    """Counts of eager calls beside a recording, of one function or (RUNS) of all."""

    __slots__ = ("begun", "ended")

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def settle(self) -> bool:
        """Wait until no such call is under way; false when that takes too long."""
        limit = time.monotonic() + PATIENCE
        while self.begun > self.ended:
            if time.monotonic() > limit:
                return False
            time.sleep(1e-3)
        return True

    def mark(self) -> tuple[int, int]:
        """What `overlapped` compares."""
        return self.begun, self.ended

    def overlapped(self, mark: tuple[int, int]) -> bool:
        """Whether such a call was under way at the mark, or began after it."""
        return mark[0] != mark[1] or self.begun != mark[0]

    def renew(self) -> None:
        """In the child of a fork: other threads' calls are gone."""
        self.ended = self.begun


TURN, RUNS = Turn(), Runs()
