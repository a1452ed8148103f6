"""Data among the arguments of a call: NumPy arrays and buffers become inputs of the graph.

Invariant: the tensor that stands for an array has the array's content at the moment of the call in
its own dtype; it borrows the memory where that is safe for the length of a replay (`owned` gives
copies where a result could keep it), and no code of a user runs.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...core import dtypes as dt
from ...core.aval import aval
from ...core.errors import DTypeError
from ...ir.door.foreign import rounded
from ...ir.mode import Versioned
from ...ir.tensor import RUNTIME, Handle, new_handle
from .allowlist import is_tuple, plain
from .structure import EMPTY, structure_of

__all__ = [
    "BUFFERS",
    "Passed",
    "Place",
    "PassedNumber",
    "is_real",
    "tensor_of",
    "passed",
    "passed_number",
    "lender",
    "one_array_twice",
    "copier",
    "numbers_among",
    "source_of",
    "told_apart",
    "stands_for",
    "with_arrays",
    "with_numbers",
    "owned",
    "same_content",
    "Carried",
    "carried",
]

BUFFERS = (bytearray, memoryview, array.array, np.memmap)
_CANONICAL: dict[np.dtype, np.dtype | None] = {}
_new = object.__new__
_MOST = 256  # dtypes that are remembered
_DEEPEST = 6  # containers inside each other that are looked through for data


Place: TypeAlias = int | tuple[Any, ...]  # of an argument: its position, or that and steps


class Passed(NamedTuple):
    """Marks the tensor of an argument that is no tensor; `source` is the argument itself.  Of a
    list of numbers also the `position` of the argument that holds it, and the types of the
    sequences inside each other (`form`)."""

    source: Any
    position: int = -1
    form: tuple[type, ...] = ()


class PassedNumber(NamedTuple):
    """Marks what stands for a number among the arguments; `source` is the number, `position` that
    of the argument, or the path to what is inside of it."""

    source: Any
    position: Place


_mark = tuple.__new__  # without a frame of its own


# What stands for numbers holds none: those that operations take are computed from the mark.
_HOLLOW: dict[type, tuple[Any, Any]] = {
    int: (np.zeros((), dt.int64), aval((), dt.int64)),
    float: (np.zeros((), dt.float64), aval((), dt.float64)),
}


def passed_number(number: Any, position: Place) -> Handle:
    """What stands for an int or float among the arguments."""
    tensor: Handle = _new(RUNTIME.tensor)
    tensor._v, tensor._a = _HOLLOW[type(number)]
    tensor._node, tensor._x = None, _mark(PassedNumber, (number, position))
    return tensor


def numbers_among(tensors: Iterable[Any]) -> dict[Place, int]:
    """The numbers among what stands for arguments: position of the argument -> place in here."""
    marks = [getattr(tensor, "_x", None) for tensor in tensors]
    return {m.position: k for k, m in enumerate(marks) if type(m) is PassedNumber}


def _canonical(dtype: np.dtype) -> np.dtype | None:
    """The dtype of a tensor with this data, None for data that no tensor holds."""
    found = _CANONICAL.get(dtype)
    if found is None and (dtype.kind in "biuf" or dtype == dt.bfloat16):
        try:
            found = dt.canonical(dtype)
        except DTypeError:
            return None
        if len(_CANONICAL) < _MOST:
            _CANONICAL[dtype] = found
    return found


def is_real(dtype: np.dtype) -> bool:
    """Whether a tensor holds data of a dtype."""
    return _canonical(dtype) is not None


def passed(given: Any) -> Handle | None:
    """The tensor that stands for an array or buffer, which borrows the memory of an array if it
    can; None for what is no array of real numbers."""
    buffer = type(given) is not np.ndarray
    try:
        view = np.asarray(given) if buffer else given
    except (TypeError, ValueError, BufferError):
        return None
    dtype = _canonical(view.dtype)
    if dtype is None:
        return None
    if buffer or view.dtype is not dtype or not view.flags.aligned:
        # nobody may be kept from resizing a buffer
        view = view.copy() if view.dtype is dtype else rounded(view, dtype)
    tensor: Handle = new_handle(view, aval(view.shape, dtype))
    tensor._x = Passed(given)
    return tensor


def told_apart(tensors: Sequence[Any], first: tuple[int, ...]) -> list[Any] | None:
    """The tensors of a call in order of appearance, each array as often as it appears with another
    tensor each time; None where one that is no array comes again.  `first`: where each was met
    first."""
    distinct, found = iter(tensors), list[Any]()
    for place, earlier in enumerate(first):
        if earlier == place:
            found.append(next(distinct))
            continue
        mark = getattr(found[earlier], "_x", None)
        if type(mark) is not Passed or type(mark.source) is not np.ndarray:
            return None
        tensor: Handle = new_handle(found[earlier]._v, found[earlier]._a)
        tensor._x = mark
        found.append(tensor)
    return found


def one_array_twice(tensors: Sequence[Any]) -> bool:
    """Whether two tensors stand for one array: the call is none to record."""
    marks = [mark for t in tensors if type(mark := getattr(t, "_x", None)) is Passed]
    return len({id(mark.source) for mark in marks}) < len(marks)


def lender(record: Any) -> Callable[[np.ndarray], Handle]:
    """`passed` for arrays of this shape and dtype, which are not looked at."""
    dtype, cls = record.dtype, RUNTIME.tensor

    def lend(array: np.ndarray) -> Handle:
        tensor: Handle = _new(cls)
        tensor._v = array if array.flags.aligned else rounded(array, dtype)
        tensor._a, tensor._node, tensor._x = record, None, _mark(Passed, (array,))
        return tensor

    return lend


def source_of(tensor: Handle) -> Any:
    """The argument that a tensor stands for: itself, unless it is data or a number."""
    mark = getattr(tensor, "_x", None)
    return mark.source if type(mark) is Passed or type(mark) is PassedNumber else tensor


def stands_for(tensor: Handle, argument: Any) -> bool:
    """Whether a tensor is an argument, or stands for a number or an array in the machine's byte
    order."""
    if tensor is argument:
        return True
    if type(getattr(tensor, "_x", None)) is PassedNumber:
        return source_of(tensor) is argument
    array = type(argument) is np.ndarray and source_of(tensor) is argument
    return array and argument.dtype is tensor._a.dtype


def with_arrays(direct: Callable[..., Any], places: tuple[int, ...]) -> Callable[..., Any]:
    """A function of tensors as one that takes arrays at these places (and NotImplemented where it
    gets something else)."""

    def call(*args: Any) -> Any:
        given = list(args)
        for place in places:
            array: Any = given[place] if place < len(given) else None
            tensor = passed(array) if type(array) is np.ndarray else None
            if tensor is None or array.dtype is not tensor._a.dtype:
                return NotImplemented
            given[place] = tensor
        return direct(*given)

    return call


def with_numbers(
    direct: Callable[..., Any], places: dict[int, type], count: int
) -> Callable[..., Any]:
    """A function of `count` tensors as one that takes numbers of these types at these places."""

    def call(*args: Any) -> Any:
        if len(args) != count:
            return NotImplemented
        given = list(args)
        for place, kind in places.items():
            if type(given[place]) is not kind:
                return NotImplemented
            given[place] = passed_number(given[place], place)
        return direct(*given)

    return call


def owned(tensors: Sequence[Any]) -> list[Any]:
    """The tensors, with copies of borrowed content in the place of data."""
    out = []
    for tensor in tensors:
        mark = getattr(tensor, "_x", None)
        if type(mark) is Passed:
            tensor = new_handle(tensor._v.copy(), tensor._a)
            tensor._x = mark
        out.append(tensor)
    return out


def copier(record: Any) -> Callable[[Any], Handle]:
    """`tensor_of` for one record."""
    dtype, shape, cls = record.dtype, record.shape, RUNTIME.tensor

    def copied(array: Any) -> Handle:
        if type(array) is not np.ndarray or array.dtype is not dtype or array.shape != shape:
            return tensor_of(record, array)
        tensor: Handle = _new(cls)
        tensor._v, tensor._a, tensor._node = array.copy(), record, None
        tensor._x = _mark(Passed, (array,))
        return tensor

    return copied


def tensor_of(record: Any, array: Any) -> Handle:
    """The tensor with this record and the content of an array, with which the program may go on;
    TypeError where that is another one."""
    tensor = passed(array)
    if tensor is None or tensor._a is not record:
        raise TypeError("another array")
    return owned([tensor])[0]  # type: ignore[no-any-return]


def same_content(first: Handle, second: Handle) -> bool:
    """Whether two tensors that stand for data hold the same bits."""
    return first._a is second._a and first._v.tobytes() == second._v.tobytes()


class Carried(NamedTuple):
    """Data among objects, as (id, how many containers it is inside)."""

    levels: set[tuple[int, int]]

    @property
    def direct(self) -> set[int]:
        """What is among the objects itself."""
        return {ident for ident, level in self.levels if level <= 0}

    @property
    def inside(self) -> set[int]:
        """What is inside containers among them."""
        return {ident for ident, level in self.levels if level > 0}


def carried(objects: Iterable[Any], data: dict[int, Any]) -> Carried:
    """The data among objects, and in the containers and structures among them."""
    found = Carried(set())
    todo = [(value, 0) for value in objects]
    walked: set[tuple[int, int]] = set()
    while todo:
        value, level = todo.pop()
        if id(value) in data:
            found.levels.add((id(value), level))
        elif level <= _DEEPEST and (id(value), level) not in walked:
            walked.add((id(value), level))
            todo += [(part, level + 1) for part in _parts(value)]
    return found


def _parts(value: Any) -> Iterable[Any]:
    cls = type(value)
    if cls is list or is_tuple(value):
        return value  # type: ignore[no-any-return]
    if issubclass(cls, dict):
        return list(dict.values(value))
    if plain(value) or issubclass(cls, (Handle, Versioned, type)):
        return ()
    structure = structure_of(value)
    return () if structure is None else [part for part in structure.parts if part is not EMPTY]
