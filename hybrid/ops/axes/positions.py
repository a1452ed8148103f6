"""argmax and argmin: where the extreme element of an axis is.

Invariant: the first position wins a tie, and a NaN counts as the extreme; positions are int64 and
have no gradient.
"""

from __future__ import annotations

import builtins
from math import prod as product
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.shapes import normalize_axes, whole
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, Op, RowOp, register
from ..base.common import wide
from ..base.surface import public
from .reduce import cases, finish, infer_nonempty, walk
from .views import reshape

Tensor = Any


def _arg_oracle(fn: Any) -> Any:
    def reference(x: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
        flat = wide(x).reshape(
            x.shape[: axes[0]] + (product(x.shape[axes[0] : axes[1]]),) + x.shape[axes[1] :]
        )
        return fn(flat, axis=axes[0])

    return reference


ARGMAX = register(
    RowOp(
        "argmax",
        1,
        infer_nonempty("argmax", dt.int64),
        body=walk("rargmax"),
        params=("axes",),
        reference=_arg_oracle(np.argmax),
        samples=cases(True),
        ulp=0.0,
        vjp=NO_GRAD,
        doc="First position of the maximum along a group of axes; a NaN counts as the maximum.",
    )
)
ARGMIN = register(
    RowOp(
        "argmin",
        1,
        infer_nonempty("argmin", dt.int64),
        body=walk("rargmin"),
        params=("axes",),
        reference=_arg_oracle(np.argmin),
        samples=cases(True),
        ulp=0.0,
        vjp=NO_GRAD,
        doc="First position of the minimum along a group of axes; a NaN counts as the minimum.",
    )
)


def _position(op: Op, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    x = astype(x, dt.uint8) if x.dtype is dt.bool_ else x
    if axis is None:
        out = bind(op, x if x.ndim else reshape(x, (1,)), axes=(0, builtins.max(x.ndim, 1)))
        return reshape(out, (1,) * x.ndim) if keepdims else out
    axes = normalize_axes(whole(axis, f"{op.name}: axis"), x.ndim, op.name)
    return finish(bind(op, x, axes=(axes[0], axes[0] + 1)), x.shape, axes, keepdims)


@public(method=True)
def argmax(x: Tensor, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first maximum along an axis, or in the flattened tensor."""
    return _position(ARGMAX, x, axis, keepdims)


@public(method=True)
def argmin(x: Tensor, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first minimum along an axis, or in the flattened tensor."""
    return _position(ARGMIN, x, axis, keepdims)
