"""Arrays outside of the call that it writes to: what it stores into them, and what it reads.

Invariant: the content of such an array is data only as long as all that the call does with it is to
read and to store, and each key and value is known as a term; anything else makes the array escape.
A part of an array that was read before a store is not used behind it, for it may show that store.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from ...heap.allowlist import is_a
from ...heap.data import is_real
from ..machine import UNKNOWN, StackSlot, Stepper, value_of
from ..terms import Constant, HostRead, Made, Operation, WrittenArray, is_number, parts, plain_form
from .allowed import of_symbol
from .computed import IGNORED, MAX_BYTES, operand_of_array, seen
from .late import in_range

__all__ = ["store", "update"]


# ---- stores
def store(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    slots: list[StackSlot],
    key_lies: bool,
) -> None:
    """A value, the first slot, is stored into a written array; `slots`: the value, the array, the
    key (`key_lies`: that is on the stack, too)."""
    slot, base, key = slots
    assert type(base.term) is WrittenArray
    array, first = base.term.value, len(machine.stack)
    follow.uses(machine, array)
    if key_lies:
        key = seen(machine, frame, key, first + 2)
    where = operand_of_array(follow, machine, frame, key)
    if where is None and in_range(follow, array, key.term, value_of(frame, key)):
        where = key.term, value_of(frame, key)
    value = seen(machine, frame, slot, first)
    what = _value(follow, machine, frame, value)
    if where is None or what is None or follow.regions or array.nbytes > MAX_BYTES:
        follow.escape(slots)
        return
    if not _fits(array, where[1], what[1]):
        follow.escape(slots)
        return
    # else it is a part that was changed in place
    if plain_form(what[0]) != plain_form(_part(follow, array, where[0])):
        _note(follow, machine, array, where, what)


def _part(follow: Any, array: Any, key: Any) -> Any:
    """The term of a part of an array as it is now."""
    call = of_symbol("[]")
    assert call is not None
    state = WrittenArray(array, follow.versions[id(array)])
    return Made(call.function, (state, key), np.ndarray)


def _value(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot
) -> tuple[Any, Any] | None:
    """The term and value of what is stored; None: it is not known."""
    value = value_of(frame, slot)
    late = slot.term is not None and any(type(leaf) is HostRead for leaf in parts(slot.term))
    if not late:
        return operand_of_array(follow, machine, frame, slot)
    if type(slot.term) not in (HostRead, Operation, Made) or value is UNKNOWN:
        return None
    if type(slot.term) is Made and not is_a(value, np.generic):
        return None
    if type(value) is np.ndarray:  # read in this call: what it holds is no fact
        follow.fresh[id(value)] = value
    return slot.term, value


def _fits(array: Any, key: Any, value: Any) -> bool:
    """Whether NumPy stores such a value without code of a user, and without a warning that depends
    on nothing but the types."""
    if type(value) is np.ndarray:
        scalar = value.ndim > 0 and type(array[key]) is not np.ndarray
        return is_real(value.dtype) and not scalar
    if type(value) is list or type(value) is tuple:
        return all(map(is_number, value))
    return is_number(value) or (is_a(value, np.generic) and is_real(value.dtype))


def _note(
    follow: Any, machine: Stepper, array: Any, where: tuple[Any, Any], what: tuple[Any, Any]
) -> None:
    if id(array) not in follow.begun:
        follow.begun[id(array)] = array.copy()
    key, value = _kept(where[1]), _kept(what[1])
    slots = StackSlot(key, where[0]), StackSlot(value, what[0])
    follow.mutate(machine, array, "store", slots)
    if follow.failed:
        return
    follow.changed_to[len(follow.mutations) - 1] = [key, value]
    follow.versions[id(array)] += 1
    follow.loud.update([kind for kind, how in np.geterr().items() if how != IGNORED])


def _kept(value: Any) -> Any:
    """What a key or value is now, whatever becomes of it."""
    if type(value) is np.ndarray:
        return value.copy()
    return list(value) if type(value) is list else value


# ---- in place
def update(
    follow: Any, machine: Stepper, frame: types.FrameType, symbol: str, slots: list[StackSlot]
) -> StackSlot | None:
    """What an operator in place leaves of a written array, or of a part of one; None: it is done
    to something else, or not followed.  The same values as the operator gives are stored."""
    left, right = slots
    found = _target(follow, left)
    call = of_symbol(symbol)
    if found is None or call is None or symbol == "@" or follow.regions:
        return None
    array, key, where = found
    if array.nbytes > MAX_BYTES:
        return None
    follow.uses(machine, array)
    what = operand_of_array(follow, machine, frame, right)
    state = operand_of_array(follow, machine, frame, left)
    if what is None or state is None or np.ndim(what[1]) > left.value.ndim:
        return None
    if not _fits(array, Ellipsis, what[1]):
        return None
    with np.errstate(all="ignore"):
        value = call.function(state[1], what[1])
    if not np.can_cast(value.dtype, array.dtype, "same_kind"):
        return None
    made = Made(call.function, (state[0], what[0]), np.ndarray)
    _note(follow, machine, array, (key, where), (made, value))
    whole = type(left.term) is WrittenArray
    return left if whole else StackSlot(left.value, _part(follow, array, key))


def _target(follow: Any, slot: StackSlot) -> tuple[Any, Any, Any] | None:
    """The written array that an array is, or is a part of, and the term and value of the key of
    that."""
    term = slot.term
    if type(term) is WrittenArray:
        return term.value, Constant(Ellipsis), Ellipsis
    known = follow.cuts.get(plain_form(term)) if type(term) is Made else None
    if known is None or type(term) is not Made or type(slot.value) is not np.ndarray:
        return None
    state, key = term.operands
    return (state.value, key, known) if np.shares_memory(slot.value, state.value) else None
