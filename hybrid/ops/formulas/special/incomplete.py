"""The regularised incomplete gamma functions.

Invariant: the smaller of the two is computed, the other is 1 minus it; every sum has a fixed number
of terms, enough wherever it is taken.
Method: from a = 20 on, for x between a/4 and 3a, Temme's uniform expansion (DLMF 8.12.3, 8.12.7 to
8.12.11), whose coefficients are polynomials in eta; for x < a the series DLMF 8.7.1 in its form
without signs; beyond, the continued fraction DLMF 8.9.2 from its end; for small a and x the
series 8.7.1 beside x^a - 1, which keeps the digits of a small upper function.  The factor x^a
e^-x is taken through base 2 in pairs.
"""

from __future__ import annotations

import math

from ....ir.scalar.program import Builder, Val
from ..error import erfcx_numerator
from ..exponential import expm1
from ..logarithm import log, log_tail
from ..power import exp2_pair, log2_pair
from ..tools import INF, NAN, Pair, clamp, divide_pair, horner, two_prod, two_sum
from . import incomplete_tables as tables
from .gamma import gamma_small, log_gamma_ratio
from .gamma_tables import GAMMA_FACTOR

__all__ = ["gamma_density", "gammainc", "gammaincc"]

_LARGE = 20.0
_TERMS = {"f32": 40, "f64": 64}  # of the series
_DEPTH = {"f32": 20, "f64": 64}  # of the continued fraction
_SHORT = {"f32": 14, "f64": 27}  # of the series for small x
_CLOSE = {"f32": 2.0**-7, "f64": 2.0**-10}  # next to a, the exponent is a small difference
_LIMIT = {"f32": 155.0, "f64": 1090.0}  # 2^-limit is 0
_LOG2E = {
    "f32": (1.4426950216293335, 1.9259629911266175e-08),
    "f64": (1.4426950408889634, 2.0355273740931033e-17),
}
_TINY = 1.5
_LN2 = 0.6931471805599453
_TEMME = {
    kind: [
        getattr(tables, f"TEMME{k}")[kind]
        for k in range(len(tables.__all__))
        if kind in getattr(tables, f"TEMME{k}")
    ]
    for kind in ("f32", "f64")
}


def _times_log2e(algebra: Builder, high: Val, low: Val) -> Pair:
    scale, scale_low = _LOG2E[high.type]
    product, product_low = two_prod(algebra, high, algebra.const(high.type, scale))
    return product, product_low + algebra.fma(high, scale_low, low * scale)


def _exponent(algebra: Builder, a: Val, x: Val, offset: Val) -> Pair:
    """a log2(x / offset) - (x - offset) log2(e), where offset is a; where it is 0, a log2(x) less
    the rest."""
    zero = algebra.const(a.type, 0.0)
    apart = offset > 0
    quotient, quotient_low = divide_pair(algebra, x, a)
    argument = algebra.select(apart, quotient, x)
    rest = algebra.select(apart, quotient_low / quotient * _LOG2E[a.type][0], zero)
    high, low = log2_pair(algebra, argument)
    product, product_low = two_prod(algebra, a, high)
    product_low = algebra.fma(a, low + rest, product_low)
    linear, linear_low = _times_log2e(algebra, *two_sum(x, -offset))
    total, lost = two_sum(product, -linear)
    return two_sum(total, lost + (product_low - linear_low))  # the sum cancels next to a


def _power(algebra: Builder, total: Val, rest: Val) -> Val:
    limit = _LIMIT[total.type]
    inside = algebra.abs(total) < limit
    return exp2_pair(
        algebra, clamp(algebra, total, -limit, limit), algebra.select(inside, rest, 0.0)
    )


def _uniform(algebra: Builder, a: Val, x: Val) -> Val:
    """The smaller of the two functions by Temme's expansion in t = a (mu - log(1 + mu)), mu =
    (x - a) / a."""
    distance = (x - a) / a
    total, rest = _exponent(algebra, a, x, a)
    close = algebra.abs(distance) < _CLOSE[a.type]
    zero = algebra.const(a.type, 0.0)
    near, near_low = _times_log2e(algebra, a * log_tail(algebra, distance), zero)
    total, rest = algebra.select(close, near, total), algebra.select(close, near_low, rest)
    power = _power(algebra, total, rest)
    height = algebra.max(-total * _LN2, zero)  # t
    root = algebra.sqrt(height)
    factor = erfcx_numerator(algebra, root) * 0.5 / (root + 0.5)
    # |eta| = sqrt(2 t / a); the expansion is for the sign of x - a
    eta = algebra.copysign(algebra.sqrt(2.0 * (height / a)), distance)
    eta = clamp(algebra, eta, -1.3, 1.45)
    inverse, series = 1.0 / a, zero
    for table in reversed(_TEMME[a.type]):
        series = algebra.fma(series, inverse, horner(algebra, eta, table))
    series = series * (1.0 / math.sqrt(2.0 * math.pi)) / algebra.sqrt(a)
    series = algebra.select(x < a, -series, series)
    return power * algebra.fma(factor, 0.5, series)


def _series(algebra: Builder, a: Val, x: Val) -> Val:
    """1 + x/(a+1) + x^2/((a+1)(a+2)) + ..."""
    total = algebra.const(a.type, 1.0)
    for step in reversed(range(1, _TERMS[a.type] + 1)):
        total = algebra.fma(x / (a + float(step)), total, 1.0)
    return total


def _fraction(algebra: Builder, a: Val, x: Val) -> Val:
    """What x^a e^-x / gamma(a) is divided by for the upper function."""
    depth = _DEPTH[a.type]
    total = (x - a) + float(2 * depth + 1)
    for step in reversed(range(1, depth + 1)):
        top = (a - float(step)) * float(step)
        total = (x - a) + float(2 * step - 1) + top / total
    return total


def _little(algebra: Builder, a: Val, x: Val) -> Val:
    """The upper function for small a and x: 1 - x^a / gamma(a + 1) (1 + a S)."""
    exponent = a * log(algebra, x) - a * (a - 1.0) * log_gamma_ratio(algebra, a + 1.0)
    grown = expm1(algebra, exponent)
    count = _SHORT[a.type]
    total = 1.0 / (a + float(count))
    for step in reversed(range(1, count)):
        total = algebra.fma(x * (-1.0 / (step + 1)), total, 1.0 / (a + float(step)))
    return algebra.fma((grown + 1.0) * a, x * total, -grown)


def _front(algebra: Builder, a: Val, x: Val) -> Val:
    """x^a e^-x / gamma(a + 1)."""
    small = a < 8.0
    zero = algebra.const(a.type, 0.0)
    plain = _power(algebra, *_exponent(algebra, a, x, algebra.select(small, zero, a)))
    whole = gamma_small(algebra, a)
    whole = algebra.select(a < 1.0, whole, whole * a)  # gamma(a + 1)
    stirling = algebra.sqrt(a) * horner(algebra, 1.0 / a, GAMMA_FACTOR[a.type])
    return plain / algebra.select(small, whole, stirling)


def _smaller(algebra: Builder, a: Val, x: Val) -> tuple[Val, Val]:
    """(the smaller function or near it, whether that is the lower one), for a, x > 0, finite."""
    uniform = _uniform(algebra, a, x)
    front = _front(algebra, a, x)
    lower = front * _series(algebra, a, x)
    upper = front * a / _fraction(algebra, a, x)
    # for small x and a the median is far below a
    tiny = (x < _TINY) & (a < 2.0)
    upper = algebra.select(tiny, _little(algebra, a, x), upper)
    below = algebra.select(tiny, lower < 0.5, (x < a) | (x < _TINY))
    result = algebra.select(below, lower, upper)
    temme = (a >= _LARGE) & (x > a * 0.25) & (x < a * 3.0)
    return algebra.select(temme, uniform, result), below


def _edges(algebra: Builder, a: Val, x: Val, result: Val, upper: bool) -> Val:
    """`result`, or where the lower function is 0 or 1 that (or the upper one's), or NaN."""
    one, zero = algebra.const(a.type, 1.0), algebra.const(a.type, 0.0)
    lower = algebra.select((x == 0) | (a == INF), zero, one)
    edge = 1.0 - lower if upper else lower
    at_edge = (x == 0) | (a == 0) | (x == INF) | (a == INF)
    result = algebra.select(at_edge, edge, result)
    unknown = ((x == 0) & (a == 0)) | ((x == INF) & (a == INF))
    return algebra.select((a >= 0) & (x >= 0) & ~unknown, result, NAN)


def gamma_density(algebra: Builder, a: Val, x: Val) -> Val:
    """x^(a - 1) e^-x / gamma(a) for a > 0."""
    result = _front(algebra, a, x) * (a / x)
    one, zero = algebra.const(a.type, 1.0), algebra.const(a.type, 0.0)
    edge = algebra.select(a < 1.0, algebra.const(a.type, INF), algebra.select(a > 1.0, zero, one))
    result = algebra.select(x == 0, edge, algebra.select(x == INF, zero, result))
    return algebra.select((a > 0) & (x >= 0), result, NAN)


def gammainc(algebra: Builder, a: Val, x: Val) -> Val:
    tail, below = _smaller(algebra, a, x)
    result = algebra.select(below, tail, 1.0 - tail)
    return _edges(algebra, a, x, result, upper=False)


def gammaincc(algebra: Builder, a: Val, x: Val) -> Val:
    tail, below = _smaller(algebra, a, x)
    result = algebra.select(below, 1.0 - tail, tail)
    return _edges(algebra, a, x, result, upper=True)
