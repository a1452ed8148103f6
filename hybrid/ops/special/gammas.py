"""Records of the gamma function's family: gamma, its logarithm and sign, polygamma, zeta, beta.

Invariant: results at poles are SciPy's; relative errors hold for positive arguments, for negative
ones the error is that of the terms of the reflection, whose sum has zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ...core.errors import ArgumentError, UnsupportedError
from ...core.shapes import whole
from ...ir.door.bind import as_tensor, bind
from ...ir.op import Op, map_op
from ..base.common import draw, ints
from ..base.surface import public
from ..elementwise.arithmetic import add, multiply, negative, reference_of, subtract
from ..elementwise.functions import unary
from ..elementwise.logic import greater, greater_equal, less, less_equal, logical_and
from ..elementwise.selection import where
from ..formulas import special as F
from . import oracles as true

Tensor = Any
Function = Callable[..., Any]


gammaln: Function = public(
    unary(
        "gammaln",
        F.gammaln,
        lambda gradient, out, operand: (multiply(gradient, digamma(operand)),),
        np.log,
        """log |gamma(x)|; infinite at 0, -1, -2, ...  Next to the zeros between those the error is
        3 last places of the larger of 1 and log gamma(|x|).

        >>> hybrid.special.gammaln(hybrid.tensor([0.5, 1.0, 100.0, -1.0]))
        tensor([  0.5724,   0.    , 359.1342,      inf])
        """,
        reference=true.oracle(true.gammaln),
        domain=(0.3, 6.0),
        ulp=8.0,
    ),
    hybrid=False,
    special=True,
)
gammasgn: Function = public(
    unary(
        "gammasgn",
        F.gammasgn,
        lambda gradient, out, operand: (None,),
        np.sign,
        """The sign of gamma(x): 1 or -1, that of x at the zeros, NaN at the other poles. Its
        gradient is zero.

        >>> hybrid.special.gammasgn(hybrid.tensor([3.0, -0.5, -1.5, -2.0]))
        tensor([ 1., -1.,  1., nan])
        """,
        reference=reference_of(lambda x: _sign(x)),
        ulp=0.0,
    ),
    hybrid=False,
    special=True,
)


def _sign(x: np.ndarray) -> np.ndarray:
    below = np.where(np.mod(np.floor(x), 2) == 1, -1.0, 1.0)
    below = np.where((np.floor(x) == x) | ~np.isfinite(x), np.nan, below)
    result = np.where(x < 0, below, np.where(x == 0, np.copysign(1.0, x), 1.0))
    return np.where(np.isnan(x), x, result)


gamma: Function = public(
    unary(
        "gamma",
        F.gamma,
        lambda gradient, out, operand: (multiply(gradient, multiply(out, digamma(operand))),),
        np.exp,
        """The gamma function: (x - 1)! for whole x.  Signed infinities at the zeros, NaN at the
        other poles.

        >>> hybrid.special.gamma(hybrid.tensor([0.5, 5.0, -1.5, 40.0, -1.0]))
        tensor([ 1.7725, 24.    ,  2.3633,     inf,     nan])
        """,
        reference=true.oracle(true.signed_gamma),
        domain=(0.3, 6.0),
        ulp=6.0,
    ),
    hybrid=False,
    special=True,
)
digamma: Function = public(
    unary(
        "digamma",
        F.digamma,
        lambda gradient, out, operand: (multiply(gradient, bind(POLYGAMMA, operand, n=1)),),
        np.log,
        """The derivative of gammaln.  Signed infinities at the zeros, NaN at the other poles.  Next
        to its negative zeros the error is 3 last places of the larger of log |x| and cot(pi x).

        >>> hybrid.special.digamma(hybrid.tensor([1.0, 10.0, 0.0, -1.0]))
        tensor([-0.5772,  2.2518,    -inf,     nan])
        """,
        reference=true.oracle(true.digamma),
        domain=(0.3, 6.0),
        ulp=4.0,
    ),
    hybrid=False,
    special=("digamma", "psi"),
)


def _polygamma_reference(x: np.ndarray, n: int) -> np.ndarray:
    sign = 1.0 if n % 2 else -1.0
    place, total = x, np.zeros_like(x)
    # negative arguments step by step up to positive ones
    lowest = np.min(x[np.isfinite(x) & (x > -1e4)], initial=0.0)
    for _ in range(int(-np.floor(lowest))):
        total = total + np.where(place < 0, place ** -float(n + 1), 0)
        place = np.where(place < 0, place + 1, place)
    positive = true.zeta(np.full_like(x, n + 1), np.where(place > 0, place, 1))
    result = sign * math.factorial(n) * (total + positive)
    pole = (x <= 0) & (np.floor(x) == x)
    result = np.where(pole, sign * np.inf, np.where(x == np.inf, 0.0, result))
    return np.where(np.isnan(x), x, result)


def _orders(rng: np.random.Generator) -> Any:
    for n, shape in ((1, (7,)), (1, (3, 5)), (2, (4, 3)), (3, ()), (4, (0, 2)), (9, (5,))):
        yield [draw(rng, *shape, low=0.5, high=6.0)], {"n": n}


POLYGAMMA: Op = map_op(
    "polygamma",
    1,
    lambda algebra, operand, *, n: F.polygamma(algebra, operand, n),
    vjp=lambda gradient, out, operand, n: (multiply(gradient, bind(POLYGAMMA, operand, n=n + 1)),),
    reference=true.oracle(_polygamma_reference),
    result="float",
    accepts="f",
    params=("n",),
    samples=_orders,
    ulp=8.0,
    doc="The n-th derivative of digamma, n >= 1.",
)


@public(hybrid=False, special=True)
def polygamma(n: int, x: Tensor) -> Tensor:
    """The n-th derivative of digamma; n is a whole number, 0 or more, not a tensor.

    Infinite at the poles.  The error is at most 8 last places for x > 0; below, 2 n + 6 of the
    larger of the two terms of the reflection (DLMF 5.15.6).  Raises ArgumentError for another n.

    >>> hybrid.special.polygamma(1, hybrid.tensor([1.0, 2.0, 10.0]))
    tensor([1.6449, 0.6449, 0.1052])
    """
    order = whole(n, "n")
    if order < 0:
        raise ArgumentError(f"polygamma: n is {order}; it must be 0 or more")
    return bind(POLYGAMMA, as_tensor(x), n=order) if order else digamma(x)


def _no_slope(*_: Any) -> NoReturn:
    raise UnsupportedError(
        "zeta has no gradient by its first argument; detach it: zeta(x.detach(), q)"
    )


def _two(low: float, high: float, below: float, above: float) -> Any:
    """Samples of two operands from two intervals."""

    def samples(rng: np.random.Generator) -> Any:
        for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
            yield (
                [
                    draw(rng, *first, low=low, high=high),
                    draw(rng, *second, low=below, high=above),
                ],
                {},
            )

    return samples


def _whole_orders(rng: np.random.Generator) -> Any:
    """Whole x, by which there is no gradient."""
    for first, second in (((7,), (7,)), ((3, 5), (5,)), ((), ()), ((0, 2), (0, 2))):
        yield [ints(rng, *first, low=2, high=9), draw(rng, *second, low=0.5, high=6.0)], {}


ZETA: Op = map_op(
    "zeta",
    2,
    F.zeta,
    vjp=lambda gradient, out, left, right: (
        _no_slope,
        lambda: multiply(negative(gradient), multiply(left, bind(ZETA, add(left, 1.0), right))),
    ),
    reference=true.oracle(true.zeta),
    result="float",
    accepts="f",
    samples=_whole_orders,
    ulp=4.0,
    doc="The sum of (q + k)^-x over k = 0, 1, 2, ...",
)


@public(hybrid=False, special=True)
def zeta(x: Tensor, q: Any = None) -> Tensor:
    """The Hurwitz zeta function: the sum of (q + k)^-x over k = 0, 1, 2, ...; Riemann's, q = 1,
    where q is None.

    Infinite for x = 1 and for q = 0, -1, -2, ...; NaN for x < 1 and other negative q.  The gradient
    is that by q; by x it raises UnsupportedError.

    >>> hybrid.special.zeta(hybrid.tensor([2.0, 4.0]))
    tensor([1.6449, 1.0823])
    >>> hybrid.special.zeta(2.0, hybrid.tensor([1.0, 10.0]))
    tensor([1.6449, 0.1052])
    """
    return bind(ZETA, x, 1.0 if q is None else q)


# ---- beta
def _by_logarithm(place: int) -> Callable[..., Any]:
    return true.oracle(lambda a, b: true.beta(a, b)[place])


def _log_slope(operand: Tensor, total: Tensor) -> Tensor:
    return subtract(digamma(operand), digamma(total))


betaln: Function = public(
    map_op(
        "betaln",
        2,
        F.betaln,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, _log_slope(left, add(left, right))),
            lambda: multiply(gradient, _log_slope(right, add(left, right))),
        ),
        reference=_by_logarithm(1),
        result="float",
        accepts="f",
        samples=_two(0.5, 6.0, 7.0, 20.0),
        ulp=10.0,
        doc="""log |beta(a, b)|, exact for large arguments too.  Infinite where a or b is 0, -1, ...
        Next to its zeros the error is 10 last places of 1.

        >>> hybrid.special.betaln(hybrid.tensor([0.5, 1e6]), 2.0)
        tensor([  0.2877, -27.631 ])
        """,
    ),
    hybrid=False,
    special=True,
)
beta: Function = public(
    map_op(
        "beta",
        2,
        F.beta,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, multiply(out, _log_slope(left, add(left, right)))),
            lambda: multiply(gradient, multiply(out, _log_slope(right, add(left, right)))),
        ),
        reference=_by_logarithm(0),
        result="float",
        accepts="f",
        samples=_two(0.5, 4.0, 0.5, 6.0),
        ulp=8.0,
        doc="""gamma(a) gamma(b) / gamma(a + b).  Infinite where a or b is 0, -1, -2, ...  The error
        is 8 last places while all three are finite; beyond, the relative error is 10 last places of
        betaln(a, b).

        >>> hybrid.special.beta(hybrid.tensor([0.5, 2.0]), 3.0)
        tensor([1.0667, 0.0833])
        """,
    ),
    hybrid=False,
    special=True,
)


def _binom_reference(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    below = true.beta(n - k + 1, k + 1)[0] * (n + 1)
    result = np.where((k == np.floor(k)) & (k < 0), 0.0, 1 / below)
    return np.where((n < 0) & (np.floor(n) == n), np.nan, result)


def _binom_slope(operand: Tensor, other: Tensor) -> Tensor:
    return subtract(digamma(operand), digamma(other))


binom: Function = public(
    map_op(
        "binom",
        2,
        F.binom,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(
                gradient,
                multiply(out, _binom_slope(add(left, 1.0), add(subtract(left, right), 1.0))),
            ),
            lambda: multiply(
                gradient,
                multiply(out, _binom_slope(add(subtract(left, right), 1.0), add(right, 1.0))),
            ),
        ),
        reference=true.oracle(_binom_reference),
        result="float",
        accepts="f",
        samples=_two(4.0, 9.0, 0.3, 3.0),
        ulp=16.0,
        doc="""The binomial coefficient of real arguments: gamma(n + 1) / (gamma(k + 1) gamma(n - k
        + 1)).  Exact for whole n and k < 20 while products are whole numbers of the dtype; else the
        relative error is that of `beta`.  NaN for n = -1, -2, ...

        >>> hybrid.special.binom(hybrid.tensor([5.0, 40.0, 2.5]), 2)
        tensor([ 10.   , 780.   ,   1.875])
        """,
    ),
    hybrid=False,
    special=True,
)


@public(hybrid=False, special=True)
def comb(N: Tensor, k: Tensor, *, exact: bool = False, repetition: bool = False) -> Tensor:  # noqa: N803
    """The number of ways to choose k things out of N, as a floating number; 0 where k > N or one is
    negative.  `repetition` counts choices that may take a thing again.

    Raises ArgumentError for exact=True: `math.comb` counts in whole numbers.

    >>> hybrid.special.comb(hybrid.tensor([5, 10, 3]), 4)
    tensor([  5., 210.,   0.])
    """
    if exact:
        raise ArgumentError("comb: exact=True is for Python's integers; use math.comb")
    count, chosen = as_tensor(N), as_tensor(k)
    if repetition:
        count = subtract(add(count, chosen), 1)
    inside = logical_and(less_equal(chosen, count), greater_equal(chosen, 0))
    inside = logical_and(inside, greater_equal(count, 0))
    return where(inside, binom(count, chosen), 0.0)


@public(hybrid=False, special=True)
def factorial(n: Tensor, exact: bool = False) -> Tensor:
    """n! = gamma(n + 1) as a floating number, 0 for n < 0.

    Raises ArgumentError for exact=True: `math.factorial` counts in whole numbers.

    >>> hybrid.special.factorial(hybrid.tensor([0, 5, 10, -1]))
    tensor([1.0000e+00, 1.2000e+02, 3.6288e+06, 0.0000e+00])
    """
    if exact:
        raise ArgumentError("factorial: exact=True is for Python's integers; use math.factorial")
    n = as_tensor(n)
    return where(less(n, 0), 0.0, gamma(add(n, 1)))


@public(hybrid=False, special=True)
def multigammaln(a: Tensor, d: int) -> Tensor:
    """log of the multivariate gamma function of dimension d; NaN unless a > (d - 1) / 2.

    Raises ArgumentError unless d is a positive whole number.

    >>> hybrid.special.multigammaln(hybrid.tensor([2.0, 10.0]), 3)
    tensor([ 1.5963, 36.8129])
    """
    size = whole(d, "d")
    if size < 1:
        raise ArgumentError(f"multigammaln: d is {size}; it must be positive")
    a = as_tensor(a)
    total = gammaln(a)
    for place in range(1, size):
        total = add(total, gammaln(subtract(a, place / 2)))
    total = add(total, size * (size - 1) / 4 * math.log(math.pi))
    return where(greater(a, (size - 1) / 2), total, math.nan)
