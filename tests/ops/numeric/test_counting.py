"""Histograms, counts and bins, and sets, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric_calls import INF, NAN, RNG, agrees, call, draw, quiet

import hybrid
from hybrid.core.errors import ArgumentError

DTYPES = ("float64", "float32", "int32", "uint8", "bool")
ESTIMATORS = ("auto", "fd", "doane", "scott", "stone", "rice", "sturges", "sqrt")


def ways(shape):
    rng = np.random.default_rng(len(shape))
    return (
        {},
        {"bins": 7},
        {"bins": 5, "range": (-1, 2)},
        {"bins": np.array([-2, 0, 1, 4])},
        {"bins": [0.0, 0.5, 1]},
        {"bins": 4, "density": True},
        {"bins": np.array([-1.0, 0, 3]), "density": True},
        {"bins": 4, "weights": rng.random(shape).astype("float32")},
        {"bins": 4, "weights": rng.integers(0, 9, shape)},
        {
            "bins": 3,
            "weights": rng.random(shape).astype("float32"),
            "density": True,
            "range": (-3, 3),
        },
        {"bins": [1.0]},
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_histograms(dtype):
    for shape in ((0,), (1,), (50,), (6, 7)):
        x = draw(*shape, dtype=dtype)
        for more in ways(shape):
            agrees(call("histogram", x, **more), 1e-6)
            edges = {k: v for k, v in more.items() if k != "density"}
            agrees(call("histogram_bin_edges", x, **edges))


@pytest.mark.parametrize("bins", ESTIMATORS)
def test_estimators(bins):
    for x in (draw(60), draw(40, dtype="float32"), draw(40, dtype="int32"), np.zeros(0)):
        with quiet():  # "stone" warns where it looked for too few bins
            agrees(call("histogram", x, bins))
            agrees(call("histogram", x, bins, range=(-1, 3)))


def test_special_values_of_histograms():
    x = np.array([1, NAN, 2, 3, 3, -5, 9, INF, -INF, 0.0, -0.0])
    for bins in ([1, 2, 3], [-INF, 0.0, INF], [0.0, 0.0, 3.0], np.array([], float)):
        agrees(call("histogram", x, bins))
    weights = np.arange(11.0)
    agrees(call("histogram", x, [1.0, 2.0, 3.0], weights=weights))
    agrees(call("histogram", np.array([2**53, 2**53 + 1]), np.array([2**53, 2**53 + 1, 2**53 + 2])))


def test_histograms_of_points():
    points = draw(60, 3, scale=1.0)
    for more in (
        {"bins": 3},
        {"bins": (2, 3, 4)},
        {"bins": [2, np.array([-1, 0, 1.0]), 3]},
        {"bins": 3, "range": [(-1, 1)] * 3},
        {"bins": 3, "range": [None, (-1, 1), None]},
        {"bins": 2, "density": True},
        {"bins": 2, "weights": RNG.random(60)},
    ):
        agrees(call("histogramdd", points, **more))
    agrees(call("histogramdd", points.astype("float32"), 3))
    agrees(call("histogramdd", points[:, 0], 3))
    agrees(call("histogramdd", [points[:, 0], points[:, 1]], 3), 1e-6)
    for bins in (10, [2, 3], [-1.0, 0.0, 0.5, 1.0], [3, np.array([0.0, 1.0, 2.0])]):
        for density in (None, True):
            agrees(call("histogram2d", points[:, 0], points[:, 1], bins, density=density))


def test_bincount():
    x = RNG.integers(0, 9, 40)
    agrees(call("bincount", x))
    agrees(call("bincount", x.astype("uint8"), minlength=12))
    agrees(call("bincount", x > 3))
    agrees(call("bincount", np.zeros(0, int)))
    agrees(call("bincount", np.zeros(0, int), None, 3))
    for weights in (RNG.random(40), RNG.random(40).astype("float32"), np.arange(40)):
        agrees(call("bincount", x, weights, 12), 1e-6)


@pytest.mark.parametrize("right", [False, True])
def test_digitize(right):
    bins = np.array([-1, 0, 0, 2.5])
    for x in (
        draw(50),
        draw(5, 4, dtype="int32"),
        np.array(0),
        np.array([NAN, INF, -INF, 0.0, -0.0]),
    ):
        for edges in (bins, bins[::-1].copy(), bins[:1], bins[:0], np.array([0, 1, 2])):
            agrees(call("digitize", x, edges, right))
            agrees(call("digitize", x, edges.tolist(), right))
    agrees(call("digitize", np.array([2**60, 2**60 + 1]), np.array([2**60, 2**60 + 1]), right))
    agrees(call("digitize", np.array([True, False]), np.array([False, True]), right))
    many = np.sort(draw(300))
    agrees(call("digitize", np.concatenate([many, draw(100)]), many, right))
    half = hybrid.digitize(hybrid.tensor([0.5, 1.5], dtype="float16"), [0.0, 1.0], right)
    assert half.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["union1d", "intersect1d", "setdiff1d", "setxor1d"])
def test_sets(name):
    left, right = RNG.integers(0, 9, 20), RNG.integers(4, 15, (4, 5))
    agrees(call(name, left, right))
    agrees(call(name, left * 0.5, right * 0.5))
    agrees(call(name, left.astype("float32"), right[:0].astype("float32")))
    agrees(call(name, np.array([NAN, 1, NAN]), np.array([1.0, NAN])))
    if name != "union1d":
        agrees(call(name, np.array([3, 1, 2]), np.array([2, 7, 3]), assume_unique=True))
    half = getattr(hybrid, name)(hybrid.tensor([2.0, 1.0], dtype="bfloat16"), [2.0])
    assert half.dtype is hybrid.bfloat16


def test_positions_of_shared_values():
    left, right = RNG.integers(0, 9, 20), RNG.integers(4, 15, 20)
    agrees(call("intersect1d", left, right, return_indices=True))
    agrees(call("intersect1d", np.array([3, 1]), np.array([1, 5]), True, True))


ERRORS = [
    (hybrid.DTypeError, lambda x: hybrid.bincount(x)),
    (hybrid.ShapeError, lambda x: hybrid.bincount(hybrid.zeros((2, 2), dtype="int64"))),
    (ArgumentError, lambda x: hybrid.bincount([1, -1])),
    (ArgumentError, lambda x: hybrid.bincount([1, -1], weights=[1.0, 2.0])),
    (ArgumentError, lambda x: hybrid.bincount([1], minlength=-1)),
    (hybrid.ShapeError, lambda x: hybrid.bincount([1], weights=[1.0, 2.0])),
    (ArgumentError, lambda x: hybrid.digitize(x, [1.0, 3.0, 2.0])),
    (hybrid.ShapeError, lambda x: hybrid.digitize(x, [[1.0, 3.0]])),
    (ArgumentError, lambda x: hybrid.histogram(x, 0)),
    (ArgumentError, lambda x: hybrid.histogram(x, [2.0, 1.0])),
    (ArgumentError, lambda x: hybrid.histogram(x, "fair")),
    (ArgumentError, lambda x: hybrid.histogram(x, "auto", weights=[1.0, 1, 1])),
    (ArgumentError, lambda x: hybrid.histogram(x, 2.5)),
    (ArgumentError, lambda x: hybrid.histogram(x, range=(2, 1))),
    (ArgumentError, lambda x: hybrid.histogram(x / 0.0)),
    (hybrid.ShapeError, lambda x: hybrid.histogram(x, [[1.0, 2.0]])),
    (hybrid.ShapeError, lambda x: hybrid.histogram(x, weights=[1.0])),
    (ArgumentError, lambda x: hybrid.histogramdd([x, x], [2])),
    (hybrid.ShapeError, lambda x: hybrid.histogramdd(hybrid.zeros(2, 2, 2))),
    (hybrid.ShapeError, lambda x: hybrid.histogram2d(x, x[:2])),
]


@pytest.mark.parametrize("n", range(len(ERRORS)))
def test_errors(n):
    error, wrong = ERRORS[n]
    with pytest.raises(error):
        wrong(hybrid.tensor([1.0, 2.0, 3.0]))


WHOLE = np.array([16777216, 16777217, 3, 5, 3])  # two of which float32 does not tell apart
PARTS = np.array([0.5, 16777216.0, 3.0], "float32")


@pytest.mark.parametrize("pair", [(WHOLE, PARTS), (PARTS, WHOLE), (WHOLE, PARTS[:0])])
def test_sets_tell_integers_apart_beside_floats(pair):
    left, right = (hybrid.tensor(array) for array in pair)
    difference = hybrid.setdiff1d(left, right)
    want = np.setdiff1d(*pair)
    assert difference.numpy().dtype == want.dtype and difference.tolist() == want.tolist()
    assert hybrid.setdiff1d(left, [0.5]).tolist() == np.setdiff1d(pair[0], [0.5]).tolist()
    assert hybrid.intersect1d(left, right).tolist() == np.intersect1d(*pair).tolist()
    for name in ("union1d", "setxor1d"):  # their result is rounded to float32
        want = np.unique(getattr(np, name)(*pair).astype("float32"))
        assert getattr(hybrid, name)(left, right).tolist() == want.tolist(), name


@pytest.mark.parametrize("many", [0, 40])
def test_isin_tells_integers_apart_beside_floats(many):
    parts = np.concatenate([PARTS, np.arange(many, dtype="float32") + 100])
    traced = hybrid.function(hybrid.isin)
    for x, test in ((WHOLE, parts), (parts, WHOLE)):
        for function in (hybrid.isin, traced, traced, traced):
            got = function(hybrid.tensor(x), hybrid.tensor(test))
            assert got.tolist() == np.isin(x, test).tolist()


def test_the_difference_of_sets_keeps_the_dtype_of_the_first():
    for dtype in ("float16", "bfloat16", "uint8", "bool", "complex64"):
        x = hybrid.tensor([1, 0, 1], dtype=dtype)
        assert hybrid.setdiff1d(x, hybrid.tensor([0.0, 0.5])).dtype is x.dtype
    assert hybrid.setdiff1d(hybrid.tensor([200], dtype="uint8"), [1000]).tolist() == [200]


def test_the_order_of_edges_that_are_searched():
    edges, order = np.array([3.0, 1.0, 2.0]), np.array([1, 2, 0])
    traced = hybrid.function(lambda e, s: hybrid.searchsorted(e, [0.5, 1.0, 2.5, 9.0], sorter=s))
    for dtype in ("int64", "int32", "uint8"):
        sorter = hybrid.tensor(order.astype(dtype))
        for _ in range(3):
            got = traced(hybrid.tensor(edges), sorter)
            assert (
                got.tolist() == np.searchsorted(edges, [0.5, 1.0, 2.5, 9.0], sorter=order).tolist()
            )
    x = hybrid.tensor(edges)
    for wrong, error in (
        ([0, 1], hybrid.ShapeError),
        ([0, 1, 2, 0], hybrid.ShapeError),
        ([[0, 1, 2]], hybrid.ShapeError),
        (0, hybrid.ShapeError),
        ([0.0, 1.0, 2.0], hybrid.DTypeError),
        ([True, False, True], hybrid.DTypeError),
        ([0, 1, 3], hybrid.IndexOutOfRange),
        ([0, 1, -1], hybrid.IndexOutOfRange),
    ):
        with pytest.raises(error, match="sorter|out of range"):
            hybrid.searchsorted(x, [2.5], sorter=wrong)
    assert hybrid.searchsorted(hybrid.zeros(0), [1.0], sorter=[]).tolist() == [0]
