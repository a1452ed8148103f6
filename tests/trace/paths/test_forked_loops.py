"""Loops whose turns take different ways, decorated against plain: results, bits and all state."""

from __future__ import annotations

import pytest
from actions.harness import both
from paths import forks

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.follow.rows import SUPPORTED


@pytest.mark.parametrize("name", forks.FEW)
def test_turns_of_several_ways_are_one_loop(name: str) -> None:
    (f,) = both(forks.FEW[name], 70)
    info = f.cache_info()
    if SUPPORTED:
        assert info.plans <= 4 and info.records <= 9 and info.eager == 0, (info, f.explain())


@pytest.mark.parametrize("name", forks.PROGRAMS)
def test_what_turns_of_several_ways_leave_is_right(name: str) -> None:
    both(forks.PROGRAMS[name], 70)


@pytest.mark.skipif(not SUPPORTED, reason="calls are followed on some CPython versions only")
def test_a_way_that_no_turn_took_leaves_the_loop() -> None:
    """The plan knows two of three ways; a call that takes the third is right, and is recorded."""

    def plain(x: hb.Tensor, limit: hb.Tensor) -> hb.Tensor:
        x = x * 1.0
        for _ in range(16):
            if x.sum() > limit:
                x = x * -3.0
            elif x.sum() > 0:
                x = x * 0.5 - 0.25
            else:
                x = x + 0.625
        return x

    f = function(plain)
    for k in range(12):
        x, limit = hb.tensor([0.5 + k, 1.0]), hb.tensor(100.0)
        assert f(x, limit).tolist() == plain(x, limit).tolist()
    before = f.cache_info()
    for k in range(12):
        x, limit = hb.tensor([0.5 + k, 1.0]), hb.tensor(2.0)
        assert f(x, limit).tolist() == plain(x, limit).tolist()
    after = f.cache_info()
    assert before.replays >= 8 and after.records > before.records and after.plans <= 6, after
