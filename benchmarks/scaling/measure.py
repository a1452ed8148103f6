"""What the model of scaling needs: the machine, and the kernels of a workload, each by a process of
its own.

Invariant: a figure is one that some process measured; only how kernels are cut for more threads
than there are cores is asked of the compiler, without a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hybrid.backends.cpu.machine.host import machine
from hybrid.backends.cpu.machine.pool import get_num_threads
from hybrid.backends.cpu.measure.calibration import calibrated
from hybrid.backends.cpu.measure.runs import levels
from hybrid.backends.cpu.measure.texts import FMA

from ..peak import bandwidth, barrier, gflops
from .model import Kernel, Machine, Prediction, bound, predict

__all__ = ["Point", "Scaled", "kernels_of", "measure_machine", "scaled"]

ROOT = Path(__file__).parent.parent.parent
RUNS = 40
LIMIT = 600  # seconds for one process
MORE = (4, 8, 16, 32, 64)
GAIN = 1.1  # what twice the threads must give to go on


class Point(NamedTuple):
    """A prediction, and the microseconds of the step where it was run."""

    prediction: Prediction
    measured: float | None


class Scaled(NamedTuple):
    """A workload: its kernels on one thread, the seconds that no code can beat on all cores, and
    the points, up to where more threads no longer help."""

    kernels: list[Kernel]
    bound: float
    points: list[Point]

    @property
    def stopped(self) -> bool:
        """Whether the last point has more threads than help."""
        *earlier, last = (point.prediction.seconds for point in self.points)
        return self.points[-1].measured is None and last * GAIN > min(earlier)


def _child(threads: int, *command: str) -> Any:
    """The JSON line of a process on so many threads."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        text=True,
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"HYBRID_NUM_THREADS": str(threads)},
        timeout=LIMIT,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} on {threads} threads: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def kernels_of(workload: str, threads: int, runs: int = RUNS) -> tuple[list[Kernel], float]:
    """Kernels on so many threads, and the microseconds of the step (0: not run)."""
    found = _child(threads, "benchmarks.scaling.kernels", workload, str(runs))
    return [Kernel(*row) for row in found["kernels"]], found.get("us", 0.0)


def recorded(name: str) -> float | None:
    """Seconds of a quantity of the calibration that plans are made with, where it was measured."""
    figures = calibrated().figures
    if name not in figures or "cycle" not in figures:
        return None
    return figures[name] * figures["cycle"] * 1e-9


def measure_machine() -> Machine:
    """The machine as the model wants it."""
    cores, width = get_num_threads(), machine().vector_bytes
    dtype = next(iter(FMA))
    flops = tuple(gflops(dtype, width, threads) * 1e9 for threads in (1, cores))
    traffic = []
    for _, span in levels():
        rates = [bandwidth("copy", span, threads) * 1e9 for threads in (1, cores)]
        traffic.append((span, rates[0], rates[1]))
    barriers = {threads: barrier(threads) for threads in range(2, cores)}
    if cores > 1:
        barriers[cores] = recorded("barrier") or barrier(cores)
    small, us = kernels_of("toy", 1)
    call = max(us * 1e-6 - sum(kernel.seconds for kernel in small), 0.0)
    return Machine(cores, (flops[0], flops[1]), tuple(traffic), barriers, call)


def scaled(workload: str, here: Machine, more: Sequence[int] = MORE) -> Scaled:
    """A workload on one thread and on all, predicted and run; then predicted for more."""
    kernels, measured = kernels_of(workload, 1)
    points = [Point(predict(kernels, here, 1), measured)]
    if here.cores > 1:
        cut, measured = kernels_of(workload, here.cores)
        points.append(Point(predict(kernels, here, here.cores, cut), measured))
    made = Scaled(kernels, bound(kernels, here, here.cores), points)
    for threads in more:
        if not made.stopped:
            cut, _ = kernels_of(workload, threads, 0)
            points.append(Point(predict(kernels, here, threads, cut), None))
    return made
