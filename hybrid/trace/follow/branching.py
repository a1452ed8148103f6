"""Jumps that depend on a value (of a followed number, of one read from a tensor, of what a call of
Python's own world gave), and what is done where an exception is handled.

Invariant: a jump that was taken because of a term is a condition of it, or the term escapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..heap.allowlist import is_a
from .calls import Instruction
from .follower import Follower
from .fresh.model import fresh_in, plainly
from .machine import UNKNOWN, UNSEEN, StackSlot, Stepper, value_of
from .terms import NUMBERS, Collection, HostRead, Made, parts

__all__ = ["jump_or_pop", "pop_jump", "begin_handling", "matches"]


def _branch(
    follow: Follower, machine: Stepper, instruction: Instruction, slot: StackSlot, wanted: bool
) -> None:
    """A jump that is taken when the number in a slot is `wanted`; a list counts by its length."""
    if fresh_in(slot) is not None:
        return
    slot = plainly(follow, slot)
    if type(slot.value) is list and slot.term is None:
        follow.measured.add((id(machine.code), machine.offset, id(slot.value)))
        slot = follow.length(slot.value)
    if slot.term is None:
        return
    made = type(slot.term) is Made and slot.term.type not in NUMBERS
    if type(slot.term) is Collection or (made and not is_a(slot.value, np.generic)):
        follow.escape([slot])
        return
    if slot.value is UNKNOWN:
        _unknown_branch(follow, machine, instruction, slot, wanted)
        return
    truth = bool(slot.value)
    if not any(type(leaf) is HostRead for leaf in parts(slot.term)):
        follow.condition(slot.term, truth)
    elif not follow.decide(slot.term, truth):
        follow.escape([slot])
        return

    def finish(follow: Follower, offset: int) -> None:
        if (offset == instruction.argval) is not (truth is wanted):
            follow.fail("a branch went another way than its number says")

    machine.finish = finish


def _unknown_branch(
    follow: Follower, machine: Stepper, instruction: Instruction, slot: StackSlot, wanted: bool
) -> None:
    """A jump that depends on what a call of Python's own world gave: where it goes says what."""
    if any(type(leaf) is HostRead for leaf in parts(slot.term)):
        follow.escape([slot])
        return

    def finish(follow: Follower, offset: int) -> None:
        if slot.term is not None:
            follow.condition(slot.term, (offset == instruction.argval) is wanted)

    machine.finish = finish


def pop_jump(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
    slot = slot._replace(value=value_of(frame, slot))
    if "NONE" in instruction.opname:
        if type(slot.term) is Collection:
            follow.escape([slot])
        return  # a number is not None
    _branch(follow, machine, instruction, slot, instruction.opname.endswith("TRUE"))


def jump_or_pop(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack[-1]
    slot = slot._replace(value=value_of(frame, slot))
    _branch(follow, machine, instruction, slot, "TRUE" in instruction.opname)
    checked, machine.finish = machine.finish, None

    def finish(follow: Follower, offset: int) -> None:
        if checked is not None:
            checked(follow, offset)
        if offset != instruction.argval:
            machine.stack.pop()

    machine.finish = finish


# ---- the end of an iterator or generator, handled by Python
def begin_handling(
    follow: Follower, machine: Stepper, frame: Any, instruction: Instruction
) -> None:
    """The exception that was handled before comes below the one that is handled now."""
    machine.stack.append(UNSEEN)


def matches(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    follow.escape([machine.stack.pop()])
    machine.stack.append(UNSEEN)
