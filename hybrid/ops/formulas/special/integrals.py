"""Dawson's integral and the exponential integrals E1 and Ei.

Invariant: relative errors are bounded over the whole range; next to the zero of Ei, too, as the
distance from it is a factor.
Method: polynomials around the middles of intervals, and beyond them in 1/x (1/x^2) what the
asymptotic series stand for (DLMF 6.12, 7.12); E1 and Ei near 0 beside their logarithm (DLMF 6.6).
"""

from __future__ import annotations

import math

from ....ir.scalar.program import Builder, Val
from ..exponential import exp_limits, exp_parts
from ..logarithm import log, log1p
from ..tools import INF, NAN, clamp, horner, vanishing
from .tables.integrals import (
    DAWSON_FAR,
    DAWSON_FIRST,
    DAWSON_NEAR,
    DAWSON_SECOND,
    E1_FAR,
    E1_MIDDLE,
    E1_NEAR,
    EI_FAR,
    EI_LARGE,
    EI_MIDDLE,
    EI_NEAR,
)

__all__ = ["dawsn", "exp1", "expi", "expn"]

_EULER = 0.5772156649015329
# the zero of Ei in two parts
_ZERO = {
    "f32": (0.3725074231624603, -1.2381093692686445e-08),
    "f64": (0.3725074107813666, 1.3140183414386028e-17),
}
_LOG_ZERO = -math.log(0.3725074107813666)
_STEPS_BELOW = 1.5
_DEPTH = {"f32": 20, "f64": 72}
_BEYOND = 9.0  # Ei overflows, and E1 vanishes, by log x elsewhere than the exponential


def dawsn(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    near = magnitude * horner(algebra, magnitude * magnitude, DAWSON_NEAR[x.type])
    first = horner(algebra, magnitude - 2.0, DAWSON_FIRST[x.type])
    second = horner(algebra, magnitude - 4.0, DAWSON_SECOND[x.type])
    inverse = 1.0 / magnitude
    far = inverse * horner(algebra, inverse * inverse, DAWSON_FAR[x.type])
    result = algebra.select(
        magnitude < 3.0,
        algebra.select(magnitude < 1.0, near, first),
        algebra.select(magnitude < 5.0, second, far),
    )
    return algebra.select(x == x, algebra.copysign(result, x), x)


def _power(algebra: Builder, x: Val) -> tuple[Val, Val]:
    """(mantissa, power) with e^x = mantissa * power * power."""
    lowest, highest = exp_limits(x.type)
    limited = clamp(algebra, x, lowest - _BEYOND, highest + _BEYOND)
    excess, power, _ = exp_parts(algebra, limited)
    return 1.0 + excess, vanishing(algebra, power, x < lowest - _BEYOND)


def _first(algebra: Builder, x: Val) -> Val:
    """E1 for x >= 0."""
    small = clamp(algebra, x, None, 1.0)
    # (P - gamma) is not small where the logarithm is
    near = (small * horner(algebra, small, E1_NEAR[x.type]) - _EULER) - log(algebra, small)
    inverse = 1.0 / x
    middle = horner(algebra, inverse - 0.6875, E1_MIDDLE[x.type])
    large = horner(algebra, inverse - 0.171875, E1_FAR[x.type])
    mantissa, power = _power(algebra, -x)
    far = algebra.select(x < 3.0, middle, large) * inverse * mantissa * power * power
    result = algebra.select(x < 1.0, near, far)
    return algebra.select(x == INF, 0.0, algebra.select(x == 0, INF, result))


def exp1(algebra: Builder, x: Val) -> Val:
    return algebra.select(x >= 0, _first(algebra, algebra.abs(x)), NAN)


def expn(algebra: Builder, x: Val, n: int) -> Val:
    """E_n for n >= 2: by steps up from E1 (DLMF 8.19.12), which lose little for small x; else the
    continued fraction DLMF 8.19.17 from its end."""
    small = clamp(algebra, x, None, _STEPS_BELOW)
    mantissa, power = _power(algebra, -small)
    decay = mantissa * power * power
    near = _first(algebra, small)
    # x E1(x) is 0 at 0
    near = decay - algebra.select(small == 0, 0.0, small * near)
    for order in range(2, n):  # (order - 1) times E of it
        near = decay - small * (near * (1.0 / (order - 1)))
    near = near * (1.0 / (n - 1))
    depth = _DEPTH[x.type]
    total = x + float(n + 2 * depth)
    for step in reversed(range(1, depth + 1)):
        total = x + float(n + 2 * step - 2) - float(step * (n + step - 1)) / total
    mantissa, power = _power(algebra, -x)
    far = mantissa / total * power * power
    result = algebra.select(x < _STEPS_BELOW, near, far)
    return algebra.select(x >= 0, algebra.select(x == INF, 0.0, result), NAN)


def _principal(algebra: Builder, x: Val) -> Val:
    """Ei for x > 0."""
    zero, zero_low = _ZERO[x.type]
    small = clamp(algebra, x, None, 6.0)
    distance = (small - zero) - zero_low
    # next to the zero the logarithm of x over it is small, too; the smallest x are not divided
    close, low = algebra.abs(distance) < 0.18, small < 0.18
    part = log(algebra, algebra.select(low, small, small / zero))
    part = part + algebra.select(low, _LOG_ZERO, algebra.const(x.type, 0.0))
    logarithm = algebra.select(close, log1p(algebra, distance * (1.0 / zero)), part)
    near = algebra.fma(distance, horner(algebra, small - 3.0, EI_NEAR[x.type]), logarithm)
    inverse = 1.0 / x
    middle = horner(algebra, inverse - 0.125, EI_MIDDLE[x.type])
    large = horner(algebra, inverse - 0.0625, EI_LARGE[x.type])
    series = algebra.select(x < 12.0, middle, large)
    series = algebra.select(x < 24.0, series, horner(algebra, inverse, EI_FAR[x.type]))
    mantissa, power = _power(algebra, x)
    far = series * inverse * mantissa * power * power
    result = algebra.select(x < 6.0, near, far)
    beyond = exp_limits(x.type)[1] + _BEYOND
    return algebra.select(x >= beyond, INF, result)


def expi(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    result = algebra.select(x < 0, -_first(algebra, magnitude), _principal(algebra, magnitude))
    return algebra.select(x == 0, algebra.const(x.type, -INF), result)
