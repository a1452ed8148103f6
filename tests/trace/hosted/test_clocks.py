"""Clocks that a call reads: context managers, wrappers and generators that measure.

A program is run plainly and decorated on a clock that counts how often it is read, so what it
measures must be the same to the bit, and from some call on it must be replayed."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import io
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn
from hybrid.trace.host import table

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
    pytest.mark.skipif(
        not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
    ),
]
CALLS = 24
Tick = Callable[[], Any]
Program = Callable[[Any, Tick], tuple[Callable[[Any], Any], Callable[[], Any]]]
PROGRAMS: dict[str, Program] = {}
KEPT: list[Any] = []  # recordings know functions by their ids


def program(make: Program) -> Program:
    PROGRAMS[make.__name__] = make
    return make


def data(k: int) -> Any:
    return hb.tensor(np.random.default_rng(k).standard_normal((2, 4)).astype("f4"))


def _layer() -> Any:
    hb.manual_seed(1)
    return nn.Linear(4, 4)


@program
def attribute(jit: Any, tick: Tick) -> Any:
    class Model:
        def __init__(self) -> None:
            self.layer, self.seconds, self.last = _layer(), 0, 0

        def run(self, x: Any) -> Any:
            start = tick()
            y = self.layer(x)
            self.last = tick() - start
            self.seconds += self.last
            return y

    model = Model()
    return jit(model.run), lambda: (model.seconds, model.last)


@program
def class_context(jit: Any, tick: Tick) -> Any:
    class Timer:
        total = 0

        def __enter__(self) -> Any:
            self.start = tick()
            return self

        def __exit__(self, *error: Any) -> None:
            self.total += tick() - self.start

    timer, layer = Timer(), _layer()
    timer.total = 0

    @jit
    def f(x: Any) -> Any:
        with timer:
            x = layer(x)
        with timer:
            return x.relu()

    return f, lambda: timer.total


@program
def generator_context(jit: Any, tick: Tick) -> Any:
    totals: dict[str, int] = {}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        start = tick()
        try:
            yield
        finally:
            totals[name] = totals.get(name, 0) + tick() - start

    layer = _layer()

    @jit
    def f(x: Any) -> Any:
        with timed("layer"):
            x = layer(x)
        with timed("activation"), timed("both"):
            x = x.relu()
        return x

    return f, lambda: list(totals.items())


@program
def generator_method(jit: Any, tick: Tick) -> Any:
    class Profile:
        def __init__(self) -> None:
            self.spent: Any = collections.defaultdict(int)
            self.count: Any = collections.Counter()
            self.out = io.StringIO()

        @contextlib.contextmanager
        def section(self, name: str) -> Iterator[Any]:
            begin = tick()
            yield self
            self.spent[name] += tick() - begin
            self.count[name] += 1
            print(f"{name} took {tick() - begin}", file=self.out)

    profile, layer = Profile(), _layer()

    @jit
    def f(x: Any) -> Any:
        with profile.section("layer") as own:
            y = layer(x)
        return y if own is profile else x

    return f, lambda: (dict(profile.spent), dict(profile.count), profile.out.getvalue())


@program
def context_as_decorator(jit: Any, tick: Tick) -> Any:
    spent = {"f": 0}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        start = tick()
        yield
        spent[name] += tick() - start

    layer = _layer()
    inner = timed("f")(lambda x: layer(x).relu())
    return jit(lambda x: inner(x)), lambda: spent


@program
def wrapper(jit: Any, tick: Tick) -> Any:
    stats: dict[str, Any] = {}

    def measured(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **named: Any) -> Any:
            start = tick()
            result = function(*args, **named)
            stats[function.__name__] = stats.get(function.__name__, 0) + tick() - start
            return result

        return inner

    layer = _layer()

    @measured
    def forward(x: Any, scale: float = 1.0) -> Any:
        return layer(x) * scale

    return jit(lambda x: forward(x, scale=0.5)), lambda: stats


@program
def between_operations(jit: Any, tick: Tick) -> Any:
    log: list[Any] = []

    @jit
    def f(x: Any) -> Any:
        times = [tick()]
        x = x * 2
        times.append(tick())
        x = x + 1
        times.append(tick())
        log.append([times[1] - times[0], times[2] - times[1]])
        return x

    return f, lambda: log


@program
def given_back(jit: Any, tick: Tick) -> Any:
    @jit
    def f(x: Any) -> Any:
        first = tick()
        y = x.relu()
        return y, {"spent": tick() - first}

    return f, lambda: None


@program
def a_branch_at_the_start(jit: Any, tick: Tick) -> Any:
    state = {"first": 0, "logged": 0}

    @jit
    def f(x: Any) -> Any:
        if tick() - state["first"] >= 0:
            state["logged"] += 1
        return x * 2

    return f, lambda: state


def _plain(value: Any) -> Any:
    if isinstance(value, hb.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return repr(value)


class _Definition(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("text", ctypes.c_char_p),
    ]


@contextlib.contextmanager
def counting_clock() -> Iterator[Tick]:
    """A function in C without Python inside, as those of `time`: it gives 0, 1, 2, ..."""
    asked = ctypes.PYFUNCTYPE(ctypes.py_object)(itertools.count().__next__)
    address = ctypes.cast(asked, ctypes.c_void_p)
    definition = _Definition(b"tick", address, 4, b"")  # without arguments
    make = ctypes.pythonapi.PyCMethod_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p] * 4
    tick: Tick = make(ctypes.addressof(definition), None, None, None)
    table._FUNCTIONS[id(tick)] = table.HostFunction("a clock", "clock", int)
    try:
        yield tick
    finally:
        del table._FUNCTIONS[id(tick)]
        KEPT.extend([asked, definition, tick])


def _run(name: str, jit: Any) -> tuple[list[Any], Any]:
    """Results and state of a program, and the clock at the end, which only moves when it is
    read."""
    with counting_clock() as tick:
        f, state = PROGRAMS[name](jit, tick)
        found = [(_plain(f(data(k))), repr(state())) for k in range(CALLS)]
        return found, (f, tick())


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_read_is_the_one_of_plain_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_DEFERRED", "never")
    expected, (_, read) = _run(name, lambda fn: fn)
    found, (f, now) = _run(name, hb.function)
    assert found == expected
    assert read <= now <= read + 4  # a call whose plan does not serve it reads again
    assert f.cache_info().replays >= CALLS // 2, f.explain()


def test_the_reads_of_a_replay_never_go_back() -> None:
    log: list[Any] = []

    @hb.function
    def f(x: Any) -> Any:
        times = [time.perf_counter()]
        for _ in range(3):
            x = x.exp() * 0.1
            times.append(time.perf_counter())
        log.append(times)
        return x

    begin = time.perf_counter()
    for k in range(30):
        f(data(k))
    end = time.perf_counter()
    flat = [moment for times in log for moment in times]
    assert len(log) == 30 and flat == sorted(flat) and begin <= flat[0] and flat[-1] <= end
    assert f.cache_info().replays > 10, f.explain()


def test_a_clock_that_is_replaced_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []

    @hb.function
    def f(x: Any) -> Any:
        start = time.perf_counter()
        y = x * 2
        spent.append(time.perf_counter() - start)
        return y

    for k in range(12):
        f(data(k))
    monkeypatch.setattr(time, "perf_counter", iter(range(0, 100, 7)).__next__)
    for k in range(4):
        f(data(k))
    assert spent[12:] == [7, 7, 7, 7]


def test_an_exception_in_a_measured_block_is_the_users() -> None:
    spent: list[str] = []

    @contextlib.contextmanager
    def timed() -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent.append("late" if time.perf_counter() < start else "ok")

    @hb.function
    def f(x: Any, n: int) -> Any:
        with timed():
            y = x * 2
            if n == 3:
                raise KeyError(n)
        return y

    for k in range(40):
        if k % 8 == 7:
            with pytest.raises(KeyError):
                f(data(k), 3)
        else:
            assert np.array_equal(f(data(k), 1).numpy(), data(k).numpy() * 2)
    assert spent == ["ok"] * 40


def test_a_generator_that_outlives_the_call_goes_on() -> None:
    kept: list[Any] = []

    def count() -> Iterator[float]:
        start = time.perf_counter()
        while True:
            yield time.perf_counter() - start

    @hb.function
    def f(x: Any) -> Any:
        generator = count()
        next(generator)
        kept.append(generator)
        return x * 2

    for k in range(10):
        f(data(k))
    assert len({id(generator) for generator in kept}) == 10
    assert all(next(generator) > 0 for generator in kept)


def test_what_a_generator_shows_says_nothing_of_equal_constants() -> None:
    log: list[str] = []
    state = {"step": 0}

    @contextlib.contextmanager
    def scope() -> Iterator[int]:
        log.append("in")
        try:
            yield len(log)
        finally:
            log.pop()

    @hb.function
    def f(x: Any) -> Any:
        with scope():
            pass
        state["step"] += 1
        return x * (0.5 * min(state["step"] / 4, 1.0))

    for k in range(16):
        expected = data(k).numpy() * np.float32(0.5 * min((k + 1) / 4, 1.0))
        assert np.array_equal(f(data(k)).numpy(), expected), k


def test_the_end_of_a_generator_is_handled_where_python_does() -> None:
    state = {"n": 0}

    def parts(n: int) -> Iterator[int]:
        for k in range(n):
            yield k + 1
        state["n"] += n

    @hb.function
    def f(x: Any, n: int) -> Any:
        walk = parts(n)
        while True:
            try:
                step = next(walk)
            except StopIteration:
                break
            x = x + step
        return x * state["n"]

    total = 0
    for k in range(30):
        n = 1 + k % 2
        total += n
        expected = (data(k).numpy() + np.float32(n * (n + 1) // 2)) * np.float32(total)
        assert np.allclose(f(data(k), n).numpy(), expected, rtol=1e-5)
    assert state["n"] == total and f.cache_info().replays > 10, f.explain()
