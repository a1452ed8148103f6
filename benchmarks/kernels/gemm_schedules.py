"""Schedules of CUDA products side by side: `python -m benchmarks.kernels.gemm_schedules [SHAPE]`.

SHAPE is layout:batch x m x n x k, as in nt:1x4096x768x768.  Prints for each schedule microseconds,
TFLOP/s and how many results differ from the first schedule's; a star marks the one that is chosen.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybrid.backends.cuda.function import Card, GpuFunction
from hybrid.backends.cuda.gemm.choose import choose, cost, variants
from hybrid.backends.cuda.gemm.schedule import Schedule, functions
from hybrid.backends.cuda.machine.devices import enter, load
from hybrid.backends.plan import GemmKernel

from .plain import kernel_of

SHAPES = (
    "nn:1x1024x1024x1024",
    "nn:1x4096x4096x4096",
    "nn:1x8192x8192x8192",
    "nt:1x4096x2304x768",
    "nt:1x4096x768x3072",
    "tn:1x768x768x4096",
    "nt:1x16x512x128",
    "nn:1x16x128x512",
    "nt:1x512x128x512",
    "tn:1x128x512x512",
)
SLICE = 8000.0  # microseconds of one timed run
CLOCK = 1.755e3  # cycles a microsecond, for what `cost` foresees


class Bench:
    """Factors of one product on a card."""

    def __init__(self, kernel: GemmKernel) -> None:
        self.kernel, self.state = kernel, enter(0)
        self.driver = self.state.driver
        rng = np.random.default_rng(0)
        left = rng.standard_normal(kernel.batch * kernel.m * kernel.k, np.float32)
        right = rng.standard_normal(kernel.batch * kernel.k * kernel.n, np.float32)
        self.out = np.zeros(kernel.batch * kernel.m * kernel.n, np.float32)
        self.addresses = [self.driver.allocate(x.nbytes) for x in (left, right, self.out)]
        for address, values in zip(self.addresses, (left, right)):
            self.driver.to_device(address, values.ctypes.data, values.nbytes)

    def close(self) -> None:
        for address in self.addresses:
            self.driver.free(address)

    def graph_of(
        self, made: Sequence[GpuFunction], loaded: Sequence[Any], packed: Any, repeats: int
    ) -> int:
        """The functions after each other, so many times."""
        graph, before = self.driver.new_graph(), list[int]()
        for _ in range(repeats):
            for function, handle, words in zip(made, loaded, packed):
                launch = handle.handle, function.blocks, function.threads, function.shared
                before = [self.driver.add_kernel(graph, before, *launch, words)]
        return self.driver.instantiate(graph)

    def run(self, made: Sequence[GpuFunction]) -> tuple[float, np.ndarray]:
        """(microseconds, results) of a schedule."""
        driver = self.driver
        temp = driver.allocate(max(max(f.temp for f in made), 16))
        loaded = load([(f.symbol, f.text, f.shared) for f in made])
        places = [*self.addresses, temp, 0]
        packed = [
            (ctypes.c_uint64 * max(len(f.words), 1))(*[w % (1 << 64) for w in f.addressed(places)])
            for f in made
        ]

        stream = driver.new_stream()
        driver.fill(self.addresses[2], 0xFF, self.out.nbytes)
        start, stop = (driver.new_event(True) for _ in range(2))

        def timed(repeats: int) -> float:
            executable = self.graph_of(made, loaded, packed, repeats)
            driver.launch_graph(executable, stream)
            driver.wait_stream(stream)
            driver.record(start, stream)
            driver.launch_graph(executable, stream)
            driver.record(stop, stream)
            driver.finish_event(stop)
            driver.drop_executable(executable)
            return driver.elapsed(start, stop) * 1e3 / repeats

        spent = timed(1)
        if spent < SLICE / 2:
            spent = timed(min(100, int(SLICE / spent)))
        out = np.empty_like(self.out)
        driver.to_host(out.ctypes.data, self.addresses[2], out.nbytes)
        driver.wait_device()
        driver.free(temp)
        driver.drop_stream(stream)
        return spent, out


def measure(shape: str) -> None:
    """Print a line for each schedule of a shape."""
    layout, _, sizes = shape.partition(":")
    kernel = kernel_of(layout, *[int(size) for size in sizes.split("x")])
    card: Card = enter(0).card
    chosen, first = choose(kernel, card), None
    work = 2 * kernel.batch * kernel.m * kernel.n * kernel.k
    bench = Bench(kernel)
    schedules: list[Schedule] = [s for s in variants(kernel, card) if _worth(kernel, s, card)]
    made = {s: functions(kernel, s, card, 3) for s in schedules}
    load([(f.symbol, f.text, f.shared) for group in made.values() for f in group])  # all at once
    for schedule in schedules:
        spent, out = bench.run(made[schedule])
        first = out if first is None else first
        differ = int((out.view(np.uint32) != first.view(np.uint32)).sum())
        foreseen = cost(kernel, schedule, card) / CLOCK
        star = "*" if schedule == chosen else " "
        print(
            f"{shape:22}{star}{schedule.name:24}{spent:10.1f} us {work / spent / 1e6:7.1f} TFLOP/s"
            f" {differ:8} differ, foreseen {foreseen:10.1f} us",
            flush=True,
        )
    bench.close()


def _worth(kernel: GemmKernel, schedule: Schedule, card: Card) -> bool:
    """Leave out what is hopeless."""
    best = cost(kernel, choose(kernel, card), card)
    return cost(kernel, schedule, card) < 3 * best and not (
        schedule.tile is None and kernel.m * kernel.n * kernel.k > 1 << 28
    )


def main() -> None:
    for shape in sys.argv[1:] or SHAPES:
        measure(shape)


if __name__ == "__main__":
    main()
