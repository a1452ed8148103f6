"""What this machine can give: `python -m benchmarks.peak`.

Prints the rate of fused multiply-adds by dtype and width of vectors, the bandwidth of loads, stores
and copies in each cache and in memory, on one core and on all, and what a step of a plan costs the
threads: their start, and the barrier between two steps.  Invariant: the loops are those of the
calibration (`backends/cpu/measure`); a figure is the best of many short runs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from hybrid.backends.cpu.machine.host import machine
from hybrid.backends.cpu.machine.pool import get_num_threads, num_threads
from hybrid.backends.cpu.measure import runs
from hybrid.backends.cpu.measure.texts import FMA, TRAFFIC, chains

__all__ = ["barrier", "bandwidth", "gflops"]

TRIPS = 20_000
SHARE = 0.01  # seconds of one run


def _best(run: Callable[[], object], seconds: float = 10 * SHARE) -> float:
    """Seconds of the shortest of many runs."""
    least, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least


def gflops(dtype: str, width: int, threads: int) -> float:
    """Best rate with an item for each thread."""
    with num_threads(threads):
        least = _best(runs.multiply_adds(dtype, width, threads, TRIPS))
    lanes = width // FMA[dtype][1]
    return 2 * threads * TRIPS * chains(width) * lanes / least / 1e9


def bandwidth(kind: str, span: int, threads: int) -> float:
    """GB/s with a region of `span` bytes for each thread."""
    passes = max(int(SHARE * 2e10 / span), 1)
    with num_threads(threads):
        least = _best(runs.traffic(kind, span, threads, passes), 20 * SHARE)
    return span * threads * passes / least / 1e9


def barrier(threads: int, steps: int = 200) -> float:
    """Seconds between two steps of a plan that do nothing but wait for each other."""
    with num_threads(threads):
        many, one = (_best(runs.barriers(threads, count)) for count in (steps, 1))
    return (many - one) / (steps - 1)


_FIRST = """
import time
from benchmarks.peak import get_num_threads, runs
one, every = (runs.barriers(threads, 1) for threads in (1, get_num_threads()))
one()
start = time.perf_counter()
every()
print(time.perf_counter() - start)
"""


def start_up() -> float:
    """Seconds of the first step that needs all threads, in a process of its own."""
    command = [sys.executable, "-c", _FIRST]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print all figures."""
    here, cores = machine(), get_num_threads()
    print(f"{here.name}, {cores} threads")
    for dtype in FMA:
        for width in (16, 32, 64):
            if width <= here.vector_bytes:
                one, every = gflops(dtype, width, 1), gflops(dtype, width, cores)
                print(f"{dtype} fma, {8 * width:3} bit   {one:7.1f} {every:7.1f} GFLOP/s")
    for name, span in runs.levels():
        for kind in TRAFFIC:
            one, every = bandwidth(kind, span, 1), bandwidth(kind, span, cores)
            print(f"{name:12} {kind:5} {span >> 10:7} KiB {one:7.1f} {every:7.1f} GB/s")
    print(f"first step on {cores} threads {start_up() * 1e6:.1f} us")
    print(f"barrier between steps {barrier(cores) * 1e6:.2f} us")


if __name__ == "__main__":
    main()
