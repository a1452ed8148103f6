"""Lists of numbers among the arguments of a call, as data: token ids, labels, rewards, coordinates.

Invariant: what stands for a list tells its sequences, extents and the one type of its numbers; only
exact lists and tuples of exact ints or floats are taken, and no code of a user runs.
"""

from __future__ import annotations

from itertools import chain, repeat
from operator import is_
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import aval
from ...ir.tensor import Handle, new_handle
from .data import Passed

__all__ = ["DTYPES", "listed_at", "passed_list", "takes_numbers"]

DEEPEST = 6  # lists inside each other
_FLAT: tuple[type, ...] = (list,)
DTYPES = {int: dt.int64, float: dt.float64}  # which hold such numbers exactly
# what hybrid makes of such numbers as the conversion of an array does, whatever they are
_BECOMES: dict[np.dtype, tuple[np.dtype, ...]] = {
    dt.int64: (dt.int64, dt.float32, dt.float64),
    dt.float64: (dt.float16, dt.bfloat16, dt.float32, dt.float64),
}


def passed_list(given: list[Any], position: int) -> Handle | None:
    """What stands for a list of ints or of floats, or of such lists or tuples of one length, in the
    argument at a position; None for anything else."""
    form, items, extents = _FLAT, given, [len(given)]
    while items:
        kind: Any = type(items[0])
        if not all(map(is_, map(type, items), repeat(kind))):
            return None
        if kind is int or kind is float:
            break
        if (kind is not list and kind is not tuple) or len(form) == DEEPEST:
            return None
        extent = len(items[0])
        if not all(map(extent.__eq__, map(len, items))):
            return None
        form, items = (*form, kind), list(chain.from_iterable(items))
        extents.append(extent)
    else:
        return None
    dtype = DTYPES[kind]
    try:
        value = np.array(items, dtype)
    except OverflowError:  # an int beyond 64 bits
        return None
    value = value if len(form) == 1 else value.reshape(extents)
    tensor: Handle = new_handle(value, aval(value.shape, dtype))
    tensor._x = Passed(given, position, form)
    return tensor


def listed_at(tensor: Any) -> int:
    """The position of the argument that holds the list which a tensor stands for; -1: it stands for
    none."""
    mark = getattr(tensor, "_x", None)
    return mark.position if type(mark) is Passed else -1


def takes_numbers(held: np.dtype, dtype: np.dtype) -> bool:
    """Whether a tensor of a dtype that hybrid makes of a list has the bits of the conversion of the
    array with its numbers, for any numbers."""
    return dtype in _BECOMES[held]
