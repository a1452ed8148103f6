"""Views, joins and creation functions against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid
from hybrid.core import dtypes as dt
from hybrid.ops.axes.views import reshape_strides

RNG = np.random.default_rng(4)
X = RNG.normal(size=(2, 3, 4)).astype(np.float32)


def same(got, want) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got, want)


def test_shape_functions() -> None:
    t = hybrid.tensor(X)
    same(hybrid.reshape(t, (4, -1)), X.reshape(4, -1))
    same(
        hybrid.reshape(hybrid.permute_dims(t, (2, 0, 1)), (8, 3)),
        X.transpose(2, 0, 1).reshape(8, 3),
    )
    same(hybrid.expand_dims(t, (0, -1)), np.expand_dims(X, (0, -1)))
    same(hybrid.squeeze(hybrid.expand_dims(t, 1), 1), X)
    same(hybrid.moveaxis(t, (0, 1), (-1, 0)), np.moveaxis(X, (0, 1), (-1, 0)))
    same(hybrid.swapaxes(t, 0, 2), X.swapaxes(0, 2))
    same(hybrid.flip(t, (0, 2)), np.flip(X, (0, 2)))
    same(hybrid.flip(t), np.flip(X))
    same(hybrid.matrix_transpose(t), X.swapaxes(1, 2))
    same(hybrid.flatten(t, 1), X.reshape(2, 12))
    with pytest.raises(hybrid.ShapeError, match="flatten: axis 1 comes before axis 2"):
        hybrid.flatten(t, 2, 1)
    same(
        hybrid.broadcast_to(hybrid.tensor(X[0, :1]), (5, 3, 4)),
        np.broadcast_to(X[0, :1], (5, 3, 4)),
    )
    same(hybrid.diagonal(t, 1, 0, 2), np.diagonal(X, 1, 0, 2))
    same(hybrid.unfold(t, 2), np.lib.stride_tricks.sliding_window_view(X, (2, 2), (1, 2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda t: hybrid.reshape(t, (5, 5)),
        lambda t: hybrid.reshape(t, (-1, -1)),
        lambda t: hybrid.squeeze(t, 0),
        lambda t: hybrid.permute_dims(t, (0, 0, 1)),
        lambda t: hybrid.broadcast_to(t, (2, 2)),
        lambda t: hybrid.swapaxes(t, 0, 3),
        lambda t: hybrid.concat([t, t[0]]),
        lambda t: hybrid.stack([t, t[0]]),
        lambda t: hybrid.split(t, 3),
        lambda t: hybrid.pad(t, -1),
        lambda t: hybrid.diagonal(t[0, 0]),
    ],
)
def test_wrong_shapes_are_value_errors(call) -> None:
    with pytest.raises(ValueError):
        call(hybrid.tensor(X))


def test_reshape_strides_agree_with_numpy() -> None:
    """Wherever NumPy finds a view, so does the layout, and the other way round."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        dims = rng.integers(1, 4, rng.integers(1, 4))
        base = np.arange(int(np.prod(dims)) * 16)
        step = rng.permutation(len(dims))
        full = (
            np.zeros([int(d) for d in dims[step]] + [2])[..., 0]
            if rng.random() < 0.5
            else np.zeros(dims[step])
        )
        x = full.transpose(np.argsort(step))
        n, new, rest = x.size, [], x.size
        while rest > 1:
            d = int(rng.choice([k for k in range(1, rest + 1) if rest % k == 0]))
            new.append(d)
            rest //= d
        got = reshape_strides(x.shape, tuple(s // 8 for s in x.strides), tuple(new))
        view = x.reshape(new)
        shares = np.shares_memory(view, x)
        assert (got is not None) == shares, (x.shape, x.strides, new)
        if got is not None:
            assert all(a * 8 == b for a, b, d in zip(got, view.strides, new) if d > 1)
        assert n == x.size and base is not None


def test_joining() -> None:
    t, Y = hybrid.tensor(X), X[:, :1] + 1
    same(hybrid.concat([t, hybrid.tensor(Y)], 1), np.concatenate([X, Y], 1))
    same(hybrid.concat([t, t], None), np.concatenate([X, X], None))
    same(
        hybrid.concat([hybrid.tensor([1, 2]), hybrid.tensor([0.5])]),
        np.array([1, 2, 0.5], np.float32),
    )
    same(hybrid.stack([t, t], 1), np.stack([X, X], 1))
    same(hybrid.tile(t, (2, 1, 3)), np.tile(X, (2, 1, 3)))
    same(hybrid.repeat(t, 2, 1), X.repeat(2, 1))
    same(hybrid.repeat(t, 2), X.repeat(2))
    same(hybrid.roll(t, (1, -2), (0, 2)), np.roll(X, (1, -2), (0, 2)))
    same(hybrid.roll(t, 5), np.roll(X, 5))
    for got, want in zip(hybrid.split(t, [3, -2], 2), np.split(X, [3, -2], 2), strict=True):
        same(got, want)
    assert [p.shape for p in hybrid.split(t, 2, 2)] == [(2, 3, 2), (2, 3, 2)]
    assert [p.shape[2] for p in hybrid.chunk(t, 3, 2)] == [2, 2]
    for got, want in zip(hybrid.unstack(t, 1), np.moveaxis(X, 1, 0)):
        same(got, want)
    same(hybrid.vstack([t[0, 0], t[0, 1]]), np.vstack([X[0, 0], X[0, 1]]))
    same(hybrid.hstack([t[0], t[1]]), np.hstack([X[0], X[1]]))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad(mode) -> None:
    for widths in (1, (1, 2), ((0, 0), (2, 1), (0, 3))):
        if (mode == "reflect" and widths == 1) or (np.max(widths) > 1 and mode == "reflect"):
            widths = ((0, 1), (2, 1), (0, 3))
        same(hybrid.pad(hybrid.tensor(X), widths, mode), np.pad(X, widths, mode))
    got = hybrid.pad(hybrid.tensor(X), 1, constant_values=-0.0)
    assert np.signbit(np.asarray(got)[0]).all()
    assert hybrid.pad(hybrid.tensor([1, 2]), 1, constant_values=7).tolist() == [7, 1, 2, 7]


def test_creation() -> None:
    same(hybrid.zeros(2, 3), np.zeros((2, 3), np.float32))
    same(hybrid.ones((2,), dtype="int8"), np.ones(2, np.int8))
    same(hybrid.full((2, 2), 7), np.full((2, 2), 7))
    same(hybrid.full((2,), -0.0), np.array([-0.0, -0.0], np.float32))
    assert (
        np.signbit(np.asarray(hybrid.full((2,), -0.0))).all()
        and not np.signbit(np.asarray(hybrid.full((2,), 0.0))).any()
    )
    assert np.isnan(np.asarray(hybrid.full((), float("nan"))))
    assert hybrid.full((2,), True).dtype is dt.bool_
    same(hybrid.full((2, 2), hybrid.tensor([1.0, 2.0])), np.array([[1, 2], [1, 2]], np.float32))
    same(hybrid.zeros_like(hybrid.tensor(X), dtype="int32"), np.zeros(X.shape, np.int32))
    same(hybrid.eye(3, 4, k=-1), np.eye(3, 4, -1, np.float32))
    same(hybrid.tril(hybrid.tensor(X), 1), np.tril(X, 1))
    same(hybrid.triu(hybrid.tensor(X > 0)), np.triu(X > 0))
    same(
        hybrid.one_hot(hybrid.tensor([2, 0, 5]), 3),
        np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]], np.float32),
    )
    for indexing in ("xy", "ij"):
        for a, b in zip(
            hybrid.meshgrid(hybrid.arange(2), hybrid.arange(3), indexing=indexing),
            np.meshgrid(np.arange(2), np.arange(3), indexing=indexing),
        ):
            same(a, b)
    with pytest.raises(OverflowError):
        hybrid.full((1,), 300, dtype="int8")


@pytest.mark.parametrize(
    "args", [(5,), (2, 9, 3), (9, 2, -3), (3, 3), (5, 0), (0.0, 1.0, 0.1), (1.5, -1.0, -0.25)]
)
def test_arange(args) -> None:
    want = np.arange(*args)
    want = want.astype(np.float32) if want.dtype.kind == "f" else want
    got = np.asarray(hybrid.arange(*args))
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


def test_linspace_ends_are_exact() -> None:
    x = np.asarray(hybrid.linspace(-1, 0.7, 11))
    assert x[0] == -1 and x[-1] == np.float32(0.7)
    np.testing.assert_allclose(x, np.linspace(-1, 0.7, 11), rtol=1e-6)
    np.testing.assert_allclose(
        np.asarray(hybrid.linspace(0, 1, 4, endpoint=False)), np.linspace(0, 1, 4, endpoint=False)
    )
    assert hybrid.linspace(3, 4, 1).tolist() == [3] and hybrid.linspace(3, 4, 0).shape == (0,)
