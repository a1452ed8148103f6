"""Arrangement: every function beside NumPy's, eager and traced, with its gradient and its errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_forms import both, same

import hybrid

F = np.float32
ROW = np.arange(5, dtype=F) - 2
MATRIX = np.arange(6, dtype=np.int64).reshape(2, 3)
CUBE = (np.arange(24, dtype=F) / 7 - 1).reshape(2, 3, 4)
EMPTY = np.zeros((0, 3), F)
ZERO = np.array(3.0, F)
HALF = np.arange(6, dtype=np.float16).reshape(3, 2)
FLAGS = np.array([[True, False], [False, True]])
ANY = [ROW, MATRIX, CUBE, EMPTY, ZERO, HALF, FLAGS]

OF_ONE = {
    "atleast": lambda xp, x: (xp.atleast_1d(x), xp.atleast_2d(x), xp.atleast_3d(x)),
    "atleast of several": lambda xp, x: (xp.atleast_2d(x, 1 * x), xp.atleast_3d(x, x)),
    "transpose": lambda xp, x: xp.transpose(x),
    "ravel": lambda xp, x: (xp.ravel(x), xp.ravel(x, order="F"), x.ravel()),
    "resize": lambda xp, x: (xp.resize(x, (2, 7)), xp.resize(x, 3), xp.resize(x, (0, 2))),
    "copy": lambda xp, x: xp.copy(x),
    "array": lambda xp, x: (xp.array(x), xp.array(x, ndmin=3), xp.asanyarray(x)),
    "ascontiguousarray": lambda xp, x: xp.ascontiguousarray(x),
    "questions": lambda xp, x: (xp.shape(x), xp.ndim(x), xp.size(x), xp.isscalar(x)),
    "append": lambda xp, x: xp.append(x, x),
    "diagflat": lambda xp, x: xp.diagflat(x, k=-1),
    "flatten by insert": lambda xp, x: xp.insert(x, 0, 1),
    "block of one": lambda xp, x: (xp.block(x), xp.block([x, x])),
    "array_split": lambda xp, x: xp.array_split(xp.ravel(x), 3),
}


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.parametrize("number", range(len(ANY)))
def test_functions_of_one_tensor(name, number):
    both(OF_ONE[name], ANY[number], traced=number in (1, 2))


CALLS = [
    (lambda xp, x: xp.transpose(x, (2, 0, 1)), CUBE),
    (lambda xp, x: xp.transpose(x, axes=(-1, 0, 1)), CUBE),
    (lambda xp, x: [xp.rollaxis(x, a, s) for a in range(-3, 3) for s in range(-3, 4)], CUBE),
    (lambda xp, x: (xp.fliplr(x), xp.flipud(x)), MATRIX),
    (lambda xp, x: [xp.rot90(x, k) for k in range(-3, 6)], MATRIX),
    (lambda xp, x: [xp.rot90(x, k, axes=(2, 0)) for k in range(4)], CUBE),
    (lambda xp, x: (xp.size(x, 1), xp.size(x, -1)), CUBE),
    (lambda xp, x: xp.append(x, [[7, 8, 9]], axis=0), MATRIX),
    (lambda xp, x: xp.append(x, [7.5]), ROW.astype(np.float64)),
    (lambda xp, x, y: xp.column_stack((x, y, y)), MATRIX[0, :2], MATRIX),
    (lambda xp, x: xp.dstack((x, x)), ROW),
    (lambda xp, x: xp.dstack((x, x)), MATRIX),
    (lambda xp, x: xp.dstack((x, x)), CUBE),
    (lambda xp, x: xp.block([[x, x], [x[:1], 2 * x[:1]]]), MATRIX),
    (lambda xp, x: xp.block([[[x]], [[x]]]), CUBE),
    (lambda xp, x: xp.block([x, 2 * x[:1], x]), ROW),
    (lambda xp, x: (xp.array_split(x, 4), xp.array_split(x, [1, 3, 9]), xp.array_split(x, 7)), ROW),
    (lambda xp, x: xp.array_split(x, [3, 1], axis=0), ROW),
    (lambda xp, x: (xp.hsplit(x, 3), xp.hsplit(x, [1]), xp.vsplit(x, 2)), MATRIX),
    (lambda xp, x: (xp.hsplit(x, 5), xp.hsplit(x, (2, 3))), ROW),
    (lambda xp, x: (xp.dsplit(x, 2), xp.dsplit(x, [-1])), CUBE),
    (lambda xp, x: [xp.delete(x, i, 1) for i in (0, -1, 2, [0, 2], [0, 0], [], slice(0, 2))], CUBE),
    (lambda xp, x: (xp.delete(x, 1), xp.delete(x, slice(None, None, 2))), MATRIX),
    (lambda xp, x: xp.delete(x, np.array([True, False, True]), 1), MATRIX),
    (lambda xp, x: [xp.insert(x, i, 9) for i in (0, -1, 5, [1, 1], [4, 0], slice(1, 3))], ROW),
    (lambda xp, x: xp.insert(x, 1, [[7, 8, 9], [1, 2, 3]], axis=0), MATRIX),
    (lambda xp, x: xp.insert(x, 1, [7, 8], axis=1), MATRIX),
    (lambda xp, x: xp.insert(x, [1], [[7], [8]], axis=1), MATRIX),
    (lambda xp, x: xp.insert(x, [0, 2], [[7, 8], [9, 10]], axis=1), MATRIX),
    (lambda xp, x: xp.insert(x, [3, 0, 3], 2.5, axis=1), MATRIX),
    (lambda xp, x: [xp.diag(x, k) for k in (-1, 0, 2)], ROW),
    (lambda xp, x: [xp.diag(x, k) for k in (-1, 0, 2, 5)], MATRIX),
    (lambda xp, x: xp.diag_indices_from(x), HALF[:2]),
    (lambda xp, x: (xp.tril_indices_from(x), xp.triu_indices_from(x, 1)), MATRIX),
    (lambda xp, x: x[xp.ix_([1, 0], [True, False, True])], MATRIX),
    (lambda xp, x: x[xp.ix_([1], [], [3, 3])], CUBE),
]


@pytest.mark.parametrize("case", range(len(CALLS)))
def test_arrangements(case):
    call, *arrays = CALLS[case]
    both(call, *arrays)


MADE = [
    lambda xp: [xp.tri(3, m, k, dtype=np.float32) for m in (None, 2, 5) for k in (-1, 0, 2)],
    lambda xp: (xp.tri(3, M=2, dtype=bool), xp.identity(3, dtype=np.int64)),
    lambda xp: (xp.diag_indices(3), xp.diag_indices(2, 3)),
    lambda xp: [xp.tril_indices(n, k, m) for n in (0, 3) for k in (-1, 1) for m in (None, 2)],
    lambda xp: [xp.triu_indices(n, k, m) for n in (0, 3) for k in (-1, 1) for m in (None, 2)],
    lambda xp: xp.mask_indices(3, xp.triu, 1),
    lambda xp: (xp.indices((2, 3)), xp.indices((2,), dtype=np.float32), xp.indices(())),
    lambda xp: xp.indices((2, 3), sparse=True),
    lambda xp: xp.fromfunction(lambda i, j: i * 10 + j, (2, 3), dtype=np.int64),
    lambda xp: [xp.isscalar(v) for v in (1, 2.5, "x", np.float32(1), [1], None)],
    lambda xp: xp.logspace(-1, 2, 7, dtype=np.float32),
    lambda xp: xp.logspace(0, 5, 4, endpoint=False, base=2.0, dtype=np.float64),
    lambda xp: xp.geomspace(-1, -1000, 4, dtype=np.float32),
    lambda xp: xp.geomspace(256, 1, 9, endpoint=True, dtype=np.int64),
    lambda xp: (xp.geomspace(3, 5, 1, dtype=np.float64), xp.logspace(1, 2, 0, dtype=np.float64)),
    lambda xp: xp.logspace(np.array([0.0, 1.0]), 2.0, 3, axis=-1),
    lambda xp: xp.promote_types("int8", "uint8"),
    lambda xp: (xp.mgrid[0:3], xp.mgrid[0:2, 1:4], xp.mgrid[1:7:2,]),
    lambda xp: (xp.ogrid[0:3], xp.ogrid[0:2, 1:4], xp.ogrid[:0, 1:2]),
    lambda xp: (xp.r_[1, 2, 0:3], xp.r_[[1, 2], 7], xp.c_[[1, 2], [3, 4]], xp.c_[1, 2]),
    lambda xp: xp.frombuffer(b"abcdefgh", dtype=np.uint16, count=2, offset=2),
    lambda xp: xp.fromiter(iter([1, 2, 3]), np.int64, count=2),
    lambda xp: xp.asarray_chkfinite(np.ones(2)),
    lambda xp: xp.array([[1, 2], [3, 4]], dtype=np.float64, ndmin=3),
]


@pytest.mark.parametrize("case", range(len(MADE)))
def test_made(case):
    both(MADE[case], traced=case < 16 or 20 > case > 16)


def test_ranges_between_tensors_have_gradients():
    for name in ("logspace", "geomspace"):
        ends = np.array([1.0, 2.0]), np.array([3.0, 5.0])
        for axis in (0, -1):
            got = getattr(hybrid, name)(*map(hybrid.tensor, ends), 5, axis=axis)
            same(got.numpy(), getattr(np, name)(*ends, 5, axis=axis), rtol=1e-14)

    def total(low):
        return hybrid.logspace(low, hybrid.tensor(2.0, dtype="float64"), 3).sum()

    low = hybrid.tensor(1.0, dtype="float64")
    slope = (total(low + 1e-6) - total(low - 1e-6)).item() / 2e-6
    assert abs(hybrid.grad(total)(low).item() - slope) < 1e-6 * abs(slope)


def test_defaults_are_float32():
    for made in (
        hybrid.tri(2),
        hybrid.identity(2),
        hybrid.logspace(0, 1, 3),
        hybrid.geomspace(1, 2, 3),
        hybrid.fromfunction(lambda i: i, (3,)),
        hybrid.array([1.5]),
    ):
        assert made.dtype is hybrid.float32


GRADS = [
    lambda x: hybrid.insert(x, [0, 2], x[:, :1] * 3, axis=1),
    lambda x: hybrid.delete(x, [0, 0, 2], axis=1),
    lambda x: hybrid.delete(x, 1, axis=0),
    lambda x: hybrid.block([[x, x * x], [x, x]]),
    lambda x: hybrid.rot90(x) @ x,
    lambda x: hybrid.resize(x, (3, 7)),
    lambda x: hybrid.diag(x) * hybrid.diagflat(x)[0, 0],
    lambda x: hybrid.append(x, x * x, axis=0),
    lambda x: hybrid.array(x, ndmin=3) * 2,
]


@pytest.mark.parametrize("case", range(len(GRADS)))
def test_gradients(case):
    data = np.random.default_rng(case).uniform(0.5, 1.5, (2, 3))
    weights = None

    def loss(x):
        nonlocal weights
        out = GRADS[case](x)
        if weights is None:
            weights = np.random.default_rng(1).uniform(0.5, 1.5, out.shape)
        return (out * hybrid.tensor(weights)).sum()

    found = hybrid.grad(loss)(hybrid.tensor(data)).numpy()
    for place in np.ndindex(data.shape):
        high, low = data.copy(), data.copy()
        high[place] += 1e-6
        low[place] -= 1e-6
        slope = (loss(hybrid.tensor(high)) - loss(hybrid.tensor(low))).item() / 2e-6
        assert abs(found[place] - slope) < 1e-6 * (1 + abs(slope)), place


def test_grids_between_numbers():
    same(hybrid.mgrid[0:2, 0:1:3j].numpy(), np.mgrid[0:2, 0:1:3j].astype(F))
    same(hybrid.r_[0:1:3j].numpy(), np.r_[0:1:3j].astype(F))
    x = hybrid.tensor([1.0, 2.0], requires_grad=True)
    (hybrid.c_[x, x * x].sum() + hybrid.r_[x, 3.0].sum()).backward()
    assert x.grad.tolist() == [4.0, 6.0]


def test_products_with_vectors():
    rng = np.random.default_rng(0)
    table, rows = rng.normal(size=(4, 2, 3)), rng.normal(size=(5, 1, 3))
    for xp_table, xp_rows, call in ((table, rows, "matvec"), (rows[..., :2], table, "vecmat")):
        want = getattr(np, call)(xp_table, xp_rows)
        got = getattr(hybrid, call)(hybrid.tensor(xp_table), xp_rows)
        same(got.numpy(), want, rtol=1e-12)
        same(getattr(np, call)(hybrid.tensor(xp_table), xp_rows).numpy(), want, rtol=1e-12)


WRONG = [
    (lambda x: hybrid.mgrid[3], hybrid.ArgumentError),
    (lambda x: hybrid.r_["c", x], hybrid.ArgumentError),
    (lambda x: hybrid.asarray_chkfinite([np.nan]), ValueError),
    (lambda x: hybrid.fromiter([1], "int64", 2), hybrid.ShapeError),
    (lambda x: hybrid.matvec(x[0], x[0]), hybrid.ShapeError),
    (lambda x: hybrid.fliplr(x[0]), hybrid.ShapeError),
    (lambda x: hybrid.rot90(x, axes=(0, 0)), hybrid.ShapeError),
    (lambda x: hybrid.hsplit(x, 2), hybrid.ShapeError),
    (lambda x: hybrid.dsplit(x, 2), hybrid.ShapeError),
    (lambda x: hybrid.array_split(x, 0), hybrid.ShapeError),
    (lambda x: hybrid.delete(x, 3, 1), hybrid.IndexOutOfRange),
    (lambda x: hybrid.delete(x, [True], 1), hybrid.ShapeError),
    (lambda x: hybrid.delete(x, 1.5), hybrid.ArgumentError),
    (lambda x: hybrid.insert(x, 4, 0, 1), hybrid.IndexOutOfRange),
    (lambda x: hybrid.insert(x, [0, 1], [1, 2, 3], 1), hybrid.ShapeError),
    (lambda x: hybrid.block([[x], x]), hybrid.ShapeError),
    (lambda x: hybrid.block((x, x)), hybrid.ArgumentError),
    (lambda x: hybrid.block([]), hybrid.ShapeError),
    (lambda x: hybrid.diag(x[None]), hybrid.ShapeError),
    (lambda x: hybrid.diag_indices_from(x), hybrid.ShapeError),
    (lambda x: hybrid.ravel(x, order="Q"), hybrid.ArgumentError),
    (lambda x: hybrid.geomspace(0, 1), hybrid.HybridError),
    (lambda x: hybrid.logspace(0, 1, -1), hybrid.ShapeError),
    (lambda x: hybrid.ix_(x), hybrid.ShapeError),
    (lambda x: hybrid.resize(x, (-1, 2)), hybrid.ShapeError),
    (lambda x: hybrid.transpose(x, (0, 0)), hybrid.ShapeError),
    (lambda x: hybrid.rollaxis(x, 0, 9), hybrid.ShapeError),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_errors(case):
    call, error = WRONG[case]
    with pytest.raises(error):
        call(hybrid.tensor(MATRIX))


@pytest.mark.parametrize("endpoint", (True, False))
@pytest.mark.parametrize("given", [(0, 1, 5), (0, 1, 1), (2, 5, 0), (1 + 2j, 3, 4)])
def test_the_step_between_numbers(given, endpoint) -> None:
    found, step = hybrid.linspace(*given, endpoint=endpoint, retstep=True)
    want, their = np.linspace(*given, endpoint=endpoint, retstep=True)
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-6)
    np.testing.assert_equal(step, their)


def test_the_step_between_tensors() -> None:
    first, last = np.array([0.0, 1.0]), np.array([[3.0, 5.0]])
    want, their = np.linspace(first, last, 4, retstep=True, axis=1)
    for linspace in (hybrid.linspace, np.linspace):
        found, step = linspace(hybrid.tensor(first), hybrid.tensor(last), 4, retstep=True, axis=1)
        assert isinstance(found, hybrid.Tensor) and isinstance(step, hybrid.Tensor)
        np.testing.assert_allclose(found.numpy(), want)
        np.testing.assert_allclose(step.numpy(), their)


@pytest.mark.parametrize("order", ["C", "F", "A"])
def test_orders_of_reshape_and_flatten(order):
    for shape, new in (
        ((2, 3), 6),
        ((2, 3, 4), (4, -1)),
        ((3, 4), (2, 3, 2)),
        ((), (1, 1)),
        ((0, 3), (3, 0)),
    ):
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        x, want = hybrid.tensor(array), array.reshape(new, order=order)
        method = hybrid.function(lambda x, new=new: x.reshape(new, order=order))
        for got in (
            hybrid.reshape(x, new, order),
            x.reshape(new, order=order),
            *[method(x) for _ in range(3)],
        ):
            assert got.shape == want.shape and got.tolist() == want.tolist()
        assert x.flatten(order).tolist() == array.flatten(order).tolist()
        assert hybrid.flatten(x, order=order).tolist() == array.flatten(order).tolist()
    x = hybrid.ones((2, 3), requires_grad=True)
    weights = hybrid.arange(6.0)
    (hybrid.reshape(x, 6, order=order) * weights).sum().backward()
    assert x.grad.tolist() == np.arange(6.0).reshape((2, 3), order=order).tolist()
    part = hybrid.flatten(hybrid.tensor(np.arange(24).reshape(2, 3, 4)), 1, 2, order=order)
    assert part.tolist() == [a.flatten(order).tolist() for a in np.arange(24).reshape(2, 3, 4)]


@pytest.mark.parametrize("mode", ["wrap", "clip"])
def test_take_with_positions_outside(mode):
    array = np.arange(12).reshape(3, 4)
    x = hybrid.tensor(array)
    for dtype in ("int64", "int8"):
        index = np.array([[5, -7], [2, 0]], dtype)
        traced = hybrid.function(lambda x, i: hybrid.take(x, i, 1, mode=mode))
        for axis in (None, 0, 1):
            want = np.take(array, index, axis, mode=mode)
            assert hybrid.take(x, index, axis, mode=mode).tolist() == want.tolist()
            assert x.take(index, axis, mode=mode).tolist() == want.tolist()
        for _ in range(3):
            got = traced(x, hybrid.tensor(index))
            assert got.tolist() == np.take(array, index, 1, mode=mode).tolist()
    many = hybrid.arange(300)
    assert hybrid.take(many, hybrid.tensor([255], dtype="uint8"), mode=mode).tolist() == [255]
    with pytest.raises(hybrid.ArgumentError, match="mode is 'raise', 'wrap' or 'clip'"):
        hybrid.take(x, 0, mode="far")
    with pytest.raises(hybrid.DTypeError, match="positions must be integers"):
        hybrid.take(x, [0.5], mode=mode)


VALUES = [7, (1, 2), ((1, 2),), ((1, 2), (3, 4)), ((5,), (6,)), [[1.5, 2], [3, 4]], (8,)]


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_pad_with_a_value_for_each_side(values):
    for array in (np.arange(6).reshape(2, 3), np.arange(6.0, dtype="float32").reshape(2, 3)):
        for widths in (1, (2, 0), ((1, 0), (0, 3))):
            want = np.pad(array, widths, constant_values=values)
            pad = hybrid.function(lambda x, w=widths: hybrid.pad(x, w, constant_values=values))
            for _ in range(3):
                got = pad(hybrid.tensor(array)).numpy()
                assert got.dtype == want.dtype and got.tolist() == want.tolist()
    given = hybrid.tensor([1.0, 2.0], requires_grad=True)
    hybrid.pad(hybrid.zeros((2, 2)), ((1, 0), (0, 2)), constant_values=given).sum().backward()
    assert given.grad.tolist() == [2.0, 6.0]


UNCLEAR = [
    (lambda x: hybrid.reshape(x, None), "reshape: shape is None"),
    (lambda x: hybrid.reshape(x, 2, 3), "the sizes are one argument"),
    (lambda x: hybrid.reshape(x, 6, order="K"), "order is 'C', 'F' or 'A', not 'K'"),
    (lambda x: hybrid.flatten(x, "G"), "flatten: order is 'C', 'F', 'A' or 'K'"),
    (lambda x: hybrid.round(x, 400), "round: decimals is 400"),
    (lambda x: x.round(-400), "round: decimals is -400"),
    (lambda x: hybrid.round(x, 1.5), "round: decimals is 1.5: it has to be an integer"),
    (lambda x: hybrid.copy(b=x), "copy.. got an unexpected keyword argument 'b'"),
    (lambda x: hybrid.pad(x, 1, constant_values=(1, 2, 3)), "pad: constant_values of shape"),
]


@pytest.mark.parametrize("call, message", UNCLEAR)
def test_messages_name_the_argument(call, message):
    with pytest.raises(hybrid.HybridError, match=message):
        call(hybrid.tensor(np.arange(6.0).reshape(2, 3)))


def test_a_copy_takes_numpys_keyword():
    assert hybrid.copy(a=[1, 2]).tolist() == [1, 2]
