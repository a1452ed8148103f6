"""Lists that a call adds to and takes from again leave nothing for a replay to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.filterwarnings("ignore::hybrid.decorator.RunsEagerly"),
]


def inside(log: Any, x: Any) -> Any:
    log.append("step")
    try:
        return x.softmax(axis=0)
    finally:
        log.pop()


def nested(log: Any, x: Any) -> Any:
    log.append(x)
    log.append(1)
    y = x * 2
    log.pop()
    log.pop()
    return y


def left_in(log: Any, x: Any) -> Any:
    log.append("first")
    log.append("second")
    log.pop()
    return x + 1


def takes_older(log: Any, x: Any) -> Any:
    log.append("first")
    log.pop()
    log.pop()
    return x + 2


def used(log: Any, x: Any) -> Any:
    log.append(x * 3)
    return log.pop() + 1


def measured(log: Any, x: Any) -> Any:
    log.append("step")
    depth = len(log)
    log.pop()
    return x * depth


def from_the_front(log: Any, x: Any) -> Any:
    log.append("step")
    log.pop(0)
    return x - 1


PROGRAMS = [inside, nested, left_in, takes_older, used, measured, from_the_front]
LISTS: dict[str, Callable[[], Any]] = {
    "list": lambda: [f"item {k}" for k in range(60)],
    "bounded deque": lambda: deque([f"item {k}" for k in range(3)], 3),
}


def run(body: Any, make: Any, decorate: Any) -> list[Any]:
    log = make()
    f, found = decorate(lambda x: body(log, x)), []
    for k in range(24):
        if k % 4 == 3:
            log.append(f"outside {k}")
        try:
            found.append(f(hb.tensor(np.arange(3, dtype="f4") + k)).tolist())
        except Exception as error:
            found.append(repr(error))
        found.append([str(item) for item in log])
    return [found, decorate, f]


@pytest.mark.parametrize("make", LISTS.values(), ids=list(LISTS))
@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
def test_same_as_the_plain_function(body: Any, make: Any) -> None:
    plain, traced = run(body, make, lambda f: f), run(body, make, hb.function)
    assert plain[0] == traced[0]


@pytest.mark.parametrize("body", [inside, nested], ids=lambda body: body.__name__)
def test_nothing_is_left_to_do(body: Any) -> None:
    f = run(body, LISTS["list"], hb.function)[2]
    (state,) = f._signatures.values()
    (plan,) = state.plans
    actions = plan.recording.outcome.actions
    assert not actions.grown and not actions.conditions
    assert f.cache_info().replays >= 20
