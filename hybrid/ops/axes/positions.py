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
from ...core.shapes import reduced_axes, whole
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, Op, RowOp, register
from ..base.common import wide
from ..base.surface import public
from .reduce import cases, finish, infer_nonempty, walk
from .views import reshape

Tensor = Any


def _arg_oracle(function: Any) -> Any:
    def reference(operand: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
        flat = wide(operand).reshape(
            operand.shape[: axes[0]]
            + (product(operand.shape[axes[0] : axes[1]]),)
            + operand.shape[axes[1] :]
        )
        result: np.ndarray = function(flat, axis=axes[0])
        return result

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


def _position(op: Op, operand: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    operand = as_tensor(operand)
    operand = astype(operand, dt.uint8) if operand.dtype is dt.bool_ else operand
    axes = () if axis is None else reduced_axes(axis, operand.ndim, op.name)
    if axis is not None:
        whole(axis, f"{op.name}: axis")
    if not axes:
        result = bind(
            op,
            operand if operand.ndim else reshape(operand, (1,)),
            axes=(0, builtins.max(operand.ndim, 1)),
        )
        return reshape(result, (1,) * operand.ndim) if keepdims else result
    return finish(bind(op, operand, axes=(axes[0], axes[0] + 1)), operand.shape, axes, keepdims)


@public(method=True)
def argmax(x: Tensor, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first maximum along an axis, or in the flattened tensor.

    A NaN counts as the maximum; ShapeError where there is no element.

    >>> hybrid.argmax(hybrid.tensor([[1, 9, 9], [7, 2, 3]]), axis=1)
    tensor([1, 0])
    """
    return _position(ARGMAX, x, axis, keepdims)


@public(method=True)
def argmin(x: Tensor, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first minimum along an axis, or in the flattened tensor.

    A NaN counts as the minimum; ShapeError where there is no element.

    >>> hybrid.argmin(hybrid.tensor([[4, 1], [0, 3]]))
    tensor(2)
    """
    return _position(ARGMIN, x, axis, keepdims)
