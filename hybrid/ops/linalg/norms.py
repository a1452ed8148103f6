"""Norms of vectors and matrices, and condition numbers.

Invariant: sums, extremes and singular values of other ops, no record; a norm that is zero has the
gradient zero where it is a length.
"""

from __future__ import annotations

from typing import Any

from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import normalize_axes
from ...ir.door.bind import as_tensor, bind
from ..axes.extremes import any as any_
from ..axes.extremes import min as min_
from ..axes.reduce import keep_shape
from ..axes.reduce import sum as sum_
from ..axes.statistics import largest_size
from ..axes.statistics import norm as length
from ..axes.views import moveaxis, reshape
from ..base.surface import public
from ..elementwise.arithmetic import divide, multiply
from ..elementwise.logic import isnan, logical_and, logical_not
from ..elementwise.selection import where
from .host import floating
from .solving import INV
from .spectra import svdvals

Tensor = Any
INFINITE = (float("inf"), float("-inf"))


@public(hybrid=False, linalg=True)
def vector_norm(
    x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """Norms of vectors along an axis, or of all elements of several axes (None: all): ord 2, 1, 0
    (how many are not zero), inf, -inf, or any number p: sum(|x|^p)^(1/p).

    Floats keep their dtype, integers and bools give float32.  Elements that are zero, and vectors
    of zeros, have the gradient zero; equal extremes share it.  ShapeError for an axis out of range.

    >>> x = hybrid.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> hybrid.linalg.vector_norm(x, axis=1), hybrid.linalg.vector_norm(x, ord=1)
    (tensor([5., 2.]), tensor(9.))
    """
    if isinstance(ord, str):
        raise ArgumentError(f"vector_norm: ord is a number, not {ord!r}")
    return length(as_tensor(x), axis=axis, ord=ord, keepdims=keepdims)


@public(hybrid=False, linalg=True)
def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Norms [...] of matrices [..., m, n]: ord 'fro' (root of the sum of squares), 'nuc' (sum of
    the singular values), 2 and -2 (the largest and smallest of them), 1 and -1 (the largest and
    smallest sum of |x| down a column), inf and -inf (along a row).  The largest of none is 0.

    Floats keep their dtype, integers and bools give float32; ArgumentError for another ord.

    >>> x = hybrid.tensor([[3.0, 0.0], [-4.0, 2.0]])
    >>> hybrid.linalg.matrix_norm(x, ord=1), hybrid.linalg.matrix_norm(x, ord="inf")
    Traceback (most recent call last):
    hybrid.core.errors.ArgumentError: ...
    >>> hybrid.linalg.matrix_norm(x, ord=1), hybrid.linalg.matrix_norm(x, ord=hybrid.inf)
    (tensor(7.), tensor(6.))
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_norm takes matrices in the last two axes, not shape {x.shape}")
    return _matrices_norm(x, ord, keepdims, "matrix_norm")


def _matrices_norm(operand: Tensor, ord: Any, keepdims: bool, name: str) -> Tensor:
    """The norms of the matrices in the last two axes."""
    last = (operand.ndim - 2, operand.ndim - 1)
    if ord in (None, "fro", "f"):
        return length(operand, axis=last, keepdims=keepdims)
    if isinstance(ord, str) and ord != "nuc":
        raise _no_order(name, ord)
    if ord == "nuc" or ord in (2, -2):
        values = svdvals(floating(operand, name))
        reduce: Any = {"nuc": sum_, 2: largest_size, -2: min_}[ord]
        result = reduce(values, axis=-1)
    elif ord in (1, -1, *INFINITE):
        along = -2 if ord in (1, -1) else -1
        sums = length(operand, axis=along, ord=1)
        result = (largest_size if ord > 0 else min_)(sums, axis=-1)
    else:
        raise _no_order(name, ord)
    return reshape(result, keep_shape(operand.shape, last)) if keepdims else result


def _no_order(name: str, ord: Any) -> ArgumentError:
    return ArgumentError(
        f"{name}: the norms of matrices have ord 'fro', 'nuc', 2, -2, 1, -1, inf or -inf, "
        f"not {ord!r}"
    )


@public(hybrid=False, linalg=True)
def norm(x: Tensor, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """NumPy's norm: of vectors along an axis, of matrices in two axes (ord as in `vector_norm` and
    `matrix_norm`).

    Without an axis: of all elements where there is no ord, else of a tensor of one or two
    dimensions.  ShapeError for other axes, ArgumentError for an ord that there is not.

    >>> x = hybrid.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> hybrid.linalg.norm(x, 1), hybrid.linalg.norm(x, 1, axis=0), hybrid.linalg.norm(x[0])
    (tensor(6.), tensor([3., 6.]), tensor(5.))
    """
    x = as_tensor(x)
    if axis is None and ord is None:
        return length(x, axis=None, keepdims=keepdims)
    axes = normalize_axes(axis, x.ndim, "norm")
    if len(axes) == 1:
        if isinstance(ord, str):
            raise ArgumentError(f"norm: vectors have no norm {ord!r}; ord is a number")
        return length(x, axis=axes, ord=2 if ord is None else ord, keepdims=keepdims)
    if len(axes) != 2:
        raise ShapeError(f"norm takes one axis (vectors) or two (matrices), not {len(axes)}")
    given = axes if axis is None else tuple(number % x.ndim for number in axis)
    last = (x.ndim - 2, x.ndim - 1)
    moved = x if given == last else moveaxis(x, given, last)
    result = _matrices_norm(moved, ord, False, "norm")
    return reshape(result, keep_shape(x.shape, axes)) if keepdims else result


@public(hybrid=False, linalg=True)
def cond(x: Tensor, p: Any = None) -> Tensor:
    """Condition numbers [...] of matrices: the largest singular value divided by the smallest (p
    None, 2; -2: the other way round), else norm(x, p) * norm(inv(x), p); inf for a singular matrix.

    Dtypes as in `inv`; ShapeError for an empty matrix, or one that is not square where p needs it.

    >>> hybrid.linalg.cond(hybrid.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor(4.)
    """
    x = floating(x, "cond")
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ShapeError(f"cond takes matrices with elements, not shape {x.shape}")
    if p in (None, 2, -2):
        values = svdvals(x)
        high, low = values[..., 0], values[..., -1]
        result = divide(low, high) if p == -2 else divide(high, low)
    else:
        inverse = bind(INV, x, checked=False)
        result = multiply(
            _matrices_norm(x, p, False, "cond"), _matrices_norm(inverse, p, False, "cond")
        )
    known = logical_not(any_(isnan(x), axis=(-2, -1)))
    return where(logical_and(isnan(result), known), float("inf"), result)
