"""Reductions and row functions against NumPy: axes, dtypes, empty, 0-d, special values."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid.core import dtypes as dt

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4, 5)).astype(np.float32)
AXES = [None, 0, 1, 2, -1, (0, 2), (0, 1), (1, 2), (2, 0), (0, 1, 2), ()]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_axes(axis, keepdims) -> None:
    x = hybrid.tensor(X)
    for name in ("sum", "prod", "mean", "max", "min", "all", "any", "var", "std"):
        if axis == () and name in ("var", "std"):
            continue
        got = getattr(hybrid, name)(x, axis=axis, keepdims=keepdims)
        want = getattr(np, name)(X.astype(np.float64), axis=axis, keepdims=keepdims)
        assert got.shape == want.shape, name
        np.testing.assert_allclose(np.asarray(got), want, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_positions(axis) -> None:
    y = np.round(X * 2)
    for name in ("argmax", "argmin"):
        got = getattr(hybrid, name)(hybrid.tensor(y), axis=axis)
        assert got.dtype is dt.int64
        np.testing.assert_array_equal(np.asarray(got), getattr(np, name)(y, axis=axis))
    kept = hybrid.argmax(hybrid.tensor(y), axis=axis, keepdims=True)
    assert kept.shape == np.argmax(y, axis=axis, keepdims=True).shape


def test_integer_sums_widen_and_wrap_in_int64() -> None:
    x = hybrid.tensor(np.full((300,), 127, np.int8))
    assert x.sum().dtype is dt.int64 and x.sum().item() == 300 * 127
    assert hybrid.tensor(np.array([True, True, False])).sum().item() == 2
    u = hybrid.tensor(np.full((3,), 255, np.uint8)).sum()
    assert u.dtype is dt.uint64 and u.item() == 765
    assert x.sum(dtype="int32").dtype is dt.int32
    assert x.mean().dtype is dt.float32 and x.mean().item() == 127.0


def test_half_sums_round_once() -> None:
    """4096 + many small numbers: float16 partial sums would stay at 4096."""
    x = np.full((64, 64), 0.25, np.float16)
    x[0, 0] = 4096
    want = np.float16(x.astype(np.float64).sum())
    for axes in (None, (0, 1)):
        assert hybrid.sum(hybrid.tensor(x), axis=axes).item() == want
    three = np.stack([x, x, x], 1)
    got = hybrid.sum(hybrid.tensor(three), axis=(0, 2))
    np.testing.assert_array_equal(np.asarray(got), np.full(3, want))


@pytest.mark.parametrize("d", [d for d in dt.ALL if not dt.is_inexact(d)], ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_integer_and_bool_reductions_are_exact(d, axis) -> None:
    x = (
        np.abs(X * 20).astype(d)
        if dt.kind(d) == "u"
        else (X * 20).astype(d)
        if d is not dt.bool_
        else X > 0
    )
    for name in ("sum", "prod", "max", "min", "argmax", "argmin", "all", "any", "count_nonzero"):
        got, want = (
            np.asarray(getattr(hybrid, name)(hybrid.tensor(x), axis=axis)),
            getattr(np, name)(x, axis=axis),
        )
        np.testing.assert_array_equal(got, want, err_msg=name)
        assert got.dtype == np.asarray(want).dtype, name
    if axis is None:
        with pytest.raises(TypeError, match="bool"):
            hybrid.sum(hybrid.tensor(x), dtype="bool")


def test_dtype_argument() -> None:
    x = hybrid.tensor(X)
    assert x.sum(dtype="float64").dtype is dt.float64
    np.testing.assert_allclose(
        x.sum(dtype="float64").item(), X.astype(np.float64).sum(), rtol=1e-14
    )
    assert (
        x.sum(dtype="float16").dtype is dt.float16 and x.mean(dtype="float64").dtype is dt.float64
    )


def test_empty_and_zero_dimensional() -> None:
    e = hybrid.zeros(0, 3)
    assert e.sum().item() == 0 and e.prod().item() == 1 and e.all().item() and not e.any().item()
    assert np.isnan(e.mean().item())
    assert e.sum(axis=1).shape == (0,) and e.max(axis=1).shape == (0,)
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError, match=name):
            getattr(hybrid, name)(e, axis=0)
    s = hybrid.tensor(2.5)
    for name in ("sum", "prod", "mean", "max", "min"):
        got = getattr(hybrid, name)(s)
        assert got.shape == () and got.item() == 2.5, name
    assert hybrid.argmax(s).item() == 0 and hybrid.all(s).item() is True
    assert (
        hybrid.logsumexp(s).item() == 2.5
        and hybrid.var(s).item() == 0
        and hybrid.softmax(s).item() == 1
    )


def test_special_values() -> None:
    nan, inf = np.nan, np.inf
    x = np.array([[1, nan, 3], [inf, 1, -inf], [-0.0, 0.0, -0.0], [-inf, -inf, -inf]], np.float32)
    t = hybrid.tensor(x)
    np.testing.assert_array_equal(np.asarray(t.max(axis=1)), [nan, inf, 0, -inf])
    np.testing.assert_array_equal(np.asarray(t.argmax(axis=1)), [1, 0, 0, 0])
    np.testing.assert_array_equal(np.asarray(t.sum(axis=1)), [nan, nan, 0, -inf])
    assert not np.signbit(np.asarray(t.max(axis=1))[2]) and np.signbit(np.asarray(t.min(axis=1))[2])
    assert np.signbit(np.asarray(hybrid.tensor(np.array([-0.0, -0.0], np.float32)).sum()))
    np.testing.assert_array_equal(
        np.asarray(hybrid.logsumexp(t, 1)), [nan, inf, np.float32(np.log(3)), -inf]
    )
    np.testing.assert_array_equal(np.asarray(hybrid.softmax(t, 1))[3], [nan] * 3)
    low = hybrid.tensor(np.array([-inf, 0, 0], np.float32))
    np.testing.assert_array_equal(np.asarray(hybrid.softmax(low)), [0, 0.5, 0.5])
    big = hybrid.softmax(hybrid.tensor(np.array([1000.0, 1000.0], np.float32)))
    np.testing.assert_array_equal(np.asarray(big), [0.5, 0.5])


@pytest.mark.parametrize("d", ["float32", "float64", "float16"])
def test_softmax_of_other_axes(d) -> None:
    x = (RNG.normal(size=(7, 33, 2)) * 50).astype(d)
    for axis in (0, 1):
        for name in ("softmax", "log_softmax"):
            got = np.asarray(getattr(hybrid, name)(hybrid.tensor(x), axis))
            want = np.asarray(
                getattr(hybrid, name)(hybrid.tensor(np.moveaxis(x, axis, -1).copy()), -1)
            )
            assert got.dtype == np.dtype(d)
            np.testing.assert_allclose(
                np.moveaxis(got, axis, -1).astype(float),
                want.astype(float),
                rtol=4 * float(np.finfo(d).eps),
                atol=5e-7,
            )
    low = hybrid.tensor(np.array([[-np.inf, -np.inf], [0, -np.inf]], np.float32))
    np.testing.assert_array_equal(np.asarray(hybrid.softmax(low, 0)), [[0, np.nan], [1, np.nan]])
    assert hybrid.softmax(hybrid.zeros(0, 3), 0).shape == (0, 3)


def test_max_gradient_is_shared_by_ties() -> None:
    x = hybrid.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], requires_grad=True)
    x.max(axis=1).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), [[0, 0.5, 0.5], [1 / 3] * 3])


def test_product_gradient_at_zeros() -> None:
    x = hybrid.tensor([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]], requires_grad=True)
    x.prod(axis=1).sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), [[0, 6, 0], [0, 0, 0]])


@pytest.mark.parametrize("ord", [2, 1, 0, 3.0, np.inf, -np.inf])
def test_norm(ord) -> None:
    got = hybrid.norm(hybrid.tensor(X), axis=1, ord=ord)
    np.testing.assert_allclose(
        np.asarray(got), np.linalg.norm(X.astype(np.float64), ord=ord, axis=1), rtol=1e-5
    )


def test_cumulative() -> None:
    x = hybrid.tensor(np.array([[1, 2, 3], [4, 5, 6]], np.int8))
    got = hybrid.cumulative_sum(x, 1)
    assert got.dtype is dt.int64
    np.testing.assert_array_equal(np.asarray(got), [[1, 3, 6], [4, 9, 15]])
    np.testing.assert_array_equal(
        np.asarray(hybrid.cumulative_prod(x, 0)), [[1, 2, 3], [4, 10, 18]]
    )
    with pytest.raises(ValueError):
        hybrid.cumulative_sum(x)


def test_sorting_and_searching() -> None:
    x = np.array([[3, np.nan, 1, 3], [-0.0, 0.0, -1, 2]], np.float32)
    t = hybrid.tensor(x)
    np.testing.assert_array_equal(np.asarray(hybrid.sort(t)), np.sort(x))
    np.testing.assert_array_equal(np.asarray(hybrid.argsort(t)), np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(np.asarray(hybrid.argsort(t, descending=True))[0], [1, 0, 3, 2])
    top = hybrid.topk(hybrid.tensor(x[1]), 2)
    np.testing.assert_array_equal(np.asarray(top.values), [2, 0])
    edges = hybrid.tensor([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        np.asarray(hybrid.searchsorted(edges, hybrid.tensor([2.0, 0.0, 9.0]), side="right")),
        [2, 0, 3],
    )
    u = hybrid.unique_all(hybrid.tensor([3, 1, 3]))
    assert [np.asarray(v).tolist() for v in u] == [[1, 3], [1, 0], [1, 0, 1], [1, 2]]


def test_diff_and_isin() -> None:
    x = np.array([[1, 4, 9, 16], [0, 0, 5, 5]])
    for n in (0, 1, 2, 5):
        np.testing.assert_array_equal(
            np.asarray(hybrid.diff(hybrid.tensor(x), n=n)), np.diff(x, n=n)
        )
    np.testing.assert_array_equal(
        np.asarray(hybrid.diff(hybrid.tensor(x), axis=0, prepend=hybrid.tensor(x[:1]))),
        np.diff(x, axis=0, prepend=x[:1]),
    )
    np.testing.assert_array_equal(np.asarray(hybrid.diff(hybrid.tensor(x > 4))), np.diff(x > 4))
    np.testing.assert_array_equal(
        np.asarray(hybrid.isin(hybrid.tensor(x), hybrid.tensor([[0, 9]]))), np.isin(x, [0, 9])
    )
    np.testing.assert_array_equal(
        np.asarray(hybrid.isin(hybrid.tensor(x), [], invert=True)), np.ones_like(x, bool)
    )


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "nansum", "nanprod", "nanmean"])
@pytest.mark.parametrize("wanted", ["complex64", "complex128"])
def test_reductions_of_real_numbers_to_complex_ones(name, wanted) -> None:
    function = getattr(hybrid, name)
    for dtype in ("int64", "bool", "uint8", "float32", "float16", "bfloat16"):
        x = hybrid.tensor([[1, 0, 1], [1, 1, 1]], dtype=dtype)
        array = np.array([[1, 0, 1], [1, 1, 1]])
        for axis in (None, 0, (0, 1), ()):
            traced = hybrid.function(lambda x, axis=axis: function(x, axis=axis, dtype=wanted))
            want = getattr(np, name)(array, axis=axis, dtype=wanted)
            for got in (function(x, axis=axis, dtype=wanted), *[traced(x) for _ in range(3)]):
                assert got.dtype.name == wanted
                np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
