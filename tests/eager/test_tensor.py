"""The Tensor class: creation, properties, conversions, methods, text and copies."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest
from tensor_harness import FLOATS, INTS, SPECIAL, X, same

import hybrid as hb
from hybrid.core import dtypes as dt


# ---- creation
@pytest.mark.parametrize(
    "data, name",
    [
        (2.5, "float32"),
        (3, "int64"),
        (True, "bool"),
        ([1, 2.5], "float32"),
        ([], "float32"),
        ([[], []], "float32"),
        ([True, False], "bool"),
        (range(3), "int64"),
        (np.float64(1), "float64"),
        (np.arange(3, dtype=">f4"), "float32"),
        (np.arange(2, dtype=np.uint16), "uint16"),
        ((1, (2)), "int64"),
    ],
)
def test_tensor_picks_a_dtype(data, name):
    t = hb.tensor(data)
    assert t.dtype.name == name and t.dtype is dt.canonical(name) and t.shape == np.shape(data)


def test_tensor_copies_and_asarray_shares_only_on_request():
    a = X.copy()
    t, s, shared = hb.tensor(a), hb.asarray(a), hb.asarray(a, copy=False)
    a[0, 0] = 100.0
    assert t[0, 0].item() == 1.0 and s[0, 0].item() == 1.0 and shared[0, 0].item() == 100.0
    frozen = X.copy()
    frozen.flags.writeable = False
    assert np.shares_memory(hb.asarray(frozen).numpy(), frozen)
    assert hb.asarray(t) is t and hb.asarray(t, copy=True) is not t
    with pytest.raises(ValueError, match="copy"):
        hb.asarray(a, dtype="float64", copy=False)
    same(hb.tensor(a[:, ::-1]), a[:, ::-1])


def test_tensor_of_tensors():
    x = hb.tensor([1.0, 2.0], requires_grad=True)
    y = hb.tensor(x)
    assert not y.requires_grad and y.tolist() == [1.0, 2.0]
    x.assign([3.0, 4.0])
    assert y.tolist() == [1.0, 2.0]
    assert hb.tensor([x[0], 5.0]).tolist() == [3.0, 5.0]
    assert hb.tensor(x, dtype="int32").dtype is hb.int32


@pytest.mark.parametrize(
    "data, error, text",
    [
        ("abc", hb.DTypeError, "no array of numbers"),
        ([1, [2]], hb.ShapeError, "nested"),
        (None, hb.DTypeError, "numbers"),
        ({"a": 1}, hb.DTypeError, "dict"),
        ([2**70], OverflowError, "float"),
        ((x for x in [1]), hb.DTypeError, "generator"),
    ],
)
def test_tensor_refuses(data, error, text):
    with pytest.raises(error, match=text):
        hb.tensor(data)


def test_python_integers_that_do_not_fit_overflow():
    for make in (
        lambda: hb.tensor(300, dtype="int8"),
        lambda: hb.tensor([1, -1], dtype="uint8"),
        lambda: hb.full((2,), 256, dtype="uint8"),
        lambda: hb.tensor([1], dtype="int8") + 128,
        lambda: hb.tensor([1], dtype="uint8") - (-1),
        lambda: 2**40 * hb.tensor([1], dtype="int32"),
    ):
        with pytest.raises(OverflowError, match="does not fit"):
            make()
    same(hb.tensor(np.array([300, -1])).astype("uint8"), np.array([44, 255], np.uint8))


def test_comparisons_with_integers_out_of_range_compare_numbers():
    x = hb.tensor([-1, 100], dtype="int8")
    for f in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
        for n in (300, -300, 2**70):
            same(f(x, n), f(np.array([-1, 100], np.int8), n))


def test_tensor_class_is_not_called():
    with pytest.raises(TypeError, match="hybrid.tensor"):
        hb.Tensor([1, 2])


@pytest.mark.parametrize("name", FLOATS + INTS + ("bool",))
def test_round_trip_of_every_dtype(name):
    d = dt.canonical(name)
    a = np.array([0, 1, 1, 0, 1]).astype(d)
    t = hb.tensor(a)
    same(t, a)
    same(pickle.loads(pickle.dumps(t)), a)
    same(copy.deepcopy(t), a)
    assert t.tolist() == a.astype(np.float64).tolist() and t[1].item() == 1
    assert name in repr(t) or d in (dt.float32, dt.int64, dt.bool_)
    assert t.nbytes == 5 * d.itemsize == t.numel() * t.element_size() == t.nelement() * t.itemsize


# ---- properties
def test_properties():
    t = hb.tensor(X)
    assert (t.shape, t.ndim, t.size, len(t), t.dim(), t.nbytes) == ((2, 3), 2, 6, 2, 2, 24)
    assert t.dtype is hb.float32 and str(t.device) == "cpu" and t.is_floating_point() and t.is_leaf
    assert (
        not t.requires_grad
        and t.grad is None
        and t.contiguous() is t
        and t.cpu() is t
        and t.to("cpu") is t
    )
    same(t.T, X.T)
    same(
        hb.tensor(np.arange(24).reshape(2, 3, 4)).mT, np.arange(24).reshape(2, 3, 4).swapaxes(1, 2)
    )
    assert t.__array_namespace__() is hb and t.__dlpack_device__() == (1, 0)
    with pytest.raises(AttributeError):
        t.nothing = 3


# ---- to NumPy and Python
def test_numpy_is_read_only():
    t = hb.tensor(X)
    for a in (t.numpy(), np.asarray(t), np.array(t, copy=None)):
        assert not a.flags.writeable
        with pytest.raises(ValueError):
            a[0, 0] = 1
    b = np.array(t)
    b[0, 0] = 9
    same(t, X)
    assert np.asarray(t, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        t.__array__(np.float64, copy=False)


def test_numpy_functions_and_in_place():
    t = hb.tensor(X)
    same(np.concatenate([t, t]), np.concatenate([X, X]))
    assert np.sum(t) == X.sum() and np.allclose(t, X) and np.mean(t, axis=0).shape == (3,)
    same(np.where(t > 0, t, 0), np.where(X > 0, X, np.float32(0)))
    same(np.from_dlpack(t), X)
    a = X.copy()
    assert np.add(a, t, out=a) is a
    np.testing.assert_array_equal(a, X + X)
    assert isinstance(a + t, hb.Tensor) and isinstance(np.float32(1) * t, hb.Tensor)


def test_python_numbers():
    t = hb.tensor([[2.5]])
    assert float(t) == 2.5 and int(t) == 2 and complex(t) == 2.5 and bool(t) and t.item() == 2.5
    assert (
        type(hb.tensor(1.5, dtype="bfloat16").item()) is float and type(hb.tensor(2).item()) is int
    )
    assert type(hb.tensor(True).item()) is bool and [10, 20, 30][hb.tensor(1)] == 20
    assert f"{hb.tensor(1.25):.1f}" == "1.2" and f"{hb.tensor(3)}" == "3"
    assert hb.tensor(SPECIAL).tolist()[1:3] == [np.inf, -np.inf]
    for f in (float, int, complex):
        with pytest.raises(TypeError, match="one element"):
            f(hb.ones(2))
    with pytest.raises(ValueError, match="any\\(\\)"):
        bool(hb.ones(2))
    with pytest.raises(ValueError, match="any\\(\\)"):
        bool(hb.ones(0))
    with pytest.raises(hb.ShapeError, match="one element"):
        hb.ones(2).item()
    with pytest.raises(TypeError, match="index"):
        operator.index(hb.tensor(1.0))
    with pytest.raises(ValueError):
        f"{hb.ones(2):.2f}"


def test_sequence_protocol():
    t = hb.tensor(X)
    rows = list(t)
    assert len(rows) == 2
    same(rows[1], X[1])
    assert 3.5 in t and 99 not in t and hash(t) == hash(t) and t in {t}
    for f in (len, iter, list):
        with pytest.raises(TypeError, match="0-d"):
            f(hb.tensor(1.0))
    same(sum(t), X.sum(0))
    assert max(hb.tensor([1.0, 3.0])).item() == 3.0


# ---- conversions
def test_astype_and_to():
    t = hb.tensor([1.9, -1.9, np.nan, 1e20])
    same(t.astype("int32"), np.array([1, -1, 0, 2**31 - 1], np.int32))
    for name, f in {
        "float32": t.float,
        "float64": t.double,
        "float16": t.half,
        "bfloat16": t.bfloat16,
        "int64": t.long,
        "int32": t.int,
        "bool": t.bool,
    }.items():
        assert (
            f().dtype.name
            == name
            == t.to(name).dtype.name
            == t.astype(dt.canonical(name)).dtype.name
        )
    assert t.to(dtype="float16", device="cpu").dtype is hb.float16
    assert (
        t.type_as(hb.ones(1, dtype="int8")).dtype is hb.int8
        and t.to(hb.ones(1, dtype="int8")).dtype is hb.int8
    )
    assert t.to("float32") is t
    assert t.astype(float).dtype is hb.float64 and t.astype(int).dtype is hb.int64
    with pytest.raises(hb.DTypeError, match="not supported"):
        t.astype("datetime64[s]")
    same(
        hb.tensor([1.0, 1.00390625, 1.01171875]).bfloat16().float(),
        np.float32([1.0, 1.0, 1.015625]),
    )


def test_devices():
    t = hb.ones(2)
    assert t.to_device("cpu") is t and t.to(device="cpu") is t
    with pytest.raises((hb.DeviceError, hb.BackendError)):
        t.to("nowhere:0")
    with pytest.raises((hb.DeviceError, hb.BackendError)):
        hb.zeros(2, device="nowhere")


# ---- methods
def test_shape_methods():
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    t = hb.tensor(a)
    same(t.reshape(4, -1), a.reshape(4, -1))
    same(t.view((6, 4)), a.reshape(6, 4))
    same(t.ravel(), a.ravel())
    same(t.flatten(1), a.reshape(2, 12))
    same(t.permute(2, 0, 1), a.transpose(2, 0, 1))
    same(t.permute_dims((1, 0, 2)), a.transpose(1, 0, 2))
    same(t.transpose(2, 0, 1), a.transpose(2, 0, 1))
    same(t.transpose(-1, 0, 1), a.transpose(-1, 0, 1))
    with pytest.raises(hb.ShapeError, match=r"x.swapaxes\(0, 2\)"):
        t.transpose(0, 2)
    same(t.transpose(), a.T)
    same(t.transpose((1, 2, 0)), a.transpose(1, 2, 0))
    same(t[0].transpose(1, 0), a[0].T)
    same(t.T, a.T)
    same(t.unsqueeze(1), a[:, None])
    same(t.unsqueeze(-1).squeeze(-1), a)
    same(t.expand(5, -1, 3, 4), np.broadcast_to(a, (5, 2, 3, 4)))
    same(t.moveaxis(0, -1), np.moveaxis(a, 0, -1))
    same(t.flip(1), a[:, ::-1])
    same(t.roll(1, 2), np.roll(a, 1, 2))
    same(t.tile((2, 1, 1)), np.tile(a, (2, 1, 1)))
    same(t.repeat(2, 0), np.repeat(a, 2, 0))
    for got, want in zip(t.unbind(1), np.moveaxis(a, 1, 0)):
        same(got, want)
    with pytest.raises(hb.ShapeError, match="do not fill"):
        t.reshape(5)
    with pytest.raises(hb.ShapeError):
        t.expand(2)


def test_selecting_methods():
    a = np.array([[3.0, 1.0], [2.0, 4.0]], np.float32)
    t = hb.tensor(a)
    same(t.gather(1, hb.tensor([[1], [0]])), np.float32([[1], [2]]))
    same(t.index_select(1, [1]), a[:, [1]])
    same(t.masked_fill(t > 2, -1), np.float32([[-1, 1], [2, -1]]))
    same(t.sort(), np.sort(a))
    same(t.argsort(), np.argsort(a))
    same(t.take([1], 0), a[[1]])
    same(t.cumsum(1), np.cumsum(a, 1))
    same(t.argmax(1), a.argmax(1))
    same(t.clamp(max=2), np.minimum(a, np.float32(2)))
    same(t.tril(), np.tril(a))
    for name in ("sum", "mean", "max", "min", "prod", "any", "all"):
        for axis in (None, 0, 1, -1, (0, 1)):
            same(getattr(t, name)(axis=axis), getattr(a, name)(axis=axis))
            same(getattr(t, name)(axis, keepdims=True), getattr(a, name)(axis=axis, keepdims=True))
    with pytest.raises(hb.ShapeError, match="out of range"):
        t.sum(2)


def test_functions_take_numpy_and_lists():
    for x in (X, X.tolist(), hb.tensor(X)):
        same(hb.exp(x), np.asarray(hb.tensor(X).exp()))
        same(hb.add(x, 1.0), X + 1)
    assert hb.add(1, 2).dtype is hb.int64 and hb.exp(1).dtype is hb.float32


def test_method_and_function_are_one():
    assert hb.Tensor.exp is hb.exp and hb.Tensor.sum is hb.sum and hb.Tensor.__add__ is hb.add


# ---- text
def test_repr():
    assert repr(hb.tensor([[1.0, 2.0]])) == "tensor([[1., 2.]])"
    assert repr(hb.tensor([1, 2], dtype="int8")) == "tensor([1, 2], dtype=int8)"
    x = hb.tensor([1.0], requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)" and "grad_fn=<multiply>" in repr(x * 2)
    assert "grad_fn=<concat>" in repr(hb.concat([x, x])) and "grad_fn=<" in repr(
        hb.concat([x, x]).split(1)[0]
    )
    assert repr(hb.zeros((0, 3))) == "tensor([], dtype=float32, shape=(0, 3))"
    assert len(repr(hb.zeros((60, 60, 60)))) < 4000
    assert str(hb.tensor(True)) == "tensor(True)"


@pytest.mark.parametrize(
    "t",
    [
        np.zeros((50, 60)),
        np.zeros(0),
        np.array(np.nan),
        SPECIAL,
        np.array([True, False]),
        np.zeros((3, 0, 2)),
        np.zeros((2, 2, 2, 2), np.int8),
        np.full((2, 3), np.inf),
        np.array([1.5, np.nan], dt.bfloat16),
        np.array([3e38, -3e38], np.float32),
        np.array([1e308, -1e308]),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_html_is_bounded(t):
    text = hb.tensor(t)._repr_html_()
    assert len(text) < 20000 and str(t.dtype) in text and text.count("<tr>") <= 8


# ---- copies
def test_pickle_and_copy():
    x = hb.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y = pickle.loads(pickle.dumps(x))
    assert y.requires_grad and y.is_leaf and y.tolist() == [1.0, 2.0]
    z = copy.deepcopy(x)
    assert z.requires_grad and z.grad.tolist() == [2.0, 4.0] and z.grad is not x.grad
    a, b = copy.deepcopy([x, x])
    assert a is b
    with pytest.raises(hb.HybridError, match="detach"):
        copy.deepcopy(x * 2)
    assert copy.copy(x).tolist() == [1.0, 2.0]


def test_requires_grad_switch():
    x = hb.tensor([1.0])
    assert x.requires_grad_() is x and x.requires_grad and x.grad is None
    x.requires_grad = False
    assert not x.requires_grad
    y = x.requires_grad_() * 2
    with pytest.raises(hb.HybridError, match="detach"):
        y.requires_grad_(False)
    with pytest.raises(hb.DTypeError, match="floating"):
        hb.tensor([1]).requires_grad_()


def test_astype_copies_and_to_does_not():
    x = hb.tensor([1.0, 2.0])
    y = x.astype("float32")
    y += 1
    assert x.tolist() == [1.0, 2.0] and y.tolist() == [2.0, 3.0]
    assert x.astype("float32", copy=False) is x and x.to("float32") is x and x.float() is x


def test_dtype_questions_and_constants():
    assert (
        float(hb.finfo(hb.ones(1, dtype="float16")).max) == 65504.0
        and hb.iinfo(hb.uint8).max == 255
    )
    assert hb.result_type(hb.ones(1, dtype="int8"), hb.uint8, 3) is hb.int16
    assert hb.result_type(1, 2.5) is hb.float32 and hb.result_type(True, 1) is hb.int64
    for f, x in ((hb.finfo, hb.int8), (hb.iinfo, hb.float32)):
        with pytest.raises(hb.DTypeError, match="info"):
            f(x)
    assert (
        hb.pi == np.pi
        and hb.inf == np.inf
        and hb.nan != hb.nan
        and hb.ones(2)[hb.newaxis].shape == (1, 2)
    )


PLACES = [(1,), (-1,), (6,), (-7,), (0, 1), (1, -1), ((1, 2),), ((3,),), (0, 0, 0), (2, 0)]


@pytest.mark.parametrize(
    "places", [*PLACES, (1.5,), ("a",), (np.int64(2),), (None,), ((),)], ids=str
)
def test_item_at_a_place(places) -> None:
    array = np.arange(6.0).reshape(2, 3)
    try:
        want = array.item(*places)
    except (IndexError, ValueError, TypeError) as error:
        with pytest.raises(type(error)):
            hb.tensor(array).item(*places)
        return
    assert hb.tensor(array).item(*places) == want
    assert hb.tensor(array[0]).item(2) == hb.tensor(2.0).item(0) == hb.tensor(2.0).item(()) == 2.0


def test_item_at_a_place_replays() -> None:
    def scaled(x, place):
        return x * x.item(place) if x.item(0, 1) > 3 else x + x.item((1, 1))

    traced = hb.function(scaled)
    for turn in range(8):
        x = hb.arange(6.0).reshape(2, 3) + turn % 4 * 2
        assert traced(x, turn % 6).tolist() == scaled(x, turn % 6).tolist()


def test_searchsorted_is_a_method() -> None:
    edges, order = np.array([4.0, 1.0, 2.0]), np.array([1, 2, 0])
    for side in ("left", "right"):
        want = edges.searchsorted([0.5, 2.0, 9.0], side, order)
        assert hb.tensor(edges).searchsorted([0.5, 2.0, 9.0], side, order).tolist() == want.tolist()
        assert hb.tensor(edges[1:]).searchsorted(v=2.0, side=side).item() == (side == "right") + 1
