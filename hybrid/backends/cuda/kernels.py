"""Every kernel of a plan as functions of a card: the one door to the generators.

Invariant: what a kernel becomes depends on the kernel and the card only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...core.errors import BackendError
from ..plan import AttendKernel, GemmKernel, HostStep, Kernel, LoopKernel, ScatterKernel
from . import algorithms, attend, blas, emit, gemm, scatter
from .function import Card, GpuFunction, LibraryCall

__all__ = ["generate", "steps"]


def generate(
    kernel: Kernel, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """Functions that together are a kernel, to run in order; their workspace is slot `temp_slot`.

    `guarded`: a check may have failed before, so look at the status word first."""
    if isinstance(kernel, LoopKernel):
        return emit.generate(kernel, card, temp_slot, guarded)
    if isinstance(kernel, ScatterKernel):
        return scatter.generate(kernel, card, temp_slot)
    if isinstance(kernel, GemmKernel):
        return gemm.generate(kernel, card, temp_slot, guarded)
    if isinstance(kernel, AttendKernel):
        return attend.generate(kernel, card, temp_slot, guarded)
    if isinstance(kernel, HostStep):
        return algorithms.generate(kernel, card, temp_slot, guarded)
    raise BackendError(f"{type(kernel).__name__} has no functions for a card")


def steps(
    kernel: Kernel,
    card: Card,
    temp_slot: int,
    guarded: bool = False,
    moving: Collection[int] = (),
) -> Sequence[GpuFunction | LibraryCall]:
    """`generate`, with products that run on tensor cores given to NVIDIA's library, which touches
    no slot in `moving`: those whose address changes from run to run."""
    if isinstance(kernel, GemmKernel):
        found = blas.generate(kernel, card, temp_slot, guarded, moving)
        if found is not None:
            return found
    return generate(kernel, card, temp_slot, guarded)
