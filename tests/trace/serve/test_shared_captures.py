"""Captures that are found in two places: the same bits whether the places hold one tensor or two,
and their native form is not made again for each other tensor."""

from __future__ import annotations

from typing import Any

import hybrid as hb
from hybrid.decorator import function
from hybrid.trace.serve import plans


def made() -> Any:
    class State:
        step = 0
        target = hb.ones(4)
        online = hb.ones(4)

    state = State()

    def step(x: Any) -> Any:
        state.online = state.online * 0.95 + x * 0.05
        state.step += 1
        if state.step % 10 == 0:
            state.target = state.online
        return (x - state.target).sum()

    return step, state


def test_what_is_sometimes_one_tensor_is_served_natively(calls_of):
    forms = calls_of(plans, "native_facts")
    (plain, first), (traced, second) = made(), made()
    step = function(traced)
    for number in range(200):
        x = hb.tensor([1.0, 0.5 * number, -1.0, 2.0])
        assert plain(x).tolist() == step(x).tolist()
        assert (first.target is first.online) == (second.target is second.online)
        assert first.target.tolist() == second.target.tolist()
        assert first.online.tolist() == second.online.tolist()
    assert step.cache_info().replays >= 190
    assert len(forms) <= 8  # three plans, and what is found out about them
