"""Attention for the CPU: AttendKernel -> kernel-ABI functions.

Invariant: how the work is cut (by batch position, by block of keys, by tile of queries) and how
large tiles are depends on the machine; the bits do not (ops/attend.py).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from ....core.errors import BackendError
from ...generated import Generated, SlotRef, Template
from ...plan import Access, AttendKernel
from ..gemm import element_of, module
from ..gemm.geometry import Target, host_target
from . import backward, forward
from .backward import write_backward
from .forward import write_forward
from .writer import READS, ItemKind

__all__ = ["generate"]

CHUNK = 16000  # operations of 16 lanes in one chunk, about four microseconds
MOST_SCRATCH = 1 << 22  # bytes that one thread may hold the gradients of all queries in


def _check(kernel: AttendKernel) -> None:
    """Columns of matrices lie side by side."""
    queries, keys, values = kernel.reads[:3]
    matrices = [(queries, kernel.e), (keys, kernel.e), (values, kernel.f)]
    if kernel.backward:
        matrices.append((kernel.reads[5], kernel.f))
        matrices += zip(kernel.writes, (kernel.e, kernel.e, kernel.f))
    else:
        matrices.append((kernel.writes[0], kernel.f))
    for access, columns in matrices:
        if access is not None and columns > 1 and access.strides[-1] != 1:
            raise BackendError("attend kernels walk rows of adjacent elements; copy the operand")


def _ways(kernel: AttendKernel, target: Target) -> tuple[ItemKind, ...]:
    """How the gradients are cut into items: all in one pass when there are items enough."""
    if not kernel.backward:
        return ("forward",)
    size = kernel.writes[0].dtype.itemsize
    one_pass = prod(kernel.batch) >= 2 * target.threads or max(kernel.m, kernel.n) <= 64
    fits = kernel.m * kernel.e * size <= MOST_SCRATCH
    return ("all",) if one_pass and fits else ("keys", "queries")


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
    cost = max(prod(kernel.batch) * kernel.m * kernel.n * (products + 40) / 16, 1.0)
    grain = max(1, int(CHUNK * items / cost))
    function = Generated(text, symbol, (), items, grain, max(made.scratch, 64))
    return Template(function, made.words)


def _anywhere(access: Access) -> Access:
    return access._replace(slot=0, offset=0)


def generate(kernel: AttendKernel, target: Target | None = None) -> list[Generated]:
    """The functions that compute attention or its gradients, to run in order."""
    _check(kernel)
    target = target or host_target()
    reads = tuple([None if access is None else _anywhere(access) for access in kernel.reads])
    moved = kernel._replace(reads=reads, writes=tuple(map(_anywhere, kernel.writes)))
    results = backward.RESULTS if kernel.backward else forward.RESULTS
    slots: dict[SlotRef, int] = {}
    for name, access in (*zip(READS, kernel.reads), *zip(results, kernel.writes)):
        if access is not None:
            slots[SlotRef(name)] = access.slot
            slots[SlotRef(name, is_offset=True)] = access.offset * access.dtype.itemsize
    return [_template(moved, item_kind, target).over(slots) for item_kind in _ways(kernel, target)]
