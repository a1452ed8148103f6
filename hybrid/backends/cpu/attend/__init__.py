"""Attention for the CPU: AttendKernel -> kernel-ABI functions.

Invariant: how the work is cut (by batch position, by block of keys, by tile of queries) and how
large tiles are depends on the machine; the bits do not (ops/attend.py).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

from ....core.errors import BackendError
from ...plan import Access, AttendKernel
from ..gemm import ABI, element_of, module
from ..gemm.geometry import Target, host_target
from ..gemm.words import Generated
from .backward import Backward
from .forward import Forward
from .work import NAMES

__all__ = ["generate"]

CHUNK = 16000  # operations of 16 lanes in one chunk, about four microseconds
MOST_SCRATCH = 1 << 22  # bytes that one thread may hold the gradients of all queries in


class _Made(NamedTuple):
    """A function for operands at offset 0 of slot 0, and the words that say where they are:
    (slot word, offset word) by name of the operand; results by their names."""

    code: Generated
    places: dict[str, tuple[int, int]]


def _check(kernel: AttendKernel) -> None:
    """Columns of matrices lie side by side."""
    e, f = kernel.e, kernel.f
    q, k, v = kernel.reads[:3]
    matrices = [(q, e), (k, e), (v, f)]
    if kernel.backward:
        matrices += [(kernel.reads[5], f), *zip(kernel.writes, (e, e, f))]
    else:
        matrices.append((kernel.writes[0], f))
    if any(a is not None and cols > 1 and a.strides[-1] != 1 for a, cols in matrices):
        raise BackendError("attend kernels walk rows of adjacent elements; copy the operand")


def _ways(kernel: AttendKernel, target: Target) -> tuple[str, ...]:
    """How the gradients are cut into items: all in one pass when there are items enough."""
    if not kernel.backward:
        return ("forward",)
    size = kernel.writes[0].dtype.itemsize
    one_pass = prod(kernel.batch) >= 2 * target.threads or max(kernel.m, kernel.n) <= 64
    fits = kernel.m * kernel.e * size <= MOST_SCRATCH
    return ("all",) if one_pass and fits else ("keys", "queries")


@lru_cache(32)
def _one(kernel: AttendKernel, how: str, target: Target) -> _Made:
    elem = element_of(kernel.writes[0].dtype)
    work: Forward | Backward
    if how == "forward":
        work = Forward(kernel, elem, target)
    else:
        work = Backward(kernel, elem, target, how)
    work.build()
    text, symbol = module([(ABI, work.code), *work.functions()], "attend")
    items = prod(kernel.batch) * work.items
    products = 3 * kernel.e + 2 * kernel.f if kernel.backward else kernel.e + kernel.f
    cost = max(prod(kernel.batch) * kernel.m * kernel.n * (products + 40) / 16, 1.0)
    grain = max(1, int(CHUNK * items / cost))
    made = Generated(text, symbol, symbol, work.words.finish(), items, grain, max(work.scratch, 64))
    at = work.words.names
    names = [n.removesuffix(".slot") for n in at if n.endswith(".slot")]
    return _Made(made, {n: (at[f"{n}.slot"], at[f"{n}.offset"]) for n in names})


def _placed(made: _Made, operands: dict[str, Access]) -> Generated:
    words = list(made.code.words)
    for name, (slot, offset) in made.places.items():
        a = operands[name]
        words[slot], words[offset] = a.slot, a.offset * a.dtype.itemsize
    return made.code._replace(words=tuple(words))


def _anywhere(a: Access) -> Access:
    return a._replace(slot=0, offset=0)


def generate(kernel: AttendKernel, target: Target | None = None) -> list[Generated]:
    """The functions that compute attention or its gradients, to run in order."""
    _check(kernel)
    target = target or host_target()
    reads = tuple([None if a is None else _anywhere(a) for a in kernel.reads])
    moved = kernel._replace(reads=reads, writes=tuple(map(_anywhere, kernel.writes)))
    operands = {n: a for n, a in zip(NAMES, kernel.reads) if a is not None}
    results = Backward.results if kernel.backward else Forward.results
    operands |= dict(zip(results, kernel.writes))
    return [_placed(_one(moved, how, target), operands) for how in _ways(kernel, target)]
