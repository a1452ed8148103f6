"""Eager kernels: one callable per op, parameters and input avals.

Invariant: small and large calls, contiguous and strided ones run code made from the same program in
the same order of operations, so the bits of a result depend on the values of the inputs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ....core import dtypes as dt
from ....core.aval import Aval, aval
from ....core.cache import Bounded, keep
from ....core.errors import BackendError
from ....core.floating import in_plain_floats
from ....core.shapes import contiguous_strides
from ....ir.algorithm import Masked, TrueCounts
from ....ir.op import Op, algorithm_of
from ...op_kernels import (
    AttendKernels,
    ContractKernels,
    HostKernels,
    LoopKernels,
    OpKernels,
    PlaceKernels,
    ScatterKernels,
    check_failure,
)
from ...plan import NATIVE
from .. import kernels
from ..machine import alloc
from ..machine.pool import pool
from ..python.caller import NativeStep, make_caller
from . import ufunc
from .views import place, view

__all__ = ["eager", "SMALL"]

SMALL = 1 << 16  # bytes of all operands up to which a loop stays on its thread and keeps the GIL
SMALL_PRODUCT = 1 << 18  # multiplications up to which a product does
SMALL_PLACE = 1 << 18  # bytes of a result up to which placements are NumPy's copies
_FEW_REGIONS = 8
_STRIDES_LIMIT = 64

Kernel = Callable[..., Any]


def eager(
    op: Op, params: dict[str, Any], inputs: Sequence[Aval], outputs: Sequence[Aval]
) -> Kernel:
    """The function (*arrays) -> array, or tuple of arrays when the op has several outputs."""
    return _KINDS[op.kind](op, params, tuple(inputs), tuple(outputs))


# ---- kinds that are native kernels
class NativeOp:
    """An op as native kernels over (inputs, outputs): callers for given strides of the inputs."""

    def __init__(self, source: OpKernels, small: bool = True) -> None:
        self.source, self.ins, self.outs = source, source.ins, source.outs
        self.small = small  # stays on its thread and keeps the GIL
        self.table: dict[Any, tuple[Kernel, int]] = {}

    def other_strides(self) -> Kernel:
        """What serves small calls whose inputs are not all contiguous."""
        return self.strided

    def caller(self) -> Kernel:
        """The function for every call; arguments with other strides take `strided`."""
        count = len(self.ins)
        steps, workspace = kernels.steps(
            self.source.kernels([contiguous_strides(a.shape) for a in self.ins]),
            count + len(self.outs),
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
        return _with_outputs(self.launcher(steps, workspace), self.outs, workspace, count)

    def launcher(self, steps: Sequence[NativeStep], workspace: int) -> Kernel:
        """A function of inputs, outputs and workspace."""
        count = len(self.ins)
        return make_caller(
            steps,
            count + len(self.outs) + bool(workspace),
            result=count,
            contiguous=True,
            fallback=self.strided,
            shared=None if self.small else pool(),
        )

    def strided(self, *given: np.ndarray) -> Any:
        """A call whose inputs are not all contiguous (or a failed one, to raise its error); large
        calls pass their outputs after the inputs."""
        count = len(self.ins)
        if len(given) < count or count < len(given) < count + len(self.outs):
            raise TypeError(f"{self.source.op.name} takes {count} arrays, not {len(given)}")
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
        """Input i as the kernels can walk it: a contiguous copy where they cannot."""
        if self.source.straight(number, array.shape, array.strides):
            return np.ascontiguousarray(array)
        return array

    def _prepare(self, strides: Any, arrays: Sequence[np.ndarray]) -> tuple[Kernel, int]:
        count = len(arrays) + len(self.outs)
        steps, workspace = kernels.steps(
            self.source.kernels([tuple(s // x.itemsize for s in x.strides) for x in arrays]), count
        )
        caller = make_caller(
            steps,
            count + bool(workspace),
            result=len(arrays),
            shared=None if self.small else pool(),
        )
        return keep(self.table, strides, (caller, workspace), _STRIDES_LIMIT)

    def _failure(self) -> Exception:
        source = self.source
        if source.op.check is None:
            return MemoryError(f"{source.op.name}: no memory for the work of a thread")
        return check_failure(source.op, source.params, source.ins)


class LoopOp(NativeOp):
    """Kinds map and row."""

    source: LoopKernels

    def __init__(self, source: LoopKernels) -> None:
        super().__init__(source)
        every = enumerate((*source.ins, *source.outs))
        self.small = sum(a.nbytes for i, a in every if i not in source.gathers) <= SMALL

    def other_strides(self) -> Kernel:
        """Elementwise ops: NumPy's loops over our code, which need no new code for new strides."""
        op, program = self.source.op, self.source.program
        read_types = [a.dtype for a in self.ins]
        write_types = [a.dtype for a in self.outs]
        if (
            op.kind != "map"
            or op.has("woven")
            or self.source.check is not None
            or not ufunc.usable(program, read_types, write_types)
        ):
            return self.strided
        ufuncs: list[Any] = []

        def run_ufunc(*arrays: np.ndarray) -> Any:
            if not ufuncs:
                ufuncs.append(ufunc.program_ufunc(op.name, program, read_types, write_types))
            results = ufuncs[0](*arrays)
            if len(write_types) == 1:
                return results if type(results) is np.ndarray else np.asarray(results)
            return tuple([np.asarray(g) for g in results])

        return run_ufunc


def _product_small(source: ContractKernels) -> bool:
    product = source.contraction([contiguous_strides(a.shape) for a in source.ins])
    work = max(product.batch, 1) * product.m * product.n * max(product.k, 1)
    return work <= SMALL_PRODUCT


def _attention_small(source: AttendKernels) -> bool:
    kernel = source.kernel([contiguous_strides(a.shape) for a in source.ins])
    return prod(kernel.batch) * kernel.m * kernel.n * (kernel.e + kernel.f) <= SMALL_PRODUCT


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
    return LoopOp(LoopKernels(op, params, inputs, outputs)).caller()


def _contract(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    source = ContractKernels(op, params, inputs, outputs)
    return NativeOp(source, _product_small(source)).caller()


def _attend(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    source = AttendKernels(op, params, inputs, outputs)
    return NativeOp(source, _attention_small(source)).caller()


# ---- kind place
def _place(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    """NumPy's copies where they are small or many, else kernels on all threads."""
    source = PlaceKernels(op, params, inputs, outputs)
    few = source.between or len(source.regions) <= _FEW_REGIONS
    if outputs[0].nbytes > SMALL_PLACE and few:
        return NativeOp(source, small=False).caller()
    return place(op, params, inputs, outputs)


# ---- kind host
def _host(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    algorithm = algorithm_of(op, params)
    if isinstance(algorithm, Masked) and not isinstance(algorithm, TrueCounts):
        return _of_any_size(op, params, inputs, outputs)
    if isinstance(algorithm, NATIVE):
        small = sum([a.nbytes for a in (*inputs, *outputs)]) <= SMALL
        return NativeOp(HostKernels(op, params, inputs, outputs), small).caller()
    function = op.body
    if function is None:
        raise BackendError(f"host op {op.name} has no function")

    function = partial(function, **params) if params else function
    first = outputs[0].dtype

    @in_plain_floats
    def one(*xs: np.ndarray) -> Any:
        computed = function(*xs)
        if isinstance(computed, (tuple, list)):
            (computed,) = computed
        return np.asarray(computed, first)

    @in_plain_floats
    def several(*xs: np.ndarray) -> Any:
        return tuple([np.asarray(r, a.dtype) for r, a in zip(function(*xs), outputs)])

    return one if len(outputs) == 1 else several


_LAUNCHERS = Bounded[tuple[Kernel, int]](256)


def _of_any_size(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    """Kernels that read how many elements are true serve any number of them: another one costs no
    code and no caller."""
    algorithm: Any = algorithm_of(op, params)
    every = [*inputs, *outputs]
    varying = every[algorithm.varies]
    most = inputs[algorithm.mask].size, *varying.shape[1:]
    every[algorithm.varies] = aval(most, varying.dtype)
    known = tuple(every[: len(inputs)]), tuple(every[len(inputs) :])

    def launcher() -> tuple[Kernel, int]:
        small = sum([a.nbytes for a in every]) <= SMALL
        native = NativeOp(HostKernels(op, params, *known), small)
        strides = [contiguous_strides(a.shape) for a in native.ins]
        steps, workspace = kernels.steps(native.source.kernels(strides), len(every))
        return native.launcher(steps, workspace), workspace

    launch, workspace = _LAUNCHERS.of((algorithm, *known), launcher)
    return _with_outputs(launch, outputs, workspace, len(inputs))


# ---- kind scatter
def _scatter(
    op: Op, params: dict[str, Any], inputs: tuple[Aval, ...], outputs: tuple[Aval, ...]
) -> Kernel:
    """Inputs (index[n], update[n, inner]) -> zeros[rows, inner] with the updates added."""
    source, output = ScatterKernels(op, params, inputs, outputs), outputs[0]
    small = inputs[1].nbytes <= SMALL
    made = kernels.steps(source.kernels([contiguous_strides(a.shape) for a in inputs]), 3)[0]
    caller = make_caller(made, 3, result=2, shared=None if small else pool())
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
    "place": _place,
    "contract": _contract,
    "attend": _attend,
    "scatter": _scatter,
    "host": _host,
}
