"""The beta function, its logarithm, and binomial coefficients of real arguments.

Invariant: where the gamma functions are finite the error is bounded by their last places; beyond,
the logarithm of beta is a sum without cancellation, and beta has its absolute error as a relative
one.
Method: DLMF 5.12.1; for a large argument the logarithms of Stirling's series (DLMF 5.11.1) are
subtracted term by term.
"""

from __future__ import annotations

import math

from ....ir.scalar.program import Builder, Val
from ..exponential import exp
from ..logarithm import log, log1p
from ..tools import INF, NAN, horner, two_sum
from .gamma import gamma, gammaln, gammasgn
from .gamma_tables import STIRLING

__all__ = ["beta", "betaln", "binom"]

_LARGE = 8.0  # as for Stirling's series
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_FINITE = {"f32": 34.0, "f64": 170.0}  # gamma does not overflow up to here
_SMALL = {"f32": 1e-30, "f64": 1e-300}  # nor below 1 down to here
_STEPS = 20


def _stirling(algebra: Builder, x: Val) -> Val:
    inverse = 1.0 / x
    return inverse * horner(algebra, inverse * inverse, STIRLING[x.type])


def betaln(algebra: Builder, a: Val, b: Val) -> Val:
    """log |gamma(a) gamma(b) / gamma(a + b)|."""
    swap = a < b
    small, large = algebra.select(swap, a, b), algebra.select(swap, b, a)
    total = small + large
    of_small = gammaln(algebra, small)
    plain = of_small + gammaln(algebra, large) - gammaln(algebra, total)
    # log gamma(large) - log gamma(total), term by term
    rest = _stirling(algebra, large) - _stirling(algebra, total)
    rest = rest - (large - 0.5) * log1p(algebra, small / large)
    mixed = of_small + small * (1.0 - log(algebra, total)) + rest
    both = _HALF_LOG_2PI - 0.5 * log(algebra, small) + _stirling(algebra, small)
    both = both - small * log1p(algebra, large / small) + rest
    result = algebra.select(small < _LARGE, mixed, both)
    result = algebra.select((large < _LARGE) | (small < 0), plain, result)
    infinite = algebra.const(a.type, INF)
    poles = [(x <= 0) & (algebra.floor(x) == x) for x in (small, large)]
    result = algebra.select((large == INF) & (small > 0), -infinite, result)
    result = algebra.select(poles[0] | poles[1], infinite, result)
    return algebra.select((a == a) & (b == b), result, NAN)


def beta(algebra: Builder, a: Val, b: Val) -> Val:
    total, lost = two_sum(a, b)
    # what a + b lost counts as often as the logarithm of gamma is steep
    steep = log(algebra, total) - 0.5 / total
    correction = algebra.select(total > 1.0, lost * steep, 0.0)
    over = gamma(algebra, total)
    # the larger gamma first: their quotient is near the other one's reciprocal
    first, second = gamma(algebra, a), gamma(algebra, b)
    swap = algebra.abs(first) < algebra.abs(second)
    larger, smaller = algebra.select(swap, second, first), algebra.select(swap, first, second)
    plain = larger / over * smaller
    plain = algebra.fma(plain, -correction, plain)
    logarithm = betaln(algebra, a, b)
    sign = gammasgn(algebra, a) * gammasgn(algebra, b) * gammasgn(algebra, total)
    far = sign * exp(algebra, logarithm)
    limit, least = _FINITE[a.type], _SMALL[a.type]
    inside = [(algebra.abs(x) < limit) & (algebra.abs(x) > least) for x in (a, b, total)]
    result = algebra.select(inside[0] & inside[1] & inside[2], plain, far)
    result = algebra.select(logarithm == INF, logarithm, result)
    result = algebra.select(logarithm == -INF, 0.0, result)  # a + b is a pole, or too large
    return algebra.select(logarithm == logarithm, result, NAN)


def binom(algebra: Builder, n: Val, k: Val) -> Val:
    """n! / (k! (n - k)!): a product for small whole k, which is exact while it is below the number
    of digits; else 1 / ((n + 1) beta(n - k + 1, k + 1))."""
    whole = algebra.floor(k) == k
    other = n - k
    mirror = (algebra.floor(n) == n) & (n > 0) & (k > n * 0.5)
    steps = algebra.select(mirror, other, k)
    product = algebra.const(n.type, 1.0)
    for step in range(1, _STEPS):
        part = product * (n - steps + float(step)) / float(step)
        product = algebra.select(steps >= float(step), part, product)
    general = 1.0 / ((n + 1.0) * beta(algebra, other + 1.0, k + 1.0))
    result = algebra.select(whole & (steps >= 0) & (steps < float(_STEPS)), product, general)
    outside = whole & (k < 0) & ~((n < 0) & (algebra.floor(n) == n))
    result = algebra.select(outside, 0.0, result)
    poles = (n < 0) & (algebra.floor(n) == n)
    return algebra.select(poles | (n != n) | (k != k), NAN, result)
