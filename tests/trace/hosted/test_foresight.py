"""Functions whose ways random numbers decide: which plan a call tries, and what it leaves."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb

pytestmark = [
    pytest.mark.skipif(
        not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="nothing is followed"
    ),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]
LIMIT = 0.5
Make = Callable[[Any, Any], Callable[[Any], Any]]


def dropped_blocks(dice: Any, rng: Any) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        for k in range(3):
            if dice.random() > 0.4:
                x = x * (k + 2)
        return x

    return f


def draws_on_some_ways(dice: Any, rng: Any) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        if dice.random() < 0.5:
            x = x + dice.uniform(-1, 1)
        if random.random() < 0.3:
            x = x * rng.random()
        return x

    return f


def also_on_tensors(dice: Any, rng: Any) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        if dice.random() < 0.5:
            x = -x
        return x + 1 if x.sum() > 0 else x

    return f


def a_limit_that_moves(dice: Any, rng: Any) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        return x * 2 if dice.random() < LIMIT else x + dice.randint(1, 6)

    return f


def counts(dice: Any, rng: Any) -> Callable[[Any], Any]:
    seen: list[Any] = []

    def f(x: Any) -> Any:
        if dice.random() < 0.5:
            seen.append(x.sum())
            return x, len(seen)
        return x - 1, 0

    return f


def several_generators(dice: Any, rng: Any) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        first, second, third = dice.random(), rng.random(), dice.gauss(0, 1)
        if first < second:
            x = x * third
        return x + second if third > 0 else x

    return f


PROGRAMS = [dropped_blocks, draws_on_some_ways, also_on_tensors, a_limit_that_moves, counts]
PROGRAMS += [several_generators]


def run(make: Make, decorate: Callable[[Any], Any], calls: int) -> tuple[list[Any], Any]:
    global LIMIT  # noqa: PLW0603
    dice, rng = random.Random(4), np.random.RandomState(5)
    random.seed(6)
    f, found = decorate(make(dice, rng)), []
    for k in range(calls):
        LIMIT = 0.5 if k < calls // 2 else 0.25
        result = f(hb.tensor(np.linspace(-1 - k % 3, 2, 4, dtype="f4")))
        parts = result if type(result) is tuple else (result,)
        shown = [p.tolist() if isinstance(p, hb.Tensor) else p for p in parts]
        states = dice.getstate(), random.getstate(), rng.get_state()[1].tolist()
        found.append((shown, states))
    return found, f


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_same_as_the_plain_function(make: Make) -> None:
    plain, _ = run(make, lambda f: f, 80)
    traced, f = run(make, hb.function, 80)
    for number, (one, other) in enumerate(zip(plain, traced)):
        assert one == other, number
    assert f.cache_info().replays > 40, f.explain()


def test_a_call_tries_one_plan() -> None:
    f, x = hb.function(dropped_blocks(random.Random(1), None)), hb.ones(3)
    for _ in range(120):
        f(x)
    (state,) = f._signatures.values()
    known = state.known_paths.foresight.known
    assert len(state.plans) == 8 == len(known)  # each three truths lead to a plan of their own
    assert {id(plan) for plan in known.values()} == set(map(id, state.plans))
    before = f.cache_info()
    for _ in range(50):
        f(x)
    assert f.cache_info().replays - before.replays == 50


class Stop(Exception):
    """What a handler raises."""


def test_an_exception_of_a_signal_leaves_no_numbers_behind() -> None:
    dice, x = random.Random(2), hb.ones(3)
    f = hb.function(dropped_blocks(dice, None))
    for _ in range(120):
        f(x)

    def handler(*_: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for delay in range(1, 60):
            state = dice.getstate()
            drawn = [dice.random() for _ in range(3)]
            ends = state, dice.getstate()
            dice.setstate(state)
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, delay * 4e-6)
                    f(x)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Stop:
                pass
            assert dice.getstate() in ends
            dice.setstate(state)
            factor = np.prod([k + 2 for k in range(3) if drawn[k] > 0.4])
            assert f(x).tolist() == [factor] * 3
            assert dice.getstate() == ends[1]
    finally:
        signal.signal(signal.SIGALRM, before)
