"""One short sample of each quantity of `Measured`, by loops on this machine.

Invariant: a sample is in the unit of its field; one that is void (the threads did not run side by
side, the clock stood still) is None, never a guess.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

from ..machine.core import Core
from ..machine.pool import pool
from . import runs
from .texts import CHAIN, chains

__all__ = ["MachineSampler"]

TRIPS = 8000  # of a loop of arithmetic, some 0.1 ms
STEPS = 100  # barriers of a sample
WAITED, STREAMED = 64, 2048  # lines that are handed over: a few, and a long stream


class MachineSampler:
    """Samples of this machine for a core of the model; `timer` gives seconds."""

    def __init__(self, core: Core, timer: Callable[[], float] = time.perf_counter) -> None:
        self.width, self.timer, self.threads = core.vector_bytes, timer, pool().running()
        self.chain = runs.clock(TRIPS)
        self.fmas = runs.multiply_adds("float32", self.width, 1, TRIPS)
        span = dict(runs.levels()).get("third cache", 0)
        # what the second cache does not hold, where there is a third one
        larger = span > 2 * core.second.size
        self.packing = runs.traffic("pack", span, 1, 1) if larger else None
        self.several = self.threads > 1
        if self.several:
            self.few = runs.handed(WAITED, follow=True)
            self.many = runs.handed(STREAMED, follow=False)
            self.waits = runs.barriers(self.threads, STEPS), runs.barriers(self.threads, 1)

    def __call__(self, name: str) -> float | None:
        """One sample of a field of `Measured`."""
        sample: float | None = getattr(self, f"_{name}")()
        return sample

    def _seconds(self, run: Callable[[], None]) -> float:
        start = self.timer()
        run()
        return self.timer() - start

    # ---- the clock, which all others are told in
    def _cycle(self) -> float | None:
        return 1e9 * self._seconds(self.chain) / (TRIPS * CHAIN) or None

    @cached_property
    def _nanoseconds(self) -> float | None:
        """Of a cycle, at its best."""
        found = [sample for sample in (self._cycle() for _ in range(8)) if sample]
        return min(found, default=None)

    @cached_property
    def _ticks(self) -> float | None:
        """Of a cycle."""
        found = []
        for _ in range(8):
            self.chain()
            found.append(self.chain.word(8) / (TRIPS * CHAIN))
        return min([ticks for ticks in found if ticks > 0], default=None)

    def _cycles(self, seconds: float) -> float | None:
        return None if self._nanoseconds is None else 1e9 * seconds / self._nanoseconds

    # ---- one core
    def _fma(self) -> float | None:
        cycles = self._cycles(self._seconds(self.fmas))
        return cycles / (TRIPS * chains(self.width)) if cycles else None

    def _beyond(self) -> float | None:
        if self.packing is None:
            return None
        cycles = self._cycles(self._seconds(self.packing))
        return cycles / int(self.packing.words[1]) if cycles else None

    # ---- other threads
    def _barrier(self) -> float | None:
        if not self.several:
            return None
        before = pool().finished()
        many, one = (self._seconds(run) for run in self.waits)
        # where the others were late, the caller did their part
        shared = pool().finished() - before > 0.9 * (self.threads - 1) * (STEPS + 1)
        return self._cycles((many - one) / (STEPS - 1)) if shared and many > one else None

    def _waited(self) -> float | None:
        return self._handed(self.few) if self.several else None

    def _streamed(self) -> float | None:
        return self._handed(self.many) if self.several else None

    def _handed(self, run: runs.LoopRun) -> float | None:
        """Cycles of a line."""
        took = runs.handed_ticks(run)
        return took / self._ticks / int(run.words[0]) if took and self._ticks else None
