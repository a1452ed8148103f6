"""Whatever a program returned or left behind, as plain data that two runs can be compared by.

Invariant: equal data means equal types, shapes, bits (one NaN is like another) and structure.
"""

from __future__ import annotations

import struct
import types
from collections import deque
from typing import Any

import numpy as np

import hybrid as hb

__all__ = ["difference", "frozen"]

PLAIN = (type(None), bool, int, str, bytes, type(Ellipsis), type(NotImplemented))
NAN = ("nan",)
DEEP = 40


def _bits(values: np.ndarray) -> tuple[Any, ...]:
    """dtype, shape and bytes of an array, with one NaN for all."""
    if values.dtype == object:
        return "array", "object", values.shape, tuple(map(repr, values.ravel()))
    unordered = values != values
    if np.any(unordered):
        values = np.where(unordered, np.zeros((), values.dtype), values)
        return "array", str(values.dtype), values.shape, values.tobytes(), unordered.tobytes()
    return "array", str(values.dtype), values.shape, values.tobytes()


def frozen(value: Any, depth: int = 0) -> Any:
    """A value as nested tuples of plain Python data."""
    if isinstance(value, hb.Tensor):
        return "Tensor", bool(value.requires_grad), *_bits(np.asarray(value.detach().numpy()))
    if isinstance(value, (np.ndarray, np.generic)):
        return type(value).__name__, *_bits(np.asarray(value))
    if type(value) is float:
        return NAN if value != value else ("float", struct.pack("d", value))
    if type(value) in PLAIN:
        return type(value).__name__, value
    if depth > DEEP:
        return "deep"
    name = type(value).__name__
    if isinstance(value, (dict, types.MappingProxyType)):
        return name, tuple(
            (frozen(k, depth + 1), frozen(v, depth + 1)) for k, v in list(value.items())
        )
    if isinstance(value, (list, tuple, deque)):
        return name, tuple(frozen(item, depth + 1) for item in list(value))
    if isinstance(value, (set, frozenset)):
        return name, tuple(sorted((frozen(item, depth + 1) for item in value), key=repr))
    if isinstance(value, BaseException):
        return name, str(value)
    if hasattr(value, "__dict__") and not callable(value):
        return name, frozen(vars(value), depth + 1)
    return name


def difference(plain: Any, traced: Any, path: str = "") -> str:
    """Where two frozen values part, in words; '' where they do not."""
    if plain == traced:
        return ""
    both = isinstance(plain, tuple) and isinstance(traced, tuple)
    if both and len(plain) == len(traced) and plain and plain[0] not in ("Tensor", "ndarray"):
        for index, (one, other) in enumerate(zip(plain, traced)):
            found = difference(one, other, f"{path}.{index}")
            if found:
                return found
    return f"at {path or 'the top'}: {_shown(plain)} plainly, {_shown(traced)} decorated"


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and value[:1] == ("Tensor",) and len(value) > 5:
        kind = np.dtype(value[3]) if value[3] != "bfloat16" else None
        flat = np.frombuffer(value[5], kind)[:6].tolist() if kind is not None else value[5][:24]
        return f"Tensor {value[3]}{list(value[4])} {flat} grad={value[1]}"
    return repr(value)[:160]
