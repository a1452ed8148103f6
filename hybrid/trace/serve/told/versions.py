"""What is known of each version of a recorded function, as plain records.

Invariant: making them runs no code of a user and changes nothing that a call sees.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ...heap.spelling import spelled
from ...record.wording import Wording
from ..signatures import SignatureState

__all__ = ["Version", "versions_of", "line_of"]

Kind = Literal["native", "deferred", "eager", "pending", "recording"]
_STATES: dict[str, Kind] = {
    "RECORD": "recording",
    "PENDING": "pending",
    "REPLAY": "recording",  # without a plan: its recordings were dropped
    "DEFERRED": "deferred",
    "PIECES": "native",
    "EAGER": "eager",
}
_LINE = re.compile(r"\(([^()\s]+:\d+)(?=\)| in )")


class Version(NamedTuple):
    """How calls of one kind are served.

    `signature`: their arguments in words; `state`: native (a plan is replayed), deferred (Python
    runs, operations in segments), eager, pending (the compiler works on it) or recording;
    `reason`: why it is not native, or what made this version beside others; `line`: the user's line
    of the reason, as 'file.py:12'; `calls`: how many it has served; `guards`: what has to hold for
    a replay, in words.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> for _ in range(5):
    ...     y = double(hybrid.ones(3))
    >>> version = double.versions()[0]
    >>> version.state, version.signature, version.calls
    ('native', 'x: float32[3]', 3)
    """

    signature: str
    state: Kind
    reason: str
    line: str
    calls: int
    guards: tuple[str, ...]

    def __str__(self) -> str:
        reason = f"; {self.reason}" if self.reason else ""
        guards = f", {len(self.guards)} guards" if self.guards else ""
        return f"{self.state}: {self.signature}: {self.calls} calls{guards}{reason}"


def line_of(reason: str) -> str:
    """The user's line that a reason names, or ''."""
    found = _LINE.findall(reason)
    return found[-1] if found else ""


def versions_of(signature: Any, state: SignatureState, names: Sequence[str]) -> list[Version]:
    """The versions of one signature, that which was used last first; `names`: of parameters."""
    text, versions = spelled(signature, names), list[Version]()
    for plan in list(state.plans):
        facts = plan.recording.facts
        wording = Wording(facts)
        guards = tuple([wording.place(key) for key in list(facts.expected)])
        reason = plan.why and f"it {plan.why}"
        if not reason and plan.cause:
            reason = f"recorded beside others because of {plan.cause}"
        versions.append(Version(text, "native", reason, line_of(reason), plan.calls, guards))
    if not versions or state.sealed:  # sealed: what no plan serves runs eagerly
        reason = f"it {state.why}" if state.why else ""
        kind: Kind = "eager" if state.sealed else _STATES[state.state]
        calls = state.calls + state.idle
        versions.append(Version(text, kind, reason, line_of(reason), calls, ()))
    return versions
