"""Indexing as NumPy does it: reads, writes, their gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hybrid as hb

A = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
MASK = A % 3 == 0
KEYS = [
    0,
    -1,
    1,
    slice(None),
    slice(None, None, -1),
    slice(1, None),
    slice(-1, None, -2),
    slice(5, 9),
    slice(2, 0),
    ...,
    None,
    (),
    (0, 1),
    (0, 1, 2),
    (..., 0),
    (0, ...),
    (slice(None), 1),
    (slice(None), slice(None, None, -1), slice(None, None, 2)),
    (None, 0, None),
    (..., None),
    (slice(None), None, 0),
    (0, ..., None, -1),
    [0, 1],
    [1, 0, 1],
    [-1],
    [],
    ([0, 1], [2, 0]),
    ([0, 1], slice(None), [3, 0]),
    (slice(None), [0, 2]),
    (slice(None), [0, 2], [1, 3]),
    ([[0], [1]], [0, 2]),
    (0, [0, 2]),
    ([0, 1], 0),
    (0, slice(None), [0, 1]),
    (slice(None), 0, [0, 1]),
    ([0, 1], None, 0),
    (None, [0, 1]),
    (..., [0, 1]),
    np.array([1, 0]),
    np.array(1),
    (np.int64(1), np.int8(0)),
    (slice(None, None, -1), [0, 2]),
    MASK,
    MASK[0, 0],
    (slice(None), MASK[0]),
    (0, MASK[0]),
    (MASK[:, 0, 0], [0, 1]),
    (MASK[:, 0, 0],),
    (slice(None), [True, False, True]),
    np.zeros((2, 3), bool),
    np.zeros((0,), np.int64),
    (1, slice(0, 2), slice(3, None, -2)),
    (slice(None), slice(1, 1)),
]


def valid(key):
    try:
        A[key]
    except IndexError:
        return False
    return True


def name(key):
    return str(key).replace("\n", "").replace(" ", "")[:40]


KEYS = [k for k in KEYS if valid(k)]


def as_tensors(key):
    """The key with index arrays as tensors."""
    parts = key if isinstance(key, tuple) else (key,)
    out = tuple(
        hb.tensor(
            p,
            dtype="int64"
            if np.size(p) == 0 and not (isinstance(p, np.ndarray) and p.dtype == bool)
            else None,
        )
        if isinstance(p, (list, np.ndarray))
        else p
        for p in parts
    )
    return out if isinstance(key, tuple) else out[0]


@pytest.mark.parametrize("key", KEYS, ids=name)
def test_reads(key):
    want = A[key]
    for k in (key, as_tensors(key)):
        got = hb.tensor(A)[k]
        assert got.shape == want.shape
        np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("key", KEYS, ids=name)
def test_writes(key):
    for value in (7.0, -np.arange(A[key].size, dtype=np.float32).reshape(A[key].shape)):
        want, x = A.copy(), hb.tensor(A)
        snapshot = x.numpy()
        want[key] = value
        x[key] = value
        np.testing.assert_array_equal(x.numpy(), want)
        np.testing.assert_array_equal(snapshot, A)


@pytest.mark.parametrize("key", KEYS, ids=name)
def test_gradient_of_reads(key):
    x = hb.tensor(A, requires_grad=True)
    w = np.arange(1, A[key].size + 1, dtype=np.float32).reshape(A[key].shape)
    (x[key] * hb.tensor(w)).sum().backward()
    want = np.zeros_like(A)
    np.add.at(want, key, w)
    np.testing.assert_array_equal(x.grad.numpy(), want)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_basic_keys_as_numpy(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    a = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    got = hb.tensor(a)[key]
    np.testing.assert_array_equal(got.numpy(), a[key])
    x, want = hb.tensor(a), a.copy()
    want[key] = -1
    x[key] = -1
    np.testing.assert_array_equal(x.numpy(), want)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_index_arrays_as_numpy(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    key = data.draw(
        hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3))
    )
    a = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(hb.tensor(a)[tuple(hb.tensor(k) for k in key)].numpy(), a[key])
    np.testing.assert_array_equal(hb.tensor(a)[key].numpy(), a[key])


def test_last_write_stays():
    x = hb.zeros(3)
    x[[1, 1, 1]] = hb.tensor([1.0, 2.0, 3.0])
    assert x.tolist() == [0.0, 3.0, 0.0]


def test_writes_broadcast_cast_and_differentiate():
    x = hb.zeros((2, 3), dtype="int32")
    x[:, 1:] = [[1.9], [2.9]]
    assert x.tolist() == [[0, 1, 1], [0, 2, 2]]
    x[0] = hb.tensor([[7, 8, 9]])
    assert x[0].tolist() == [7, 8, 9]
    v = hb.tensor([1.0, 2.0], requires_grad=True)
    b = hb.tensor([1.0, 1.0, 1.0], requires_grad=True)
    y = b * 1
    y[1:] = v * 3
    y.sum().backward()
    assert v.grad.tolist() == [3.0, 3.0] and b.grad.tolist() == [1.0, 0.0, 0.0]
    y = b * 2
    y[hb.tensor([2])] = v[:1]
    b.grad = None
    y.sum().backward()
    assert b.grad.tolist() == [2.0, 2.0, 0.0]


def test_augmented_writes():
    x = hb.tensor([1.0, 2.0, 3.0])
    x[0] += 10
    x[x > 5] *= 2
    x[1:] -= 1
    assert x.tolist() == [22.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "key, error, text",
    [
        (2, IndexError, "out of range"),
        (-3, IndexError, "out of range"),
        ((0, 0, 0, 0), IndexError, "indices"),
        ([0, 5], IndexError, "out of range"),
        ((..., ...), IndexError, "ellipsis"),
        (1.0, TypeError, "integers"),
        ("a", TypeError, "supported|integers"),
        (hb.tensor([1.0]), TypeError, "integers"),
        (np.ones(3, bool), IndexError, "mask"),
        (slice(0.5, 1), TypeError, "integer"),
    ],
)
def test_refused_keys(key, error, text):
    x = hb.tensor(A)
    with pytest.raises(error, match=text):
        x[key]
    with pytest.raises(error):
        x[key] = 0.0
    np.testing.assert_array_equal(x.numpy(), A)


def test_refused_writes():
    x = hb.tensor(A)
    with pytest.raises(hb.ShapeError, match="cannot be written"):
        x[0] = hb.ones((2, 2))
    with pytest.raises(hb.HybridError, match="deleted"):
        del x[0]
    with pytest.raises(IndexError):
        hb.tensor(1.0)[0]
    assert hb.tensor(1.0)[()].item() == 1.0 and hb.tensor(1.0)[None].shape == (1,)


def test_special_values_and_half_types():
    v = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    got = hb.tensor(v)[::-1].numpy()
    np.testing.assert_array_equal(got.view(np.uint32), v[::-1].copy().view(np.uint32))
    h = hb.tensor([1.0, 2.0, 3.0], dtype="bfloat16")
    h[1] = 9
    assert h[[2, 1]].tolist() == [3.0, 9.0] and h.dtype is hb.bfloat16
