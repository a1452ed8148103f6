"""Tensors that hybrid makes of followed arrays.

Invariant: an array is taken only where hybrid tells, while the instruction that got it runs, that
it made a tensor of those very bits; whatever else looks at it makes it escape.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....ir.tensor import Handle
from ...heap.allowlist import NUMPY, is_a, trusted
from ...heap.data import passed
from ..hosted.recall import operand_at
from ..machine import UNKNOWN, UNSEEN, StackSlot, Stepper, unwrapped, value_of
from ..operands import operand_of
from ..terms import WrittenArray, is_number
from .computed import is_array, no_data, of_operator, seen
from .late import late_operation
from .states import current, stale
from .written import update

__all__ = ["ArrayOffer", "array_operand", "close_offer", "given_back", "offer_arrays"]
__all__ += ["on_arrays", "stored", "taken_from"]


class ArrayOffer:
    """The followed arrays that the instruction under way hands to hybrid; `idents`: the ids of the
    program's own (0: not known); `alone`: nothing else that it gets may be data; `taken`: those of
    which a tensor was made; `given_back`: whether one was an argument of the call; `broken`: a
    tensor was made of another array."""

    __slots__ = ("slots", "idents", "alone", "taken", "given_back", "broken")

    def __init__(self, slots: Sequence[StackSlot], idents: Sequence[int], alone: bool) -> None:
        self.slots, self.idents, self.alone = list(slots), list(idents), alone
        self.taken = set[int]()
        self.given_back = self.broken = False

    def places(self, given: Any) -> list[int]:
        """Which of the slots that are left hold an array: by identity, else by its bits."""
        left = [k for k in range(len(self.slots)) if k not in self.taken]
        own = [k for k in left if self.idents[k] == id(given)]
        unsure = [k for k in left if not self.idents[k]]
        return [k for k in own or unsure if _same(self.slots[k].value, given)]


def offer_arrays(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    slots: Sequence[StackSlot],
    first: int,
    function: Any = None,
) -> ArrayOffer | None:
    """Offer the arrays among these, which lie on the stack from `first` on, to the code of hybrid's
    that may run; None: there are none."""
    places = [k for k, slot in enumerate(slots) if is_array(slot)]
    if not places or follow.regions or follow.arrays is not None:
        return None
    if any(stale(follow, slots[k].term) for k in places):
        return None
    if function is not None and _watched(function):
        return None
    others = [seen(machine, frame, s, first + k) for k, s in enumerate(slots) if not is_array(s)]
    real = [operand_at(machine, frame, first + k) for k in places]
    idents = [0 if value is UNKNOWN else id(value) for value in real]
    alone = all(no_data(follow, frame, slot) for slot in others)
    follow.arrays = ArrayOffer([slots[k] for k in places], idents, alone)
    return follow.arrays  # type: ignore[no-any-return]


def _watched(function: Any) -> bool:
    """Whether it is known to be a Python function that is not hybrid's: of a user, whose code is
    followed, or of NumPy."""
    code: Any = getattr(unwrapped(function), "__code__", None)
    if not is_a(code, types.CodeType):
        return False
    return not trusted(code.co_filename) or code.co_filename.startswith((NUMPY, "<frozen"))


def close_offer(follow: Any, machine: Stepper, offer: ArrayOffer) -> list[StackSlot]:
    """The instruction is over: the arrays that may have gone elsewhere."""
    follow.arrays = None
    if offer.broken:
        return offer.slots
    left = [slot for index, slot in enumerate(offer.slots) if index not in offer.taken]
    if offer.alone and not left and not offer.given_back:
        follow.does_again(machine)
    return left


def array_operand(follow: Any, given: Any, literal: Callable[[Handle], int]) -> Any:
    """What stands for an array that hybrid makes a tensor of, and its value number, where it is
    one on offer; None: it is none.  `literal` gives the value number of a literal with its bits."""
    offer = None if follow is None else follow.arrays
    if offer is None or not is_a(given, (np.ndarray, np.generic)):
        return None
    found = offer.places(given)
    if found and len({offer.slots[k].term for k in found}) == 1:
        slot = offer.slots[found[0]]
        tensor = passed(slot.value)
        if tensor is not None and tensor._a.dtype == given.dtype:
            offer.taken.add(found[0])
            if type(slot.term) is WrittenArray and follow.under is not None:
                follow.uses(follow.under, slot.value)
            term = current(follow, slot.term)
            return tensor, operand_of(follow, term, slot.value, tensor, literal(tensor))
    offer.broken = offer.broken or bool(found) or 0 in offer.idents
    return None


def given_back(follow: Any, given: Any) -> None:
    """Hybrid makes a tensor of an argument of the call, which a function may have given back."""
    offer = None if follow is None else follow.arrays
    if offer is not None:
        offer.given_back = True
        offer.taken.update([k for k, slot in enumerate(offer.slots) if slot.value is given])


def _same(value: Any, given: Any) -> bool:
    if type(value) is not type(given) or value.dtype != given.dtype:
        return False
    return bool(value.shape == given.shape and value.tobytes() == given.tobytes())


# ---- operators and subscripts
def taken_from(follow: Any, machine: Stepper, frame: Any, slot: StackSlot, key: StackSlot) -> bool:
    """Whether a followed array says which part of a tensor is taken."""
    base = value_of(frame, slot)
    if not is_array(key) or slot.term is not None:
        return False
    if base is not UNKNOWN and not issubclass(type(base), Handle):
        return False
    return offered(follow, machine, frame, [slot, key])


def offered(follow: Any, machine: Stepper, frame: Any, slots: list[StackSlot]) -> bool:
    """Offer arrays to an operation on tensors."""
    offer = offer_arrays(follow, machine, frame, slots, len(machine.stack))
    if offer is None:
        return False
    machine.stack.append(UNSEEN)

    def finish(follow: Any, offset: int) -> None:
        follow.escape(close_offer(follow, machine, offer))

    machine.finish = finish
    return True


def stored(
    follow: Any, machine: Stepper, frame: Any, slots: list[StackSlot], key_lies: bool
) -> bool:
    """Whether an array is offered that is stored into what may be part of a tensor; `slots`: the
    array, what it is stored into, and where (`key_lies`: that is on the stack, too)."""
    slot, base, _ = slots
    held_in = value_of(frame, base)
    if not is_array(slot) or base.term is not None:
        return False
    if held_in is not UNKNOWN and not issubclass(type(held_in), Handle):
        return False
    offer = offer_arrays(follow, machine, frame, slots, len(machine.stack))
    if offer is None:
        return False
    offer.alone = offer.alone and key_lies

    def finish(follow: Any, offset: int) -> None:
        follow.escape(close_offer(follow, machine, offer))

    machine.finish = finish
    return True


def on_arrays(
    follow: Any,
    machine: Stepper,
    frame: Any,
    symbol: str,
    slots: list[StackSlot],
    inplace: bool = False,
) -> bool:
    """Whether an operator got an array: it computes another one, or a tensor with what it makes of
    the array."""
    left = seen(machine, frame, slots[0], len(machine.stack)) if inplace else slots[0]
    updated = update(follow, machine, frame, symbol, slots) if inplace else None
    if updated is not None:
        machine.stack.append(updated)
        return True
    if inplace and not _immutable(value_of(frame, left)):
        return _inplace(follow, machine, frame, slots, value_of(frame, left))
    made = of_operator(follow, machine, frame, symbol, slots, len(machine.stack))
    made = made or late_operation(follow, frame, symbol, slots)
    if made is not None:
        machine.stack.append(made)
        return True
    return _beside_tensor(follow, machine, frame, slots)


def _immutable(value: Any) -> bool:
    return is_number(value) or is_a(value, np.generic)


def _inplace(follow: Any, machine: Stepper, frame: Any, slots: list[StackSlot], left: Any) -> bool:
    if not any(map(is_array, slots)):
        return False
    if issubclass(type(left), Handle):
        return _beside_tensor(follow, machine, frame, slots)
    follow.escape(slots)  # other names of the array show what becomes of it
    machine.stack.append(UNSEEN)
    return True


def _beside_tensor(follow: Any, machine: Stepper, frame: Any, slots: list[StackSlot]) -> bool:
    others = [slot for slot in slots if not is_array(slot)]
    if len(others) != 1 or others[0].term is not None:
        return False
    tensor = value_of(frame, others[0])
    if tensor is not UNKNOWN and not issubclass(type(tensor), Handle):
        return False
    return offered(follow, machine, frame, slots)
