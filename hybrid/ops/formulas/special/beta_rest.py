"""1 minus the incomplete beta function where its first parameter is small, and x with its rest.

Invariant: nothing of the size of 1 is subtracted; every part of the logarithm is a multiple of a.
Method: I_x(a, b) = e^L (1 + a S) with L = a log(x c) + log(gamma(a + b) / gamma(b)) - a log(c) -
log(gamma(1 + a)), S the rest of the series DLMF 8.17.7, and b raised by whole steps to c >= 8, from
where on the quotient of gamma functions is that of Stirling's series, its differences divided.
"""

from __future__ import annotations

from typing import NamedTuple

from ....ir.scalar.program import Builder, Val
from ..exponential import expm1
from ..logarithm import log, log1p, log_tail
from ..tools import Pair
from .gamma import log_gamma_ratio
from .tables.gamma import STIRLING

__all__ = ["Share", "chosen", "rest_of_small"]

_TERMS = {"f32": 18, "f64": 32}
_STEPS = 8
_LN2 = 0.6931471805599453


class Share(NamedTuple):
    """x or 1 - x as a pair; where `far` holds its logarithm is `log2`, as it may be too small for a
    number of its type."""

    high: Val
    low: Val
    far: Val | None = None
    log2: Pair | None = None


def chosen(algebra: Builder, condition: Val, first: Share, second: Share) -> Share:
    high = algebra.select(condition, first.high, second.high)
    low = algebra.select(condition, first.low, second.low)
    if first.far is None or second.far is None or first.log2 is None or second.log2 is None:
        return Share(high, low)
    far = (condition & first.far) | (~condition & second.far)
    logs = [algebra.select(condition, *parts) for parts in zip(first.log2, second.log2)]
    return Share(high, low, far, (logs[0], logs[1]))


def _stirling_step(algebra: Builder, small: Val, large: Val) -> Val:
    """log(gamma(large + small) / gamma(large)) - small log(large), for large >= 8, small <= 1."""
    ratio, inverse = small / large, 1.0 / large
    over = 1.0 / (large + small)
    tail = log_tail(algebra, ratio)
    # the differences of odd powers of 1 / (large + small) and 1 / large, over that of the first
    power, quotient = inverse, algebra.const(small.type, 1.0)
    series = algebra.const(small.type, 0.0)
    for coefficient in STIRLING[small.type]:
        series = algebra.fma(quotient, coefficient, series)
        for _ in range(2):
            quotient = algebra.fma(over, quotient, power)
            power = power * inverse
    leading = algebra.fma(small - 0.5, ratio + tail, large * tail)
    return leading - ratio * over * series


def rest_of_small(algebra: Builder, small: Val, other: Val, point: Share) -> Val:
    """1 - I_x(small, other) for 0 < small <= 1 and x (other + 2) below 2."""
    below_stirling = other < float(_STEPS)
    large = algebra.select(below_stirling, other + float(_STEPS), other)
    grown = algebra.const(small.type, 0.0)  # gamma(small + other) / gamma(other), over that of c
    for step in range(_STEPS):
        factor = small / (other + float(step))
        grown = algebra.fma(grown, factor, grown + factor)
    logarithm = log(algebra, large * point.high)
    if point.far is not None and point.log2 is not None:
        logarithm_far = algebra.fma(point.log2[0] + point.log2[1], _LN2, log(algebra, large))
        logarithm = algebra.select(point.far, logarithm_far, logarithm)
    exponent = small * logarithm - small * (small - 1.0) * log_gamma_ratio(algebra, small + 1.0)
    exponent = exponent + _stirling_step(algebra, small, large)
    exponent = algebra.select(below_stirling, exponent - log1p(algebra, grown), exponent)
    change = expm1(algebra, exponent)
    count = _TERMS[small.type]
    total = 1.0 / (small + float(count))
    for step in reversed(range(1, count)):
        factor = (float(step + 1) - other) * (1.0 / (step + 1)) * point.high
        total = algebra.fma(factor, total, 1.0 / (small + float(step)))
    total = small * ((1.0 - other) * point.high) * total
    return -algebra.fma(change + 1.0, total, change)
