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
from .tools import FORMAT, Pair, clamp, exponent_of_shifted, fast_two_sum, horner, vanishing

__all__ = [
    "exp",
    "exp2",
    "expm1",
    "sinh",
    "cosh",
    "tanh",
    "sigmoid",
    "silu",
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
    ),
}


# (tanh x - x) / x^3 in x^2, x <= 0.55
_TANH32 = (-0.333333164, 0.133325532, -0.0538491942, 0.0210597739, -0.00625831308)
# (e^2r - 1 - 2r) / r^2 on |r| <= ln2 / 4
_TWICE32 = tuple(c * 2.0**k for k, c in enumerate(_TABLES["f32"].expm1, 2))


def exp_parts(math: Builder, x: Val, low: Val | None = None) -> tuple[Val, Val, Val | None]:
    """(excess, power, correction) with e^(x + low) = (1 + excess + correction) * power * power, for
    x within the table's limits; a correction only if `low` is given.

    The power is 2^n for x = 2n*ln2 + reduced: 2^2n itself leaves the range of normal numbers at
    both ends, its root does not. The caller multiplies by it twice and last, so that a result that
    is subnormal is rounded once."""
    table = _TABLES[x.type]
    shifted = math.fma(x, LOG2E / 2, FORMAT[x.type].shift)
    quotient = shifted - FORMAT[x.type].shift
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
    power = vanishing(math, power, x < table.low)
    return math.fma(excess, power, power) * power


def exp2(math: Builder, x: Val) -> Val:
    table, shift = _TABLES[x.type], FORMAT[x.type].shift
    # results are 0 and infinite there, and the power's exponent has not left its field
    lowest = -float(FORMAT[x.type].bias + FORMAT[x.type].nmant + 1)
    none, x = x < lowest, clamp(math, x, lowest, float(FORMAT[x.type].bias + 1))
    shifted = math.fma(x, 0.5, shift)
    remainder = math.fma(shifted - shift, -2.0, x)  # exact; the two parts of ln2 come after it
    reduced = math.fma(remainder, LN2, remainder * table.ln2_rest)
    power = vanishing(math, exponent_of_shifted(math, shifted), none)
    excess = math.fma(reduced * reduced, horner(math, reduced, table.exp), reduced)
    return math.fma(excess, power, power) * power


def _reduce(math: Builder, x: Val, shift: float) -> tuple[Val, Val, Val]:
    """(shift + n, reduced, low) with x = n*ln2 + reduced + low and |reduced| <= ln2 / 2."""
    table = _TABLES[x.type]
    shifted = math.fma(x, LOG2E, shift)
    quotient = shifted - shift
    part = math.fma(quotient, -table.ln2_high, x)
    reduced = math.fma(quotient, -table.ln2_low, part)
    return shifted, reduced, math.fma(quotient, -table.ln2_low, part - reduced)


def _extreme(math: Builder, x: Val) -> Val:
    """Whether |x| is so large that e^|x| overflows or nearly does, or NaN: seldom so."""
    return math.unlikely(~(x < _TABLES[x.type].high - 2.0))


def expm1(math: Builder, x: Val) -> Val:
    table = _TABLES[x.type]
    limited = clamp(math, x, -table.even, None)
    shifted, reduced, low = _reduce(math, limited, FORMAT[x.type].shift)
    power, square = exponent_of_shifted(math, shifted), reduced * reduced
    # cancels a little for n = 1 only; a sum with tail rounds once
    main = math.fma(power, reduced, power - 1.0)
    tail = math.fma(square, horner(math, reduced, table.expm1), low)
    result = math.fma(power, tail, main)
    result = math.select(_extreme(math, x), exp(math, x), result)
    return math.copysign(result, x)  # power - 1 loses the sign of zero


def tanh(math: Builder, x: Val) -> Val:
    magnitude = math.abs(x)
    parts = _tanh32(math, magnitude) if x.type == "f32" else _tanh64(math, magnitude)
    return math.copysign(parts, x)


def _tanh32(math: Builder, magnitude: Val) -> Val:
    """1 - 2 / (e^2x + 1), and its odd polynomial where that would cancel."""
    table, shift = _TABLES["f32"], FORMAT["f32"].shift
    limited = clamp(math, magnitude, None, table.even / 2 + 0.5)
    # half of the reduced argument; ln2's low part does not reach the result
    shifted = math.fma(limited, 2 * LOG2E, shift)
    reduced = math.fma(shifted - shift, -LN2 / 2, limited)
    power, square = exponent_of_shifted(math, shifted), reduced * reduced
    doubled = math.fma(square, horner(math, reduced, _TWICE32), reduced + reduced)
    large = 1.0 - 2.0 / math.fma(power, doubled, power + 1.0)
    square = magnitude * magnitude
    small = math.fma(magnitude * square, horner(math, square, _TANH32), magnitude)
    return math.select(magnitude < 0.55, small, large)


def _tanh64(math: Builder, magnitude: Val) -> Val:
    """growth / (growth + 2) with growth = e^(2|x|) - 1, which does not cancel near 0, corrected for
    the rounding of the sums and of the quotient."""
    table, shift = _TABLES["f64"], FORMAT["f64"].shift
    magnitude = clamp(math, magnitude, None, table.even / 2 + 0.5)
    shifted = math.fma(magnitude, 2 * LOG2E, shift)
    # the low part of ln2 does not reach the result
    reduced = math.fma(shifted - shift, -LN2, magnitude + magnitude)
    power = exponent_of_shifted(math, shifted)
    main = math.fma(power, reduced, power - 1.0)
    tail = math.fma(
        power * (reduced * reduced),
        horner(math, reduced, table.expm1),
        math.fma(power, reduced, (power - 1.0) - main),
    )
    growth = main + tail
    rest = tail - (growth - main)
    # one division, of 1; its residual corrects the quotient for the price of three fma
    total = growth + 2.0
    inverse = 1.0 / total
    quotient = growth * inverse
    error = math.fma(-quotient, growth - (total - 2.0), math.fma(-quotient, total, growth))
    return math.fma(error + math.fma(-quotient, rest, rest), inverse, quotient)


def _sigmoid_parts(math: Builder, x: Val) -> Pair:
    """(quotient, scale) with the logistic function = quotient * scale * scale; the quotient is a
    normal number.

    e/(1+e) for x < 0 and 1/(1+e) otherwise, with e = exp(-|x|): nothing overflows or cancels. The
    range goes 8 beyond the limit of exp: x * sigmoid(x) is not 0 yet where sigmoid(x) is."""
    table = _TABLES[x.type]
    limit, magnitude = 8.0 - table.low, math.abs(x)
    excess, power, _ = exp_parts(math, -clamp(math, magnitude, None, limit))
    power = vanishing(math, power, magnitude > limit)
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


def _usual_sigmoid(math: Builder, x: Val) -> Val:
    """1 / (1 + e^-x) for no extreme x."""
    table = _TABLES[x.type]
    shifted, reduced, _ = _reduce(math, -x, FORMAT[x.type].shift)
    power = exponent_of_shifted(math, shifted)
    excess = math.fma(reduced * reduced, horner(math, reduced, table.expm1), reduced)
    base = 1.0 + power
    total = math.fma(power, excess, base)
    inverse = 1.0 / total
    # one correction step takes out the roundings of the total and of the quotient
    total_low = math.fma(power, excess, base - total)
    error = math.fma(-inverse, total_low, math.fma(-inverse, total, 1.0))
    return math.fma(error, inverse, inverse)


def sigmoid(math: Builder, x: Val) -> Val:
    """On a detour, for results that are subnormal and for e^-x that overflows, the parts above."""
    quotient, scale = _sigmoid_parts(math, x)
    seldom = _extreme(math, math.abs(x))
    return math.select(seldom, quotient * scale * scale, _usual_sigmoid(math, x))


def silu(math: Builder, x: Val) -> Val:
    """x * sigmoid(x), not 0 yet where sigmoid(x) is; -0 at minus infinity."""
    quotient, scale = _sigmoid_parts(math, x)
    limit = -112.0 if x.type == "f32" else -760.0  # the product is 0 there
    rare = clamp(math, x, limit, None) * quotient * scale * scale
    return math.select(_extreme(math, math.abs(x)), rare, x * _usual_sigmoid(math, x))


def _hyperbolic(math: Builder, magnitude: Val) -> tuple[Val, Val, Val, Val]:
    """(reduced, low, total, difference) with magnitude = n*ln2 + reduced + low, the total and the
    difference of 2^(n-1) and 2^(-n-1), for no extreme magnitude. Then sinh = difference *
    cosh(reduced + low) + total * sinh(reduced + low), and cosh has total and difference
    exchanged."""
    shift = FORMAT[magnitude.type].shift - 1.0
    shifted, reduced, low = _reduce(math, magnitude, shift)
    rising = exponent_of_shifted(math, shifted)
    falling = exponent_of_shifted(math, 2.0 * shift - shifted)
    return reduced, low, rising + falling, rising - falling


def _half_exp(math: Builder, magnitude: Val) -> Val:
    """e^x / 2 where that may be finite while e^x is not."""
    limited = clamp(math, magnitude, None, _TABLES[magnitude.type].high + 0.5)
    excess, power, _ = exp_parts(math, limited)
    return math.fma(excess, power, power) * (power * 0.5)


def sinh(math: Builder, x: Val) -> Val:
    table, magnitude = _TABLES[x.type], math.abs(x)
    reduced, low, total, difference = _hyperbolic(math, magnitude)
    square = reduced * reduced
    main = math.fma(total, reduced, difference)  # cancels for n = 1, so its rounding error is kept
    lost = math.fma(total, reduced, difference - main)
    sinh_tail = math.fma(reduced * square, horner(math, square, table.sinh), low)
    cosh_tail = math.fma(square, horner(math, square, table.cosh), reduced * low)
    result = main + math.fma(total, sinh_tail, math.fma(difference, cosh_tail, lost))
    result = math.select(_extreme(math, magnitude), _half_exp(math, magnitude), result)
    return math.copysign(result, x)


def cosh(math: Builder, x: Val) -> Val:
    table, magnitude = _TABLES[x.type], math.abs(x)
    reduced, low, total, difference = _hyperbolic(math, magnitude)
    square = reduced * reduced
    sinh_part = reduced + math.fma(reduced * square, horner(math, square, table.sinh), low)
    cosh_tail = math.fma(square, horner(math, square, table.cosh), reduced * low)
    result = total + math.fma(total, cosh_tail, difference * sinh_part)
    return math.select(_extreme(math, magnitude), _half_exp(math, magnitude), result)
