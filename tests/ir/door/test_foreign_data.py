"""What data of NumPy, buffers and sequences becomes: its own dtype, one rounding, shared or copied
memory, and the content of the moment where a function captures it.  Eager and replayed.
"""

import array
import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from foreign_harness import D

import hybrid as hb
from hybrid.core import dtypes as dt


@pytest.mark.filterwarnings("ignore::hybrid.Widened")
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
