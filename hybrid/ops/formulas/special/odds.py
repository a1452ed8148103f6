"""The distribution functions of Student's t and of the F distribution.

Invariant: x and 1 - x of the incomplete beta function are quotients of pairs, each made without the
other; where one is too small for its type, its logarithm is that of the odds.
"""

from __future__ import annotations

from ....ir.scalar.program import Builder, Val
from ..power import log2_pair
from ..tools import INF, NAN, Pair, clamp, divide_pair, two_prod, two_sum
from .beta_rest import Share
from .incomplete_beta import of_shares

__all__ = ["fdtr", "stdtr"]

_MANY = {"f32": 2.0**60, "f64": 2.0**120}  # degrees of freedom that are as good as infinitely many
_LARGEST = {"f32": 2.0**100, "f64": 2.0**900}
_FAR = {"f32": 2.0**30, "f64": 2.0**60}  # terms next to 1 that are below its last place


def _minus(left: Pair, right: Pair) -> Pair:
    high, low = two_sum(left[0], -right[0])
    return high, low + (left[1] - right[1])


def _quotient(algebra: Builder, part: Pair, total: Pair) -> Pair:
    return two_sum(*divide_pair(algebra, part[0], total[0], part[1], total[1]))


def _lower(
    algebra: Builder, alpha: Val, omega: Val, parts: tuple[Pair, Pair], log_odds: Pair
) -> Val:
    """The lower function for x : (1 - x) = parts[0] : parts[1], where log_odds is log2 of that."""
    (left, left_low), (right, right_low) = parts
    high, low = two_sum(left, right)
    total = two_sum(high, low + (left_low + right_low))
    remoteness = _FAR[alpha.type] * (alpha + omega + 2.0)
    shares = []
    for part, other, sign in ((parts[0], parts[1], 1.0), (parts[1], parts[0], -1.0)):
        quotient = _quotient(algebra, part, total)
        negligible = part[0] * remoteness < other[0]
        shares.append(Share(*quotient, negligible, (log_odds[0] * sign, log_odds[1] * sign)))
    return of_shares(algebra, alpha, omega, shares[0], shares[1])


def stdtr(algebra: Builder, freedom: Val, place: Val) -> Val:
    most_freedom, largest = _MANY[place.type], _LARGEST[place.type]
    kept = clamp(algebra, freedom, None, most_freedom)
    alpha, omega = kept * 0.5, algebra.const(place.type, 0.5)
    magnitude = algebra.abs(place)
    limited = clamp(algebra, magnitude, None, largest**0.5)
    square, square_low = two_prod(algebra, limited, limited)
    high, low = log2_pair(algebra, algebra.select(magnitude < INF, magnitude, 1.0))
    odds = _minus(log2_pair(algebra, kept), (high + high, low + low))
    zero = algebra.const(place.type, 0.0)
    tails = _lower(algebra, alpha, omega, ((kept, zero), (square, square_low)), odds) * 0.5
    tails = algebra.select(magnitude == 0, omega, algebra.select(magnitude == INF, zero, tails))
    result = algebra.select(place > 0, 1.0 - tails, tails)
    return algebra.select((freedom > 0) & (place == place), result, NAN)


def fdtr(algebra: Builder, upper: Val, lower: Val, place: Val) -> Val:
    most_freedom, largest = _MANY[place.type], _LARGEST[place.type]
    first, second = (
        clamp(algebra, upper, None, most_freedom),
        clamp(algebra, lower, None, most_freedom),
    )
    product, product_low = two_prod(algebra, first, place)
    overflows = product > largest
    product = algebra.select(overflows, largest, product)
    product_low = algebra.select(overflows, 0.0, product_low)
    high, low = log2_pair(algebra, first)
    place_high, place_low = log2_pair(algebra, place)
    total, lost = two_sum(high, place_high)
    odds = _minus((total, lost + (low + place_low)), log2_pair(algebra, second))
    zero = algebra.const(place.type, 0.0)
    parts = ((product, product_low), (second, zero))
    result = _lower(algebra, first * 0.5, second * 0.5, parts, odds)
    result = algebra.select(place == 0, 0.0, algebra.select(place == INF, 1.0, result))
    return algebra.select((upper > 0) & (lower > 0) & (place >= 0), result, NAN)
