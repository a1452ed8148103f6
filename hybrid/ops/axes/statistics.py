"""Statistics of rows: variance, standard deviation, vector norms.

Invariant: a record takes its group as the last axes, as in rows.py; other axes are permuted to the
end, or reduced by the column forms of sums.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import DTypeError
from ...core.shapes import reduced_axes
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as astype
from ...ir.door.flat import function_of
from ...ir.op import RowOp, map_op, register
from ...ir.scalar.program import Builder, Val
from ..base.common import shapes_of, wide
from ..base.surface import public
from ..elementwise.arithmetic import abs, divide, multiply, square, subtract
from ..elementwise.logic import equal, not_equal
from ..elementwise.powers import power
from ..elementwise.selection import flat_quotient, maximum
from ..elementwise.selection import where as where_
from .extremes import max as max_
from .extremes import min as min_
from .masks import counting, masked
from .reduce import masked_mean
from .reduce import mean as mean_
from .reduce import sum as sum_
from .rows import ROWS, axes_of, row_infer, row_value, spread_row

Group = tuple[int, int]
Tensor = Any


def _var_body(algebra: Builder, operand: Val, *, axes: Group, correction: float) -> Val:
    length = algebra.rlen(operand.type)
    distance = operand - algebra.rsum(operand) / length
    return algebra.rsum(distance * distance) / algebra.max(length - correction, 0.0)


def _var_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axes: Group, correction: float
) -> tuple[Tensor]:
    over = axes_of(axes)
    extent = max(prod(operand.shape[a] for a in over) - correction, 0)
    distance = subtract(operand, mean_(operand, axis=over, keepdims=True))
    return (
        multiply(
            multiply(spread_row(gradient, operand, axes), 2 / extent if extent else float("nan")),
            distance,
        ),
    )


def _var_reference(operand: np.ndarray, axes: Group, correction: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        widened, over = wide(operand), axes_of(axes)
        extent = np.array(prod(operand.shape[a] for a in over), widened.dtype)
        distance = widened - widened.sum(over, keepdims=True) / extent
        result: np.ndarray = (distance * distance).sum(over) / np.maximum(extent - correction, 0)
        return result


VAR = register(
    RowOp(
        "var",
        1,
        row_infer,
        body=_var_body,
        params=("axes", "correction"),
        vjp=_var_vjp,
        accepts="f",
        ulp=16.0,
        reference=_var_reference,
        samples=shapes_of(
            [
                ((7,), {"axes": (0, 1), "correction": 0.0}),
                ((3, 10), {"axes": (1, 2), "correction": 1.0}),
                ((2, 3, 30), {"axes": (1, 3), "correction": 0.0}),
                ((3, 1), {"axes": (1, 2), "correction": 1.0}),
                ((0, 4), {"axes": (1, 2), "correction": 0.0}),
            ]
        ),
        doc="Mean of the squared distance from the mean, the count reduced by `correction`.",
    )
)


std_root = function_of(
    map_op(
        "std_root",
        1,
        lambda algebra, operand: algebra.sqrt(operand),
        vjp=lambda gradient, out, operand: (flat_quotient(gradient, multiply(out, 2.0)),),
        reference=lambda operand: np.sqrt(wide(operand)),
        result="float",
        accepts="f",
        domain=(0.1, 5.0),
        ulp=1.0,
        doc="Square root whose gradient at zero is zero.",
    )
)


def _norm_reference(operand: np.ndarray, axes: Group) -> np.ndarray:
    result: np.ndarray = np.sqrt((wide(operand) ** 2).sum(axes_of(axes)))
    return result


NORM = register(
    RowOp(
        "norm",
        1,
        row_infer,
        body=lambda algebra, operand, *, axes: algebra.sqrt(algebra.rsum(operand * operand)),
        params=("axes",),
        accepts="f",
        ulp=4.0,
        vjp=lambda gradient, out, operand, axes: (
            multiply(spread_row(flat_quotient(gradient, out), operand, axes), operand),
        ),
        reference=_norm_reference,
        samples=shapes_of(ROWS),
        doc="Euclidean length of a row; its gradient at zero is zero.",
    )
)


@public(method=True)
def var(
    x: Tensor,
    axis: Any = None,
    *,
    dtype: Any = None,
    correction: float = 0.0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
) -> Tensor:
    """Variance over axes; divides by the count minus `correction` (array API;
    PyTorch's default is 1).

    Floats keep their dtype, integers and bools give float32; `dtype`, a floating or complex one,
    says in which they are computed.  Only elements in the mask `where` count; `mean` is their mean,
    with the axes kept, where it is known.  ShapeError for an axis out of range and a mask that does
    not fit, DTypeError for a dtype of integers.

    >>> x = hybrid.tensor([1.0, 2.0, 3.0, 4.0])
    >>> hybrid.var(x), hybrid.var(x, correction=1)
    (tensor(1.25), tensor(1.6667))
    """
    x = _computed("var", as_tensor(x), dtype)
    axes = reduced_axes(axis, x.ndim, "var")
    if where is not True or mean is not None:
        return _masked_var(x, axes, float(correction), keepdims, where, mean)
    if not axes or axes == tuple(range(axes[0], x.ndim)) or x.size == 0:
        return row_value(VAR, x, axis, keepdims, correction=float(correction))
    widened = astype(x, dt.compute_type(x.dtype))
    extent = max(prod(x.shape[a] for a in axes) - correction, 0)
    distance = subtract(widened, mean_(widened, axis=axes, keepdims=True))
    total = sum_(
        square(abs(distance) if dt.is_complex(x.dtype) else distance),
        axis=axes,
        keepdims=keepdims,
    )
    return astype(divide(total, extent), dt.real_of(x.dtype))


def _computed(what: str, x: Tensor, dtype: Any) -> Tensor:
    """x in the dtype in which its variance is computed."""
    if dtype is None:
        return x if dt.is_inexact(x.dtype) else astype(x, dt.default_float)
    wanted = dt.canonical(dtype)
    if not dt.is_inexact(wanted):
        raise DTypeError(f"{what}: dtype is {wanted.name}: it has to be a floating or complex one")
    return astype(x, wanted)


def _masked_var(
    operand: Tensor,
    axes: tuple[int, ...],
    correction: float,
    keepdims: bool,
    condition: Any,
    center: Any,
) -> Tensor:
    """The variance of the elements in a mask around a mean that may be known."""
    widened = astype(operand, dt.compute_type(operand.dtype))
    if center is None:
        center = masked_mean("var", widened, axes, None, True, condition)
    distance = masked(
        "var",
        subtract(widened, astype(as_tensor(center, operand.device), widened.dtype)),
        condition,
        0,
    )
    sizes = abs(distance) if dt.is_complex(operand.dtype) else distance
    total = sum_(square(sizes), axis=axes, keepdims=keepdims)
    left: Any = max(prod(operand.shape[axis] for axis in axes) - correction, 0.0)
    if condition is not True:
        found = sum_(counting("var", operand, condition), axis=axes, keepdims=keepdims)
        left = maximum(subtract(astype(found, total.dtype), correction), 0.0)
    return astype(divide(total, left), dt.real_of(operand.dtype))


@public(method=True)
def std(
    x: Tensor,
    axis: Any = None,
    *,
    dtype: Any = None,
    correction: float = 0.0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
) -> Tensor:
    """Standard deviation over axes; see `var`.  Its gradient where all elements are equal is zero,
    as in PyTorch.

    >>> hybrid.std(hybrid.tensor([[1.0, 3.0], [5.0, 5.0]]), axis=1)
    tensor([1., 0.])
    """
    given = {"dtype": dtype, "correction": correction, "where": where, "mean": mean}
    return std_root(var(x, axis, keepdims=keepdims, **given))


@public(method=True)
def norm(x: Tensor, ord: float | None = 2, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Vector norm over axes (all by default): ord 2, 1, 0, inf, -inf or any other power.

    Elements that are zero, and vectors of zeros, have the gradient zero; equal extremes share it
    for ord inf and -inf.  ord 0 has no gradient.  The norm of no elements is 0 (ShapeError for ord
    -inf).

    ShapeError for an axis out of range; integers and bools are computed as float32.

    >>> hybrid.norm(hybrid.tensor([3.0, 4.0])).item()
    5.0
    """
    x = as_tensor(x)
    x = x if dt.is_inexact(x.dtype) else astype(x, dt.default_float)
    if ord is None or ord == 2:
        return row_value(NORM, x, axis, keepdims)
    if ord in (float("inf"), float("-inf")):
        return (largest_size if ord > 0 else min_)(abs(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum_(astype(not_equal(x, 0), dt.real_of(x.dtype)), axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum_(abs(x), axis=axis, keepdims=keepdims)
    return _power_norm(x, axis, float(ord), keepdims)


def largest_size(sizes: Tensor, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The largest of numbers that are not negative; 0, their sum, where there is none."""
    axes = reduced_axes(axis, sizes.ndim, "norm")
    none = any(sizes.shape[number] == 0 for number in axes)
    return (sum_ if none else max_)(sizes, axis=axis, keepdims=keepdims)


def _power_norm(operand: Tensor, axis: Any, ord: float, keepdims: bool) -> Tensor:
    """sum(|x|^ord)^(1/ord); zeros are put in beside the powers, whose slope there may be NaN."""
    size = abs(operand)
    zero = equal(size, 0)
    powers = where_(zero, 0.0 if ord > 0 else float("inf"), power(where_(zero, 1.0, size), ord))
    total = sum_(powers, axis=axis, keepdims=keepdims)
    none = equal(total, 0)
    return where_(
        none, 0.0 if ord > 0 else float("inf"), power(where_(none, 1.0, total), 1.0 / ord)
    )
