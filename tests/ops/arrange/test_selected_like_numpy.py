"""Selection, writes in place, partial orders and numberings: beside NumPy's, eager and traced."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_forms import both, plain, same, tensors

import hybrid

F = np.float32
ROW = np.array([3.0, -1.0, np.nan, 0.0, 2.0, -0.0], F)
MATRIX = np.array([[3, 0, 2], [0, -5, 7]])
CUBE = (np.arange(24, dtype=F) % 7 - 3).reshape(2, 3, 4)
FLAGS = np.array([True, False, True, True, False, False])
WHICH = np.array([[0, 1, 1], [1, 0, 1]])
BYTES = np.array([[161, 7, 255], [0, 128, 1]], np.uint8)

CALLS = [
    (lambda xp, x: (xp.where(x), xp.where(x > 0)), MATRIX),
    (lambda xp, x: xp.where(x > 0, x, -x), MATRIX),
    (lambda xp, x: (xp.argwhere(x), xp.flatnonzero(x)), MATRIX),
    (lambda xp, x: xp.argwhere(x), np.zeros((0, 2), F)),
    (lambda xp, x: (xp.argwhere(x), xp.argwhere(x * 0)), np.array(2)),
    (lambda xp, x: xp.nonzero(x), CUBE),
    (lambda xp, x, c: (xp.extract(c, x), xp.compress(c, x), x.compress(c)), ROW, FLAGS),
    (lambda xp, x: (xp.compress([0, 1], x, axis=0), xp.compress([True], x, axis=1)), MATRIX),
    (lambda xp, x: xp.extract(x > 1, x), MATRIX),
    (lambda xp, x: xp.select([x > 2, x < 0], [x, x * 2], 9), MATRIX),
    (lambda xp, x: xp.select([x > 2, x > 0], [x[0], x], -1), CUBE),
    (lambda xp, x: xp.select([x > 2], [x]), MATRIX),
    (lambda xp, a, x: xp.choose(a, [x, x * 10]), WHICH, MATRIX),
    (lambda xp, a, x: a.choose(x), np.array([0, 1, 1]), MATRIX),
    (lambda xp, a: xp.choose(a - 3, (1, a, 30), mode="wrap"), WHICH),
    (lambda xp, a: xp.choose(a * 5 - 1, (1, a, 30), mode="clip"), WHICH),
    (lambda xp, x: xp.piecewise(x, [x < 0, x >= 0], [-1, 1]), CUBE),
    (lambda xp, x: xp.piecewise(x, [x < 0, x > 1], [lambda v: -v, lambda v: v * v, 0.5]), CUBE),
    (lambda xp, x: xp.piecewise(x, x > 0, [lambda v, k: v * k], 3), MATRIX[0]),
    (lambda xp, x: xp.piecewise(x[0], x > 0, [lambda v: v * 3, 7]), MATRIX),
    (lambda xp, x: xp.piecewise(x, [True, False, True], [5, lambda v: v + 1]), MATRIX[0]),
    (lambda xp, x: xp.piecewise(x, [x > 0], [lambda v: v + 1, lambda v: v - 1]), MATRIX),
    (lambda xp, x: xp.piecewise(x, [x > 0, x <= 0], [lambda v: v + 1, 5]), np.array(2.0)),
    (lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1), axis=1), MATRIX),
    (lambda xp, x: xp.take_along_axis(x, np.array([4, 0]), axis=None), MATRIX),
    (lambda xp, i: xp.unravel_index(i, (2, 3, 4)), np.array([[0, 23], [7, 12]])),
    (lambda xp, i: xp.unravel_index(i, (2, 3, 4), order="F"), np.array([0, 23, 7])),
    (lambda xp, i: xp.unravel_index(i, 9), np.array([3, 8])),
    (lambda xp, i: xp.ravel_multi_index((i, i + 1), (3, 4)), np.array([0, 2, 1])),
    (lambda xp, i: xp.ravel_multi_index((i, i), (3, 4), order="F"), np.array([0, 2, 1])),
    (
        lambda xp, i: xp.ravel_multi_index((i, i), (3, 4), mode=("wrap", "clip")),
        np.array([-4, 9, 1]),
    ),
    (lambda xp, b: [xp.packbits(b, a) for a in (None, 0, 1, -1)], BYTES),
    (lambda xp, b: xp.packbits(b, bitorder="little"), FLAGS),
    (lambda xp, b: xp.packbits(b, axis=1), np.ones((3, 17), np.int64)),
    (lambda xp, b: xp.packbits(b), np.zeros(0, bool)),
    (lambda xp, b: [xp.unpackbits(b, a) for a in (None, 0, 1, -1)], BYTES),
    (lambda xp, b: [xp.unpackbits(b, count=c) for c in (0, 5, 50, -3)], BYTES),
    (lambda xp, b: xp.unpackbits(b, axis=1, bitorder="little", count=11), BYTES),
    (lambda xp, k, m: xp.lexsort((k, m)), np.array([3, 1, 2, 1]), np.array([0, 1, 0, 0])),
    (lambda xp, k: (xp.lexsort(k), xp.lexsort(k, axis=0)), MATRIX),
    (lambda xp, k: xp.lexsort((k, -k)), ROW),
]


@pytest.mark.parametrize("case", range(len(CALLS)))
def test_selections(case):
    call, *arrays = CALLS[case]
    both(call, *arrays)


# ---- writes in place
def written(name, *args, **more):
    """A call that writes its array, and gives it back."""

    def call(xp, x, *rest):
        assert getattr(xp, name)(x, *args, *rest, **more) is None
        return x

    return call


def along(xp, x, i):
    xp.put_along_axis(x, i, 9, axis=1)
    return x


def masked(xp, x):
    xp.copyto(x, [7, 8, 9], where=x > 0)
    return x


def of_view(xp, x):
    """Writes through views show in what they are views of."""
    xp.put(x[1], [0, 2], [5, 6])
    xp.fill_diagonal(x[:, 1:], 9)
    xp.putmask(x.T, x.T == 0, 4)
    xp.copyto(x[:, 0], 1)
    return x


WRITES = [
    (written("put", [0, -1], [5, 6]), MATRIX),
    (written("put", [0, 1, 2], [5]), MATRIX),
    (written("put", [1, 1, 1], [5, 6, 7]), MATRIX),
    (written("put", 2, 8), MATRIX),
    (written("put", [[7, -9]], 8, mode="clip"), MATRIX),
    (written("put", [7, -9], [8, 9], mode="wrap"), MATRIX),
    (written("put", [], []), MATRIX),
    (written("put", [0, 1], []), MATRIX),
    (written("put", [0, 99], [], mode="clip"), MATRIX),
    (written("put", 99, []), MATRIX),
    (written("putmask", MATRIX > 1, []), MATRIX),
    (written("place", MATRIX > 1e9, []), MATRIX),
    (written("fill_diagonal", []), MATRIX),
    (lambda xp, x: (x.put([1], 4), x)[1], MATRIX),
    (written("fill_diagonal", 5), MATRIX),
    (written("fill_diagonal", [1, 2]), np.zeros((5, 3), F)),
    (written("fill_diagonal", 4, True), np.zeros((7, 3), F)),
    (written("fill_diagonal", 4.5), np.zeros((3, 3, 3), F)),
    (lambda xp, x: written("place")(xp, x, x > 0, [-7, -8]), MATRIX),
    (lambda xp, x: written("putmask")(xp, x, x > 0, [-7, -8]), MATRIX),
    (lambda xp, x: written("putmask")(xp, x, x > 0, x * 10), MATRIX),
    (lambda xp, x: written("putmask")(xp, x, x > 0, 1), MATRIX),
    (written("copyto", 3), MATRIX),
    (written("copyto", [1, 2, 3]), MATRIX),
    (written("copyto", 2.5), CUBE),
    (written("copyto", 2.5, casting="unsafe"), MATRIX),
    (masked, MATRIX),
    (along, MATRIX, np.array([[0], [2]])),
    (of_view, MATRIX),
]


@pytest.mark.parametrize("case", range(len(WRITES)))
def test_writes(case):
    call, array, *rest = WRITES[case]
    both(call, array, *rest, traced=False)
    want = plain(call(hybrid, *tensors([array, *rest])))
    function = hybrid.function(lambda *given: call(hybrid, *given))
    for _ in range(3):
        given = tensors([array, *rest])
        same(plain(function(*given)), want)
        same(plain(given[0]), want)  # the argument itself was written


def test_writes_carry_gradients():
    base = hybrid.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    value = hybrid.tensor([5.0, 6.0], requires_grad=True)
    x = base * 1
    hybrid.put(x, [0, 2], value)
    hybrid.fill_diagonal(x.reshape(2, 2), value[1])
    (x * hybrid.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert base.grad.tolist() == [0.0, 2.0, 0.0, 0.0]
    assert value.grad.tolist() == [0.0, 8.0]


# ---- partial orders
PARTED = [
    (np.random.default_rng(0).permutation(50).astype(F), 7, -1),
    (np.random.default_rng(1).integers(0, 9, (4, 30)), [3, -2], 1),
    (np.random.default_rng(2).normal(size=(30, 3)).astype(np.float16), 5, 0),
    (np.array([np.nan, 2.0, -np.inf, np.nan, 1.0]), 2, -1),
    (np.random.default_rng(3).integers(0, 9, (4, 6)), 11, None),
]


def check_parts(found, flat, along, kth):
    np.testing.assert_array_equal(np.sort(found, along), np.sort(flat, along))
    lines = np.moveaxis(found.astype(np.float64), along, -1).reshape(-1, flat.shape[along])
    for line in lines:
        for rank in np.atleast_1d(kth) % line.size:
            assert np.array_equal(line[rank], np.sort(line)[rank], equal_nan=True)
            assert not (line[:rank] > line[rank]).any() and not (line[rank:] < line[rank]).any()


@pytest.mark.parametrize("case", range(len(PARTED)))
def test_partition(case):
    array, kth, axis = PARTED[case]
    x = hybrid.tensor(array)
    flat = array.reshape(-1) if axis is None else array
    along = 0 if axis is None else axis
    check_parts(hybrid.partition(x, kth, axis).numpy(), flat, along, kth)
    positions = hybrid.argpartition(x, kth, axis).numpy()
    check_parts(np.take_along_axis(flat, positions, along), flat, along, kth)
    assert hybrid.compare(lambda t: hybrid.partition(t, kth, axis), x, repeat=1).same_bits


def test_other_devices_have_them_too():
    x = hybrid.tensor(MATRIX, device="reference")
    flat = MATRIX.reshape(-1)
    check_parts(hybrid.partition(x, 3, axis=None).numpy(), flat, 0, 3)
    for axis in (None, 1):
        bits = np.packbits(MATRIX, axis)
        packed = hybrid.packbits(x, axis)
        np.testing.assert_array_equal(packed.numpy(), bits)
        for order in ("big", "little"):
            want = np.unpackbits(bits, axis, bitorder=order)
            got = hybrid.unpackbits(packed, axis, bitorder=order)
            np.testing.assert_array_equal(got.numpy(), want)


def test_partition_has_a_gradient():
    x = hybrid.tensor([3.0, 1.0, 2.0], requires_grad=True)
    (hybrid.partition(x, 1)[1] * 5).backward()
    assert x.grad.tolist() == [0.0, 0.0, 5.0]


GRADS = {
    "select": lambda x: hybrid.select([x > 2, x < 1], [x * x, -x], x),
    "choose": lambda x: hybrid.choose(hybrid.tensor([0, 1, 1, 0]), [x * x, x * 3]),
    "piecewise": lambda x: hybrid.piecewise(x, [x < 1.5], [lambda v: v * v, lambda v: v * 7]),
    "compress": lambda x: hybrid.compress([True, False, True, False], x * x),
    "extract": lambda x: hybrid.extract(x > 1, x * x),
    "where": lambda x: hybrid.where(x > 1, x * x, x),
}


@pytest.mark.parametrize("name", GRADS)
def test_gradients(name):
    data = np.array([0.5, 1.25, 2.5, 0.75])

    def loss(x):
        out = GRADS[name](x)
        return (out * hybrid.arange(1, out.size + 1)).sum()

    found = hybrid.grad(loss)(hybrid.tensor(data)).numpy()
    for place, step in enumerate(np.eye(4) * 1e-6):
        slope = (loss(hybrid.tensor(data + step)) - loss(hybrid.tensor(data - step))).item() / 2e-6
        assert abs(found[place] - slope) < 1e-7 * (1 + abs(slope))


WRONG = [
    (lambda x: hybrid.put(x, 9, 1), hybrid.IndexOutOfRange),
    (lambda x: hybrid.put(hybrid.zeros(0), 0, []), hybrid.IndexOutOfRange),
    (lambda x: hybrid.place(x, x == x, []), hybrid.ShapeError),
    (lambda x: hybrid.put(x, 0, 1, mode="far"), hybrid.ArgumentError),
    (lambda x: hybrid.put([1, 2], 0, 1), hybrid.DTypeError),
    (lambda x: hybrid.place(x, [True], 1), hybrid.ShapeError),
    (lambda x: hybrid.place(x, x > 0, []), hybrid.ShapeError),
    (lambda x: hybrid.putmask(x, [True], 1), hybrid.ShapeError),
    (lambda x: hybrid.copyto(x, 1.5), hybrid.DTypeError),
    (lambda x: hybrid.copyto(x, hybrid.tensor([1.0])), hybrid.DTypeError),
    (lambda x: hybrid.copyto(x, [1, 2]), hybrid.ShapeError),
    (lambda x: hybrid.copyto(x, 1, where=x), hybrid.DTypeError),
    (lambda x: hybrid.fill_diagonal(x[0], 1), hybrid.ShapeError),
    (lambda x: hybrid.fill_diagonal(hybrid.zeros(2, 2, 3), 1), hybrid.ShapeError),
    (lambda x: hybrid.select([], []), hybrid.ArgumentError),
    (lambda x: hybrid.select([x], [x]), hybrid.DTypeError),
    (lambda x: hybrid.choose(x, [1, 2]), hybrid.IndexOutOfRange),
    (lambda x: hybrid.choose(hybrid.tensor([-1]), [1, 2]), hybrid.IndexOutOfRange),
    (lambda x: hybrid.piecewise(x, [x > 0], []), hybrid.ArgumentError),
    (lambda x: hybrid.compress([[True]], x), hybrid.ShapeError),
    (lambda x: hybrid.compress([0, 0, 1], x, axis=0), hybrid.IndexOutOfRange),
    (lambda x: hybrid.where(x, 1), hybrid.ArgumentError),
    (lambda x: hybrid.partition(x, 3), hybrid.IndexOutOfRange),
    (lambda x: hybrid.lexsort((x, x[0])), hybrid.ShapeError),
    (lambda x: hybrid.unravel_index([6], (2, 3)), hybrid.IndexOutOfRange),
    (lambda x: hybrid.unravel_index([1.5], (2, 3)), hybrid.DTypeError),
    (lambda x: hybrid.ravel_multi_index(([2], [0]), (2, 3)), hybrid.IndexOutOfRange),
    (lambda x: hybrid.packbits([1.5]), hybrid.DTypeError),
    (lambda x: hybrid.unpackbits(x), hybrid.DTypeError),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_errors(case):
    call, error = WRONG[case]
    with pytest.raises(error):
        call(hybrid.tensor(MATRIX))
