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
    pieces of work that threads may take (1: no thread is asked).  Kernels of one `gang` run side by
    side, with one barrier (0: by itself)."""

    seconds: float
    nbytes: int
    ops: int
    chunks: int
    gang: int = 0


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
    kernels: Sequence[Kernel], machine: Machine, threads: int, cut: Sequence[Kernel] | None = None
) -> Prediction:
    """The step on so many threads; `cut`: how its kernels are cut and grouped there."""
    single = shared = uneven = memory = barriers = 0.0
    for group in _groups(kernels, kernels if cut is None else cut):
        seconds = sum(kernel.seconds for kernel, _ in group)
        used = min(threads, sum(count for _, count in group))
        if used < 2:
            single += seconds
            continue
        even = seconds / used
        if len(group) == 1:
            ((kernel, count),) = group
            longest = kernel.seconds * ceil(count / used) / count
        else:  # pieces of all go where least is done
            longest = max(even, *(kernel.seconds / count for kernel, count in group))
        nbytes = sum(kernel.nbytes for kernel, _ in group)
        least = nbytes / machine.bandwidth(nbytes, used)
        shared += even
        uneven += longest - even
        memory += max(least - longest, 0.0)
        barriers += machine.barrier(used)
    return Prediction(threads, machine.call, single, shared, uneven, memory, barriers)


def _groups(kernels: Sequence[Kernel], cut: Sequence[Kernel]) -> list[list[tuple[Kernel, int]]]:
    """Kernels with their pieces, those of one gang together; on one thread there is no gang."""
    found: dict[int, list[tuple[Kernel, int]]] = {}
    for number, (kernel, there) in enumerate(zip(kernels, cut, strict=True)):
        found.setdefault(there.gang or -1 - number, []).append((kernel, there.chunks))
    return list(found.values())


def bound(kernels: Sequence[Kernel], machine: Machine, threads: int) -> float:
    """Seconds that no code can beat on this machine: operations at the peak of the cores, or bytes
    at the best rate of the cache that holds a kernel's bytes, whichever takes longer."""
    rate = machine.rate(machine.flops, min(threads, machine.cores))
    return sum(max(k.ops / rate, k.nbytes / machine.bandwidth(k.nbytes, threads)) for k in kernels)
