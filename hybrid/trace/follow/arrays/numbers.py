"""Tensors that hybrid makes of followed numbers, and of fresh lists that hold some.

Invariant: numbers are taken only where hybrid tells, while the call of a function that makes
nothing but a tensor of them runs, that it made one of this number or of this very list.
"""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ....core.aval import aval
from ....ir.tensor import Handle, new_handle
from ...heap.lists import DTYPES, takes_numbers
from ..hosted.recall import operand_at
from ..machine import StackSlot, Stepper
from ..operands import Offer, operand_of
from ..terms import Collection, Constant, HostRead, Live, Load, Made, argument, is_number, parts

__all__ = ["ListWalk", "NumbersOffer", "list_walk", "numbers_operand", "offer_numbers"]

MAX_ITEMS = 64  # of a list of followed numbers


def ints_of(extents: tuple[int, ...], *values: int) -> np.ndarray:
    """The array of some ints; an error for anything else."""
    return _array(int, extents, values)


def floats_of(extents: tuple[int, ...], *values: float) -> np.ndarray:
    """The array of some floats; an error for anything else."""
    return _array(float, extents, values)


_ARRAYS: dict[type, Callable[..., np.ndarray]] = {int: ints_of, float: floats_of}


def _array(kind: type, extents: tuple[int, ...], values: tuple[Any, ...]) -> np.ndarray:
    if not all(type(value) is kind for value in values):
        raise TypeError(kind)
    return np.array(values, DTYPES[kind]).reshape(extents)


class NumbersOffer(Offer):
    """An offer of numbers, and of lists (`lists`: by slot, the object itself)."""

    __slots__ = ("lists",)

    def __init__(
        self, frame: types.FrameType, slots: Sequence[StackSlot], code: Any, lists: dict[int, Any]
    ) -> None:
        super().__init__(frame, slots, [code])
        self.lists = lists


def offer_numbers(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
    first: int,
) -> NumbersOffer | None:
    """Offer the followed numbers among the arguments, which lie on the stack from `first` on, of a
    function that makes tensors; None: it is none, or there are none."""
    if type(function) is not types.FunctionType or follow.regions:
        return None
    if not getattr(function, "makes_tensors", False):
        return None
    slots, lists = list[StackSlot](), dict[int, Any]()
    for place, slot in enumerate(given):
        if slot.term is None or any(type(leaf) is HostRead for leaf in parts(slot.term)):
            continue
        if type(slot.term) is Collection or isinstance(slot.term, Live):
            lists[len(slots)] = operand_at(machine, frame, first + place)
            slots.append(slot)
        elif is_number(slot.value):
            slots.append(slot)
    if not slots:
        return None
    follow.made = NumbersOffer(frame, slots, function.__code__, lists)
    return follow.made  # type: ignore[no-any-return]


def numbers_operand(
    follow: Any, given: Any, dtype: np.dtype, literal: Callable[[Handle], int]
) -> Any:
    """What stands for a number or list that hybrid makes a tensor of, and its value number, where
    it is one on offer; None: it is none.  `literal` gives the value number of a literal with its
    bits."""
    offer: NumbersOffer | None = None if follow is None else follow.made
    if offer is None or offer.broken:
        return None
    found = _place(offer, given)
    if found is None or not offer.called(sys._getframe(2)):
        return None
    slot = offer.slots[found]
    made: Any = _term(given, slot.term) if found in offer.lists else (slot.term, given)
    if made is None:
        return None
    term, value = made
    array = np.array(value, DTYPES[type(value)]) if is_number(value) else value
    if not takes_numbers(array.dtype, dtype):
        return None
    tensor = new_handle(array, aval(array.shape, array.dtype))
    offer.taken.add(found)
    return tensor, operand_of(follow, term, value, tensor, literal(tensor))


def _place(offer: NumbersOffer, given: Any) -> int | None:
    """Which slot is what hybrid was given: a list by identity, the only number by its value."""
    for place, value in offer.lists.items():
        if value is given:
            return place if place not in offer.taken else None
    kind = type(given)
    if kind is not int and kind is not float:
        return None
    numbers = [k for k in range(len(offer.slots)) if k not in offer.lists]
    alone = len(numbers) == 1 and numbers[0] not in offer.taken
    same = alone and offer.slots[numbers[0]].value is given
    return numbers[0] if same else None


def _term(given: Any, term: Any) -> tuple[Any, np.ndarray] | None:
    """The term and content of an array of the numbers in a list; None: they are of several types,
    or in lists of several lengths."""
    term = term.frozen() if isinstance(term, Live) and not term.lost else term
    items, terms, extents = [given], [term], list[int]()
    while type(terms[0]) is Collection:
        sizes = {len(item) for item in items if type(item) is list or type(item) is tuple}
        plain = all(map(_describes, terms, items))
        if len(sizes) != 1 or not plain or len(items) * max(sizes) > MAX_ITEMS:
            return None
        extents.append(sizes.pop())
        terms = [inner for outer in terms for inner in outer.items]
        items = [inner for outer in items for inner in outer]
        if not items:
            return None
    kind: Any = type(items[0])
    if (kind is not int and kind is not float) or not all(type(item) is kind for item in items):
        return None
    if any(type(inner) is Collection or inner is None for inner in terms):
        return None
    try:
        array = _array(kind, tuple(extents), tuple(items))
    except OverflowError:
        return None
    operands = (Constant(tuple(extents)), *terms)
    return Made(_ARRAYS[kind], operands, np.ndarray), array


def _describes(term: Any, value: Any) -> bool:
    kind: Any = type(value)
    whole = type(term) is Collection and kind is term.type and kind is not dict
    return whole and len(value) == len(term.items)


# ---- the numbers in a list among the arguments
class ListWalk(NamedTuple):
    """An iterator over a list of numbers, which the call gets as this term, and how often it was
    asked for one."""

    over: list[Any]
    term: Load
    taken: int = 0

    def latest(self) -> StackSlot:
        """The number that it gave last."""
        number, index = self.over[self.taken - 1], Constant(self.taken - 1)
        return StackSlot(number, Made(operator.getitem, (self.term, index), type(number)))


def list_walk(follow: Any, over: Any) -> ListWalk | None:
    """The iterator over a list of numbers among the arguments; None for anything else."""
    number = follow.data.get(id(over))
    if number is None or type(over) is not list or not is_number(over[0]):
        return None
    return ListWalk(over, argument(number, list))
