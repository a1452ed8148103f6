"""What Python and NumPy data become: dtype beside a partner, one rounding to it, literals.

Invariant: Python numbers, and sequences of nothing else, are weak: they take the dtype of their
partner before they are rounded, once.  NumPy scalars, arrays and buffers keep their own dtype.
What a literal holds never changes.
"""

from __future__ import annotations

import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device, aval
from ...core.cache import keep
from ...core.errors import DTypeError, ShapeError
from ...core.floating import in_plain_floats
from ...core.sites import user_site
from ..tensor import RUNTIME, Handle, Literal, new_handle
from .context import on_device

__all__ = [
    "LITERALS",
    "NUMBER_LITERALS",
    "constant_of",
    "literal",
    "literal_of",
    "scalar_maker",
    "Data",
    "Widened",
    "data_of",
    "dtype_of",
    "is_lent",
    "is_number",
    "lent",
    "holds_tensors",
    "listed",
    "leaves",
    "number_dtype",
    "rounded",
    "shown",
    "stored",
    "tell_widened",
]

_new: Any = object.__new__
_NUMBERS = (bool, int, float, complex)
_EXACT = frozenset(_NUMBERS)
_DEEPEST = 64
_TOP = 1 << 63  # integers below it are rounded to a floating dtype at once
_LENT: list[weakref.ref[np.ndarray]] = []  # values of tensors in the memory of others


class _Owner(np.ndarray):
    """The base of a value that shares memory: no view of the value is made a view of that memory
    itself, as NumPy does where both are of one class, so the value lives as long as its views."""


def lent(array: np.ndarray) -> np.ndarray:
    """A value for a tensor that shares the memory of an array, which others may write to."""
    value = array.view(_Owner).view(np.ndarray)
    value.flags.writeable = False
    _LENT.append(weakref.ref(value, _LENT.remove))
    return value


def is_lent(array: np.ndarray) -> bool:
    """Whether a tensor may share the memory of an array."""
    if not _LENT:
        return False
    values = [value for ref in list(_LENT) if (value := ref()) is not None]
    return any(np.may_share_memory(array, value) for value in values)


class Data(NamedTuple):
    """Data as NumPy reads it (floats in double precision), and whether it is weak; `huge`: integers
    beyond 64 bits, which only a floating dtype takes, are among it; `given`: the array, buffer,
    number or sequence of numbers that all of it was read from, None for other data."""

    array: np.ndarray
    weak: bool
    huge: bool = False
    given: Any = None


def is_number(given: Any) -> bool:
    """Whether a value is a Python number; numpy.float64 is none, though it derives from float, as
    numpy.complex128 does from complex."""
    return isinstance(given, _NUMBERS) and not isinstance(given, np.generic)


def listed(given: Any) -> Any:
    """A sequence that is no buffer (range, deque, ...) as a list; anything else as it is."""
    if isinstance(given, (list, tuple, Handle, np.ndarray, np.generic, str, bytes, *_NUMBERS)):
        return given
    if (
        isinstance(given, (Sequence, deque))
        and not hasattr(given, "__array__")
        and not _has_buffer(given)
    ):
        return list(given)
    return given


def _has_buffer(given: Any) -> bool:
    try:
        memoryview(given)
    except TypeError:
        return False
    return True


def holds_tensors(given: Any, depth: int = 0) -> bool:
    """Whether a nested sequence holds a tensor; ShapeError for one nested beyond 64 levels."""
    if not isinstance(given, (list, tuple)):
        return isinstance(given, Handle)
    _check_depth(depth)
    kinds = set(map(type, given))
    if kinds <= _EXACT:
        return False
    return any(holds_tensors(v, depth + 1) for v in given)


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise ShapeError(f"a sequence holds itself or is nested more than {_DEEPEST} levels deep")


def leaves(given: Any, depth: int = 0) -> Iterator[Any]:
    """The elements of nested lists and tuples; of many scalars of one type one stands for all.
    ShapeError for what is nested beyond 64 levels."""
    if not isinstance(given, (list, tuple)):
        yield given
        return
    _check_depth(depth)
    kinds = set(map(type, given))
    if all(issubclass(kind, (np.generic, *_NUMBERS)) for kind in kinds):
        yield from {type(v): v for v in given}.values()
        return
    for item in given:
        yield from leaves(item, depth + 1)


def data_of(given: Any) -> Data:
    """Numbers from anything that NumPy takes; raises DTypeError for other data, ShapeError
    for ragged sequences, OverflowError for integers beyond 64 bits."""
    given = listed(given)
    if isinstance(given, (list, tuple)):
        return _sequence(given)
    _whole(given)
    if is_number(given):
        return _numbers(given, isinstance(given, int))
    if not hasattr(given, "__array__") and hasattr(given, "__dlpack__"):
        return Data(np.from_dlpack(given), False)
    array = _checked(np.asarray(given), given)
    own = isinstance(given, (np.ndarray, np.generic)) or not hasattr(given, "__array__")
    return Data(array, False, given=given if own else array)  # which `__array__` may just show


def _whole(given: Any) -> None:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise DTypeError("a masked array has no value at its masked elements; use .filled(value)")


def _sequence(given: Any) -> Data:
    holds_tensors(given)
    parts = list(leaves(given))
    strong = [v for v in parts if not is_number(v)]
    try:
        if not strong:
            return _numbers(given, all(isinstance(v, int) for v in parts))
        array = np.array(given)
        if array.dtype.kind == "O":  # halves beside Python numbers
            strong = [data_of(v) for v in strong]
            array = np.array(given, np.float64)
    except ValueError:
        raise ShapeError("the nested sequences do not have one shape, or nest too deeply") from None
    for item in strong:
        _whole(item)
    return Data(_mixed(_checked(array, given), strong), False)


def _numbers(given: Any, whole: bool) -> Data:
    """Python numbers; `whole`: of integers only, which NumPy reads as floats beyond 63 bits."""
    array = np.array(given)
    if not array.size or array.dtype.kind in ("ib" if whole else "fc"):
        return Data(array, True, given=given)
    if whole:
        try:
            return Data(np.array(given, np.uint64), True)
        except OverflowError:
            pass
    try:
        return Data(np.array(given, np.float64), True, whole)
    except OverflowError:
        raise OverflowError("a Python integer does not fit float64") from None


def _mixed(array: np.ndarray, strong: list[Any]) -> np.ndarray:
    """A sequence with NumPy data in it, in the common dtype by hybrid's promotion."""
    native = dt.canonical(array.dtype)
    arrays = [v.array if isinstance(v, Data) else v for v in strong]
    found = {a.dtype if isinstance(a, (np.ndarray, np.generic)) else None for a in arrays}
    if None in found:
        found = {data_of(a).array.dtype for a in arrays}
    dtype = reduce(dt.promote, [dt.canonical(f) for f in found])
    dtype = dtype_of(Data(array, True), dtype)
    if dt.is_int(dtype) and dt.is_int(native) and not _fits(array, dtype):
        return array
    return stored(array, dtype)


def _fits(array: np.ndarray, dtype: np.dtype) -> bool:
    return (
        all(dt.can_hold(dtype, int(v)) for v in (array.min(), array.max())) if array.size else True
    )


def _checked(array: np.ndarray, given: Any) -> np.ndarray:
    """The array, or the error for what is no array of numbers."""
    if array.dtype.kind in "biufc" or array.dtype == dt.bfloat16:
        return array
    hint = ""
    if hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
        hint = f"; make a list of the {type(given).__name__} first"
    raise DTypeError(
        f"{type(given).__name__} is not supported here: it is no tensor and no array of "
        f"numbers (NumPy makes {array.dtype} of it){hint}"
    )


def number_dtype(given: Any) -> np.dtype:
    """The dtype of a Python number without a partner."""
    if isinstance(given, bool):
        return dt.bool_
    if isinstance(given, float):
        return dt.default_float
    if isinstance(given, complex):
        return dt.default_complex
    unsigned = given > np.iinfo(dt.default_int).max and dt.can_hold(dt.uint64, given)
    return dt.uint64 if unsigned else dt.default_int


def shown(given: Any) -> str:
    """A Python number in an error message."""
    if isinstance(given, int) and given.bit_length() > 128:
        return f"Python integer of {given.bit_length()} bits"
    kind = "integer" if isinstance(given, int) else type(given).__name__
    return f"Python {kind} {given}"


def dtype_of(data: Data, partner: np.dtype | None = None) -> np.dtype:
    """The dtype that data takes beside tensors of dtype `partner` (None: alone).

    >>> dtype_of(data_of([1, 2.5])).name, dtype_of(data_of([1, 2.5]), dt.float64).name
    ('float32', 'float64')
    """
    native = dt.canonical(data.array.dtype)
    if not data.weak:
        return native
    if data.huge and (partner is None or not dt.is_inexact(partner)):
        raise OverflowError("an integer does not fit int64 or uint64; write it as a float")
    if partner is None:
        alone = {"f": dt.default_float, "c": dt.default_complex}
        return alone.get(dt.kind(native), native)
    if not data.array.size or native is dt.bool_:
        return partner
    if dt.is_inexact(native):
        return dt.weak(partner, 0j if dt.is_complex(native) else 0.0)
    return dt.default_int if partner is dt.bool_ else partner


@in_plain_floats
def rounded(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A fresh array of a dtype by the rules of the conversion op: floats round to nearest once,
    floats to integers truncate and saturate (NaN is 0), integers wrap; DTypeError for complex
    numbers as real ones."""
    if array.dtype.kind == "c" and not dt.is_complex(dtype):
        raise _no_real(dtype)
    if array.dtype.kind not in "biu" and dt.is_int(dtype):
        return _saturated(array.astype(np.float64), dtype)
    if dtype is dt.bfloat16 and array.dtype == np.float64:
        array = _to_odd(array)
    elif array.dtype.kind in "iu" and dt.is_half(dtype):
        array = array.astype(np.float32)
    return np.array(array, dtype=dtype, order="C", copy=True)


def _no_real(dtype: np.dtype) -> DTypeError:
    return DTypeError(
        f"complex numbers do not fit {dtype.name}; take the real part (.real) or the absolute "
        "value first"
    )


def _to_odd(array: np.ndarray) -> np.ndarray:
    """float64 to float32 rounded to odd, so that rounding to bfloat16 afterwards rounds once."""
    near = np.array(array, np.float32, order="C")
    back, bits = near.astype(np.float64), near.view(np.uint32)
    below = np.where(np.abs(back) > np.abs(array), bits - np.uint32(1), bits)
    rounded_odd = np.asarray(below | np.uint32(1)).view(np.float32)
    return np.where((back == array) | (array != array), near, rounded_odd)


def _saturated(wide: np.ndarray, dtype: np.dtype) -> np.ndarray:
    limits = np.iinfo(dtype)
    too_low, too_high = wide <= limits.min, wide >= float(limits.max)
    inside = np.where(np.isnan(wide) | too_low | too_high, 0.0, np.trunc(wide)).astype(dtype)
    ends = np.where(too_low, np.array(limits.min, dtype), np.array(limits.max, dtype))
    return np.array(np.where(too_low | too_high, ends, inside), dtype)


@in_plain_floats
def stored(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`rounded` for Python numbers: integers round to a half type once, and a number out of the
    range of an integer dtype (NaN and infinities too) raises OverflowError."""
    if array.dtype.kind in "iu":
        if dt.is_int(dtype) and not _fits(array, dtype):
            worst = next(
                v for v in (int(array.min()), int(array.max())) if not dt.can_hold(dtype, v)
            )
            raise OverflowError(f"{shown(worst)} does not fit {dtype.name}")
        array = array.astype(np.float64) if dt.is_half(dtype) else array
    elif array.dtype.kind == "f" and dt.is_int(dtype):
        limits = np.iinfo(dtype)
        whole = np.trunc(array)
        inside = (whole >= float(limits.min)) & (whole < 2.0 ** (limits.bits - (limits.min < 0)))
        if not inside.all():
            raise OverflowError(f"{shown(float(array[~inside][0]))} does not fit {dtype.name}")
    return rounded(array, dtype)


# ---- literals
LITERALS: dict[Any, Any] = {}
NUMBER_LITERALS: dict[Any, Any] = {}  # the same by (type, number, dtype, device)
_MOST_LITERALS = 8192  # in each of the two


def literal(value: Any, dtype: np.dtype, device: Device = HOST) -> Any:
    """The 0-d tensor of a Python number in a dtype, rounded once; one object per bit
    pattern while it is cached.  Raises OverflowError for an integer that the dtype cannot hold."""
    kind = type(value)
    exact = value if kind in (bool, int) or (kind is float and value) else repr(value)
    quick = (kind, exact, dtype, device)  # -0.0 == 0.0
    if quick in NUMBER_LITERALS:
        return NUMBER_LITERALS[quick]
    if not dt.can_hold(dtype, value):
        raise OverflowError(f"{shown(value)} does not fit {dtype.name}")
    tensor = literal_of(_number(value, dtype), dtype, device)
    if kind in (bool, int, float, complex):
        keep(NUMBER_LITERALS, quick, tensor, _MOST_LITERALS)
    return tensor


def _number(value: Any, dtype: np.dtype) -> np.ndarray:
    if isinstance(value, complex) and not dt.is_complex(dtype):
        raise _no_real(dtype)
    wide = dt.is_float(dtype) and not (type(value) is int and -_TOP <= value < _TOP)
    try:
        return stored(np.array(float(value) if wide else value), dtype)
    except OverflowError:
        raise OverflowError(f"{shown(value)} does not fit {dtype.name}") from None


def scalar_maker(kind: type, record: Aval) -> Callable[[Any], Any]:
    """A function that makes 0-d tensors with the bits of the literals of numbers of a type, that
    are no literals themselves; it raises OverflowError where there is no such literal."""
    dtype, device, cls, array = record.dtype, record.device, RUNTIME.tensor, np.array
    # what becomes a normal number of the dtype, exactly or rounded once, needs no care
    plain = device is HOST and (kind is int or kind is float)
    normal = plain and dtype in (dt.float32, dt.float64)
    least, most = 1.0, 1e38 if normal else 0.0  # of the amount
    if plain and kind is int and dt.is_int(dtype) and dtype.kind == "i":
        most = int(np.iinfo(dtype).max)
    elif kind is int:
        most = min(most, float(1 << 24))
    elif plain:
        least = 1e-37

    def make(value: Any) -> Any:
        fits: bool = type(value) is kind
        if not fits:
            raise OverflowError(f"{shown(value)} is no {kind.__name__}")
        made = _new(cls)
        if least <= value <= most or least <= -value <= most or (plain and value == 0):
            made._v = array(value, dtype)
        elif dt.can_hold(dtype, value):
            made._v = on_device(_number(value, dtype), device)
        else:
            raise OverflowError(f"{shown(value)} does not fit {dtype.name}")
        made._a, made._node = record, None
        return made

    return make


def literal_of(array: np.ndarray, dtype: np.dtype, device: Device) -> Any:
    signature = (dtype, array.tobytes(), device)
    tensor = LITERALS.get(signature)
    if tensor is None:
        array.flags.writeable = False
        tensor = new_handle(on_device(array, device), aval((), dtype, device))
        tensor._x = Literal(array)
        keep(LITERALS, signature, tensor, _MOST_LITERALS, NUMBER_LITERALS)
    return tensor


def constant_of(tensor: Handle) -> np.ndarray | None:
    """The NumPy value of a literal tensor, None for any other tensor."""
    mark = getattr(tensor, "_x", None)
    return mark.value if type(mark) is Literal else None


# ---- NumPy scalars beside tensors
class Widened(UserWarning):
    """A NumPy scalar made the result of an operation wider than its tensors; said once a line.

    >>> import hybrid
    >>> issubclass(hybrid.Widened, UserWarning)
    True
    """


_TOLD: set[tuple[str, int]] = set()  # lines
_MOST_LINES = 1024


def tell_widened(values: Sequence[Any], fixed: tuple[int, ...], dtype: np.dtype | None) -> None:
    """Say once a line that a NumPy scalar, which is strong, made operands wider than the floating
    tensors among them; `dtype` is what they meet in."""
    if not any([isinstance(v, np.inexact) for v in values]) or dtype is None:
        return
    tensors = [v for i, v in enumerate(values) if isinstance(v, Handle) and i not in fixed]
    own = reduce(dt.promote, [t._a.dtype for t in tensors]) if tensors else dtype
    if own is dtype or not dt.is_inexact(own):
        return
    site = user_site(2)
    if site is None or site[:2] in _TOLD or len(_TOLD) >= _MOST_LINES:
        return
    _TOLD.add(site[:2])
    warnings.warn_explicit(
        f"a {own.name} tensor beside a NumPy scalar of {dtype.name} gives {dtype.name}, as in "
        f"NumPy 2: write float(...) around the scalar to stay in {own.name}",
        Widened,
        *site[:2],
    )
