"""Whether a plan that was made is faster than plain Python: calls of both kinds take turns.

Invariant: both give the same bits, so a trial changes nothing but time.  It is held where the
replay of a small call takes longer than its operations alone would; what loses runs in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from ...ir.door.context import current_mode
from ..fallback.budget import CLOCK, Budget
from ..fallback.deferred import CHOICE
from ..fallback.nap import MAX_REST, become, stands_in
from .signatures import SignatureState, SignatureTable

__all__ = ["OPERATION", "PlanTrial", "Trying", "WAIT", "TURNS", "tried", "verdict"]

OPERATION = 3e-7  # seconds that no eager operation is faster than
LARGE = 1e-3  # seconds of a replay beside which what a call pays for itself is small
WAIT = 32  # replays before a trial: ways are found, caches are filled
SAMPLES = 4  # the last of these, which may show that no trial is needed
TURNS, MOST_TURNS = 8, 16  # calls of each kind
SLOWER = 1.1  # as much longer a replay may take
FEW, CLEARLY = 4, 1.5  # turns, and how much longer eager calls take, after which a trial ends
MOST_WAITS, CLEAR = 12, 3  # doublings of WAIT: one a trial that was won, more if it was clear
MISSES = 4  # turns that no replay served, after which a trial is not held
Call = Callable[..., Any]


def verdict(replays: list[float], eager: list[float]) -> bool | None:
    """Whether replays lose against as many eager calls; None: not known yet.  They lose where the
    fastest, the median and the sum without the slowest say so."""
    pairs = [
        (measure(replays), measure(eager))
        for measure in (min, median, lambda seconds: sum(sorted(seconds)[:-1]))
    ]
    turns = len(eager)
    if turns < TURNS:
        clear = turns >= FEW and all(plain >= CLEARLY * replay for replay, plain in pairs[:2])
        return False if clear else None
    lost = [replay > SLOWER * plain for replay, plain in pairs]
    if all(lost) or turns >= MOST_TURNS or not any(lost):
        return all(lost)
    return None


class PlanTrial:
    """`waits`: calls before the turns begin; `least`: seconds that the operations alone would take;
    `busy`: a turn is under way, so that calls inside of it take none; `calls`: what signatures had
    served when the turns began."""

    __slots__ = ("waits", "least", "busy", "misses", "calls", "replays", "eager")

    def __init__(self, waits: int, least: float) -> None:
        self.waits, self.least, self.busy, self.misses = waits, least, False, 0
        self.calls: list[tuple[SignatureState, int]] = []
        self.replays: list[float] = []
        self.eager: list[float] = []


class Trying:
    """The part of `Function` that holds trials; while it does it has the class that `tried` made of
    its own, so that other calls pay nothing."""

    fn: Call
    _budget: Budget
    _signatures: SignatureTable
    _look_again: Callable[[], None]
    _replays: int
    _eager: int
    _attribute: Callable[[], None]
    _sleep: Callable[[int], bool]
    _run_python: Callable[..., None]
    _postpone: Callable[..., None]

    def __init__(self) -> None:
        self._trial: PlanTrial | None = None
        self._won = 0  # trials after which plans went on

    @property
    def on_trial(self) -> bool:
        """Whether calls take turns with eager ones.

        >>> import hybrid
        >>> hybrid.function(lambda x: x + x).on_trial
        False
        """
        return self._trial is not None

    def _doubt(self, plan: Any, seconds: float) -> None:
        """A replay of a plan was timed: let it take turns with eager calls where it is not clear
        that it is faster, and where whoever reads beside it sees the same: a replay that writes
        tensors is all before or all after, an eager call is not."""
        least = OPERATION * len(plan.recording.graph.nodes)
        on_trial = _TRIED.get(type(self)) if CHOICE[0] == "auto" else None
        writes = bool(plan.recording.outcome.writes)
        if on_trial is not None and not writes and least < seconds < LARGE:
            waits = 0 if plan.retried else WAIT << min(self._won, MOST_WAITS)
            self._trial = PlanTrial(waits, least)
            become(self, on_trial)

    def _turn(
        self, trial: PlanTrial, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """One call of a trial; `call`: the function while it is on none."""
        if trial.busy or current_mode() is not None:
            return call(self, *args, **kwargs)
        if trial.waits > SAMPLES:
            trial.waits -= 1
            return call(self, *args, **kwargs)
        trial.busy = True
        try:
            if trial.waits:
                return self._sample(trial, call, args, kwargs)
            if not trial.calls:
                trial.calls = self._counted()
            # not one by one: the arguments of calls may take turns, too
            turn = len(trial.replays) + len(trial.eager)
            kind = self._eager_turn if turn.bit_count() % 2 else self._replay_turn
            return kind(trial, call, args, kwargs)
        finally:
            trial.busy = False

    def _sample(
        self, trial: PlanTrial, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """One of the last calls before the turns: where all are fast, these are not needed."""
        result, seconds, replayed = self._clocked(call, args, kwargs)
        fast = replayed and seconds < trial.least
        trial.waits, trial.least = trial.waits - 1, trial.least if fast else 0.0
        if trial.least and not trial.waits:
            self._end_trial(trial)
        return result

    def _clocked(
        self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, float, bool]:
        """The result of a call, its seconds, and whether it was one replay."""
        replays, start = self._replays, CLOCK[0]()
        result = call(self, *args, **kwargs)
        return result, CLOCK[0]() - start, self._replays == replays + 1

    def _replay_turn(
        self, trial: PlanTrial, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        result, seconds, replayed = self._clocked(call, args, kwargs)
        if replayed:
            trial.replays.append(seconds)
            self._judge(trial)
        else:
            trial.misses += 1
            if trial.misses > MISSES:
                self._end_trial(trial)
        return result

    def _eager_turn(
        self, trial: PlanTrial, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._eager += 1
        start = CLOCK[0]()
        result = self.fn(*args, **kwargs)
        seconds = CLOCK[0]() - start
        self._budget.ran(seconds)
        trial.eager.append(seconds)
        self._judge(trial)
        return result

    def _judge(self, trial: PlanTrial) -> None:
        """End a trial where it is known how it ends."""
        even = len(trial.eager) == len(trial.replays)
        lost = verdict(trial.replays, trial.eager) if even else None
        if lost is not None and self._end_trial(trial):
            self._won += CLEAR * (len(trial.eager) < TURNS)
            if lost:
                self._lost(trial)

    def _counted(self) -> list[tuple[SignatureState, int]]:
        """How many calls each signature has served."""
        self._attribute()
        states = list(self._signatures.everything())
        return [(state, sum([plan.calls for plan in state.plans])) for state in states]

    def _end_trial(self, trial: PlanTrial) -> bool:
        """End a trial, if it is the one that is held."""
        if self._trial is not trial:
            return False
        self._trial, self._won = None, self._won + 1
        become(self, type(self).tried)  # type: ignore[attr-defined]
        return True

    def _lost(self, trial: PlanTrial) -> None:
        """Calls of the signatures that were on trial run in Python from now on; their plans are
        kept for another one."""
        before, self._won = {id(state): calls for state, calls in trial.calls}, 0
        for state, calls in self._counted():
            if calls > before.get(id(state), 0):
                state.resting, state.plans, state.pending = state.plans, [], []
                replay, plain = min(trial.replays) * 1e6, min(trial.eager) * 1e6
                state.why = f"takes {replay:.1f} us by its plan and {plain:.1f} in plain Python"
                self._run_python(state, None)
                self._postpone(state, False)
        self._look_again()
        self._sleep(MAX_REST)


_TRIED: dict[type, type] = {}  # class -> that of its objects while they are on trial


def tried(awake: Any) -> Any:
    """Make the class that objects of a class have while they are on trial."""
    made_of = awake

    class OnTrial(awake):  # type: ignore[misc]
        tried = made_of

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            trial = self._trial
            if trial is None:  # it has just ended, in another thread
                return awake.__call__(self, *args, **kwargs)
            return self._turn(trial, awake.__call__, args, kwargs)

    stands_in(OnTrial, awake, _TRIED)
    return awake
