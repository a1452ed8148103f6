"""Positions that sort lines, against NumPy's stable sorts: every dtype, short and long lines, lines
along any axis, all that is special about floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_cases import ORDERED as DTYPES
from record_cases import given_values

import hybrid as hb
from hybrid.backends.cpu.order import positions
from hybrid.ops.indexing.host_sort import plain

SHAPES = [
    ((1,), 0),
    ((7,), 0),
    ((128,), 0),
    ((129,), 0),
    ((1000,), 0),
    ((5, 40), 0),
    ((3, 150, 4), 1),
    ((2, 0), 1),
    ((0, 3), 1),
]


def wanted(values: Any, axis: int, descending: bool) -> np.ndarray:
    array = plain(values.numpy())
    if not descending:
        return np.argsort(array, axis=axis, kind="stable")
    back = np.argsort(np.flip(array, axis), axis=axis, kind="stable")
    return np.flip(array.shape[axis] - 1 - back, axis)


@pytest.mark.parametrize("dtype", DTYPES)
def test_orders_are_stable(dtype):
    rng = np.random.default_rng(len(dtype))
    for shape, axis in SHAPES:
        for descending in (False, True):
            x = given_values(rng, dtype, shape)
            traced = hb.function(lambda x: hb.argsort(x, axis, descending=descending))  # noqa: B023
            want = wanted(x, axis, descending)
            assert (hb.argsort(x, axis, descending=descending).numpy() == want).all(), shape
            for _ in range(3):
                assert (traced(x).numpy() == want).all(), shape
            assert traced.cache_info().replays == 1


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from(DTYPES), st.integers(0, 700), st.integers(1, 4), st.booleans())
def test_any_order(dtype, extent, inner, descending):
    x = given_values(np.random.default_rng(extent * 5 + inner), dtype, (2, extent, inner))
    got = hb.argsort(x, 1, descending=descending).numpy()
    assert (got == wanted(x, 1, descending)).all()


@pytest.mark.parametrize("low", [-(1 << 63), -5, 0, (1 << 63) - 2000])
@pytest.mark.parametrize("width", [2, 1 << 20, (1 << 32) - 1, 1 << 32])
def test_numbers_of_64_bits_in_any_range(low, width):
    """A range of 32 bits is sorted as 32 bits."""
    rng = np.random.default_rng(3)
    high = min(low + width, (1 << 63) - 1)
    values = rng.integers(low, high, 500, np.int64, endpoint=True)
    values[:2] = low, high
    x = hb.tensor(values)
    assert (hb.argsort(x).numpy() == np.argsort(values, kind="stable")).all()


def test_positions_of_more_than_32_bits(monkeypatch):
    """As if lines were that long."""
    monkeypatch.setattr(positions, "_LONG", 129)
    rng = np.random.default_rng(4)
    for dtype in ("uint8", "float16", "int32", "float64"):
        x = given_values(rng, dtype, (130 + len(dtype), 3))
        assert (hb.argsort(x, 0).numpy() == wanted(x, 0, False)).all()


def test_threads_share_the_lines():
    x = given_values(np.random.default_rng(5), "float32", (300, 200))
    want = wanted(x, 1, False)
    for threads in (1, 2, 5):
        with hb.num_threads(threads):
            assert (hb.argsort(x).numpy() == want).all()


def test_what_goes_by_orders_is_native():
    """topk, small sorts, orders by several keys: no step of the plan calls Python."""
    x = given_values(np.random.default_rng(6), "float32", (20, 20))
    for function in (
        lambda x: hb.topk(x, 3),
        lambda x: hb.sort(x, descending=True),
        lambda x: hb.lexsort((x[0], x[1])),
    ):
        traced = hb.function(function)
        for _ in range(3):
            traced(x)
        kinds = {row.kind for row in hb.profile(traced, x)}
        assert kinds & {"order", "sort"} and "host" not in kinds, kinds


@pytest.mark.parametrize("size", [5, 500, 5000])
def test_sorted_values_and_their_gradients(size):
    x = given_values(np.random.default_rng(7), "float32", (size,))
    for descending in (False, True):
        got = hb.sort(x, descending=descending).numpy()
        want = x.numpy()[wanted(x, 0, descending)]
        assert got.view("u4")[want == 0].tolist() == want.view("u4")[want == 0].tolist()
        np.testing.assert_array_equal(got, want)
        weight = hb.arange(float(size))
        gradient = hb.grad(lambda x: (hb.sort(x, descending=descending) * weight).sum())(x)  # noqa: B023
        assert gradient.numpy()[wanted(x, 0, descending)].tolist() == weight.tolist()
