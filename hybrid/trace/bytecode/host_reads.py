"""Host reads at the very end of a call: `return loss.item()`, `return {"loss": float(loss), "out":
y.numpy()}`.

Invariant: a read counts as such only if the bytecode from it to the return can do nothing with its
value but put it into the result, so a replay may make the value from its own data.
"""

from __future__ import annotations

import bisect
import dis
import types
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .opcodes import HOST_TABLE
from .summary import offsets

__all__ = ["Read", "HOW", "EFFECTS", "tail_values"]

# kind of a host read -> method that makes its value
HOW = {".item()": "item", "float()": "__float__", ".numpy()": "numpy", ".tolist()": "tolist"}


class Read(NamedTuple):
    """One host read by the recorded function itself: instruction, value number, kind, and the
    reason it would be against replaying."""

    at: int
    number: int
    kind: str
    reason: str


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
        got = [self.stack.pop() for _ in range(min(count, len(self.stack)))]
        return any(got)

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

    def call(self, count: int, at: int) -> None:
        """A call; what the reads among them give are such values."""
        self.look(count, 0)
        self.stack.append(at in self.reads)
        if at in self.reads:
            self.called.add(at)

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
    "nothing": lambda flow, arg, name, at: None,
    "push": lambda flow, arg, name, at: flow.push(1),
    "load_global": lambda flow, arg, name, at: flow.push(1 + (arg & 1)),  # and a NULL to call it
    "load_local": lambda flow, arg, name, at: flow.load(name),
    "load_two": lambda flow, arg, name, at: _load_two(flow, *name),
    "store_local": lambda flow, arg, name, at: flow.store(name),
    "store_load": lambda flow, arg, name, at: _store_load(flow, *name),
    "load_attr": lambda flow, arg, name, at: flow.look(1, 1 + (arg & 1)),  # and self to call it
    "load_method": lambda flow, arg, name, at: flow.look(1, 2),
    "call": lambda flow, arg, name, at: flow.call(arg + 2, at),
    "call_kw": lambda flow, arg, name, at: flow.call(arg + 3, at),
    "collect": lambda flow, arg, name, at: flow.collect(arg),
    "collect_pairs": lambda flow, arg, name, at: flow.collect(2 * arg),
    "collect_keyed": lambda flow, arg, name, at: flow.collect(arg + 1),
    "look_at_one": lambda flow, arg, name, at: flow.look(1),
    "look_at_two": lambda flow, arg, name, at: flow.look(2),
    "look_at_three": lambda flow, arg, name, at: flow.look(3),
    "look_at_parts": lambda flow, arg, name, at: flow.look(arg),
    "throw_away": lambda flow, arg, name, at: flow.look(1, 0),
    "leave": lambda flow, arg, name, at: flow.leave(),
}


def _straight(code: types.CodeType, reads: set[int]) -> bool:
    """Whether what is read, from the first read to the return, only goes into the result."""
    flow, first = Flow(reads), min(reads)
    try:
        for ins in dis.get_instructions(code):
            if ins.offset <= first:
                continue
            if ins.is_jump_target or ins.opname not in HOST_TABLE:
                return False
            effect = EFFECTS[HOST_TABLE[ins.opname]]
            effect(flow, ins.arg or 0, ins.argval, ins.offset)
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
    starts, out, places = offsets(code), dict[int, Read](), set()
    for read in reads:
        values = returns.get((code, read.at), [])
        # objects of this read only
        fresh = len(values) == 1 and isinstance(values[0], (float, list, np.ndarray))
        if not fresh or id(values[0]) in out:
            return None
        out[id(values[0])] = read
        places.add(starts[bisect.bisect_right(starts, read.at) - 1])
    return out if len(places) == len(reads) and _straight(code, places) else None
