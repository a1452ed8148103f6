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
from .tables.gamma import STIRLING

__all__ = ["beta", "betaln", "binom"]

_LARGE = 8.0  # as for Stirling's series
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_FINITE = {"f32": 34.0, "f64": 170.0}  # gamma does not overflow up to here
_SMALL = {"f32": 1e-30, "f64": 1e-300}  # nor below 1 down to here
_STEPS = 20


def _stirling(algebra: Builder, operand: Val) -> Val:
    inverse = 1.0 / operand
    return inverse * horner(algebra, inverse * inverse, STIRLING[operand.type])


def betaln(algebra: Builder, left: Val, right: Val) -> Val:
    """log |gamma(a) gamma(b) / gamma(a + b)|."""
    swap = left < right
    small, large = algebra.select(swap, left, right), algebra.select(swap, right, left)
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
    infinite = algebra.const(left.type, INF)
    poles = [(operand <= 0) & (algebra.floor(operand) == operand) for operand in (small, large)]
    result = algebra.select((large == INF) & (small > 0), -infinite, result)
    result = algebra.select(poles[0] | poles[1], infinite, result)
    return algebra.select((left == left) & (right == right), result, NAN)


def beta(algebra: Builder, left: Val, right: Val) -> Val:
    total, lost = two_sum(left, right)
    # what a + b lost counts as often as the logarithm of gamma is steep
    steep = log(algebra, total) - 0.5 / total
    correction = algebra.select(total > 1.0, lost * steep, 0.0)
    over = gamma(algebra, total)
    # the larger gamma first: their quotient is near the other one's reciprocal
    first, second = gamma(algebra, left), gamma(algebra, right)
    swap = algebra.abs(first) < algebra.abs(second)
    larger, smaller = algebra.select(swap, second, first), algebra.select(swap, first, second)
    plain = larger / over * smaller
    plain = algebra.fma(plain, -correction, plain)
    logarithm = betaln(algebra, left, right)
    sign = gammasgn(algebra, left) * gammasgn(algebra, right) * gammasgn(algebra, total)
    far = sign * exp(algebra, logarithm)
    limit, least = _FINITE[left.type], _SMALL[left.type]
    inside = [
        (algebra.abs(operand) < limit) & (algebra.abs(operand) > least)
        for operand in (left, right, total)
    ]
    result = algebra.select(inside[0] & inside[1] & inside[2], plain, far)
    result = algebra.select(logarithm == INF, logarithm, result)
    result = algebra.select(logarithm == -INF, 0.0, result)  # a + b is a pole, or too large
    return algebra.select(logarithm == logarithm, result, NAN)


def binom(algebra: Builder, total_count: Val, chosen: Val) -> Val:
    """n! / (k! (n - k)!): a product for small whole k, which is exact while it is below the number
    of digits; else 1 / ((n + 1) beta(n - k + 1, k + 1))."""
    whole = algebra.floor(chosen) == chosen
    other = total_count - chosen
    mirror = (
        (algebra.floor(total_count) == total_count)
        & (total_count > 0)
        & (chosen > total_count * 0.5)
    )
    steps = algebra.select(mirror, other, chosen)
    product = algebra.const(total_count.type, 1.0)
    for step in range(1, _STEPS):
        part = product * (total_count - steps + float(step)) / float(step)
        product = algebra.select(steps >= float(step), part, product)
    general = 1.0 / ((total_count + 1.0) * beta(algebra, other + 1.0, chosen + 1.0))
    result = algebra.select(whole & (steps >= 0) & (steps < float(_STEPS)), product, general)
    outside = (
        whole & (chosen < 0) & ~((total_count < 0) & (algebra.floor(total_count) == total_count))
    )
    result = algebra.select(outside, 0.0, result)
    poles = (total_count < 0) & (algebra.floor(total_count) == total_count)
    return algebra.select(poles | (total_count != total_count) | (chosen != chosen), NAN, result)
