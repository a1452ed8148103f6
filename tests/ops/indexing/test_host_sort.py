"""Orders, sorted lines and distinct values against NumPy's stable sorts: every dtype, ties, NaN, both
zeros, infinities, lines of any length along any axis."""

import numpy as np
import pytest

import hybrid as hb
from hybrid.ops.indexing.host_sort import distinct, order_of, sorted_lines

SHAPES = [(0,), (1,), (5,), (300,), (1800,), (3, 700), (40, 50), (0, 3), (3, 0), (2, 500, 3)]
TYPES = "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 ?".split()


def floats(rng, shape, dtype):
    x = rng.standard_normal(shape).astype(dtype)
    yield x
    x = np.round(x * 2) * dtype.type(-1)  # ties, both zeros
    yield x
    x = x.copy()
    for value in (np.nan, -np.nan, np.inf, -np.inf, np.finfo(dtype).smallest_subnormal):
        x.flat[rng.integers(0, max(x.size, 1), x.size // 5)] = value
    yield x


def whole(rng, shape, dtype):
    ends = np.iinfo(dtype)
    yield rng.integers(ends.min, ends.max, shape, dtype, endpoint=True)
    yield rng.integers(0, 50, shape).astype(dtype)
    yield rng.integers(ends.max - 1, ends.max, shape, dtype, endpoint=True)


def samples(name):
    rng, dtype = np.random.default_rng(len(name)), np.dtype(name)
    for shape in SHAPES:
        if dtype.kind == "b":
            yield rng.random(shape) < 0.5
        else:
            yield from (floats if dtype.kind == "f" else whole)(rng, shape, dtype)


def stable(x, axis, descending):
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    back = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - back, axis)


def same_bits(a, b):
    """NaN is NaN; zeros have their signs."""
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)
    if a.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(a[a == 0]), np.signbit(b[b == 0]))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", TYPES)
def test_orders_are_stable_ones(name, descending):
    for x in samples(name):
        for axis in range(x.ndim):
            wanted = stable(x, axis, descending)
            found = order_of(x, axis, descending)
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, wanted)
            same_bits(sorted_lines(x, axis, descending), np.take_along_axis(x, wanted, axis))
            turned = np.asfortranarray(x)
            np.testing.assert_array_equal(order_of(turned, axis, descending), wanted)


@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize("name", TYPES)
def test_distinct_values(name, equal_nan):
    for x in samples(name):
        values, first, inverse, counts = np.unique(x, True, True, True, equal_nan=equal_nan)
        order = order_of(x.reshape(-1), 0)
        found = distinct(x.reshape(-1)[order], order, x.shape, (True, True, True), equal_nan)
        np.testing.assert_array_equal(found.values, values)
        np.testing.assert_array_equal(found.counts, counts)
        np.testing.assert_array_equal(found.inverse, inverse.reshape(x.shape))
        np.testing.assert_array_equal(x.ravel()[found.first], values)
        if not (x != x).any():
            np.testing.assert_array_equal(found.first, first)
        ordered = sorted_lines(x.reshape(-1), 0)
        alone = distinct(ordered, None, x.shape, (False, False, True), equal_nan)
        np.testing.assert_array_equal(alone.values, values)
        assert alone.first is None and alone.inverse is None


@pytest.mark.parametrize("size", [7, 5000])
def test_the_gradient_of_sort_goes_to_where_the_elements_were(size):
    x = hb.tensor(np.random.default_rng(0).integers(0, 9, size), dtype="float32")
    x.requires_grad_()
    weights = hb.arange(size, dtype="float32")
    for descending in (False, True):
        (hb.sort(x, descending=descending) * weights).sum().backward()
        wanted = np.zeros(size, np.float32)
        wanted[stable(x.detach().numpy(), 0, descending)] = weights.numpy()
        np.testing.assert_array_equal(x.grad.numpy(), wanted)
        x.grad = None


def test_sets_of_tensors_use_them():
    x = hb.tensor([[3.0, -0.0, hb.nan], [0.0, 3.0, hb.nan]])
    values, first, inverse, counts = hb.unique_all(x)
    assert values.shape == (4,) and counts.tolist() == [2, 2, 1, 1]
    assert first.tolist()[:2] == [1, 0] and inverse.shape == (2, 3)
    assert hb.unique(x).shape == (3,) and hb.unique_counts(x).counts.tolist() == [2, 2, 1, 1]
    assert hb.unique_inverse(x).inverse_indices.tolist() == inverse.tolist()
    half = hb.tensor([3.0, 1.0, 3.0], dtype="bfloat16")
    assert hb.unique_values(half).dtype is hb.bfloat16
    numbers = hb.tensor([1 + 2j, 1 - 2j, 1 + 2j])
    assert hb.unique(numbers, return_counts=True)[1].tolist() == [1, 2]
    assert hb.sort(numbers).tolist() == [1 - 2j, 1 + 2j, 1 + 2j]
