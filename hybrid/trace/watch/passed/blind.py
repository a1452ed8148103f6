"""Whether the Python of a call could see how large its tensors are.

Invariant: a call is blind only if everything that user code was given by a call is a tensor, or an
object that tells no size; numbers, texts and truth values may come from a size, so they count.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from ....core.aval import Device
from ....ir.mode import Versioned
from ....ir.tensor import Handle
from ...heap.allowlist import MISSING, is_a, is_tuple, lookup, plain
from ..events import Watch

__all__ = ["is_blind"]

MOST_LEVELS = 4  # containers inside each other that are looked through
_CODE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type, types.ModuleType)
_INSIDE = frozenset(("_a", "_v", "_node", "_x"))  # slots of a tensor, which no event tells of


def is_blind(watch: Watch) -> bool:
    """Whether user code was given nothing that depends on the size of a tensor."""
    if watch.data:  # NumPy tells the size of an array without an event
        return False
    if any(_INSIDE.intersection(code.co_names) for code in watch.frames):
        return False
    return all(_silent(value, 0) for values in watch.returns.values() for value in values)


def _silent(value: Any, level: int) -> bool:
    if value is None or is_a(value, (Handle, Versioned, Device, np.dtype)) or is_a(value, _CODE):
        return True
    if type(value) is list or is_tuple(value):
        return level < MOST_LEVELS and all(_silent(item, level + 1) for item in value)
    if type(value) is dict:
        return level < MOST_LEVELS and all(_silent(item, level + 1) for item in value.values())
    known = plain(value) or is_a(value, (np.ndarray, np.generic, slice, range))
    if lookup(type(value), "__enter__") is not MISSING:
        return True  # a scope
    own = type(value).__module__.partition(".")[0] in ("hybrid", "numpy", "builtins")
    return not known and not own
