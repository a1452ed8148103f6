"""Where to cut a function at whose instructions calls of it were refused.

Invariant: what is given are legal cuts; which ones decides how fast the function is, never what it
does.
"""

from __future__ import annotations

import opcode
from collections.abc import Mapping
from types import CodeType

from ..watch.ran.seen import SiteKind
from .assemble import CodeStep
from .flow import StackFlow, names
from .places import GLUED, ends_of_with, flow_of, landings, obstacle

__all__ = ["begins_late", "changes", "cuts_for"]

# later (3.12 has it as a pseudo-instruction only), a bit of LOAD_ATTR
METHODS = opcode.opmap.get("LOAD_METHOD", 256) < 256
LOADS = ("LOAD_FAST", "LOAD_DEREF", "LOAD_GLOBAL")
# methods that change what they belong to
CHANGING = names(
    "append extend insert remove pop clear sort reverse add discard update setdefault popitem "
    "appendleft extendleft popleft rotate"
)
FAR = 48  # instructions from a site to the nearest legal place


def cuts_for(code: CodeType, sites: Mapping[int, SiteKind]) -> frozenset[int]:
    """Cuts behind the reads among the sites, and around other refused ones, up to where operations
    run; where there are cuts inside of a loop, also around what takes its next item, and inside of
    a `with` around its beginning and ends."""
    flow = flow_of(code)
    if isinstance(flow, str):
        return frozenset()
    offsets, steps = sorted({step.offset for step in flow.steps}), flow.at
    running, cuts = sorted([at for at, kind in sites.items() if kind == "operation"]), set[int]()

    for at in sorted(sites):
        place = offsets.index(at)
        behind = offsets[place + 1 :]
        if sites[at] == "read":
            cuts |= _nearest(flow, behind)
        elif sites[at] == "call":
            start = max([k for k in cuts if k <= at], default=0)
            earlier = [k for k in running if start <= k < at]
            if earlier:
                front = [k for k in offsets[: place + 1] if k > earlier[-1]]
                cuts |= _shallowest(flow, front[::-1])
            later = [k for k in running if k > at]
            until = [k for k in behind if k <= later[0]][::-1] if later else []
            cuts |= _shallowest(flow, until) or _nearest(flow, behind)
            head = _loop_around(flow, at)
            again = [k for k in running if head <= k < at]
            if again:  # it leads to operations of the next turn
                cuts |= _shallowest(flow, [k for k in offsets if head <= k <= again[0]][::-1])
    for at in _methods(flow, cuts):
        # no replay gives a method that waits for its call: look it up apart
        place = offsets.index(at)
        cuts |= _nearest(flow, [offsets[place + 1]])
        loaded = steps[offsets[place - 1]].name in LOADS
        if any(max([k for k in cuts if k <= at], default=0) <= k < at for k in running):
            cuts |= _nearest(flow, [offsets[place - loaded]])
    cuts |= _around_scopes(flow, cuts)
    return frozenset(cuts | _around_loops(flow, cuts))


def begins_late(code: CodeType, start: int, first: int) -> bool:
    """Whether whole statements lie between the beginning of a piece and its first operation."""
    flow = flow_of(code)
    if isinstance(flow, str) or flow.at[start] not in flow.states:
        return False
    depth = len(flow.states[flow.at[start]].stack)
    between = [step for step in flow.states if start < step.offset <= first]
    return any(
        len(flow.states[step].stack) <= depth and obstacle(flow, step) is None for step in between
    )


def changes(code: CodeType) -> frozenset[int]:
    """Instructions that may change a container: stores to items, and where a variable is loaded
    for a call of a method that does."""
    flow, found = flow_of(code), set[int]()
    if isinstance(flow, str):
        return frozenset()
    for step in flow.states:
        before = flow.before[step]
        if step.name in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            found.add(step.offset)
        elif before is None or before.name not in LOADS or before not in flow.states:
            continue
        elif step.name in ("LOAD_METHOD", "LOAD_ATTR"):
            number = step.arg if step.name == "LOAD_METHOD" or METHODS else step.arg >> 1
            if code.co_names[number] in CHANGING:
                found.add(before.offset)
    return frozenset(found)


def _loop_around(flow: StackFlow, at: int) -> int:
    """The first instruction of the innermost loop around another one; that one without a loop."""
    heads = [
        step.goal.offset
        for step in flow.states
        if step.goal is not None and step.goal.offset <= at < step.offset
    ]
    return max(heads, default=at)


def _methods(flow: StackFlow, cuts: set[int]) -> set[int]:
    """Look-ups of methods that wait for their call where cuts are."""
    slots = [slot for step, s in flow.states.items() if step.offset in cuts for slot in s.stack]
    return {slot.what.offset for slot in slots if slot.kind == "pair"}


def _nearest(flow: StackFlow, places: list[int]) -> set[int]:
    """The first of some places that is legal."""
    return {*[k for k in places[:FAR] if obstacle(flow, flow.at[k]) is None][:1]}


def _shallowest(flow: StackFlow, places: list[int]) -> set[int]:
    """The first of those that have least in hand."""
    legal = [k for k in places[:FAR] if obstacle(flow, flow.at[k]) is None]
    return {*sorted(legal, key=lambda k: len(flow.states[flow.at[k]].stack))[:1]}


def _around_scopes(flow: StackFlow, cuts: set[int]) -> set[int]:
    """Cuts around what enters the scopes (`with`) that have cuts inside, and around what leaves
    them: modes differ there, and no replay gives or takes their exit methods."""
    found, ends = set[int](), ends_of_with(flow)
    inside = [goal for s in flow.states if s.offset in cuts for goal in landings(flow, s)]
    for step in flow.states:
        body = flow.after[step]
        if step.name != "BEFORE_WITH" or body is None or body.handler is None:
            continue
        if body.handler.goal in inside:
            leaving = [pair for pair in ends if pair[0].position == step.position] or ends
            found |= {step.offset, body.offset, *[s.offset for pair in leaving for s in pair]}
    return {at for at in found if obstacle(flow, flow.at[at]) is None}


def _around_loops(flow: StackFlow, cuts: set[int]) -> set[int]:
    """Cuts around what takes the next item, of the loops that have cuts inside."""
    found = set[int]()
    depths = {step.offset: len(flow.states[step].stack) for step in flow.states}
    for step in flow.states:
        if step.name != "FOR_ITER" or step.offset in cuts or step.goal is None:
            continue
        body, out = flow.after[step], _behind(flow, step.goal)
        if body is None or out is None:
            continue
        inside = range(body.offset + 1, out.offset)
        if any(k in inside and depths[k] >= depths[step.offset] for k in cuts | found):
            found |= {s.offset for s in (step, body, out) if obstacle(flow, s) is None}
    return found


def _behind(flow: StackFlow, step: CodeStep) -> CodeStep | None:
    """The step behind what ends a loop."""
    now: CodeStep | None = step
    while now is not None and obstacle(flow, now) == GLUED:
        now = flow.after[now]
    return now
