"""Host reads at the very end of a call: `return loss.item()`, `return {"loss": float(loss), "out":
y.numpy()}`.

Invariant: a read counts as such only if the bytecode from it to the return can do nothing with its
value but put it into the result, so a replay may make the value from its own data.
"""

from __future__ import annotations

import bisect
import dis
import sys
import types
from typing import Any, NamedTuple

import numpy as np

from .summary import offsets

__all__ = ["Read", "HOW", "tail_values"]

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


class _Flow:
    """Which stack slots (below the known ones: none) and locals hold values read here, along
    straight code."""

    def __init__(self, reads: set[int]) -> None:
        self.reads, self.called = reads, set[int]()
        self.stack: list[bool] = []
        self.locals: dict[str, bool] = {}

    def pop(self, n: int) -> bool:
        """Whether one of the n topmost slots holds such a value."""
        got = [self.stack.pop() for _ in range(min(n, len(self.stack)))]
        return any(got)

    def use(self, n: int, pushes: int = 1) -> None:
        """An instruction that looks at n slots."""
        if self.pop(n):
            raise _Seen
        self.stack += [False] * pushes

    def step(self, i: dis.Instruction) -> None:
        """One instruction; raises _Seen for what is not known to be harmless."""
        op, arg, name, stack = i.opname, i.arg or 0, i.argval, self.stack
        if op in ("LOAD_FAST", "LOAD_FAST_CHECK"):
            stack.append(self.locals.get(name, False))
        elif op == "LOAD_FAST_LOAD_FAST":
            stack += [self.locals.get(v, False) for v in name]
        elif op == "STORE_FAST":
            self.locals[name] = self.pop(1)
        elif op == "STORE_FAST_LOAD_FAST":
            self.locals[name[0]] = self.pop(1)
            stack.append(self.locals.get(name[1], False))
        elif op in ("LOAD_CONST", "PUSH_NULL", "LOAD_DEREF"):
            stack.append(False)
        elif op == "LOAD_GLOBAL":
            stack += [False] * (1 + (arg & 1))
        elif op in ("LOAD_ATTR", "LOAD_METHOD"):
            self.use(1, 2 if op == "LOAD_METHOD" or sys.version_info >= (3, 12) and arg & 1 else 1)
        elif op in ("CALL", "CALL_KW"):
            self.use(arg + 2 + (op == "CALL_KW"), 0)
            stack.append(i.offset in self.reads)
            self.called |= {i.offset} & self.reads
        elif op in ("BUILD_TUPLE", "BUILD_LIST", "BUILD_MAP", "BUILD_CONST_KEY_MAP"):
            stack.append(
                self.pop({"BUILD_MAP": 2 * arg, "BUILD_CONST_KEY_MAP": arg + 1}.get(op, arg))
            )
        elif op in ("BINARY_SUBSCR", "BINARY_OP", "COMPARE_OP", "BINARY_SLICE"):
            self.use(3 if op == "BINARY_SLICE" else 2)
        elif op in ("BUILD_SLICE", "UNARY_NEGATIVE", "POP_TOP"):
            self.use(arg if op == "BUILD_SLICE" else 1, op != "POP_TOP")
        elif op not in ("CACHE", "PRECALL", "KW_NAMES", "EXTENDED_ARG", "NOP"):
            raise _Seen


def _straight(code: types.CodeType, reads: set[int]) -> bool:
    """Whether what is read, from the first read to the return, only goes into the result."""
    flow, first = _Flow(reads), min(reads)
    try:
        for i in dis.get_instructions(code):
            if i.offset == first:
                flow.called.add(first)
                flow.stack.append(True)
            elif i.offset > first:
                if i.is_jump_target:
                    return False
                if i.opname == "RETURN_VALUE":
                    return flow.called == reads
                flow.step(i)
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
    starts, out, places = offsets(code), {}, set()
    for r in reads:
        values = returns.get((code, r.at), [])
        # objects of this read only
        fresh = len(values) == 1 and isinstance(values[0], (float, list, np.ndarray))
        if not fresh or id(values[0]) in out:
            return None
        out[id(values[0])] = r
        places.add(starts[bisect.bisect_right(starts, r.at) - 1])
    return out if len(places) == len(reads) and _straight(code, places) else None
