"""Contiguous copies of device arrays.

Invariant: a copy is made by a kernel in stream order; its elements have the bits of the original.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...core.aval import aval, device
from ...core.shapes import contiguous_strides
from ..op_kernels import copy_kernel
from ..plan import Access
from .array import DeviceArray, address, device_of, empty
from .function import Card, GpuFunction
from .kernels import generate
from .machine.devices import device_state

__all__ = ["contiguous"]


@lru_cache(256)
def _functions(
    dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...], card: Card
) -> list[GpuFunction]:
    target = Access(1, dtype, 0, contiguous_strides(shape))
    return generate(copy_kernel(shape, Access(0, dtype, 0, strides), target), card, 2)


def contiguous(value: DeviceArray) -> DeviceArray:
    """The array itself where it is contiguous and aligned, else a copy that is.

    >>> contiguous(value).flags.c_contiguous  # doctest: +SKIP
    True
    """
    if value.flags.c_contiguous and value.flags.aligned:
        return value
    index, size = device_of(value), value.itemsize
    state = device_state(index)
    dtype, shape, strides = value.dtype, value.shape, value.strides
    if any(stride % size for stride in strides) or not value.flags.aligned:
        # elements lie between others of their size: walk over bytes
        dtype, shape, strides = np.dtype(np.uint8), (*shape, size), (*strides, 1)
        size = 1
    made = empty(aval(value.shape, value.dtype, device(f"cuda:{index}" if index else "cuda")))
    state.enter()
    steps = tuple(stride // size for stride in strides)
    functions = _functions(dtype, shape, steps, state.card)
    loaded = state.modules.load([(f.symbol, f.text, f.shared) for f in functions])
    addresses = (address(value), address(made), 0, state.status.address)
    for function, code in zip(functions, loaded):
        state.start(function, code, addresses)
    return made
