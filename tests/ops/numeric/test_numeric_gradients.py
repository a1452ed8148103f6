"""Gradients of the numerical functions against finite differences, to second order, and where they
go to elements that are selected."""

from __future__ import annotations

import numpy as np
import pytest
from numeric_calls import NAN, draw, spread

import hybrid

X = spread(3, 4)
ROW = spread(7)
OTHER = hybrid.tensor(draw(3))
WEIGHTS = hybrid.tensor(np.random.default_rng(4).random((3, 4)) + 0.5)
SHARES = np.array([[0.23, 0.4], [0.61, 0.83]])
GAPS = np.where(np.arange(12).reshape(3, 4) == 6, NAN, X)
MASK = np.array([[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]], bool)
COORDINATES = np.array([0.0, 1.0, 3.0, 4.5])
H = hybrid

FUNCTIONS = {
    "median": (X, lambda x: H.median(x)),
    "median-odd": (X, lambda x: H.median(x, axis=0)),
    "quantile": (X, lambda x: H.quantile(x, [0.2, 0.2, 0.9], axis=1)),
    "quantile-method": (X, lambda x: H.quantile(x, 0.3, method="median_unbiased")),
    "quantile-lower": (X, lambda x: H.quantile(x, 0.3, method="lower", keepdims=True)),
    "quantile-weights": (
        X,
        lambda x: H.quantile(x, 0.4, axis=1, method="inverted_cdf", weights=WEIGHTS),
    ),
    "quantile-shares": (SHARES, lambda q: H.quantile(X, q, axis=1)),
    "quantile-shares-weibull": (SHARES, lambda q: H.quantile(X, q, method="weibull") ** 2),
    "quantile-shares-lower": (SHARES, lambda q: H.quantile(X, q, method="lower")),
    "percentile-shares": (100 * SHARES, lambda q: H.percentile(X, q) ** 2),
    "nanquantile-shares": (SHARES, lambda q: H.nanquantile(GAPS, q, axis=1) ** 2),
    "nanpercentile-shares": (100 * SHARES, lambda q: H.nanpercentile(GAPS, q, method="hazen")),
    "quantile-both": (SHARES, lambda q: H.quantile(q**2, q)),
    "unique": (ROW, lambda x: H.unique(H.concat([x, x])) ** 2),
    "unique-rows": (X, lambda x: H.unique(x, axis=0) ** 2),
    "unique_values": (X, lambda x: H.unique_values(x) ** 2),
    "unique_counts": (ROW, lambda x: H.unique_counts(x).values ** 2),
    "unique_inverse": (ROW, lambda x: H.unique_inverse(x).values ** 2),
    "unique_all": (ROW, lambda x: H.unique_all(x).values ** 2),
    "union1d": (ROW, lambda x: H.union1d(x, x[:3] + 9) ** 2),
    "intersect1d": (ROW, lambda x: H.intersect1d(x[:3], x) ** 2),
    "setdiff1d": (ROW, lambda x: H.setdiff1d(x, x[:3]) ** 2),
    "setxor1d": (ROW, lambda x: H.setxor1d(x[:4], x[3:]) ** 2),
    "nanquantile": (X, lambda x: H.nanquantile(x, [0.2, 0.9], axis=0)),
    "nanmedian": (X, lambda x: H.nanmedian(x, axis=1)),
    "sum-where": (X, lambda x: H.sum(x, 0, initial=2.0, where=MASK) ** 2),
    "prod-where": (X, lambda x: H.prod(x, 1, initial=2.0, where=MASK)),
    "mean-where": (X, lambda x: H.mean(x, 0, where=MASK) ** 2),
    "var-where": (X, lambda x: H.var(x, 1, where=MASK, correction=0.5)),
    "std-mean": (X, lambda x: H.std(x, 0, mean=x[:1] * 0.3)),
    "max-where": (X, lambda x: H.max(x, 1, initial=-1.0, where=MASK) ** 2),
    "nansum": (X, lambda x: H.nansum(x, axis=0) ** 2),
    "nanprod": (X, lambda x: H.nanprod(x, axis=0)),
    "nanmean": (X, lambda x: H.nanmean(x) ** 2),
    "nanvar": (X, lambda x: H.nanvar(x, axis=1, ddof=1)),
    "nanstd": (X, lambda x: H.nanstd(x, axis=0)),
    "nanmax": (X, lambda x: H.nanmax(x, axis=0) ** 2),
    "nanmin": (X, lambda x: H.nanmin(x) ** 2),
    "nancumsum": (X, lambda x: H.nancumsum(x, 1) ** 2),
    "nancumprod": (X, lambda x: H.nancumprod(x)),
    "cumsum": (X, lambda x: H.cumsum(x) ** 2),
    "ptp": (X, lambda x: H.ptp(x, axis=1) ** 2),
    "average": (X, lambda x: H.average(x**2, 1, WEIGHTS)),
    "average-weights": (X, lambda x: H.average(WEIGHTS, 1, x**2 + 1)),
    "cov": (X, lambda x: H.cov(x)),
    "cov-weights": (X, lambda x: H.cov(x, aweights=[1.0, 2.0, 0.5, 1.0])),
    "corrcoef": (X, lambda x: H.corrcoef(x)),
    "bincount": (ROW, lambda x: H.bincount([0, 2, 2, 1, 0, 2, 1], x**2) ** 2),
    "histogram": (
        ROW,
        lambda x: H.histogram([0.0, 1.0, 2.0, 3.0, 3.0, 1.0, 0.5], 3, weights=x)[0] ** 2,
    ),
    "interp": (ROW, lambda x: H.interp(x, [-3.0, -1.0, 0.3, 2.0], [1.0, 4.0, 2.0, 0.0]) ** 2),
    "interp-values": (ROW, lambda x: H.interp([-1.0, 0.5, 2.2, 9.0], list(range(7)), x) ** 2),
    "interp-places": (
        np.array([0.0, 1.1, 2.3, 3.2]),
        lambda x: H.interp([0.5, 1.3, 3.0], x, [1.0, 4.0, 2.0, 0.0]) ** 2,
    ),
    "gradient": (X, lambda x: H.gradient(x, 2.0, COORDINATES, edge_order=2)[1] ** 2),
    "gradient-steps": (COORDINATES, lambda x: H.gradient(OTHER4, x)),
    "trapezoid": (X, lambda x: H.trapezoid(x**2, COORDINATES)),
    "trapezoid-places": (ROW, lambda x: H.trapezoid(ROW**2, x)),
    "ediff1d": (X, lambda x: H.ediff1d(x, to_end=[1.0]) ** 2),
    "unwrap": (ROW, lambda x: H.unwrap(x, period=1.0) ** 2),
    "cross": (X[:, :3], lambda x: H.cross(x, OTHER) * x),
    "convolve": (ROW, lambda x: H.convolve(x, OTHER) ** 2),
    "convolve-same": (ROW, lambda x: H.convolve(OTHER, x, "same") ** 2),
    "correlate": (ROW, lambda x: H.correlate(x, x[:3])),
    "inner": (X, lambda x: H.inner(x, x)),
    "vdot": (X, lambda x: H.vdot(x, x)),
    "polyval": (ROW[:3], lambda x: H.polyval(x, x)),
    "polymul": (ROW, lambda x: H.polymul(x, [1.0, 2.0]) ** 2),
    "polyint": (ROW, lambda x: H.polyint(H.polyder(x) ** 2)),
    "polyfit": (ROW, lambda x: H.polyfit(ROW**2, x**2, 2)),
    "polyfit-places": (ROW, lambda x: H.polyfit(x, np.arange(7.0), 2)),
    "polyfit-weights": (ROW, lambda x: H.polyfit(ROW**2, ROW, 1, w=x**2 + 1)),
    "vander": (ROW, lambda x: H.vander(x, 4)),
    "nan_to_num": (ROW, lambda x: H.nan_to_num(x) ** 2),
    "apply_along_axis": (X, lambda x: H.apply_along_axis(lambda v: v**2, 0, x)),
    "trim_zeros": (ROW, lambda x: H.trim_zeros(x) ** 2),
}
OTHER4 = hybrid.tensor(draw(4))


def finite(function, x, weights, step=1e-6):
    """Slopes of the weighted sum of the results."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        ends = []
        for shift in (step, -step):
            moved = x.copy()
            moved[place] += shift
            ends.append(float((function(hybrid.tensor(moved)) * weights).sum()))
        found[place] = (ends[0] - ends[1]) / (2 * step)
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes(name):
    x, function = FUNCTIONS[name]
    out = function(hybrid.tensor(x))
    weights = hybrid.tensor(np.asarray(draw(*out.shape)))

    def slope(t):
        return hybrid.grad(lambda u: (function(u) * weights).sum())(t)

    first = slope(hybrid.tensor(x))
    np.testing.assert_allclose(first.numpy(), finite(function, x, weights), rtol=2e-6, atol=2e-6)
    outer = hybrid.tensor(draw(*x.shape))
    second = hybrid.grad(lambda t: (slope(t) * outer).sum())(hybrid.tensor(x))
    want = finite(slope, x, outer, 1e-5)
    np.testing.assert_allclose(second.numpy(), want, rtol=2e-5, atol=2e-5)


def slopes(function, *values):
    return hybrid.grad(lambda t: function(t).sum())(hybrid.tensor(values)).tolist()


def test_slopes_of_nan_and_ties():
    assert slopes(hybrid.nansum, 1.0, NAN, 2.0) == [1.0, 0.0, 1.0]
    assert slopes(hybrid.nanmean, 1.0, NAN, 2.0) == [0.5, 0.0, 0.5]
    assert slopes(hybrid.nanmax, 2.0, NAN, 2.0) == [0.5, 0.0, 0.5]
    assert slopes(hybrid.nanmax, NAN, NAN) == [0.0, 0.0]
    assert slopes(hybrid.nanmedian, 3.0, NAN, 1.0) == [0.5, 0.0, 0.5]
    assert slopes(hybrid.nan_to_num, 1.0, NAN, float("inf")) == [1.0, 0.0, 0.0]
    assert slopes(lambda t: hybrid.nanvar(t), 1.0, NAN, 3.0) == [-1.0, 0.0, 1.0]
    line = [0.0, 1.0, 3.0], [0.0, 2.0, 0.0]  # a point belongs to the segment behind it
    assert slopes(lambda t: hybrid.interp(t, *line), -1.0, 0.0, 1.0, 3.0, 4.0) == [0, 2, -1, -1, 0]
    assert sum(slopes(hybrid.median, 2.0, 2.0, 2.0)) == 1.0


MODES = [name for name in FUNCTIONS if name.startswith(("uni", "set", "inter", "quan", "nanquan"))]


@pytest.mark.parametrize("name", MODES)
def test_forward_mode_and_replays_of_selected_values(name):
    x, function = FUNCTIONS[name]
    x, tangent = hybrid.tensor(x), hybrid.tensor(draw(*x.shape))
    pushed = hybrid.jvp(function, (x,), (tangent,))[1]
    slope = hybrid.grad(lambda t: function(t).sum())
    np.testing.assert_allclose(pushed.sum().item(), (slope(x) * tangent).sum().item(), rtol=1e-12)
    assert hybrid.compare(slope, x).same_bits


def test_equal_values_give_their_gradient_to_the_first():
    assert slopes(hybrid.unique, 3.0, 1.0, 3.0, NAN, NAN) == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert slopes(hybrid.unique_values, 3.0, 3.0, NAN, NAN) == [1.0, 0.0, 1.0, 1.0]
    values = hybrid.tensor([1.0, 1.0, 2.0, NAN])
    assert slopes(lambda t: hybrid.union1d(t, values), 2.0, NAN, 2.0) == [1.0, 1.0, 0.0]
    assert slopes(lambda t: hybrid.union1d(values, t), 2.0, NAN, 5.0) == [0.0, 0.0, 1.0]


def test_shares_at_elements_and_beyond_the_ends():
    x = hybrid.tensor([4.0, 1.0, 3.0, 2.0, 9.0], dtype="float64")
    assert slopes(lambda q: hybrid.quantile(x, q), 0.0, 0.75, 1.0) == [4.0, 20.0, 0.0]
    assert slopes(lambda q: hybrid.quantile(x, q, method="weibull"), 0.05, 0.99) == [0.0, 0.0]
