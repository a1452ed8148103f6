"""Numbers of written arrays beside numbers that are read from tensors: `sums[k] += loss.item()`,
`counts[int(label)] += 1`.

Invariant: what is known behind the operations only cannot fail then, nor make NumPy warn: indices
are checked to be in range as branches on tensors are, and both sides of an operator are so small
that no result is out of the range of its type.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ...heap.allowlist import is_a
from ..machine import StackSlot, Stepper, value_of
from ..terms import Collection, Constant, HostRead, Made, Operation, Term, WrittenArray, parts
from .computed import seen
from .states import current

__all__ = ["in_range", "late_item", "late_operation"]

_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
LARGEST = 1e150  # of floats that are computed with
MAX_TABLE = 1 << 16  # bytes of an array whose elements are all looked at


def bounded(value: Any) -> Any:
    """Numbers that are small enough to compute with; an error for others, and where NumPy tells of
    small results."""
    most = _limit(np.asarray(value).dtype)
    if not np.all((value <= most) & (value >= -most)) or np.geterr()["under"] != "ignore":
        raise OverflowError(value)
    return value


def _limit(dtype: np.dtype) -> Any:
    return LARGEST if dtype.kind == "f" else np.iinfo(dtype).max // 2


def _is_late(term: Term | None) -> bool:
    return term is not None and any(type(leaf) is HostRead for leaf in parts(term))


# ---- elements
def late_item(
    follow: Any, machine: Stepper, frame: types.FrameType, slot: StackSlot, key: StackSlot, at: int
) -> StackSlot | None:
    """The number of a written array at an index that is read from tensors; None: it is none."""
    array = slot.term.value if type(slot.term) is WrittenArray else None
    state = current(follow, slot.term)
    if array is None or state.stores or not _is_late(key.term) or array.nbytes > MAX_TABLE:
        return None
    index = value_of(frame, seen(machine, frame, key, at))
    if not in_range(follow, array, key.term, index):
        return None
    number = array[index]
    if number.dtype != np.float64 and not is_a(number, np.signedinteger):
        return None
    follow.uses(machine, array)
    check = Made(bounded, (state,), np.ndarray)
    follow.tried[id(check)] = check
    return StackSlot(number, Made(operator.getitem, (state, key.term), type(number)))


def in_range(follow: Any, array: Any, key: Any, index: Any) -> bool:
    """Whether a key takes one element, and replays see to it that each index in it which is read
    from tensors is in range."""
    terms = key.items if type(key) is Collection and key.type is tuple else (key,)
    numbers = index if type(index) is tuple else (index,)
    if not len(terms) == len(numbers) == array.ndim or follow.regions:
        return False
    for term, number, extent in zip(terms, numbers, array.shape):
        if type(number) is not int or not -extent <= number < extent:
            return False
        if term is not None and _is_late(term) and not _between(follow, term, -extent, extent - 1):
            return False
    return None not in terms


def _between(follow: Any, term: Term, low: Any, high: Any) -> bool:
    """Whether replays see to it that what is read from a tensor is between two numbers."""
    if type(term) is not HostRead:
        return False
    pairs = (term, Constant(high)), (term, Constant(low))
    tests = [Operation("<=", pairs[0]), Operation(">=", pairs[1])]
    return all(follow.decide(test, True) for test in tests)


# ---- operators
def late_operation(
    follow: Any, frame: types.FrameType, symbol: str, slots: list[StackSlot]
) -> StackSlot | None:
    """What an operator gives for a number of an array and one that is known as late; None: it is
    not followed."""
    values = [value_of(frame, slot) for slot in slots]
    numbers = [value for value in values if is_a(value, np.generic)]
    others = [value for value in values if type(value) is int or type(value) is float]
    late = any(_is_late(slot.term) for slot in slots)
    if symbol not in _OPERATORS or not late or len(numbers) + len(others) != 2 or not numbers:
        return None
    dtype: np.dtype = numbers[0].dtype
    whole = dtype.kind == "i" and symbol != "*" and float not in map(type, others)
    if not (whole or dtype == np.float64) or any(number.dtype != dtype for number in numbers):
        return None
    if not all(_is_small(follow, slot, value, dtype) for slot, value in zip(slots, values)):
        return None
    terms = [Constant(v) if s.term is None else s.term for s, v in zip(slots, values)]
    with np.errstate(all="ignore"):
        value = _OPERATORS[symbol](*values)
    if value.dtype != dtype:
        return None
    return StackSlot(value, Made(_OPERATORS[symbol], tuple(terms), type(value)))


def _is_small(follow: Any, slot: StackSlot, value: Any, dtype: np.dtype) -> bool:
    """Whether an operand is small in each replay that goes on."""
    most, term = _limit(dtype), slot.term
    if not -most <= value <= most:
        return False
    if term is None or type(term) is Constant:
        return True
    if type(term) is Made and term.function is operator.getitem and _is_late(term):
        return True  # all elements are looked at
    if not _is_late(term):
        check = Made(bounded, (term,), dtype.type)
        follow.tried[id(check)] = check
        return True
    most_of_read = _bound(follow, term)
    if most_of_read is not None and most_of_read <= most:
        return True
    return _between(follow, term, -most, most)


def _bound(follow: Any, term: Any) -> float | None:
    """How large a number that depends on reads may be, where it is finite; None: that is not
    known."""
    if type(term) is Constant:
        return abs(float(term.value)) if abs(term.value) < LARGEST else None
    if type(term) is HostRead:
        dtype: np.dtype = follow.record_of(term.number).dtype
        if dtype.kind in "iu":
            return float(np.iinfo(dtype).max) if dtype.itemsize < 8 else None
        return 3.5e38 if dtype.itemsize <= 4 and term.how in (".item()", "float()") else None
    if type(term) is not Operation or term.symbol not in ("+", "-", "*", "neg", "abs", "float"):
        return None
    bounds = [_bound(follow, operand) for operand in term.operands]
    if None in bounds:
        return None
    first, *second = [bound for bound in bounds if bound is not None]
    if not second:
        return first
    return first * second[0] if term.symbol == "*" else first + second[0]
