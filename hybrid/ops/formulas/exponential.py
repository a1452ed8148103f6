"""exp, exp2, expm1, sinh, cosh, tanh and the logistic function.

Invariant: at most 2 ulp from the true value for every argument, subnormal results included.
Method: x = n*ln2 + r with a two-part ln2 (Cody and Waite), a minimax polynomial in r (Remez
exchange in 60-digit arithmetic, weighted for the relative error of the result), scaling by powers
of two made in integer arithmetic. exp reduces by 2*ln2 and multiplies twice by the same power,
which reaches every result without a special case.
"""

from __future__ import annotations

from typing import NamedTuple

from ...ir.scalar.program import Builder, Val
from .tools import FORMAT, Pair, clamp, exponent_of_shifted, fast_two_sum, horner

__all__ = [
    "exp",
    "exp2",
    "expm1",
    "sinh",
    "cosh",
    "tanh",
    "sigmoid",
    "sigmoid_parts",
    "exp_limits",
    "exp_parts",
]

LOG2E = 1.4426950408889634


class _Table(NamedTuple):
    # ln2 in two parts: the high one ends in zero bits (9 in f32, 21 in f64), so that n * ln2_high
    # and what it leaves of x have no more bits than the type, and only the low part's step rounds
    ln2_high: float
    ln2_low: float
    ln2_rest: float  # ln2 - f32/f64(ln2)
    exp: tuple[float, ...]  # (e^r - 1 - r) / r^2 on |r| <= ln2
    expm1: tuple[float, ...]  # the same on |r| <= ln2 / 2
    sinh: tuple[float, ...]  # (sinh r - r) / r^3 in r^2
    cosh: tuple[float, ...]  # (cosh r - 1) / r^2 in r^2
    low: float  # exp(low) rounds to 0
    high: float  # exp(high) overflows
    even: float  # from here on expm1(-x) is -1 and tanh(x) is 1
    small: float  # below, expm1(x) is x


LN2 = 0.6931471805599453
_TABLES = {
    "f32": _Table(
        0.693145751953125,
        1.428606765330187e-06,
        -1.904654323148236e-09,
        (
            0.5,
            0.166666731,
            0.0416665375,
            0.00833255332,
            0.00138935191,
            0.000201064715,
            2.44474959e-05,
        ),
        (0.5, 0.16666545, 0.0416662879, 0.00836640596, 0.0013946112),
        (0.166666672, 0.00833328906, 0.000199050744),
        (0.5, 0.0416662656, 0.00139463332),
        -104.0,
        89.0,
        20.0,
        2.0**-25,
    ),
    "f64": _Table(
        0.6931471803691238,
        1.9082149292705877e-10,
        2.3190468138462996e-17,
        (
            0.49999999999999956,
            0.1666666666666689,
            0.04166666666669379,
            0.00833333333327623,
            0.0013888888884349266,
            0.00019841269890083884,
            2.4801590513922457e-05,
            2.755730097209287e-06,
            2.755621705132224e-07,
            2.5055070184516123e-08,
            2.10582175083966e-09,
            1.5928243722994264e-10,
        ),
        (
            0.5000000000000004,
            0.16666666666666685,
            0.04166666666658213,
            0.008333333333315682,
            0.001388888893014617,
            0.00019841269900860168,
            2.4801506723640514e-05,
            2.755722974550119e-06,
            2.7625531692827936e-07,
            2.511394517332842e-08,
        ),
        (
            0.16666666666666677,
            0.00833333333332153,
            0.00019841269886402242,
            2.755724391072227e-06,
            2.510914765587572e-08,
        ),
        (
            0.5000000000000013,
            0.04166666666651319,
            0.0013888888947575936,
            2.4801489372401484e-05,
            2.7631482651967843e-07,
        ),
        -746.0,
        710.0,
        40.0,
        2.0**-54,
    ),
}


def exp_parts(math: Builder, x: Val, low: Val | None = None) -> tuple[Val, Val, Val | None]:
    """(excess, power, correction) with e^(x + low) = (1 + excess + correction) * power * power, for
    x within the table's limits; a correction only if `low` is given.

    The power is 2^n for x = 2n*ln2 + reduced: 2^2n itself leaves the range of normal numbers at
    both ends, its root does not. The caller multiplies by it twice and last, so that a result that
    is subnormal is rounded once."""
    table = _TABLES[x.type]
    shifted = math.fma(x, LOG2E / 2, FORMAT[x.type].magic)
    quotient = shifted - FORMAT[x.type].magic
    part = math.fma(quotient, -2 * table.ln2_high, x)
    reduced = math.fma(quotient, -2 * table.ln2_low, part)
    excess = math.fma(reduced * reduced, horner(math, reduced, table.exp), reduced)
    if low is None:
        return excess, exponent_of_shifted(math, shifted), None
    # what the rounding of `reduced` lost; e^rest - 1 is rest, times 1 + excess
    rest = math.fma(quotient, -2 * table.ln2_low, part - reduced) + low
    return excess, exponent_of_shifted(math, shifted), math.fma(rest, excess, rest)


def exp_limits(float_type: str) -> tuple[float, float]:
    """Where exp rounds to 0, and where it overflows."""
    return _TABLES[float_type].low, _TABLES[float_type].high


def exp(math: Builder, x: Val) -> Val:
    table = _TABLES[x.type]
    excess, power, _ = exp_parts(math, clamp(math, x, table.low, table.high))
    return (excess + 1.0) * power * power


def exp2(math: Builder, x: Val) -> Val:
    table, magic = _TABLES[x.type], FORMAT[x.type].magic
    # results are 0 and infinite there, and the power's exponent has not left its field
    lowest = -2046.0 if x.type == "f64" else -151.0
    x = clamp(math, x, lowest, float(FORMAT[x.type].bias + 1))
    shifted = math.fma(x, 0.5, magic)
    remainder = math.fma(shifted - magic, -2.0, x)  # exact; the two parts of ln2 come after it
    reduced = math.fma(remainder, LN2, remainder * table.ln2_rest)
    power = exponent_of_shifted(math, shifted)
    excess: Val = math.fma(reduced * reduced, horner(math, reduced, table.exp), reduced)
    return (excess + 1.0) * power * power


def _reduce(math: Builder, x: Val) -> tuple[Val, Val, Val]:
    """(magic + n, reduced, low) with x = n*ln2 + reduced + low and |reduced| <= ln2 / 2."""
    table, magic = _TABLES[x.type], FORMAT[x.type].magic
    shifted = math.fma(x, LOG2E, magic)
    quotient = shifted - magic
    part = math.fma(quotient, -table.ln2_high, x)
    reduced = math.fma(quotient, -table.ln2_low, part)
    return shifted, reduced, math.fma(quotient, -table.ln2_low, part - reduced)


def expm1(math: Builder, x: Val) -> Val:
    table = _TABLES[x.type]
    shifted, reduced, low = _reduce(math, clamp(math, x, -table.even, table.high))
    # half the power, which stays finite up to the largest result
    half = exponent_of_shifted(math, shifted - 1.0)
    rest = half - 0.5
    main = math.fma(half, reduced, rest)  # cancels near |x| = ln2/2, so its rounding error is kept
    lost = math.fma(half, reduced, rest - main)
    result = main + math.fma(
        half, math.fma(reduced * reduced, horner(math, reduced, table.expm1), low), lost
    )
    # x itself where it is the result: the sum above loses subnormal numbers and the sign of zero
    return math.select(math.abs(x) < table.small, x, result + result)


def tanh(math: Builder, x: Val) -> Val:
    """growth / (growth + 2) with growth = e^(2|x|) - 1, which does not cancel near 0, corrected for
    the rounding of the sum and of the quotient."""
    table, magic = _TABLES[x.type], FORMAT[x.type].magic
    magnitude = clamp(math, math.abs(x), None, table.even / 2 + 0.5)
    shifted = math.fma(magnitude, 2 * LOG2E, magic)
    # the low part of ln2 does not reach the result
    reduced = math.fma(shifted - magic, -LN2, magnitude + magnitude)
    power = exponent_of_shifted(math, shifted)
    part = power * (reduced * reduced)
    main, rest = math.fma(power, reduced, power - 1.0), None
    if x.type == "f32":
        growth = math.fma(part, horner(math, reduced, table.expm1), main)
    else:  # float64 needs the rounding errors of growth, too
        tail = math.fma(
            part, horner(math, reduced, table.expm1), math.fma(power, reduced, (power - 1.0) - main)
        )
        growth = main + tail
        rest = tail - (growth - main)
    # one division, of 1; its residual corrects the quotient for the price of three fma
    total = growth + 2.0
    inverse = 1.0 / total
    quotient = growth * inverse
    error = math.fma(-quotient, growth - (total - 2.0), math.fma(-quotient, total, growth))
    if rest is not None:
        error = error + math.fma(-quotient, rest, rest)
    return math.copysign(math.fma(error, inverse, quotient), x)


def sigmoid_parts(math: Builder, x: Val) -> Pair:
    """(quotient, scale) with the logistic function = quotient * scale * scale; the quotient is a
    normal number.

    e/(1+e) for x < 0 and 1/(1+e) otherwise, with e = exp(-|x|): nothing overflows or cancels. The
    range goes 8 beyond the limit of exp: x * sigmoid(x) is not 0 yet where sigmoid(x) is."""
    table = _TABLES[x.type]
    excess, power, _ = exp_parts(math, clamp(math, -math.abs(x), table.low - 8.0, None))
    mantissa, below = excess + 1.0, x < 0
    mantissa_low = excess - (mantissa - 1.0)
    total, rest = fast_two_sum(math.const(x.type, 1.0), mantissa * power * power)
    inverse = 1.0 / total
    numerator = math.select(below, mantissa, 1.0)
    quotient = numerator * inverse
    # one correction step takes out the roundings of the sum, of the quotient and of 1 + excess
    error = math.fma(-quotient, total, numerator) + math.select(below, mantissa_low, 0.0)
    error = math.fma(-quotient, rest + mantissa_low * power * power, error)
    return math.fma(error, inverse, quotient), math.select(below, power, 1.0)


def sigmoid(math: Builder, x: Val) -> Val:
    quotient, scale = sigmoid_parts(math, x)
    return quotient * scale * scale


def _hyperbolic(math: Builder, x: Val) -> tuple[Val, Val, Val, Val]:
    """(reduced, low, total, difference) with |x| = n*ln2 + reduced + low, the total and the
    difference of 2^(n-2) and 2^(-n-2). Then sinh|x| = 2 (difference * cosh(reduced + low)
    + total * sinh(reduced + low)), and cosh has total and difference exchanged. The halves are
    finite wherever the results are."""
    table, layout = _TABLES[x.type], FORMAT[x.type]
    shifted, reduced, low = _reduce(math, clamp(math, math.abs(x), None, table.high + 0.5))
    rising = exponent_of_shifted(math, shifted - 2.0)
    # e^-|x| no longer counts from there on, and 2^(-n-2) is still a normal number
    quotient = clamp(math, shifted - layout.magic, None, float(layout.bias // 2))
    falling = exponent_of_shifted(math, (layout.magic - 2.0) - quotient)
    return reduced, low, rising + falling, rising - falling


def sinh(math: Builder, x: Val) -> Val:
    table = _TABLES[x.type]
    reduced, low, total, difference = _hyperbolic(math, x)
    square, magnitude = reduced * reduced, math.abs(x)
    main = math.fma(total, reduced, difference)  # cancels for n = 1, so its rounding error is kept
    lost = math.fma(total, reduced, difference - main)
    sinh_tail = math.fma(reduced * square, horner(math, square, table.sinh), low)
    cosh_tail = math.fma(square, horner(math, square, table.cosh), reduced * low)
    half = main + math.fma(total, sinh_tail, math.fma(difference, cosh_tail, lost))
    return math.copysign(math.select(magnitude < table.small, magnitude, half + half), x)


def cosh(math: Builder, x: Val) -> Val:
    table = _TABLES[x.type]
    reduced, low, total, difference = _hyperbolic(math, x)
    square = reduced * reduced
    sinh_part = reduced + math.fma(reduced * square, horner(math, square, table.sinh), low)
    cosh_tail = math.fma(square, horner(math, square, table.cosh), reduced * low)
    half: Val = total + math.fma(total, cosh_tail, difference * sinh_part)
    return half + half
