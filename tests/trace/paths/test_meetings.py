"""Branches on tensors beside everything else that a replay does: numbers as operands, taps, tapes
of results, Python state, calls written in several ways."""

from __future__ import annotations

from typing import Any

import pytest
from actions.harness import both
from paths import meetings
from paths.guards import draw

import hybrid as hb
from hybrid.trace.follow.rows import SUPPORTED

CALLS = 72


@pytest.mark.parametrize("name", meetings.PROGRAMS)
def test_programs_that_branch_are_replayed(name: str) -> None:
    for f in both(meetings.PROGRAMS[name], CALLS):
        info = f.cache_info()
        if SUPPORTED:
            assert info.replays >= CALLS // 2, f.explain()


@pytest.mark.parametrize("name", meetings.LOOPS)
def test_loops_with_numbers_are_one_node(name: str) -> None:
    (f,) = both(meetings.LOOPS[name], CALLS)
    info = f.cache_info()
    if SUPPORTED:
        assert info.replays >= CALLS - 12 and info.plans <= 2, f.explain()


def test_each_path_counts_its_calls() -> None:
    @hb.function
    def f(x: Any) -> Any:
        return x * 2 if x.sum() > 0 else -x

    up, down = hb.ones(3), -hb.ones(3)
    for k in range(60):
        f(up if k % 3 else down)
    calls = [version.calls for version in f.versions()]
    assert sum(calls) == f.cache_info().replays and min(calls) > 10, calls


def test_no_check_is_computed_again_for_a_gradient() -> None:
    w = hb.ones(3, requires_grad=True)

    @hb.function
    def f(x: Any) -> Any:
        y = (w * x).exp()
        return (y if y.sum() > 3 else -y).sum()

    for k in range(12):
        f(draw(k, 3))
    for state in f._signatures.values():
        for plan in state.plans:
            assert plan.recording.path
            names = [node.op.name for node in plan.recording.tape.graph.nodes]
            assert "expect" not in names, names
