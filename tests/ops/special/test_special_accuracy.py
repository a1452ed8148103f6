"""The special functions against mpmath over their whole range, in float32 and float64.

Invariant: relative errors are at most what a row says, in last places; where a function has zeros
that are not divided out, the error is at most so many last places of a size that the row gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import pytest

import hybrid
from hybrid import special

LONG = np.longdouble
Size = Callable[[float], float]


class Row(NamedTuple):
    """Intervals of x, (a, b) or by powers of two (a, b, sign); the bound; what it is counted in."""

    true: Callable[..., Any]
    parts: tuple[tuple[float, ...], ...]
    ulp: float
    size: Size | None = None


def inverse_of_erfc(q: Any) -> Any:
    if q > 1:
        return -inverse_of_erfc(2 - q)
    if q > 0.5:
        return mp.erfinv(1 - q)
    w = -mp.log(q)
    y = mp.sqrt(w) * 0.7
    for _ in range(80):
        value = mp.erfc(y)
        step = (mp.log(value) + w) * value * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
        y += step
        if abs(step) < mp.mpf(10) ** -30:
            break
    return y


def log_ndtr(x: Any) -> Any:
    root = mp.sqrt(2)
    return mp.log(mp.erfc(-x / root) / 2) if x < 0 else mp.log1p(-mp.erfc(x / root) / 2)


def dawson(x: Any) -> Any:
    return mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)


def scaled(function: Callable[..., Any], order: int, sign: int) -> Callable[[Any], Any]:
    return lambda x: function(order, x) * mp.exp(sign * abs(x))


def of_order(function: Callable[..., Any], order: int) -> Callable[[Any], Any]:
    return lambda x: function(order, x)


def amplitude(x: float) -> float:
    return min(1.0, math.sqrt(2 / (math.pi * abs(x))))


def next_to_pole(x: float) -> float:
    rest = abs(x - round(x))
    return max(1.0, math.log(1 - x), 1 / rest) if rest else 1.0


def log_gamma_size(x: float) -> float:
    return max(1.0, abs(math.lgamma(-x)))


ALL = (-150.0, 0.0, 1)  # from the smallest numbers to 1
ROWS = {
    "erfcx": Row(lambda x: mp.exp(x * x) * mp.erfc(x), ((-26, 0), (0, 12), (0, 300, 1)), 5),
    "erfinv": Row(mp.erfinv, ((-1, 1), (0.45, 0.55), (-150, 0, 1)), 4),
    "erfcinv": Row(inverse_of_erfc, ((0, 2), (-1000, 0, 1)), 4),
    "ndtr": Row(mp.ncdf, ((-5, 5), (-37, -3), (-30, 0, -1)), 5),
    "ndtri": Row(
        lambda p: -mp.sqrt(2) * inverse_of_erfc(2 * p), ((0, 1), (0.45, 0.55), (-1000, 0, 1)), 5
    ),
    "log_ndtr": Row(log_ndtr, ((-5, 5), (-40, -3), (3, 37), (0, 30, -1)), 5),
    "gammaln": Row(
        lambda x: mp.loggamma(x).real, ((0.4, 3.1), (0, 9), (8, 50), ALL, (3, 1000, 1)), 4
    ),
    "gamma": Row(mp.gamma, ((0, 8), (8, 35), (30, 171), (-8, 0), (-183, -7)), 6),
    "digamma": Row(mp.digamma, ((0, 3), (3, 20), ALL, (3, 1000, 1)), 4),
    "i0": Row(of_order(mp.besseli, 0), ((-8, 8), (8, 90), (90, 713)), 5),
    "i1": Row(of_order(mp.besseli, 1), ((-8, 8), (8, 90), (90, 713)), 5),
    "i0e": Row(scaled(mp.besseli, 0, -1), ((-9, 9), (3, 40, 1)), 5),
    "i1e": Row(scaled(mp.besseli, 1, -1), ((-9, 9), (3, 40, 1)), 5),
    "k0": Row(of_order(mp.besselk, 0), ((0, 3), (3, 103), (103, 740), ALL), 5),
    "k1": Row(of_order(mp.besselk, 1), ((0, 3), (3, 103), (103, 740), (-120, 0, 1)), 5),
    "k0e": Row(scaled(mp.besselk, 0, 1), ((0, 3), (1, 40, 1)), 5),
    "k1e": Row(scaled(mp.besselk, 1, 1), ((0, 3), (1, 40, 1)), 5),
    "j0": Row(of_order(mp.besselj, 0), ((-9, 9), (8, 100), (6, 60, 1)), 3, amplitude),
    "j1": Row(of_order(mp.besselj, 1), ((-9, 9), (8, 100), (6, 60, 1)), 3, amplitude),
    "y0": Row(of_order(mp.bessely, 0), ((0.5, 9), (8, 100), (6, 60, 1)), 3, amplitude),
    "y1": Row(of_order(mp.bessely, 1), ((0.8, 9), (8, 100), (6, 60, 1)), 3, amplitude),
    "dawsn": Row(dawson, ((-6, 6), (5, 40), ALL), 4),
    "exp1": Row(mp.e1, ((0, 4), (3, 100), (90, 740), ALL), 5),
    "expi": Row(mp.ei, ((0.2, 0.6), (0, 7), (6, 90), (80, 700), (-100, 0), ALL), 5),
    "entr": Row(lambda x: -x * mp.log(x), ((0, 3), ALL), 3),
    "logit": Row(lambda x: mp.log(x / (1 - x)), ((0, 1), (0.49, 0.51), ALL), 3),
    "log_expit": Row(lambda x: -mp.log1p(mp.exp(-x)), ((-20, 40), (-800, 700)), 3),
    "sinc": Row(lambda x: mp.sinpi(x) / (mp.pi * x), ((-6, 6), (0, 1000), ALL), 4),
    "exprel": Row(lambda x: mp.expm1(x) / x, ((-50, 5), (5, 92), (90, 715), ALL), 4),
    "cosm1": Row(lambda x: -2 * mp.sin(x / 2) ** 2, ((-7, 7), (0, 1e5), (-60, 0, 1)), 4),
}
# next to the zeros of these results the bound is an absolute one
SIGNED = {
    "gammaln": Row(lambda x: mp.loggamma(x).real, ((-5, 0), (-60, -4)), 4, log_gamma_size),
    "digamma": Row(mp.digamma, ((-5, 0), (-60, -4), (-100, 0, -1)), 4, next_to_pole),
}
# the zeros below 8 of these are divided out
RELATIVE = {
    "j0": Row(of_order(mp.besselj, 0), ((0, 7.5), ALL), 6),
    "j1": Row(of_order(mp.besselj, 1), ((-7.5, 7.5), ALL), 6),
    "y0": Row(of_order(mp.bessely, 0), ((2, 7.5), ALL[:1] + (-2, 1)), 6),
    "y1": Row(of_order(mp.bessely, 1), ((2, 7.5), (-120, -1, 1)), 8),
}


def points(row: Row, dtype: Any, count: int) -> np.ndarray:
    rng, info = np.random.default_rng(5), np.finfo(dtype)
    least, most = (float(np.log2(float(v))) for v in (info.smallest_subnormal, info.max))
    found = []
    for part in row.parts:
        if len(part) == 2:
            found.append(rng.uniform(part[0], part[1], count))
        else:
            powers = rng.uniform(max(part[0], least), min(part[1], most), count)
            found.append(part[2] * np.exp2(powers))
    with np.errstate(over="ignore"):
        x = np.concatenate(found).astype(dtype)
    return x[np.isfinite(x) & (x != 0)]


def exact(true: Callable[..., Any], *operands: np.ndarray) -> np.ndarray:
    with mp.workprec(160):
        values = [true(*[mp.mpf(float(v)) for v in row]) for row in zip(*operands)]
        return np.array([LONG(mp.nstr(v, 25)) for v in values])


def last_places(got: np.ndarray, want: np.ndarray, sizes: np.ndarray | None) -> np.ndarray:
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(np.abs(want if sizes is None else sizes))
        unit = np.ldexp(LONG(1), np.maximum(exponent - 1, info.minexp) - info.nmant)
        error = np.abs(got.astype(LONG) - want) / unit
        over = np.isinf(got) & (np.abs(want) > LONG(info.max)) & (np.sign(got) == np.sign(want))
    return np.where(over | (got == want), 0, np.where(np.isnan(error), np.inf, error))


def check(name: str, row: Row, dtype: Any, count: int = 40) -> None:
    x = points(row, dtype, count)
    got = getattr(hybrid.special, name)(hybrid.tensor(x)).numpy()
    sizes = None if row.size is None else np.array([row.size(float(v)) for v in x], LONG)
    error = last_places(got, exact(row.true, x), sizes)
    worst = int(np.argmax(error))
    assert got.dtype == dtype
    assert error[worst] <= row.ulp, (
        f"{name}({x[worst]!r}) = {got[worst]!r}: {error[worst]:.2f} last places"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(ROWS))
def test_whole_range(name: str, dtype: Any) -> None:
    check(name, ROWS[name], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(SIGNED))
def test_negative_arguments(name: str, dtype: Any) -> None:
    check(name, SIGNED[name], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(RELATIVE))
def test_next_to_zeros(name: str, dtype: Any) -> None:
    check(name, RELATIVE[name], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", [1, 2, 3, 8])
def test_polygamma(order: int, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    positive = np.concatenate([rng.uniform(0, 12, 40), np.exp2(rng.uniform(-8, 10, 30))])
    negative = rng.uniform(-6, 0, 40)
    for operand, signed in ((positive, False), (negative, True)):
        x = operand.astype(dtype)
        got = hybrid.special.polygamma(order, hybrid.tensor(x)).numpy()
        want = exact(lambda v: mp.psi(order, v), x)
        sizes = math.gamma(order + 1) * np.abs(x - np.rint(x)).astype(LONG) ** -(order + 1)
        bound = 2 * order + 6 if signed else 8
        assert last_places(got, want, sizes if signed else None).max() <= bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", [0, 1, 2, 3, 7, 40])
def test_expn(order: int, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(0, 3, 40), np.exp2(rng.uniform(-30, 6, 30))]).astype(dtype)
    got = hybrid.special.expn(order, hybrid.tensor(x)).numpy()
    want = exact(lambda v: mp.expint(order, v), x)
    assert last_places(got, want, None).max() <= 6


def near(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.uniform(0.1, 5, count)
    return x, x * (1 + rng.choice([-1, 1], count) * np.exp2(rng.uniform(-20, -1, count)))


def anywhere(low: float, high: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return lambda rng, count: (rng.uniform(low, high, count), rng.uniform(low, high, count))


def powers(low: float, high: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return lambda rng, count: (
        np.exp2(rng.uniform(low, high, count)),
        np.exp2(rng.uniform(low, high, count)),
    )


def zeta(s: Any, q: Any) -> Any:
    with mp.workprec(700):  # mpmath's own sum cancels for large q
        return +mp.zeta(s, q)


def lower(a: Any, x: Any) -> Any:
    return mp.gammainc(a, 0, x, regularized=True)


def upper(a: Any, x: Any) -> Any:
    return mp.gammainc(a, x, mp.inf, regularized=True)


def around(low: float, high: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """a, and x from a sixth to three times of it, most of them close."""

    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        a = rng.uniform(low, high, count)
        close = a + np.sqrt(a) * rng.uniform(-3, 3, count)
        return a, np.where(rng.random(count) < 0.6, np.abs(close), a * rng.uniform(0.2, 3, count))

    return draw


PAIRS = [
    ("gammainc", lower, anywhere(0, 22), 6),
    ("gammaincc", upper, anywhere(0, 22), 24),
    ("gammainc", lower, powers(-24, 1), 6),
    ("gammaincc", upper, powers(-24, 1), 24),
    ("gammainc", lower, around(18, 60), 6),
    ("gammaincc", upper, around(18, 60), 6),
    ("xlogy", lambda x, y: x * mp.log(y), powers(-60, 60), 3),
    ("xlog1py", lambda x, y: x * mp.log1p(y), powers(-60, 60), 3),
    ("rel_entr", lambda x, y: x * mp.log(x / y), near, 3),
    ("rel_entr", lambda x, y: x * mp.log(x / y), powers(-60, 60), 3),
    ("kl_div", lambda x, y: x * mp.log(x / y) - x + y, near, 16),
    ("kl_div", lambda x, y: x * mp.log(x / y) - x + y, powers(-50, 50), 16),
    ("beta", mp.beta, anywhere(0, 16), 8),
    ("beta", mp.beta, powers(-30, 3), 8),
    ("zeta", zeta, lambda rng, n: (rng.uniform(1.01, 12, n), rng.uniform(0, 30, n)), 4),
    ("zeta", zeta, lambda rng, n: (1 + np.exp2(rng.uniform(-9, 4, n)), rng.uniform(0, 900, n)), 4),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", range(len(PAIRS)), ids=lambda i: f"{PAIRS[i][0]}-{i}")
def test_pairs(row: int, dtype: Any) -> None:
    name, true, draw, bound = PAIRS[row]
    x, y = (v.astype(dtype) for v in draw(np.random.default_rng(2), 60))
    got = getattr(hybrid.special, name)(hybrid.tensor(x), hybrid.tensor(y)).numpy()
    error = last_places(got, exact(true, x, y), None)
    worst = int(np.argmax(error))
    assert error[worst] <= bound, f"{name}({x[worst]!r}, {y[worst]!r}): {error[worst]:.2f}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("draw", [anywhere(0, 30), powers(-12, 12), powers(-20, 40)])
def test_betaln(draw: Any, dtype: Any) -> None:
    x, y = (v.astype(dtype) for v in draw(np.random.default_rng(3), 60))
    got = hybrid.special.betaln(hybrid.tensor(x), hybrid.tensor(y)).numpy()
    want = exact(lambda a, b: (mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)).real, x, y)
    assert last_places(got, want, np.maximum(1, np.abs(want))).max() <= 10


def test_binomials_of_small_whole_numbers_are_exact() -> None:
    n, k = np.meshgrid(np.arange(20.0), np.arange(20.0), indexing="ij")
    want = np.vectorize(math.comb)(n.astype(int), k.astype(int))
    got = hybrid.special.comb(hybrid.tensor(n), hybrid.tensor(k)).numpy()
    np.testing.assert_array_equal(got, want)


def by_quadrature(a: float, b: float, x: float) -> Any:
    """betainc of large parameters: the density piece by piece around its mean."""
    first, second, end = mp.mpf(a), mp.mpf(b), mp.mpf(x)
    mean = first / (first + second)
    width = mp.sqrt(mean * (1 - mean) / (first + second))
    scale = mp.loggamma(first) + mp.loggamma(second) - mp.loggamma(first + second)
    ends = [mean + k * width for k in range(-13, 14) if 0 < mean + k * width < end]

    def density(t: Any) -> Any:
        return mp.exp((first - 1) * mp.log(t) + (second - 1) * mp.log1p(-t) - scale)

    return mp.quad(density, [*ends, end])


BETAS = [(1, 20, 0.0, 10), (0.02, 3, 0.0, 24), (18, 90, -3.0, 12), (18, 40, 3.0, 12)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", BETAS, ids=str)
def test_betainc(row: tuple[float, float, float, float], dtype: Any) -> None:
    low, high, side, bound = row
    rng = np.random.default_rng(11)
    a, b = (np.exp(rng.uniform(np.log(low), np.log(high), 50)) for _ in range(2))
    x = rng.uniform(0, 1, 50)
    if side:  # around the mean, most on one side
        x = a / (a + b) + np.sqrt(a * b / (a + b) ** 3) * (side + rng.uniform(-3, 3, 50))
    a, b, x = (v.astype(dtype) for v in (a, b, np.clip(x, 0.01, 0.99)))
    got = hybrid.special.betainc(*(hybrid.tensor(v) for v in (a, b, x))).numpy()
    want = exact(lambda p, q, z: mp.betainc(p, q, 0, z, regularized=True), a, b, x)
    above = x > (a + 1) / (a + b + 2)
    sizes = np.where(above | (b < 1), 1.0, np.maximum(want, 1e-30))
    assert last_places(got, want, sizes).max() <= bound


@pytest.mark.parametrize("a", [3e3, 1e6, 4.5e8])
@pytest.mark.parametrize("sigmas", [-5.0, 0.5, 4.0])
def test_betainc_of_large_parameters(a: float, sigmas: float) -> None:
    b = 0.7 * a
    x = a / (a + b) + sigmas * math.sqrt(a * b / (a + b) ** 3)
    got = hybrid.special.betainc(*(hybrid.tensor(v, dtype="float64") for v in (a, b, x))).item()
    with mp.workprec(120):
        assert abs(got / by_quadrature(a, b, x) - 1) < 2e-15


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_betainc_of_a_large_and_a_small_parameter(dtype: Any) -> None:
    """x near 0: 1 - x has lost digits that the continued fraction must not miss."""
    rng = np.random.default_rng(12)
    a, b = rng.uniform(1, 3, 30).astype(dtype), np.exp(rng.uniform(6, 14, 30)).astype(dtype)
    x = (rng.uniform(0.3, 4, 30) / b).astype(dtype)
    operands = [hybrid.tensor(v) for v in (a, b, x)]

    def lower(p: Any, q: Any, z: Any) -> Any:
        return mp.betainc(p, q, 0, z, regularized=True)

    want = exact(lower, a, b, x)
    assert last_places(special.betainc(*operands).numpy(), want, None).max() <= 16
    assert last_places(special.betaincc(*operands).numpy(), 1 - want, None).max() <= 24


def test_betainc_next_to_one_with_a_small_parameter() -> None:
    """Where the continued fraction of the side of x converges slowly."""
    for a, b, rest in ((632932.9, 0.104, 2.1372638e-06), (1e3, 0.3, 1.2e-3), (40.0, 0.01, 0.03)):
        x = 1 - rest
        got = hybrid.special.betainc(*(hybrid.tensor(v, dtype="float64") for v in (a, b, x)))
        with mp.workprec(120):
            want = mp.betainc(mp.mpf(b), mp.mpf(a), 1 - mp.mpf(x), 1, regularized=True)
        assert abs(got.item() - want) < 1e-15


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_incomplete_gamma_of_large_parameters_is_nearly_normal(dtype: Any) -> None:
    """DLMF 8.11.11 in its second order, where the rest is below the last place."""
    a = np.array([2.0**100, 2.0**70, 2.0**60], dtype)
    z = np.array([-3.0, 0.5, 2.0])
    x = (a + np.sqrt(a) * z).astype(dtype)
    z = (x.astype(LONG) - a) / np.sqrt(a.astype(LONG))
    want = exact(mp.ncdf, z)
    got = hybrid.special.gammainc(hybrid.tensor(a), hybrid.tensor(x)).numpy()
    np.testing.assert_allclose(got, want.astype(float), rtol=1e-6 if dtype is np.float32 else 1e-9)
