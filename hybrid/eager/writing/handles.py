"""Helpers of Tensor that work on any handle: reading, broadcasting, copying, finding live views.

Invariant: nothing here changes a handle's value; a mode hears of every read by Python.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np

from ...core.errors import ShapeError
from ...ir.door import bind as door
from ...ir.tensor import Alias

__all__ = [
    "read",
    "read_only",
    "broadcast",
    "followers",
]


def read(handle: Any, kind: str) -> np.ndarray:
    """The value as NumPy, after telling the active mode that Python sees it."""
    mode = door.current_mode()
    if mode is not None:
        mode.on_host_read(handle, kind)
    return door.host_array(handle)


def read_only(value: np.ndarray) -> np.ndarray:
    """A view that nobody can make writable: its base is no array but a read-only buffer."""
    shown: Any = value.view(np.uint16) if value.dtype.kind == "V" else value
    made = np.asarray(memoryview(shown).toreadonly())
    return made if shown is value else made.view(value.dtype)  # bfloat16 is no dtype of buffers


def broadcast(value: Any, shape: tuple[int, ...]) -> Any:
    """A value under another shape, or a ShapeError."""
    if len(value._a.shape) > len(shape) or any(
        a not in (1, b) for a, b in zip(value._a.shape[::-1], shape[::-1])
    ):
        raise ShapeError(
            f"a value of shape {value._a.shape} does not fit a tensor of shape {shape}"
        )
    return value.broadcast_to(shape).clone()


def _references(objects: list[Any]) -> list[int]:
    """Reference counts of the elements of a list."""
    return [sys.getrefcount(x) for x in objects]


_LISTED = _references([object()])[0]  # the count of what only a list holds


def followers(alias: Alias) -> list[Any]:
    """The views of a base that somebody can still read: not those that only a mode keeps."""
    views = alias.live_views()
    mode = door.current_mode()
    if mode is None or not views:
        return views
    counts = _references(views)
    views = [v for v, n in zip(views, counts) if n - _LISTED > mode.holds(v)]
    alias.views = [weakref.ref(v) for v in views]
    return views
