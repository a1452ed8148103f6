"""What is on the stack and in the variables before each step, and which variables are read later.

Invariant: a slot whose content depends on the path is "unsure", and so is a variable; an
instruction that is not known makes the whole function unknown (`StackFlow.unknown`).
"""

from __future__ import annotations

import dis
import opcode
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from ..bytecode.opcodes import TABLE
from .assemble import CodeStep, Free, steps_of

__all__ = [
    "StackValue",
    "StackState",
    "StackFlow",
    "NULL_ON_TOP",
    "PEEKING",
    "names",
    "stored_inside",
]


def names(text: str) -> frozenset[str]:
    """A set of names from a text."""
    return frozenset(text.split())


NULL_ON_TOP = sys.version_info >= (3, 13)  # where the empty slot of a call lies
_EARLY_CALL = sys.version_info < (3, 12)  # PRECALL and CALL share their effect
_CELL_WRITES = frozenset({"STORE_DEREF", "DELETE_DEREF"})
COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")
_ENDS = names(
    "RETURN_VALUE RETURN_CONST RAISE_VARARGS RERAISE JUMP_FORWARD JUMP_BACKWARD "
    "JUMP_BACKWARD_NO_INTERRUPT"
)
# what only takes from the stack or puts on it; others put their results in place of what they took
_ONLY = names(
    "POP_TOP NOP RESUME KW_NAMES PRECALL MAKE_CELL COPY_FREE_VARS POP_EXCEPT END_FOR RERAISE "
    "RAISE_VARARGS RETURN_VALUE RETURN_CONST STORE_ATTR STORE_SUBSCR STORE_GLOBAL STORE_DEREF "
    "STORE_SLICE DELETE_ATTR DELETE_SUBSCR DELETE_GLOBAL DELETE_DEREF DELETE_FAST LIST_APPEND "
    "SET_ADD MAP_ADD LIST_EXTEND SET_UPDATE DICT_UPDATE DICT_MERGE FOR_ITER GET_LEN "
    "MATCH_MAPPING MATCH_SEQUENCE MATCH_KEYS IMPORT_FROM WITH_EXCEPT_START LOAD_DEREF "
    "LOAD_ASSERTION_ERROR LOAD_BUILD_CLASS"
) | {name for name in opcode.opmap if "JUMP" in name}


ValueKind: TypeAlias = Literal[
    "value",
    "null",
    "constant",
    "argument",
    "pair",
    "function",
    "cells",
    "exception",
    "unsure",
]


class StackValue(NamedTuple):
    """One place of the stack: "value", "null", "constant", "argument" (one that is never bound
    anew), "pair" (half of a method look-up), "function" (just made, by steps that may make it
    again), "cells", "exception" or "unsure"."""

    kind: ValueKind
    what: Any = None


VALUE, NULL, UNSURE = StackValue("value"), StackValue("null"), StackValue("unsure")
EXCEPTION = StackValue("exception")
_PLAIN = frozenset({"value", "constant", "argument"})


class StackState(NamedTuple):
    """What holds before a step: the stack, the variables that are surely bound, those that may be,
    and the cells that another function may hold."""

    stack: tuple[StackValue, ...]
    bound: frozenset[str]
    maybe: frozenset[str]
    captured: frozenset[str] = frozenset()

    def binds(self, name: str) -> StackState:
        return self._replace(bound=self.bound | {name}, maybe=self.maybe | {name})

    def clears(self, name: str) -> StackState:
        return self._replace(bound=self.bound - {name}, maybe=self.maybe - {name})


def _either(one: StackValue, other: StackValue) -> StackValue:
    if one == other:
        return one
    return VALUE if {one.kind, other.kind} <= _PLAIN else UNSURE


def _joined(one: StackState, other: StackState) -> StackState:
    stack = tuple([_either(a, b) for a, b in zip(one.stack, other.stack, strict=True)])
    bound, maybe = one.bound & other.bound, one.maybe | other.maybe
    return StackState(stack, bound, maybe, one.captured | other.captured)


def _takers(code: CodeType, name: str) -> list[CodeType]:
    """The functions inside that use a variable of this one."""
    return [c for c in code.co_consts if isinstance(c, CodeType) and name in c.co_freevars]


def stored_inside(code: CodeType, name: str) -> bool:
    """Whether a function inside binds or deletes a variable of this one."""
    return any(
        stored_inside(inner, name)
        or any(s.arg == Free(name) and s.name in _CELL_WRITES for s in steps_of(inner))
        for inner in _takers(code, name)
    )


def _leaks(code: CodeType, cells: frozenset[str]) -> bool:
    """Whether a comprehension may leave somebody behind who holds one of these cells."""
    return any(
        inner.co_name not in COMPREHENSIONS or _leaks(inner, cells)
        for name in cells
        for inner in _takers(code, name)
    )


class StackFlow:
    """The states of a function's steps.  `kept`: its arguments that are never bound anew."""

    def __init__(self, code: CodeType) -> None:
        self.code, self.steps = code, steps_of(code)
        self.after = dict(zip(self.steps, [*self.steps[1:], None]))
        self.numbers = {step: number for number, step in enumerate(self.steps)}
        self.at = {step.offset: step for step in reversed(self.steps)}
        self.before = dict(zip(self.steps, [None, *self.steps[:-1]]))
        self.begin = next((s.offset for s in self.steps if s.name == "RESUME"), 0)
        self.first = next(s for s in self.steps if s.offset > self.begin)
        self.unknown: str | None = None
        count = code.co_argcount + code.co_kwonlyargcount
        count += bool(code.co_flags & 4) + bool(code.co_flags & 8)
        self.arguments = code.co_varnames[:count]
        deletes = ("DELETE_FAST", "DELETE_DEREF")
        self.deleted = frozenset(s.arg for s in self.steps if s.name in deletes)
        self.cleared = frozenset(s.arg for s in self.steps if s.name == "LOAD_FAST_AND_CLEAR")
        written = {s.arg for s in self.steps if s.name in _WRITES}
        self.kept = frozenset(
            n for n in self.arguments if n not in written and not stored_inside(code, n)
        )
        # variables that functions inside bind anew
        self.shared = frozenset(n for n in code.co_cellvars if stored_inside(code, n))
        self.states: dict[CodeStep, StackState] = {}
        self.work: list[tuple[CodeStep, StackState]] = []
        self._run()
        # the variables that are read later, before they are bound anew; the cells bound later
        self.live = self._backwards(_USES, _STORES) if self.unknown is None else {}
        binds = _CELL_WRITES | {"STORE_FAST"} if code.co_cellvars else frozenset[str]()
        self.later = self._backwards(binds, frozenset()) if self.unknown is None else {}

    def _run(self) -> None:
        bound = frozenset(self.arguments)
        self.work = [(self.steps[0], StackState((), bound, bound))]
        while self.work and self.unknown is None:
            step, state = self.work.pop()
            known = self.states.get(step)
            if known is not None:
                if len(known.stack) != len(state.stack):
                    self.unknown = "its stack is not understood"
                    return
                state = _joined(known, state)
                if state == known:
                    continue
            self.states[step] = state
            if step.name not in TABLE or step.name in _GENERATORS:
                self.unknown = f"{step.name} is not understood"
                return
            self.work += self._goals(step, state)

    def _goals(self, step: CodeStep, state: StackState) -> Iterator[tuple[CodeStep, StackState]]:
        if step.handler is not None:
            goal, depth, place = step.handler
            yield goal, state._replace(stack=state.stack[:depth] + (EXCEPTION,) * (1 + place))
        if step.goal is not None:
            yield step.goal, self._effect(step, state, True)
        following = self.after[step]
        if step.name not in _ENDS and following is not None:
            yield following, self._effect(step, state, False)

    def successors(self, step: CodeStep) -> list[CodeStep]:
        """Where control may go from a step, handlers included."""
        found = [step.handler.goal] if step.handler is not None else []
        if step.goal is not None:
            found += [step.goal]
        following = self.after[step]
        if step.name not in _ENDS and following is not None:
            found.append(following)
        return found

    def _effect(self, step: CodeStep, state: StackState, jumps: bool) -> StackState:
        special = _SPECIAL.get(step.name)
        if special is not None:
            return cast(StackState, special(self, step, state))
        return state._replace(stack=_stack(step, state.stack, jumps))

    def making(self, step: CodeStep, shares: bool) -> StackValue:
        """The slot of a function that a step makes of code and, if it `shares` them, variables."""
        wanted = ["MAKE_FUNCTION"] * (step.name != "MAKE_FUNCTION") + ["LOAD_CONST"]
        makers = [step]
        for name in wanted + ["BUILD_TUPLE"] * shares:
            makers.append(self.steps[self.numbers[makers[-1]] - 1])
            if makers[-1].name != name:
                return VALUE
        if shares:
            number, count = self.numbers[makers[-1]], int(makers[-1].arg)
            makers += self.steps[number - count : number][::-1]
            if not all(maker.name in _CLOSURES for maker in makers[-count:]):
                return VALUE
        return StackValue("function", tuple(makers[::-1]))

    def lowest(self, step: CodeStep) -> int:
        """The lowest slot that a step changes or looks at; not above the stack before it."""
        depth, name = len(self.states[step].stack), step.name
        if name in ("COPY", "SWAP"):
            return depth - int(step.arg)
        if name in PEEKING:  # and at what is called, to name it in an error
            return max(depth - int(step.arg) - 4, 0)
        if name in ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS"):
            return depth - int({"RETURN_VALUE": 1, "RETURN_CONST": 0}.get(name, step.arg))
        if name in _HANDLING:
            return depth - _HANDLING[name] - (step.arg if name == "RERAISE" else 0)
        ways = [(step.goal, True), (self.after[step], False)]
        state = self.states[step]
        least = min(
            len(self._effect(step, state, jumps).stack)
            for goal, jumps in ways
            if goal is not None and (jumps or name not in _ENDS)
        )
        if name in _ONLY or name in _PUSHES:
            return max(min(least, depth - (name in _LOOKS)), 0)
        return max(min(least - (2 if "LOAD" in name else _results(step)), depth), 0)

    def _backwards(
        self, begins: frozenset[str], ends: frozenset[str]
    ) -> dict[CodeStep, frozenset[str]]:
        """The variables that steps of some names, from each step on, name, before those of other
        names do."""
        reached = [step for step in reversed(self.steps) if step in self.states]
        goals = {step: self.successors(step) for step in reached}
        found = dict.fromkeys(reached, frozenset[str]())
        changed = True
        while changed:
            changed = False
            for step in reached:
                after = frozenset[str]().union(*[found[goal] for goal in goals[step]])
                if type(step.arg) is str and step.name in ends:
                    after -= {step.arg}
                    if step.handler is not None:
                        after |= found[step.handler.goal]
                elif type(step.arg) is str and step.name in begins:
                    after |= {step.arg}
                if len(after) != len(found[step]):  # it only grows
                    found[step], changed = after, True
        return found


_CLOSURES = names("LOAD_CLOSURE LOAD_FAST")
_PUSHES = names(
    "LOAD_GLOBAL PUSH_NULL LOAD_CONST LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_CLOSURE "
    "STORE_FAST"
)
PEEKING = names("LIST_APPEND SET_ADD MAP_ADD LIST_EXTEND SET_UPDATE DICT_UPDATE DICT_MERGE")
_HANDLING = {"RERAISE": 1, "WITH_EXCEPT_START": 4, "PUSH_EXC_INFO": 1}
_LOOKS = names("FOR_ITER GET_LEN MATCH_MAPPING MATCH_SEQUENCE MATCH_KEYS IMPORT_FROM")
_STORES = frozenset({"STORE_FAST", "STORE_DEREF"})
_USES = names(
    "LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_CLOSURE LOAD_DEREF DELETE_FAST DELETE_DEREF"
)
_WRITES = _STORES | {"DELETE_FAST", "DELETE_DEREF", "LOAD_FAST_AND_CLEAR"}
_GENERATORS = names("RETURN_GENERATOR YIELD_VALUE SEND GET_AWAITABLE IMPORT_STAR")


def _results(step: CodeStep) -> int:
    """How many results a step puts in place of its operands."""
    if step.name == "UNPACK_SEQUENCE":
        return int(step.arg)
    if step.name == "UNPACK_EX":
        return 1 + int(step.arg & 255) + int(step.arg >> 8)
    return 2 if step.name == "BEFORE_WITH" else 1


def _stack(step: CodeStep, stack: tuple[StackValue, ...], jumps: bool) -> tuple[StackValue, ...]:
    """The stack after a step of the usual kind."""
    code = opcode.opmap[step.name]
    number = step.arg if type(step.arg) is int and code not in dis.hasconst else 0
    if code < dis.HAVE_ARGUMENT:
        net = opcode.stack_effect(code, None, jump=jumps)
    elif step.name == "PRECALL":
        net = 0
    elif step.name == "CALL" and _EARLY_CALL:
        net = -1 - number
    else:
        net = opcode.stack_effect(code, number, jump=jumps)
    if step.name in _ONLY:
        return stack[:net] if net < 0 else stack + (VALUE,) * net
    results = _results(step)
    return stack[: len(stack) + net - results] + (VALUE,) * results


def _load(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    name = step.arg
    if name in flow.code.co_cellvars or isinstance(name, Free):  # LOAD_CLOSURE of 3.13
        return _load_cell(flow, step, state)
    slot = StackValue("argument", name) if name in flow.kept else VALUE
    return state.binds(name)._replace(stack=(*state.stack, slot))


def _load_cell(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    if isinstance(step.arg, Free):
        return state._replace(stack=(*state.stack, StackValue("cells", frozenset())))
    state = state._replace(stack=(*state.stack, StackValue("cells", frozenset({step.arg}))))
    if step.arg not in flow.shared:
        return state
    return state.clears(step.arg)._replace(maybe=state.maybe | {step.arg})


def _load_deref(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    slot = StackValue("argument", step.arg) if step.arg in flow.kept else VALUE
    state = state._replace(stack=(*state.stack, slot))
    return state if isinstance(step.arg, Free) else state.binds(step.arg)


def _load_and_clear(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    name = step.arg
    slot = VALUE if name in state.bound else NULL
    if name in flow.code.co_cellvars or (slot is NULL and name in state.maybe):
        slot = UNSURE
    return state.clears(name)._replace(stack=(*state.stack, slot))


def _store(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    slot, state = state.stack[-1], state._replace(stack=state.stack[:-1])
    if isinstance(step.arg, Free):
        return state
    if slot.kind == "null":
        return state.clears(step.arg)
    if slot.kind == "unsure":
        return state._replace(bound=state.bound - {step.arg}, maybe=state.maybe | {step.arg})
    return state.binds(step.arg)


def _delete(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    return state if isinstance(step.arg, Free) else state.clears(step.arg)


def _constant(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    return state._replace(stack=(*state.stack, StackValue("constant", step)))


def _null(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    return state._replace(stack=(*state.stack, NULL))


def _load_global(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    called = (VALUE, NULL) if NULL_ON_TOP else (NULL, VALUE)
    return state._replace(stack=state.stack + (called if step.arg & 1 else (VALUE,)))


def _look_up(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    """LOAD_ATTR, LOAD_METHOD, LOAD_SUPER_ATTR: a value, or a method and what it belongs to."""
    stack = state.stack[: -3 if step.name == "LOAD_SUPER_ATTR" else -1]
    pair = step.name == "LOAD_METHOD" or (not _EARLY_CALL and step.arg & 1)
    slots = (StackValue("pair", step),) * 2 if pair else (VALUE,)
    return state._replace(stack=stack + slots)


def _copy(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    stack = list(state.stack)
    copied: StackValue = stack[-step.arg]
    if copied.kind == "function":  # one object, twice
        copied = stack[-step.arg] = VALUE
    return state._replace(stack=(*stack, copied))


def _swap(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    stack = list(state.stack)
    stack[-1], stack[-step.arg] = stack[-step.arg], stack[-1]
    return state._replace(stack=tuple(stack))


def _exception(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    return state._replace(stack=(*state.stack[:-1], EXCEPTION, EXCEPTION))


def _build_tuple(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    rest = len(state.stack) - step.arg
    parts = state.stack[rest:]
    made = VALUE
    if any(slot.kind == "cells" for slot in parts):
        made = StackValue(
            "cells", frozenset[str]().union(*(s.what for s in parts if s.kind == "cells"))
        )
    return state._replace(stack=(*state.stack[:rest], made))


def _make_function(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    code, rest = state.stack[-1], state.stack[:-1]
    flags = 0 if NULL_ON_TOP else step.arg
    taken = rest[-1].what if flags & 8 else frozenset[str]()
    inner = code.what.arg if code.kind == "constant" else None
    rest = rest[: len(rest) - flags.bit_count()]
    consumed = inner is not None and inner.co_name in COMPREHENSIONS and not _leaks(inner, taken)
    captured = state.captured if consumed else state.captured | taken
    made = flow.making(step, flags == 8) if inner is not None and flags in (0, 8) else VALUE
    return state._replace(stack=(*rest, made), captured=captured)


def _function_attribute(flow: StackFlow, step: CodeStep, state: StackState) -> StackState:
    given, function = state.stack[-2:]
    made = VALUE
    if given.kind == "cells" and function.kind == "function":
        made = flow.making(step, True)
    captured = state.captured | (given.what if given.kind == "cells" else frozenset())
    return state._replace(stack=(*state.stack[:-2], made), captured=captured)


_SPECIAL: dict[str, Any] = {
    "LOAD_FAST": _load,
    "LOAD_FAST_CHECK": _load,
    "LOAD_CLOSURE": _load_cell,
    "LOAD_DEREF": _load_deref,
    "LOAD_FAST_AND_CLEAR": _load_and_clear,
    "STORE_FAST": _store,
    "STORE_DEREF": _store,
    "DELETE_FAST": _delete,
    "DELETE_DEREF": _delete,
    "LOAD_CONST": _constant,
    "PUSH_NULL": _null,
    "LOAD_GLOBAL": _load_global,
    "LOAD_ATTR": _look_up,
    "LOAD_METHOD": _look_up,
    "LOAD_SUPER_ATTR": _look_up,
    "COPY": _copy,
    "SWAP": _swap,
    "PUSH_EXC_INFO": _exception,
    "BUILD_TUPLE": _build_tuple,
    "MAKE_FUNCTION": _make_function,
    "SET_FUNCTION_ATTRIBUTE": _function_attribute,
}
