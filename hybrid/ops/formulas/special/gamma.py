"""The gamma function, the logarithm of its magnitude, its sign, and digamma.

Invariant: for positive arguments the relative error is bounded over the whole range; for negative
ones the error is relative to the terms of the reflection, whose sum has zeros.
Method: from 8 on Stirling's series (DLMF 5.11.1, 5.11.2) as a polynomial in 1/x^2; below, the
functions with their zeros divided out are smooth in (x - c)/(x + c), and gamma is its value on
[1, 2) times whole steps.  Negative arguments: DLMF 5.5.3 and 5.5.4 with gamma(-y), whose y = |x| is
exact where 1 - x is not.
"""

from __future__ import annotations

import math

from ....ir.scalar.program import Builder, Val
from ..logarithm import log
from ..power import exp2_pair, log2_pair
from ..tools import FORMAT, INF, NAN, clamp, fast_two_sum, horner, two_prod, two_sum
from ..trig import cos_turns, sin_turns
from .tables.gamma import (
    DIGAMMA_MIDDLE,
    DIGAMMA_NEAR,
    DIGAMMA_REST,
    GAMMA_FACTOR,
    GAMMA_UNIT,
    LGAMMA_MIDDLE,
    LGAMMA_NEAR,
    STIRLING,
)

Table = dict[str, tuple[float, ...]]
__all__ = [
    "digamma",
    "gamma",
    "gammaln",
    "gamma_small",
    "gammasgn",
    "half_turns",
    "log_gamma_ratio",
    "odd",
]

_STIRLING_FROM = 8.0
_STEPS = 6  # from [1, 2) to [7, 8)
_HALF_LOG_2PI_E = 0.4189385332046728  # (log(2 pi) - 1) / 2
# the zero of digamma, less 1, in two parts
_ZERO_LESS_ONE = {
    "f32": (0.4616321325302124, 1.2438149938918909e-08),
    "f64": (0.46163214496836236, -1.5522348162858677e-17),
}
_LOG2E = {
    "f32": (1.4426950216293335, 1.9259629911266175e-08),
    "f64": (1.4426950408889634, 2.0355273740931033e-17),
}


def half_turns(algebra: Builder, x: Val) -> Val:
    """The turns of pi*x, less whole half turns: for sines and cosines up to the sign, which is that
    of the parity of the whole number next to x.  Exact; x not finite gives NaN."""
    return (x - algebra.rint(x)) * 0.5


def odd(algebra: Builder, whole: Val) -> Val:
    """Whether a whole number is odd."""
    half = whole * 0.5
    return algebra.trunc(half) != half


def _shifted_small(algebra: Builder, x: Val) -> tuple[Val, Val, Val]:
    """(small, less_one, x): where x < 1 it is x + 1, and less_one is x - 1 of that, exact."""
    small = x < 1.0
    return small, algebra.select(small, x, x - 1.0), algebra.select(small, x + 1.0, x)


def _two_pieces(algebra: Builder, x: Val, near: Table, near_centre: float, middle: Table) -> Val:
    """The polynomial of [.., 3) or that of [3, 8), each in its transformed variable."""
    first = horner(algebra, (x - near_centre) / (x + near_centre), near[x.type])
    second = horner(algebra, (x - 5.0) / (x + 5.0), middle[x.type])
    return algebra.select(x < 3.0, first, second)


def log_gamma_ratio(algebra: Builder, x: Val) -> Val:
    """log(gamma(x)) / ((x - 1) (x - 2)) for 1/2 <= x < 8."""
    return _two_pieces(algebra, x, LGAMMA_NEAR, 1.25, LGAMMA_MIDDLE)


def _log_gamma(algebra: Builder, x: Val) -> Val:
    """log(gamma(x)) for x >= 0."""
    tiny = x < 0.5  # log gamma(x) = log gamma(1 + x) - log x
    less_one = algebra.select(tiny, x, x - 1.0)
    less_two = algebra.select(tiny, x - 1.0, x - 2.0)
    moved = algebra.select(tiny, x + 1.0, x)
    ratio = log_gamma_ratio(algebra, moved)
    near = less_one * less_two * ratio + 0.0  # 0 at 1, without a sign
    logarithm = log(algebra, x)
    near = algebra.select(tiny, near - logarithm, near)
    inverse = 1.0 / x
    series = inverse * horner(algebra, inverse * inverse, STIRLING[x.type])
    # (x - 1/2) (log x - 1) does not cancel against the rest
    far = algebra.fma(x - 0.5, logarithm - 1.0, series + _HALF_LOG_2PI_E)
    result = algebra.select(x < _STIRLING_FROM, near, far)
    return algebra.select(x == INF, x, result)


def gammaln(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    above = _log_gamma(algebra, magnitude)
    # log(pi / (y sin(pi y))) - log gamma(y); both near 0 for y < 1, where gamma(1 + y) has no pole
    sine = algebra.abs(sin_turns(algebra, half_turns(algebra, magnitude)))
    below = log(algebra, math.pi / (sine * magnitude)) - above
    infinite = algebra.const(x.type, INF)
    below = algebra.select(sine == 0, infinite, below)
    tiny = magnitude < FORMAT[x.type].eps ** 2  # -log |x|, and the sine may be subnormal
    result = algebra.select((x < 0) & ~tiny, below, above)
    return algebra.select(x == -INF, x, result)


def gammasgn(algebra: Builder, x: Val) -> Val:
    below = algebra.floor(x)
    negative = algebra.select(odd(algebra, below), algebra.const(x.type, -1.0), 1.0)
    negative = algebra.select(below == x, NAN, negative)
    result = algebra.select(x < 0, negative, algebra.copysign(algebra.const(x.type, 1.0), x))
    result = algebra.select(x > 0, 1.0, result)
    return algebra.select((x == x) & (x != -INF), result, NAN)


def gamma_small(algebra: Builder, x: Val) -> Val:
    """gamma for 1 <= x < 8, and gamma(1 + x) for x < 1."""
    whole = clamp(algebra, algebra.floor(x), 0.0, 7.0)
    part = x - whole  # exact; the value on [1, 2) is a polynomial in the distance from 3/2
    result = horner(algebra, part - 0.5, GAMMA_UNIT[x.type])
    for step in range(1, _STEPS + 1):
        factor = x - float(step)  # exact, too
        result = algebra.select(whole > step, result * factor, result)
    return result


def _stirling_power(algebra: Builder, x: Val, sign: Val, shift: float) -> Val:
    """(x^(x - 1/2) e^-x)^sign 2^shift (shift only for a negative sign), through base 2 in pairs."""
    high, low = log2_pair(algebra, x)
    exponent = x - 0.5
    product, product_low = two_prod(algebra, exponent, high)
    product_low = algebra.fma(exponent, low, product_low)
    two, two_low = _LOG2E[x.type]
    linear, linear_low = two_prod(algebra, x, algebra.const(x.type, two))
    total, rest = fast_two_sum(product, -linear)
    # fast_two_sum wants the larger first: x^(x - 1/2) > e^x from 4 on
    rest = rest + (product_low - algebra.fma(x, two_low, linear_low))
    back = algebra.select(sign < 0, shift, algebra.const(x.type, 0.0))
    total, more = two_sum(total, back * sign)
    return exp2_pair(algebra, total * sign, (rest + more) * sign)


def gamma(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    one = algebra.const(x.type, 1.0)
    negative = x < 0
    sign = algebra.select(negative, -1.0, one)
    # beyond, gamma overflows and its reflection is 0
    limit, shift = (46.0, 48.0) if x.type == "f32" else (190.0, 100.0)
    y = clamp(algebra, magnitude, None, limit)
    sine = sin_turns(algebra, half_turns(algebra, magnitude))
    sine = algebra.select(odd(algebra, algebra.rint(magnitude)), -sine, sine)
    small = gamma_small(algebra, y)
    below_one = y < 1.0
    reflected = -math.pi / (sine * algebra.select(below_one, small, small * y))
    near = algebra.select(
        negative, reflected, algebra.select(below_one, small / algebra.select(y > 0, y, x), small)
    )
    power = _stirling_power(algebra, clamp(algebra, y, 4.0, None), sign, shift)
    factor = horner(algebra, 1.0 / y, GAMMA_FACTOR[x.type])
    # 2^shift keeps the reflection out of the subnormal numbers until its last product
    far = algebra.select(
        negative, power * (-math.pi / (sine * y * factor)) * 2.0**-shift, power * factor
    )
    result = algebra.select(y < _STIRLING_FROM, near, far)
    result = algebra.select(negative & (algebra.rint(magnitude) == magnitude), NAN, result)
    return algebra.select(x == INF, x, algebra.select(x == -INF, NAN, result))


def digamma(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    small, less_one, moved = _shifted_small(algebra, magnitude)
    ratio = _two_pieces(algebra, moved, DIGAMMA_NEAR, 1.75, DIGAMMA_MIDDLE)
    zero, zero_low = _ZERO_LESS_ONE[x.type]
    near = ((less_one - zero) - zero_low) * ratio
    inverse = 1.0 / magnitude
    square = inverse * inverse
    rest = algebra.fma(square, horner(algebra, square, DIGAMMA_REST[x.type]), inverse * 0.5)
    far = log(algebra, magnitude) - rest
    value = algebra.select(magnitude < _STIRLING_FROM, near, far)  # at 1 + |x| where that is small
    above = algebra.select(small, value - 1.0 / x, value)
    turns = half_turns(algebra, magnitude)
    cotangent = cos_turns(algebra, turns) / sin_turns(algebra, turns)
    below = algebra.select(small, value, value + inverse) + math.pi * cotangent
    below = algebra.select(turns == 0, NAN, below)
    # next to 0 it is -1/x to the last place, and the sine may be subnormal
    tiny = magnitude < FORMAT[x.type].eps ** 2
    result = algebra.select((x < 0) & ~tiny, below, above)
    return algebra.select(x == INF, x, result)
