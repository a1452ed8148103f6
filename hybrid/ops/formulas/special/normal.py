"""erfcx and the inverses of erf, erfc and the normal distribution function; its logarithm.

Invariant: relative errors are bounded over the whole range, both tails included.
Method of the inverses: with t = sqrt(-log q) the solution of erfc(y) = q is t times a function that
is smooth in (t - c)/(t + c); around q = 1 it is odd in 1 - q.  Differences from 1 and 1/2 are exact
where they are taken.
"""

from __future__ import annotations

import math

from ....ir.scalar.program import Builder, Val
from ..error import erf_near, erfcx_numerator, normal_tail
from ..exponential import exp_limits, exp_parts
from ..logarithm import log, log_of_sum
from ..tools import INF, NAN, clamp, fast_two_sum, horner, two_prod, two_sum
from .tables.normal import CENTRAL, ERFCX_FAR, FAR_TAIL, TAIL

__all__ = ["erfcinv", "erfcx", "erfinv", "log_ndtr", "ndtr", "ndtri"]

_NEAR_CENTRE, _FAR_CENTRE, _BORDER = 2.25, 12.5, 6.075  # as in the tables
_LEAD = {"f32": -1.21871014e-08, "f64": 1.4601e-17}  # what CENTRAL[0] lost in rounding
_ROOT2 = {"f32": (1.41421354, 2.42032368e-08), "f64": (1.4142135623730951, -9.667293313452913e-17)}
_ASYMPTOTIC = 10.0  # erfcx(a) is a series in 1/a^2, over a, from here on
_ROOT_HALF = math.sqrt(0.5)
_FAR_OFF = 1e15  # from here on the logarithm of the tail is -x^2/2 to the last place


def erfcx(algebra: Builder, x: Val) -> Val:
    """e^(x^2) erfc(x): the factor of the tail; for x < 0 what is missing from 2 e^(x^2)."""
    magnitude = algebra.abs(x)
    # a half below the line: 1 + 2a overflows where the result does not vanish yet
    inverse = 1.0 / algebra.select(magnitude < _ASYMPTOTIC, magnitude + 0.5, magnitude)
    near = erfcx_numerator(algebra, magnitude) * 0.5
    far = horner(algebra, inverse * inverse, ERFCX_FAR[x.type])
    scaled = algebra.select(magnitude < _ASYMPTOTIC, near, far) * inverse
    low, high = exp_limits(x.type)
    square, square_low = two_prod(algebra, magnitude, magnitude)
    square_low = algebra.select(square < high, square_low, 0.0)
    square = clamp(algebra, square, None, high)
    excess, power, rest = exp_parts(algebra, square, square_low)
    mantissa = 2.0 * (1.0 + (excess if rest is None else excess + rest))
    negative = mantissa * power * power - scaled
    result = algebra.select(x < 0, negative, scaled)
    return algebra.select(x == x, result, x)


def _central(algebra: Builder, x: Val) -> Val:
    """erfinv for |x| <= 1/2."""
    table = CENTRAL[x.type]
    square = x * x
    rest = algebra.fma(square, horner(algebra, square, table[1:]), _LEAD[x.type])
    return algebra.fma(x, table[0], x * rest)


def _tail(algebra: Builder, q: Val, far: bool) -> Val:
    """y with erfc(y) = q, for 0 < q <= 1/2."""
    t = algebra.sqrt(-log(algebra, q))
    near = (t - _NEAR_CENTRE) / (t + _NEAR_CENTRE)
    factor = horner(algebra, near, TAIL[q.type])
    if far:
        beyond = (t - _FAR_CENTRE) / (t + _FAR_CENTRE)
        factor = algebra.select(t < _BORDER, factor, horner(algebra, beyond, FAR_TAIL[q.type]))
    return t * factor


def erfinv(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    tail = _tail(algebra, 1.0 - magnitude, far=False)
    result = algebra.select(magnitude < 0.5, _central(algebra, magnitude), tail)
    result = algebra.select(magnitude == 1.0, INF, result)
    return algebra.select(magnitude <= 1.0, algebra.copysign(result, x), NAN)


def erfcinv(algebra: Builder, x: Val) -> Val:
    below = x < 1.0
    tail = _tail(algebra, algebra.select(below, x, 2.0 - x), far=True)
    tail = algebra.select(below, tail, -tail)
    inner = algebra.abs(x - 1.0) <= 0.5
    result = algebra.select(inner, _central(algebra, 1.0 - x), tail)
    infinite = algebra.const(x.type, INF)
    result = algebra.select(x == 0, infinite, algebra.select(x == 2.0, -infinite, result))
    return algebra.select((x >= 0) & (x <= 2.0), result, NAN)


def ndtri(algebra: Builder, x: Val) -> Val:
    """-sqrt(2) erfcinv(2x)."""
    below = x < 0.5
    tail = _tail(algebra, 2.0 * algebra.select(below, x, 1.0 - x), far=True)
    inner = algebra.abs(x - 0.5) <= 0.25
    part = algebra.select(
        inner, _central(algebra, 2.0 * (x - 0.5)), algebra.select(below, -tail, tail)
    )
    high, low = _ROOT2[x.type]
    result = algebra.fma(part, high, part * low)
    infinite = algebra.const(x.type, INF)
    result = algebra.select(x == 0, -infinite, algebra.select(x == 1.0, infinite, result))
    return algebra.select((x >= 0) & (x <= 1.0), result, NAN)


def ndtr(algebra: Builder, x: Val) -> Val:
    return _ndtr(algebra, x, normal_tail(algebra, x)[0])


def _ndtr(algebra: Builder, x: Val, tail: Val) -> Val:
    # near 0 it is 1/2 and a small part
    middle = algebra.fma(erf_near(algebra, x * _ROOT_HALF), 0.5, 0.5)
    far = algebra.select(x > 0, 1.0 - tail, tail)
    return algebra.select(algebra.abs(x) < 0.7, middle, far)


def log_ndtr(algebra: Builder, x: Val) -> Val:
    """log(tail / density-like factor) - x^2/2 for x < 0, log(1 - tail) otherwise: one logarithm of
    the one or the other."""
    magnitude = algebra.abs(x)
    tail, _ = normal_tail(algebra, x)
    near = clamp(algebra, magnitude, None, _FAR_OFF) * _ROOT_HALF
    scaled = erfcx_numerator(algebra, near) * 0.5 / algebra.fma(near, 2.0, 1.0)
    total, error = two_sum(algebra.const(x.type, 1.0), -tail)
    middle = magnitude < 0.7
    total = algebra.select(middle, _ndtr(algebra, x, tail), total)
    error = algebra.select(middle, 0.0, error)
    below = x <= -0.7
    zero = algebra.const(x.type, 0.0)
    part = log_of_sum(
        algebra, algebra.select(below, scaled, total), algebra.select(below, zero, error)
    )
    half = magnitude * 0.5
    square = half * magnitude
    lost = algebra.select(square < INF, algebra.fma(half, magnitude, -square), zero)
    high, low = fast_two_sum(-square, part)
    low = algebra.select(square < INF, low - lost, zero)
    result = -algebra.abs(algebra.select(below, high + low, part))
    return algebra.select(x == x, result, x)
