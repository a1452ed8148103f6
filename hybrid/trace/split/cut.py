"""The pieces of a function: where it may be cut, and the code of each piece.

A piece begins at a cut (or where the function begins) with the values that were on the stack and
the variables that are read later as its arguments; where it reaches a cut it returns those, behind
the mark of that cut, in one tuple.
Invariant: a cut is made only where the next piece gets all that the rest of the function can see.
"""

from __future__ import annotations

import opcode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from .assemble import Step, assemble
from .flow import NULL_ON_TOP, Flow, Slot, State, names, stored_inside

__all__ = ["Piece", "Pieces", "pieces_of", "obstacle", "flow_of"]

_LOOK_AROUND = frozenset({"locals", "vars", "dir", "eval", "exec", "super"})
_NULL, _TEMPORARY = ".null", ".{}"


@dataclass(frozen=True)
class Piece:
    """One piece.  Its parameters: the arguments `kept` of the function, then what the tuple that
    leads to it holds behind the mark, in order (`carried`)."""

    code: CodeType
    cut: int
    kept: tuple[str, ...]
    carried: tuple[str, ...]
    origin: dict[int, int]  # offset of an instruction -> the one it has in the function
    reaches: frozenset[int]  # the cuts it may end at
    returns: bool  # whether it may end as the function ends

    @property
    def only(self) -> int | None:
        """The cut it ends at, if it ends nowhere else (or with an exception)."""
        return None if self.returns or len(self.reaches) != 1 else min(self.reaches)


@dataclass(frozen=True)
class Pieces:
    """A function in pieces.  `arguments`: those of the first piece, by position."""

    entry: Piece
    parts: dict[int, Piece]
    arguments: tuple[str, ...]


class _Shape:
    """What goes over a cut: which arguments stay with the caller, which slots and variables do
    not."""

    def __init__(self, flow: Flow, step: Step) -> None:
        self.step, self.state = step, flow.states[step]
        live = flow.live[step]
        self.slots = [_plain(slot, n, self.state) for n, slot in enumerate(self.state.stack)]
        again = {slot.what for slot in self.slots if slot.kind == "argument"}
        self.kept = tuple(n for n in flow.arguments if n in flow.kept and n in live | again)
        names = (*flow.code.co_varnames, *flow.code.co_cellvars)
        self.variables = tuple(
            n for n in dict.fromkeys(names) if n in live & self.state.bound - flow.kept
        )
        self.temporaries = tuple(
            _TEMPORARY.format(n) for n, slot in enumerate(self.slots) if _travels(slot)
        )
        self.dies = bool(self.state.maybe - live - flow.kept)

    @property
    def parameters(self) -> tuple[str, ...]:
        return self.kept + self.temporaries + self.variables


def _travels(slot: Slot) -> bool:
    return slot.kind in ("value", "comprehension")


def _plain(slot: Slot, number: int, state: State) -> Slot:
    """A slot, where method look-ups are made whole: a bound method, and an empty slot."""
    if slot.kind != "pair":
        return slot
    first = number == 0 or state.stack[number - 1] != slot or _second(state, number - 1)
    return Slot("value" if first == NULL_ON_TOP else "null")


def _second(state: State, number: int) -> bool:
    """Whether a slot is the upper half of a look-up (the same one may be there only once)."""
    slot = state.stack[number]
    return slot.kind == "pair" and number > 0 and state.stack[number - 1] == slot


def flow_of(code: CodeType) -> Flow | str:
    """The flow of a function, or why it cannot be cut anywhere."""
    if code.co_flags & 0x2A0 or not code.co_flags & 1:
        return "it is a generator, a coroutine or no function"
    if set(code.co_varnames) & set(code.co_freevars):
        return "a variable has the name of one outside"
    flow = Flow(code)
    for step in flow.steps:
        if step.name == "LOAD_GLOBAL" and code.co_names[step.arg >> 1] in _LOOK_AROUND:
            return f"it calls {code.co_names[step.arg >> 1]}"
    return flow.unknown or flow


def obstacle(flow: Flow, step: Step) -> str | None:
    """Why a function cannot be cut before a step; None where it can."""
    if step not in flow.states:
        return "it is never reached"
    state, live = flow.states[step], flow.live[step]
    if step.handler is not None:
        return "it is inside try or with"
    if any(slot.kind in ("unsure", "exception", "cells") for slot in state.stack):
        return "an exception is being handled, or a function is being made"
    if _glued(flow, step):
        return "it belongs to the instruction before it"
    for name in sorted(live & state.maybe - state.bound):
        return f"the variable {name} may be unbound"
    taken = state.captured.union(*(s.what for s in state.stack if s.kind == "comprehension"))
    for name in sorted(taken & (live | state.maybe)):
        if name not in flow.kept and _stored_later(flow, step, name):
            return f"a function that was made shares the variable {name}"
    return None


def _glued(flow: Flow, step: Step) -> bool:
    """Whether a step goes on with what the one before it began, or the function has not begun."""
    before = flow.before[step]
    return (
        before is None
        or step.offset <= flow.begin
        or step.name == "END_FOR"
        or before.name in ("KW_NAMES", "PRECALL")
        or (NULL_ON_TOP and before.name == "END_FOR")
    )


def _stored_later(flow: Flow, step: Step, name: str) -> bool:
    """Whether a variable may be bound anew or deleted behind a step, here or in a function
    inside."""
    if stored_inside(flow.code, name):
        return True
    seen, work = {step}, [step]
    while work:
        now = work.pop()
        if now.arg == name and now.name in ("STORE_DEREF", "DELETE_DEREF", "STORE_FAST"):
            return True
        for following in flow.successors(now):
            if following not in seen:
                seen.add(following)
                work.append(following)
    return False


def pieces_of(
    code: CodeType,
    cuts: Iterable[int],
    mark: Callable[[int], Any] = lambda cut: ("cut", cut),
    keep: Any = None,
) -> Pieces | str:
    """A function in pieces, cut before the instructions at some offsets; or why that cannot be.
    `mark` makes the mark of a cut; `keep` is called, without arguments, in a piece that ends while
    it holds variables that nobody reads any more."""
    flow = flow_of(code)
    if isinstance(flow, str):
        return flow
    steps = {step.offset: step for step in reversed(flow.steps)}
    wanted = {}
    for cut in sorted(cuts):
        if cut not in steps:
            return f"there is no instruction at {cut}"
        if steps[cut] in flow.states:
            wanted[steps[cut]] = cut
    for step in wanted:
        why = obstacle(flow, step)
        if why is not None:
            return f"line {step.position[0]}: {why}"
    return _Cutter(flow, wanted, mark, keep).pieces()


class _Cutter:
    """Makes the pieces of one function."""

    def __init__(
        self, flow: Flow, cuts: dict[Step, int], mark: Callable[[int], Any], keep: Any
    ) -> None:
        self.flow, self.cuts, self.keep = flow, cuts, keep
        self.shapes = {step: _Shape(flow, step) for step in cuts}
        self.marks = {step: mark(cut) for step, cut in cuts.items()}
        self.whole = {
            slot.what
            for shape in self.shapes.values()
            for slot in shape.state.stack
            if slot.kind == "pair"
        }

    def pieces(self) -> Pieces:
        begin = next(s for s in self.flow.steps if s.name == "RESUME")
        first = self.flow.after[begin]
        assert first is not None
        entry = self.piece(first, None)
        parts: dict[int, Piece] = {}
        work = sorted(entry.reaches)
        at = {cut: step for step, cut in self.cuts.items()}
        while work:
            cut = work.pop()
            if cut not in parts:
                parts[cut] = self.piece(at[cut], self.shapes[at[cut]])
                work += sorted(parts[cut].reaches)
        return Pieces(entry, parts, self.flow.arguments)

    def reached(self, start: Step) -> tuple[set[Step], set[Step]]:
        """The steps of the piece that begins at a step, and the cuts it ends at."""
        body, ends, work = {start}, set(), [start]
        while work:
            for step in self.flow.successors(work.pop()):
                if step in self.cuts:
                    ends.add(step)
                elif step not in body:
                    body.add(step)
                    work.append(step)
        return body, ends

    def piece(self, start: Step, shape: _Shape | None) -> Piece:
        first = shape is None and start in self.cuts
        body, ends = (set(), {start}) if first else self.reached(start)
        parameters = self.flow.arguments if shape is None else shape.parameters
        cells = self.cells(body)
        built = _Builder(self, parameters, cells, start)
        built.begin(shape)
        jump = Step("JUMP_FORWARD", None, start.position)
        built.steps.append(jump)
        copies: dict[Step, Step] = {}
        entry: dict[Step, Step] = {}
        for step in self.flow.steps:
            if step in ends:
                entry[step] = built.end(step, self.shapes[step], self.marks[step])
            if step in body:
                copies[step] = built.copy(step, whole=step in self.whole)
        for step, copy in copies.items():
            if step.goal is not None:
                copy.arg = entry.get(step.goal) or copies[step.goal]
            if step.handler is not None:
                goal = copies[step.handler.goal]
                for made in built.made[step]:
                    made.handler = step.handler._replace(goal=goal)
        jump.arg = copies.get(start) or entry[start]
        if built.steps[built.steps.index(jump) + 1] is jump.arg:
            built.steps.remove(jump)
        return self.finished(built, start, shape, body, ends, parameters, cells)

    def cells(self, body: set[Step]) -> tuple[str, ...]:
        used = {s.arg for s in body if s.name in _CELL_STEPS and type(s.arg) is str}
        used |= {s.arg for s in body if s.name == "LOAD_FAST"}
        return tuple(n for n in self.flow.code.co_cellvars if n in used)

    def finished(
        self,
        built: _Builder,
        start: Step,
        shape: _Shape | None,
        body: set[Step],
        ends: set[Step],
        parameters: tuple[str, ...],
        cells: tuple[str, ...],
    ) -> Piece:
        code = self.flow.code
        used = (s.arg for s in built.steps if s.name in _LOCAL_STEPS and s.arg not in cells)
        longest = max((len(self.shapes[s].parameters) for s in ends), default=0)
        made, origin = assemble(
            code,
            built.steps,
            co_argcount=len(parameters),
            co_posonlyargcount=0,
            co_kwonlyargcount=0,
            co_varnames=(names := tuple(dict.fromkeys((*parameters, *used)))),
            co_nlocals=len(names),
            co_cellvars=cells,
            co_flags=code.co_flags & ~0x0C,
            co_stacksize=code.co_stacksize + longest + 4,
        )
        kept = self.flow.arguments if shape is None else shape.kept
        return Piece(
            made,
            -1 if shape is None else self.cuts[start],
            kept,
            parameters[len(kept) :],
            origin,
            frozenset(self.cuts[s] for s in ends),
            any(s.name in ("RETURN_VALUE", "RETURN_CONST") for s in body),
        )


_CELL_STEPS = names("LOAD_DEREF STORE_DEREF DELETE_DEREF LOAD_CLOSURE MAKE_CELL")
_LOCAL_STEPS = names("LOAD_FAST STORE_FAST DELETE_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR")


class _Builder:
    """The steps of one piece."""

    def __init__(
        self, cutter: _Cutter, parameters: tuple[str, ...], cells: tuple[str, ...], start: Step
    ) -> None:
        self.cutter, self.cells, self.start = cutter, cells, start
        self.steps: list[Step] = []
        self.made: dict[Step, list[Step]] = {}

    def add(self, name: str, arg: Any = 0) -> Step:
        step = Step(name, arg, self.start.position)
        self.steps.append(step)
        return step

    def begin(self, shape: _Shape | None) -> None:
        """What runs first: cells, and the stack as it was."""
        code = self.cutter.flow.code
        if code.co_freevars:
            self.add("COPY_FREE_VARS", len(code.co_freevars))
        for name in self.cells:
            self.add("MAKE_CELL", name)
        self.add("RESUME")
        for number, slot in enumerate(shape.slots if shape is not None else ()):
            if _travels(slot):
                name = _TEMPORARY.format(number)
                self.add("LOAD_FAST", name)
                self.add("DELETE_FAST", name)
            elif slot.kind == "null":
                self.add("PUSH_NULL")
            elif slot.kind == "constant":
                self.add("LOAD_CONST", slot.what.arg)
            else:
                self.load(slot.what)

    def load(self, name: str) -> None:
        self.add("LOAD_DEREF" if name in self.cells else "LOAD_FAST", name)

    def copy(self, step: Step, whole: bool) -> Step:
        """A step of the function; `whole`: a method look-up that makes a bound method."""
        first = Step(step.name, step.arg, step.position, step.offset)
        self.steps.append(first)
        self.made[step] = [first]
        if whole:
            if step.name == "LOAD_METHOD":
                first.name, first.arg = "LOAD_ATTR", step.arg
            else:
                first.arg = step.arg & ~1
            more = [Step("PUSH_NULL", 0, step.position, step.offset)]
            more += [] if NULL_ON_TOP else [Step("SWAP", 2, step.position, step.offset)]
            self.steps += more
            self.made[step] += more
        return first

    def end(self, step: Step, shape: _Shape, mark: Any) -> Step:
        """Where a piece reaches a cut: what goes over it, in a tuple."""
        count = len(self.steps)
        for number in range(len(shape.slots) - 1, -1, -1):
            slot = shape.slots[number]
            if _travels(slot):
                self.add("STORE_FAST", _TEMPORARY.format(number))
            elif slot.kind == "null":
                self.add("STORE_FAST", _NULL)
            else:
                self.add("POP_TOP")
        if self.cutter.keep is not None and shape.dies:
            self.call(self.cutter.keep)
        self.add("LOAD_CONST", mark)
        for name in shape.temporaries + shape.variables:
            self.load(name)
        self.add("BUILD_TUPLE", 1 + len(shape.temporaries + shape.variables))
        self.add("RETURN_VALUE")
        for made in self.steps[count:]:
            made.position = step.position
        return self.steps[count]

    def call(self, function: Any) -> None:
        if NULL_ON_TOP:
            self.add("LOAD_CONST", function)
            self.add("PUSH_NULL")
        else:
            self.add("PUSH_NULL")
            self.add("LOAD_CONST", function)
        if "PRECALL" in opcode.opmap:
            self.add("PRECALL", 0)
        self.add("CALL", 0)
        self.add("POP_TOP")
