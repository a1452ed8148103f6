"""Bessel functions J and Y of orders 0 and 1.

Invariant: the absolute error is bounded by last places of the amplitude sqrt(2/(pi x)); below 8 the
first zeros are divided out, so that results next to them keep their relative accuracy.
Method: below 2 series in x^2 (for Y beside its logarithm, DLMF 10.8.1), on [2, 8) polynomials
around the middles of [2, 5) and [5, 8), from 8 on amplitude and phase as in DLMF 10.17.3: P and Q
are polynomials in 1/x^2, and the sine and cosine of x, whose reduction is exact, give those of the
shifted phase.
"""

from __future__ import annotations

import math

from ....ir.scalar.program import Builder, Val
from ..logarithm import log
from ..tools import INF, NAN, clamp, horner
from ..trig import cos, sin
from .tables.bessel import (
    J0_FIRST,
    J0_NEAR,
    J0_SECOND,
    J1_FIRST,
    J1_NEAR,
    J1_SECOND,
    P0,
    P1,
    Q0,
    Q1,
    Y0_FIRST,
    Y0_NEAR,
    Y0_SECOND,
    Y1_FIRST,
    Y1_NEAR,
    Y1_SECOND,
)

__all__ = ["j0", "j1", "y0", "y1"]

# two zeros of each in two parts: one in [2, 5), one in [5, 8)
_ZEROS = {
    "J0": {
        "f32": (
            (2.404825448989868, 1.0870590460455913e-07),
            (5.520078182220459, -7.19341483347784e-08),
        ),
        "f64": (
            (2.404825557695773, -1.176691651530894e-16),
            (5.520078110286311, 8.088597146146722e-17),
        ),
    },
    "J1": {
        "f32": (
            (3.8317060470581055, -7.685059315313556e-08),
            (7.015586853027344, -1.8321172499646294e-07),
        ),
        "f64": (
            (3.8317059702075125, -1.5269184090088067e-16),
            (7.015586669815619, -9.414165653410389e-17),
        ),
    },
    "Y0": {
        "f32": (
            (3.9576783180236816, 1.0129117622775068e-07),
            (7.086050987243652, 7.305812035387363e-08),
        ),
        "f64": (
            (3.957678419314858, -1.0764340697562706e-16),
            (7.086051060301773, -8.835285723085408e-17),
        ),
    },
    "Y1": {
        "f32": (
            (2.197141408920288, -8.288927105078847e-08),
            (5.429680824279785, 2.16514349976522e-07),
        ),
        "f64": (
            (2.197141326031017, -4.8259835876454966e-17),
            (5.429681040794135, 4.162514026670377e-16),
        ),
    },
}
_LN2 = 0.6931471805599453
_TWO_OVER_PI = 2.0 / math.pi
_ROOT_INVERSE_PI = 1.0 / math.sqrt(math.pi)
Table = dict[str, tuple[float, ...]]


def _middle(algebra: Builder, x: Val, name: str, first: Table, second: Table) -> Val:
    """The function on [2, 8): distance from its zero times a polynomial."""
    below = x < 5.0
    parts = []
    zeros = zip(_ZEROS[name][x.type], (first, second), (3.5, 6.5))
    for (zero, zero_low), table, middle in zeros:
        parts.append(((x - zero) - zero_low) * horner(algebra, x - middle, table[x.type]))
    return algebra.select(below, parts[0], parts[1])


def _waves(algebra: Builder, x: Val) -> tuple[Val, Val, Val]:
    """(cos + sin, sin - cos, amplitude): the waves of order 0, and with signs of order 1, are those
    shifted by odd multiples of pi/4."""
    sine, cosine = sin(algebra, x), cos(algebra, x)
    inverse = 1.0 / algebra.sqrt(x) * _ROOT_INVERSE_PI
    return cosine + sine, sine - cosine, inverse


def _phase(algebra: Builder, x: Val, even: Table, odd: Table) -> tuple[Val, Val]:
    inverse = 1.0 / x
    square = inverse * inverse
    return horner(algebra, square, even[x.type]), inverse * horner(algebra, square, odd[x.type])


def _pick(algebra: Builder, x: Val, near: Val, middle: Val, far: Val) -> Val:
    result = algebra.select(x < 2.0, near, algebra.select(x < 8.0, middle, far))
    return algebra.select(x == INF, 0.0, result)


def j0(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    near = horner(algebra, magnitude * magnitude, J0_NEAR[x.type])
    middle = _middle(algebra, magnitude, "J0", J0_FIRST, J0_SECOND)
    total, difference, size = _waves(algebra, magnitude)
    even, odd = _phase(algebra, magnitude, P0, Q0)
    far = size * algebra.fma(even, total, -(odd * difference))
    return _pick(algebra, magnitude, near, middle, far)


def j1(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    near = magnitude * horner(algebra, magnitude * magnitude, J1_NEAR[x.type])
    middle = _middle(algebra, magnitude, "J1", J1_FIRST, J1_SECOND)
    total, difference, size = _waves(algebra, magnitude)
    even, odd = _phase(algebra, magnitude, P1, Q1)
    far = size * algebra.fma(even, difference, odd * total)
    result = _pick(algebra, magnitude, near, middle, far)
    return algebra.select(x < 0, -result, algebra.select(x == 0, x, result))


def _domain(algebra: Builder, x: Val, result: Val) -> Val:
    """-inf at both zeros, NaN below."""
    result = algebra.select(x == 0, algebra.const(x.type, -INF), result)
    return algebra.select(x >= 0, result, NAN)


def _log_half(algebra: Builder, x: Val) -> Val:
    """log(x / 2), a half of the smallest number included."""
    return log(algebra, x) - _LN2


def y0(algebra: Builder, x: Val) -> Val:
    square = x * x
    rest = horner(algebra, square, Y0_NEAR[x.type])
    wave = horner(algebra, square, J0_NEAR[x.type])
    near = algebra.fma(_log_half(algebra, x) * _TWO_OVER_PI, wave, rest)
    middle = _middle(algebra, x, "Y0", Y0_FIRST, Y0_SECOND)
    total, difference, size = _waves(algebra, x)
    even, odd = _phase(algebra, x, P0, Q0)
    far = size * algebra.fma(even, difference, odd * total)
    return _domain(algebra, x, _pick(algebra, x, near, middle, far))


def y1(algebra: Builder, x: Val) -> Val:
    square = x * x
    rest = x * horner(algebra, square, Y1_NEAR[x.type])
    wave = x * horner(algebra, square, J1_NEAR[x.type])
    logarithm = _log_half(algebra, clamp(algebra, x, None, 2.0))
    near = algebra.fma(logarithm * wave, _TWO_OVER_PI, rest) - _TWO_OVER_PI / x
    middle = _middle(algebra, x, "Y1", Y1_FIRST, Y1_SECOND)
    total, difference, size = _waves(algebra, x)
    even, odd = _phase(algebra, x, P1, Q1)
    far = size * algebra.fma(odd, difference, -(even * total))
    return _domain(algebra, x, _pick(algebra, x, near, middle, far))
