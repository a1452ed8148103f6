"""A slow interpreter of plans over NumPy arrays, and one-node evaluation with the same kernels.

Invariant: a fused plan and node-by-node evaluation use the same readers of scalar programs, so
their bits may be compared; buffers are filled with garbage first, so that a read before a write
shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from attend_numpy import attention, attention_grad
from program_numpy import run_program

from hybrid.backends.attend import attend_kernel
from hybrid.backends.plan import (
    Access,
    AttendKernel,
    GemmKernel,
    HostStep,
    LoopKernel,
    Operand,
    Plan,
    ScatterKernel,
)
from hybrid.core import dtypes as dt
from hybrid.core.errors import IndexOutOfRange
from hybrid.core.shapes import broadcast_shapes, contiguous_strides
from hybrid.ir.contract import accumulator
from hybrid.ir.graph.graph import Node
from hybrid.ir.scalar.compose import Composer, op_program
from hybrid.ir.scalar.program import TYPE, Instr, Program

__all__ = ["run_plan", "run_kernel", "node_kernel"]

Buffers = Callable[[int], np.ndarray]  # slot -> flat array of its dtype


def _raw(x: np.ndarray) -> np.ndarray:
    """Half values as their bit patterns, as programs take them."""
    return x.view(np.uint16) if dt.is_half(dt.canonical(x.dtype)) else x


def _at(buf: np.ndarray, offset: int, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    size = buf.itemsize
    if 0 in shape:
        return np.empty(tuple(shape), buf.dtype)
    lo = offset + sum(min(0, (d - 1) * s) for d, s in zip(shape, strides))
    hi = offset + sum(max(0, (d - 1) * s) for d, s in zip(shape, strides))
    assert 0 <= lo and hi < buf.size, f"elements {lo}..{hi} of a buffer of {buf.size}"
    return np.lib.stride_tricks.as_strided(
        buf[offset:], tuple(shape), tuple(s * size for s in strides)
    )


def _operand(a: Access, shape: Sequence[int], bufs: Buffers) -> np.ndarray:
    buf = bufs(a.slot)
    assert buf.dtype == a.dtype, f"slot {a.slot} holds {buf.dtype}, the kernel reads {a.dtype}"
    x = buf[a.offset :] if a.gather else _at(buf, a.offset, shape, a.strides)
    return np.array(_raw(x), order="C")


def _rows_last(x: np.ndarray, group: tuple[int, int]) -> np.ndarray:
    axes = [a for a in range(x.ndim) if not group[0] <= a < group[1]] + list(range(*group))
    y = np.transpose(x, axes)
    k = x.ndim - (group[1] - group[0])
    return y.reshape(y.shape[:k] + (prod(y.shape[k:]),))


def _rows_back(y: np.ndarray, shape: Sequence[int], group: tuple[int, int]) -> np.ndarray:
    rest = [a for a in range(len(shape)) if not group[0] <= a < group[1]]
    y = np.broadcast_to(y, tuple(shape[a] for a in rest) + (y.shape[-1],))
    inner = [shape[a] if y.shape[-1] != 1 else 1 for a in range(*group)]
    y = y.reshape([shape[a] for a in rest] + inner)
    return np.transpose(y, np.argsort(rest + list(range(*group))))


def _positions(program: Program, shape: tuple[int, ...]) -> tuple[Program, list[np.ndarray]]:
    """The program with its positions as further operands, for a space whose axes will be moved."""
    instrs, more = list(program.instrs), []
    for i, ins in enumerate(instrs):
        if ins.prim in ("index", "coord"):
            whole = (
                np.arange(prod(shape)).reshape(shape)
                if ins.prim == "index"
                else np.indices(shape)[ins.attr]
            )
            instrs[i] = Instr("arg", "i64", (), len(program.args) + len(more))
            more.append(whole)
    return program._replace(instrs=tuple(instrs), args=program.args + ("i64",) * len(more)), more


def _loop(k: LoopKernel, bufs: Buffers) -> None:
    args = [_operand(a, k.shape, bufs) for a in k.reads]
    space, program = k.shape, k.program
    if k.group is not None:
        program, more = _positions(program, k.shape)
        args = [x if a.gather else _rows_last(x, k.group) for a, x in zip(k.reads, args)]
        args += [_rows_last(x, k.group) for x in more]
        space = _rows_last(np.empty(k.shape, np.int8), k.group).shape
    outs = run_program(program, args, k.params, space)
    if k.check:
        if bool(np.any(outs[0])):
            raise IndexOutOfRange("check")
        return
    done = []
    for a, y in zip(k.writes, outs, strict=True):
        y = np.asarray(y)
        y = np.broadcast_to(y, np.broadcast_shapes(y.shape, (1,) * len(space)))
        if k.group is not None:
            y = _rows_back(y, k.shape, k.group)
        done.append((a, y))
    for a, y in done:
        once = range(*k.group) if k.group and not any(a.strides[slice(*k.group)]) else ()
        shape = tuple(1 if i in once and y.shape[i] == 1 else d for i, d in enumerate(k.shape))
        to = _at(bufs(a.slot), a.offset, shape, a.strides)
        _raw(to)[...] = np.broadcast_to(y, shape)


def _walk(o: Any, bufs: Buffers) -> np.ndarray:
    """An operand of a contraction as [batch, rows, cols]."""
    dims = (o.batch, o.rows, o.cols)
    sizes, strides = (
        sum((tuple(d.sizes) for d in dims), ()),
        sum((tuple(d.strides) for d in dims), ()),
    )
    return _at(bufs(o.slot), o.offset, sizes, strides)


def _chain(k: GemmKernel, bufs: Buffers) -> np.ndarray:
    with np.errstate(all="ignore"):
        a = _walk(k.a, bufs).astype(k.acc).reshape(k.batch, k.m, k.k)
        b = _walk(k.b, bufs).astype(k.acc).reshape(k.batch, k.k, k.n)
        total = np.zeros((k.batch, k.m, k.n), k.acc)
        for i in range(k.k):
            total = total + a[:, :, i : i + 1] * b[:, i : i + 1, :]
    return total


def _gemm(k: GemmKernel, bufs: Buffers) -> None:
    total = _chain(k, bufs)
    to = [_walk(o, bufs) for o in k.outs]
    shape = to[0].shape
    if k.epilogue is None:
        with np.errstate(all="ignore"):
            to[0][...] = total.reshape(shape).astype(k.outs[0].dtype)
        return
    args = [total.reshape(shape)] + [_operand(a, shape, bufs) for a in k.reads]
    outs = run_program(k.epilogue, args, k.params, shape)
    for t, y in zip(to, outs, strict=True):
        _raw(t)[...] = np.broadcast_to(y, shape)


def _scatter(k: ScatterKernel, bufs: Buffers) -> None:
    out, index, update = bufs(k.out.slot), bufs(k.index.slot), bufs(k.update.slot)
    for i in range(k.count):
        row = int(index[k.index.offset + i * k.index.strides[0]])
        at = k.out.offset + row * k.out.strides[0]
        for j in range(k.inner):
            out[at + j * k.out.strides[1]] += update[
                k.update.offset + i * k.update.strides[0] + j * k.update.strides[1]
            ]


def _attend(k: AttendKernel, bufs: Buffers) -> None:
    pair, row = (k.m, k.n), (k.m,)
    reads = [(k.m, k.e), (k.n, k.e), (k.n, k.f), pair, pair, (k.m, k.f), row, row, row]
    writes = reads[:3] if k.backward else [(k.m, k.f), row, row]
    ins = [
        None if a is None else _at(bufs(a.slot), a.offset, k.batch + s, a.strides)
        for a, s in zip(k.reads, reads)
    ]
    outs = [_at(bufs(a.slot), a.offset, k.batch + s, a.strides) for a, s in zip(k.writes, writes)]
    run = attention_grad if k.backward else attention
    for b in np.ndindex(*k.batch):
        got = run(k, *[None if x is None else np.ascontiguousarray(x[b]) for x in ins])
        for to, y in zip(outs, got, strict=True):
            to[b] = y


def run_kernel(kernel: Any, bufs: Buffers) -> None:
    """One kernel over flat buffers."""
    runners: dict[type, Callable[[Any, Buffers], None]] = {
        LoopKernel: _loop,
        GemmKernel: _gemm,
        ScatterKernel: _scatter,
        AttendKernel: _attend,
    }
    with np.errstate(all="ignore"):
        runners[type(kernel)](kernel, bufs)


def _memory(plan: Plan, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    arena = np.frombuffer(bytearray(b"\xa5" * (plan.arena_bytes + 64)), np.uint8)
    own = [np.ascontiguousarray(x).copy().reshape(-1) for x in inputs]
    out = []
    for s in plan.slots:
        if s.kind == "input" or (s.kind == "state" and s.in_place):
            out.append(own[s.index])
        elif s.kind == "const":
            out.append(np.ascontiguousarray(plan.consts[s.index]).reshape(-1))
        elif s.kind == "arena":
            assert s.index % 64 == 0
            out.append(arena[s.index : s.index + s.aval.nbytes].view(s.aval.dtype))
        else:
            out.append(
                np.frombuffer(bytearray(b"\x5a" * max(s.aval.nbytes, 1)), np.uint8)[
                    : s.aval.nbytes
                ].view(s.aval.dtype)
            )
    return out


def run_plan(
    plan: Plan,
    inputs: Sequence[np.ndarray],
    kernel_runner: Callable[[Any, Buffers], None] = run_kernel,
) -> list[np.ndarray]:
    """Outputs of a plan; kernels run one after the other."""
    bufs = _memory(plan, inputs)
    for step, message in zip(plan.steps, plan.messages):
        if isinstance(step, HostStep):
            got = step.function(*[bufs[s].reshape(plan.slots[s].aval.shape) for s in step.inputs])
            for s, x in zip(step.outputs, got if isinstance(got, tuple) else (got,), strict=True):
                bufs[s][...] = np.asarray(x, plan.slots[s].aval.dtype).reshape(-1)
            continue
        try:
            kernel_runner(step, bufs.__getitem__)
        except IndexOutOfRange:
            raise IndexOutOfRange(message) from None
    return [bufs[s].reshape(plan.slots[s].aval.shape) for s in plan.outputs]


# ---- one node alone
def _loop_node(n: Node, xs: list[np.ndarray], outs: list[np.ndarray]) -> None:
    avals, made = [v.aval for v in n.inputs], [v.aval for v in n.outputs]
    group = tuple(n.params["axes"]) if n.op.kind == "row" else None
    streams = [a.shape for i, a in enumerate(avals) if i not in n.op.gathers]
    shape = broadcast_shapes("", *streams) if group else made[0].shape
    reads = []
    for i, a in enumerate(avals):
        if i in n.op.gathers:
            reads.append(Access(i, a.dtype, 0, (), True))
        else:
            pad = (0,) * (len(shape) - a.ndim)
            st = pad + tuple(
                0 if d == 1 else s for d, s in zip(a.shape, contiguous_strides(a.shape))
            )
            reads.append(Access(i, a.dtype, 0, st))
    writes = []
    for i, a in enumerate(made):
        st = contiguous_strides(a.shape)
        if group and a.shape != shape:
            tail = st[group[1] :] if a.ndim == len(shape) else st[group[0] :]
            st = st[: group[0]] + (0,) * (group[1] - group[0]) + tail
        writes.append(Access(len(xs) + i, a.dtype, 0, st))
    flat = [x.reshape(-1) for x in xs + outs]
    if n.op.check is not None:
        c = Composer()
        bad = c.check(n.op, n.params, [c.arg(a.dtype) for a in avals])
        run_kernel(
            LoopKernel(shape, None, c.s.program(bad), tuple(reads), (), (), True), flat.__getitem__
        )
    program = op_program(n.op, avals, n.params, made)
    run_kernel(LoopKernel(shape, group, program, tuple(reads), tuple(writes)), flat.__getitem__)


def _place_node(n: Node, xs: list[np.ndarray], out: np.ndarray) -> None:
    based = n.op.has("base")
    out[...] = xs[0] if based else np.zeros((), out.dtype)
    boxes = n.op.layout(*[v.aval for v in n.inputs], **n.params)
    for x, (offset, shape, strides) in zip(xs[based:], boxes, strict=True):
        _at(out.reshape(-1), offset, shape, strides)[...] = x


def _contract_node(n: Node, xs: list[np.ndarray], out: np.ndarray) -> None:
    avals = [v.aval for v in n.inputs]
    c = n.op.layout(
        avals, [contiguous_strides(a.shape) for a in avals], [0] * len(avals), **n.params
    )
    flat = [x.reshape(-1) for x in xs] + [out.reshape(-1)]
    acc = accumulator(avals[c.a.operand].dtype)

    def operand(v: Any, slot: int, d: np.dtype) -> Operand:
        return Operand(slot, d, v.offset, v.batch, v.rows, v.cols)

    a, b = (operand(v, v.operand, avals[v.operand].dtype) for v in (c.a, c.b))
    k = GemmKernel(
        c.batch, c.m, c.n, c.k, a, b, (operand(c.out, len(xs), out.dtype),), acc, c.order
    )
    if c.bias is not None:
        e, bias = Composer(), avals[c.bias.operand].dtype
        total = e.arg(acc)
        total = total + e.s.convert(e.arg(bias), total.type)
        strides = c.bias.batch.strides + c.bias.rows.strides + c.bias.cols.strides
        value = total if dt.is_half(out.dtype) else e.s.convert(total, TYPE[out.dtype])
        k = k._replace(
            epilogue=e.finish([value], [out.dtype]),
            reads=(Access(c.bias.operand, bias, c.bias.offset, strides),),
        )
    run_kernel(k, flat.__getitem__)


def node_kernel(n: Node, xs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of one node by itself; the kernel function for ir.door.evaluate."""
    xs = [np.ascontiguousarray(x).reshape(v.aval.shape) for x, v in zip(xs, n.inputs)]
    outs = [np.zeros(v.aval.shape, v.aval.dtype) for v in n.outputs]
    kind = n.op.kind
    if kind == "view":
        a = n.inputs[0].aval
        offset, strides = n.op.layout(a, contiguous_strides(a.shape), 0, **n.params)
        outs = [_at(xs[0].reshape(-1), offset, n.outputs[0].aval.shape, strides).copy()]
    elif kind == "place":
        _place_node(n, xs, outs[0])
    elif kind == "contract":
        _contract_node(n, xs, outs[0])
    elif kind == "attend":
        avals = [v.aval for v in (*n.inputs, *n.outputs)]
        places = [(i, (0, contiguous_strides(a.shape))) for i, a in enumerate(avals)]
        flat = [x.reshape(-1) for x in (*xs, *outs)]
        run_kernel(attend_kernel(n.op, n.params, avals, places), flat.__getitem__)
    elif kind == "scatter":
        inner = outs[0].shape[1]
        k = ScatterKernel(
            xs[0].size,
            inner,
            Access(2, outs[0].dtype, 0, (inner, 1)),
            Access(0, xs[0].dtype, 0, (1,)),
            Access(1, xs[1].dtype, 0, (inner, 1)),
        )
        run_kernel(k, [xs[0].reshape(-1), xs[1].reshape(-1), outs[0].reshape(-1)].__getitem__)
    elif kind == "host":
        got = n.op.body(*xs, **n.params)
        outs = [
            np.asarray(g, v.aval.dtype)
            for g, v in zip(got if isinstance(got, tuple) else (got,), n.outputs)
        ]
    else:
        _loop_node(n, xs, outs)
    return outs
