"""Python numbers and sequences beside tensors: they take the partner's dtype before they are
rounded, once; NumPy scalars, arrays and buffers keep their own.  Eager and replayed."""

import array
import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.core import dtypes as dt

TENTH = [0.1, 0.2, 1e300]
D = np.array([1.0, 2.0, 3.0])


def both(f: Callable[..., Any], *args: Any) -> list[np.ndarray]:
    """The result of f, eagerly and of three decorated calls, which must be replayed in the end."""

    def one(g: Callable[..., Any]) -> np.ndarray:
        return np.array(g(*[hb.tensor(a) for a in args]).numpy())

    traced = hb.function(f)
    out = [one(f)] + [one(traced) for _ in range(3)]
    for other in out[1:]:
        assert other.dtype == out[0].dtype and other.tobytes() == out[0].tobytes()
    return out


def same(got: np.ndarray, want: Any) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


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
        lambda x: hb.put_along_axis(x, [1, 0, 2], TENTH, 0),
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


def test_numpy_data_keeps_its_dtype() -> None:
    x = hb.ones(2)
    for other in (np.float64(0.1), np.array(0.1), np.array([0.1, 0.1]), [np.float64(0.1), 0.1]):
        for got in (x + other, hb.where(x > 0, other, x), hb.maximum(other, x * 0)):
            assert got.dtype is hb.float64
    assert (x + np.float64(0.1)).tolist() == [1.1, 1.1]
    assert (x + array.array("d", [0.1, 0.1])).tolist() == [1.1, 1.1]
    assert (x + np.int64(1)).dtype is hb.float32 and (x + [np.int32(1), 2]).dtype is hb.float32
    y = hb.ones(2)
    y += np.float64(0.5)  # in place the tensor's dtype decides, as in NumPy
    y.mul_(np.float64(2.0))
    assert y.dtype is hb.float32 and y.tolist() == [3.0, 3.0]


BF = np.dtype(dt.bfloat16).type
FOREIGN: list[tuple[Any, str]] = [
    ([D, D], "float64"),
    ([np.float64(0.1)], "float64"),
    ([np.float64(0.1), 1], "float64"),
    ([np.float32(0.1), 0.1], "float32"),
    ([np.float16(1), np.float16(2)], "float16"),
    ([np.float16(1), 2.5], "float16"),
    ([BF(1), BF(2)], "bfloat16"),
    ([BF(1), 2.5], "bfloat16"),
    ([np.float16(1), BF(1)], "float32"),
    ([np.int32(1), np.float64(2)], "float64"),
    ([np.int32(1), np.int8(2)], "int32"),
    ([np.int8(1), 2], "int8"),
    ([np.int8(1), 300], "int64"),
    ([np.int32(1), 0.5], "float32"),
    ([np.uint8(1), np.int8(2)], "int16"),
    ([np.bool_(True), False], "bool"),
    ([np.bool_(True), 2], "int64"),
    (array.array("d", [0.1]), "float64"),
    (array.array("f", [0.1]), "float32"),
    (array.array("i", [1]), "int32"),
    (memoryview(array.array("d", [0.1])), "float64"),
    (memoryview(np.array([1, 2], np.int16)), "int16"),
    (memoryview(b"ab"), "uint8"),
    (bytearray(b"ab"), "uint8"),
    (memoryview(np.array([True])), "bool"),
    ([array.array("d", [0.1])], "float64"),
    (range(3), "int64"),
    ([range(2), [0.5, 1]], "float32"),
    (collections.deque([0.1]), "float32"),
    ([], "float32"),
    ([[], []], "float32"),
    ([0.1, 1], "float32"),
    ((True, 2), "int64"),
    (2**63, "uint64"),
]


@pytest.mark.parametrize(
    "data, name", FOREIGN, ids=[f"{i}-{type(d).__name__}" for i, (d, _) in enumerate(FOREIGN)]
)
def test_what_data_becomes(data: Any, name: str) -> None:
    for make in (hb.asarray, hb.tensor):
        got = make(data)
        assert got.dtype.name == name
        want = np.array(
            [list(v) if type(v) is range else v for v in data] if type(data) is list else data,
            dtype=np.float64 if got.dtype.kind not in "biu" else None,
        )
        assert got.shape == want.shape
        np.testing.assert_allclose(
            np.asarray(got, np.float64),
            want.astype(np.float64),
            rtol=1e-2 if name[0] != "f" else 1e-3,
        )
        if name == "float64":
            assert np.array_equal(got.numpy(), want)


def test_sequences_of_tensors_promote_and_keep_gradients() -> None:
    x = hb.tensor(D, requires_grad=True)
    assert hb.asarray([x, x]).dtype is hb.float64 and hb.asarray([hb.ones(2), D[:2]]).tolist()
    assert hb.asarray([hb.tensor(1), hb.tensor(0.5)]).dtype is hb.float32
    assert hb.asarray([hb.ones(1, dtype="bfloat16"), [2.0]]).dtype is hb.bfloat16
    y = hb.asarray([[x[0], 0.1], [x[1] * x[2], 3]])
    y.sum().backward()
    assert y.tolist() == [[1.0, 0.1], [6.0, 3.0]] and x.grad.tolist() == [1.0, 3.0, 2.0]
    assert not hb.tensor([x[0], x[1]]).requires_grad
    z = x + [x[0], 0.1, x[1]]
    assert z.requires_grad and z.tolist() == [2.0, 2.1, 5.0]
    with pytest.raises(hb.ShapeError):
        hb.asarray([x, x[0]])
    deep: Any = x
    for _ in range(70):
        deep = [deep]
    with pytest.raises(hb.ShapeError, match="deep"):
        hb.asarray(deep)


def test_sequences_of_tensors_are_replayed() -> None:
    def f(x: Any) -> Any:
        return hb.asarray([x.sum(), 0.1, x[0]]) * hb.tensor([x[0], x[1], x[2]])

    g = hb.function(f)
    for k in range(4):
        x = hb.tensor(D + k)
        assert g(x).numpy().tobytes() == f(x).numpy().tobytes()
    assert "replay" in str(g.explain()).lower()


@pytest.mark.parametrize("make", [hb.tensor, hb.asarray, lambda d: hb.ones(2) + d])
def test_data_that_is_refused(make: Any) -> None:
    masked = np.ma.masked_array([1.0, 2.0], mask=[True, False])
    for bad in (
        1j,
        [1j],
        np.array([1j]),
        "ab",
        b"ab",
        {1, 2},
        {1: 2},
        None,
        [None],
        object(),
        (i for i in range(2)),
        masked,
        [masked],
        np.array(["a"]),
        np.datetime64("2020", "Y"),
    ):
        with pytest.raises(hb.DTypeError):
            make(bad)
    for ragged in ([[1, 2], [3]], [D, D[:1]]):
        with pytest.raises(hb.ShapeError):
            make(ragged)


def test_one_rounding_to_bfloat16_and_float16() -> None:
    v = 1 + 2.0**-8 + 2.0**-30  # a tie once it is rounded to float32
    for x in (
        hb.tensor(v, dtype="bfloat16"),
        hb.tensor([v], dtype="bfloat16")[0],
        hb.full((), v, dtype="bfloat16"),
        hb.zeros((), dtype="bfloat16") + v,
        hb.zeros(1, dtype="bfloat16").assign(v)[0],
        hb.tensor(np.array(v), dtype="bfloat16"),
        hb.tensor(v, dtype="float64").astype("bfloat16"),
    ):
        assert x.item() == 1 + 2.0**-7
    h = 1 + 2.0**-11 + 2.0**-40
    assert (hb.zeros((), dtype="float16") + h).item() == 1 + 2.0**-10


# ---- sharing
def test_asarray_shares_only_what_nobody_can_write() -> None:
    b = np.arange(6.0)
    frozen = np.arange(6.0)
    frozen.flags.writeable = False
    hidden = b.view()
    hidden.flags.writeable = False
    raw = bytearray(b.tobytes())
    views = [
        np.broadcast_to(b, (2, 6)),
        hidden,
        hidden[1:],
        memoryview(raw).toreadonly(),
        np.frombuffer(memoryview(raw).toreadonly()),
        np.lib.stride_tricks.sliding_window_view(b, 2),
        np.asarray(memoryview(b).toreadonly()),
        b[:3],
        b.reshape(2, 3).T,
    ]
    for v in views:
        t = hb.asarray(v)
        before = t.tolist()
        b += 1.0
        raw[:] = bytes(len(raw))
        assert t.tolist() == before
        b -= 1.0
        raw[:] = b.tobytes()
    for v in (frozen, frozen[1:], np.broadcast_to(frozen, (2, 6)), np.frombuffer(b.tobytes())):
        assert np.shares_memory(hb.asarray(v).numpy(), v)


def test_asarray_without_a_copy() -> None:
    b = np.arange(3.0)
    for shared in (b, memoryview(b), array.array("d", [1.0])):
        t = hb.asarray(shared, copy=False)
        np.asarray(shared)[0] = 7.0
        assert t[0].item() == 7.0
    x = hb.ones(2)
    assert hb.asarray(x, copy=False) is x
    for bad in ([1.0], 1.0, np.float64(1), b.astype(">f8"), range(2)):
        with pytest.raises(ValueError, match="copy"):
            hb.asarray(bad, copy=False)
    with pytest.raises(ValueError, match="copy"):
        hb.asarray(x, dtype="float64", copy=False)


class Boxed:
    """An object with NumPy's protocol and nothing else."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([0.1, 0.2])


class Capsule:
    """An object with DLPack's protocol and nothing else."""

    def __dlpack__(self, **kwargs: Any) -> Any:
        return np.array([0.1, 0.2]).__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@pytest.mark.parametrize("thing", [Boxed(), Capsule()])
def test_array_protocols(thing: Any) -> None:
    for t in (hb.tensor(thing), hb.asarray(thing), hb.zeros(2) + thing):
        assert t.dtype is hb.float64 and t.tolist() == [0.1, 0.2]
    x = hb.zeros(2)
    x[:] = thing
    assert x.tolist() == np.float32([0.1, 0.2]).tolist()


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


@pytest.mark.parametrize("d", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("e", ["float16", "bfloat16", "float32", "float64", "int8"])
def test_joined_sequences_have_the_bits_of_stack(d: str, e: str) -> None:
    x = hb.tensor([1.5, 2049.0, 1.00390625 + 2.0**-30], dtype=d)
    y = hb.tensor([0.1, -7.0, 3.0], dtype=e)
    f = lambda x, y: hb.asarray([x, y, [0.1, 3, 2]])  # noqa: E731
    plain, traced = f(x, y), hb.function(f)
    kept = hb.stack([x.astype(plain.dtype), y.astype(plain.dtype), [0.1, 3, 2]])
    for got in (kept, *[traced(x, y) for _ in range(3)]):
        assert got.dtype is plain.dtype and got.numpy().tobytes() == plain.numpy().tobytes()
    with pytest.raises(hb.ShapeError, match="shape"):
        f(x, y[:2])


# ---- captured data that changes between calls
def _holders() -> list[tuple[str, Any, Callable[[], Any]]]:
    b, buffer = np.array([0.1, 0.2]), array.array("d", [0.1, 0.2])
    hidden = b.view()
    hidden.flags.writeable = False
    plain, nested, queue = [0.1, 0.2], [[0.1, 0.2]], collections.deque([0.1, 0.2])
    tensors, arrays = [hb.tensor(0.1, dtype="float64"), 0.2], [np.array([0.1, 0.2])]
    return [
        ("array", b, lambda: b.__setitem__(0, 5.0)),
        ("read-only view", hidden, lambda: b.__setitem__(0, 6.0)),
        ("buffer", buffer, lambda: buffer.__setitem__(0, 5.0)),
        ("memoryview", memoryview(buffer), lambda: buffer.__setitem__(0, 6.0)),
        ("list", plain, lambda: plain.__setitem__(0, 5.0)),
        ("nested", nested, lambda: nested[0].__setitem__(0, 5.0)),
        ("deque", queue, lambda: queue.__setitem__(0, 5.0)),
        ("number beside a tensor", tensors, lambda: tensors.__setitem__(1, 5.0)),
        ("tensor in a list", tensors, lambda: tensors[0].assign(7.0)),
        ("array in a list", arrays, lambda: arrays[0].__setitem__(0, 5.0)),
    ]


@pytest.mark.parametrize("k", range(10), ids=[name for name, _, _ in _holders()])
@pytest.mark.parametrize(
    "op",
    [lambda x, v: x + v, lambda x, v: x * hb.asarray(v), lambda x, v: hb.where(x > 0, v, x)],
    ids=["operand", "asarray", "where"],
)
@pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly")
def test_captured_data_is_followed(op: Any, k: int) -> None:
    _, held, change = _holders()[k]
    x = hb.ones(2, dtype="float64")
    captured, passed = hb.function(lambda x: op(x, held)), hb.function(op)
    for call in range(6):
        if call == 4:
            change()
        want = op(x, held).tolist()
        assert captured(x).tolist() == want and passed(x, held).tolist() == want
