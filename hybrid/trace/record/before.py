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
from ..watch.events import Watch
from .compare import alike, continues
from .expected import GONE
from .recorder import Recorder
from .recording import Recording
from .wording import Wording

__all__ = ["Before"]

SETTLES = 2  # recordings that a signature takes, where nothing moves
MAX_DRAWN = 32  # the same where random numbers are drawn, whose truths come again
MAX_CONDITIONAL = 4  # recordings of one way, after which further truths of numbers take two each


class Before(NamedTuple):
    """`held`: earlier recordings whose facts hold; `relatives`: those of calls with other extents;
    `places`: what the places of all earlier ones hold; `signature` of the call; `grad`: whether
    gradients are recorded; `moved`: places that earlier recordings found with other content;
    `known`: all earlier recordings of the signature that are kept."""

    held: list[Recording]
    places: dict[Key, Any]
    signature: Any
    grad: bool
    moved: frozenset[Key]
    relatives: list[Recording]
    known: list[Recording]

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
        held, near = list[Recording](), list[Recording]()
        places, moved = dict[Key, Any](), set[Key]()
        known: list[tuple[Recording, list[Recording] | None]] = [(r, held) for r in pending]
        known += [(plan.recording, None) for plan in plans] + [(r, near) for r in relatives]
        for recording, holding in known:
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
        return cls(held, places, copied, grad, frozenset(moved), near, ways)

    def relative_of(self, recording: Recording) -> Recording | None:
        """One of the relatives that a recording is like, whose facts hold after the call as
        well."""
        steady = [other for other in self.relatives if other.facts.broken() is None]
        return next((other for other in steady if alike(recording, other)), None)

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
            watch.why("changes the content of an argument that is a NumPy array")
            watch.falls.add("content")
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
