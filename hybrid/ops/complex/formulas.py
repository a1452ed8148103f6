"""Scalar formulas of complex functions over (real part, imaginary part).

Invariant: branch cuts, and the signs of zeros along them, are those of the array API standard and
of C99's annex G, which follow W. Kahan, "Branch cuts for complex elementary functions, or much ado
about nothing's sign bit" (1987); products with an exact zero part keep it a zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...ir.scalar.program import Builder, Val
from .. import formulas as F

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "divide",
    "exp",
    "expm1",
    "log",
    "log1p",
    "multiply",
    "power",
    "reciprocal",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
]

Pair = tuple[Val, Val]
INF, NAN = math.inf, math.nan


class _Limits(NamedTuple):
    """Of a type: above `log_big` e^x is split; numbers above `large` are scaled by 2^-scale before
    they are squared, those below `small` by 2^scale; tanh is 1 beyond `flat`."""

    log_big: float
    large: float
    small: float
    scale: int
    flat: float


_LIMITS = {
    "f32": _Limits(80.0, 2.0**60, 2.0**-60, 70, 22.0),
    "f64": _Limits(700.0, 2.0**500, 2.0**-500, 520, 44.0),
}


def _finite(s: Builder, x: Val) -> Val:
    return s.abs(x) < INF


def _bad(x: Val) -> Val:
    """Whether x is NaN."""
    return x != x


def _times(s: Builder, x: Val, zero_if: Val) -> Val:
    """x * zero_if, where an exact zero of the second keeps its sign and stays a zero, whatever x
    is."""
    return s.select(zero_if == 0.0, zero_if, x * zero_if)


# ---- arithmetic
def multiply(s: Builder, a: Val, b: Val, c: Val, d: Val) -> Pair:
    """(a + ib)(c + id): (ac - bd) + i(ad + bc), every operation rounded."""
    return a * c - b * d, a * d + b * c


def reciprocal(s: Builder, c: Val, d: Val) -> Pair:
    """1 / (c + id), as `divide` with -d in the place of 0 - d."""
    wide = s.abs(c) >= s.abs(d)
    big, small = s.select(wide, c, d), s.select(wide, d, c)
    none = (c == 0.0) & (d == 0.0)
    ratio = s.select(none, s.const(c.type, 0.0), small / big)
    bottom = s.select(none, s.abs(c), big + small * ratio)
    one = s.const(c.type, 1.0)
    top, side = s.select(wide, one, ratio), s.select(wide, -ratio, -one)
    return top / bottom, s.select(none, s.const(c.type, NAN), side / bottom)


def divide(s: Builder, a: Val, b: Val, c: Val, d: Val) -> Pair:
    """(a + ib) / (c + id) by R. Smith, Algorithm 116 (CACM 5, 1962); a zero divisor gives the
    parts divided by its real part."""
    wide = s.abs(c) >= s.abs(d)
    big, small = s.select(wide, c, d), s.select(wide, d, c)
    none = (c == 0.0) & (d == 0.0)
    ratio = s.select(none, s.const(a.type, 0.0), small / big)
    bottom = big + small * ratio
    real_part = s.select(wide, a + b * ratio, a * ratio + b)
    imaginary = s.select(wide, b - a * ratio, b * ratio - a)
    scale = s.select(none, s.abs(c), bottom)
    return real_part / scale, imaginary / scale


# ---- exponential and logarithm
def exp(s: Builder, a: Val, b: Val) -> Pair:
    """e^a (cos b + i sin b)."""
    small, large = F.exp(s, s.select(a > _LIMITS[a.type].log_big, a - 64.0, a)), math.exp(64.0)
    factor = s.select(a > _LIMITS[a.type].log_big, large, s.const(a.type, 1.0))
    real_part = small * F.cos(s, b) * factor
    imaginary = _times(s, small, F.sin(s, b)) * factor
    turned = _finite(s, b)
    zero, nan = s.const(a.type, 0.0), s.const(a.type, NAN)
    limit = s.select(turned, real_part, s.select(a == -INF, zero, s.select(a == INF, a, nan)))
    other = s.select(turned, imaginary, s.select(a == -INF, zero, nan))
    return limit, s.select(b == 0.0, b, other)


def expm1(s: Builder, a: Val, b: Val) -> Pair:
    """e^z - 1: expm1(a) cos b - 2 sin(b/2)^2, without cancellation near 0."""
    half = F.sin(s, 0.5 * b)
    whole, imaginary = exp(s, a, b)
    near = F.expm1(s, a) * F.cos(s, b) - 2.0 * half * half
    straight = s.select(b == 0.0, F.expm1(s, a), near)
    usual = _finite(s, b) & (a < 1.0) & (a > -INF)
    return s.select(usual | (b == 0.0), straight, whole - 1.0), imaginary


def _log_modulus(s: Builder, a: Val, b: Val) -> Val:
    """log |a + ib|, with log1p where the modulus is near 1."""
    x, y = s.abs(a), s.abs(b)
    top, low = s.max(x, y), s.min(x, y)
    near = (top > 0.5) & (top < 2.0)
    inner = s.select(near, s.fma(top - 1.0, top + 1.0, low * low), s.const(a.type, 0.0))
    far = F.log(s, F.hypot(s, a, b))
    limits = _LIMITS[a.type]
    up = 2.0 ** (limits.scale // 2)
    tiny = top < limits.small  # hypot of subnormal numbers is not precise
    rescaled = F.log(s, F.hypot(s, a * up, b * up)) - math.log(up)
    over = F.log(s, F.hypot(s, a * 0.25, b * 0.25)) + math.log(4.0)
    far = s.select(tiny, rescaled, s.select((top > limits.large) & (top < INF), over, far))
    return s.select(near, 0.5 * F.log1p(s, inner), far)


def log(s: Builder, a: Val, b: Val) -> Pair:
    """log |z| + i arg z, cut along the negative real axis."""
    return _log_modulus(s, a, b), F.atan2(s, b, a)


def log1p(s: Builder, a: Val, b: Val) -> Pair:
    """log(1 + z), precise near 0: log1p(a (2 + a) + b^2) / 2."""
    near = (s.abs(a) < 0.5) & (s.abs(b) < 0.5)
    inner = s.fma(a, a + 2.0, b * b)
    inner = s.select(near, inner, s.const(a.type, 0.0))
    far = _log_modulus(s, 1.0 + a, b)
    return s.select(near, 0.5 * F.log1p(s, inner), far), F.atan2(s, b, 1.0 + a)


def sqrt(s: Builder, a: Val, b: Val) -> Pair:
    """The root with a real part that is not negative, cut along the negative real axis."""
    limits = _LIMITS[a.type]
    top = s.max(s.abs(a), s.abs(b))
    up, down = 2.0**limits.scale, 2.0**-limits.scale
    one = s.const(a.type, 1.0)
    scale = s.select(top > limits.large, down, s.select(top < limits.small, up, one))
    root = 2.0 ** (limits.scale // 2)
    back = s.select(top > limits.large, root, s.select(top < limits.small, 1.0 / root, one))
    x, y = s.abs(a) * scale, b * scale
    half = s.sqrt(0.5 * (x + F.hypot(s, x, y)))
    none = half == 0.0
    other = s.select(none, y, y / (2.0 * s.select(none, one, half)))
    right = a >= 0.0
    real_part = s.select(right, half, s.abs(other)) * back
    imaginary = s.select(right, other, s.copysign(half, b)) * back
    # infinite and missing parts (C99, G.6.4.2)
    endless, nan = s.abs(b) == INF, s.const(a.type, NAN)
    zero = s.const(a.type, 0.0)
    west = a == -INF
    real_part = s.select(west, s.select(_bad(b), nan, zero), real_part)
    imaginary = s.select(west, s.copysign(s.const(a.type, INF), b), imaginary)
    east = a == INF
    real_part = s.select(east, a, real_part)
    imaginary = s.select(east, s.select(_bad(b), b, s.copysign(zero, b)), imaginary)
    return s.select(endless, s.abs(b), real_part), s.select(endless, b, imaginary)


def power(s: Builder, a: Val, b: Val, c: Val, d: Val) -> Pair:
    """e^(w log z); z^0 is 1, 0^w is 0 for a positive real part of w."""
    size, angle = log(s, a, b)
    real_part, imaginary = exp(s, *multiply(s, c, d, size, angle))
    zero, one = s.const(a.type, 0.0), s.const(a.type, 1.0)
    unit = (c == 0.0) & (d == 0.0)
    nothing = (a == 0.0) & (b == 0.0)
    gone = nothing & (c > 0.0)
    undefined = nothing & (c <= 0.0)
    nan = s.const(a.type, NAN)
    real_part = s.select(gone, zero, s.select(undefined, nan, real_part))
    imaginary = s.select(gone, zero, s.select(undefined, nan, imaginary))
    return s.select(unit, one, real_part), s.select(unit, zero, imaginary)


# ---- hyperbolic and trigonometric
def _waves(s: Builder, x: Val, angle: Val, first: Val, second: Val) -> Pair:
    """(first * cos angle, second * sin angle) of hyperbolic `first` and `second` of x; exact zeros
    of x and the angle keep their sign, infinities and NaN as the standard has them."""
    cosine, sine = F.cos(s, angle), F.sin(s, angle)
    real_part, imaginary = first * cosine, second * sine
    endless = s.abs(x) == INF
    wild = ~_finite(s, angle)
    return (
        s.select(endless & wild, first, real_part),
        s.select(angle == 0.0, s.select(_bad(x), angle, second * angle), imaginary),
    )


def sinh(s: Builder, a: Val, b: Val) -> Pair:
    """sinh a cos b + i cosh a sin b."""
    real_part, imaginary = _waves(s, a, b, F.sinh(s, a), F.cosh(s, a))
    real_part = s.select((a == 0.0) & ~_finite(s, b), a, real_part)
    return real_part, s.select(b == 0.0, b, imaginary)


def cosh(s: Builder, a: Val, b: Val) -> Pair:
    """cosh a cos b + i sinh a sin b."""
    real_part, imaginary = _waves(s, a, b, F.cosh(s, a), F.sinh(s, a))
    imaginary = s.select((a == 0.0) & ~_finite(s, b), a, imaginary)
    along = s.select(_bad(a), b, b * s.copysign(s.const(a.type, 1.0), a))
    return real_part, s.select(b == 0.0, along, imaginary)


def tanh(s: Builder, a: Val, b: Val) -> Pair:
    """Kahan's formula: t = tan b, r = 1 + t^2, h = sinh a; (r h cosh a + i t) / (1 + r h^2)."""
    flat = _LIMITS[a.type].flat
    tangent, h = F.tan(s, b), F.sinh(s, s.max(s.min(a, flat), -flat))
    ratio = 1.0 + tangent * tangent
    root = s.sqrt(1.0 + h * h)
    below = 1.0 + ratio * h * h
    steep = s.abs(tangent) == INF
    real_part = s.select(steep, root / h, ratio * root * h / below)
    imaginary = s.select(steep, 1.0 / tangent, tangent / below)
    one, zero = s.const(a.type, 1.0), s.const(a.type, 0.0)
    turn = s.select(_finite(s, b), F.sin(s, b + b), zero)
    far, endless = s.abs(a) > flat, s.abs(a) == INF
    beyond = s.select(endless, s.copysign(zero, turn), turn * 2.0 * F.exp(s, -2.0 * s.abs(a)))
    known = endless | _finite(s, b)
    real_part = s.select(far & known, s.copysign(one, a), real_part)
    imaginary = s.select(far & known, beyond, imaginary)
    return s.select(a == 0.0, a, real_part), s.select(b == 0.0, b, imaginary)


def _turned(pair: Pair) -> Pair:
    """-i z."""
    return pair[1], -pair[0]


def sin(s: Builder, a: Val, b: Val) -> Pair:
    """-i sinh(iz)."""
    return _turned(sinh(s, -b, a))


def cos(s: Builder, a: Val, b: Val) -> Pair:
    """cosh(iz)."""
    return cosh(s, -b, a)


def tan(s: Builder, a: Val, b: Val) -> Pair:
    """-i tanh(iz)."""
    return _turned(tanh(s, -b, a))


# ---- inverse functions
def _roots(s: Builder, a: Val, b: Val) -> tuple[Pair, Pair]:
    """sqrt(1 - z), sqrt(1 + z)."""
    return sqrt(s, 1.0 - a, -b), sqrt(s, 1.0 + a, b)


def _corner(s: Builder, a: Val, b: Val) -> tuple[Val, Val]:
    """Whether a part is infinite and none is NaN; the angle of (|a|, |b|) there, in 0..pi/2."""
    endless = ((s.abs(a) == INF) | (s.abs(b) == INF)) & (a == a) & (b == b)
    one, zero = s.const(a.type, 1.0), s.const(a.type, 0.0)
    x, y = (s.select(s.abs(v) == INF, one, zero) for v in (a, b))
    return endless, F.atan2(s, y, x)


def _unknown(s: Builder, a: Val, b: Val) -> Val:
    """Whether one part is infinite and the other NaN."""
    return ((s.abs(a) == INF) & _bad(b)) | ((s.abs(b) == INF) & _bad(a))


def asin(s: Builder, a: Val, b: Val) -> Pair:
    """atan2(a, Re(sqrt(1-z) sqrt(1+z))) + i asinh(Im(conj(sqrt(1-z)) sqrt(1+z)))."""
    minus, plus = _roots(s, a, b)
    across = F.atan2(s, a, minus[0] * plus[0] - minus[1] * plus[1])
    along = F.asinh(s, minus[0] * plus[1] - minus[1] * plus[0])
    endless, turn = _corner(s, a, b)
    across = s.select(endless, s.copysign(math.pi / 2 - turn, a), across)
    across = s.select((a == 0.0) & _bad(b), a, across)
    inf = s.const(a.type, INF)
    return across, s.select(endless | _unknown(s, a, b), s.copysign(inf, b), along)


def acos(s: Builder, a: Val, b: Val) -> Pair:
    """2 atan2(Re sqrt(1-z), Re sqrt(1+z)) + i asinh(Im(conj(sqrt(1+z)) sqrt(1-z)))."""
    minus, plus = _roots(s, a, b)
    across = 2.0 * F.atan2(s, minus[0], plus[0])
    along = F.asinh(s, plus[0] * minus[1] - plus[1] * minus[0])
    endless, turn = _corner(s, a, b)
    across = s.select(endless, s.select(a < 0.0, math.pi - turn, turn), across)
    unknown, nan, inf = _unknown(s, a, b), s.const(a.type, NAN), s.const(a.type, INF)
    quarter = s.const(a.type, math.pi / 2)
    across = s.select((a == 0.0) & _bad(b), quarter, s.select(unknown, nan, across))
    return across, s.select(endless | unknown, -s.copysign(inf, b), along)


def acosh(s: Builder, a: Val, b: Val) -> Pair:
    """+-i acos(z), with the sign that makes the real part positive."""
    across, along = acos(s, a, b)
    return s.select(_bad(along), along, s.abs(along)), s.copysign(across, b)


def asinh(s: Builder, a: Val, b: Val) -> Pair:
    """i asin(-iz)."""
    across, along = asin(s, b, -a)
    along = s.select((b == 0.0) & _bad(a), a, along)
    return -along, across


def atanh(s: Builder, a: Val, b: Val) -> Pair:
    """log1p(4a / ((1-a)^2 + b^2)) / 4 + i atan2(2b, (1-a)(1+a) - b^2) / 2, for |a| and its sign."""
    x, y = s.abs(a), s.abs(b)
    limits = _LIMITS[a.type]
    top = s.max(x, y)
    vast, pole = top > limits.large, (x == 1.0) & (y < limits.small)
    apart = 1.0 - x
    near = s.fma(apart, apart, b * b)
    # a / (a^2 + b^2) where 1 and squares are out of reach
    p, q = x / top, b / top
    real_part = s.select(
        vast,
        (p / (p * p + q * q)) / top,
        s.select(pole, 0.5 * (math.log(2.0) - F.log(s, y)), 0.25 * F.log1p(s, 4.0 * x / near)),
    )
    endless = (x == INF) | (y == INF)
    real_part = s.select(endless, s.const(a.type, 0.0), s.select(a == 0.0, x, real_part))
    across = 0.5 * F.atan2(s, 2.0 * b, apart * (1.0 + x) - b * b)
    quarter = s.copysign(s.const(a.type, math.pi / 2), b)
    imaginary = s.select(_bad(b), b, s.select(vast | endless, quarter, across))
    return s.copysign(real_part, a), imaginary


def atan(s: Builder, a: Val, b: Val) -> Pair:
    """-i atanh(iz)."""
    return _turned(atanh(s, -b, a))
