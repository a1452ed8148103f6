"""Attention for the CPU: AttendKernel -> kernel-ABI functions.

Invariant: how the work is cut (by batch position, by block of keys, by tile of queries) and how
large tiles are depends on the machine; the bits do not (ops/attend.py).
"""

from __future__ import annotations

from math import prod

from ....core.errors import BackendError
from ...plan import AttendKernel
from ..gemm import ABI, element_of, module
from ..gemm.geometry import Target, host_target
from ..gemm.words import Generated
from .backward import Backward
from .forward import Forward

__all__ = ["generate"]

CHUNK = 16000  # operations of 16 lanes in one chunk, about four microseconds
MOST_SCRATCH = 1 << 22  # bytes that one thread may hold the gradients of all queries in


def _check(kernel: AttendKernel) -> None:
    """Columns of matrices lie side by side."""
    q, k, v, _, _, *more = kernel.reads
    for a in (q, k, v, *more[:1], *kernel.writes[: 3 if kernel.backward else 1]):
        if a is not None and len(a.strides) > len(kernel.batch) + 1 and a.strides[-1] != 1:
            raise BackendError("attend kernels walk rows of adjacent elements; copy the operand")


def _ways(kernel: AttendKernel, target: Target, size: int) -> tuple[str, ...]:
    """How the gradients are cut into items: all in one pass when there are items enough."""
    if not kernel.backward:
        return ("forward",)
    one_pass = prod(kernel.batch) >= 2 * target.threads or max(kernel.m, kernel.n) <= 64
    fits = kernel.m * kernel.e * size <= MOST_SCRATCH
    return ("all",) if one_pass and fits else ("keys", "queries")


def _one(kernel: AttendKernel, how: str, target: Target) -> Generated:
    elem = element_of(kernel.writes[0].dtype)
    if how == "forward":
        work: Forward | Backward = Forward(kernel, elem, target)
        per = work.tiles
    else:
        work = Backward(kernel, elem, target, how)
        per = work.items
    work.build()
    text, symbol = module([(ABI, work.code), *work.functions()], "attend")
    items = prod(kernel.batch) * per
    products = 3 * kernel.e + 2 * kernel.f if kernel.backward else kernel.e + kernel.f
    cost = max(prod(kernel.batch) * kernel.m * kernel.n * (products + 40) / 16, 1.0)
    grain = max(1, int(CHUNK * items / cost))
    return Generated(text, symbol, symbol, work.words.finish(), items, grain, max(work.scratch, 64))


def generate(kernel: AttendKernel, target: Target | None = None) -> list[Generated]:
    """The functions that compute attention or its gradients, to run in order."""
    _check(kernel)
    target = target or host_target()
    ways = _ways(kernel, target, kernel.writes[0].dtype.itemsize)
    return [_one(kernel, how, target) for how in ways]
