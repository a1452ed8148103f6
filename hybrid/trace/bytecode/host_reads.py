"""Host reads at the very end of a call: `return loss.item()`, `return {"loss": float(loss), "out":
y.numpy()}`.

Invariant: a read counts as such only if the bytecode from it to the return can do nothing with its
value but put it into the result, so a replay may make the value from its own data.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .opcodes import HOST_TABLE
from .summary import start_of

__all__ = ["Read", "HOW", "EFFECTS", "tail_values"]

# kind of a host read -> method that makes its value
HOW = {
    ".item()": "item",
    "float()": "__float__",
    "int()": "__int__",
    ".numpy()": "numpy",
    ".tolist()": "tolist",
    "repr()": "__repr__",
}


class Read(NamedTuple):
    """One host read by user code: instruction, value number, kind, the reason it would be against
    replaying, its term where the call is followed (else it is by the recorded function), and the
    instruction of that function that was under way."""

    at: int
    number: int
    kind: str
    reason: str
    term: Any = None
    site: int | None = None


class _Seen(Exception):
    """Python may look at a value that was read."""


class Flow:
    """Which stack slots (below the known ones: none) and locals hold values read here, along
    straight code: `reads` are the instructions that read, `called` those met so far."""

    def __init__(self, reads: set[int]) -> None:
        self.reads, self.called = reads, {min(reads)}
        self.stack: list[bool] = [True]  # the value of the first read
        self.locals: dict[str, bool] = {}
        self.left = False

    def pop(self, count: int) -> bool:
        """Whether one of the topmost slots holds such a value."""
        values = [self.stack.pop() for _ in range(min(count, len(self.stack)))]
        return any(values)

    def push(self, count: int) -> None:
        """Slots of no concern."""
        self.stack += [False] * count

    def load(self, name: str) -> None:
        """A local, which may hold such a value."""
        self.stack.append(self.locals.get(name, False))

    def look(self, count: int, pushes: int = 1) -> None:
        """An instruction that looks at the topmost slots."""
        if self.pop(count):
            raise _Seen
        self.push(pushes)

    def collect(self, count: int) -> None:
        """A container of the topmost slots, which is as good as its items."""
        self.stack.append(self.pop(count))

    def call(self, count: int, offset: int) -> None:
        """A call; what the reads among them give are such values."""
        self.look(count, 0)
        self.stack.append(offset in self.reads)
        if offset in self.reads:
            self.called.add(offset)

    def store(self, name: str) -> None:
        """A local takes the topmost slot."""
        self.locals[name] = self.pop(1)

    def leave(self) -> None:
        """The end of the call."""
        self.left = True


def _load_two(flow: Flow, first: str, second: str) -> None:
    flow.load(first)
    flow.load(second)


def _store_load(flow: Flow, stored: str, loaded: str) -> None:
    flow.store(stored)
    flow.load(loaded)


# effect -> what it does to the flow, given the operand, the name or names, and the offset
Effect: TypeAlias = Callable[[Flow, int, Any, int], None]
EFFECTS: dict[str, Effect] = {
    "nothing": lambda flow, operand, name, offset: None,
    "push": lambda flow, operand, name, offset: flow.push(1),
    "load_global": lambda flow, operand, name, offset: flow.push(
        1 + (operand & 1)
    ),  # and a NULL to call it
    "load_local": lambda flow, operand, name, offset: flow.load(name),
    "load_two": lambda flow, operand, name, offset: _load_two(flow, *name),
    "store_local": lambda flow, operand, name, offset: flow.store(name),
    "store_load": lambda flow, operand, name, offset: _store_load(flow, *name),
    "load_attr": lambda flow, operand, name, offset: flow.look(
        1, 1 + (operand & 1)
    ),  # and self to call it
    "load_method": lambda flow, operand, name, offset: flow.look(1, 2),
    "call": lambda flow, operand, name, offset: flow.call(operand + 2, offset),
    "call_kw": lambda flow, operand, name, offset: flow.call(operand + 3, offset),
    "collect": lambda flow, operand, name, offset: flow.collect(operand),
    "collect_pairs": lambda flow, operand, name, offset: flow.collect(2 * operand),
    "collect_keyed": lambda flow, operand, name, offset: flow.collect(operand + 1),
    "look_at_one": lambda flow, operand, name, offset: flow.look(1),
    "look_at_two": lambda flow, operand, name, offset: flow.look(2),
    "look_at_three": lambda flow, operand, name, offset: flow.look(3),
    "look_at_parts": lambda flow, operand, name, offset: flow.look(operand),
    "throw_away": lambda flow, operand, name, offset: flow.look(1, 0),
    "leave": lambda flow, operand, name, offset: flow.leave(),
}


def _straight(code: types.CodeType, reads: set[int]) -> bool:
    """Whether what is read, from the first read to the return, only goes into the result."""
    flow, first = Flow(reads), min(reads)
    try:
        for instruction in dis.get_instructions(code):
            if instruction.offset <= first:
                continue
            if instruction.is_jump_target or instruction.opname not in HOST_TABLE:
                return False
            effect = EFFECTS[HOST_TABLE[instruction.opname]]
            effect(flow, instruction.arg or 0, instruction.argval, instruction.offset)
            if flow.left:
                return flow.called == reads
    except _Seen:
        pass
    return False


def tail_values(
    reads: list[Read], code: types.CodeType | None, returns: dict[Any, list[Any]]
) -> dict[int, Read] | None:
    """id of each value read -> its Read; None when some read may matter to Python."""
    if not reads:
        return {}
    if code is None:
        return None
    found, places = dict[int, Read](), set()
    for read in reads:
        values = returns.get((code, read.at), [])
        # objects of this read only
        fresh = len(values) == 1 and isinstance(values[0], (float, list, np.ndarray))
        if not fresh or id(values[0]) in found:
            return None
        found[id(values[0])] = read
        places.add(start_of(code, read.at))
    return found if len(places) == len(reads) and _straight(code, places) else None
