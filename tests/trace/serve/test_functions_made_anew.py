"""Functions that are decorated anew in each call: soon they run plainly, until they would pay."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import hybrid as hb
from hybrid.decorator import Function
from hybrid.trace.fallback import anew, budget, deferred

pytestmark = pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly")
X = hb.ones(3)


class Ticks:
    """A clock that goes on by a tick at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


@pytest.fixture(autouse=True)
def clock() -> Iterator[Ticks]:
    ticks, before = Ticks(), (budget.CLOCK[0], deferred.CHOICE[0])
    budget.CLOCK[0], deferred.CHOICE[0] = ticks, "auto"
    anew._ORIGINS.clear()
    yield ticks
    budget.CLOCK[0], deferred.CHOICE[0] = before


def recordings() -> int:
    """How many calls were recorded by functions that the accounts know."""
    accounts = [account for o in anew._ORIGINS.values() for account in o.accounts]
    return sum(account.recordings for account in accounts)


def is_whole(decorated: Any) -> bool:
    """Whether a function has been made in full; looking makes none."""
    return "_budget" in vars(decorated)


def scaled(k: float) -> Any:
    """A function of its own, as a program makes one in each call."""
    return hb.function(lambda z: z * 2 + k)


def churn(count: int = 40) -> list[bool]:
    """Make as many and call each once: which were made in full."""
    out = []
    for k in range(count):
        function = scaled(k)
        assert function(X).tolist() == [2.0 + k] * 3
        out.append(is_whole(function))
    return out


def test_after_some_for_nothing_no_more_are_recorded() -> None:
    whole = churn(200)
    most = anew.MOST // anew.WEIGHT
    assert whole == [True] * most + [False] * (200 - most)
    assert recordings() == most


def test_functions_that_live_for_a_while_are_recorded_longer() -> None:
    whole = []
    for k in range(anew.MOST + 20):
        function = scaled(k)
        for _ in range(3):
            assert function(X).tolist() == [2.0 + k] * 3
        whole.append(is_whole(function))
    assert whole.index(False) > 100 and not any(whole[-10:])


def test_one_that_is_called_often_is_recorded_in_the_end() -> None:
    churn()
    function, calls = scaled(1.0), 0
    while not is_whole(function):
        assert function(X).tolist() == [3.0] * 3
        calls += 1
        assert calls < 1000
    assert calls > anew.UNTIMED
    for _ in range(6):
        assert function(X).tolist() == [3.0] * 3
    info = function.cache_info()
    assert type(function) is Function and info.replays >= 4
    assert info.eager + info.records + info.replays == calls + 6


def test_what_is_recorded_stays_a_share_of_the_calls(clock: Ticks) -> None:
    """Functions of one code with any number of calls each: their recordings take no more than a
    share of the time of their calls once they are known."""
    churn()
    first = next(iter(anew._ORIGINS.values()))
    price = first.price()
    assert price > 0
    for calls in (2, 10, 50):
        for _ in range(5):
            function = scaled(0.0)
            for _ in range(calls):
                function(X)
            if is_whole(function):
                assert calls * 1e-3 >= price


def test_other_codes_are_not_concerned() -> None:
    churn()
    other = hb.function(lambda z: z * 3)
    assert is_whole(other)
    for _ in range(4):
        other(X)
    assert other.cache_info().replays == 2


def test_whatever_is_asked_finds_a_whole_function() -> None:
    churn()

    def make() -> Any:
        def named(z: Any, k: float = 2.0) -> Any:
            """Its text."""
            return z * k

        return hb.function(named)

    for _ in range(40):
        made = make()
        made(X)
    assert not is_whole(make())
    assert (made.__doc__, made.__module__, made.__name__) == ("Its text.", __name__, "named")
    assert make().__wrapped__.__name__ == "named" and make().__defaults__ == (2.0,)
    assert make().cache_info().replays == 0 and "named" in make().explain()
    assert "named" in repr(make()) and isinstance(make(), Function)
    function = make()
    function.__defaults__ = (5.0,)
    function.note = 3
    assert function(X).tolist() == [5.0] * 3 and function(X, k=1.0).tolist() == [1.0] * 3
    assert copy.copy(function) is function and copy.deepcopy(function) is function
    assert function.wait() and function.note == 3
    kind, given = make().__reduce__()
    assert kind is Function and kind(*given)(X).tolist() == [2.0] * 3
    with pytest.raises(AttributeError, match="absent"):
        make().absent  # noqa: B018
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(make())


def test_methods_of_classes_that_are_made_anew() -> None:
    def run(k: float) -> Any:
        class Layer:
            @hb.function
            def __call__(self, x: Any) -> Any:
                return x * k

            @hb.function
            def method(self, x: Any) -> Any:
                return x + k

        return Layer()(X).tolist(), Layer().method(X).tolist(), vars(Layer)["method"]

    for k in range(40):
        times, plus, method = run(k)
        assert times == [float(k)] * 3 and plus == [1.0 + k] * 3
    assert not is_whole(method)


def test_inside_of_calls_that_are_recorded() -> None:
    churn()

    def outer(x: Any) -> Any:
        return hb.function(lambda z: z * 3)(x) + 1

    decorated = hb.function(outer)
    for _ in range(40):
        assert decorated(X).tolist() == outer(X).tolist() == [4.0] * 3
    assert decorated.cache_info().replays > 20


def test_errors_and_threads() -> None:
    churn()
    function = scaled("a")  # type: ignore[arg-type]
    for _ in range(50):
        with pytest.raises(TypeError):
            function(X)
    shared, found = scaled(1.0), list[Any]()

    def work() -> None:
        for _ in range(200):
            found.append(shared(X).tolist())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[3.0] * 3] * 800 and type(shared) is Function


def test_nothing_is_kept_of_them() -> None:
    churn()
    gc.collect()
    before = sum(isinstance(o, Function) for o in gc.get_objects())
    churn(100)
    gc.collect()
    assert sum(isinstance(o, Function) for o in gc.get_objects()) <= before
