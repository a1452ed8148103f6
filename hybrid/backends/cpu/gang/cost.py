"""What steps cost alone and in a gang, in microseconds: a rough model that only order and grouping
follow.

Invariant: a step is cut here as the engine cuts it (`machine/engine.py: _cut`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...plan import AttendKernel, GemmKernel, Kernel
from ..python.caller import NativeStep

__all__ = ["BARRIER", "PIECE", "alone_us", "is_wide", "step_us", "together_us", "worth_while"]

BARRIER = 1.5  # to hand a step to the threads, and to wait for all of them
CHUNK = 4.0  # what generators make a chunk of
PIECE = 1.0  # the least that a thread is handed in a gang
RATE = 1.5e5  # multiplications and additions of a core in a microsecond


def step_us(kernel: Kernel, step: NativeStep) -> float:
    """A step on one thread."""
    cost = CHUNK * step.items / max(step.grain, 1)
    if step.grain > 1:
        return cost
    # a chunk is one item, however much that is
    if isinstance(kernel, GemmKernel):
        cost = max(cost, 2 * kernel.batch * kernel.m * kernel.n * kernel.k / RATE)
    elif isinstance(kernel, AttendKernel):
        width = 3 * kernel.e + 2 * kernel.f if kernel.backward else kernel.e + kernel.f
        cost = max(cost, 2 * prod(kernel.batch) * kernel.m * kernel.n * width / RATE)
    return cost


def worth_while(steps: Sequence[Sequence[NativeStep]]) -> bool:
    """Whether there is more than a barrier of work to share."""
    return sum(CHUNK * s.items / max(s.grain, 1) for own in steps for s in own) > BARRIER


def is_wide(step: NativeStep, threads: int) -> bool:
    """Whether a step keeps all threads busy."""
    return -(-step.items // max(step.grain, 1)) >= threads


def alone_us(step: NativeStep, cost: float, threads: int) -> float:
    """A step by itself."""
    wanted = -(-step.items // max(step.grain, 1))
    if wanted < 2:
        return cost
    busy = min(threads, wanted)
    grain = -(-step.items // (-(-wanted // busy) * busy))
    chunks = -(-step.items // grain)
    return BARRIER + cost * min(-(-chunks // busy) * grain / step.items, 1.0)


def together_us(total: float, longest: float, threads: int) -> float:
    """A gang of so much work, of which the longest part is in one piece."""
    busy = max(min(threads, total / PIECE), 1.0)
    return BARRIER + max(total / busy, longest)
