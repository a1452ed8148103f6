"""Discrete Fourier transforms: NumPy's values, eager and traced alike, gradients, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hybrid as hb

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(3, 7))
COMPLEX = REAL + 1j * RNG.normal(size=(3, 7))
ONE = [
    ("fft", REAL),
    ("fft", COMPLEX),
    ("ifft", COMPLEX),
    ("rfft", REAL),
    ("irfft", COMPLEX),
    ("hfft", COMPLEX),
    ("ihfft", REAL),
]
MANY = [
    ("fftn", COMPLEX),
    ("ifftn", COMPLEX),
    ("rfftn", REAL),
    ("irfftn", COMPLEX),
    ("fft2", REAL),
    ("ifft2", COMPLEX),
    ("rfft2", REAL),
    ("irfft2", COMPLEX),
]


def near(got: Any, want: np.ndarray) -> None:
    array = np.asarray(got)
    assert array.shape == want.shape and array.dtype == want.dtype
    precise = want.dtype in (np.float64, np.complex128)
    np.testing.assert_allclose(array, want, *([1e-12] * 2 if precise else [1e-5] * 2))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("name, data", ONE)
def test_one_axis_is_numpys(name: str, data: np.ndarray, single: bool) -> None:
    if single:
        data = data.astype("complex64" if data.dtype.kind == "c" else "float32")
    for size in (None, 1, 4, 9, 10):
        for norm in (None, "backward", "ortho", "forward"):
            for axis in (0, -1):
                got = getattr(hb.fft, name)(hb.tensor(data), size, axis, norm)
                near(got, getattr(np.fft, name)(data, size, axis, norm))


@pytest.mark.parametrize("name, data", MANY)
def test_several_axes_are_numpys(name: str, data: np.ndarray) -> None:
    numpys, ours = getattr(np.fft, name), getattr(hb.fft, name)
    for s, axes in ((None, None), ((4, 5), (0, 1)), ((8, 3), (1, 0)), ((5,), (0,)), (None, (1, 0))):
        if "2" in name and axes is None:
            axes = (-2, -1)
        near(ours(hb.tensor(data), s, axes, "ortho"), numpys(data, s, axes, "ortho"))


def test_dtypes() -> None:
    for given, wanted in (
        ("float32", "complex64"),
        ("float64", "complex128"),
        ("int64", "complex64"),
        ("bool", "complex64"),
        ("bfloat16", "complex64"),
    ):
        assert hb.fft.fft(hb.ones(4).astype(given)).dtype.name == wanted
        assert (
            hb.fft.irfft(hb.ones(4).astype(given)).dtype.name
            == hb.real(hb.zeros(1, dtype=wanted)).dtype.name
        )


PROGRAMS = {
    "there and back": lambda x: hb.fft.irfft(hb.fft.rfft(x) * 2j, 7),
    "power": lambda x: abs(hb.fft.fftn(x)) ** 2,
    "convolution": lambda x: hb.fft.ifft(hb.fft.fft(x, 13) * hb.fft.fft(x[::-1], 13)).real,
    "plane": lambda x: hb.fft.irfft2(hb.conj(hb.fft.rfft2(x)), s=(3, 7)),
    "half": lambda x: hb.fft.hfft(hb.fft.ihfft(x, 9), 9),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_traced_and_differentiated(name: str) -> None:
    program = PROGRAMS[name]

    def loss(x: Any) -> Any:
        out = program(x)
        return (out * hb.cos(out)).sum()

    x = hb.tensor(REAL)
    gradient = hb.grad(loss)
    for function in (program, gradient):
        eager, traced = function(x).numpy(), hb.function(function)
        for _ in range(4):
            assert np.array_equal(traced(x).numpy(), eager)
        assert "REPLAY" in traced.explain()
    found, step = gradient(x).numpy(), 1e-6
    for place in ((0, 0), (1, 3), (2, 6)):
        moved = np.zeros_like(REAL)
        moved[place] = step
        up, down = (loss(hb.tensor(REAL + s)).item() for s in (moved, -moved))
        assert found[place] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-5)


def test_gradients_of_complex_signals() -> None:
    def loss(z: Any) -> Any:
        return (abs(hb.fft.ifftn(hb.fft.fft(z, 9) ** 2)) ** 2).sum()

    found, step = hb.grad(loss)(hb.tensor(COMPLEX)).numpy(), 1e-6
    for place in ((0, 1), (2, 4)):
        slope = 0j
        for unit in (1.0, 1j):
            moved = np.zeros_like(COMPLEX)
            moved[place] = step * unit
            up, down = (loss(hb.tensor(COMPLEX + s)).item() for s in (moved, -moved))
            slope += unit * (up - down) / (2 * step)
        assert abs(found[place] - slope) <= 1e-5 * (1 + abs(slope))


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: hb.fft.fft(hb.tensor(1.0)), "at least one dimension"),
        (lambda: hb.fft.fft(hb.ones(3), 0), "at least 1"),
        (lambda: hb.fft.fft(hb.ones(3), norm="no"), "'backward', 'ortho' or 'forward'"),
        (lambda: hb.fft.rfft(hb.ones(3) * 1j), "takes real tensors"),
        (lambda: hb.fft.fft(hb.ones(3), axis=1), "axis"),
        (lambda: hb.fft.fftn(hb.ones(3), (2, 2), (0,)), "2 sizes for 1 axes"),
        (lambda: hb.fft.fft(hb.zeros(0)), "no samples"),
        (lambda: hb.fft.irfft(hb.ones(1)), "at least 1"),
    ],
)
def test_errors(call: Any, error: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError), match=error):
        call()


SEVERAL = ("fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2")


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("axes", [(0, 0), (1, 0), (0, 1, 0), (-1, -1, 0)])
def test_axes_that_are_repeated_and_their_sizes(name, axes):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    traced = hb.function(getattr(hb.fft, name))
    for sizes in (None, (2, 3, 4), (5, 2, 3), (-1, 3, 2), (2, -1, -1)):
        given = None if sizes is None else sizes[: len(axes)]
        want = getattr(np.fft, name)(x, given, axes)
        got = getattr(hb.fft, name)(hb.tensor(x), given, axes)
        np.testing.assert_allclose(got.numpy(), want, atol=1e-5)
        for _ in range(3):
            assert (traced(hb.tensor(x), given, axes) == got).all()
    for sizes in ((0, 2, 2), (2, 0, 2), (-2, 3, 3), (2, -2, 2)):
        with pytest.raises(hb.ArgumentError, match="is no number of samples"):
            getattr(hb.fft, name)(hb.tensor(x), sizes[: len(axes)], axes)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_a_transform_has_at_least_one_sample(name):
    for n in (-2, -1, 0):
        with pytest.raises(ValueError, match=f"{n} is no number of samples"):
            getattr(hb.fft, name)(hb.tensor([1.0, 2.0, 3.0]), n)
