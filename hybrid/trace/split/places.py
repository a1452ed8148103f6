"""Where a function may be cut, and which handlers of exceptions are then pieces of their own.

Invariant: a cut is legal only where all that the rest of the function can see is a value to hand
on, there and where the handlers begin that an exception at the cut would come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import CodeType

from .assemble import CodeStep
from .flow import NULL_ON_TOP, StackFlow, StackValue, names

__all__ = ["GENERATORS", "GLUED", "LOOKS_AROUND", "ends_of_with", "flow_of"] + [
    *("landings", "obstacle", "taken"),
]

LOOKS_AROUND = names("locals vars dir eval exec super")
OF_ARGUMENT = names("vars dir")  # these look at their argument, if there is one
GENERATORS = 0x2A0  # flags of code
GLUED = "belongs to the instruction before it"
CLEANUP = ["COPY", "POP_EXCEPT", "RERAISE"]  # what ends a handler that raises


def taken(slots: Sequence[StackValue]) -> frozenset[str]:
    """The variables that functions on the stack share."""
    makers = [maker for slot in slots if slot.kind == "function" for maker in slot.what]
    return frozenset(
        m.arg
        for m in makers
        if m.name.startswith("LOAD_") and type(m.arg) is str and m.name != "LOAD_CONST"
    )


@lru_cache(64)
def flow_of(code: CodeType) -> StackFlow | str:
    """The flow of a function, or why it cannot be cut anywhere."""
    if code.co_flags & GENERATORS or not code.co_flags & 1:
        return "is a generator, asynchronous or no function"
    if {*code.co_varnames, *code.co_cellvars} & set(code.co_freevars):
        return "has a variable with the name of one outside"
    flow = StackFlow(code)
    for step in flow.steps:
        if step.name == "LOAD_GLOBAL" and code.co_names[step.arg >> 1] in LOOKS_AROUND:
            name = code.co_names[step.arg >> 1]
            if name not in OF_ARGUMENT or not _is_called_with_one(flow, step):
                return f"calls {name}"
    return flow.unknown or flow


def _is_called_with_one(flow: StackFlow, step: CodeStep) -> bool:
    """Whether what a step loads is a callee that gets one argument by position and goes nowhere
    else."""
    state = flow.states.get(step)
    if state is None or not step.arg & 1:
        return False
    for other in flow.steps[flow.numbers[step] + 1 :]:
        if other.goal is not None or other not in flow.states:
            return False
        if flow.lowest(other) < len(state.stack) + 2 and other.name != "PRECALL":
            return other.name == "CALL" and other.arg == 1 and not _by_keyword(flow, other)
    return False


def _by_keyword(flow: StackFlow, call: CodeStep) -> bool:
    """Whether a call has arguments by keyword (up to 3.12; a name of its own afterwards)."""
    number = flow.numbers[call]
    return any(step.name == "KW_NAMES" for step in flow.steps[max(number - 2, 0) : number])


def landings(flow: StackFlow, step: CodeStep) -> list[CodeStep]:
    """Where the handlers begin that an exception at a step comes to, from the inside out; those
    that only put variables or the exception back and raise it again are passed through."""
    found: list[CodeStep] = []
    handler = step.handler
    while handler is not None:
        raises = _raises_again(flow, handler.goal)
        if raises is None:
            found.append(handler.goal)
        handler = (raises or handler.goal).handler
    return found


def _raises_again(flow: StackFlow, goal: CodeStep) -> CodeStep | None:
    """The step at which a handler raises its exception again, if it does nothing before but put
    back the variables of a comprehension (3.12 on) or end another handler."""
    three: list[CodeStep] = []
    now: CodeStep | None = goal
    while now is not None and len(three) < 3:
        three.append(now)
        now = flow.after[now]
    if [step.name for step in three] == CLEANUP:
        return three[-1]
    now = goal
    while now is not None and now.name in ("SWAP", "POP_TOP", "STORE_FAST"):
        now = flow.after[now]
    return now if now is not None and now is not goal and now.name == "RERAISE" else None


def obstacle(flow: StackFlow, step: CodeStep) -> str | None:
    """Why a function cannot be cut before a step; None where it can."""
    if step not in flow.states:
        return "is never reached"
    if _glued(flow, step):
        return GLUED
    outer = landings(flow, step)
    if step in _behind_try(flow):
        return "is the first thing behind a try"
    why = _unknown(flow, step, flow.states[step].stack)
    for landing in outer:
        stack = flow.states[landing].stack
        handlers = [s.handler for s in flow.steps if s.handler and s.handler.goal is landing]
        why = why or _unknown(flow, landing, stack[: handlers[0].depth])
    return why


def _unknown(flow: StackFlow, step: CodeStep, stack: Sequence[StackValue]) -> str | None:
    """Why what there is before a step, with that much of the stack, cannot be handed on."""
    state, shared = flow.states[step], taken(stack)
    live = flow.live[step] | shared
    if any(slot.kind in ("unsure", "exception", "cells") for slot in stack):
        return "has a stack that is not known"
    for name in sorted(live & state.maybe - state.bound):
        if name in flow.code.co_cellvars or name in flow.cleared:
            return f"has a variable that may not be bound, {name}"
    for name in sorted(live & state.maybe & flow.deleted):
        return f"has a variable that is deleted, {name}"
    for name in sorted(state.captured | shared):
        if name in flow.shared or name in flow.later[step]:
            return f"has a variable that a function inside shares, {name}"
    return None


def ends_of_with(flow: StackFlow) -> list[tuple[CodeStep, CodeStep]]:
    """The calls of the exit methods where nothing was raised: their first steps, those behind."""
    found = []
    for number, step in enumerate(flow.steps):
        following = flow.steps[number : number + 6]
        shown = [(s.name, s.arg) for s in following if s.name != "PRECALL"]
        if shown[:5] == [("LOAD_CONST", None)] * 3 + [("CALL", 2), ("POP_TOP", 0)]:
            call = number + [s.name for s in following].index("POP_TOP")
            found.append((step, flow.steps[call + 1]))
    return found


@lru_cache(64)
def _of_ends(flow: StackFlow) -> frozenset[CodeStep]:
    """The steps that belong to the call of an exit method; it is not to be parted from what it
    ends by an interrupt."""
    found = set[CodeStep]()
    for first, behind in ends_of_with(flow):
        begin, end = flow.numbers[first], flow.numbers[behind]
        found.update(flow.steps[begin + 1 : end])
        while flow.steps[begin - 1].name in ("SWAP", "NOP"):
            begin -= 1
            found.add(flow.steps[begin])
    return frozenset(found)


@lru_cache(64)
def _behind_try(flow: StackFlow) -> frozenset[CodeStep]:
    """The steps that come right behind others which more handlers hold for."""
    ends = {first for first, _ in ends_of_with(flow)}
    found = set[CodeStep]()
    for step in flow.states:
        covered = landings(flow, step)
        for following in flow.successors(step) if covered else ():
            inside = step.handler is not None and following is step.handler.goal
            if not inside and not {*covered} <= {*landings(flow, following)}:
                found.add(following)
    return frozenset(found - ends)


def _glued(flow: StackFlow, step: CodeStep) -> bool:
    """Whether a step goes on with what the one before it began, or the function has not begun."""
    before = flow.before[step]
    return (
        before is None
        or step.offset <= flow.begin
        or step.name == "END_FOR"
        or before.name in ("KW_NAMES", "PRECALL")
        or (NULL_ON_TOP and before.name == "END_FOR")
        or (step.name, before.name) == ("SET_FUNCTION_ATTRIBUTE", "MAKE_FUNCTION")
        or step in _of_ends(flow)
    )
