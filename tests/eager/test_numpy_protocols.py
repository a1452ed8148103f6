"""NumPy's functions called with tensors are hybrid's operations: values, tape, traces, `out=`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import hybrid

F = np.float32
A = np.array([[1.5, -2.0, 0.25], [3.0, 0.5, 4.0]], F)
B = np.array([2.0, 4.0, 0.5], F)
W = np.array([True, False, True])

# one text for NumPy's arrays and for tensors: `x` and `y` are either
CALLS = {
    "sin": lambda x, y: np.sin(x),
    "add a number": lambda x, y: np.add(x, 1),
    "add": lambda x, y: np.add(x, y),
    "arctan2": lambda x, y: np.arctan2(y, x),
    "isfinite": lambda x, y: np.isfinite(x),
    "greater": lambda x, y: np.greater(x, y),
    "matmul": lambda x, y: np.matmul(x, y),
    "divmod": lambda x, y: np.divmod(x, y),
    "frexp": lambda x, y: np.frexp(x),
    "abs": lambda x, y: np.abs(x),
    "in float64": lambda x, y: np.multiply(x, y, dtype=np.float64),
    "add.reduce": lambda x, y: np.add.reduce(x),
    "reduce all": lambda x, y: np.multiply.reduce(x, axis=None),
    "reduce kept": lambda x, y: np.maximum.reduce(x, axis=1, keepdims=True),
    "reduce where": lambda x, y: np.add.reduce(x, axis=1, where=W, initial=2),
    "accumulate": lambda x, y: np.add.accumulate(x, axis=1),
    "outer": lambda x, y: np.subtract.outer(x, y),
    "sum": lambda x, y: np.sum(x),
    "sum axis": lambda x, y: np.sum(x, 0, keepdims=True),
    "sum where": lambda x, y: np.sum(x, axis=1, where=W),
    "sum initial": lambda x, y: np.sum(x, initial=3.0),
    "sum dtype": lambda x, y: np.sum(x, dtype=np.float64),
    "prod": lambda x, y: np.prod(x, axis=1),
    "max": lambda x, y: np.max(x, axis=0),
    "min initial": lambda x, y: np.min(x, axis=0, initial=0.0),
    "any": lambda x, y: np.any(x > 3, axis=1),
    "mean": lambda x, y: np.mean(x, axis=0),
    "std": lambda x, y: np.std(x, axis=1, ddof=1),
    "std where": lambda x, y: np.std(x, axis=1, where=W, dtype=np.float64),
    "var of a mean": lambda x, y: np.var(x, axis=0, mean=np.ones((1, 3), np.float32)),
    "mean where": lambda x, y: np.mean(x, 1, where=W),
    "any where": lambda x, y: (np.any(x > 3, 1, where=W), np.logical_and.reduce(x > 1, where=W)),
    "reduce logaddexp where": lambda x, y: np.logaddexp.reduce(x, where=W, initial=1.0),
    "var": lambda x, y: np.var(x, correction=1),
    "argmax": lambda x, y: np.argmax(x, axis=1),
    "cumsum": lambda x, y: np.cumsum(x),
    "cumsum axis": lambda x, y: np.cumsum(x, axis=0),
    "concatenate": lambda x, y: np.concatenate([x, x], axis=1),
    "concatenate dtype": lambda x, y: np.concatenate((x, x), dtype=np.float64),
    "stack": lambda x, y: np.stack([y, y], axis=1),
    "vstack": lambda x, y: np.vstack([x, y]),
    "split": lambda x, y: np.split(x, 3, axis=1),
    "split at": lambda x, y: np.split(x, [1], axis=0),
    "array_split": lambda x, y: np.array_split(x, 2, axis=-1),
    "reshape": lambda x, y: np.reshape(x, (3, 2)),
    "transpose": lambda x, y: np.transpose(x),
    "ravel": lambda x, y: np.ravel(x, order="F"),
    "expand_dims": lambda x, y: np.expand_dims(x, -1),
    "moveaxis": lambda x, y: np.moveaxis(x, 0, -1),
    "where": lambda x, y: np.where(x > 1, x, y),
    "where alone": lambda x, y: np.where(x > 1),
    "clip": lambda x, y: np.clip(x, 0.0, 2.0),
    "clip one side": lambda x, y: np.clip(x, a_min=None, a_max=2.0),
    "round": lambda x, y: np.round(x, 1),
    "diff": lambda x, y: np.diff(x, 2),
    "diagonal": lambda x, y: np.diagonal(x[None] * 1, 1),
    "tril": lambda x, y: np.tril(x, k=-1),
    "take": lambda x, y: np.take(x, [2, 0], axis=1),
    "take_along_axis": lambda x, y: np.take_along_axis(x, np.argsort(x, axis=1), axis=1),
    "sort": lambda x, y: np.sort(x, axis=0),
    "linspace": lambda x, y: np.linspace(x, y, 4, axis=-1),
    "linspace to one": lambda x, y: np.linspace(0, y[0], 3, endpoint=False, dtype=x.dtype),
    "linspace of integers": lambda x, y: np.linspace(x, y, 3, dtype=np.int64),
    "sort flat": lambda x, y: (np.sort(x, axis=None), np.argsort(x, axis=None)),
    "result_type": lambda x, y: np.result_type(x, np.float64),
    "searchsorted": lambda x, y: np.searchsorted(np.sort(y), x, side="right"),
    "tile": lambda x, y: np.tile(y, (2, 2)),
    "repeat": lambda x, y: np.repeat(x, 2, axis=1),
    "roll": lambda x, y: np.roll(x, 1, axis=1),
    "flip": lambda x, y: np.flip(x, 0),
    "pad": lambda x, y: np.pad(x, ((1, 0), (0, 2)), constant_values=7),
    "full_like": lambda x, y: np.full_like(x, 3),
    "zeros_like": lambda x, y: np.zeros_like(x, dtype=np.int64),
    "einsum": lambda x, y: np.einsum("ij,j->i", x, y),
    "tensordot": lambda x, y: np.tensordot(x, y, axes=1),
    "broadcast_to": lambda x, y: np.broadcast_to(y, (2, 3)),
    "shape": lambda x, y: (np.shape(x), np.ndim(x), np.size(x)),
    "select": lambda x, y: np.select([x > 1], [x], -1.0),
    "insert": lambda x, y: np.insert(x, 1, y, axis=0),
    "isin": lambda x, y: np.isin(x, [0.5, 3.0]),
}


def same(got, want):
    if isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for one, other in zip(got, want):
            same(one, other)
    elif isinstance(want, (np.ndarray, np.generic)):
        assert isinstance(got, hybrid.Tensor)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=2e-6)
    else:
        assert got == want


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_hybrids_own(name):
    want = CALLS[name](A, B)
    same(CALLS[name](hybrid.tensor(A), hybrid.tensor(B)), want)


@pytest.mark.parametrize("name", ["add", "arctan2", "concatenate", "where", "select", "insert"])
def test_arrays_beside_tensors(name):
    want = CALLS[name](A, B)
    got = CALLS[name](hybrid.tensor(A), B)
    same(got, want)
    if name not in ("concatenate", "select"):
        same(CALLS[name](A, hybrid.tensor(B)), want)


TAPED = [
    "linspace",
    "sin",
    "add",
    "sum",
    "add.reduce",
    "mean",
    "std",
    "concatenate",
    "where",
    "cumsum",
    "pad",
]


@pytest.mark.parametrize("name", TAPED)
def test_a_call_is_on_the_tape_and_in_a_trace(name):
    def loss(x, y):
        return (CALLS[name](x, y) ** 2).sum()

    x, y = hybrid.tensor(A, requires_grad=True), hybrid.tensor(B)
    total = loss(x, y)
    total.backward()
    ahead = hybrid.tensor(A + F(1e-3) * np.ones_like(A)), hybrid.tensor(A - F(1e-3))
    slope = (loss(ahead[0], y) - loss(ahead[1], y)).item() / 2e-3
    assert abs(float(x.grad.sum()) - slope) < 2e-2 * (1 + abs(slope))
    function = hybrid.function(loss)
    for _ in range(4):
        assert function(x, y).item() == total.item()
    assert "REPLAY" in function.explain()


def test_operators_of_arrays_beside_tensors():
    t = hybrid.tensor(B, requires_grad=True)
    for got, want in (
        (A + t, A + B),
        (A - t, A - B),
        (A[0] / t, A[0] / B),
        (A @ t, A @ B),
        (A > t, A > B),
        (A == t, A == B),
        (np.float32(2) * t, F(2) * B),
        (W & (t > 1), W & (B > 1)),
        (divmod(A, t), divmod(A, B)),
    ):
        same(got, want)
    (A * t).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), A.sum(0))


def test_results_are_written_to_out():
    x = hybrid.tensor(A)
    out = hybrid.zeros(2, 3)
    view = out[0]
    assert np.exp(x, out=out) is out and (view.numpy() == np.exp(out.numpy() * 0 + A)[0]).any()
    same(out, np.exp(A))
    same(view, np.exp(A)[0])
    np.sum(x, axis=0, out=view)
    same(out[0], A.sum(0))
    host = np.zeros((2, 3))
    assert np.add(x, 1, out=host) is host
    np.testing.assert_array_equal(host, A + 1)
    np.add(x, 10, out=out, where=hybrid.tensor(W))
    same(out[:, ::2], (A + 10)[:, ::2])
    mantissa, exponent = hybrid.zeros(2, 3), hybrid.zeros((2, 3), dtype="int32")
    np.frexp(x, out=(mantissa, exponent))
    same((mantissa, exponent), np.frexp(A))
    with pytest.raises(hybrid.DTypeError, match="casting"):
        np.add(x, 1, out=hybrid.zeros((2, 3), dtype="int64"))
    with pytest.raises(hybrid.ShapeError):
        np.add(x, 1, out=hybrid.zeros(3))
    with pytest.raises(hybrid.HybridError, match="detach"):
        np.add(hybrid.tensor(A, requires_grad=True), 1, out=host)


def test_arrays_change_in_place():
    host = A.copy()
    alias = host
    host += hybrid.tensor(B)
    assert host is alias and isinstance(host, np.ndarray)
    np.testing.assert_array_equal(host, A + B)
    np.copyto(host, hybrid.tensor(B))
    np.testing.assert_array_equal(host, np.broadcast_to(B, (2, 3)))
    np.add.at(host, ([0, 0], [1, 1]), hybrid.tensor([1.0, 2.0]))
    assert host[0, 1] == B[1] + 3


def test_updates_at_positions_that_repeat():
    want = np.zeros(4, F)
    np.add.at(want, [1, 1, 3], [1.0, 2.0, 5.0])
    x = hybrid.zeros(4)
    np.add.at(x, [1, 1, 3], hybrid.tensor([1.0, 2.0, 5.0]))
    same(x, want)
    np.subtract.at(x, hybrid.tensor([1, 1]), 1.5)
    assert x.tolist() == [0.0, 0.0, 0.0, 5.0]
    with pytest.raises(hybrid.UnsupportedError, match=r"numpy.multiply.at"):
        np.multiply.at(x, [0], 2)


NONE = [
    (lambda x: np.copysign.reduce(x), "numpy.copysign.reduce"),
    (lambda x: np.add.reduceat(x, [0]), "numpy.add.reduceat"),
    (lambda x: np.isnat(x), "numpy.isnat"),
    (lambda x: np.busday_count(x, x), "dates"),
    (lambda x: np.argsort(x, order="f0"), "order="),
    (lambda x: np.frompyfunc(abs, 1, 1)(x), "no form for tensors"),
    (lambda x: np.add(x, 1, signature="dd->d"), "numpy.add"),
]


@pytest.mark.parametrize("number", range(len(NONE)))
def test_what_hybrid_lacks_names_the_way_out(number):
    call, text = NONE[number]
    with pytest.raises(hybrid.UnsupportedError, match=r"\.numpy\(\)") as caught:
        call(hybrid.tensor(A))
    assert text in str(caught.value)


def test_orders_and_modes_reach_the_functions():
    for call in (
        lambda x: np.reshape(x, (3, 2), order="F"),
        lambda x: np.take(x, [9, -9], mode="clip"),
        lambda x: np.take(x, [9, -9], 0, mode="wrap"),
        lambda x: np.pad(x, 1, constant_values=((1, 2), (3, 4))),
        lambda x: np.copy(x, subok=True),
    ):
        got = call(hybrid.tensor(A))
        assert isinstance(got, hybrid.Tensor)
        assert got.numpy().tolist() == np.asarray(call(A)).tolist()


def test_where_needs_a_place_for_the_rest():
    with pytest.raises(hybrid.ArgumentError, match="out="):
        np.add(hybrid.tensor(A), 1, where=W)
    with pytest.raises(hybrid.ArgumentError, match="initial="):
        np.maximum.reduce(hybrid.tensor(A), where=W)


def test_other_libraries_keep_their_protocols():
    class Other:
        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            return "other's"

        def __array_function__(self, func, types, args, kwargs):
            return "other's"

    x = hybrid.tensor(A)
    assert np.add(x, Other()) == np.concatenate([x, Other()]) == "other's"


def test_values_leave_for_files_and_texts(tmp_path):
    x = hybrid.tensor(A)
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), A)
    assert np.array2string(x) == np.array2string(A)
    assert np.allclose(x, A) and not np.array_equal(x, A + 1)


def test_scipys_special_functions():
    special = pytest.importorskip("scipy.special")
    same(special.erf(hybrid.tensor(A)), special.erf(A))
    with pytest.raises(hybrid.UnsupportedError, match="numpy"):
        special.huber(1.0, hybrid.tensor(A))


def test_a_trace_sees_what_methods_write():
    buffer, source = np.zeros(3, F), np.ones((2, 3), F)

    @hybrid.function
    def step(x):
        np.add.reduce(source + buffer, axis=0, out=buffer)
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hybrid.RunsEagerly)
        for number in range(1, 6):
            step(hybrid.ones(3))
            assert buffer[0] == 2.0 ** (number + 1) - 2


def test_reductions_by_method_replay():
    @hybrid.function
    def step(x):
        return np.add.reduce(np.multiply.outer(x, x), axis=0) + float(
            np.maximum.accumulate([1.0, 2.0])[0]
        )

    x = hybrid.tensor(B)
    with warnings.catch_warnings():
        warnings.simplefilter("error", hybrid.RunsEagerly)
        results = [step(x).tolist() for _ in range(4)]
    assert all(r == results[0] for r in results)
