"""Arrays of other libraries that are not in the host's memory, as tensors where they are, and what
other libraries ask of a tensor by DLPack.

Invariant: nothing is copied to another device.  Only objects that say by DLPack or by an array
interface where they are get here, and a backend is asked for what DLPack has and for no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.aval import aval
from ...core.dtypes import canonical
from ...core.errors import ArgumentError, value_text
from ...core.spelling import EXCHANGED, INTERFACES
from ..tensor import RUNTIME, Handle, new_handle
from .context import LOCAL, aside
from .pending import value_of

__all__ = ["exchanged", "take_over", "capsule_of"]

_HOST = (list, tuple, str, bytes, bool, int, float, np.ndarray, np.generic, Handle)


def exchanged(given: Any) -> str | None:
    """The kind of device that a foreign array is on; None for what has host memory or is none."""
    if isinstance(given, _HOST):
        return None
    where = getattr(type(given), "__dlpack_device__", None)
    if where is not None:
        return EXCHANGED.get(int(where(given)[0]))
    for name, kind in INTERFACES.items():
        if hasattr(given, name):
            return kind
    return None


def take_over(given: Any, kind: str, copy: bool) -> Any:
    """A tensor of a foreign array on a device of that kind, sharing its memory unless copied."""
    if LOCAL.mode is not None:
        LOCAL.mode.on_effect("takes an array of another library")
    assert RUNTIME.backend is not None
    value, device = aside(RUNTIME.backend(kind).imported, given, copy)
    return new_handle(value, aval(value.shape, canonical(value.dtype), device))


def capsule_of(x: Any, stream: Any, max_version: Any, dl_device: Any, copy: Any) -> Any:
    """A DLPack capsule of a tensor's value, after telling the active mode that it is seen."""
    asked = {
        "stream": _number("stream", stream),
        "max_version": _pair("max_version", max_version, "the major and the minor number"),
        "dl_device": _pair("dl_device", dl_device, "the type and the number of a device"),
        "copy": copy,
    }
    if not (copy is None or isinstance(copy, bool)):
        raise ArgumentError(f"__dlpack__: copy is {value_text(copy)}: it takes None, True or False")
    if LOCAL.mode is not None:
        LOCAL.mode.on_host_read(x, "DLPack")
    assert RUNTIME.backend is not None
    device = x._a.device
    backend = RUNTIME.backend(device.kind)
    given = {name: value for name, value in asked.items() if value is not None}
    return aside(lambda: backend.dlpack(value_of(x), device, **given))


def _number(name: str, given: Any) -> Any:
    if given is None or _whole(given):
        return given
    raise ArgumentError(f"__dlpack__: {name} is {value_text(given)}: it takes None or an integer")


def _pair(name: str, given: Any, parts: str) -> Any:
    if given is None:
        return None
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(map(_whole, given)):
        return tuple(map(int, given))  # DLDeviceType is often an enumeration
    raise ArgumentError(
        f"__dlpack__: {name} is {value_text(given)}: it takes None or a tuple of two integers, "
        f"{parts}"
    )


def _whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)
