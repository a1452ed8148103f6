"""What a replay costs beside its kernels: `python -m benchmarks.overhead`.

A training step with 20 state tensors and one argument: the whole call, the same kernels alone (many
rounds in one native call), and the difference.  Then the Python that runs in a call, counted by
hooks of the interpreter: bytecode instructions while native code runs (none), Python calls and C
calls for models of several depths (a constant).
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import hybrid as hb
from hybrid import nn, optim
from hybrid.backends.cpu.machine.pool import pool

__all__ = ["Counts", "count", "step_of", "kernels_alone", "main"]

ROUNDS = 200


def step_of(depth: int) -> tuple[Any, Any]:
    """(a traced training step of `depth` layers of one number each, its argument)."""
    hb.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(depth)])
    optimizer = optim.SGD(model.parameters(), lr=1e-3)

    def step(inputs: Any) -> Any:
        loss = (model(inputs) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    traced, inputs = hb.function(step), hb.ones(1, 1)
    for _ in range(4):
        traced(inputs)
    return traced, inputs


def best(function: Callable[[], Any], seconds: float = 0.5) -> float:
    """Least seconds of a call, over groups of 20."""
    least, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        for _ in range(20):
            function()
        least = min(least, (time.perf_counter() - start) / 20)
    return least


def _addresses(plan: Any, arena: int, own: list[np.ndarray]) -> list[int]:
    """Where each slot of a plan lies: in the arena, in the plan's constants, or in `own`."""
    addresses = []
    for slot, array in zip(plan.slots, own):
        if slot.kind == "arena":
            addresses.append(arena + slot.index)
        elif slot.kind == "const":
            addresses.append(plan.consts[slot.index].ctypes.data)
        else:
            addresses.append(array.ctypes.data)
    return addresses


def kernels_alone(traced: Any, *args: Any) -> float:
    """Seconds of one round of the kernels of a replay, without the entry."""
    runner = traced.prepared(*args)[0].executable
    (segment,) = runner.parts
    plan = runner.plan
    memory = np.zeros(plan.arena_bytes + runner.temp + 256, np.uint8)
    arena = -(-memory.ctypes.data // 64) * 64
    own = [np.ones(slot.aval.shape, slot.aval.dtype) for slot in plan.slots]
    addresses = _addresses(plan, arena, own)
    steps = len(segment.steps) * ROUNDS
    table = (ctypes.c_uint64 * (6 * steps))(
        *(list(segment.table)[: 6 * len(segment.steps)] * ROUNDS)
    )
    temporaries = arena + -(-plan.arena_bytes // 64) * 64
    words = (ctypes.c_uint64 * (len(addresses) + 1))(*addresses, temporaries)
    failed, threads = ctypes.c_int64(0), pool()

    def rounds() -> Any:
        failing = ctypes.byref(failed)
        return threads.plan(threads.ctl, table, steps, words, segment.scratch, failing)

    return best(rounds) / ROUNDS


class Counts(NamedTuple):
    """Of one call: Python frames entered, C functions called,
    bytecode instructions while one of those ran."""

    python_calls: int
    c_calls: int
    bytecode_inside: int


def count(function: Callable[..., Any], *args: Any) -> Counts:
    """Counts of function(*args), its own call included and what switches the hooks off left out."""
    seen, inside, within = {"call": 0, "c_call": 0}, [0], [0]

    def trace(frame: Any, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        inside[0] += event == "opcode" and within[0] > 0
        return trace

    def profile(frame: Any, event: str, argument: Any) -> None:
        switching = event == "c_call" and argument in (sys.setprofile, sys.settrace)
        if event in seen and not switching:
            seen[event] += 1
            within[0] += event == "c_call"
        elif event in ("c_return", "c_exception"):
            within[0] = max(0, within[0] - 1)

    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
        sys.settrace(None)
    return Counts(seen["call"], seen["c_call"], inside[0])


def main() -> int:
    """Command line entry."""
    traced, inputs = step_of(10)
    traced_us = best(lambda: traced(inputs)) * 1e6
    kernels_us = kernels_alone(traced, inputs) * 1e6
    replays = traced.cache_info().replays
    traced(inputs)
    if traced.cache_info().replays != replays + 1:
        raise SystemExit("the step is not replayed: " + traced.explain())
    print(
        f"20 states, 1 argument: call {traced_us:.2f} us, kernels alone {kernels_us:.2f} us, "
        f"entry and exit {traced_us - kernels_us:.2f} us"
    )
    for depth in (2, 8, 32):
        counts = count(*step_of(depth))
        print(
            f"depth {depth:2}: {counts.python_calls} Python calls, {counts.c_calls} C calls, "
            f"{counts.bytecode_inside} bytecode instructions inside"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
