"""Accepted recordings and the state of each signature of a recorded function.

Invariant: a recording, and the fast way made from it, is dropped when an object that its facts name
dies.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..heap.facts import Holder
from ..record.recording import Recording
from .executor import Run
from .prepare import Prepared
from .served import Served

__all__ = ["Plan", "Entry", "distinct", "dropper"]

SHOWN = 40  # facts that `explain` lists of a plan


class Plan:
    """An accepted recording ready to run; `served` is its fast way, made at the first replay."""

    __slots__ = ("recording", "guard", "run", "served", "bare", "why")

    def __init__(self, recording: Recording, run: Run, bare: bool) -> None:
        assert recording.guard is not None
        self.recording, self.guard = recording, recording.guard.function
        self.run, self.bare = run, bare
        self.served: Served | None = None
        self.why = ""  # what went wrong when the fast way was made

    def connect(self, caps: tuple[Any, ...], replays: int) -> Served | None:
        """The fast way, now that the guard has found the captures; None where there is none.

        `replays`: how many calls the function has served so far."""
        if self.served is None and isinstance(self.run, Prepared):
            self.served = Served(self.run, caps)
        elif self.served is not None:
            self.served.refresh(caps, replays)
        return self.served if self.served is not None and self.served.entry is not None else None


class Entry:
    """State of one signature: RECORD -> REPLAY or EAGER."""

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
        "__weakref__",
    )

    def __init__(self) -> None:
        self.state, self.why, self.text = "RECORD", "", ""
        self.plans: list[Plan] = []
        self.pending: list[Recording] = []
        self.fails = self.effects = self.misses = self.excuses = 0
        self.mark = -1  # replays of the function when this signature was last recorded
        self.objects: list[Holder] = []

    def forget(self) -> None:
        """Drop recordings that refer to an object which died."""
        self.plans = [p for p in self.plans if not p.recording.dead]
        self.pending = [r for r in self.pending if not r.dead]

    def lines(self, number: int) -> list[str]:
        """What `Function.explain` says about this signature."""
        why = f"; it {self.why}" if self.why and self.state != "REPLAY" else ""
        out = [f"signature {number}: {self.state}{why}"]
        if self.text:
            out.append(f"  recorded again because: {self.text}")
        for p in self.plans:
            r = p.recording
            out.append(
                f"  plan: {len(r.graph.nodes)} operations, {r.captures} captured tensors, "
                f"{len(r.writes)} state writes, {r.guard.count if r.guard else 0} guards"
            )
            out += [f"    it {p.why}"] if p.why else []
            out += [f"    {r.place(k)}" for k in list(r.expect)[:SHOWN]]
            if len(r.expect) > SHOWN:
                out.append(f"    and {len(r.expect) - SHOWN} more")
        return out


def distinct(tensors: list[Any], caps: tuple[Any, ...]) -> bool:
    """Whether arguments and captures are as many objects as when recorded (no new aliases)."""
    return len({*map(id, tensors), *map(id, caps)}) == len(tensors) + len(caps)


def dropper(entry: Entry, owned: Any) -> Callable[[Recording], Callable[[Any], None]]:
    """For a recording: the callback that drops it when an object that its facts name dies."""
    table, owner = weakref.ref(entry), weakref.ref(owned)

    def of(r: Recording) -> Callable[[Any], None]:
        mine = weakref.ref(r)

        def dead(_: Any) -> None:
            rec, e, f = mine(), table(), owner()
            if rec is not None:
                rec.dead = True
            if e is not None:
                e.forget()
            if f is not None:
                f._fast = None  # it may be this recording's

        return dead

    return of
