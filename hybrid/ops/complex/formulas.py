"""Scalar formulas of complex functions over parts: z = a + ib has `re` = a and `im` = b.

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
_DIGITS = 7  # of whole numbers below 100, in base 2


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


def _finite(algebra: Builder, value: Val) -> Val:
    return algebra.abs(value) < INF


def _bad(value: Val) -> Val:
    """Whether x is NaN."""
    return value != value


def _times(algebra: Builder, value: Val, zero_if: Val) -> Val:
    """x * zero_if, where an exact zero of the second keeps its sign and stays a zero, whatever x
    is."""
    return algebra.select(zero_if == 0.0, zero_if, value * zero_if)


# ---- arithmetic
def multiply(algebra: Builder, re: Val, im: Val, re2: Val, im2: Val) -> Pair:
    """(a + ib)(c + id): (ac - bd) + i(ad + bc), every operation rounded."""
    return re * re2 - im * im2, re * im2 + im * re2


def reciprocal(algebra: Builder, re2: Val, im2: Val) -> Pair:
    """1 / (c + id), as `divide` with -d in the place of 0 - d."""
    wide = algebra.abs(re2) >= algebra.abs(im2)
    big, small = algebra.select(wide, re2, im2), algebra.select(wide, im2, re2)
    none = (re2 == 0.0) & (im2 == 0.0)
    ratio = algebra.select(none, algebra.const(re2.type, 0.0), small / big)
    bottom = algebra.select(none, algebra.abs(re2), big + small * ratio)
    one = algebra.const(re2.type, 1.0)
    top, side = algebra.select(wide, one, ratio), algebra.select(wide, -ratio, -one)
    return top / bottom, algebra.select(none, algebra.const(re2.type, NAN), side / bottom)


def divide(algebra: Builder, re: Val, im: Val, re2: Val, im2: Val) -> Pair:
    """(a + ib) / (c + id) by R. Smith, Algorithm 116 (CACM 5, 1962); a zero divisor gives the
    parts divided by its real part."""
    wide = algebra.abs(re2) >= algebra.abs(im2)
    big, small = algebra.select(wide, re2, im2), algebra.select(wide, im2, re2)
    none = (re2 == 0.0) & (im2 == 0.0)
    ratio = algebra.select(none, algebra.const(re.type, 0.0), small / big)
    bottom = big + small * ratio
    real_part = algebra.select(wide, re + im * ratio, re * ratio + im)
    imaginary = algebra.select(wide, im - re * ratio, im * ratio - re)
    scale = algebra.select(none, algebra.abs(re2), bottom)
    return real_part / scale, imaginary / scale


# ---- exponential and logarithm
def exp(algebra: Builder, re: Val, im: Val) -> Pair:
    """e^a (cos b + i sin b)."""
    small, large = (
        F.exp(algebra, algebra.select(re > _LIMITS[re.type].log_big, re - 64.0, re)),
        math.exp(64.0),
    )
    factor = algebra.select(re > _LIMITS[re.type].log_big, large, algebra.const(re.type, 1.0))
    real_part = small * F.cos(algebra, im) * factor
    imaginary = _times(algebra, small, F.sin(algebra, im)) * factor
    turned = _finite(algebra, im)
    zero, nan = algebra.const(re.type, 0.0), algebra.const(re.type, NAN)
    limit = algebra.select(
        turned, real_part, algebra.select(re == -INF, zero, algebra.select(re == INF, re, nan))
    )
    other = algebra.select(turned, imaginary, algebra.select(re == -INF, zero, nan))
    return limit, algebra.select(im == 0.0, im, other)


def expm1(algebra: Builder, re: Val, im: Val) -> Pair:
    """e^z - 1: expm1(a) cos b - 2 sin(b/2)^2, without cancellation near 0."""
    half = F.sin(algebra, 0.5 * im)
    whole, imaginary = exp(algebra, re, im)
    near = F.expm1(algebra, re) * F.cos(algebra, im) - 2.0 * half * half
    straight = algebra.select(im == 0.0, F.expm1(algebra, re) + 0.0, near)
    usual = _finite(algebra, im) & (re < 1.0) & (re > -INF)
    return algebra.select(usual | (im == 0.0), straight, whole - 1.0), imaginary


def _log_modulus(algebra: Builder, re: Val, im: Val) -> Val:
    """log |a + ib|, with log1p where the modulus is near 1."""
    value, other_value = algebra.abs(re), algebra.abs(im)
    top, low = algebra.max(value, other_value), algebra.min(value, other_value)
    near = (top > 0.5) & (top < 2.0)
    inner = algebra.select(
        near, algebra.fma(top - 1.0, top + 1.0, low * low), algebra.const(re.type, 0.0)
    )
    far = F.log(algebra, F.hypot(algebra, re, im))
    limits = _LIMITS[re.type]
    up = 2.0 ** (limits.scale // 2)
    tiny = top < limits.small  # hypot of subnormal numbers is not precise
    rescaled = F.log(algebra, F.hypot(algebra, re * up, im * up)) - math.log(up)
    over = F.log(algebra, F.hypot(algebra, re * 0.25, im * 0.25)) + math.log(4.0)
    far = algebra.select(
        tiny, rescaled, algebra.select((top > limits.large) & (top < INF), over, far)
    )
    return algebra.select(near, 0.5 * F.log1p(algebra, inner), far)


def log(algebra: Builder, re: Val, im: Val) -> Pair:
    """log |z| + i arg z, cut along the negative real axis."""
    return _log_modulus(algebra, re, im), F.atan2(algebra, im, re)


def log1p(algebra: Builder, re: Val, im: Val) -> Pair:
    """log(1 + z), precise near 0: log1p(a (2 + a) + b^2) / 2."""
    near = (algebra.abs(re) < 0.5) & (algebra.abs(im) < 0.5)
    inner = algebra.fma(re, re + 2.0, im * im)
    inner = algebra.select(near, inner, algebra.const(re.type, 0.0))
    far = _log_modulus(algebra, 1.0 + re, im)
    return algebra.select(near, 0.5 * F.log1p(algebra, inner), far), F.atan2(algebra, im, 1.0 + re)


def sqrt(algebra: Builder, re: Val, im: Val) -> Pair:
    """The root with a real part that is not negative, cut along the negative real axis."""
    limits = _LIMITS[re.type]
    top = algebra.max(algebra.abs(re), algebra.abs(im))
    up, down = 2.0**limits.scale, 2.0**-limits.scale
    one = algebra.const(re.type, 1.0)
    scale = algebra.select(top > limits.large, down, algebra.select(top < limits.small, up, one))
    root = 2.0 ** (limits.scale // 2)
    back = algebra.select(
        top > limits.large, root, algebra.select(top < limits.small, 1.0 / root, one)
    )
    value, other_value = algebra.abs(re) * scale, im * scale
    half = algebra.sqrt(0.5 * (value + F.hypot(algebra, value, other_value)))
    none = half == 0.0
    other = algebra.select(none, other_value, other_value / (2.0 * algebra.select(none, one, half)))
    right = re >= 0.0
    real_part = algebra.select(right, half, algebra.abs(other)) * back
    imaginary = algebra.select(right, other, algebra.copysign(half, im)) * back
    # infinite and missing parts (C99, G.6.4.2)
    endless, nan = algebra.abs(im) == INF, algebra.const(re.type, NAN)
    zero = algebra.const(re.type, 0.0)
    west = re == -INF
    real_part = algebra.select(west, algebra.select(_bad(im), nan, zero), real_part)
    imaginary = algebra.select(west, algebra.copysign(algebra.const(re.type, INF), im), imaginary)
    east = re == INF
    real_part = algebra.select(east, re, real_part)
    imaginary = algebra.select(
        east, algebra.select(_bad(im), im, algebra.copysign(zero, im)), imaginary
    )
    return algebra.select(endless, algebra.abs(im), real_part), algebra.select(
        endless, im, imaginary
    )


def _select(algebra: Builder, condition: Val, first: Pair, second: Pair) -> Pair:
    return (
        algebra.select(condition, first[0], second[0]),
        algebra.select(condition, first[1], second[1]),
    )


def _whole_power(algebra: Builder, re: Val, im: Val, exponent: Val) -> Pair:
    """z^n by products, for whole n between -100 and 100; z itself and z z z are products of nothing
    else, so that infinite parts stay what they are."""
    number = algebra.abs(exponent)
    one, zero = algebra.const(re.type, 1.0), algebra.const(re.type, 0.0)
    result, square, rest = (one, zero), (re, im), number
    for step in range(_DIGITS):
        half = algebra.trunc(rest * 0.5)
        product = multiply(algebra, *result, *square)
        result = _select(algebra, rest - 2.0 * half == 1.0, product, result)
        rest = half
        if step + 1 < _DIGITS:
            square = multiply(algebra, *square, *square)
    twice = multiply(algebra, re, im, re, im)
    thrice = multiply(algebra, re, im, *twice)
    for known, value in ((1.0, (re, im)), (2.0, twice), (3.0, thrice)):
        result = _select(algebra, number == known, value, result)
    return _select(algebra, exponent < 0.0, divide(algebra, one, zero, *result), result)


def power(algebra: Builder, re: Val, im: Val, re2: Val, im2: Val) -> Pair:
    """e^(w log z), by products for small whole w; z^0 is 1, 0^w is 0 for a positive real part of
    w."""
    size, angle = log(algebra, re, im)
    general = exp(algebra, *multiply(algebra, re2, im2, size, angle))
    few = (im2 == 0.0) & (algebra.abs(re2) < 100.0) & (algebra.trunc(re2) == re2)
    real_part, imaginary = _select(algebra, few, _whole_power(algebra, re, im, re2), general)
    zero, one = algebra.const(re.type, 0.0), algebra.const(re.type, 1.0)
    unit = (re2 == 0.0) & (im2 == 0.0)
    nothing = (re == 0.0) & (im == 0.0)
    gone = nothing & (re2 > 0.0)
    undefined = nothing & (re2 <= 0.0)
    nan = algebra.const(re.type, NAN)
    real_part = algebra.select(gone, zero, algebra.select(undefined, nan, real_part))
    imaginary = algebra.select(gone, zero, algebra.select(undefined, nan, imaginary))
    return algebra.select(unit, one, real_part), algebra.select(unit, zero, imaginary)


# ---- hyperbolic and trigonometric
def _waves(algebra: Builder, value: Val, angle: Val, first: Val, second: Val) -> Pair:
    """(first * cos angle, second * sin angle) of hyperbolic `first` and `second` of x; exact zeros
    of x and the angle keep their sign, infinities and NaN as the standard has them."""
    cosine, sine = F.cos(algebra, angle), F.sin(algebra, angle)
    real_part, imaginary = first * cosine, second * sine
    endless = algebra.abs(value) == INF
    wild = ~_finite(algebra, angle)
    return (
        algebra.select(endless & wild, first, real_part),
        algebra.select(angle == 0.0, algebra.select(_bad(value), angle, second * angle), imaginary),
    )


def sinh(algebra: Builder, re: Val, im: Val) -> Pair:
    """sinh a cos b + i cosh a sin b."""
    real_part, imaginary = _waves(algebra, re, im, F.sinh(algebra, re), F.cosh(algebra, re))
    real_part = algebra.select((re == 0.0) & ~_finite(algebra, im), re, real_part)
    return real_part, algebra.select(im == 0.0, im, imaginary)


def cosh(algebra: Builder, re: Val, im: Val) -> Pair:
    """cosh a cos b + i sinh a sin b."""
    real_part, imaginary = _waves(algebra, re, im, F.cosh(algebra, re), F.sinh(algebra, re))
    imaginary = algebra.select((re == 0.0) & ~_finite(algebra, im), re, imaginary)
    along = algebra.select(_bad(re), im, im * algebra.copysign(algebra.const(re.type, 1.0), re))
    return real_part, algebra.select(im == 0.0, along, imaginary)


def tanh(algebra: Builder, re: Val, im: Val) -> Pair:
    """Kahan's formula: t = tan b, r = 1 + t^2, h = sinh a; (r h cosh a + i t) / (1 + r h^2)."""
    flat = _LIMITS[re.type].flat
    tangent, height = F.tan(algebra, im), F.sinh(algebra, algebra.max(algebra.min(re, flat), -flat))
    ratio = 1.0 + tangent * tangent
    root = algebra.sqrt(1.0 + height * height)
    below = 1.0 + ratio * height * height
    steep = algebra.abs(tangent) == INF
    real_part = algebra.select(steep, root / height, ratio * root * height / below)
    imaginary = algebra.select(steep, 1.0 / tangent, tangent / below)
    one, zero = algebra.const(re.type, 1.0), algebra.const(re.type, 0.0)
    turn = algebra.select(_finite(algebra, im), F.sin(algebra, im + im), zero)
    far, endless = algebra.abs(re) > flat, algebra.abs(re) == INF
    beyond = algebra.select(
        endless, algebra.copysign(zero, im), turn * 2.0 * F.exp(algebra, -2.0 * algebra.abs(re))
    )
    known = endless | _finite(algebra, im)
    real_part = algebra.select(far & known, algebra.copysign(one, re), real_part)
    imaginary = algebra.select(far & known, beyond, imaginary)
    return algebra.select(re == 0.0, re, real_part), algebra.select(im == 0.0, im, imaginary)


def _turned(pair: Pair) -> Pair:
    """-i z."""
    return pair[1], -pair[0]


def sin(algebra: Builder, re: Val, im: Val) -> Pair:
    """-i sinh(iz)."""
    return _turned(sinh(algebra, -im, re))


def cos(algebra: Builder, re: Val, im: Val) -> Pair:
    """cosh(iz)."""
    return cosh(algebra, -im, re)


def tan(algebra: Builder, re: Val, im: Val) -> Pair:
    """-i tanh(iz)."""
    return _turned(tanh(algebra, -im, re))


# ---- inverse functions
def _roots(algebra: Builder, re: Val, im: Val) -> tuple[Pair, Pair]:
    """sqrt(1 - z), sqrt(1 + z)."""
    return sqrt(algebra, 1.0 - re, -im), sqrt(algebra, 1.0 + re, im)


def _corner(algebra: Builder, re: Val, im: Val) -> tuple[Val, Val]:
    """Whether a part is infinite and none is NaN; the angle of (|a|, |b|) there, in 0..pi/2."""
    endless = ((algebra.abs(re) == INF) | (algebra.abs(im) == INF)) & (re == re) & (im == im)
    one, zero = algebra.const(re.type, 1.0), algebra.const(re.type, 0.0)
    value, other_value = (algebra.select(algebra.abs(v) == INF, one, zero) for v in (re, im))
    return endless, F.atan2(algebra, other_value, value)


def _unknown(algebra: Builder, re: Val, im: Val) -> Val:
    """Whether one part is infinite and the other NaN."""
    return ((algebra.abs(re) == INF) & _bad(im)) | ((algebra.abs(im) == INF) & _bad(re))


def asin(algebra: Builder, re: Val, im: Val) -> Pair:
    """atan2(a, Re(sqrt(1-z) sqrt(1+z))) + i asinh(Im(conj(sqrt(1-z)) sqrt(1+z)))."""
    minus, plus = _roots(algebra, re, im)
    across = F.atan2(algebra, re, minus[0] * plus[0] - minus[1] * plus[1])
    along = F.asinh(algebra, minus[0] * plus[1] - minus[1] * plus[0])
    endless, turn = _corner(algebra, re, im)
    across = algebra.select(endless, algebra.copysign(math.pi / 2 - turn, re), across)
    across = algebra.select((re == 0.0) & _bad(im), re, across)
    inf = algebra.const(re.type, INF)
    return across, algebra.select(
        endless | _unknown(algebra, re, im), algebra.copysign(inf, im), along
    )


def acos(algebra: Builder, re: Val, im: Val) -> Pair:
    """2 atan2(Re sqrt(1-z), Re sqrt(1+z)) + i asinh(Im(conj(sqrt(1+z)) sqrt(1-z)))."""
    minus, plus = _roots(algebra, re, im)
    across = 2.0 * F.atan2(algebra, minus[0], plus[0])
    along = F.asinh(algebra, plus[0] * minus[1] - plus[1] * minus[0])
    endless, turn = _corner(algebra, re, im)
    across = algebra.select(endless, algebra.select(re < 0.0, math.pi - turn, turn), across)
    unknown, nan, inf = (
        _unknown(algebra, re, im),
        algebra.const(re.type, NAN),
        algebra.const(re.type, INF),
    )
    quarter = algebra.const(re.type, math.pi / 2)
    across = algebra.select((re == 0.0) & _bad(im), quarter, algebra.select(unknown, nan, across))
    return across, algebra.select(endless | unknown, -algebra.copysign(inf, im), along)


def acosh(algebra: Builder, re: Val, im: Val) -> Pair:
    """+-i acos(z), with the sign that makes the real part positive."""
    across, along = acos(algebra, re, im)
    return algebra.select(_bad(along), along, algebra.abs(along)), algebra.copysign(across, im)


def asinh(algebra: Builder, re: Val, im: Val) -> Pair:
    """i asin(-iz)."""
    across, along = asin(algebra, im, -re)
    along = algebra.select((im == 0.0) & _bad(re), re, along)
    return -along, across


def atanh(algebra: Builder, re: Val, im: Val) -> Pair:
    """log1p(4a / ((1-a)^2 + b^2)) / 4 + i atan2(2b, (1-a)(1+a) - b^2) / 2, for |a| and its sign."""
    value, other_value = algebra.abs(re), algebra.abs(im)
    limits = _LIMITS[re.type]
    top = algebra.max(value, other_value)
    vast, pole = top > limits.large, (value == 1.0) & (other_value < limits.small)
    apart = 1.0 - value
    near = algebra.fma(apart, apart, im * im)
    # a / (a^2 + b^2) where 1 and squares are out of reach
    part, other_part = value / top, im / top
    real_part = algebra.select(
        vast,
        (part / (part * part + other_part * other_part)) / top,
        algebra.select(
            pole,
            0.5 * (math.log(2.0) - F.log(algebra, other_value)),
            0.25 * F.log1p(algebra, 4.0 * value / near),
        ),
    )
    endless = (value == INF) | (other_value == INF)
    real_part = algebra.select(
        endless, algebra.const(re.type, 0.0), algebra.select(re == 0.0, value, real_part)
    )
    across = 0.5 * F.atan2(algebra, 2.0 * im, apart * (1.0 + value) - im * im)
    quarter = algebra.copysign(algebra.const(re.type, math.pi / 2), im)
    imaginary = algebra.select(_bad(im), im, algebra.select(vast | endless, quarter, across))
    return algebra.copysign(real_part, re), imaginary


def atan(algebra: Builder, re: Val, im: Val) -> Pair:
    """-i atanh(iz)."""
    return _turned(atanh(algebra, -im, re))
