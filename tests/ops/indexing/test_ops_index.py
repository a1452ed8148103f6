"""Indexing against NumPy: reads, functional writes, ranges, gradients of repeated indices."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 4, 5)).astype(np.float32)
A = np.array
S = slice
KEYS = [
    0,
    -1,
    S(1, 3),
    S(None, None, -1),
    (S(None), 1),
    (Ellipsis, 2),
    (None, S(None), 0),
    (S(None), S(None, None, -2)),
    ...,
    (),
    (1, 2, 3),
    (S(3, 1),),
    S(5, 9),
    (S(None), S(-2, None), None),
    (None, Ellipsis, None),
    A([0, 2]),
    A([[0, 1], [2, 0]]),
    (S(None), A([0, 3])),
    (S(None), S(None), A([0, 3, -3])),
    (A([0, 1]), S(None), A([1, 2])),
    (0, S(None), A([1, 2])),
    (0, A([1, 2])),
    (A([1, 2]), 0),
    (Ellipsis, A([1, 2]), 0),
    (None, A([0, 1])),
    (A([0, 1]), None, A([2, 3])),
    (S(1, None), A([2, 0]), S(0, 5, 2)),
    (A([0, 1]), A([1, 2]), A([3, 4])),
    A([], np.int64),
    A(1),
    (S(None), A([[0], [1]]), A([2, 3, 4])),
    A([2, 1], np.uint8),
    [0, 1],
    X[:, 0, 0] > 0,
    X > 0,
    (S(None), X[0, :, 0] > 0),
    (S(1, None), X[0, :, 0] > 0, A([0])),
    (A([True, False, True]), A([1, 2])),
]


def tensors(key):
    if isinstance(key, tuple):
        return tuple(hybrid.tensor(k) if isinstance(k, np.ndarray) else k for k in key)
    return hybrid.tensor(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("n", range(len(KEYS)))
def test_getitem_and_setitem(n) -> None:
    key = KEYS[n]
    want = X[key]
    for k in (key, tensors(key)):
        got = np.asarray(hybrid.tensor(X)[k])
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)
    value = RNG.normal(size=want.shape).astype(np.float32)
    for v in (value, 2.5, value[..., :1] if value.ndim and value.shape[-1] else value):
        want_set = X.copy()
        want_set[key] = v
        t = hybrid.tensor(X)
        t[tensors(key)] = hybrid.tensor(v) if isinstance(v, np.ndarray) else v
        np.testing.assert_array_equal(np.asarray(t), want_set, err_msg=str(key))


@pytest.mark.parametrize("n", range(len(KEYS)))
def test_gradients(n) -> None:
    """d sum(w * x[key]) / dx adds w up at every place that was read."""
    key = KEYS[n]
    picked = np.arange(X.size).reshape(X.shape)[key]
    w = RNG.normal(size=picked.shape).astype(np.float32)
    t = hybrid.tensor(X, requires_grad=True)
    (t[tensors(key)] * hybrid.tensor(w)).sum().backward()
    want = np.zeros(X.size)
    np.add.at(want, picked.ravel(), w.ravel())
    np.testing.assert_allclose(np.asarray(t.grad), want.reshape(X.shape), rtol=1e-5, atol=1e-6)


def test_setitem_gradients_and_last_write() -> None:
    x, v = (
        hybrid.tensor(X[0, 0], requires_grad=True),
        hybrid.tensor([1.0, 2.0, 3.0], requires_grad=True),
    )
    out = hybrid.setitem(x * 1, hybrid.tensor([1, 3, 1]), v)
    want = X[0, 0].copy()
    want[[3, 1]] = [2, 3]
    np.testing.assert_array_equal(np.asarray(out), want)
    (out * hybrid.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), [1, 0, 3, 0, 5])
    np.testing.assert_array_equal(np.asarray(v.grad), [0, 4, 2])


@pytest.mark.parametrize(
    "key",
    [
        3,
        -4,
        (0, 4),
        A([0, 3]),
        A([-4]),
        (S(None), A([[4]])),
        A([2**63], np.uint64),
        (0, 0, 0, 0),
        A([True, False]),
    ],
    ids=str,
)
def test_out_of_range(key) -> None:
    with pytest.raises(IndexError):
        hybrid.tensor(X)[tensors(key)]
    with pytest.raises(IndexError):
        hybrid.setitem(hybrid.tensor(X), tensors(key), 1.0)


def test_messages_name_axis_and_size() -> None:
    with pytest.raises(hybrid.IndexOutOfRange, match=r"axis 1 has size 4, so indices are -4\.\.3"):
        hybrid.take(hybrid.tensor(X), [0, 4], 1)
    with pytest.raises(hybrid.IndexOutOfRange, match=r"axis 0 has size 3, so indices are 0\.\.2"):
        hybrid.embedding(hybrid.tensor(X[:, :, 0]), [-1])
    with pytest.raises(
        hybrid.IndexOutOfRange, match="index 7 is out of range for axis 2 of size 5"
    ):
        hybrid.tensor(X)[0, 0, 7]
    with pytest.raises(TypeError, match="integers"):
        hybrid.take(hybrid.tensor(X), [0.5], 0)
    with pytest.raises(ValueError, match="cannot be written"):
        hybrid.setitem(hybrid.tensor(X), 0, hybrid.zeros(3, 3))


def test_take_family() -> None:
    t = hybrid.tensor(X)
    np.testing.assert_array_equal(
        np.asarray(hybrid.take(t, [[0, -1], [2, 2]], 1)), X.take([[0, -1], [2, 2]], 1)
    )
    np.testing.assert_array_equal(np.asarray(hybrid.take(t, [59, 0])), X.take([59, 0]))
    i = np.argsort(X, 1)
    np.testing.assert_array_equal(
        np.asarray(hybrid.take_along_axis(t, hybrid.tensor(i), 1)), np.take_along_axis(X, i, 1)
    )
    one = i[:, :1, :1]
    np.testing.assert_array_equal(
        np.asarray(hybrid.take_along_axis(t, hybrid.tensor(one), 1)), np.take_along_axis(X, one, 1)
    )
    want = X.copy()
    np.put_along_axis(want, i[:, :2], 9.0, 1)
    written = t.clone()
    assert hybrid.put_along_axis(written, hybrid.tensor(i[:, :2]), 9.0, 1) is None
    np.testing.assert_array_equal(np.asarray(written), want)
    got = hybrid.index_add(t, 1, [0, 0, 3], hybrid.ones(3, 3, 5))
    want = X.copy()
    np.add.at(want, (S(None), A([0, 0, 3])), 1)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6)
    for a, b in zip(hybrid.nonzero(hybrid.tensor(X > 0)), np.nonzero(X > 0)):
        np.testing.assert_array_equal(np.asarray(a), b)
    np.testing.assert_array_equal(
        np.asarray(hybrid.masked_select(t, hybrid.tensor(X > 0))), X[X > 0]
    )


@pytest.mark.parametrize("d", ["float16", "bfloat16", "int8", "bool"])
def test_other_dtypes(d) -> None:
    t = hybrid.tensor(np.abs(X)).astype(d)
    x = np.asarray(t)
    np.testing.assert_array_equal(np.asarray(t[hybrid.tensor([2, 0])]), x[[2, 0]])
    t[hybrid.tensor([1])] = t[hybrid.tensor([0])]
    np.testing.assert_array_equal(np.asarray(t)[1], x[0])


def test_embedding_gradient_accumulates_half_types_in_float32() -> None:
    w = hybrid.zeros(2, 1, dtype="float16", requires_grad=True)
    out = hybrid.embedding(w, np.zeros(4096, np.int64))
    (out * 1.0).sum().backward()
    assert w.grad.tolist() == [[4096.0], [0.0]]
