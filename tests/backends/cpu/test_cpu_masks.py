"""Kernels of masks against NumPy: every width of elements, shares of true ones, sizes around groups
and blocks, both widths of registers, and counts that say more than there is room for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hybrid as hb
from hybrid.backends.cpu import kernels
from hybrid.backends.cpu.order import values as sorting
from hybrid.backends.cpu.order.values import Registers
from hybrid.backends.cpu.python.caller import make_caller
from hybrid.backends.plan import HostStep
from hybrid.core.aval import aval
from hybrid.ir.algorithm import MASK_BLOCK, TrueCounts, TrueElements, TruePlaces, TrueReplaced
from hybrid.ir.door.bind import bind
from hybrid.ir.op import OPS

WIDTHS = [Registers(32, False), Registers(64, False), Registers(64, True)]
WIDTHS = [w for w in WIDTHS if w.size <= sorting.registers().size]
WIDTHS = [w for w in WIDTHS if not w.narrow or sorting.registers().narrow]
SHAPES = [(0,), (1,), (63,), (64,), (65,), (200,), (MASK_BLOCK,), (MASK_BLOCK + 1,), (9001,)]
SHAPES += [(3, 5), (0, 4), (70, 130), (5, 6, 7), (2, 3, 1, 900)]
DTYPES = ["bool", "int8", "uint16", "int32", "float32", "int64", "float64"]
SHARES = (0.0, 0.02, 0.5, 0.98, 1.0)


@pytest.fixture(params=WIDTHS, ids=str)
def width(request, monkeypatch):
    monkeypatch.setattr(sorting, "registers", lambda: request.param)
    return request.param


def run(algorithm: Any, shape: tuple[int, ...], dtype: Any, *arrays: np.ndarray) -> np.ndarray:
    """What the native kernels of an algorithm give; memory behind the result stays as it is."""
    avals = [aval(a.shape, a.dtype) for a in arrays] + [aval(shape, np.dtype(dtype))]
    inputs, count = tuple(range(len(arrays))), len(arrays)
    step = HostStep(None, inputs, (count,), algorithm, tuple(avals))
    steps, _ = kernels.steps([step], count + 1)
    made = np.dtype(dtype).itemsize * int(np.prod(shape))
    memory = np.full(made + 512, 0xA5, np.uint8)
    result = memory[:made].view(dtype).reshape(shape)
    call = make_caller(steps, count + 1, result=count)
    assert call(*arrays, result) is result
    assert (memory[made:] == 0xA5).all()
    return result


def counts_of(mask: np.ndarray) -> np.ndarray:
    return run(TrueCounts(), (-(-mask.size // MASK_BLOCK) + 1,), np.int64, mask)


def values_of(rng: Any, dtype: str, shape: Any) -> np.ndarray:
    """Any bits, NaN and signed zeros among them."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    size = np.dtype(dtype).itemsize
    made = rng.integers(0, 256, (*np.atleast_1d(shape), size), np.uint8).view(dtype)
    return np.ascontiguousarray(made.reshape(shape))


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and left.tobytes() == np.ascontiguousarray(right).tobytes()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", SHARES)
def test_counts_and_places(shape, share, width):
    rng = np.random.default_rng(len(shape))
    mask = rng.random(shape) < share
    counts = counts_of(mask)
    ahead = [int(mask.reshape(-1)[:end].sum()) for end in range(0, mask.size, MASK_BLOCK)]
    assert counts.tolist() == [*ahead, int(mask.sum())]
    count = int(mask.sum())
    assert same(run(TruePlaces(), (count,), np.int64, mask, counts), np.flatnonzero(mask))
    for axis, column in enumerate(np.nonzero(mask)):
        found = run(TruePlaces((axis,)), (count,), np.int64, mask, counts)
        assert same(found, column)
    if mask.ndim > 1:
        every = TruePlaces(tuple(range(mask.ndim)))
        found = run(every, (count, mask.ndim), np.int64, mask, counts)
        assert same(found, np.argwhere(mask))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", SHARES)
def test_elements_taken_and_replaced(dtype, share, width):
    rng = np.random.default_rng(5)
    for shape in SHAPES:
        mask = rng.random(shape) < share
        given, counts, count = values_of(rng, dtype, shape), counts_of(mask), int(mask.sum())
        taken = run(TrueElements(), (count,), given.dtype, given, mask, counts)
        assert same(taken, given[mask])
        values = values_of(rng, dtype, (count,))
        want = given.copy()
        want[mask] = values
        found = run(TrueReplaced(), shape, given.dtype, values, mask, counts, given)
        assert same(found, want)
        want = np.zeros_like(given)
        want[mask] = values
        assert same(run(TrueReplaced(), shape, given.dtype, values, mask, counts), want)


def test_coordinates_of_long_axes_are_exact(width):
    """Quotients of numbers beside multiples of their divisor."""
    for extent in (3, 7, 49, 641, 65537):
        rows = -(-140000 // extent)
        mask = np.zeros((rows, extent), np.bool_)
        mask[:, [0, -1]] = True
        counts = counts_of(mask)
        found = run(TruePlaces((0, 1)), (int(mask.sum()), 2), np.int64, mask, counts)
        assert same(found, np.argwhere(mask))


def test_a_result_that_is_too_short_keeps_what_is_behind_it(width):
    """Blocks whose elements have no place are not written: a mask that changed under a plan."""
    mask = np.ones(3 * MASK_BLOCK, np.bool_)
    counts, given = counts_of(mask), np.arange(mask.size, dtype=np.int32)
    for shape in (0, 5, MASK_BLOCK, 2 * MASK_BLOCK + 1):
        found = run(TrueElements(), (shape,), np.int32, given, mask, counts)
        whole = shape // MASK_BLOCK * MASK_BLOCK
        assert (found[:whole] == given[:whole]).all()
        run(TruePlaces((0,)), (shape,), np.int64, mask, counts)
        run(TruePlaces(), (shape,), np.int64, mask, counts)


def test_truths_of_other_bytes(width):
    """A byte of a mask that is neither 0 nor 1 is true."""
    mask = np.arange(300, dtype=np.uint8).view(np.bool_)
    truth = mask.view(np.uint8) != 0
    assert counts_of(mask)[-1] == truth.sum()
    count = int(truth.sum())
    found = run(TruePlaces(), (count,), np.int64, mask, counts_of(mask))
    assert same(found, np.flatnonzero(truth))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 3 * MASK_BLOCK), st.floats(0, 1), st.sampled_from(DTYPES), st.integers(0, 9))
def test_any_mask(size, share, dtype, seed):
    rng = np.random.default_rng(seed)
    runs = np.repeat(rng.random(size // 7 + 1) < share, 7)[:size]  # groups that are all alike
    for mask in (rng.random(size) < share, runs):
        given, counts, count = values_of(rng, dtype, size), counts_of(mask), int(mask.sum())
        assert same(run(TrueElements(), (count,), given.dtype, given, mask, counts), given[mask])
        assert same(run(TruePlaces(), (count,), np.int64, mask, counts), np.flatnonzero(mask))


def test_threads_give_equal_bits():
    rng = np.random.default_rng(3)
    given, mask = rng.standard_normal((700, 301)), rng.random((700, 301)) < 0.4
    x, chosen = hb.tensor(given), hb.tensor(mask)
    values = hb.tensor(rng.standard_normal(int(mask.sum())))
    want = given.copy()
    want[mask] = values.numpy()
    for threads in (1, 2, 4):
        with hb.num_threads(threads):
            assert same(x[chosen].numpy(), given[mask])
            assert same(hb.argwhere(chosen).numpy(), np.argwhere(mask))
            assert same(hb.setitem(x, chosen, values).numpy(), want)
            assert same(hb.nonzero(x.T > 0.5)[1].numpy(), np.nonzero(given.T > 0.5)[1])


@pytest.mark.parametrize("size", [1, 70, 5000, 20_000])
def test_counts_of_another_mask_lead_nowhere_else(size):
    """Whatever the counts say, nothing outside of the result is written, nor read."""
    draw = np.random.default_rng(size)
    mask = hb.tensor(draw.random(size) < 0.5)
    values = hb.tensor(draw.random(size).astype(np.float32))
    blocks = -(-size // MASK_BLOCK)
    for wrong in (0, 1, -1, -(1 << 40), 1 << 40, size):
        counts = hb.tensor(np.full(blocks + 1, wrong, np.int64))
        for count in (0, 1, size // 2):
            for axes, gaps in ((None, False), ((0,), False), (None, True)):
                params = {"axes": axes, "gaps": gaps, "count": count}
                assert bind(OPS["true_places"], mask, counts, **params).shape[0] == count
            taken = bind(OPS["true_elements"], values, mask, counts, count=count)
            assert taken.shape == (count,)
            spread = bind(OPS["true_spread"], values[:count], mask, counts)
            assert spread.shape == mask.shape
