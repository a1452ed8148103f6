"""Functions of functools.cache and lru_cache, and other memos, inside of decorated functions.

A program is run plainly and decorated: results, texts, Python state and what each cache counts must
be the same after every call, and from some call on it must be replayed."""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid import nn
from hybrid.trace.heap.walks import kept_by

pytestmark = [
    pytest.mark.filterwarnings("ignore::hybrid.RunsEagerly"),
    pytest.mark.skipif(
        not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
    ),
]
CALLS = 40
Program = Callable[[Any], tuple[Callable[[int], Any], Callable[[], Any]]]
REPLAYED: dict[str, Program] = {}
OTHERS: dict[str, Program] = {}


def replayed(make: Program) -> Program:
    REPLAYED[make.__name__] = make
    return make


def other(make: Program) -> Program:
    OTHERS[make.__name__] = make
    return make


def data(k: int, *shape: int) -> Any:
    return hb.tensor(np.random.default_rng(k).standard_normal(shape or (5, 3)).astype("f4"))


@replayed
def positions(jit: Any) -> Any:
    @functools.cache
    def table(length: int, size: int) -> Any:
        return hb.sin(hb.arange(length).reshape(-1, 1) / 10.0 ** hb.arange(size))

    f = jit(lambda x: x + table(*x.shape))
    return lambda k: f(data(k)), table.cache_info


@replayed
def bounded_and_by_name(jit: Any) -> Any:
    @functools.lru_cache(maxsize=4)
    def ramp(n: int, scale: float = 1.0) -> Any:
        return hb.arange(n) * scale

    f = jit(lambda x: x + ramp(x.shape[1], scale=2.0) + ramp(n=x.shape[1]) - ramp(x.shape[1]))
    return lambda k: f(data(k)), ramp.cache_info


@replayed
def a_model(jit: Any) -> Any:
    @functools.lru_cache(None)
    def model() -> Any:
        hb.manual_seed(0)
        return nn.Linear(3, 3)

    f = jit(lambda x: model()(x))
    return lambda k: f(data(k)), lambda: (model.cache_info(), model().state_dict())


@replayed
def a_number(jit: Any) -> Any:
    @functools.cache
    def scale(n: int) -> float:
        return float(n**-0.5)

    f = jit(lambda x: x * scale(x.shape[1]))
    return lambda k: f(data(k)), scale.cache_info


@replayed
def run_time_numbers(jit: Any) -> Any:
    @functools.lru_cache(maxsize=8)
    def scale(n: int) -> float:
        return float(n**-0.5)

    f = jit(lambda x, n: x * scale(n) + n)
    return lambda k: f(data(k), 1 + k % 2), scale.cache_info


@replayed
def a_loop_that_fills_it(jit: Any) -> Any:
    @functools.lru_cache(maxsize=3)
    def row(k: int) -> Any:
        return hb.arange(3) * float(k)

    @jit
    def f(x: Any) -> Any:
        for k in (0, 2, 1):
            x = x + row(k)
        return x

    return lambda k: f(data(k)), row.cache_info


@replayed
def cleared_and_filled(jit: Any) -> Any:
    @functools.cache
    def ramp(n: int) -> Any:
        return hb.arange(n) * 0.5

    f = jit(lambda x: x + ramp(x.shape[1]))

    def call(k: int) -> Any:
        if k in (9, 20, 21):
            ramp.cache_clear()
        return f(data(k))

    return call, ramp.cache_info


@replayed
def evicted_from_outside(jit: Any) -> Any:
    @functools.lru_cache(maxsize=2)
    def ramp(n: int) -> Any:
        return hb.arange(n) * 0.5

    f = jit(lambda x: x + ramp(3))

    def call(k: int) -> Any:
        if k % 10 == 9:  # the order of use decides who goes
            ramp(k), ramp(k + 1)
        return f(data(k))

    return call, ramp.cache_info


@replayed
def a_result_that_changes(jit: Any) -> Any:
    @functools.cache
    def table() -> Any:
        return {"n": 0, "log": []}

    @jit
    def f(x: Any) -> Any:
        table()["n"] += 1
        table()["log"].append(x.shape[0])
        return x * table()["n"]

    return lambda k: f(data(k)), lambda: (table.cache_info(), table())


@replayed
def a_buffer(jit: Any) -> Any:
    @functools.cache
    def buffer(n: int) -> Any:
        return hb.zeros(n)

    @jit
    def f(x: Any) -> Any:
        held = buffer(x.shape[1])
        held += x.sum(axis=0)
        return held * 2

    return lambda k: f(data(k)), lambda: (buffer.cache_info(), buffer(3).numpy().tobytes())


@replayed
def a_static_method(jit: Any) -> Any:
    class Model:
        @staticmethod
        @functools.lru_cache(8)
        def mask(n: int) -> Any:
            return hb.arange(n) * 0.5

        def __call__(self, x: Any) -> Any:
            return x + self.mask(x.shape[1])

    f = jit(Model().__call__)
    return lambda k: f(data(k)), Model.mask.cache_info


@replayed
def a_function_that_prints(jit: Any) -> Any:
    @functools.cache
    def ramp(n: int) -> Any:
        print("made", n)
        return hb.arange(n) * 1.0

    @jit
    def f(x: Any) -> Any:
        print("before")
        y = x + ramp(x.shape[1])
        print("behind")
        return y

    def call(k: int) -> Any:
        if k in (12, 25):
            ramp.cache_clear()
        return f(data(k))

    return call, ramp.cache_info


@replayed
def a_function_that_sees_what_the_call_did(jit: Any) -> Any:
    class State:
        n = 0

    state = State()
    state.n = 0

    @functools.cache
    def ramp(m: int) -> Any:
        return hb.arange(m) * float(state.n)

    @jit
    def f(x: Any) -> Any:
        state.n += 1
        return x + ramp(x.shape[1])

    def call(k: int) -> Any:
        if k in (12, 25):
            ramp.cache_clear()
        return f(data(k))

    return call, lambda: (ramp.cache_info(), state.n)


@replayed
def a_cached_property(jit: Any) -> Any:
    class Model:
        made = 0

        @functools.cached_property
        def weight(self) -> Any:
            self.made += 1
            return hb.arange(3) * 0.5

        def __call__(self, x: Any) -> Any:
            return x + self.weight

    model = Model()
    f = jit(lambda x: model(x))

    def call(k: int) -> Any:
        if k == 20:
            del model.weight
        return f(data(k))

    return call, lambda: (model.made, sorted(model.__dict__))


@replayed
def a_memo(jit: Any) -> Any:
    memo: dict[Any, Any] = {}

    def ramp(*shape: int) -> Any:
        if shape not in memo:
            memo[shape] = hb.arange(shape[1]) * 0.5
        return memo[shape]

    f = jit(lambda x: x + ramp(*x.shape))
    return lambda k: f(data(k, 5, 3 + k % 2)), lambda: list(memo)


@replayed
def a_memo_that_is_asked(jit: Any) -> Any:
    memo: dict[Any, Any] = {}

    @jit
    def f(x: Any) -> Any:
        found = memo.get(x.shape)
        if found is None:
            found = memo[x.shape] = hb.arange(x.shape[1]) * 0.5
        return x + found

    return lambda k: f(data(k, 5, 3 + k % 2)), lambda: list(memo)


@replayed
def counts_by_default(jit: Any) -> Any:
    counts: Any = collections.defaultdict(int)
    names: dict[str, int] = {}
    parts: dict[str, Any] = {}

    @jit
    def f(x: Any, name: str) -> Any:
        counts[name] += 1
        names[name] = names.get(name, 0) + 2
        return x * parts.setdefault("scale", hb.ones(3))

    return lambda k: f(data(k), "ab"[k % 2]), lambda: (dict(counts), names, list(parts))


@other
def more_sizes_than_it_keeps(jit: Any) -> Any:
    @functools.lru_cache(maxsize=2)
    def ramp(n: int) -> Any:
        return hb.arange(n) * 0.5

    f = jit(lambda x: x + ramp(x.shape[1]))
    return lambda k: f(data(k, 5, 3 + (k // 4) % 3)), ramp.cache_info


@other
def one_that_never_hits(jit: Any) -> Any:
    @functools.lru_cache(maxsize=1)
    def row(k: int) -> Any:
        return hb.arange(3) * float(k)

    f = jit(lambda x: x + row(1) + row(2))
    return lambda k: f(data(k)), row.cache_info


@other
def typed(jit: Any) -> Any:
    @functools.lru_cache(typed=True)
    def row(k: Any) -> Any:
        return hb.arange(3) * (1.0 if type(k) is int else 2.0)

    f = jit(lambda x: x + row(1) * row(1.0))
    return lambda k: f(data(k)), row.cache_info


@other
def of_tensors(jit: Any) -> Any:
    @functools.cache
    def double(t: Any) -> Any:
        return t * 2

    weight = hb.ones(3)
    f = jit(lambda x: x + double(weight))
    return lambda k: f(data(k)), double.cache_info


@other
def of_an_object(jit: Any) -> Any:
    class Model:
        @functools.lru_cache
        def mask(self, n: int) -> Any:
            return hb.arange(n) * 0.5

        def __call__(self, x: Any) -> Any:
            return x + self.mask(x.shape[1])

    f = jit(Model().__call__)
    return lambda k: f(data(k)), Model.mask.cache_info


@other
def equal_arguments_of_other_types(jit: Any) -> Any:
    @functools.cache
    def row(k: Any, n: int) -> Any:
        return hb.arange(n) * (1.0 if type(k) is int else 2.0)

    f = jit(lambda x, k: x + row(k, 3))

    def call(k: int) -> Any:
        if k % 8 == 7:
            row.cache_clear()
        return f(data(k), (1, 1.0, True)[k % 3])

    return call, row.cache_info


@other
def one_instruction_for_several(jit: Any) -> Any:
    @functools.cache
    def ramp(n: int) -> Any:
        return hb.arange(n) * 0.5

    def plain(n: int) -> Any:
        return hb.ones(n)

    @jit
    def f(x: Any) -> Any:
        for make in (ramp, plain, print, ramp):
            made = make(x.shape[1])
            x = x if made is None else x + made
        return x

    return lambda k: f(data(k)), ramp.cache_info


def _plain(value: Any) -> Any:
    return value.numpy().tobytes() if isinstance(value, hb.Tensor) else repr(value)


def _run(make: Program, jit: Any) -> tuple[list[Any], str]:
    call, state = make(jit)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        found = [(_plain(call(k)), repr(state())) for k in range(CALLS)]
    return found, out.getvalue()


@pytest.mark.parametrize("name", [*REPLAYED, *OTHERS])
def test_caches_hold_and_count_what_they_do_in_plain_python(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRID_DEFERRED", "never")
    made: list[Any] = []
    program = {**REPLAYED, **OTHERS}[name]
    expected = _run(program, lambda fn: fn)
    found = _run(program, lambda fn: made.append(hb.function(fn)) or made[-1])
    assert found == expected
    if name in REPLAYED:
        assert made[-1].cache_info().replays >= CALLS // 2, made[-1].explain()


def test_a_cache_of_another_function_is_asked() -> None:
    space: dict[str, Any] = {}

    def make(value: float) -> Any:
        return functools.lru_cache(lambda n: hb.ones(n) * value)

    space["table"] = make(1.0)
    f = hb.function(lambda x: x * space["table"](3))
    for k in range(30):
        if k == 15:
            space["table"] = make(2.0)
        expected = data(k).numpy() * np.float32(1.0 if k < 15 else 2.0)
        assert np.array_equal(f(data(k)).numpy(), expected)
    assert f.cache_info().replays > 15, f.explain()


def test_asking_what_is_kept_is_no_use_of_it() -> None:
    made = functools.lru_cache(maxsize=2)(lambda *args, **named: [args, named])
    first, second = made(1), made("a", b=2)
    before = made.cache_info()
    one = kept_by(made, (1,), {})
    two = kept_by(made, ("a",), {"b": 2})
    assert kept_by(made, (5,), {}) == "missing" == kept_by(made, ("a",), {"c": 2})
    assert made.cache_info() == before
    assert one is not None and not isinstance(one, str) and one.value is first
    assert two is not None and not isinstance(two, str) and two.value is second


def test_threads_that_clear_a_cache() -> None:
    @functools.lru_cache
    def ramp(n: int) -> Any:
        return hb.arange(n) * 0.5

    f = hb.function(lambda x: x + ramp(x.shape[1]))
    x, done = data(1), threading.Event()
    expected = (x + hb.arange(3) * 0.5).numpy()

    def clear() -> None:
        while not done.is_set():
            ramp.cache_clear()

    beside = threading.Thread(target=clear)
    beside.start()
    try:
        for _ in range(300):
            assert np.array_equal(f(x).numpy(), expected)
    finally:
        done.set()
        beside.join()
