"""Kernels of a workload, timed one by one: `python -m benchmarks.scaling.kernels WORKLOAD RUNS`.

Prints one line of JSON: the kernels, the median microseconds of the whole step (with RUNS 0 only
how the kernels are cut, for threads that the machine may not have).  HYBRID_NUM_THREADS says for
how many threads.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import hybrid as hb

from ..sizes import TRAINING, median_us
from ..workloads import build, kernel, training

__all__ = ["kernels_of"]

BUDGET = 2.0  # seconds


def _call(workload: str) -> tuple[Any, tuple[Any, ...]]:
    """The traced function and its arguments."""
    if workload in TRAINING:
        made = training(workload, True)
        return made.step, made.batch()
    function, operands = kernel(workload, "cpu")
    return hb.function(function), operands


def kernels_of(workload: str, runs: int) -> dict[str, Any]:
    """What this process sees of a workload."""
    hb.manual_seed(0)
    step, arguments = _call(workload)
    for _ in range(4):
        step(*arguments)
    profile = hb.profile(step, *arguments, runs=max(runs, 1))
    rows = [[row.seconds, row.nbytes, row.ops, row.chunks, row.gang] for row in profile]
    result: dict[str, Any] = {"kernels": rows}
    if runs:
        result["us"] = median_us(build(workload, True), BUDGET)
    return result


if __name__ == "__main__":
    print(json.dumps(kernels_of(sys.argv[1], int(sys.argv[2]))))
