"""Distinct values with all that may be asked beside them, against NumPy: dtypes, special floats,
gradients, threads, deferred calls; and long lines in order by both halves of their keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_cases import ORDERED as DTYPES
from record_cases import given_values

import hybrid as hb
from hybrid.core import dtypes as dt
from hybrid.decorator import RunsEagerly
from hybrid.trace.fallback.deferred import CHOICE


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def check(x: hb.Tensor, equal_nan: bool = True) -> None:
    """Every result from the order of the elements."""
    flat = x.numpy().reshape(-1)
    wide = flat.astype(np.float32) if dt.is_half(x.dtype) else flat
    order = np.argsort(wide, kind="stable")
    ranked = wide[order]
    starts = np.ones(ranked.size, np.bool_)
    starts[1:] = ranked[1:] != ranked[:-1]
    if equal_nan and wide.dtype.kind == "f":
        starts[1:] &= ~np.isnan(ranked[:-1])
    number = np.empty(flat.size, np.int64)
    number[order] = np.cumsum(starts) - 1
    counts = np.diff(np.append(np.flatnonzero(starts), flat.size))
    values = flat[order][starts]
    found = hb.unique(x, True, True, True, equal_nan=equal_nan)
    wanted = values, order[starts], number.reshape(x.shape), counts
    for part, want in zip(found, wanted):
        assert part.shape == want.shape and bits(part.numpy()) == bits(want)
    assert bits(hb.unique(x, equal_nan=equal_nan).numpy()) == bits(values)
    assert bits(hb.unique(x, return_inverse=True, equal_nan=equal_nan)[1].numpy()) == bits(number)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_result(dtype):
    rng = np.random.default_rng(len(dtype))
    for shape in [(0,), (1,), (2,), (130,), (20, 33), (4096,), (4097,), (20000,)]:
        x = given_values(rng, dtype, shape)
        for equal_nan in (True, False):
            check(x, equal_nan)
    check(given_values(rng, dtype, (30, 40)).T[::2])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.sampled_from(DTYPES), st.integers(0, 3000), st.booleans())
def test_any_line(dtype, size, equal_nan):
    check(given_values(np.random.default_rng(size), dtype, (size,)), equal_nan)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float64"])
def test_sets_like_numpy(dtype):
    rng = np.random.default_rng(3)
    for left, right in ((0, 0), (0, 5), (5, 0), (1, 1), (30, 7), (30, 70), (500, 900)):
        first = rng.integers(0, 40, left).astype(dtype)
        second = rng.integers(20, 60, right).astype(dtype)
        if dtype.startswith("float"):
            first[: left // 9] = second[: right // 9] = np.nan
        given = hb.tensor(first), hb.tensor(second)
        for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d"):
            found, want = getattr(hb, name)(*given), getattr(np, name)(first, second)
            assert found.dtype == want.dtype, name
            assert np.array_equal(found.numpy(), want, equal_nan=dtype.startswith("f")), name
        found = hb.intersect1d(*given, return_indices=True)
        want = np.intersect1d(first, second, return_indices=True)
        assert all(np.array_equal(a.numpy(), b) for a, b in zip(found, want))
        apart = rng.permutation(np.unique(first))
        found = hb.setdiff1d(hb.tensor(apart), given[1], assume_unique=True).numpy()
        want = np.setdiff1d(apart, second, assume_unique=True)
        assert np.array_equal(found, want, equal_nan=dtype.startswith("f"))


def test_forms_of_the_standard():
    x = hb.tensor([[3.0, np.nan], [-0.0, 3.0], [0.0, np.nan]])
    every = hb.unique_all(x)
    assert np.isnan(every.values.numpy()).sum() == 2
    assert every.indices.tolist() == [2, 0, 1, 5]
    assert every.inverse_indices.tolist() == [[1, 2], [0, 1], [0, 3]]
    assert every.counts.tolist() == [2, 2, 1, 1]
    assert hb.unique_counts(x).counts.tolist() == [2, 2, 1, 1]
    assert hb.unique_inverse(x).inverse_indices.tolist() == every.inverse_indices.tolist()
    assert np.signbit(hb.unique_values(x).numpy()[0])
    assert hb.unique(hb.tensor(4)).tolist() == [4]


def test_gradients_go_to_first_elements():
    x = hb.tensor([3.0, 1.0, 3.0, 2.0], requires_grad=True)
    (hb.unique(x) * hb.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [100.0, 1.0, 0.0, 10.0]


@pytest.mark.parametrize("axis", [0, 1])
def test_long_lines_by_halves_of_their_keys(axis):
    """Upper halves alike for all, for some and for none; along any axis."""
    rng, size = np.random.default_rng(6), 3000
    whole = rng.integers(-(1 << 62), 1 << 62, size)
    near = (np.int64(5) << 40) + rng.integers(0, 1 << 20, size)
    lines = {
        "apart": whole,
        "near each other": near,
        "all upper halves alike but one": np.where(np.arange(size) == 7, -1 << 62, near),
        "few upper halves": (rng.integers(0, 3, size) << 40) + rng.integers(0, 9, size),
        "equal": np.full(size, 1 << 50),
        "doubles": rng.standard_normal(size),
        "doubles beside each other": 1 + rng.integers(0, 99, size) * 2.0**-52,
        "single": rng.standard_normal(size).astype(np.float32).round(1),
        "without sign": whole.astype(np.uint64) << np.uint64(1),
    }
    for name, line in lines.items():
        table = np.stack([line, line[::-1], np.roll(line, 5)], 1 - axis)
        for descending in (False, True):
            found = hb.argsort(hb.tensor(table), axis, descending=descending).numpy()
            want = np.argsort(table, axis, kind="stable")
            if descending:
                back = np.argsort(np.flip(table, axis), axis, kind="stable")
                want = np.flip(size - 1 - back, axis)
            assert (found == want).all(), name


def test_threads_and_deferred_calls_give_equal_bits():
    x = given_values(np.random.default_rng(9), "float32", (300, 200))
    want = [part.numpy() for part in hb.unique(x, True, True, True)]

    def parts(x):
        values, counts = hb.unique(x * 1.0, return_counts=True)
        return values * 2.0, counts, hb.unique_inverse(x).inverse_indices

    for threads in (1, 2, 4):
        with hb.num_threads(threads):
            found = hb.unique(x, True, True, True)
            assert [bits(a.numpy()) for a in found] == [bits(a) for a in want]
    before, CHOICE[0] = CHOICE[0], "always"
    try:
        traced = hb.function(parts)
        with pytest.warns(RunsEagerly):
            for _ in range(6):
                for found, known in zip(traced(x), parts(x)):
                    assert bits(found.numpy()) == bits(known.numpy())
        assert "native" in str(traced.explain())
    finally:
        CHOICE[0] = before
