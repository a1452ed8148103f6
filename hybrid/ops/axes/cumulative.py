"""Running sums and products along an axis.

Invariant: a half type accumulates in its compute type and is rounded once per element; integers
take the dtype rule of `sum`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ShapeError
from ...core.shapes import normalize_axis
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import HostOp, Op, register
from ..base.common import shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import divide, multiply
from ..elementwise.logic import equal, logical_and, logical_or
from ..elementwise.selection import where
from .reduce import sum as sum_
from .views import flip, reshape

Tensor = Any


def _cumulative(fn: Any) -> Callable[..., np.ndarray]:
    def run(x: np.ndarray, axis: int, dtype: np.dtype) -> np.ndarray:
        acc = dt.compute_type(dtype)
        return fn(x.astype(acc), axis=axis, dtype=acc).astype(dtype)

    return run


def _reversed_sum(g: Tensor, axis: int) -> Tensor:
    return flip(cumulative_sum(flip(g, axis), axis=axis), axis)


def _product_vjp(g: Tensor, out: Tensor, x: Tensor, axis: int, dtype: np.dtype) -> tuple[Tensor]:
    """Before the first zero of a line, products divided by the element; at it, products without it;
    behind it, the first zero times what that would be without it, so that second derivatives are
    right too."""
    zero, inner = equal(x, 0), dt.compute_type(dtype)
    seen = cumulative_sum(astype(zero, dt.int64), axis=axis)
    first, second = (logical_and(zero, equal(seen, k)) for k in (1, 2))
    g, v = astype(g, inner), astype(x, inner)
    divisor = where(zero, 1, v)
    one, two = (
        _reversed_sum(multiply(g, cumulative_prod(where(cut, 1, v), axis=axis)), axis)
        for cut in (first, logical_or(first, second))
    )
    ahead = divide(_reversed_sum(multiply(g, astype(out, inner)), axis), divisor)
    rest = where(equal(seen, 1), divide(one, divisor), where(second, two, 0))
    behind = multiply(sum_(where(first, v, 0), axis=axis, keepdims=True), rest)
    return (astype(where(equal(seen, 0), ahead, where(first, one, behind)), x.dtype),)


def _cumulative_op(name: str, fn: Any, vjp: Any, doc: str) -> Op:
    return register(
        HostOp(
            name,
            1,
            lambda a, axis, dtype: (a.with_(dtype=dtype),),
            body=_cumulative(fn),
            params=("axis", "dtype"),
            vjp=vjp,
            facts=frozenset(["total"]),
            reference=lambda x, axis, dtype: fn(wide(x), axis=axis),
            ulp=40.0,
            doc=doc,
            samples=shapes_of(
                [
                    ((7,), {"axis": 0, "dtype": dt.float64}),
                    ((3, 4), {"axis": 1, "dtype": dt.float64}),
                    ((2, 0), {"axis": 1, "dtype": dt.float64}),
                ],
                lo=0.5,
                hi=1.5,
            ),
        )
    )


CUMSUM = _cumulative_op(
    "cumulative_sum",
    np.cumsum,
    lambda g, out, x, axis, dtype: (_reversed_sum(g, axis),),
    "Sums of the elements up to each one along an axis.",
)
CUMPROD = _cumulative_op(
    "cumulative_prod",
    np.cumprod,
    _product_vjp,
    "Products of the elements up to each one along an axis.",
)


def _scan(op: Op, x: Tensor, axis: int | None, dtype: Any) -> Tensor:
    x = as_tensor(x)
    if axis is None:
        if x.ndim > 1:
            raise ShapeError(f"{op.name} of {x.ndim} dimensions needs an axis")
        x, axis = reshape(x, (x.size,)), 0
    if dtype is not None:
        d = dt.canonical(dtype)
    elif dt.is_float(x.dtype):
        d = x.dtype
    else:
        d = dt.uint64 if dt.kind(x.dtype) == "u" else dt.int64
    return bind(op, x, axis=normalize_axis(axis, x.ndim, op.name), dtype=d)


@public(method=("cumulative_sum", "cumsum"))
def cumulative_sum(x: Tensor, axis: int | None = None, *, dtype: Any = None) -> Tensor:
    """Running sums along an axis (optional for one dimension)."""
    return _scan(CUMSUM, x, axis, dtype)


@public
def cumulative_prod(x: Tensor, axis: int | None = None, *, dtype: Any = None) -> Tensor:
    """Running products along an axis (optional for one dimension)."""
    return _scan(CUMPROD, x, axis, dtype)
