"""What each instruction of user code does to the stack and variables that the follower keeps.

Invariant: an instruction without a row (see rows.py) makes every number on the stack escape; a row
never claims more than the instruction is seen to do.
"""

from __future__ import annotations

import collections
import dis
import types
from typing import Any

from ...ir.tensor import Handle
from ..heap.allowlist import MISSING, lookup, plain, trusted
from .branching import jump_or_pop, pop_jump
from .builds import (
    LOOKS,
    build,
    build_keyed,
    build_map,
    enter,
    for_iter,
    gather,
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
from .hosted.arrays import array_method, is_array, on_arrays, picked, taken_from
from .hosted.calls import method_of
from .hosted.recall import decided, recalled
from .hosted.texts import computed_text
from .indices import offer_index, read_table
from .machine import NULL, TENSOR, UNKNOWN, UNSEEN, Lazy, StackSlot, Stepper, value_of
from .operands import offer_value, operate
from .places import attribute, entry, global_, is_mapping, item, named, variable
from .terms import Collection, is_number

__all__ = ["EFFECTS", "other", "forget"]
__all__ += ["leave", "load_attr", "load_const", "load_fast", "load_global", "load_method"]
__all__ += ["store_fast", "store_subscript", "subscript"]


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
    follow.returns(machine, slot)


# ---- names
def load_const(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    push(machine, instruction.argval)


def load_fast(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    name = instruction.argval
    slot = machine.variables.get(name)
    machine.stack.append(StackSlot(Lazy(name)) if slot is None or slot is UNSEEN else slot)


def store_fast(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    name = instruction.argval
    slot = machine.stack.pop()
    if type(slot.value) is Lazy:
        slot = StackSlot(value_of(frame, slot), slot.term)
    variable = id(machine.code), name
    if type(slot.value) in (int, float) and variable in follow.counters:
        slot = follow.counted(slot, variable)
    if slot.value is UNKNOWN and slot.term is not None:
        slot = slot._replace(value=Lazy(name))  # the frame has it from now on
    held = issubclass(type(slot.value), Handle) or slot is TENSOR
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
        follow.escape([slot])
        forget(machine, name)
        return
    spot, held = variable(machine, name)
    if spot is None:
        follow.blind.add((id(machine.code), name))
    follow.store(machine, spot, slot, held)


# ---- attributes and items
def load_attr(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
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
    computes = array_method(slot, name)
    if computes is not None:
        machine.stack += [StackSlot(computes), slot]
        return
    follow.escape([slot])
    base = value_of(frame, slot)
    if base is UNKNOWN or issubclass(type(base), Handle):
        machine.stack += [StackSlot(method=name), UNSEEN]
        return
    if id(type(base)) in CHANGED:
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
    else:
        follow.blind.add((id(machine.code), machine.offset))
        machine.stack += [StackSlot(method=name), UNSEEN]


def _push_two(machine: Stepper, slot: StackSlot) -> None:
    machine.stack.append(NULL)
    push_slot(machine, slot)


def store_attr(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    owner, slot = machine.stack.pop(), machine.stack.pop()
    follow.escape([owner])
    base, spot, held = value_of(frame, owner), None, UNKNOWN
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


def subscript(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    key, slot = machine.stack.pop(), machine.stack.pop()
    special = picked(frame, slot, key)
    if special is not None:
        machine.stack.append(special)
        return
    if taken_from(follow, machine, frame, slot, key):
        return
    if _of_pair(machine, frame, slot, key):
        return
    container, index = value_of(frame, slot), value_of(frame, key)
    key = key._replace(value=index)
    entry_ = read_table(follow, machine, container, key) if slot.term is None else None
    if entry_ is not None:
        machine.stack.append(entry_)
        return
    if type(container) is list or type(container) is tuple:
        follow.touched["plain", id(container)].add((id(machine.code), machine.offset))
    offered = slot.term is None and offer_index(follow, machine, frame, container, key)
    follow.escape([slot] if offered else [key, slot])
    if container is UNKNOWN or index is UNKNOWN:
        follow.blind.add((id(machine.code), machine.offset))
        machine.stack.append(UNSEEN)
        return
    grows = type(container) is list or type(container) is collections.deque
    if grows and type(index) is int and index == -1 and container and key.term is None:
        if issubclass(type(container[-1]), Handle):
            follow.peek(machine, container)
            machine.stack.append(UNSEEN)
            return
    spot, value = item(container, index)
    if spot is None or value is MISSING:
        follow.blind.add((id(machine.code), machine.offset))
        machine.stack.append(UNSEEN)
    else:
        push_slot(machine, follow.load(machine, spot, value))


def _of_pair(machine: Stepper, frame: Any, slot: StackSlot, key: StackSlot) -> bool:
    """Whether an item that is no number is taken out of a fresh container: the others are not
    looked at."""
    index = value_of(frame, key)
    if type(slot.term) is not Collection or slot.term.type is dict or type(index) is not int:
        return False
    items = slot.term.items
    if key.term is not None or not -len(items) <= index < len(items) or items[index] is not None:
        return False
    machine.stack.append(UNSEEN)
    return True


def store_subscript(
    follow: Follower, machine: Stepper, frame: Any, instruction: Instruction
) -> None:
    key, base, slot = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    follow.escape([base])
    container, index = value_of(frame, base), value_of(frame, key)
    if is_mapping(container) and (key.term is not None or not named(index)):
        _set(follow, machine, container, key._replace(value=index), slot)
        return
    setter = MISSING if container is UNKNOWN else lookup(type(container), "__setitem__")
    if base.term is None and offer_index(follow, machine, frame, container, key, slot):
        slot = UNSEEN
    else:
        follow.escape([key])
        slot = UNSEEN if offer_value(follow, machine, frame, setter, slot) else slot
    spot, held = item(container, index)
    if spot is not None and held is MISSING:
        _set(follow, machine, container, StackSlot(index), slot)
    else:
        follow.store(machine, spot, slot, held)


def _set(
    follow: Follower, machine: Stepper, owner: dict[Any, Any], key: StackSlot, slot: StackSlot
) -> None:
    """A dict may get a new key."""
    follow.mutate(machine, owner, "set", (key, slot))
    mutation = follow.mutations[-1]
    if not plain(key.value):
        follow.unfit.add(id(owner))
        return

    def finish(follow: Follower, offset: int) -> None:
        follow.changed(mutation, 0)

    machine.finish = finish


def delete_subscript(
    follow: Follower, machine: Stepper, frame: Any, instruction: Instruction
) -> None:
    key, base = machine.stack.pop(), machine.stack.pop()
    follow.escape([base])
    container, index = value_of(frame, base), value_of(frame, key)
    if type(container) is dict or type(container) is list:
        follow.mutate(machine, container, "delete", (key._replace(value=index),))
        mutation = follow.mutations[-1]

        def finish(follow: Follower, offset: int) -> None:
            follow.changed(mutation, 0)

        machine.finish = finish
        if type(container) is dict:
            follow.unfit.add(id(container))
    else:
        follow.blind.add((id(machine.code), machine.offset))
        follow.escape([key])


# ---- operators
FIRST_INPLACE = 13  # operands of BINARY_OP from here on are the augmented assignments
_BINARY: tuple[Any, ...] = (
    *("+", "&", "//", "<<", "@", "*", "%", "|", "**", ">>", "-", "/", "^"),
    *("+", "&", "//", "<<", "@", "*", "%", "|", "**", ">>", "-", "/", "^"),
)


def _pair(machine: Stepper, frame: Any) -> tuple[StackSlot, StackSlot]:
    """Take two operands off the stack, lowest first."""
    right, left = machine.stack.pop(), machine.stack.pop()
    if left.term is not None or right.term is not None:
        left, right = recalled(machine, frame, (left, right), len(machine.stack))
    return left, right


def binary(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    left, right = _pair(machine, frame)
    symbol = _BINARY[instruction.arg or 0]
    if (instruction.arg or 0) >= FIRST_INPLACE:
        changed = value_of(frame, left)
        follow.handle([changed])
        follow.impure += not (issubclass(type(changed), Handle) or is_number(changed))
    made = computed_text(frame, symbol, left, right)
    if made is not None:
        machine.stack.append(made)
        return
    if symbol == "@" and not any(map(is_array, (left, right))):
        follow.escape([left, right])
        machine.stack.append(UNSEEN)
        return
    inplace = (instruction.arg or 0) >= FIRST_INPLACE
    if not on_arrays(follow, machine, frame, symbol, [left, right], inplace):
        pair = numbers(frame, [left, right])
        machine.stack.append(operate(follow, machine, frame, symbol, pair))


def compare(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    left, right = _pair(machine, frame)
    if not on_arrays(follow, machine, frame, instruction.argval, [left, right]):
        pair = numbers(frame, [left, right])
        machine.stack.append(operate(follow, machine, frame, instruction.argval, pair))


def identity(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    right, left = machine.stack.pop(), machine.stack.pop()
    pair = left, right
    if any(type(s.value) is type(None) for s in pair) and not any(
        type(s.term) is Collection for s in pair
    ):
        machine.stack.append(UNSEEN)  # a number is not None, whichever it is
        return
    follow.escape(pair)
    follow.handle([value_of(frame, slot) for slot in pair])
    machine.stack.append(UNSEEN)


def negative(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = numbers(frame, [machine.stack.pop()])[0]
    machine.stack.append(follow.compute("neg", slot))


def negation(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
    slot = slot._replace(value=value_of(frame, slot))
    if type(slot.value) is list and slot.term is None:
        follow.measured.add((id(machine.code), machine.offset, id(slot.value)))
        slot = follow.length(slot.value)
    machine.stack.append(follow.compute("not", slot))


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
    "BINARY_SUBSCR": subscript,
    "STORE_SUBSCR": store_subscript,
    "DELETE_SUBSCR": delete_subscript,
    "BINARY_OP": binary,
    "COMPARE_OP": compare,
    "IS_OP": identity,
    "CONTAINS_OP": one_of,
    "UNARY_NEGATIVE": negative,
    "UNARY_NOT": negation,
    "BUILD_TUPLE": build,
    "BUILD_LIST": build,
    "BUILD_MAP": build_map,
    "BUILD_CONST_KEY_MAP": build_keyed,
    "UNPACK_SEQUENCE": unpack,
    "LIST_APPEND": gather,
    "SET_ADD": gather,
    "KW_NAMES": kw_names,
    "CALL": call,
    "CALL_FUNCTION_EX": call_spread,
}
