"""Calls of a function that runs eagerly whatever comes, without a look at their signatures.

Invariant: only where the look costs more than it brings (calls of less than WORTH seconds, almost
none of which is served otherwise), and never for long: REST calls, at most MAX_REST.
"""

from __future__ import annotations

__all__ = ["Nap", "MAX_REST"]

STREAK = 32  # eager calls, less WEIGHT for each other one, before the first nap
WEIGHT = 8
LOOKS = 2  # calls that are looked at between naps
REST, MAX_REST = 32, 256  # calls of a nap: doubled each time
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
