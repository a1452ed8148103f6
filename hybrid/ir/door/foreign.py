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

from ...core import dtypes as dt
from ...core.errors import DTypeError, ShapeError
from ...core.floating import plain_floats
from ..tensor import Handle

__all__ = [
    "Data",
    "data_of",
    "dtype_of",
    "is_number",
    "holds_tensors",
    "listed",
    "leaves",
    "number_dtype",
    "rounded",
    "shown",
    "stored",
]

_NUMBERS = (bool, int, float)
_EXACT = frozenset(_NUMBERS)
_DEEPEST = 64


class Data(NamedTuple):
    """Data as NumPy reads it (floats in double precision), and whether it is weak; `huge`: integers
    beyond 64 bits, which only a floating dtype takes, are among it."""

    array: np.ndarray
    weak: bool
    huge: bool = False


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
    _whole(x)
    if is_number(x):
        return _numbers(x, not isinstance(x, float))
    if not hasattr(x, "__array__") and hasattr(x, "__dlpack__"):
        return Data(np.from_dlpack(x), False)
    return Data(_checked(np.asarray(x), x), False)


def _whole(x: Any) -> None:
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise DTypeError("a masked array has no value at its masked elements; use .filled(value)")


def _sequence(x: Any) -> Data:
    holds_tensors(x)
    parts = list(leaves(x))
    strong = [v for v in parts if not is_number(v)]
    try:
        if not strong:
            return _numbers(x, not any(isinstance(v, float) for v in parts))
        array = np.array(x)
        if array.dtype.kind == "O":  # halves beside Python numbers
            strong = [data_of(v) for v in strong]
            array = np.array(x, np.float64)
    except ValueError:
        raise ShapeError("the nested sequences do not have one shape, or nest too deeply") from None
    for v in strong:
        _whole(v)
    return Data(_mixed(_checked(array, x), strong), False)


def _numbers(x: Any, whole: bool) -> Data:
    """Python numbers; `whole`: of integers only, which NumPy reads as floats beyond 63 bits."""
    array = np.array(x)
    if not array.size or array.dtype.kind == ("i" if whole else "f") or array.dtype.kind == "b":
        return Data(array, True)
    if whole:
        try:
            return Data(np.array(x, np.uint64), True)
        except OverflowError:
            pass
    try:
        return Data(np.array(x, np.float64), True, whole)
    except OverflowError:
        raise OverflowError("a Python integer does not fit float64") from None


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


def _checked(array: np.ndarray, x: Any) -> np.ndarray:
    """The array, or the error for what is no array of real numbers."""
    if array.dtype.kind in "biuf" or array.dtype == dt.bfloat16:
        return array
    hint = ""
    if array.dtype.kind == "c":
        hint = "; keep the real and the imaginary part in two tensors"
    elif hasattr(x, "__iter__") and not hasattr(x, "__getitem__"):
        hint = f"; make a list of the {type(x).__name__} first"
    raise DTypeError(
        f"{type(x).__name__} is not supported here: it is no tensor and no array of real numbers "
        f"(NumPy makes {array.dtype} of it){hint}"
    )


def number_dtype(x: Any) -> np.dtype:
    """The dtype of a Python number without a partner."""
    if isinstance(x, bool):
        return dt.bool_
    if isinstance(x, float):
        return dt.default_float
    unsigned = x > np.iinfo(dt.default_int).max and dt.can_hold(dt.uint64, x)
    return dt.uint64 if unsigned else dt.default_int


def shown(x: Any) -> str:
    """A Python number in an error message."""
    if isinstance(x, int) and x.bit_length() > 128:
        return f"Python integer of {x.bit_length()} bits"
    return f"Python {'float' if isinstance(x, float) else 'integer'} {x}"


def dtype_of(data: Data, partner: np.dtype | None = None) -> np.dtype:
    """The dtype that data takes beside tensors of dtype `partner` (None: alone).

    >>> dtype_of(data_of([1, 2.5])).name, dtype_of(data_of([1, 2.5]), dt.float64).name
    ('float32', 'float64')
    """
    own = dt.canonical(data.array.dtype)
    if not data.weak:
        return own
    if data.huge and (partner is None or not dt.is_float(partner)):
        raise OverflowError("an integer does not fit int64 or uint64; write it as a float")
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
    with plain_floats():
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
            raise OverflowError(f"{shown(worst)} does not fit {d.name}")
        with plain_floats():
            a = a.astype(np.float64) if dt.is_half(d) else a
    elif a.dtype.kind == "f" and dt.is_int(d):
        info = np.iinfo(d)
        with plain_floats():
            whole = np.trunc(a)
            inside = (whole >= float(info.min)) & (whole < 2.0 ** (info.bits - (info.min < 0)))
        if not inside.all():
            raise OverflowError(f"{shown(float(a[~inside][0]))} does not fit {d.name}")
    return rounded(a, d)
