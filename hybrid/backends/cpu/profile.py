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
from ..emit.programs.detours import skipped
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
from .machine.pool import pool

__all__ = ["Timer", "run_timed", "summary"]


def _span(sizes: Sequence[int], access: Access, slots: Any) -> int:
    """Bytes of memory that an access touches."""
    if access.gather:
        touched: int = min(prod(sizes), slots[access.slot].aval.size)
    else:
        touched = prod(n for n, s in zip(sizes, access.strides) if s)
    return touched * access.dtype.itemsize


def _factor(operand: Operand) -> int:
    return operand.dtype.itemsize * prod(
        n
        for d in (operand.batch, operand.rows, operand.cols)
        for n, s in zip(d.sizes, d.strides)
        if s
    )


def _axes(sizes: Sequence[int], access: Access) -> frozenset[int]:
    """The axes along which an access moves."""
    if access.gather:
        return frozenset()
    return frozenset(i for i, (n, s) in enumerate(zip(sizes, access.strides)) if s and n > 1)


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
    reduced: list[bool] = []  # and whether it follows a reduction
    total, seldom = 0, skipped(program, range(len(program.instrs)))
    for number, instruction in enumerate(program.instrs):
        primitive = PRIMS[instruction.prim]
        moves = frozenset[int]().union(*(axes[a] for a in instruction.args))
        after = any(reduced[a] for a in instruction.args)
        if instruction.prim == "arg":
            moves = reads[instruction.attr]
        elif instruction.prim in ("index", "coord"):
            moves = every if instruction.prim == "index" else every & {instruction.attr}
        runs = moves
        if primitive.reduces:
            runs, moves, after = moves | inner, moves - inner, True
        unmoved = inner if after and not runs & inner else frozenset[int]()
        last = max(runs, default=-1)
        if number not in seldom:
            total += primitive.ops * prod(sizes[i] for i in range(last + 1) if i not in unmoved)
        axes.append(moves)
        reduced.append(after)
    return total


def _loop(kernel: LoopKernel, slots: Any) -> tuple[str, str, int, int]:
    nbytes = sum(_span(kernel.shape, a, slots) for a in (*kernel.reads, *kernel.writes))
    total = operations(
        kernel.program, [_axes(kernel.shape, a) for a in kernel.reads], kernel.shape, kernel.group
    )
    return _loop_kind(kernel), "x".join(map(str, kernel.shape)) or "1", nbytes, total


def _loop_kind(kernel: LoopKernel) -> str:
    if kernel.check:
        return "check"
    if kernel.group is None:
        return "map"
    return "row" if kernel.group[1] == len(kernel.shape) else "column"


def _gemm(kernel: GemmKernel, slots: Any) -> tuple[str, str, int, int]:
    batch, written = f"{kernel.batch}x " if kernel.batch > 1 else "", kernel.outs[0]
    sizes = [n for d in (written.batch, written.rows, written.cols) for n in d.sizes]
    after = sum(PRIMS[i.prim].ops > 0 for i in kernel.epilogue.instrs) if kernel.epilogue else 0
    shape = (
        f"{batch}{kernel.m}x{kernel.k} @ {kernel.k}x{kernel.n}"
        + (f" +{after}" if after else "")
        + (f" -> {len(kernel.outs)}" if len(kernel.outs) > 1 else "")
    )
    factors = (
        kernel.m * kernel.k * kernel.a.dtype.itemsize
        + kernel.k * kernel.n * kernel.b.dtype.itemsize
    ) * kernel.batch
    nbytes = (
        factors
        + sum(_factor(o) for o in kernel.outs)
        + sum(_span(sizes, a, slots) for a in kernel.reads)
    )
    total = 2 * kernel.batch * kernel.m * kernel.n * kernel.k
    if kernel.epilogue is not None:  # argument 0 is the sum, one per element of the result
        reads = [frozenset(range(len(sizes))), *(_axes(sizes, a) for a in kernel.reads)]
        total += operations(kernel.epilogue, reads, sizes, None)
    return "product", shape, nbytes, total


def _attend(kernel: AttendKernel, slots: Any) -> tuple[str, str, int, int]:
    batch = prod(kernel.batch)
    pairs = batch * (
        sum(min(i + 1, kernel.n) for i in range(kernel.m)) if kernel.causal else kernel.m * kernel.n
    )
    inner: list[tuple[int, ...]] = [
        (kernel.m, kernel.e),
        (kernel.n, kernel.e),
        (kernel.n, kernel.f),
        (kernel.m, kernel.n),
        (kernel.m, kernel.n),
    ]
    inner += [(kernel.m, kernel.f), (kernel.m,), (kernel.m,), (kernel.m,)]
    sizes: list[tuple[int, ...]] = [(kernel.m, kernel.f), (kernel.m,), (kernel.m,)]
    if kernel.backward:
        sizes = [(kernel.m, kernel.e), (kernel.n, kernel.e), (kernel.n, kernel.f)]
    seen = [(a, s) for a, s in zip(kernel.reads, inner) if a is not None]
    nbytes = sum(
        _span((*kernel.batch, *s), a, slots) for a, s in [*seen, *zip(kernel.writes, sizes)]
    )
    products = 3 * kernel.e + 2 * kernel.f if kernel.backward else kernel.e + kernel.f
    weights = sum(PRIMS[i.prim].ops for i in kernel.weight.instrs)
    shape = (f"{batch}x " if batch > 1 else "") + f"{kernel.m}x{kernel.n} of {kernel.e}"
    return "attend", shape, nbytes, pairs * (2 * products + weights)


def summary(kernel: Kernel, slots: Any) -> tuple[str, str, int, int]:
    """(kind, shape, bytes, operations) of a kernel."""
    if isinstance(kernel, LoopKernel):
        return _loop(kernel, slots)
    if isinstance(kernel, GemmKernel):
        return _gemm(kernel, slots)
    if isinstance(kernel, ScatterKernel):
        updates = kernel.count * kernel.inner
        return (
            "scatter",
            f"{kernel.count}x{kernel.inner}",
            3 * updates * kernel.out.dtype.itemsize + kernel.count * kernel.index.dtype.itemsize,
            updates,
        )
    if isinstance(kernel, AttendKernel):
        return _attend(kernel, slots)
    sizes = sum(
        slots[s].aval.size * slots[s].aval.dtype.itemsize for s in (*kernel.inputs, *kernel.outputs)
    )
    if kernel.on_device:
        return kernel.kind, "x".join(map(str, kernel.avals[0].shape)) or "1", sizes, 0
    return "host", getattr(kernel.function, "__name__", "call"), sizes, 0


class Timer:
    """Least time of every kernel over runs of a plan; `time(piece_key, call)` times one."""

    def __init__(self) -> None:
        self.least: dict[tuple[int, int], int] = {}
        self.empty = 0

    def calibrate(self) -> None:
        """What timing nothing costs."""
        workers, failed, none = pool(), ctypes.c_int64(0), (ctypes.c_uint64 * 1)()
        self.empty = min(
            self._ns(lambda: workers.plan(workers.ctl, none, 0, none, 0, ctypes.byref(failed)))[0]
            for _ in range(200)
        )

    def _ns(self, call: Callable[[], Any]) -> tuple[int, Any]:
        start = perf_counter_ns()
        result = call()
        return perf_counter_ns() - start, result

    def time(self, piece_key: tuple[int, int], call: Callable[[], Any]) -> Any:
        """Run one piece; piece_key: (kernel of the plan, piece)."""
        elapsed, result = self._ns(call)
        self.least[piece_key] = min(self.least.get(piece_key, 1 << 62), elapsed)
        return result

    def rows(
        self, plan: Plan, steps: dict[int, list[Any]], gangs: dict[int, int]
    ) -> list[KernelTime]:
        """One row per kernel of the plan, in plan order; `steps`: its native steps; `gangs`: its
        gang."""
        total: dict[int, int] = {}
        for (kernel, _), elapsed in self.least.items():
            total[kernel] = total.get(kernel, 0) + max(elapsed - self.empty, 1)
        whole = sum(total.values()) or 1
        return [
            self._row(plan, i, total.get(i, 0), whole, steps.get(i, []))._replace(
                gang=gangs.get(i, 0)
            )
            for i in range(len(plan.steps))
        ]

    def _row(
        self, plan: Plan, number: int, elapsed: int, whole: int, steps: list[Any]
    ) -> KernelTime:
        kernel = plan.steps[number]
        kind, shape, nbytes, work = summary(kernel, plan.slots)
        items = max((s.items for s in steps), default=1)
        chunks = max((-(-s.items // max(s.grain, 1)) for s in steps), default=1)
        threads = 1 if isinstance(kernel, HostStep) else max(1, min(pool().running(), chunks))
        return KernelTime(
            number,
            kind,
            shape,
            elapsed * 1e-9,
            elapsed / whole,
            nbytes,
            work,
            items,
            chunks,
            threads,
            plan.sites[number],
        )


def run_timed(timer: Timer, segment: Any, bufs: Any) -> tuple[int, int]:
    """The steps of a segment one by one; (0, 0), or the kernel that failed and its status."""
    workers, failed = pool(), ctypes.c_int64(0)
    seen: dict[int, int] = {}
    table_start = ctypes.addressof(segment.table)
    for index, owner in enumerate(segment.owners):
        if segment.steps[index].members:
            continue  # a gang: its members follow
        piece = seen[owner] = seen.get(owner, -1) + 1
        step = ctypes.c_void_p(table_start + 48 * index)

        def call(step: Any = step, need: int = segment.steps[index].scratch) -> Any:
            return workers.plan(workers.ctl, step, 1, bufs, need, ctypes.byref(failed))

        status = timer.time((owner, piece), call)
        if status:
            return owner, status
    return 0, 0
