"""Nested sequences with tensors in them as one tensor: [x, [1.0, y]].

Invariant: recorded or on the tape they are joined by `stack`; values that neither a recorder nor a
gradient follows are copied by NumPy, with the same bits and without a kernel for each length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Device
from ...core.errors import ShapeError
from ...ir.door.bind import current_mode, grad_enabled, store, tensor_of, use_joiner
from ...ir.door.foreign import (
    Data,
    data_of,
    dtype_of,
    holds_tensors,
    is_number,
    leaves,
    rounded,
    stored,
)
from ...ir.door.pending import value_of
from ...ir.tensor import Handle
from .join import stack

Tensor = Any


def _dtype(parts: list[Any], like: np.dtype | None) -> np.dtype:
    """What tensors and NumPy data promote to; Python numbers take it, and `like` counts only where
    it is wider."""
    dtype: np.dtype | None = None
    for part in parts:
        if not is_number(part):
            own = part._a.dtype if isinstance(part, Handle) else dtype_of(data_of(part))
            dtype = own if dtype is None else dt.promote(dtype, own)
    for part in parts:
        if is_number(part):
            dtype = dtype_of(data_of(part), dtype)
    assert dtype is not None  # one part is a tensor
    if like is not None and dt.is_float(dtype) and dt.promote(like, dtype) is like:
        return like
    return dtype


def _stacked(operand: Any, dtype: np.dtype, device: Device) -> Tensor:
    if isinstance(operand, (list, tuple)) and holds_tensors(operand):
        return stack([_stacked(v, dtype, device) for v in operand])
    return store(operand, dtype, device)


def _copied(operand: Any, dtype: np.dtype) -> np.ndarray:
    if isinstance(operand, Handle):
        return rounded(value_of(operand), dtype)
    if isinstance(operand, (list, tuple)) and holds_tensors(operand):
        parts = [_copied(v, dtype) for v in operand]
        if len({p.shape for p in parts}) != 1:
            raise ShapeError(
                f"a sequence needs tensors of one shape, not {[p.shape for p in parts]}"
            )
        return np.stack(parts)
    data = data_of(operand)
    return stored(data.array, dtype) if data.weak else rounded(data.array, dtype)


def _join(operand: Any, like: np.dtype | None, cut: bool) -> Tensor:
    parts = list(leaves(operand))
    dtype = _dtype(parts, like)
    tensors = [v for v in parts if isinstance(v, Handle)]
    followed = grad_enabled() and not cut and any(t._node is not None for t in tensors)
    if followed or current_mode() is not None or any(t._a.device is not HOST for t in tensors):
        return _stacked(operand, dtype, tensors[0]._a.device)
    return tensor_of(Data(_copied(operand, dtype), False), dtype)


use_joiner(_join)
