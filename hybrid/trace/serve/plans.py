"""An accepted recording ready to run: by the backend's native entry, or in Python.

Invariant: both ways check the same facts first and give the same bits; MISS means that nothing was
changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from weakref import ref

from ...autograd.passes import plan_passes
from ...ir.tensor import Alias
from ..fallback.backward.whole import planned
from ..heap.data import owned
from ..record.guards import Guard, same_guard
from ..record.recording import Recording
from .commit import commit
from .native.facts import NativeFacts, native_facts, shared_captures, still
from .native.needs import needs_of
from .prepare import MISS, Prepared, Run
from .served import Attempts, Served, serve

__all__ = ["Bare", "ReplayPlan", "distinct"]

# whether a call passes distinct tensors and nothing else, and whether gradients are recorded
Bare = Literal["", "taped", "untaped"]

Check = Callable[[list[Any]], tuple[Any, ...] | None]

plan_passes(planned)


class ReplayPlan:
    """`guard` finds the captures of a call, or None; `served` is the native way, made at the first
    replay and again when the native forms of facts fail, and `attempts` how those lasted.
    `bare`: its calls pass distinct tensors and nothing else while gradients are recorded,
    `untaped`: while they are not.
    `untimed`: replays until one is timed, the second: the first makes the native way; `learned`:
    which ways of the function there were, by id, when a way to it was looked for from calls with so
    many arguments and these keywords; `known_paths`: of its signature (paths.py); `other`: one for
    other sizes with the same facts, weakly, and `facts` their native form."""

    __slots__ = (
        "recording",
        "guard",
        "count",
        "run",
        "bare",
        "untaped",
        "served",
        "other",
        "facts",
        "attempts",
        "why",
        "known_paths",
        "calls",
        "cause",
        "untimed",
        "retried",
        "learned",
        "draws",
        "__weakref__",
    )

    def __init__(
        self, recording: Recording, run: Run, bare: Bare, other: ReplayPlan | None = None
    ) -> None:
        self.recording: Recording = recording
        self.guard: Check
        self.count: int
        if other is not None and same_guard(recording, other.recording):
            self.guard, self.count = other.guard, other.count
        else:
            guard = Guard(recording)
            self.guard, self.count = guard.function, guard.count
        self.run, self.bare, self.untaped = run, bare == "taped", bare == "untaped"
        self.other = None if other is None else ref(other)
        self.facts: NativeFacts | None = None
        self.served: Served | None = None
        self.attempts: Attempts | None = None
        self.known_paths: Any = None
        self.cause = ""  # what was other than for the plans before it
        self.calls = 0  # that it served
        self.untimed, self.retried = 2, False  # whether a trial was lost before (trial.py)
        self.learned: dict[tuple[Any, ...], int] = {}
        actions = recording.outcome.actions
        self.draws = actions.first if actions.draws else ()  # calls that are undone with a replay
        self.why = ""  # what went wrong when the native way was made

    def connect(self, inputs: list[Any], replays: int) -> Served | None:
        """Make the native way, now that the guard has found these inputs; None where there is none.

        `replays`: how many calls the function has served so far."""
        if not isinstance(self.run, Prepared):
            return None
        like: Served | None = None
        if self.attempts is None:
            self.run.first()
            like = self._like()
            needs = needs_of(self.recording) if like is None else like.needs
            attempts, native = Attempts(), True
        elif self.served is not None:
            # facts hold, their native forms do not (a dict grew, a module changed)
            attempts, needs = self.attempts, self.served.needs
            native = attempts.failed(replays)
        else:
            return None
        served = None
        if needs is not None:
            attempts.share(inputs, shared_captures(self.recording))
            self.facts = self._native_facts(inputs, attempts.moved) if native else None
            served = serve(self.run, needs, inputs, attempts, self.facts, like)
        self.served, self.attempts = served, attempts
        return served

    def _like(self) -> Served | None:
        """The native way of another size, where the calls do the same with the same tensors."""
        other = None if self.other is None else self.other()
        if other is None or other.guard is not self.guard:
            return None
        mine, its = self.recording, other.recording
        same = mine.outcome.result is its.outcome.result and mine.gradients is its.gradients
        same = same and mine.outcome.stores is its.outcome.stores and mine.taps is its.taps
        tapes = [
            None if tape is None else (tape.kept, tape.needed, tape.inputs, tape.position)
            for tape in (mine.tape, its.tape)
        ]
        return other.served if same and tapes[0] == tapes[1] else None

    def _native_facts(self, inputs: list[Any], moved: set[int]) -> NativeFacts | None:
        """The native form of the facts; that of another size's, where they are the same."""
        other = None if self.other is None else self.other()
        facts = None if other is None or other.guard is not self.guard else other.facts
        if facts is not None and not moved and still(facts, inputs):
            return facts
        return native_facts(self.recording, inputs, moved)

    def replay(self, inputs: list[Any]) -> Any:
        """One call in Python, whose facts the guard has just found to hold with these inputs."""
        recording = self.recording
        if recording.data:
            inputs = owned(inputs)
        self.forget_views(inputs)
        if any(type(getattr(t, "_x", None)) is Alias for t in recording.written(inputs)):
            return MISS  # eager code refuses this write; let it say so
        values = self.run(inputs)
        if values is MISS:
            return MISS
        tape = recording.start(inputs, values.__getitem__)
        return commit(recording, values, inputs, tape)

    def forget_views(self, inputs: list[Any]) -> bool:
        """Forget views that nobody holds any more of the tensors that a replay writes; whether
        there were any."""
        found = False
        if not self.recording.outcome.writes:
            return found
        for tensor in self.recording.written(inputs):
            alias = getattr(tensor, "_x", None)
            if type(alias) is Alias and alias.base is None and not alias.live_views():
                del tensor._x
                found = True
        return found


def distinct(inputs: list[Any]) -> bool:
    """Whether inputs are as many objects as when recorded (no new aliases)."""
    return len({*map(id, inputs)}) == len(inputs)
