"""What each instruction of user code does to the stack and variables that the follower keeps.

Invariant: an instruction without a row (see rows.py) makes every number on the stack escape; a row
never claims more than the instruction is seen to do.
"""

from __future__ import annotations

import dis
import types
from typing import Any

from ...ir.tensor import Handle
from ..heap.allowlist import MISSING, lookup, trusted
from ..heap.walks import CACHED
from .arrays.computed import of_attribute, of_method
from .arrays.offers import on_arrays
from .arrays.scalars import asks, compared, negated
from .branching import begin_handling, jump_or_pop, matches, pop_jump
from .builds import (
    LOOKS,
    build,
    build_keyed,
    build_map,
    enter,
    for_iter,
    get_iter,
    one_of,
    unpack,
)
from .calls import (
    CHANGED,
    Effect,
    Instruction,
    call,
    call_spread,
    kw_names,
    numbers,
    push,
    push_slot,
)
from .follower import Follower
from .fresh.cells import home_of, keeps, seen_from
from .fresh.methods import METHODS, joined
from .fresh.model import Fresh, fresh_in, plainly, real_of
from .fresh.records import field_of, record_in
from .hosted.calls import method_of
from .hosted.recall import decided, recalled
from .hosted.recall import held as held_at
from .hosted.texts import computed_text
from .indices import delete_subscript, store_subscript, subscript
from .machine import CREATED, NULL, TENSOR, UNKNOWN, UNSEEN, Lazy, StackSlot, Stepper, value_of
from .operands import offer_value, operate
from .places import attribute, entry, global_, is_mapping, variable
from .terms import Collection, Live, is_number

__all__ = ["EFFECTS", "other", "forget"]
__all__ += ["leave", "load_attr", "load_const", "load_fast", "load_global", "load_method"]
__all__ += ["store_fast"]


# ---- stack and control
def nothing(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    pass


def other(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """Anything: all on the stack is looked at."""
    follow.walks_unknown = True
    follow.escape(machine.stack)
    follow.escape(machine.variables.values())
    jumps = instruction.opcode in dis.hasjrel
    depth = len(machine.stack)
    argument = instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None
    after = depth + dis.stack_effect(instruction.opcode, argument, jump=False)
    gone = depth + dis.stack_effect(instruction.opcode, argument, jump=True) if jumps else after

    def finish(follow: Follower, offset: int) -> None:
        taken = jumps and offset == instruction.argval
        machine.stack = [UNSEEN] * (gone if taken else after)

    machine.finish = finish


def pop_top(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    machine.stack.pop()


def copy(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    machine.stack.append(machine.stack[-(instruction.arg or 0)])


def swap(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    stack, below = machine.stack, -(instruction.arg or 0)
    stack[-1], stack[below] = stack[below], stack[-1]


def push_null(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    machine.stack.append(NULL)


def leave(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
    machine.variables.clear()
    follow.returns(machine, slot)


# ---- names
def load_const(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    push(machine, instruction.argval)


def load_fast(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    name = instruction.argval
    slot = machine.variables.get(name)
    lost = slot is not None and isinstance(slot.term, Live) and slot.term.lost
    known = slot is not None and slot is not UNSEEN and not lost
    machine.stack.append(slot if known else StackSlot(Lazy(name)))  # type: ignore[arg-type]


def store_fast(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    name = instruction.argval
    slot = machine.stack.pop()
    if isinstance(slot.term, Live):
        slot = StackSlot(Lazy(name), slot.term)
    elif type(slot.value) is Lazy:
        slot = StackSlot(value_of(frame, slot), slot.term)
    variable = id(machine.code), name
    if type(slot.value) in (int, float) and variable in follow.counters:
        slot = follow.counted(slot, variable)
    if slot.value is UNKNOWN and slot.term is not None:
        slot = slot._replace(value=Lazy(name))  # the frame has it from now on
    held = issubclass(type(slot.value), Handle) or slot is TENSOR or slot.method == CREATED
    machine.variables[name] = UNSEEN if held else slot
    forget(machine, name)


def delete_fast(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    machine.variables.pop(instruction.argval, None)
    forget(machine, instruction.argval)


def forget(machine: Stepper, name: str) -> None:
    """A variable is bound again: what stood for its object on the stack is not known any more."""
    machine.stack = [
        s._replace(value=UNKNOWN) if type(s.value) is Lazy and s.value.name == name else s
        for s in machine.stack
    ]


def load_global(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    if (instruction.arg or 0) & 1:
        machine.stack.append(NULL)
    spot, value = global_(frame, instruction.argval)
    if spot is None:
        push(machine, value)
    else:
        push_slot(machine, follow.load(machine, spot, value))


def load_deref(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    name = instruction.argval
    home = home_of(machine, name)
    if home is not None:
        machine.stack.append(home.cells[name] if home is machine else seen_from(home.cells[name]))
        return
    if name not in machine.code.co_freevars:
        push(machine, frame.f_locals.get(name, UNKNOWN))  # another frame may rebind it
        return
    spot, value = variable(machine, name)
    if spot is None or value is MISSING:
        follow.blind.add((id(machine.code), name))
        push(machine, frame.f_locals.get(name, UNKNOWN))
    else:
        push_slot(machine, follow.load(machine, spot, value))


def store_global(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    spot, held = entry(frame.f_globals, instruction.argval)
    follow.store(machine, spot, machine.stack.pop(), held)


def store_deref(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    name, slot = instruction.argval, machine.stack.pop()
    if name not in machine.code.co_freevars:
        machine.cells.pop(name, None)
        if slot.term is None or not keeps(machine, name):
            follow.escape([slot])
        else:
            machine.cells[name] = seen_from(slot)
        forget(machine, name)
        return
    spot, held = variable(machine, name)
    if spot is None:
        follow.blind.add((id(machine.code), name))
    follow.store(machine, spot, slot, held)


# ---- attributes and items
def load_attr(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
    held = field_of(slot, instruction.argval)
    if held is not None:
        machine.stack.append(held)
        return
    if isinstance(slot.term, Live):
        follow.escape([slot])
        slot = slot._replace(term=None)
    made = of_attribute(follow, machine, frame, slot, instruction.argval)
    if made is not None:
        machine.stack.append(made)
        return
    follow.escape([slot])
    _load_attribute(follow, machine, value_of(frame, slot), instruction.argval)


def _load_attribute(follow: Follower, machine: Stepper, base: Any, name: str) -> None:
    if base is UNKNOWN or issubclass(type(base), Handle):
        follow.blind.update([(id(machine.code), machine.offset)] if base is UNKNOWN else ())
        machine.stack.append(UNSEEN)

        def finish(follow: Follower, offset: int) -> None:
            machine.stack[-1] = _given_by(machine)

        machine.finish = finish
        return
    spot, value = attribute(base, name)
    if spot is None or value is MISSING:
        follow.blind.add((id(machine.code), machine.offset))
        push(machine, UNKNOWN if value is MISSING else value)
    else:
        push_slot(machine, follow.load(machine, spot, value))


def _given_by(machine: Stepper) -> StackSlot:
    """What a property of a tensor gave: its record's parts are facts."""
    value = machine.returned[-1] if machine.returned and not machine.reads else UNKNOWN
    return StackSlot(value) if value is not UNKNOWN and decided(value) else UNSEEN


def load_method(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot, name = machine.stack.pop(), instruction.argval
    box = fresh_in(slot)
    changed = record_in(slot) is not None and name == "_replace"
    if changed or (box is not None and name in METHODS[box.type] and not follow.regions):
        _check(follow, machine, frame, box, slot)
        machine.stack += [StackSlot(method=name), slot]
        return
    if isinstance(slot.term, Live):
        follow.escape([slot])
        slot = slot._replace(term=None)
    computes = asks(frame, slot, name) or of_method(follow, machine, frame, slot, name)
    if computes is not None:
        machine.stack += computes
        return
    follow.escape([slot])
    base = value_of(frame, slot)
    if base is UNKNOWN or issubclass(type(base), Handle):
        machine.stack += [StackSlot(method=name), UNSEEN]
        return
    looks_up = is_mapping(base) and lookup(type(base), name) is dict.get
    if id(type(base)) in CHANGED or looks_up:
        machine.stack += [StackSlot(method=name), StackSlot(base)]
        return
    spot, value = attribute(base, name)
    if spot is not None and value is not MISSING:
        _push_two(machine, follow.load(machine, spot, value))
        return
    special = method_of(base, name)
    if special is not None:
        machine.stack += [StackSlot(special), StackSlot(base, slot.term)]
        return
    found = lookup(type(base), name)
    if type(found) is types.FunctionType:
        machine.stack += [StackSlot(found), StackSlot(base)]
    elif type(found) is staticmethod and type(found.__func__) is CACHED:
        machine.stack += [NULL, StackSlot(found.__func__)]
    else:
        follow.blind.add((id(machine.code), machine.offset))
        machine.stack += [StackSlot(method=name), UNSEEN]


def _check(
    follow: Follower, machine: Stepper, frame: Any, box: Fresh | None, slot: StackSlot
) -> None:
    """A container that is used is what the follower says."""
    real = real_of(machine, frame, slot, len(machine.stack))
    if box is not None and real is not UNKNOWN and not box.like(real):
        follow.fail("a container was changed in a way that was not seen")


def _push_two(machine: Stepper, slot: StackSlot) -> None:
    machine.stack.append(NULL)
    push_slot(machine, slot)


def store_attr(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    owner, slot = machine.stack.pop(), machine.stack.pop()
    follow.escape([owner])
    spot, held = None, UNKNOWN
    base = held_at(machine, frame, owner, len(machine.stack) + 1)
    follow.note_holder(machine, base)
    if base is not UNKNOWN:
        spot, held = attribute(base, instruction.argval)
        setter = lookup(type(base), "__setattr__")
        if type(setter) is types.FunctionType and not trusted(setter.__code__.co_filename):
            spot = None
        found = lookup(type(base), instruction.argval)
        setter = found.fset if type(found) is property else None
        if spot is None and offer_value(follow, machine, frame, setter, slot):
            slot = UNSEEN
    follow.store(machine, spot, slot, held)


def delete_attr(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    follow.escape([machine.stack.pop()])
    follow.blind.add((id(machine.code), machine.offset))  # the place is no action


# ---- operators
FIRST_INPLACE = 13  # operands of BINARY_OP from here on are the augmented assignments
_BINARY: tuple[Any, ...] = (
    *("+", "&", "//", "<<", "@", "*", "%", "|", "**", ">>", "-", "/", "^"),
    *("+", "&", "//", "<<", "@", "*", "%", "|", "**", ">>", "-", "/", "^"),
)


def _pair(follow: Follower, machine: Stepper, frame: Any) -> tuple[StackSlot, StackSlot]:
    """Take two operands off the stack, lowest first."""
    right, left = machine.stack.pop(), machine.stack.pop()
    left, right = plainly(follow, left), plainly(follow, right)
    if left.term is not None or right.term is not None:
        left, right = recalled(machine, frame, (left, right), len(machine.stack))
    return left, right


def binary(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    symbol = _BINARY[instruction.arg or 0]
    inplace = (instruction.arg or 0) >= FIRST_INPLACE
    if joined(follow, machine, frame, symbol, inplace):
        return
    left, right = _pair(follow, machine, frame)
    if inplace:
        changed = value_of(frame, left)
        follow.handle([changed])
        follow.impure += not (issubclass(type(changed), Handle) or is_number(changed))
    made = computed_text(frame, symbol, left, right)
    if made is not None:
        machine.stack.append(made)
        return
    if on_arrays(follow, machine, frame, symbol, [left, right], inplace):
        return
    if symbol == "@":
        follow.escape([left, right])
        machine.stack.append(UNSEEN)
        return
    pair = numbers(frame, [left, right])
    machine.stack.append(operate(follow, machine, frame, symbol, pair))


def compare(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    left, right = _pair(follow, machine, frame)
    truth = compared(follow, instruction.argval, numbers(frame, [left, right]))
    if truth is not None:
        machine.stack.append(truth)
    elif not on_arrays(follow, machine, frame, instruction.argval, [left, right]):
        pair = numbers(frame, [left, right])
        machine.stack.append(operate(follow, machine, frame, instruction.argval, pair))


def identity(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    right, left = machine.stack.pop(), machine.stack.pop()
    pair = left, right
    boxes = fresh_in(left), fresh_in(right)
    if None not in boxes:
        machine.stack.append(StackSlot((boxes[0] is boxes[1]) is not bool(instruction.arg)))
        return
    if any(type(s.value) is type(None) for s in pair) and not any(
        type(s.term) is Collection for s in pair
    ):
        machine.stack.append(UNSEEN)  # a number is not None, whichever it is
        return
    follow.escape(pair)
    follow.handle([value_of(frame, slot) for slot in pair])
    machine.stack.append(UNSEEN)


def negative(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = numbers(frame, [plainly(follow, machine.stack.pop())])[0]
    if not on_arrays(follow, machine, frame, "neg", [slot]):
        machine.stack.append(follow.compute("neg", slot))


def inverse(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = plainly(follow, machine.stack.pop())
    if not on_arrays(follow, machine, frame, "invert", [slot]):
        follow.escape([slot])
        machine.stack.append(UNSEEN)


def negation(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
    box = fresh_in(slot)
    if box is not None:
        machine.stack.append(StackSlot(not box.slots))
        return
    slot = plainly(follow, slot)
    slot = slot._replace(value=value_of(frame, slot))
    if type(slot.value) is list and slot.term is None:
        follow.measured.add((id(machine.code), machine.offset, id(slot.value)))
        slot = follow.length(slot.value)
    machine.stack.append(negated(follow, slot) or follow.compute("not", slot))


EFFECTS: dict[str, Effect] = {
    **LOOKS,
    **dict.fromkeys(
        (
            *("RESUME", "NOP", "CACHE", "EXTENDED_ARG", "MAKE_CELL", "COPY_FREE_VARS"),
            *("PRECALL", "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"),
        ),
        nothing,
    ),
    **dict.fromkeys(
        [
            f"POP_JUMP_{way}_IF_{what}"
            for way in ("FORWARD", "BACKWARD")
            for what in ("FALSE", "TRUE", "NONE", "NOT_NONE")
        ],
        pop_jump,
    ),
    "JUMP_IF_FALSE_OR_POP": jump_or_pop,
    "JUMP_IF_TRUE_OR_POP": jump_or_pop,
    "POP_TOP": pop_top,
    "PUSH_EXC_INFO": begin_handling,
    "CHECK_EXC_MATCH": matches,
    "POP_EXCEPT": pop_top,
    "COPY": copy,
    "SWAP": swap,
    "PUSH_NULL": push_null,
    "GET_ITER": get_iter,
    "BEFORE_WITH": enter,
    "FOR_ITER": for_iter,
    "RETURN_VALUE": leave,
    "LOAD_CONST": load_const,
    "LOAD_FAST": load_fast,
    "STORE_FAST": store_fast,
    "DELETE_FAST": delete_fast,
    "LOAD_GLOBAL": load_global,
    "LOAD_DEREF": load_deref,
    "STORE_GLOBAL": store_global,
    "STORE_DEREF": store_deref,
    "LOAD_ATTR": load_attr,
    "LOAD_METHOD": load_method,
    "STORE_ATTR": store_attr,
    "DELETE_ATTR": delete_attr,
    "BINARY_SUBSCR": subscript,
    "STORE_SUBSCR": store_subscript,
    "DELETE_SUBSCR": delete_subscript,
    "BINARY_OP": binary,
    "COMPARE_OP": compare,
    "IS_OP": identity,
    "CONTAINS_OP": one_of,
    "UNARY_NEGATIVE": negative,
    "UNARY_NOT": negation,
    "UNARY_INVERT": inverse,
    "BUILD_TUPLE": build,
    "BUILD_LIST": build,
    "BUILD_MAP": build_map,
    "BUILD_CONST_KEY_MAP": build_keyed,
    "UNPACK_SEQUENCE": unpack,
    "KW_NAMES": kw_names,
    "CALL": call,
    "CALL_FUNCTION_EX": call_spread,
}
