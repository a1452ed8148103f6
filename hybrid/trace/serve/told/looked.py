"""Calls in a scope that looks at values (`debug`, `step_through`): a replay after its operations
have been looked at.

Invariant: looking comes before the replay changes anything, and changes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.door.busy import is_busy, values_of
from ....ir.door.pending import known
from ...heap.data import owned
from ...heap.signature import signature_of
from ...host.again import settled
from ..plans import ReplayPlan
from ..prepare import MISS
from .reports import Reports

__all__ = ["Looked"]


class Looked(Reports):
    """The part of `Function` for such calls."""

    fn: Callable[..., Any]
    _replayed: Callable[[ReplayPlan, list[Any]], Any]
    _went: Callable[[ReplayPlan], None]

    def _checked(self, mode: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call in a scope that looks at values: a replay after its operations have been looked
        at, if there would be one, else the user's function under that mode."""
        given, named = self._arguments(args, kwargs)
        signature, tensors, _ = signature_of(given, named, self._regard)
        state = self._state(signature)
        for plan in [] if state is None else state.serving(given, named):
            if plan.recording.handles_errors:
                continue
            result = settled(plan.draws, MISS, self._looked, mode, plan, tensors)
            if result is not MISS:
                self._went(plan)
                return result
        return self.fn(*args, **kwargs)

    def _looked(self, mode: Any, plan: ReplayPlan, tensors: list[Any]) -> Any:
        """A replay in Python after its operations have been looked at, or MISS."""
        captures = plan.guard(tensors)
        inputs = [*tensors, *(captures or ())]
        if captures is None or len({*map(id, inputs)}) != len(inputs):
            return MISS
        if any(map(is_busy, inputs)):
            return MISS
        # it may keep them, so data of the program is copied
        mode.check(plan.recording.graph, known(values_of(owned(inputs))))
        return plan.replay(inputs)

    def _replay(self, plan: ReplayPlan, tensors: list[Any]) -> Any:
        """One replay, or MISS, with no random number drawn."""
        if plan.draws:
            return settled(plan.draws, MISS, self._replayed, plan, tensors)
        return self._replayed(plan, tensors)
