"""The state of each signature of a recorded function.

Invariant: a recording, and the native way made from it, is dropped when an object that its facts
name dies.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Literal

from ...core.precision import MATMUL
from ..heap.facts import Holder
from ..record.recording import Life, Recording
from ..record.wording import Wording
from .background import Work
from .deferred import Deferral
from .plans import ReplayPlan

__all__ = ["SignatureState", "dropper", "follow_mode"]

SHOWN = 40  # facts that `explain` lists of a plan


class SignatureState:
    """One signature of a recorded function: `state` goes from RECORD to REPLAY, by way of PENDING
    where `work` is compiled beside its calls, or to DEFERRED or EAGER where Python has to run.

    `idle`: calls since it was given up, `patience`: after how many it is tried again (0: never)."""

    __slots__ = (
        "state",
        "plans",
        "pending",
        "fails",
        "effects",
        "why",
        "objects",
        "text",
        "misses",
        "mark",
        "excuses",
        "deferral",
        "work",
        "idle",
        "patience",
        "__weakref__",
    )

    def __init__(self) -> None:
        self.state: Literal["RECORD", "PENDING", "REPLAY", "DEFERRED", "EAGER"] = "RECORD"
        self.deferral: Deferral | None = None  # how calls are run in the state DEFERRED
        self.why = self.text = ""
        self.plans: list[ReplayPlan] = []
        self.pending: list[Recording] = []
        self.fails = self.effects = self.misses = self.excuses = 0
        self.work: Work | None = None
        self.idle = self.patience = 0
        self.mark = -1  # replays of the function when this signature was last recorded
        self.objects: list[Holder] = []

    @property
    def how(self) -> str:
        """What a message about eager calls adds."""
        deferred = self.state == "DEFERRED"
        return "; its operations run in fused segments between the reads" if deferred else ""

    def forget(self) -> None:
        """Drop recordings that refer to an object which died."""
        self.plans = [plan for plan in self.plans if not plan.recording.life.dead]
        self.pending = [recording for recording in self.pending if not recording.life.dead]

    def lines(self, number: int) -> list[str]:
        """What `Function.explain` says about this signature."""
        why = f"; it {self.why}" if self.why and self.state != "REPLAY" else ""
        out = [f"signature {number}: {self.state}{why}"]
        if self.deferral is not None:
            out.append(f"  {self.deferral}")
        if self.text:
            out.append(f"  recorded again because: {self.text}")
        for plan in self.plans:
            recording = plan.recording
            facts = recording.facts
            out.append(
                f"  plan: {len(recording.graph.nodes)} operations, "
                f"{recording.captures} captured tensors, "
                f"{len(recording.outcome.writes)} state writes, {plan.count} guards"
            )
            out += [f"    it {plan.why}"] if plan.why else []
            wording = Wording(facts)
            out += [f"    {wording.place(key)}" for key in list(facts.expected)[:SHOWN]]
            if len(facts.expected) > SHOWN:
                out.append(f"    and {len(facts.expected) - SHOWN} more")
        return out


def dropper(state: SignatureState, function: Any, life: Life) -> Callable[[Any], None]:
    """The callback that drops a recording when an object that its facts name dies."""
    # weak: what the callback is kept by is kept by the state, and the state by the function
    table, owner = weakref.ref(state), weakref.ref(function)

    def dead(_: Any) -> None:
        life.dead = True
        found, decorated = table(), owner()
        if found is not None:
            found.forget()
        if decorated is not None:
            decorated._direct = None  # it may be this recording's

    return dead


_FOLLOWING: weakref.WeakSet[Any] = weakref.WeakSet()


def follow_mode(function: Any) -> None:
    """Have a function look at the signature of its next call, which holds the mode, whenever the
    mode of the process changes."""
    _FOLLOWING.add(function)


def _forget() -> None:
    for function in list(_FOLLOWING):
        function._direct = None


MATMUL.listeners.append(_forget)
