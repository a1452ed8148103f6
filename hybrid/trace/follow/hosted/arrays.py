"""NumPy arrays that calls of Python's own world gave (random numbers): what the program computes
from them with NumPy, and the tensors that it makes of them.

Invariant: an array is followed as long as each instruction that gets it makes a new array or number
of it, or hands it to hybrid, which tells that it made a tensor of those very bits; whatever else
looks at it makes it escape.  The array in a slot is a copy of the program's own.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....ir.tensor import Handle
from ...heap.allowlist import NUMPY, is_a, lookup, trusted
from ...heap.data import passed
from ..machine import UNKNOWN, UNSEEN, StackSlot, Stepper, value_of
from ..operands import operand_of
from ..terms import MAX_TERM, NUMBERS, OPERATORS, Made, Symbol, is_number, size
from .recall import decided
from .texts import term_of

__all__ = ["ArrayOffer", "array_method", "computed", "drawn_operand", "is_array", "of_arrays"]
__all__ += ["close_offer", "offer_arrays", "picked"]

# methods of arrays that change nothing and give new arrays or numbers
_METHODS = """all any argmax argmin argsort astype clip copy cumprod cumsum dot flatten item max
    mean min prod ravel repeat reshape round squeeze std sum swapaxes transpose var"""
METHODS = frozenset(_METHODS.split())
# functions of NumPy's that only compute
_FUNCTIONS = """abs argsort array asarray clip concatenate cumsum dot expand_dims moveaxis reshape
    round sort stack tile transpose where zeros_like ones_like"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
_SYMBOLS: tuple[Symbol, ...] = ("+", "-", "*", "/", "//", "%", "**")
_SYMBOLS += ("<", "<=", "==", "!=", ">", ">=")
_OPERATORS: dict[str, Callable[..., Any]] = {symbol: OPERATORS[symbol] for symbol in _SYMBOLS}
_OPERATORS["@"] = operator.matmul


def is_array(slot: StackSlot) -> bool:
    """Whether a slot holds an array, or a number of NumPy's, that is followed."""
    return slot.term is not None and is_a(slot.value, (np.ndarray, np.generic))


def array_method(slot: StackSlot, name: str) -> Any:
    """A method of a followed array that only computes; None: it is none."""
    return lookup(type(slot.value), name) if is_array(slot) and name in METHODS else None


def _made(
    frame: types.FrameType, function: Callable[..., Any], slots: Sequence[StackSlot]
) -> StackSlot | None:
    """What a pure function makes of arrays and values that facts decide."""
    terms = [term_of(frame, slot) for slot in slots]
    values = [value_of(frame, slot) for slot in slots]
    if None in terms or any(value is UNKNOWN for value in values):
        return None
    try:
        value = function(*values)
    except Exception:  # the program's own call is about to raise it, too
        return None
    if not (is_number(value) or is_a(value, (np.ndarray, np.generic))):
        return None
    term = Made(function, tuple(terms), type(value))
    return StackSlot(value, term) if size(term) <= MAX_TERM else None


def _pure(function: Any) -> bool:
    """A function of NumPy's, or a type of numbers, that only computes."""
    if any(function is kind for kind in NUMBERS) or is_a(function, np.ufunc):
        return True
    if is_a(function, type):
        return issubclass(function, np.generic)
    if is_a(function, types.FunctionType):
        return bool(function.__code__.co_filename.startswith(NUMPY)) and _listed(function)
    return is_a(function, types.BuiltinFunctionType) and _listed(function)


def _listed(function: Any) -> bool:
    name = getattr(function, "__name__", "")
    return name in FUNCTIONS and getattr(np, name, None) is function


def of_arrays(
    frame: types.FrameType, function: Any, given: Sequence[StackSlot]
) -> StackSlot | None:
    """A call of NumPy's with followed arrays; None: it is none."""
    if not any(map(is_array, given)):
        return None
    method = is_a(function, types.MethodDescriptorType) and is_array(given[0])
    if not method and not _pure(function):
        return None
    return _made(frame, function, given)


def computed(frame: types.FrameType, symbol: str, pair: Sequence[StackSlot]) -> StackSlot | None:
    """An operator on followed arrays and numbers; None: it is none."""
    function = _OPERATORS.get(symbol)
    if function is None or not any(map(is_array, pair)):
        return None
    values = [value_of(frame, slot) for slot in pair]
    if not all(is_number(v) or is_a(v, (np.ndarray, np.generic)) for v in values):
        return None
    return _made(frame, function, pair)


def picked(frame: types.FrameType, base: StackSlot, key: StackSlot) -> StackSlot | None:
    """An item or slice of a followed array; None: it is none."""
    if not is_array(base) or not decided(value_of(frame, key)):
        return None
    return _made(frame, operator.getitem, [base, key])


# ---- tensors of arrays
class ArrayOffer:
    """The followed arrays that the instruction under way hands to hybrid; `taken`: those of which a
    tensor was made; `broken`: a tensor was made of another array."""

    __slots__ = ("slots", "taken", "broken")

    def __init__(self, slots: Sequence[StackSlot]) -> None:
        self.slots, self.taken, self.broken = list(slots), set[int](), False


def offer_arrays(
    follow: Any, slots: Sequence[StackSlot], function: Any = None
) -> ArrayOffer | None:
    """Offer the arrays among these to the code of hybrid's that runs; None: there are none."""
    arrays = [slot for slot in slots if is_array(slot)]
    if not arrays or follow.regions or follow.arrays is not None:
        return None
    if function is not None and not _ours(function):
        return None
    follow.arrays = ArrayOffer(arrays)
    return follow.arrays  # type: ignore[no-any-return]


def _ours(function: Any) -> bool:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or not is_a(code, types.CodeType):
        return False
    return trusted(code.co_filename) and not code.co_filename.startswith((NUMPY, "<frozen"))


def close_offer(follow: Any, offer: ArrayOffer) -> list[StackSlot]:
    """The instruction is over: the arrays that may have gone elsewhere."""
    follow.arrays = None
    if offer.broken:
        return offer.slots
    return [slot for index, slot in enumerate(offer.slots) if index not in offer.taken]


def drawn_operand(follow: Any, given: Any, literal: Callable[[Handle], int]) -> Any:
    """What stands for an array that hybrid makes a tensor of, and its value number, where it is
    one on offer; None: it is none.  `literal` gives the value number of a literal with its bits."""
    offer = None if follow is None else follow.arrays
    if offer is None or not is_a(given, np.ndarray):
        return None
    for index, slot in enumerate(offer.slots):
        known: Any = slot.value
        if index in offer.taken or not is_a(known, np.ndarray):
            continue
        if known.dtype == given.dtype and known.shape == given.shape:
            if known.tobytes() == given.tobytes():
                tensor = passed(known)
                if tensor is None or tensor._a.dtype != known.dtype:
                    break
                offer.taken.add(index)
                number = operand_of(follow, slot.term, known, tensor, literal(tensor))
                return tensor, number
    offer.broken = True
    return None


# ---- operators and subscripts
def taken_from(follow: Any, machine: Stepper, frame: Any, slot: StackSlot, key: StackSlot) -> bool:
    """Whether a followed array says which part of a tensor is taken."""
    if not is_array(key) or not issubclass(type(value_of(frame, slot)), Handle):
        return False
    return offered(follow, machine, [key])


def offered(follow: Any, machine: Stepper, slots: list[StackSlot]) -> bool:
    """Offer arrays to an operation on tensors."""
    offer = offer_arrays(follow, slots)
    if offer is None:
        return False
    machine.stack.append(UNSEEN)

    def finish(follow: Any, offset: int) -> None:
        follow.escape(close_offer(follow, offer))

    machine.finish = finish
    return True


def on_arrays(
    follow: Any,
    machine: Stepper,
    frame: Any,
    symbol: str,
    pair: list[StackSlot],
    inplace: bool = False,
) -> bool:
    """Whether an operator got a followed array."""
    if not any(map(is_array, pair)):
        return False
    left, right = pair
    if inplace and not issubclass(type(value_of(frame, left)), Handle):
        follow.escape(pair)  # other names of the array show what becomes of it
        machine.stack.append(UNSEEN)
        return True
    made = computed(frame, symbol, pair)
    if made is not None:
        machine.stack.append(made)
        return True
    other = right if is_array(left) else left
    tensor = value_of(frame, other)
    if other.term is None and (tensor is UNKNOWN or issubclass(type(tensor), Handle)):
        return offered(follow, machine, pair)
    return False
