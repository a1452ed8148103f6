"""Python numbers and sequences as operands and written into tensors: they take the dtype of the tensor
before they are rounded, once.  Eager and replayed.
"""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from foreign_harness import TENTH, D, both, same

import hybrid as hb


def _written(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        y = x * 1.0
        write(y)
        return y

    return f


def _set(key: Any, value: Any) -> Callable[[Any], Any]:
    return lambda y: y.__setitem__(key, value)


def _np_set(key: Any, value: Any) -> np.ndarray:
    out = D.copy()
    out[key] = value
    return out


KEYS: list[Any] = [
    0,
    slice(None),
    slice(0, 3, 2),
    Ellipsis,
    (Ellipsis, 1),
    [0, 2],
    np.array([2, 0]),
    np.array([True, False, True]),
    [True, True, False],
    (None, slice(1, 2)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("value", [0.1, 1e300, 2**53 + 2, -0.0, float("nan")], ids=str)
def test_numbers_written_into_float64(key: Any, value: float) -> None:
    same(both(_written(_set(key, value)), D)[0], _np_set(key, value))


@pytest.mark.parametrize("key", [slice(None), Ellipsis, [0, 1, 2], np.array([0, 2, 1])], ids=str)
def test_sequences_written_into_float64(key: Any) -> None:
    for value in (TENTH, tuple(TENTH), np.array(TENTH), collections.deque(TENTH), range(3)):
        same(both(_written(_set(key, value)), D)[0], _np_set(key, np.array(value)))


@pytest.mark.parametrize(
    "write",
    [
        lambda y: y.assign(TENTH),
        lambda y: y.copy_(TENTH),
        lambda y: y.fill_(0.1),
        lambda y: y.add_(TENTH),
        lambda y: y.mul_(0.1),
        lambda y: y.sub_(0.1),
        lambda y: y.clamp_(1.1, 1e300),
        lambda y: y.data.assign(TENTH),
        lambda y: y[1:].assign([0.1, 0.3]),
        lambda y: y[:2].copy_([0.1, 0.3]),
    ],
)
def test_writes_into_float64_keep_double_precision(write: Any) -> None:
    got = both(_written(write), D)[0]
    with np.errstate(over="ignore"):
        assert got.dtype == np.float64 and not np.array_equal(got, got.astype(np.float32))


def test_numbers_written_into_integers() -> None:
    big = 2**53 + 1
    for d, v in (("int64", big), ("uint64", 2**64 - 1), ("int8", -128)):
        x = hb.zeros(3, dtype=d)
        x[0], x[1:] = v, [v, v]
        assert x.tolist() == [v, v, v]
        x.assign(0)
        x.copy_([v, 0, v])
        assert x.tolist() == [v, 0, v] and hb.full((1,), v, dtype=d).tolist() == [v]
    x = hb.zeros(2, dtype="int64")
    x[0] = 16777217.0
    assert x.tolist() == [16777217, 0]
    for wrong in (300, -129, [0, 300], 2**70, float("inf"), float("nan"), [1.0, 1e30]):
        with pytest.raises(OverflowError, match="does not fit|int64 or uint64"):
            hb.zeros(2, dtype="int8")[:] = wrong
    for d, edge in (("int64", 2.0**63), ("uint64", 2.0**64), ("int32", 2.0**31), ("uint8", -1.0)):
        with pytest.raises(OverflowError, match="does not fit"):
            hb.full((), edge, dtype=d)
        with pytest.raises(OverflowError, match="does not fit"):
            hb.zeros(1, dtype=d)[:] = [edge]
    assert hb.full((), -(2.0**63), dtype="int64").item() == -(2**63)
    assert hb.tensor([127.9, -128.9], dtype="int8").tolist() == [127, -128]
    for bad in (1j, "a", object(), [1, "a"], {1: 2}, (i for i in range(3)), None):
        with pytest.raises(hb.DTypeError):
            hb.zeros(2)[:] = bad


def put(x, *given):
    """A copy of x that was written in place."""
    out = x.clone()
    hb.put_along_axis(out, *given)
    return out


OPERATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "add": (lambda x: x + TENTH, lambda a: a + np.array(TENTH)),
    "radd": (lambda x: TENTH + x, lambda a: np.array(TENTH) + a),
    "sub": (lambda x: x - [[0.1], [0.2]], lambda a: a - np.array([[0.1], [0.2]])),
    "rtruediv": (lambda x: [0.1] / x, lambda a: np.array([0.1]) / a),
    "less": (lambda x: x * 0.1 < [0.1, 0.2, 0.3], lambda a: a * 0.1 < np.array([0.1, 0.2, 0.3])),
    "eq": (lambda x: x / 10 == [0.1, 0.2, 0.3], lambda a: a / 10 == np.array([0.1, 0.2, 0.3])),
    "eq number": (lambda x: x * 0 + 0.1 == 0.1, lambda a: a * 0 + 0.1 == 0.1),
    "matmul": (lambda x: x @ [0.1, 0.2, 0.3], lambda a: a @ np.array([0.1, 0.2, 0.3])),
    "rmatmul": (lambda x: [[1.0, 0.1, 0.2]] @ x, lambda a: np.array([[1.0, 0.1, 0.2]]) @ a),
    "where": (lambda x: hb.where(x > 1.5, 0.1, x), lambda a: np.where(a > 1.5, 0.1, a)),
    "where list": (lambda x: hb.where(x > 1.5, TENTH, x), lambda a: np.where(a > 1.5, TENTH, a)),
    "clip": (lambda x: hb.clip(x, [1.1], 2.1), lambda a: np.clip(a, [1.1], 2.1)),
    "maximum": (lambda x: hb.maximum(x, [1.1, 0, 9.1]), lambda a: np.maximum(a, [1.1, 0, 9.1])),
    "concat": (lambda x: hb.concat([x, [0.1]]), lambda a: np.concatenate([a, [0.1]])),
    "stack": (lambda x: hb.stack([x, TENTH]), lambda a: np.stack([a, TENTH])),
    "stack numbers": (lambda x: hb.stack([x[0], 0.1]), lambda a: np.stack([a[0], 0.1])),
    "vstack": (lambda x: hb.vstack([x, TENTH]), lambda a: np.vstack([a, TENTH])),
    "hstack": (lambda x: hb.hstack([x, [0.1]]), lambda a: np.hstack([a, [0.1]])),
    "full_like": (lambda x: hb.full_like(x, 0.1), lambda a: np.full_like(a, 0.1)),
    "full_like list": (lambda x: hb.full_like(x, TENTH), lambda a: np.full_like(a, TENTH)),
    "masked_fill": (lambda x: x.masked_fill(x > 1.5, 0.1), lambda a: np.where(a > 1.5, 0.1, a)),
    "put": (
        lambda x: put(x, [1, 0, 2], TENTH, 0),
        lambda a: np.array(TENTH)[[1, 0, 2]],
    ),
    "index_add": (
        lambda x: hb.index_add(x, 0, [0, 2], [0.1, 0.2]),
        lambda a: a + np.array([0.1, 0.0, 0.2]),
    ),
    "outer": (lambda x: hb.outer(x, [0.1, 0.2]), lambda a: np.outer(a, [0.1, 0.2])),
    "diff": (lambda x: hb.diff(x, append=[0.1]), lambda a: np.diff(a, append=[0.1])),
    "einsum": (lambda x: hb.einsum("i,j->ij", x, [0.1]), lambda a: np.outer(a, [0.1])),
    "isin": (lambda x: hb.isin(x * 0.1, [0.1]), lambda a: np.isin(a * 0.1, [0.1])),
    "pad": (
        lambda x: hb.pad(x, 1, constant_values=0.1),
        lambda a: np.pad(a, 1, constant_values=0.1),
    ),
    "integers": (lambda x: x + [2**53 + 2, 1, 1], lambda a: a + np.array([2**53 + 2, 1, 1])),
    "tensors": (lambda x: x + [x[0], 0.1, x[1]], lambda a: a + np.array([a[0], 0.1, a[1]])),
    "asarray": (lambda x: hb.asarray([x[0], 0.1]), lambda a: np.array([a[0], 0.1])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operands_take_float64_from_their_partner(name: str) -> None:
    f, want = OPERATIONS[name]
    same(both(f, D)[0], np.asarray(want(D)))


@pytest.mark.parametrize("name", ["add", "sub", "where list", "stack", "full_like list", "put"])
@pytest.mark.parametrize("d", ["float16", "bfloat16", "float32"])
def test_operands_take_narrow_dtypes_too(name: str, d: str) -> None:
    x = hb.tensor(D, dtype=d)
    assert OPERATIONS[name][0](x).dtype is x.dtype


def test_sequences_beside_integers() -> None:
    x = hb.tensor([1, 2], dtype="int8")
    assert (x + [1, 2]).dtype is hb.int8 and (x + [0.5, 1]).dtype is hb.float32
    assert (x[:1] + []).dtype is hb.int8
    assert (hb.tensor([True]) + [1]).dtype is hb.int64
    assert (hb.tensor([True]) + [True]).dtype is hb.bool_
    for wrong in (300, [1, 300], -129):
        with pytest.raises(OverflowError, match="does not fit int8"):
            x + wrong
    assert (x < [300, -300]).tolist() == [True, False] and hb.less(x, 300).tolist() == [True, True]
    with pytest.raises(OverflowError, match="int64 or uint64|does not fit"):
        x + [2**70]
    with pytest.raises(OverflowError):
        hb.tensor([2**63, -1])
    assert hb.tensor([2**63, 1]).dtype is hb.uint64
    assert hb.tensor([2**53 + 1]).tolist() == [2**53 + 1]
    assert (hb.tensor([0], dtype="uint64") + (2**64 - 1)).tolist() == [2**64 - 1]


def test_integers_beyond_64_bits_need_a_floating_partner() -> None:
    x, big = hb.zeros(2, dtype="float64"), 2**100
    for got in (
        x + big,
        x + [big, big],
        x + [big, float(big)],
        hb.full(2, big, dtype="float64"),
        hb.tensor([big, big], dtype="float64"),
        x.clone().assign([big, big]),
        hb.where(x == 0, [big, big], x),
    ):
        assert got.dtype is hb.float64 and got.tolist() == [2.0**100] * 2
    assert hb.tensor(big, dtype="float32").item() == 2.0**100
    assert hb.full((), 2**64 - 1).dtype is hb.uint64
    for refused in (
        lambda: hb.tensor(big),
        lambda: hb.tensor([big, 1]),
        lambda: hb.tensor([big], dtype="int64"),
        lambda: hb.tensor([1, 2]) + [big, 1],
        lambda: x + 2**2000,
        lambda: x + [2**2000, 1],
        lambda: hb.tensor([1]) + 2**20000,
    ):
        with pytest.raises(OverflowError, match="does not fit|int64 or uint64"):
            refused()


# ---- weights, parameters and bounds
def _double(v: Any) -> Any:
    return hb.tensor(np.asarray(v, np.float64))


X = _double([[0.3, -0.7, 0.2], [0.5, 0.1, 0.9]])


def _backward(seeds: Any) -> Any:
    x = hb.ones(3, dtype="float64", requires_grad=True)
    (x * 1.0).backward(seeds)
    return x.grad


LITERALS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "bce target": (lambda v: hb.binary_cross_entropy(hb.abs(X), v), [TENTH[:1] * 3] * 2),
    "bce weight": (lambda v: hb.binary_cross_entropy(hb.abs(X), X * 0, weight=v), [0.1] * 3),
    "logits weight": (
        lambda v: hb.binary_cross_entropy_with_logits(X, X * 0, weight=v, pos_weight=v),
        [0.1, 0.2, 0.3],
    ),
    "classes weight": (lambda v: hb.cross_entropy(X, hb.tensor([1, 2]), v), [0.1, 0.2, 0.3]),
    "soft targets": (lambda v: hb.cross_entropy(X, v), [[0.1, 0.2, 0.7]] * 2),
    "nll weight": (lambda v: hb.nll_loss(X, hb.tensor([1, 2]), v), [0.1, 0.2, 0.3]),
    "huber": (lambda v: hb.huber_loss(X, v), [[0.1, 0.2, 0.3]] * 2),
    "kl": (lambda v: hb.kl_div(X, v), [[0.1, 0.2, 0.7]] * 2),
    "linear": (lambda v: hb.linear(X, v, [0.1]), [[0.1, 0.2, 0.3]]),
    "conv1d": (lambda v: hb.conv1d(X[None], v), [[[0.1, 0.2], [0.3, 0.4]]]),
    "layer_norm": (lambda v: hb.layer_norm(X, 3, v, v), [0.1, 0.2, 0.3]),
    "rms_norm": (lambda v: hb.rms_norm(X, 3, v), [0.1, 0.2, 0.3]),
    "batch_norm": (lambda v: hb.batch_norm(X, v, v, v, v), [0.1, 0.2, 0.3]),
    "group_norm": (lambda v: hb.group_norm(X, 3, v, v), [0.1, 0.2, 0.3]),
    "cosine": (lambda v: hb.cosine_similarity(X, v), [0.1, 0.2, 0.3]),
    "searchsorted": (lambda v: hb.searchsorted(_double([0.1, 0.2]), v), [0.1, 0.2]),
    "edges": (lambda v: hb.searchsorted(v, _double([0.1, 0.2])), [0.1, 0.2]),
    "seeds": (lambda v: _backward(v), [0.1, 0.2, 0.3]),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_sequence_is_the_float64_tensor_that_it_looks_like(name: str) -> None:
    f, values = LITERALS[name]
    want, traced = f(_double(values)), hb.function(f)
    for g in (f, traced, traced, traced):
        got = g(values)
        assert got.dtype is want.dtype and got.numpy().tobytes() == want.numpy().tobytes()


@pytest.mark.parametrize("draw", [hb.random.uniform, hb.random.normal])
def test_bounds_of_random_numbers(draw: Any) -> None:
    def one(a: Any, b: Any, **more: Any) -> Any:
        return draw(a, b, (4,), generator=hb.random.Generator(1), **more)

    want = one(_double(0.1), _double(0.3))
    assert want.dtype is hb.float64
    for a, b in ((0.1, 0.3), ([0.1] * 4, [0.3] * 4), (np.float64(0.1), np.float64(0.3))):
        assert one(a, b, dtype="float64").tolist() == want.tolist()
    assert one(0.1, np.float64(0.3)).dtype is hb.float32
    assert one(np.array([0.1] * 4), 0.3).dtype is hb.float64


def test_numpy_numbers_as_parameters_change_no_dtype() -> None:
    x, half = hb.ones(2, 4), np.float64(0.5)
    for out in (
        hb.dropout(x, half),
        hb.smooth_l1_loss(x, x * 0, beta=half),
        hb.huber_loss(x, x * 0, delta=half),
        hb.celu(x, half),
        hb.normalize(x, eps=half),
        hb.cosine_similarity(x, x, eps=half),
        hb.batch_norm(x, training=True, momentum=half, eps=half),
        hb.cross_entropy(x, hb.tensor([0, 1]), label_smoothing=half),
        hb.leaky_relu(x, half),
        hb.norm(x, ord=np.float64(3.0)),
        hb.var(x, correction=np.float64(1.0)),
        hb.round(x, 2),
    ):
        assert out.dtype is hb.float32
