"""Functions that run eagerly whatever comes: what their calls pay, by counts, and what stays as it
is while nobody looks at them."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import sys
import threading
import warnings
import weakref
from typing import Any

import pytest

import hybrid as hb
from hybrid.backends.api import layout
from hybrid.decorator import Function, RunsEagerly, function
from hybrid.trace.fallback import deferred, nap
from hybrid.trace.fallback.budget import Budget
from hybrid.trace.fallback.nap import FREE, LONGEST, MAX_REST, REST, SETTLED, SHARE, STREAK, Nap
from hybrid.trace.serve import pending


@pytest.fixture(autouse=True)
def quick(monkeypatch, still):
    """No time passes, nothing is collected into segments, and nothing is said."""
    monkeypatch.setattr(deferred, "CHOICE", ["never"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        yield


def given_up(body: Any, *args: Any) -> Function:
    """A function that has been given up, awake."""
    f = function(body)
    while not any(state.state == "EAGER" for state in f._signatures.values()):
        f(*args)
    return f


def asleep(body: Any, *args: Any) -> Function:
    """A function that has just fallen asleep."""
    f = given_up(body, *args)
    while f._unseen != MAX_REST:
        f(*args)
    return f


def effect(x: Any) -> Any:
    """A function that runs eagerly."""
    os.getpid()
    return x


def test_a_call_that_is_not_looked_at_enters_no_frame_of_ours(frames_of):
    f = asleep(effect, 1)
    for _ in range(MAX_REST):
        assert frames_of(f, 1) == []
    assert "__call__" in frames_of(f, 1)


@pytest.fixture
def looked(monkeypatch):
    """The states of calls that were looked at."""
    seen, ready = [], pending.Unserved._ready

    def counted(self: Any, state: Any) -> bool:
        seen.append(state)
        return ready(self, state)

    monkeypatch.setattr(pending.Unserved, "_ready", counted)
    return seen


def test_what_was_given_up_is_looked_at_twice_in_so_many_calls(looked):
    f = given_up(effect, 1)
    for number in range(900):
        assert f(number) == number if number % 2 else f(1) == 1
    assert len(looked) <= SETTLED + 2 * (1 + 900 // MAX_REST)


def test_calls_of_one_kind_go_by_while_others_replay(looked, whole_calls):
    @function
    def f(x: Any) -> Any:
        if x.shape[0] == 3:
            os.times()
        return x * 2

    for _ in range(600):
        for size in (2, 2, 3):
            assert f(hb.ones(size)).tolist() == [2.0] * size
    info = f.cache_info()
    assert info.replays >= 2 * 600 - 4 and info.eager >= 600 - 4
    assert len(looked) <= 2 + 600 / REST
    looked.clear()
    with hb.no_grad():  # these are of another signature
        f(hb.ones(3))
    assert len(looked) + f.cache_info().records == info.records + 1
    (state,) = [s for s in f._signatures.values() if s.state == "EAGER" and s.idle > 500]
    assert state.idle + state.calls >= 600 - 4
    f.fn = lambda x: x
    assert f(hb.ones(3)).tolist() == [1.0] * 3


def _reads_a_clock(x: Any, k: int) -> Any:
    if k == 0:
        os.times()
    return x * 2


def _raises(x: Any, k: int) -> Any:
    for last in range(k):
        pass
    return x * 2 + 0 * last


def _reads_a_number(x: Any, k: int) -> Any:
    y = x * 2
    if k == 0:
        y = y * (len(str(y.sum().item())) > 0)
    return y


@pytest.mark.parametrize("body", [_reads_a_clock, _raises, _reads_a_number])
def test_calls_with_one_number_go_by_while_those_with_others_replay(monkeypatch, body, whole_calls):
    """A number by whose value other calls of the same tensors are replayed."""
    looks, signed = [0], Function._signed

    def counted(self: Any, args: Any, kwargs: Any) -> Any:
        looks[0] += args[1] == 0
        return signed(self, args, kwargs)

    monkeypatch.setattr(Function, "_signed", counted)
    f, x = function(body), hb.ones(3)
    for call in range(6000):
        if call == 3000:
            looks[0], replays = 0, f.cache_info().replays
        try:
            assert f(x, call % 3).tolist() == [2.0] * 3
        except UnboundLocalError:
            assert body is _raises and call % 3 == 0
    assert looks[0] <= 3 * 1000 / REST
    assert f.cache_info().replays == replays + 2000


def test_only_calls_that_a_glance_tells_apart_go_by(whole_calls):
    @function
    def f(x: Any, y: Any) -> Any:
        if x is not y and x.shape[0] < 4:
            os.times()
        return x + y

    def twice(size: int, same: bool, calls: int) -> None:
        for _ in range(calls):
            x = hb.ones(size)
            assert f(x, x if same else hb.ones(size)).tolist() == [2.0] * size

    for _ in range(500):
        twice(4, False, 3)  # replayed
        twice(2, False, 1)
        if f._passed_by is not None and any(row[0] > 12 for row in f._passed_by.rows.values()):
            break
    else:
        pytest.fail("none of its calls went by")
    before = f.cache_info()
    twice(2, True, 10)  # no sooner seen than recorded
    after = f.cache_info()
    assert after.records == before.records + 2 and after.replays >= before.replays + 7


def test_calls_that_go_by_keep_no_state(whole_calls):
    @function
    def f(x: Any) -> Any:
        if x.shape[0] > 2:
            os.times()
        return x * 2

    for _ in range(20):
        f(hb.ones(3))
        f(hb.ones(2))
    (state,) = [s for s in f._signatures.values() if s.state == "EAGER"]
    gone = weakref.ref(state)
    assert f._passed_by is not None and f._passed_by.rows
    for signature, other in list(f._signatures.items()):
        if other is state:
            del f._signatures[signature]
    del state, other
    gc.collect()
    assert gone() is None
    assert f(hb.ones(3)).tolist() == [2.0] * 3


@pytest.mark.parametrize("look, call", [(1e-6, 1e-3), (5e-4, 5e-5), (2e-2, 1e-1), (2e-2, 5e-3)])
def test_looks_take_a_small_share_of_the_time(monkeypatch, look, call):
    now, looks, calls, tired = 0.0, 0.0, 0.0, Nap()
    monkeypatch.setattr(nap, "CLOCK", [lambda: now])
    left = 0
    for _ in range(30_000):
        calls += call
        if left:
            left -= 1
            continue
        tired.began, now, looks = now, now + look + call, looks + look
        left = tired.tire(0, call)
        assert left <= LONGEST
    assert looks <= FREE + STREAK * look + 1.1 * SHARE * calls


def test_a_look_in_which_the_thread_waits_is_no_reason(monkeypatch):
    now, tired = 0.0, Nap()
    monkeypatch.setattr(nap, "CLOCK", [lambda: now])
    for number in range(STREAK - 1):
        look = 30e-3 if number in (0, 5, 20) else 1e-5
        tired.began, now = now, now + look + 5e-5
        assert not tired.tire(0, 5e-5)


def test_what_waits_for_its_turn_sleeps_for_less(monkeypatch):
    naps = []
    sleep = Function._sleep

    def counting(self: Any, calls: int, *run: Any) -> bool:
        naps.append(calls)
        return sleep(self, calls, *run)

    monkeypatch.setattr(Function, "_sleep", counting)
    monkeypatch.setattr(Budget, "pays", lambda self, count: False)
    f = function(lambda x: x)
    for number in range(400):
        f(str(number))
    assert naps[:3] == [REST, 2 * REST, 4 * REST]


def test_counts_are_right_in_the_middle_of_a_nap():
    f = asleep(effect, 1)
    before = f.cache_info().eager
    for number in range(1, MAX_REST + 9):
        f(1)
        assert f.cache_info().eager == before + number


def test_a_nap_hands_on_all_that_a_call_has():
    def body(x: Any, *rest: Any, scale: int = 1, **more: Any) -> Any:
        os.getpid()
        return x, rest, scale, more

    f = asleep(body, 1)
    assert f(1, 2, 3, scale=4, other=5) == (1, (2, 3), 4, {"other": 5})
    with pytest.raises(TypeError, match="body.*missing 1 required"):
        f()


def test_a_method_sleeps_too():
    class Owner:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        @function
        def step(self, x: Any) -> Any:
            os.getpid()
            self.seen.append(x)
            return x

    owner = Owner()
    for number in range(3 * MAX_REST):
        assert owner.step(number) == number
    assert owner.seen == list(range(3 * MAX_REST))
    info = Owner.step.cache_info()
    assert info.eager + info.records == 3 * MAX_REST


def test_a_nap_where_native_code_cannot_count(monkeypatch):
    monkeypatch.setattr(nap, "layout", lambda: None)
    f = asleep(effect, 1)
    before = f.cache_info().eager
    for number in range(1, MAX_REST + 9):
        assert f(1) == 1
        assert f.cache_info().eager == before + number


def test_calls_that_native_code_counts():
    def first(*args: Any, **more: Any) -> Any:
        return args, more

    known = layout()
    assert known is not None
    given, ended = object(), object()
    before = sys.getrefcount(given)
    call, left = known.counted(first, 2, lambda *args, **more: ended)
    assert left() == 2 and call(given, k=3) == ((given,), {"k": 3}) and left() == 1
    assert call() == ((), {}) and call() is ended and call(1, x=2) is ended and left() == 0
    call, left = known.counted(int, 1, None)
    with pytest.raises(ValueError, match="invalid literal"):
        call("no number")
    with pytest.raises(TypeError, match="not callable"):
        call()
    gone = weakref.ref(first)
    del call, left, first, known
    gc.collect()
    assert gone() is None and sys.getrefcount(given) == before


def test_errors_and_recursion_pass_through():
    def body(n: int) -> int:
        os.getpid()
        if n < 0:
            raise ValueError(n)
        return n if n == 0 else 1 + f(n - 1)

    f = asleep(body, 0)
    assert f(200) == 200
    for _ in range(2 * MAX_REST):
        with pytest.raises(ValueError):
            f(-1)


def test_another_function_put_in_its_place_is_called_at_once():
    f = asleep(effect, 1)
    before = f.cache_info().eager
    f.fn = lambda x: -x
    assert f(1) == -1 and f.cache_info().eager == before + 1


def test_it_is_what_it_was_while_asleep():
    f = asleep(effect, 1)
    g = function(effect)
    assert isinstance(f, Function) and repr(f) == repr(g)
    assert type(f).__name__ == "Function" and f.__wrapped__ is effect
    assert copy.copy(f) is f
    kind, given = f.__reduce__()
    made = kind(*given)
    assert type(made) is Function and made.fn is effect and made(2) == 2
    again = pickle.loads(pickle.dumps(f))
    assert type(again) is Function and again(3) == 3


def test_a_sleeping_function_goes_when_it_is_dropped():
    f = asleep(effect, 1)
    gone = weakref.ref(f)
    gc.disable()
    try:
        del f
        assert gone() is None
    finally:
        gc.enable()


def test_a_class_of_ones_own_stays_awake():
    class Own(Function):
        pass

    f = Own(effect)
    for number in range(3 * STREAK):
        assert f(number) == number
    assert type(f) is Own and f.cache_info().eager + f.cache_info().records == 3 * STREAK


def test_threads_share_a_nap():
    f = asleep(effect, 1)
    before, calls = f.cache_info().eager, 2000

    def work() -> None:
        for number in range(calls):
            assert f(number) == number

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    info = f.cache_info()
    assert info.eager - before <= 3 * calls
    assert info.eager + info.records - before >= 3 * calls - 3 * MAX_REST
