"""Masks and what is not zero, by public functions, against NumPy: dtypes, layouts, masks of leading
axes, writes, gradients, batches, and a size that changes from call to call."""

from __future__ import annotations

import numpy as np
import pytest
from record_cases import ORDERED as DTYPES
from record_cases import given_values

import hybrid as hb
from hybrid.decorator import RunsEagerly
from hybrid.trace.fallback.deferred import CHOICE

SHAPES = [(1,), (0,), (70,), (5000,), (3, 5), (0, 4), (41, 130), (4, 5, 6)]


def same(tensor: hb.Tensor, array: np.ndarray) -> None:
    found = tensor.numpy()
    assert found.shape == array.shape and found.dtype == array.dtype
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("dtype", [*DTYPES, "complex64", "complex128"])
def test_like_numpy(dtype):
    rng = np.random.default_rng(len(dtype))
    for shape in SHAPES:
        if dtype.startswith("complex"):
            x = hb.tensor((rng.standard_normal(shape) + 1j).round().astype(dtype))
        else:
            x = given_values(rng, dtype, shape)
        given, chosen = x.numpy(), rng.random(shape) < 0.4
        mask = hb.tensor(chosen)
        same(x[mask], given[chosen])
        same(x[chosen], given[chosen])
        same(hb.masked_select(x, mask), given[chosen])
        same(hb.extract(mask, x), given[chosen])
        same(x.T[mask.T], given.T[chosen.T])
        same(x[::2][mask[::2]], given[::2][chosen[::2]])
        for found, want in zip(hb.nonzero(x), np.nonzero(given)):
            same(found, want)
        for found, want in zip(hb.where(x.T), np.nonzero(given.T)):
            same(found, want)
        same(hb.argwhere(x), np.argwhere(given))
        same(hb.flatnonzero(x), np.flatnonzero(given))
        values = given.reshape(-1)[::-1][: int(chosen.sum())].copy()
        want = given.copy()
        want[chosen] = values
        same(hb.setitem(x, mask, hb.tensor(values)), want)
        written = hb.tensor(given)
        written[mask] = hb.tensor(values)
        same(written, want)


def test_masks_of_leading_axes_and_beside_other_keys():
    rng = np.random.default_rng(1)
    given = rng.standard_normal((4, 5, 6)).astype(np.float32)
    x = hb.tensor(given)
    for chosen in (rng.random(4) < 0.5, rng.random((4, 5)) < 0.5, np.ones(4, np.bool_)):
        mask = hb.tensor(chosen)
        same(x[mask], given[chosen])
        values = rng.standard_normal(given[chosen].shape).astype(np.float32)
        want = given.copy()
        want[chosen] = values
        same(hb.setitem(x, mask, hb.tensor(values)), want)
    chosen = rng.random(5) < 0.5
    same(x[:, hb.tensor(chosen)], given[:, chosen])
    same(x[1, hb.tensor(chosen), ::2], given[1, chosen, ::2])
    same(hb.compress(hb.tensor(chosen), x, 1), given.compress(chosen, 1))
    same(hb.compress(hb.tensor([True, False]), x, 0), given.compress([True, False], 0))
    for truth in (True, False):
        same(x[hb.tensor(truth)], given[truth])
        same(hb.tensor(5.0)[hb.tensor(truth)], np.array(5.0, np.float32)[np.array(truth)])
    assert hb.argwhere(hb.tensor(3)).shape == (1, 0) and hb.argwhere(hb.tensor(0)).shape == (0, 0)


def test_writes_that_do_not_fit_are_refused():
    x, mask = hb.arange(5.0), hb.tensor([True, False, True, True, False])
    with pytest.raises(hb.ShapeError):
        hb.setitem(x, mask, hb.tensor([1.0, 2.0]))
    with pytest.raises(hb.IndexOutOfRange):
        x[hb.tensor([True, False])]
    same(hb.setitem(x, mask, hb.tensor([[7.0, 8.0, 9.0]])), np.float32([7, 1, 8, 9, 4]))


def test_gradients_go_to_what_was_chosen():
    rng = np.random.default_rng(2)
    given, chosen = rng.standard_normal((9, 20)), rng.random((9, 20)) < 0.5
    x, mask = hb.tensor(given, requires_grad=True), hb.tensor(chosen)
    weights = rng.standard_normal(int(chosen.sum()))
    (x[mask] * hb.tensor(weights)).sum().backward()
    want = np.zeros_like(given)
    want[chosen] = weights
    same(x.grad, want)
    values = hb.tensor(weights, requires_grad=True)
    factors = rng.standard_normal(given.shape)
    base = hb.tensor(given, requires_grad=True)
    (hb.setitem(base, mask, values) * hb.tensor(factors)).sum().backward()
    same(base.grad, np.where(chosen, 0.0, factors))
    same(values.grad, factors[chosen])
    # of a gradient, and the sign of what is -0.0
    second = hb.grad(lambda x: (hb.grad(lambda x: (x[mask] ** 3).sum())(x)).sum())(hb.tensor(given))
    same(second, np.where(chosen, 6 * given, 0.0))
    signed = hb.grad(lambda x: (x[mask] * -0.0).sum())(hb.tensor(given))
    assert not np.signbit(signed.numpy()).any()


def test_rows_of_a_batch():
    rng = np.random.default_rng(3)
    given, chosen = rng.standard_normal((6, 4, 5)), rng.random((4, 5)) < 0.5
    x, mask = hb.tensor(given), hb.tensor(chosen)
    count = int(chosen.sum())
    values = hb.tensor(rng.standard_normal((6, count)))
    same(hb.vmap(lambda row: row[mask])(x), given[:, chosen])
    want = given.copy()
    want[:, chosen] = values.numpy()
    same(hb.vmap(lambda row, new: hb.setitem(row, mask, new))(x, values), want)
    gradients = hb.vmap(hb.grad(lambda row: (row[mask] ** 2).sum()))(x)
    same(gradients, np.where(chosen, 2 * given, 0.0))
    jacobian = hb.jacrev(lambda row: row[mask] * 2.0)(x[0])
    assert (jacobian.numpy().reshape(count, 20)[:, chosen.reshape(-1)] == 2 * np.eye(count)).all()


def test_another_size_in_each_call():
    """One kernel serves them all."""
    x = hb.arange(3000, dtype="float32")
    for size in [0, 1, 7, 63, 64, 65, 500, 2999, 3000]:
        mask = x < size
        same(x[mask], np.arange(size, dtype=np.float32))
        same(hb.flatnonzero(mask), np.arange(size))
        values = np.linspace(0, 1, max(size, 2), dtype=np.float32)[:size]
        if size != 1:
            found = hb.setitem(x, mask, hb.tensor(values)).numpy()
            assert (found[:size] == values).all() and (found[size:] == x.numpy()[size:]).all()


@pytest.fixture
def always():
    before, CHOICE[0] = CHOICE[0], "always"
    yield
    CHOICE[0] = before


def test_deferred_calls_give_equal_bits(always):
    rng = np.random.default_rng(4)

    def plain(x, y):
        mask = (x * 2 + 1 > y) & (y < 1)
        chosen = x[mask]
        rows, columns = hb.nonzero(mask)
        return (hb.tanh(chosen) * 2 + chosen).sum(), rows + columns, hb.setitem(y, mask, chosen)

    def step(x):
        x = x.detach().requires_grad_()
        (x[x > 0] ** 2).sum().backward()
        return x.grad

    for function, count in ((plain, 2), (step, 1)):
        traced = hb.function(function)
        with pytest.warns(RunsEagerly):
            for turn in range(8):
                given = [hb.tensor(rng.standard_normal((30, 50))) for _ in range(count)]
                for found, want in zip(traced(*given), function(*given)):
                    same(found, want.numpy())
                assert turn < 2 or "DEFERRED" in str(traced.explain())
