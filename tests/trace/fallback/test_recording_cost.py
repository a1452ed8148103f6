"""Recording is given up where it costs more than it gains, and tried again."""

from __future__ import annotations

import dataclasses
import gc
import os
import random
import warnings
from typing import Any

import pytest

import hybrid as hb
from hybrid.decorator import RunsEagerly, function, set_executor
from hybrid.trace.fallback import budget, deferred
from hybrid.trace.fallback.nap import LONGEST, POOR, REST, InnerCalls, Nap
from hybrid.trace.serve import paths
from hybrid.trace.serve.prepare import NativeExecutor
from hybrid.trace.split import splitting
from hybrid.trace.watch.events import Watch

pytestmark = pytest.mark.usefixtures("whole_calls")


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self) -> None:
        """One second, in a way that no replay can repeat: as a text."""
        self.now = float(str(self.now + 1.0))


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    before, budget.CLOCK[0] = budget.CLOCK[0], made
    # a call that is recorded takes ten seconds more
    watched = Watch.__enter__

    def enter(self: Watch) -> Watch:
        made.now += 10.0
        return watched(self)

    monkeypatch.setattr(Watch, "__enter__", enter)
    yield made
    budget.CLOCK[0] = before


@pytest.fixture
def compilations():
    class Counting(NativeExecutor):
        made = 0

        def prepare(self, recording: Any) -> Any:
            Counting.made += 1
            return super().prepare(recording)

    previous = set_executor(Counting())
    yield Counting
    set_executor(previous)


@dataclasses.dataclass
class Config:
    k: float


def test_fresh_objects_stop_being_recorded(clock, compilations):
    f = function(lambda x, config: x * config.k)

    def plain(x: Any) -> Any:
        clock.passes()
        return x * 2.0

    f.fn = lambda x, config: plain(x)
    x, calls = hb.ones(2), 2000
    start = clock.now
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(calls):
            assert f(x, Config(2.0)).tolist() == [2.0, 2.0]
            gc.collect(0)
    free = budget.START * 11.0
    assert clock.now - start <= calls * 1.0 * (1 + budget.SHARE) + free + 11.0
    assert f.cache_info().records <= budget.START + calls * budget.SHARE / 10 + 1
    assert compilations.made <= budget.START
    assert [w.category for w in told] == [RunsEagerly]


def test_ever_new_shapes_stop_being_recorded(clock, compilations):
    def double(x: Any) -> Any:
        clock.passes()
        return x * 2

    f = function(double)
    start, calls = clock.now, 1500
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for number in range(calls):
            f(hb.ones(1 + number % 750))
    assert clock.now - start <= calls * (1 + budget.SHARE) + (budget.START + 1) * 11.0
    assert compilations.made <= budget.START // 2 + 10


def test_what_never_settles_is_given_up_and_tried_again_seldom(clock, compilations):
    box = {"n": 0}

    def drifting(x: Any) -> Any:
        clock.now += 1.0
        box["n"] += 1
        return x * int(str(box["n"]))

    f = function(drifting)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(1, 3 * budget.AGAIN):
            assert f(hb.ones(1)).item() == number
    assert len(told) == 1 and compilations.made <= 2
    # given up once so many starts were met; tried again after AGAIN calls, and given up for twice
    # as long
    assert f.cache_info().records <= paths.MAX_BEGINS + 1 + 2 * 2


def test_what_was_given_up_is_replayed_when_its_reason_is_gone():
    box = {"talks": True}

    def f(x: Any) -> Any:
        if box["talks"]:
            os.times()
        return x * 2

    step = function(f)
    x = hb.ones(2)
    with pytest.warns(RunsEagerly, match="times"):
        for _ in range(4):
            step(x)
    box["talks"] = False
    for _ in range(budget.AGAIN + LONGEST + 10):
        assert step(x).tolist() == [2.0, 2.0]
    assert step.cache_info().replays > 0, step.explain()
    assert step.cache_info().records == 4


def test_settled_functions_pay_nothing():
    f = function(lambda x: x * 2)
    for size in (2, 3, 4, 5) * 30:
        f(hb.ones(size))
    info = f.cache_info()
    # two recordings of the first size, one of the second; the others need no watch
    assert (info.records, info.plans, info.eager, info.deferred) == (3, 4, 0, 2)


def test_the_account():
    account = budget.Budget()
    for _ in range(budget.START):
        assert account.allows(0)
        account.recorded(budget.FREE / budget.START)
    assert account.allows(0)  # the first that is not free
    account.recorded(10.0 + 0.75 * budget.ALLOWANCE)
    assert not account.allows(0)
    while account.is_young:
        account.ran(1.0)
    calls = round(10.0 / budget.SHARE)
    for _ in range(calls - 2):
        account.ran(1.0)
    assert not account.allows(0)
    for _ in range(2):
        account.ran(1.0)
    assert account.allows(0)
    account.recorded(10.0)
    # replays count as the eager call
    assert not account.allows(calls - 3) and account.allows(calls)
    account.recorded(calls / 4)
    assert not account.allows(calls)
    account.served(0.5)
    assert account.gain() == 0.5 and account.allows(calls)  # what they save may be spent


def test_what_the_start_up_left_lapses():
    account = budget.Budget()
    account.accepted()
    for _ in range(budget.EARLY):
        account.recorded(1.0)
    for _ in range(budget.YOUNG - budget.EARLY - 1):
        account.ran(1.0)
    assert account.allows(0, 1) and account.may_try(0) and account.affords(0)
    account.ran(1.0)
    # nothing was spent, but for one at first sight nothing has been earned either
    assert account.allows(0) and not account.allows(0, 1) and account.may_try(0)
    account.tries(1.0 + 0.5)
    assert not account.may_try(0) and not account.allows(0) and not account.affords(0)
    for _ in range(round(0.5 / budget.SHARE)):
        account.ran(1.0)
    # half of that is what the next one is expected to cost
    assert account.allows(0) and account.affords(0) and not account.may_try(0)
    account.served(0.25)
    assert account.may_try(1) and account.allows(6, 1)


def test_what_a_trial_saves_is_earned():
    account = budget.Budget()
    for _ in range(budget.YOUNG):
        account.ran(1.0)
    assert account.may_try(0)
    account.tries(21.0)
    assert not account.may_try(0)
    for _ in range(100):
        account.tries(0.5)
    assert account.may_try(0)


def test_finding_out_which_way_is_faster_ends_with_the_start_up(monkeypatch):
    """Segments that are ever new, each of which takes ten times as long as an eager call."""
    ran, tries = budget.Budget.ran, budget.Budget.tries
    monkeypatch.setattr(budget.Budget, "ran", lambda self, *_: ran(self, 1.0))
    monkeypatch.setattr(budget.Budget, "tries", lambda self, *_: tries(self, 10.0))
    monkeypatch.setattr(deferred.Deferral, "_decide", lambda self: None)
    monkeypatch.setattr(deferred, "PATIENCE", 10**6)
    monkeypatch.setattr(Nap, "tire", lambda self, *_: 0)
    monkeypatch.setattr(budget, "FREE", float("inf"))

    def grows(x: Any, turns: Any) -> Any:
        for _ in range(len(turns)):
            x = x * 2 + 1
        return x, os.getpid()

    f = function(grows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for number in range(1000):
            f(hb.ones(2), "." * (number % 7))
    most = budget.YOUNG + 1000 * budget.SHARE / 9 + 1
    assert 0.4 * budget.YOUNG < f.cache_info().deferred <= most


@pytest.mark.parametrize("deferred_too", [True, False])
def test_calls_that_raise_are_found_out_about_for_no_longer_than_others(deferred_too):
    deferral = deferred.Deferral(deferred.Segments())

    def fails(x: Any) -> Any:
        x * 2 + 1
        raise ValueError("as always")

    for _ in range(deferred.PATIENCE):
        assert not deferral.verdict
        with pytest.raises(ValueError, match="as always"):
            deferral.run(fails, (hb.ones(2),), {}, deferred=deferred_too and deferral.turn())
    assert deferral.verdict == "eager"


@pytest.mark.parametrize("pieces", ["never", "auto"])
def test_calls_that_raise_are_on_trial_for_no_longer_than_others(pieces):
    splitting.PIECES[0] = pieces  # put back by the fixture of this file

    def fails(x: Any) -> Any:
        y = x * 2 + 1
        if float(y.sum()) > 0.0:
            os.times()
            raise ValueError("as always")
        return y

    f = function(fails)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for _ in range(600):
            with pytest.raises(ValueError, match="as always"):
                f(hb.ones(2))
    assert f.cache_info().deferred + f.cache_info().replays < 200


def test_the_account_of_a_recursive_function_counts_outermost_calls(clock):
    @function
    def total(tree: Any) -> Any:
        clock.passes()
        return tree if not isinstance(tree, tuple) else total(tree[0]) + total(tree[1])

    tree: Any = hb.ones(2)
    for _ in range(8):
        tree = tree, tree
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for _ in range(5):
            total(tree)
    assert total._budget.outer <= 5 and total._budget.is_young


def test_a_way_that_was_faster_is_served_while_it_is_found_out_again():
    account = budget.Budget()
    deferral = deferred.Deferral(deferred.Segments())
    assert deferral.is_first
    deferral.verdict = "deferred"
    for _ in range(deferred.LASTS):
        deferral._last()
    assert not deferral.verdict and not deferral.is_first and account.is_young


def test_calls_on_trial_before_an_eager_one_are_priced_behind_it():
    account = budget.Budget()
    for _ in range(3):
        account.tries(2.0)
    assert account.free + account.spent == 6.0
    account.ran(0.5)
    assert account.free + account.spent >= 4.5 and account.trial > 1.0


def test_long_recordings_are_few_until_calls_pay_for_them():
    account = budget.Budget()
    for _ in range(budget.EARLY + 1):
        assert account.allows(0)
        account.recorded(3.0)
    assert not account.allows(0)
    for _ in range(round(3.0 / budget.SHARE)):
        account.ran(1.0)
    assert account.allows(0)


def test_a_version_pays():
    account = budget.Budget()
    few = budget.UNTRIED  # nothing is known
    assert not account.pays(few - 1) and account.pays(few)
    account.accepted()
    account.recorded(8.0)
    assert not account.pays(1000)
    account.ran(3.0)
    assert not account.pays(5) and account.pays(6)  # as if replays took half as long
    account.served(1.0)
    assert not account.pays(3) and account.pays(4)
    account.accepted()
    account.recorded(2.0)  # versions get cheaper: (8 / 2 + 2) / (1 / 2 + 1)
    assert not account.pays(1) and account.pays(2)


def _grown(pick: random.Random, depth: int) -> Any:
    if depth == 0 or pick.random() < 0.2:
        return pick.randrange(30)
    return _grown(pick, depth - 1), _grown(pick, depth - 1)


def test_calls_inside_of_calls_are_paid_for_once(clock, compilations):
    """Recursion over ever new trees: what an inner call takes is no reason to record outer ones."""
    table = hb.randn(30, 3)

    @function
    def total(tree: Any) -> Any:
        if isinstance(tree, int):
            clock.passes()
            return table[tree]
        return total(tree[0]) + total(tree[1]) * 0.5

    def plain(tree: Any) -> Any:
        if isinstance(tree, int):
            return table[tree]
        return plain(tree[0]) + plain(tree[1]) * 0.5

    leaves = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        for k in range(200):
            tree = _grown(random.Random(k), 4)
            leaves += str(tree).count(",") + 1
            assert total(tree).tolist() == plain(tree).tolist()
    assert total.cache_info().records <= budget.START + 0.1 * leaves / 10 + 16
    assert total.cache_info().records + total.cache_info().eager < 2 * 2 * leaves


def test_calls_inside_of_eager_ones_are_looked_at_only_where_many_are_served():
    inside = InnerCalls()
    for _ in range(8):
        assert not inside.unlooked()
        inside.seen(2, 6)
    for _ in range(POOR):
        assert not inside.unlooked()
        inside.seen(6, 2)
    unlooked = [inside.unlooked() for _ in range(REST)]
    assert unlooked == [True] * (REST - 1) + [False]
    inside.seen(6, 2)
    assert [inside.unlooked() for _ in range(2 * REST)].count(True) == 2 * REST - 1
    inside.seen(0, 0)  # one without calls inside says nothing
    inside.seen(1, 2)
    assert not inside.unlooked()
