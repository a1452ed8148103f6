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
        arrays = np.broadcast_arrays(*[wide(x).astype(LONG) for x in operands])
        with np.errstate(all="ignore"):
            result = function(*[np.array(x).reshape(-1) for x in arrays], **params)
        return np.asarray(result).reshape(arrays[0].shape)

    return reference


def _softplus_nodes(low: float, high: float, step: float) -> tuple[Array, Array]:
    """Nodes and weights on the positive half-line: log(1 + e^v), exponentially close to 0."""
    v = np.arange(low, high, step, dtype=LONG)
    slope = 1 / (1 + np.exp(-v))
    return np.where(v > 30, v + np.exp(-v), np.log1p(np.exp(np.minimum(v, 40)))), slope * step


def _where(condition: Array, inside: Callable[[Array], Array], x: Array, other: Array) -> Array:
    """`inside` of the elements where the condition holds, `other` elsewhere."""
    out = np.array(np.broadcast_to(other, x.shape), LONG)
    if condition.any():
        out[condition] = inside(x[condition])
    return out


# ---- the error function's family
def _scaled_tail(x: Array) -> Array:
    """erfcx for x >= 0: 2/sqrt(pi) times the integral of e^(-t^2 - 2xt)."""
    nodes, weights = _softplus_nodes(-50, 60, 0.125)
    scale = 1 / (1 + x)[:, None]  # t = s / (1 + x)
    t = nodes * scale
    series = (np.exp(-t * t - 2 * x[:, None] * t) * weights * scale).sum(1)
    return np.where(np.isfinite(x), 2 / np.sqrt(PI) * series, np.where(x > 0, 0, np.nan))


def erfcx(x: Array) -> Array:
    size = np.abs(x)
    tail = _scaled_tail(np.minimum(size, 1e30))
    tail = np.where(size > 1e9, 1 / (size * np.sqrt(PI)), tail)
    square = np.where(size < 1e3, size, 1e3) ** 2
    return np.where(x < 0, 2 * np.exp(square) - tail, np.where(np.isnan(x), x, tail))


def logndtr(x: Array) -> Array:
    """log of the normal distribution function."""
    a = np.abs(x) / np.sqrt(LONG(2))
    tail = erfcx(a) / 2
    below = np.log(np.where(x < 1e9, tail, 1)) - a * a
    above = np.log1p(-np.where(a < 100, tail * np.exp(-(np.minimum(a, 100) ** 2)), 0))
    result = np.where(x > 0, -np.abs(above), np.where(np.isinf(x), -np.inf, below))
    return np.where(np.isnan(x), x, result)


def _erf_small(y: Array) -> Array:
    """erf for |y| < 2: e^(-y^2) times a series of positive terms."""
    term, total = y, y
    for k in range(1, 80):
        term = term * 2 * y * y / (2 * k + 1)
        total = total + term
    return 2 / np.sqrt(PI) * np.exp(-y * y) * total


def _inverse_small(x: Array) -> Array:
    y = x * np.sqrt(PI) / 2
    for _ in range(40):
        y = y - (_erf_small(y) - x) * np.sqrt(PI) / 2 * np.exp(y * y)
    return y


def inverse_tail(q: Array) -> Array:
    """y with erfc(y) = q, for 0 < q <= 1/2, by Newton's method on the logarithm."""
    w = -np.log(q)
    y = np.sqrt(np.maximum(w - np.log(np.sqrt(1 + w * PI)), 0.2))
    for _ in range(30):
        tail = _scaled_tail(y)
        y = y + (np.log(tail) - y * y + w) * tail * np.sqrt(PI) / 2
    return y


def erfinv(x: Array, one_less: Array | None = None) -> Array:
    """The inverse of erf; `one_less` is 1 - |x| where that is known better."""
    size = np.abs(x)
    q = 1 - size if one_less is None else one_less
    out = np.where(size > 1, np.nan, np.where(size == 1, np.inf, x * 0))
    out = _where(size <= 0.5, _inverse_small, size, out)
    far = (size > 0.5) & (q > 0)
    if far.any():
        out[far] = inverse_tail(q[far])
    return np.where(np.isnan(x), x, np.copysign(out, x))


# ---- gamma's family
_BERNOULLI = [Fraction(1)]
for _size in range(1, 31):
    _sum = sum((math.comb(_size + 1, k) * _BERNOULLI[k] for k in range(_size)), Fraction(0))
    _BERNOULLI.append(-_sum / (_size + 1))


def _bernoulli(number: int) -> Any:
    value = _BERNOULLI[number]
    return LONG(value.numerator) / LONG(value.denominator)


def _lgamma_positive(x: Array) -> Array:
    """Stirling's series 30 steps up, less the logarithm of the steps."""
    steps = np.where(x < 30, 30, 0)
    product = np.ones_like(x)
    for k in range(30):
        product = np.where(steps > 0, product * (x + k), product)
    y = x + steps
    series = sum(_bernoulli(2 * j) / (2 * j * (2 * j - 1)) / y ** (2 * j - 1) for j in range(1, 14))
    return (y - 0.5) * np.log(y) - y + np.log(2 * PI) / 2 + series - np.log(product)


def _sin_pi(x: Array) -> Array:
    """sin(pi x), the sign included."""
    rest = x - np.rint(x)
    return np.where(np.mod(np.rint(x), 2) == 1, -1, 1) * np.sin(PI * rest)


def gammaln(x: Array) -> Array:
    above = _lgamma_positive(np.where(x > 0, x, 1))
    y = np.where((x < 0) & np.isfinite(x), -x, 0.5)
    sine = np.abs(_sin_pi(y))
    # log gamma(1 + y) without rounding 1 + y
    below = np.log(PI / sine) - _lgamma_positive(y) - np.log(y)
    whole = (x <= 0) & (np.floor(x) == x)
    result = np.where(x > 0, np.where(np.isinf(x), x, above), below)
    result = np.where(whole, np.inf, result)
    return np.where(x == -np.inf, x, np.where(np.isnan(x), x, result))


def signed_gamma(x: Array) -> Array:
    sign = np.where((x < 0) & (np.mod(np.floor(x), 2) == 1), -1, 1)
    size = np.exp(gammaln(x))
    result = np.where(x == 0, np.copysign(LONG(np.inf), x), sign * size)
    pole = (x < 0) & (np.floor(x) == x)
    return np.where(pole, np.nan, result)


def digamma(x: Array) -> Array:
    y = np.where(np.isfinite(x), np.abs(x), 1)
    steps = sum(1 / (y + k) for k in range(1, 30))
    z = y + 30
    series = sum(_bernoulli(2 * j) / (2 * j) / z ** (2 * j) for j in range(1, 14))
    more = np.log(z) - 1 / (2 * z) - series - steps  # digamma(1 + y)
    rest = y - np.rint(y)
    above, below = more - 1 / x, more + PI / np.tan(PI * rest)
    below = np.where((rest == 0) | np.isinf(x), np.nan, below)
    result = np.where(x < 0, below, np.where(np.isinf(x), x, above))
    return np.where(np.isnan(x), x, result)


def zeta(s: Array, q: Array) -> Array:
    """The sum of (q + k)^-s: 30 terms and the rest by Euler and Maclaurin, for q > 0 and s >= 1."""
    s, q = np.broadcast_arrays(s, q)
    good = (q > 0) & (s >= 1) & np.isfinite(q) & np.isfinite(s)
    order, base = np.where(good, s, 2), np.where(good, q, 1)
    place = base + 30
    terms = sum((base + k) ** -order for k in reversed(range(30)))
    behind, factor = place**-order / 2, order / place
    for j in range(1, 14):
        behind = behind + place**-order * _bernoulli(2 * j) / math.factorial(2 * j) * factor
        factor = factor * (order + 2 * j - 1) * (order + 2 * j) / place / place
    result = terms + behind + place ** (1 - order) / (order - 1)
    large = np.where(q < 1, np.inf, np.where(q == 1, 1.0, 0.0))
    result = np.where(good, result, np.where(np.isinf(s) & (q > 0), large, np.nan))
    result = np.where(np.isinf(q) & (q > 0), 0.0, result)
    result = np.where((s == 1) | ((q <= 0) & (np.floor(q) == q)), np.inf, result)
    return np.where((s >= 1) & ~np.isnan(q), result, np.nan)


def beta(a: Array, b: Array) -> tuple[Array, Array]:
    """(beta, log |beta|), by logarithms of gamma."""
    pole = ((a <= 0) & (np.floor(a) == a)) | ((b <= 0) & (np.floor(b) == b))
    logarithm = gammaln(a) + gammaln(b) - gammaln(a + b)
    logarithm = np.where((np.maximum(a, b) == np.inf) & (np.minimum(a, b) > 0), -np.inf, logarithm)
    logarithm = np.where(pole, np.inf, logarithm)
    missing = np.isnan(a) | np.isnan(b)
    logarithm = np.where(missing, np.nan, logarithm)
    signs = [np.where((x < 0) & (np.mod(np.floor(x), 2) == 1), -1, 1) for x in (a, b, a + b)]
    value = np.where(np.isinf(logarithm), 1, signs[0] * signs[1] * signs[2]) * np.exp(logarithm)
    return value, logarithm


def incomplete(a: Array, x: Array) -> tuple[Array, Array]:
    """(lower, upper) of the regularised incomplete gamma functions, for a up to some hundreds: the
    series below a + 1, the continued fraction from its end above."""
    good = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    order, place = np.where(good, a, 1), np.where(good, x, 1)
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
    none, all_ = (x == 0) | np.isinf(a), (a == 0) | np.isinf(x)
    lower = np.where(none, 0.0, np.where(all_, 1.0, lower))
    upper = np.where(none, 1.0, np.where(all_, 0.0, upper))
    bad = ~((a >= 0) & (x >= 0)) | (none & all_)
    return np.where(bad, np.nan, lower), np.where(bad, np.nan, upper)


def _beta_fraction(a: Array, b: Array, x: Array) -> Array:
    """The lower function by the continued fraction DLMF 8.17.22 from its end."""
    total = np.ones_like(x)
    for m in reversed(range(300)):
        even = (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1) * (a + 2 * m + 2))
        odd = (a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        total = 1 - odd / (1 + even / total)
    front = a * np.log(x) + b * np.log1p(-x) - np.log(a)
    return np.exp(front - beta(a, b)[1]) / total


def incomplete_beta(a: Array, b: Array, x: Array) -> Array:
    """The regularised incomplete beta function, for parameters up to some hundreds."""
    good = (a > 0) & (b > 0) & (x > 0) & (x < 1) & np.isfinite(a) & np.isfinite(b)
    first, second, place = np.where(good, a, 1), np.where(good, b, 1), np.where(good, x, 0.5)
    swap = place > (first + 1) / (first + second + 2)
    tail = _beta_fraction(
        np.where(swap, second, first),
        np.where(swap, first, second),
        np.where(swap, 1 - place, place),
    )
    result = np.where(swap, 1 - tail, tail)
    result = np.where((a == 0) | np.isinf(b), 1.0, result)
    result = np.where((b == 0) | np.isinf(a), 0.0, result)
    result = np.where(x == 0, 0.0, np.where(x == 1, 1.0, result))
    unknown = ((a == 0) & (b == 0)) | (np.isinf(a) & np.isinf(b))
    inside = (a >= 0) & (b >= 0) & (x >= 0) & (x <= 1) & ~unknown
    return np.where(inside, result, np.nan)


# ---- Bessel functions
def _hankel(x: Array, order: int, sign: int) -> tuple[Array, Array]:
    """The even and the odd part of sum a_k(order) / x^k (DLMF 10.17.1), signs alternating in each
    part for sign -1."""
    even, odd, term = np.zeros_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(40):
        flip = sign if k // 2 % 2 else 1
        if k % 2:
            odd = odd + flip * term
        else:
            even = even + flip * term
        term = term * (4 * order * order - (2 * k + 1) ** 2) / ((k + 1) * 8 * x)
    return even, odd


def _scaled_i(x: Array, order: int) -> Array:
    angles = (np.arange(400, dtype=LONG) + 0.5) / 400 * PI
    terms = np.exp(x[:, None] * (np.cos(angles) - 1)) * np.cos(order * angles)
    return terms.mean(1)


def bessel_i(x: Array, order: int, scaled: bool) -> Array:
    size = np.abs(x)
    finite = np.isfinite(x)
    even, odd = _hankel(np.where(size > _ASYMPTOTIC, size, _ASYMPTOTIC), order, 1)
    root = np.sqrt(2 * PI * np.maximum(size, 1))
    result = _where(finite & (size <= 60), lambda v: _scaled_i(v, order), size, (even - odd) / root)
    # the mean of terms that cancel; the first terms of the series are all that there is
    start = size / 2 * (1 + size**2 / 8 + size**4 / 192) * np.exp(-size)
    result = np.where((size < 1e-2) & (order == 1), start, result)
    if not scaled:
        result = np.exp(np.minimum(size, 11000)) * result
        result = np.where(np.isinf(x), np.inf, result)
    else:
        result = np.where(np.isinf(x), 0, result)
    result = np.where(np.isnan(x), x, result)
    return np.copysign(result, x) if order else result


def _scaled_k(x: Array, order: int) -> Array:
    """e^x K = the integral of e^(-x (cosh t - 1)) cosh(order t)."""
    t = np.arange(0, 130, 0.0625, dtype=LONG)[None, :]
    rise = 2 * np.sinh(t / 2) ** 2
    terms = np.exp(-x[:, None] * rise) * np.cosh(order * t)
    terms[:, 0] /= 2
    return terms.sum(1) * LONG(0.0625)


def bessel_k(x: Array, order: int, scaled: bool) -> Array:
    good = (x > 0) & (x <= 60)
    even, odd = _hankel(np.where(x > _ASYMPTOTIC, x, _ASYMPTOTIC), order, 1)
    far = np.sqrt(PI / (2 * np.maximum(x, 1))) * (even + odd)
    result = _where(good, lambda v: _scaled_k(v, order), x, far)
    result = result if scaled else result * np.exp(-np.maximum(x, 0))
    result = np.where(x == 0, np.inf, np.where(x == np.inf, 0, result))
    return np.where(x >= 0, result, np.nan)


def _wave(x: Array, order: int) -> tuple[Array, Array]:
    """(J, Y) by DLMF 10.17.3 and 10.17.4."""
    even, odd = _hankel(x, order, -1)
    sine, cosine = np.sin(x), np.cos(x)
    root = np.sqrt(PI * x)
    total, difference = (cosine + sine) / root, (sine - cosine) / root
    if order:
        total, difference = difference, -total
    return even * total - odd * difference, even * difference + odd * total


def bessel_j(x: Array, order: int) -> Array:
    size = np.abs(x)
    angles = (np.arange(400, dtype=LONG) + 0.5) / 400 * PI

    def near(v: Array) -> Array:
        value = np.cos(order * angles - v[:, None] * np.sin(angles)).mean(1)
        return np.where((v < 1e-2) & (order == 1), v / 2 * (1 - v**2 / 8 + v**4 / 192), value)

    far, _ = _wave(np.where((size > _ASYMPTOTIC) & np.isfinite(x), size, _ASYMPTOTIC), order)
    result = _where(size <= 60, near, size, far)
    result = np.where(np.isinf(x), 0, result)
    result = np.where((x < 0) & (order == 1), -result, result)
    result = np.where((x == 0) & (order == 1), x, result)
    return np.where(np.isnan(x), x, result)


def bessel_y(x: Array, order: int) -> Array:
    """DLMF 10.9.7, both integrals between ends where they are made to vanish."""
    u = np.arange(-4.5, 4.5, 0.015625, dtype=LONG)
    half = np.sinh(u) * PI / 2
    angles, slope = PI / (1 + np.exp(-2 * half)), PI * PI / 4 * np.cosh(u) / np.cosh(half) ** 2
    nodes, weights = _softplus_nodes(-50, 120, 0.125)

    def near(v: Array) -> Array:
        first = np.sin(v[:, None] * np.sin(angles) - order * angles) * slope * LONG(0.015625)
        both = np.exp(order * nodes) + (-1) ** order * np.exp(-order * nodes)
        second = both * np.exp(-v[:, None] * np.sinh(nodes)) * weights
        return (first.sum(1) - second.sum(1)) / PI

    _, far = _wave(np.where((x > _ASYMPTOTIC) & np.isfinite(x), x, _ASYMPTOTIC), order)
    result = _where((x > 0) & (x <= 60), near, x, far)
    result = np.where(x == 0, -np.inf, np.where(x == np.inf, 0, result))
    return np.where(x >= 0, result, np.nan)


# ---- integrals
def exp1(x: Array) -> Array:
    """E1 by its integral over the logarithm of t."""
    nodes, weights = _softplus_nodes(-60, 130, 0.0625)
    y = np.where((x > 0) & (x < 2000), x, 1)
    rise = np.expm1(nodes)
    result = np.exp(-y) * (np.exp(-y[:, None] * rise) * weights).sum(1)
    result = np.where(x == 0, np.inf, np.where(x >= 2000, 0, result))
    return np.where(x >= 0, result, np.nan)


def expi(x: Array) -> Array:
    y = np.where((x > 0) & (x <= 60), x, 1)
    total, term = np.zeros_like(y), np.ones_like(y)
    for k in range(1, 250):
        term = term * y / k
        total = total + term / k
    near = EULER + np.log(y) + total
    z = np.where(x > 60, x, 60)
    series, term = np.ones_like(z), np.ones_like(z)
    for k in range(1, 55):
        term = term * k / z
        series = series + term
    far = np.exp(np.minimum(z, 11000)) / z * series
    result = np.where(x > 60, np.where(np.isinf(x), x, far), near)
    result = np.where(x < 0, -exp1(np.abs(x)), result)
    return np.where(x == 0, -np.inf, np.where(np.isnan(x), x, result))


def dawsn(x: Array) -> Array:
    """Rybicki's sum (Computers in Physics 3, 1989), and series at both ends."""
    step = LONG(0.2)
    odd = np.arange(-401, 402, 2, dtype=LONG)
    y = np.clip(x, -60, 60)
    near = (np.exp(-((y[:, None] - odd * step) ** 2)) / odd).sum(1) / np.sqrt(PI)
    term, small = x, x
    for k in range(1, 20):
        term = term * -2 * np.where(np.abs(x) < 1, x, 0) ** 2 / (2 * k + 1)
        small = small + term
    large, square = np.ones_like(x), 2 * x * x
    for k in reversed(range(1, 14)):
        large = 1 + (2 * k - 1) / square * large
    result = np.where(np.abs(x) < 0.3, small, np.where(np.abs(x) > 40, large / (2 * x), near))
    return np.where(np.isinf(x), np.copysign(LONG(0), x), np.where(x == 0, x, result))
