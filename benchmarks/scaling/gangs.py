"""What gangs save: `python -m benchmarks.scaling.gangs [--only gpt,lstm] [--threads 2,16,64]`.

For each training step and number of threads: native steps, gangs, barriers and bytes of temporaries
without gangs and with them.  Kernels are cut for the cores there are, or that HYBRID_NUM_THREADS
says.  Where so many threads run, both are run in turns in one process, too, so that a drift of the
machine meets both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import hybrid as hb
from hybrid.backends.cpu import executable
from hybrid.backends.cpu.executable import PlanRunner
from hybrid.backends.cpu.machine.pool import pool
from hybrid.backends.plan import Plan

from ..sizes import TRAINING
from ..workloads import training

__all__ = ["Counts", "counted", "compared", "main"]


class Counts(NamedTuple):
    """Of a plan: native steps, gangs, barriers of a run on several threads, bytes of its arena."""

    steps: int
    gangs: int
    barriers: int
    arena: int


def counted(runner: PlanRunner) -> Counts:
    """The counts of a plan as it is made ready."""
    steps = gangs = barriers = 0
    for part in runner.parts:
        members = 0
        for step in getattr(part, "steps", ()):
            gangs += step.members > 0
            steps += not step.members
            barriers += not members and (step.members > 0 or step.items > max(step.grain, 1))
            members = step.members or max(members - 1, 0)
    return Counts(steps, gangs, barriers, runner.plan.arena_bytes)


@contextmanager
def _without_gangs() -> Iterator[None]:
    arranged = executable.arranged
    executable.arranged = lambda plan, steps, threads: arranged(plan, steps, 1)
    try:
        yield
    finally:
        executable.arranged = arranged


def _plan(workload: str) -> tuple[Plan, list[np.ndarray]]:
    """The plan of a step for the threads that are set, and values that it can run on."""
    hb.manual_seed(0)
    made = training(workload, True)
    batch = made.batch()
    for _ in range(4):
        made.step(*batch)
    plan = made.step.prepared(*batch)[0].result.plan
    rng, values = np.random.default_rng(0), dict[int, np.ndarray]()
    for slot in plan.slots:
        if slot.kind in ("input", "state"):
            values[slot.index] = (rng.random(slot.aval.shape) / 8).astype(slot.aval.dtype)
    return plan, [values.get(k, np.zeros(0)) for k in range(max(values) + 1)]


def _turns(runs: Sequence[Callable[[], Any]], seconds: float) -> list[list[float]]:
    """Times of both, in turns."""
    times: list[list[float]] = [[] for _ in runs]
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for own, run in zip(times, runs):
            start = time.perf_counter()
            run()
            own.append(time.perf_counter() - start)
    return times


def compared(workload: str, threads: int, seconds: float) -> str:
    """A line on a workload."""
    with hb.num_threads(threads):
        plan, values = _plan(workload)
        with _without_gangs():
            apart = PlanRunner(plan)
        together = PlanRunner(plan)
        one, other = counted(apart), counted(together)
        text = (
            f"{workload:10} {threads:7} {one.steps:6} {other.gangs:5}"
            f" {one.barriers:5} -> {other.barriers:4}"
            f" {one.arena >> 10:8} -> {other.arena >> 10:6} KiB"
        )
        if threads > pool().running() or not seconds:
            return text
        without, gangs = _turns([lambda: apart(values), lambda: together(values)], seconds)
    ratio = statistics.median(b / a for a, b in zip(without, gangs))
    tenth = [sorted(own)[len(own) // 10] for own in (without, gangs)]
    return f"{text} {1e6 * tenth[0]:8.0f} -> {1e6 * tenth[1]:7.0f} us {ratio:7.3f}"


def main(argv: list[str] | None = None) -> None:
    """Print a line for each workload and number of threads."""
    parser = argparse.ArgumentParser(prog="benchmarks.scaling.gangs", description=__doc__)
    parser.add_argument("--only", default=",".join(TRAINING), help="training steps")
    parser.add_argument("--threads", default="2,4,8,16,32,64", help="numbers of threads")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each that runs here")
    args = parser.parse_args(argv)
    works = args.only.split(",")
    if unknown := [name for name in works if name not in TRAINING]:
        parser.error(f"unknown steps {', '.join(unknown)}; choose from {', '.join(TRAINING)}")
    print("step       threads  steps gangs barriers         arena            first tenth    ratio")
    for workload in works:
        for threads in map(int, args.threads.split(",")):
            print(compared(workload, threads, args.seconds), flush=True)


if __name__ == "__main__":
    main()
