"""log, log2, log10, log1p, asinh, acosh, atanh.

Invariant: at most 2 ulp from the true value for every argument.
Method: x = 2^k (1 + f) with 1 + f in [2/3, 4/3); log(1 + f) = f + f^2 P(f), P by a least-squares
fit, reweighted towards equal errors in 50-digit arithmetic.  log1p, asinh and acosh pass 1 + f as
an unevaluated sum.  What is not positive and normal is a detour, by one comparison of bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ...ir.scalar.program import Builder, Val, bits_of
from .tools import (
    FORMAT,
    INF,
    NAN,
    Pair,
    fast_two_sum,
    float_of_int,
    horner_halves,
    outside,
    sqrt_pair,
    two_sum,
)

__all__ = [
    "normal_exponent",
    "split_exponent",
    "log",
    "log2",
    "log10",
    "log1p",
    "asinh",
    "acosh",
    "atanh",
    "log_of_pair",
    "log_of_sum",
    "log1p_unit",
]

# (log(1+f) - f) / f^2 in f, |f| <= 1/3
_TAIL = {
    "f32": (
        -0.5,
        0.333332151,
        -0.249995396,
        0.200103834,
        -0.166886851,
        0.140063956,
        -0.120863743,
        0.139814645,
        -0.132832512,
    ),
    "f64": (
        -0.5,
        0.33333333333333276,
        -0.2500000000000529,
        0.20000000000042276,
        -0.16666666664774762,
        0.14285714277575087,
        -0.12500000232856834,
        0.11111111807281591,
        -0.09999985974830307,
        0.09090876764189999,
        -0.08333809653047354,
        0.0769320379130181,
        -0.07133139875926384,
        0.0665119679303763,
        -0.06370962934338155,
        0.060493752415830306,
        -0.0466545716543881,
        0.04178815232650404,
        -0.08447257841273809,
        0.08504575170651332,
    ),
}
# (atanh(s)/s - 1) / s^2 in s^2, |s| <= 0.485
_ATANH = {
    "f32": (0.333333105, 0.200018093, 0.142380565, 0.116821587, 0.0572341532, 0.167704225),
    "f64": (
        0.3333333333333359,
        0.19999999999913917,
        0.1428571429570114,
        0.11111110528576951,
        0.09090929085359525,
        0.07691868145159972,
        0.0667316424573027,
        0.05816051795426516,
        0.057342622616515015,
        0.024509590774303674,
        0.11929017722522685,
        -0.1144961781572815,
        0.19938622409834633,
    ),
}
_LARGE = {"f32": 2.0**126, "f64": 2.0**1022}  # below, 2^-exponent is a normal number
_LITTLE = {"f32": 2.0**-12, "f64": 2.0**-30}  # below, asinh(x) is x
_BIG = {"f32": 2.0**61, "f64": 2.0**509}  # below, the square overflows nowhere


class _Base(NamedTuple):
    """log_b(2) and log_b(e) in two parts each; the first part of log_b(2) is the nearest number.

    No part needs zero bits at its end: fma takes its product with the exponent unrounded."""

    two_high: float
    two_low: float
    e_high: float
    e_low: float


_LN2 = {
    "f32": (0.6931471824645996, -1.904654212125934e-09),
    "f64": (0.6931471805599453, 2.3190468138462996e-17),
}
_LOG2 = {
    "f32": _Base(1.0, 0.0, 1.4426950216293335, 1.9259629911266175e-08),
    "f64": _Base(1.0, 0.0, 1.4426950408889634, 2.0355273740931033e-17),
}
_LOG10 = {
    "f32": _Base(0.30103000998497009, -1.4320989e-08, 0.4342944920063019, -1.0103050118726969e-08),
    "f64": _Base(
        0.30102999566398120, -2.8037281277851704e-18, 0.4342944819032518, 1.098319650216765e-17
    ),
}


def _split(algebra: Builder, x: Val, root: bool = False) -> tuple[Val, Val, Val]:
    """(integer, exponent, fraction): positive normal x = 2^exponent (1 + fraction); integer is the
    exponent as an integer.

    1 + fraction lies in [2/3, 4/3), or with `root` in [sqrt(1/2), sqrt(2)): around 1, so that x
    near 1 has the exponent 0, and exponent * ln2 never cancels against the logarithm of the rest.
    Bits of positive floats are ordered as integers: the difference to the bits of the interval's
    lowest number, shifted, is the exponent for a subtraction instead of a comparison."""
    layout = FORMAT[x.type]
    above_half = math.sqrt(2.0) - 1.0 if root else 1.0 / 3.0  # lowest number = (1 + this) / 2
    lowest = int(above_half * 2**layout.nmant) + layout.one - (1 << layout.nmant)
    bits = algebra.bitcast(x, layout.signed)
    integer = (bits - lowest) >> layout.nmant
    mantissa = algebra.bitcast(bits - (integer << layout.nmant), x.type)
    return integer, float_of_int(algebra, integer, x.type), mantissa - 1.0


def normal_exponent(algebra: Builder, x: Val, root: bool = False) -> Pair:
    """(exponent, fraction) with x = 2^exponent (1 + fraction), for positive normal x."""
    return _split(algebra, x, root)[1:]


def split_exponent(algebra: Builder, x: Val, root: bool = False) -> Pair:
    """The same for positive x, subnormal ones included."""
    layout = FORMAT[x.type]
    # subnormal numbers have no exponent in their bits; scaled, which is exact, they are normal
    subnormal = x < layout.tiny
    normal = algebra.select(subnormal, x * 2.0 ** (layout.nmant + 2), x)
    _, exponent, fraction = _split(algebra, normal, root)
    return algebra.select(subnormal, exponent - float(layout.nmant + 2), exponent), fraction


def log_tail(algebra: Builder, fraction: Val) -> Val:
    """log(1 + fraction) - fraction, for |fraction| <= 1/3."""
    square = fraction * fraction
    return square * horner_halves(algebra, fraction, square, _TAIL[fraction.type])


def _special(algebra: Builder, x: Val, result: Val) -> Val:
    """The value where the argument of the logarithm is not positive and finite."""
    result = algebra.select(x > 0, result, algebra.select(x == 0, algebra.const(x.type, -INF), NAN))
    return algebra.select(x == INF, x, result)


def _natural(algebra: Builder, exponent: Val, fraction: Val) -> Val:
    high, low = _LN2[fraction.type]
    square = fraction * fraction
    series = horner_halves(algebra, fraction, square, _TAIL[fraction.type])
    rest = fraction + algebra.fma(square, series, exponent * low)
    return algebra.fma(exponent, high, rest)


def _of_every(algebra: Builder, x: Val, formula: Callable[[Builder, Val, Val], Val]) -> Val:
    """formula(exponent, fraction) of positive normal x; on a detour that of subnormal ones, and the
    values elsewhere."""
    usual = normal_exponent(algebra, x)
    rare = _special(algebra, x, formula(algebra, *split_exponent(algebra, x)))
    return algebra.select(outside(algebra, x, INF), rare, formula(algebra, *usual))


def log(algebra: Builder, x: Val) -> Val:
    return _of_every(algebra, x, _natural)


def _log_base(algebra: Builder, base: _Base, exponent: Val, fraction: Val) -> Val:
    square = fraction * fraction
    table = tuple(c * base.e_high for c in _TAIL[fraction.type])
    # fraction * e_high enters unrounded, so that the only roundings that count are the last ones
    rest = fraction * base.e_low
    if base.two_low:
        rest = algebra.fma(exponent, base.two_low, rest)
    rest = algebra.fma(square, horner_halves(algebra, fraction, square, table), rest)
    return algebra.fma(exponent, base.two_high, algebra.fma(fraction, base.e_high, rest))


def log2(algebra: Builder, x: Val) -> Val:
    return _of_every(algebra, x, lambda math, *parts: _log_base(math, _LOG2[x.type], *parts))


def log10(algebra: Builder, x: Val) -> Val:
    return _of_every(algebra, x, lambda math, *parts: _log_base(math, _LOG10[x.type], *parts))


def log_of_sum(algebra: Builder, total: Val, error: Val, extra: Val | None = None) -> Val:
    """log(2^extra (total + error)) for total >= tiny, |error| a rounding error of total or less."""
    # near the largest number the error does not count, and 2^-exponent is not normal
    layout = FORMAT[total.type]
    integer, exponent, fraction = _split(algebra, total)
    scale = algebra.bitcast(layout.one - (integer << layout.nmant), total.type)
    scale = algebra.select(total < 1.0 / (4.0 * layout.tiny), scale, 0.0)
    exponent = exponent if extra is None else exponent + extra
    return _natural(algebra, exponent, algebra.fma(error, scale, fraction))


def log_of_pair(algebra: Builder, total: Val, error: Val) -> Val:
    """log(total + error) as above for total >= tiny, below the number from which 2^-exponent is not
    normal."""
    integer, exponent, fraction = _split(algebra, total)
    scale = algebra.bitcast(
        FORMAT[total.type].one - (integer << FORMAT[total.type].nmant), total.type
    )
    return _natural(algebra, exponent, algebra.fma(error, scale, fraction))


def log1p(algebra: Builder, x: Val) -> Val:
    total, error = two_sum(algebra.const(x.type, 1.0), x)
    rare = _special(algebra, total, _natural(algebra, *normal_exponent(algebra, total)))
    result = log_of_pair(algebra, total, error)
    result = algebra.select(outside(algebra, total, _LARGE[x.type]), rare, result)
    return algebra.copysign(result, x)  # the sum with 1 loses the sign of zero


def log1p_unit(algebra: Builder, x: Val) -> Val:
    """log(1 + x) for 0 <= x <= 1 (or NaN): half the cost of log1p."""
    large = x > 1.0 / 3.0
    fraction = algebra.select(large, algebra.fma(x, 0.5, -0.5), x)  # 1 + x = 2 (1 + fraction)
    high, low = _LN2[x.type]
    zero = algebra.const(x.type, 0.0)
    return algebra.select(large, high, zero) + (
        fraction + (log_tail(algebra, fraction) + algebra.select(large, low, zero))
    )


def _log_of_large(algebra: Builder, x: Val) -> Val:
    """log(2x) for x so large that x^2 may overflow, infinity included."""
    exponent, fraction = normal_exponent(algebra, x)
    return algebra.select(x < INF, _natural(algebra, exponent + 1.0, fraction), x)


def asinh(algebra: Builder, x: Val) -> Val:
    """log(r + |x|), r = sqrt(x^2 + 1), with both sums to twice the precision."""
    magnitude = algebra.abs(x)
    square = algebra.fma(magnitude, magnitude, 1.0)
    root, root_low = sqrt_pair(algebra, square, algebra.fma(magnitude, magnitude, 1.0 - square))
    total, error = fast_two_sum(root, magnitude)
    result = log_of_pair(algebra, total, error + root_low)
    large = _log_of_large(algebra, magnitude)
    rare = algebra.select(magnitude < 1.0, magnitude, large)
    seldom = outside(algebra, magnitude, _BIG[x.type], _LITTLE[x.type])
    return algebra.copysign(algebra.select(seldom, rare, result), x)


def acosh(algebra: Builder, x: Val) -> Val:
    """log(x + r), r = sqrt(w (w + 2)), w = x - 1, with both sums to twice the precision."""
    above = x - 1.0
    twice = above + above
    square = algebra.fma(above, above, twice)
    root, root_low = sqrt_pair(algebra, square, algebra.fma(above, above, twice - square))
    total, error = fast_two_sum(x, root)
    result = log_of_pair(algebra, total, error + root_low)
    rare = algebra.select(x < 1.0, NAN, _log_of_large(algebra, x))
    return algebra.select(outside(algebra, x, _BIG[x.type], 1.0), rare, result)


def atanh(algebra: Builder, x: Val) -> Val:
    """k ln2 / 2 + atanh(s), s = (|x| - t) / (1 - |x| t) with t = tanh(k ln2 / 2), the addition
    formula, for 1 - |x| = w / 2^k and w in [0.7, 1.4): s lies in [-0.04, 0.484].

    With p = 2^k s is ((1 - w) + |x|) / (2 - (1 - w) + |x|), and 1 - w = p |x| + 1 - p is exact."""
    layout = FORMAT[x.type]
    magnitude = algebra.abs(x)
    lowest = bits_of(x.type, 0.7)
    rest = 1.0 - magnitude
    integer = (algebra.bitcast(rest, layout.signed) - lowest) >> layout.nmant
    count = -float_of_int(algebra, integer, x.type)
    power = algebra.bitcast(layout.one - (integer << layout.nmant), x.type)
    part = algebra.fma(power, magnitude, 1.0 - power)
    numerator, denominator = part + magnitude, 2.0 - part + magnitude
    inverse = 1.0 / denominator
    ratio = numerator * inverse
    residual = algebra.fma(-ratio, denominator, numerator)
    square = ratio * ratio
    series = horner_halves(algebra, square, square * square, _ATANH[x.type])
    high, low = _LN2[x.type]
    tail = algebra.fma(ratio * square, series, algebra.fma(residual, inverse, count * (low * 0.5)))
    result = algebra.fma(count, high * 0.5, ratio + tail)
    edge = algebra.select(magnitude == 1.0, algebra.const(x.type, INF), NAN)
    result = algebra.select(algebra.unlikely(~(magnitude < 1.0)), edge, result)
    return algebra.copysign(result, x)
