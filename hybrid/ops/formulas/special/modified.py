"""Modified Bessel functions I and K of orders 0 and 1, and the same without their exponential.

Invariant: relative errors are bounded over the whole range; powers of two come last, so that
results overflow and vanish where the true values do.
Method: I below 8 a series in x^2, K below 1 the same beside its logarithm (DLMF 10.25.2, 10.31.1,
10.31.2); beyond, e^-x sqrt(x) I and e^x sqrt(x) K are polynomials in 1/x (DLMF 10.40).
"""

from __future__ import annotations

from ....ir.scalar.program import Builder, Val
from ..exponential import exp_limits, exp_parts
from ..logarithm import log
from ..tools import INF, NAN, clamp, fast_two_sum, horner, vanishing
from .tables.modified import (
    I0_FAR,
    I0_NEAR,
    I1_FAR,
    I1_NEAR,
    K0_FAR,
    K0_NEAR,
    K1_FAR,
    K1_NEAR,
)

__all__ = ["i0", "i0e", "i1", "i1e", "k0", "k0e", "k1", "k1e"]

_I_FROM, _K_FROM = 8.0, 1.0
# I overflows and K vanishes by a logarithm of sqrt(2 pi x) later than the exponential does
_BEYOND = 5.0
_LN2 = 0.6931471805599453


def _power(algebra: Builder, x: Val, sign: int) -> tuple[Val, Val]:
    """(mantissa, power) with e^(sign x) = mantissa * power * power, for x >= 0."""
    lowest, highest = exp_limits(x.type)
    limit = (highest if sign > 0 else -lowest) + _BEYOND
    limited = clamp(algebra, x, None, limit)
    excess, power, _ = exp_parts(algebra, limited if sign > 0 else -limited)
    return 1.0 + excess, power if sign > 0 else vanishing(algebra, power, x > limit)


def _first(algebra: Builder, x: Val, order: int, scaled: bool) -> Val:
    """I of |x|."""
    series = horner(algebra, x * x, (I1_NEAR if order else I0_NEAR)[x.type])
    near = x * series if order else series
    far = horner(algebra, 1.0 / x, (I1_FAR if order else I0_FAR)[x.type]) / algebra.sqrt(x)
    small = x < _I_FROM
    mantissa, power = _power(algebra, x, -1 if scaled else 1)
    if scaled:
        result = algebra.select(small, near * mantissa * power * power, far)
    else:
        result = algebra.select(small, near, far * mantissa * power * power)
    if scaled:
        return algebra.select(x == INF, 0.0, result)
    return algebra.select(x >= exp_limits(x.type)[1] + _BEYOND, INF, result)


def i0(algebra: Builder, x: Val) -> Val:
    return _first(algebra, algebra.abs(x), 0, scaled=False)


def i0e(algebra: Builder, x: Val) -> Val:
    return _first(algebra, algebra.abs(x), 0, scaled=True)


def _odd(algebra: Builder, x: Val, scaled: bool) -> Val:
    result = _first(algebra, algebra.abs(x), 1, scaled)
    return algebra.select(x == x, algebra.copysign(result, x), x)


def i1(algebra: Builder, x: Val) -> Val:
    return _odd(algebra, x, scaled=False)


def i1e(algebra: Builder, x: Val) -> Val:
    return _odd(algebra, x, scaled=True)


def _near_second(algebra: Builder, x: Val, order: int) -> Val:
    """K for x < 1."""
    small = clamp(algebra, x, None, _K_FROM)
    square = small * small
    logarithm = log(algebra, small) - _LN2  # a half of the smallest numbers is none
    if order == 0:
        series = horner(algebra, square, I0_NEAR[x.type])
        return horner(algebra, square, K0_NEAR[x.type]) - logarithm * series
    inner = algebra.fma(
        logarithm,
        horner(algebra, square, I1_NEAR[x.type]),
        horner(algebra, square, K1_NEAR[x.type]),
    )
    inverse = 1.0 / small
    lost = algebra.fma(-inverse, small, 1.0)  # 1/x cancels in part; its rounding error is kept
    high, low = fast_two_sum(inverse, small * inner)
    return high + algebra.select(inverse < INF, algebra.fma(lost, inverse, low), 0.0)


def _second(algebra: Builder, x: Val, order: int, scaled: bool) -> Val:
    near = _near_second(algebra, x, order)
    # around the middle of (0, 1]: in powers of 1/x itself the terms would cancel
    series = horner(algebra, 1.0 / x - 0.5, (K1_FAR if order else K0_FAR)[x.type])
    far = series / algebra.sqrt(x)
    mantissa, power = _power(algebra, x, 1 if scaled else -1)
    if scaled:
        result = algebra.select(x < _K_FROM, near * mantissa * power * power, far)
    else:
        result = algebra.select(x < _K_FROM, near, far * mantissa * power * power)
    infinite = algebra.const(x.type, INF)
    result = algebra.select(x == 0, infinite, algebra.select(x == INF, 0.0, result))
    return algebra.select(x >= 0, result, NAN)


def k0(algebra: Builder, x: Val) -> Val:
    return _second(algebra, x, 0, scaled=False)


def k0e(algebra: Builder, x: Val) -> Val:
    return _second(algebra, x, 0, scaled=True)


def k1(algebra: Builder, x: Val) -> Val:
    return _second(algebra, x, 1, scaled=False)


def k1e(algebra: Builder, x: Val) -> Val:
    return _second(algebra, x, 1, scaled=True)
