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
    """log_b(2) and log_b(e) in two parts each; the first part of log_b(2) is the nearest number."""

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


def _split(s: Builder, x: Val, root: bool = False) -> tuple[Val, Val, Val]:
    """(e, k, f): positive normal x = 2^k (1 + f); e is k as an integer, k as a float.

    1 + f lies in [2/3, 4/3), or with `root` in [sqrt(1/2), sqrt(2))."""
    fmt = FORMAT[x.type]
    low = (
        int((math.sqrt(2.0) - 1.0 if root else 1.0 / 3.0) * 2**fmt.mant) + fmt.one - (1 << fmt.mant)
    )
    bits = s.bitcast(x, fmt.signed)
    e = (bits - low) >> fmt.mant
    m = s.bitcast(bits - (e << fmt.mant), x.type)
    return e, float_of_int(s, e, x.type), m - 1.0


def split_exponent(s: Builder, x: Val, root: bool = False) -> Pair:
    """(k, f) with x = 2^k (1 + f), for positive x, subnormal ones included."""
    fmt = FORMAT[x.type]
    sub = x < fmt.tiny
    _, k, f = _split(s, s.select(sub, x * 2.0 ** (fmt.mant + 2), x), root)
    return s.select(sub, k - float(fmt.mant + 2), k), f


def _tail(s: Builder, f: Val) -> Val:
    """log(1 + f) - f."""
    if f.type == "f32":
        return f * f * horner(s, f, _TAIL32)
    t = f / (f + 2.0)
    z = t * t
    half = f * f * 0.5
    return s.fma(t, s.fma(z, horner(s, z, _TAIL64), half), -half)


def _special(s: Builder, x: Val, out: Val) -> Val:
    """The value where the argument of the logarithm is not positive and finite."""
    out = s.select(x > 0, out, s.select(x == 0, s.const(x.type, -INF), NAN))
    return s.select(x == INF, x, out)


def _natural(s: Builder, k: Val, f: Val) -> Val:
    high, low = _LN2[f.type]
    return s.fma(k, high, f + s.fma(k, low, _tail(s, f)))


def log(s: Builder, x: Val) -> Val:
    return _special(s, x, _natural(s, *split_exponent(s, x)))


def _log_base(s: Builder, x: Val, base: _Base) -> Val:
    k, f = split_exponent(s, x)
    # f*e_high is split exactly, so that the only rounding that counts is the last
    high, rest = two_prod(s, f, s.const(x.type, base.e_high))
    rest = rest + s.fma(f, base.e_low, _tail(s, f) * base.e_high)
    if base.two_low:
        rest = s.fma(k, base.two_low, rest)
    return _special(s, x, s.fma(k, base.two_high, high + rest))


def log2(s: Builder, x: Val) -> Val:
    return _log_base(s, x, _LOG2[x.type])


def log10(s: Builder, x: Val) -> Val:
    return _log_base(s, x, _LOG10[x.type])


def _of_sum(s: Builder, u: Val, c: Val, extra: Val | None = None) -> Val:
    """log(2^extra (u + c)) for u >= tiny, |c| a rounding error of u or less."""
    fmt = FORMAT[u.type]
    e, k, f = _split(s, u)
    # 2^-k; where u is near the largest number, c does not count and 2^-k is not normal
    scale = s.select(u < 1.0 / (4.0 * fmt.tiny), s.bitcast(fmt.one - (e << fmt.mant), u.type), 0.0)
    return _natural(s, k if extra is None else k + extra, s.fma(c, scale, f))


def log1p_pair(s: Builder, x: Val, low: Val) -> Val:
    """log(1 + x + low), 1 + x a positive normal number and low a rounding error of x."""
    u, c = two_sum(s.const(x.type, 1.0), x)
    return _of_sum(s, u, c + low)


def log1p(s: Builder, x: Val) -> Val:
    u, c = two_sum(s.const(x.type, 1.0), x)
    out = _special(s, u, _of_sum(s, u, c))
    return s.select(s.abs(x) < FORMAT[x.type].eps / 4, x, out)


def log1p_unit(s: Builder, x: Val) -> Val:
    """log(1 + x) for 0 <= x <= 1 (or NaN): half the cost of log1p."""
    big = x > 1.0 / 3.0
    f = s.select(big, s.fma(x, 0.5, -0.5), x)  # 1 + x = 2 (1 + f)
    high, low = _LN2[x.type]
    zero = s.const(x.type, 0.0)
    return s.select(big, high, zero) + (f + (_tail(s, f) + s.select(big, low, zero)))


def _log_of_large(s: Builder, big: Val, a: Val, x: Val, low: Val) -> Val:
    """log(2a) where `big`, else log(1 + x + low)."""
    u, c = two_sum(s.const(x.type, 1.0), x)
    zero = s.const(x.type, 0.0)
    return _of_sum(
        s,
        s.select(big, a, u),
        s.select(big, zero, c + low),
        s.select(big, s.const(x.type, 1.0), zero),
    )


_BIG = {"f32": 2.0**14, "f64": 2.0**30}  # sqrt(x^2 +- 1) is x from here on


def asinh(s: Builder, x: Val) -> Val:
    """log(1 + |x| + (sqrt(x^2 + 1) - 1)) with the inner sum to twice the precision."""
    a = s.abs(x)
    square, low = two_prod(s, a, a)
    total, rest = two_sum(s.const(x.type, 1.0), square)
    root, root_low = sqrt_pair(s, total, rest + low)
    w, w_low = two_sum(root, s.const(x.type, -1.0))
    arg, arg_low = two_sum(a, w)
    out = _log_of_large(s, a > _BIG[x.type], a, arg, arg_low + (w_low + root_low))
    out = s.select(a < INF, out, a)
    return s.copysign(out, x)


def acosh(s: Builder, x: Val) -> Val:
    """log(1 + (x - 1) + sqrt(x^2 - 1)) with the inner sum to twice the precision."""
    square, low = two_prod(s, x, x)
    diff, rest = two_sum(square, s.const(x.type, -1.0))
    v, v_low = two_sum(diff, rest + low)
    root, root_low = sqrt_pair(s, v, v_low)
    t, t_low = two_sum(x, s.const(x.type, -1.0))
    arg, arg_low = two_sum(root, t)
    out = _log_of_large(s, x > _BIG[x.type], x, arg, arg_low + (t_low + root_low))
    return s.select(x < INF, s.select(x < 1.0, NAN, out), x)


def atanh(s: Builder, x: Val) -> Val:
    """log(1 + 2|x| / (1 - |x|)) / 2 with the quotient to twice the precision."""
    a = s.abs(x)
    d, d_low = two_sum(s.const(x.type, 1.0), -a)
    q, q_low = divide_pair(s, a + a, d, None, d_low)
    out = log1p_pair(s, q, q_low) * 0.5
    out = s.select(a < 1.0, out, s.select(a == 1.0, s.const(x.type, INF), NAN))
    return s.copysign(s.select(a < FORMAT[x.type].eps, a, out), x)
