"""One measurement in a process of its own: `python -m benchmarks.worker FRAMEWORK WORKLOAD
[SECONDS [DEVICE]]`.

Prints one line of JSON.

Invariant: nothing but the measured framework is imported besides NumPy.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from typing import Any

from .sizes import NoSuchWorkload, median_us

MODULES = {
    "hybrid": "workloads",
    "torch": "peers.peer_torch",
    "torch_compile": "peers.peer_torch",
    "jax": "peers.peer_jax",
    "numpy": "peers.peer_numpy",
}


def module_of(framework: str) -> Any:
    """The module with the workloads of a framework, all its imports done."""
    family = framework.split("_")[0] if framework.startswith("hybrid") else framework
    if family == "hybrid":
        # loaded with the first tensor: an import, too
        importlib.import_module("hybrid.backends.api").backend("cpu")
    return importlib.import_module(f"benchmarks.{MODULES[family]}")


def is_traced(framework: str) -> bool:
    """Frameworks that compile the whole step."""
    return framework in ("hybrid_traced", "torch_compile")


def main(framework: str, workload: str, budget: float, device: str) -> None:
    """Build, time the first three calls, then the median of the later ones."""
    module = module_of(framework)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        run = module.build(workload, is_traced(framework), device)
    except NoSuchWorkload:
        sys.exit(3)
    start = time.perf_counter()
    for _ in range(3):
        run()
    first = time.perf_counter() - start
    median = median_us(run, budget)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"us": median, "first_s": first, "peak_mb": (peak - before) / 1024}))


if __name__ == "__main__":
    given = [*sys.argv[3:], *("2.0", "cpu")[len(sys.argv[3:]) :]]
    main(sys.argv[1], sys.argv[2], float(given[0]), given[1])
