"""The regularised incomplete beta function; alpha, omega and point are DLMF's a, b and x.

Invariant: the side of the mean that x is on is computed, the other is 1 minus it, but where a small
parameter makes that one small (`beta_rest`); x and 1 - x are both given, neither is made of the
other; every sum has a fixed number of terms, enough wherever it is taken.
Method: a continued fraction (DLMF 8.17.22) from its end; where a and b are at least 20 and x is
near the mean, Laplace's method to all orders (`_slopes`).
"""

from __future__ import annotations

from ....ir.scalar.program import Builder, Val
from ..error import erfcx_numerator
from ..logarithm import log_tail
from ..power import exp2_pair, log2_pair
from ..tools import INF, NAN, Pair, clamp, divide_pair, horner, two_prod, two_sum
from .beta_rest import Share, chosen, rest_of_small
from .gamma import gamma_small
from .tables.gamma import GAMMA_FACTOR

__all__ = ["beta_density", "betainc", "betaincc", "of_shares"]

_LARGE = 20.0
_REACH = 0.49  # T^2 / min(a, b) up to which the series serves
_DEPTH = {"f32": 22, "f64": 80}
_SLOW = {"f32": 0.9, "f64": 1.2}  # below, x (a + b) is too small for the other side's fraction
_FAR = 0.1  # but where x is not
_TERMS = {"f32": 13, "f64": 27}
_CLOSE = {"f32": 2.0**-7, "f64": 2.0**-10}
_LIMIT = {"f32": 155.0, "f64": 1090.0}
_LITTLE = 1.0
_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453
_ROOT_HALF = 0.7071067811865476


def _power(algebra: Builder, total: Val, rest: Val) -> Val:
    limit = _LIMIT[total.type]
    inside = algebra.abs(total) < limit
    return exp2_pair(
        algebra, clamp(algebra, total, -limit, limit), algebra.select(inside, rest, 0.0)
    )


def _gamma_scaled(algebra: Builder, argument: Val) -> Val:
    """gamma(z + 1) e^z z^-z: 1 at 0, sqrt(2 pi z) for large z."""
    small = argument < 8.0
    limited = clamp(algebra, argument, None, 8.0)
    value = gamma_small(algebra, limited)
    value = algebra.select(argument < 1.0, value, value * argument)
    high, low = log2_pair(algebra, limited)
    product, product_low = two_prod(algebra, limited, high)
    product_low = algebra.fma(limited, low, product_low)
    total, lost = two_sum(limited * _LOG2E, -product)
    near = value * _power(algebra, total, lost - product_low)
    far = algebra.sqrt(argument) * horner(algebra, 1.0 / argument, GAMMA_FACTOR[argument.type])
    return algebra.select(small, algebra.select(argument > 0, near, 1.0), far)


def _log2_ratio(algebra: Builder, point: Share, total: Pair, alpha: Val) -> Pair:
    """log2(x (a + b) / a)."""
    value, value_low = point.high, point.low
    if point.far is not None:
        value = algebra.select(point.far, 1.0, value)
        value_low = algebra.select(point.far, 0.0, value_low)
    product, low = two_prod(algebra, value, total[0])
    low = low + algebra.fma(value, total[1], value_low * total[0])
    quotient, quotient_low = divide_pair(algebra, product, alpha, low)
    high, rest = log2_pair(algebra, quotient)
    rest = algebra.fma(quotient_low / quotient, _LOG2E, rest)
    if point.far is None or point.log2 is None:
        return high, rest
    high, lost = two_sum(high, algebra.select(point.far, point.log2[0], 0.0))
    return high, rest + (lost + algebra.select(point.far, point.log2[1], 0.0))


def _distance(algebra: Builder, alpha: Val, omega: Val, point: Share, opposite: Share) -> Val:
    """b x - a y."""
    first, first_low = two_prod(algebra, point.high, omega)
    second, second_low = two_prod(algebra, opposite.high, alpha)
    lows = point.low * omega - opposite.low * alpha
    return (first - second) + ((first_low - second_low) + lows)


def _exponent(
    algebra: Builder, alpha: Val, omega: Val, point: Share, opposite: Share, total: Pair
) -> Pair:
    """log2 of x^a y^b / (mean^a (1 - mean)^b), at most 0, and its low part."""
    parts = []
    for power, value in ((alpha, point), (omega, opposite)):
        high, low = _log2_ratio(algebra, value, total, power)
        product, product_low = two_prod(algebra, power, high)
        parts.append((product, algebra.fma(power, low, product_low)))
    high, low = two_sum(parts[0][0], parts[1][0])
    high, low = two_sum(high, low + (parts[0][1] + parts[1][1]))
    # next to the mean the two cancel: there by differences
    distance = _distance(algebra, alpha, omega, point, opposite)
    left, right = distance / alpha, -distance / omega
    near = alpha * log_tail(algebra, left) + omega * log_tail(algebra, right)
    close = (algebra.abs(left) < _CLOSE[alpha.type]) & (algebra.abs(right) < _CLOSE[alpha.type])
    zero = algebra.const(alpha.type, 0.0)
    return algebra.select(close, near * _LOG2E, high), algebra.select(close, zero, low)


def _slopes(algebra: Builder, alpha: Val, omega: Val, total: Val) -> list[Val]:
    """Coefficients of dt/dT in powers of T, where t = log(x/(1 - x)) and the integrand is
    e^(-T^2/2): W, the scaled derivative of its exponent, obeys W W' = T (1 + skew W - W^2/(a + b)),
    as the logistic function's q' = q (1 - q) makes it an equation in T alone, and dt/dT = T/W."""
    count = _TERMS[alpha.type]
    inverse = 1.0 / total
    skew = (omega / total - alpha / total) / (algebra.sqrt(alpha) * algebra.sqrt(omega / total))
    zero, one = algebra.const(alpha.type, 0.0), algebra.const(alpha.type, 1.0)
    waves, squares = [zero, one], [zero, zero, one]  # of W and W^2
    for place in range(2, count + 1):
        right = skew * waves[place - 1] - inverse * squares[place - 1]
        squares.append(right * (2.0 / (place + 1)))
        inner = zero
        for index in range(2, (place + 1) // 2 + 1):
            other = place + 1 - index
            weight = 1.0 if other == index else 2.0
            if other >= index:
                inner = algebra.fma(waves[index] * weight, waves[other], inner)
        waves.append((squares[place + 1] - inner) * 0.5)
    slopes = [one]
    for place in range(1, count):
        inner = zero
        for index in range(1, place + 1):
            inner = algebra.fma(waves[index + 1], slopes[place - index], inner)
        slopes.append(-inner)
    return slopes


def _laplace(algebra: Builder, alpha: Val, omega: Val, total: Val, power: Val, place: Val) -> Val:
    """The lower function for x at T = `place`, power = e^(-T^2/2)."""
    root = algebra.abs(place) * _ROOT_HALF
    normal = erfcx_numerator(algebra, root) * 0.25 / (root + 0.5)
    front = horner(algebra, 1.0 / total, GAMMA_FACTOR[alpha.type]) / (
        horner(algebra, 1.0 / alpha, GAMMA_FACTOR[alpha.type])
        * horner(algebra, 1.0 / omega, GAMMA_FACTOR[alpha.type])
    )
    slopes = _slopes(algebra, alpha, omega, total)
    zero, one = algebra.const(alpha.type, 0.0), algebra.const(alpha.type, 1.0)
    moments, power_of = [zero, one], place
    for order in range(2, len(slopes)):
        moments.append(algebra.fma(moments[order - 2], float(order - 1), power_of))
        power_of = power_of * place
    series = zero
    for slope, moment in reversed(list(zip(slopes, moments))[1:]):
        series = algebra.fma(slope, moment, series)
    upper = place > 0
    part = power * (algebra.select(upper, -normal, normal) - front * series)
    return algebra.select(upper, 1.0 + part, part)


def _fraction(
    algebra: Builder, alpha: Val, omega: Val, point: Share, opposite: Share, total: Val
) -> Val:
    """What x^a y^b / (a beta(a, b)) is divided by: the even part of the continued fraction, whose
    terms are positive on this side of the mean (DiDonato and Morris, ACM TOMS 18, 1992)."""
    margin = 1.0 - _distance(
        algebra, alpha, omega, point, opposite
    )  # a y - b x + 1 does not cancel in x near 1
    above = opposite.high + 1.0
    result = _partial(alpha, omega, point.high, above, margin, _DEPTH[alpha.type])
    for step in reversed(range(1, _DEPTH[alpha.type] + 1)):
        share = 1.0 / (alpha + float(2 * step - 1))
        top = (alpha + float(step - 1)) * share * ((total + float(step - 1)) * point.high * share)
        top = top * ((omega - float(step)) * point.high * float(step))
        result = _partial(alpha, omega, point.high, above, margin, step - 1) + top / result
    return result / alpha


def _partial(alpha: Val, omega: Val, point: Val, above: Val, margin: Val, step: int) -> Val:
    result = (alpha + float(step)) / (alpha + float(2 * step + 1)) * (margin + above * float(step))
    if step == 0:
        return result
    return result + (
        float(step) + (omega - float(step)) * point * float(step) / (alpha + float(2 * step - 1))
    )


def _front(
    algebra: Builder, alpha: Val, omega: Val, point: Share, opposite: Share, total: Pair
) -> tuple[Val, Val, Val]:
    """(x^a y^b / (a beta(a, b)), e^(-T^2/2), -T^2/2 in base 2)."""
    exponent, rest = _exponent(algebra, alpha, omega, point, opposite, total)
    power = _power(algebra, exponent, rest)
    scales = [_gamma_scaled(algebra, argument) for argument in (alpha, omega, total[0])]
    return power * (omega / total[0] * scales[2] / (scales[0] * scales[1])), power, exponent


def _smaller(algebra: Builder, alpha: Val, omega: Val, point: Share, opposite: Share) -> Val:
    """The lower function for x below (a + 1)/(a + b + 2)."""
    total = two_sum(alpha, omega)
    front, power, exponent = _front(algebra, alpha, omega, point, opposite, total)
    plain = front / _fraction(algebra, alpha, omega, point, opposite, total[0])
    height = algebra.max(-exponent * _LN2, algebra.const(alpha.type, 0.0))  # T^2 / 2
    below = point.high * omega < opposite.high * alpha
    place = algebra.sqrt(height + height)
    place = algebra.select(below, -place, place)
    smallest = algebra.min(alpha, omega)
    series = (smallest >= _LARGE) & (height + height <= smallest * _REACH)
    return algebra.select(series, _laplace(algebra, alpha, omega, total[0], power, place), plain)


def beta_density(algebra: Builder, alpha: Val, omega: Val, point: Val) -> Val:
    """x^(a - 1) (1 - x)^(b - 1) / beta(a, b) for a, b > 0 and 0 < x < 1."""
    low, rest = _shares(algebra, point)
    front, _, _ = _front(algebra, alpha, omega, low, rest, two_sum(alpha, omega))
    inside = (alpha > 0) & (omega > 0) & (point > 0) & (point < 1.0)
    return algebra.select(inside, front * (alpha / point / rest.high), NAN)


def _shares(algebra: Builder, point: Val) -> tuple[Share, Share]:
    """x and 1 - x."""
    rest, lost = two_sum(algebra.const(point.type, 1.0), -point)
    return Share(point, algebra.const(point.type, 0.0)), Share(rest, lost)


def of_shares(
    algebra: Builder, alpha: Val, omega: Val, point: Share, rest: Share, upper: bool = False
) -> Val:
    """The lower function (or the upper one) for a, b > 0, where rest is 1 - x."""
    total, slow = alpha + omega + 2.0, _SLOW[point.high.type]
    below_end = (rest.high * total >= slow) | (rest.high >= _FAR)
    above_start = (point.high * total >= slow) | (point.high >= _FAR)
    # what is wanted itself where its parameter is so small that it may be far below 1
    little = (alpha if upper else omega) < _LITTLE
    above = point.high > (alpha + 1.0) / total
    swap = (above | little) if upper else (above & ~little)
    swap = (swap | ~below_end) & (~below_end | above_start)
    first, second = algebra.select(swap, omega, alpha), algebra.select(swap, alpha, omega)
    low, high = chosen(algebra, swap, rest, point), chosen(algebra, swap, point, rest)
    tail = _smaller(algebra, first, second, low, high)
    other = algebra.select(first < 1.0, rest_of_small(algebra, first, second, low), 1.0 - tail)
    return algebra.select(~swap if upper else swap, other, tail)


def _either(algebra: Builder, alpha: Val, omega: Val, point: Val, upper: bool) -> Val:
    zero, one = algebra.const(alpha.type, 0.0), algebra.const(alpha.type, 1.0)
    result = of_shares(algebra, alpha, omega, *_shares(algebra, point), upper)
    none, all_ = (one, zero) if upper else (zero, one)
    result = algebra.select((alpha == 0) | (omega == INF), all_, result)
    result = algebra.select((omega == 0) | (alpha == INF), none, result)
    result = algebra.select(point == 0, none, algebra.select(point == 1.0, all_, result))
    unknown = ((alpha == 0) & (omega == 0)) | ((alpha == INF) & (omega == INF))
    good = (alpha >= 0) & (omega >= 0) & (point >= 0) & (point <= 1.0) & ~unknown
    return algebra.select(good, result, NAN)


def betainc(algebra: Builder, alpha: Val, omega: Val, point: Val) -> Val:
    return _either(algebra, alpha, omega, point, upper=False)


def betaincc(algebra: Builder, alpha: Val, omega: Val, point: Val) -> Val:
    return _either(algebra, alpha, omega, point, upper=True)
