"""Arrays that NumPy computes of arguments, and that Python looks at, changes or shares: no replay
takes what it cannot compute again.

Each program runs decorated and plain; results, bits, exceptions and Python state must agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from actions.harness import both, box, suite

import hybrid as hb
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]

FIXED, fixed = suite()
CALLS = 16


def normal(k: int, *shape: int) -> Any:
    return np.random.default_rng(k).normal(size=shape)


@fixed
def scalars_that_stay_for_a_while(jit: Any) -> Any:
    s = box(buffer=hb.zeros(4, 3))

    def prepare(x: Any, rate: Any, row: Any) -> Any:
        s.buffer[row] = x * 2
        low, high = pair = (rate, 3.0)
        table = np.add(x, (rate, 1.0, 2.0)), x * (rate + 1)
        return hb.tensor(x) * (rate * 2), hb.tensor(np.clip(x, -low, high)), pair[0] + 1, table[1]

    f = jit(prepare)

    def call(k: int) -> Any:
        return f(normal(k, 3), np.float32(2 if k < 8 else k), np.int64(1 if k < 8 else k % 4))

    return call, s


@fixed
def one_array_in_two_places(jit: Any) -> Any:
    s = box(y=None)

    def prepare(x: Any) -> Any:
        y = x * 2
        s.y = y
        return hb.tensor(y), y, y[1:], [y]

    f = jit(prepare)

    def call(k: int) -> Any:
        made, y, rest, (same,) = f(normal(k, 3))
        y[:] = 7
        return made, rest, same is y, s.y is y

    return call, s


@fixed
def created_and_changed(jit: Any) -> Any:
    def changed(z: Any, x: Any) -> Any:
        z[0] = 7
        return z * x

    def prepare(x: Any) -> Any:
        pair = [np.zeros(3), x]
        pair[0][0] = 5
        named = np.ones(3)
        named[1] = 4
        out = np.zeros(3)
        np.multiply(x, 2, out=out)
        return pair[0] * x, hb.tensor(named * x), named * x, changed(np.zeros(3), x), out + x

    f = jit(prepare)
    return (lambda k: f(normal(k, 3))), None


@fixed
def stored_and_changed(jit: Any) -> Any:
    s = box(last=None)

    def prepare(x: Any) -> Any:
        s.last = x * 2
        y = s.last
        y[0] = 5
        return hb.tensor(y + 1), hb.tensor(s.last)

    f = jit(prepare)
    return (lambda k: f(normal(k, 3))), s


@fixed
def the_argument_is_changed(jit: Any) -> Any:
    def prepare(x: Any, y: Any) -> Any:
        x -= x.mean()
        np.nan_to_num(y, copy=False)
        flat = y.reshape(-1)
        flat[0] = 3.0
        return hb.tensor(x), hb.tensor(y)

    f = jit(prepare)

    def call(k: int) -> Any:
        x, y = normal(k, 4), normal(k, 2, 2)
        y[1, k % 2] = np.nan
        y.flags.writeable = k % 5 != 4
        return f(x, y), x, y

    return call, None


@fixed
def memory_that_is_shared(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        y = x * 2
        shared = hb.asarray(y, copy=False)
        y[0] = 9
        return shared + 0

    f = jit(prepare)
    return (lambda k: f(normal(k, 3))), None


@fixed
def structured_and_objects(jit: Any) -> Any:
    kind = np.dtype([("a", "f4"), ("b", "i4")])

    def prepare(x: Any, y: Any) -> Any:
        return hb.tensor(x["a"] * 2), hb.tensor((y * 2).astype("f8"))

    f = jit(prepare)

    def call(k: int) -> Any:
        rows = np.zeros(3, kind)
        rows["a"] = normal(k, 3)
        return f(rows, np.array([k, 2.5], dtype=object))

    return call, None


@fixed
def as_long_as_the_content_says(jit: Any) -> Any:
    def prepare(x: Any) -> Any:
        y = x[x > 0]
        return hb.tensor(x).sum() * len(y), y.shape, hb.tensor(y)

    f = jit(prepare)
    return (lambda k: f(normal(k, 6))), None


@fixed
def running_statistics(jit: Any) -> Any:
    s = box(mean=np.zeros(3), count=np.zeros(1))

    def prepare(x: Any) -> Any:
        s.mean = 0.9 * s.mean + 0.1 * x.mean(axis=0)
        s.count += 1
        return hb.tensor(x - s.mean) / hb.tensor(s.count)

    f = jit(prepare)
    return (lambda k: f(normal(k, 2, 3))), s


@fixed
def data_in_one_run_of_two(jit: Any) -> Any:
    """The instruction of a helper gets data in one run, and what is computed in another."""

    def first(x: Any) -> Any:
        return [*(x + 0)][0] if type(x) is list else x.max() in (1.0, 2.0)

    def prepare(x: Any) -> Any:
        return hb.tensor(x * 2), first(x), first(x - 1)

    f = jit(prepare)
    return (lambda k: f(np.array([1.0 * (k % 4), 0.5]))), None


@pytest.mark.parametrize("name", FIXED)
def test_what_python_may_look_at_gives_the_same(name: str) -> None:
    both(FIXED[name], CALLS)
