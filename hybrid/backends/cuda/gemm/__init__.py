"""Matrix products and convolutions for CUDA: GemmKernel -> functions that run one after the other.

Invariant: the bits of a result depend on the kernel's logical shape and `order` only
(docs/architecture.md, Numerics contract), never on the card or the schedule.
"""

from __future__ import annotations

from ...plan import GemmKernel
from ..function import Card, GpuFunction
from .choose import choose
from .schedule import functions

__all__ = ["generate"]


def generate(
    kernel: GemmKernel, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """The functions of a product; none where a result has no element."""
    if 0 in (kernel.batch, kernel.m, kernel.n):
        return []
    return functions(kernel, choose(kernel, card), card, temp_slot, guarded)
