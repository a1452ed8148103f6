"""Abstract values: the interned (shape, dtype, device) record of a tensor.

Invariant: equal records are one object, so that `a is b` decides equality everywhere; a record that
nobody holds goes.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .errors import DeviceError, ShapeError, shape_text
from .spelling import DEVICES

__all__ = [
    "Aval",
    "Device",
    "HOST",
    "aval",
    "device",
    "is_device",
    "is_kind",
    "use_kinds",
]


MAX_AXES = 64  # as many as NumPy's arrays have


class Device(str):
    """A place where arrays live: the name of a kind of device, and a number after a colon where
    there are several; interned by name.

    It equals its name and other spellings of it (number 0 is the same as none); as a key of a dict
    it is found by its name only.

    >>> import hybrid
    >>> hybrid.device("cpu") == "cpu", hybrid.device("cpu:0") == "cpu", hybrid.device("cpu:1").index
    (True, True, 1)
    """

    __slots__ = ("name", "kind", "index")
    name: str
    kind: str
    index: int  # type: ignore[assignment]

    def __new__(cls, name: str) -> Device:
        """The one object of that name; `device` is the public spelling."""
        return device(name)

    @property
    def type(self) -> str:
        """The kind of device, without the number.

        >>> import hybrid
        >>> hybrid.device("cpu:1").type
        'cpu'
        """
        return self.kind

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, str) and str.__eq__(self, _spelled(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __repr__(self) -> str:
        return self.name

    def __copy__(self) -> Device:
        return self

    def __deepcopy__(self, memo: Any) -> Device:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.name,)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


def _spelled(name: str) -> str:
    """The name without the number 0."""
    return name.removesuffix(":0")


class Aval:
    """Shape (tuple of int), canonical dtype and Device of a value, with size and nbytes at hand.

    Raises ShapeError for more than 64 axes or more bytes than an int64 counts.

    >>> import hybrid
    >>> hybrid.Aval((2, 3), hybrid.float32, hybrid.device()).nbytes
    24
    """

    __slots__ = ("shape", "dtype", "device", "ndim", "size", "nbytes", "__weakref__")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, device: Device) -> None:
        # checked once for each record, and so for each shape there is, not for each tensor
        if len(shape) > MAX_AXES:
            raise ShapeError(f"a tensor has at most {MAX_AXES} axes, not {len(shape)}")
        # an axis of size 0 does not excuse the others: their strides are counted in bytes
        if dtype.itemsize * prod([extent or 1 for extent in shape]) >= 1 << 63:
            raise ShapeError(
                f"shape {shape_text(shape)} of {dtype.name} takes more bytes than an int64 counts"
            )
        self.shape, self.dtype, self.device = shape, dtype, device
        self.ndim, self.size = len(shape), prod(shape)
        self.nbytes = self.size * dtype.itemsize

    def __repr__(self) -> str:
        extents = "x".join(map(str, self.shape))
        suffix = "" if self.device is HOST else f"@{self.device.name}"
        return f"{self.dtype.name}[{extents}]{suffix}"

    def with_(self, shape: tuple[int, ...] | None = None, dtype: np.dtype | None = None) -> Aval:
        """The same record with another shape or dtype.

        >>> import hybrid
        >>> hybrid.Aval((2, 3), hybrid.float32, hybrid.device()).with_(shape=(6,))
        float32[6]
        """
        return aval(
            self.shape if shape is None else shape,
            self.dtype if dtype is None else dtype,
            self.device,
        )


Key = tuple[tuple[int, ...], np.dtype, Device]

_DEVICES: dict[str, Device] = {}
_AVALS: dict[Key, _Interned] = {}
_LOCK = threading.RLock()  # re-entrant: a record may die while another is made


class _Interned(weakref.ref[Aval]):
    """A weak reference to a record that knows its place in the table: weak, so that shapes that a
    program went through take no memory; with the key, as the record is gone when it is called."""

    __slots__ = ("key",)
    key: Key


def _dead(reference: _Interned) -> None:
    with _LOCK:
        # an equal record may have taken the place between the death and this call
        if _AVALS.get(reference.key) is reference:
            del _AVALS[reference.key]


def _new_lock() -> None:
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)  # another thread may have held it


class _Kinds:
    """Where the kinds of devices come from, besides the one that is always there."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: Callable[[], Sequence[str]] = tuple  # none so far


_KINDS = _Kinds()


def use_kinds(kinds: Callable[[], Sequence[str]]) -> None:
    """Tell where the kinds of devices come from: what has a backend."""
    _KINDS.known = kinds


def is_kind(text: str) -> bool:
    """Whether a text names a kind of device: one that has a backend, or has one elsewhere."""
    return text in DEVICES or text in _KINDS.known()


def is_device(text: Any) -> bool:
    """Whether a text names a device: a kind, or anything with a number after a colon.

    >>> is_device("cpu"), is_device("cpu:1"), is_device("float32"), is_device(None)
    (True, True, False, False)
    """
    if not isinstance(text, str):
        return False
    kind, colon, number = text.partition(":")
    return is_kind(kind) or (bool(colon) and number.isdigit())


def device(name: str | Device | None = None) -> Device:
    """The interned Device of that name (None: the default one); number 0 is the same as none.

    Raises DeviceError for what is no name of a device; whether there is one of that kind shows when
    it is used.

    >>> import hybrid
    >>> hybrid.device("cpu") is hybrid.device("cpu:0") is hybrid.device()
    True
    """
    if isinstance(name, Device):
        return name
    if name is None:
        return HOST
    if not isinstance(name, str):
        raise DeviceError(f"a device is a name like {HOST.name!r}, not a {type(name).__name__}")
    name = _spelled(name)
    found = _DEVICES.get(name)
    # setdefault is one step for all threads: of two that make the device, both get the first
    return found if found is not None else _DEVICES.setdefault(name, _make(name))


def _make(name: str) -> Device:
    result = str.__new__(Device, name)
    result.name = name
    result.kind, separator, index = name.partition(":")
    if not result.kind.isidentifier() or (separator and not (index.isascii() and index.isdigit())):
        raise DeviceError(f"a device is a name like {HOST.name!r} or '{HOST.name}:1', not {name!r}")
    result.index = int(index or 0)
    return result


# The default device, whose values are host arrays: the one place where its name is written.
HOST = device("cpu")


def aval(shape: tuple[int, ...], dtype: np.dtype, device: Device = HOST) -> Aval:
    """The interned record; `shape` must be a tuple of Python ints and `dtype` canonical."""
    # read without the lock, as a dict's get is one step; only a new record takes it and looks again
    key = (shape, dtype, device)
    reference = _AVALS.get(key)
    found = None if reference is None else reference()
    return found if found is not None else _intern(key)


def _intern(key: Key) -> Aval:
    with _LOCK:
        reference = _AVALS.get(key)
        found = None if reference is None else reference()
        if found is None:
            found = Aval(*key)
            reference = _Interned(found, _dead)
            reference.key = key
            _AVALS[key] = reference
        return found
