"""The Python state before a recorded call.

Invariant: facts of a recording count only if those of an earlier one held before the call and still
hold after it; both sides of that comparison are taken here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from ...ir.door import bind as door
from ..follow.terms import is_number
from ..heap.allowlist import MISSING
from ..heap.data import owned, same_content, source_of
from ..heap.facts import Key
from ..heap.lists import listed_at
from ..watch.events import Watch
from .compare import alike, continues, resized
from .expected import GONE
from .recorder import Recorder
from .recording import Recording
from .wording import Wording

__all__ = ["Before"]

SETTLES = 2  # recordings that a signature takes, where nothing moves
MAX_DRAWN = 32  # the same where random numbers are drawn, whose truths come again
LATEST = 4  # recordings of a signature with which one of other sizes is compared
MAX_CONDITIONAL = 4  # recordings of one way, after which further truths of numbers take two each


class Before(NamedTuple):
    """`held`: earlier recordings whose facts hold; `relatives`: those of calls with other extents;
    `places`: what the places of all earlier ones hold; `signature` of the call; `grad`: whether
    gradients are recorded; `moved`: places that earlier recordings found with other content;
    `known`: all earlier recordings of the signature that are kept; `own`: of the latest of them
    those whose facts hold."""

    held: list[Recording]
    places: dict[Key, Any]
    signature: Any
    grad: bool
    moved: frozenset[Key]
    relatives: list[Recording]
    known: list[Recording]
    own: list[Recording]

    @classmethod
    def of(
        cls,
        pending: list[Recording],
        plans: list[Any],
        signature: Any,
        relatives: list[Recording],
    ) -> Before:
        """The state now; of data among the arguments a copy.

        Where several recordings agree with none, each number that they found is taken for one that
        may move."""
        signed, tensors, *more = signature
        held, near, own = list[Recording](), list[Recording](), list[Recording]()
        places, moved = dict[Key, Any](), set[Key]()
        known: list[tuple[Recording, list[Recording] | None]] = [(r, held) for r in pending]
        known += [(p.recording, own if k < LATEST else None) for k, p in enumerate(plans)]
        for recording, holding in [*known, *[(r, near) for r in relatives]]:
            now = recording.facts.now()
            if holding is not None and recording.facts.broken(now=now) is None:
                holding.append(recording)
            elif holding is near:
                continue
            places |= {key: MISSING if value is GONE else value for key, value in now.items()}
            moved.update(recording.facts.moved(now))
            # what one way through branches stores, the others read as it changes
            moved |= {number.key for number in recording.outcome.actions.numbers}
        for recording in pending if len(pending) > SETTLES else ():
            expected = recording.facts.expected
            moved.update([key for key, value in expected.items() if is_number(value)])
        copied = (signed, owned(tensors), *more)
        grad = door.grad_enabled()
        ways = [*pending, *[plan.recording for plan in plans]]
        own += held[-LATEST:]
        return cls(held, places, copied, grad, frozenset(moved), near, ways, own)

    def relative_of(self, recording: Recording) -> Recording | None:
        """One of the relatives that a recording is like, or of the recordings of this signature
        that found tensors of other extents, whose facts hold after the call as well."""
        others = [*self.relatives, *[other for other in self.own if resized(recording, other)]]
        steady = (other for other in others if alike(recording, other))
        return next((other for other in steady if other.facts.broken() is None), None)

    def continued(self, recording: Recording, once: Collection[Any]) -> bool:
        """Whether a recording goes on from a branch of an earlier one in a way that is none of
        those which did so `once`, or with other truths of numbers, or with operands for numbers."""
        others = self.known
        if recording.path in once:
            others = [other for other in others if other.path == recording.path]
            most = MAX_DRAWN if recording.outcome.actions.draws else MAX_CONDITIONAL
            others = others if len(others) <= most else []
        return any(continues(recording, other, self.places) for other in others)

    def check(
        self,
        watch: Watch,
        signature: Any,
        recorder: Recorder,
        dropped: Callable[[Key], bool] | None,
    ) -> None:
        """After the call, note what it changed that its signature or its facts took for granted,
        the facts of earlier calls that went the same way at branches on tensors.

        `dropped`: places that its commit actions change, which are no facts of this call."""
        (signed, tensors, *_), (signed_now, tensors_now, *_) = self.signature, signature
        if door.grad_enabled() != self.grad:
            watch.why("leaves gradient recording switched differently")
        elif signed != signed_now or not all(map(_same, tensors, tensors_now)):
            watch.why("changes an argument's container or its shape")
            watch.falls.add("identity")
        elif not all(map(_unchanged, tensors, tensors_now)):
            watch.why("changes the content of an argument that is data")
            changed = [t for t, now in zip(tensors, tensors_now) if not _unchanged(t, now)]
            watch.walked.update([k for t in changed if (k := listed_at(t)) >= 0])
            watch.falls.update(["content"] if any(listed_at(t) < 0 for t in changed) else [])
        for recording in self.held:
            if recording.path != recorder.path:
                continue
            key = recording.facts.broken(dropped)
            if key is not None:
                watch.why(f"changes {Wording(recording.facts).place(key)} during the call")


def _same(first: Any, second: Any) -> bool:
    return source_of(first) is source_of(second)


def _unchanged(first: Any, second: Any) -> bool:
    return first is second or same_content(first, second)
