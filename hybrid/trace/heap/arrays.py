"""What a program can see of NumPy data, as a key of plain values.

Invariant: two arrays, scalars or dtypes with equal keys cannot be told apart by a program, except
by identity and address; data that no key describes gives a reason instead (`unseen`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .allowlist import plain

__all__ = ["array_form", "array_key", "dtype_key", "scalar_key", "unseen", "ARRAY_FIELDS"]

# Attributes of an array that say nothing but what its key says; others give addresses or owners.
FIELDS = "T dtype flags flat imag itemsize mT nbytes ndim real shape size strides"
ARRAY_FIELDS = frozenset(FIELDS.split())


def dtype_key(dtype: np.dtype[Any]) -> Any:
    """A dtype with its unit, byte order, fields (names, titles, offsets), alignment, metadata."""
    if dtype.names is None and dtype.subdtype is None and not dtype.metadata:
        return dtype.str, dtype.byteorder, dtype.num, dtype.type.__name__
    inner = None if dtype.subdtype is None else (dtype_key(dtype.subdtype[0]), dtype.subdtype[1])
    fields = () if dtype.names is None else tuple([(n, *_field(dtype, n)) for n in dtype.names])
    return (
        dtype.str,
        dtype.itemsize,
        dtype.alignment,
        dtype.isalignedstruct,
        inner,
        fields,
        _metadata(dtype),
    )


def _field(dtype: np.dtype[Any], name: str) -> tuple[Any, ...]:
    fields: Any = dtype.fields
    inner, offset, *title = fields[name]
    return dtype_key(inner), offset, *map(_value, title)


def _value(value: Any) -> Any:
    """A plain value by type and text; anything else equals nothing, not even itself later."""
    return (type(value).__name__, repr(value)) if plain(value) else object()


def _metadata(dtype: np.dtype[Any]) -> Any:
    return tuple([(_value(k), _value(v)) for k, v in (dtype.metadata or {}).items()])


def array_form(array: Any) -> tuple[Any, ...]:
    """An array but for its content: dtype, shape, memory layout, flags."""
    return dtype_key(array.dtype), array.shape, array.strides, array.flags.num


def array_key(array: Any) -> tuple[Any, ...]:
    """An array: dtype, shape, memory layout, flags, content (the array must be `seen`)."""
    return *array_form(array), array.tobytes()


def scalar_key(scalar: Any) -> tuple[Any, ...]:
    """A NumPy scalar: dtype and content."""
    return dtype_key(scalar.dtype), scalar.tobytes()


def unseen(value: Any) -> str:
    """Why the key of an array or NumPy scalar would not describe it, or nothing."""
    if value.dtype.hasobject:
        return "a NumPy array of objects, whose content cannot be followed"
    return ""
