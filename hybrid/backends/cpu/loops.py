"""Kernels of a plan -> native steps: generation and compilation, shared by eager calls and plans.

Invariant: kernels of equal structure share one function; what differs is in the argument words.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.errors import BackendError
from ..emit.loops import generate_all as generate_loop
from ..plan import GemmKernel, Kernel, LoopKernel, ScatterKernel
from . import scatter
from .caller import Step
from .gemm import generate as generate_gemm
from .jit import compile_many

__all__ = ["steps", "step_lists"]


def _generated(kernel: Kernel, temp_slot: int) -> list[Any]:
    """Functions of a kernel, to run in order; their workspace is slot `temp_slot`."""
    if isinstance(kernel, LoopKernel):
        return generate_loop(kernel, temp_slot)
    if isinstance(kernel, GemmKernel):
        return generate_gemm(kernel, temp_slot)
    if isinstance(kernel, ScatterKernel):
        return scatter.generate(kernel)
    raise BackendError(f"{type(kernel).__name__} is no native kernel")


def step_lists(kernels: Sequence[Kernel], temp_slot: int) -> tuple[list[list[Step]], int]:
    """(steps of each kernel, bytes of workspace in slot `temp_slot` that the neediest of them uses)."""
    made = [_generated(k, temp_slot) for k in kernels]
    flat = [g for gs in made for g in gs]
    codes = iter(compile_many([(g.symbol, g.text) for g in flat]))
    temp = max((getattr(g, "temp", 0) for g in flat), default=0)
    return [[Step(next(codes), g.words, g.items, g.grain, g.scratch) for g in gs] for gs in made], temp


def steps(kernels: Sequence[Kernel], temp_slot: int) -> tuple[list[Step], int]:
    """`step_lists` as one list."""
    lists, temp = step_lists(kernels, temp_slot)
    return [s for each in lists for s in each], temp
