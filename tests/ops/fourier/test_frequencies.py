"""Frequencies of transforms and their order, against NumPy; eager against traced."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid

F = hybrid.fft


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
@pytest.mark.parametrize("n", [1, 2, 5, 8, 1001])
def test_frequencies(name, n):
    for d in (1.0, 0.1, 3, -2.5):
        wanted = getattr(np.fft, name)(n, d)
        found = getattr(F, name)(n, d, dtype=hybrid.float64)
        np.testing.assert_array_equal(np.asarray(found), wanted)
        single = getattr(F, name)(n, d=d)
        assert single.dtype is hybrid.float32
        np.testing.assert_array_equal(np.asarray(single), wanted.astype(np.float32))


def test_what_frequencies_refuse():
    for fn in (F.fftfreq, F.rfftfreq):
        with pytest.raises(hybrid.ArgumentError, match="at least 1"):
            fn(0)
        with pytest.raises(hybrid.DTypeError, match="int64"):
            fn(3, dtype=hybrid.int64)


@pytest.mark.parametrize("name", ["fftshift", "ifftshift"])
@pytest.mark.parametrize("shape", [(5,), (4,), (3, 4), (2, 3, 5), (0, 3), (), (1,)])
def test_shifts(name, shape):
    made = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    for axes in [None, (), *range(len(shape)), tuple(range(len(shape)))[:2], -1 if shape else None]:
        found = getattr(F, name)(hybrid.tensor(made), axes)
        if axes != () and shape:  # of no axes NumPy makes an error
            np.testing.assert_array_equal(np.asarray(found), getattr(np.fft, name)(made, axes))
        else:
            np.testing.assert_array_equal(np.asarray(found), made)


def test_a_shift_is_undone_in_both_modes_and_has_a_gradient():
    x = hybrid.tensor(np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32))
    both = hybrid.function(lambda t: F.ifftshift(F.fftshift(t) * F.fftfreq(5)))
    wanted = F.ifftshift(F.fftshift(x) * F.fftfreq(5))
    for _ in range(4):
        assert np.asarray(both(x)).tobytes() == np.asarray(wanted).tobytes()
    slope = hybrid.grad(lambda t: (F.fftshift(t, 1) * hybrid.arange(5)).sum())(x)
    assert slope.tolist() == [[2.0, 3.0, 4.0, 0.0, 1.0]] * 3


def test_an_axis_that_is_not_there():
    with pytest.raises(hybrid.ShapeError):
        F.fftshift(hybrid.ones(3), 1)
