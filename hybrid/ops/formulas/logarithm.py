"""log, log2, log10, log1p, asinh, acosh, atanh.

Invariant: at most 2 ulp from the true value for every argument.
Method: x = 2^k (1 + f) with 1 + f in [2/3, 4/3); log(1 + f) = f + tail(f).  The float32 tail is a
minimax polynomial (Remez exchange), the float64 tail the atanh series in f/(2+f) as in fdlibm's
e_log.c with our own coefficients.  log1p and the inverse hyperbolic functions pass 1 + f as an
unevaluated sum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...ir.scalar.program import Builder, Val
from .tools import (
    FORMAT,
    INF,
    NAN,
    Pair,
    divide_pair,
    float_of_int,
    horner,
    sqrt_pair,
    two_prod,
    two_sum,
)

__all__ = [
    "split_exponent",
    "log",
    "log2",
    "log10",
    "log1p",
    "asinh",
    "acosh",
    "atanh",
    "log1p_pair",
    "log_of_sum",
    "log1p_unit",
]

# (log(1+f) - f) / f^2 in f, |f| <= 1/3
_TAIL32 = (
    -0.5,
    0.333332151,
    -0.249995396,
    0.200103834,
    -0.166886851,
    0.140063956,
    -0.120863743,
    0.139814645,
    -0.132832512,
)
# (2 atanh(t) - 2t) / t^3 in t^2, |t| <= 1/5
_TAIL64 = (
    0.666666666666666,
    0.4000000000005694,
    0.2857142855577056,
    0.222222243025565,
    0.18181665529339436,
    0.15391122827446946,
    0.13173421793188115,
    0.13844213298622324,
)


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


def split_exponent(algebra: Builder, x: Val, root: bool = False) -> Pair:
    """(exponent, fraction) with x = 2^exponent (1 + fraction), for positive x, subnormal ones
    included."""
    layout = FORMAT[x.type]
    # subnormal numbers have no exponent in their bits; scaled, which is exact, they are normal
    subnormal = x < layout.tiny
    normal = algebra.select(subnormal, x * 2.0 ** (layout.nmant + 2), x)
    _, exponent, fraction = _split(algebra, normal, root)
    return algebra.select(subnormal, exponent - float(layout.nmant + 2), exponent), fraction


def log_tail(algebra: Builder, fraction: Val) -> Val:
    """log(1 + fraction) - fraction."""
    if fraction.type == "f32":
        return fraction * fraction * horner(algebra, fraction, _TAIL32)
    # log(1 + f) = 2 atanh(f/(2+f)) = f - (f^2/2 - t (f^2/2 + z P(z))): f itself stays out of it,
    # so that only the small difference carries the division's rounding error
    ratio = fraction / (fraction + 2.0)
    square = ratio * ratio
    half = fraction * fraction * 0.5
    series = algebra.fma(square, horner(algebra, square, _TAIL64), half)
    return algebra.fma(ratio, series, -half)


def _special(algebra: Builder, x: Val, result: Val) -> Val:
    """The value where the argument of the logarithm is not positive and finite."""
    result = algebra.select(x > 0, result, algebra.select(x == 0, algebra.const(x.type, -INF), NAN))
    return algebra.select(x == INF, x, result)


def _natural(algebra: Builder, exponent: Val, fraction: Val) -> Val:
    high, low = _LN2[fraction.type]
    rest = fraction + algebra.fma(exponent, low, log_tail(algebra, fraction))
    return algebra.fma(exponent, high, rest)


def log(algebra: Builder, x: Val) -> Val:
    return _special(algebra, x, _natural(algebra, *split_exponent(algebra, x)))


def _log_base(algebra: Builder, x: Val, base: _Base) -> Val:
    exponent, fraction = split_exponent(algebra, x)
    # fraction*e_high is split exactly, so that the only rounding that counts is the last
    high, rest = two_prod(algebra, fraction, algebra.const(x.type, base.e_high))
    rest = rest + algebra.fma(fraction, base.e_low, log_tail(algebra, fraction) * base.e_high)
    if base.two_low:
        rest = algebra.fma(exponent, base.two_low, rest)
    return _special(algebra, x, algebra.fma(exponent, base.two_high, high + rest))


def log2(algebra: Builder, x: Val) -> Val:
    return _log_base(algebra, x, _LOG2[x.type])


def log10(algebra: Builder, x: Val) -> Val:
    return _log_base(algebra, x, _LOG10[x.type])


def log_of_sum(algebra: Builder, total: Val, error: Val, extra: Val | None = None) -> Val:
    """log(2^extra (total + error)) for total >= tiny, |error| a rounding error of total or less.

    The error, scaled as the total is, joins the fraction: it moves log(1 + f) by as much as f."""
    layout = FORMAT[total.type]
    integer, exponent, fraction = _split(algebra, total)
    # 2^-exponent; near the largest number the error does not count, and 2^-exponent is not normal
    small = total < 1.0 / (4.0 * layout.tiny)
    scale = algebra.bitcast(layout.one - (integer << layout.nmant), total.type)
    scale = algebra.select(small, scale, 0.0)
    exponent = exponent if extra is None else exponent + extra
    return _natural(algebra, exponent, algebra.fma(error, scale, fraction))


def log1p_pair(algebra: Builder, x: Val, low: Val) -> Val:
    """log(1 + x + low), 1 + x a positive normal number and low a rounding error of x."""
    total, error = two_sum(algebra.const(x.type, 1.0), x)
    return log_of_sum(algebra, total, error + low)


def log1p(algebra: Builder, x: Val) -> Val:
    total, error = two_sum(algebra.const(x.type, 1.0), x)
    result = _special(algebra, total, log_of_sum(algebra, total, error))
    # x itself where it is the result: the sum with 1 loses the sign of zero
    return algebra.select(algebra.abs(x) < FORMAT[x.type].eps / 4, x, result)


def log1p_unit(algebra: Builder, x: Val) -> Val:
    """log(1 + x) for 0 <= x <= 1 (or NaN): half the cost of log1p."""
    large = x > 1.0 / 3.0
    fraction = algebra.select(large, algebra.fma(x, 0.5, -0.5), x)  # 1 + x = 2 (1 + fraction)
    high, low = _LN2[x.type]
    zero = algebra.const(x.type, 0.0)
    return algebra.select(large, high, zero) + (
        fraction + (log_tail(algebra, fraction) + algebra.select(large, low, zero))
    )


def _log_of_large(algebra: Builder, large: Val, magnitude: Val, x: Val, low: Val) -> Val:
    """log(2 magnitude) where `large`, else log(1 + x + low): one logarithm, of the one or the
    other. The factor 2 is added to the exponent, as twice the magnitude may overflow."""
    total, error = two_sum(algebra.const(x.type, 1.0), x)
    zero = algebra.const(x.type, 0.0)
    return log_of_sum(
        algebra,
        algebra.select(large, magnitude, total),
        algebra.select(large, zero, error + low),
        algebra.select(large, algebra.const(x.type, 1.0), zero),
    )


_BIG = {"f32": 2.0**14, "f64": 2.0**30}  # sqrt(x^2 +- 1) is x from here on


def asinh(algebra: Builder, x: Val) -> Val:
    """log(1 + |x| + (sqrt(x^2 + 1) - 1)) with the inner sum to twice the precision."""
    magnitude = algebra.abs(x)
    square, square_low = two_prod(algebra, magnitude, magnitude)
    total, rest = two_sum(algebra.const(x.type, 1.0), square)
    root, root_low = sqrt_pair(algebra, total, rest + square_low)
    excess, excess_low = two_sum(root, algebra.const(x.type, -1.0))
    argument, argument_low = two_sum(magnitude, excess)
    large, low = magnitude > _BIG[x.type], argument_low + (excess_low + root_low)
    result = _log_of_large(algebra, large, magnitude, argument, low)
    result = algebra.select(magnitude < INF, result, magnitude)
    return algebra.copysign(result, x)


def acosh(algebra: Builder, x: Val) -> Val:
    """log(1 + (x - 1) + sqrt(x^2 - 1)) with the inner sum to twice the precision."""
    square, square_low = two_prod(algebra, x, x)
    difference, rest = two_sum(square, algebra.const(x.type, -1.0))
    radicand, radicand_low = two_sum(difference, rest + square_low)
    root, root_low = sqrt_pair(algebra, radicand, radicand_low)
    excess, excess_low = two_sum(x, algebra.const(x.type, -1.0))
    argument, argument_low = two_sum(root, excess)
    large, low = x > _BIG[x.type], argument_low + (excess_low + root_low)
    result = _log_of_large(algebra, large, x, argument, low)
    return algebra.select(x < INF, algebra.select(x < 1.0, NAN, result), x)


def atanh(algebra: Builder, x: Val) -> Val:
    """log(1 + 2|x| / (1 - |x|)) / 2 with the quotient to twice the precision."""
    magnitude = algebra.abs(x)
    denominator, denominator_low = two_sum(algebra.const(x.type, 1.0), -magnitude)
    quotient, quotient_low = divide_pair(
        algebra, magnitude + magnitude, denominator, None, denominator_low
    )
    result = log1p_pair(algebra, quotient, quotient_low) * 0.5
    result = algebra.select(
        magnitude < 1.0, result, algebra.select(magnitude == 1.0, algebra.const(x.type, INF), NAN)
    )
    result = algebra.select(magnitude < FORMAT[x.type].eps, magnitude, result)
    return algebra.copysign(result, x)
