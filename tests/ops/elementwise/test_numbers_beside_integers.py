"""Python integers outside the range of an integer tensor, where the result is a float anyway."""

from __future__ import annotations

import numpy as np
import pytest

import hybrid as hb

SMALL = np.array([1, 100, 127], "int8"), np.array([1, 100, 200], "uint8")
NUMBERS = (256, -1, -1000, 3, 2**40)
PAIRS = {
    "divide": np.divide,
    "arctan2": np.arctan2,
    "hypot": np.hypot,
    "copysign": np.copysign,
    "logaddexp": np.logaddexp,
    "logaddexp2": np.logaddexp2,
    "heaviside": np.heaviside,
    "nextafter": np.nextafter,
}


@pytest.mark.parametrize("array", SMALL, ids=lambda a: a.dtype.name)
@pytest.mark.parametrize("name", PAIRS)
def test_an_integer_beyond_the_dtype_is_a_float_where_the_result_is_one(name, array):
    function, x = getattr(hb, name), hb.tensor(array)
    for number in NUMBERS:
        for got, want in (
            (function(x, number), PAIRS[name](array.astype("f4"), np.float32(number))),
            (function(number, x), PAIRS[name](np.float32(number), array.astype("f4"))),
            (function(x, [number]), PAIRS[name](array.astype("f4"), np.float32([number]))),
        ):
            assert got.dtype is hb.float32
            np.testing.assert_allclose(got.numpy(), want, rtol=3e-7)


def test_functions_put_together_from_others_too():
    x = hb.tensor([100, 200], dtype="uint8")
    assert hb.special.xlogy(x, 1000).tolist() == hb.special.xlogy(x.float(), 1000).tolist()
    assert hb.float_power(x, -1).tolist() == np.float_power([100, 200], -1).tolist()
    assert (
        hb.interp(x, [0, 1000], [0, 1]).tolist() == hb.interp(x.float(), [0, 1000], [0, 1]).tolist()
    )
    assert hb.cosine_similarity(x, [1000, -3], 0).item() == pytest.approx(0.4446, abs=1e-4)
    solved = hb.linalg.solve(hb.tensor([[2]], dtype="uint8"), [1000])
    assert solved.tolist() == [500.0]
    fit = hb.polyfit(hb.tensor([1, 2, 3], dtype="uint8"), [1000, 2000, 3000], 1)
    np.testing.assert_allclose(fit.numpy(), [1000, 0], atol=1e-4)


def test_integer_ends_of_a_range_do_not_wrap():
    first, last = np.array([200], "uint8"), np.array([100], "uint8")
    for stop in (last, 1000):
        ours = stop if isinstance(stop, int) else hb.tensor(stop)
        np.testing.assert_allclose(
            hb.linspace(hb.tensor(first), ours, 3).numpy(), np.linspace(first, stop, 3)
        )
        np.testing.assert_allclose(
            hb.geomspace(hb.tensor(first), ours, 3).numpy(),
            np.geomspace(first, stop, 3),
            rtol=1e-6,
        )
        exact = hb.logspace(hb.tensor(first) // 100, 3, 3).numpy()
        np.testing.assert_allclose(exact, np.logspace(first // 100, 3, 3), rtol=1e-6)


def test_integers_beyond_64_bits():
    x = hb.tensor([1, -5])
    assert (x / 2**70).tolist() == [2.0**-70, -5 * 2.0**-70]
    assert hb.isclose(x, 2**70).tolist() == [False, False]
    assert hb.isclose(x, 2**70, rtol=1).tolist() == [True, True]
    assert not hb.allclose(x, 2**70) and hb.isclose([1, 2**70], [1, 2**70]).all()
    for number in (2**70, -(2**70), 2**64):
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
            want = getattr(np, name)(np.array([1, -5], object), number).tolist()
            assert getattr(hb, name)(x, number).tolist() == want, (name, number)
    assert hb.equal(hb.tensor([2**64 - 1], dtype="uint64"), 2**64).tolist() == [False]


def test_an_integer_is_rounded_once():
    number = (1 << 60) + (1 << 36) + 1  # to float64 first would be a tie, and round down
    x = hb.tensor([number])
    assert (x / number).tolist() == [1.0]
    assert (hb.tensor([0.0]) + number).tolist() == x.float().tolist()


def test_integer_results_still_refuse():
    x = hb.tensor([200], dtype="uint8")
    for call in (lambda: x // 256, lambda: x % -1, lambda: x + 256, lambda: hb.fmod(x, 1000)):
        with pytest.raises(OverflowError, match="does not fit uint8"):
            call()


def test_the_number_may_vary_in_a_replay():
    def plain(x, number):
        return x / number, number / x, hb.arctan2(x, number), hb.copysign(x, number)

    traced = hb.function(plain)
    x = hb.tensor([1, 200], dtype="uint8")
    for number in (3, 3, 3, 256, -1, 5, 100000, 2**70, 7):
        for got, want in zip(traced(x, number), plain(x, number)):
            assert got.dtype is want.dtype and got.tolist() == want.tolist(), number


def test_the_gradient_of_the_other_side():
    y = hb.tensor([2.0, 4.0], requires_grad=True)
    x = hb.tensor([3, 200], dtype="uint8")
    (1000 / (x * y)).sum().backward()
    assert y.grad.tolist() == pytest.approx([-1000 / 3 / 4, -1000 / 200 / 16])


WIDE = np.array([0, 1, 5, 127, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 5, 2**64 - 1], np.uint64)
COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
COMPARISONS += ["logical_and", "logical_or", "logical_xor"]


def _signed(dtype):
    limits = np.iinfo(dtype)
    return np.array([limits.min, -5, -1, 0, 1, 5, limits.max, limits.max - 1], dtype)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("name", COMPARISONS)
def test_uint64_is_compared_with_signed_integers_as_numpy_does(name, dtype):
    function, oracle, signed = getattr(hb, name), getattr(np, name), _signed(dtype)
    traced = hb.function(lambda left, right: function(left, right))
    for left, right in ((WIDE[:, None], signed), (signed[:, None], WIDE)):
        want = oracle(left, right).tolist()
        assert function(hb.tensor(left), right).tolist() == want
        assert function(hb.tensor(left), hb.tensor(right)).tolist() == want
        for _ in range(3):
            assert traced(hb.tensor(left), hb.tensor(right)).tolist() == want
    assert function(hb.tensor(WIDE), -1).tolist() == oracle(WIDE, -1).tolist()
    assert function(hb.tensor(WIDE), signed[1]).tolist() == oracle(WIDE, signed[1]).tolist()


@pytest.mark.parametrize("dtype", ["int8", "int64"])
def test_uint64_is_searched_among_signed_integers_exactly(dtype):
    signed = _signed(dtype)
    u, s = hb.tensor(WIDE), hb.tensor(signed)

    def found(elements, test):
        return [x in test.tolist() for x in elements.tolist()]

    for times in (1, 5):
        assert hb.isin(u, hb.tile(s, times)).tolist() == found(u, s)
        assert hb.isin(s, hb.tile(u, times)).tolist() == found(s, u)
    assert hb.isin(u, signed, invert=True).tolist() == [not one for one in found(u, s)]
    assert hb.setdiff1d(u, s).tolist() == sorted({*u.tolist()} - {*s.tolist()})
    assert hb.setdiff1d(s, u).tolist() == sorted({*s.tolist()} - {*u.tolist()})
    edges = np.sort(signed)
    assert hb.digitize(u, hb.tensor(edges)).tolist() == np.digitize(WIDE, edges).tolist()
    assert hb.isclose(u[:8], s).tolist() == np.isclose(WIDE[:8], signed).tolist()
    one = [hb.tensor([1, 2], dtype=d) for d in ("uint64", dtype)]
    assert hb.array_equal(*one).item() and hb.array_equiv(*one).item()
    assert not hb.array_equal(u[:8], s).item()
    assert hb.vmap(lambda a, b: a < b)(u[:8], s).tolist() == (WIDE[:8] < signed).tolist()


def test_arithmetic_of_uint64_and_signed_integers_is_refused():
    u, s = hb.tensor(WIDE[:3]), hb.tensor([1, 2, 3])
    for call in (hb.add, hb.maximum, hb.union1d, lambda x, y: hb.where(True, x, y)):
        with pytest.raises(hb.DTypeError, match="uint64 and int64 .*astype"):
            call(u, s)
    assert (u.astype("int64") + s).tolist() == [1, 3, 8]
