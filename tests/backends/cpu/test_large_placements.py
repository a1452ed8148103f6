"""Placements that are kernels on all threads: every byte as NumPy puts it, for any number of operands
and width of elements, contiguous or not."""

import numpy as np
import pytest

import hybrid as hb

SIZE = 400_000  # of a result: beyond what NumPy's copies do
TYPES = ["bool", "int8", "int16", "float16", "float32", "int32", "float64", "int64", "complex64"]


def values(dtype, *shape, seed=0):
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    made = (raw[..., 0] < 128) if dtype == "bool" else raw.view(dtype)[..., 0]
    return np.ascontiguousarray(made)


def same(tensor, array):
    found = tensor.numpy()
    assert found.dtype == array.dtype and found.shape == array.shape
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 9])
@pytest.mark.parametrize("dtype", TYPES)
def test_stacks_and_joins(dtype, count):
    rows = SIZE // count + 3
    arrays = [values(dtype, rows, seed=k) for k in range(count)]
    tensors = [hb.tensor(array) for array in arrays]
    same(hb.stack(tensors, -1), np.stack(arrays, -1))
    same(hb.stack(tensors), np.stack(arrays))
    same(hb.concat(tensors), np.concatenate(arrays))


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_operands_of_any_strides(dtype):
    left, right = values(dtype, 500, 602), values(dtype, 602, 500, seed=1)
    x, y = hb.tensor(left), hb.tensor(right)
    same(hb.stack([x[:, ::2], y.T[:, 1::2]], -1), np.stack([left[:, ::2], right.T[:, 1::2]], -1))
    same(hb.concat([x[::-1], y.T], 1), np.concatenate([left[::-1], right.T], 1))
    line = x[0].expand(500, 602)
    wide = np.broadcast_to(left[0], (500, 602))
    same(hb.stack([line, y.T], -1), np.stack([wide, right.T], -1))


def test_padding_and_writes():
    array = values("float32", 300, 401)
    x = hb.tensor(array)
    same(hb.pad(x, ((2, 3), (0, 5))), np.pad(array, ((2, 3), (0, 5))))
    changed = array.copy()
    changed[5:200:3, 7:] = 1.5
    x[5:200:3, 7:] = 1.5
    same(x, changed)


@pytest.mark.parametrize("times", [2, 3, 8, 9])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_repeats(times, axis):
    array = values("int32", 300, 301)
    same(hb.repeat(hb.tensor(array), times, axis), np.repeat(array, times, axis))
    small = array[:2, :3]
    same(hb.repeat(hb.tensor(small), times, axis), np.repeat(small, times, axis))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_parts_of_complex_numbers(dtype):
    rng = np.random.default_rng(0)
    array = (rng.standard_normal(60_000) + 1j * rng.standard_normal(60_000)).astype(dtype)
    x = hb.tensor(array)
    same(hb.conj(x), np.conj(array))
    same(x + x, array + array)
    same(hb.tril(x.reshape(200, 300)), np.tril(array.reshape(200, 300)))
