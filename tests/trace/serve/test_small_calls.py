"""Calls of a few microseconds: what a replay runs of hybrid's Python, by counts, and that it gives
what plain calls give where arrays, buffers, settings and generators change between calls."""

from __future__ import annotations

import array
import contextlib
import io
import random
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from frozen import difference, frozen

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.host import again


def normal(k: int, *shape: int) -> Any:
    return np.random.default_rng(k).standard_normal(shape).astype(np.float32)


def computed(f: Any) -> Any:
    weight = hb.tensor(normal(1, 3))
    return f(lambda a: hb.tensor(np.clip(a, -1, 1) + 1) * weight)


def of_buffer(f: Any) -> Any:
    return f(lambda b: hb.tensor(np.frombuffer(b, dtype=np.int16).astype("f4")) / 2)


def of_data(f: Any) -> Any:
    return f(lambda b: hb.asarray(b) * 2 + 1)


def at_index(f: Any) -> Any:
    table = hb.tensor(normal(0, 16, 2))
    return f(lambda k: table[k % 16] + 1)


def printing(f: Any) -> Any:
    def step(x: Any) -> Any:
        print("begins", end="; ")
        y = x * 2
        print(f"{y.mean().item():.3f}", y.shape)
        return y

    return f(step)


def reading(f: Any) -> Any:
    state = {"mean": 0.0}

    def step(x: Any) -> Any:
        state["mean"] = 0.5 * state["mean"] + x.sum().item()
        return state["mean"], x.max().item(), x.tolist()

    return f(step)


def drawing(f: Any) -> Any:
    rng = np.random.default_rng(0)
    return f(lambda x: x * random.random() + hb.tensor(rng.random(3).astype("f4")))


def drawing_and_branching(f: Any) -> Any:
    rng = np.random.default_rng(0)
    return f(lambda x: (x * 2 if rng.random() < 0.5 else x + 1).sum().item())


def sorting(f: Any) -> Any:
    return f(lambda x: (hb.sort(x * 2), x.cumsum(axis=0) + 1))


ARRAYS = [normal(k, 3) for k in range(9)]
ARRAYS += [np.arange(3, dtype=">f4"), np.arange(6, dtype=np.float32)[::2], normal(3, 4)]
ARRAYS += [np.frombuffer(b"\0" + normal(5, 3).tobytes(), np.float32, 3, 1)]  # misaligned
ARRAYS += [np.array([1e-42, -0.0, np.nan], np.float32), np.arange(3), normal(1, 3)[::-1]]
BUFFERS: list[Any] = [array.array("h", [k, 2, 3]) for k in range(8)]
BUFFERS += [array.array("h", [1, 2]), array.array("H", [1, 2, 3]), array.array("f", [1.0, 2.0])]
BUFFERS += [bytearray([k, 1, 2, 3]) for k in range(4)] + [memoryview(array.array("h", [4, 5, 6]))]
TENSORS = [hb.tensor(normal(k, 3)) for k in range(9)]
PROGRAMS: list[tuple[Any, list[Any], int]] = [
    # what makes a function, its arguments in turns, and frames of a replay at most
    (computed, ARRAYS, 8),
    (of_buffer, BUFFERS, 13),
    (of_data, BUFFERS, 11),
    (at_index, list(range(40)), 8),
    (printing, TENSORS, 5),
    (reading, TENSORS, 12),
    (drawing, TENSORS, 30),
    (drawing_and_branching, TENSORS, 60),
    (sorting, TENSORS, 130),
]


def outcome(call: Any, *args: Any) -> Any:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            result = call(*args)
        except Exception as error:
            result = type(error).__name__
    return frozen(result), out.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "given", "most"), PROGRAMS, ids=lambda v: getattr(v, "__name__", "")
)
def test_the_same_as_plain_calls_in_few_frames(make, given, most, frames_of):
    plain, traced = make(lambda body: body), make(function)
    first, steady = given[0], 0
    order = [*[first] * 6, *given, *given, *given[::-1], *[first] * 20]
    seen: dict[bool, list[Any]] = {}
    for served, call in ((False, plain), (True, traced)):
        random.seed(1)
        seen[served] = [(outcome(call, value), random.getstate()) for value in order]
    for number, (one, other) in enumerate(zip(seen[False], seen[True])):
        assert not difference(one[0], other[0]), (number, order[number])
        assert one[1] == other[1]
    steady = len(frames_of(traced, first))
    assert traced.cache_info().replays > 15 and steady <= most, frames_of(traced, first)


def test_numbers_that_are_read_twice_are_read_once(frames_of):
    f = reading(function)
    for _ in range(8):
        f(TENSORS[0])
    assert frames_of(f, TENSORS[0]).count("item") == 0


def test_what_prints_nothing_but_texts_is_made_ready_once(monkeypatch):
    f = function(lambda x: (print("a", 1, sep="-"), x * 2)[1])
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        for _ in range(6):
            f(TENSORS[0])
        monkeypatch.setattr(again, "told", None)
        f(TENSORS[0])
    assert out.getvalue() == "a-1\n" * 7


@pytest.mark.parametrize("how", ["ignore", "warn", "raise"])
def test_settings_of_numpy_at_each_call_decide(how):
    def scaled(a: Any) -> Any:
        return hb.tensor((a * np.float32(1e30)) * np.float32(2)).sum()

    f = function(scaled)
    for number in range(12):
        assert frozen(f(normal(number, 3))) == frozen(scaled(normal(number, 3)))
    large = np.full(3, 1e30, np.float32)
    told = []
    for call in (scaled, f):
        for setting in (how, "ignore", how):
            with np.errstate(over=setting), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = outcome(call, large)
            ours = [w for w in caught if w.category is not hb.RunsEagerly]
            told.append((result, [str(w.message) for w in ours]))
    assert told[:3] == told[3:]
    assert np.geterr()["over"] == "warn"


def test_an_argument_of_an_output_that_cannot_be_made_raises_at_its_turn():
    seen = []

    def step(x: Any) -> Any:
        y = x.sum().item()
        print("first")
        print(1 / y)
        seen.append(y)
        return y

    results = []
    for call in (step, function(step)):
        seen.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = [TENSORS[k % 3] * (k % 7 != 6) for k in range(30)]
            results.append(([outcome(call, x) for x in given], list(seen)))
    assert results[0] == results[1]


def test_plans_with_steps_in_python_serve_several_threads():
    f = function(lambda x: (x * 2).cumsum(axis=0) + 1)
    wanted = {k: ((TENSORS[k] * 2).cumsum(axis=0) + 1).tolist() for k in range(9)}
    for k in range(6):
        f(TENSORS[k])
    wrong: list[int] = []

    def work() -> None:
        for number in range(300):
            k = number % 9
            if f(TENSORS[k]).tolist() != wanted[k]:
                wrong.append(k)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_results_of_plans_with_steps_in_python_share_no_memory():
    f = function(lambda x: (x.cumsum(axis=0), (x * 2).cumsum(axis=0) * 1))
    kept = [f(TENSORS[k % 9]) for k in range(20)]
    for k, (one, other) in enumerate(kept):
        assert one.tolist() == TENSORS[k % 9].cumsum(axis=0).tolist()
        assert other.tolist() == ((TENSORS[k % 9] * 2).cumsum(axis=0) * 1).tolist()


def test_the_code_of_a_function_is_read_without_a_frame(frames_of):
    def helper(x: Any) -> Any:
        return x * 2

    f = function(lambda x: helper(x).cumsum(axis=0))  # its facts are looked at by Python
    for _ in range(6):
        f(TENSORS[0])
    assert "_attr" not in frames_of(f, TENSORS[0])
    before = helper.__code__
    helper.__code__ = (lambda x: x * 3).__code__
    assert f(TENSORS[0]).tolist() == (TENSORS[0] * 3).cumsum(axis=0).tolist()
    helper.__code__ = before
    assert f(TENSORS[0]).tolist() == (TENSORS[0] * 2).cumsum(axis=0).tolist()
