"""What recording and finding out may cost: every constant of it, and the account of one function.

Invariant: what is free is free in the first YOUNG calls: START recordings with the code compiled
for them and calls that find out which way is faster, for FREE seconds, and ALLOWANCE behind that
(the first EARLY recordings are free whenever they come); what more of it there is stays below a
share (SHARE) of the time that calls take eagerly, and what replays have saved of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from ...ir.door.resolved import MAKING

__all__ = [
    "Priced",
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
# Calls of a function that are its start-up: what is free is free in these, and later plans for
# other facts than those of three plans have to pay for themselves.
YOUNG = 100
# Seconds that may go into recordings after that while nothing is paid back: what nobody notices.
# What the start-up left of it, and of the share, lapses.
ALLOWANCE = 0.2
# Of the time that all calls would take eagerly, what may go into recordings besides.
SHARE = 0.05
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


class Nesting(Protocol):
    """What is known of calls of a function inside of others of it."""

    met: bool

    @property
    def depth(self) -> int:
        """How many eager ones of this thread are inside of each other."""


class Reporting(Protocol):
    """What is told once that a signature of a function was met again."""

    def came_again(self) -> None:
        """It was accepted, or given up."""


class Budget:
    """The account of one function; seconds by `CLOCK`.

    `free`: on what is, `spent` on the rest, `eager` in `calls` eager ones (of that `making` for
    kernels, and `plain` in those `others` that made none), `replayed` in `timed` replays; `recent`
    on all recordings for the latest `versions` (both halved with each version); `refused`: calls
    that were not recorded because the account did not allow it; `inside`: on calls of the function
    inside of the one under way; `general`: how many first plans for many sizes were made; `trial`:
    what calls on trial cost lately, `guessed`: those made before an eager one; `outer`: calls that
    are neither replays nor inside of others; `replays`: those that are known of; `unseen`: eager
    calls that nobody looked at; `left`: of ALLOWANCE, once the start-up is over, and what there was
    of `eager` and of calls without time then (`since`); `inner`: of the function; `around`: the
    account of the one that it is a part of, with whose start-up its own ends; `origin`: what waits
    for the news that a signature came again."""

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
        "outer",
        "replays",
        "unseen",
        "left",
        "trial",
        "plain",
        "others",
        "guessed",
        "since",
        "inner",
        "around",
        "origin",
    )

    def __init__(self) -> None:
        self.inner: Nesting | None = None
        self.around: Budget | None = None
        self.origin: Reporting | None = None
        self.recordings = self.calls = self.timed = self.refused = self.general = 0
        self.free = self.spent = self.eager = self.replayed = self.recent = self.versions = 0.0
        self.inside = self.making = self.trial = self.plain = 0.0
        self.outer = self.replays = self.unseen = self.others = self.guessed = 0
        self.left: float | None = None
        self.since = 0.0, 0

    def enter(self) -> float:
        """A call begins; give the result to `leave`."""
        outer, self.inside = self.inside, 0.0
        return outer

    def leave(self, outer: float, seconds: float) -> float:
        """A call has ended: its seconds without those of calls of the function inside of it, which
        have an account of their own."""
        own, self.inside = max(seconds - self.inside, 0.0), outer + seconds
        return own

    def allows(self, replays: int, ahead: int = 0) -> bool:
        """Whether one more recording is paid for; a replay counts as the eager call that it is
        instead of.  `ahead`: behind the start-up, how many versions have to be paid for before: one
        at first sight, none where calls would have paid for it by now, and one less where the first
        recording of two was made."""
        self.replays = max(self.replays, replays)
        if self._is_free(self.recordings + 1):
            return True
        limit = self._limit()
        return self.spent + (0 if self.is_young else ahead) * self._version <= limit

    def affords(self, replays: int) -> bool:
        """The same for a further size of what was recorded, which is not free and has no price
        beforehand, but soon pays."""
        self.replays = max(self.replays, replays)
        return self.spent <= self._limit() + ALLOWANCE

    @property
    def is_young(self) -> bool:
        """Whether this is the start-up."""
        if self.left is not None or (self.around is not None and not self.around.is_young):
            return False
        nests = self.inner is not None and self.inner.met  # replays may be calls inside of others
        return self.outer + self.unseen + (0 if nests else self.replays) < YOUNG

    @property
    def _saved(self) -> float:
        """Seconds that replays have saved."""
        return self.replays * self.gain() if self.timed else 0.0

    def _limit(self) -> float:
        """How much may have been spent by now."""
        self._settle()
        eager, count = self.since
        calls = self.eager - eager + (self.replays + self.unseen - count) * self.usual
        share = SHARE * max(calls, 0.0)  # calls of a nap that was cut short have not come
        return (ALLOWANCE if self.left is None else self.left) + share + self._saved

    def _settle(self) -> None:
        """Where the start-up is over, have what it left lapse."""
        if self.left is None and not self.is_young:
            self.left = min(max(self.spent - self._saved, 0.0), ALLOWANCE)
            self.since = self.eager, self.replays + self.unseen

    def went(self) -> None:
        """Note one more call that is no replay."""
        self.outer += self.inner is None or not self.inner.depth
        self._settle()

    def _is_free(self, number: int) -> bool:
        """Whether a recording, counted from one, costs nothing."""
        if number <= EARLY:
            return True
        return number <= START and self.free <= FREE and self.is_young

    @property
    def _version(self) -> float:
        """Seconds that one more version is likely to take."""
        return self.recent / self.versions if self.versions else self.recent

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
        self.went()

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
        self.met_again()
        self.recent, self.versions = self.recent / 2, self.versions / 2 + 1

    def met_again(self) -> None:
        """A signature was accepted, or given up."""
        if self.origin is not None:
            self.origin.came_again()
            self.origin = None

    def served(self, seconds: float) -> None:
        """A call was replayed."""
        self.replayed += seconds
        self.timed += 1

    def may_try(self, replays: int) -> bool:
        """Whether one more call that finds out which way is faster is paid for."""
        self.replays = max(self.replays, replays)
        if self.is_young and self.free <= FREE:
            return True
        return self.spent + self.trial <= self._limit()

    def tries(self, seconds: float, making: float = 0.0, replay: bool = False) -> None:
        """A call took a way that is on trial: what that cost beyond an eager call, or saved;
        `replay`: it counts as one."""
        more = seconds - min(making, seconds) - self.usual
        self.guessed += not self.calls
        self.trial = max(self.trial + more, 0.0) / 2
        if self.free <= FREE and self.is_young:
            self.free += max(more, 0.0)
        else:
            self.spent = max(self.spent + more, 0.0)
        if not replay:
            self.went()

    def ran(self, seconds: float, making: float = 0.0) -> None:
        """A call ran eagerly; `making`: seconds in which it made kernels, as no later one does."""
        self.eager += seconds
        self.making += min(making, seconds)
        self.calls += 1
        if not making:
            self.plain += seconds
            self.others += 1
        if self.guessed:  # of calls on trial it was not known what they take eagerly
            self.free = max(self.free - self.guessed * self.usual, 0.0)
            self.trial = max(self.trial - self.usual, 0.0)
            self.guessed = 0
        self.went()

    @property
    def usual(self) -> float:
        """Seconds of an eager call whose kernels are there: what else is new where they are not
        counts for nothing, if there was another one."""
        if self.others:
            return self.plain / self.others
        return (self.eager - self.making) / self.calls if self.calls else 0.0


class Priced:
    """Scope of a call that is put on an account: as an eager one, or one that `tries` a way; see
    `Budget.tries` for `replay`."""

    __slots__ = ("account", "replay", "tries", "outer", "made", "start")

    def __init__(self, account: Budget, tries: bool, replay: bool = False) -> None:
        self.account, self.tries, self.replay = account, tries, replay
        self.outer = self.made = self.start = 0.0

    def __enter__(self) -> None:
        self.outer, self.made, self.start = self.account.enter(), MAKING.total, CLOCK[0]()

    def __exit__(self, *exception: Any) -> None:
        seconds = self.account.leave(self.outer, CLOCK[0]() - self.start)
        making = MAKING.total - self.made
        if self.tries:
            self.account.tries(seconds, making, self.replay)
        else:
            self.account.ran(seconds, making)
