"""Stores into arrays at the commit, which nothing may keep from being done.

Invariant: what NumPy could refuse or warn of is tried on a copy before the call, or cannot happen
with any value of the types that there are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ....core.aval import Aval
from ....ir.door.foreign import is_lent
from ...follow.terms import (
    Collection,
    Constant,
    HostRead,
    Made,
    Operation,
    WrittenArray,
    kind_of,
    parts,
)

__all__ = ["Reads", "apart", "late_store", "shape_of", "stand_in", "tried", "unlent"]


class Reads(Protocol):
    """What is known of the reads of tensors."""

    def followed(self, read: HostRead) -> Any:
        """The recipe of the value that a read gave."""

    def record(self, read: HostRead) -> Aval:
        """The record of the tensor that was read."""


SMALL = 4096  # bytes of an array that is copied to try a store
_WRAPS = int(np.__version__.split(".")[0]) < 2  # integers that are too large, with a warning
_BASIC = (int, slice, type(Ellipsis), type(None))
_ARITHMETIC = ("+", "-", "*", "/", "neg", "abs", "float")


def trial(array: Any, key: Any, value: Any) -> Any:
    """Store a value where an array is not changed by it; an error where the store would fail."""
    dtype: np.dtype = array.dtype
    if _WRAPS and type(value) is int and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            raise OverflowError(value)
    parts_of_key = key if type(key) is tuple else (key,)
    basic = all(type(p) in _BASIC or isinstance(p, np.integer) for p in parts_of_key)
    if array.nbytes <= SMALL or not basic:
        copied = array.copy()
        copied[key] = value
        return copied
    part = array[key]
    cell = np.empty(part.shape, array.dtype)
    cell[...] = value
    return cell


def _steady(term: Any) -> bool:
    """Whether the type of what NumPy computes depends on nothing but the types of what it gets."""
    if type(term) is not Made:
        return True
    chosen = any(term.function is chooser for chooser in (min, max, sum, round))
    return not chosen and all(map(_steady, term.operands))


def _positions(key: Any) -> bool:
    """Whether the part of an array that a key takes has one shape, wherever it is."""
    if type(key) is Collection:
        return key.type is tuple and all(map(_positions, key.items))
    if type(key) is Made and key.function is slice:
        return all(type(leaf) is Constant for leaf in parts(key))
    plain = type(key) is Constant and (type(key.value) in _BASIC or type(key.value) is tuple)
    return plain or kind_of(key) is int


def tried(array: Any, key: Any, where: Any, value: Any, what: Any) -> Any:
    """The function and operands whose evaluation says that a store does not fail; `where` and
    `what`: the terms of its key and value."""
    state, kind = WrittenArray(array, 0), type(value)
    fits = np.can_cast(kind, array.dtype, "safe") if issubclass(kind, np.generic) else None
    fits = fits or kind is bool or (kind is float and array.dtype == np.float64)
    known = _steady(what) and kind_of(what) is kind
    if type(what) is Constant and type(what.value) is np.ndarray and _positions(where):
        return Made(operator.getitem, (state, where), np.ndarray)  # of known shapes
    if not fits or not known or isinstance(array[key], np.ndarray):
        return Made(trial, (state, where, what), np.ndarray)
    return Made(operator.getitem, (state, where), array.dtype.type)  # only the index may fail


def unlent(array: Any) -> bool:
    """Whether no tensor shares the memory of an array; an error where one may."""
    if is_lent(array):
        raise ValueError("shared memory")
    return True


def apart(array: Any, given: Any) -> bool:
    """Whether two arrays share no memory; an error where they may."""
    if np.may_share_memory(array, given):
        raise ValueError("shared memory")
    return True


def shape_of(record: Aval | type) -> Any:
    """A value that is stored as those of this kind are."""
    return record(0) if isinstance(record, type) else np.zeros(record.shape, record.dtype)


def stand_in(key: Any) -> Any:
    """A key with 0 in the place of indices that are read from tensors, which are in range."""
    if type(key) is Collection:
        return key._replace(items=tuple(map(stand_in, key.items)))
    return Constant(0) if type(key) is HostRead else key


def late_store(
    dtype: np.dtype, value: Any, term: Any, record: Callable[[HostRead], Aval]
) -> Aval | type | None:
    """What stands for a value read from tensors which is stored into an array of a dtype; None
    where that may fail, or lose what NumPy warns of, for some values."""
    kind: Any = type(value)
    if type(term) is HostRead:
        given = record(term)
        whole = term.how != "int()" or given.dtype.kind in "biu"
        if whole and np.can_cast(given.dtype, dtype, "safe"):
            if kind in (int, float, bool):
                return kind  # type: ignore[no-any-return]
            if kind is np.ndarray and term.how == ".numpy()":
                return given
    elif type(term) is Made and issubclass(kind, np.generic):
        if np.can_cast(kind, dtype, "safe"):
            return kind  # type: ignore[no-any-return]
    elif kind is bool and kind_of(term) is bool:
        return bool
    elif kind is float and dtype == np.float64 and _is_float(term, record):
        return float
    return None


def _is_float(term: Any, record: Callable[[HostRead], Aval]) -> bool:
    """Whether arithmetic gives a float for all values of what it reads."""
    if type(term) is HostRead:
        return term.how == "float()" or record(term).dtype.kind not in "biu"
    if type(term) is not Operation:
        return kind_of(term) is float
    if term.symbol == "float" or term.symbol == "/":
        return True
    late = [t for t in term.operands if any(type(leaf) is HostRead for leaf in parts(t))]
    return term.symbol in _ARITHMETIC and all(_is_float(t, record) for t in late)
