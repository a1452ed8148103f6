"""What each kernel of a plan costs: every kernel timed by itself while the whole plan runs, on real
data.

Invariant: kernels run in plan order over the buffers of a normal run, so caches are as warm as in a
replay; bytes and operations are counted from the plan, not measured.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from math import prod
from time import perf_counter_ns
from typing import Any

from ...ir.scalar.program import PRIMS, Program
from ..api import KernelTime
from ..plan import (
    Access,
    AttendKernel,
    GemmKernel,
    HostStep,
    Kernel,
    LoopKernel,
    Operand,
    Plan,
    ScatterKernel,
)
from .machine.pool import get_num_threads, pool

__all__ = ["Timer", "run_timed", "summary"]


def _span(sizes: Sequence[int], a: Access, slots: Any) -> int:
    """Bytes of memory that an access touches."""
    if a.gather:
        touched = min(prod(sizes), slots[a.slot].aval.size)
    else:
        touched = prod(n for n, s in zip(sizes, a.strides) if s)
    return touched * a.dtype.itemsize


def _factor(o: Operand) -> int:
    return o.dtype.itemsize * prod(
        n for d in (o.batch, o.rows, o.cols) for n, s in zip(d.sizes, d.strides) if s
    )


def _axes(sizes: Sequence[int], a: Access) -> frozenset[int]:
    """The axes along which an access moves."""
    if a.gather:
        return frozenset()
    return frozenset(i for i, (n, s) in enumerate(zip(sizes, a.strides)) if s and n > 1)


def operations(
    program: Program,
    reads: Sequence[frozenset[int]],
    sizes: Sequence[int],
    group: tuple[int, int] | None,
) -> int:
    """Arithmetic operations of a program over a space: each counts once per turn of the innermost
    loop along which it changes, what follows a reduction outside of the axes reduced.

    `reads`: the axes along which each operand changes.

    >>> from hybrid.ir.scalar.program import Builder
    >>> s = Builder()
    >>> x, y = s.arg("f32"), s.arg("f32")
    >>> mean = s.rsum(x * y) / s.rlen("f32")
    >>> operations(s.program(mean), [frozenset((0, 1)), frozenset((1,))], (10, 300), (1, 2))
    6010
    """
    inner = frozenset(range(*group)) if group is not None else frozenset[int]()
    every = frozenset(i for i, n in enumerate(sizes) if n > 1)
    axes: list[frozenset[int]] = []  # by instruction: those along which it changes
    late: list[bool] = []  # and whether it follows a reduction
    total = 0
    for ins in program.instrs:
        moves = frozenset[int]().union(*(axes[a] for a in ins.args))
        after = any(late[a] for a in ins.args)
        if ins.prim == "arg":
            moves = reads[ins.attr]
        elif ins.prim in ("index", "coord"):
            moves = every if ins.prim == "index" else every & {ins.attr}
        if PRIMS[ins.prim].reduces:
            runs, moves, after = moves | inner, moves - inner, True
        else:
            runs = moves
        skipped = inner if after and not runs & inner else frozenset[int]()
        last = max(runs, default=-1)
        total += PRIMS[ins.prim].ops * prod(sizes[i] for i in range(last + 1) if i not in skipped)
        axes.append(moves)
        late.append(after)
    return total


def _loop(k: LoopKernel, slots: Any) -> tuple[str, str, int, int]:
    nbytes = sum(_span(k.shape, a, slots) for a in (*k.reads, *k.writes))
    work = operations(k.program, [_axes(k.shape, a) for a in k.reads], k.shape, k.group)
    return _loop_kind(k), "x".join(map(str, k.shape)) or "1", nbytes, work


def _loop_kind(k: LoopKernel) -> str:
    if k.check:
        return "check"
    if k.group is None:
        return "map"
    return "row" if k.group[1] == len(k.shape) else "column"


def _gemm(k: GemmKernel, slots: Any) -> tuple[str, str, int, int]:
    batch, out = f"{k.batch}x " if k.batch > 1 else "", k.outs[0]
    sizes = [n for d in (out.batch, out.rows, out.cols) for n in d.sizes]
    after = sum(PRIMS[i.prim].ops > 0 for i in k.epilogue.instrs) if k.epilogue else 0
    text = (
        f"{batch}{k.m}x{k.k} @ {k.k}x{k.n}"
        + (f" +{after}" if after else "")
        + (f" -> {len(k.outs)}" if len(k.outs) > 1 else "")
    )
    factors = (k.m * k.k * k.a.dtype.itemsize + k.k * k.n * k.b.dtype.itemsize) * k.batch
    nbytes = (
        factors + sum(_factor(o) for o in k.outs) + sum(_span(sizes, a, slots) for a in k.reads)
    )
    work = 2 * k.batch * k.m * k.n * k.k
    if k.epilogue is not None:  # argument 0 is the sum, one per element of the result
        reads = [frozenset(range(len(sizes))), *(_axes(sizes, a) for a in k.reads)]
        work += operations(k.epilogue, reads, sizes, None)
    return "product", text, nbytes, work


def _attend(k: AttendKernel, slots: Any) -> tuple[str, str, int, int]:
    batch = prod(k.batch)
    pairs = batch * (sum(min(i + 1, k.n) for i in range(k.m)) if k.causal else k.m * k.n)
    inner: list[tuple[int, ...]] = [(k.m, k.e), (k.n, k.e), (k.n, k.f), (k.m, k.n), (k.m, k.n)]
    inner += [(k.m, k.f), (k.m,), (k.m,), (k.m,)]
    sizes: list[tuple[int, ...]] = [(k.m, k.f), (k.m,), (k.m,)]
    if k.backward:
        sizes = [(k.m, k.e), (k.n, k.e), (k.n, k.f)]
    seen = [(a, s) for a, s in zip(k.reads, inner) if a is not None]
    nbytes = sum(_span((*k.batch, *s), a, slots) for a, s in [*seen, *zip(k.writes, sizes)])
    products = 3 * k.e + 2 * k.f if k.backward else k.e + k.f
    work = sum(PRIMS[i.prim].ops for i in k.weight.instrs)
    text = (f"{batch}x " if batch > 1 else "") + f"{k.m}x{k.n} of {k.e}"
    return "attend", text, nbytes, pairs * (2 * products + work)


def summary(k: Kernel, slots: Any) -> tuple[str, str, int, int]:
    """(kind, shape, bytes, operations) of a kernel."""
    if isinstance(k, LoopKernel):
        return _loop(k, slots)
    if isinstance(k, GemmKernel):
        return _gemm(k, slots)
    if isinstance(k, ScatterKernel):
        n = k.count * k.inner
        return (
            "scatter",
            f"{k.count}x{k.inner}",
            3 * n * k.out.dtype.itemsize + k.count * k.index.dtype.itemsize,
            n,
        )
    if isinstance(k, AttendKernel):
        return _attend(k, slots)
    sizes = sum(slots[s].aval.size * slots[s].aval.dtype.itemsize for s in (*k.inputs, *k.outputs))
    return "host", getattr(k.function, "__name__", "call"), sizes, 0


class Timer:
    """Least time of every kernel over runs of a plan; `time(key, call)` runs and times one."""

    def __init__(self) -> None:
        self.least: dict[tuple[int, int], int] = {}
        self.empty = 0

    def calibrate(self) -> None:
        """What timing nothing costs."""
        p, failed, none = pool(), ctypes.c_int64(0), (ctypes.c_uint64 * 1)()
        self.empty = min(
            self._ns(lambda: p.plan(p.ctl, none, 0, none, 0, ctypes.byref(failed)))[0]
            for _ in range(200)
        )

    def _ns(self, call: Callable[[], Any]) -> tuple[int, Any]:
        start = perf_counter_ns()
        got = call()
        return perf_counter_ns() - start, got

    def time(self, key: tuple[int, int], call: Callable[[], Any]) -> Any:
        """Run one piece; key: (kernel of the plan, piece)."""
        ns, got = self._ns(call)
        self.least[key] = min(self.least.get(key, 1 << 62), ns)
        return got

    def rows(self, plan: Plan, steps: dict[int, list[Any]]) -> list[KernelTime]:
        """One row per kernel of the plan, in plan order; `steps`: its native steps."""
        total: dict[int, int] = {}
        for (kernel, _), ns in self.least.items():
            total[kernel] = total.get(kernel, 0) + max(ns - self.empty, 1)
        whole = sum(total.values()) or 1
        return [
            self._row(plan, i, total.get(i, 0), whole, steps.get(i, []))
            for i in range(len(plan.steps))
        ]

    def _row(self, plan: Plan, i: int, ns: int, whole: int, steps: list[Any]) -> KernelTime:
        k = plan.steps[i]
        kind, shape, nbytes, ops = summary(k, plan.slots)
        items = max((s.items for s in steps), default=1)
        chunks = max((-(-s.items // max(s.grain, 1)) for s in steps), default=1)
        threads = 1 if isinstance(k, HostStep) else max(1, min(get_num_threads(), chunks))
        return KernelTime(
            i,
            kind,
            shape,
            ns * 1e-9,
            ns / whole,
            nbytes,
            ops,
            items,
            chunks,
            threads,
            plan.sites[i],
        )


def run_timed(timer: Timer, segment: Any, bufs: Any) -> tuple[int, int]:
    """The steps of a segment one by one; (0, 0), or the kernel that failed and its status."""
    p, failed = pool(), ctypes.c_int64(0)
    seen: dict[int, int] = {}
    base = ctypes.addressof(segment.table)
    for j, owner in enumerate(segment.owners):
        piece = seen[owner] = seen.get(owner, -1) + 1
        step = ctypes.c_void_p(base + 48 * j)

        def call(step: Any = step, need: int = segment.steps[j].scratch) -> int:
            return p.plan(p.ctl, step, 1, bufs, need, ctypes.byref(failed))

        status = timer.time((owner, piece), call)
        if status:
            return owner, status
    return 0, 0
