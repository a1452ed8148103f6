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


def eager(
    op: Op, params: dict[str, Any], inputs: Sequence[Aval], outputs: Sequence[Aval]
) -> Kernel:
    """The function (*arrays) -> array, or tuple of arrays when the op has several outputs."""
    return _KINDS[op.kind](op, params, tuple(inputs), tuple(outputs))


# ---- kinds that are native kernels
class NativeOp:
    """An op as native kernels over (inputs, outputs): callers for given strides of the inputs."""

    small = True  # stays on its thread and keeps the GIL
    gathers: tuple[int, ...] = ()  # inputs that must be contiguous

    def __init__(
        self, op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
    ) -> None:
        self.op, self.params, self.ins, self.outs = op, params, inputs, outputs
        self.table: dict[Any, tuple[Kernel, int]] = {}

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        """What to run for inputs with these strides (in elements)."""
        raise NotImplementedError

    def other_strides(self) -> Kernel:
        """What serves small calls whose inputs are not all contiguous."""
        return self.strided

    def caller(self) -> Kernel:
        """The function for every call; arguments with other strides take `strided`."""
        count = len(self.ins)
        steps, workspace = kernels.steps(
            self.kernels([contiguous_strides(a.shape) for a in self.ins]), count + len(self.outs)
        )
        if self.small:
            return make_caller(
                steps,
                count,
                self.outs,
                temp=workspace,
                contiguous=True,
                fallback=self.other_strides(),
            )
        launcher = make_caller(
            steps,
            count + len(self.outs) + bool(workspace),
            result=count,
            contiguous=True,
            fallback=self.strided,
            shared=pool(),
        )
        return _with_outputs(launcher, self.outs, workspace, count)

    def strided(self, *given: np.ndarray) -> Any:
        """A call whose inputs are not all contiguous (or a failed one, to raise its error); large
        calls pass their outputs after the inputs."""
        count = len(self.ins)
        if len(given) < count or count < len(given) < count + len(self.outs):
            raise TypeError(f"{self.op.name} takes {count} arrays, not {len(given)}")
        arrays = [self.fit(i, x) for i, x in enumerate(given[:count])]
        strides = tuple([x.strides for x in arrays])
        caller, workspace = self.table.get(strides) or self._prepare(strides, arrays)
        results: tuple[np.ndarray, ...] = given[count : count + len(self.outs)] or tuple(
            [alloc.empty(a) for a in self.outs]
        )
        work = (alloc.empty(_bytes(workspace)),) if workspace else ()
        if caller(*arrays, *results, *work) is None:
            raise self._failure()
        return results[0] if len(results) == 1 else results

    def fit(self, number: int, array: np.ndarray) -> np.ndarray:
        """Input i as the kernels can walk it."""
        return _fit(array, number in self.gathers)

    def _prepare(self, strides: Any, arrays: Sequence[np.ndarray]) -> tuple[Kernel, int]:
        count = len(arrays) + len(self.outs)
        steps, workspace = kernels.steps(
            self.kernels([tuple(s // x.itemsize for s in x.strides) for x in arrays]), count
        )
        caller = make_caller(
            steps,
            count + bool(workspace),
            result=len(arrays),
            shared=None if self.small else pool(),
        )
        if len(self.table) >= _STRIDES_LIMIT:
            self.table.clear()
        prepared = self.table[strides] = caller, workspace
        return prepared

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
        self, op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
    ) -> None:
        super().__init__(op, params, inputs, outputs)
        self.gathers = op.gathers
        self.program = op_program(op, inputs, params, outputs)
        self.check = check_program(op, inputs, params) if op.check is not None else None
        row = op.kind == "row"
        self.group = tuple(params["axes"]) if row else None
        self.shape = (
            broadcast_shapes(op.name, *[a.shape for a in inputs]) if row else outputs[0].shape
        )
        self.small = (
            sum(a.nbytes for i, a in enumerate((*inputs, *outputs)) if i not in op.gathers) <= SMALL
        )

    def _reads(self, strides: Sequence[Ints], shape: Ints, used: set[int]) -> tuple[Access, ...]:
        """Operands of a kernel over `shape`; those it does not use stand still."""

        def read(number: int, operand: Aval, steps: Ints) -> Access:
            if number in self.gathers:
                return Access(number, operand.dtype, 0, (), True)
            walk = (0,) * len(shape)
            if number in used:
                walk = broadcast_strides(operand.shape, steps, shape)
            return Access(number, operand.dtype, 0, walk)

        return tuple(
            read(i, operand, steps) for i, (operand, steps) in enumerate(zip(self.ins, strides))
        )

    def _write(self, slot: int, written: Aval) -> Access:
        steps = contiguous_strides(written.shape)
        if written.shape != self.shape:
            if self.group is None:
                shapes = f"{self.shape} and {written.shape}"
                raise BackendError(f"{self.op.name}: outputs of shapes {shapes} in one loop")
            start, stop = self.group
            tail = steps[stop:] if written.ndim == len(self.shape) else steps[start:]
            steps = steps[:start] + (0,) * (stop - start) + tail
        return Access(slot, written.dtype, 0, steps)

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        loops: list[AnyKernel] = []
        count = len(self.ins)
        if self.check is not None:
            used = used_operands(self.check)
            shape = broadcast_shapes(self.op.name, *[self.ins[i].shape for i in sorted(used)])
            loops.append(
                LoopKernel(
                    shape, None, self.check, self._reads(strides, shape, used), (), check=True
                )
            )
        writes = tuple(self._write(count + j, a) for j, a in enumerate(self.outs))
        reads = self._reads(strides, self.shape, set(range(count)))
        loops.append(LoopKernel(self.shape, self.group, self.program, reads, writes))
        return loops

    def other_strides(self) -> Kernel:
        """Elementwise ops: NumPy's loops over our code, which need no new code for new strides."""
        read_types, write_types = [a.dtype for a in self.ins], [a.dtype for a in self.outs]
        if (
            self.op.kind != "map"
            or self.check is not None
            or not ufunc.usable(self.program, read_types, write_types)
        ):
            return self.strided
        name, program = self.op.name, self.program
        ufuncs: list[Any] = []

        def run_ufunc(*arrays: np.ndarray) -> Any:
            if not ufuncs:
                ufuncs.append(ufunc.program_ufunc(name, program, read_types, write_types))
            results = ufuncs[0](*arrays)
            if len(write_types) == 1:
                return results if type(results) is np.ndarray else np.asarray(results)
            return tuple([np.asarray(g) for g in results])

        return run_ufunc


class ContractOp(NativeOp):
    """Kind contract: one product, its bias and rounding in the epilogue."""

    def __init__(
        self, op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
    ) -> None:
        super().__init__(op, params, inputs, outputs)
        if op.layout is None:
            raise BackendError(f"contract op {op.name} has no layout")
        product = self._contraction([contiguous_strides(a.shape) for a in inputs])
        self.small = (
            max(product.batch, 1) * product.m * product.n * max(product.k, 1) <= SMALL_PRODUCT
        )

    def _contraction(self, strides: Sequence[Ints]) -> Contraction:
        return self.op.layout(self.ins, strides, (0,) * len(self.ins), **self.params)  # type: ignore[misc, no-any-return]

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        return [
            kernel_of(self._contraction(strides), [a.dtype for a in self.ins], self.outs[0].dtype)
        ]


class AttendOp(NativeOp):
    """Kind attend: rows must lie side by side, other layouts are copied."""

    def __init__(
        self, op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
    ) -> None:
        super().__init__(op, params, inputs, outputs)
        kernel = self._kernel([contiguous_strides(a.shape) for a in inputs])
        self.small = (
            prod(kernel.batch) * kernel.m * kernel.n * (kernel.e + kernel.f) <= SMALL_PRODUCT
        )

    def _kernel(self, strides: Sequence[Ints]) -> AttendKernel:
        every = [*strides, *(contiguous_strides(a.shape) for a in self.outs)]
        places = [(i, (0, s)) for i, s in enumerate(every)]
        return attend_kernel(self.op, self.params, (*self.ins, *self.outs), places)

    def kernels(self, strides: Sequence[Ints]) -> list[AnyKernel]:
        return [self._kernel(strides)]

    def fit(self, number: int, array: np.ndarray) -> np.ndarray:
        apart = array.ndim and array.shape[-1] != 1 and array.strides[-1] != array.itemsize
        return _fit(array, bool(apart))


def used_operands(program: Program | None) -> set[int]:
    """Numbers of the operands that a program reads."""
    return {i.attr for i in program.instrs if i.prim in ("arg", "load")} if program else set()


def _fit(array: np.ndarray, gathered: bool) -> np.ndarray:
    """The array, or a contiguous copy where a kernel cannot walk it."""
    if gathered or any(s % array.itemsize for s in array.strides):
        return np.ascontiguousarray(array)
    return array


def _bytes(size: int) -> Aval:
    return aval((size,), dt.uint8)


def _with_outputs(launch: Kernel, outputs: Sequence[Aval], scratch: int, inputs: int) -> Kernel:
    """A function that makes the outputs (and the workspace) and passes them after the inputs."""
    makers = [alloc.maker(a) for a in outputs]
    workspace = alloc.maker(_bytes(scratch))
    if len(makers) == 1 and not scratch:
        make = makers[0]
        if inputs == 1:
            return lambda first: launch(first, make())
        if inputs == 2:
            return lambda first, second: launch(first, second, make())
        return lambda *arrays: launch(*arrays, make())

    def call(*arrays: np.ndarray) -> Any:
        fresh = [m() for m in makers]
        if scratch:
            launch(*arrays, *fresh, workspace())
        else:
            launch(*arrays, *fresh)
        return tuple(fresh) if len(fresh) > 1 else fresh[0]

    return call


def _loop(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    return LoopOp(op, params, inputs, outputs).caller()


def _contract(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    return ContractOp(op, params, inputs, outputs).caller()


def _attend(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    return AttendOp(op, params, inputs, outputs).caller()


# ---- kind host
def _host(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    function = op.body
    if function is None:
        raise BackendError(f"host op {op.name} has no function")

    def call(*xs: np.ndarray) -> Any:
        with plain_floats():
            computed = function(*xs, **params)
        results = computed if isinstance(computed, (tuple, list)) else (computed,)
        arrays = tuple([np.asarray(r, a.dtype) for r, a in zip(results, outputs)])
        return arrays[0] if len(outputs) == 1 else arrays

    return call


# ---- kind scatter
def _scatter(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    """Inputs (index[n], update[n, inner]) -> zeros[rows, inner] with the updates added."""
    index, update, output = inputs[0], inputs[1], outputs[0]
    inner = output.shape[1]
    kernel = ScatterKernel(
        index.size,
        inner,
        Access(2, output.dtype, 0, (inner, 1)),
        Access(0, index.dtype, 0, (1,)),
        Access(1, update.dtype, 0, (inner, 1)),
    )
    small = update.nbytes <= SMALL
    caller = make_caller(
        kernels.steps([kernel], 3)[0], 3, result=2, shared=None if small else pool()
    )
    make, straight = alloc.maker(output), np.ascontiguousarray

    def call(rows: np.ndarray, added: np.ndarray) -> Any:
        result = make()
        result.fill(0)
        return caller(straight(rows), straight(added), result)

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
