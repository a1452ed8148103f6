"""What lies on the stack where the follower has no term for it: what no followed number has gone
into is the same in each replay, so a value that facts decide needs not be computed again.

Invariant: the stack is read only where the bytecode and the follower agree on how deep it is, and
only what facts decide whole is given.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....backends.api import layout
from ....backends.layout import Unreadable
from ....ir.tensor import Handle
from ...bytecode.summary import depths
from ...heap.allowlist import is_a, plain
from ..machine import TENSOR, UNKNOWN, StackSlot, Stepper, value_of
from ..terms import Collection, Constant, Term

__all__ = ["box_term", "decided", "held", "operand_at", "recalled", "spread", "spread_names"]

MAX_DEPTH = 4  # containers in an argument
MAX_ITEMS = 64  # of each


def decided(value: Any, depth: int = 0) -> bool:
    """A value that facts decide whole."""
    if plain(value) or (is_a(value, type) and issubclass(value, np.generic)):
        return True
    return type(value) is tuple and depth < MAX_DEPTH and all(decided(v, depth + 1) for v in value)


def box_term(value: Any, depth: int = 0) -> Term | None:
    """A list or dict of values that facts decide, as what builds one like it; None: it is more."""
    if decided(value):
        return Constant(value)
    kind = type(value)
    if depth == MAX_DEPTH or not any(kind is known for known in (list, tuple, dict)):
        return None
    keys, inside = ((*value,), [*value.values()]) if kind is dict else ((), value)
    if len(inside) > MAX_ITEMS or not all(map(plain, keys)):
        return None
    items = tuple([box_term(item, depth + 1) for item in inside])
    return None if None in items else Collection(kind, items, keys)


def operand_at(machine: Stepper, frame: types.FrameType, place: int) -> Any:
    """What lies at a place on the stack of a frame; UNKNOWN where that cannot be read."""
    known = layout()
    if known is None or depths(machine.code).get(machine.offset) != machine.depth:
        return UNKNOWN
    try:
        return known.operand(frame, place)
    except Unreadable:
        return UNKNOWN


def held(machine: Stepper, frame: types.FrameType, slot: StackSlot, place: int) -> Any:
    """The object in a slot, which the instruction finds at this place; UNKNOWN: that is not
    known."""
    value = value_of(frame, slot)
    return operand_at(machine, frame, place) if value is UNKNOWN and slot.term is None else value


def _slot(value: Any) -> StackSlot:
    return TENSOR if issubclass(type(value), Handle) else StackSlot(value)


def recalled(
    machine: Stepper,
    frame: types.FrameType,
    slots: Sequence[StackSlot],
    first: int,
    boxes: bool = False,
) -> list[StackSlot]:
    """Slots that the instruction takes off the stack, from the place `first` on, with the values
    of those that are not known; `boxes`: lists and dicts among them."""
    found = list(slots)
    for number, slot in enumerate(slots):
        if slot.value is UNKNOWN and slot.term is None and not slot.method:
            seen = _slot(operand_at(machine, frame, first + number))
            box = boxes and (type(seen.value) is list or type(seen.value) is dict)
            found[number] = seen if seen is TENSOR or decided(seen.value) or box else slot
    return found


def spread(
    machine: Stepper, frame: types.FrameType, slot: StackSlot, place: int
) -> list[StackSlot] | None:
    """The arguments behind a star; None where they are not known."""
    term = slot.term
    if type(term) is Collection and term.type is not dict:
        return None if None in term.items else [StackSlot(term=item) for item in term.items]
    values = operand_at(machine, frame, place) if term is None else UNKNOWN
    if type(values) is not tuple and type(values) is not list:
        return None
    return list(map(_slot, values))


def spread_names(
    machine: Stepper, frame: types.FrameType, slot: StackSlot, place: int
) -> dict[str, StackSlot] | None:
    """The named arguments behind two stars; None where they are not known."""
    term = slot.term
    if type(term) is Collection and term.type is dict:
        if None in term.items or len(term.keys) != len(term.items):
            return None
        return {name: StackSlot(term=item) for name, item in zip(term.keys, term.items)}
    values = operand_at(machine, frame, place) if term is None else UNKNOWN
    if type(values) is not dict or not all(type(name) is str for name in values):
        return None
    return {name: _slot(value) for name, value in values.items()}
