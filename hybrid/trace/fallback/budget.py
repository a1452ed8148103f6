"""What recording may cost: every constant of it, and the account of one function.

Invariant: of n calls of a function at most START recordings, and the code compiled for them, are
free; what more of them cost stays below a tenth (SHARE) of the time of its calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Budget", "CLOCK", "START", "SHARE", "GIVE_UP", "EFFECTS", "EXCUSES", "AGAIN"]

# Recordings of a function that cost whatever they cost: two for each of 64 kinds of calls.
START = 128
# Of the time that all calls take, or would take eagerly, what may go into recordings after that.
SHARE = 0.1
# Recordings of one signature in a row that agree with none before: six tell apart a cache that
# fills, an optimizer that makes its state, a flag that alternates, and what never does the same.
GIVE_UP = 6
# Recordings in a row with an effect: the first may be an import, a warning, a file that is opened.
EFFECTS = 2
# Recordings that other threads or signal handlers disturbed, before they count.
EXCUSES = 50
# Eager calls after which a signature that was given up is recorded again, if the account allows:
# what stood against it may be gone.  Doubled each time, so that n calls have log2(n / AGAIN) tries.
AGAIN = 1000

CLOCK: list[Callable[[], float]] = [time.perf_counter]  # tests count instead


class Budget:
    """The account of one function; seconds by `CLOCK`."""

    __slots__ = ("recordings", "spent", "eager", "calls")

    def __init__(self) -> None:
        self.recordings = self.calls = 0
        self.spent = self.eager = 0.0  # on recordings after the first START; in eager calls

    def allows(self, replays: int) -> bool:
        """Whether one more recording is paid for; a replay counts as the eager call that it is
        instead of."""
        if self.recordings < START:
            return True
        call = self.eager / self.calls if self.calls else 0.0
        return self.spent <= SHARE * (self.eager + replays * call)

    def recorded(self, seconds: float) -> None:
        """A call was recorded."""
        self.recordings += 1
        self.compiled(seconds)

    def compiled(self, seconds: float) -> None:
        """A recording was compiled beside the calls."""
        if self.recordings > START:
            self.spent += seconds

    def ran(self, seconds: float) -> None:
        """A call ran eagerly."""
        self.eager += seconds
        self.calls += 1
