"""Stores into NumPy arrays outside of a call: values, order, warnings, exceptions and aliases are
those of plain Python, and the common forms are replayed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from actions import arrays
from actions.harness import both, box, data

import hybrid as hb
from hybrid.decorator import RunsEagerly
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.usefixtures("whole_calls"),
]


@pytest.mark.parametrize("name", arrays.PROGRAMS)
def test_stores_are_replayed(name: str) -> None:
    made = both(arrays.PROGRAMS[name], 34)
    info = [f.cache_info() for f in made]
    assert all(i.replays >= 18 for i in info), [f.explain() for f in made]


@pytest.mark.parametrize("name", arrays.REFUSED)
def test_what_cannot_be_followed_runs_as_it_is(name: str) -> None:
    made = both(arrays.REFUSED[name], 24)
    assert all(f.cache_info().replays == 0 for f in made), [f.explain() for f in made]


def _told(call: Callable[[int], Any]) -> Callable[[int], Any]:
    """A call that gives its warnings, too, with the lines that they name."""

    def told(k: int) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", RunsEagerly)
            result = call(k)
        return result, [(w.category.__name__, str(w.message), w.lineno) for w in caught]

    return told


def test_an_index_out_of_range_leaves_what_the_eager_call_leaves() -> None:
    def program(jit: Any) -> Any:
        s = box(a=np.zeros(4), b=np.zeros(6), n=0)

        @jit
        def f(x: Any, k: int) -> Any:
            s.n += 1
            s.b[k] += 1
            s.a[k] = s.b[k]
            s.a[0] += 1
            return x * 2

        return lambda k: f(data(k), (k * 5) % 7), s

    made = both(program, 40)
    assert made[0].cache_info().replays > 12


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "float32", "bool"])
def test_values_that_do_not_fit(dtype: str) -> None:
    values = [1, 2, 3, 100, 300, -1, 2.5, 1e30, float("nan"), 7, 1 << 70, 5, 0.1]

    def program(jit: Any) -> Any:
        s = box(a=np.zeros(3, dtype), n=0)

        @jit
        def f(x: Any, v: Any) -> Any:
            s.n += 1
            s.a[1] = v
            s.a[2] = v * 2
            return x * 2

        return _told(lambda k: f(data(k), values[k % len(values)] if k > 5 else k)), s

    both(program, 40)


def test_warnings_of_scalars_come_from_the_line_of_the_program() -> None:
    def program(jit: Any) -> Any:
        s = box(a=np.zeros(3, np.int8), b=np.full(3, 1e308))

        @jit
        def f(x: Any, k: int) -> Any:
            s.a[k] += 20
            s.b[k] += 4e307
            s.b[k] *= 0.9
            return x * 2

        return _told(lambda k: f(data(k), k % 3)), s

    made = both(program, 40)
    assert made[0].cache_info().replays >= 3


def test_warnings_that_are_errors_stop_the_call_where_they_stop_it_eagerly() -> None:
    def program(jit: Any) -> Any:
        s = box(a=np.zeros(3, np.int8), n=0)

        @jit
        def f(x: Any, k: int) -> Any:
            s.n += 1
            s.a[0] = s.n
            s.a[k] += 20
            return x * 2

        def call(k: int) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("error" if k > 8 else "ignore", RuntimeWarning)
                return f(data(k), k % 2 + 1)

        return call, s

    both(program, 36)


def test_arrays_that_are_replaced_or_change_their_form() -> None:
    def program(jit: Any) -> Any:
        s = box(a=np.zeros(6), n=0)

        @jit
        def f(x: Any, k: int) -> Any:
            s.a[k] += 1.5
            s.a[:2] = s.a[2:4]
            return x * float(s.a[0])

        def call(k: int) -> Any:
            if k == 8:
                s.a = np.ones(6)
            if k == 14:
                s.a = np.ones(7, np.float32)
            if k == 20:
                s.a = np.ones(12)[::2]
            if k == 26:
                s.a.shape = (6, 1)
            if k == 29:
                s.a = np.arange(6)
            if k == 36:
                s.a.flags.writeable = False
            if k == 40:
                s.a.flags.writeable = True
            if k % 5 == 4:
                s.a[1] = k  # from outside, between calls
            return f(data(k), k % 6)

        return call, s

    made = both(program, 48)
    assert made[0].cache_info().replays > 8


def test_arguments_that_share_memory_with_the_array() -> None:
    def program(jit: Any) -> Any:
        a, b = np.zeros((4, 4), np.float32), np.ones(4, np.float32)

        @jit
        def f(x: Any, k: int) -> Any:
            a[k, 0] += 1
            return x * 2

        def call(k: int) -> Any:
            return f(a[k % 4] if k > 8 and k % 3 == 0 else b, k % 4)

        return call, box(a=a, b=b)

    made = both(program, 40)
    assert made[0].cache_info().replays > 5


def test_the_array_itself_as_an_argument() -> None:
    def program(jit: Any) -> Any:
        a, b = np.zeros(4), np.zeros(4)

        @jit
        def f(x: Any, into: Any, k: int) -> Any:
            a[k] += 1
            into[k] += 2
            return x * 2

        return lambda k: f(data(k), a if k % 4 == 3 else b, k % 4), box(a=a, b=b)

    both(program, 30)


def test_a_property_and_other_ways_to_the_array() -> None:
    def program(jit: Any) -> Any:
        class Keeper:
            def __init__(self) -> None:
                self._a, self.all = np.zeros(4), [np.zeros(3), np.zeros(3)]

            @property
            def a(self) -> Any:
                return self._a

            def get(self) -> Any:
                return self._a

        s, pair = Keeper(), (np.zeros(3), np.zeros(3))

        @jit
        def f(x: Any, k: int) -> Any:
            s.a[k] += 1
            s.get()[k] += 1
            getattr(s, "_a")[0] += 1  # noqa: B009
            for one in s.all:
                one[k] += 1
            first, _ = pair
            first[k] -= 1
            s.all[k % 2][1] = k
            return x * float(s.a[0])

        return lambda k: f(data(k), k % 3), box(a=s._a, b=s.all, c=pair)

    both(program, 30)


def test_an_array_that_the_call_puts_in_place() -> None:
    def program(jit: Any) -> Any:
        s = box(a=np.zeros(3), b=np.zeros(2))

        @jit
        def f(x: Any, k: int) -> Any:
            s.b[0] += 1
            s.a = np.zeros(3)
            s.a[k] = k
            return x * float(s.a[k])

        return lambda k: f(data(k), k % 3), s

    both(program, 24)


def test_other_names_of_an_array_share_its_stores() -> None:
    def program(jit: Any) -> Any:
        s = box(a=np.zeros(3))
        s.b = s.a

        @jit
        def f(x: Any, k: int) -> Any:
            s.a[k] += 1
            mine = s.b
            mine[k] += s.a[k]
            return x * float(s.b[k])

        def call(k: int) -> Any:
            if k == 12:
                s.b = s.a.copy()
            return f(data(k), k % 3)

        return call, box(a=s.a, s=s)

    both(program, 30)


def test_a_handler_that_raises_leaves_whole_stores() -> None:
    def program(jit: Any) -> Any:
        s = box(a=np.zeros(3), n=0)

        @jit
        def f(x: Any, k: int) -> Any:
            s.a[0] += 1
            try:
                s.a[k] += 1
            except IndexError:
                s.n += 1
            return x * 2

        return lambda k: f(data(k), k % 5), s

    both(program, 30)


def test_numbers_read_from_tensors_that_are_large_or_out_of_range() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1e30, np.inf, -np.inf, np.nan, 2.0, 7.0, 1.0]

    def program(jit: Any) -> Any:
        s = box(sums=np.zeros(3), wide=np.full(3, 1e308), counts=np.zeros(9, int), n=0)

        @jit
        def f(x: Any, k: int) -> Any:
            s.n += 1
            s.sums[k] += x.sum().item()
            s.wide[k] += 1e307 * x[0].item()
            s.counts[int(x[0] * 1.5)] += 1
            return x * 2

        def call(k: int) -> Any:
            given = np.full(2, values[k % len(values)] if k > 6 else k % 3, np.float32)
            return f(hb.asarray(given), k % 3)

        return _told(call), s

    both(program, 40)


def test_tensors_that_share_memory_with_the_array() -> None:
    def program(jit: Any) -> Any:
        a = np.zeros(4, np.float32)
        s = box(t=data(1))

        @jit
        def f(x: Any, k: int) -> Any:
            a[k] += 1
            return x * s.t

        def call(k: int) -> Any:
            if k == 12:
                s.t = hb.from_dlpack(a)
            return f(data(k), k % 4)

        return call, box(a=a, s=s)

    both(program, 30)


def test_windows_of_an_array_that_overlap() -> None:
    def program(jit: Any) -> Any:
        base = np.zeros(6)
        windows = np.lib.stride_tricks.as_strided(base, (4, 3), (8, 8), writeable=True)

        @jit
        def f(x: Any, k: int) -> Any:
            windows[k, 0] += 1
            return x * float(windows[k - 1, 1])

        return lambda k: f(data(k), k % 4), box(a=base)

    both(program, 24)
