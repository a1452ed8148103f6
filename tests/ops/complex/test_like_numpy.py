"""NumPy's functions with complex operands: values, dtypes, replays, protocols, gradients, refusals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from ops.complex.complex_calls import (
    CALLS,
    GAPS,
    REFUSED,
    U,
    V,
    W,
    X,
    Z,
    in_dtype,
    keywords,
    label,
    leaves,
    split_row,
    tensors,
)
from ops.linalg.linalg_harness import check_gradients

import hybrid as hb

CODE = {"complex128": "complex64", "float64": "float32"}
TRIMMED = "polydiv"  # leading numbers near to 0 go, and what is near depends on the precision


def same_bits(first: Any, second: Any) -> None:
    for a, b in zip(leaves(first), leaves(second), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()


def is_named(given: Any) -> bool:
    """Whether an argument says a dtype."""
    return isinstance(given, (str, np.ndarray))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("row", CALLS, ids=label)
def test_values_are_numpys(row: Any, dtype: str) -> None:
    """Dtypes, too; where operands are single precision, or Python numbers, hybrid stays there."""
    name, args, more = split_row(row)
    args, more = in_dtype(args, dtype), {key: in_dtype(x, dtype) for key, x in more.items()}
    if name == TRIMMED and dtype == "complex64":
        pytest.skip("NumPy's remainder keeps leading zeros")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = leaves(getattr(np, name)(*args, **more))
    found = leaves(getattr(hb, name)(*tensors(args), **keywords(name, more)))
    given = leaves([args, list(more.values())])
    double = any(getattr(x, "dtype", x) in ("complex128", "float64") for x in given if is_named(x))
    for got, want in zip(found, wanted, strict=True):
        got, want = np.asarray(got), np.asarray(want)
        double = double or name == "float_power"
        kind = want.dtype.name if double else CODE.get(want.dtype.name, want.dtype.name)
        assert got.dtype == kind and got.shape == want.shape
        eps = 1e-4 if got.dtype in CODE.values() else 1e-10
        np.testing.assert_allclose(got, want, rtol=eps, atol=eps)


READS = (
    "argwhere nonzero flatnonzero extract compress unique unique_counts unique_inverse union1d "
    "intersect1d setdiff1d setxor1d trim_zeros polydiv polymul real_if_close isrealobj "
    "iscomplexobj cov"
).split()  # data, or give no tensor


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("row", CALLS, ids=label)
def test_replays_have_the_bits_of_eager_calls(row: Any) -> None:
    name, args, more = split_row(row)
    given, named = tensors(args), keywords(name, more)
    wanted = getattr(hb, name)(*given, **named)
    traced = hb.function(lambda xs, ks: getattr(hb, name)(*xs, **ks))
    for _ in range(4):
        same_bits(traced(given, named), wanted)
    if name not in READS and not any(map(callable, args)):
        assert "REPLAY" in traced.explain()


MADE = "linspace logspace geomspace zeros ones full empty eye identity tri arange array".split()
METHODS = "iscomplexobj isrealobj asarray astype".split()


@pytest.mark.parametrize("row", CALLS, ids=label)
def test_numpys_functions_take_complex_tensors(row: Any) -> None:
    name, args, more = split_row(row)
    if name in MADE or name in METHODS:
        pytest.skip("it has no operand, or gives an array")
    given = tensors(args)
    named = {key: tensors(value) for key, value in more.items()}
    found = getattr(np, name)(*given, **named)
    same_bits(found, getattr(hb, name)(*tensors(args), **keywords(name, more)))
    for leaf in leaves(found):
        assert isinstance(leaf, (hb.Tensor, bool, np.bool_))


NAMED = {"fix": "trunc", "arctan2": "atan2", "degrees": "rad2deg", "i0": "i0"}


@pytest.mark.parametrize("row", REFUSED, ids=label)
def test_what_has_an_order_is_refused_by_name(row: Any) -> None:
    name, args, more = split_row(row)
    said = rf"{NAMED.get(name, name)}\b.*(complex|integers)"
    with pytest.raises(hb.DTypeError, match=said):
        getattr(hb, name)(*tensors(args), **more)


# ---- gradients by both parts
def both(fn: Any) -> Any:
    def of_parts(*given: Any) -> tuple[Any, ...]:
        found: list[Any] = []
        for out in leaves(fn(*[a + 1j * b for a, b in zip(given[::2], given[1::2])])):
            whole = str(out.dtype).startswith("complex")
            found += [out.real, out.imag] if whole else [out]
        return tuple(found)

    return of_parts


SLOPES = {
    "cov": (hb.cov, Z[:2]),
    "cov_weighted": (lambda x: hb.cov(x, aweights=[1.0, 2.0, 3.0, 4.0]), Z[:2]),
    "corrcoef": (lambda x: hb.corrcoef(x)[0, 1], Z[:2]),
    "var": (lambda x: hb.var(x, axis=1), Z[:2]),
    "nanvar": (lambda x: hb.nanvar(hb.where(hb.tensor(X) > 5, hb.nan, x)), V),
    "nansum": (lambda x: hb.nansum(hb.where(hb.tensor(X) > 5, hb.nan, x)), V),
    "average": (lambda x, w: hb.average(x, weights=w), U, V[:4]),
    "interp": (lambda x: hb.interp(hb.tensor([0.5, 3.0]), hb.tensor(X), x), V),
    "gradient": (hb.gradient, V),
    "trapezoid": (hb.trapezoid, V),
    "convolve": (hb.convolve, V, U),
    "correlate": (lambda x, y: hb.correlate(x, y, "same"), V, U),
    "polyval": (hb.polyval, U, V),
    "polyfit": (lambda x, y: hb.polyfit(x, y, 2), V, V[::-1].copy()),
    "sinc": (hb.sinc, U / 2),
    "vecdot": (hb.vecdot, Z[:2], W[:2]),
    "vecmat": (hb.vecmat, U, Z.T.copy()),
    "vdot": (hb.vdot, U, V[:4]),
    "kron": (hb.kron, Z[:2], U),
    "tensordot": (lambda x, y: hb.tensordot(x, y, 1), Z[:2], Z.T.copy()),
    "linspace": (lambda x, y: hb.linspace(x, y, 3), U, V[:4]),
    "geomspace": (lambda x, y: hb.geomspace(x, y, 4), U, V[:4]),
    "float_power": (lambda x, y: hb.float_power(x, y), U + 2, V[:4]),
    "sort": (lambda x: hb.sort(x) * hb.tensor(np.arange(4)), U),
}


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_by_both_parts(name: str) -> None:
    fn, *given = SLOPES[name]
    check_gradients(both(fn), *[part.copy() for x in given for part in (x.real, x.imag)])


# ---- what the table does not hold
def test_writes() -> None:
    z = hb.tensor(Z)
    hb.put(z, [0, 5], [1j, 2])
    hb.putmask(z, z.real > 1, 0j)
    hb.fill_diagonal(z, 3 - 1j)
    wanted = Z.copy()
    np.put(wanted, [0, 5], [1j, 2])
    np.putmask(wanted, wanted.real > 1, 0j)
    np.fill_diagonal(wanted, 3 - 1j)
    same_bits(z, wanted)
    real = hb.zeros(3)
    with pytest.raises(hb.DTypeError, match="complex"):
        real[0] = hb.tensor(1j)
    z = hb.tensor(GAPS)
    hb.copyto(z, 1.0)
    assert z.tolist() == [1 + 0j] * 5


def test_axes_of_tensordot_by_position() -> None:
    for axes in (1, 2, ([0, 1], [0, 1]), (0, 0)):
        found = hb.tensordot(hb.tensor(Z), hb.tensor(W.T if axes == 1 else W), axes)
        np.testing.assert_allclose(found.numpy(), np.tensordot(Z, W.T if axes == 1 else W, axes))


def test_ranges_between_tensors() -> None:
    first, last = np.array([0.0, 1.0]), np.array([[2.0, 5.0], [-1.0, 3.0]])
    for axis, endpoint in ((0, True), (-1, False), (1, True)):
        found = hb.linspace(hb.tensor(first), last, 4, endpoint, axis=axis)
        np.testing.assert_allclose(found.numpy(), np.linspace(first, last, 4, endpoint, axis=axis))
    assert hb.linspace([0.0, 1.0], [1, 2], 2).dtype is hb.float32
    assert hb.linspace(1j, 2, 0).shape == (0,)
    for end in (1j, 1.0, hb.ones(2)):
        assert hb.linspace(0, end, 3, requires_grad=True).requires_grad
    with pytest.raises(hb.DTypeError, match="linspace"):
        hb.linspace(0, 1j, 3, dtype="float32")
