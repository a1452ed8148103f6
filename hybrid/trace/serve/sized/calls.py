"""Recorded calls: under a watch, or as a further size of one that was.

Invariant: nothing waits for its value when a call is over, whatever became of its recording.
"""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import Any

from ....core import signals
from ....core.aval import HOST
from ....core.switches import UNCOLLECTED
from ....ir.door import bind as door
from ....ir.door.busy import is_busy
from ....ir.door.context import end_collecting
from ...fallback.budget import Budget
from ...fallback.postponed import begin
from ...fallback.sizes import Sizes
from ...heap.signature import Regard, signature_of
from ...record.before import Before
from ...watch.turns import RUNS
from ..plans import ReplayPlan, distinct
from ..signatures import SignatureState
from ..told.reports import RunsEagerly
from . import blind_plan, filled_call

__all__ = ["Recorded"]

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Recorded:
    """The part of `Function` that runs calls which are recorded.

    `_sized`: where the plan is from that the call which runs now was filled in for; `_saved`:
    seconds of this thread that kernels would have taken which it did not need; `_early`: those that
    its native way took, which only later calls need."""

    fn: Callable[..., Any]
    _budget: Budget
    _regard: Regard
    _records: int
    _eager: int
    _deferred: int
    _sized: Sizes | None = None
    _saved: float = 0.0
    _began: float = 0.0
    _early: float = 0.0
    _replays: int
    _missed_again: Callable[..., bool]
    _broken: Callable[..., bool]
    _watched: Callable[..., Any]
    _give_up: Callable[[SignatureState], None]
    _after: Callable[..., None]
    _install: Callable[[SignatureState, ReplayPlan], None]
    _connect: Callable[[ReplayPlan, list[Any]], Any]

    def _spent(self, recorded: bool, seconds: float) -> None:
        """A call took this time."""
        sized, self._sized = self._sized, None
        saved, self._saved = self._saved, 0.0
        ahead, self._early = self._early, 0.0
        if sized is not None:
            own = thread_time() - self._began
            self._budget.filled(own - saved, sized.made == 1 and not sized.uses)
            sized.charged(own - ahead, saved)
        elif recorded:
            self._budget.recorded(max(seconds - saved, 0.0))
        else:
            self._budget.ran(seconds)

    @signals.critical
    def _filled(
        self, state: SignatureState, args: Args, kwargs: Kwargs, tensors: list[Any]
    ) -> tuple[Any] | None:
        """The result of a call that is a further size of one that was recorded, if it may be."""
        plan = blind_plan(state)
        if plan is None:
            return None
        found = filled_call(state, plan, self.fn, (args, kwargs), tensors)
        if found is None:
            return None
        result, made, postponed = found
        del found
        try:
            self._saved = postponed.saved
            state.calls += 1
            if isinstance(made, ReplayPlan):
                self._deferred += 1
                self._install(state, made)
            else:
                self._eager += 1
            if isinstance(made, Exception):
                self._broken(state, made, "cannot be compiled")
        finally:
            end_collecting(postponed)
        if isinstance(made, ReplayPlan) and self._budget.affords(self._replays):
            self._look_ahead(made, tensors)
        return (result,)

    def _look_ahead(self, plan: ReplayPlan, tensors: list[Any]) -> None:
        """Make the native way of a size while its cost is accounted for: calls that come again are
        as fast as any other replay at once."""
        start = thread_time()
        captures = plan.guard(tensors)
        inputs = [*tensors, *(captures or ())]
        if captures is not None and distinct(inputs) and not any(map(is_busy, inputs)):
            self._connect(plan, inputs)
        self._early = thread_time() - start

    @signals.critical
    def _recorded(
        self, state: SignatureState, args: Args, kwargs: Kwargs, tensors: list[Any]
    ) -> Any:
        self._began = thread_time()
        filled = self._filled(state, args, kwargs, tensors)
        if filled is not None:
            return filled[0]
        self._records, state.calls = self._records + 1, state.calls + 1
        mark, handled = RUNS.mark(), signals.handled()
        try:  # nothing has run yet
            # loaded now, not while the call is watched
            door.backend_of(tensors[0]._a.device if tensors else HOST)
            missed = self._missed_again(state)
            now = signature_of(args, kwargs, self._regard)
            before = Before.of(state.pending, state.plans, now, state.relatives())
            recorder, watch = state.recorder(self.fn, tensors, bool(before.relatives))
        except Exception as error:
            if signals.foreign(error):
                raise
            missed = self._broken(state, error, "cannot be recorded")
        if missed:
            self._records, self._eager = self._records - 1, self._eager + 1
            return self.fn(*args, **kwargs)
        postponed = begin(recorder)
        try:
            return self._followed(state, (recorder, watch, before), args, kwargs, mark, handled)
        finally:
            del recorder, watch, before  # with them go values that nobody needs
            if postponed is not None:
                self._saved = postponed.saved
                end_collecting(postponed)

    @signals.critical
    def _followed(
        self, state: SignatureState, by: Any, args: Args, kwargs: Kwargs, mark: Any, handled: int
    ) -> Any:
        """The call under a recorder and a watch, and a look at what it did."""
        recorder, watch, before = by
        result, late = self._watched(state, recorder, args, kwargs)
        if signals.handled() != handled:  # Python ran that is none of the call's
            if not state.excused():
                state.why = "is interrupted by signal handlers whenever it is recorded"
                self._give_up(state)
            return result
        try:
            if late is not None:
                raise late
            with UNCOLLECTED:
                self._after(state, recorder, watch, before, args, kwargs, result, mark)
        except RunsEagerly:  # the user made errors of warnings
            raise
        except Exception as error:
            if signals.foreign(error):
                raise
            self._broken(state, error, "cannot be recorded")
        return result
