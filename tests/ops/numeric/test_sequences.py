"""Convolutions, polynomials and windows, and comparisons with a tolerance, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric_calls import INF, NAN, RNG, agrees, call, draw, quiet

import hybrid
from hybrid.core.errors import ArgumentError

F = draw(3, 4, 5)
A = np.array([1, 1 + 1e-6, NAN, INF, -INF, 0, 1e-9, 2, INF])
B = np.array([1, 1, NAN, INF, INF, 0, 0, 3, 5.0])


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_products_of_sequences(name, mode):
    for n in (1, 2, 3, 6, 7):
        for m in (1, 2, 3, 6, 7):
            for dtype in ("float64", "float32", "int32", "bool"):
                agrees(call(name, draw(n, dtype=dtype), draw(m, dtype=dtype), mode), 1e-5)
    if name == "convolve":
        agrees(call(name, np.array(2.0), draw(3), mode))
    agrees(call(name, RNG.integers(0, 9, 4).astype("uint8"), RNG.integers(0, 9, 3), mode))
    half = getattr(hybrid, name)(hybrid.tensor([1.0, 2.0], dtype="bfloat16"), [3.0], mode)
    assert half.dtype is hybrid.bfloat16 and half.tolist() == [3.0, 6.0]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_sequences_are_images(mode):
    rows = [(draw(n), draw(m)) for n in (1, 3, 6) for m in (1, 2, 7)]
    for left, right in rows:
        agrees(call("convolve", left, right, mode), 1e-12)


def test_inner_products():
    for other in (F[0], np.array(3.0), F[1, 1], F):
        agrees(call("inner", F, other))
    agrees(call("inner", np.arange(3), np.arange(3)))
    agrees(call("vdot", F, F * 2))


POLYNOMIALS = [np.array([3, 0, 1]), np.array([1.5, -2]), np.array([2])]


def test_polynomials():
    for p in POLYNOMIALS:
        for q in (np.array([1, 2]), np.array([1.0, 0, 2, 3]), np.array([4.0])):
            for name in ("polyadd", "polysub", "polymul", "polyval"):
                agrees(call(name, p, q))
            if p.dtype == q.dtype == np.float64:
                agrees(call("polydiv", p, q))
        agrees(call("polyval", p, np.ones((2, 3))))
        for m in (0, 1, 2, 3):
            agrees(call("polyder", p, m))
            agrees(call("polyint", p, m))
        agrees(call("polyint", p, 2, k=5.0))
        agrees(call("polyint", p, 2, k=[1, 2]))
        agrees(call("poly", p))
    agrees(call("polydiv", np.array([1.0, 2, 1]), np.array([1.0, 1])))
    agrees(call("polydiv", np.array([1.0, 2]), np.array([1.0, 1, 3])))
    agrees(call("polydiv", np.array([1.0, 2, 1, 0, 3]), np.array([2.0, 1, 1])))
    agrees(call("poly", np.zeros(0)))
    agrees(call("polyval", [1, 2], 3))
    agrees(call("polyval", np.array([1.0, 2]), np.array([INF, -INF, NAN])))
    agrees(call("polyval", draw(70, scale=0.1), np.array([0.5, -1.0])))
    agrees(call("polyval", np.zeros(0), np.array([0.5, -1.0])))
    agrees(call("vander", np.array([0.5, -1.0]), 70))


def test_fits():
    x, y, several, w = draw(12), draw(12), draw(12, 3), np.abs(draw(12)) + 0.1
    for values in (y, several):
        for degree in (0, 1, 3):
            for more in (
                {},
                {"w": w},
                {"cov": True},
                {"cov": "unscaled", "w": w},
                {"full": True},
                {"rcond": 0.4},
            ):
                agrees(call("polyfit", x, values, degree, **more), 1e-9)
    agrees(call("polyfit", np.arange(5), np.arange(5) ** 2, 2), 1e-6)
    left = hybrid.polyfit(hybrid.tensor(x), hybrid.tensor(y), 3, 0.4, True)
    with quiet():
        right = np.polyfit(x, y, 3, 0.4, True)
    assert left[1].shape == right[1].shape == (0,) and int(left[2]) == right[2] < 4
    np.testing.assert_allclose(left[3].numpy(), right[3])
    half = hybrid.polyfit(hybrid.tensor([0.0, 1.0], dtype="float16"), [1.0, 3.0], 1)
    assert half.dtype is hybrid.float16 and half.tolist() == [2.0, 1.0]


def test_vander():
    for x in (np.array([1, 2, 3]), np.array([1.5, -2]), np.zeros(0), np.array([1, 2], "uint8")):
        for count in (None, 0, 1, 2, 4):
            for increasing in (False, True):
                agrees(call("vander", x, count, increasing))


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hanning", "kaiser"])
def test_windows(name):
    for count in (-3, 0, 1, 2, 5, 12):
        for beta in (0, 5, 14.0) if name == "kaiser" else (None,):
            args = (count,) if beta is None else (count, beta)
            if count >= 0 or name != "kaiser":
                agrees(call(name, *args))
                got = getattr(hybrid, name)(*args, dtype="float64").numpy()
                np.testing.assert_allclose(got, getattr(np, name)(*args), rtol=1e-13, atol=1e-16)


def test_closeness():
    for more in ({}, {"equal_nan": True}, {"rtol": 0.5, "atol": 0.0}, {"atol": 1.0}):
        agrees(call("isclose", A, B, **more))
        agrees(call("isclose", B.astype("float32"), A.astype("float32"), **more))
        agrees(call("allclose", A, B, **more))
        agrees(call("allclose", B, B, **more))
    agrees(call("isclose", np.array([2**60, 3]), np.array([2**60 + 1, 4])))
    agrees(call("isclose", A, 1.0))
    agrees(call("isclose", A[:, None], B, np.full(9, 1.0), 0.0))
    agrees(call("isclose", np.array([True, False]), True))
    agrees(call("isclose", np.zeros((0, 2)), 0.0))


def test_whole_tensors():
    for more in ({}, {"equal_nan": True}):
        for other in (A.copy(), A[:3], A[None]):
            agrees(call("array_equal", A, other, **more))
        agrees(call("array_equal", A[:2], A[:2], **more))
        agrees(call("array_equal", np.array([1, 2]), np.array([1.0, 2]), **more))
    agrees(call("array_equiv", A[:1], np.ones((2, 3))))
    agrees(call("array_equiv", np.ones(3), np.ones(2)))
    agrees(call("array_equiv", np.ones(3), np.arange(3)))


def test_numbers_for_nan():
    for dtype in ("float64", "float32", "float16"):
        agrees(call("nan_to_num", A.astype(dtype)))
        agrees(call("nan_to_num", A.astype(dtype), nan=3.0, posinf=7.0, neginf=-2.0))
    agrees(call("nan_to_num", A.astype("float32"), nan=np.float64(3.0)))
    agrees(call("nan_to_num", np.arange(3)))
    agrees(call("nan_to_num", np.array([True])))
    agrees(call("nan_to_num", A, True, np.arange(9.0)))
    low = hybrid.nan_to_num(hybrid.tensor([INF, -INF], dtype="bfloat16"))
    largest = float(hybrid.finfo("bfloat16").max)
    assert low.tolist() == [largest, -largest]


ERRORS = [
    (ArgumentError, lambda x: hybrid.convolve(x, x, "half")),
    (hybrid.ShapeError, lambda x: hybrid.convolve(x, [])),
    (hybrid.ShapeError, lambda x: hybrid.correlate(hybrid.ones(2, 2), x)),
    (hybrid.ShapeError, lambda x: hybrid.inner(x, x[:2])),
    (hybrid.ShapeError, lambda x: hybrid.vdot(x, x[:2])),
    (ArgumentError, lambda x: hybrid.polyint(x, -1)),
    (ArgumentError, lambda x: hybrid.polyder(x, -1)),
    (ArgumentError, lambda x: hybrid.polyint(x, 3, [1, 2])),
    (hybrid.ShapeError, lambda x: hybrid.polyadd(hybrid.ones(2, 2), x)),
    (hybrid.ShapeError, lambda x: hybrid.polyval(hybrid.ones(2, 2), x)),
    (hybrid.ShapeError, lambda x: hybrid.poly(hybrid.ones(2, 3))),
    (ArgumentError, lambda x: hybrid.polyfit(x, x, -1)),
    (ArgumentError, lambda x: hybrid.polyfit(x, x, 2, cov=True)),
    (hybrid.ShapeError, lambda x: hybrid.polyfit(x, x[:2], 1)),
    (hybrid.ShapeError, lambda x: hybrid.polyfit(hybrid.ones(2, 2), x, 1)),
    (hybrid.ShapeError, lambda x: hybrid.polyfit(x, x, 1, w=[1.0])),
    (hybrid.ShapeError, lambda x: hybrid.vander(hybrid.ones(2, 2))),
    (ArgumentError, lambda x: hybrid.vander(x, -1)),
    (hybrid.ShapeError, lambda x: hybrid.isclose(x, x[:2])),
]


@pytest.mark.parametrize("n", range(len(ERRORS)))
def test_errors(n):
    error, wrong = ERRORS[n]
    with pytest.raises(error):
        wrong(hybrid.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("name", ["polyadd", "polysub", "polymul"])
def test_leading_zeros_and_no_coefficients(name):
    given = [], [0], [0, 0], [0, 0, 1], [0, 1, 2], [3], [1, 0], [0, 0, 0, 2, 1]
    for left in given:
        for right in given:
            arrays = [np.array(p, int) for p in (left, right)]
            got = getattr(hybrid, name)(*map(hybrid.tensor, arrays))
            assert got.tolist() == getattr(np, name)(*arrays).tolist(), (left, right)


def test_division_by_no_coefficients():
    for left, right in (([], [1.0]), ([1.0], []), ([], [])):
        with pytest.raises(hybrid.ShapeError, match="polydiv takes coefficients"):
            hybrid.polydiv(hybrid.tensor(left), hybrid.tensor(right))


def test_more_derivatives_than_coefficients():
    """The number of steps is that of coefficients."""
    assert hybrid.polyder([1.0, 2.0, 3.0], 2**70).shape == (0,)
