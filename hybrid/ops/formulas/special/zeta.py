"""Hurwitz's zeta function and polygamma.

Invariant: sums of positive terms, so relative errors are bounded; polygamma of a negative argument
adds the reflection, whose sum has zeros for even orders.
Method: the sum of Euler and Maclaurin (DLMF 25.11.5 with 25.11.7 in the form of 25.11.43): whole
terms up to a, then the integral, half a term and Bernoulli's numbers in powers of 1/a; DLMF 5.15.6
for the reflection.
"""

from __future__ import annotations

import math
from fractions import Fraction

from ....ir.scalar.program import Builder, Val
from ..power import pow
from ..tools import INF, NAN, clamp, two_sum
from ..trig import cos_turns, sin_turns
from .gamma import half_turns

__all__ = ["polygamma", "zeta"]

_WHOLE = {"f32": 4, "f64": 8}  # terms that are summed one by one
_SERIES = {"f32": 5, "f64": 12}  # Bernoulli's terms behind them
_BY_PRODUCTS = 6  # up to this power a product is as accurate as pow
_STEEP = 50.0  # where s/a is larger, the terms behind a do not count


def _bernoulli(count: int) -> list[float]:
    """B(2j) / (2j)! for j = 1 .. count."""
    numbers = [Fraction(1)]
    for size in range(1, 2 * count + 1):
        total = sum(
            (math.comb(size + 1, index) * numbers[index] for index in range(size)), Fraction(0)
        )
        numbers.append(-total / (size + 1))
    return [float(numbers[2 * j] / math.factorial(2 * j)) for j in range(1, count + 1)]


def _series(algebra: Builder, order: Val | float, inverse: Val) -> Val:
    """1/2 + sum B(2j)/(2j)! (s)_(2j-1) / a^(2j-1): what a^-s is multiplied by."""
    count = _SERIES[inverse.type]
    square = inverse * inverse
    term = inverse * order
    total = algebra.const(inverse.type, 0.5)
    parts = []
    for place, number in enumerate(_bernoulli(count)):
        parts.append(term * number)
        step = 2 * place + 1
        term = term * ((order + float(step)) * (order + float(step + 1)) * square)
    for part in reversed(parts[1:]):
        total = total + part
    return total + parts[0]


def zeta(algebra: Builder, x: Val, offset: Val) -> Val:
    """sum of (q + k)^-x over k >= 0."""
    total = algebra.const(x.type, 0.0)
    count = _WHOLE[x.type]
    for step in reversed(range(1, count)):
        place, lost = two_sum(offset, algebra.const(x.type, float(step)))
        term = pow(algebra, place, -x)
        # what q + k lost in rounding counts x times
        total = total + algebra.fma(term, -x * (lost / place), term)
    place = offset + float(count)
    half = pow(algebra, place, x * -0.5)  # place^-x vanishes before place^(1 - x) does
    inverse = 1.0 / place
    integral = half * place / (x - 1.0) * half
    order = algebra.min(x, place * _STEEP)
    behind = half * half * _series(algebra, order, inverse)
    total = total + (integral + behind)
    result = algebra.select(offset > 0, pow(algebra, offset, -x) + total, NAN)
    result = algebra.select((offset == INF) & (x == x), 0.0, result)
    infinite = algebra.const(x.type, INF)
    pole = (x == 1.0) | ((offset <= 0) & (algebra.floor(offset) == offset))
    result = algebra.select(pole & (offset == offset), infinite, result)
    one = algebra.const(x.type, 1.0)
    large = algebra.select(offset < 1.0, infinite, algebra.select(offset == 1.0, one, 0.0))
    result = algebra.select((x == INF) & (offset > 0), large, result)
    return algebra.select(x >= 1.0, result, NAN)


def _power(algebra: Builder, inverse: Val, place: Val, order: int) -> Val:
    """place^-order."""
    if order > _BY_PRODUCTS:
        return pow(algebra, place, algebra.const(place.type, float(-order)))
    result = inverse
    for _ in range(order - 1):
        result = result * inverse
    return result


def _of_one_more(algebra: Builder, x: Val, n: int) -> Val:
    """sum of (x + k)^-(n+1) over k >= 1, for x >= 0."""
    total = algebra.const(x.type, 0.0)
    count = _WHOLE[x.type]
    for step in reversed(range(1, count)):
        place = x + float(step)
        total = total + _power(algebra, 1.0 / place, place, n + 1)
    place = x + float(count)
    inverse = 1.0 / place
    power = _power(algebra, inverse, place, n)
    integral = power * (1.0 / n)
    order = algebra.const(x.type, float(n + 1))
    return total + algebra.fma(power * inverse, _series(algebra, order, inverse), integral)


def _cotangent_derivative(n: int) -> list[int]:
    """The n-th derivative of cot as a polynomial in cot: each step is -(1 + c^2) times the
    derivative of the last."""
    poly = [0, 1]
    for _ in range(n):
        slope = [index * factor for index, factor in enumerate(poly)][1:]
        poly = [0] * (len(slope) + 2)
        for index, factor in enumerate(slope):
            poly[index] -= factor
            poly[index + 2] -= factor
    return poly


def polygamma(algebra: Builder, x: Val, n: int) -> Val:
    """The n-th derivative of digamma, n >= 1: (-1)^(n+1) n! zeta(n + 1, x)."""
    magnitude = algebra.abs(x)
    more = _of_one_more(algebra, magnitude, n)
    factorial = math.gamma(n + 1.0) if n < 170 else INF
    sign = 1.0 if n % 2 else -1.0
    inverse = 1.0 / magnitude
    above = (sign * factorial) * (_power(algebra, inverse, magnitude, n + 1) + more)
    turns = half_turns(algebra, magnitude)
    # cot(pi x) = -cot(pi |x|)
    cotangent = -(cos_turns(algebra, turns) / sin_turns(algebra, turns))
    poly = algebra.const(x.type, 0.0)
    for coefficient in reversed(_cotangent_derivative(n)):
        poly = algebra.fma(poly, cotangent, float(coefficient))
    # psi(x) = (-1)^n psi(1 - x) - pi^(n+1) cot^(n)(pi x), the first of 1 + |x|
    below = -factorial * more - poly * math.pi ** (n + 1)
    small = magnitude < 2.0**-60
    near = clamp(algebra, magnitude, None, 1.0)
    edge = factorial * (sign if n % 2 else 1.0) * _power(algebra, 1.0 / near, near, n + 1)
    below = algebra.select(small, edge, below)
    below = algebra.select(turns == 0, algebra.const(x.type, sign * INF), below)
    result = algebra.select(x < 0, below, above)
    result = algebra.select(x == 0, algebra.const(x.type, sign * INF), result)
    result = algebra.select(x == INF, 0.0, result)
    return algebra.select(x == -INF, sign * INF, result)
