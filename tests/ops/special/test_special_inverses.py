"""The inverses of the incomplete gamma and beta functions solve their equations, with the gradient of a
solution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import hybrid
from hybrid import special

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
COUNT = 200
DRAWS: dict[str, Draw] = {
    "middle": lambda rng: (rng.uniform(0.5, 30, COUNT), rng.uniform(0, 1, COUNT)),
    "small": lambda rng: (np.exp(rng.uniform(-3, 0, COUNT)), rng.uniform(0.05, 0.98, COUNT)),
    "large": lambda rng: (np.exp(rng.uniform(3, 20, COUNT)), rng.uniform(0.001, 0.999, COUNT)),
    "tail": lambda rng: (rng.uniform(0.1, 60, COUNT), np.exp(rng.uniform(-75, -1, COUNT))),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(DRAWS))
@pytest.mark.parametrize("upper", [False, True])
def test_solutions(name: str, upper: bool, dtype: Any) -> None:
    """How far gammainc of the solution, in float64, is from p, over x times the slope."""
    a, p = (v.astype(dtype) for v in DRAWS[name](np.random.default_rng(3)))
    inverse = special.gammainccinv if upper else special.gammaincinv
    function = special.gammaincc if upper else special.gammainc
    got = inverse(hybrid.tensor(a), hybrid.tensor(p)).numpy()
    x, a, p = (v.astype(np.float64) for v in (got, a, p))
    kept = x > 1e-30  # beyond float32
    value = function(hybrid.tensor(a), hybrid.tensor(x)).numpy()
    with np.errstate(all="ignore"):
        density = np.exp((a - 1) * np.log(x) - x - np.vectorize(math.lgamma)(a))
        moved = np.abs(value - p) / (density * x)  # relative to x
        # what a rounding of p or of the function does, too
        unit = np.finfo(dtype).eps * (1 + p / (density * x))
    assert np.isfinite(x).all()
    assert (moved / unit)[kept].max() <= 8


@pytest.mark.parametrize("upper", [False, True])
def test_against_mpmath(upper: bool) -> None:
    inverse = special.gammainccinv if upper else special.gammaincinv
    for a, x in ((0.3, 0.2), (1.0, 2.5), (7.5, 3.0), (40.0, 55.0)):
        with mp.workprec(120):
            ends = (x, mp.inf) if upper else (0, x)
            p = float(mp.gammainc(a, *ends, regularized=True))
        got = inverse(hybrid.tensor(a, dtype="float64"), hybrid.tensor(p, dtype="float64"))
        assert math.isclose(got.item(), x, rel_tol=2e-14)


def test_ends() -> None:
    a = hybrid.tensor([2.0, 2.0, 2.0, 2.0, 0.0, -1.0, math.inf, math.nan, 2.0])
    p = hybrid.tensor([0.0, 1.0, -0.1, 1.1, 0.5, 0.5, 0.5, 0.5, math.nan])
    lower, upper = special.gammaincinv(a, p).numpy(), special.gammainccinv(a, p).numpy()
    np.testing.assert_array_equal(lower, [0.0, math.inf] + [math.nan] * 7)
    np.testing.assert_array_equal(upper, [math.inf, 0.0] + [math.nan] * 7)
    tiny = special.gammainccinv(hybrid.tensor([1.1237501]), hybrid.tensor([9.030892e-32]))
    assert math.isclose(tiny.item(), 72.0726661991977, rel_tol=1e-6)


@pytest.mark.parametrize("upper", [False, True])
def test_derivatives_to_second_order(upper: bool) -> None:
    inverse = special.gammainccinv if upper else special.gammaincinv
    a = hybrid.tensor([0.7, 3.0, 25.0], dtype="float64")
    points = np.array([0.2, 0.5, 0.9])

    def slopes(values: np.ndarray, order: int) -> np.ndarray:
        p = hybrid.tensor(values, requires_grad=True)
        (first,) = hybrid.gradients(inverse(a, p).sum(), [p], create_graph=order == 2)
        if order == 1:
            return np.array(first)
        (second,) = hybrid.gradients(first.sum(), [p])
        return np.array(second)

    step = 1e-5
    up, down = points + step, points - step
    values = [inverse(a, hybrid.tensor(v)).numpy() for v in (up, down)]
    np.testing.assert_allclose(slopes(points, 1), (values[0] - values[1]) / (2 * step), rtol=1e-7)
    want = (slopes(up, 1) - slopes(down, 1)) / (2 * step)
    np.testing.assert_allclose(slopes(points, 2), want, rtol=1e-6)


def test_a_traced_call_gives_the_same_bits() -> None:
    a = hybrid.tensor([0.5, 3.0, 100.0])
    p = hybrid.tensor([0.1, 0.5, 0.99])
    assert hybrid.compare(lambda a, p: special.gammaincinv(a, p), a, p).same_bits
    with pytest.raises(hybrid.UnsupportedError, match="last argument"):
        a.requires_grad = True
        special.gammaincinv(a, p).sum().backward()


# ---- beta
PAIRS: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    "middle": lambda rng: (np.exp(rng.uniform(0, 3.4, COUNT)), np.exp(rng.uniform(0, 3.4, COUNT))),
    "small": lambda rng: (np.exp(rng.uniform(-2, 0, COUNT)), np.exp(rng.uniform(-2, 0, COUNT))),
    "large": lambda rng: (np.exp(rng.uniform(3, 14, COUNT)), np.exp(rng.uniform(3, 14, COUNT))),
    "skew": lambda rng: (np.exp(rng.uniform(-1, 1, COUNT)), np.exp(rng.uniform(3, 13, COUNT))),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("name", sorted(PAIRS))
def test_solutions_of_betainc(name: str, tail: bool, dtype: Any) -> None:
    rng = np.random.default_rng(4)
    p = np.exp(rng.uniform(-60, -2, COUNT)) if tail else rng.uniform(0.01, 0.99, COUNT)
    a, b, p = (v.astype(dtype) for v in (*PAIRS[name](rng), p))
    x = special.betaincinv(*(hybrid.tensor(v) for v in (a, b, p))).numpy()
    assert ((x >= 0) & (x <= 1)).all()
    a, b, p, x = (v.astype(np.float64) for v in (a, b, p, x))
    kept = (x > 1e-30) & (x < 1 - 2**-20)
    value = special.betainc(*(hybrid.tensor(v) for v in (a, b, x))).numpy()
    with np.errstate(all="ignore"):
        scale = [np.vectorize(math.lgamma)(v) for v in (a + b, a, b)]
        density = np.exp(
            (a - 1) * np.log(x) + (b - 1) * np.log1p(-x) + scale[0] - scale[1] - scale[2]
        )
        moved = np.abs(value - p) / (density * x)
        unit = np.finfo(dtype).eps * (1 + p / (density * x))
    assert (moved / unit)[kept].max() <= 12


def test_ends_of_betaincinv() -> None:
    a = hybrid.tensor([2.0, 2.0, 2.0, 2.0, 0.0, 2.0, math.inf, math.nan])
    b = hybrid.tensor([3.0, 3.0, 3.0, 3.0, 1.0, -1.0, 1.0, 1.0])
    p = hybrid.tensor([0.0, 1.0, -0.1, 1.1, 0.5, 0.5, 0.5, 0.5])
    got = special.betaincinv(a, b, p).numpy()
    np.testing.assert_array_equal(got, [0.0, 1.0] + [math.nan] * 6)
    got = special.betainccinv(a, b, p).numpy()
    np.testing.assert_array_equal(got, [1.0, 0.0] + [math.nan] * 6)


def test_derivatives_of_betaincinv_to_second_order() -> None:
    a, b = (hybrid.tensor(v, dtype="float64") for v in ([0.7, 3.0, 25.0], [2.0, 1.5, 40.0]))
    points, step = np.array([0.2, 0.5, 0.9]), 1e-5

    def slopes(values: np.ndarray, order: int) -> np.ndarray:
        p = hybrid.tensor(values, requires_grad=True)
        inverse = special.betaincinv(a, b, p).sum()
        (first,) = hybrid.gradients(inverse, [p], create_graph=order == 2)
        return np.array(first if order == 1 else hybrid.gradients(first.sum(), [p])[0])

    up, down = points + step, points - step
    values = [special.betaincinv(a, b, hybrid.tensor(v)).numpy() for v in (up, down)]
    np.testing.assert_allclose(slopes(points, 1), (values[0] - values[1]) / (2 * step), rtol=1e-7)
    want = (slopes(up, 1) - slopes(down, 1)) / (2 * step)
    np.testing.assert_allclose(slopes(points, 2), want, rtol=1e-6)


def test_a_traced_betaincinv_gives_the_same_bits() -> None:
    a, b, p = (hybrid.tensor(v) for v in ([0.5, 3.0, 100.0], [2.0, 0.3, 50.0], [0.1, 0.5, 0.99]))
    assert hybrid.compare(lambda a, b, p: special.betaincinv(a, b, p), a, b, p).same_bits
