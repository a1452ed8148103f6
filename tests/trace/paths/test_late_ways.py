"""Ways that are met late take one recording each, and are right where Python changes on them.

Each program runs decorated and plain; results, bits and all state must agree.
"""

from __future__ import annotations

from typing import Any

import pytest
from actions.harness import both
from paths import late

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.follow.rows import SUPPORTED


@pytest.mark.parametrize("name", late.ONCE)
def test_a_further_way_takes_one_recording(name: str) -> None:
    (f,) = both(late.ONCE[name], 120)
    info = f.cache_info()
    if SUPPORTED:
        assert info.records <= info.plans + 2 and info.eager == 0, (info, f.explain())


@pytest.mark.parametrize("name", late.PROGRAMS)
def test_what_a_late_way_changes_is_what_plain_python_changes(name: str) -> None:
    both(late.PROGRAMS[name], 90)


def test_ways_that_add_what_nobody_looked_at_take_two_recordings() -> None:
    """What only the other way reads may have been changed by that call itself."""
    table = {"scale": 2.0}

    @function
    def f(x: Any) -> Any:
        if x.sum() > 0:
            return x * table["scale"]
        return -x

    for sign in (-1.0, -1.0, 1.0, 1.0, 1.0):
        f(hb.tensor([sign, 0.0]))
    assert f.cache_info()[:2] == (1, 4)


def test_a_way_is_recorded_once_among_many() -> None:
    """A new way beside several costs one recording, and the call after it is replayed."""

    @function
    def f(x: Any) -> Any:
        for part in range(3):
            x = x * 0.5 if x[part] > 0 else x + 0.25
        return x

    plain = f.fn
    for k in range(24):
        signs = [1.0 if (k // 2) >> part & 1 else -1.0 for part in range(3)]
        x = hb.tensor(signs)
        assert f(x).tolist() == plain(x).tolist()
    info = f.cache_info()
    if SUPPORTED:
        assert info.records <= info.plans + 2 and info.plans >= 5, info


@pytest.mark.skipif(not SUPPORTED, reason="calls are followed on some CPython versions only")
def test_a_range_that_ends_a_loop_is_one_plan_beside_the_one_that_a_tensor_ends() -> None:
    def plain(x: Any, stop: Any) -> Any:
        for _ in range(30):
            x = hb.tanh(x) * 1.25
            if x.norm() < stop:
                break
        return x * 2

    f = function(plain)
    for k in range(40):
        x = hb.tensor([0.5 + k % 3, 2.0])
        stop = hb.tensor(0.0 if k % 5 == 4 else 1.5 - 0.02 * k)
        assert f(x, stop).numpy().tobytes() == plain(x, stop).numpy().tobytes()
    assert f.cache_info().plans <= 4 and f.cache_info().records <= 7, f.explain()


@pytest.mark.skipif(not SUPPORTED, reason="calls are followed on some CPython versions only")
def test_a_range_that_ends_a_loop_with_a_branch_inside() -> None:
    def plain(x: Any, stop: Any) -> Any:
        total = x * 0
        for _ in range(12):
            x = x * 0.75
            if not x.norm() > stop:
                break
            total = total + x
        return total, x

    f = function(plain)
    for k in range(30):
        given = hb.tensor([1.0 + k, 2.0]), hb.tensor(-1.0 if k % 2 else 0.5)
        for one, other in zip(f(*given), plain(*given)):
            assert one.numpy().tobytes() == other.numpy().tobytes()
    assert f.cache_info().records <= 6, f.explain()
