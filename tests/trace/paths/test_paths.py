"""Branches of Python on values of tensors: each way is recorded, and a replay that goes another one
ends before it has written anything.

Each program runs decorated and plain; results, bits and all state must agree, and from some call on
everything is replayed.
"""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from actions.harness import both
from paths import attacks, guards, loops, outside, steps

import hybrid as hb
from hybrid.decorator import RunsEagerly, function
from hybrid.trace.follow.rows import SUPPORTED

FOLLOWED = (  # whose numbers and containers are followed, or that end with an error
    *("item_in_a_branch", "chained_numbers", "number_is_returned_too", "an_index_that_is_compared"),
    *("skip_what_is_not_finite", "skip_before_backward", "accept_or_reject", "log_on_one_way"),
)
ERRORS = ("assertion", "raises_after_a_write")  # which run the function itself
PROGRAMS = {**guards.PROGRAMS, **steps.PROGRAMS}
ATTACKS = {**attacks.PROGRAMS, **outside.PROGRAMS}
CALLS, RECORDED = 60, 26


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_way_is_replayed(name: str) -> None:
    made = both(PROGRAMS[name], CALLS)
    if not SUPPORTED and name in FOLLOWED:
        return
    for f in made:
        info = f.cache_info()
        assert info.records <= RECORDED and info.replays >= CALLS - RECORDED, f.explain()
        assert (info.eager == 0) or name in ERRORS, f.explain()


@pytest.mark.parametrize("name", loops.ROLLED)
def test_a_loop_is_one_node_whatever_the_number_of_turns(name: str) -> None:
    (f,) = both(loops.ROLLED[name], 50)
    info = f.cache_info()
    if SUPPORTED:
        assert info.plans == 1 and info.records <= 6 and info.eager == 0, (info, f.explain())


@pytest.mark.parametrize("name", loops.PROGRAMS)
def test_other_loops_are_right(name: str) -> None:
    both(loops.PROGRAMS[name], 50)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_give_what_plain_python_gives(name: str) -> None:
    both(ATTACKS[name], 48)


def _falls(x: Any, rate: Any) -> Any:
    while x.norm() > 1.0:
        x = x * rate
    return x


@pytest.mark.skipif(not SUPPORTED, reason="calls are followed on CPython 3.11 only")
def test_a_loop_without_an_end_can_be_interrupted() -> None:
    f, rate = function(_falls), hb.tensor(0.9)
    for k in range(6):
        f(hb.tensor([1.0 + k, 20.0]), rate)
    assert f.cache_info().plans == 1

    class Alarm(Exception):
        pass

    def ring(*_: Any) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Alarm):
            f(hb.tensor([1.0, 20.0]), hb.tensor(1.0))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    x = hb.tensor([5.0, 2.0])
    assert f(x, rate).numpy().tobytes() == _falls(x, rate).numpy().tobytes()
    assert f.cache_info().records == 3


def test_ways_that_were_compiled_beside_the_calls() -> None:
    @function(wait=False)
    def f(x: Any) -> Any:
        return x * 2 if x.sum() > 0 else -x

    for k in range(24):
        x = hb.tensor([(-1.0) ** k, 0.0])
        assert f(x).tolist() == (x * 2 if k % 2 == 0 else -x).tolist()
        f.wait()
    assert f.cache_info().plans == 2 and f.cache_info().replays >= 16


def test_ever_new_ways_are_given_up() -> None:
    @function
    def f(x: Any) -> Any:
        for part in range(12):
            x = x * 0.9 if x[part] > 0 else x + 0.01
        return x

    rng = np.random.default_rng(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunsEagerly)
        for _ in range(150):
            f(hb.tensor(rng.normal(size=12).astype(np.float32)))
    assert f.cache_info().records <= 80 and f.cache_info().plans == 0
    (said,) = [str(one.message) for one in caught]
    assert "ever new ways" in said


def test_a_rare_error_leaves_the_other_ways_alone() -> None:
    @function
    def f(x: Any) -> Any:
        assert x.max() < 100, "large"
        return x * 2

    for _ in range(4):
        f(hb.tensor([1.0, 2.0]))
    for _ in range(20):
        with pytest.raises(AssertionError, match="large"):
            f(hb.tensor([1.0, 200.0]))
    replays = f.cache_info().replays
    assert f(hb.tensor([1.0, 3.0])).tolist() == [2.0, 6.0]
    assert f.cache_info().replays == replays + 1 and f.cache_info().records <= 10


def test_explain_names_the_ways() -> None:
    f = function(lambda x: x * 2 if x.sum() > 0 else -x)
    for k in range(8):
        f(hb.tensor([(-1.0) ** k]))
    text = str(f.explain())
    assert "branches on tensors are True" in text and "branches on tensors are False" in text


def test_python_that_runs_behind_a_check_sees_no_error_of_it() -> None:
    """What a plan ended with is no exception of the program's: none is being handled."""
    seen: list[Any] = []

    def guarded(x: Any) -> Any:
        x = x * 2
        if x.sum() > 0:
            return x
        seen.append(sys.exc_info()[1])
        raise ValueError("below")

    def handled(x: Any) -> Any:
        try:
            if (x * 3).sum() > 0:
                return x + 1
            raise KeyError("down")
        except KeyError as error:
            seen.append(error.__context__)
            return x - 1

    x = hb.tensor([1.0, 2.0])
    for body in (guarded, handled):
        for kwargs in ({}, {"x": None}):
            traced = function(body)
            for number in range(40):
                given = -x if number > 9 and number % 3 else x
                try:
                    traced(given) if not kwargs else traced(x=given)
                except ValueError as error:
                    seen.append(error.__context__)
    assert seen and not any(seen)
