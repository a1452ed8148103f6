"""Matrix products and convolutions for CUDA: GemmKernel -> functions that run one after the other.

Invariant: the bits of a result depend on the kernel's logical shape and `order` only
(docs/architecture.md, Numerics contract), never on the card or the schedule.
"""

from __future__ import annotations

from ....core.errors import UnsupportedError
from ...plan import GemmKernel
from ..function import Card, GpuFunction
from .choose import choose
from .schedule import functions
from .shape import merged

__all__ = ["generate"]

MOST = (1 << 31) - 1  # threads count in 32 bits


def generate(
    kernel: GemmKernel, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """The functions of a product; none where a result has no element."""
    sizes = kernel.batch, kernel.m, kernel.n, kernel.k
    if 0 in sizes[:3]:
        return []
    if max(sizes) > MOST:
        raise UnsupportedError(
            f"a product with {max(sizes)} rows, columns or terms of a sum; CUDA takes {MOST}"
        )
    kernel = merged(kernel)
    return functions(kernel, choose(kernel, card), card, temp_slot, guarded)
