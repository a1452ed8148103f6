"""The frame of an abstract run: its value stack, its variables, and where control may go.

Invariant: the stack before an instruction only grows (`flow` joins), and a stack of another depth
than before makes the code unknown.
"""

from __future__ import annotations

import dis
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from types import CodeType
from typing import Any

from .expressions import (
    EMPTY,
    MAX_DEPTH,
    TOP,
    TOPS,
    Derived,
    Expr,
    Slot,
    Summary,
    bounded,
    called_at,
    constant,
    join,
    named,
    nested,
    one,
)

__all__ = ["Frame", "listed"]


@lru_cache(1024)
def listed(code: CodeType) -> list[dis.Instruction]:
    """The instructions of a code object, in order."""
    return list(dis.get_instructions(code))


class Frame:
    """The state of one abstract run: `stack` now, `goes` the instructions that may follow, `states`
    the stack before each instruction, `work` those to look at again."""

    def __init__(self, code: CodeType) -> None:
        self.code, self.summary = code, Summary()
        self.instructions = listed(code)
        self.index = {ins.offset: n for n, ins in enumerate(self.instructions)}
        # undocumented, in every CPython that has a table here
        self.table = dis._parse_exception_table(code)  # type: ignore[attr-defined]
        count = (
            code.co_argcount
            + code.co_kwonlyargcount
            + bool(code.co_flags & 4)
            + bool(code.co_flags & 8)
        )
        self.inner_writes = {
            ins.argval
            for inner in nested(code)
            for ins in listed(inner)
            if ins.opname in ("STORE_DEREF", "DELETE_DEREF")
        }
        # one set per variable for the whole code: order does not count, so a loop needs no more
        self.variables: defaultdict[str, Slot] = defaultdict(
            frozenset, {v: one(named("arg", v)) for v in code.co_varnames[:count]}
        )
        self.stack: list[Slot] = []
        self.goes: list[int] = []
        self.states: dict[int, tuple[Slot, ...]] = {}
        self.work: list[int] = []
        self.now = 0  # the instruction that is looked at, and where each may go
        self.ways: defaultdict[int, set[int]] = defaultdict(set)

    # ---- control
    def start(self) -> None:
        """Look at every instruction again, from the first one and an empty stack."""
        self.states, self.work = {0: ()}, [0]

    def enter(self, number: int) -> dis.Instruction:
        """Go to an instruction; an exception in it may reach its handlers."""
        instruction, self.now = self.instructions[number], number
        for entry in self.table:
            if entry.start <= instruction.offset < entry.end:
                kept = list(self.states[number][: entry.depth])
                # the exception, and below it the offset where it happened (`lasti`)
                raised = [TOPS] * (entry.depth - len(kept) + 1 + entry.lasti)
                self.flow(self.index[entry.target], kept + raised)
        self.stack, self.goes = list(self.states[number]), [number + 1]
        return instruction

    def flow(self, number: int, stack: list[Slot]) -> None:
        """Control may reach an instruction with this stack."""
        self.ways[self.now].add(number)
        old = self.states.get(number)
        if old is None:
            new = tuple(stack)
        elif len(old) != len(stack):
            self.summary.unknown = f"{self.instructions[number].opname} (stack depth)"
            return
        else:
            new = tuple(map(join, old, stack))
        if new != old:
            self.states[number] = new
            self.work.append(number)

    def target(self, instruction: dis.Instruction) -> int:
        """The instruction that a jump goes to."""
        return self.index[instruction.argval]

    # ---- stack and variables
    def drop(self, count: int) -> None:
        """Take the topmost slots off."""
        if count:
            if count > len(self.stack):
                raise IndexError
            del self.stack[len(self.stack) - count :]

    def top(self, count: int) -> list[Slot]:
        """Take the topmost slots off and give them, lowest first."""
        slots = self.stack[len(self.stack) - count :] if count else []
        self.drop(count)
        return slots

    def result(self, instruction: dis.Instruction) -> None:
        """Push what this instruction gives."""
        self.stack.append(called_at(instruction.offset))

    def read_name(self, name: Expr) -> None:
        """A name is read here."""
        self.summary.reads.add(name)
        offset = self.instructions[self.now].offset
        self.summary.names[name] = min(offset, self.summary.names.get(name, offset))

    def cell(self, name: str) -> Slot:
        """A variable that lives in a cell."""
        if name in self.code.co_freevars:
            outer = named("cell", name)
            self.read_name(outer)
            return one(outer)
        return self.variables[name] | (TOPS if name in self.inner_writes else EMPTY)

    def local(self, name: str) -> Slot:
        """A local; from 3.13 on also a cell that a new function is closed over."""
        return self.cell(name) if name in self.code.co_freevars else self.variables[name]

    def store(self, name: str, value: Slot) -> None:
        """A variable may also hold this."""
        self.variables[name] = join(self.variables[name], value)

    # ---- expressions of expressions
    def derive(self, kind: Derived, slot: Iterable[Expr], key: Any, offset: int) -> Slot:
        """Expressions derived from those of a slot, all of them read."""
        out: set[Expr] = set()
        whole = kind in ("deep", "text")
        for expression in slot:
            if kind == "truth" and expression.kind in ("const", "fresh", "null", "box"):
                continue
            while expression.kind == "box" and expression.base is not None and whole:
                expression = expression.base
            if (
                expression.kind == "box"
                and expression.base is not None
                and kind in ("elem", "item")
            ):
                out.add(expression.base)
            elif not whole or expression.kind not in ("const", "fresh", "null"):
                out.add(Expr(kind, expression if depth_below(expression) else TOP, key, offset))
        self.summary.reads |= {e for e in out if e.kind == kind}
        return bounded(out)

    @staticmethod
    def boxed(slot: Iterable[Expr], offset: int) -> Slot:
        """What a fresh container holds; of constants only texts, which may be names."""
        every = list(slot)
        texts = {e.key for e in every if e.kind == "const" and type(e.key) is str}
        held = [e for e in every if e.kind != "const"]
        if texts:
            held.append(Expr("elem", constant(tuple(sorted(texts))), None, offset))
        return frozenset(Expr("box", e if depth_below(e) else TOP) for e in held)

    # ---- after the run
    def reads_after_stores(self) -> set[Expr]:
        """Reads of a place that this code has always stored to by then."""
        stores, reads = self.summary.stores, self.summary.reads
        objects = Counter(s.at for s in stores if s.kind in ("attr", "item"))
        objects.update(e.at for e in reads if e.kind in ("attr", "item"))
        written: defaultdict[tuple[str, Expr | None, Any], set[int]] = defaultdict(set)
        for kind, base, key, offset in stores:
            # one object: it is known which
            if objects[offset] == 1 and offset not in self.summary.deletes:
                written[kind, base, key].add(self.index[offset])
        return {
            e
            for e in reads
            if objects[e.at] == 1
            and e[:3] in written
            and not self.reached(self.index[e.at], written[e[:3]])
        }

    def reached(self, goal: int, blocked: set[int]) -> bool:
        """Whether an instruction can be reached past others (a store that fails goes on in a
        handler)."""
        handlers = {self.index[entry.target] for entry in self.table}
        seen, work = {0}, [0]
        while work:
            number = work.pop()
            if number == goal:
                return True
            ways = self.ways[number]
            if number in blocked:
                ways = ways & handlers
            work += ways - seen
            seen |= ways
        return False


def depth_below(expression: Expr) -> bool:
    """Whether one more expression may be put around this one."""
    for _ in range(MAX_DEPTH - 1):
        if expression.base is None:
            return True
        expression = expression.base
    return False
