"""Scatter kernels: rows of updates added to indexed rows of an output.

Invariant: every output element receives its updates in increasing order of i, one addition each,
whatever the schedule; tables and lists may be filled in any order, since each list is put in order
before it is used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ....core import dtypes as dt
from ....core.errors import BackendError
from ....ir.scalar.program import TYPE
from ...emit.code import Code, check_externals, finish_module
from ...plan import ScatterKernel
from ..emit.access import ACCESS
from ..function import STATUS, Card, GpuFunction, signature
from .code import SCRATCH, Scatter, Table, WordIndex
from .slots import SlotSteps, slots_nbytes

__all__ = ["generate"]

_FEW = 1024  # updates that every block looks through
_SOME = 16384  # updates whose buckets have slots; a row of many looks through all of them
_MOST = 1 << 30  # updates whose numbers fit a table
_THREADS, _FEWEST = 256, 128
_SLOTS = (WordIndex.OUT, WordIndex.INDEX, WordIndex.UPDATE, WordIndex.STATUS)


class ScatterSchedule(NamedTuple):
    """`step` of the kernel, with `vector` adjacent columns a thread; `slots`: the table's buckets
    have slots."""

    step: str
    slots: bool
    dtype: np.dtype
    vector: int
    threads: int
    guarded: bool


def _check(kernel: ScatterKernel) -> None:
    dtype = kernel.out.dtype
    if dtype not in (dt.float32, dt.float64) and not dt.is_int(dtype):
        raise BackendError(
            f"scatter kernels do not add {dtype.name}; convert the updates to float32 first"
        )
    for access in (kernel.out, kernel.update):
        if kernel.inner > 1 and access.strides[-1] != 1:
            raise BackendError("scatter kernels walk contiguous rows; copy the operand first")
    if kernel.index.dtype is not dt.int64:
        raise BackendError(f"scatter kernels take int64 indices, not {kernel.index.dtype.name}")


@lru_cache(None)
def _text(schedule: ScatterSchedule) -> tuple[str, str]:
    code = Code()
    kind = SlotSteps if schedule.slots else Scatter
    scatter = kind(code, TYPE[schedule.dtype], schedule.vector, schedule.threads)
    if schedule.guarded:
        scatter.guard()
    getattr(scatter, schedule.step)()
    code.do("ret void")
    attributes = f'nounwind "nvvm.maxntid"="{schedule.threads}"'
    words = signature(len(WordIndex))
    text, symbol = finish_module(code, words, f"scatter_{schedule.step}", attributes)
    text = f"{SCRATCH}\n{text}" if "@list" in text else text
    check_externals(text)
    return text, symbol


def _words(kernel: ScatterKernel, temp_slot: int, chunk: int) -> tuple[int, ...]:
    table = Table.of(kernel.count)
    words = [0] * len(WordIndex)
    for position, access in (
        (WordIndex.OUT, kernel.out),
        (WordIndex.INDEX, kernel.index),
        (WordIndex.UPDATE, kernel.update),
    ):
        words[position] = access.slot
        words[position + 1] = access.offset * access.dtype.itemsize
    words[WordIndex.COUNT], words[WordIndex.INNER] = kernel.count, kernel.inner
    words[WordIndex.OUT_STEP] = kernel.out.strides[0] * kernel.out.dtype.itemsize
    words[WordIndex.INDEX_STEP] = kernel.index.strides[0] * 8
    words[WordIndex.UPDATE_STEP] = kernel.update.strides[0] * kernel.update.dtype.itemsize
    words[WordIndex.STATUS], words[WordIndex.WORKSPACE] = STATUS, temp_slot
    words[WordIndex.BITS], words[WordIndex.CHUNK] = table.bits, chunk
    words[WordIndex.CHUNKS] = -(-kernel.inner // chunk)
    return tuple(word & 0xFFFFFFFFFFFFFFFF if word != STATUS else word for word in words)


def _vector(kernel: ScatterKernel) -> int:
    """Adjacent columns of an access that is aligned if the first row is."""
    size = kernel.out.dtype.itemsize
    vector = ACCESS // size
    steps = (kernel.out.strides[0], kernel.update.strides[0], kernel.inner)
    while vector > 1 and any(step % vector for step in steps):
        vector //= 2
    return vector


def _row_threads(kernel: ScatterKernel, vector: int) -> int:
    """Threads of a block that adds rows, and puts their updates in order."""
    wanted = -(-kernel.inner // (32 * vector)) * 32
    return min(max(wanted, _FEWEST), _THREADS)


def generate(
    kernel: ScatterKernel, card: Card, temp_slot: int, guarded: bool = True
) -> list[GpuFunction]:
    """Functions that together are a scatter kernel: contiguous rows, int64 indices.

    Few updates: each block looks for the others of its row itself.  Some: a table of rows with
    slots for the updates of each.  Many: the updates of each row in a list, a block per row."""
    _check(kernel)
    if not kernel.count or not kernel.inner:
        return []
    vector = _vector(kernel)
    threads = _row_threads(kernel, vector)
    chunk = threads * vector

    some = _FEW < kernel.count <= _SOME

    def function(step: str, blocks: int, threads: int) -> GpuFunction:
        schedule = ScatterSchedule(step, some, kernel.out.dtype, vector, threads, guarded)
        text, symbol = _text(schedule)
        words = _words(kernel, temp_slot, chunk)
        return GpuFunction(text, symbol, words, _SLOTS, blocks, threads)

    if kernel.count > _MOST:
        return [function("columns", min(-(-kernel.inner // _THREADS), 1 << 20), _THREADS)]
    if kernel.count <= _FEW:
        threads, chunk = _THREADS, _THREADS * vector
        return [function("few", kernel.count * -(-kernel.inner // chunk), threads)]
    table = Table.of(kernel.count)
    buckets, updates = -(-table.buckets // _THREADS), -(-kernel.count // _THREADS)
    lists = [] if some else [("allot", buckets), ("enlist", updates)]
    functions = [
        *(
            function(step, blocks, _THREADS)
            for step, blocks in [("clear", buckets), ("insert", updates), *lists]
        ),
        function("add", kernel.count, threads),
    ]
    temp = slots_nbytes(table, kernel.count) if some else table.nbytes(kernel.count)
    slots = (*_SLOTS, WordIndex.WORKSPACE)
    return [f._replace(slots=slots, temp=temp) for f in functions]
