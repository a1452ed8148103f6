"""Methods of containers that the call made, and operators on them.

Invariant: an answer is what Python gives for what is in the container now; None says that nothing
is known, and nothing was done.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from ..hosted.recall import decided
from ..machine import UNKNOWN, StackSlot, Stepper
from .model import (
    MAX_ITEMS,
    BoxWalk,
    DictView,
    Fresh,
    Produced,
    Shown,
    fresh_in,
    item_of,
    walk_over,
)

__all__ = ["METHODS", "Answer", "drained", "fits", "fixed", "joined", "of_method", "update"]

Answer = StackSlot | None


def drained(slot: StackSlot) -> list[StackSlot] | None:
    """All that an object gives; None where that is not known."""
    walk = walk_over(slot)
    if walk is None or walk.opened:
        return None
    found = list(walk.steps)
    return found if len(found) <= MAX_ITEMS else None


def fits(box: Fresh, slot: StackSlot) -> bool:
    """Whether what is in a slot may go into a container."""
    if isinstance(slot.term, (DictView, BoxWalk, Produced)) or len(box.slots) >= MAX_ITEMS:
        return False
    return not (isinstance(slot.term, Fresh) and slot.term.holds(box))


def fixed(slot: StackSlot) -> bool:
    """Whether facts decide what is in a slot."""
    return slot.term is None and slot.value is not UNKNOWN and decided(slot.value)


# ---- methods: of the container, and the arguments
def _append(box: Fresh, given: list[StackSlot]) -> Answer:
    if len(given) != 1 or not fits(box, given[0]):
        return None
    box.slots.append(given[0])
    return StackSlot(None)


def _insert(box: Fresh, given: list[StackSlot]) -> Answer:
    if len(given) != 2 or not fixed(given[0]) or not fits(box, given[1]):
        return None
    if type(given[0].value) is not int:
        return None
    box.slots.insert(given[0].value, given[1])
    return StackSlot(None)


def _extend(box: Fresh, given: list[StackSlot]) -> Answer:
    found = drained(given[0]) if len(given) == 1 and given[0].term is not box else None
    if found is None or not all(fits(box, slot) for slot in found):
        return None
    box.slots += found
    return StackSlot(None)


def _pop(box: Fresh, given: list[StackSlot]) -> Answer:
    if not all(map(fixed, given)) or len(given) > (2 if box.type is dict else 1):
        return None
    place = box.at(given[0].value if given else -1)
    if box.type is dict and (not given or place is None):
        return given[1] if len(given) == 2 else None
    if place is None:
        return None
    if box.type is dict:
        del box.keys[place]
    return box.slots.pop(place)


def _clear(box: Fresh, given: list[StackSlot]) -> Answer:
    box.slots, box.keys = [], []
    return StackSlot(None)


def _copy(box: Fresh, given: list[StackSlot]) -> Answer:
    return StackSlot(term=Fresh(box.type, box.slots, box.keys))


def _reverse(box: Fresh, given: list[StackSlot]) -> Answer:
    box.slots.reverse()
    return StackSlot(None)


def _get(box: Fresh, given: list[StackSlot]) -> Answer:
    if not given or not fixed(given[0]) or len(given) > 2:
        return None
    place = box.at(given[0].value)
    if place is None:
        return given[1] if len(given) == 2 else StackSlot(None)
    return box.slots[place]


def _set_default(box: Fresh, given: list[StackSlot]) -> Answer:
    if len(given) != 2 or not fixed(given[0]) or not fits(box, given[1]):
        return None
    if box.at(given[0].value) is None:
        box.put(given[0].value, given[1])
    return _get(box, given[:1])


def update(box: Fresh, given: list[StackSlot]) -> Answer:
    """`box.update(other)`"""
    other = fresh_in(given[0]) if len(given) == 1 else None
    if other is None or other.type is not dict:
        return None
    if not all(fits(box, slot) for slot in other.slots):
        return None
    for key, slot in zip(other.keys, other.slots):
        box.put(key, slot)
    return StackSlot(None)


def _view(how: Shown) -> Any:
    def view(box: Fresh, given: list[StackSlot]) -> Answer:
        return None if given else StackSlot(term=DictView(box, how))

    return view


Method = Callable[[Fresh, list[StackSlot]], Answer]
METHODS: dict[type, dict[str, Method]] = {
    list: {
        **{"append": _append, "extend": _extend, "insert": _insert, "pop": _pop},
        **{"clear": _clear, "copy": _copy, "reverse": _reverse},
    },
    dict: {
        **{"get": _get, "pop": _pop, "clear": _clear, "copy": _copy, "update": update},
        **{"setdefault": _set_default},
        **{"keys": _view("keys"), "values": _view("values"), "items": _view("items")},
    },
    tuple: {},
}
CHANGES_NOTHING = ("copy", "get", "keys", "values", "items")


def of_method(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    box: Fresh,
    name: str,
    arguments: Sequence[StackSlot],
    names: tuple[str, ...],
) -> Answer:
    """A method of a container; None: it is not known what it does."""
    method = METHODS[box.type].get(name)
    if method is None:
        return None
    first = len(machine.stack) + 2
    given = [item_of(machine, frame, slot, first + k) for k, slot in enumerate(arguments)]
    if names and method is update:
        count = len(given) - len(names)
        given = [*given[:count], StackSlot(term=Fresh(dict, given[count:], names))]
    elif names:
        return None
    follow.impure += name not in CHANGES_NOTHING
    return method(box, given)


def joined(
    follow: Any, machine: Stepper, frame: types.FrameType, symbol: str, inplace: bool
) -> bool:
    """An operator on the two topmost slots of which one is a container; false: it is none, or not
    known what it gives."""
    place = len(machine.stack) - 2
    pair = machine.stack[place:]
    if follow.regions or not any(type(slot.term) is Fresh for slot in pair):
        return False
    left, right = [item_of(machine, frame, slot, place + k) for k, slot in enumerate(pair)]
    box = fresh_in(left)
    found = None if box is None else _combined(box, symbol, right, inplace)
    if found is None:
        return False
    follow.impure += inplace
    machine.stack[place:] = [StackSlot(term=found)]
    return True


def _combined(box: Fresh, symbol: str, right: StackSlot, inplace: bool) -> Fresh | None:
    inplace = inplace and box.type is not tuple
    other, target = fresh_in(right), box if inplace else Fresh(box.type, box.slots, box.keys)
    if symbol == "*" and box.type is not dict and fixed(right) and type(right.value) is int:
        if len(box.slots) * right.value > MAX_ITEMS:
            return None
        target.slots *= right.value
        return target
    if symbol == "|" and box.type is dict:
        return None if update(target, [right]) is None else target
    if symbol != "+" or box.type is dict:
        return None
    if not inplace and (other is None or other.type is not box.type):
        return None
    found = None if other is box else drained(right)
    if found is None or not all(fits(box, slot) for slot in found):
        return None
    target.slots += found
    return target
