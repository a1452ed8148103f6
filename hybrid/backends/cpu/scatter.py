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
# argument words: three operands (slot, byte offset), then the rest
OUT, INDEX, UPDATE = 0, 16, 32
COUNT, INNER, OUT_STEP, INDEX_STEP, UPDATE_STEP = range(48, 88, 8)


def _element(d: np.dtype) -> str:
    if d is dt.float32:
        return "float"
    if d is dt.float64:
        return "double"
    if dt.is_int(d):
        return f"i{8 * d.itemsize}"
    raise BackendError(f"scatter kernels do not add {d.name}; convert the updates to float32 first")


def _base(f: Fn, at: int) -> str:
    base = f.ld(f.nth("%bufs", f.ld("%args", at, "i64")))
    return f.at(base, f.ld("%args", at + 8, "i64"))


def _add(f: Fn, el: str, out: str, update: str, mask: str = "") -> None:
    """16 lanes: *out += *update (only lanes of `mask`)."""
    vec, how = f"<{_W} x {el}>", "fadd" if el in ("float", "double") else "add"
    size = {"float": 4, "double": 8}.get(el) or int(el[1:]) // 8
    name = {"float": "f32", "double": "f64"}.get(el, el)
    if not mask:
        total = f.op(
            f"{how} {vec} {f.op(f'load {vec}, ptr {out}, align {size}')}, "
            f"{f.op(f'load {vec}, ptr {update}, align {size}')}"
        )
        f.do(f"store {vec} {total}, ptr {out}, align {size}")
        return
    x, y = (
        f.op(
            f"call {vec} @llvm.masked.load.v{_W}{name}.p0(ptr {p}, i32 {size}, <{_W} x i1> {mask}, "
            f"{vec} zeroinitializer)"
        )
        for p in (out, update)
    )
    f.do(
        f"call void @llvm.masked.store.v{_W}{name}.p0({vec} {f.op(f'{how} {vec} {x}, {y}')}, "
        f"ptr {out}, i32 {size}, <{_W} x i1> {mask})"
    )


def _mask(f: Fn, left: str) -> str:
    few = f.op(f"trunc i64 {f.pick(f.cmp('ult', left, _W), left, _W)} to i32")
    one = f.op(f"insertelement <{_W} x i32> poison, i32 {few}, i32 0")
    many = f.op(
        f"shufflevector <{_W} x i32> {one}, <{_W} x i32> poison, <{_W} x i32> zeroinitializer"
    )
    lanes = "<" + ", ".join(f"i32 {k}" for k in range(_W)) + ">"
    return f.op(f"icmp ugt <{_W} x i32> {many}, {lanes}")


def _declarations(el: str, name: str) -> str:
    vec = f"<{_W} x {el}>"
    return (
        f"declare {vec} @llvm.masked.load.v{_W}{name}.p0(ptr, i32, <{_W} x i1>, {vec})\n"
        f"declare void @llvm.masked.store.v{_W}{name}.p0({vec}, ptr, i32, <{_W} x i1>)\n"
    )


@lru_cache(None)
def _text(d: np.dtype) -> tuple[str, str]:
    el, size = _element(d), d.itemsize
    name = {"float": "f32", "double": "f64"}.get(el, el)
    f = Fn(
        "SYMBOL",
        "i64",
        'nounwind "prefer-vector-width"="512"',
        bufs="ptr",
        args="ptr",
        begin="i64",
        end="i64",
        scratch="ptr",
    )
    out, index, update = _base(f, OUT), _base(f, INDEX), _base(f, UPDATE)
    count, inner = f.ld("%args", COUNT, "i64"), f.ld("%args", INNER, "i64")
    so, si, su = (f.ld("%args", at, "i64") for at in (OUT_STEP, INDEX_STEP, UPDATE_STEP))
    first = f.op(f"mul i64 %begin, {_STRIP}")
    last = f.op(f"mul i64 %end, {_STRIP}")
    last = f.pick(f.cmp("ult", last, inner), last, inner)
    width = f.op(f"sub i64 {last}, {first}")
    whole = f.op(f"lshr i64 {width}, 4")
    left = f.op(f"and i64 {width}, 15")
    mask, tail = _mask(f, left), f.cmp("ne", left, 0)
    start = f.op(f"mul i64 {first}, {size}")
    with f.each(count) as i:
        row = f.ld(f.at(index, f.op(f"mul i64 {i}, {si}")), 0, "i64")
        to = f.at(f.at(out, f.op(f"mul i64 {row}, {so}")), start)
        source = f.at(f.at(update, f.op(f"mul i64 {i}, {su}")), start)
        with f.each(whole) as k:
            at = f.op(f"mul i64 {k}, {_W * size}")
            _add(f, el, f.at(to, at), f.at(source, at))
        with f.when(tail):
            at = f.op(f"mul i64 {whole}, {_W * size}")
            _add(f, el, f.at(to, at), f.at(source, at), mask)
    f.ret(0)
    text = _declarations(el, name) + f.text() + UNLIKELY
    symbol = "s_" + hashlib.sha256(text.encode()).hexdigest()[:24]
    return symbol, text.replace("@SYMBOL", "@" + symbol)


def generate(kernel: ScatterKernel) -> list[Generated]:
    """Code and argument words of a scatter kernel: contiguous rows, int64 indices."""
    for a in (kernel.out, kernel.update):
        if kernel.inner > 1 and a.strides[-1] != 1:
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
