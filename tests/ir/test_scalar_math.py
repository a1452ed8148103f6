"""The exact arithmetic of the NumPy program reader, and the semantics of the elementwise records.

Invariant: expectations here are computed with Python integers, fractions and the math module only.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import hybrid
from hybrid import ops
from hybrid.backends.interpret import fma32, fma64, run_program
from hybrid.ir.scalar.program import Builder
from hybrid.ops.elementwise import updates

INF, NAN = math.inf, math.nan


def h(x: Any, d: Any = np.float32) -> Any:
    return hybrid.asarray(np.asarray(x, d))


def value(t: Any) -> np.ndarray:
    return np.asarray(t.numpy())


# ---- the reader
def rounded(v: Fraction, mant: int, low: int) -> Fraction:
    """v rounded to nearest even with `mant` fraction bits, exponent at least `low`."""
    if v == 0:
        return v
    e = max(math.floor(math.log2(abs(v))) if abs(v) > Fraction(1, 2**1000) else low, low)
    while abs(v) >= Fraction(2) ** (e + 1):
        e += 1
    while e > low and abs(v) < Fraction(2) ** e:
        e -= 1
    unit = Fraction(2) ** (e - mant)
    return round(v / unit) * unit


@pytest.mark.parametrize("d", [np.float32, np.float64])
def test_fma_rounds_once(d: type) -> None:
    rng = np.random.default_rng(0)
    f, mant, low = (fma32, 23, -126) if d is np.float32 else (fma64, 52, -1022)
    n = 400
    x, y = (rng.normal(size=n).astype(d) for _ in range(2))
    with np.errstate(all="ignore"):
        z = (-x * y * (1 + rng.integers(-3, 4, n) * float(np.finfo(d).eps))).astype(d)
        z[::3] = rng.normal(size=z[::3].size) * 2.0 ** rng.integers(-40, 40, z[::3].size)
        scale = 2.0 ** rng.integers(low // 2 - mant, low // 2 + 3, n // 4)
        x[: n // 4] *= scale.astype(d)
        y[: n // 4] *= scale.astype(d)
        z[: n // 4] = rng.integers(-9, 10, n // 4).astype(d) * np.finfo(d).smallest_subnormal
        got = f(x, y, z)
    for a, b, c, r in zip(x, y, z, got):
        want = rounded(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)), mant, low)
        assert Fraction(float(r)) == want, (a, b, c)


def test_fma_special_values() -> None:
    for f, d in ((fma32, np.float32), (fma64, np.float64)):
        rows = [
            (INF, 0.0, 1.0, NAN),
            (INF, 1.0, -INF, NAN),
            (2.0, 3.0, INF, INF),
            (-1.0, 0.0, 0.0, 0.0),
            (0.0, -1.0, -0.0, -0.0),
            (1.0, 1.0, -1.0, 0.0),
            (NAN, 1.0, 1.0, NAN),
        ]
        with np.errstate(all="ignore"):
            got = f(*(np.array(c, d) for c in list(zip(*rows))[:3]))
        want = np.array([r[3] for r in rows])
        np.testing.assert_array_equal(got, want)
        keep = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got)[keep], np.signbit(want)[keep])


def apply(prim: str, *xs: np.ndarray, attr: Any = None) -> np.ndarray:
    s = Builder()
    names = {"i": "i", "u": "u", "f": "f", "b": "b"}
    args = [
        s.arg("b1" if x.dtype.kind == "b" else f"{names[x.dtype.kind]}{8 * x.dtype.itemsize}")
        for x in xs
    ]
    out = s.convert(args[0], attr) if prim == "convert" else s.op(prim, *args)
    return run_program(s.program(out), list(xs))[0]


def wrap(v: int, bits: int, signed: bool) -> int:
    v %= 2**bits
    return v - 2**bits if signed and v >= 2 ** (bits - 1) else v


@pytest.mark.parametrize("ty", ["i8", "u8", "i32", "u32", "i64", "u64"])
def test_integer_primitives(ty: str) -> None:
    d, signed, bits = np.dtype(f"{ty[0]}{int(ty[1:]) // 8}"), ty[0] == "i", int(ty[1:])
    low, high = np.iinfo(d).min, np.iinfo(d).max
    edge = sorted(
        {low, low + 1, high, 0, 1, 2, 3, bits - 1, bits, 7} | ({-1, -2, -7} if signed else set())
    )
    x, y = (g.ravel() for g in np.meshgrid(np.array(edge, d), np.array(edge, d)))
    for prim in ("div", "rem", "shl", "shr", *(("mulhi",) if bits >= 32 else ())):
        for a, b, r in zip(map(int, x), map(int, y), map(int, apply(prim, x, y))):
            quotient = 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            count = b % 2**bits
            want = {
                "div": quotient,
                "rem": a - b * quotient,
                "shl": a << count if count < bits else 0,
                "shr": a >> min(count, bits),
                "mulhi": a * b >> bits,
            }[prim]
            assert r == wrap(want, bits, signed), (prim, a, b)
    v = np.array(edge, d)
    for a, c, p in zip(edge, apply("clz", v), apply("popcount", v)):
        assert int(c) == bits - (a % 2**bits).bit_length() and int(p) == (a % 2**bits).bit_count()


def test_conversion_saturates() -> None:
    x = np.array([NAN, INF, -INF, 1e30, -1e30, 2.0**63, -(2.0**63), 1.9, -1.9, 255.5], np.float64)
    assert apply("convert", x, attr="i64").tolist() == [
        0,
        2**63 - 1,
        -(2**63),
        2**63 - 1,
        -(2**63),
        2**63 - 1,
        -(2**63),
        1,
        -1,
        255,
    ]
    assert apply("convert", x, attr="u8").tolist() == [0, 255, 0, 255, 0, 255, 0, 1, 0, 255]
    assert apply("convert", x, attr="b1").all()
    top = np.array([2**63 - 1, 2**24 + 1, 2**24 + 3], np.int64)
    assert apply("convert", top, attr="f32").tolist() == [2.0**63, 2.0**24, 2.0**24 + 4]


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200, 4096, 4100, 9000])
def test_row_sum_order(n: int) -> None:
    x = np.random.default_rng(n).normal(size=(2, n)).astype(np.float32)
    s = Builder()
    got = run_program(s.program(s.rsum(s.arg("f32"))), [x])[0]
    for row, r in zip(x, got[:, 0]):
        total: Any = None
        for b in range(0, n, 4096):
            lanes = [np.float32(-0.0)] * 64
            for j, v in enumerate(row[b : b + 4096]):
                lanes[j % 64] = lanes[j % 64] + v
            t = [(lanes[i] + lanes[16 + i]) + (lanes[32 + i] + lanes[48 + i]) for i in range(16)]
            while len(t) > 1:
                t = [t[i] + t[i + len(t) // 2] for i in range(len(t) // 2)]
            total = t[0] if total is None else total + t[0]
        assert r == (np.float32(0) if total is None else total)


# ---- division, remainder, powers
FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    -0.1,
    3.0,
    -3.0,
    2.5,
    1e-30,
    -1e-30,
    1e30,
    -1e30,
    7.0,
    INF,
    -INF,
    NAN,
]


@pytest.mark.parametrize("d", [np.float32, np.float64])
def test_float_remainder_is_exact(d: type) -> None:
    rng = np.random.default_rng(1)
    i = np.finfo(d)
    extra = [float(i.max), float(i.tiny), float(i.smallest_subnormal), -float(i.max)]
    v = np.array(FLOATS + extra, d)
    raw = rng.integers(0, 2 ** (8 * v.itemsize), (2, 200), dtype=f"u{v.itemsize}").view(d)
    x, y = (np.concatenate([g.ravel(), r]) for g, r in zip(np.meshgrid(v, v), raw))
    got = {
        n: value(getattr(ops, n)(h(x, d), h(y, d))) for n in ("remainder", "fmod", "floor_divide")
    }
    with np.errstate(all="ignore"):
        want = {
            "remainder": np.remainder(x, y),
            "fmod": np.fmod(x, y),
            # with one infinity as the array API has it: NumPy gives -1 or NaN
            "floor_divide": np.where(np.isinf(x) ^ np.isinf(y), x / y, np.floor_divide(x, y)),
        }
    for n in ("remainder", "fmod", "floor_divide"):
        np.testing.assert_array_equal(got[n], want[n], err_msg=n)
        keep = ~np.isnan(want[n])
        np.testing.assert_array_equal(
            np.signbit(got[n])[keep], np.signbit(want[n])[keep], err_msg=n
        )


@pytest.mark.parametrize("d", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integer_division_and_powers(d: type) -> None:
    i = np.iinfo(d)
    v = np.array(
        sorted({i.min, i.max, 0, 1, 2, 3, 7, 63} | ({-1, -2, -7} if i.min < 0 else set())), d
    )
    x, y = (g.ravel() for g in np.meshgrid(v, v))
    got = [value(f(h(x, d), h(y, d))) for f in (ops.floor_divide, ops.remainder, ops.power)]
    bits, signed = i.bits, i.min < 0
    for a, b, q, r, p in zip(map(int, x), map(int, y), *got):
        assert int(q) == (wrap(a // b, bits, signed) if b else 0), (a, b)
        assert int(r) == (a % b if b else 0), (a, b)
        power = (
            a**b
            if b >= 0 and abs(a) < 2
            else pow(a, b, 2**64)
            if b >= 0
            else (a ** (b % 2) if abs(a) == 1 else 0)
        )
        assert int(p) == wrap(power, bits, signed), (a, b)


def test_small_exponents_are_products() -> None:
    x = h([-2.0, 0.1, 3.0, INF, NAN])
    np.testing.assert_array_equal(value(ops.power(x, 2)), value(x * x))
    np.testing.assert_array_equal(value(ops.power(x, 3)), value(x * x * x))
    np.testing.assert_array_equal(value(ops.power(x, -1.0)), value(1.0 / x))
    np.testing.assert_array_equal(value(ops.power(abs(x), 0.5)), value(ops.sqrt(abs(x))))
    whole = h([2, 3], np.int32)
    assert value(whole**2).tolist() == [4, 9] and (whole**2).dtype is hybrid.int32
    assert value(whole**2.0).tolist() == [4.0, 9.0] and (whole**2.0).dtype is hybrid.float32
    assert value(ops.power(2, whole)).tolist() == [4, 8]


# ---- the rest
def test_rounding_sign_and_extremes() -> None:
    x = h([-0.0, 0.5, 1.5, 2.5, -0.5, -1.5, INF, NAN, 8388609.0])
    np.testing.assert_array_equal(
        value(ops.round(x)), [-0.0, 0, 2, 2, -0.0, -2, INF, NAN, 8388609.0]
    )
    assert np.signbit(value(ops.round(x))).tolist()[:5] == [True, False, False, False, True]
    y = np.array([1.234, -5.675, 1250.0, INF, NAN], np.float32)
    for decimals in (2, -2):
        np.testing.assert_array_equal(value(ops.round(h(y), decimals)), np.round(y, decimals))
    assert value(ops.round(h([1250, 1350], np.int32), -2)).tolist() == [1200, 1400]
    assert value(round(h([1.26]), 1)).tolist() == [np.float32(1.3)]
    np.testing.assert_array_equal(value(ops.sign(x)), [0, 1, 1, 1, -1, -1, 1, NAN, 1])
    assert not np.signbit(value(ops.sign(x)))[0]
    a, b = h([0.0, -0.0, NAN, 1.0, INF]), h([-0.0, 0.0, 1.0, NAN, 2.0])
    assert np.signbit(value(ops.minimum(a, b))).tolist()[:2] == [True, True]
    assert np.signbit(value(ops.maximum(a, b))).tolist()[:2] == [False, False]
    np.testing.assert_array_equal(value(ops.maximum(a, b)), [0, 0, NAN, NAN, INF])
    np.testing.assert_array_equal(value(ops.clip(h([-1, 0.5, NAN, 9]), 0.0, 1.0)), [0, 0.5, NAN, 1])
    assert value(ops.clip(h([1, 5, 9], np.int32), 2)).tolist() == [2, 5, 9]
    assert value(ops.signbit(h([-0.0, 0.0, -NAN, NAN]))).tolist() == [True, False, False, False]
    np.testing.assert_array_equal(value(ops.copysign(h([3.0, 3.0]), h([-0.0, -NAN]))), [-3.0, 3.0])
    assert value(ops.abs(h([-128, 127], np.int8))).tolist() == [-128, 127]


def test_comparisons_and_logic() -> None:
    a, b = h([1.0, NAN, -0.0]), h([2.0, NAN, 0.0])
    want = {
        "equal": [0, 0, 1],
        "not_equal": [1, 1, 0],
        "less": [1, 0, 0],
        "less_equal": [1, 0, 1],
        "greater": [0, 0, 0],
        "greater_equal": [0, 0, 1],
    }
    for name, rows in want.items():
        got = value(getattr(ops, name)(a, b))
        assert got.dtype == bool and got.tolist() == [bool(r) for r in rows], name
    p, q = h([False, False, True, True], bool), h([False, True, False, True], bool)
    for name, f in (("equal", "__eq__"), ("less", "__lt__"), ("greater_equal", "__ge__")):
        assert value(getattr(ops, name)(p, q)).tolist() == [
            getattr(int(x), f)(int(y)) for x, y in zip(p.numpy(), q.numpy())
        ]
    assert value(ops.logical_and(h([2.0, 0.0, NAN]), True)).tolist() == [True, False, True]
    assert value(ops.add(p, q)).tolist() == [False, True, True, True] and value(p * q).tolist() == [
        False
    ] * 3 + [True]
    assert (
        value(ops.isfinite(h([1, 2], np.int32))).all()
        and not value(ops.isnan(h([1], np.uint8))).any()
    )


def test_shifts_and_bits() -> None:
    x, n = h([1, -8, 5, 5, 5], np.int32), h([4, 1, 32, -1, 31], np.int32)
    assert value(ops.bitwise_left_shift(x, n)).tolist() == [16, -16, 0, 0, -(2**31)]
    assert value(ops.bitwise_right_shift(x, n)).tolist() == [0, -4, 0, 0, 0]
    assert value(ops.bitwise_right_shift(h([-5], np.int8), 9)).tolist() == [-1]
    assert value(ops.bitwise_invert(h([0, 255], np.uint8))).tolist() == [255, 0]


def test_where_keeps_the_dtype_of_its_values() -> None:
    c = h([True, False], bool)
    out = ops.where(c, h([1.0, 2.0]), 0.0)
    assert out.dtype is hybrid.float32 and value(out).tolist() == [1.0, 0.0]
    assert ops.where(c, h([1, 2], np.int8), h([3, 4], np.int32)).dtype is hybrid.int32
    assert ops.where(c, h([1.0], np.float64), h([1, 2], np.int32)).shape == (2,)


def test_nextafter() -> None:
    x, y = (g.ravel() for g in np.meshgrid(FLOATS, FLOATS))
    for d in (np.float32, np.float64):
        a, b = x.astype(d), y.astype(d)
        with np.errstate(all="ignore"):
            want = np.nextafter(a, b)
        np.testing.assert_array_equal(value(ops.nextafter(h(a, d), h(b, d))), want)
    with pytest.raises(hybrid.DTypeError, match="nextafter takes float32"):
        ops.nextafter(h([1.0], np.float16), h([2.0], np.float16))


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
def test_double_to_half_rounds_once(half: Any) -> None:
    bits = 10 if half is np.float16 else 7
    unit = 2.0**-bits
    k = np.arange(1, 40)
    tie = 1 + (k - 0.5) * unit
    x = np.concatenate(
        [
            tie,
            tie + 2.0**-50,
            tie - 2.0**-50,
            -tie - 2.0**-45,
            [
                65519.9999999,
                65520.0,
                1e300,
                -1e300,
                INF,
                NAN,
                1e-300,
                2.0**-25,
                2.0**-25 * (1 + 1e-12),
            ],
        ]
    )
    got = value(ops.astype(h(x, np.float64), half)).astype(np.float64)
    low = -14 if half is np.float16 else -126
    for a, r in zip(x, got):
        if math.isnan(a):
            assert math.isnan(r)
        elif abs(a) > 1e38 or (half is np.float16 and abs(a) >= 65520):
            assert (
                r == math.copysign(INF, a)
                if half is np.float16 or abs(a) > 3.4e38
                else math.isfinite(r)
            )
        else:
            assert Fraction(r) == rounded(Fraction(a), bits, low), a


# ---- gradients at special points
def slope(f: Any, *xs: Any) -> list[list[float]]:
    ts = [hybrid.tensor(np.asarray(x, np.float64), requires_grad=True) for x in xs]
    out = f(*ts)
    ops.sum(out).backward()
    return [value(t.grad).tolist() for t in ts]


def test_gradients_at_special_points() -> None:
    assert slope(ops.relu, [-1.0, 0.0, 2.0]) == [[0.0, 0.0, 1.0]]
    assert slope(ops.abs, [-2.0, 0.0, 2.0]) == [[-1.0, 0.0, 1.0]]
    assert slope(ops.maximum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [
        [0.5, 0.0, 1.0],
        [0.5, 1.0, 0.0],
    ]
    assert slope(lambda x: ops.clip(x, 0.0, 1.0), [-1.0, 0.0, 0.5, 1.0, 2.0]) == [
        [0.0, 1.0, 1.0, 1.0, 0.0]
    ]
    assert slope(lambda x: ops.clip(x, min=0.0), [-1.0, 0.0, 1.0]) == [[0.0, 1.0, 1.0]]
    assert slope(lambda x, y: ops.power(x, y), [0.0, 2.0], [0.0, 3.0])[0] == [0.0, 12.0]
    assert slope(lambda x, y: ops.power(x, y), [0.0], [2.0])[1] == [0.0]
    assert slope(lambda x: ops.leaky_relu(x, 0.1), [-1.0, 0.0, 1.0]) == [[0.1, 0.1, 1.0]]
    assert slope(ops.atan2, [0.0], [0.0]) == [[0.0], [0.0]]
    assert slope(ops.relu6, [-1.0, 0.0, 3.0, 6.0, 7.0]) == [[0.0, 0.0, 1.0, 0.0, 0.0]]
    assert slope(ops.hardswish, [-3.0, 0.0, 3.0]) == [[0.0, 0.5, 1.0]]
    assert slope(ops.celu, [0.0, 1.0]) == [[1.0, 1.0]] and slope(ops.elu, [0.0]) == [[1.0]]


def test_activations_keep_their_tails() -> None:
    x = np.array([-30.0, -12.0, -5.0, -1e-3, 0.0, 1e-3, 5.0, 30.0])
    phi = [0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x]
    np.testing.assert_allclose(value(ops.gelu(h(x, np.float64))), x * phi, rtol=3e-13)
    np.testing.assert_allclose(
        value(ops.gelu(h(x))), (x * phi).astype(np.float32), rtol=2e-6, atol=1e-44
    )
    edge = h([INF, -INF, NAN])
    for f in (ops.gelu, ops.gelu_tanh, ops.silu):
        for e in (edge, ops.astype(edge, "float64")):
            np.testing.assert_array_equal(value(f(e)), [INF, 0.0, NAN])
    np.testing.assert_allclose(
        value(ops.softplus(h([-100.0, 0.0, 25.0]))),
        [math.exp(-100), math.log(2), 25.0],
        rtol=3e-7,
        atol=1e-44,
    )
    np.testing.assert_array_equal(value(ops.log_sigmoid(edge)), [0.0, -INF, NAN])
    assert value(ops.logaddexp(h([-INF, INF, 1.0]), h([-INF, 1.0, -INF]))).tolist() == [
        -INF,
        INF,
        1.0,
    ]


# ---- optimizer updates
def test_adam_follows_the_textbook() -> None:
    rng = np.random.default_rng(0)
    p, m, v = rng.normal(size=33), np.zeros(33), np.zeros(33)
    state = [h(a, np.float64) for a in (p, m, v)]
    lr, b1, b2, eps, wd = 0.01, 0.9, 0.999, 1e-8, 0.1
    for step in range(1, 6):
        g = rng.normal(size=33)
        numbers = [h(a, np.float64) for a in (lr, b1, b2, eps, wd, float(step))]
        state = list(
            updates.adam_update(state[0], h(g, np.float64), *state[1:], *numbers, decoupled=True)
        )
        p = p * (1 - lr * wd)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = p - lr * (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + eps)
    for got, want in zip(state, (p, m, v)):
        np.testing.assert_allclose(value(got), want, rtol=1e-12, atol=1e-15)


def test_momentum_variants() -> None:
    rng = np.random.default_rng(1)
    p, g, buf = (rng.normal(size=(4, 5)) for _ in range(3))
    lr, mu, damp, wd = 0.1, 0.9, 0.2, 0.01
    for nesterov in (False, True):
        for first in (False, True):
            got = updates.momentum_update(
                *(h(a, np.float64) for a in (p, g, buf, lr, mu, damp, wd)),
                nesterov=nesterov,
                first=first,
            )
            d = g + wd * p
            new = d if first else mu * buf + (1 - damp) * d
            np.testing.assert_allclose(value(got[1]), new, rtol=1e-14)
            np.testing.assert_allclose(
                value(got[0]), p - lr * (d + mu * new if nesterov else new), rtol=1e-13
            )
    plain = updates.sgd_update(*(h(a, np.float64) for a in (p, g, lr, wd)), maximize=True)
    np.testing.assert_allclose(value(plain), p - lr * (wd * p - g), rtol=1e-13)
