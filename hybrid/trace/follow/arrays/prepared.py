"""What Python computes from data among the arguments with NumPy, before hybrid makes tensors of it.

Invariant: an array is followed from the instruction that made it to those that make tensors of it;
any other use of it makes the data that it comes from escape, which a replay then does not take.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....core.signals import foreign
from ....ir.tensor import Handle
from ...heap.allowlist import is_a, plain
from ...heap.data import is_real, passed
from ..machine import UNKNOWN, UNSEEN, Lazy, StackSlot, Stepper
from ..operands import Offer, operand_of
from ..terms import MAX_TERM, Collection, Constant, Load, Operation, Term, argument, is_number, size
from .allowed import ATTRIBUTES, OPERATORS, ArrayFunction, evaluated, function_of, method_of

__all__ = ["ArrayOffer", "close", "computed", "is_array", "offer_arrays", "of_attribute"]
__all__ += [
    "given_back",
    "of_call",
    "of_method",
    "of_operator",
    "offer_key",
    "taken_array",
    "taken_data",
]

MAX_BYTES = 1 << 26  # of one array that is computed a second time in a recorded call


class ArrayOffer(Offer):
    """Arrays that the instruction under way may make tensors of."""

    __slots__ = ()

    def left(self) -> list[StackSlot]:
        self.frame = None
        return [slot for index, slot in enumerate(self.slots) if index not in self.taken]


def is_array(slot: StackSlot) -> bool:
    """Whether a slot is an array or NumPy scalar that is followed."""
    return slot.term is not None and is_a(slot.value, (np.ndarray, np.generic))


def _known(frame: types.FrameType, slot: StackSlot) -> Any:
    if type(slot.value) is not Lazy:
        return slot.value
    return frame.f_locals.get(slot.value.name, UNKNOWN)


def _of_data(follow: Any, frame: types.FrameType, slot: StackSlot) -> StackSlot | None:
    """A slot that is data, or computed from some, with its term; None for others."""
    if slot.term is not None:
        return slot if is_array(slot) else None
    value = _known(frame, slot)
    number = follow.data.get(id(value))
    return None if number is None else StackSlot(value, argument(number, type(value)))


def _fixed(value: Any) -> bool:
    """A value that is the same in each call, and says all of itself."""
    if plain(value) or is_number(value) or value is Ellipsis:
        return True
    if is_a(value, type):
        return issubclass(value, np.generic) or value in (float, int, bool)
    if type(value) is slice:
        return all(map(_fixed, (value.start, value.stop, value.step)))
    return type(value) is tuple and all(map(_fixed, value))


def _term(follow: Any, frame: types.FrameType, slot: StackSlot, data: bool) -> Any:
    """(term, value, data that it is) of an argument; None where it cannot be computed with."""
    if data:
        found = _of_data(follow, frame, slot)
        if found is not None:
            return found.term, found.value, [id(found.value)] if type(found.term) is Load else []
    value = _known(frame, slot)
    if slot.term is not None:
        return (slot.term, value, []) if is_number(value) and not is_array(slot) else None
    return (Constant(value), value, []) if value is not UNKNOWN and _fixed(value) else None


def computed(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    call: ArrayFunction,
    slots: Sequence[StackSlot],
) -> StackSlot | None:
    """What a function gives for slots some of which are data; None where that is not followed."""
    if not follow.data or follow.regions:
        return None
    found = [_term(follow, frame, slot, k < call.spreads) for k, slot in enumerate(slots)]
    if None in found:
        return None
    arrays = [k for k, (_, value, _) in enumerate(found) if is_a(value, (np.ndarray, np.generic))]
    raw = [ident for _, _, idents in found for ident in idents]
    if not raw and not any(is_array(slots[k]) for k in arrays):
        return None
    symbol: Any = call
    term = Operation(symbol, tuple([term for term, _, _ in found]))
    value = _value(call, tuple([value for _, value, _ in found]))
    if value is None or size(term) > MAX_TERM:
        return None
    follow.prepared.add((id(machine.code), machine.offset))
    for ident in raw:
        follow.consumed[id(machine.code), machine.offset, ident] += 1
    return StackSlot(value, term)


def _value(call: ArrayFunction, values: tuple[Any, ...]) -> Any:
    """What a function gives, where that is an array or scalar of real numbers."""
    try:
        with np.errstate(all="ignore"):
            value = evaluated(call, values)
    except Exception as error:
        if foreign(error):
            raise
        return None
    exact = type(value) is np.ndarray or (is_a(value, np.generic) and plain(value))
    fits = exact and is_real(value.dtype) and value.nbytes <= MAX_BYTES
    return value if fits else None


# ---- instructions
def of_operator(
    follow: Any, machine: Stepper, frame: types.FrameType, symbol: str, pair: Sequence[StackSlot]
) -> StackSlot | None:
    """An operator or subscript on arrays."""
    if not follow.data:
        return None
    function = OPERATORS.get(symbol)
    spreads = 1 if symbol == "[]" else 2
    call = None if function is None else ArrayFunction(function, (), spreads)
    return None if call is None else computed(follow, machine, frame, call, pair)


def of_attribute(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, name: str
) -> StackSlot | None:
    """An attribute of an array."""
    if name in ATTRIBUTES and is_array(slot):
        return StackSlot(getattr(slot.value, name))  # a replay compares shape and dtype
    return of_operator(follow, machine, frame, "T", [slot]) if name == "T" else None


def of_method(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, name: str
) -> list[StackSlot] | None:
    """The two slots of a method of an array that is about to be called."""
    method = method_of(name) if follow.data else None
    found = None if method is None else _of_data(follow, frame, slot)
    if found is None or type(found.value) is not np.ndarray:
        return None
    if slot.term is None:
        follow.consumed[id(machine.code), machine.offset, id(found.value)] += 1
    return [StackSlot(method), found]


def of_call(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
    names: tuple[str, ...],
) -> StackSlot | None:
    """A call of a function or method of NumPy."""
    if not follow.data or function is UNKNOWN:
        return None
    if is_a(function, type) and issubclass(function, np.generic) and len(given) == 1 and not names:
        value = _known(frame, given[0])
        exact = given[0].term is None and (type(value) is int or type(value) is float)
        return StackSlot(function(value)) if exact and plain(function(0)) else None
    call = function_of(function, names)
    if call is None:
        return None
    made = computed(follow, machine, frame, call, given)
    if made is None:
        follow.spoiled.add((id(machine.code), machine.offset))
    return made


def given_back(machine: Stepper, made: StackSlot) -> Callable[[Any, int], None]:
    """Notes the array that code of NumPy in Python gave for what was computed."""

    def finish(follow: Any, offset: int) -> None:
        value = machine.returned[-1] if machine.returned else None
        if _same(made.value, value) and id(value) not in follow.data:
            follow.fresh[id(value)] = value

    return finish


def offer_arrays(
    follow: Any, machine: Stepper, frame: types.FrameType, slots: Sequence[StackSlot]
) -> bool:
    """Offer the arrays among the slots of an instruction to what makes tensors of them."""
    arrays = [slot for slot in slots if is_array(slot)]
    if not arrays:
        return False
    follow.offer = ArrayOffer(frame, arrays, [])
    follow.offers.append(follow.offer)
    return True


def offer_key(
    follow: Any, machine: Stepper, frame: types.FrameType, container: Any, key: StackSlot
) -> bool:
    """Offer an array that is the key of a subscript of what may be a tensor."""
    tensor = container is UNKNOWN or is_a(container, Handle)
    if not tensor or not offer_arrays(follow, machine, frame, [key]):
        return False
    offer = follow.offer

    def finish(follow: Any, offset: int) -> None:
        follow.escape(offer.left())

    machine.finish = finish
    return True


# ---- tensors made of them
def taken_array(follow: Any, given: Any) -> tuple[Handle, int] | None:
    """What stands for an array that the instruction under way makes a tensor of, and the number of
    its value; None for any other array."""
    offer = None if follow is None else follow.offer
    if type(offer) is not ArrayOffer or follow.regions:
        return None
    places = [k for k, slot in enumerate(offer.slots) if _same(slot.value, given)]
    terms = {offer.slots[k].term for k in places}
    if len(terms) != 1:
        return None
    slot, shown = offer.slots[places[0]], passed(given)
    if shown is None or slot.term is None:
        return None
    offer.taken.update(places)
    return shown, operand_of(follow, slot.term, slot.value, shown, -1)


def taken_data(follow: Any, given: Any) -> None:
    """The instruction under way makes a tensor of an argument that is data, which a function may
    have given back."""
    offer = None if follow is None else follow.offer
    if type(offer) is ArrayOffer:
        offer.taken.update([k for k, slot in enumerate(offer.slots) if slot.value is given])


def _same(value: Any, given: Any) -> bool:
    if not is_a(given, (np.ndarray, np.generic)) or type(value) is not type(given):
        return False
    alike = value.dtype == given.dtype and value.shape == given.shape
    return alike and bool(value.tobytes() == given.tobytes())


def _holds(term: Term | None) -> bool:
    """Whether a term is, or contains, an array."""
    if type(term) is Operation:
        symbol: Any = term.symbol
        return type(symbol) is ArrayFunction
    return type(term) is Collection and any(map(_holds, term.items))


def close(follow: Any) -> None:
    """The call is over: arrays that it returns, stores or branches on were looked at."""
    stored = [(place, slot) for place, slot in follow.current.items() if _holds(slot.term)]
    for place, slot in stored:
        follow.escape([slot])
        follow.current[place] = slot._replace(term=None)
    if _holds(follow.result.term):
        follow.escape([follow.result])
        follow.result = UNSEEN
    for terms in follow.stored.values():
        follow.escape([StackSlot(term=term) for term in terms if _holds(term)])
    for mutation in follow.mutations:
        follow.escape([slot for slot in mutation.arguments if _holds(slot.term)])
