"""Lists of numbers among the arguments of a call, as data: token ids, labels, rewards, coordinates.

Invariant: what stands for a list tells its sequences, extents and the one type of its numbers; only
exact lists and tuples of exact ints, floats or bools are taken, and no code of a user runs.
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

__all__ = ["DTYPES", "listable", "listed_at", "passed_list", "takes_numbers"]

DEEPEST = 6  # lists inside each other
SHORT = 8  # numbers in a tuple that is taken for a shape, a pair of settings or the like
DTYPES = {int: dt.int64, float: dt.float64, bool: dt.bool_}  # which hold such numbers exactly
# what hybrid makes of such numbers as the conversion of an array does, whatever they are
_BECOMES: dict[np.dtype, tuple[np.dtype, ...]] = {
    dt.int64: (dt.int64, dt.float32, dt.float64),
    dt.float64: (dt.float16, dt.bfloat16, dt.float32, dt.float64),
    dt.bool_: (dt.bool_,),
}


def listable(value: Any) -> bool:
    """Whether a value may be what `passed_list` takes."""
    kind = type(value)
    return kind is list or (kind is tuple and len(value) > SHORT)


def passed_list(given: Any, position: int) -> Handle | None:
    """What stands for a list of ints, floats or bools, or of such lists or tuples of one length, or
    a tuple of many, in the argument at a position; None for anything else."""
    if not listable(given):
        return None
    form: tuple[type, ...] = (type(given),)
    items, extents = given, [len(given)]
    while items:
        kind: Any = type(items[0])
        if not all(map(is_, map(type, items), repeat(kind))):
            return None
        if kind in DTYPES:
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
