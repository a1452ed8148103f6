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
    ln2_high: float  # trailing zero bits: n * ln2_high is exact
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


def exp_parts(s: Builder, x: Val, low: Val | None = None) -> tuple[Val, Val, Val | None]:
    """(v, S, d) with e^(x + low) = (1 + v + d) * S * S, for x within the table's limits; d only if
    `low` is given."""
    t = _TABLES[x.type]
    shifted = s.fma(x, LOG2E / 2, FORMAT[x.type].magic)
    n = shifted - FORMAT[x.type].magic
    part = s.fma(n, -2 * t.ln2_high, x)
    r = s.fma(n, -2 * t.ln2_low, part)
    v = s.fma(r * r, horner(s, r, t.exp), r)
    if low is None:
        return v, exponent_of_shifted(s, shifted), None
    rest = s.fma(n, -2 * t.ln2_low, part - r) + low
    return v, exponent_of_shifted(s, shifted), s.fma(rest, v, rest)


def exp_limits(ty: str) -> tuple[float, float]:
    """Where exp rounds to 0, and where it overflows."""
    return _TABLES[ty].low, _TABLES[ty].high


def exp(s: Builder, x: Val) -> Val:
    t = _TABLES[x.type]
    v, power, _ = exp_parts(s, clamp(s, x, t.low, t.high))
    return (v + 1.0) * power * power


def exp2(s: Builder, x: Val) -> Val:
    t, magic = _TABLES[x.type], FORMAT[x.type].magic
    x = clamp(
        s,
        x,
        2.0 * FORMAT[x.type].bias * -1.0 if x.type == "f64" else -151.0,
        float(FORMAT[x.type].bias + 1),
    )
    shifted = s.fma(x, 0.5, magic)
    y = s.fma(shifted - magic, -2.0, x)
    r = s.fma(y, LN2, y * t.ln2_rest)
    power = exponent_of_shifted(s, shifted)
    return (s.fma(r * r, horner(s, r, t.exp), r) + 1.0) * power * power


def _reduce(s: Builder, x: Val) -> tuple[Val, Val, Val]:
    """(magic + n, r, low) with x = n*ln2 + r + low and |r| <= ln2 / 2."""
    t, magic = _TABLES[x.type], FORMAT[x.type].magic
    shifted = s.fma(x, LOG2E, magic)
    n = shifted - magic
    part = s.fma(n, -t.ln2_high, x)
    r = s.fma(n, -t.ln2_low, part)
    return shifted, r, s.fma(n, -t.ln2_low, part - r)


def expm1(s: Builder, x: Val) -> Val:
    t = _TABLES[x.type]
    shifted, r, low = _reduce(s, clamp(s, x, -t.even, t.high))
    half = exponent_of_shifted(
        s, shifted - 1.0
    )  # half the power: it stays finite up to the largest result
    rest = half - 0.5
    main = s.fma(half, r, rest)  # cancels near |x| = ln2/2, so its rounding error is kept
    lost = s.fma(half, r, rest - main)
    out = main + s.fma(half, s.fma(r * r, horner(s, r, t.expm1), low), lost)
    return s.select(s.abs(x) < t.small, x, out + out)


def tanh(s: Builder, x: Val) -> Val:
    """With m = e^(2|x|) - 1: m / (m + 2),
    corrected for the rounding of the sum and of the quotient."""
    t, magic = _TABLES[x.type], FORMAT[x.type].magic
    a = clamp(s, s.abs(x), None, t.even / 2 + 0.5)
    shifted = s.fma(a, 2 * LOG2E, magic)
    r = s.fma(shifted - magic, -LN2, a + a)  # the low part of ln2 does not reach the result
    power = exponent_of_shifted(s, shifted)
    part = power * (r * r)
    main, rest = s.fma(power, r, power - 1.0), None
    if x.type == "f32":
        m = s.fma(part, horner(s, r, t.expm1), main)
    else:  # float64 needs the rounding errors of m, too
        tail = s.fma(part, horner(s, r, t.expm1), s.fma(power, r, (power - 1.0) - main))
        m = main + tail
        rest = tail - (m - main)
    total = m + 2.0
    inverse = 1.0 / total
    q = m * inverse
    error = s.fma(-q, m - (total - 2.0), s.fma(-q, total, m))
    if rest is not None:
        error = error + s.fma(-q, rest, rest)
    return s.copysign(s.fma(error, inverse, q), x)


def sigmoid_parts(s: Builder, x: Val) -> Pair:
    """(q, S) with the logistic function = q * S * S, q a normal number.

    e/(1+e) for x < 0 and 1/(1+e) otherwise, with e = exp(-|x|): nothing overflows or cancels."""
    t = _TABLES[x.type]
    v, power, _ = exp_parts(s, clamp(s, -s.abs(x), t.low - 8.0, None))
    head, below = v + 1.0, x < 0
    low = v - (head - 1.0)
    total, rest = fast_two_sum(s.const(x.type, 1.0), head * power * power)
    inverse = 1.0 / total
    top = s.select(below, head, 1.0)
    q = top * inverse
    # one correction step takes out the roundings of the sum, of the quotient and of 1 + v
    error = s.fma(-q, total, top) + s.select(below, low, 0.0)
    error = s.fma(-q, rest + low * power * power, error)
    return s.fma(error, inverse, q), s.select(below, power, 1.0)


def sigmoid(s: Builder, x: Val) -> Val:
    q, scale = sigmoid_parts(s, x)
    return q * scale * scale


def _hyperbolic(s: Builder, x: Val) -> tuple[Val, Val, Val, Val]:
    """(r, low, total, diff) with |x| = n*ln2 + r + low, total = 2^(n-2) + 2^(-n-2) and diff their
    difference, so that sinh|x| = 2 (diff cosh(r+low) + total sinh(r+low)), and cosh with total and
    diff exchanged."""
    t, f = _TABLES[x.type], FORMAT[x.type]
    shifted, r, low = _reduce(s, clamp(s, s.abs(x), None, t.high + 0.5))
    up = exponent_of_shifted(s, shifted - 2.0)
    n = clamp(s, shifted - f.magic, None, float(f.bias // 2))  # e^-|x| no longer counts there
    down = exponent_of_shifted(s, (f.magic - 2.0) - n)
    return r, low, up + down, up - down


def sinh(s: Builder, x: Val) -> Val:
    t = _TABLES[x.type]
    r, low, total, diff = _hyperbolic(s, x)
    z, a = r * r, s.abs(x)
    main = s.fma(total, r, diff)  # cancels for n = 1, so its rounding error is kept
    lost = s.fma(total, r, diff - main)
    tail = s.fma(r * z, horner(s, z, t.sinh), low)
    rest = s.fma(total, tail, s.fma(diff, s.fma(z, horner(s, z, t.cosh), r * low), lost))
    out = main + rest
    return s.copysign(s.select(a < t.small, a, out + out), x)


def cosh(s: Builder, x: Val) -> Val:
    t = _TABLES[x.type]
    r, low, total, diff = _hyperbolic(s, x)
    z = r * r
    sh = r + s.fma(r * z, horner(s, z, t.sinh), low)
    out = total + s.fma(total, s.fma(z, horner(s, z, t.cosh), r * low), diff * sh)
    return out + out
