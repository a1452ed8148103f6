"""What a cut of a code object has to know: the stack, the variables that are bound and read later,
where control goes.

Invariant: a place is legal only if all that the code has in hand there is a value that can be
handed on.
"""

from __future__ import annotations

import dis
from dataclasses import dataclass
from types import CodeType
from typing import Any

from ..bytecode.liveness import live_before
from ..bytecode.summary import instructions_of, settled

__all__ = ["Cut", "NoCut", "Shape", "jumps"]

STORES = ("STORE_FAST", "DELETE_FAST")
# what belongs to the instruction behind it
OPENED = ("KW_NAMES", "PRECALL", "EXTENDED_ARG")
HEAD = ("RESUME", "MAKE_CELL", "COPY_FREE_VARS", "RETURN_GENERATOR")
LAST = ("RETURN_VALUE", "RAISE_VARARGS", "RERAISE")
ALWAYS = ("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")
GENERATORS = 0x2A0  # of the flags of code
# instructions that push one value at most, whatever they take; others are taken to push three
ONE = frozenset(
    (
        *("BINARY_OP", "BINARY_SUBSCR", "COMPARE_OP", "CALL", "CALL_FUNCTION_EX", "IS_OP"),
        *("CONTAINS_OP", "LOAD_FAST", "LOAD_CONST", "LOAD_ATTR", "LOAD_DEREF", "BUILD_LIST"),
        *("BUILD_TUPLE", "BUILD_MAP", "BUILD_SET", "BUILD_STRING", "BUILD_SLICE", "FORMAT_VALUE"),
        *("BUILD_CONST_KEY_MAP", "UNARY_NOT", "UNARY_NEGATIVE", "UNARY_INVERT", "GET_ITER"),
        *("MAKE_FUNCTION", "LIST_TO_TUPLE", "IMPORT_NAME", "LOAD_CLOSURE"),
    )
)
NONE = frozenset(
    (
        *("STORE_FAST", "STORE_ATTR", "STORE_SUBSCR", "STORE_GLOBAL", "STORE_DEREF", "POP_TOP"),
        *("NOP", "RESUME", "PRECALL", "KW_NAMES", "DELETE_FAST", "DELETE_SUBSCR", "DELETE_ATTR"),
        *("JUMP_FORWARD", "JUMP_BACKWARD", "RETURN_VALUE", "COPY_FREE_VARS"),
        *(f"POP_JUMP_FORWARD_IF_{what}" for what in ("TRUE", "FALSE", "NONE", "NOT_NONE")),
        *(f"POP_JUMP_BACKWARD_IF_{what}" for what in ("TRUE", "FALSE", "NONE", "NOT_NONE")),
    )
)
# what looks at slots that it does not take off: how far below the operand, of the stack behind it
PEEK = {
    **dict.fromkeys(("LIST_APPEND", "SET_ADD", "MAP_ADD", "LIST_EXTEND", "SET_UPDATE"), 0),
    **dict.fromkeys(("DICT_UPDATE", "DICT_MERGE"), 3),
    "SWAP": 0,
    "COPY": 1,
}
UNKNOWN = 3  # values that other instructions are taken to push, which none exceeds


class NoCut(Exception):
    """Why there is no cut."""


def jumps(instruction: dis.Instruction) -> bool:
    """Whether an instruction may go elsewhere than to the next one."""
    return instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs


@dataclass(frozen=True, slots=True)
class Cut:
    """A place before an instruction: which slots of the stack are values (the others hold nothing
    or are `made` again, by these instructions), the variables that are read from there on, and the
    `methods` that are looked up as attributes, as they wait for their call."""

    at: int
    slots: tuple[bool, ...]
    variables: tuple[str, ...]
    made: dict[int, tuple[int, ...]]
    methods: frozenset[int]


class Shape:
    """What is known of a code object; NoCut where it cannot be cut at all."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        if code.co_cellvars:
            raise NoCut("has variables that inner functions share")
        if code.co_flags & GENERATORS:
            raise NoCut("is a generator or asynchronous")
        if "__class__" in code.co_freevars:
            raise NoCut("uses super()")
        frame = settled(code)
        if frame.summary.unknown is not None:
            raise NoCut(f"holds {frame.summary.unknown}")
        self.instructions = instructions_of(code)
        self.offsets = sorted(self.instructions)
        self.following = dict(zip(self.offsets, [*self.offsets[1:], -1]))
        self.before = dict(zip(self.offsets[1:], self.offsets))
        self.ways = {at: self._ways(at) for at in self.offsets}
        self.depths = {frame.instructions[n].offset: len(s) for n, s in frame.states.items()}
        self.stacks = {frame.instructions[n].offset: s for n, s in frame.states.items()}
        self.table: list[Any] = dis._parse_exception_table(code)  # type: ignore[attr-defined]
        count = code.co_argcount + code.co_kwonlyargcount
        stars = (code.co_flags >> 2 & 1) + (code.co_flags >> 3 & 1)
        self.parameters = code.co_varnames[: count + stars]
        self.deleted = self._named("DELETE_FAST", self.offsets)
        self.bound, self.methods = self._bound(), self._methods()
        self.functions = self._functions()

    def _ways(self, at: int) -> tuple[int, ...]:
        """Where control goes from an instruction, without exceptions."""
        instruction = self.instructions[at]
        if instruction.opname in LAST:
            return ()
        if instruction.opname in ALWAYS:
            return (instruction.argval,)
        after = (self.following[at],)
        return (*after, instruction.argval) if jumps(instruction) else after

    def _named(self, opname: str, offsets: Any) -> frozenset[str]:
        found = [self.instructions[at] for at in offsets]
        return frozenset([i.argval for i in found if i.opname == opname])

    def stored(self, offsets: Any) -> frozenset[str]:
        """Variables that some of these instructions bind."""
        return self._named("STORE_FAST", offsets)

    def loaded(self, offsets: Any) -> frozenset[str]:
        """Variables that some of these instructions read."""
        found = [self.instructions[at] for at in offsets]
        return frozenset(
            [i.argval for i in found if i.opcode in dis.haslocal and i.opname != "STORE_FAST"]
        )

    def handlers(self, at: int) -> list[Any]:
        """Entries of the exception table that an instruction is in."""
        return [entry for entry in self.table if entry.start <= at < entry.end]

    def _bound(self) -> dict[int, frozenset[str]]:
        """Variables that are bound for certain before each instruction."""
        found = {self.offsets[0]: frozenset(self.parameters)}
        todo = [self.offsets[0]]
        while todo:
            offset = todo.pop()
            now, instruction = found[offset], self.instructions[offset]
            after = now | {instruction.argval} if instruction.opname == "STORE_FAST" else now
            after = after - {instruction.argval} if instruction.opname == "DELETE_FAST" else after
            goals = [(goal, after) for goal in self.ways[offset]]
            goals += [(entry.target, now & after) for entry in self.handlers(offset)]
            for goal, names in goals:
                known = found.get(goal)
                both = names if known is None else known & names
                if both != known:
                    found[goal] = both
                    todo.append(goal)
        return found

    def _methods(self) -> dict[int, dict[int, int]]:
        """Instructions before which methods wait for their call -> where they were looked up, and
        the slot of the stack below each: beside it lies its object, or nothing, which only the run
        knows, unless it is looked up as an attribute."""
        found = dict[int, dict[int, int]]()
        for offset, instruction in self.instructions.items():
            if instruction.opname == "LOAD_METHOD" and offset in self.depths:
                deep, todo, met = self.depths[offset] + 1, list(self.ways[offset]), set[int]()
                while todo:
                    at = todo.pop()
                    if at not in met and self.depths.get(at, 0) >= deep:
                        met.add(at)
                        todo += self.ways[at]
                for at in met:
                    found.setdefault(at, {})[offset] = deep - 2
        return found

    def _functions(self) -> dict[tuple[int, int], tuple[int, ...]]:
        """(instruction, slot of the stack before it) where a function lies that was just made ->
        the instructions that make it, which may be done again."""
        found, ways = dict[tuple[int, int], tuple[int, ...]](), self.ways
        coming: dict[int, set[int]] = {}
        for offset in self.offsets:
            for goal in ways[offset]:
                coming.setdefault(goal, set()).add(offset)
        for offset, instruction in self.instructions.items():
            makes = self._making(offset)
            if instruction.opname != "MAKE_FUNCTION" or not makes or offset not in self.depths:
                continue
            region, todo = {offset}, list(ways[offset])
            slot = self.depths[todo[0]] - 1
            while todo:
                at = todo.pop()
                if at not in region and self.depths.get(at, 0) > slot:
                    region.add(at)
                    todo += ways[at] if self.lowest(at) > slot else ()
            if all(coming[at] <= region for at in region - {offset}):
                found |= {(at, slot): makes for at in region - {offset}}
        return found

    def _making(self, offset: int) -> tuple[int, ...]:
        """The instructions that end with one that makes a function, of code and variables that it
        shares with others."""
        instruction, at = self.instructions[offset], self.before.get(offset, -1)
        makes = [at, offset]
        if at < 0 or self.instructions[at].opname != "LOAD_CONST" or instruction.arg not in (0, 8):
            return ()
        if instruction.arg == 8:
            at = self.before[at]
            makes.insert(0, at)
            count = self.instructions[at].arg or 0
            if self.instructions[at].opname != "BUILD_TUPLE":
                return ()
            for _ in range(count):
                at = self.before[at]
                makes.insert(0, at)
                if self.instructions[at].opname != "LOAD_CLOSURE":
                    return ()
        return tuple(makes)

    def cut(self, at: int) -> Cut:
        """The cut before an instruction; NoCut where it is not legal."""
        stack = self.stacks.get(at)
        if stack is None:
            raise NoCut("is never reached")
        if self.instructions[at].opname in HEAD or at == self.offsets[0]:
            raise NoCut("is the beginning")
        if at in self.before and self.instructions[self.before[at]].opname in OPENED:
            raise NoCut("is inside of a call")
        if self.handlers(at) or any(entry.target == at for entry in self.table):
            raise NoCut("is inside of try or with")
        slots, methods = [], self.methods.get(at, {})
        below = {*methods.values(), *[slot + 1 for slot in methods.values()]}
        for number, slot in enumerate(stack):
            if number in below:
                slots.append(number not in methods.values())
                continue
            kinds = {expression.kind == "null" for expression in slot}
            if len(kinds) != 1:
                raise NoCut("has a stack that is not known")
            slots.append(not kinds.pop())
        made = {k: self.functions[at, k] for k in range(len(slots)) if (at, k) in self.functions}
        slots = [value and number not in made for number, value in enumerate(slots)]
        live = live_before(self.code, at)
        variables = tuple([name for name in self.code.co_varnames if name in live])
        if not self.bound[at].issuperset(variables):
            raise NoCut("has variables that may not be bound")
        if not self.deleted.isdisjoint(variables):
            raise NoCut("has variables that are deleted")
        return Cut(at, tuple(slots), variables, made, frozenset(methods))

    def reached(self, start: int, cuts: frozenset[int]) -> tuple[list[int], frozenset[int]]:
        """Instructions that run from one on until the next cut, and the cuts that end that."""
        todo, met, ends = [start], set[int](), set[int]()
        while todo:
            at = todo.pop()
            if at in met:
                continue
            met.add(at)
            goals = [*self.ways[at], *[entry.target for entry in self.handlers(at)]]
            for goal in goals:
                (ends.add if goal in cuts else todo.append)(goal)
        return sorted(met), frozenset(ends)

    def untouched(self, offsets: list[int], depth: int) -> int:
        """How many slots of the stack, from the bottom, these instructions, which begin at this
        depth, neither change nor look at."""
        return max(min([depth, *map(self.lowest, offsets)]), 0)

    def lowest(self, at: int) -> int:
        """The lowest slot of the stack that an instruction changes or looks at; not above the
        stack before it."""
        operand, opname = self.instructions[at].arg or 0, self.instructions[at].opname
        here = self.depths.get(at, 0)
        if opname in ("FOR_ITER", "PUSH_NULL", "LOAD_GLOBAL"):
            return here - (opname == "FOR_ITER")
        if not self.ways[at]:  # the end: it takes one value, or an exception
            return here - 1 if opname == "RETURN_VALUE" else 0
        below = operand + PEEK[opname] if opname in PEEK else self._pushes(opname, operand)
        return min([here, *[self.depths.get(goal, 0) - below for goal in self.ways[at]]])

    @staticmethod
    def _pushes(opname: str, operand: int) -> int:
        """How many values an instruction pushes at most."""
        if opname in NONE or opname in ONE:
            return int(opname in ONE)
        return {"LOAD_METHOD": 2, "UNPACK_SEQUENCE": operand}.get(opname, UNKNOWN + operand)

    def iterates(self, offsets: list[int], depth: int) -> bool:
        """Whether these instructions take the next item of an iterator that lies on the stack as
        they begin at this depth."""
        found = [at for at in offsets if self.instructions[at].opname == "FOR_ITER"]
        return any(self.depths.get(at, depth + 1) <= depth for at in found)
