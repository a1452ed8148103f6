"""Commit actions: what the Python around the ops does to Python state happens in a replay, too.

Each program runs n times decorated and plain, with the same changes from outside between calls;
results, their bits and all Python state (identities of shared objects included) must agree, and
from some call on everything must be a replay, or, for what cannot be followed, eager.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from actions import attacks, containers, counters, rebuilt, states
from actions.harness import both, box, data

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.follow.rows import SUPPORTED

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="no table of instructions for this interpreter"),
    pytest.mark.usefixtures("whole_calls"),
]

PROGRAMS = {**counters.PROGRAMS, **containers.PROGRAMS, **states.PROGRAMS}
ATTACKS = {**attacks.PROGRAMS, **rebuilt.PROGRAMS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_replayed_with_their_actions(name: str) -> None:
    made = both(PROGRAMS[name], 30)
    info = [f.cache_info() for f in made]
    assert all(i.replays >= 12 and i.eager == 0 for i in info), [f.explain() for f in made]


@pytest.mark.parametrize("name", states.REFUSED)
def test_what_cannot_be_followed_runs_as_it_is(name: str) -> None:
    made = both(states.REFUSED[name])
    assert all(f.cache_info().replays == 0 for f in made), [f.explain() for f in made]


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_give_what_plain_python_gives(name: str) -> None:
    both(ATTACKS[name], 32)


def test_threads_append_once_for_each_call() -> None:
    s = box(log=[], n=0)

    @function
    def f(x: Any) -> Any:
        s.log.append(x * 2)
        s.n += 1
        return x + 1

    def work() -> None:
        for _ in range(100):
            f(x)

    x = data(1)
    for _ in range(5):
        f(x)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(s.log) == 405 and s.n <= 405 and f.cache_info().replays >= 300
    assert all(np.array_equal(v.numpy(), s.log[0].numpy()) for v in s.log)


def test_what_a_followed_call_used_dies_without_the_collector() -> None:
    s = box(n=0, config=box(a=2.0))

    @function
    def f(x: Any) -> Any:
        s.n += 1
        return x * s.config.a

    for k in range(3):
        f(data(k))
    s.config.a = 3.0
    for k in range(3):
        f(data(k))
    held = weakref.ref(s.config)
    gc.disable()
    try:
        s.config = box(a=5.0)
        assert held() is None
    finally:
        gc.enable()


def test_functions_without_actions_are_served_directly() -> None:
    s = box(scale=2.0, log=[])

    @function
    def plain(x: Any) -> Any:
        return x * s.scale

    @function
    def grows(x: Any) -> Any:
        s.log.append(x)
        return x * s.scale

    for _ in range(6):
        plain(data(1))
        grows(data(1))
    served = [state.plans[0].served for f in (plain, grows) for state in f._signatures.values()]
    assert [found.straight is None for found in served] == [True, False]
    assert [plain._direct, grows._direct] == [found.direct for found in served]
    assert plain.cache_info().replays == 4 and grows.cache_info().replays == 3


def test_a_path_that_prints_leaves_the_others_replays(capsys: Any) -> None:
    s = box(n=0)

    @function
    def f(x: Any) -> Any:
        s.n += 1
        if s.n % 10 == 0:
            print(s.n)
        return x * 2

    for _ in range(100):
        f(data(1))
    info = f.cache_info()
    assert s.n == 100 and info.replays >= 85 and info.records <= 6
    assert capsys.readouterr().out.split() == [str(n) for n in range(10, 101, 10)]
    assert info.eager == 0


def test_a_dead_container_is_not_kept_alive() -> None:
    import collections
    import gc
    import weakref

    s = box(log=collections.deque())

    @function
    def f(x: Any) -> Any:
        s.log.append(x * 2)
        return x + 1

    for _ in range(6):
        f(data(1))
    assert f.cache_info().replays
    alive = weakref.ref(s.log)
    s.log = collections.deque()
    gc.collect()
    assert alive() is None
    for _ in range(6):
        f(data(1))
    assert len(s.log) == 6


def test_module_counters_move_no_version() -> None:
    net = hb.nn.Linear(2, 2)
    net.calls = 0
    before = net._version
    net.calls = 1
    assert net._version == before and net.calls == 1
    net.calls = "text"
    assert net._version != before
