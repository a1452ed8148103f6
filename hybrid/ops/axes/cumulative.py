"""Running sums and products along an axis.

Invariant: blocks of 256 elements from their own start, then the totals of blocks in order, whatever
computes them; a half type accumulates in its compute type and is rounded once per element; integers
take the dtype rule of `sum`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ShapeError
from ...core.shapes import normalize_axis
from ...ir.algorithm import SCAN_BLOCK, Scan
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import HostOp, Op, register
from ..base.common import shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import divide, multiply
from ..elementwise.logic import equal, logical_and, logical_or
from ..elementwise.selection import where
from .reduce import sum as sum_
from .slices import embed, flip
from .views import broadcast_to, reshape

Tensor = Any


def _in_blocks(combine: np.ufunc, values: np.ndarray, axis: int) -> np.ndarray:
    """Blocks from their own start, left to right, behind the total of those before."""
    head, extent, tail = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    out: np.ndarray = np.empty_like(values, order="C")
    ahead: tuple[slice, ...] = (slice(None),) * axis
    whole = extent // SCAN_BLOCK * SCAN_BLOCK
    first, rest = (*ahead, slice(0, whole)), (*ahead, slice(whole, extent))
    combine.accumulate(values[rest], axis, values.dtype, out[rest])
    if not whole:
        return out
    shape = *head, whole // SCAN_BLOCK, SCAN_BLOCK, *tail
    inside = out[first].reshape(shape)  # a view: one axis is split
    combine.accumulate(values[first].reshape(shape), axis + 1, values.dtype, inside)
    totals = combine.accumulate(np.take(inside, [-1], axis + 1), axis, values.dtype)
    behind = inside[(*ahead, slice(1, None))]
    combine(totals[(*ahead, slice(0, -1))], behind, out=behind)
    if whole < extent:
        combine(np.take(totals, -1, axis), out[rest], out=out[rest])
    return out


def _cumulative(combine: np.ufunc) -> Callable[..., np.ndarray]:
    def run(operand: np.ndarray, axis: int, dtype: np.dtype) -> np.ndarray:
        values = operand.astype(dt.compute_type(dtype), copy=False)
        if values.dtype.kind in "iu":  # any order gives the same
            return combine.accumulate(values, axis, values.dtype).astype(dtype, copy=False)
        return _in_blocks(combine, values, axis).astype(dtype, copy=False)

    return run


def _reversed_sum(gradient: Tensor, axis: int) -> Tensor:
    return flip(cumulative_sum(flip(gradient, axis), axis=axis), axis)


def _product_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axis: int, dtype: np.dtype
) -> tuple[Tensor]:
    """Before the first zero of a line, products divided by the element; at it, products without it;
    behind it, the first zero times what that would be without it, so that second derivatives are
    right too."""
    zero, inner = equal(operand, 0), dt.compute_type(dtype)
    seen = cumulative_sum(astype(zero, dt.int64), axis=axis)
    first, second = (logical_and(zero, equal(seen, k)) for k in (1, 2))
    gradient, widened = astype(gradient, inner), astype(operand, inner)
    divisor = where(zero, 1, widened)
    one, two = (
        _reversed_sum(multiply(gradient, cumulative_prod(where(cut, 1, widened), axis=axis)), axis)
        for cut in (first, logical_or(first, second))
    )
    ahead = divide(_reversed_sum(multiply(gradient, astype(out, inner)), axis), divisor)
    rest = where(equal(seen, 1), divide(one, divisor), where(second, two, 0))
    behind = multiply(sum_(where(first, widened, 0), axis=axis, keepdims=True), rest)
    return (astype(where(equal(seen, 0), ahead, where(first, one, behind)), operand.dtype),)


def _cumulative_op(
    name: str, combine: Literal["add", "mul"], function: Any, vjp: Any, doc: str
) -> Op:
    return register(
        HostOp(
            name,
            1,
            lambda operand, axis, dtype: (operand.with_(dtype=dtype),),
            body=_cumulative(np.add if combine == "add" else np.multiply),
            algorithm=lambda axis, dtype: Scan(combine, axis),
            params=("axis", "dtype"),
            vjp=vjp,
            facts=frozenset(["total"]),
            reference=lambda operand, axis, dtype: function(wide(operand), axis=axis),
            ulp=40.0,
            doc=doc,
            samples=shapes_of(
                [
                    ((7,), {"axis": 0, "dtype": dt.float64}),
                    ((3, 4), {"axis": 1, "dtype": dt.float64}),
                    ((2, 0), {"axis": 1, "dtype": dt.float64}),
                ],
                low=0.5,
                high=1.5,
            ),
        )
    )


CUMSUM = _cumulative_op(
    "cumulative_sum",
    "add",
    np.cumsum,
    lambda gradient, out, operand, axis, dtype: (_reversed_sum(gradient, axis),),
    "Sums of the elements up to each one along an axis.",
)
CUMPROD = _cumulative_op(
    "cumulative_prod",
    "mul",
    np.cumprod,
    _product_vjp,
    "Products of the elements up to each one along an axis.",
)


def _scan(op: Op, operand: Tensor, axis: int | None, dtype: Any, initial: bool) -> Tensor:
    operand = as_tensor(operand)
    if axis is None and operand.ndim > 1:
        raise ShapeError(f"{op.name} of {operand.ndim} dimensions needs an axis")
    operand = operand if operand.ndim else reshape(operand, (1,))
    along = normalize_axis(0 if axis is None else axis, operand.ndim, op.name)
    if dtype is not None:
        wanted = dt.canonical(dtype)
    elif dt.is_inexact(operand.dtype):
        wanted = operand.dtype
    else:
        wanted = dt.uint64 if dt.kind(operand.dtype) == "u" else dt.int64
    if dt.is_inexact(operand.dtype) and not dt.is_inexact(wanted):
        operand = astype(operand, wanted)  # the one conversion that NumPy leaves undefined
    result = bind(op, operand, axis=along, dtype=wanted)
    return _begun(result, along, op is CUMPROD) if initial else result


def _begun(result: Tensor, axis: int, ones: bool) -> Tensor:
    """The result behind zeros, or ones, along the axis: what nothing gives."""
    shape = tuple(n + 1 if a == axis else n for a, n in enumerate(result.shape))
    begin = tuple(1 if a == axis else 0 for a in range(result.ndim))
    step = (1,) * result.ndim
    behind = embed(result, shape, begin, step)
    if not ones:
        return behind
    unit = tuple(1 if a == axis else n for a, n in enumerate(shape))
    first = broadcast_to(as_tensor(True, result.device), unit)
    return where(embed(first, shape, (0,) * result.ndim, step), 1, behind)


@public(method=True)
def cumulative_sum(
    x: Tensor, axis: int | None = None, *, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running sums along an axis (optional for one dimension), behind a zero if `include_initial`.

    The shape of x (one longer along the axis with the zero), with the dtype rule of `sum`; more
    than one dimension without an axis is a ShapeError.

    >>> hybrid.cumulative_sum(hybrid.tensor([[1, 2], [3, 4]]), axis=0)
    tensor([[1, 2],
            [4, 6]])
    >>> hybrid.cumulative_sum(hybrid.tensor([1, 2]), include_initial=True)
    tensor([0, 1, 3])
    """
    return _scan(CUMSUM, x, axis, dtype, include_initial)


@public
def cumulative_prod(
    x: Tensor, axis: int | None = None, *, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running products along an axis (optional for one dimension), behind a one if
    `include_initial`.

    The shape of x (one longer along the axis with the one), with the dtype rule of `prod`; more
    than one dimension without an axis is a ShapeError.

    >>> hybrid.cumulative_prod(hybrid.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor([ 1.,  2.,  6., 24.])
    """
    return _scan(CUMPROD, x, axis, dtype, include_initial)
