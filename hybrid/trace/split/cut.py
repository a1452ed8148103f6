"""The pieces of a function: where it may be cut, and the code of each piece.

A piece is made of the steps that run from its beginning to the next cuts; at these it gives a tuple
of a mark and what it has changed: values on the stack, variables that are read later.  The piece of
a cut takes what it needs of these, puts the stack back and goes on.  Handlers that hold where cuts
are begin pieces, too: what is raised below them is given as a value.
Invariant: all pieces together run the instructions of the function, in its order, on its lines; a
cut is legal only where all that the rest of the function can see is a value to hand on.
"""

from __future__ import annotations

import opcode
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

from ..heap.allowlist import MISSING
from .assemble import CodeStep, Handler, assemble
from .flow import NULL_ON_TOP, StackFlow, StackValue, names
from .places import ends_of_with, flow_of, landings, obstacle, taken

__all__ = ["Exit", "Piece", "Pieces", "pieces_of"]

COLLECTED = 12  # flags of code: *args, **kwargs
MOST = 200  # variables of a piece
Variable = str | int  # the name of one, or a slot of the stack


@dataclass(frozen=True, slots=True)
class Exit:
    """Where a piece ends at a cut: the mark, the cut, what it gives behind the mark, and the
    variables that it has bound, or slots that it has dropped, and nobody needs."""

    mark: Any
    at: int
    gives: tuple[Variable, ...]
    done: tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """`code` takes these variables, positionally; some are `moved`: it rebinds or uses them up, so
    nobody else is to hold what they are.  `at`: where it begins in the original; `keeps`: it calls
    `keep`; `branches`: control may go several ways; `iterates`: it takes the next item of an
    iterator that it is given; `handles`: it begins with an exception; `unsure`: those of `takes`
    that are MISSING where they are not bound; `origin`: its instructions -> those of the original;
    `interrupted`: the same, where signals arrive first."""

    code: CodeType
    at: int
    takes: tuple[Variable, ...]
    moved: frozenset[Variable]
    exits: tuple[Exit, ...]
    keeps: bool
    branches: bool
    iterates: bool
    handles: bool
    unsure: frozenset[str]
    origin: dict[int, int]
    interrupted: CodeType | None = None


@dataclass(frozen=True, slots=True)
class Pieces:
    """The first piece, and those behind cuts, by cut."""

    entry: Piece
    parts: dict[int, Piece]


class _Cut:
    """What there is before a step: the stack, with method look-ups made whole, and the variables
    that are read from there on.  `handler`: what leads there, if it begins with an exception;
    `depth`: how much of the stack was there before that."""

    def __init__(self, flow: StackFlow, step: CodeStep, lands: bool = False) -> None:
        self.step, self.state = step, flow.states[step]
        stack = self.state.stack
        ways = [s.handler for s in flow.steps if s.handler and s.handler.goal is step]
        self.handler = ways[0] if lands else None
        self.depth = len(stack) if self.handler is None else self.handler.depth
        self.slots = [_whole(slot, k, stack) for k, slot in enumerate(stack[: self.depth])]
        if self.handler is not None:  # the place that it is raised at again, for tracing only
            place = [StackValue("constant", CodeStep("LOAD_CONST", 0))] * self.handler.place
            self.slots += [*place, StackValue("value")]
        live = flow.live[step] | taken(self.slots)
        order = dict.fromkeys((*flow.code.co_varnames, *flow.code.co_cellvars))
        self.variables = tuple(n for n in order if n in live & self.state.maybe)


def _whole(slot: StackValue, number: int, stack: tuple[StackValue, ...]) -> StackValue:
    """A slot, where a method look-up pushes a bound method and an empty slot."""
    if slot.kind != "pair":
        return slot
    below = 0
    while number > below and stack[number - below - 1] == slot:
        below += 1
    return StackValue("value" if (below % 2 == 0) == NULL_ON_TOP else "null")


def pieces_of(
    code: CodeType,
    cuts: frozenset[int],
    mark: Callable[[str], Any],
    keep: Any = None,
    arrive: tuple[Any, Any] | None = None,
) -> Pieces | str:
    """The pieces of a code object cut before these instructions, or why not.

    `mark` makes what a tuple at an exit begins with; `keep` is called, where the variables of a
    piece hold what nobody needs, before it ends.  `arrive`: a C function that has the signals
    arrive that another one gives."""
    flow = flow_of(code)
    if isinstance(flow, str):
        return flow
    steps = flow.at
    for cut in sorted(cuts):
        why = obstacle(flow, steps[cut]) if cut in steps else "is no instruction"
        if why is not None:
            return why
    places = {steps[cut]: _Cut(flow, steps[cut]) for cut in cuts}
    for landing in [goal for cut in cuts for goal in landings(flow, steps[cut])]:
        places[landing] = places.get(landing) or _Cut(flow, landing, True)
    entry = _Writer(flow, places, None, keep).piece(mark)
    calm = places.keys() - {*map(steps.get, cuts)}
    parts, todo = dict[int, Piece](), [entry]
    while todo:
        for leaving in todo.pop().exits:
            if leaving.at not in parts:
                begin = places[steps[leaving.at]]
                made = _Writer(flow, places, begin, keep).piece(mark)
                if arrive is not None and len(places) > len(cuts) and begin.step not in calm:
                    other = _Writer(flow, places, begin, keep, arrive).piece(mark)
                    made = replace(made, interrupted=other.code)
                parts[leaving.at] = made
                todo.append(made)
    if max(len(p.code.co_varnames) for p in (entry, *parts.values())) > MOST:
        return "has too many variables"
    return Pieces(entry, parts)


class _Writer:
    """Makes one piece."""

    def __init__(
        self,
        flow: StackFlow,
        cuts: dict[CodeStep, _Cut],
        begin: _Cut | None,
        keep: Any,
        arrive: tuple[Any, Any] | None = None,
    ) -> None:
        self.flow, self.cuts, self.begin, self.keep = flow, cuts, begin, keep
        self.arrive = arrive
        pairs = (s.what for c in cuts.values() for s in c.state.stack if s.kind == "pair")
        self.methods = frozenset(pairs)
        self.start = flow.first if begin is None else begin.step
        self.body, self.ends = self._reached()
        self.slots = [] if begin is None else begin.slots
        self.low = self._untouched()
        made = taken(self.slots[self.low :])
        self.stored = self._stored()
        self.loaded = made.union(s.arg for s in self.body if s.name in _LOADS)
        self.cells = tuple(n for n in flow.code.co_cellvars if n in self._celled(made))
        self.given = {step: self._given(cuts[step]) for step in self.ends}
        self.takes = self._takes()
        self.unset = self._unset()
        self.doubtful = self._doubtful()
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
                    if step.handler is not None and step.handler.goal in self.cuts:
                        ends.add(step.handler.goal)
                elif step not in body:
                    body.add(step)
                    todo.append(step)
        return body, sorted(ends, key=lambda step: step.offset)

    def _stored(self) -> frozenset[str]:
        """The variables that the piece, or a function that it makes, may bind anew."""
        mine = {s.arg for s in self.body if s.name in _STORES}
        makers = {s.arg for s in self.body if s.name in ("LOAD_CLOSURE", "LOAD_FAST")}
        makers |= taken(self.slots)
        return frozenset(n for n in mine if type(n) is str) | (makers & self.flow.shared)

    def _untouched(self) -> int:
        """How many slots, from the bottom, the piece neither changes nor looks at, nor has to give
        since they are made at its beginning only."""
        inside = [step.handler for step in self.body if step.handler is not None]
        handlers = [handler.depth for handler in inside if handler.goal not in self.cuts]
        made = [
            number
            for end in map(self.cuts.__getitem__, self.ends)
            for number, (mine, slot) in enumerate(zip(self.slots, end.slots[: end.depth]))
            if slot.kind == "value" != mine.kind
        ]
        return min([len(self.slots), *map(self.flow.lowest, self.body), *handlers, *made])

    def _celled(self, made: frozenset[str]) -> set[Any]:
        return {s.arg for s in self.body if s.name in _CELLS or s.name == "LOAD_FAST"} | made

    def _given(self, cut: _Cut) -> tuple[Variable, ...]:
        """What is given at a cut: all that may be another one than it was at the beginning."""
        low = min(self.low, cut.depth)
        slots = [k for k, slot in enumerate(cut.slots) if slot.kind == "value" and k >= low]
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

    def _unset(self) -> list[str]:
        """Variables that the piece gives and may not have bound."""
        given = [(cut, name) for cut, names in self.given.items() for name in names]
        known = {*self.takes, *self.cells}
        found = [name for cut, name in given if name not in self.cuts[cut].state.bound]
        return [n for n in dict.fromkeys(found) if type(n) is str and n not in known]

    def _doubtful(self) -> set[str]:
        """Those that are MISSING where they are not bound, and that it reads there."""
        begin = self.begin
        sure = frozenset[str]() if begin is None else begin.state.bound
        names = {*self.unset, *[n for n in self.takes if begin is not None and n not in sure]}
        return {n for n in names if type(n) is str and any(self._asks(s, n) for s in self.body)}

    def _asks(self, step: CodeStep, name: Any) -> bool:
        reads = step.name in ("LOAD_FAST", "LOAD_FAST_CHECK") and step.arg == name
        return reads and name not in self.flow.states[step].bound

    def piece(self, mark: Callable[[str], Any]) -> Piece:
        """The piece."""
        code = self.flow.code
        at = self.flow.steps[0].offset if self.begin is None else self.start.offset
        exits = tuple(self._exit(self.cuts[step], mark, at) for step in self.ends)
        self._head()
        self._write({leaving.at: leaving for leaving in exits})
        parameters = [_name(variable) for variable in self.takes]
        named = [s.arg for s in self.steps if s.name in _LOCALS and type(s.arg) is str]
        used = [name for name in named if name not in self.cells]
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
            co_stacksize=code.co_stacksize + deepest + 8,
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
        handles, unsure, about = False, frozenset[str](), (exits, keeps, branches, iterates)
        if self.begin is not None:
            handles = self.begin.handler is not None
            names = frozenset(v for v in self.takes if type(v) is str)
            unsure = names & frozenset(self.begin.variables) - self.begin.state.bound
        return Piece(made, at, self.takes, moved, *about, handles, unsure, origin)

    def _exit(self, cut: _Cut, mark: Callable[[str], Any], at: int) -> Exit:
        given = self.given[cut.step]
        done: list[Variable] = [*sorted(self.stored - set(cut.variables))]
        if cut.handler is not None:
            done += [k for k in range(cut.depth, len(self.slots)) if k not in given]
        sign = mark(f"hybrid cut {at} {cut.step.offset}")
        return Exit(sign, cut.step.offset, given, tuple(done))

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
        for name in self.unset:
            self._add("LOAD_CONST", MISSING)
            self._add("STORE_FAST", name)
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

    def _late(self) -> list[CodeStep]:
        """The call of an exit method that the piece begins with, and the step behind it, where
        signals arrive then: the call is at the end of what it ends, and its handlers hold."""
        behind = dict(ends_of_with(self.flow)).get(self.start) if self.arrive else None
        if behind is None:
            return []
        number = self.flow.numbers[behind]
        return self.flow.steps[number - 2 : number]

    def _arrival(self) -> list[CodeStep]:
        """What has signals arrive."""
        count = len(self.steps)
        if self.arrive is not None:
            order = [("PUSH_NULL", 0), ("LOAD_CONST", self.arrive[0])]
            for name, arg in order[::-1] if NULL_ON_TOP else order:
                self._add(name, arg)
            self._call(self.arrive[1])
            if "PRECALL" in opcode.opmap:
                self._add("PRECALL", 1)
            self._add("CALL", 1)
            self._add("POP_TOP")
        return self.steps[count:]

    def _write(self, exits: dict[int, Exit]) -> None:
        """The steps of the function, and what ends the piece in the place of the cuts."""
        late = self._late()
        covered = {} if late else {self.start: self._arrival()}
        jump = self._add("JUMP_FORWARD")
        leaving: dict[CodeStep, list[CodeStep]] = {}
        for step in self.flow.steps:
            if step in self.given:
                leaving[step] = self._leave(self.cuts[step], exits[step.offset])
            if step in self.body:
                self._copy(step)
            if late and step is late[1]:
                covered[late[0]] = self._arrival()
        for step, copies in self.copies.items():
            if step.goal is not None:
                copies[-1].arg = (leaving.get(step.goal) or self.copies[step.goal])[0]
        for group in (covered, self.copies, leaving):
            for step, made in group.items():
                if group is not leaving or self.cuts[step].handler is None:
                    self._handle(step, made, leaving)
        jump.arg = (self.copies[self.start] if self.body else leaving[self.start])[0]
        if self.steps[self.steps.index(jump) + 1] is jump.arg:
            self.steps.remove(jump)

    def _handle(
        self, step: CodeStep, made: list[CodeStep], leaving: dict[CodeStep, list[CodeStep]]
    ) -> None:
        """Have what is raised in these steps go where it goes in one of the function."""
        handler = step.handler
        goals = (
            ()
            if handler is None
            else leaving.get(handler.goal, ()) or self.copies.get(handler.goal, ())
        )
        if handler is None or not goals:
            return
        other = handler._replace(goal=goals[0], depth=max(handler.depth - self.low, 0))
        for each in made:
            each.handler = each.handler or other

    def _copy(self, step: CodeStep) -> None:
        """A step of the function; a look-up of a method that waits for its call as the piece ends
        makes a bound one."""
        made = [CodeStep(step.name, step.arg, step.position, step.offset)]
        if any(self._asks(step, name) for name in self.doubtful):
            made = self._asked(step) + made
            made[3].arg = made[-1]
        if step in self.methods:
            if step.name == "LOAD_METHOD":
                made[0].name = "LOAD_ATTR"
            else:
                made[0].arg = step.arg & ~1
            made.append(CodeStep("PUSH_NULL", 0, step.position, step.offset))
            if not NULL_ON_TOP:
                made.append(CodeStep("SWAP", 2, step.position, step.offset))
        if step is self.start and step.handler is not None:
            # what a call raises is looked up in front of it (3.13): that is to be covered, too
            made.insert(0, CodeStep("NOP", 0, step.position, step.offset))
        self.copies[step] = made
        self.steps += made

    @staticmethod
    def _asked(step: CodeStep) -> list[CodeStep]:
        """What unbinds a variable that is MISSING, before it is read."""
        order = [("LOAD_FAST", step.arg), ("LOAD_CONST", MISSING), ("IS_OP", 0)]
        order += [(_UNLESS, 0), ("DELETE_FAST", step.arg)]
        return [CodeStep(name, arg, step.position, step.offset) for name, arg in order]

    def _leave(self, cut: _Cut, leaving: Exit) -> list[CodeStep]:
        count = len(self.steps)
        high = max(cut.depth - self.low, 0) + len(cut.slots) - cut.depth
        if cut.handler is not None:  # that it is a handler is seen by this
            self._add("PUSH_EXC_INFO")
            self._add("SWAP", 2)
            self._add("POP_EXCEPT")
        if self._keeps(cut):
            self._call(self.keep)
            self._add("POP_TOP")
        self._add("LOAD_CONST", leaving.mark)
        for number, given in enumerate(leaving.gives):
            if type(given) is int:
                self._add("COPY", len(cut.slots) - given + number + 1)
            else:
                self._load(str(given))
                if given in self.doubtful:
                    self._unless_bound(high + number + 1)
        self._add("BUILD_TUPLE", 1 + len(leaving.gives))
        for _ in range(high if cut.handler is not None else 0):
            # the exception holds this frame, which is not to hold the exception
            self._add("SWAP", 2)
            self._add("POP_TOP")
        self._add("RETURN_VALUE")
        for step in self.steps[count:]:
            step.position = cut.step.position
        return self.steps[count:]

    def _unless_bound(self, depth: int) -> None:
        """MISSING, where the latest step would read a variable that is not bound."""
        self.steps[-1].name = _CHECKED
        jump, drop = CodeStep("JUMP_FORWARD"), CodeStep("POP_TOP")
        self.steps[-1].handler = Handler(drop, depth, False)
        jump.arg = CodeStep("NOP")
        self.steps += [jump, drop, CodeStep("LOAD_CONST", MISSING), jump.arg]

    def _call(self, function: Any) -> None:
        order = [("PUSH_NULL", 0), ("LOAD_CONST", function)]
        for name, arg in order[::-1] if NULL_ON_TOP else order:
            self._add(name, arg)
        if "PRECALL" in opcode.opmap:
            self._add("PRECALL")
        self._add("CALL")


def _name(variable: Variable) -> str:
    return f".{variable}" if type(variable) is int else str(variable)


_UNLESS = "POP_JUMP_FORWARD_IF_FALSE" if "PRECALL" in opcode.opmap else "POP_JUMP_IF_FALSE"
_CHECKED = "LOAD_FAST_CHECK" if "LOAD_FAST_CHECK" in opcode.opmap else "LOAD_FAST"
_STORES = names("STORE_FAST STORE_DEREF DELETE_FAST DELETE_DEREF LOAD_FAST_AND_CLEAR")
_LOADS = names(
    "LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_DEREF LOAD_CLOSURE DELETE_FAST DELETE_DEREF"
)
_LOCALS = names("LOAD_FAST STORE_FAST DELETE_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR")
_CELLS = names("LOAD_DEREF STORE_DEREF DELETE_DEREF LOAD_CLOSURE MAKE_CELL")
