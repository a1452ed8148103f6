"""Followed numbers that an operation on tensors takes as operands.

Invariant: a number is taken only by an operator of tensors, or by a function that does nothing with
its numbers but make operands of them; so another number of its type, in the same dtype, runs the
same operations.  Whatever else looks at the number makes it escape.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...ir.door.bind import constant_of, literal
from ...ir.tensor import RUNTIME, Handle, new_handle
from ..heap.allowlist import is_a, lookup
from .machine import UNKNOWN, UNSEEN, StackSlot, Stepper
from .terms import Constant, HostRead, Operation, Term, is_number, parts

__all__ = ["NUMBERED", "Offer", "TakenNumber", "offer_arguments", "operate", "taken"]

NUMBERED = 1 << 48  # value numbers from here on are operands that numbers became

# operator -> methods of tensors that it may call
_METHODS: dict[str, tuple[str, ...]] = {
    **{
        symbol: (f"__{name}__", f"__r{name}__", f"__i{name}__")
        for symbol, name in (
            *(("+", "add"), ("-", "sub"), ("*", "mul"), ("/", "truediv"), ("//", "floordiv")),
            *(("%", "mod"), ("**", "pow"), ("&", "and"), ("|", "or"), ("^", "xor")),
            *(("<<", "lshift"), (">>", "rshift")),
        )
    },
    **dict.fromkeys(
        ("<", "<=", "==", "!=", ">", ">="),
        ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__"),
    ),
}
_SPECIAL_POWERS = (2, 3, -1, 0.5)  # exponents for which another operation runs
_LARGEST = (1 << 63) - 1


class Offer:
    """Numbers that the instruction under way may make operands of.

    `codes`: of the functions that may, which the instruction calls directly; `taken`: slots whose
    number became an operand; `operands`: the operand that a literal stands for, by its id;
    `broken`: something else happened."""

    __slots__ = ("frame", "slots", "codes", "taken", "broken", "operands")

    def __init__(
        self, frame: types.FrameType, slots: Sequence[StackSlot], codes: Sequence[Any]
    ) -> None:
        self.frame: types.FrameType | None = frame
        self.slots, self.codes = list(slots), codes
        self.taken: set[int] = set()
        self.broken = False
        self.operands: dict[int, int] = {}

    def called(self, frame: types.FrameType | None) -> bool:
        """Whether what runs in a frame was called through one of these functions."""
        while frame is not None and frame.f_back is not self.frame:
            frame = frame.f_back
        return frame is not None and any(frame.f_code is code for code in self.codes)

    def match(self, tensor: Handle) -> StackSlot | None:
        """The one number that became this literal."""
        record = tensor._a
        found = [
            index
            for index, slot in enumerate(self.slots)
            if _fits(slot.value, record)
            and literal(slot.value, record.dtype, record.device) is tensor
        ]
        if len(found) != 1 or found[0] in self.taken:
            return None
        self.taken.add(found[0])
        return self.slots[found[0]]

    def left(self) -> list[StackSlot]:
        """At the end: the numbers that may have gone elsewhere."""
        self.frame = None
        if self.broken:
            return self.slots
        return [slot for index, slot in enumerate(self.slots) if index not in self.taken]


def _fits(value: Any, record: Any) -> bool:
    # without a partner a larger integer asks for another dtype
    return not (type(value) is int and record.dtype.kind == "u" and value > _LARGEST)


def _may_flow(slot: StackSlot) -> bool:
    """Whether a number can be computed before the kernels of a call."""
    term = slot.term
    return (
        term is not None
        and is_number(slot.value)
        and not any(type(leaf) is HostRead for leaf in parts(term))
    )


def operate(
    follow: Any, machine: Stepper, frame: types.FrameType, symbol: Any, pair: list[StackSlot]
) -> StackSlot:
    """An operator on two numbers, or on a tensor and a number."""
    left, right = pair
    number, other = (left, right) if left.term is not None else (right, left)
    tensor = other.term is None and (other.value is UNKNOWN or is_a(other.value, Handle))
    if not tensor or not _may_flow(number) or symbol not in _METHODS:
        return follow.compute(symbol, left, right)  # type: ignore[no-any-return]
    if symbol == "**" and number is right and not _power(follow, number):
        follow.escape([number])
        return UNSEEN
    found = [lookup(RUNTIME.tensor, name) for name in _METHODS[symbol]]
    codes = [f.__code__ for f in found if type(f) is types.FunctionType]
    offer = _open(follow, Offer(frame, [number], codes))

    def finish(follow: Any, offset: int) -> None:
        follow.escape(offer.left())

    machine.finish = finish
    return UNSEEN


def _power(follow: Any, exponent: StackSlot) -> bool:
    """Note that an exponent is none of the special ones; false where it is."""
    value, term = exponent.value, exponent.term
    if type(value) is bool or any(value == special for special in _SPECIAL_POWERS):
        return False
    for special in _SPECIAL_POWERS:
        follow.condition(Operation("==", (term, Constant(special))), False)
    follow.condition(Operation("<", (term, Constant(0))), value < 0)
    return True


def offer_arguments(
    follow: Any, frame: types.FrameType, function: Any, given: Sequence[StackSlot]
) -> Offer | None:
    """Offer the numbers among the arguments of a function that only makes operands of them."""
    slots = [slot for slot in given if _may_flow(slot)]
    if not slots or type(function) is not types.FunctionType:
        return None
    if not getattr(function, "operands_only", False):
        return None
    return _open(follow, Offer(frame, slots, [function.__code__]))


def _open(follow: Any, offer: Offer) -> Offer:
    follow.offer = offer
    follow.offers.append(offer)
    return offer


class TakenNumber(NamedTuple):
    """An operand that a number became: the term and exact type of the number, a tensor that stands
    for the operand, and the value number of the literal that it is where it does not vary."""

    term: Term
    type: type
    handle: Handle
    literal: int


def taken(follow: Any, inputs: Sequence[Any], numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The value numbers of the inputs of an operation, which takes the numbers on offer as operands
    of their own."""
    offer = None if follow is None else follow.offer
    if follow is None or offer is None:
        return numbers
    literals = [k for k, tensor in enumerate(inputs) if constant_of(tensor) is not None]
    if not literals:
        return numbers
    different = len({id(inputs[k]) for k in literals}) == len(literals)
    if follow.regions or offer.taken or not different or not offer.called(sys._getframe(1)):
        offer.broken = True
        return numbers
    return _take(follow, offer, inputs, numbers, literals)


def _take(
    follow: Any,
    offer: Offer,
    inputs: Sequence[Any],
    numbers: tuple[int, ...],
    literals: Sequence[int],
) -> tuple[int, ...]:
    result = list(numbers)
    for place in literals:
        tensor = inputs[place]
        slot = offer.match(tensor)
        if slot is None:
            continue
        result[place] = offer.operands[id(tensor)] = NUMBERED + len(follow.taken)
        shown = new_handle(tensor._v, tensor._a)
        follow.taken.append(TakenNumber(slot.term, type(slot.value), shown, numbers[place]))  # type: ignore[arg-type]
    return tuple(result)
