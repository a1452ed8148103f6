"""Times of work on a device: by events where the device is what is measured, by the clock where the
host or a whole step is.

Invariant: contestants take turns, sample by sample, so that a drift of the machine meets all of
them; a figure is the median of the samples, its spread the second lowest and second highest.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import hybrid as hb
from hybrid.backends.api import backend

__all__ = ["Sample", "Device", "spread", "in_turns"]

Call = Callable[[], Any]


class Sample(NamedTuple):
    """Microseconds: median, low and high."""

    us: float
    low: float
    high: float


def spread(times: Sequence[float]) -> Sample:
    """Median and spread of samples in microseconds."""
    ordered = sorted(times)
    inner = 1 if len(ordered) > 4 else 0
    return Sample(statistics.median(ordered), ordered[inner], ordered[-1 - inner])


class Device:
    """A device of hybrid's and its clocks; `small` says that sizes should be tiny (no GPU)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_cuda = hb.device(name).kind == "cuda"
        self.small = not self.is_cuda
        self._backend = backend(hb.device(name).kind)
        self._load: Any = None

    def synchronize(self) -> None:
        """Wait for everything."""
        self._backend.synchronize()

    def describe(self) -> str:
        """The card, or the name of the device."""
        return self._backend.describe().get("card", self.name)

    def _delay(self, microseconds: float) -> None:
        """Keep the device busy for a while, so that the host can run ahead of it."""
        if self._load is None:
            self._load = hb.ones(1 << 26, device=self.name)  # one pass takes about 180 us
        for _ in range(1 + int(microseconds / 150)):
            self._load + 1.0

    def device_us(self, calls: Sequence[Call], host_us: float = 20.0) -> float:
        """Microseconds per call on the device: all calls are queued behind other work, so that the
        host's time is not seen."""
        if not self.is_cuda:
            begin = perf_counter()
            for call in calls:
                call()
            return (perf_counter() - begin) / len(calls) * 1e6
        start, stop = (hb.cuda.Event(enable_timing=True) for _ in range(2))
        self._delay(min(host_us * len(calls), 20_000.0))
        start.record()
        for call in calls:
            call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / len(calls) * 1e3

    def host_us(self, call: Call, count: int) -> float:
        """Microseconds of the host per call; the queue is empty before and short enough after."""
        self.synchronize()
        begin = perf_counter()
        for _ in range(count):
            call()
        end = perf_counter()
        self.synchronize()
        return (end - begin) / count * 1e6

    def wall_us(self, call: Call, count: int) -> float:
        """Microseconds per call of work that ends on the host (a loss read back)."""
        begin = perf_counter()
        for _ in range(count):
            call()
        return (perf_counter() - begin) / count * 1e6


def in_turns(
    contestants: dict[str, Callable[[], float]], samples: int, seconds: float
) -> dict[str, Sample]:
    """Samples of each contestant, one after the other, `samples` times or until time is up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = perf_counter() + seconds
    gc.collect()
    gc.disable()
    try:
        for turn in range(samples):
            for name, measure in contestants.items():
                times[name].append(measure())
            if turn >= 2 and perf_counter() > end:
                break
    finally:
        gc.enable()
    return {name: spread(found) for name, found in times.items()}
