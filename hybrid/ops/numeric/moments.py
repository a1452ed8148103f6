"""Weighted means, covariances, correlations and ranges of values.

Invariant: products of deviations are summed by one matrix product, in the compute type.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes as dt
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.shapes import normalize_axes
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as astype
from ..axes.extremes import any as any_
from ..axes.extremes import max as max_
from ..axes.extremes import min as min_
from ..axes.reduce import mean
from ..axes.reduce import sum as sum_
from ..axes.statistics import std_root
from ..axes.views import broadcast_to, matrix_transpose, reshape
from ..axes.windows import diagonal
from ..base.common import real_only
from ..base.surface import public
from ..build.create import full_like, zeros
from ..build.join import concat
from ..build.pairs import complex_of, parts_of
from ..complex.arithmetic import conj, real
from ..elementwise.arithmetic import divide, multiply, reciprocal, subtract
from ..elementwise.logic import equal, less, logical_or
from ..elementwise.selection import clip, where
from ..products.contract import matmul
from .ranks import floating

Tensor = Any


@public(method=True)
def ptp(a: Tensor, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The largest element less the smallest one, over axes (all by default).

    Integers wrap as NumPy's do, bools are taken as int64.  ShapeError where there is no element.

    >>> hybrid.ptp(hybrid.tensor([[4, 9, 2], [1, 1, 1]]), axis=1)
    tensor([7, 0])
    """
    real_only("ptp", as_tensor(a))
    return subtract(max_(a, axis, keepdims=keepdims), min_(a, axis, keepdims=keepdims))


def _aligned(what: str, weights: Tensor, x: Tensor, axis: Any) -> Tensor:
    """Weights of the axes in the shape of x."""
    if weights.shape == x.shape:
        return weights
    axes = normalize_axes(axis, x.ndim, what)
    if axis is None or weights.shape != tuple(x.shape[a] for a in axes):
        raise ShapeError(
            f"{what}: weights of shape {weights.shape} fit neither shape {x.shape} nor its axis"
        )
    shape = tuple(size if a in axes else 1 for a, size in enumerate(x.shape))
    return broadcast_to(reshape(weights, shape), x.shape)


@public
def average(
    a: Tensor,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The sum of a * weights over axes by the sum of the weights; the mean without weights.

    weights have the shape of a, or of the axes alone.  `returned` gives the sum of the weights too.
    Floats keep their dtype, integers give float32; where the weights sum to 0 the result is no
    number (NumPy raises).  ShapeError for weights that do not fit.

    >>> x = hybrid.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> hybrid.average(x, axis=1, weights=[1.0, 3.0])
    tensor([1.75, 3.75])
    >>> hybrid.average(x, returned=True)
    (tensor(2.5), tensor(4.))
    """
    x = floating(a)
    if weights is None:
        result = mean(x, axis, keepdims=keepdims)
        axes = normalize_axes(axis, x.ndim, "average")
        count = 1
        for along in axes:
            count *= x.shape[along]
        return (result, full_like(result, count)) if returned else result
    loads = floating(as_tensor(weights, x.device))
    wanted = dt.promote(x.dtype, loads.dtype)
    inner = dt.compute_type(wanted)
    loads = _aligned("average", astype(loads, inner), x, axis)
    total = sum_(loads, axis, keepdims=keepdims)
    found = sum_(multiply(astype(x, inner), loads), axis, keepdims=keepdims)
    result = astype(divide(found, total), wanted)
    return (result, astype(total, wanted)) if returned else result


def _variables(what: str, m: Any, rowvar: bool, lone: bool, dtype: Any) -> Tensor:
    """Observations of variables as rows."""
    x = as_tensor(m)
    x = floating(x) if dtype is None else astype(x, dt.canonical(dtype))
    if x.ndim > 2:
        raise ShapeError(f"{what} takes at most 2 dimensions, not {x.ndim}")
    rows = reshape(x, (1,) * (2 - x.ndim) + x.shape)
    turned = not rowvar and (x.ndim != 1 if lone else rows.shape[0] != 1)
    return matrix_transpose(rows) if turned else rows


def _checked_weights(weights: Any, name: str, count: int, x: Tensor) -> Tensor:
    loads = as_tensor(weights, x.device)
    if name == "fweights" and not dt.is_int(loads.dtype):
        raise DTypeError("cov: fweights have to be integers; convert with .astype('int64')")
    if loads.shape != (count,):
        raise ShapeError(f"cov: {name} of shape {loads.shape} for {count} observations")
    if any_(less(loads, 0)):
        raise ArgumentError(f"cov: {name} have to be 0 or more")
    return astype(loads, dt.real_of(x.dtype))


def _scale(x: Tensor, loads: Tensor, aloads: Any, ddof: float) -> tuple[Any, Any]:
    """The sum of the weights, and by how much the sum of products is divided."""
    total = sum_(loads)
    if ddof == 0:
        return total, total
    lost = float(ddof)
    if aloads is not None:
        lost = divide(multiply(sum_(multiply(loads, aloads)), float(ddof)), total)
    return total, subtract(total, lost)


def _products(x: Tensor, fewer: int, fweights: Any, aweights: Any) -> Tensor:
    """The sums of products of deviations, by the number of observations that counts."""
    count = x.shape[1]
    floads, aloads = (
        None if given is None else _checked_weights(given, name, count, x)
        for given, name in ((fweights, "fweights"), (aweights, "aweights"))
    )
    if floads is None and aloads is None:
        x = subtract(x, mean(x, 1, keepdims=True))
        products = matmul(x, matrix_transpose(conj(x)))
        left: Any = max(count - fewer, 0)
        scale = 1.0 / left if left else float("inf")
    else:
        loads = floads if aloads is None else aloads
        if floads is not None and aloads is not None:
            loads = multiply(floads, aloads)
        total, left = _scale(x, loads, aloads, fewer)
        center = divide(sum_(multiply(x, loads), 1, keepdims=True), total)
        x = subtract(x, center)
        products = matmul(x, matrix_transpose(conj(multiply(x, loads))))
        scale = reciprocal(where(less(left, 0), 0.0, left))
    return multiply(products, scale)


@public
def cov(
    m: Tensor,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Tensor:
    """The covariances of variables: rows of m (columns where not rowvar), and of y if given; of
    complex ones with the conjugate of the second.

    Sums are divided by the number of observations less ddof (1, or 0 for `bias`).  fweights are how
    often each observation counts, aweights its importance.  Floats keep their dtype, integers give
    float32.  0-d for one variable.  ShapeError for more than two dimensions or weights that do not
    fit, ArgumentError for negative weights (whose data is read).

    >>> hybrid.cov(hybrid.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if ddof is not None and ddof != int(ddof):
        raise ArgumentError(f"cov: ddof is {ddof}; it has to be an integer")
    x = _variables("cov", m, rowvar, True, dtype)
    if not x.shape[0]:
        return zeros((0, 0), dtype=x.dtype, device=x.device)
    if y is not None:
        other = _variables("cov", y, rowvar, False, dtype)
        both = x.dtype if not dt.is_complex(other.dtype) else dt.promote(x.dtype, other.dtype)
        x = concat([astype(x, both), astype(other, both)], 0)
    wanted = x.dtype
    x = astype(x, dt.compute_type(wanted))
    fewer = int(not bias) if ddof is None else int(ddof)
    result = astype(_products(x, fewer, fweights, aweights), wanted)
    return reshape(result, ()) if result.shape == (1, 1) else result


@public
def corrcoef(x: Tensor, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Tensor:
    """The correlation coefficients of variables, as `cov` takes them: between -1 and 1 (both
    parts of complex ones).  Those of a variable that is constant are NaN and have the gradient 0.

    >>> hybrid.corrcoef(hybrid.tensor([[1.0, 2.0, 4.0], [3.0, 2.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    found = cov(x, y, rowvar, dtype=dtype)
    if found.ndim == 0:
        none = equal(found, 0.0)
        return where(none, float("nan"), divide(found, where(none, 1.0, found)))
    spread = std_root(real(diagonal(found)))
    # no quotient by 0 is made, so that the other coefficients have gradients
    none = equal(spread, 0.0)
    divisor = where(none, 1.0, spread)
    scaled = divide(divide(found, reshape(divisor, (-1, 1))), divisor)
    if dt.is_complex(scaled.dtype):
        scaled = complex_of(*[clip(part, -1.0, 1.0) for part in parts_of(scaled)])
    else:
        scaled = clip(scaled, -1.0, 1.0)
    return where(logical_or(reshape(none, (-1, 1)), none), float("nan"), scaled)
