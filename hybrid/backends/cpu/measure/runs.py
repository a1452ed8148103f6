"""Loops of `texts` over memory of their own, ready to be run.

Invariant: what a run touches is in memory before it is timed, and lives as long as the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..machine.host import machine
from ..machine.jit import compile_ir
from ..machine.pool import run_steps
from .texts import (
    CHAIN,
    LINES,
    NEAR,
    PASSED,
    TICKS,
    Traffic,
    chains,
    clock_text,
    fma_text,
    handed_text,
    traffic_text,
)

__all__ = [
    "LoopRun",
    "barriers",
    "clock",
    "handed",
    "handed_ticks",
    "levels",
    "multiply_adds",
    "traffic",
]

SCRATCH = 64  # bytes


class LoopRun:
    """A step of a plan (or many alike), called to be run: `memory` behind a multiple of a page."""

    def __init__(
        self, text: str, words: Sequence[int], nbytes: int, items: int = 1, steps: int = 1
    ) -> None:
        name = "handed" if "@handed(" in text else "peak"
        self.module = compile_ir(text, [name])
        self.words = np.array(words, np.int64)
        whole = np.ones(nbytes + 4096, np.uint8)  # pages of its own, not the one of zeros
        self.memory = whole[-whole.ctypes.data % 4096 :][:nbytes]
        step = (self.module.address(name), self.words.ctypes.data, items, 1, SCRATCH, 0)
        self.steps, self.pointers = [step] * steps, [self.memory.ctypes.data]

    def __call__(self) -> None:
        run_steps(self.steps, self.pointers)

    def word(self, place: int) -> int:
        """The 64-bit word at a byte of the memory."""
        return int(self.memory[place : place + 8].view(np.int64)[0])


def clock(trips: int) -> LoopRun:
    """`trips` times CHAIN cycles of one core; the ticks are word 8."""
    return LoopRun(clock_text(), [trips, CHAIN], 64)


def multiply_adds(dtype: str, width: int, items: int, trips: int) -> LoopRun:
    """`trips` times `chains(width)` multiply-adds of `width` bytes for each item."""
    made = LoopRun(fma_text(dtype, width), [trips, chains(width)], 256, items)
    made.memory[:] = 0
    return made


def traffic(kind: Traffic, span: int, items: int, passes: int) -> LoopRun:
    """Each item `passes` times over `span` bytes of its own."""
    behind = NEAR if kind == "pack" else 0
    return LoopRun(traffic_text(kind), [passes, span], span * items + behind, items)


def barriers(items: int, steps: int) -> LoopRun:
    """So many steps that do nothing but wait for each other."""
    return LoopRun(fma_text("float32", 32), [1, 0], 256, items, steps)


def handed(lines: int, follow: bool, rounds: int = 8) -> LoopRun:
    """Lines that one thread writes and another one reads: `texts.handed_text`."""
    step = lines * 5 // 8 | 1 if follow else 1
    first, later = 1 << 21, 64 * lines + (1 << 15)
    return LoopRun(handed_text(), [lines, rounds, step, follow, first, later], 4096 + 64 * lines, 2)


def handed_ticks(run: LoopRun) -> int:
    """Ticks of the fastest reading of one run; 0 where the threads did not meet."""
    run.memory[:4096] = 0
    run()
    return run.word(TICKS) if run.word(PASSED) == run.words[1] else 0


def levels() -> list[tuple[str, int]]:
    """(name, bytes for a thread, whole turns of a copy's loop): half of each cache, so that it
    holds them, and several times the last one, within reason."""
    here = machine()
    spans = [("first cache", here.first.size // 2), ("second cache", here.second.size // 2)]
    last = min(here.third.size // (2 * here.cores), 8 << 20)
    if last > here.second.size:
        spans.append(("third cache", last))
    spans.append(("memory", min(4 * here.third.size, 256 << 20)))
    return [(name, span - span % (2 * 64 * LINES)) for name, span in spans]
