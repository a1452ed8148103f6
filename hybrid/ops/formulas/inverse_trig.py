"""asin, acos, atan, atan2.

Invariant: at most 2 ulp from the true value; quadrants and signed zeros as C99 gives them.
Method: one minimax polynomial (Remez exchange) per function, on |x| <= 1 for atan with the
reciprocal outside, on
|x| <= 1/2 for asin with the half-angle identity outside; pi in two parts.
"""

from __future__ import annotations

from ...ir.scalar.program import Builder, Val
from .tools import INF, horner, sign_bits

__all__ = ["asin", "acos", "atan", "atan2"]

# (atan t - t) / t^3 in t^2, |t| <= 1
_ATAN = {
    "f32": (
        -0.333331525,
        0.199937731,
        -0.142110556,
        0.106660046,
        -0.0755221695,
        0.0432119146,
        -0.0163679756,
        0.00292070745,
    ),
    "f64": (
        -0.3333333333333186,
        0.19999999999755044,
        -0.1428571427133567,
        0.11111110678762742,
        -0.09090901235499962,
        0.07692212930746058,
        -0.06665860359630799,
        0.05877307732508402,
        -0.052392327871227426,
        0.04673948819756202,
        -0.04092636137806643,
        0.034067770133541175,
        -0.025826737172494615,
        0.016977970917445212,
        -0.009184507133460276,
        0.00385594502435708,
        -0.0011640601395088797,
        0.00022301965519948896,
        -2.0258255638620974e-05,
    ),
}
# (asin t - t) / t^3 in t^2, |t| <= 1/2
_ASIN = {
    "f32": (0.166667536, 0.0749523267, 0.0454783328, 0.0241410267, 0.0422304943),
    "f64": (
        0.16666666666665375,
        0.07500000000344881,
        0.04464285682191025,
        0.030381959397991525,
        0.022371751882768808,
        0.017359796401622454,
        0.013884343500544728,
        0.012174985309065882,
        0.006503342962717411,
        0.01959480713288146,
        -0.016327398385226434,
        0.03198215795429067,
    ),
}
_PI = {
    "f32": (3.1415927410125732, -8.742277657347586e-08),
    "f64": (3.141592653589793, 1.2246467991473532e-16),
}


def _asin_tail(s: Builder, t: Val, z: Val) -> Val:
    return t * z * horner(s, z, _ASIN[t.type])


def _half_angle(s: Builder, a: Val) -> tuple[Val, Val, Val]:
    """(t, z, rest): where a > 1/2 t + rest = sqrt((1 - a)/2), else t = a; z = t^2."""
    big = a > 0.5
    z = s.select(big, s.fma(a, -0.5, 0.5), a * a)
    root = s.sqrt(z)
    rest = s.fma(-root, root, z) / (root + root)
    zero = s.const(a.type, 0.0)
    return s.select(big, root, a), z, s.select(big, s.select(root > 0, rest, zero), zero)


def asin(s: Builder, x: Val) -> Val:
    a = s.abs(x)
    pi, pi_low = _PI[x.type]
    t, z, rest = _half_angle(s, a)
    tail = _asin_tail(s, t, z)
    wide = pi / 2 - s.fma(t, 2.0, s.fma(tail + rest, 2.0, -pi_low / 2))
    return s.copysign(s.select(a > 0.5, wide, t + tail), x)


def acos(s: Builder, x: Val) -> Val:
    a = s.abs(x)
    pi, pi_low = _PI[x.type]
    t, z, rest = _half_angle(s, a)
    tail = _asin_tail(s, t, z) + rest
    twice, twice_tail = t + t, tail + tail
    middle = pi / 2 - (s.copysign(t, x) + (s.copysign(tail, x) - pi_low / 2))
    wide = s.select(x < 0, pi - (twice + (twice_tail - pi_low)), twice + twice_tail)
    return s.select(a > 0.5, wide, middle)


def _atan_tail(s: Builder, t: Val) -> Val:
    z = t * t
    return t * z * horner(s, z, _ATAN[t.type])


def atan(s: Builder, x: Val) -> Val:
    a = s.abs(x)
    pi, pi_low = _PI[x.type]
    t = s.select(a > 1.0, 1.0 / a, a)
    tail = _atan_tail(s, t)
    out = s.select(a > 1.0, pi / 2 - (t + (tail - pi_low / 2)), t + tail)
    return s.copysign(out, x)


def atan2(s: Builder, y: Val, x: Val) -> Val:
    """The angle of (x, y): the octant's arctangent of min/max, then reflections."""
    ax, ay = s.abs(x), s.abs(y)
    pi, pi_low = _PI[x.type]
    steep = ay > ax
    big, small = s.select(steep, ay, ax), s.select(steep, ax, ay)
    t = s.select(small == big, s.select(big == 0, big, 1.0), small / big)  # 0/0 is 0, inf/inf is 1
    tail = _atan_tail(s, t)
    behind = sign_bits(s, x) != 0
    zero = s.const(x.type, 0.0)
    # base - or + (t + tail), the base a multiple of pi/2
    base = s.select(steep, pi / 2, s.select(behind, s.const(x.type, pi), zero))
    base_low = s.select(steep, pi_low / 2, s.select(behind, s.const(x.type, pi_low), zero))
    minus = steep ^ behind
    signed_t, signed_tail = s.select(minus, -t, t), s.select(minus, -tail, tail)
    out = s.copysign(base + (signed_t + (signed_tail + base_low)), y)
    out = s.select(ax <= INF, out, x)
    return s.select(ay <= INF, out, y)
