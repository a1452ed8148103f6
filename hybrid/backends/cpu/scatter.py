"""Scatter kernels: rows of updates added to indexed rows of an output.

Invariant: every output element receives its updates in increasing order of i; work is split over
columns only, so the number of threads changes nothing.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from ...core import dtypes as dt
from ...core.errors import BackendError
from ..generated import Generated
from ..plan import ScatterKernel
from .machine.asm import UNLIKELY, Fn

__all__ = ["generate"]

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


def _add(writer: Fn, element: str, target: str, update: str, mask: str = "") -> None:
    """16 lanes: *out += *update (only lanes of `mask`)."""
    vector, operation = f"<{_W} x {element}>", "fadd" if element in ("float", "double") else "add"
    size = {"float": 4, "double": 8}.get(element) or int(element[1:]) // 8
    name = {"float": "f32", "double": "f64"}.get(element, element)
    if not mask:
        total = writer.op(
            f"{operation} {vector} {writer.op(f'load {vector}, ptr {target}, align {size}')}, "
            f"{writer.op(f'load {vector}, ptr {update}, align {size}')}"
        )
        writer.do(f"store {vector} {total}, ptr {target}, align {size}")
        return
    shape = f"i32 {size}, <{_W} x i1> {mask}"
    present, added = (
        writer.op(
            f"call {vector} @llvm.masked.load.v{_W}{name}.p0(ptr {place}, {shape}, "
            f"{vector} zeroinitializer)"
        )
        for place in (target, update)
    )
    total = writer.op(f"{operation} {vector} {present}, {added}")
    writer.do(
        f"call void @llvm.masked.store.v{_W}{name}.p0({vector} {total}, ptr {target}, {shape})"
    )


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


def _declarations(element: str, name: str) -> str:
    vector = f"<{_W} x {element}>"
    return (
        f"declare {vector} @llvm.masked.load.v{_W}{name}.p0(ptr, i32, <{_W} x i1>, {vector})\n"
        f"declare void @llvm.masked.store.v{_W}{name}.p0({vector}, ptr, i32, <{_W} x i1>)\n"
    )


@lru_cache(None)
def _text(dtype: np.dtype) -> tuple[str, str]:
    element, size = _element(dtype), dtype.itemsize
    name = {"float": "f32", "double": "f64"}.get(element, element)
    writer = Fn("SYMBOL", "i64", 'nounwind "prefer-vector-width"="512"', **_PARAMETERS)
    target, index, update = _base(writer, OUT), _base(writer, INDEX), _base(writer, UPDATE)
    count, inner = writer.ld("%args", COUNT, "i64"), writer.ld("%args", INNER, "i64")
    target_step, index_step, update_step = (
        writer.ld("%args", at, "i64") for at in (OUT_STEP, INDEX_STEP, UPDATE_STEP)
    )
    first = writer.op(f"mul i64 %begin, {_STRIP}")
    stop = writer.op(f"mul i64 %end, {_STRIP}")
    stop = writer.pick(writer.cmp("ult", stop, inner), stop, inner)
    width = writer.op(f"sub i64 {stop}, {first}")
    whole = writer.op(f"lshr i64 {width}, 4")
    left = writer.op(f"and i64 {width}, 15")
    mask, partial = _mask(writer, left), writer.cmp("ne", left, 0)
    start = writer.op(f"mul i64 {first}, {size}")
    with writer.each(count) as update_number:
        row_number = writer.ld(_row(writer, index, update_number, index_step), 0, "i64")
        destination = writer.at(_row(writer, target, row_number, target_step), start)
        source = writer.at(_row(writer, update, update_number, update_step), start)
        with writer.each(whole) as group:
            offset = writer.op(f"mul i64 {group}, {_W * size}")
            _add(writer, element, writer.at(destination, offset), writer.at(source, offset))
        with writer.when(partial):
            offset = writer.op(f"mul i64 {whole}, {_W * size}")
            _add(writer, element, writer.at(destination, offset), writer.at(source, offset), mask)
    writer.ret(0)
    text = _declarations(element, name) + writer.text() + UNLIKELY
    symbol = "s_" + hashlib.sha256(text.encode()).hexdigest()[:24]
    return symbol, text.replace("@SYMBOL", "@" + symbol)


def generate(kernel: ScatterKernel) -> list[Generated]:
    """Code and argument words of a scatter kernel: contiguous rows, int64 indices."""
    for access in (kernel.out, kernel.update):
        if kernel.inner > 1 and access.strides[-1] != 1:
            raise BackendError("scatter kernels walk contiguous rows; copy the operand first")
    if kernel.index.dtype is not dt.int64:
        raise BackendError(f"scatter kernels take int64 indices, not {kernel.index.dtype.name}")
    symbol, text = _text(kernel.out.dtype)
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
    return [Generated(text, symbol, tuple(words), items, grain, 0)]
