"""Where a function is cut, given the instructions at which its recordings were refused.

Invariant: a cut only moves along a line of instructions that run one after another, so what it
was to keep apart stays apart; a site without a legal place nearby gets none, and its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType

from .assemble import Step
from .cut import flow_of, obstacle
from .flow import Flow

__all__ = ["cuts_for", "places_for"]

_FAR = 40  # how many instructions a cut may move


def cuts_for(code: CodeType, sites: Mapping[int, str]) -> frozenset[int] | str:
    """The offsets to cut before, for sites by offset: "read" (a value is read there: a piece ends
    behind it) or "call" (a piece of its own); or why there is no legal place."""
    flow = flow_of(code)
    if isinstance(flow, str):
        return flow
    cuts, why = places_for(flow, sites)
    return cuts or why or "nothing is kept apart"


def places_for(flow: Flow, sites: Mapping[int, str]) -> tuple[frozenset[int], str | None]:
    """The cuts, and why a site that has none has none."""
    steps = {step.offset: step for step in reversed(flow.steps)}
    found, reason = set(), None
    for offset, kind in sorted(sites.items()):
        step = steps.get(offset)
        if step is None or step not in flow.states:
            continue
        places = [_after(flow, step, goal) for goal in _behind(flow, step)]
        places += [_before(flow, step)] if kind == "call" else []
        for place in places:
            if isinstance(place, Step):
                found.add(place.offset)
            else:
                reason = place or reason
    return frozenset(found), reason


def _behind(flow: Flow, step: Step) -> list[Step]:
    """Where control goes from a step, past what ends a loop."""
    handler = step.handler.goal if step.handler is not None else None
    out = []
    for goal in flow.successors(step):
        now: Step | None = goal
        while now is not None and _glues(flow, now):
            now = flow.after[now]
        if now is not None and goal is not handler:
            out.append(now)
    return out


def _glues(flow: Flow, step: Step) -> bool:
    before = flow.before[step]
    return step.name == "END_FOR" or (
        step.name == "POP_TOP" and before is not None and before.name == "END_FOR"
    )


def _after(flow: Flow, site: Step, step: Step) -> Step | str | None:
    """The first legal place from a step on; None: the function ends, so none is needed."""
    why = None
    for _ in range(_FAR):
        if step.name in ("RETURN_VALUE", "RETURN_CONST"):
            return None
        problem = obstacle(flow, step)
        if problem is None:
            return step
        why = why or f"line {site.position[0]}: {problem}"
        goals = [
            s for s in flow.successors(step) if step.handler is None or s is not step.handler.goal
        ]
        if len(goals) != 1:
            break
        step = goals[0]
    return why


def _before(flow: Flow, site: Step) -> Step | str | None:
    """The last legal place up to a step; None: nothing runs before it."""
    why, step = None, site
    for _ in range(_FAR):
        problem = obstacle(flow, step)
        if problem is None:
            return step
        if step is not site and step.goal is not None:
            break
        why = why or f"line {site.position[0]}: {problem}"
        previous = flow.before[step]
        if previous is None or previous.name == "RESUME":
            return why
        step = previous
    return why
