"""Views and placements: the ops that only say where elements are.

Invariant: a view result shares memory with its input or is a fresh copy; inputs are never written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....core.aval import Aval
from ....core.errors import BackendError
from ....core.shapes import contiguous_strides
from ....ir.op import Op
from ..machine import alloc
from .viewer import make_viewer

__all__ = ["view", "place"]

Ints = tuple[int, ...]
Kernel = Callable[..., Any]
_STRIDES_LIMIT = 64


def view(op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]) -> Kernel:
    """Kind view: the same memory where the layout allows, else a view of a contiguous copy."""
    layout = op.layout
    if layout is None:
        raise BackendError(f"view op {op.name} has no layout")
    a, out, item = ins[0], outs[0], ins[0].dtype.itemsize
    shape, d = out.shape, out.dtype
    if a.size == 0 or out.size == 0:
        return lambda x: np.empty(shape, d)

    def viewer(strides: Ints, fallback: Kernel | None = None) -> Kernel | None:
        got = layout(a, strides, 0, **params)
        if got is None:
            return None
        return make_viewer(out, got[0] * item, tuple(s * item for s in got[1]), fallback)

    def of_strides(nbytes: Ints) -> Kernel:
        made = None if any(s % item for s in nbytes) else viewer(tuple(s // item for s in nbytes))
        return made or copy_first

    known: dict[Ints, Kernel] = {}

    def other(x: np.ndarray) -> np.ndarray:
        """Arrays that are not C-contiguous: one viewer for each tuple of strides."""
        f = known.get(x.strides)
        if f is None:
            if len(known) >= _STRIDES_LIMIT:
                known.clear()
            f = known[x.strides] = of_strides(x.strides)
        return f(x)

    def copy_first(x: np.ndarray) -> np.ndarray:
        return call(np.ascontiguousarray(x))

    straight = viewer(contiguous_strides(a.shape), other)
    if straight is None:
        raise BackendError(f"view op {op.name} has no layout even for contiguous elements")
    call: Kernel = straight
    return call


def place(op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]) -> Kernel:
    """Kind place: operands copied into regions of a fresh output.

    The layout gives one region (offset, shape, strides) per operand.  Fact 'base': the first
    operand has none and fills the output before; fact 'zeros': zeros do.
    """
    layout = op.layout
    if layout is None:
        raise BackendError(f"place op {op.name} has no layout")
    out, item = outs[0], outs[0].dtype.itemsize
    regions = [
        (o * item, tuple(sh), tuple(s * item for s in st)) for o, sh, st in layout(*ins, **params)
    ]
    first = int(op.has("base"))
    if len(regions) + first != len(ins):
        raise BackendError(f"place op {op.name} has {len(regions)} regions for {len(ins)} operands")
    live = [(k + first, r) for k, r in enumerate(regions) if 0 not in r[1]]
    make, d, zeros = alloc.maker(out), out.dtype, op.has("zeros")
    new, copyto = np.ndarray, np.copyto

    def call(*xs: np.ndarray) -> np.ndarray:
        y = make()
        if first:
            copyto(y, xs[0])
        elif zeros:
            y.fill(0)
        for k, (offset, shape, strides) in live:
            copyto(new(shape, d, y, offset, strides), xs[k])
        return y

    return call
