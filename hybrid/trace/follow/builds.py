"""Fresh containers that code builds, what it takes out of them, and the blocks it is in.

Invariant: a container that holds a followed number is followed as a whole until it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.tensor import Handle
from ..bytecode.liveness import live_after
from ..heap.allowlist import plain
from ..host.table import owns_state
from .arrays.computed import is_array
from .arrays.numbers import ListWalk, list_walk
from .calls import RETURNED, Effect, Instruction
from .follower import Follower
from .hosted.recall import held, operand_at, recalled
from .hosted.texts import build_string, format_value, term_of
from .indices import build_slice
from .machine import CREATED, TENSOR, UNKNOWN, UNSEEN, StackSlot, Stepper, value_of
from .snapshots import BLOCK, RangeWalk
from .terms import Collection, Constant, HostRead, Operation

__all__ = ["LOOKS", "build", "build_map", "build_keyed", "unpack", "gather", "one_of"]
__all__ += ["advance", "get_iter", "given", "for_iter", "enter"]


def build(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    count = instruction.arg or 0
    kind = tuple if instruction.opname == "BUILD_TUPLE" else list
    _collect(machine, frame, kind, _taken(machine, frame, count))


def build_map(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slots = _taken(machine, frame, 2 * (instruction.arg or 0))
    follow.escape(slots[::2])
    keys = tuple([slot.value for slot in slots[::2]])
    _collect(machine, frame, dict, slots[1::2], keys)


def build_keyed(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    keys = machine.stack.pop().value
    slots = _taken(machine, frame, instruction.arg or 0)
    _collect(machine, frame, dict, slots, keys if type(keys) is tuple else ())


def _taken(machine: Stepper, frame: Any, count: int) -> list[StackSlot]:
    """Take what goes into a container off the stack; all of it is known where some is followed."""
    first = len(machine.stack) - count
    slots = machine.stack[first:]
    del machine.stack[first:]
    if any(slot.term is not None for slot in slots):
        slots = recalled(machine, frame, slots, first)
    return slots


def _collect(
    machine: Stepper, frame: Any, kind: type, slots: list[StackSlot], keys: tuple[Any, ...] = ()
) -> None:
    slots = [UNSEEN if slot.method == CREATED else slot for slot in slots]
    if any(slot.term is not None for slot in slots):
        terms = tuple([s.term or term_of(frame, s) for s in slots])
        keys = keys if all(map(plain, keys)) else ()
        machine.stack.append(StackSlot(UNKNOWN, Collection(kind, terms, keys)))
    elif kind is tuple and not slots:
        machine.stack.append(StackSlot(()))
    else:
        machine.stack.append(UNSEEN)


def unpack(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot, count = machine.stack.pop(), instruction.arg or 0
    items = _items(machine, frame, slot, count)
    if items is not None:
        follow.fresh.update({id(item.value): item.value for item in items if is_array(item)})
        machine.stack += reversed(items)
        return
    follow.escape([slot])
    kind = type(value_of(frame, slot))
    if slot.method != RETURNED:
        _walks(follow, value_of(frame, slot))
    if slot.method != RETURNED and kind is not tuple and kind is not list:
        follow.impure += 1  # an iterator may move
    machine.stack += [UNSEEN] * count


def _items(machine: Stepper, frame: Any, slot: StackSlot, count: int) -> list[StackSlot] | None:
    """What is in a fresh list or tuple of so many items; None: that is not known."""
    term: Any = slot.term
    real: Any = operand_at(machine, frame, len(machine.stack))
    kind: Any = type(real)
    if type(term) is not Collection or kind is not term.type or kind is dict:
        return None
    if len(real) != count or len(term.items) != count:
        return None
    return [_item(value, inside) for value, inside in zip(real, term.items)]


def _item(value: Any, term: Any) -> StackSlot:
    if term is None:
        return TENSOR if issubclass(type(value), Handle) else UNSEEN
    return StackSlot(value) if type(term) is Constant else StackSlot(value, term)


def gather(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    follow.escape([machine.stack.pop()])


def one_of(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """Two values give one that says nothing."""
    follow.escape(machine.stack[-2:])
    kind = type(value_of(frame, machine.stack[-1]))
    _walks(follow, value_of(frame, machine.stack[-1]))
    follow.impure += kind not in (tuple, list, dict, set, frozenset, str)
    machine.stack[-2:] = [UNSEEN]


def _walks(follow: Follower, over: Any) -> None:
    """Items are taken out of an object: it may be one that is written to or drawn from."""
    follow.walks_unknown = follow.walks_unknown or over is UNKNOWN or owns_state(type(over))


def get_iter(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
    follow.escape([slot])
    over = value_of(frame, slot)
    _walks(follow, over)
    numbers = list_walk(follow, over)
    if numbers is not None and _walked_here(machine):
        follow.does_again(machine)
        machine.stack.append(StackSlot(numbers))
    elif type(over) is range and len(over):
        machine.stack.append(StackSlot(RangeWalk(over, 0, [0])))
    else:
        machine.stack.append(StackSlot(method=BLOCK))


def _walked_here(machine: Stepper) -> bool:
    """Whether the iterator that the instruction makes is asked for items by this frame alone, and
    no comprehension or generator gets it."""
    (following,) = machine.after[machine.offset]
    return machine.instructions[following].opname in ("FOR_ITER", "LOAD_FAST_AND_CLEAR")


def advance(follow: Follower, machine: Stepper) -> None:
    """The iterator on top of the stack gives its next value."""
    walk = machine.stack[-1].value
    if type(walk) is RangeWalk:
        walk.asked[0] += 1
        machine.stack[-1] = StackSlot(walk._replace(taken=walk.taken + 1))
    elif type(walk) is ListWalk:
        follow.does_again(machine)
        machine.stack[-1] = StackSlot(walk._replace(taken=walk.taken + 1))
    else:
        follow.impure += 1


def for_iter(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    advance(follow, machine)

    def finish(follow: Follower, offset: int) -> None:
        if offset == instruction.argval:
            machine.stack.pop()
        else:
            machine.stack.append(given(follow, machine, offset))

    machine.finish = finish


def given(follow: Follower, machine: Stepper, offset: int) -> StackSlot:
    """What the iterator on top of the stack gave, which is about to be stored there: a number that
    the graph computes where the variable is one."""
    walk, store = machine.stack[-1].value, machine.instructions[offset]
    if type(walk) is ListWalk:
        return walk.latest()
    if type(walk) is not RangeWalk or not store.opname.startswith("STORE_FAST"):
        return UNSEEN
    name = store.argval if type(store.argval) is str else store.argval[0]
    if type(store.argval) is str and name not in live_after(machine.code, offset):
        return UNSEEN
    found, key = UNSEEN, (id(machine.code), name)
    if key in follow.counters:
        value, step = walk.over[walk.taken - 1], Constant(walk.over.step)
        term = None if walk.read is None else Operation("+", (walk.read, step))
        found = follow.counted(StackSlot(value, term), key)
    read = found.term if type(found.term) is HostRead else None
    machine.stack[-1] = StackSlot(walk._replace(variable=key, read=read))
    return found


def enter(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """A with block: its exit stays on the stack."""
    follow.escape([machine.stack.pop()])
    machine.stack += [StackSlot(method=BLOCK), UNSEEN]


def _look(pops: Callable[[int], int], pushes: int, into: bool = False) -> Effect:
    """An instruction that looks at what it pops and at nothing else; `into`: it changes a container
    that stays on the stack, as deep as its operand says."""

    def effect(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
        operand, stack = instruction.arg or 0, machine.stack
        count = pops(operand)
        if into:
            if count == 1:  # of several the container gets each as it is
                _walks(follow, held(machine, frame, stack[-1], len(stack) - 1))
            place = len(stack) - count - operand
            follow.escape([stack[place]])
            stack[place] = UNSEEN
        follow.escape(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        stack += [UNSEEN] * pushes

    return effect


LOOKS: dict[str, Effect] = {
    "FORMAT_VALUE": format_value,
    "BUILD_STRING": build_string,
    "BUILD_SLICE": build_slice,
    "BUILD_SET": _look(lambda operand: operand, 1),
    "LIST_EXTEND": _look(lambda operand: 1, 0, into=True),
    "SET_UPDATE": _look(lambda operand: 1, 0, into=True),
    "DICT_UPDATE": _look(lambda operand: 1, 0, into=True),
    "DICT_MERGE": _look(lambda operand: 1, 0, into=True),
    "MAP_ADD": _look(lambda operand: 2, 0, into=True),
    "LIST_TO_TUPLE": _look(lambda operand: 1, 1),
    "MAKE_FUNCTION": _look(lambda operand: 1 + (operand & 15).bit_count(), 1),
    "LOAD_CLOSURE": _look(lambda operand: 0, 1),
    "UNARY_INVERT": _look(lambda operand: 1, 1),
    "UNARY_POSITIVE": _look(lambda operand: 1, 1),
}
