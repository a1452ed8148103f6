"""Fresh containers that code builds, what it takes out of them, and the blocks it is in.

Invariant: a container that holds a followed number is followed as a whole until it is looked at.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.tensor import Handle
from ..bytecode.liveness import live_after
from ..heap.allowlist import plain
from ..host.table import owns_state
from .arrays.computed import is_array
from .arrays.numbers import ListWalk, list_walk
from .calls import MAKES, RETURNED, Effect, Instruction
from .follower import Follower
from .fresh.builtins import asked
from .fresh.methods import METHODS, fits
from .fresh.model import BoxWalk, Fresh, Produced, fresh_in, item_of, plainly, real_of, walk_over
from .fresh.records import items_of
from .given.walks import dict_of, list_walk_of
from .hosted.recall import held, operand_at, recalled
from .hosted.texts import build_string, format_value, term_of
from .indices import build_slice
from .machine import CREATED, TENSOR, UNKNOWN, UNSEEN, StackSlot, Stepper, value_of
from .snapshots import BLOCK, RangeWalk
from .terms import Collection, Constant, HostRead, Live, Load, Made, Operation, parts

__all__ = ["LOOKS", "build", "build_map", "build_keyed", "unpack", "one_of"]
__all__ += ["advance", "get_iter", "for_iter", "enter", "make_function"]

Advance = Callable[[int | None], None]


def build(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    count = instruction.arg or 0
    kind = tuple if instruction.opname == "BUILD_TUPLE" else list
    slots = _taken(machine, count)
    if kind is tuple and not any(slot.term is not None for slot in slots):
        machine.stack.append(UNSEEN if slots else StackSlot(()))
    else:
        _collect(follow, machine, frame, kind, slots)


def build_map(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slots = _taken(machine, 2 * (instruction.arg or 0))
    first = len(machine.stack)
    keys = [real_of(machine, frame, slot, first + 2 * k) for k, slot in enumerate(slots[::2])]
    follow.escape(slots[::2])
    known = not any(slot.term is not None for slot in slots[::2])
    _collect(follow, machine, frame, dict, slots[1::2], tuple(keys) if known else None, 2)


def build_keyed(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    keys = machine.stack.pop().value
    slots = _taken(machine, instruction.arg or 0)
    _collect(follow, machine, frame, dict, slots, keys if type(keys) is tuple else None)


def _taken(machine: Stepper, count: int) -> list[StackSlot]:
    """Take what goes into a container off the stack."""
    first = len(machine.stack) - count
    slots = machine.stack[first:]
    del machine.stack[first:]
    return slots


def _collect(
    follow: Follower,
    machine: Stepper,
    frame: Any,
    kind: type,
    slots: list[StackSlot],
    keys: tuple[Any, ...] | None = (),
    step: int = 1,
) -> None:
    """Items go into a container; `step`: how far apart they lie on the stack."""
    first = len(machine.stack) + step - 1
    named = keys is not None and all(map(plain, keys))
    slots = [UNSEEN if slot.method == CREATED else slot for slot in slots]
    if named and not follow.regions and not any(map(is_array, slots)):
        items = [item_of(machine, frame, s, first + step * k) for k, s in enumerate(slots)]
        box = Fresh(kind, () if kind is dict else items)
        for key, item in zip(keys or (), items):
            box.put(key, item)
        machine.stack.append(StackSlot(term=box))
        return
    slots = [plainly(follow, slot) for slot in slots]
    if any(slot.term is not None for slot in slots):
        if step == 1:
            slots = recalled(machine, frame, slots, first)
        terms = tuple([s.term or term_of(frame, s) for s in slots])
        names = keys if named and keys else ()
        machine.stack.append(StackSlot(UNKNOWN, Collection(kind, terms, names)))
    else:
        machine.stack.append(UNSEEN)


def unpack(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot, count = machine.stack.pop(), instruction.arg or 0
    box, at = fresh_in(slot), (id(machine.code), machine.offset)
    if box is not None and box.type is not dict and len(box.slots) == count:
        follow.of_made.add(at)
        machine.stack += reversed(box.slots)
        return
    follow.of_others.add(at)
    known = items_of(slot, count)
    if known is not None:
        machine.stack += reversed(known)
        return
    slot = plainly(follow, slot)
    items = _items(machine, frame, slot, count) or _numbers(slot, count)
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


def _numbers(slot: StackSlot, count: int) -> list[StackSlot] | None:
    """The numbers that a followed array of this length holds."""
    if not is_array(slot) or np.shape(slot.value) != (count,) or any(map(_read, parts(slot.term))):
        return None
    return [
        StackSlot(number, Made(operator.getitem, (slot.term, Constant(place)), type(number)))
        for place, number in enumerate(slot.value)
    ]


def _read(leaf: Any) -> bool:
    return type(leaf) is HostRead or (type(leaf) is Load and leaf.of_call)


def _item(value: Any, term: Any) -> StackSlot:
    if term is None:
        return TENSOR if issubclass(type(value), Handle) else UNSEEN
    return StackSlot(value) if type(term) is Constant else StackSlot(value, term)


def gather(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """A comprehension adds an item to what it makes."""
    count = 2 if instruction.opname == "MAP_ADD" else 1
    place = len(machine.stack) - count
    given = machine.stack[place:]
    del machine.stack[place:]
    below = -(instruction.arg or 0)
    box = fresh_in(machine.stack[below])
    key = real_of(machine, frame, given[0], place)
    item = item_of(machine, frame, given[-1], place + count - 1)
    known = count == 1 or (given[0].term is None and plain(key))
    if box is None or box.type is not (list, dict)[count - 1] or not known or not fits(box, item):
        follow.escape([*given, machine.stack[below]])
        machine.stack[below] = UNSEEN
    elif box.type is list:
        box.slots.append(item)
    else:
        box.put(key, item)


def spill(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """All that is in one object goes into a container that is being built."""
    slot = machine.stack[-1]
    below = -1 - (instruction.arg or 0)
    box = fresh_in(machine.stack[below])
    given = slot._replace(value=held(machine, frame, slot, len(machine.stack) - 1))
    if box is not None and box.type is dict and follow.owners:
        whole = dict_of(follow, machine, frame, given.value)
        given = given if whole is None else StackSlot(term=whole)
        for spot in box.spots:  # to the analysis all of it is read again
            follow.touch(machine, spot)
        box.spots = [*box.spots, *([] if whole is None else whole.spots)]
    if box is not None and box.type is not tuple:
        method = METHODS[box.type]["extend" if box.type is list else "update"]
        if method(box, [given]) is not None:
            machine.stack.pop()
            return
    _INTO(follow, machine, frame, instruction)


def one_of(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """Two values give one that says nothing."""
    box, asked = fresh_in(machine.stack[-1]), machine.stack[-2]
    if box is not None and box.type is dict and asked.term is None:
        machine.stack[-2:] = [UNSEEN]  # a dict looks at its keys
        return
    follow.escape(machine.stack[-2:])
    kind = type(value_of(frame, machine.stack[-1]))
    if box is None:
        _walks(follow, value_of(frame, machine.stack[-1]))
        follow.impure += kind not in (tuple, list, dict, set, frozenset, str)
    machine.stack[-2:] = [UNSEEN]


def _walks(follow: Follower, over: Any) -> None:
    """Items are taken out of an object: it may be one that is written to or drawn from."""
    follow.walks_unknown = follow.walks_unknown or over is UNKNOWN or owns_state(type(over))


def get_iter(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    slot = machine.stack.pop()
    if isinstance(slot.term, Live) and not slot.term.lost:
        walk = slot.term if type(slot.term) is Produced else walk_over(slot)
        if walk is not None:
            machine.stack.append(StackSlot(term=walk))
            return
    follow.escape([slot])
    over = value_of(frame, slot)
    _walks(follow, over)
    inside = list_walk_of(follow, machine, frame, over) if follow.owners else None
    if inside is not None:
        machine.stack.append(StackSlot(term=inside))
        return
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


def advance(follow: Follower, machine: Stepper) -> Advance:
    """The iterator on top of the stack gives its next value; what is to be done when that has
    happened (`offset` comes next) or it has ended."""
    walk, live = machine.stack[-1].value, machine.stack[-1].term
    if type(walk) is RangeWalk:
        walk.asked[0] += 1
        machine.stack[-1] = StackSlot(walk._replace(taken=walk.taken + 1))
    elif type(walk) is ListWalk:
        follow.does_again(machine)
        machine.stack[-1] = StackSlot(walk._replace(taken=walk.taken + 1))
    else:
        follow.impure += 1
    known = isinstance(live, Live) and not live.lost
    expected = next(live.steps, None) if known and type(live) is BoxWalk else None
    made = known and type(live) is BoxWalk and not live.opened
    for spot in live.spots if type(live) is BoxWalk else ():
        follow.touch(machine, spot)
    (follow.of_made if made else follow.of_others).add((id(machine.code), machine.offset))
    machine.consumes = live if type(live) is Produced else None

    def went_on(offset: int | None) -> None:
        """None: it has ended."""
        machine.consumes = None
        slot = expected
        if known and type(live) is Produced:
            slot = None if live.ended or not live.slots else live.slots[-1]
            if live.lost or (slot is None) is not (offset is None):
                follow.escape([machine.stack[-1]])
                slot = UNSEEN
        elif known and type(live) is BoxWalk and (slot is None) is not (offset is None):
            if slot is None or not live.opened:
                follow.fail("a loop went another way than what it goes over says")
        if offset is None:
            machine.stack.pop()
        else:
            machine.stack.append(given(follow, machine, offset) if slot is None else slot)

    return went_on


def for_iter(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    went_on = advance(follow, machine)

    def finish(follow: Follower, offset: int) -> None:
        went_on(None if offset == instruction.argval else offset)

    machine.finish = finish


def produce(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    """A generator gives a value, and goes on: with None where a loop asks it."""
    slot, made = machine.stack.pop(), machine.produces
    if made is None:  # whoever asks it, the frame itself rests
        follow.escape([slot])
        machine.stack.append(UNSEEN)
        return
    item = item_of(machine, frame, slot, len(machine.stack))
    if made.lost or is_array(item):
        follow.walks_unknown = True
        follow.escape([slot, *machine.stack, *machine.variables.values()])
        machine.stack[:] = [UNSEEN] * (len(machine.stack) + 1)
        return
    made.slots.append(UNSEEN if item.method == CREATED else item)
    if made.asks and item.term is not None and asked(follow, item) is None:
        follow.escape([StackSlot(term=made)])
    machine.stack.append(StackSlot(None))


def make_function(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    code = machine.stack[-1].value
    _MAKES(follow, machine, frame, instruction)
    if type(code) is types.CodeType and code.co_name == "<genexpr>":
        machine.stack[-1] = StackSlot(code, method=MAKES)


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
            if count == 1 and not isinstance(
                stack[-1].term, Live
            ):  # of several the container gets each as it is
                _walks(follow, held(machine, frame, stack[-1], len(stack) - 1))
            place = len(stack) - count - operand
            follow.escape([stack[place]])
            stack[place] = UNSEEN
        follow.escape(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        stack += [UNSEEN] * pushes

    return effect


_INTO = _look(lambda operand: 1, 0, into=True)
_MAKES = _look(lambda operand: 1 + (operand & 15).bit_count(), 1)
LOOKS: dict[str, Effect] = {
    "FORMAT_VALUE": format_value,
    "BUILD_STRING": build_string,
    "BUILD_SLICE": build_slice,
    "BUILD_SET": _look(lambda operand: operand, 1),
    "LIST_EXTEND": spill,
    "SET_UPDATE": _INTO,
    "DICT_UPDATE": spill,
    "DICT_MERGE": spill,
    "LIST_APPEND": gather,
    "MAP_ADD": gather,
    "SET_ADD": gather,
    "RETURN_GENERATOR": _look(lambda operand: 0, 1),
    "YIELD_VALUE": produce,
    "LIST_TO_TUPLE": _look(lambda operand: 1, 1),
    "MAKE_FUNCTION": make_function,
    "LOAD_CLOSURE": _look(lambda operand: 0, 1),
    "UNARY_INVERT": _look(lambda operand: 1, 1),
    "UNARY_POSITIVE": _look(lambda operand: 1, 1),
}
