"""The regularised incomplete beta function.

Invariant: the side of the mean that x is on is computed, the other is 1 minus it; every sum has a
fixed number of terms, enough wherever it is taken.
Method: the continued fraction DLMF 8.17.22 from its end for x < (a + 1)/(a + b + 2).  Where a and b
are both at least 20 and x is near the mean, Laplace's method to all orders in t = log(x/(1 - x)):
the integrand is e^(-T^2/2), and dt/dT is a power series whose coefficients follow from W W' = T (1
+ rho W - W^2/(a + b)), W the scaled derivative of the exponent, by which the logistic function's
q' = q (1 - q) becomes an equation in T alone; integrated by parts it gives the normal distribution
and terms of e^(-T^2/2).
"""

from __future__ import annotations

from ....ir.scalar.program import Builder, Val
from ..error import erfcx_numerator
from ..logarithm import log_tail
from ..power import exp2_pair, log2_pair
from ..tools import INF, NAN, Pair, clamp, divide_pair, horner, two_prod, two_sum
from .gamma import gamma_small
from .gamma_tables import GAMMA_FACTOR

__all__ = ["beta_density", "betainc", "betaincc"]

_LARGE = 20.0
_REACH = 0.49  # T^2 / min(a, b) up to which the series serves
_DEPTH = {"f32": 22, "f64": 58}
_SLOW = {"f32": 0.9, "f64": 1.8}  # below, x (a + b) is too small for the other side's fraction
_TERMS = {"f32": 13, "f64": 27}
_CLOSE = {"f32": 2.0**-7, "f64": 2.0**-10}
_LIMIT = {"f32": 155.0, "f64": 1090.0}
_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453
_ROOT_HALF = 0.7071067811865476


def _power(algebra: Builder, total: Val, rest: Val) -> Val:
    limit = _LIMIT[total.type]
    inside = algebra.abs(total) < limit
    return exp2_pair(
        algebra, clamp(algebra, total, -limit, limit), algebra.select(inside, rest, 0.0)
    )


def _gamma_scaled(algebra: Builder, z: Val) -> Val:
    """gamma(z + 1) e^z z^-z: 1 at 0, sqrt(2 pi z) for large z."""
    small = z < 8.0
    limited = clamp(algebra, z, None, 8.0)
    value = gamma_small(algebra, limited)
    value = algebra.select(z < 1.0, value, value * z)
    high, low = log2_pair(algebra, limited)
    product, product_low = two_prod(algebra, limited, high)
    product_low = algebra.fma(limited, low, product_low)
    total, lost = two_sum(limited * _LOG2E, -product)
    near = value * _power(algebra, total, lost - product_low)
    far = algebra.sqrt(z) * horner(algebra, 1.0 / z, GAMMA_FACTOR[z.type])
    return algebra.select(small, algebra.select(z > 0, near, 1.0), far)


def _log2_ratio(algebra: Builder, x: Pair, total: Pair, a: Val) -> Pair:
    """log2(x (a + b) / a)."""
    product, low = two_prod(algebra, x[0], total[0])
    low = low + algebra.fma(x[0], total[1], x[1] * total[0])
    quotient, quotient_low = divide_pair(algebra, product, a, low)
    high, rest = log2_pair(algebra, quotient)
    return high, algebra.fma(quotient_low / quotient, _LOG2E, rest)


def _distance(algebra: Builder, a: Val, b: Val, x: Pair, y: Pair) -> Val:
    """b x - a y."""
    first, first_low = two_prod(algebra, x[0], b)
    second, second_low = two_prod(algebra, y[0], a)
    return (first - second) + ((first_low - second_low) + (x[1] * b - y[1] * a))


def _exponent(algebra: Builder, a: Val, b: Val, x: Pair, y: Pair, total: Pair) -> Pair:
    """log2 of x^a y^b / (mean^a (1 - mean)^b), at most 0, and its low part."""
    parts = []
    for power, value in ((a, x), (b, y)):
        high, low = _log2_ratio(algebra, value, total, power)
        product, product_low = two_prod(algebra, power, high)
        parts.append((product, algebra.fma(power, low, product_low)))
    high, low = two_sum(parts[0][0], parts[1][0])
    high, low = two_sum(high, low + (parts[0][1] + parts[1][1]))
    # next to the mean the two cancel: there by differences
    distance = _distance(algebra, a, b, x, y)
    left, right = distance / a, -distance / b
    near = a * log_tail(algebra, left) + b * log_tail(algebra, right)
    close = (algebra.abs(left) < _CLOSE[a.type]) & (algebra.abs(right) < _CLOSE[a.type])
    zero = algebra.const(a.type, 0.0)
    return algebra.select(close, near * _LOG2E, high), algebra.select(close, zero, low)


def _slopes(algebra: Builder, a: Val, b: Val, total: Val) -> list[Val]:
    """Coefficients of dt/dT in powers of T."""
    count = _TERMS[a.type]
    inverse = 1.0 / total
    skew = (b / total - a / total) / (algebra.sqrt(a) * algebra.sqrt(b / total))
    zero, one = algebra.const(a.type, 0.0), algebra.const(a.type, 1.0)
    waves, squares = [zero, one], [zero, zero, one]  # of W and W^2
    for place in range(2, count + 1):
        right = skew * waves[place - 1] - inverse * squares[place - 1]
        squares.append(right * (2.0 / (place + 1)))
        inner = zero
        for k in range(2, (place + 1) // 2 + 1):
            other = place + 1 - k
            weight = 1.0 if other == k else 2.0
            if other >= k:
                inner = algebra.fma(waves[k] * weight, waves[other], inner)
        waves.append((squares[place + 1] - inner) * 0.5)
    slopes = [one]
    for place in range(1, count):
        inner = zero
        for k in range(1, place + 1):
            inner = algebra.fma(waves[k + 1], slopes[place - k], inner)
        slopes.append(-inner)
    return slopes


def _laplace(algebra: Builder, a: Val, b: Val, total: Val, power: Val, place: Val) -> Val:
    """The lower function for x at T = `place`, power = e^(-T^2/2)."""
    root = algebra.abs(place) * _ROOT_HALF
    normal = erfcx_numerator(algebra, root) * 0.25 / (root + 0.5)
    front = horner(algebra, 1.0 / total, GAMMA_FACTOR[a.type]) / (
        horner(algebra, 1.0 / a, GAMMA_FACTOR[a.type])
        * horner(algebra, 1.0 / b, GAMMA_FACTOR[a.type])
    )
    slopes = _slopes(algebra, a, b, total)
    zero, one = algebra.const(a.type, 0.0), algebra.const(a.type, 1.0)
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


def _fraction(algebra: Builder, a: Val, b: Val, x: Pair, y: Pair, total: Val) -> Val:
    """What x^a y^b / (a beta(a, b)) is divided by: the even part of the continued fraction, whose
    terms are positive on this side of the mean (DiDonato and Morris, ACM TOMS 18, 1992)."""
    margin = 1.0 - _distance(algebra, a, b, x, y)  # a y - b x + 1 does not cancel in x near 1
    above = y[0] + 1.0
    result = _partial(a, b, x[0], above, margin, _DEPTH[a.type])
    for step in reversed(range(1, _DEPTH[a.type] + 1)):
        share = 1.0 / (a + float(2 * step - 1))
        top = (a + float(step - 1)) * share * ((total + float(step - 1)) * x[0] * share)
        top = top * ((b - float(step)) * x[0] * float(step))
        result = _partial(a, b, x[0], above, margin, step - 1) + top / result
    return result / a


def _partial(a: Val, b: Val, x: Val, above: Val, margin: Val, step: int) -> Val:
    result = (a + float(step)) / (a + float(2 * step + 1)) * (margin + above * float(step))
    if step == 0:
        return result
    return result + (float(step) + (b - float(step)) * x * float(step) / (a + float(2 * step - 1)))


def _front(algebra: Builder, a: Val, b: Val, x: Pair, y: Pair, total: Pair) -> tuple[Val, Val, Val]:
    """(x^a y^b / (a beta(a, b)), e^(-T^2/2), -T^2/2 in base 2)."""
    exponent, rest = _exponent(algebra, a, b, x, y, total)
    power = _power(algebra, exponent, rest)
    scales = [_gamma_scaled(algebra, z) for z in (a, b, total[0])]
    return power * (b / total[0] * scales[2] / (scales[0] * scales[1])), power, exponent


def _smaller(algebra: Builder, a: Val, b: Val, x: Pair, y: Pair) -> Val:
    """The lower function for x below (a + 1)/(a + b + 2)."""
    total = two_sum(a, b)
    front, power, exponent = _front(algebra, a, b, x, y, total)
    plain = front / _fraction(algebra, a, b, x, y, total[0])
    height = algebra.max(-exponent * _LN2, algebra.const(a.type, 0.0))  # T^2 / 2
    below = x[0] * b < y[0] * a
    place = algebra.sqrt(height + height)
    place = algebra.select(below, -place, place)
    smallest = algebra.min(a, b)
    series = (smallest >= _LARGE) & (height + height <= smallest * _REACH)
    return algebra.select(series, _laplace(algebra, a, b, total[0], power, place), plain)


def beta_density(algebra: Builder, a: Val, b: Val, x: Val) -> Val:
    """x^(a - 1) (1 - x)^(b - 1) / beta(a, b) for a, b > 0 and 0 < x < 1."""
    rest = two_sum(algebra.const(a.type, 1.0), -x)
    low = (x, algebra.const(a.type, 0.0))
    front, _, _ = _front(algebra, a, b, low, rest, two_sum(a, b))
    inside = (a > 0) & (b > 0) & (x > 0) & (x < 1.0)
    return algebra.select(inside, front * (a / x / rest[0]), NAN)


def _either(algebra: Builder, a: Val, b: Val, x: Val, upper: bool) -> Val:
    zero, one = algebra.const(a.type, 0.0), algebra.const(a.type, 1.0)
    rest, lost = two_sum(one, -x)
    total, slow = a + b + 2.0, _SLOW[x.type]
    swap = x > (a + 1.0) / total
    swap = (swap | (rest * total < slow)) & ((rest * total < slow) | (x * total >= slow))
    first, second = algebra.select(swap, b, a), algebra.select(swap, a, b)
    low = (algebra.select(swap, rest, x), algebra.select(swap, lost, zero))
    high = (algebra.select(swap, x, rest), algebra.select(swap, zero, lost))
    tail = _smaller(algebra, first, second, low, high)
    result = algebra.select(~swap if upper else swap, 1.0 - tail, tail)
    none, all_ = (one, zero) if upper else (zero, one)
    result = algebra.select((a == 0) | (b == INF), all_, result)
    result = algebra.select((b == 0) | (a == INF), none, result)
    result = algebra.select(x == 0, none, algebra.select(x == 1.0, all_, result))
    unknown = ((a == 0) & (b == 0)) | ((a == INF) & (b == INF))
    good = (a >= 0) & (b >= 0) & (x >= 0) & (x <= 1.0) & ~unknown
    return algebra.select(good, result, NAN)


def betainc(algebra: Builder, a: Val, b: Val, x: Val) -> Val:
    return _either(algebra, a, b, x, upper=False)


def betaincc(algebra: Builder, a: Val, b: Val, x: Val) -> Val:
    return _either(algebra, a, b, x, upper=True)
