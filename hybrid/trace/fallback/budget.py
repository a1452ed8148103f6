"""What recording may cost: every constant of it, and the account of one function.

Invariant: of n calls of a function at most START recordings, and the code compiled for them, are
free, the first EARLY whatever they cost and the others for FREE seconds; what more of them cost
stays below ALLOWANCE, a tenth (SHARE) of the time that its calls take eagerly, and what replays
have saved of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = [
    "Budget",
    "CLOCK",
    "START",
    "FREE",
    "EARLY",
    "ALLOWANCE",
    "SHARE",
    "VERSIONS",
    "YOUNG",
    "FEW",
    "MANY",
    "FAMILIES",
    "UNTRIED",
    "REFUSED",
    "GIVE_UP",
    "EFFECTS",
    "EXCUSES",
    "AGAIN",
]

# Recordings of a function that are free: a step that makes its state, warms up a cache and meets a
# last batch takes eight.
START = 16
# Seconds that they may take, but for those of the first versions, which cost what they cost.
FREE, EARLY = 2.0, 4
# Calls of a function that are its start-up: later plans for other facts than those of three plans
# have to pay for themselves.
YOUNG = 64
# Seconds that may go into recordings after that while nothing is paid back: what nobody notices.
ALLOWANCE = 0.2
# Of the time that all calls would take eagerly, what may go into recordings besides.
SHARE = 0.1
# Versions for signatures that differ in extents, numbers or objects only, made at first sight.
VERSIONS = 3
# As many such signatures are taken for a set that comes again and again: of more, only those are
# recorded whose own calls would have paid for it.
FEW = 64
# As many of them that wait for their turn are worth a message.
MANY = 32
# As many kinds of calls (structures, dtypes, numbers of axes) are recorded at first sight.
FAMILIES = 16
# Calls with one signature after which it is recorded where no version has shown what that brings.
UNTRIED = 8
# Calls in which the account allowed no recording before that is said: it may soon do so again.
REFUSED = 100
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
    """The account of one function; seconds by `CLOCK`.

    `free`: on recordings that are, `spent` on the others, `eager` in `calls` eager ones (of that
    `making` for kernels), `replayed` in `timed` replays; `recent` on all recordings for the latest
    `versions` (both halved with each version); `refused`: calls that were not recorded because the
    account did not allow it; `inside`: on calls of the function inside of the one under way;
    `general`: how many first plans for many sizes were made."""

    __slots__ = (
        "recordings",
        "free",
        "spent",
        "eager",
        "calls",
        "replayed",
        "timed",
        "recent",
        "versions",
        "refused",
        "inside",
        "general",
        "making",
    )

    def __init__(self) -> None:
        self.recordings = self.calls = self.timed = self.refused = self.general = 0
        self.free = self.spent = self.eager = self.replayed = self.recent = self.versions = 0.0
        self.inside = self.making = 0.0

    def enter(self) -> float:
        """A call begins; give the result to `leave`."""
        outer, self.inside = self.inside, 0.0
        return outer

    def leave(self, outer: float, seconds: float) -> float:
        """A call has ended: its seconds without those of calls of the function inside of it, which
        have an account of their own."""
        own, self.inside = max(seconds - self.inside, 0.0), outer + seconds
        return own

    def allows(self, replays: int) -> bool:
        """Whether one more recording is paid for; a replay counts as the eager call that it is
        instead of."""
        return self._is_free(self.recordings + 1) or self.affords(replays)

    def affords(self, replays: int) -> bool:
        """The same for one that is not free."""
        earned = replays * self.gain() if self.timed else 0.0
        return self.spent <= ALLOWANCE + SHARE * (self.eager + replays * self.usual) + earned

    def _is_free(self, number: int) -> bool:
        """Whether a recording, counted from one, costs nothing."""
        return number <= EARLY or (number <= START and self.free <= FREE)

    def gain(self) -> float:
        """Seconds that a replay saves; half a call while none was timed."""
        call = self.usual
        replay = self.replayed / self.timed if self.timed else call / 2
        return max(call - replay, 0.0)

    def pays(self, count: int) -> bool:
        """Whether as many replays as there were calls would have paid for a version."""
        if not self.versions:
            return count >= UNTRIED
        return count * self.gain() >= self.recent / self.versions

    def recorded(self, seconds: float) -> None:
        """A call was recorded."""
        self.recordings += 1
        self.compiled(seconds)

    def compiled(self, seconds: float) -> None:
        """A recording was compiled beside the calls."""
        self.recent += seconds
        if self._is_free(self.recordings):
            self.free += seconds
        else:
            self.spent += seconds

    def filled(self, seconds: float, made: bool = False) -> None:
        """A call was a further size of one that was recorded, and took so much longer than eagerly
        (or less); `made`: the first plan for many sizes of a family was made in it, which is free
        as first versions are."""
        self.general += made
        if made and self.general <= EARLY:
            self.free += seconds
        else:
            self.spent = max(self.spent + seconds, 0.0)

    def accepted(self) -> None:
        """The call that is being recorded gave a version."""
        self.recent, self.versions = self.recent / 2, self.versions / 2 + 1

    def served(self, seconds: float) -> None:
        """A call was replayed."""
        self.replayed += seconds
        self.timed += 1

    def ran(self, seconds: float, making: float = 0.0) -> None:
        """A call ran eagerly; `making`: seconds in which it made kernels, as no later one does."""
        self.eager += seconds
        self.making += min(making, seconds)
        self.calls += 1

    @property
    def usual(self) -> float:
        """Seconds of an eager call whose kernels are there."""
        return (self.eager - self.making) / self.calls if self.calls else 0.0
