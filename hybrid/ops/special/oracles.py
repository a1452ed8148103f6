"""NumPy oracles of the special functions, in long double: integrals and series.

Invariant: nothing here is shared with the formulas.  Integrals are trapezoidal sums of functions
that are analytic and vanish at both ends, or are periodic, for which the error falls exponentially
with the step (Trefethen and Weideman, SIAM Review 56, 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from ..base.common import wide

__all__ = [
    "bessel_i",
    "bessel_j",
    "bessel_k",
    "bessel_y",
    "beta",
    "dawsn",
    "digamma",
    "erfcx",
    "erfinv",
    "exp1",
    "expi",
    "gammaln",
    "incomplete",
    "incomplete_beta",
    "inverse_tail",
    "logndtr",
    "oracle",
    "signed_gamma",
    "zeta",
]

Array = Any
LONG = np.longdouble
PI = LONG("3.14159265358979323846264338327950288")
EULER = LONG("0.57721566490153286060651209008240243")
_ASYMPTOTIC = 60.0  # from here on the asymptotic series have all digits


def oracle(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference of a record: operands in long double, of one shape with one axis; no warnings."""

    def reference(*operands: np.ndarray, **params: Any) -> Any:
        arrays = np.broadcast_arrays(*[wide(operand).astype(LONG) for operand in operands])
        with np.errstate(all="ignore"):
            result = function(*[np.array(operand).reshape(-1) for operand in arrays], **params)
        return np.asarray(result).reshape(arrays[0].shape)

    return reference


def _softplus_nodes(low: float, high: float, step: float) -> tuple[Array, Array]:
    """Nodes and weights on the positive half-line: log(1 + e^v), exponentially close to 0."""
    inner = np.arange(low, high, step, dtype=LONG)
    slope = 1 / (1 + np.exp(-inner))
    return np.where(
        inner > 30, inner + np.exp(-inner), np.log1p(np.exp(np.minimum(inner, 40)))
    ), slope * step


def _where(
    condition: Array, inside: Callable[[Array], Array], operand: Array, other: Array
) -> Array:
    """`inside` of the elements where the condition holds, `other` elsewhere."""
    out = np.array(np.broadcast_to(other, operand.shape), LONG)
    if condition.any():
        out[condition] = inside(operand[condition])
    return out


# ---- the error function's family
def _scaled_tail(operand: Array) -> Array:
    """erfcx for x >= 0: 2/sqrt(pi) times the integral of e^(-t^2 - 2xt)."""
    nodes, weights = _softplus_nodes(-50, 60, 0.125)
    scale = 1 / (1 + operand)[:, None]  # t = s / (1 + x)
    t = nodes * scale
    series = (np.exp(-t * t - 2 * operand[:, None] * t) * weights * scale).sum(1)
    return np.where(
        np.isfinite(operand), 2 / np.sqrt(PI) * series, np.where(operand > 0, 0, np.nan)
    )


def erfcx(operand: Array) -> Array:
    size = np.abs(operand)
    tail = _scaled_tail(np.minimum(size, 1e30))
    tail = np.where(size > 1e9, 1 / (size * np.sqrt(PI)), tail)
    square = np.where(size < 1e3, size, 1e3) ** 2
    return np.where(
        operand < 0, 2 * np.exp(square) - tail, np.where(np.isnan(operand), operand, tail)
    )


def logndtr(operand: Array) -> Array:
    """log of the normal distribution function."""
    alpha = np.abs(operand) / np.sqrt(LONG(2))
    tail = erfcx(alpha) / 2
    below = np.log(np.where(operand < 1e9, tail, 1)) - alpha * alpha
    above = np.log1p(-np.where(alpha < 100, tail * np.exp(-(np.minimum(alpha, 100) ** 2)), 0))
    result = np.where(operand > 0, -np.abs(above), np.where(np.isinf(operand), -np.inf, below))
    return np.where(np.isnan(operand), operand, result)


def _erf_small(moved: Array) -> Array:
    """erf for |y| < 2: e^(-y^2) times a series of positive terms."""
    term, total = moved, moved
    for k in range(1, 80):
        term = term * 2 * moved * moved / (2 * k + 1)
        total = total + term
    return 2 / np.sqrt(PI) * np.exp(-moved * moved) * total


def _inverse_small(operand: Array) -> Array:
    moved = operand * np.sqrt(PI) / 2
    for _ in range(40):
        moved = moved - (_erf_small(moved) - operand) * np.sqrt(PI) / 2 * np.exp(moved * moved)
    return moved


def inverse_tail(chance: Array) -> Array:
    """y with erfc(y) = q, for 0 < q <= 1/2, by Newton's method on the logarithm."""
    w = -np.log(chance)
    moved = np.sqrt(np.maximum(w - np.log(np.sqrt(1 + w * PI)), 0.2))
    for _ in range(30):
        tail = _scaled_tail(moved)
        moved = moved + (np.log(tail) - moved * moved + w) * tail * np.sqrt(PI) / 2
    return moved


def erfinv(operand: Array, one_less: Array | None = None) -> Array:
    """The inverse of erf; `one_less` is 1 - |x| where that is known better."""
    size = np.abs(operand)
    chance = 1 - size if one_less is None else one_less
    out = np.where(size > 1, np.nan, np.where(size == 1, np.inf, operand * 0))
    out = _where(size <= 0.5, _inverse_small, size, out)
    far = (size > 0.5) & (chance > 0)
    if far.any():
        out[far] = inverse_tail(chance[far])
    return np.where(np.isnan(operand), operand, np.copysign(out, operand))


# ---- gamma's family
_BERNOULLI = [Fraction(1)]
for _size in range(1, 31):
    _sum = sum((math.comb(_size + 1, k) * _BERNOULLI[k] for k in range(_size)), Fraction(0))
    _BERNOULLI.append(-_sum / (_size + 1))


def _bernoulli(number: int) -> Any:
    value = _BERNOULLI[number]
    return LONG(value.numerator) / LONG(value.denominator)


def _lgamma_positive(operand: Array) -> Array:
    """Stirling's series 30 steps up, less the logarithm of the steps."""
    steps = np.where(operand < 30, 30, 0)
    product = np.ones_like(operand)
    for k in range(30):
        product = np.where(steps > 0, product * (operand + k), product)
    moved = operand + steps
    series = sum(
        _bernoulli(2 * j) / (2 * j * (2 * j - 1)) / moved ** (2 * j - 1) for j in range(1, 14)
    )
    return (moved - 0.5) * np.log(moved) - moved + np.log(2 * PI) / 2 + series - np.log(product)


def _sin_pi(operand: Array) -> Array:
    """sin(pi x), the sign included."""
    rest = operand - np.rint(operand)
    return np.where(np.mod(np.rint(operand), 2) == 1, -1, 1) * np.sin(PI * rest)


def gammaln(operand: Array) -> Array:
    above = _lgamma_positive(np.where(operand > 0, operand, 1))
    moved = np.where((operand < 0) & np.isfinite(operand), -operand, 0.5)
    sine = np.abs(_sin_pi(moved))
    # log gamma(1 + y) without rounding 1 + y
    below = np.log(PI / sine) - _lgamma_positive(moved) - np.log(moved)
    whole = (operand <= 0) & (np.floor(operand) == operand)
    result = np.where(operand > 0, np.where(np.isinf(operand), operand, above), below)
    result = np.where(whole, np.inf, result)
    return np.where(operand == -np.inf, operand, np.where(np.isnan(operand), operand, result))


def signed_gamma(operand: Array) -> Array:
    sign = np.where((operand < 0) & (np.mod(np.floor(operand), 2) == 1), -1, 1)
    size = np.exp(gammaln(operand))
    result = np.where(operand == 0, np.copysign(LONG(np.inf), operand), sign * size)
    pole = (operand < 0) & (np.floor(operand) == operand)
    return np.where(pole, np.nan, result)


def digamma(operand: Array) -> Array:
    moved = np.where(np.isfinite(operand), np.abs(operand), 1)
    steps = sum(1 / (moved + k) for k in range(1, 30))
    z = moved + 30
    series = sum(_bernoulli(2 * j) / (2 * j) / z ** (2 * j) for j in range(1, 14))
    more = np.log(z) - 1 / (2 * z) - series - steps  # digamma(1 + y)
    rest = moved - np.rint(moved)
    above, below = more - 1 / operand, more + PI / np.tan(PI * rest)
    below = np.where((rest == 0) | np.isinf(operand), np.nan, below)
    result = np.where(operand < 0, below, np.where(np.isinf(operand), operand, above))
    return np.where(np.isnan(operand), operand, result)


def zeta(exponent: Array, chance: Array) -> Array:
    """The sum of (q + k)^-s: 30 terms and the rest by Euler and Maclaurin, for q > 0 and s >= 1."""
    exponent, chance = np.broadcast_arrays(exponent, chance)
    good = (chance > 0) & (exponent >= 1) & np.isfinite(chance) & np.isfinite(exponent)
    order, base = np.where(good, exponent, 2), np.where(good, chance, 1)
    place = base + 30
    terms = sum((base + k) ** -order for k in reversed(range(30)))
    behind, factor = place**-order / 2, order / place
    for j in range(1, 14):
        behind = behind + place**-order * _bernoulli(2 * j) / math.factorial(2 * j) * factor
        factor = factor * (order + 2 * j - 1) * (order + 2 * j) / place / place
    result = terms + behind + place ** (1 - order) / (order - 1)
    large = np.where(chance < 1, np.inf, np.where(chance == 1, 1.0, 0.0))
    result = np.where(good, result, np.where(np.isinf(exponent) & (chance > 0), large, np.nan))
    result = np.where(np.isinf(chance) & (chance > 0), 0.0, result)
    result = np.where(
        (exponent == 1) | ((chance <= 0) & (np.floor(chance) == chance)), np.inf, result
    )
    return np.where((exponent >= 1) & ~np.isnan(chance), result, np.nan)


def beta(alpha: Array, gamma: Array) -> tuple[Array, Array]:
    """(beta, log |beta|), by logarithms of gamma."""
    pole = ((alpha <= 0) & (np.floor(alpha) == alpha)) | ((gamma <= 0) & (np.floor(gamma) == gamma))
    logarithm = gammaln(alpha) + gammaln(gamma) - gammaln(alpha + gamma)
    logarithm = np.where(
        (np.maximum(alpha, gamma) == np.inf) & (np.minimum(alpha, gamma) > 0), -np.inf, logarithm
    )
    logarithm = np.where(pole, np.inf, logarithm)
    missing = np.isnan(alpha) | np.isnan(gamma)
    logarithm = np.where(missing, np.nan, logarithm)
    signs = [
        np.where((operand < 0) & (np.mod(np.floor(operand), 2) == 1), -1, 1)
        for operand in (alpha, gamma, alpha + gamma)
    ]
    value = np.where(np.isinf(logarithm), 1, signs[0] * signs[1] * signs[2]) * np.exp(logarithm)
    return value, logarithm


def incomplete(alpha: Array, operand: Array) -> tuple[Array, Array]:
    """(lower, upper) of the regularised incomplete gamma functions, for a up to some hundreds: the
    series below a + 1, the continued fraction from its end above."""
    good = (alpha > 0) & (operand > 0) & np.isfinite(alpha) & np.isfinite(operand)
    order, place = np.where(good, alpha, 1), np.where(good, operand, 1)
    front = np.exp(order * np.log(place) - place - _lgamma_positive(order))
    total, term = 1 / order, 1 / order
    for k in range(1, 300):
        term = term * place / (order + k)
        total = total + term
    bottom = place + 2 * 400 + 1 - order
    for k in reversed(range(1, 401)):
        bottom = place + 2 * k - 1 - order - k * (k - order) / bottom
    series = place < order + 1
    lower = np.where(series, front * total, 1 - front / bottom)
    upper = np.where(series, 1 - front * total, front / bottom)
    none, all_ = (operand == 0) | np.isinf(alpha), (alpha == 0) | np.isinf(operand)
    lower = np.where(none, 0.0, np.where(all_, 1.0, lower))
    upper = np.where(none, 1.0, np.where(all_, 0.0, upper))
    bad = ~((alpha >= 0) & (operand >= 0)) | (none & all_)
    return np.where(bad, np.nan, lower), np.where(bad, np.nan, upper)


def _beta_fraction(alpha: Array, gamma: Array, operand: Array) -> Array:
    """The lower function by the continued fraction DLMF 8.17.22 from its end."""
    total = np.ones_like(operand)
    for m in reversed(range(300)):
        even = (m + 1) * (gamma - m - 1) * operand / ((alpha + 2 * m + 1) * (alpha + 2 * m + 2))
        odd = (alpha + m) * (alpha + gamma + m) * operand / ((alpha + 2 * m) * (alpha + 2 * m + 1))
        total = 1 - odd / (1 + even / total)
    front = alpha * np.log(operand) + gamma * np.log1p(-operand) - np.log(alpha)
    return np.exp(front - beta(alpha, gamma)[1]) / total


def incomplete_beta(alpha: Array, gamma: Array, operand: Array) -> Array:
    """The regularised incomplete beta function, for parameters up to some hundreds."""
    good = (
        (alpha > 0)
        & (gamma > 0)
        & (operand > 0)
        & (operand < 1)
        & np.isfinite(alpha)
        & np.isfinite(gamma)
    )
    first, second, place = (
        np.where(good, alpha, 1),
        np.where(good, gamma, 1),
        np.where(good, operand, 0.5),
    )
    swap = place > (first + 1) / (first + second + 2)
    tail = _beta_fraction(
        np.where(swap, second, first),
        np.where(swap, first, second),
        np.where(swap, 1 - place, place),
    )
    result = np.where(swap, 1 - tail, tail)
    result = np.where((alpha == 0) | np.isinf(gamma), 1.0, result)
    result = np.where((gamma == 0) | np.isinf(alpha), 0.0, result)
    result = np.where(operand == 0, 0.0, np.where(operand == 1, 1.0, result))
    unknown = ((alpha == 0) & (gamma == 0)) | (np.isinf(alpha) & np.isinf(gamma))
    inside = (alpha >= 0) & (gamma >= 0) & (operand >= 0) & (operand <= 1) & ~unknown
    return np.where(inside, result, np.nan)


# ---- Bessel functions
def _hankel(operand: Array, order: int, sign: int) -> tuple[Array, Array]:
    """The even and the odd part of sum a_k(order) / x^k (DLMF 10.17.1), signs alternating in each
    part for sign -1."""
    even, odd, term = np.zeros_like(operand), np.zeros_like(operand), np.ones_like(operand)
    for k in range(40):
        flip = sign if k // 2 % 2 else 1
        if k % 2:
            odd = odd + flip * term
        else:
            even = even + flip * term
        term = term * (4 * order * order - (2 * k + 1) ** 2) / ((k + 1) * 8 * operand)
    return even, odd


def _scaled_i(operand: Array, order: int) -> Array:
    angles = (np.arange(400, dtype=LONG) + 0.5) / 400 * PI
    terms = np.exp(operand[:, None] * (np.cos(angles) - 1)) * np.cos(order * angles)
    return terms.mean(1)


def bessel_i(operand: Array, order: int, scaled: bool) -> Array:
    size = np.abs(operand)
    finite = np.isfinite(operand)
    even, odd = _hankel(np.where(size > _ASYMPTOTIC, size, _ASYMPTOTIC), order, 1)
    root = np.sqrt(2 * PI * np.maximum(size, 1))
    result = _where(
        finite & (size <= 60), lambda inner: _scaled_i(inner, order), size, (even - odd) / root
    )
    # the mean of terms that cancel; the first terms of the series are all that there is
    start = size / 2 * (1 + size**2 / 8 + size**4 / 192) * np.exp(-size)
    result = np.where((size < 1e-2) & (order == 1), start, result)
    if not scaled:
        result = np.exp(np.minimum(size, 11000)) * result
        result = np.where(np.isinf(operand), np.inf, result)
    else:
        result = np.where(np.isinf(operand), 0, result)
    result = np.where(np.isnan(operand), operand, result)
    return np.copysign(result, operand) if order else result


def _scaled_k(operand: Array, order: int) -> Array:
    """e^x K = the integral of e^(-x (cosh t - 1)) cosh(order t)."""
    t = np.arange(0, 130, 0.0625, dtype=LONG)[None, :]
    rise = 2 * np.sinh(t / 2) ** 2
    terms = np.exp(-operand[:, None] * rise) * np.cosh(order * t)
    terms[:, 0] /= 2
    return terms.sum(1) * LONG(0.0625)


def bessel_k(operand: Array, order: int, scaled: bool) -> Array:
    good = (operand > 0) & (operand <= 60)
    even, odd = _hankel(np.where(operand > _ASYMPTOTIC, operand, _ASYMPTOTIC), order, 1)
    far = np.sqrt(PI / (2 * np.maximum(operand, 1))) * (even + odd)
    result = _where(good, lambda inner: _scaled_k(inner, order), operand, far)
    result = result if scaled else result * np.exp(-np.maximum(operand, 0))
    result = np.where(operand == 0, np.inf, np.where(operand == np.inf, 0, result))
    return np.where(operand >= 0, result, np.nan)


def _wave(operand: Array, order: int) -> tuple[Array, Array]:
    """(J, Y) by DLMF 10.17.3 and 10.17.4."""
    even, odd = _hankel(operand, order, -1)
    sine, cosine = np.sin(operand), np.cos(operand)
    root = np.sqrt(PI * operand)
    total, difference = (cosine + sine) / root, (sine - cosine) / root
    if order:
        total, difference = difference, -total
    return even * total - odd * difference, even * difference + odd * total


def bessel_j(operand: Array, order: int) -> Array:
    size = np.abs(operand)
    angles = (np.arange(400, dtype=LONG) + 0.5) / 400 * PI

    def near(inner: Array) -> Array:
        value = np.cos(order * angles - inner[:, None] * np.sin(angles)).mean(1)
        return np.where(
            (inner < 1e-2) & (order == 1), inner / 2 * (1 - inner**2 / 8 + inner**4 / 192), value
        )

    far, _ = _wave(np.where((size > _ASYMPTOTIC) & np.isfinite(operand), size, _ASYMPTOTIC), order)
    result = _where(size <= 60, near, size, far)
    result = np.where(np.isinf(operand), 0, result)
    result = np.where((operand < 0) & (order == 1), -result, result)
    result = np.where((operand == 0) & (order == 1), operand, result)
    return np.where(np.isnan(operand), operand, result)


def bessel_y(operand: Array, order: int) -> Array:
    """DLMF 10.9.7, both integrals between ends where they are made to vanish."""
    u = np.arange(-4.5, 4.5, 0.015625, dtype=LONG)
    half = np.sinh(u) * PI / 2
    angles, slope = PI / (1 + np.exp(-2 * half)), PI * PI / 4 * np.cosh(u) / np.cosh(half) ** 2
    nodes, weights = _softplus_nodes(-50, 120, 0.125)

    def near(inner: Array) -> Array:
        first = np.sin(inner[:, None] * np.sin(angles) - order * angles) * slope * LONG(0.015625)
        both = np.exp(order * nodes) + (-1) ** order * np.exp(-order * nodes)
        second = both * np.exp(-inner[:, None] * np.sinh(nodes)) * weights
        return (first.sum(1) - second.sum(1)) / PI

    _, far = _wave(
        np.where((operand > _ASYMPTOTIC) & np.isfinite(operand), operand, _ASYMPTOTIC), order
    )
    result = _where((operand > 0) & (operand <= 60), near, operand, far)
    result = np.where(operand == 0, -np.inf, np.where(operand == np.inf, 0, result))
    return np.where(operand >= 0, result, np.nan)


# ---- integrals
def exp1(operand: Array) -> Array:
    """E1 by its integral over the logarithm of t."""
    nodes, weights = _softplus_nodes(-60, 130, 0.0625)
    moved = np.where((operand > 0) & (operand < 2000), operand, 1)
    rise = np.expm1(nodes)
    result = np.exp(-moved) * (np.exp(-moved[:, None] * rise) * weights).sum(1)
    result = np.where(operand == 0, np.inf, np.where(operand >= 2000, 0, result))
    return np.where(operand >= 0, result, np.nan)


def expi(operand: Array) -> Array:
    moved = np.where((operand > 0) & (operand <= 60), operand, 1)
    total, term = np.zeros_like(moved), np.ones_like(moved)
    for k in range(1, 250):
        term = term * moved / k
        total = total + term / k
    near = EULER + np.log(moved) + total
    z = np.where(operand > 60, operand, 60)
    series, term = np.ones_like(z), np.ones_like(z)
    for k in range(1, 55):
        term = term * k / z
        series = series + term
    far = np.exp(np.minimum(z, 11000)) / z * series
    result = np.where(operand > 60, np.where(np.isinf(operand), operand, far), near)
    result = np.where(operand < 0, -exp1(np.abs(operand)), result)
    return np.where(operand == 0, -np.inf, np.where(np.isnan(operand), operand, result))


def dawsn(operand: Array) -> Array:
    """Rybicki's sum (Computers in Physics 3, 1989), and series at both ends."""
    step = LONG(0.2)
    odd = np.arange(-401, 402, 2, dtype=LONG)
    moved = np.clip(operand, -60, 60)
    near = (np.exp(-((moved[:, None] - odd * step) ** 2)) / odd).sum(1) / np.sqrt(PI)
    term, small = operand, operand
    for k in range(1, 20):
        term = term * -2 * np.where(np.abs(operand) < 1, operand, 0) ** 2 / (2 * k + 1)
        small = small + term
    large, square = np.ones_like(operand), 2 * operand * operand
    for k in reversed(range(1, 14)):
        large = 1 + (2 * k - 1) / square * large
    result = np.where(
        np.abs(operand) < 0.3, small, np.where(np.abs(operand) > 40, large / (2 * operand), near)
    )
    return np.where(
        np.isinf(operand), np.copysign(LONG(0), operand), np.where(operand == 0, operand, result)
    )
