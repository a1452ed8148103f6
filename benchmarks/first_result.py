"""Seconds until the first traced result.

Run with `python -m benchmarks.first_result [WORKLOAD] [--peer-python PATH]`.

From the first call to the return of the first replayed call (the third), imports done, less two
plain eager calls, which are what the program would have cost anyway.  Every figure comes from a
process of its own; cold means an empty disk cache.  Peers: the first call of torch.compile and of
jax.jit, less one warm call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .worker import is_traced, module_of

__all__ = ["main"]


def _calls(framework: str, workload: str, count: int) -> list[float]:
    """Seconds of each of the first calls, in this process."""
    run = module_of(framework).build(workload, is_traced(framework))
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(
    python: str, framework: str, workload: str, count: int, cache: str
) -> list[float] | None:
    """`_calls` in a process of its own; None where that framework does not run."""
    done = subprocess.run(
        [python, "-m", "benchmarks.first_result", workload, "--calls", framework, str(count)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"HYBRID_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache},
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def _report(workload: str, peer: str, rounds: int) -> None:
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cold = measure(sys.executable, "hybrid_traced", workload, 3, folder)
            cached = measure(sys.executable, "hybrid_traced", workload, 3, folder)
            eager = measure(sys.executable, "hybrid_eager", workload, 12, folder)
        if cold is None or cached is None or eager is None:
            raise SystemExit(f"hybrid does not run {workload}")
        plain = 2 * min(eager)
        for name, calls in (("cold cache", cold), ("disk cache", cached)):
            each = " + ".join(f"{c:.3f}" for c in calls)
            print(
                f"hybrid, {name:11}: {sum(calls) - plain:6.3f} s  ({each}, less two eager calls "
                f"of {plain:.3f})"
            )
    for name in ("jax", "torch_compile"):
        with tempfile.TemporaryDirectory() as folder:
            theirs = measure(peer, name, workload, 4, folder)
        if theirs is not None:
            print(f"{name:19}: {theirs[0] - min(theirs):6.3f} s")


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="benchmarks.first_result", description=__doc__)
    parser.add_argument("workload", nargs="?", default="gpt")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--calls",
        nargs=2,
        metavar=("FRAMEWORK", "COUNT"),
        help="print the first calls of one framework",
    )
    options = parser.parse_args()
    if options.calls:
        framework, count = options.calls
        print(json.dumps(_calls(framework, options.workload, int(count))))
    else:
        _report(options.workload, options.peer_python, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
