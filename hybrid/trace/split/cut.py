"""Cutting a code object: pieces that stop before instructions, and go on from there.

A piece is made of the instructions that run from its beginning to the next cuts; at these it gives
a tuple of a mark and what it has changed: values on the stack, variables that are read later.  The
piece of a cut begins with these as parameters and puts the stack back.  Invariant: all pieces
together run the instructions of the original, in its order, with their lines.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from .assemble import Label, Place, assembled, handlers_table, lines_table
from .flow import Cut, NoCut, Shape, jumps

__all__ = ["SUPPORTED", "Exit", "Piece", "Pieces", "legal", "pieces_of"]

SUPPORTED = sys.version_info[:2] == (3, 11)
COLLECTED = 12  # flags of code: *args, **kwargs
NOWHERE = (None, None, None, None)  # in the source
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
    nobody else is to hold what they are.  `at`: where it begins in the original; `keeps`:
    it calls `keep`; `branches`: control may go several ways; `iterates`: it takes the next item of
    an iterator that it is given; `origin`: its instructions -> those of the original."""

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


def legal(code: CodeType) -> Callable[[int], bool]:
    """Tells whether a code object may be cut before an instruction."""
    try:
        shape = Shape(code)
    except NoCut:
        return lambda at: False

    def fits(at: int) -> bool:
        try:
            shape.cut(at)
        except NoCut:
            return False
        return True

    return fits


def pieces_of(
    code: CodeType, cuts: frozenset[int], mark: Callable[[str], Any], keep: Any = None
) -> Pieces | str:
    """The pieces of a code object cut before these instructions, or why not.

    `mark` makes what a tuple at an exit begins with; `keep` is called, where the variables of a
    piece hold what nobody needs, before it ends."""
    if not SUPPORTED:
        return "cannot be cut on this interpreter"
    try:
        shape = Shape(code)
        places = {at: shape.cut(at) for at in cuts}
        entry = _Writer(shape, places, None, keep).piece(mark)
        parts, todo = dict[int, Piece](), [entry]
        while todo:
            for leaving in todo.pop().exits:
                if leaving.at not in parts:
                    made = _Writer(shape, places, places[leaving.at], keep).piece(mark)
                    parts[leaving.at] = made
                    todo.append(made)
        return Pieces(entry, parts)
    except NoCut as error:
        return str(error)


class _Writer:
    """Makes one piece."""

    def __init__(self, shape: Shape, cuts: dict[int, Cut], begin: Cut | None, keep: Any) -> None:
        self.shape, self.cuts, self.begin, self.keep = shape, cuts, begin, keep
        self.methods = frozenset[int]().union(*[cut.methods for cut in cuts.values()])
        self.at = shape.offsets[0] if begin is None else begin.at
        self.depth = 0 if begin is None else len(begin.slots)
        self.offsets, self.ends = shape.reached(self.at, frozenset(cuts))
        self.low = shape.untouched(self.offsets, self.depth)
        self.stored = shape.stored(self.offsets)
        self.given = {at: self._given(cuts[at]) for at in self.ends}
        self.taken = taken = self._taken()
        first = [f".{v}" if type(v) is int else str(v) for v in taken]
        names = [*first, *[n for n in shape.code.co_varnames if n not in first]]
        if len(names) + len(shape.code.co_freevars) > MOST:
            raise NoCut("has too many variables")
        self.names = {name: number for number, name in enumerate(names)}
        self.consts = list(shape.code.co_consts)
        self.labels = {at: Label() for at in self.offsets}
        self.leaving = {at: Label() for at in self.ends}

    def piece(self, mark: Callable[[str], Any]) -> Piece:
        """The piece."""
        shape, code = self.shape, self.shape.code
        exits = tuple([self._exit(self.cuts[at], mark) for at in sorted(self.ends)])
        keeps = self.keep is not None and any(leaving.done for leaving in exits)
        items = self._items({leaving.at: leaving for leaving in exits})
        made, places = assembled(items)
        deepest = max([len(self.cuts[e.at].slots) + len(e.gives) for e in exits], default=0)
        new = code.replace(
            co_code=made,
            co_consts=tuple(self.consts),
            co_varnames=tuple(self.names),
            co_nlocals=len(self.names),
            co_argcount=len(self.taken),
            co_posonlyargcount=0,
            co_kwonlyargcount=0,
            co_flags=code.co_flags & ~COLLECTED,
            co_stacksize=code.co_stacksize + deepest + 4,
            co_linetable=lines_table(places, code.co_firstlineno),
            co_exceptiontable=handlers_table(places),
        )
        origin = {p.offset: p.origin for p in places if p.origin is not None}
        branches = any(jumps(shape.instructions[at]) for at in self.offsets)
        iterates = shape.iterates(self.offsets, self.depth)
        moved = frozenset([v for v in self.taken if type(v) is int or v in self.stored])
        if self.begin is None:
            moved = frozenset()
        return Piece(new, self.at, self.taken, moved, exits, keeps, branches, iterates, origin)

    def _given(self, cut: Cut) -> tuple[Variable, ...]:
        """What is given at a cut: all that may be another one than it was at the beginning."""
        gives: list[Variable] = [k for k, v in enumerate(cut.slots) if v and k >= self.low]
        return (*gives, *[name for name in cut.variables if name in self.stored])

    def _taken(self) -> tuple[Variable, ...]:
        """What a piece needs of what there is as it begins."""
        shape, begin = self.shape, self.begin
        if begin is None:
            return shape.parameters
        used = shape.loaded(self.offsets).union(*self.given.values())
        slots = [k for k, value in enumerate(begin.slots) if value and k >= self.low]
        return (*slots, *[name for name in begin.variables if name in used])

    def _exit(self, cut: Cut, mark: Callable[[str], Any]) -> Exit:
        gives = self.given[cut.at]
        done = tuple(sorted(self.stored - set(cut.variables)))
        return Exit(mark(f"hybrid cut {self.at} {cut.at}"), cut.at, gives, done)

    def _items(self, exits: dict[int, Exit]) -> list[Place | Label]:
        """All instructions."""
        shape, out = self.shape, self._head()
        positions = list(shape.code.co_positions())
        emitted = set(self.offsets)
        for at in shape.offsets:
            if at in exits:
                out += [self.leaving[at], *self._leave(self.cuts[at], exits[at])]
            if at in emitted:
                out.append(self.labels[at])
                if at in self.methods:
                    for opname, operand in (("PUSH_NULL", 0), ("SWAP", 2)):
                        out.append(Place(opname, operand, positions[at // 2], None, at))
                if shape.instructions[at].opname not in ("COPY_FREE_VARS", "EXTENDED_ARG"):
                    out.append(self._copied(at, positions[at // 2]))
        return out

    def _head(self) -> list[Place | Label]:
        count = len(self.shape.code.co_freevars)
        out: list[Place | Label] = [Place("COPY_FREE_VARS", count)] if count else []
        if self.begin is None:
            return out
        out.append(Place("RESUME"))
        for number, value in enumerate(self.begin.slots):
            if number < self.low:
                continue
            if number in self.begin.made:
                out += [self._copied(at, NOWHERE) for at in self.begin.made[number]]
            elif value:
                place = self.names[f".{number}"]
                out += [Place("LOAD_FAST", place), Place("DELETE_FAST", place)]
            else:
                out.append(Place("PUSH_NULL"))
        return [*out, Place("JUMP_FORWARD", self.labels[self.at])]

    def _copied(self, at: int, position: Any) -> Place:
        """An instruction of the original."""
        instruction, code = self.shape.instructions[at], self.shape.code
        operand: int | Label = instruction.arg or 0
        if jumps(instruction):
            goal = instruction.argval
            operand = self.leaving[goal] if goal in self.leaving else self.labels[goal]
        elif instruction.opcode in dis.haslocal:
            operand = self.names[code.co_varnames[instruction.arg or 0]]
        elif instruction.opcode in dis.hasfree:
            operand = len(self.names) + (instruction.arg or 0) - len(code.co_varnames)
        entries, handler = self.shape.handlers(at), None
        if entries:
            entry = entries[0]
            if entry.depth < self.low:
                raise NoCut("has handlers below what a piece needs of the stack")
            handler = self.labels[entry.target], entry.depth - self.low, entry.lasti
        opname = "LOAD_ATTR" if at in self.methods else instruction.opname
        return Place(opname, operand, position, handler, at)

    def _leave(self, cut: Cut, leaving: Exit) -> list[Place]:
        out = []
        if self.keep is not None and leaving.done:
            out += [Place("PUSH_NULL"), Place("LOAD_CONST", self._const(self.keep))]
            out += [Place("PRECALL"), Place("CALL"), Place("POP_TOP")]
        out.append(Place("LOAD_CONST", self._const(leaving.mark)))
        depth, count = len(cut.slots), 1
        for given in leaving.gives:
            if type(given) is int:
                out.append(Place("COPY", depth - given + count))
            else:
                out.append(Place("LOAD_FAST", self.names[str(given)]))
            count += 1
        return [*out, Place("BUILD_TUPLE", count), Place("RETURN_VALUE")]

    def _const(self, value: Any) -> int:
        self.consts.append(value)
        return len(self.consts) - 1
