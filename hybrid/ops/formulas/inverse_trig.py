"""asin, acos, atan, atan2.

Invariant: at most 2 ulp from the true value; quadrants and signed zeros as C99 gives them.
Method: one minimax polynomial (Remez exchange) per function, on |x| <= 1 for atan with the
reciprocal outside, on |x| <= 1/2 for asin with the half-angle identity outside; pi in two parts.
Sums go from small to large, so that the last one makes the rounding error that counts.
"""

from __future__ import annotations

from ...ir.scalar.program import Builder, Val
from .tools import INF, NAN, horner, sign_bits, sqrt_pair

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
# pi rounded, and what that lost: an angle is a multiple of pi/2 and a rest, and may cancel
_PI = {
    "f32": (3.1415927410125732, -8.742277657347586e-08),
    "f64": (3.141592653589793, 1.2246467991473532e-16),
}


def _asin_tail(math: Builder, reduced: Val, square: Val) -> Val:
    return reduced * square * horner(math, square, _ASIN[reduced.type])


def _half_angle(math: Builder, magnitude: Val) -> tuple[Val, Val, Val]:
    """(reduced, square, rest): above 1/2 reduced + rest = sqrt((1 - magnitude)/2), else reduced is
    the magnitude; square = reduced^2.

    asin(a) = pi/2 - 2 asin(sqrt((1 - a)/2)): the root takes the singularity at 1, where no
    polynomial of a converges. (1 - a)/2 is exact above 1/2; the root's own error is the rest."""
    large = magnitude > 0.5
    square = math.select(large, math.fma(magnitude, -0.5, 0.5), magnitude * magnitude)
    root, rest = sqrt_pair(math, square)
    zero = math.const(magnitude.type, 0.0)
    return math.select(large, root, magnitude), square, math.select(large, rest, zero)


def _within(math: Builder, magnitude: Val, result: Val) -> Val:
    """NaN where there is no angle."""
    return math.select(math.unlikely(~(magnitude <= 1.0)), NAN, result)


def asin(math: Builder, x: Val) -> Val:
    magnitude = math.abs(x)
    pi, pi_low = _PI[x.type]
    reduced, square, rest = _half_angle(math, magnitude)
    tail = _asin_tail(math, reduced, square)
    wide = pi / 2 - math.fma(reduced, 2.0, math.fma(tail + rest, 2.0, -pi_low / 2))
    result = math.select(magnitude > 0.5, wide, reduced + tail)
    return math.copysign(_within(math, magnitude, result), x)


def acos(math: Builder, x: Val) -> Val:
    magnitude = math.abs(x)
    pi, pi_low = _PI[x.type]
    reduced, square, rest = _half_angle(math, magnitude)
    tail = _asin_tail(math, reduced, square) + rest
    twice, twice_tail = reduced + reduced, tail + tail
    middle = pi / 2 - (math.copysign(reduced, x) + (math.copysign(tail, x) - pi_low / 2))
    wide = math.select(x < 0, pi - (twice + (twice_tail - pi_low)), twice + twice_tail)
    return _within(math, magnitude, math.select(magnitude > 0.5, wide, middle))


def _atan_tail(math: Builder, reduced: Val) -> Val:
    square = reduced * reduced
    return reduced * square * horner(math, square, _ATAN[reduced.type])


def atan(math: Builder, x: Val) -> Val:
    magnitude = math.abs(x)
    pi, pi_low = _PI[x.type]
    # the reciprocal's rounding error is small against pi/2, and needs no correction
    reduced = math.select(magnitude > 1.0, 1.0 / magnitude, magnitude)
    tail = _atan_tail(math, reduced)
    result = math.select(magnitude > 1.0, pi / 2 - (reduced + (tail - pi_low / 2)), reduced + tail)
    return math.copysign(result, x)


def atan2(math: Builder, y: Val, x: Val) -> Val:
    """The angle of (x, y): the octant's arctangent of min/max, then reflections."""
    x_size, y_size = math.abs(x), math.abs(y)
    pi, pi_low = _PI[x.type]
    steep = y_size > x_size
    larger, smaller = math.select(steep, y_size, x_size), math.select(steep, x_size, y_size)
    diagonal = smaller == larger
    on_diagonal = math.select(larger == 0, larger, 1.0)  # 0/0 is 0, inf/inf is 1
    ratio = math.select(diagonal, on_diagonal, smaller / larger)
    tail = _atan_tail(math, ratio)
    behind = sign_bits(math, x) != 0  # by the bit: -0 lies behind
    zero = math.const(x.type, 0.0)
    # base - or + (ratio + tail), the base a multiple of pi/2
    base = math.select(steep, pi / 2, math.select(behind, math.const(x.type, pi), zero))
    base_low = math.select(steep, pi_low / 2, math.select(behind, math.const(x.type, pi_low), zero))
    minus = steep ^ behind
    signed_ratio, signed_tail = math.select(minus, -ratio, ratio), math.select(minus, -tail, tail)
    result = math.copysign(base + (signed_ratio + (signed_tail + base_low)), y)
    result = math.select(x_size <= INF, result, x)  # NaN compares false and is the result
    return math.select(y_size <= INF, result, y)
