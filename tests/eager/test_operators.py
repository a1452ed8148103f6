"""Operators of the Tensor class, plain and in place: NumPy's results with hybrid's promotion."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_harness import FLOATS, INTS, SPECIAL, X, same

import hybrid as hb

# ---- operators
BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]


@pytest.mark.filterwarnings("ignore::hybrid.Widened")
@pytest.mark.parametrize("f", BINARY, ids=lambda f: f.__name__)
def test_binary_operators_as_numpy(f):
    a, b = SPECIAL, SPECIAL[::-1].copy()
    with np.errstate(all="ignore"):
        same(f(hb.tensor(a), hb.tensor(b)), f(a, b))
        same(f(hb.tensor(a), 2.5), f(a, np.float32(2.5)))
        same(f(hb.tensor(a), 2), f(a, np.float32(2)))
        same(f(0.0, hb.tensor(a)), f(np.float32(0), a))
        same(f(hb.tensor(a), -0.0), f(a, np.float32(-0.0)))
        same(f(hb.tensor(a), 0.0), f(a, np.float32(0.0)))
        same(f(hb.tensor(a), float("nan")), f(a, np.float32(np.nan)))
        same(f(hb.tensor(a), a), f(a, a))
        same(f(b, hb.tensor(a)), f(b, a))
        same(f(hb.tensor(X), [1.0, 2.0, 3.0]), f(X, np.float32([1, 2, 3])))
        for scalar in (np.float32(2), np.int64(2)):
            same(f(scalar, hb.tensor(a)), f(np.float32(2), a))
            same(f(hb.tensor(a), scalar), f(a, np.float32(2)))
        same(f(np.float64(2), hb.tensor(a)), f(np.float64(2), a))  # NumPy scalars keep theirs
        same(f(hb.tensor(a), np.float64(2)), f(a, np.float64(2)))


def test_signs_of_zero_survive_scalars():
    x = hb.tensor([1.0])
    for _ in range(3):
        assert np.signbit((x * -0.0).numpy())[0] and not np.signbit((x * 0.0).numpy())[0]
        assert np.signbit((-0.0 * x).numpy())[0] and not np.signbit((0.0 * x).numpy())[0]
        assert not np.signbit((x * 0).numpy())[0]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(INTS),
    st.sampled_from(["add", "sub", "mul", "floordiv", "mod", "and_", "or_", "xor"]),
    st.lists(st.integers(0, 100), min_size=1, max_size=5),
    st.integers(1, 7),
)
def test_integer_operators_as_numpy(name, f, values, n):
    a, g = np.array(values, name), getattr(operator, f)
    same(g(hb.tensor(a), n), g(a, n))
    same(g(n, hb.tensor(a + np.array(1, name))), g(n, a + np.array(1, name)))
    same(g(hb.tensor(a), hb.tensor(np.full_like(a, n))), g(a, np.full_like(a, n)))


def test_bitwise_shift_and_logic():
    i, b = np.array([1, 2, -3], np.int32), np.array([True, False, True])
    t, u = hb.tensor(i), hb.tensor(b)
    for f in (operator.and_, operator.or_, operator.xor):
        same(f(t, 6), f(i, np.int32(6)))
        same(f(6, t), f(np.int32(6), i))
        same(f(u, True), f(b, True))
        same(f(u, u), f(b, b))
        same(f(False, u), f(False, b))
    same(t << 2, i << 2)
    same(t >> 1, i >> 1)
    same(1 << hb.tensor([1, 2]), np.array([2, 4]))
    same(~t, ~i)
    same(~u, ~b)
    with pytest.raises(hb.DTypeError):
        hb.tensor([1.0]) & 1


BITS = {
    "and": (operator.and_, operator.iand, hb.bitwise_and),
    "or": (operator.or_, operator.ior, hb.bitwise_or),
    "xor": (operator.xor, operator.ixor, hb.bitwise_xor),
}


@pytest.mark.parametrize("name", BITS)
def test_bits_of_truth_values_beside_numbers(name):
    plain, inplace, function = BITS[name]
    b = np.array([True, False])
    u = hb.tensor(b)
    traced = hb.function(lambda x, y: plain(x, y))
    for other in (2, 3, True, [2, 1], [True, False], np.int8([2, 1])):
        for got in (plain(u, other), function(u, other), *[traced(u, other) for _ in range(3)]):
            same(got, plain(b, other))
        if not isinstance(other, np.ndarray):
            same(plain(other, u), plain(other, b))
            same(function(other, u), plain(other, b))
    for wrong in (2.5, 1j, hb.tensor([1.0]), [0.5, 1.0]):
        for call in (lambda w: plain(u, w), lambda w: plain(w, u), lambda w: function(u, w)):
            with pytest.raises(TypeError, match=f"bitwise_{name} does not take"):
                call(wrong)
    same(inplace(hb.tensor(b), True), plain(b, True))
    with pytest.raises(TypeError, match="int64 result in a bool"):
        inplace(hb.tensor(b), 3)


def test_division_power_and_friends():
    t = hb.tensor([7.0, -7.0])
    same(t // 2, np.float32([3, -4]))
    same(t % 3, np.float32([1, 2]))
    q, r = divmod(t, 2)
    same(q, np.float32([3, -4]))
    same(r, np.float32([1, 1]))
    same(divmod(9, hb.tensor([2.0, 4.0]))[1], np.float32([1, 1]))
    same(hb.tensor([7, -7]) // 2, np.array([3, -4]))
    same(hb.tensor([3, 4]) / 2, np.float32([1.5, 2]))
    same(hb.tensor([1, 2, 3]) ** 2, np.array([1, 4, 9]))
    same(2 ** hb.tensor([1.0, 3.0]), np.float32([2, 8]))
    same(abs(-t), np.float32([7, 7]))
    same(+t, np.float32([7, -7]))
    same(-hb.tensor([0.0]), np.float32([-0.0]))
    assert np.signbit((-hb.tensor([0.0])).numpy())[0]
    same(round(hb.tensor([1.25, 2.5, -0.5])), np.float32([1, 2, -0.0]))
    same(hb.tensor([1.26, 123.0]).round(1), np.round(np.float32([1.26, 123.0]), 1))
    same(round(hb.tensor([126, 124]), -1), np.array([130, 120]))


def test_matmul_operator_with_everything():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    same(hb.tensor(a) @ hb.tensor(a.T), a @ a.T)
    same(a @ hb.tensor(a.T), a @ a.T)
    same(hb.tensor(a) @ a.T, a @ a.T)
    same([[1.0, 2.0]] @ hb.tensor(a), np.float32([[1, 2]]) @ a)
    same(hb.tensor(a) @ hb.tensor(a[0]), a @ a[0])
    same(hb.tensor([2, 3]) @ hb.tensor([4, 5]), np.array(23))
    with pytest.raises(hb.ShapeError, match="matmul"):
        hb.tensor(a) @ hb.tensor(a)
    with pytest.raises(hb.ShapeError, match="multiply"):
        hb.tensor(a) @ 2


def test_unknown_operands():
    class Other:
        def __radd__(self, other):
            return "mine"

    t = hb.tensor([1.0])
    with pytest.raises(TypeError):
        t < None  # noqa: B015
    for bad in ("a", None, object()):
        with pytest.raises(TypeError):
            t + bad
        with pytest.raises(TypeError):
            bad - t
    with pytest.raises(hb.ShapeError, match="broadcast"):
        hb.ones((2, 3)) + hb.ones((2, 4))


def test_equality_with_what_is_no_number_is_numpys():
    class Asked:
        def __eq__(self, other):
            return "mine"

    array = np.array([[1, 2, 3]])
    t, both = hb.tensor(array), hb.function(lambda x, y: (x == y, x != y))
    for other in (None, "a", b"a", {}, {1: 2}, {1}, object(), int, range(1, 4)):
        for values in (array, array[:0], array[0, 0]):
            x = hb.tensor(values)
            for equal, differs in ((x == other, x != other), *[both(x, other) for _ in range(3)]):
                same(equal, np.asarray(values == other))
                same(differs, np.asarray(values != other))
        same(other == t, other == array)
        assert isinstance(other, range) or other not in t
    assert (t == Asked()) == "mine" and (Asked() == t) == "mine"


@pytest.mark.parametrize(
    "a, b, want",
    [
        ("float32", "float64", "float64"),
        ("float16", "bfloat16", "float32"),
        ("int64", "float16", "float16"),
        ("int8", "uint8", "int16"),
        ("bool", "int8", "int8"),
        ("bool", "bfloat16", "bfloat16"),
        ("uint32", "int32", "int64"),
    ],
)
def test_promotion(a, b, want):
    x, y = hb.ones(2, dtype=a), hb.ones(2, dtype=b)
    assert (x * y).dtype.name == want == (y * x).dtype.name


def test_weak_scalars():
    for name in FLOATS + INTS:
        x = hb.ones(2, dtype=name)
        assert (x + 1).dtype.name == name == (True + x).dtype.name
        assert (x + 1.5).dtype.name == (name if name in FLOATS else "float32")
    assert (hb.tensor([True]) + 1).dtype is hb.int64 and (
        hb.tensor([True]) * 2.5
    ).dtype is hb.float32
    with pytest.raises(hb.DTypeError, match="astype"):
        hb.ones(1, dtype="uint64") + hb.ones(1, dtype="int64")


# ---- in place
@pytest.mark.parametrize(
    "f",
    [
        operator.iadd,
        operator.isub,
        operator.imul,
        operator.itruediv,
        operator.ifloordiv,
        operator.imod,
        operator.ipow,
    ],
    ids=lambda f: f.__name__,
)
def test_in_place_operators(f):
    t, a = hb.tensor([1.0, 2.0, 5.0]), np.array([1.0, 2.0, 5.0], np.float32)
    same_handle = t
    t = f(t, 2.0)
    assert t is same_handle
    same(t, f(a, np.float32(2)))


def test_in_place_keeps_shape_dtype_and_snapshots():
    t = hb.tensor([1, 2])
    snap = t.numpy()
    t += 1
    t <<= 1
    t |= 1
    t ^= 2
    t &= 0xFF
    same(t, np.array([(((v + 1) << 1) | 1) ^ 2 for v in (1, 2)]))
    same(snap, np.array([1, 2]))
    with pytest.raises(hb.DTypeError, match="float32 result in a int64"):
        t += 0.5
    with pytest.raises(hb.ShapeError, match="cannot change the shape"):
        t += hb.ones((3, 2), dtype="int64")
    t = hb.tensor([1.0], dtype="float64")
    t += hb.tensor([1.0], dtype="float32")
    assert t.dtype is hb.float64
    m = hb.tensor(np.eye(2, dtype=np.float32))
    m @= m
    same(m, np.eye(2, dtype=np.float32))


def test_named_in_place_methods():
    t = hb.tensor([1.0, -4.0])
    assert t.add_(1).mul_(2).sub_(1).div_(2) is t
    same(t, np.float32([1.5, -3.5]))
    same(t.clamp_(-1, 1), np.float32([1, -1]))
    same(t.neg_().relu_(), np.float32([0, 1]))
    same(t.fill_(3), np.float32([3, 3]))
    same(t.zero_(), np.float32([0, 0]))
    same(t.copy_(hb.tensor([5, 6])), np.float32([5, 6]))
    same(t.pow_(2).exp_().zero_().copy_(7), np.float32([7, 7]))


def test_strided_operands():
    a = np.arange(40, dtype=np.float32).reshape(5, 8)
    t = hb.tensor(a)
    same(t[::2, ::-1] + t[1:4, :], a[::2, ::-1] + a[1:4])
    same(t.T * 2 + t.T, a.T * 2 + a.T)
    same(hb.asarray(a[:, 1::2], copy=False) * 2, a[:, 1::2] * 2)
    for n in (0, 1, 15, 16, 17, 63, 65):
        v = np.arange(n, dtype=np.float32)
        same(hb.tensor(v) * 2 + 1, v * 2 + 1)
