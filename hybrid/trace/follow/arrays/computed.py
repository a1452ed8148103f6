"""What Python computes with arrays: new arrays and numbers, each the term of a function of NumPy's.

Invariant: a term says what an array holds as long as nobody writes to it; whatever is done with a
followed array that is none of the computations here makes the leaves of its term escape.
"""

from __future__ import annotations

import contextvars
import operator
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....core.floating import SETTINGS
from ....core.signals import foreign
from ....ir.tensor import Handle
from ...heap.allowlist import is_a, plain
from ...heap.data import BUFFERS, is_real
from ..hosted.recall import decided, operand_at
from ..hosted.texts import term_of
from ..machine import CREATED, TENSOR, UNKNOWN, StackSlot, Stepper, value_of
from ..terms import (
    MAX_TERM,
    NUMBERS,
    Collection,
    Constant,
    HostCall,
    HostRead,
    Live,
    Load,
    Made,
    NumberTable,
    Operation,
    WrittenArray,
    argument,
    is_number,
    parts,
    plain_form,
    size,
)
from .allowed import (
    SHAPING,
    SIGNED,
    ArrayFunction,
    creating,
    function_of,
    may_warn,
    method_of,
    of_symbol,
    with_names,
)
from .states import current, left_views, sliced, stale

__all__ = [
    "IGNORED",
    "NOWHERE",
    "computed",
    "has_arrays",
    "is_array",
    "look_at_shared",
    "no_data",
    "of_attribute",
    "of_call",
    "of_method",
    "of_operator",
    "operand_of_array",
    "seen",
    "strictly",
]

NOWHERE = -1 << 16  # on the stack
IGNORED = "ignore"  # errors of floating point of which NumPy says nothing
MAX_SIZE = 400  # operations in the term of an array, those counted again that it has twice
MAX_ITEMS = 64  # of a list of arrays
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


def operand_of_array(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot
) -> tuple[Any, Any] | None:
    """The term and value of an argument; None where it cannot be computed with."""
    slot = _given(follow, frame, slot)
    value = value_of(frame, slot)
    if isinstance(slot.term, Live):
        return None
    if slot.term is None and any(value is kind for kind in NUMBERS):
        return Constant(value), value
    if type(value) is np.ndarray and slot.value is value and slot.term is None:
        return (NumberTable(value), value) if _existed(follow, value) else None
    sequence = (type(value) is list or type(value) is tuple) and id(value) not in follow.data
    term = _of_items(follow, machine, frame, slot, value) if sequence else slot.term
    term = term_of(frame, slot) if term is None and not sequence else term
    if term is None or value is UNKNOWN:
        return None
    if slot.term is None and not sequence and not _free(follow, value):
        return None
    if any(type(leaf) is HostRead for leaf in parts(term)) or stale(follow, term):
        return None
    if type(term) is WrittenArray:
        follow.uses(machine, term.value)
    return sliced(current(follow, term)), value


def _free(follow: Any, value: Any) -> bool:
    """Whether a value that is decided holds no NumPy scalar or list among the arguments."""
    if id(value) in follow.data:
        return False
    if type(value) is tuple:
        return all(_free(follow, item) for item in value)
    if type(value) is slice:
        return _free(follow, (value.start, value.stop, value.step))
    return id(value) not in follow.data


def _existed(follow: Any, array: Any) -> bool:
    """Whether a place held an array when the call began; then it is a fact which one."""
    return any(array is held for held in follow.start.values())


def _of_items(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, value: Any
) -> Any:
    """The term of a list or tuple, some items of which may be arrays; what is in one that the call
    has not made of them is a fact."""
    if len(value) > MAX_ITEMS:
        return None
    if slot.term is None and type(value) is tuple and decided(value) and _free(follow, value):
        return Constant(value)
    terms = slot.term.items if type(slot.term) is Collection else (None,) * len(value)
    if len(terms) != len(value):
        return None
    follow.boxes += [(value, (id(machine.code), machine.offset))] if slot.term is None else []
    given = [_given(follow, frame, StackSlot(item, term)) for item, term in zip(value, terms)]
    known = tuple([term_of(frame, inside) for inside in given])
    return None if None in known else Collection(type(value), known)


def computed(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    call: ArrayFunction | None,
    given: Sequence[StackSlot],
    first: int = NOWHERE,
) -> StackSlot | None:
    """What a function gives for slots some of which are arrays; None where that is not followed.
    `first`: where on the stack the slots lie."""
    if call is None or follow.regions:
        return None
    if not follow.data and not any(_has_data(slot.term) for slot in given):
        return None
    if all(slot.method == CREATED for slot in given):
        return None
    slots = [seen(machine, frame, slot, first + k) for k, slot in enumerate(given)]
    if all(no_data(follow, frame, slot) for slot in slots):
        follow.does_again(machine)
        return None
    found = [operand_of_array(follow, machine, frame, slot) for slot in slots]
    operands = [pair for pair in found if pair is not None]
    if len(operands) < len(found) or not any(_has_data(term) for term, _ in operands):
        return None
    if any(_writable(term) for term, _ in operands[call.spreads :]):
        return None
    value = _value(call.function, [value for _, value in operands])
    term = Made(call.function, tuple([term for term, _ in operands]), type(value))
    if value is None or size(term) > MAX_SIZE or _depth(term) > MAX_TERM:
        return None
    if call.function is operator.getitem and type(operands[0][0]) is WrittenArray:
        follow.cuts[plain_form(term)] = operands[1][1]
    if has_arrays(term):
        follow.loud.update([kind for kind, how in np.geterr().items() if how != IGNORED])
    follow.does_again(machine)
    return StackSlot(value, term)


def seen(machine: Stepper, frame: types.FrameType, slot: StackSlot, place: int) -> StackSlot:
    """A slot, with what lies on the stack where it is not known otherwise."""
    if (
        place < 0
        or (slot.method and slot.method != CREATED)
        or value_of(frame, slot) is not UNKNOWN
    ):
        return slot
    return StackSlot(operand_at(machine, frame, place), slot.term)


def no_data(follow: Any, frame: types.FrameType, slot: StackSlot) -> bool:
    """Whether what is in a slot is no data, and holds none."""
    value = value_of(frame, slot)
    if slot.term is None:
        return slot is TENSOR or is_a(value, Handle) or (decided(value) and _free(follow, value))
    return type(slot.term) is not Collection and not has_arrays(slot.term)


def _writable(term: Any) -> bool:
    """Whether a term is, or holds, an array that might be written to."""
    if type(term) is Collection:
        return any(map(_writable, term.items))
    kind: Any = getattr(term, "type", type(term))
    return is_a(kind, type) and issubclass(kind, (np.ndarray, NumberTable, *BUFFERS))


def _depth(term: Any) -> int:
    """How many operations are inside each other."""
    if type(term) is Made or type(term) is Operation:
        return 1 + max(map(_depth, term.operands), default=0)
    return max(map(_depth, term.items), default=0) if type(term) is Collection else 0


def _value(function: Callable[..., Any], values: Sequence[Any]) -> Any:
    """What a function gives, where that is a number or an array of real numbers."""
    sizes = [value.size for value in values if is_a(value, _ARRAYS)]
    if 0 in sizes and may_warn(function):
        return None
    if any(function is kind for kind in NUMBERS) and np.ndim(values[0]):
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
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    symbol: str,
    slots: Sequence[StackSlot],
    first: int = NOWHERE,
) -> StackSlot | None:
    """An operator, subscript or attribute with this symbol; None: it is none on arrays."""
    return computed(follow, machine, frame, of_symbol(symbol), slots, first)


def of_attribute(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, name: str
) -> StackSlot | None:
    """An attribute of an array; None: it is none, or differs between calls."""
    found = _given(follow, frame, slot) if name in SIGNED else slot
    if name in SIGNED and is_array(found) and _shaped(follow, found.term):
        return StackSlot(getattr(found.value, name))
    return of_operator(follow, machine, frame, "T", [slot]) if name == "T" else None


_SHAPING = [*SHAPING.values(), np.where, np.clip, np.dot, np.ndarray.clip, np.ndarray.dot]


def _shaped(follow: Any, term: Any) -> bool:
    """Whether an array has the shape and dtype of this call in all calls of the signature."""
    if type(term) is Load:
        return term.of_call and not any(term.type is kind for kind in NUMBERS)
    if type(term) is HostCall:
        return _drawn_shaped(follow, term)
    if type(term) is not Made:
        return type(term) is Constant or type(term) is WrittenArray
    if is_a(term.function, np.ufunc) or any(term.function is known for known in _SHAPING):
        return all(_shaped(follow, operand) for operand in term.operands)
    first, *others = term.operands
    fixed = all(type(leaf) is Constant for other in others for leaf in parts(other))
    return _shaped(follow, first) and fixed


def _drawn_shaped(follow: Any, term: HostCall) -> bool:
    """The same of a drawn array: what a generator is asked for says how large it is."""
    asked = [hosted.arguments for hosted in follow.hosted if hosted.call == term]
    return len(asked) == 1 and all(type(argument) is Constant for argument in asked[0])


def of_method(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, name: str
) -> list[StackSlot] | None:
    """The two slots of a method of an array that is about to be called; None: it is none."""
    found = _given(follow, frame, seen(machine, frame, slot, len(machine.stack)))
    method = method_of(found.value, name) if is_array(found) else None
    if method is None:
        return None
    follow.does_again(machine)
    return [StackSlot(method), found]


def of_call(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
    names: tuple[str, ...],
    first: int,
) -> StackSlot | None:
    """A call of a function or method of NumPy's; None: it is none on arrays."""
    if (
        function is len
        and len(given) == 1
        and is_array(given[0])
        and _shaped(follow, given[0].term)
    ):
        return StackSlot(len(given[0].value))
    call = function_of(function)
    if call is None and (follow.data or follow.hosted):
        return _created(machine, frame, function, given, names, first)
    call = None if call is None else with_names(call, names, len(given))
    made = computed(follow, machine, frame, call, given, first)
    hidden = made is not None and "ddof" in names and not np.all(np.isfinite(made.value))
    return None if hidden else made  # NumPy may warn


def _created(
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
    names: tuple[str, ...],
    first: int,
) -> StackSlot | None:
    """An array that is made of nothing but numbers; it is followed until it gets a name, for there
    is no telling what becomes of it then."""
    call = creating(function, names)
    if call is None:
        return None
    slots = [seen(machine, frame, slot, first + k) for k, slot in enumerate(given)]
    values = [value_of(frame, slot) for slot in slots]
    fixed = [decided(value) or any(value is kind for kind in NUMBERS) for value in values]
    if not all(fixed) or any(slot.term is not None for slot in slots):
        return None
    value = _value(call.function, values)
    term = Made(call.function, tuple(map(Constant, values)), type(value))
    return StackSlot(value, term, CREATED) if type(value) is np.ndarray else None


# ---- terms
def has_arrays(term: Any) -> bool:
    """Whether NumPy computes a term, or part of it."""
    kind: Any = getattr(term, "type", None)
    if is_a(kind, type) and issubclass(kind, (*_ARRAYS, *BUFFERS)):
        return True
    if type(term) is Made or type(term) is Operation:
        return any(map(has_arrays, term.operands))
    return type(term) is Collection and any(map(has_arrays, term.items))


def _has_data(term: Any) -> bool:
    """Whether a term is computed of an array, or is a list of numbers among the arguments."""
    return has_arrays(term) or (type(term) is Load and term.type is list)


# ---- arrays that the call leaves
def look_at_shared(follow: Any) -> None:
    """The call is over: arrays of which one may be part of another that it leaves, too, are looked
    at, for each would be computed by itself; so are parts of arrays that it writes to."""
    slots = [follow.result, *follow.current.values()]
    changes = [mutation for mutation in follow.mutations if type(mutation.owner) is not np.ndarray]
    slots += [slot for mutation in changes for slot in mutation.arguments]
    seen = set[Any]()
    follow.escape([slot for slot in slots if left_views(slot.term)])
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


def strictly(guard: Callable[..., Any], loud: frozenset[str]) -> Callable[..., Any]:
    """A guard that misses where NumPy would warn or raise, of kinds of errors that are `loud`
    whatever the caller says: the call then runs in Python, and tells at the line of the user."""
    always, known = dict.fromkeys(loud, "raise"), [(None, None)]  # settings, and these for them

    def kinds() -> dict[str, Any]:
        raised = {kind: "raise" for kind, how in np.geterr().items() if how != IGNORED}
        return {**raised, **always}

    def strict(args: Any) -> Any:
        with np.errstate(**kinds()):
            return guard(args)

    def made() -> Any:
        np.seterr(**kinds())
        return SETTINGS.get()

    def quick(args: Any) -> Any:
        now, (seen, wanted) = SETTINGS.get(), known[0]
        if now is not seen:
            wanted = contextvars.copy_context().run(made)
            known[0] = now, wanted
        try:  # before it is set: a handler of signals may raise behind that
            SETTINGS.set(wanted)
            return guard(args)
        finally:
            SETTINGS.set(now)

    return strict if SETTINGS is None else quick
