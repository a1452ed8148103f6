"""What surrounds a replay's native entry does not grow with the model; no bytecode runs inside."""

from __future__ import annotations

import sys

import pytest

import hybrid as hb
from benchmarks.overhead import count, kernels_alone, step_of
from hybrid import nn, optim
from hybrid.trace.serve import plans
from hybrid.trace.serve.native.facts import native_facts


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


class Count:
    def __init__(self) -> None:
        self.steps = 0


def test_guards_of_a_training_step(monkeypatch):
    """Four modules, an optimizer, ten captured globals, a counter and a branch on it: every fact is
    compared by native code (a nanosecond or two each), but for the truth of the branch."""
    found = []

    def noted(*given):
        found.append(native_facts(*given))
        return found[-1]

    monkeypatch.setattr(plans, "native_facts", noted)
    space = {f"a{k}": hb.ones(1) * k for k in range(10)}
    space |= {f"m{k}": nn.Linear(1, 1) for k in range(4)}
    space["rule"] = optim.Adam([p for k in range(4) for p in space[f"m{k}"].parameters()], lr=1e-3)
    space["count"] = Count()
    source = """
def step(x):
    h = m3(m2(m1(m0(x)))) * a0 + a1 * a2 + a3 * a4 + a5 * a6 + a7 * a8 + a9
    loss = (h * h).sum()
    loss.backward()
    rule.step()
    rule.zero_grad()
    count.steps += 1
    if count.steps % 100 == 0:
        loss = loss * 2
    return loss
"""
    exec(source, space)
    traced, x = hb.function(space["step"]), hb.ones(1, 1)
    for _ in range(120):
        traced(x)
    assert traced.cache_info().replays >= 110 and space["count"].steps == 120
    assert found and not any(facts.rest for facts in found)
    # from 3.13 on names of modules are compared one by one
    most = 400 if sys.version_info < (3, 13) else 1000
    assert max(len(facts.guards) for facts in found) <= most
