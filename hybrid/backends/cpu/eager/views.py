"""Views and placements: the ops that only say where elements are.

Invariant: a view result shares memory with its input or is a fresh copy; inputs are never written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ....core.aval import Aval
from ....core.cache import keep
from ....core.errors import BackendError
from ....core.shapes import contiguous_strides
from ....ir.op import Op
from ..machine import alloc
from .viewer import make_viewer

__all__ = ["Arrays", "view", "place"]

Ints = tuple[int, ...]
Kernel = Callable[..., Any]
_STRIDES_LIMIT = 64


class Arrays(NamedTuple):
    """What views of some memory are made with: the functions of native code (None: of the host's
    arrays), a fresh array, a contiguous one of another's elements."""

    functions: Any
    empty: Callable[[Aval], np.ndarray]
    contiguous: Callable[[Any], np.ndarray]


_HOST = Arrays(None, lambda aval: np.empty(aval.shape, aval.dtype), np.ascontiguousarray)


def view(
    op: Op,
    params: dict[str, Any],
    inputs: tuple[Aval, ...],
    outputs: tuple[Aval, ...],
    arrays: Arrays = _HOST,
) -> Kernel:
    """Kind view: the same memory where the layout allows, else a view of a contiguous copy."""
    layout = op.layout
    if layout is None:
        raise BackendError(f"view op {op.name} has no layout")
    source, target = inputs[0], outputs[0]
    itemsize, width = source.dtype.itemsize, target.dtype.itemsize
    if source.size == 0 or target.size == 0:
        return lambda array: arrays.empty(target)

    def viewer(strides: Ints, fallback: Kernel | None = None) -> Kernel | None:
        placed = layout(source, strides, 0, **params)
        if placed is None:
            return None
        offset, steps = placed
        nbytes = tuple(s * width for s in steps)
        return make_viewer(target, offset * width, nbytes, fallback, arrays.functions)

    def of_strides(nbytes: Ints) -> Kernel:
        whole = not any(s % itemsize for s in nbytes)
        return (viewer(tuple(s // itemsize for s in nbytes)) if whole else None) or copy_first

    known: dict[Ints, Kernel] = {}

    def other(array: np.ndarray) -> Any:
        """Arrays that are not C-contiguous: one viewer for each tuple of strides."""
        viewed = known.get(array.strides)
        if viewed is None:
            viewed = keep(known, array.strides, of_strides(array.strides), _STRIDES_LIMIT)
        return viewed(array)

    def copy_first(array: np.ndarray) -> Any:
        return call(arrays.contiguous(array))

    call: Any = viewer(contiguous_strides(source.shape), other)
    if call is None:
        raise BackendError(f"view op {op.name} has no layout even for contiguous elements")
    return call  # type: ignore[no-any-return]


def place(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    """Kind place: operands copied into regions of a fresh output.

    The layout gives one region (offset, shape, strides) per operand.  Fact 'base': the first
    operand has none and fills the output before; fact 'zeros': zeros do.
    """
    layout = op.layout
    if layout is None:
        raise BackendError(f"place op {op.name} has no layout")
    target, itemsize = outputs[0], outputs[0].dtype.itemsize
    regions = [
        (o * itemsize, tuple(sh), tuple(s * itemsize for s in st))
        for o, sh, st in layout(*inputs, **params)
    ]
    first = int(op.has("base"))
    if len(regions) + first != len(inputs):
        raise BackendError(
            f"place op {op.name} has {len(regions)} regions for {len(inputs)} operands"
        )
    live = [(k + first, r) for k, r in enumerate(regions) if 0 not in r[1]]
    allocate, dtype, zeros = alloc.maker(target), target.dtype, op.has("zeros")
    make_array, copyto = np.ndarray, np.copyto

    def call(*arrays: np.ndarray) -> np.ndarray:
        result = allocate()
        if first:
            copyto(result, arrays[0])
        elif zeros:
            result.fill(0)
        for operand, (offset, shape, strides) in live:
            copyto(make_array(shape, dtype, result, offset, strides), arrays[operand])
        return result

    return call
