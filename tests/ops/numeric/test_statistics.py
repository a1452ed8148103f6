"""Medians, quantiles, means, variances and extremes, with and without NaN, against NumPy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numeric_calls import INF, NAN, agrees, call, draw, holed, quiet, spread

import hybrid
from hybrid.core.errors import ArgumentError

DTYPES = ("float64", "float32", "int32", "uint8", "bool")
AXES = {1: (None, 0), 2: (None, 0, -1, (0, 1)), 3: (None, 1, (0, 2), (1, 2))}
METHODS = (
    "inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf hazen weibull "
    "linear median_unbiased normal_unbiased lower higher midpoint nearest"
).split()
REDUCTIONS = "nansum nanprod nanmean nanstd nanvar nanmax nanmin median nanmedian ptp".split()


def samples(dtype):
    for shape in ((7,), (1,), (3, 4), (4, 3, 5)):
        yield draw(*shape, dtype=dtype)
        if dtype.startswith("float") and len(shape) > 1:
            yield holed(*shape, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, dtype):
    for x in samples(dtype):
        if name == "ptp" and dtype == "bool":
            continue
        for axis in AXES[x.ndim]:
            for keepdims in (False, True):
                agrees(call(name, x, axis=axis, keepdims=keepdims), 2e-5 * (x.itemsize < 8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["nancumsum", "nancumprod", "cumsum", "cumprod"])
def test_running(name, dtype):
    for x in samples(dtype):
        for axis in (None, 0, -1):
            agrees(call(name, x, axis), 1e-4)
    agrees(call(name, draw(3, 2, dtype="int8"), 0, dtype="float32"))
    agrees(call(name, np.array(2.0)))
    agrees(call(name, np.zeros((2, 0)), 1))


@pytest.mark.parametrize("name", ["nanargmax", "nanargmin"])
def test_positions(name):
    for x in (draw(7), draw(3, 4, dtype="int32"), np.array([[NAN, 1, 1], [2, NAN, 1]]), [3, 1, 3]):
        for axis in (None, 0, -1):
            agrees(call(name, np.asarray(x), axis))
            agrees(call(name, np.asarray(x), axis, keepdims=True))
    agrees(call(name, np.array([NAN, -INF, INF]), 0))
    with pytest.raises(ArgumentError, match="only NaN along axis 0"):
        getattr(hybrid, name)(hybrid.tensor([[NAN, 1.0], [NAN, 2.0]]), 0)


def test_tails_of_variances():
    x = holed(3, 5)
    for more in ({"ddof": 1}, {"ddof": 2}, {"correction": 1}, {"ddof": 9}):
        agrees(call("nanvar", x, axis=1, **more))
        agrees(call("nanstd", x, axis=1, **more))
    agrees(call("nanmean", x, dtype="float32"), 1e-6)
    for name in ("nanvar", "nanmean", "nansum", "nanmedian", "nanmax"):
        agrees(call(name, np.array([[1.0, INF, NAN], [INF, -INF, NAN]]), axis=1))


def test_masks_and_initial_values():
    for x in (holed(4, 5), draw(4, 5, dtype="float32"), draw(4, 5, dtype="int32")):
        mask = np.random.default_rng(x.itemsize).random((4, 5)) > 0.4
        for axis in (None, 0, (0, 1)):
            for name, start in (("nansum", 2), ("nanprod", 3), ("nanmax", 1), ("nanmin", -1)):
                agrees(call(name, x, axis, initial=start), 1e-5)
                agrees(call(name, x, axis, initial=start, where=mask, keepdims=True), 1e-5)
            agrees(call("nansum", x, axis, where=mask[0]), 1e-5)
            for name in ("nanmean", "nanvar", "nanstd"):
                agrees(call(name, x, axis, where=mask), 1e-5)
        known = np.zeros((1, 5), x.dtype)
        agrees(call("nanvar", x, 0, ddof=1, mean=known), 1e-5)
        agrees(call("nanstd", x, 0, mean=known), 1e-5)
    agrees(call("nansum", draw(3, 4), 0, "float32"), 1e-6)
    agrees(call("cumsum", draw(3, 4, dtype="int8"), 0, "int16"))
    with pytest.raises(ArgumentError, match="initial="):
        hybrid.nanmax(hybrid.ones(3), where=[True, False, True])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
def test_methods_of_quantiles(name, method):
    for x in (draw(8), draw(1), draw(7, dtype="int64"), draw(9, dtype="float32"), holed(4, 3, 5)):
        for axis in AXES[x.ndim]:
            for q in (0.3, 0.0, 1.0, [0.1, 0.5, 0.77]):
                for keepdims in (False, True):
                    row = call(name, x, q, axis=axis, method=method, keepdims=keepdims)
                    agrees(row, 1e-5 * (x.itemsize < 8 or x.dtype.kind == "i"))


def test_quantiles_otherwise():
    x = draw(5, 6)
    agrees(call("quantile", x, np.array([[0.2, 0.9]]), axis=1))
    agrees(call("percentile", x, [5, 50.0, 99], axis=0))
    agrees(call("nanpercentile", holed(5, 6), 30, axis=0))
    agrees(call("quantile", draw(5, dtype="float32"), np.array(0.3)), 1e-5)
    agrees(call("quantile", x.astype(bool), 0.5, method="lower"))
    agrees(call("median", np.zeros((0, 3)), axis=0))
    agrees(call("nanmedian", np.zeros((0, 3)), axis=0))
    agrees(call("nanquantile", np.zeros((0, 3)), 0.5, axis=0))
    for end in ([1.0, INF], [-INF, INF], [INF, INF]):
        for q in (0.0, 0.25, 0.5, 1.0):
            agrees(call("quantile", np.array(end), q))
    big = spread(40, 3)
    agrees(call("quantile", big, np.linspace(0, 1, 20), axis=0))  # more places than are selected


@pytest.mark.parametrize("name", ["quantile", "nanquantile", "percentile", "nanpercentile"])
def test_weighted_quantiles(name):
    scale = 100 if "percent" in name else 1
    for x, axis in ((draw(7), None), (draw(4, 5), 1), (draw(4, 5), 0), (holed(4, 3, 5), (0, 2))):
        weights = np.random.default_rng(x.size).integers(0, 3, x.shape) + 0.25
        weights.reshape(-1)[0] = 0
        for q in (0.3 * scale, [0, 0.5 * scale, scale]):
            more = {"axis": axis, "method": "inverted_cdf", "weights": weights}
            agrees(call(name, x, q, **more))
    if not name.startswith("nan"):  # where NumPy takes no weights of one axis
        agrees(
            call(name, draw(4, 5), 0.3, axis=1, method="inverted_cdf", weights=np.arange(1.0, 6))
        )


@pytest.mark.parametrize("dtype", DTYPES[:-1])
def test_averages(dtype):
    for x in samples(dtype):
        for axis in AXES[x.ndim]:
            weights = np.random.default_rng(x.ndim).random(x.shape).astype("float32")
            near = 1e-5
            agrees(call("average", x, axis, returned=True), near)
            agrees(call("average", x, axis, weights, True, keepdims=True), near)
    agrees(call("average", draw(3, 4), axis=1, weights=np.arange(4)))
    agrees(call("average", draw(3, 4), axis=(0, 1), weights=np.ones((3, 4))))


def test_covariances():
    m, y = draw(3, 6), draw(2, 6)
    often, important = np.array([1, 2, 1, 3, 1, 2]), np.random.default_rng(1).random(6)
    for more in (
        {},
        {"bias": True},
        {"ddof": 3},
        {"fweights": often},
        {"aweights": important},
        {"fweights": often, "aweights": important, "ddof": 0},
        {"fweights": often, "aweights": important},
        {"y": y},
        {"rowvar": False},
        {"ddof": 9},
    ):
        agrees(call("cov", m, **more))
    agrees(call("cov", m[0], m[1], rowvar=False))
    agrees(call("cov", m[0].astype("float32")), 1e-5)
    agrees(call("cov", np.arange(6).reshape(2, 3)))
    agrees(call("cov", np.zeros((0, 4))))
    for args in ((m,), (m, y), (m[0],), (m[0], m[1]), (np.array([[1, 2, 4], [1, 1, 1]]),)):
        agrees(call("corrcoef", *args))


ERRORS = [
    (hybrid.ShapeError, lambda x: hybrid.quantile(hybrid.zeros(0), 0.5)),
    (hybrid.ShapeError, lambda x: hybrid.quantile(hybrid.zeros(0, 3), 0.5, axis=0)),
    (ArgumentError, lambda x: hybrid.quantile(x, 1.5)),
    (ArgumentError, lambda x: hybrid.percentile(x, -1)),
    (ArgumentError, lambda x: hybrid.quantile(x, NAN)),
    (ArgumentError, lambda x: hybrid.quantile(x, "half")),
    (ArgumentError, lambda x: hybrid.quantile(x, 0.5, method="fair")),
    (ArgumentError, lambda x: hybrid.quantile(x, 0.5, weights=[1.0, 1, 1])),
    (hybrid.ShapeError, lambda x: weighted(x, [1.0, 1.0])),
    (ArgumentError, lambda x: weighted(x, [1.0, -1.0, 1.0])),
    (ArgumentError, lambda x: weighted(x, [0.0, 0.0, 0.0])),
    (hybrid.DTypeError, lambda x: hybrid.quantile(x > 0, 0.5)),
    (hybrid.ShapeError, lambda x: hybrid.median(x, 1)),
    (hybrid.ShapeError, lambda x: hybrid.nanmax(hybrid.zeros(0))),
    (hybrid.ShapeError, lambda x: hybrid.average(x, weights=[1.0, 2.0])),
    (ArgumentError, lambda x: hybrid.nanvar(x, ddof=1, correction=1)),
    (hybrid.ShapeError, lambda x: hybrid.cov(hybrid.zeros(2, 2, 2))),
    (hybrid.DTypeError, lambda x: hybrid.cov(x, fweights=[1.0, 2.0, 3.0])),
    (hybrid.ShapeError, lambda x: hybrid.cov(x, aweights=[1.0, 2.0])),
    (ArgumentError, lambda x: hybrid.cov(x, fweights=[1, -2, 3])),
    (ArgumentError, lambda x: hybrid.cov(x, ddof=0.5)),
]


def weighted(x, weights):
    return hybrid.quantile(x, 0.5, method="inverted_cdf", weights=weights)


@pytest.mark.parametrize("n", range(len(ERRORS)))
def test_errors(n):
    error, wrong = ERRORS[n]
    with pytest.raises(error):
        wrong(hybrid.tensor([1.0, 2.0, 3.0]))


def test_strided_and_half_inputs():
    x = draw(6, 8, dtype="float16")
    for name in ("median", "nanmedian", "nanmax", "nanmean", "nanvar"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want = getattr(np, name)(x[::-2, 1::3].astype("float64"), axis=0)
        got = getattr(hybrid, name)(hybrid.tensor(x)[::-2, 1::3], axis=0)
        assert got.dtype.name == "float16"
        np.testing.assert_allclose(got.numpy(), want, rtol=2e-3)
    low = hybrid.median(hybrid.tensor([1.0, 2.0, 4.0], dtype="bfloat16"))
    assert low.dtype is hybrid.bfloat16 and float(low) == 2.0


def test_methods_are_the_functions():
    x = hybrid.tensor([[3.0, 1.0], [2.0, 8.0]])
    assert x.median().item() == 2.5 and x.quantile(0.0).item() == 1.0
    assert x.cumsum().tolist() == [3.0, 4.0, 6.0, 14.0] and x.ptp(0).tolist() == [1.0, 7.0]
    assert x.cumprod(1).tolist() == [[3.0, 3.0], [2.0, 16.0]]


@pytest.mark.parametrize("name", ["quantile", "nanquantile", "percentile", "nanpercentile"])
def test_weights_of_quantiles_are_checked(name):
    function, more = getattr(hybrid, name), {"method": "inverted_cdf"}
    bad = [0, 0, 0], [1, np.nan, 1], [1, np.inf, 1], [1, -1, 1]
    for weights in bad:
        with pytest.raises(ValueError), np.errstate(all="ignore"):
            getattr(np, name)(np.array([1.0, 2.0, 3.0]), 0.5, weights=weights, **more)
        with pytest.raises(ArgumentError, match=r"0 or more|NaN or infinity"):
            function(hybrid.tensor([1.0, 2.0, 3.0]), 0.5, weights=weights, **more)


@pytest.mark.parametrize("name", ["nanquantile", "nanpercentile"])
def test_weights_beside_nan_are_not_asked_for(name):
    ours, numpys, more = getattr(hybrid, name), getattr(np, name), {"method": "inverted_cdf"}
    x = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan], [np.nan] * 3])
    for weights in ([[1, 2, 3]] * 3, [[1, 1, np.nan], [1, np.nan, np.inf], [0, 0, 0]]):
        weights = np.array(weights, float)
        got = ours(hybrid.tensor(x), [0.2, 0.5], axis=1, weights=weights, **more)
        with quiet():
            want = numpys(x, [0.2, 0.5], axis=1, weights=weights, **more)
        np.testing.assert_array_equal(got.numpy(), want)
    with pytest.raises(ArgumentError, match="all are 0"):
        ours(hybrid.tensor(x), 0.5, axis=1, weights=np.array([0.0, 0.0, 9.0]), **more)
    for shape, axis in (((0,), None), ((0, 3), 0), ((0, 3), 1), ((2, 0), None)):
        empty = np.zeros(shape)
        got = ours(hybrid.tensor(empty), 0.5, axis=axis, weights=empty, **more)
        with quiet():
            want = numpys(empty, 0.5, axis=axis, weights=empty, **more)
        np.testing.assert_array_equal(got.numpy(), want)
    with pytest.raises(hybrid.ShapeError, match="there is no element"):
        hybrid.quantile(hybrid.zeros(0), 0.5, weights=hybrid.zeros(0), **more)
