"""The kernels of a plan, one after the other, over flat NumPy arrays.

Invariant: a kernel gives the bits that the numerics contract says, whatever it is fused with; it
reads and writes only the elements that its operands name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import BackendError, IndexOutOfRange
from ...core.shapes import broadcast_shapes
from ...ir.contract import rounded
from ...ir.scalar.program import TYPE, Builder, Instr, Program, ScalarType
from ..plan import Access, AttendKernel, GemmKernel, Kernel, LoopKernel, Operand, ScatterKernel
from .attention import attention, attention_grad
from .program import fma, lane_tree, run_program

__all__ = ["run_kernel", "walked", "patterns", "Buffers"]

Buffers = Callable[[int], np.ndarray]  # slot -> flat array of its dtype
DEPTH = 256  # multiplications of one chain of a product
LANES = 64


def patterns(values: np.ndarray) -> np.ndarray:
    """Half values as their bit patterns, as programs take them."""
    return values.view(np.uint16) if dt.is_half(dt.canonical(values.dtype)) else values


def walked(
    buffer: np.ndarray, offset: int, shape: Sequence[int], strides: Sequence[int]
) -> np.ndarray:
    """The elements of a flat buffer that an operand walks; BackendError where it leaves it."""
    if 0 in shape:
        return np.empty(tuple(shape), buffer.dtype)
    steps = [(n - 1) * stride for n, stride in zip(shape, strides)]
    low, high = offset + sum(min(0, s) for s in steps), offset + sum(max(0, s) for s in steps)
    if low < 0 or high >= buffer.size:
        raise BackendError(f"a kernel walks {low} to {high} of a buffer of {buffer.size} elements")
    return np.lib.stride_tricks.as_strided(
        buffer[offset:], tuple(shape), tuple(stride * buffer.itemsize for stride in strides)
    )


def _read(access: Access, shape: Sequence[int], buffers: Buffers) -> np.ndarray:
    """A copy of what a kernel reads: it may write over it."""
    buffer = buffers(access.slot)
    if buffer.dtype != access.dtype:
        raise BackendError(
            f"slot {access.slot} holds {buffer.dtype}, a kernel reads {access.dtype}"
        )
    if access.gather:
        return np.array(patterns(buffer[access.offset :]), order="C")
    return np.array(patterns(walked(buffer, access.offset, shape, access.strides)), order="C")


# ---- loops
def _rows_last(values: np.ndarray, group: tuple[int, int]) -> np.ndarray:
    """The axes of the group joined into one, the last."""
    others = [a for a in range(values.ndim) if not group[0] <= a < group[1]]
    moved = np.transpose(values, others + list(range(*group)))
    return moved.reshape(moved.shape[: len(others)] + (prod(moved.shape[len(others) :]),))


def _rows_back(values: np.ndarray, shape: Sequence[int], group: tuple[int, int]) -> np.ndarray:
    """`_rows_last` undone; values of rows keep size 1 along the group."""
    others = [a for a in range(len(shape)) if not group[0] <= a < group[1]]
    values = np.broadcast_to(values, tuple(shape[a] for a in others) + (values.shape[-1],))
    inner = [shape[a] if values.shape[-1] != 1 else 1 for a in range(*group)]
    values = values.reshape([shape[a] for a in others] + inner)
    return np.transpose(values, np.argsort(others + list(range(*group))))


def _positions(program: Program, shape: tuple[int, ...]) -> tuple[Program, list[np.ndarray]]:
    """The program with its positions as further operands, for a space whose axes will be moved."""
    instrs, more = list(program.instrs), list[np.ndarray]()
    for number, instr in enumerate(instrs):
        if instr.prim == "index":
            more.append(np.arange(prod(shape)).reshape(shape))
        elif instr.prim == "coord":
            more.append(np.indices(shape)[instr.attr])
        else:
            continue
        instrs[number] = Instr("arg", "i64", (), len(program.args) + len(more) - 1)
    position: ScalarType = "i64"
    arguments = program.args + (position,) * len(more)
    return program._replace(instrs=tuple(instrs), args=arguments), more


def _loop(kernel: LoopKernel, buffers: Buffers) -> None:
    space, program, group, column = kernel.shape, kernel.program, kernel.group, False
    args = [_read(access, space, buffers) for access in kernel.reads]
    if group is not None:
        column = group[1] != len(space)
        program, more = _positions(program, space)
        args = [
            x if access.gather else _rows_last(x, group) for access, x in zip(kernel.reads, args)
        ]
        args += [_rows_last(x, group) for x in more]
        space = _rows_last(np.empty(space, np.int8), group).shape
    results = run_program(program, args, kernel.params, space, column)
    if kernel.check:
        if bool(np.any(results[0])):
            raise IndexOutOfRange("an index is out of range")
        return
    for access, values in zip(kernel.writes, results, strict=True):
        full = np.broadcast_to(values, broadcast_shapes("", values.shape, (1,) * len(space)))
        if group is not None:
            full = _rows_back(full, kernel.shape, group)
        _write(access, full, kernel, buffers)


def _write(access: Access, values: np.ndarray, kernel: LoopKernel, buffers: Buffers) -> None:
    """Store a result; one of a row is written once per row."""
    group = kernel.group
    once = range(*group) if group and not any(access.strides[slice(*group)]) else ()
    shape = tuple(
        1 if axis in once and values.shape[axis] == 1 else n for axis, n in enumerate(kernel.shape)
    )
    target = walked(buffers(access.slot), access.offset, shape, access.strides)
    patterns(target)[...] = np.broadcast_to(values, shape)


# ---- products
def _factor(operand: Operand, buffers: Buffers) -> np.ndarray:
    """An operand of a product, its dimensions one after the other."""
    dims = (operand.batch, operand.rows, operand.cols)
    sizes = sum((tuple(d.sizes) for d in dims), ())
    strides = sum((tuple(d.strides) for d in dims), ())
    return walked(buffers(operand.slot), operand.offset, sizes, strides)


def _chain(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Per element one fma chain from +0.0 in blocks of 256, block sums in order."""
    shape, depth = (left.shape[0], left.shape[1], right.shape[2]), left.shape[2]
    total = np.zeros(shape, left.dtype)
    for start in range(0, depth, DEPTH):
        block = np.zeros(shape, left.dtype)
        for k in range(start, min(start + DEPTH, depth)):
            left_at, right_at = np.broadcast_arrays(left[:, :, k, None], right[:, k, None, :])
            block = fma(left_at, right_at, block)
        total = block if start == 0 else total + block
    return total


def _lanes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Per block of 256 the 64 lanes and their tree."""
    shape, depth = (left.shape[0], left.shape[1], right.shape[2]), left.shape[2]
    total = np.zeros(shape, left.dtype)
    for start in range(0, depth, DEPTH):
        lanes = np.zeros((LANES, *shape), left.dtype)
        for k in range(start, min(start + DEPTH, depth)):
            left_at, right_at = np.broadcast_arrays(left[:, :, k, None], right[:, k, None, :])
            lanes[k % LANES] = fma(left_at, right_at, lanes[k % LANES])
        block = lane_tree(lanes, np.add)
        total = block if start == 0 else total + block
    return total


@lru_cache(64)
def _plain(acc: np.dtype, out: np.dtype) -> Program:
    """The epilogue of a product that has none: its one rounding."""
    s = Builder()
    return s.program(rounded(s, s.arg(TYPE[acc]), None, out))


def _gemm(kernel: GemmKernel, buffers: Buffers) -> None:
    left = _factor(kernel.a, buffers).astype(kernel.acc).reshape(kernel.batch, kernel.m, kernel.k)
    right = _factor(kernel.b, buffers).astype(kernel.acc).reshape(kernel.batch, kernel.k, kernel.n)
    total = (_lanes if kernel.order == "lanes" else _chain)(left, right)
    targets = [_factor(operand, buffers) for operand in kernel.outs]
    shape = targets[0].shape
    epilogue = kernel.epilogue or _plain(kernel.acc, kernel.outs[0].dtype)
    args = [total.reshape(shape), *[_read(access, shape, buffers) for access in kernel.reads]]
    results = run_program(epilogue, args, kernel.params, shape)
    for target, values in zip(targets, results, strict=True):
        patterns(target)[...] = np.broadcast_to(values, shape)


# ---- the others
def _scatter(kernel: ScatterKernel, buffers: Buffers) -> None:
    count, inner = kernel.count, kernel.inner
    index = walked(buffers(kernel.index.slot), kernel.index.offset, (count,), kernel.index.strides)
    update = walked(
        buffers(kernel.update.slot), kernel.update.offset, (count, inner), kernel.update.strides
    )
    for row, values in zip(index.tolist(), update):
        start = kernel.out.offset + row * kernel.out.strides[0]
        target = walked(buffers(kernel.out.slot), start, (inner,), kernel.out.strides[1:])
        target += values


def _attend(kernel: AttendKernel, buffers: Buffers) -> None:
    m, n, e, f = kernel.m, kernel.n, kernel.e, kernel.f
    pair, row = (m, n), (m,)
    reads = [(m, e), (n, e), (n, f), pair, pair, (m, f), row, row, row]
    writes = reads[:3] if kernel.backward else [(m, f), row, row]

    def whole(access: Access, shape: tuple[int, ...]) -> np.ndarray:
        return walked(buffers(access.slot), access.offset, kernel.batch + shape, access.strides)

    given = [None if a is None else whole(a, shape) for a, shape in zip(kernel.reads, reads)]
    targets = [whole(a, shape) for a, shape in zip(kernel.writes, writes)]
    run: Callable[..., Any] = attention_grad if kernel.backward else attention
    for at in np.ndindex(*kernel.batch):
        results = run(kernel, *[None if x is None else np.ascontiguousarray(x[at]) for x in given])
        for target, values in zip(targets, results, strict=True):
            target[at] = values


_RUNNERS: dict[type, Callable[[Any, Buffers], None]] = {
    LoopKernel: _loop,
    GemmKernel: _gemm,
    ScatterKernel: _scatter,
    AttendKernel: _attend,
}


def run_kernel(kernel: Kernel, buffers: Buffers) -> None:
    """One kernel over flat buffers; IndexOutOfRange where it is a check that finds something."""
    with np.errstate(all="ignore"):
        _RUNNERS[type(kernel)](kernel, buffers)
