"""What a signature takes from others of its family, which differ from it in extents.

Invariant: only a recording that was found to differ from another in sizes alone is run by a plan
that was made for many sizes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ....core.cache import until_exit
from ...fallback.postponed import Postponed
from ...record.recording import Recording
from ..plans import ReplayPlan
from ..signatures import SignatureState

__all__ = ["forgets", "plan_of", "shows", "sized"]


def plan_of(state: SignatureState, recording: Recording | None) -> ReplayPlan | None:
    """The plan of a recording of this signature or another one of the family."""
    others = () if state.family is None else state.family.relatives(state)
    plans = (plan for other in (state, *others) for plan in other.plans)
    return next((plan for plan in plans if plan.recording is recording), None)


def sized(
    state: SignatureState, recording: Recording, other: Recording | None, executor: Any
) -> Any:
    """What runs a recording, of a plan that was made for many sizes; None where there is none.
    `other`: a recording that differs from it in sizes only."""
    fill = getattr(executor, "fill", None)
    if other is None or fill is None or state.family is None or recording.path:
        return None
    made = state.family.sizes.fill(recording, other)
    return None if made is None else fill(recording, made)


def forgets(state: SignatureState) -> Callable[[Any], None]:
    """What drops the plans of a signature."""
    table = weakref.ref(state)

    def dead(_: Any) -> None:
        found = table()
        if found is not None:
            for plan in found.plans:
                plan.recording.life.end()
            found.forget()

    return until_exit(dead)


def shows(state: SignatureState, postponed: Postponed, recording: Recording) -> None:
    """A call was recorded whose ops wait: have the plan that it gave compute them."""
    plan = state.plans[0] if state.plans else None
    served = plan is not None and plan.recording is recording and not postponed.forced
    if plan is not None and served:
        postponed.finish(recording, plan.run)
    if state.family is not None:
        state.family.postponed(served)
