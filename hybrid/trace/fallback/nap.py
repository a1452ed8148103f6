"""Calls of a function that runs eagerly whatever comes, without a look at their signatures.

Invariant: only where the look costs more than it brings (calls of less than WORTH seconds, or
inside of others, almost none of which is served otherwise), and never for long: REST calls, at most
MAX_REST.
"""

from __future__ import annotations

__all__ = ["InnerCalls", "Nap", "MAX_REST", "UNCOUNTED"]

STREAK = 32  # eager calls, less WEIGHT for each other one, before the first nap
WEIGHT = 8
LOOKS = 2  # calls that are looked at between naps
REST, MAX_REST = 32, 256  # calls of a nap: doubled each time
POOR = 4  # eager calls most of whose inner calls are not served, before those are not looked at
UNCOUNTED = 1 << 40  # more calls than there are in one
WORTH = 1e-4  # seconds of a call that a look at its signature is small beside


class Nap:
    """`slept`: calls of naps since somebody asked (`credit`); `weight`: for how many calls one that
    is looked at stands; `hopeful`: the call that runs now may be recorded when it comes again."""

    __slots__ = ("hopeful", "weight", "slept", "streak", "rest", "others", "least")

    def __init__(self) -> None:
        self.slept = self.streak = self.others = 0
        self.rest, self.weight, self.least, self.hopeful = REST, 1, WORTH, False

    def tire(self, others: int, seconds: float) -> int:
        """A call ran eagerly: how many next ones do so unseen.  `others`: calls so far that did
        not; `seconds`: what it took (the first of a shape takes long, so the least counts)."""
        if self.hopeful:
            self.hopeful = False
            return 0
        self.least = min(self.least, seconds)
        if others != self.others:
            self.streak = max(0, self.streak - WEIGHT * (others - self.others))
            self.others, self.rest, self.weight = others, REST, 1
        self.streak += 1
        if self.streak < STREAK or self.least >= WORTH:
            return 0
        self.streak, self.least = STREAK - LOOKS, WORTH
        rest, self.rest = self.rest, min(2 * self.rest, MAX_REST)
        self.weight = rest // LOOKS
        self.slept += rest
        return rest

    def credit(self) -> int:
        """Calls that nobody looked at, once."""
        slept, self.slept = self.slept, 0
        return slept


class InnerCalls:
    """Whether calls of a function inside of one that runs eagerly (recursion over data, say) are
    looked at: only where most of them are served otherwise, and now and then.

    `poor`: calls in a row in which that was not so; `blind`: how many next ones are not looked
    into; `depth`: how many calls are inside of each other right now."""

    __slots__ = ("poor", "blind", "rest", "depth")

    def __init__(self) -> None:
        self.poor = self.blind = self.depth = 0
        self.rest = REST

    def unlooked(self) -> bool:
        """Note an outermost call; whether those inside of it are not looked at."""
        self.blind -= self.blind > 0
        return self.blind > 0

    def seen(self, eager: int, served: int) -> None:
        """An outermost call has ended: how many inside of it ran eagerly, and how many not."""
        if not eager:
            return
        if served >= eager:
            self.poor, self.rest = 0, REST
            return
        self.poor += 1
        if self.poor >= POOR:
            self.poor = POOR - 1
            self.blind, self.rest = self.rest, min(2 * self.rest, MAX_REST)
