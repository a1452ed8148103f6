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
from ...ir.tensor import Handle
from .join import stack

Tensor = Any


def _dtype(parts: list[Any], like: np.dtype | None) -> np.dtype:
    """What tensors and NumPy data promote to; Python numbers take it, and `like` counts only where
    it is wider."""
    d: np.dtype | None = None
    for v in parts:
        if not is_number(v):
            own = v._a.dtype if isinstance(v, Handle) else dtype_of(data_of(v))
            d = own if d is None else dt.promote(d, own)
    for v in parts:
        if is_number(v):
            d = dtype_of(data_of(v), d)
    assert d is not None  # one part is a tensor
    if like is not None and dt.is_float(d) and dt.promote(like, d) is like:
        return like
    return d


def _stacked(x: Any, d: np.dtype, device: Device) -> Tensor:
    if isinstance(x, (list, tuple)) and holds_tensors(x):
        return stack([_stacked(v, d, device) for v in x])
    return store(x, d, device)


def _copied(x: Any, d: np.dtype) -> np.ndarray:
    if isinstance(x, Handle):
        return rounded(x._v, d)
    if isinstance(x, (list, tuple)) and holds_tensors(x):
        parts = [_copied(v, d) for v in x]
        if len({p.shape for p in parts}) != 1:
            raise ShapeError(
                f"a sequence needs tensors of one shape, not {[p.shape for p in parts]}"
            )
        return np.stack(parts)
    data = data_of(x)
    return stored(data.array, d) if data.weak else rounded(data.array, d)


def _join(x: Any, like: np.dtype | None, cut: bool) -> Tensor:
    parts = list(leaves(x))
    d = _dtype(parts, like)
    tensors = [v for v in parts if isinstance(v, Handle)]
    followed = grad_enabled() and not cut and any(t._node is not None for t in tensors)
    if followed or current_mode() is not None or any(t._a.device is not HOST for t in tensors):
        return _stacked(x, d, tensors[0]._a.device)
    return tensor_of(Data(_copied(x, d), False), d)


use_joiner(_join)
