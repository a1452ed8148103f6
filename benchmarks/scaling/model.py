"""Time of a step on some threads, from measured times of its kernels on one.

Invariant: nothing is measured here; every term of a prediction is a field of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import NamedTuple

__all__ = ["Kernel", "Machine", "Prediction", "predict", "bound"]


class Kernel(NamedTuple):
    """One kernel: seconds on one thread, bytes and operations as counted from the plan, and the
    pieces of work that threads may take (1: no thread is asked)."""

    seconds: float
    nbytes: int
    ops: int
    chunks: int


class Machine(NamedTuple):
    """Measured: operations a second of one core and of all; bytes a second, copied, by the bytes
    that a core works on, of one core and of all; seconds of a barrier by threads; seconds of a call
    beside its kernels; cores."""

    cores: int
    flops: tuple[float, float]
    traffic: tuple[tuple[int, float, float], ...]
    barriers: dict[int, float]
    call: float

    def rate(self, pair: tuple[float, float], threads: int) -> float:
        """Between that of one core and that of all, and beyond, in a straight line."""
        one, every = pair
        return one + (every - one) * (threads - 1) / max(self.cores - 1, 1)

    def bandwidth(self, nbytes: float, threads: int) -> float:
        """Bytes a second of so many threads for kernels of that size.  More cores than there are
        have caches of their own, but share the memory that was measured."""
        for span, *pair in self.traffic[:-1]:
            if nbytes / threads <= span:
                return self.rate((pair[0], pair[1]), threads)
        _, *pair = self.traffic[-1]
        return self.rate((pair[0], pair[1]), min(threads, self.cores))

    def barrier(self, threads: int) -> float:
        """Seconds; beyond the measured threads one more level of a tree for each doubling."""
        if threads < 2 or not self.barriers:
            return 0.0
        known = [count for count in self.barriers if count <= threads]
        nearest = max(known) if known else min(self.barriers)
        return self.barriers[nearest] * max(log2(threads) / log2(nearest), 1.0)


class Prediction(NamedTuple):
    """Seconds of a step: the call, kernels of one piece, those that threads share, what pieces that
    do not divide evenly add to them, what memory adds, and barriers."""

    threads: int
    call: float
    single: float
    shared: float
    uneven: float
    memory: float
    barriers: float

    @property
    def seconds(self) -> float:
        return sum(self[1:])


def predict(
    kernels: Sequence[Kernel], machine: Machine, threads: int, chunks: Sequence[int] | None = None
) -> Prediction:
    """The step on so many threads; `chunks`: how many pieces its kernels have there."""
    pieces = [kernel.chunks for kernel in kernels] if chunks is None else chunks
    single = shared = uneven = memory = barriers = 0.0
    for kernel, count in zip(kernels, pieces, strict=True):
        used = min(threads, count)
        if used < 2:
            single += kernel.seconds
            continue
        even = kernel.seconds / used
        longest = kernel.seconds * ceil(count / used) / count
        least = kernel.nbytes / machine.bandwidth(kernel.nbytes, used)
        shared += even
        uneven += longest - even
        memory += max(least - longest, 0.0)
        barriers += machine.barrier(used)
    return Prediction(threads, machine.call, single, shared, uneven, memory, barriers)


def bound(kernels: Sequence[Kernel], machine: Machine, threads: int) -> float:
    """Seconds that no code can beat on this machine: operations at the peak of the cores, or bytes
    at the best rate of the cache that holds a kernel's bytes, whichever takes longer."""
    rate = machine.rate(machine.flops, min(threads, machine.cores))
    return sum(max(k.ops / rate, k.nbytes / machine.bandwidth(k.nbytes, threads)) for k in kernels)
