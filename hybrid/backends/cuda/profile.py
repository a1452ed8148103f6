"""What each kernel of a plan costs on a card: events around every launch, on real data.

Invariant: kernels run in plan order over the buffers of one run; bytes and operations are counted
from the plan, not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..api import KernelTime
from ..cpu.profile import summary
from ..plan import Plan
from .graphs import Graphs

__all__ = ["timed"]


def _least(graphs: Graphs, buffers: Any, runs: int) -> list[float]:
    """The least seconds of every launch over some runs."""
    state, driver = graphs.state, graphs.state.driver
    state.enter()
    count = len(graphs.launches)
    events = [driver.new_event(timing=True) for _ in range(count + 1)]
    least = [float("inf")] * count
    try:
        for _ in range(max(runs, 1)):
            driver.record(events[0], state.stream)
            for number in range(count):
                graphs.launch(number, buffers)
                driver.record(events[number + 1], state.stream)
            state.wait()
            for number in range(count):
                taken = driver.elapsed(events[number], events[number + 1]) * 1e-3
                least[number] = min(least[number], taken)
    finally:
        for event in events:
            driver.drop_event(event)
    return least


def timed(
    plan: Plan, graphs: Graphs, owners: Sequence[int], buffers: Any, runs: int
) -> list[KernelTime]:
    """One row per kernel of a plan, in plan order; `owners`: the kernel of each launch."""
    seconds = [0.0] * len(plan.steps)
    blocks, threads = [0] * len(plan.steps), [0] * len(plan.steps)
    for owner, launch, taken in zip(owners, graphs.launches, _least(graphs, buffers, runs)):
        seconds[owner] += taken
        blocks[owner] = max(blocks[owner], launch.function.blocks)
        threads[owner] = max(threads[owner], launch.function.threads)
    whole = sum(seconds) or 1.0
    rows = []
    for number, kernel in enumerate(plan.steps):
        kind, shape, nbytes, work = summary(kernel, plan.slots)
        rows.append(
            KernelTime(
                number,
                kind,
                shape,
                seconds[number],
                seconds[number] / whole,
                nbytes,
                work,
                blocks[number] * threads[number],
                blocks[number],
                threads[number],
                plan.sites[number],
            )
        )
    return rows
