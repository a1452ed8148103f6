"""What a program can see of NumPy data, as a key of plain values.

Invariant: two arrays, scalars or dtypes with equal keys cannot be told apart by a program, except
by identity and address; data that no key describes gives a reason instead (`unseen`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .allowlist import plain

__all__ = ["array_key", "dtype_key", "scalar_key", "unseen", "ARRAY_FIELDS"]

# Attributes of an array that say nothing but what its key says; others give addresses or owners.
FIELDS = "T dtype flags flat imag itemsize mT nbytes ndim real shape size strides"
ARRAY_FIELDS = frozenset(FIELDS.split())


def dtype_key(d: np.dtype[Any]) -> Any:
    """A dtype with its unit, byte order, fields (names, titles, offsets), alignment, metadata."""
    if d.names is None and d.subdtype is None and not d.metadata:
        return d.str, d.byteorder, d.num, d.type.__name__
    inner = None if d.subdtype is None else (dtype_key(d.subdtype[0]), d.subdtype[1])
    fields = () if d.names is None else tuple([(n, *_field(d, n)) for n in d.names])
    return d.str, d.itemsize, d.alignment, d.isalignedstruct, inner, fields, _metadata(d)


def _field(d: np.dtype[Any], name: str) -> tuple[Any, ...]:
    f: Any = d.fields
    inner, offset, *title = f[name]
    return dtype_key(inner), offset, *map(_value, title)


def _value(v: Any) -> Any:
    """A plain value by type and text; anything else equals nothing, not even itself later."""
    return (type(v).__name__, repr(v)) if plain(v) else object()


def _metadata(d: np.dtype[Any]) -> Any:
    return tuple([(_value(k), _value(v)) for k, v in (d.metadata or {}).items()])


def array_key(a: Any) -> tuple[Any, ...]:
    """An array: dtype, shape, memory layout, flags, content (the array must be `seen`)."""
    return dtype_key(a.dtype), a.shape, a.strides, a.flags.num, a.tobytes()


def scalar_key(x: Any) -> tuple[Any, ...]:
    """A NumPy scalar: dtype and content."""
    return dtype_key(x.dtype), x.tobytes()


def unseen(x: Any) -> str:
    """Why the key of an array or NumPy scalar would not describe it, or nothing."""
    if x.dtype.hasobject:
        return "a NumPy array of objects, whose content cannot be followed"
    return ""
