"""What NumPy's functions and questions of the standard library make of one number that is followed
or was read from a tensor.

Invariant: a truth of a number read from a tensor is a term that cannot raise, whatever the tensor
holds; NumPy's own type of it is part of the term.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....core.signals import foreign
from ...heap.allowlist import is_a, lookup, plain
from ..machine import UNKNOWN, StackSlot, Stepper, value_of
from ..terms import (
    CLASSES,
    MAX_TERM,
    Constant,
    HostCall,
    HostRead,
    Load,
    Made,
    Operation,
    Symbol,
    is_number,
    kind_of,
    parts,
    size,
)
from .allowed import function_of
from .computed import IGNORED

__all__ = ["asks", "compared", "negated", "of_number", "takes_any"]

_OWN: dict[int, Symbol] = {
    id(math.isfinite): "isfinite",
    id(math.isinf): "isinf",
    id(math.isnan): "isnan",
    id(float.is_integer): "is_integer",
}
_NUMPY: dict[int, Symbol] = {
    id(np.isfinite): "isfinite",
    id(np.isinf): "isinf",
    id(np.isnan): "isnan",
}
_TRUTHS = (bool, int, float)  # what may be made of a truth of NumPy's


def _reads(term: Any) -> bool:
    return any(type(leaf) is HostRead for leaf in parts(term))


def _steady(term: Any) -> bool:
    """Whether the type of a number is the same whatever its leaves are."""
    if type(term) is Operation:
        return term.symbol not in ("min", "max", "**") and all(map(_steady, term.operands))
    return type(term) is not Made


def _plain_truth(slot: StackSlot) -> StackSlot:
    """A truth of NumPy's that depends on a tensor, as one of Python's; others as they are."""
    term: Any = slot.term
    if type(term) is not Made or term.function is not np.bool_ or not _reads(term):
        return slot
    return StackSlot(bool(slot.value), term.operands[0])


def _numpys(slot: StackSlot) -> StackSlot | None:
    """A truth of Python's as one of NumPy's."""
    if slot.term is None or slot.value is UNKNOWN:
        return None
    return StackSlot(np.bool_(slot.value), Made(np.bool_, (slot.term,), np.bool_))


def negated(follow: Any, slot: StackSlot) -> StackSlot | None:
    """`not` of a truth of NumPy's; None for others."""
    truth = _plain_truth(slot)
    return None if truth is slot else follow.compute("not", truth)


def takes_any(term: Operation) -> bool:
    """Whether the first operand, which is known after the operations only, may be any number that
    is followed to there: rounding to places, questions, whole parts of times and truths."""
    if term.symbol == "round" and len(term.operands) == 2:
        places = term.operands[1]
        return type(places) is Constant and places.value >= 0
    exact = not _reads(term) or kind_of(term.operands[0]) is bool
    return term.symbol in CLASSES or (exact and term.symbol in ("int", "float"))


def asks(frame: types.FrameType, slot: StackSlot, name: str) -> list[StackSlot] | None:
    """The two slots of a method that asks something of a float; None: it is none."""
    method = None if slot.term is None else lookup(float, name)
    if id(method) not in _OWN:
        return None
    number = slot._replace(value=value_of(frame, slot))
    return [StackSlot(method), number] if type(number.value) is float else None


def of_number(
    follow: Any,
    machine: Stepper,
    frame: types.FrameType,
    function: Any,
    given: Sequence[StackSlot],
) -> StackSlot | None:
    """What a function gives for numbers some of which are followed; None: it is none of these."""
    if not any(slot.term is not None for slot in given):
        return None
    slots = [slot._replace(value=value_of(frame, slot)) for slot in given]
    if len(slots) == 1 and any(function is kind for kind in _TRUTHS):
        truth = _plain_truth(slots[0])
        return None if truth is slots[0] else follow.compute(function.__name__, truth)
    if not all(is_number(slot.value) for slot in slots):
        return None
    if is_a(function, np.ufunc):
        return _of_ufunc(follow, machine, function, slots)
    symbol = _OWN.get(id(function))
    return None if symbol is None or len(slots) != 1 else _asked(follow, symbol, slots[0])


def _asked(follow: Any, symbol: Symbol, slot: StackSlot) -> StackSlot | None:
    """The truth of a number; None where it cannot be computed whatever the number is."""
    whole = type(slot.value) is not float
    if whole and symbol == "is_integer":
        return None
    if not _reads(slot.term) and symbol != "is_integer":
        return follow.compute(symbol, slot)  # type: ignore[no-any-return]
    if whole:  # an int of a tensor fits a float
        return StackSlot(symbol == "isfinite") if type(slot.term) is HostRead else None
    return follow.compute(symbol, slot) if _steady(slot.term) else None


def _of_ufunc(
    follow: Any, machine: Stepper, function: Any, slots: Sequence[StackSlot]
) -> StackSlot | None:
    """What a function of NumPy's gives for numbers of Python's."""
    call = function_of(function)
    if call is None or function.nout != 1 or len(slots) != function.nin:
        return None
    if any(_reads(slot.term) for slot in slots):
        made = _numpy_asked(follow, function, slots[0])
    else:
        made = _computed(follow, function, slots)
    if made is not None:
        follow.does_again(machine)
    return made


def _numpy_asked(follow: Any, function: Any, slot: StackSlot) -> StackSlot | None:
    symbol = _NUMPY.get(id(function))
    truth = None if symbol is None else _asked(follow, symbol, slot)
    if truth is None:
        return None
    return StackSlot(np.bool_(truth.value)) if truth.term is None else _numpys(truth)


def _computed(
    follow: Any, function: Callable[..., Any], slots: Sequence[StackSlot]
) -> StackSlot | None:
    try:
        with np.errstate(all="ignore"):  # the program's own call tells
            value = function(*[slot.value for slot in slots])
    except Exception as error:  # the program's own call is about to raise it, too
        if foreign(error):
            raise
        return None
    if not is_a(value, np.generic) or not plain(value):
        return None
    terms = tuple([Constant(s.value) if s.term is None else s.term for s in slots])
    term = Made(function, terms, type(value))
    if size(term) > MAX_TERM:
        return None
    follow.loud.update([kind for kind, how in np.geterr().items() if how != IGNORED])
    return StackSlot(value, term)


def compared(follow: Any, symbol: Symbol, pair: Sequence[StackSlot]) -> StackSlot | None:
    """A comparison of a float of NumPy's, which depends on no tensor, with a float that was read
    from one; None for others.  Both are doubles, so it is that of Python's floats."""
    if not any(_double(slot) for slot in pair) or not any(_reads(slot.term) for slot in pair):
        return None
    slots = [_as_float(slot) for slot in pair]
    if not all(type(slot.value) is float and _steady_double(slot.term) for slot in slots):
        return None
    return _numpys(follow.compute(symbol, *slots))


def _double(slot: StackSlot) -> bool:
    return type(slot.value) is np.float64 and type(slot.term) is Made


def _as_float(slot: StackSlot) -> StackSlot:
    if not _double(slot) or _reads(slot.term):
        return slot
    return StackSlot(float(slot.value), Made(float, (slot.term,), float))


def _steady_double(term: Any) -> bool:
    """Whether a number that is a float now is one whatever its leaves are."""
    if type(term) is not Made:
        return _steady(term)
    return all(_is_float(leaf) for leaf in parts(term))


def _is_float(leaf: Any) -> bool:
    if type(leaf) is Load or type(leaf) is HostCall:
        return leaf.type is float or leaf.type is np.float64
    return type(leaf) is Constant and type(leaf.value) in (float, np.float64)
