"""Fresh containers that code builds, and what it takes out of them.

Invariant: a container that holds a followed number is followed as a whole until it is looked at.
"""

from __future__ import annotations

from typing import Any

from .calls import Instruction
from .follower import Follower
from .machine import UNKNOWN, UNSEEN, StackSlot, Stepper
from .terms import Collection

__all__ = ["build", "build_map", "build_keyed", "build_slice", "make_function", "push_unseen"]
__all__ += ["unpack", "gather", "one_of"]


def build(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    count = instruction.arg or 0
    kind = tuple if instruction.opname == "BUILD_TUPLE" else list
    slots = machine.stack[len(machine.stack) - count :]
    del machine.stack[len(machine.stack) - count :]
    _collect(machine, kind, slots)


def build_map(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    count = 2 * (instruction.arg or 0)
    slots = machine.stack[len(machine.stack) - count :]
    del machine.stack[len(machine.stack) - count :]
    follow.escape(slots[::2])
    _collect(machine, dict, slots[1::2])


def build_keyed(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    machine.stack.pop()
    count = instruction.arg or 0
    slots = machine.stack[len(machine.stack) - count :]
    del machine.stack[len(machine.stack) - count :]
    _collect(machine, dict, slots)


def _collect(machine: Stepper, kind: type, slots: list[StackSlot]) -> None:
    if any(slot.term is not None for slot in slots):
        machine.stack.append(StackSlot(UNKNOWN, Collection(kind, tuple([s.term for s in slots]))))
    elif kind is tuple and not slots:
        machine.stack.append(StackSlot(()))
    else:
        machine.stack.append(UNSEEN)


def build_slice(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    count = instruction.arg or 0
    follow.escape(machine.stack[len(machine.stack) - count :])
    machine.stack[len(machine.stack) - count :] = [UNSEEN]


def make_function(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """Defaults, annotations and cells lie below the code, one for each bit of the operand; what is
    in the cells is read and stored by instructions of their own."""
    count = 1 + (instruction.arg or 0).bit_count()
    follow.escape(machine.stack[len(machine.stack) - count :])
    machine.stack[len(machine.stack) - count :] = [UNSEEN]


def push_unseen(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    machine.stack.append(UNSEEN)


def unpack(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot, count = machine.stack.pop(), instruction.arg or 0
    follow.escape([slot])
    machine.stack += [UNSEEN] * count


def gather(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    follow.escape([machine.stack.pop()])


def one_of(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """Two values give one that says nothing."""
    follow.escape(machine.stack[-2:])
    machine.stack[-2:] = [UNSEEN]
