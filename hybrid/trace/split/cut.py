"""The pieces of a function: where it may be cut, and the code of each piece.

A piece is made of the steps that run from its beginning to the next cuts; at these it gives a tuple
of a mark and what it has changed: values on the stack, variables that are read later.  The piece of
a cut takes what it needs of these, puts the stack back and goes on.
Invariant: all pieces together run the instructions of the function, in its order, on its lines; a
cut is legal only where all that the rest of the function can see is a value to hand on.
"""

from __future__ import annotations

import opcode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from .assemble import CodeStep, assemble
from .flow import NULL_ON_TOP, StackFlow, StackValue, names

__all__ = ["GLUED", "LOOKS_AROUND", "Exit", "Piece", "Pieces", "flow_of", "obstacle", "pieces_of"]

LOOKS_AROUND = names("locals vars dir eval exec super")
OF_ARGUMENT = names("vars dir")  # these look at their argument, if there is one
COLLECTED = 12  # flags of code: *args, **kwargs
GENERATORS = 0x2A0
MOST = 200  # variables of a piece
Variable = str | int  # the name of one, or a slot of the stack


@dataclass(frozen=True, slots=True)
class Exit:
    """Where a piece ends at a cut: the mark, the cut, what it gives behind the mark, and the
    variables that it has bound and nobody needs."""

    mark: Any
    at: int
    gives: tuple[Variable, ...]
    done: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """`code` takes these variables, positionally; some are `moved`: it rebinds or uses them up, so
    nobody else is to hold what they are.  `at`: where it begins in the original; `keeps`: it calls
    `keep`; `branches`: control may go several ways; `iterates`: it takes the next item of an
    iterator that it is given; `origin`: its instructions -> those of the original."""

    code: CodeType
    at: int
    takes: tuple[Variable, ...]
    moved: frozenset[Variable]
    exits: tuple[Exit, ...]
    keeps: bool
    branches: bool
    iterates: bool
    origin: dict[int, int]


@dataclass(frozen=True, slots=True)
class Pieces:
    """The first piece, and those behind cuts, by cut."""

    entry: Piece
    parts: dict[int, Piece]


class _Cut:
    """What there is before a step: the stack, with method look-ups made whole, and the variables
    that are read from there on."""

    def __init__(self, flow: StackFlow, step: CodeStep) -> None:
        self.step, self.state = step, flow.states[step]
        stack = self.state.stack
        self.slots = [_whole(slot, k, stack) for k, slot in enumerate(stack)]
        live = flow.live[step] | _taken(self.slots)
        order = dict.fromkeys((*flow.code.co_varnames, *flow.code.co_cellvars))
        self.variables = tuple(n for n in order if n in live & self.state.bound)
        self.alive = live


def _whole(slot: StackValue, number: int, stack: tuple[StackValue, ...]) -> StackValue:
    """A slot, where a method look-up pushes a bound method and an empty slot."""
    if slot.kind != "pair":
        return slot
    below = 0
    while number > below and stack[number - below - 1] == slot:
        below += 1
    return StackValue("value" if (below % 2 == 0) == NULL_ON_TOP else "null")


def _taken(slots: Sequence[StackValue]) -> frozenset[str]:
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


GLUED = "belongs to the instruction before it"


def obstacle(flow: StackFlow, step: CodeStep) -> str | None:
    """Why a function cannot be cut before a step; None where it can."""
    if step not in flow.states:
        return "is never reached"
    state = flow.states[step]
    taken = _taken(state.stack)
    live = flow.live[step] | taken
    if not _restores(flow, step):
        return "is inside of try or with"
    if any(slot.kind in ("unsure", "exception", "cells") for slot in state.stack):
        return "has a stack that is not known"
    if _glued(flow, step):
        return GLUED
    for name in sorted(live & state.maybe - state.bound):
        return f"has a variable that may not be bound, {name}"
    for name in sorted(live & state.bound & flow.deleted):
        return f"has a variable that is deleted, {name}"
    for name in sorted(state.captured | taken):
        if name in flow.shared or name in flow.later[step]:
            return f"has a variable that a function inside shares, {name}"
    return None


def _restores(flow: StackFlow, step: CodeStep) -> bool:
    """Whether an exception at a step is not handled, but for putting variables back that a
    comprehension had taken (3.12 on)."""
    while step.handler is not None:
        now: CodeStep | None = step.handler.goal
        while now is not None and now.name in ("SWAP", "POP_TOP", "STORE_FAST"):
            now = flow.after[now]
        if now is None or now.name != "RERAISE":
            return False
        step = now
    return True


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
    )


def pieces_of(
    code: CodeType, cuts: frozenset[int], mark: Callable[[str], Any], keep: Any = None
) -> Pieces | str:
    """The pieces of a code object cut before these instructions, or why not.

    `mark` makes what a tuple at an exit begins with; `keep` is called, where the variables of a
    piece hold what nobody needs, before it ends."""
    flow = flow_of(code)
    if isinstance(flow, str):
        return flow
    steps = {step.offset: step for step in reversed(flow.steps)}
    for cut in sorted(cuts):
        why = obstacle(flow, steps[cut]) if cut in steps else "is no instruction"
        if why is not None:
            return why
    places = {steps[cut]: _Cut(flow, steps[cut]) for cut in cuts}
    entry = _Writer(flow, places, None, keep).piece(mark)
    parts, todo = dict[int, Piece](), [entry]
    while todo:
        for leaving in todo.pop().exits:
            if leaving.at not in parts:
                begin = places[steps[leaving.at]]
                parts[leaving.at] = _Writer(flow, places, begin, keep).piece(mark)
                todo.append(parts[leaving.at])
    if max(len(p.code.co_varnames) for p in (entry, *parts.values())) > MOST:
        return "has too many variables"
    return Pieces(entry, parts)


class _Writer:
    """Makes one piece."""

    def __init__(
        self, flow: StackFlow, cuts: dict[CodeStep, _Cut], begin: _Cut | None, keep: Any
    ) -> None:
        self.flow, self.cuts, self.begin, self.keep = flow, cuts, begin, keep
        pairs = (s.what for c in cuts.values() for s in c.state.stack if s.kind == "pair")
        self.methods = frozenset(pairs)
        self.start = flow.first if begin is None else begin.step
        self.body, self.ends = self._reached()
        self.slots = [] if begin is None else begin.slots
        self.low = self._untouched()
        made = _taken(self.slots[self.low :])
        self.stored = self._stored()
        self.loaded = made.union(s.arg for s in self.body if s.name in _LOADS)
        self.cells = tuple(n for n in flow.code.co_cellvars if n in self._celled(made))
        self.given = {step: self._given(cuts[step]) for step in self.ends}
        self.takes = self._takes()
        self.steps: list[CodeStep] = []
        self.copies: dict[CodeStep, list[CodeStep]] = {}

    def _reached(self) -> tuple[set[CodeStep], list[CodeStep]]:
        """The steps of the piece, and the cuts it ends at."""
        if self.begin is None and self.start in self.cuts:
            return set(), [self.start]
        body, ends, todo = {self.start}, set[CodeStep](), [self.start]
        while todo:
            for step in self.flow.successors(todo.pop()):
                if step in self.cuts:
                    ends.add(step)
                elif step not in body:
                    body.add(step)
                    todo.append(step)
        return body, sorted(ends, key=lambda step: step.offset)

    def _stored(self) -> frozenset[str]:
        """The variables that the piece, or a function that it makes, may bind anew."""
        mine = {s.arg for s in self.body if s.name in _STORES}
        makers = {s.arg for s in self.body if s.name in ("LOAD_CLOSURE", "LOAD_FAST")}
        makers |= _taken(self.slots)
        return frozenset(n for n in mine if type(n) is str) | (makers & self.flow.shared)

    def _untouched(self) -> int:
        """How many slots, from the bottom, the piece neither changes nor looks at, nor has to give
        since they are made at its beginning only."""
        handlers = [step.handler.depth for step in self.body if step.handler is not None]
        made = [
            number
            for end in self.ends
            for number, (mine, slot) in enumerate(zip(self.slots, self.cuts[end].slots))
            if slot.kind == "value" != mine.kind
        ]
        return min([len(self.slots), *map(self.flow.lowest, self.body), *handlers, *made])

    def _celled(self, made: frozenset[str]) -> set[Any]:
        return {s.arg for s in self.body if s.name in _CELLS or s.name == "LOAD_FAST"} | made

    def _given(self, cut: _Cut) -> tuple[Variable, ...]:
        """What is given at a cut: all that may be another one than it was at the beginning."""
        slots = [k for k, slot in enumerate(cut.slots) if slot.kind == "value" and k >= self.low]
        return (*slots, *[name for name in cut.variables if name in self.stored])

    def _takes(self) -> tuple[Variable, ...]:
        """What a piece needs of what there is as it begins."""
        if self.begin is None:
            return self.flow.arguments
        high = list(enumerate(self.slots))[self.low :]
        used = self.loaded.union(*self.given.values())
        more = [slot.what for _, slot in high if slot.kind == "argument"]
        used = used.union(more)
        known = dict.fromkeys((*self.begin.variables, *more))
        slots = [k for k, slot in high if slot.kind == "value"]
        return (*slots, *[name for name in known if name in used])

    def piece(self, mark: Callable[[str], Any]) -> Piece:
        """The piece."""
        code = self.flow.code
        at = self.flow.steps[0].offset if self.begin is None else self.start.offset
        exits = tuple(self._exit(self.cuts[step], mark, at) for step in self.ends)
        self._head()
        self._write({leaving.at: leaving for leaving in exits})
        parameters = [_name(variable) for variable in self.takes]
        used = [s.arg for s in self.steps if s.name in _LOCALS and s.arg not in self.cells]
        variables = tuple(dict.fromkeys((*parameters, *used)))
        deepest = max((len(self.cuts[s].slots) + len(self.given[s]) for s in self.ends), default=0)
        made, origin = assemble(
            code,
            self.steps,
            co_argcount=len(parameters),
            co_posonlyargcount=0,
            co_kwonlyargcount=0,
            co_varnames=variables,
            co_nlocals=len(variables),
            co_cellvars=self.cells,
            co_flags=code.co_flags & ~COLLECTED,
            co_stacksize=code.co_stacksize + deepest + 4,
        )
        keeps = any(self._keeps(self.cuts[step]) for step in self.ends)
        branches = any(step.goal is not None for step in self.body)
        deep = len(self.slots)
        iterates = any(
            step.name == "FOR_ITER" and len(self.flow.states[step].stack) <= deep
            for step in self.body
        )
        moved = frozenset(v for v in self.takes if type(v) is int or v in self.stored)
        moved = moved if self.begin is not None else frozenset()
        return Piece(made, at, self.takes, moved, exits, keeps, branches, iterates, origin)

    def _exit(self, cut: _Cut, mark: Callable[[str], Any], at: int) -> Exit:
        done = tuple(sorted(self.stored - set(cut.variables)))
        sign = mark(f"hybrid cut {at} {cut.step.offset}")
        return Exit(sign, cut.step.offset, self.given[cut.step], done)

    def _keeps(self, cut: _Cut) -> bool:
        """Whether the variables of the piece hold what nobody needs as it ends at a cut."""
        dead = (self.stored & cut.state.maybe) - set(cut.variables)
        return self.keep is not None and bool(dead)

    # ---- steps
    def _add(self, name: str, arg: Any = 0) -> CodeStep:
        self.steps.append(CodeStep(name, arg, self.start.position))
        return self.steps[-1]

    def _load(self, name: str) -> None:
        self._add("LOAD_DEREF" if name in self.cells else "LOAD_FAST", name)

    def _head(self) -> None:
        """What runs first: cells, and the stack as it was."""
        count = len(self.flow.code.co_freevars)
        if count:
            self._add("COPY_FREE_VARS", count)
        for name in self.cells:
            self._add("MAKE_CELL", name)
        self._add("RESUME")
        for number, slot in list(enumerate(self.slots))[self.low :]:
            if slot.kind == "value":
                self._add("LOAD_FAST", _name(number))
                self._add("DELETE_FAST", _name(number))
            elif slot.kind == "null":
                self._add("PUSH_NULL")
            elif slot.kind == "constant":
                self._add("LOAD_CONST", slot.what.arg)
            elif slot.kind == "argument":
                self._load(slot.what)
            else:
                for maker in slot.what:
                    self._add(maker.name, maker.arg)

    def _write(self, exits: dict[int, Exit]) -> None:
        """The steps of the function, and what ends the piece in the place of the cuts."""
        jump = self._add("JUMP_FORWARD")
        leaving: dict[CodeStep, CodeStep] = {}
        for step in self.flow.steps:
            if step in self.given:
                leaving[step] = self._leave(self.cuts[step], exits[step.offset])
            if step in self.body:
                self._copy(step)
        for step, copies in self.copies.items():
            if step.goal is not None:
                copies[0].arg = leaving.get(step.goal) or self.copies[step.goal][0]
            for copy in copies if step.handler is not None else ():
                assert step.handler is not None
                goal = self.copies[step.handler.goal][0]
                depth = step.handler.depth - self.low
                copy.handler = step.handler._replace(goal=goal, depth=depth)
        jump.arg = self.copies[self.start][0] if self.body else leaving[self.start]
        if self.steps[self.steps.index(jump) + 1] is jump.arg:
            self.steps.remove(jump)

    def _copy(self, step: CodeStep) -> None:
        """A step of the function; a look-up of a method that waits for its call as the piece ends
        makes a bound one."""
        made = [CodeStep(step.name, step.arg, step.position, step.offset)]
        if step in self.methods:
            if step.name == "LOAD_METHOD":
                made[0].name = "LOAD_ATTR"
            else:
                made[0].arg = step.arg & ~1
            made.append(CodeStep("PUSH_NULL", 0, step.position, step.offset))
            if not NULL_ON_TOP:
                made.append(CodeStep("SWAP", 2, step.position, step.offset))
        self.copies[step] = made
        self.steps += made

    def _leave(self, cut: _Cut, leaving: Exit) -> CodeStep:
        count = len(self.steps)
        if self._keeps(cut):
            self._call(self.keep)
        self._add("LOAD_CONST", leaving.mark)
        for number, given in enumerate(leaving.gives):
            if type(given) is int:
                self._add("COPY", len(cut.slots) - given + number + 1)
            else:
                self._load(str(given))
        self._add("BUILD_TUPLE", 1 + len(leaving.gives))
        self._add("RETURN_VALUE")
        for step in self.steps[count:]:
            step.position = cut.step.position
        return self.steps[count]

    def _call(self, function: Any) -> None:
        order = [("PUSH_NULL", 0), ("LOAD_CONST", function)]
        for name, arg in order[::-1] if NULL_ON_TOP else order:
            self._add(name, arg)
        if "PRECALL" in opcode.opmap:
            self._add("PRECALL")
        self._add("CALL")
        self._add("POP_TOP")


def _name(variable: Variable) -> str:
    return f".{variable}" if type(variable) is int else str(variable)


_STORES = names("STORE_FAST STORE_DEREF DELETE_FAST DELETE_DEREF LOAD_FAST_AND_CLEAR")
_LOADS = names(
    "LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_DEREF LOAD_CLOSURE DELETE_FAST DELETE_DEREF"
)
_LOCALS = names("LOAD_FAST STORE_FAST DELETE_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR")
_CELLS = names("LOAD_DEREF STORE_DEREF DELETE_DEREF LOAD_CLOSURE MAKE_CELL")
