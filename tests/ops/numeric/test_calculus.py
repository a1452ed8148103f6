"""Interpolation, differences, integrals, phases, cross products and applied functions, against
NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric_calls import INF, NAN, RNG, agrees, call, draw, quiet

import hybrid
from hybrid.core.errors import ArgumentError

F = draw(4, 5, 6)
XP, FP = np.array([0, 1, 2, 3.5, 5]), draw(5)
XS = np.concatenate([RNG.uniform(-1, 6, 30), [0, 1, 2, 5, NAN, INF, -INF]])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_interp(dtype):
    x, xp, fp = XS.astype(dtype), XP.astype(dtype), FP.astype(dtype)
    agrees(call("interp", x, xp, fp))
    agrees(call("interp", x, xp, fp, -7.0, 9.0))
    agrees(call("interp", x, xp, fp, left=1.0))
    agrees(call("interp", x[:30].reshape(5, 6), xp, fp, period=4.0), 1e-5)
    agrees(call("interp", x[:30], RNG.permutation(xp), fp, period=-3), 1e-5)
    agrees(call("interp", x, xp[:1], fp[:1]))
    agrees(call("interp", np.array(2.0, dtype), xp[:1], fp[:1]))
    agrees(call("interp", x, xp, np.array([1, INF, INF, -INF, 2], dtype)))
    agrees(call("interp", x, np.array([0, 1, 1, 5], dtype), fp[:4]))


def test_interp_of_integers_and_halves():
    agrees(call("interp", np.arange(5), np.array([1, 3]), np.array([10, 20])))
    agrees(call("interp", 2, [1, 3], [10, 20]))
    half = hybrid.interp(hybrid.tensor([0.5], dtype="float16"), [0.0, 1.0], [0.0, 3.0])
    assert half.dtype is hybrid.float16 and half.tolist() == [1.5]


@pytest.mark.parametrize("order", [1, 2])
def test_gradient(order):
    for more in ({}, {"axis": 1}, {"axis": (0, 2)}, {"axis": -1}):
        agrees(call("gradient", F, edge_order=order, **more))
        agrees(call("gradient", F, 0.3, edge_order=order, **more))
    steps = np.sort(RNG.random(5)), np.sort(RNG.random(6))
    agrees(call("gradient", F, 1.0, *steps, edge_order=order))
    agrees(call("gradient", F, np.array([0, 1, 4, 9.0]), axis=0, edge_order=order))
    agrees(call("gradient", F, 2.0, np.arange(6.0) ** 2, axis=(0, 2), edge_order=order))
    agrees(call("gradient", np.arange(6) ** 2, edge_order=order))
    agrees(call("gradient", F[0].astype("float32"), 2, edge_order=order), 1e-5)
    agrees(call("gradient", F[0, 0], np.array([9.0, 7, 4, 2, 1, 0]), edge_order=order))
    agrees(call("gradient", F[0, 0, : order + 1], edge_order=order))


def test_differences_of_elements():
    for x in (np.array([1, 2, 4, 7]), F.astype("float32"), np.array([3]), np.zeros(0)):
        agrees(call("ediff1d", x))
        agrees(call("ediff1d", x, to_end=5, to_begin=[1, 2]))
    agrees(call("ediff1d", np.array([1, 2], "int8"), np.array([[3, 4]], "int8")))


def test_trapezoid():
    for axis in (0, 1, -1):
        size = F.shape[axis]
        agrees(call("trapezoid", F, axis=axis))
        agrees(call("trapezoid", F, dx=0.5, axis=axis))
        agrees(call("trapezoid", F, np.sort(RNG.random(size)), axis=axis))
        agrees(call("trapezoid", F, np.sort(RNG.random(F.shape), axis=axis), axis=axis))
    agrees(call("trapezoid", np.arange(5)))
    agrees(call("trapezoid", F[:, :, :1]))
    agrees(call("trapezoid", F[:, :, :0]))


def test_unwrap():
    phases = np.cumsum(RNG.uniform(-4, 4, 40)) % 6.28
    for p in (phases, RNG.integers(0, 20, 30)):
        for more in ({}, {"period": 5}, {"period": 6}, {"discont": 4.0}, {"period": 4.5}):
            agrees(call("unwrap", p, **more), 1e-5 * (p.dtype != np.float64))
    agrees(call("unwrap", F, axis=1))
    agrees(call("unwrap", np.array([0, np.pi, 0, -np.pi, 2 * np.pi])))
    agrees(call("unwrap", np.zeros((2, 0))))


def test_cross():
    with quiet():  # NumPy is about to take vectors of size 3 only
        sizes = (3,) if np.lib.NumpyVersion(np.__version__) >= "2.5.0" else (2, 3)
        for n in sizes:
            for m in sizes:
                agrees(call("cross", draw(4, n), draw(4, m)))
                agrees(call("cross", draw(4, n), draw(m)))
    agrees(call("cross", draw(3, 4, 5), draw(3, 4, 5), axis=0))
    agrees(call("cross", draw(3, 4), draw(4, 3), axisa=0, axisc=0))
    agrees(call("cross", RNG.integers(0, 9, (5, 3)), RNG.integers(0, 9, (5, 3))))
    left, right = draw(3, 4), draw(2, 3, 1)
    got = hybrid.linalg.cross(hybrid.tensor(left), hybrid.tensor(right), axis=-2)
    want = np.linalg.cross(
        np.broadcast_to(left, (2, 3, 4)), np.broadcast_to(right, (2, 3, 4)), axis=-2
    )
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)


def test_functions_along_axes():
    for axis in (0, 1, -1):
        for found in (lambda v: v.sum(), lambda v: v * 2, lambda v: v[:2].reshape(2, 1)):
            agrees(call("apply_along_axis", found, axis, F))
    agrees(call("apply_along_axis", lambda v: v.sum(), 0, np.zeros((0, 2))))
    agrees(call("apply_along_axis", lambda v, k, plus: v[k] + plus, 1, F, 2, plus=3.0))
    for axes in (0, [0, 2], -1):
        got = hybrid.apply_over_axes(hybrid.sum, hybrid.tensor(F), axes)
        np.testing.assert_allclose(got.numpy(), np.apply_over_axes(np.sum, F, axes))


def test_zeros_at_the_ends():
    square = np.array([[0, 0, 0], [0, 1, 0], [0, 2, 0]])
    for x in (np.array([0, 0, 1, 2, 0, 3, 0]), np.zeros(3), square, np.array([])):
        for trim in ("fb", "f", "b", "B"):
            agrees(call("trim_zeros", x, trim))
            agrees(call("trim_zeros", x, trim, axis=-1))


ERRORS = [
    (hybrid.ShapeError, lambda x: hybrid.interp(x, [], [])),
    (hybrid.ShapeError, lambda x: hybrid.interp(x, [1.0, 2.0], [1.0])),
    (ArgumentError, lambda x: hybrid.interp(x, [1.0, 2.0], [1.0, 2.0], period=0)),
    (hybrid.ShapeError, lambda x: hybrid.gradient(x[:1])),
    (hybrid.ShapeError, lambda x: hybrid.gradient(x[:2], edge_order=2)),
    (hybrid.ShapeError, lambda x: hybrid.gradient(x, [1.0, 2.0])),
    (ArgumentError, lambda x: hybrid.gradient(x, 1.0, 2.0)),
    (ArgumentError, lambda x: hybrid.gradient(x, edge_order=3)),
    (hybrid.ShapeError, lambda x: hybrid.gradient(x, axis=(0, 0))),
    (hybrid.DTypeError, lambda x: hybrid.ediff1d([1, 2], to_end=1.5)),
    (hybrid.DTypeError, lambda x: hybrid.ediff1d(x > 0)),
    (hybrid.ShapeError, lambda x: hybrid.trapezoid(x, [1.0, 2.0])),
    (hybrid.ShapeError, lambda x: hybrid.cross(x, hybrid.zeros(4))),
    (hybrid.ShapeError, lambda x: hybrid.cross(x, 1.0)),
    (hybrid.ShapeError, lambda x: hybrid.linalg.cross(x[:2], x[:2])),
    (hybrid.ShapeError, lambda x: hybrid.apply_along_axis(hybrid.sum, 0, hybrid.zeros(2, 0))),
    (
        hybrid.ShapeError,
        lambda x: hybrid.apply_over_axes(lambda t, a: t.sum(), hybrid.ones(2, 2), 0),
    ),
    (ArgumentError, lambda x: hybrid.trim_zeros(x, "x")),
]


@pytest.mark.parametrize("n", range(len(ERRORS)))
def test_errors(n):
    error, wrong = ERRORS[n]
    with pytest.raises(error):
        wrong(hybrid.tensor([1.0, 2.0, 3.0]))
