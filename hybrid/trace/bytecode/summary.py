"""What a code object may read, store and call, found from its bytecode alone.

An abstract run over the value stack (`frame.py`, `effects.py`): a slot is a set of expressions,
variables are flow-insensitive (one set per name), so the result covers every path.
Invariant: an opcode without an effect in the interpreter's table sets `Summary.unknown`.
"""

from __future__ import annotations

import bisect
import dis
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

from ...core.cache import keep
from .effects import EFFECTS
from .expressions import Summary
from .frame import Frame, listed
from .opcodes import TABLE

__all__ = [
    "summarize",
    "settled",
    "depths",
    "step",
    "offsets",
    "start_of",
    "handles_errors",
    "caught",
    "texts_of",
    "uncertain",
    "instructions_of",
    "successors",
    "exception_targets",
    "handled_at",
]


@lru_cache(4096)
def offsets(code: CodeType) -> list[int]:
    """Start offsets of the instructions (a frame's f_lasti may point into inline caches)."""
    return [ins.offset for ins in listed(code)]


def start_of(code: CodeType, offset: int) -> int:
    """The instruction that an offset, perhaps of an inline cache, belongs to."""
    starts = offsets(code)
    return starts[bisect.bisect_right(starts, offset) - 1]


@lru_cache(1024)
def instructions_of(code: CodeType) -> dict[int, dis.Instruction]:
    """The instructions by their start offsets."""
    return {ins.offset: ins for ins in listed(code)}


@lru_cache(1024)
def successors(code: CodeType) -> dict[int, frozenset[int]]:
    """Offset of each instruction -> the offsets that may come after it, without exceptions."""
    instructions = listed(code)
    # a loop that is over goes past the instructions which drop what it has dropped (3.12 on)
    past = {
        end.offset: {ins.offset for ins in instructions[number + 1 : number + 3]}
        for number, end in enumerate(instructions)
        if end.opname == "END_FOR"
    }
    out = {}
    for ins, following in zip(instructions, [*instructions[1:], None]):
        after = {following.offset} if following is not None else set()
        if ins.opcode in dis.hasjrel or ins.opcode in dis.hasjabs:
            after |= {ins.argval, *past.get(ins.argval, ())}
        if ins.opname == "YIELD_VALUE" and following is not None:
            after.add(following.offset + 2)  # where it goes on is not announced
        out[ins.offset] = frozenset(after)
    return out


@lru_cache(4096)
def exception_targets(code: CodeType) -> frozenset[int]:
    """Offsets where the handling of an exception begins."""
    return frozenset(e.target for e in dis._parse_exception_table(code))  # type: ignore[attr-defined]


def handled_at(code: CodeType, offset: int, target: int) -> tuple[int, bool] | None:
    """How much of the stack is left where what an instruction raises is handled at `target`, and
    whether the offset is put there, too; None: it is handled elsewhere."""
    for e in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        if e.start <= offset < e.end:
            return (e.depth, e.lasti) if e.target == target else None
    return None


@lru_cache(4096)
def handles_errors(code: CodeType) -> bool:
    """Whether the code has an except, finally or with block."""
    return any(ins.opname == "PUSH_EXC_INFO" for ins in listed(code))


def texts_of(code: CodeType) -> Iterator[str]:
    """The texts among the constants of a code object."""
    for constant in code.co_consts:
        for part in constant if type(constant) is tuple else (constant,):
            if type(part) is str:
                yield part


# how handlers begin that raise again, or ask the end of a with block whether to
_PASSING = "WITH_EXCEPT_START", "COPY", "CALL_INTRINSIC_1"


@lru_cache(1024)
def _handled(code: CodeType) -> list[tuple[int, int]]:
    """Where exceptions are handled by an except or finally block: from offset, to offset."""
    instructions = instructions_of(code)
    found = []
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        at = entry.target
        while at in instructions and instructions[at].opname in ("PUSH_EXC_INFO", "CACHE", "NOP"):
            at += 2
        if at not in instructions or instructions[at].opname in _PASSING:
            continue
        if not _of_ends(code, at):
            found.append((entry.start, entry.end))
    return found


def _of_ends(code: CodeType, at: int) -> bool:
    """Whether a handler takes the end of an iterator or generator and nothing else."""
    first = [ins for ins in listed(code) if ins.offset >= at][:3]
    if [ins.opname for ins in first[:2]] != ["LOAD_GLOBAL", "CHECK_EXC_MATCH"]:
        return False
    asked, _, jump = first
    ends = asked.argval == "StopIteration" and "JUMP" in jump.opname
    return ends and instructions_of(code)[jump.argval].opname == "RERAISE"


def caught(frame: FrameType | None, root: Any) -> bool:
    """Whether an exception raised in a frame, or on its way to that of the function `root`, may be
    handled."""
    last = getattr(root, "__code__", None)
    while frame is not None:
        at = frame.f_lasti
        if any(start <= at < end for start, end in _handled(frame.f_code)):
            return True
        if frame.f_code is last:
            return False
        frame = frame.f_back
    return False


@lru_cache(4096)
def uncertain(code: CodeType) -> frozenset[int]:
    """Offsets of the calls that may not have run although their line did: those after a branch
    within the line, and those of a second copy of the line (`finally`)."""
    starts = {start: number for start, _, number in code.co_lines()}
    out, lines, line, apart = set(), set[int | None](), None, False
    for instruction in listed(code):
        if instruction.offset in starts and starts[instruction.offset] != line:
            line = starts[instruction.offset]
            apart = line in lines
            lines.add(line)
        branch = "JUMP" in instruction.opname and "_IF_" in instruction.opname
        apart = apart or branch or instruction.opname in ("FOR_ITER", "SEND")
        if apart and instruction.opname in ("CALL", "CALL_KW", "CALL_FUNCTION_EX"):
            out.add(instruction.offset)
    return frozenset(out)


_LATEST: dict[int, tuple[CodeType, Summary]] = {}  # by id: hashing a code object takes as long as
# ten look-ups by its id, and this is asked all the time; the value keeps the object


def summarize(code: CodeType) -> Summary:
    """The summary of one code object; needs a supported interpreter."""
    known = _LATEST.get(id(code))
    if known is None:
        known = keep(_LATEST, id(code), (code, _summarize(code)), 1024)
    return known[1]


# Code objects compare by content, so equal code made twice (a lambda in a loop) shares a summary.
@lru_cache(4096)
def _summarize(code: CodeType) -> Summary:
    frame = settled(code)
    summary = frame.summary
    summary.later = set() if summary.unknown else frame.reads_after_stores()
    return summary


def settled(code: CodeType) -> Frame:
    """The abstract run of a code object, to a fixpoint over stacks and variables."""
    frame = Frame(code)
    while True:
        before = dict(frame.variables)
        frame.start()
        while frame.work and frame.summary.unknown is None:
            step(frame, frame.work.pop())
        if frame.summary.unknown or dict(frame.variables) == before:
            return frame


@lru_cache(1024)
def depths(code: CodeType) -> dict[int, int]:
    """How many values are on the stack before each instruction, by offset; nothing where that is
    not known."""
    frame = settled(code)
    if frame.summary.unknown is not None:
        return {}
    return {frame.instructions[n].offset: len(stack) for n, stack in frame.states.items()}


def step(frame: Frame, number: int) -> None:
    """One instruction, and where control may go from it."""
    instruction = frame.enter(number)
    effect = EFFECTS[TABLE.get(instruction.opname, "defer")]
    try:
        effect(frame, instruction)
    except IndexError:  # a stack shape this table does not describe
        frame.summary.unknown = instruction.opname
        return
    for goal in frame.goes:
        frame.flow(goal, frame.stack)
