"""What Python and NumPy data become: their dtype beside a partner, and the one rounding to it.

Invariant: Python numbers, and sequences of nothing else, are weak: they take the dtype of their
partner before they are rounded, once.  NumPy scalars, arrays and buffers keep their own dtype.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..core import dtypes as dt
from ..core.errors import DTypeError, ShapeError
from .tensor import Handle

__all__ = [
    "Data",
    "data_of",
    "dtype_of",
    "is_number",
    "holds_tensors",
    "listed",
    "leaves",
    "rounded",
    "stored",
]

_NUMBERS = (bool, int, float)
_EXACT = frozenset(_NUMBERS)
_DEEPEST = 64


class Data(NamedTuple):
    """Data as NumPy reads it (floats in double precision), and whether it is weak."""

    array: np.ndarray
    weak: bool


def is_number(x: Any) -> bool:
    """Whether x is a Python number; numpy.float64 is none, though it derives from float."""
    return isinstance(x, _NUMBERS) and not isinstance(x, np.generic)


def listed(x: Any) -> Any:
    """A sequence that is no buffer (range, deque, ...) as a list; anything else as it is."""
    if isinstance(x, (list, tuple, Handle, np.ndarray, np.generic, str, bytes, *_NUMBERS)):
        return x
    if isinstance(x, (Sequence, deque)) and not hasattr(x, "__array__") and not _has_buffer(x):
        return list(x)
    return x


def _has_buffer(x: Any) -> bool:
    try:
        memoryview(x)
    except TypeError:
        return False
    return True


def holds_tensors(x: Any, depth: int = 0) -> bool:
    """Whether a nested sequence holds a tensor; ShapeError for one nested beyond 64 levels."""
    if not isinstance(x, (list, tuple)):
        return isinstance(x, Handle)
    if depth > _DEEPEST:
        raise ShapeError(f"a sequence is nested more than {_DEEPEST} levels deep")
    kinds = set(map(type, x))
    if kinds <= _EXACT:
        return False
    return any(holds_tensors(v, depth + 1) for v in x)


def leaves(x: Any) -> Iterator[Any]:
    """The elements of nested lists and tuples; of many scalars of one type one stands for all."""
    if not isinstance(x, (list, tuple)):
        yield x
        return
    kinds = set(map(type, x))
    if all(issubclass(kind, (np.generic, *_NUMBERS)) for kind in kinds):
        yield from {type(v): v for v in x}.values()
        return
    for v in x:
        yield from leaves(v)


def data_of(x: Any) -> Data:
    """Real numbers from anything that NumPy takes; raises DTypeError for other data, ShapeError
    for ragged sequences, OverflowError for integers beyond 64 bits."""
    x = listed(x)
    if isinstance(x, (list, tuple)):
        return _sequence(x)
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise DTypeError("a masked array has no value at its masked elements; use .filled(value)")
    weak = is_number(x)
    if not hasattr(x, "__array__") and hasattr(x, "__dlpack__"):
        return Data(np.from_dlpack(x), False)
    return Data(_checked(np.asarray(x), x, weak and not isinstance(x, float)), weak)


def _sequence(x: Any) -> Data:
    holds_tensors(x)
    parts = list(leaves(x))
    strong = [v for v in parts if not is_number(v)]
    whole = not strong and not any(isinstance(v, float) for v in parts)
    try:
        array = np.array(x)
    except ValueError:
        raise ShapeError("the nested sequences do not have one shape, or nest too deeply") from None
    if strong and array.dtype.kind == "O":  # halves beside Python numbers
        strong = [data_of(v) for v in strong]
        array = np.array(x, np.float64)
    if whole and array.dtype.kind == "f" and array.size:  # NumPy's answer to 2**63 beside 1
        array = _unsigned(x, array)
    array = _checked(array, x, whole)
    return Data(_mixed(array, strong) if strong else array, not strong)


def _unsigned(x: Any, array: np.ndarray) -> np.ndarray:
    try:
        return np.array(x, np.uint64)
    except OverflowError:
        return array


def _mixed(array: np.ndarray, strong: list[Any]) -> np.ndarray:
    """A sequence with NumPy data in it, in the common dtype by hybrid's promotion."""
    own = dt.canonical(array.dtype)
    arrays = [v.array if isinstance(v, Data) else v for v in strong]
    found = {a.dtype if isinstance(a, (np.ndarray, np.generic)) else None for a in arrays}
    if None in found:
        found = {data_of(a).array.dtype for a in arrays}
    d = reduce(dt.promote, [dt.canonical(f) for f in found])
    d = dtype_of(Data(array, True), d)
    if dt.is_int(d) and dt.is_int(own) and not _fits(array, d):
        return array
    return stored(array, d)


def _fits(a: np.ndarray, d: np.dtype) -> bool:
    return all(dt.can_hold(d, int(v)) for v in (a.min(), a.max())) if a.size else True


def _checked(array: np.ndarray, x: Any, whole: bool) -> np.ndarray:
    """The array, or the error for what is no array of real numbers; `whole`: of Python integers."""
    objects = array.dtype.kind == "O" and array.size
    if (whole and array.size and array.dtype.kind not in "biu") or (
        objects and all(isinstance(v, int) for v in array.flat)
    ):
        raise OverflowError("an integer does not fit int64 or uint64; write it as a float")
    if array.dtype.kind in "biuf" or array.dtype == dt.bfloat16:
        return array
    raise DTypeError(
        f"{type(x).__name__} is not supported here: it is no tensor and no array of real numbers "
        f"(NumPy makes {array.dtype} of it); a generator has to be made a list first, complex "
        "numbers have to be split into two tensors"
    )


def dtype_of(data: Data, partner: np.dtype | None = None) -> np.dtype:
    """The dtype that data takes beside tensors of dtype `partner` (None: alone).

    >>> dtype_of(data_of([1, 2.5])).name, dtype_of(data_of([1, 2.5]), dt.float64).name
    ('float32', 'float64')
    """
    own = dt.canonical(data.array.dtype)
    if not data.weak:
        return own
    if partner is None:
        return dt.default_float if dt.is_float(own) else own
    if not data.array.size or own is dt.bool_:
        return partner
    if dt.is_float(own):
        return partner if dt.is_float(partner) else dt.default_float
    return dt.default_int if partner is dt.bool_ else partner


def rounded(a: np.ndarray, d: np.dtype) -> np.ndarray:
    """A fresh array of dtype d by the rules of the conversion op: floats round to nearest once,
    floats to integers truncate and saturate (NaN is 0), integers wrap."""
    with np.errstate(all="ignore"):
        if a.dtype.kind not in "biu" and dt.is_int(d):
            return _saturated(a.astype(np.float64), d)
        if d is dt.bfloat16 and a.dtype == np.float64:
            a = _to_odd(a)
        elif a.dtype.kind in "iu" and dt.is_half(d):
            a = a.astype(np.float32)
        return np.array(a, dtype=d, order="C", copy=True)


def _to_odd(a: np.ndarray) -> np.ndarray:
    """float64 to float32 rounded to odd, so that rounding to bfloat16 afterwards rounds once."""
    near = np.array(a, np.float32, order="C")
    back, bits = near.astype(np.float64), near.view(np.uint32)
    below = np.where(np.abs(back) > np.abs(a), bits - np.uint32(1), bits)
    odd = np.asarray(below | np.uint32(1)).view(np.float32)
    return np.where((back == a) | (a != a), near, odd)


def _saturated(w: np.ndarray, d: np.dtype) -> np.ndarray:
    info = np.iinfo(d)
    low, high = w <= info.min, w >= float(info.max)
    inside = np.where(np.isnan(w) | low | high, 0.0, np.trunc(w)).astype(d)
    ends = np.where(low, np.array(info.min, d), np.array(info.max, d))
    return np.array(np.where(low | high, ends, inside), d)


def stored(a: np.ndarray, d: np.dtype) -> np.ndarray:
    """`rounded` for Python numbers: integers round to a half type once, and a number out of the
    range of an integer dtype (NaN and infinities too) raises OverflowError."""
    if a.dtype.kind in "iu":
        if dt.is_int(d) and not _fits(a, d):
            worst = next(v for v in (int(a.min()), int(a.max())) if not dt.can_hold(d, v))
            raise OverflowError(f"Python integer {worst} does not fit {d.name}")
        a = a.astype(np.float64) if dt.is_half(d) else a
    elif a.dtype.kind == "f" and dt.is_int(d):
        info = np.iinfo(d)
        inside = (a > info.min - 1.0) & (a < float(info.max) + 1.0)
        inside |= (a == info.min) & (a >= float(info.min))
        if not inside.all():
            raise OverflowError(f"Python float {float(a[~inside][0])} does not fit {d.name}")
    return rounded(a, d)
