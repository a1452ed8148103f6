"""Attention for the CPU: AttendKernel -> kernel-ABI functions.

Invariant: how the work is cut (by batch position, by block of keys, by tile of queries) and how
large tiles are depends on the machine; the bits do not (ops/attend.py).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from ....core.extents import apart
from ...attend import anywhere, check_rows
from ...generated import Generated, Template
from ...plan import AttendKernel
from ..gemm import element_of, module
from ..gemm.geometry import Target, host_target
from .backward import write_backward
from .forward import write_forward
from .writer import ItemKind

__all__ = ["generate"]

CHUNK = 16000  # operations of 16 lanes in one chunk, about four microseconds
MOST_SCRATCH = 1 << 22  # bytes that one thread may hold the gradients of all queries in


def _ways(kernel: AttendKernel, target: Target) -> tuple[ItemKind, ...]:
    """How the gradients are cut into items: all in one pass when there are items enough."""
    if not kernel.backward:
        return ("forward",)
    size = kernel.writes[0].dtype.itemsize
    one_pass = prod(kernel.batch) >= 2 * target.threads or max(kernel.m, kernel.n) <= 64
    fits = kernel.m * kernel.e * size <= MOST_SCRATCH
    return ("all",) if one_pass and fits else ("keys", "queries")


@apart
def _grain(work: int, items: int) -> int:
    """Items of a chunk."""
    return max(1, int(CHUNK * items / max(work / 16, 1.0)))


@lru_cache(32)
def _template(kernel: AttendKernel, item_kind: ItemKind, target: Target) -> Template:
    """The function for a kernel whose operands may lie anywhere."""
    element = element_of(kernel.writes[0].dtype)
    if item_kind == "forward":
        made = write_forward(kernel, element, target)
    else:
        made = write_backward(kernel, element, target, item_kind)
    text, symbol = module(made.functions, "attend")
    items = prod(kernel.batch) * made.items
    products = 3 * kernel.e + 2 * kernel.f if kernel.backward else kernel.e + kernel.f
    grain = _grain(prod(kernel.batch) * kernel.m * kernel.n * (products + 40), items)
    function = Generated(text, symbol, (), items, grain, max(made.scratch, 64))
    return Template(function, made.words)


def generate(kernel: AttendKernel, target: Target | None = None) -> list[Generated]:
    """The functions that compute attention or its gradients, to run in order."""
    check_rows(kernel)
    target = target or host_target()
    moved, slots = anywhere(kernel)
    return [_template(moved, item_kind, target).over(slots) for item_kind in _ways(kernel, target)]
