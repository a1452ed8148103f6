"""Which variables of a frame may be read again before they are bound anew.

Invariant: a variable that is not named here is never read again from that instruction on.
"""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType

from .summary import instructions_of, successors

__all__ = ["live_after", "live_before"]


def _uses(instruction: dis.Instruction) -> tuple[frozenset[str], frozenset[str]]:
    """The variables that an instruction binds, and those that it reads, after that."""
    if instruction.opcode not in dis.haslocal:
        return frozenset(), frozenset()
    given = instruction.argval
    names = given if isinstance(given, tuple) else (given,)
    bound = {"STORE_FAST": 1, "STORE_FAST_STORE_FAST": 2, "STORE_FAST_LOAD_FAST": 1}
    count = bound.get(instruction.opname, 0)
    return frozenset(names[:count]), frozenset(names[count:])


@lru_cache(1024)
def _live(code: CodeType) -> dict[int, frozenset[str]]:
    """Offset of each instruction -> variables that are read from it on."""
    instructions, following = instructions_of(code), successors(code)
    handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    live: dict[int, frozenset[str]] = {offset: frozenset() for offset in instructions}
    changed = True
    while changed:
        changed = False
        for offset in reversed(list(instructions)):
            instruction = instructions[offset]
            after = frozenset[str]().union(*[live.get(k, ()) for k in following[offset]])
            bound, read = _uses(instruction)
            after = (after | read) - bound
            for entry in handlers:
                if entry.start <= offset < entry.end:
                    after |= live[entry.target]
            if after != live[offset]:
                live[offset], changed = after, True
    return live


def live_after(code: CodeType, offset: int) -> frozenset[str]:
    """The variables that are live behind an instruction, and those that other code may read."""
    live = _live(code)
    found = frozenset[str]().union(*[live.get(k, ()) for k in successors(code)[offset]])
    return found | frozenset((*code.co_cellvars, *code.co_freevars))


def live_before(code: CodeType, offset: int) -> frozenset[str]:
    """The variables that an instruction or a later one reads before they are bound anew."""
    return _live(code)[offset]
