"""Logarithms of odds, entropies and divergences, sin(pi x)/(pi x), exprel and cosm1.

Invariant: the conventions at 0 and outside of the domain are those of scipy.special; quotients
inside logarithms are pairs, so that nothing is lost where they are near 1.
"""

from __future__ import annotations

import math

from ....ir.scalar.program import Builder, Val
from ..exponential import exp, exp_limits, exp_parts, expm1
from ..logarithm import (
    log,
    log1p,
    log1p_unit,
    log_of_pair,
    log_of_sum,
    log_tail,
    split_exponent,
)
from ..tools import FORMAT, INF, NAN, clamp, divide_pair, fast_two_sum, outside
from ..trig import sin, sin_turns
from .gamma import half_turns, odd

__all__ = [
    "cosm1",
    "entr",
    "exprel",
    "kl_div",
    "log_expit",
    "logit",
    "rel_entr",
    "sinc",
    "xlog1py",
    "xlogy",
]


def _times(algebra: Builder, x: Val, other: Val, logarithm: Val) -> Val:
    """x times the logarithm of y, 0 for x = 0 unless y is NaN."""
    return algebra.select((x == 0) & (other == other), 0.0, x * logarithm)


def xlogy(algebra: Builder, x: Val, other: Val) -> Val:
    return _times(algebra, x, other, log(algebra, other))


def xlog1py(algebra: Builder, x: Val, other: Val) -> Val:
    return _times(algebra, x, other, log1p(algebra, other))


def entr(algebra: Builder, x: Val) -> Val:
    infinite = algebra.const(x.type, -INF)
    result = algebra.select(x > 0, -(x * log(algebra, x)), algebra.select(x == 0, 0.0, infinite))
    return algebra.select(x == x, result, x)


def _log_ratio(algebra: Builder, x: Val, other: Val) -> Val:
    """log(x / y) for x, y > 0, to the last place where x is next to y, too."""
    exponent, fraction = split_exponent(algebra, x)
    below, part = split_exponent(algebra, other)
    ratio = divide_pair(algebra, fraction + 1.0, part + 1.0)
    result = log_of_sum(algebra, *ratio, exponent - below)
    infinite = algebra.const(x.type, INF)
    result = algebra.select(x == INF, infinite, algebra.select(other == INF, -infinite, result))
    return algebra.select((x == INF) & (other == INF), NAN, result)


def _divergence(algebra: Builder, x: Val, other: Val, inside: Val, edge: Val) -> Val:
    """`inside` for positive x and y, `edge` for x = 0 <= y, infinity elsewhere, NaN for NaN."""
    infinite = algebra.const(x.type, INF)
    result = algebra.select((x == 0) & (other >= 0), edge, infinite)
    result = algebra.select((x > 0) & (other > 0), inside, result)
    return algebra.select((x == x) & (other == other), result, NAN)


def rel_entr(algebra: Builder, x: Val, other: Val) -> Val:
    zero = algebra.const(x.type, 0.0)
    return _divergence(algebra, x, other, x * _log_ratio(algebra, x, other), zero)


def kl_div(algebra: Builder, x: Val, other: Val) -> Val:
    """x log(x/y) - x + y = x (d - log(1 + d)) with d = (y - x)/x, whose difference is exact where
    the logarithm would cancel."""
    excess = other - x
    distance = excess / x
    near = -(x * log_tail(algebra, distance))
    far = x * _log_ratio(algebra, x, other) + excess
    close = algebra.abs(distance) <= 1.0 / 3.0
    return _divergence(algebra, x, other, algebra.select(close, near, far), other)


def logit(algebra: Builder, x: Val) -> Val:
    """log(x / (1 - x)), the quotient as a pair; on a detour log(x) of the smallest numbers."""
    layout = FORMAT[x.type]
    rest, rest_low = fast_two_sum(algebra.const(x.type, 1.0), -x)
    ratio = divide_pair(algebra, x, rest, None, rest_low, moderate=True)
    above = algebra.select(x == 1.0, algebra.const(x.type, INF), NAN)
    rare = algebra.select(x < 0.5, log(algebra, x), above)
    seldom = outside(algebra, x, 1.0, layout.tiny / layout.eps)
    return algebra.select(seldom, rare, log_of_pair(algebra, *ratio))


def log_expit(algebra: Builder, x: Val) -> Val:
    low = algebra.select(x < 0, x, 0.0)
    rest = log1p_unit(algebra, exp(algebra, -algebra.abs(x)))
    return algebra.select(x == x, -algebra.abs(low - rest), x)


def sinc(algebra: Builder, x: Val) -> Val:
    magnitude = algebra.abs(x)
    whole = algebra.rint(magnitude)
    sine = sin_turns(algebra, half_turns(algebra, magnitude))
    sine = algebra.select(odd(algebra, whole), 0.0 - sine, sine)
    # divided first: pi*x overflows before the result vanishes
    far = sine / magnitude * (1.0 / math.pi)
    result = algebra.select(magnitude < 1.0, sine / (math.pi * magnitude), far)
    small = magnitude < FORMAT[x.type].eps
    return algebra.select(small, 1.0, result)


def exprel(algebra: Builder, x: Val) -> Val:
    """(e^x - 1) / x; beyond the limit of exp it does not overflow yet."""
    large = 40.0
    limited = clamp(algebra, x, 0.0, exp_limits(x.type)[1] + 9.0)
    excess, power, _ = exp_parts(algebra, limited)
    far = (1.0 + excess) * power / limited * power
    near = expm1(algebra, clamp(algebra, x, None, large)) / x
    result = algebra.select(x > large, algebra.select(x == INF, x, far), near)
    return algebra.select(x == 0, 1.0, result)


def cosm1(algebra: Builder, x: Val) -> Val:
    half = sin(algebra, x * 0.5)
    return algebra.select(x == 0, 0.0, -2.0 * half * half)
