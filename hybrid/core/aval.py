"""Abstract values: the interned (shape, dtype, device) record of a tensor.

Invariant: equal records are one object, so that `a is b` decides equality everywhere.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .errors import DeviceError

__all__ = ["Aval", "Device", "aval", "device", "find_aval"]


class Device:
    """A place where arrays live, e.g. ``cpu`` or ``cuda:0``; interned by name."""

    __slots__ = ("name", "kind", "index")

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind, _, index = name.partition(":")
        self.index = int(index or 0)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.name,)


class Aval:
    """Shape (tuple of int), canonical dtype and Device of a value, with size and nbytes at hand."""

    __slots__ = ("shape", "dtype", "device", "ndim", "size", "nbytes", "__weakref__")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, dev: Device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, dev
        self.ndim, self.size = len(shape), prod(shape)
        self.nbytes = self.size * dtype.itemsize

    def __repr__(self) -> str:
        dims = "x".join(map(str, self.shape))
        where = "" if self.device.name == "cpu" else f"@{self.device.name}"
        return f"{self.dtype.name}[{dims}]{where}"

    def with_(self, shape: tuple[int, ...] | None = None, dtype: np.dtype | None = None) -> Aval:
        """The same record with another shape or dtype."""
        return aval(
            self.shape if shape is None else shape,
            self.dtype if dtype is None else dtype,
            self.device,
        )


_DEVICES: dict[str, Device] = {}
_AVALS: dict[tuple[Any, ...], Aval] = {}
# (shape, dtype, device) -> the interned record if there is one; any equal dtype object will do
find_aval = _AVALS.get


def device(name: str | Device = "cpu") -> Device:
    """The interned Device of that name; ``cuda`` means ``cuda:0``, ``cpu:0`` means ``cpu``.

    >>> device("cpu") is device("cpu:0")
    True
    """
    if isinstance(name, Device):
        return name
    if not isinstance(name, str):
        raise DeviceError(f"a device is a name like 'cpu', not a {type(name).__name__}")
    name = "cuda:0" if name == "cuda" else "cpu" if name == "cpu:0" else name
    got = _DEVICES.get(name)
    return got if got is not None else _DEVICES.setdefault(name, Device(name))


CPU = device("cpu")


def aval(shape: tuple[int, ...], dtype: np.dtype, dev: Device = CPU) -> Aval:
    """The interned record; `shape` must be a tuple of Python ints and `dtype` canonical."""
    key = (shape, dtype, dev)
    got = _AVALS.get(key)
    return got if got is not None else _AVALS.setdefault(key, Aval(shape, dtype, dev))
