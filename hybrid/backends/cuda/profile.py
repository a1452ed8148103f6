"""What each kernel of a plan costs on a card: events around every launch, on real data.

Invariant: kernels run in plan order over the buffers of one run; bytes and operations are counted
from the plan, not measured.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..api import KernelTime
from ..cpu.profile import summary
from ..plan import Plan
from .graphs import Graphs
from .machine.blocks import block_address
from .machine.devices import DeviceState

__all__ = ["timed"]


FAR = 256 << 20  # bytes of a copy or fill that takes the card much longer than the host
HOST_SECONDS, FILL_SECONDS = 60e-6, 80e-6  # of the start of a launch and an event; of a fill
_CLOCK, _LANES = 13, 128  # attribute: kHz; products and sums of a multiprocessor at a time


class Best(NamedTuple):
    """What a card does in a second at its best: bytes moved, operations done."""

    nbytes: float
    operations: float

    def seconds(self, nbytes: int, operations: int) -> float:
        """The least time for so much."""
        return max(nbytes / self.nbytes, operations / self.operations)


_BEST: weakref.WeakKeyDictionary[DeviceState, Best] = weakref.WeakKeyDictionary()


def best(state: DeviceState) -> Best:
    """Measured once: a large copy; float32 operations by the clock."""
    found = _BEST.get(state)
    if found is None:
        clock = 1e3 * state.driver.attribute(state.index, _CLOCK)
        operations = 2.0 * _LANES * state.card.multiprocessors * clock
        found = _BEST[state] = Best(_bandwidth(state), operations)
    return found


def _bandwidth(state: DeviceState) -> float:
    """Bytes a second, read and written, of the fastest of some copies."""
    driver, nbytes = state.driver, _room(state, FAR)
    blocks = [state.pool.take(nbytes) for _ in range(2)]
    source, target = map(block_address, blocks)
    events = [driver.new_event(timing=True) for _ in range(6)]
    try:
        for event in events:
            driver.record(event, state.stream)
            driver.on_device(target, source, nbytes, state.stream)
        state.wait()
        taken = min(driver.elapsed(a, b) for a, b in zip(events, events[1:]))
    finally:
        for event in events:
            driver.drop_event(event)
    return 2 * nbytes / (taken * 1e-3)


def _room(state: DeviceState, nbytes: int) -> int:
    """So many bytes, less where little memory is free."""
    state.enter()
    return min(nbytes, state.driver.memory_info()[0] // 64 // 512 * 512)


def _run_ahead(state: DeviceState, count: int) -> Any:
    """Keep the card busy while the host starts so many launches, so that none waits for it; gives
    what has to live as long."""
    if _room(state, FAR) < FAR:
        return None
    block = state.pool.take(FAR)
    for _ in range(int(count * HOST_SECONDS / FILL_SECONDS) + 1):
        state.driver.fill(block_address(block), 0, FAR, state.stream)
    return block


def _least(graphs: Graphs, buffers: Any, runs: int) -> list[float]:
    """The least seconds of every launch over some runs."""
    state, driver = graphs.state, graphs.state.driver
    state.enter()
    count = len(graphs.launches)
    events = [driver.new_event(timing=True) for _ in range(count + 1)]
    least = [float("inf")] * count
    try:
        for _ in range(max(runs, 1)):
            busy = _run_ahead(state, count)
            driver.record(events[0], state.stream)
            for number in range(count):
                graphs.launch(number, buffers)
                driver.record(events[number + 1], state.stream)
            state.wait()
            for number in range(count):
                taken = driver.elapsed(events[number], events[number + 1]) * 1e-3
                least[number] = min(least[number], taken)
            del busy
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
    whole, card = sum(seconds) or 1.0, best(graphs.state)
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
                card.seconds(nbytes, work) / seconds[number] if seconds[number] else 0.0,
            )
        )
    return rows
