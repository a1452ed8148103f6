"""Eager kernels: one callable per op, parameters and input avals.

Invariant: small and large calls, contiguous and strided ones run code made from the same program in
the same order of operations, so the bits of a result depend on the values of the inputs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ....core import dtypes as dt
from ....core.aval import Aval, aval
from ....core.errors import BackendError, IndexOutOfRange
from ....core.floating import plain_floats
from ....core.shapes import broadcast_shapes, broadcast_strides, contiguous_strides
from ....ir.contract import Contraction
from ....ir.op import Op
from ....ir.scalar.compose import check_program, op_program
from ....ir.scalar.program import Program
from ...attend import attend_kernel
from ...plan import Access, AttendKernel, LoopKernel, ScatterKernel
from ...plan import Kernel as AnyKernel
from ...product import kernel_of
from .. import kernels
from ..machine import alloc
from ..machine.pool import pool
from ..python.caller import make_caller
from . import ufunc
from .views import place, view

__all__ = ["eager", "SMALL"]

SMALL = 1 << 16  # bytes of all operands up to which a loop stays on its thread and keeps the GIL
SMALL_PRODUCT = 1 << 18  # multiplications up to which a product does
_STRIDES_LIMIT = 64

Ints = tuple[int, ...]
Kernel = Callable[..., Any]


def eager(op: Op, params: dict[str, Any], ins: Sequence[Aval], outs: Sequence[Aval]) -> Kernel:
    """The function (*arrays) -> array, or tuple of arrays when the op has several outputs."""
    return _KINDS[op.kind](op, params, tuple(ins), tuple(outs))


# ---- kinds that are native kernels
class NativeOp:
    """An op as native kernels over (inputs, outputs): callers for given strides of the inputs."""

    small = True  # stays on its thread and keeps the GIL
    gathers: tuple[int, ...] = ()  # inputs that must be contiguous

    def __init__(
        self, op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]
    ) -> None:
        self.op, self.params, self.ins, self.outs = op, params, ins, outs
        self.table: dict[Any, tuple[Kernel, int]] = {}

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        """What to run for inputs with these strides (in elements)."""
        raise NotImplementedError

    def other_strides(self) -> Kernel:
        """What serves small calls whose inputs are not all contiguous."""
        return self.strided

    def caller(self) -> Kernel:
        """The function for every call; arguments with other strides take `strided`."""
        n = len(self.ins)
        steps, temp = kernels.steps(
            self.kernels([contiguous_strides(a.shape) for a in self.ins]), n + len(self.outs)
        )
        if self.small:
            return make_caller(
                steps, n, self.outs, temp=temp, contiguous=True, fallback=self.other_strides()
            )
        run = make_caller(
            steps,
            n + len(self.outs) + bool(temp),
            result=n,
            contiguous=True,
            fallback=self.strided,
            shared=pool(),
        )
        return _with_outputs(run, self.outs, temp, n)

    def strided(self, *args: np.ndarray) -> Any:
        """A call whose inputs are not all contiguous (or a failed one, to raise its error); large
        calls pass their outputs after the inputs."""
        n = len(self.ins)
        if len(args) < n or n < len(args) < n + len(self.outs):
            raise TypeError(f"{self.op.name} takes {n} arrays, not {len(args)}")
        xs = [self.fit(i, x) for i, x in enumerate(args[:n])]
        key = tuple([x.strides for x in xs])
        caller, temp = self.table.get(key) or self._prepare(key, xs)
        outs: tuple[np.ndarray, ...] = args[n : n + len(self.outs)] or tuple(
            [alloc.empty(a) for a in self.outs]
        )
        work = (alloc.empty(_bytes(temp)),) if temp else ()
        if caller(*xs, *outs, *work) is None:
            raise self._failure()
        return outs[0] if len(outs) == 1 else outs

    def fit(self, i: int, x: np.ndarray) -> np.ndarray:
        """Input i as the kernels can walk it."""
        return _fit(x, i in self.gathers)

    def _prepare(self, key: Any, xs: Sequence[np.ndarray]) -> tuple[Kernel, int]:
        n = len(xs) + len(self.outs)
        steps, temp = kernels.steps(
            self.kernels([tuple(s // x.itemsize for s in x.strides) for x in xs]), n
        )
        caller = make_caller(
            steps, n + bool(temp), result=len(xs), shared=None if self.small else pool()
        )
        if len(self.table) >= _STRIDES_LIMIT:
            self.table.clear()
        made = self.table[key] = caller, temp
        return made

    def _failure(self) -> Exception:
        if self.op.check is None:
            return MemoryError(f"{self.op.name}: no memory for the work of a thread")
        text = self.op.check_message
        return IndexOutOfRange(
            text(self.ins, self.params) if text else f"{self.op.name}: an index is out of range"
        )


class LoopOp(NativeOp):
    """Kinds map and row: one loop kernel, after a check where the op has one."""

    def __init__(
        self, op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]
    ) -> None:
        super().__init__(op, params, ins, outs)
        self.gathers = op.gathers
        self.program = op_program(op, ins, params, outs)
        self.check = check_program(op, ins, params) if op.check is not None else None
        row = op.kind == "row"
        self.group = tuple(params["axes"]) if row else None
        self.shape = broadcast_shapes(op.name, *[a.shape for a in ins]) if row else outs[0].shape
        self.small = (
            sum(a.nbytes for i, a in enumerate((*ins, *outs)) if i not in op.gathers) <= SMALL
        )

    def _reads(self, strides: Sequence[Ints], shape: Ints, used: set[int]) -> tuple[Access, ...]:
        """Operands of a kernel over `shape`; those it does not use stand still."""
        still = (0,) * len(shape)
        return tuple(
            Access(i, a.dtype, 0, (), True)
            if i in self.gathers
            else Access(
                i, a.dtype, 0, broadcast_strides(a.shape, st, shape) if i in used else still
            )
            for i, (a, st) in enumerate(zip(self.ins, strides))
        )

    def _write(self, slot: int, a: Aval) -> Access:
        steps = contiguous_strides(a.shape)
        if a.shape != self.shape:
            if self.group is None:
                raise BackendError(
                    f"{self.op.name}: outputs of shapes {self.shape} and {a.shape} in one loop"
                )
            start, stop = self.group
            tail = steps[stop:] if a.ndim == len(self.shape) else steps[start:]
            steps = steps[:start] + (0,) * (stop - start) + tail
        return Access(slot, a.dtype, 0, steps)

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        out: list[AnyKernel] = []
        n = len(self.ins)
        if self.check is not None:
            used = used_operands(self.check)
            shape = broadcast_shapes(self.op.name, *[self.ins[i].shape for i in sorted(used)])
            out.append(
                LoopKernel(
                    shape, None, self.check, self._reads(strides, shape, used), (), check=True
                )
            )
        writes = tuple(self._write(n + j, a) for j, a in enumerate(self.outs))
        reads = self._reads(strides, self.shape, set(range(n)))
        out.append(LoopKernel(self.shape, self.group, self.program, reads, writes))
        return out

    def other_strides(self) -> Kernel:
        """Elementwise ops: NumPy's loops over our code, which need no new code for new strides."""
        ins, outs = [a.dtype for a in self.ins], [a.dtype for a in self.outs]
        if (
            self.op.kind != "map"
            or self.check is not None
            or not ufunc.usable(self.program, ins, outs)
        ):
            return self.strided
        name, program = self.op.name, self.program
        made: list[Any] = []

        def run(*xs: np.ndarray) -> Any:
            if not made:
                made.append(ufunc.program_ufunc(name, program, ins, outs))
            got = made[0](*xs)
            if len(outs) == 1:
                return got if type(got) is np.ndarray else np.asarray(got)
            return tuple([np.asarray(g) for g in got])

        return run


class ContractOp(NativeOp):
    """Kind contract: one product, its bias and rounding in the epilogue."""

    def __init__(
        self, op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]
    ) -> None:
        super().__init__(op, params, ins, outs)
        if op.layout is None:
            raise BackendError(f"contract op {op.name} has no layout")
        c = self._contraction([contiguous_strides(a.shape) for a in ins])
        self.small = max(c.batch, 1) * c.m * c.n * max(c.k, 1) <= SMALL_PRODUCT

    def _contraction(self, strides: Sequence[Ints]) -> Contraction:
        return self.op.layout(self.ins, strides, (0,) * len(self.ins), **self.params)  # type: ignore[misc]

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        return [
            kernel_of(self._contraction(strides), [a.dtype for a in self.ins], self.outs[0].dtype)
        ]


class AttendOp(NativeOp):
    """Kind attend: rows must lie side by side, other layouts are copied."""

    def __init__(
        self, op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]
    ) -> None:
        super().__init__(op, params, ins, outs)
        k = self._kernel([contiguous_strides(a.shape) for a in ins])
        self.small = prod(k.batch) * k.m * k.n * (k.e + k.f) <= SMALL_PRODUCT

    def _kernel(self, strides: Sequence[Ints]) -> AttendKernel:
        every = [*strides, *(contiguous_strides(a.shape) for a in self.outs)]
        places = [(i, (0, s)) for i, s in enumerate(every)]
        return attend_kernel(self.op, self.params, (*self.ins, *self.outs), places)

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        return [self._kernel(strides)]

    def fit(self, i: int, x: np.ndarray) -> np.ndarray:
        apart = x.ndim and x.shape[-1] != 1 and x.strides[-1] != x.itemsize
        return _fit(x, bool(apart))


def used_operands(program: Program | None) -> set[int]:
    """Numbers of the operands that a program reads."""
    return {i.attr for i in program.instrs if i.prim in ("arg", "load")} if program else set()


def _fit(x: np.ndarray, gathered: bool) -> np.ndarray:
    """x, or a contiguous copy where a kernel cannot walk it."""
    if gathered or any(s % x.itemsize for s in x.strides):
        return np.ascontiguousarray(x)
    return x


def _bytes(n: int) -> Aval:
    return aval((n,), dt.uint8)


def _with_outputs(run: Kernel, outs: Sequence[Aval], temp: int, n: int) -> Kernel:
    """A function that makes the outputs (and the workspace) and passes them after the inputs."""
    makers = [alloc.maker(a) for a in outs]
    workspace = alloc.maker(_bytes(temp))
    if len(makers) == 1 and not temp:
        make = makers[0]
        if n == 1:
            return lambda x: run(x, make())
        if n == 2:
            return lambda x, y: run(x, y, make())
        return lambda *xs: run(*xs, make())

    def call(*xs: np.ndarray) -> Any:
        fresh = [m() for m in makers]
        if temp:
            run(*xs, *fresh, workspace())
        else:
            run(*xs, *fresh)
        return tuple(fresh) if len(fresh) > 1 else fresh[0]

    return call


def _loop(op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]) -> Kernel:
    return LoopOp(op, params, ins, outs).caller()


def _contract(
    op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]
) -> Kernel:
    return ContractOp(op, params, ins, outs).caller()


def _attend(
    op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]
) -> Kernel:
    return AttendOp(op, params, ins, outs).caller()


# ---- kind host
def _host(op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]) -> Kernel:
    function = op.body
    if function is None:
        raise BackendError(f"host op {op.name} has no function")

    def call(*xs: np.ndarray) -> Any:
        with plain_floats():
            got = function(*xs, **params)
        results = got if isinstance(got, (tuple, list)) else (got,)
        arrays = tuple([np.asarray(r, a.dtype) for r, a in zip(results, outs)])
        return arrays[0] if len(outs) == 1 else arrays

    return call


# ---- kind scatter
def _scatter(
    op: Op, params: dict[str, Any], ins: tuple[Aval, ...], outs: tuple[Aval, ...]
) -> Kernel:
    """Inputs (index[n], update[n, inner]) -> zeros[rows, inner] with the updates added."""
    index, update, out = ins[0], ins[1], outs[0]
    inner = out.shape[1]
    kernel = ScatterKernel(
        index.size,
        inner,
        Access(2, out.dtype, 0, (inner, 1)),
        Access(0, index.dtype, 0, (1,)),
        Access(1, update.dtype, 0, (inner, 1)),
    )
    small = update.nbytes <= SMALL
    run = make_caller(kernels.steps([kernel], 3)[0], 3, result=2, shared=None if small else pool())
    make, straight = alloc.maker(out), np.ascontiguousarray

    def call(i: np.ndarray, u: np.ndarray) -> np.ndarray:
        y = make()
        y.fill(0)
        return run(straight(i), straight(u), y)

    return call


_KINDS: dict[str, Callable[..., Kernel]] = {
    "map": _loop,
    "row": _loop,
    "view": view,
    "place": place,
    "contract": _contract,
    "attend": _attend,
    "scatter": _scatter,
    "host": _host,
}
