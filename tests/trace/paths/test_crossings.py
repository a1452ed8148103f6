"""Functions of many ways: how many plans a call tries before the one that serves it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.follow.rows import SUPPORTED
from hybrid.trace.serve import paths

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="no table of instructions")
BRANCHES = 4


@function
def independent(x: Any) -> Any:
    total = x
    for k in range(BRANCHES):
        if x[k] > 0:
            total = total * (k + 2)
    return total


def data(number: int) -> Any:
    signs = [1.0 if number >> k & 1 else -1.0 for k in range(BRANCHES)]
    return hb.tensor(np.array(signs, "f4"))


def test_each_try_is_right_about_one_more_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [int(n) for n in np.random.default_rng(0).integers(0, 1 << BRANCHES, 400)]
    for number in numbers:
        independent(data(number))
    assert len({p.recording.path for s in independent._signatures.values() for p in s.plans}) == 16
    tries, before = [0], independent.cache_info()
    real = paths._Stop.replay

    def counted(stop: Any, tensors: Any) -> Any:
        tries[0] += 1
        return real(stop, tensors)

    monkeypatch.setattr(paths._Stop, "replay", counted)
    for stop in independent._direct.stops.listed:  # type: ignore[union-attr]
        stop.raw = None  # so that each is counted
    for number in numbers:
        found = independent(data(number))
        factor = np.prod([k + 2 for k in range(BRANCHES) if number >> k & 1])
        assert np.array_equal(found.numpy(), data(number).numpy() * np.float32(factor))
    after = independent.cache_info()
    assert after.replays - before.replays == len(numbers)
    assert len(numbers) <= tries[0] <= 3.5 * len(numbers)  # 16 tries would find it by chance


def test_where_a_counter_changes_the_plan_no_signature_is_looked_at(calls_of: Any) -> None:
    """Every third call that is no new best goes a way of its own, which the counter decides."""

    def made(jit: Any) -> tuple[Any, dict[str, Any]]:
        held = {"best": hb.tensor(1e9), "bad": 0, "rate": 1.0}

        def observe(loss: Any) -> Any:
            if loss < held["best"]:
                held["best"], held["bad"] = loss, 0
            else:
                held["bad"] += 1
                if held["bad"] > 2:
                    held["rate"], held["bad"] = held["rate"] * 0.99, 0
            return loss * held["rate"]

        return jit(observe), held

    plain, state = made(lambda f: f)
    traced, other = made(function)
    looks = calls_of(type(traced), "_signed")
    for number in range(600):
        loss = hb.tensor(float(number * 37 % 101) if number % 50 else -float(number))
        assert plain(loss).item() == traced(loss).item()
        assert {k: v for k, v in state.items() if k != "best"} == {
            k: v for k, v in other.items() if k != "best"
        }
        if number == 400:
            before = len(looks)
    assert len(looks) - before <= 2
    assert traced.cache_info().eager < 100
