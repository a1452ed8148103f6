"""Second names, parts of numbers and integer functions, beside NumPy's (generic tests see the rest)."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid

VALUES = [0.0, -0.0, 1.0, -2.5, 0.5, 1.5, 7.25, -1e-30, 3e38, np.inf, -np.inf, np.nan]
FLOATS = {d: np.array(VALUES, d) for d in ("float32", "float64")}
FLOATS["float64"][7:9] = -1e-310, 1.7e308
INTS = {d: np.array([0, 1, 2, 3, 7, 100, 127], d) for d in ("int8", "int32", "int64", "uint8")}
for name, ints in INTS.items():
    INTS[name] = ints if name[0] == "u" else np.concatenate([ints, -ints - 1]).astype(name)
ALIASES = """absolute=abs arccos=acos arccosh=acosh arcsin=asin arcsinh=asinh arctan=atan
    arctan2=atan2 arctanh=atanh around=round bitwise_not=bitwise_invert concatenate=concat
    degrees=rad2deg fix=trunc invert=bitwise_invert left_shift=bitwise_left_shift mod=remainder
    radians=deg2rad right_shift=bitwise_right_shift row_stack=vstack true_divide=divide"""


@pytest.mark.parametrize("pair", ALIASES.split())
def test_a_second_name_is_no_second_function(pair):
    second, first = pair.split("=")
    ours, theirs = (getattr(hybrid, n) for n in (first, second))
    assert getattr(ours, "__wrapped__", ours) is getattr(theirs, "__wrapped__", theirs)


def equal(got, want, rtol=0.0):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype, (got.dtype, want.dtype)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=0)
    if got.dtype.kind == "f":
        known = ~np.isnan(want)
        assert (np.signbit(got) == np.signbit(want))[known].all()


EXACT = "fabs rint frexp modf spacing isneginf isposinf isreal iscomplex absolute"


@pytest.mark.parametrize("name", EXACT.split())
@pytest.mark.parametrize("dtype", FLOATS)
def test_exact_functions(name, dtype):
    with np.errstate(all="ignore"):
        want = getattr(np, name)(FLOATS[dtype])
    got = getattr(hybrid, name)(hybrid.tensor(FLOATS[dtype]))
    for one, other in zip(*(v if isinstance(v, tuple) else (v,) for v in (got, want))):
        equal(one, other)


@pytest.mark.parametrize("dtype", INTS)
def test_functions_of_integers(dtype):
    array = INTS[dtype]
    x = hybrid.tensor(array)
    equal(hybrid.bitwise_count(x), np.bitwise_count(array))
    equal(hybrid.signbit(x), np.signbit(array))
    equal(hybrid.fix(x), np.trunc(array))
    for name in ("fabs", "rint", "sinc", "deg2rad", "rad2deg"):
        want = getattr(np, name)(array.astype(np.float32))
        equal(getattr(hybrid, name)(x), want, rtol=1e-6) if name != "sinc" else None
        assert getattr(hybrid, name)(x).dtype is hybrid.float32
    for one, other in zip(hybrid.frexp(x), np.frexp(array)):
        assert (one.numpy() == other).all()
    table, other = array[:, None], array[::-1]
    for name in ("gcd", "lcm", "fmax", "fmin"):
        equal(getattr(hybrid, name)(hybrid.tensor(table), other), getattr(np, name)(table, other))
    divisor = np.where(other == 0, 1, other).astype(dtype)
    with np.errstate(over="ignore"):
        results = np.divmod(table, divisor)
    for one, want in zip(hybrid.divmod(hybrid.tensor(table), divisor), results):
        equal(one, want)


@pytest.mark.parametrize("name", ["fmax", "fmin", "heaviside", "divmod", "logaddexp2"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_pairs(name, dtype):
    table = FLOATS[dtype][:, None], FLOATS[dtype]
    with np.errstate(all="ignore"):
        want = getattr(np, name)(*table)
    got = getattr(hybrid, name)(*map(hybrid.tensor, table))
    for one, other in zip(*(v if isinstance(v, tuple) else (v,) for v in (got, want))):
        other = other + 0.0 if name.startswith("f") else other
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-6, atol=0)
        assert one.numpy().dtype == other.dtype


def test_scaling_rounds_once():
    rng = np.random.default_rng(0)
    for dtype, span in (("float32", 300), ("float64", 2200), ("float16", 60)):
        array = rng.normal(size=4000).astype(dtype)
        powers = rng.integers(-span, span, 4000)
        with np.errstate(all="ignore"):
            want = np.ldexp(array.astype(np.longdouble), powers).astype(dtype)
        equal(hybrid.ldexp(hybrid.tensor(array), powers), want)
    assert hybrid.ldexp(hybrid.tensor(1.0), 2**40).item() == np.inf
    with pytest.raises(hybrid.DTypeError, match="integer exponents"):
        hybrid.ldexp(hybrid.tensor(1.0), 2.0)


def test_mantissas_and_exponents_make_the_number():
    for array in (*FLOATS.values(), np.arange(-4, 4).astype(np.float16) / 3):
        x = hybrid.tensor(array)
        np.testing.assert_array_equal(hybrid.ldexp(*hybrid.frexp(x)).numpy(), array)


def test_float_power_is_float64():
    for base in (hybrid.tensor([1, 2]), hybrid.tensor([1.0, 2.0]), [1, 2]):
        got = hybrid.float_power(base, -2)
        assert got.dtype is hybrid.float64 and got.tolist() == [1.0, 0.25]


@pytest.mark.parametrize("dtype", INTS)
def test_devices_without_numpy_take_euclids_steps(dtype):
    limit = int(np.iinfo(dtype).max)
    array = np.append(INTS[dtype], [89, 55, limit]).astype(dtype)
    table = np.abs(array[:, None]), np.abs(array)
    x, y = (hybrid.tensor(v, device="reference") for v in table)
    equal(hybrid.gcd(x, y).numpy(), np.gcd(*table))
    with np.errstate(all="ignore"):
        equal(hybrid.lcm(x, y).numpy(), np.lcm(*table))


def test_gcd_takes_integers_only():
    assert hybrid.gcd(12, hybrid.tensor([8, 9], dtype="int8")).dtype is hybrid.int8
    for name in ("gcd", "lcm"):
        with pytest.raises(hybrid.DTypeError, match="takes integers"):
            getattr(hybrid, name)(hybrid.tensor([1.5]), 2)
        assert hybrid.compare(getattr(hybrid, name), hybrid.arange(9), 6, repeat=1).same_bits


def test_sinc_is_zero_at_integers_and_flat_at_zero():
    x = hybrid.tensor([0.0, 1.0, -3.0, 1e10, 0.25], requires_grad=True)
    out = hybrid.sinc(x)
    assert out.tolist()[:4] == [1.0, 0.0, 0.0, 0.0]
    out.sum().backward()
    want = (np.cos(np.pi * 0.25) - np.sinc(0.25)) / 0.25
    np.testing.assert_allclose(x.grad.numpy()[[0, 1, 2, 4]], [0, -1, 1 / 3, want], rtol=1e-6)


def test_ties_give_the_gradient_to_the_first():
    for function in (hybrid.fmax, hybrid.fmin):
        left = hybrid.tensor([1.0, np.nan, 2.0], requires_grad=True)
        right = hybrid.tensor([1.0, 3.0, np.nan], requires_grad=True)
        function(left, right).sum().backward()
        assert (left.grad.tolist(), right.grad.tolist()) == ([1, 0, 1], [0, 1, 0])


def test_questions_about_complex_numbers():
    assert not hybrid.iscomplexobj([1.0]) and hybrid.isrealobj(hybrid.arange(3))


@pytest.mark.parametrize("name", ["abs", "floor", "ceil", "trunc"])
def test_bools_that_need_no_rounding_stay_bools(name):
    given = np.array([True, False])
    want = getattr(np, name)(given)
    for call in (getattr(hybrid, name), hybrid.function(getattr(hybrid, name))):
        got = call(hybrid.tensor(given)).numpy()
        assert got.dtype == want.dtype and (got == want).all()
