"""What the instructions of CPython 3.12 and 3.13 do that 3.11 does not have, or has otherwise.

Invariant: as in effects; what a call takes lies on the stack as (NULL, callable) up to 3.12 and as
(callable, NULL) from 3.13 on, and (method, self) everywhere.
"""

from __future__ import annotations

from typing import Any

from .branching import pop_jump
from .builds import LOOKS, advance, make_function
from .calls import Effect, Instruction, call, push
from .effects import (
    forget,
    leave,
    load_attr,
    load_const,
    load_fast,
    load_global,
    load_method,
    nothing,
    pop_top,
    store_fast,
)
from .follower import Follower
from .hosted.recall import recalled
from .hosted.texts import convert_value, format_with
from .indices import slice_of, store_subscript, subscript
from .machine import NULL, UNKNOWN, UNSEEN, Stepper, value_of

__all__ = ["ROWS_312", "ROWS_313"]


# ---- 3.12
def attribute_or_method(
    follow: Follower, machine: Stepper, frame: Any, instruction: Instruction
) -> None:
    """The lowest bit of the operand says that the attribute is called next."""
    looked_up = load_method if (instruction.arg or 0) & 1 else load_attr
    looked_up(follow, machine, frame, instruction)


def super_attribute(
    follow: Follower, machine: Stepper, frame: Any, instruction: Instruction
) -> None:
    follow.escape(machine.stack[-3:])
    called = (instruction.arg or 0) & 1
    follow.blind.add((id(machine.code), machine.offset))
    machine.stack[-3:] = [UNSEEN] * (1 + called)


def return_const(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    load_const(follow, machine, frame, instruction)
    leave(follow, machine, frame, instruction)


def for_iter(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """The end of a loop goes past the instructions at the target, which only drop what an end in
    the middle of the instruction would leave."""
    went_on = advance(follow, machine)

    def finish(follow: Follower, offset: int) -> None:
        went_on(None if offset > instruction.argval else offset)

    machine.finish = finish


def end_for(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    del machine.stack[-2:]


def set_aside(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """The variable of a comprehension hides one of the function, whose value waits on the stack."""
    name = instruction.argval
    slot = machine.variables.pop(name, UNSEEN)
    if slot is UNSEEN:
        push(machine, frame.f_locals.get(name, UNKNOWN))
    else:
        machine.stack.append(slot)
    forget(machine, name)


def take_slice(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    bounds = recalled(machine, frame, machine.stack[-2:], len(machine.stack) - 2)
    machine.stack[-2:] = [slice_of(follow, frame, bounds)]
    subscript(follow, machine, frame, instruction)


def store_slice(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    follow.handle([value_of(frame, machine.stack[-3])])
    bounds = machine.stack[-2:]
    machine.stack[-2:] = [slice_of(follow, frame, bounds)]
    store_subscript(follow, machine, frame, instruction)


# ---- 3.13
def _swapped(effect: Effect) -> Effect:
    """An effect that leaves NULL below a callable, for an interpreter that has it above."""

    def swapped(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
        effect(follow, machine, frame, instruction)
        stack = machine.stack
        # the lowest bit says that a pair was pushed: else what lies below is another call's
        if (instruction.arg or 0) & 1 and stack[-2] is NULL:
            stack[-1], stack[-2] = stack[-2], stack[-1]

    return swapped


def call_kw(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    names = machine.stack.pop().value
    machine.names = names if type(names) is tuple else ("?",)
    call(follow, machine, frame, instruction)


def load_two(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    for name in instruction.argval:
        load_fast(follow, machine, frame, instruction._replace(argval=name))


def store_two(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    for name in instruction.argval:
        store_fast(follow, machine, frame, instruction._replace(argval=name))


def store_load(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    stored, loaded = instruction.argval
    store_fast(follow, machine, frame, instruction._replace(argval=stored))
    load_fast(follow, machine, frame, instruction._replace(argval=loaded))


def set_function_attribute(
    follow: Follower, machine: Stepper, frame: Any, instruction: Instruction
) -> None:
    follow.escape([machine.stack.pop(-2)])


ROWS_312: dict[str, Effect] = {
    **{f"POP_JUMP_IF_{what}": pop_jump for what in ("FALSE", "TRUE", "NONE", "NOT_NONE")},
    "LOAD_ATTR": attribute_or_method,
    "LOAD_SUPER_ATTR": super_attribute,
    "RETURN_CONST": return_const,
    "FOR_ITER": for_iter,
    "END_FOR": end_for,
    "LOAD_FAST_CHECK": load_fast,
    "LOAD_FAST_AND_CLEAR": set_aside,
    "BINARY_SLICE": take_slice,
    "STORE_SLICE": store_slice,
    "CALL_INTRINSIC_1": LOOKS["UNARY_POSITIVE"],
}
ROWS_313: dict[str, Effect] = {
    **ROWS_312,
    "LOAD_ATTR": _swapped(attribute_or_method),
    "LOAD_GLOBAL": _swapped(load_global),
    "END_FOR": pop_top,
    "TO_BOOL": nothing,  # the jump or `not` that follows takes the number itself
    "CALL_KW": call_kw,
    "LOAD_FAST_LOAD_FAST": load_two,
    "STORE_FAST_STORE_FAST": store_two,
    "STORE_FAST_LOAD_FAST": store_load,
    "CONVERT_VALUE": convert_value,
    "FORMAT_SIMPLE": format_with,
    "FORMAT_WITH_SPEC": format_with,
    "MAKE_FUNCTION": make_function,  # its operand is 0
    "SET_FUNCTION_ATTRIBUTE": set_function_attribute,
}
