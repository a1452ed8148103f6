"""What surrounds a replay's native entry does not grow with the model; no bytecode runs inside."""

from __future__ import annotations

import pytest

from benchmarks.overhead import count, kernels_alone, step_of


@pytest.mark.parametrize("depth", [1, 7, 20])
def test_python_around_a_replay_is_constant(depth):
    step, x = step_of(depth)
    before = step.cache_info().replays
    got = count(step, x)
    assert step.cache_info().replays == before + 1
    assert got.bytecode_inside == 0
    assert got == count(*step_of(2))


def test_kernels_run_alone():
    assert kernels_alone(*step_of(2)) > 0
