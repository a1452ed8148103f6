"""Values, types and places of Python numbers that operations take: always the bits of the literal,
and the errors of plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from actions.harness import box, data
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import hybrid as hb
from hybrid.decorator import Function, function
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]


def series(
    jit: Callable[[Any], Any], body: Callable[[Any, Any], Any], x: Any, numbers: list[Any], how: str
) -> list[Any]:
    """What a function of a tensor and a number gives for these numbers, one after the other."""
    s = box(n=None)
    f = jit(body if how == "argument" else (lambda x: body(x, s.n)))
    out: list[Any] = []
    for number in numbers:
        s.n = number
        try:
            result = f(x, number) if how == "argument" else f(x)
            out.append((str(result.dtype), result.shape, result.numpy().tobytes()))
        except Exception as error:
            out.append((type(error).__name__, str(error)))
    return out


BODIES: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, n: x + n,
    "subtract from": lambda x, n: n - x,
    "multiply": lambda x, n: n * x,
    "divide": lambda x, n: x / n,
    "divide by": lambda x, n: n / x,
    "floor": lambda x, n: x // n,
    "remainder": lambda x, n: x % n,
    "power": lambda x, n: x**n,
    "power of": lambda x, n: n**x,
    "less": lambda x, n: x < n,
    "equal": lambda x, n: n == x,
    "maximum": lambda x, n: hb.maximum(x, n),
    "where": lambda x, n: hb.where(x > 0, x, n),
    "clip": lambda x, n: x.clip(n, 5),
    "square": lambda x, n: x * (n * n),
    "clamped": lambda x, n: x + min(max(n, -3), 7),
    "negative": lambda x, n: x * -n,
    "parity": lambda x, n: x - n % 10,
    "shift": lambda x, n: x << n,
    "bits": lambda x, n: x & n,
    "zero times": lambda x, n: x * (n * 0.0) + (n * -0.0),
}
DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "int32", "int64", "uint8", "bool")
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 3, -1, 0.5, -0.0, 0.0, 1.0, 2.0, True, False, 127, 128, 255, -129]),
    st.sampled_from([math.nan, math.inf, -math.inf, 5e-324, 1e-40, 1e308, 65504.0, 65520.0, 0.1]),
    st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 16777217]),
    st.integers(-300, 300),
    st.floats(width=64),
    st.floats(width=32),
)


@pytest.mark.parametrize("how", ["argument", "attribute"])
@settings(max_examples=60, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(
    name=st.sampled_from(sorted(BODIES)),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from([int, float, None]),
    numbers=st.lists(NUMBERS, min_size=6, max_size=9),
)
def test_every_number_gives_the_bits_of_its_literal(
    how: str, name: str, dtype: str, kind: Any, numbers: list[Any]
) -> None:
    if kind is not None:  # more of one type: those share a plan
        numbers = [n for n in numbers if type(n) is kind] + [kind(k) for k in (4, 0, 1, 9, 2, 6)]
    x = hb.asarray(np.array([1, 0, 2, 3, 7], np.float32)).astype(dtype)
    body = BODIES[name]
    want = series(lambda f: f, body, x, numbers, how)
    assert series(function, body, x, numbers, how) == want, (name, dtype, numbers)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "int64"])
def test_all_numbers_of_a_type_share_one_plan(dtype: str) -> None:
    made: list[Function] = []

    def jit(f: Any) -> Any:
        made.append(function(f))
        return made[-1]

    x = hb.asarray(np.array([1, 0, 2], np.float32)).astype(dtype)
    whole = [4, 5, 6, 0, 1, -1, 127, -128, 3, 2, 100]
    want = series(lambda f: f, BODIES["multiply"], x, whole, "argument")
    assert series(jit, BODIES["multiply"], x, whole, "argument") == want
    info = made[0].cache_info()
    assert info.records == 3 and info.compilations == 1 and info.replays == len(whole) - 3
    special = [4.5, 0.1, 1.0, 0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 5e-324, 1e-40, 1e300]
    want = series(lambda f: f, BODIES["multiply"], x, special, "argument")
    assert series(jit, BODIES["multiply"], x, special, "argument") == want
    info = made[1].cache_info()
    assert info.records == 3 and info.compilations == 1 and info.replays == len(special) - 3


def test_a_number_that_does_not_fit_raises_as_eagerly_and_leaves_everything() -> None:
    s = box(n=0)

    @function
    def f(x: Any, n: Any) -> Any:
        s.n += 1
        return x + n

    x = hb.asarray(np.arange(3, dtype=np.int8))
    for k in range(6):
        f(x, k)
    before = f.cache_info().replays
    with pytest.raises(OverflowError, match="Python integer 300 does not fit int8"):
        f(x, 300)
    assert s.n == 7  # as the plain function leaves it
    assert f(x, 7).tolist() == [7, 8, 9] and s.n == 8
    assert before >= 2 and f.cache_info().replays == before + 1


def test_the_type_of_a_number_is_part_of_the_signature() -> None:
    f = function(lambda x, n: x * n)
    x = hb.asarray(np.arange(3, dtype=np.int32))
    for k in range(8):
        assert f(x, k).dtype == np.int32 and f(x, k + 0.5).dtype == np.float32
        assert f(x, np.float64(k)).dtype == np.float64
        assert f(x, k % 2 == 0).dtype == np.int32


def test_gradients_of_results_with_numbers_in_them() -> None:
    def grads(jit: Any) -> list[Any]:
        f = jit(lambda x, n, m: (x * n) ** m / n)
        out = []
        for k in range(10):
            x = hb.asarray(np.arange(1, 4, dtype=np.float32)).requires_grad_()
            f(x, 0.5 + k, 1.5 + k % 3).sum().backward()
            out.append(x.grad.numpy().tobytes())
        return out

    traced: list[Function] = []
    assert grads(lambda f: traced.append(function(f)) or traced[0]) == grads(lambda f: f)
    assert traced[0].cache_info().replays >= 6


def test_a_place_that_two_names_share() -> None:
    """Which dict an instance has is no fact: a number in a shared one is found in two ways."""
    a, b = box(k=2.0), box(k=5.0)
    f = function(lambda x: x * a.k + b.k)
    own = vars(a)
    for k in range(30):
        a.__dict__ = vars(b) if (k // 6) % 2 else own
        b.k, own["k"] = 1.0 + k, 2.0 + k
        assert np.array_equal(f(data(1)).numpy(), (data(1) * a.k + b.k).numpy()), k


def test_a_quotient_that_nobody_uses_still_raises() -> None:
    s = box(n=9)

    @function
    def f(x: Any) -> Any:
        s.n -= 1
        unused = 1 / s.n  # noqa: F841
        return x * 2

    for k in range(8):
        f(data(k))
    assert f.cache_info().replays >= 4
    with pytest.raises(ZeroDivisionError):
        f(data(0))
    assert s.n == 0


def test_equal_numbers_and_a_tape() -> None:
    def grads(jit: Any) -> list[Any]:
        f, out = jit(lambda x, low, high: x.clip(low, high) * low * high), []
        for k in range(12):
            x = hb.asarray(np.arange(1, 4, dtype=np.float32)).requires_grad_()
            result = f(x, 1.0 + k % 2, 2.0)
            result.sum().backward()
            out += [result.numpy().tobytes(), x.grad.numpy().tobytes()]
        return out

    assert grads(function) == grads(lambda f: f)


def test_compiled_beside_its_calls() -> None:
    s = box(n=0)

    def body(x: Any, rate: Any) -> Any:
        s.n += 1
        return x * rate + s.n

    f = function(body, wait=False)
    for k in range(40):
        n = s.n + 1
        assert np.array_equal(f(data(1), 0.5 * k).numpy(), (data(1) * (0.5 * k) + n).numpy())
        f.wait()
    assert f.cache_info().replays >= 30


def test_two_counters_become_one_place() -> None:
    a, b = box(n=0), box(n=0)

    @function
    def f(x: Any) -> Any:
        a.n += 1
        b.n += 1
        return x * a.n

    for _ in range(8):
        f(data(1))
    assert f.cache_info().replays >= 4 and a.n == b.n == 8
    a.__dict__ = vars(b)
    assert np.array_equal(f(data(1)).numpy(), (data(1) * 10).numpy()) and b.n == 10


def test_no_version_dies_with_its_numbers() -> None:
    f = function(lambda x, n, m: x * n + m)
    for k in range(2000):
        f(data(1), k, k * 0.5)
    info = f.cache_info()
    assert info.records <= 4 and info.signatures <= 4 and info.replays >= 1996
