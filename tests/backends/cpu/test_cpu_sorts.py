"""Sorted values and elements at places of the order, against NumPy's stable sorts: every dtype,
lines along any axis, what is special about floats, both widths of registers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_cases import ORDERED as DTYPES
from record_cases import given_values
from test_cpu_orders import wanted

import hybrid as hb
from hybrid.backends.cpu import kernels
from hybrid.backends.cpu.order import shared, sorts
from hybrid.backends.cpu.order import values as sorting
from hybrid.backends.cpu.order.values import Registers
from hybrid.backends.cpu.python.caller import make_caller
from hybrid.backends.plan import HostStep
from hybrid.core.aval import aval
from hybrid.ir.algorithm import Order, Ranks, Sort, StableParts
from hybrid.ops.arrange.order import _by_sorting

WIDTHS = [Registers(32, False), *({sorting.registers()} - {Registers(32, False)})]


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


def run(algorithm: Any, array: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """What the native kernel of an algorithm gives."""
    avals = aval(array.shape, array.dtype), aval(shape, dtype)
    steps, temp = kernels.steps([HostStep(None, (0,), (1,), algorithm, avals)], 2)
    return make_caller(steps, 1, (avals[1],), temp=temp)(array)


def check_sort(array: np.ndarray, axis: int, descending: bool) -> None:
    got = run(Sort(axis, descending), array, array.shape, array.dtype)
    places = wanted(hb.tensor(array), axis, descending)
    assert (bits(got) == bits(np.take_along_axis(array, places, axis))).all()


@pytest.fixture(params=WIDTHS, ids=str)
def width(request, monkeypatch):
    monkeypatch.setattr(sorting, "registers", lambda: request.param)
    return request.param


@pytest.mark.parametrize("dtype", DTYPES)
def test_sorts_are_stable(dtype, width):
    """Bits of zeros and NaN, too."""
    rng = np.random.default_rng(len(dtype))
    for shape, axis in [((1,), 0), ((9, 13), 1), ((3, 150, 2), 1), ((5000,), 0), ((0, 3), 1)]:
        for descending in (False, True):
            check_sort(given_values(rng, dtype, shape).numpy(), axis, descending)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_and_positions_by_rank(dtype, width):
    rng = np.random.default_rng(len(dtype) + 1)
    for shape in [(1,), (4, 30), (3000,)]:
        array = given_values(rng, dtype, shape).numpy()
        extent = shape[-1]
        for places in [(0,), tuple(sorted({0, extent // 2, extent - 1})), (extent // 3,)]:
            order = wanted(hb.tensor(array), -1, False)[..., list(places)]
            made = (*shape[:-1], len(places))
            got = run(Ranks(places, True), array, made, np.dtype(np.int64))
            assert (got == order).all()
            got = run(Ranks(places, False), array, made, array.dtype)
            assert (bits(got) == bits(np.take_along_axis(array, order, -1))).all()


def patterns(size: int) -> dict[str, np.ndarray]:
    rng, along = np.random.default_rng(2), np.arange(size)
    return {
        "rising": along,
        "falling": along[::-1],
        "equal": np.full(size, 7),
        "most equal": np.where(along % 50, 0, along),
        "saw": along % 17,
        "organ": np.minimum(along, size - along),
        "powers": 1 << (along % 60),
        "greatest": np.where(along % 3, (1 << 63) - 1, -(1 << 63)),
        "killer": np.where(along % 2, along, size + along // 2),
        "outliers": np.where(along % 100, rng.integers(0, 5, size), 1 << 62),
    }


@pytest.mark.parametrize("name", patterns(1))
def test_what_divides_badly(name, width):
    for size in (255, 257, 4000):
        array = patterns(size)[name].astype(np.int64)
        for dtype in (np.int64, np.int32, np.float32):
            check_sort(array.astype(dtype), 0, False)


def test_few_sizes_at_the_edges_of_networks(width):
    rng = np.random.default_rng(8)
    for size in [*range(1, 36), 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513]:
        check_sort(rng.integers(-9, 9, size, np.int32), 0, False)
        check_sort(rng.standard_normal(size), 0, True)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.sampled_from(DTYPES), st.integers(0, 2000), st.integers(1, 3), st.booleans())
def test_any_sort(dtype, extent, inner, descending):
    x = given_values(np.random.default_rng(extent * 5 + inner), dtype, (2, extent, inner))
    got = hb.sort(x, -2, descending=descending).numpy()
    want = np.take_along_axis(x.numpy(), wanted(x, 1, descending), 1)
    assert (bits(got) == bits(want)).all()


@pytest.fixture
def long_from_few(monkeypatch):
    """Lines of some thousand elements, of any width, are sorted by all threads."""
    monkeypatch.setattr(shared, "LONG", 2000)
    monkeypatch.setattr(sorts, "_SLOW", 8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_long_line_by_all_threads(dtype, width, long_from_few):
    rng = np.random.default_rng(len(dtype))
    for size in (2000, 16384, 16385, 50001):
        for descending in (False, True):
            check_sort(given_values(rng, dtype, (size,)).numpy(), 0, descending)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32"])
def test_positions_of_a_long_line_by_all_threads(dtype, width, long_from_few):
    rng = np.random.default_rng(len(dtype))
    for size in (2000, 16384, 16385, 50001):
        for x in (given_values(rng, dtype, (size,)), hb.zeros(size, dtype=dtype)):
            for descending in (False, True):
                got = run(Order(0, descending), x.numpy(), (size,), np.dtype(np.int64))
                assert (got == wanted(x, 0, descending)).all()


@pytest.mark.parametrize("name", patterns(1))
def test_long_lines_with_pivots_that_divide_badly(name, width, long_from_few):
    array = patterns(40000)[name].astype(np.int64)
    for dtype in (np.int64, np.float32):
        check_sort(array.astype(dtype), 0, False)
    special = np.where(np.arange(40000) % 3 == 0, -0.0, array.astype(np.float64))
    special[::7], special[5::11] = np.nan, 0.0
    check_sort(special, 0, False)
    check_sort(special, 0, True)


def test_a_line_that_is_long_by_any_number_of_threads():
    x = given_values(np.random.default_rng(4), "float32", (shared.LONG + 77,))
    want = x.numpy()[wanted(x, 0, False)]
    traced = hb.function(lambda x: hb.sort(x) * 1.0)
    for threads in (1, 2, 4):
        with hb.num_threads(threads):
            assert (bits(hb.sort(x).numpy()) == bits(want)).all()
            assert (hb.argsort(x).numpy() == wanted(x, 0, False)).all()
            for _ in range(3):
                assert (traced(x).numpy() == want)[~np.isnan(want)].all()


def test_strided_values_threads_and_replays():
    x = given_values(np.random.default_rng(5), "float32", (300, 700)).T[::2]
    want = np.take_along_axis(x.numpy(), wanted(x, 1, False), 1)
    traced = hb.function(lambda x: hb.sort(x, 1))
    for threads in (1, 2, 5):
        with hb.num_threads(threads):
            assert (bits(hb.sort(x, 1).numpy()) == bits(want)).all()
            for _ in range(3):
                assert (bits(traced(x).numpy()) == bits(want)).all()
    assert hb.sort(hb.tensor(3.0), None).tolist() == [3.0]


def parted(array: np.ndarray, axis: int, kth: tuple[int, ...]) -> np.ndarray:
    """Positions in stable parts, by the ranks of the elements."""
    moved = np.moveaxis(array, axis, -1)
    lines = moved.reshape(-1, moved.shape[-1])
    made = np.empty(lines.shape, np.int64)
    for line, out in zip(lines, made):
        order = wanted(hb.tensor(line.copy()), 0, False)
        ordered = line[order].astype(np.float64) if line.dtype.kind not in "iub" else line[order]
        group = np.zeros(line.size, np.int64)
        differ = (ordered[1:] != ordered[:-1]) & ~(
            (ordered[1:] != ordered[1:]) & (ordered[:-1] != ordered[:-1])
        )
        group[order[1:]] = np.cumsum(differ)
        part = sum([2 * (group > group[order[k]]) + (group == group[order[k]]) for k in kth])
        out[:] = np.argsort(part, kind="stable")
    return np.moveaxis(made.reshape(moved.shape), -1, axis)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_keep_their_order(dtype, width):
    rng = np.random.default_rng(len(dtype) + 2)
    for shape, axis in [((1,), 0), ((4, 30), 1), ((2, 65, 3), 1), ((900,), 0)]:
        array = given_values(rng, dtype, shape).numpy()
        extent = shape[axis]
        for kth in [(0,), (extent // 2,), tuple(sorted({0, extent // 3, extent - 1}))]:
            want = parted(array, axis, kth)
            got = run(StableParts(axis, kth, True), array, shape, np.dtype(np.int64))
            assert (got == want).all()
            got = run(StableParts(axis, kth, False), array, shape, array.dtype)
            assert (bits(got) == bits(np.take_along_axis(array, want, axis))).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "uint8", "bool"])
def test_parts_are_the_same_where_no_kernel_is(dtype):
    x = given_values(np.random.default_rng(9), dtype, (3, 90))
    for kth in [(4,), (0, 30, 31), tuple(range(0, 90, 9))]:
        want = hb.argpartition(x, kth).numpy()
        assert (_by_sorting(x, 1, kth).numpy() == want).all()
        got = hb.partition(x, kth).numpy()
        assert (bits(got) == bits(np.take_along_axis(x.numpy(), want, 1))).all()
