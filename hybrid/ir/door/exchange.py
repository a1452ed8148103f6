"""Arrays of other libraries that are not in the host's memory, as tensors where they are.

Invariant: nothing is copied to another device, and only objects that say by DLPack or by an array
interface where they are get here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.aval import aval
from ...core.dtypes import canonical
from ...core.spelling import EXCHANGED, INTERFACES
from ..tensor import RUNTIME, Handle, new_handle
from .context import LOCAL, aside

__all__ = ["exchanged", "take_over"]

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
