"""Subscripts, and followed numbers in them: bounds of slices, positions in tensors and in tables.

Invariant: an index is taken only where the box that an operation reads or writes is the one that
the key says, so another number in range reads or writes the box that Python would; a number out of
range, or a box of another size, is an error of the term, and the call runs in Python.
"""

from __future__ import annotations

import collections
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...ir.door.bind import literal
from ...ir.tensor import RUNTIME, Handle
from ..heap.allowlist import MISSING, is_a, is_tuple, lookup, plain
from .arrays.computed import NOWHERE, is_array, of_operator
from .arrays.late import late_item
from .arrays.offers import stored, taken_from
from .arrays.written import store
from .calls import Instruction, push_slot
from .follower import Follower
from .fresh.methods import METHODS, fits
from .fresh.model import Fresh, fresh_in, item_of, plainly, real_of
from .fresh.records import item_in
from .hosted.recall import operand_at
from .machine import CREATED, UNKNOWN, UNSEEN, StackSlot, Stepper, value_of
from .operands import Offer, offer_value, operand_of
from .places import is_mapping, item, named
from .terms import (
    AT,
    MAX_TERM,
    NO_START,
    NO_STOP,
    Collection,
    Constant,
    HostRead,
    Live,
    Made,
    NumberTable,
    Operation,
    Symbol,
    Term,
    WrittenArray,
    is_number,
    parts,
    size,
)

__all__ = ["IndexOffer", "build_slice", "delete_subscript", "fixed", "moved", "offer_index"]
__all__ += ["read_table", "slice_of", "store_subscript", "subscript", "unread"]

_PARTS = (int, type(None), slice, type(Ellipsis))


class IndexOffer(Offer):
    """The key of a subscript with followed numbers in it, beside the numbers that are stored.

    `key`: its term; `moves`: whether an operation took its numbers."""

    __slots__ = ("key", "moves")

    def __init__(self, frame: types.FrameType, stored: list[StackSlot], code: Any, key: Term):
        super().__init__(frame, stored, [code])
        self.key, self.moves = key, False

    def left(self) -> list[StackSlot]:
        taken = self.moves and not self.broken
        return super().left() + ([] if taken else [StackSlot(term=self.key)])


def fixed(value: Any) -> Constant | None:
    """A part of a key that is the same in each call."""
    return Constant(value) if any(type(value) is kind for kind in _PARTS) else None


def build_slice(follow: Any, machine: Stepper, frame: types.FrameType, instruction: Any) -> None:
    count = instruction.arg or 0
    slots = machine.stack[len(machine.stack) - count :]
    del machine.stack[len(machine.stack) - count :]
    machine.stack.append(slice_of(follow, frame, slots))


def slice_of(follow: Any, frame: types.FrameType, slots: Sequence[StackSlot]) -> StackSlot:
    """The slice with these bounds."""
    bounds = [slot.term or fixed(value_of(frame, slot)) for slot in slots]
    if None in bounds or any(type(bound) is Collection for bound in bounds):
        follow.escape(slots)
        return UNSEEN
    if all(type(bound) is Constant for bound in bounds):
        return StackSlot(slice(*[bound.value for bound in bounds]))  # type: ignore[union-attr]
    values = [value_of(frame, slot) for slot in slots]
    known = all(value is None or type(value) is int for value in values)
    return StackSlot(slice(*values) if known else UNKNOWN, Collection(slice, tuple(bounds)))


def offer_index(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    container: Any,
    key: StackSlot,
    stored: StackSlot | None = None,
) -> bool:
    """Offer the numbers in the key of a subscript of what may be a tensor; false where it is none,
    or nothing in the key is followed."""
    if key.term is None and stored is None:
        return False
    if not (container is UNKNOWN or is_a(container, Handle)):
        return False
    name = "__getitem__" if stored is None else "__setitem__"
    method = lookup(RUNTIME.tensor, name)
    values = [] if stored is None or not is_number(stored.value) else [stored]
    offer: Offer
    if key.term is None:
        offer = Offer(frame, values, [method.__code__])
    else:
        offer = IndexOffer(frame, values, method.__code__, key.term)
    follow.offer = offer
    follow.offers.append(offer)
    extra = [] if stored is None or values else [stored]

    def finish(follow: Any, offset: int) -> None:
        follow.escape([*offer.left(), *extra])

    machine.finish = finish
    return True


def read_table(follow: Any, machine: Stepper, container: Any, key: StackSlot) -> StackSlot | None:
    """What a list or tuple of numbers holds at a followed index; None where that is not
    followed."""
    if not (type(container) is list or is_tuple(container)) or type(key.value) is not int:
        return None
    if key.term is None or type(key.term) is Collection or id(container) in follow.mutated:
        return None
    if any(type(leaf) is HostRead for leaf in parts(key.term)):
        return None
    try:
        value = container[key.value]
    except IndexError:
        return None
    if type(value) is not int and type(value) is not float:
        return None
    symbol: Symbol = "int_entry" if type(value) is int else "float_entry"
    term = Operation(symbol, (NumberTable(container), key.term))
    follow.tables.setdefault(id(container), (container, []))[1].append(key.term)
    follow.touched["table", id(container)].add((id(machine.code), machine.offset))
    follow.tried[id(term)] = term
    return StackSlot(value, term) if size(term) <= MAX_TERM else None


def unread(follow: Any, counts: Callable[[Any], bool]) -> list[Term]:
    """The indices of tables that the call made, got as an argument or changes: what these hold is
    not what they hold in the next call."""
    stored = {id(follow.spots[place].holder) for place in follow.current}
    gone = stored | follow.mutated
    tables = [t for ident, t in follow.tables.items() if ident in gone or not counts(t[0])]
    return [index for _, indices in tables for index in indices]


# ---- instructions
def subscript(follow: Follower, machine: Stepper, frame: Any, instruction: Instruction) -> None:
    key, slot = machine.stack.pop(), machine.stack.pop()
    # a slice without a key of its own has none on the stack
    first = len(machine.stack) if instruction.opname == "BINARY_SUBSCR" else NOWHERE
    if isinstance(slot.term, Live) and _out_of(follow, machine, frame, slot, key, first):
        return
    key, slot = plainly(follow, key), plainly(follow, slot)
    follow.of_others.add((id(machine.code), machine.offset))
    special = of_operator(follow, machine, frame, "[]", [slot, key], first)
    special = special or late_item(follow, machine, frame, slot, key, first + 1)
    if special is not None:
        machine.stack.append(special)
        return
    if taken_from(follow, machine, frame, slot, key) or _of_pair(machine, frame, slot, key):
        return
    container = value_of(frame, slot)
    index = _index(machine, frame, container, key, first + 1)
    key = key._replace(value=index)
    entry_ = read_table(follow, machine, container, key) if slot.term is None else None
    if entry_ is not None:
        machine.stack.append(entry_)
        return
    here = id(machine.code), machine.offset
    if type(container) is list or type(container) is tuple:
        follow.touched["plain", id(container)].add(here)
    offered = slot.term is None and offer_index(follow, machine, frame, container, key)
    follow.escape([slot] if offered else [key, slot])
    if container is UNKNOWN or index is UNKNOWN:
        follow.blind.add(here)
        return machine.stack.append(UNSEEN)
    grows = type(container) is list or type(container) is collections.deque
    if grows and type(index) is int and index == -1 and container and key.term is None:
        if issubclass(type(container[-1]), Handle):
            follow.peek(machine, container)
            machine.stack.append(UNSEEN)
            return
    _load(follow, machine, container, index)


def _index(machine: Stepper, frame: Any, container: Any, key: StackSlot, place: int) -> Any:
    """What a built-in container is asked for, by a key at this place of the stack."""
    index = value_of(frame, key)
    boxed = is_mapping(container) or type(container) is list
    if index is UNKNOWN and key.term is None and boxed and place >= 0:
        found = operand_at(machine, frame, place)
        return found if named(found) else UNKNOWN
    return index


def _load(follow: Follower, machine: Stepper, container: Any, index: Any) -> None:
    spot, value = item(container, index)
    if spot is not None and value is not MISSING:
        return push_slot(machine, follow.load(machine, spot, value))
    follow.blind.add((id(machine.code), machine.offset))
    return machine.stack.append(UNSEEN)


def _out_of(
    follow: Any, machine: Stepper, frame: Any, slot: StackSlot, key: StackSlot, first: int
) -> bool:
    """Whether an item, or some, of a container that the call made is known."""
    box, index = fresh_in(slot), real_of(machine, frame, key, first + 1)
    if box is None and item_in(follow, machine, slot, key, index):
        return True
    if box is None or key.term is not None or not plain(index):
        follow.escape([slot])
        return False
    if type(index) is slice and box.type is not dict:
        follow.of_made.add((id(machine.code), machine.offset))
        machine.stack.append(StackSlot(term=Fresh(box.type, box.slots[index])))
        return True
    place = box.at(index)
    if place is None:
        follow.escape([slot])
        return False
    follow.of_made.add((id(machine.code), machine.offset))
    machine.stack.append(box.slots[place])
    return True


def _into(follow: Any, machine: Stepper, frame: Any, slots: list[StackSlot]) -> bool:
    """Whether a value, the first of the slots, is stored into a container that the call made in a
    way that is known."""
    value, base, key = slots
    first, box = len(machine.stack), fresh_in(base)
    index, item = real_of(machine, frame, key, first + 2), item_of(machine, frame, value, first)
    known = key.term is None and index is not UNKNOWN and plain(index) and type(index) is not slice
    if box is None or not known or is_array(item) or item.method == CREATED or follow.regions:
        return False
    place = box.at(index)
    if not fits(box, item) or (place is None and box.type is not dict) or box.type is tuple:
        return False
    follow.impure += 1
    follow.of_made.add((id(machine.code), machine.offset))
    if place is None:
        box.put(index, item)
    else:
        box.slots[place] = item
    return True


def _of_pair(machine: Stepper, frame: Any, slot: StackSlot, key: StackSlot) -> bool:
    """Whether an item that is no number is taken out of a fresh container: the others are not
    looked at."""
    index = value_of(frame, key)
    if type(slot.term) is not Collection or slot.term.type is dict or type(index) is not int:
        return False
    known = key.term is None and index in range(-len(slot.term.items), len(slot.term.items))
    if not known or slot.term.items[index] is not None:
        return False
    machine.stack.append(UNSEEN)
    return True


def store_subscript(
    follow: Follower, machine: Stepper, frame: Any, instruction: Instruction
) -> None:
    key, base, slot = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    lies = instruction.opname == "STORE_SUBSCR"  # a slice without a key of its own does not
    if isinstance(base.term, Live):
        if lies and _into(follow, machine, frame, [slot, base, key]):
            return
        follow.escape([base])
        base = base._replace(term=None)
    key = plainly(follow, key)
    follow.of_others.add((id(machine.code), machine.offset))
    if type(base.term) is WrittenArray:
        store(follow, machine, frame, [plainly(follow, slot), base, key], lies)
        return
    follow.escape([base])
    container = value_of(frame, base)
    index = _index(machine, frame, container, key, len(machine.stack) + 2 if lies else NOWHERE)
    if is_mapping(container) and (key.term is not None or not named(index)):
        _set(follow, machine, container, key._replace(value=index), slot)
        return
    setter = MISSING if container is UNKNOWN else lookup(type(container), "__setitem__")
    if stored(follow, machine, frame, [slot, base, key], lies):
        slot = _at_index(follow, machine, frame, container, key)
    elif base.term is None and offer_index(follow, machine, frame, container, key, slot):
        slot = UNSEEN
    else:
        follow.escape([key])
        slot = UNSEEN if offer_value(follow, machine, frame, setter, slot) else slot
    spot, held = item(container, index)
    if spot is not None and held is MISSING:
        _set(follow, machine, container, StackSlot(index), slot)
    else:
        follow.store(machine, spot, slot, held)


def _at_index(
    follow: Follower, machine: Stepper, frame: Any, container: Any, key: StackSlot
) -> StackSlot:
    """An array is offered that is stored at an index, which may be followed."""
    close = machine.finish
    if not offer_index(follow, machine, frame, container, key, UNSEEN):
        follow.escape([key])
        return UNSEEN
    close_key = machine.finish

    def finish(follow: Follower, offset: int) -> None:
        for done in (close, close_key):
            if done is not None:
                done(follow, offset)

    machine.finish = finish
    return UNSEEN


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
    box, index = fresh_in(base), value_of(frame, key)
    if box is not None and key.term is None and plain(index) and not follow.regions:
        if METHODS[box.type]["pop"](box, [StackSlot(index)]) is not None:
            follow.impure += 1
            follow.of_made.add((id(machine.code), machine.offset))
            return
    follow.of_others.add((id(machine.code), machine.offset))
    follow.escape([base])
    base = plainly(follow, base)
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


# ---- which box
def _items(key: Any) -> list[Any] | None:
    """One entry per part of a key: a term of an int, a constant, or a slice of such."""
    if type(key) is Collection and key.type is tuple:
        return list(key.items)
    return None if type(key) is Collection and key.type is not slice else [key]


def _is_position(part: Any) -> bool:
    """Whether an part is about an axis of the tensor."""
    return not (type(part) is Constant and (part.value is None or part.value is Ellipsis))


def _axes(key: Any, shape: tuple[int, ...]) -> dict[int, Any] | None:
    """Which axis each part of a key is about; None where that is not plain."""
    items = _items(key)
    if items is None or None in items:
        return None
    dots = [k for k, part in enumerate(items) if type(part) is Constant and part.value is Ellipsis]
    positions = [k for k, part in enumerate(items) if _is_position(part)]
    if len(dots) > 1 or len(positions) > len(shape):
        return None
    behind = sum(k > dots[0] for k in positions) if dots else 0
    first = len(positions) - behind
    places = [*range(first), *range(len(shape) - behind, len(shape))]
    return {axis: items[k] for axis, k in zip(places, positions)}


def _python_int(part: Any) -> Any:
    """A part of a key with Python's integers for NumPy's."""
    if type(part) is Collection:
        return part._replace(items=tuple(map(_python_int, part.items)))
    kind: Any = getattr(part, "type", None)
    whole = is_a(kind, type) and issubclass(kind, np.integer)
    return Made(int, (part,), int) if whole else part


def _start(part: Any, extent: int, size: int) -> Any:
    """The term of where the box begins along an axis."""
    part = _python_int(part)
    if type(part) is not Collection:
        bounds = Constant(AT), part, Constant(0), Constant(1)
        return Operation("start", (Constant(extent), Constant(1), *bounds))
    start, stop, step = (*part.items, Constant(None))[:3]
    if type(step) is not Constant:
        return None
    absent = [type(bound) is Constant and bound.value is None for bound in (start, stop)]
    form = NO_START * absent[0] + NO_STOP * absent[1]
    given = [Constant(0) if gone else bound for gone, bound in zip(absent, (start, stop))]
    stride = Constant(1 if step.value is None else step.value)
    return Operation("start", (Constant(extent), Constant(size), Constant(form), *given, stride))


def _followed(part: Any) -> bool:
    leaves = [] if part is None else list(parts(part))
    return any(type(leaf) is not Constant for leaf in leaves)


def moved(
    follow: Any, op: Any, params: dict[str, Any], inputs: Sequence[Any], given: Sequence[Any]
) -> tuple[tuple[int, int], ...]:
    """(axis, operand) for each axis along which followed numbers say where the box of an operation
    begins; none where no offer says that."""
    offer = None if follow is None else follow.offer
    if type(offer) is not IndexOffer or op.moved is None:
        return ()
    found = None if offer.moves or follow.regions else _terms(follow, offer, params, inputs, given)
    if found is None:
        offer.broken = True
        return ()
    offer.moves = True
    device = inputs[0]._a.device
    axes = []
    for axis, term, value in found:
        tensor = literal(value, dt.int64, device)
        axes.append((axis, operand_of(follow, term, value, tensor, -1)))
    return tuple(axes)


def _terms(
    follow: Any, offer: IndexOffer, params: dict[str, Any], inputs: Sequence[Any], given: Any
) -> list[tuple[int, Any, int]] | None:
    """Axis, term and number of each start that is followed; None where the box is another one, or
    something else depends on it."""
    shape, begin, drop = inputs[0]._a.shape, params["begin"], params["drop"]
    inner = iter(params.get("sizes") or inputs[1]._a.shape)
    skips = "sizes" not in params
    sizes = [1 if skips and axis in drop else next(inner) for axis in range(len(shape))]
    items = _axes(offer.key, shape)
    if items is None or 0 in sizes or any(t._node is not None for t in inputs):
        return None
    found = []
    for axis, part in items.items():
        if not _followed(part):
            continue
        single = type(part) is not Collection
        term = _start(part, shape[axis], sizes[axis])
        if term is None or single is not (axis in drop):
            return None
        if any(type(leaf) is HostRead for leaf in parts(term)):
            return None
        if any(type(leaf) is Constant and type(leaf.value) is not int for leaf in parts(term)):
            return None
        try:
            value = follow.value_of(term, given)
        except Exception:
            return None
        if value != begin[axis]:
            return None
        found.append((axis, term, value))
    return found or None
