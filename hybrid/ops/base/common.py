"""Small helpers shared by the op records: axes, wide reference arithmetic, sample arrays.

Invariant: nothing here makes a record or calls an op.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device, aval
from ...core.errors import DTypeError, ShapeError
from ...core.shapes import items_of, normalize_axis, whole
from ...ir.door.bind import as_tensor
from ...ir.door.context import LOCAL
from ...ir.op import Op
from ...ir.scalar.program import TYPE, Builder, Val
from ...ir.tensor import new_handle

__all__ = [
    "Part",
    "wide",
    "groups",
    "as_type",
    "pair",
    "each_axis",
    "need_float",
    "draw",
    "shapes_of",
    "ints",
    "SHAPE_ONLY",
    "same_infer",
    "pairs_of",
    "inferred",
    "owned",
    "read",
]

# `keeps` of a record whose vjp reads only shapes and dtypes of its inputs: no value has to be
# saved.
SHAPE_ONLY = frozenset(["shape"])
SEVERAL = {1: "a sequence of one", 2: "a pair", 3: "three of them"}


def read(x: Any) -> np.ndarray:
    """The value of a tensor on the host for functions of NumPy that copy what is read-only, as what
    `numpy` gives is."""
    x.numpy()
    value: np.ndarray = x._v
    return value


def owned(array: np.ndarray, device: Device) -> Any:
    """A tensor of a fresh array of the host that nobody else holds: a copy only where it has to be,
    on another device or while a mode follows data."""
    plain = array.base is None and array.flags.c_contiguous and array.flags.writeable
    if not plain or device is not HOST or LOCAL.mode is not None:
        return as_tensor(array, device)
    dtype = dt.canonical(array.dtype)
    return new_handle(np.asarray(array, dtype), aval(array.shape, dtype))


class Part:
    """A gradient that may be added to others of its record in one go (ops/build/parts.py);
    a call gives it alone.  Parts of several records are added up by `rank`."""

    __slots__ = ()
    rank = 0

    @property
    def op(self) -> Op:
        """The record whose `join` adds up several."""
        raise NotImplementedError

    @property
    def tensors(self) -> tuple[Any, ...]:
        """What it is made of beside numbers."""
        raise NotImplementedError

    def of(self, *tensors: Any) -> Part:
        """The same made of other tensors of the same shapes and dtypes."""
        raise NotImplementedError

    def __call__(self) -> Any:
        raise NotImplementedError


def wide(operand: np.ndarray) -> np.ndarray:
    """An array in the widest type of its kind:
    long double for float32/64, float64 for half types, int64 or uint64."""
    dtype = dt.canonical(operand.dtype)
    if dt.is_half(dtype):
        return operand.astype(np.float64)
    if dt.is_float(dtype):
        return operand.astype(np.longdouble)
    return operand.astype(np.uint64 if dt.kind(dtype) == "u" else np.int64)


def groups(axes: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted axes as runs (start, stop) of adjacent ones.

    >>> groups((0, 2, 3))
    [(0, 1), (2, 4)]
    """
    out: list[tuple[int, int]] = []
    for axis in axes:
        if out and out[-1][1] == axis:
            out[-1] = (out[-1][0], axis + 1)
        else:
            out.append((axis, axis + 1))
    return out


def as_type(algebra: Builder, operand: Val, dtype: np.dtype) -> Val:
    """A value converted to the type that a dtype has in a program."""
    return algebra.convert(operand, TYPE[dtype])


def pair(value: Any, what: str) -> tuple[int, int]:
    """An int, or two of them, as two ints."""
    first, second = each_axis(value, 2, what)
    return first, second


def each_axis(value: Any, count: int, what: str) -> tuple[int, ...]:
    """An int for every one of `count` axes, or that many ints, as a tuple of ints."""
    if hasattr(value, "__index__") and not getattr(value, "ndim", 0):
        return (operator.index(value),) * count
    items = tuple(whole(v, what) for v in items_of(value, what))
    if len(items) != count:
        raise ShapeError(f"{what} takes one int or {SEVERAL[count]}, not {value!r}")
    return items


def pairs_of(widths: Any, ndim: int, what: str = "pad: widths") -> tuple[tuple[int, int], ...]:
    """NumPy's pad widths: an int, (before, after), one such pair (or int) per axis, or a dictionary
    of these, 0 where an axis is not in it."""
    if isinstance(widths, Mapping):
        found = [(0, 0)] * ndim
        for axis, width in widths.items():
            found[normalize_axis(axis, ndim, what)] = pair(width, what)
        return tuple(found)
    if hasattr(widths, "__index__") and not getattr(widths, "ndim", 0):
        count = operator.index(widths)
        return ((count, count),) * ndim
    items = items_of(widths, what)
    if len(items) == 2 and all(
        hasattr(i, "__index__") and not getattr(i, "ndim", 0) for i in items
    ):
        return ((operator.index(items[0]), operator.index(items[1])),) * ndim
    out = tuple(pair(i[0] if _alone(i) else i, what) for i in items)
    if len(out) == 1:
        return out * ndim
    if len(out) != ndim:
        raise ShapeError(f"{what}: {len(out)} pairs for {ndim} dimensions")
    return out


def _alone(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 1


def need_float(what: str, *avals: Aval) -> None:
    """Raise DTypeError unless all dtypes are floating."""
    for operand in avals:
        if not dt.is_float(operand.dtype):
            raise DTypeError(
                f"{what} takes floating tensors, not {operand.dtype.name}; convert with .astype"
            )


def real_only(what: str, *tensors: Any) -> None:
    """Raise DTypeError where one of the tensors is complex."""
    if any(dt.is_complex(x.dtype) for x in tensors):
        raise DTypeError(
            f"{what} does not take complex numbers; take their real and imaginary parts"
        )


def same_infer(*avals: Aval, **params: Any) -> tuple[Aval, ...]:
    """One output like the first input."""
    return (avals[0],)


# ---- samples
def draw(rng: np.random.Generator, *shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    """Uniform float64 samples; the tests convert them to the dtype under test."""
    return rng.uniform(low, high, shape)


def ints(rng: np.random.Generator, *shape: int, low: int = 0, high: int = 10) -> np.ndarray:
    """Uniform int64 samples in low..high-1."""
    return rng.integers(low, high, shape, dtype=np.int64)


def shapes_of(
    cases: Iterable[tuple[Any, ...]], *, low: float = -3.0, high: float = 3.0
) -> Callable[[np.random.Generator], Iterator[tuple[list[np.ndarray], dict[str, Any]]]]:
    """A `samples` function from rows (shape, ..., params): one float operand per shape."""
    rows = list(cases)

    def samples(rng: np.random.Generator) -> Iterator[tuple[list[np.ndarray], dict[str, Any]]]:
        for *shapes, params in rows:
            yield [draw(rng, *s, low=low, high=high) for s in shapes], dict(params)

    return samples


def inferred(shape_of: Any) -> Any:
    """The infer rule of a record with one output, from a function of the input shapes."""

    def infer(*avals: Aval, **params: Any) -> tuple[Aval, ...]:
        return (avals[0].with_(shape_of(*[a.shape for a in avals], **params)),)

    return infer
