"""What Python holds whenever it branches on a value of a tensor: the frames of the program, and
what their variables and stacks hold that may be used again.

Invariant: from two points with equal snapshots and nothing impure between them Python goes on in
the same way, whatever the tensors hold, as long as later branches go the same ways.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from ...ir.tensor import Alias, Handle
from ..bytecode.liveness import live_after
from ..heap.allowlist import is_a, trusted
from ..heap.facts import same
from .machine import StackSlot, Stepper
from .terms import HostRead, is_number

__all__ = ["BLOCK", "RangeWalk", "HeldSlot", "PythonState", "snapshot", "alike"]
__all__ += ["changed_numbers"]

BLOCK = "<block>"  # the method of a stack slot that a `with` or `for` block owns
# whether a comparison for a branch asks for the truth of what it gives
COMPARES_TRUTHS = sys.version_info >= (3, 13)
DEEPEST = 4  # tuples inside each other


class RangeWalk(NamedTuple):
    """An iterator over a range, how many of its numbers it gave, and, in a list of one, how often
    it was asked in all, also after this; the variable (id of the code, name) that it gives them to,
    and the latest one, if that is a value of the graph."""

    over: range
    taken: int
    asked: list[int]
    variable: tuple[int, str] | None = None
    read: HostRead | None = None


class HeldSlot(NamedTuple):
    """What a place holds: a tensor (`number` of its value, `ident` of the handle; `plain`: made by
    the call, without a gradient, no view), a number read from one (`how`), or another object."""

    kind: Literal["tensor", "read", "tuple", "object"]
    number: int = -1
    ident: int = 0
    plain: bool = False
    how: str = ""
    value: Any = None


class PythonState(NamedTuple):
    """`where`: code and instruction of each frame; `ticks`: instructions that each has run, and
    whether its stack is known; `slots`: by frame and name; `walks`: iterators over ranges; `marks`:
    counts that differ where something impure happened in between; `entered`: frames that other
    code than the program's own calls may have entered, whose turns nobody sees."""

    where: tuple[tuple[int, int], ...]
    ticks: tuple[tuple[int, bool], ...]
    names: tuple[Any, ...]
    slots: tuple[HeldSlot, ...]
    walks: tuple[RangeWalk, ...]
    marks: tuple[int, ...]
    entered: tuple[Any, ...]


def snapshot(
    frame: types.FrameType | None,
    machines: dict[int, Stepper],
    number: Callable[[Handle], int | None],
    made: Callable[[Handle], bool],
    marks: tuple[int, ...],
    first: Stepper | None,
) -> PythonState | None:
    """The state of the program from this frame out to the `first` one; None where a frame between
    is not followed."""
    frames, entered = _frames(frame, machines)
    if not frames or frames[-1][1] is not first or not _asks(frames[0][1]):
        return None
    names: list[Any] = []
    slots: list[HeldSlot] = []
    walks: list[RangeWalk] = []
    ticks = []
    for level, (found, machine) in enumerate(reversed(frames)):
        for name in sorted(live_after(machine.code, machine.offset)):
            if name in found.f_locals:
                own = machine.variables.get(name)
                _note((level, name), found.f_locals[name], own, names, slots, number, made)
        stack = machine.stack
        if "JUMP" not in machine.instructions[machine.offset].opname:
            stack = stack[:-1]  # what the call under way will give
        known = all(type(s.value) is RangeWalk or s.method == BLOCK for s in stack)
        for walk in [s.value for s in stack if type(s.value) is RangeWalk]:
            walks.append(walk)
            if walk.read is not None:  # the next number comes from this one
                names.append((level, len(walks)))
                slots.append(HeldSlot("read", walk.read.number, how=walk.read.how))
        ticks.append((machine.ticks, known))
    where = tuple([(id(m.code), m.offset) for _, m in reversed(frames)])
    return PythonState(
        where, tuple(ticks), tuple(names), tuple(slots), tuple(walks), marks, entered
    )


def _asks(machine: Stepper) -> bool:
    """Whether the program itself asks for the truth: other code may do so in a loop of its own."""
    instruction = machine.instructions[machine.offset]
    name, calls = instruction.opname, bool(machine.passed) and machine.passed[0].value is bool
    compares = name == "COMPARE_OP" and COMPARES_TRUTHS and bool((instruction.arg or 0) & 16)
    return "JUMP" in name or name in ("UNARY_NOT", "TO_BOOL") or calls or compares


def _frames(
    frame: types.FrameType | None, machines: dict[int, Stepper]
) -> tuple[list[tuple[types.FrameType, Stepper]], tuple[Any, ...]]:
    """The followed frames, innermost first, and for each what must be the same one at another
    branch: itself, unless the program's own code called it."""
    frames: list[tuple[types.FrameType, Stepper]] = []
    entered: list[Any] = []
    while frame is not None:
        if not trusted(frame.f_code.co_filename):
            machine = machines.get(id(frame))
            if machine is None:
                break
            frames.append((frame, machine))
            called = machine.function is not None and id(frame.f_back) in machines
            entered.append(None if called else machine)
        frame = frame.f_back
    return frames, tuple(entered)


def _note(
    name: tuple[Any, ...],
    value: Any,
    own: StackSlot | None,
    names: list[Any],
    slots: list[HeldSlot],
    number: Callable[[Handle], int | None],
    made: Callable[[Handle], bool],
) -> None:
    if type(value) is tuple and len(name) < DEEPEST:
        names.append((*name, len(value)))
        slots.append(HeldSlot("tuple"))
        for index, item in enumerate(value):
            _note((*name, index), item, None, names, slots, number, made)
        return
    names.append(name)
    if is_a(value, Handle):
        known = number(value)
        alias = type(getattr(value, "_x", None)) is Alias
        plain = made(value) and value._node is None and not alias
        slots.append(HeldSlot("tensor", -1 if known is None else known, id(value), plain))
    elif is_number(value) and own is not None and type(own.term) is HostRead:
        slots.append(HeldSlot("read", own.term.number, how=own.term.how))
    else:
        slots.append(HeldSlot("object", value=value))


def alike(first: PythonState | None, second: PythonState | None) -> bool:
    """Whether Python goes on from both in the same way, up to what tensors hold."""
    if first is None or second is None or first[:1] != second[:1] or first.names != second.names:
        return False
    if not all(one is other for one, other in zip(first.entered, second.entered)):
        return False
    if first.ticks == second.ticks:  # the program itself did nothing
        return False
    if first.marks != second.marks or len(first.walks) != len(second.walks):
        return False
    for (one, known), (other, also) in zip(first.ticks, second.ticks):
        if one != other and not (known and also):
            return False
    if not all(map(_goes_on, first.walks, second.walks)):
        return False
    return all(map(_like, first.slots, second.slots)) and _shared(first.slots) == _shared(
        second.slots
    )


def _goes_on(first: RangeWalk, second: RangeWalk) -> bool:
    """Whether it does not matter which number of a range comes next: a variable that is no value of
    the graph gives it to Python."""
    given = first.variable is not None and first.read is None
    return first.over is second.over and (first.taken == second.taken or not given)


def changed_numbers(first: PythonState, second: PythonState) -> list[tuple[int, str]]:
    """Variables (id of the code, name) that hold another int or float at the second of two
    branches, or got one of a range."""
    if first.names != second.names:
        return []
    pairs = zip(first.walks, second.walks)
    walked = [a.variable for a, b in pairs if a.over is b.over and a.taken != b.taken]
    return [name for name in walked if name is not None] + [
        (first.where[name[0]][0], name[1])
        for name, one, other in zip(first.names, first.slots, second.slots)
        if one.kind == other.kind == "object"
        and type(one.value) is type(other.value)
        and type(one.value) in (int, float)
        and not same(one.value, other.value)
        and len(name) == 2
    ]


def _like(first: HeldSlot, second: HeldSlot) -> bool:
    if first.kind != second.kind or first.how != second.how:
        return False
    if first.kind == "tensor":
        return first == second or (first.plain and second.plain)
    return first.kind != "object" or first.value is second.value or same(first.value, second.value)


def _shared(slots: Sequence[HeldSlot]) -> list[tuple[int, int]]:
    """Which slots hold the same value, and the same tensor, as an earlier one."""
    values: dict[int, int] = {}
    idents: dict[int, int] = {}
    return [
        (values.setdefault(s.number, k), idents.setdefault(s.ident, k)) if s.number >= 0 else (k, k)
        for k, s in enumerate(slots)
    ]
