"""Scatter kernels: rows of updates added to indexed rows of an output, or put in their place.

Invariant: every output element receives its updates in increasing order of i; work is split over
columns only, so the number of threads changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.errors import BackendError
from ..emit.loops import generate_all
from ..generated import Generated
from ..op_kernels import copy_kernel
from ..plan import Access, HostStep, ScatterKernel
from .machine.asm import UNLIKELY, Fn

__all__ = ["assigned", "generate"]

_STRIP = 256  # columns of one work item
_W = 16
_PARAMETERS = {"bufs": "ptr", "args": "ptr", "begin": "i64", "end": "i64", "scratch": "ptr"}
# argument words: three operands (slot, byte offset), then the rest
OUT, INDEX, UPDATE = 0, 16, 32
COUNT, INNER, OUT_STEP, INDEX_STEP, UPDATE_STEP = range(48, 88, 8)


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


def _base(writer: Fn, offset: int) -> str:
    base = writer.ld(writer.nth("%bufs", writer.ld("%args", offset, "i64")))
    return writer.at(base, writer.ld("%args", offset + 8, "i64"))


class _Update(NamedTuple):
    """What is done with elements: their LLVM type, bytes, whether they are added."""

    element: str
    size: int
    adds: bool

    def total(self, writer: Fn, kind: str, load: Callable[[str], str], places: list[str]) -> str:
        """The new value of *target, of what is loaded from (target, update)."""
        update = load(places[1])
        if not self.adds:
            return update
        operation = "fadd" if self.element in ("float", "double") else "add"
        return writer.op(f"{operation} {kind} {load(places[0])}, {update}")

    def lanes(self, writer: Fn, target: str, update: str, mask: str = "") -> None:
        """16 lanes (only those of `mask`)."""
        vector, size, places = f"<{_W} x {self.element}>", self.size, [target, update]
        if not mask:
            return self.elements(writer, vector, places)
        shape = f"i32 {size}, <{_W} x i1> {mask}"

        def load(place: str) -> str:
            return writer.op(
                f"call {vector} @llvm.masked.load.v{_W}{self.name}.p0(ptr {place}, {shape}, "
                f"{vector} zeroinitializer)"
            )

        total = self.total(writer, vector, load, places)
        writer.do(
            f"call void @llvm.masked.store.v{_W}{self.name}.p0({vector} {total}, ptr {target}, "
            f"{shape})"
        )

    def elements(self, writer: Fn, kind: str, places: list[str]) -> None:
        """An element, or several side by side."""

        def load(place: str) -> str:
            return writer.op(f"load {kind}, ptr {place}, align {self.size}")

        total = self.total(writer, kind, load, places)
        writer.do(f"store {kind} {total}, ptr {places[0]}, align {self.size}")

    @property
    def name(self) -> str:
        return {"float": "f32", "double": "f64"}.get(self.element, self.element)


def _mask(writer: Fn, left: str) -> str:
    lanes_left = writer.op(f"trunc i64 {writer.pick(writer.cmp('ult', left, _W), left, _W)} to i32")
    single = writer.op(f"insertelement <{_W} x i32> poison, i32 {lanes_left}, i32 0")
    spread = writer.op(
        f"shufflevector <{_W} x i32> {single}, <{_W} x i32> poison, <{_W} x i32> zeroinitializer"
    )
    lanes = "<" + ", ".join(f"i32 {k}" for k in range(_W)) + ">"
    return writer.op(f"icmp ugt <{_W} x i32> {spread}, {lanes}")


def _row(writer: Fn, base: str, number: str, step: str) -> str:
    return writer.at(base, writer.op(f"mul i64 {number}, {step}"))


def _declarations(given: _Update) -> str:
    vector, name = f"<{_W} x {given.element}>", given.name
    return (
        f"declare {vector} @llvm.masked.load.v{_W}{name}.p0(ptr, i32, <{_W} x i1>, {vector})\n"
        f"declare void @llvm.masked.store.v{_W}{name}.p0({vector}, ptr, i32, <{_W} x i1>)\n"
    )


class _Operands:
    """The operands of a function, and the bytes from row to row of each."""

    def __init__(self, writer: Fn) -> None:
        self.bases = [_base(writer, at) for at in (OUT, INDEX, UPDATE)]
        self.steps = [writer.ld("%args", at, "i64") for at in (OUT_STEP, INDEX_STEP, UPDATE_STEP)]

    def rows(self, writer: Fn, number: str) -> list[str]:
        """Where the row of an update goes, and that row."""
        (target, index, update), (ahead, further, next_) = self.bases, self.steps
        row = writer.ld(_row(writer, index, number, further), 0, "i64")
        return [_row(writer, target, row, ahead), _row(writer, update, number, next_)]


@lru_cache(None)
def _text(given: _Update) -> tuple[str, str]:
    """An item is a strip of columns."""
    writer = Fn("SYMBOL", "i64", 'nounwind "prefer-vector-width"="512"', **_PARAMETERS)
    operands, size = _Operands(writer), given.size
    count, inner = writer.ld("%args", COUNT, "i64"), writer.ld("%args", INNER, "i64")
    first = writer.op(f"mul i64 %begin, {_STRIP}")
    stop = writer.op(f"mul i64 %end, {_STRIP}")
    stop = writer.pick(writer.cmp("ult", stop, inner), stop, inner)
    width = writer.op(f"sub i64 {stop}, {first}")
    whole = writer.op(f"lshr i64 {width}, 4")
    left = writer.op(f"and i64 {width}, 15")
    mask, partial = _mask(writer, left), writer.cmp("ne", left, 0)
    start = writer.op(f"mul i64 {first}, {size}")
    with writer.each(count) as number:
        target, update = (writer.at(row, start) for row in operands.rows(writer, number))
        with writer.each(whole) as group:
            offset = writer.op(f"mul i64 {group}, {_W * size}")
            given.lanes(writer, writer.at(target, offset), writer.at(update, offset))
        with writer.when(partial):
            offset = writer.op(f"mul i64 {whole}, {_W * size}")
            given.lanes(writer, writer.at(target, offset), writer.at(update, offset), mask)
    return _finished(writer, _declarations(given))


@lru_cache(None)
def _narrow(given: _Update) -> tuple[str, str]:
    """Rows of one element, all in one item."""
    writer = Fn("SYMBOL", "i64", "nounwind", **_PARAMETERS)
    operands = _Operands(writer)
    with writer.each(writer.ld("%args", COUNT, "i64")) as number:
        given.elements(writer, given.element, operands.rows(writer, number))
    return _finished(writer, "")


def _finished(writer: Fn, declarations: str) -> tuple[str, str]:
    writer.ret(0)
    text = declarations + writer.text() + UNLIKELY
    symbol = "s_" + hashlib.sha256(text.encode()).hexdigest()[:24]
    return symbol, text.replace("@SYMBOL", "@" + symbol)


def _function(kernel: ScatterKernel, given: _Update) -> Generated:
    """The function over contiguous rows, int64 indices."""
    for access in (kernel.out, kernel.update):
        if kernel.inner > 1 and access.strides[-1] != 1:
            raise BackendError("scatter kernels walk contiguous rows; copy the operand first")
    if kernel.index.dtype is not dt.int64:
        raise BackendError(f"scatter kernels take int64 indices, not {kernel.index.dtype.name}")
    symbol, text = _narrow(given) if kernel.inner == 1 else _text(given)
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
    ]
    grain = max(1, (1 << 16) // max(kernel.count * _STRIP, 1))
    items = -(-kernel.inner // _STRIP) if kernel.count else 0
    return Generated(text, symbol, tuple(words), items, grain, 0)


def generate(kernel: ScatterKernel) -> list[Generated]:
    """Code and argument words of a scatter kernel."""
    dtype = kernel.out.dtype
    return [_function(kernel, _Update(_element(dtype), dtype.itemsize, True))]


def assigned(step: HostStep, temp_slot: int) -> list[Generated]:
    """The functions of an `Assign`: a copy of the base, then its rows, one after the other."""
    base, index, update, out = step.avals
    slots, inner = (*step.inputs, *step.outputs), prod(out.shape[1:])
    whole = [Access(slots[n], out.dtype, 0, (1,)) for n in (0, 3)]
    copied = generate_all(copy_kernel((base.size,), *whole), temp_slot)
    target, rows = (Access(slots[n], out.dtype, 0, (inner, 1)) for n in (3, 2))
    places = Access(slots[1], index.dtype, 0, (1,))
    kernel = ScatterKernel(index.size, inner, target, places, rows)
    size = out.dtype.itemsize
    return [*copied, _function(kernel, _Update(f"i{8 * size}", size, False))]
