"""NumPy scalars as arguments: strong data from their second value on, by content where Python looks
at them.

Each program runs decorated and plain; results, types, bits and Python state must agree.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from actions.harness import both, box, data, suite

import hybrid as hb

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
    pytest.mark.filterwarnings("ignore::hybrid.Widened"),
]

PROGRAMS, program = suite()
FIXED, fixed = suite()


@program
def rate_of_float32(jit: Any) -> Any:
    weight = data(0)
    f = jit(lambda x, rate: ((x - weight * rate).sum(), rate * x, hb.tensor(rate) + 1))
    return (lambda k: f(data(k), np.float32(0.1 + k))), weight


@program
def strong_float64(jit: Any) -> Any:
    f = jit(lambda x, rate: (x * rate, hb.where(x > rate, x, rate), x / rate, x < rate))
    return (lambda k: f(data(k), np.float64(0.3 + k))), None


@program
def whole_numbers(jit: Any) -> Any:
    f = jit(lambda x, n: (x + n, x.astype("int8") * n, n - x))
    return (lambda k: f(data(k), np.int64(k - 5))), None


@program
def by_keyword(jit: Any) -> Any:
    def scaled(x: Any, *, rate: Any, base: Any = 2.0) -> Any:
        return x * rate + base

    f = jit(scaled)
    return (lambda k: f(data(k), rate=np.float16(k))), None


@program
def returned_as_it_is(jit: Any) -> Any:
    f = jit(lambda x, rate: {"x": x * rate, "rate": rate})
    return (lambda k: f(data(k), np.float32(k))), None


@program
def beside_arrays(jit: Any) -> Any:
    f = jit(lambda a, rate: hb.asarray(a) * rate)
    return (lambda k: f(np.arange(k, k + 4, dtype=np.float32), np.float32(k))), None


@pytest.mark.parametrize("name", PROGRAMS)
def test_scalars_are_read_in_each_call(name: str) -> None:
    (f,) = both(PROGRAMS[name], 16)
    assert f.cache_info().replays >= 12 and f._records <= 4, f.explain()


@fixed
def a_flag(jit: Any) -> Any:
    f = jit(lambda x, on, a: (x * 2 if on else x + 1) + hb.asarray(a))
    return (lambda k: f(data(k), np.bool_(k % 3 == 0), np.full(4, k, np.float32))), None


@fixed
def looked_at_by_c_code(jit: Any) -> Any:
    f = jit(lambda x, rate: x * math.sqrt(rate))
    return (lambda k: f(data(k), np.float32(k % 3))), None


@fixed
def in_place(jit: Any) -> Any:
    def scaled(x: Any, rate: Any) -> Any:
        y = x * 1
        y *= rate
        return y

    f = jit(scaled)
    return (lambda k: f(data(k), np.float32(k % 3 + 0.1))), None


@fixed
def an_index(jit: Any) -> Any:
    f = jit(lambda x, i: x[i] * 2)
    return (lambda k: f(data(k), np.int64(k % 3))), None


@fixed
def of_several_types(jit: Any) -> Any:
    kinds = [np.float32, np.float64, np.int8, float, int]
    f = jit(lambda x, rate: x * rate)
    return (lambda k: f(data(k), kinds[k % 3](k // 3))), None


@fixed
def kept_in_an_object(jit: Any) -> Any:
    s = box(last=None)

    def scaled(x: Any, rate: Any) -> Any:
        s.last = rate
        return x * rate

    f = jit(scaled)
    return (lambda k: f(data(k), np.float32(k % 3))), s


@pytest.mark.parametrize("name", FIXED)
def test_scalars_that_python_looks_at_give_the_same(name: str) -> None:
    (f,) = both(FIXED[name], 30)
    assert f.cache_info().replays >= 12, f.explain()


def test_a_flag_leaves_arrays_data() -> None:
    f = hb.function(lambda a, on: hb.asarray(a) * (2.0 if on else 3.0))
    for k in range(24):
        f(np.full(4, k, np.float32), np.bool_(k % 2))
    assert f.cache_info().replays >= 16 and len(list(f._signatures.everything())) <= 3


def test_what_stays_by_value_is_said() -> None:
    f = hb.function(lambda x, p: hb.nn.functional.leaky_relu(x, p))
    for k in range(8):
        f(data(k), 0.1 + k / 100)
    said = "when the same come again: it looks at the number that is its argument 2"
    assert said in f.explain() and said in f.versions()[-1].reason
