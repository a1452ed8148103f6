"""Sorted lines, stable orders and distinct values of NumPy's arrays, by its sorts of vectors.

Invariant: NaN is the largest and all NaN are equal, as both zeros are; equal elements stay in their
order, although NumPy's fast sorts keep none: positions are part of what they sort.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt

__all__ = [
    "plain",
    "order_of",
    "sorted_lines",
    "Distinct",
    "distinct",
    "distinct_numbers",
    "starts_of",
]

_FEW = 1500  # elements that NumPy's stable sort puts in order sooner
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_TOP = np.uint32(0x80000000)


def plain(operand: np.ndarray) -> np.ndarray:
    """Half types as float32, which NumPy sorts natively with NaN last."""
    return operand.astype(np.float32) if dt.is_half(dt.canonical(operand.dtype)) else operand


# ---- orders
def order_of(operand: np.ndarray, axis: int, descending: bool = False) -> np.ndarray:
    """Positions that sort each line along an axis; descending keeps equal elements in their order
    too."""
    values = np.moveaxis(plain(operand), axis, -1)
    extent = values.shape[-1]
    # NumPy's stable sort of 8 and 16 bits goes by digits
    quick = values.dtype.itemsize > 2 and values.size > _FEW and extent <= _LOW
    keys = _keys(values) if quick else None
    if keys is not None:
        order = _by_keys(~keys if descending else keys)
    elif not descending:
        order = _stable(values)
    else:
        order = extent - 1 - np.flip(_stable(np.flip(values, -1)), -1)
    return np.moveaxis(order, -1, axis)


def _keys(values: np.ndarray) -> np.ndarray | None:
    """Numbers of 32 bits that are ordered as the values are; None where they need more."""
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    if kind == "f":
        return _keys_of_floats(values) if bits == 32 else None
    if bits < 64:
        return values if kind == "u" else values.view(np.uint32) ^ _TOP
    least = values.min()
    if int(values.max()) - int(least) > int(_LOW):
        return None
    keys: np.ndarray = (values - least).astype(np.uint32)
    return keys


def _keys_of_floats(values: np.ndarray) -> np.ndarray:
    values = values + np.float32(0)  # one zero
    bits = values.view(np.uint32)
    keys = bits ^ ((bits.view(np.int32) >> np.int32(31)).view(np.uint32) | _TOP)
    keys[np.isnan(values)] = _LOW
    return keys


def _by_keys(keys: np.ndarray) -> np.ndarray:
    """Positions by keys of 32 bits, equal ones by position: each pair is sorted as one number."""
    pairs = keys.astype(np.uint64)
    pairs <<= _HALF
    pairs |= np.arange(keys.shape[-1], dtype=np.uint64)
    return _positions(pairs)


def _positions(pairs: np.ndarray) -> np.ndarray:
    pairs.sort(axis=-1)
    pairs &= _LOW
    return pairs.view(np.int64)


def _stable(values: np.ndarray) -> np.ndarray:
    if values.dtype.itemsize < 8 or values.size <= _FEW or values.shape[-1] > _LOW:
        return np.argsort(values, axis=-1, kind="stable")
    order = np.argsort(values, axis=-1)
    starts = starts_of(_taken(values, order), nans=False)
    if starts.all():
        return order
    runs = np.cumsum(starts, axis=-1, dtype=np.uint64)
    runs <<= _HALF
    runs |= order.view(np.uint64)
    return _positions(runs)


def _taken(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return values[order] if values.ndim == 1 else np.take_along_axis(values, order, -1)


def starts_of(ranked: np.ndarray, nans: bool) -> np.ndarray:
    """Where another value begins in sorted lines; `nans`: with each NaN."""
    starts = np.ones(ranked.shape, np.bool_)
    np.not_equal(ranked[..., 1:], ranked[..., :-1], out=starts[..., 1:])
    if not nans and ranked.dtype.kind == "f" and ranked.size and np.isnan(ranked[..., -1]).any():
        starts[..., 1:] &= ~np.isnan(ranked[..., :-1])
    return starts


# ---- values
def sorted_lines(operand: np.ndarray, axis: int, descending: bool = False) -> np.ndarray:
    """The elements of each line in their order, of the operand's dtype."""
    values = plain(operand)
    made = np.sort(values, axis=axis)
    if descending:
        made = np.flip(made, axis)
    if made.dtype.kind == "f":
        zeros = values == 0
        if np.signbit(values[zeros]).any():
            lines = np.moveaxis(made if made.flags.writeable else made.copy(), axis, -1)
            lines[lines == 0] = np.moveaxis(values, axis, -1)[np.moveaxis(zeros, axis, -1)]
    return made.astype(operand.dtype, copy=False)


class Distinct(NamedTuple):
    """Values in order; what was not asked for is None."""

    values: np.ndarray
    first: np.ndarray | None
    inverse: np.ndarray | None
    counts: np.ndarray | None


def distinct(
    ordered: np.ndarray,
    order: np.ndarray | None,
    shape: tuple[int, ...],
    asked: tuple[bool, bool, bool],
    equal_nan: bool,
) -> Distinct:
    """Of sorted elements, and their order in a given shape, the distinct values; as far as asked
    their first positions, the positions of all elements among the values, how often each occurs."""
    first, inverse, counts = asked
    starts = starts_of(plain(ordered), nans=not equal_nan)
    number: Any = None
    if inverse:
        number = np.empty(ordered.size, np.int64)
        number[order] = np.cumsum(starts) - 1
        number = number.reshape(shape)
    return Distinct(
        ordered[starts],
        order[starts] if first and order is not None else None,
        number,
        _lengths(starts) if counts else None,
    )


def _lengths(starts: np.ndarray) -> np.ndarray:
    return np.diff(np.concatenate([np.flatnonzero(starts), [starts.size]]))


def distinct_numbers(
    given: np.ndarray, asked: tuple[bool, bool, bool], equal_nan: bool
) -> Distinct:
    """The same of complex numbers, as NumPy orders them."""
    unique: Any = np.unique
    found = unique(given, *asked, equal_nan=equal_nan)
    parts = iter(found if isinstance(found, tuple) else (found,))
    values = next(parts)
    first, inverse, counts = [next(parts) if wanted else None for wanted in asked]
    return Distinct(
        values, first, inverse if inverse is None else inverse.reshape(given.shape), counts
    )
