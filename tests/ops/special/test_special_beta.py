"""The incomplete beta functions and the distributions made of them, against mpmath.

Invariant: errors are relative, in last places, for small and large parameters and results alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import hybrid
from hybrid import special

ULP = 16  # what the records say
COUNT = 40
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
Bounds = tuple[float, float]


def fraction(a: Any, b: Any, x: Any, rest: Any) -> Any:
    """DLMF 8.17.22 by Lentz's method: for x on the side of a."""
    upper, inner, result = mp.mpf(1), 1 / (1 - (a + b) * x / (a + 1)), mp.mpf(1)
    result = inner
    for m in range(1, 20000):
        first = m * (b - m) * x / ((a - 1 + 2 * m) * (a + 2 * m))
        second = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 1 + 2 * m))
        for term in (first, second):
            inner, upper = 1 / (1 + term * inner), 1 + term / upper
            result *= inner * upper
        if abs(inner * upper - 1) < mp.mpf(2) ** -110:
            break
    scale = mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    return mp.exp(a * mp.log(x) + b * mp.log(rest) + scale) * result / a


def lower(a: Any, b: Any, x: Any, rest: Any) -> Any:
    if x > (a + 1) / (a + b + 2):
        return 1 - fraction(b, a, rest, x)
    return fraction(a, b, x, rest)


def student(df: Any, t: Any) -> Any:
    tail = lower(df / 2, mp.mpf(0.5), df / (df + t * t), t * t / (df + t * t)) / 2
    return tail if t < 0 else 1 - tail


def f_distribution(dfn: Any, dfd: Any, x: Any) -> Any:
    return lower(dfn / 2, dfd / 2, dfn * x / (dfn * x + dfd), dfd / (dfn * x + dfd))


def last_places(got: np.ndarray, true: Callable[..., Any], operands: Any) -> float:
    worst = 0.0
    with mp.workprec(160):
        for value, *point in zip(got, *operands):
            want = true(*(mp.mpf(float(each)) for each in point))
            size = np.abs(got.dtype.type(float(want)))
            if size > np.finfo(got.dtype).tiny * 8:
                gap = abs(mp.mpf(float(value)) - want) / mp.mpf(float(np.spacing(size)))
                worst = max(worst, float(gap))
    return worst


def logarithmic(rng: np.random.Generator, dtype: Any, low: float, high: float) -> np.ndarray:
    return (10 ** rng.uniform(low, high, COUNT)).astype(dtype)


def reported(rows: Any, dtype: Any) -> list[np.ndarray]:
    return [np.array(column, dtype) for column in zip(*rows)]


@DTYPES
@pytest.mark.parametrize("upper", [False, True])
def test_reported_points_with_a_small_parameter(upper: bool, dtype: Any) -> None:
    rows = [
        (5.796003818, 0.0012351583, 0.9912706), (6.595769017229406, 0.02546987926, 0.841400151),
        (0.1309218, 0.0216347388, 0.25450669), (293779.0646, 0.00013588466, 0.99999458),
    ]  # fmt: skip
    a, b, x = reported(rows, dtype)
    operands = (b, a, (1 - x).astype(dtype)) if upper else (a, b, x)
    got = (special.betaincc if upper else special.betainc)(*map(hybrid.tensor, operands)).numpy()
    assert last_places(got, upper_or_lower(upper), operands) <= ULP


def upper_or_lower(upper: bool) -> Callable[..., Any]:
    if upper:
        return lambda a, b, x: lower(b, a, 1 - x, x)
    return lambda a, b, x: lower(a, b, x, 1 - x)


@DTYPES
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize(
    "powers", [((-1, 6), (-6, 0)), ((-5, 0), (-5, 0)), ((-6, 0), (-1, 6)), ((-1, 1.5), (0, 1))]
)
def test_betainc_of_all_sizes(powers: tuple[Bounds, Bounds], upper: bool, dtype: Any) -> None:
    rng = np.random.default_rng(21)
    a, b = (logarithmic(rng, dtype, *each) for each in powers)
    rest = np.exp(rng.uniform(-6, 1, COUNT)) / (1 + np.maximum(a, b))
    rest = np.clip(np.where(rng.random(COUNT) < 0.3, rng.random(COUNT), rest), 1e-6, 0.999)
    x = np.where(a > b, 1 - rest, rest).astype(dtype)
    got = (special.betaincc if upper else special.betainc)(*map(hybrid.tensor, (a, b, x))).numpy()
    assert last_places(got, upper_or_lower(upper), (a, b, x)) <= ULP


@DTYPES
@pytest.mark.parametrize("powers", [((-1, 3), (-2, 1.5)), ((-1, 4), (-9, 0)), ((-3, 1), (0, 30))])
def test_stdtr(powers: tuple[Bounds, Bounds], dtype: Any) -> None:
    rng = np.random.default_rng(22)
    df, t = (logarithmic(rng, dtype, *each) for each in powers)
    t = (t * rng.choice([-1, 1], COUNT)).astype(dtype)
    got = special.stdtr(hybrid.tensor(df), hybrid.tensor(t)).numpy()
    assert last_places(got, student, (df, t)) <= ULP


@DTYPES
def test_stdtr_next_to_zero_and_with_extreme_arguments(dtype: Any) -> None:
    big = 60 if dtype == np.float32 else 500
    rows = [
        (5.0, 1e-4), (3.598698721476965, 9.226444515717957e-07), (1.0, -(2.0**big)),
        (1e-6, 2.0**big), (0.1, -(2.0 ** (2 * big))), (1e30, -1.5), (1e-30, 0.5),
    ]  # fmt: skip
    operands = reported(rows, dtype)
    got = special.stdtr(*map(hybrid.tensor, operands)).numpy()
    assert last_places(got, student, operands) <= ULP


@DTYPES
@pytest.mark.parametrize("powers", [((-1, 3), (-2, 1.5)), ((-3, 3), (-4, 4)), ((-6, 5), (-30, 30))])
def test_fdtr(powers: tuple[Bounds, Bounds], dtype: Any) -> None:
    rng = np.random.default_rng(23)
    dfn, dfd = (logarithmic(rng, dtype, *powers[0]) for _ in range(2))
    x = logarithmic(rng, dtype, *powers[1])
    dfn[0], dfd[0], x[0] = 233.791, 0.047117215, 20.427944
    got = special.fdtr(*map(hybrid.tensor, (dfn, dfd, x))).numpy()
    assert last_places(got, f_distribution, (dfn, dfd, x)) <= ULP


def test_edges_of_the_distributions() -> None:
    inf, nan = np.inf, np.nan
    t = hybrid.tensor([0.0, -0.0, inf, -inf, 1.0, 1.0, nan, 2.0])
    df = hybrid.tensor([1.0, 2.0, 0.5, 0.5, 0.0, -1.0, 2.0, inf])
    want = [0.5, 0.5, 1, 0, nan, nan, nan, 0.9772498680518208]
    np.testing.assert_allclose(special.stdtr(df, t).numpy(), want, rtol=1e-6)
    x = hybrid.tensor([0.0, inf, -1.0, 1.0, 1.0, nan])
    dfn = hybrid.tensor([1.0, 2.0, 2.0, 0.0, 2.0, 2.0])
    got = special.fdtr(dfn, hybrid.tensor([1.0, 2.0, 2.0, 2.0, -1.0, 2.0]), x).numpy()
    np.testing.assert_array_equal(got, [0, 1, nan, nan, nan, nan])


def test_derivatives_of_the_distributions() -> None:
    """The densities at 0, where x of the incomplete beta function stands still."""
    t = hybrid.tensor([0.0, 1e-8, -0.7, 2.0], dtype="float64")
    slope = hybrid.grad(lambda t: special.stdtr(3.0, t).sum())
    height = [mp.mpf(2) / (mp.pi * mp.sqrt(3)) / (1 + mp.mpf(v) ** 2 / 3) ** 2 for v in t.tolist()]
    np.testing.assert_allclose(slope(t).numpy(), np.array(height, float), rtol=1e-14)
    second = hybrid.grad(lambda t: slope(t).sum())(t).numpy()
    bend = [float(-4 * v / (3 + v * v) * float(h)) for v, h in zip(t.tolist(), height)]
    np.testing.assert_allclose(second, bend, rtol=1e-13, atol=1e-20)
    x = hybrid.tensor([0.0, 0.5, 3.0], dtype="float64")
    slope = hybrid.grad(lambda x: special.fdtr(2.0, 5.0, x).sum())(x).numpy()
    np.testing.assert_allclose(slope, (1 + 2 * x.numpy() / 5) ** -3.5, rtol=1e-14)


@DTYPES
def test_traced_distributions_give_the_same_bits(dtype: Any) -> None:
    rng = np.random.default_rng(24)
    df, more, t = (hybrid.tensor(logarithmic(rng, dtype, -2, 2)) for _ in range(3))
    assert hybrid.compare(lambda a, t: special.stdtr(a, t), df, t).same_bits
    assert hybrid.compare(lambda a, b, x: special.fdtr(a, b, x), df, more, t).same_bits
