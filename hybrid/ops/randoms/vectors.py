"""Distributions of vectors: Dirichlet, multinomial and multivariate normal.

Invariant: a call advances the counter by a number that shapes alone decide.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import as_shape
from ...ir.door.bind import convert as astype
from ..axes.rows import softmax
from ..axes.views import broadcast_to
from ..base.surface import public
from ..build.join import stack
from ..elementwise.arithmetic import add, divide, multiply, subtract
from ..elementwise.logic import greater
from ..elementwise.selection import clip, maximum, where
from ..indexing.draws import NORMAL
from ..indexing.generators import Generator
from ..products.contract import matmul
from .counts import BINOMIAL
from .covariances import check_method, root_of
from .parameters import ANY, AT_LEAST_ZERO, Sampling, host_numbers, tensor_on
from .samplers import GAMMA

Tensor = Any


@public(hybrid=False, random=True)
def dirichlet(
    alpha: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Vectors of shares that sum to 1, of concentrations alpha, whose last axis is that of a
    vector; shape (*size, *alpha.shape).

    The softmax of logarithms of gamma numbers, so that small concentrations do no harm.  ShapeError
    for an alpha without an axis, ArgumentError for a negative one (NaN in a tensor).  No
    gradient flows to them.

    >>> hybrid.random.dirichlet([1.0, 2.0, 5.0], generator=hybrid.Generator(0))
    tensor([0.266 , 0.2695, 0.4645])
    """
    given = host_numbers(alpha)
    if given is not None and not (given >= 0).all():
        raise ArgumentError("dirichlet: alpha has an element below 0")
    call = Sampling(
        "dirichlet", None, (dtype, generator, device), {"alpha": (alpha, AT_LEAST_ZERO)}
    )
    if not call.shape:
        raise ShapeError("dirichlet: alpha is a number; it has an element for each share")
    if size is not None:
        call.shape = (*as_shape(size), *call.shape)
    return softmax(call.draw(GAMMA, *call.values, log=True))


@public(hybrid=False, random=True)
def multinomial(
    n: Any,
    pvals: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Counts of n throws among k outcomes of probabilities pvals (their last axis), int64, of shape
    (*size, k); n may be a tensor that broadcasts with the other axes of pvals.

    Binomial numbers of what is left, one after the other: k - 1 draws.  The last probability is
    whatever is left of 1.  ArgumentError for a negative n, a probability outside of [0, 1] or a sum
    above 1 (in tensors: counts of -1, or a sum that is cut at 1).

    >>> hybrid.random.multinomial(20, [0.2, 0.3, 0.5], generator=hybrid.Generator(0))
    tensor([ 3,  6, 11])
    """
    known = host_numbers(pvals)
    if known is not None and known.ndim:
        if not ((known >= 0) & (known <= 1)).all():
            raise ArgumentError("multinomial: pvals are probabilities, in [0, 1]")
        if (known[..., :-1].astype("f8").sum(-1) > 1.0 + 1e-6).any():
            raise ArgumentError("multinomial: the sum of pvals is more than 1")
    rules = {"n": (n, AT_LEAST_ZERO)}
    call = Sampling("multinomial", None, (None, generator, device), rules, counts=True)
    chances = tensor_on(pvals, call.source, dt.float64)
    if chances.ndim == 0:
        raise ShapeError("multinomial: pvals is a number; it has an element for each outcome")
    spread = add(call.operand(call.values[0]), multiply(chances[..., 0], 0.0))
    call.shape = spread.shape if size is None else as_shape(size)
    left = broadcast_to(astype(spread, dt.int64), call.shape)
    counts, rest = [], 1.0
    for outcome in range(chances.shape[-1] - 1):
        chance = chances[..., outcome]
        share = where(greater(rest, 0.0), divide(chance, maximum(rest, 1e-300)), 0.0)
        share = clip(share, 0.0, 1.0)
        counts.append(call.draw(BINOMIAL, astype(left, dt.float64), share, dtype=dt.int64))
        left, rest = subtract(left, counts[-1]), subtract(rest, chance)
    return stack([*counts, left], -1)


@public(hybrid=False, random=True)
def multivariate_normal(
    mean: Any,
    cov: Any,
    size: Any = None,
    check_valid: str = "raise",
    tol: float = 1e-8,
    *,
    method: str = "cholesky",
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal vectors of that mean [k] and covariance [k, k], of shape (*size, k).

    The covariance may be singular.  `method`: how a square root of it is found, 'cholesky' (the
    default here; NumPy's is 'svd'), 'eigh' or 'svd'.  `check_valid`: what is done where it has an
    eigenvalue below -`tol` (and below what rounding explains): 'raise' a LinAlgError (the default
    here), 'warn' (NumPy's) or 'ignore' it; then the sizes of the eigenvalues count.  Gradients flow
    to both; at a singular covariance they are those at constant rank ('cholesky').

    ShapeError for other shapes, ArgumentError for another method or check.

    >>> g = hybrid.Generator(0)
    >>> x = hybrid.random.multivariate_normal([1, 2], [[2, 1], [1, 2]], 5000, generator=g)
    >>> x.shape, hybrid.round(hybrid.cov(x, rowvar=False), 1)
    ((5000, 2), tensor([[2., 1.],
            [1., 2.]]))
    """
    check_method(method, check_valid)
    call = Sampling("multivariate_normal", None, (dtype, generator, device), {"mean": (mean, ANY)})
    middle = call.operand(call.values[0])
    spread = tensor_on(cov, call.source)
    if middle.ndim != 1 or spread.shape != (*middle.shape, *middle.shape):
        raise ShapeError(
            f"multivariate_normal: a mean of shape {middle.shape} and a covariance of shape "
            f"{spread.shape}; they are (k,) and (k, k)"
        )
    call.shape = (*(() if size is None else as_shape(size)), *middle.shape)
    root = root_of(spread, call.dtype, method, check_valid, float(tol))
    return add(matmul(call.draw(NORMAL), root), middle)
