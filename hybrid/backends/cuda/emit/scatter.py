"""Scatter kernels: rows of updates added to indexed rows of an output.

Invariant: every output element receives its updates in increasing order of i, one addition each,
whatever the schedule.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ....core import dtypes as dt
from ....core.errors import BackendError
from ...emit.code import Code, check_externals, finish_module
from ...plan import ScatterKernel
from ..function import STATUS, Card, GpuFunction, signature
from .body import grid_loop, guard, pointer

__all__ = ["generate_scatter"]

# argument words: three operands (address, byte offset), then the rest
OUT, INDEX, UPDATE, COUNT, INNER, OUT_STEP, INDEX_STEP, UPDATE_STEP, STATUS_WORD = (
    0, 2, 4, 6, 7, 8, 9, 10, 11,
)  # fmt: skip
_THREADS = 256


def _element(dtype: np.dtype) -> str:
    if dtype is dt.float32:
        return "float"
    if dtype is dt.float64:
        return "double"
    if dt.is_int(dtype):
        return f"i{8 * dtype.itemsize}"
    raise BackendError(
        f"scatter kernels do not add {dtype.name}; convert the updates to float32 first"
    )


class _Scatter:
    """The words of a scatter kernel as values."""

    def __init__(self, guarded: bool) -> None:
        self.code = Code()
        if guarded:
            guard(self.code, STATUS_WORD)

    def word(self, number: int) -> str:
        spot = self.code.once(f"getelementptr i64, ptr %args, i64 {number}")
        return self.code.once(f"load i64, ptr {spot}, align 8")

    def base(self, operand: int) -> str:
        start = pointer(self.code, operand)
        return self.code.once(f"getelementptr i8, ptr {start}, i64 {self.word(operand + 1)}")

    def spot(self, operand: int, step: int, row: str, element: str, column: str) -> str:
        """Address of an element of a row."""
        row_start = self.code.at("i8", self.base(operand), self.code.mul(row, self.word(step)))
        return self.code.at(element, row_start, column)


@lru_cache(None)
def _columns_text(dtype: np.dtype, guarded: bool) -> tuple[str, str]:
    """A thread per column walks all updates."""
    scatter, element, size = _Scatter(guarded), _element(dtype), dtype.itemsize
    code, operation = scatter.code, "fadd" if dtype.kind == "f" else "add"

    def column(number: str) -> None:
        def one(update: str, _: list[str]) -> list[str]:
            spot = scatter.spot(INDEX, INDEX_STEP, update, "i64", "0")
            row = code.op(f"load i64, ptr {spot}, align 8")
            target = scatter.spot(OUT, OUT_STEP, row, element, number)
            source = scatter.spot(UPDATE, UPDATE_STEP, update, element, number)
            old = code.op(f"load {element}, ptr {target}, align {size}")
            added = code.op(f"load {element}, ptr {source}, align {size}")
            total = code.op(f"{operation} {element} {old}, {added}")
            code.do(f"store {element} {total}, ptr {target}, align {size}")
            return []

        code.loop("0", scatter.word(COUNT), "1", [], one)

    grid_loop(code, scatter.word(INNER), column)
    code.do("ret void")
    attributes = f'nounwind "nvvm.maxntid"="{_THREADS}"'
    made = finish_module(code, signature(STATUS_WORD + 1), "scatter", attributes)
    check_externals(made[0])
    return made


def _words(kernel: ScatterKernel) -> tuple[int, ...]:
    words = [
        w
        for a in (kernel.out, kernel.index, kernel.update)
        for w in (a.slot, a.offset * a.dtype.itemsize)
    ]
    words += [
        kernel.count,
        kernel.inner,
        kernel.out.strides[0] * kernel.out.dtype.itemsize,
        kernel.index.strides[0] * 8,
        kernel.update.strides[0] * kernel.update.dtype.itemsize,
        STATUS,
    ]
    return tuple(words)


def _checked(kernel: ScatterKernel) -> None:
    for access in (kernel.out, kernel.update):
        if kernel.inner > 1 and access.strides[-1] != 1:
            raise BackendError("scatter kernels walk contiguous rows; copy the operand first")
    if kernel.index.dtype is not dt.int64:
        raise BackendError(f"scatter kernels take int64 indices, not {kernel.index.dtype.name}")


def generate_scatter(
    kernel: ScatterKernel, card: Card, temp_slot: int, guarded: bool = True
) -> list[GpuFunction]:
    """Functions that together are a scatter kernel: contiguous rows, int64 indices."""
    _checked(kernel)
    if not kernel.count or not kernel.inner:
        return []
    text, symbol = _columns_text(kernel.out.dtype, guarded)
    slots = (OUT, INDEX, UPDATE, STATUS_WORD)
    blocks = min(-(-kernel.inner // _THREADS), 1 << 20)
    return [GpuFunction(text, symbol, _words(kernel), slots, blocks, _THREADS)]
