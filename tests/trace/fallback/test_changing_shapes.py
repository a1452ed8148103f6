"""Shapes, numbers and objects that keep changing: how much is recorded, by counts at fixed prices,
and that one recording of a further size is enough."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest

import hybrid as hb
from hybrid import nn
from hybrid.decorator import RunsEagerly, function
from hybrid.trace.fallback import families, nap
from hybrid.trace.fallback.budget import ALLOWANCE, FEW, START, UNTRIED, VERSIONS, Budget
from hybrid.trace.fallback.families import Family, family_of
from hybrid.trace.fallback.nap import LONGEST, LOOKS, MAX_REST, STREAK, Nap
from hybrid.trace.fallback.sizes import Sizes
from hybrid.trace.heap.signature import Regard, signature_of
from hybrid.trace.serve import pending

F = nn.functional


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsEagerly)
        yield


@pytest.fixture
def prices(monkeypatch):
    """Sets what an eager call, a recording with what is compiled, and a replay take."""
    ran, recorded, served, tire = Budget.ran, Budget.recorded, Budget.served, Nap.tire

    def fixed(eager: float, recording: float, replay: float) -> None:
        monkeypatch.setattr(Budget, "ran", lambda self, *_: ran(self, eager))
        monkeypatch.setattr(Budget, "recorded", lambda self, _: recorded(self, recording))
        monkeypatch.setattr(Budget, "served", lambda self, _: served(self, replay))
        monkeypatch.setattr(Nap, "tire", lambda self, others, _: tire(self, others, eager))

    fixed(1.0, 20.0, 0.5)
    return fixed


@pytest.fixture
def alone(monkeypatch):
    """Each size is compiled by itself."""
    monkeypatch.setattr(Family, "fits", lambda self, *_: False)
    monkeypatch.setattr(Family, "shows", lambda self, shape, plan: None)
    monkeypatch.setattr(Sizes, "fill", lambda self, recording, other: None)


def ones(size: int) -> Any:
    return hb.ones(size)


# ---- which sizes are recorded
def test_a_hundred_lengths_give_three_versions(prices, alone):
    f = function(lambda x: x * 2)
    for number in range(300):
        f(ones(1 + number * 37 % 100))
    info = f.cache_info()
    assert (info.records, info.compilations) == (VERSIONS + 1, VERSIONS)
    assert info.replays == 3 * VERSIONS - info.records
    assert info.eager == 300 - info.records - info.replays


def test_a_hundred_lengths_are_filled_in(monkeypatch):
    monkeypatch.setattr(Budget, "affords", lambda self, replays: True)
    f = function(lambda x: x * 2)
    for number in range(300):
        f(ones(1 + number * 37 % 100))
    info = f.cache_info()
    assert info.plans == 100 and info.compilations <= VERSIONS and info.records <= VERSIONS + 1
    assert info.deferred >= 96 and info.eager <= 2


def test_a_few_sizes_are_all_recorded_when_they_come_again(prices, alone):
    prices(0.01, 0.1, 0.005)
    f = function(lambda x: x * 2)
    for number in range(40):
        f(ones(1 + number % 8))
    info = f.cache_info()
    # three at first sight, the first of them twice; five wait for their second call
    assert (info.records, info.eager, info.compilations) == (9, 5, 8)


def test_what_is_seen_often_pays_for_a_version(prices, alone):
    f = function(lambda x: x * 2)
    for number in range(200):
        f(ones(1 + number % 100))
    versions = f.cache_info().compilations
    for _ in range(60):
        f(ones(77))
    info = f.cache_info()
    assert versions == VERSIONS and info.compilations == versions + 1
    # a version takes about 20, a replay saves 0.5: so about 40 calls, two of which have been
    assert 10 <= info.replays <= 35


def test_cheap_versions_pay_soon(prices, alone):
    prices(0.01, 0.01, 0.001)
    f = function(lambda x: x * 2)
    for number in range(1500):
        f(ones(1 + number % 100))
    assert f.cache_info().compilations >= 90


def test_what_never_paid_is_tried_when_it_comes_again(prices):
    f = function(lambda x, rate: x * float(rate))
    for number in range(FEW + 20):
        f(ones(2), str(0.5 + number))
    assert f.cache_info().compilations == 0
    for _ in range(UNTRIED + 3):
        f(ones(2), "0.25")
    assert f.cache_info().replays > 0


def test_ever_new_structures_stop_being_recorded(prices):
    def total(pieces: Any) -> Any:
        return sum(p.sum() for p in pieces[1:]) + pieces[0].sum()

    f = function(total)
    for number in range(60):
        f([ones(2)] * (1 + number))
    assert f.cache_info().records <= START


def test_the_account_bounds_every_recording(prices):
    """Sizes that come twice each, in sets so small that they look like coming again."""
    prices(1e-3, 1.0, 1e-3)
    f = function(lambda x: x * 2)
    for number in range(3000):
        f(ones(1 + number // 2 % 60))
    assert f.cache_info().records <= START + (ALLOWANCE + 3.0) / 1.0 + 1


def test_sixty_four_sizes_are_no_cliff(prices):
    """Versions that were paid for stay, while others come and go."""
    prices(1.0, 1.0, 0.1)
    f = function(lambda x: x * 2)
    for number in range(3000):
        f(ones(5 if number % 2 else 10 + number * 37 % 150))
    info = f.cache_info()
    assert info.replays > 1450 and info.signatures < 100
    assert info.records < 3000 * 0.4


def test_families():
    def family(*args: Any) -> Any:
        return family_of(signature_of(args, {}, Regard())[0])

    x = ones(3)
    assert family(x) == family(ones(4)) != family(hb.ones(4, 1))
    assert family(x) != family(hb.ones(3, dtype="float64"))
    assert family(x, 1) == family(x, 2) != family(x, 2.0)
    assert family(x, True) != family(x, False) and family(x, None) != family(x, 1)
    assert family(x, "a") == family(x, "b") and family([x, x]) != family([x, ones(3)])
    assert family([x]) == family([ones(9)]) != family([x, ones(2)])
    here, there = object(), object()
    assert family(x, here) == family(x, there)


def test_memory_is_flat_with_ever_new_calls():
    f = function(lambda x, k: x + float(k))
    x = ones(2)

    def calls(start: int) -> None:
        for number in range(start, start + 5000):
            f(x, str(number))

    calls(0)
    gc.collect()
    known = len(gc.get_objects())
    calls(5000)
    gc.collect()
    assert len(gc.get_objects()) - known < 500
    table = f._families
    assert len(table.sights) <= families.MAX_SIGHTS and len(table.older) <= families.MAX_SIGHTS


def test_a_family_keeps_nothing_alive(prices):
    class Key:
        pass

    f = function(lambda x, key: x * 2)
    x = ones(2)
    for _ in range(50):
        f(x, Key())
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found) is Key]


# ---- calls that are not looked at
def test_what_runs_eagerly_whatever_comes_is_seldom_looked_at(prices, calls_of):
    prices(1e-6, 1.0, 1e-6)
    looked = calls_of(pending.Unserved, "_new_state")
    f = function(lambda x, k: x + float(k))
    x = ones(2)
    for number in range(3000):
        assert f(x, str(number)).tolist() == [number + 1.0] * 2
    info = f.cache_info()
    assert info.replays + info.records + info.eager == 3000
    naps = 3000 / (MAX_REST / 2)
    assert len(looked) <= FEW + STREAK + LOOKS * naps + START


def test_long_calls_are_always_looked_at(prices, monkeypatch):
    monkeypatch.setattr(nap, "CLOCK", [lambda: 0.0])  # looks take nothing
    prices(1e-3, 1.0, 1e-6)
    f = function(lambda x, k: x + float(k))
    for number in range(300):
        f(ones(2), str(number))
    assert f._nap.slept == 0


def test_a_function_wakes_up_when_calls_come_again(prices):
    prices(1e-6, 1e-5, 1e-7)
    f = function(lambda x, k: x + float(k))
    for number in range(500):
        f(ones(2), str(number))
    before = f.cache_info()
    for _ in range(2 * LONGEST + 20 * STREAK):
        assert f(ones(2), "0.5").tolist() == [1.5, 1.5]
    after = f.cache_info()
    assert before.eager > 400 and after.replays - before.replays > 100


def test_a_function_that_returns_not_implemented_runs_once():
    box = hb.zeros(1)

    def step(x: Any) -> Any:
        box.assign(box + x)
        return NotImplemented

    f = function(step)
    for number in range(1, 200):
        assert f(ones(1)) is NotImplemented
        assert box.item() == number


def test_naps_inside_recorded_and_deferred_calls(prices):
    prices(1e-6, 1.0, 1e-6)
    inner = function(lambda x, k: x + float(k))
    for number in range(400):
        inner(ones(2), str(number))
    outer = function(lambda x: inner(x, "7") * 2)
    for _ in range(6):
        assert outer(ones(2)).tolist() == [16.0, 16.0]
    assert outer.cache_info().replays == 4
