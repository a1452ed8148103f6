"""What Python computes with arrays: new arrays and numbers, each the term of a function of NumPy's.

Invariant: the array in a slot is no object of the program, but an argument of the call or a copy
of what the program has made; so nobody else sees what is held here.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....core.signals import foreign
from ...heap.allowlist import is_a, plain
from ...heap.data import BUFFERS, is_real
from ..hosted.texts import term_of
from ..machine import UNKNOWN, StackSlot, Stepper, value_of
from ..terms import (
    MAX_TERM,
    NUMBERS,
    Collection,
    Constant,
    HostRead,
    Load,
    Made,
    Operation,
    Term,
    argument,
    is_number,
    parts,
    plain_form,
    size,
)
from .allowed import SHAPING, SIGNED, ArrayFunction, function_of, method_of, of_symbol, with_names

__all__ = [
    "computed",
    "has_arrays",
    "is_array",
    "look_at_shared",
    "of_attribute",
    "of_call",
    "of_method",
    "of_operator",
]

MAX_BYTES = 1 << 26  # of one array that is computed a second time in a recorded call
_ARRAYS = (np.ndarray, np.generic)


def is_array(slot: StackSlot) -> bool:
    """Whether a slot holds an array, or a number of NumPy's, that is followed."""
    return slot.term is not None and is_a(slot.value, _ARRAYS)


def _given(follow: Any, frame: types.FrameType, slot: StackSlot) -> StackSlot:
    """A slot, with its term where it is data among the arguments of the call."""
    if slot.term is not None or not follow.data:
        return slot
    value = value_of(frame, slot)
    number = follow.data.get(id(value))
    return slot if number is None else StackSlot(value, argument(number, type(value)))


def _operand(frame: types.FrameType, slot: StackSlot, spread: bool) -> tuple[Term, Any] | None:
    """The term and value of an argument; None where it cannot be computed with."""
    value = value_of(frame, slot)
    if slot.term is None and any(value is kind for kind in NUMBERS):
        return Constant(value), value
    if is_a(value, (np.ndarray, *BUFFERS)) and not spread:
        return None  # it may be written to
    term = term_of(frame, slot)
    if term is None or value is UNKNOWN or type(term) is Collection:
        return None
    if is_a(value, _ARRAYS) and not value.size:
        return None  # some functions warn of those
    if any(type(leaf) is HostRead for leaf in parts(term)):
        return None
    return term, value


def computed(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    call: ArrayFunction | None,
    given: Sequence[StackSlot],
) -> StackSlot | None:
    """What a function gives for slots some of which are arrays; None where that is not followed."""
    if call is None or follow.regions:
        return None
    slots = [_given(follow, frame, slot) for slot in given]
    if not any(is_array(slot) or id(slot.value) in follow.data for slot in slots):
        return None
    found = [_operand(frame, slot, k < call.spreads) for k, slot in enumerate(slots)]
    operands = [pair for pair in found if pair is not None]
    if len(operands) < len(found):
        return None
    value = _value(call.function, [value for _, value in operands])
    term = Made(call.function, tuple([term for term, _ in operands]), type(value))
    if value is None or size(term) > MAX_TERM:
        return None
    for slot in slots:
        if id(slot.value) in follow.data:
            follow.consumed[id(machine.code), machine.offset, id(slot.value)] += 1
    return StackSlot(value, term)


def _value(function: Callable[..., Any], values: Sequence[Any]) -> Any:
    """What a function gives, where that is a number or an array of real numbers."""
    if any(function is kind for kind in NUMBERS) and values[0].ndim:
        return None
    try:
        with np.errstate(all="ignore"):  # the program's own call tells
            value = function(*values)
    except Exception as error:  # the program's own call is about to raise it, too
        if foreign(error):
            raise
        return None
    if is_number(value):
        return value
    exact = type(value) is np.ndarray or (is_a(value, np.generic) and plain(value))
    if not exact or not is_real(value.dtype) or value.nbytes > MAX_BYTES:
        return None
    shown = type(value) is np.ndarray and any(is_a(v, BUFFERS) for v in values)
    return value.copy() if shown else value  # nobody may be kept from resizing a buffer


# ---- instructions
def of_operator(
    follow: Any, machine: Stepper, frame: types.FrameType, symbol: str, slots: Sequence[StackSlot]
) -> StackSlot | None:
    """An operator, subscript or attribute with this symbol; None: it is none on arrays."""
    return computed(follow, machine, frame, of_symbol(symbol), slots)


def of_attribute(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, name: str
) -> StackSlot | None:
    """An attribute of an array; None: it is none, or differs between calls."""
    if name in SIGNED and is_array(slot) and _shaped(slot.term):
        return StackSlot(getattr(slot.value, name))
    return of_operator(follow, machine, frame, "T", [slot]) if name == "T" else None


_SHAPING = [*SHAPING.values(), np.where, np.clip, np.dot, np.ndarray.clip, np.ndarray.dot]


def _shaped(term: Any) -> bool:
    """Whether an array has the shape and dtype of this call in all calls of the signature."""
    if type(term) is Load:
        return term.of_call and not any(term.type is kind for kind in NUMBERS)
    if type(term) is not Made:
        return type(term) is Constant
    if is_a(term.function, np.ufunc) or any(term.function is known for known in _SHAPING):
        return all(map(_shaped, term.operands))
    first, *others = term.operands
    fixed = all(type(leaf) is Constant for other in others for leaf in parts(other))
    return _shaped(first) and fixed


def of_method(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, name: str
) -> list[StackSlot] | None:
    """The two slots of a method of an array that is about to be called; None: it is none."""
    found = _given(follow, frame, slot)
    method = method_of(found.value, name) if is_array(found) else None
    if method is None:
        return None
    if found is not slot:
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
    """A call of a function or method of NumPy's; None: it is none on arrays."""
    if function is len and len(given) == 1 and is_array(given[0]) and _shaped(given[0].term):
        return StackSlot(len(given[0].value))
    call = function_of(function)
    call = None if call is None else with_names(call, names, len(given))
    made = computed(follow, machine, frame, call, given)
    hidden = made is not None and "ddof" in names and not np.all(np.isfinite(made.value))
    return None if hidden else made  # NumPy may warn


# ---- terms
def has_arrays(term: Any) -> bool:
    """Whether NumPy computes a term, or part of it."""
    kind: Any = getattr(term, "type", None)
    if is_a(kind, type) and issubclass(kind, (*_ARRAYS, *BUFFERS)):
        return True
    if type(term) is Made or type(term) is Operation:
        return any(map(has_arrays, term.operands))
    return type(term) is Collection and any(map(has_arrays, term.items))


# ---- arrays that the call leaves
def look_at_shared(follow: Any) -> None:
    """The call is over: arrays of which one may be part of another that it leaves, too, are looked
    at, for each would be computed by itself."""
    slots = [follow.result, *follow.current.values()]
    slots += [slot for mutation in follow.mutations for slot in mutation.arguments]
    seen = set[Any]()
    for term in [term for slot in slots for term in _left(slot.term)]:
        known = _arrays_in(term)
        if not seen.isdisjoint(known):
            follow.escape([StackSlot(term=term)])
        seen |= known


def _left(term: Any) -> list[Any]:
    """The arrays in what is left in a place."""
    if type(term) is Collection:
        return [found for item in term.items for found in _left(item)]
    return [term] if type(term) is Made and issubclass(term.type, np.ndarray) else []


def _arrays_in(term: Any) -> set[Any]:
    """What is made on the way to an array."""
    if type(term) is not Made:
        return set()
    return set[Any]([plain_form(term)]).union(*map(_arrays_in, term.operands))
