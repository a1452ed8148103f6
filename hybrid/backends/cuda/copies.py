"""Contiguous copies of device arrays.

Invariant: a copy is made by a kernel in stream order; its elements have the bits of the original.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.aval import aval, device
from ...core.cache import keep
from ...core.shapes import contiguous_strides
from ..op_kernels import copy_kernel
from ..plan import Access
from .array import DeviceArray, device_of
from .launch.caller import FreshResult, make_caller
from .launch.prepare import prepare
from .launch.refused import RefusedLaunch
from .machine.devices import DeviceState, device_state

__all__ = ["contiguous"]

_COPIERS = 256  # functions kept per device


def contiguous(value: DeviceArray) -> DeviceArray:
    """The array itself where it is contiguous and aligned, else a copy that is.

    >>> contiguous(value).flags.c_contiguous  # doctest: +SKIP
    True
    """
    flags = value.flags
    if flags.c_contiguous and flags.aligned:
        return value
    state = device_state(device_of(value))
    key = value.dtype, value.shape, value.strides, flags.aligned
    copied: Callable[[Any], DeviceArray] | None = state.copiers.get(key)
    if copied is None:
        copied = keep(state.copiers, key, _copier(state, *key), _COPIERS)
    return copied(value)


def _copier(
    state: DeviceState,
    dtype: np.dtype,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    aligned: bool,
) -> Callable[[Any], DeviceArray]:
    """The native function that copies arrays of one layout."""
    size = dtype.itemsize
    made = aval(shape, dtype, device(f"cuda:{state.index}"))
    if any(stride % size for stride in strides) or not aligned:
        # elements lie between others of their size: walk over bytes
        dtype, shape, strides, size = np.dtype(np.uint8), (*shape, size), (*strides, 1), 1
    source = Access(0, dtype, 0, tuple(stride // size for stride in strides))
    target = Access(1, dtype, 0, contiguous_strides(shape))
    ready = prepare([copy_kernel(shape, source, target)], state, 2)
    again: list[Callable[..., Any]] = []
    call = make_caller(
        ready.starts,
        1,
        [FreshResult(made, state.pool.source_of(made.nbytes))],
        state.record,
        DeviceArray,
        refused=RefusedLaunch("copy", state, lambda *arrays: again[0](*arrays)),
        keep=ready.kept,
    )
    again.append(call)
    return call
