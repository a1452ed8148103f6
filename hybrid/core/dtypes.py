"""Dtypes: the NumPy dtype objects hybrid works with, and array-API promotion with weak scalars.

Invariant: a dtype is always the canonical NumPy dtype object of this module (compare with `is`),
native byte order; promotion depends on dtypes and on the Python type of weak scalars only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import ml_dtypes
import numpy as np

from .aval import is_device
from .errors import ArgumentError, DTypeError

__all__ = [
    "bool_",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "ALL",
    "COMPLEX",
    "FLOATS",
    "HALVES",
    "INTS",
    "SIGNED",
    "UNSIGNED",
    "canonical",
    "promote",
    "signs_differ",
    "weak",
    "Kind",
    "kind",
    "is_complex",
    "is_float",
    "is_inexact",
    "complex_of",
    "real_of",
    "is_int",
    "is_half",
    "compute_type",
    "default_complex",
    "default_float",
    "default_int",
    "can_hold",
    "casts",
]

# truth values, signed and unsigned integers, floats, complex numbers
Kind = Literal["b", "i", "u", "f", "c"]

bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
bfloat16 = np.dtype(ml_dtypes.bfloat16)
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
INTS = SIGNED + UNSIGNED
HALVES = (float16, bfloat16)
FLOATS = (float16, bfloat16, float32, float64)
COMPLEX = (complex64, complex128)
ALL = (bool_,) + INTS + FLOATS + COMPLEX
default_float = float32
default_int = int64
default_complex = complex64

_BY_NAME = {d.name: d for d in ALL} | {"bool": bool_}
_CANONICAL: dict[Any, np.dtype] = {d: d for d in ALL}
_KIND: dict[np.dtype, Kind] = {
    bool_: "b",
    **dict.fromkeys(SIGNED, "i"),
    **dict.fromkeys(UNSIGNED, "u"),
    **dict.fromkeys(FLOATS, "f"),
    **dict.fromkeys(COMPLEX, "c"),
}
_CASTING = ("no", "equiv", "safe", "same_kind", "unsafe")


def canonical(dtype: Any) -> np.dtype:
    """The canonical dtype object for a dtype, dtype name, NumPy scalar type or Python
    bool/int/float/complex.

    The types mean what they mean to NumPy: `float` is float64, `complex` complex128 and `int`
    int64; the *default* dtypes of Python floats and complex numbers stay float32 and complex64.
    Raises DTypeError for anything else.

    >>> canonical("float16").name, canonical(float).name
    ('float16', 'float64')
    """
    if dtype is float:
        return float64
    if dtype is int:
        return default_int
    if dtype is complex:
        return complex128
    if isinstance(dtype, str) and dtype in _BY_NAME:
        return _BY_NAME[dtype]
    if isinstance(dtype, np.dtype) and dtype in _CANONICAL:
        return _CANONICAL[dtype]
    try:
        candidate = np.dtype(dtype) if _nameable(dtype) else None  # runs code of the caller's types
    except (TypeError, ValueError, SyntaxError):
        candidate = None
    found = _CANONICAL.get(candidate) if candidate is not None else None
    if found is None and candidate is not None:
        found = _CANONICAL.get(candidate.newbyteorder("="))  # equal only in the machine's order
    if found is None:
        names = ", ".join(d.name for d in ALL)
        raise DTypeError(f"{_text(dtype, candidate)} is not supported; use one of {names}")
    return found


def _nameable(given: Any) -> bool:
    """Whether x names a dtype; NumPy would make one of None, dicts and lists as well."""
    if isinstance(given, str):
        return not given.lstrip("<>=|").startswith("a")  # text, under a name that NumPy gave up
    return isinstance(given, (np.dtype, type)) or hasattr(given, "dtype")


def _text(given: Any, candidate: np.dtype | None) -> str:
    """How a message names a dtype that hybrid does not have."""
    if isinstance(given, str):
        hint = " (a device: pass device= instead)" if is_device(given) else ""
        return f"dtype {given!r}{hint}"
    if candidate is not None and (isinstance(given, (np.dtype, type)) and given is not object):
        return f"dtype {candidate.name if candidate.names is None else 'with named fields'}"
    return f"an object of type {type(given).__name__} as a dtype"


def kind(dtype: np.dtype) -> Kind:
    """'b' bool, 'i' signed, 'u' unsigned, 'f' floating (half types included), 'c' complex."""
    return _KIND[dtype]


def is_float(dtype: np.dtype) -> bool:
    return _KIND[dtype] == "f"


def is_complex(dtype: np.dtype) -> bool:
    return _KIND[dtype] == "c"


def is_inexact(dtype: np.dtype) -> bool:
    """Whether it is floating or complex: what has gradients."""
    return _KIND[dtype] in "fc"


def complex_of(dtype: np.dtype) -> np.dtype:
    """The complex dtype whose parts hold what a floating dtype does."""
    if _KIND[dtype] == "c":
        return dtype
    return complex128 if dtype is float64 else complex64


def real_of(dtype: np.dtype) -> np.dtype:
    """The dtype of the parts of a complex dtype; any other dtype itself."""
    if _KIND[dtype] != "c":
        return dtype
    return float64 if dtype is complex128 else float32


def is_int(dtype: np.dtype) -> bool:
    return _KIND[dtype] in "iu"


def is_half(dtype: np.dtype) -> bool:
    return dtype is float16 or dtype is bfloat16


def signs_differ(left: np.dtype, right: np.dtype) -> bool:
    """Whether these are uint64 and signed integers: no integer dtype holds the values of both.

    >>> signs_differ(uint64, int8), signs_differ(uint32, int8), signs_differ(uint64, float32)
    (True, False, False)
    """
    return (left is uint64 and _KIND[right] == "i") or (right is uint64 and _KIND[left] == "i")


@lru_cache(None)  # at most one entry for each pair of dtypes
def promote(left: np.dtype, right: np.dtype) -> np.dtype:
    """The dtype two arrays of these dtypes are computed in (NumPy 2; half types meet in float32).

    An integer array with a float16/bfloat16/float32 array keeps the floating dtype, as in the
    array-API extension that PyTorch and JAX use; NumPy itself would widen int32 + float32 to
    float64.  So it is with complex arrays; a floating one beside them widens their parts to its
    own.

    >>> promote(int32, float32).name, promote(float16, bfloat16).name, promote(uint8, int8).name
    ('float32', 'float32', 'int16')
    """
    if left is right:
        return left
    left_kind, right_kind = _KIND[left], _KIND[right]
    if left_kind == "c" or right_kind == "c":
        return complex_of(promote(real_of(left), real_of(right)))
    if left_kind == "f" and right_kind == "f":
        if is_half(left) and is_half(right):
            return float32
        return left if left.itemsize > right.itemsize else right
    if left_kind == "f":
        return left
    if right_kind == "f":
        return right
    if signs_differ(left, right):
        raise DTypeError(
            f"{left.name} and {right.name} have no common integer dtype; convert one with .astype"
        )
    return _CANONICAL[np.promote_types(left, right)]


def weak(dtype: np.dtype, value: Any) -> np.dtype:
    """The dtype of `array of that dtype` op `Python scalar`: the array's kind wins where it can.

    >>> weak(float16, 2.5).name, weak(int8, 3).name, weak(int32, 2.5).name
    ('float16', 'int8', 'float32')
    """
    if isinstance(value, bool):
        return dtype
    if isinstance(value, int):
        return default_int if dtype is bool_ else dtype
    if isinstance(value, float):
        return dtype if _KIND[dtype] in "fc" else default_float
    if isinstance(value, complex):
        return complex_of(dtype) if _KIND[dtype] in "fc" else default_complex
    raise DTypeError(f"a {type(value).__name__} cannot be combined with a {dtype.name} tensor")


def casts(source: np.dtype, target: np.dtype, casting: Any) -> bool:
    """Whether NumPy's rule of a name lets a dtype be converted to another; ArgumentError where
    there is no such rule."""
    if not isinstance(casting, str) or casting not in _CASTING:
        shown = repr(casting) if isinstance(casting, str) else f"a {type(casting).__name__}"
        raise ArgumentError(f"casting is {shown}: it takes one of {', '.join(map(repr, _CASTING))}")
    rule: Any = casting
    return bool(np.can_cast(source, target, rule))


def can_hold(dtype: np.dtype, value: Any) -> bool:
    """Whether Python integer `value` lies in the range of the integer dtype
    (always true otherwise)."""
    if _KIND[dtype] in "iu" and isinstance(value, int) and not isinstance(value, bool):
        limits = np.iinfo(dtype)
        return limits.min <= value <= limits.max
    return True


def compute_type(dtype: np.dtype) -> np.dtype:
    """The dtype arithmetic is carried out in: float32 for half types, else the same."""
    return float32 if is_half(dtype) else dtype
