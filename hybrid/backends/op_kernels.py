"""The plan kernels of one op call: what an eager call runs on any device, from the op's record.

Invariant: what is computed depends on the record, its parameters and avals; the strides of inputs
say only where elements lie.  Slots are the inputs in order, then the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.aval import Aval
from ..core.errors import BackendError, IndexOutOfRange
from ..core.shapes import broadcast_shapes, broadcast_strides, contiguous_strides
from ..ir.contract import Contraction
from ..ir.op import Op, algorithm_of
from ..ir.scalar.compose import check_program, given_by, op_program
from ..ir.scalar.program import Builder, Program, ScalarType
from .attend import attend_kernel
from .plan import Access, AttendKernel, HostStep, Kernel, LoopKernel, ScatterKernel
from .product import kernel_of

__all__ = [
    "OpKernels",
    "LoopKernels",
    "ContractKernels",
    "AttendKernels",
    "ScatterKernels",
    "PlaceKernels",
    "HostKernels",
    "kernels_of",
    "slots_of_calls",
    "used_operands",
    "copy_kernel",
    "zero_kernel",
    "check_failure",
]

Ints = tuple[int, ...]
Avals = tuple[Aval, ...]
_PATTERNS: dict[int, ScalarType] = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
_WIDE = {size: np.dtype(f"u{size}") for size in (2, 4, 8)}


class OpKernels:
    """An op whose calls are kernels over (inputs, outputs)."""

    gathers: tuple[int, ...] = ()  # inputs that must be contiguous
    before: int | None = None  # kernels behind so many do not depend on each other

    def __init__(self, op: Op, params: dict[str, Any], inputs: Avals, outputs: Avals) -> None:
        self.op, self.params, self.ins, self.outs = op, params, inputs, outputs

    def kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        """What to run for inputs with these strides (in elements)."""
        raise NotImplementedError

    def straight(self, number: int, shape: Ints, nbytes: Ints) -> bool:
        """Whether an input with these strides (in bytes) must be contiguous for its kernels."""
        return number in self.gathers or any(s % self.ins[number].dtype.itemsize for s in nbytes)


class LoopKernels(OpKernels):
    """Kinds map and row: one loop kernel, after a check where the op has one."""

    def __init__(self, op: Op, params: dict[str, Any], inputs: Avals, outputs: Avals) -> None:
        super().__init__(op, params, inputs, outputs)
        self.gathers, self.woven = op.gathers, op.has("woven")
        self.program = op_program(op, inputs, params, outputs)
        self.check = check_program(op, inputs, params) if op.check is not None else None
        row = op.kind == "row"
        self.group = tuple(params["axes"]) if row else None
        self.shape = (
            broadcast_shapes(op.name, *[a.shape for a in inputs])
            if row
            else given_by(op, outputs)[0].shape
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

    def _writes(self, first: int) -> tuple[Access, ...]:
        """Where results go; woven ones into every other element of one."""
        if not self.woven:
            return tuple(self._write(first + j, a) for j, a in enumerate(self.outs))
        steps, dtype = contiguous_strides(self.outs[0].shape)[:-1], self.outs[0].dtype
        return tuple(Access(first, dtype, part, steps) for part in range(2))

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

    def kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        loops: list[Kernel] = []
        count = len(self.ins)
        if self.check is not None:
            used = used_operands(self.check)
            shape = broadcast_shapes(self.op.name, *[self.ins[i].shape for i in sorted(used)])
            reads = self._reads(strides, shape, used)
            loops.append(LoopKernel(shape, None, self.check, reads, (), check=True))
        writes = self._writes(count)
        reads = self._reads(strides, self.shape, set(range(count)))
        loops.append(LoopKernel(self.shape, self.group, self.program, reads, writes))
        return loops


class ContractKernels(OpKernels):
    """Kind contract: one product, its bias and rounding in the epilogue."""

    def __init__(self, op: Op, params: dict[str, Any], inputs: Avals, outputs: Avals) -> None:
        super().__init__(op, params, inputs, outputs)
        if op.layout is None:
            raise BackendError(f"contract op {op.name} has no layout")

    def contraction(self, strides: Sequence[Ints]) -> Contraction:
        """The product as index spaces of inputs with these strides."""
        return self.op.layout(self.ins, strides, (0,) * len(self.ins), **self.params)  # type: ignore[misc, no-any-return]

    def kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        dtypes = [a.dtype for a in self.ins]
        return [kernel_of(self.contraction(strides), dtypes, self.outs[0].dtype)]


class AttendKernels(OpKernels):
    """Kind attend: rows must lie side by side, other layouts are copied."""

    def kernel(self, strides: Sequence[Ints]) -> AttendKernel:
        """The one kernel of a call."""
        every = [*strides, *(contiguous_strides(a.shape) for a in self.outs)]
        places = [(i, (0, s)) for i, s in enumerate(every)]
        return attend_kernel(self.op, self.params, (*self.ins, *self.outs), places)

    def kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        return [self.kernel(strides)]

    def straight(self, number: int, shape: Ints, nbytes: Ints) -> bool:
        itemsize = self.ins[number].dtype.itemsize
        apart = bool(shape) and shape[-1] != 1 and nbytes[-1] != itemsize
        return apart or any(s % itemsize for s in nbytes)


class ScatterKernels(OpKernels):
    """Kind scatter: inputs (index[n], update[n, inner]), both contiguous; the output, which starts
    as zeros, is [rows, inner]."""

    gathers = (0, 1)

    def kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        index, update, output = self.ins[0], self.ins[1], self.outs[0]
        inner = output.shape[1]
        return [
            ScatterKernel(
                index.size,
                inner,
                Access(2, output.dtype, 0, (inner, 1)),
                Access(0, index.dtype, 0, (1,)),
                Access(1, update.dtype, 0, (inner, 1)),
            )
        ]


class PlaceKernels(OpKernels):
    """Kind place: what fills the output, then a copy for every region.

    The layout gives one region (offset, shape, strides) per operand.  Fact 'base': the first
    operand has none and fills the output before; fact 'zeros': zeros do."""

    def __init__(self, op: Op, params: dict[str, Any], inputs: Avals, outputs: Avals) -> None:
        super().__init__(op, params, inputs, outputs)
        if op.layout is None:
            raise BackendError(f"place op {op.name} has no layout")
        self.first = int(op.has("base"))
        self.before = int(op.has("base") or op.has("zeros"))
        self.regions = list(op.layout(*inputs, **params))
        if len(self.regions) + self.first != len(inputs):
            counts = f"{len(self.regions)} regions for {len(inputs)} operands"
            raise BackendError(f"place op {op.name} has {counts}")
        width = len(self.regions) * outputs[0].dtype.itemsize
        self.between = not self.before and width in _WIDE and self._lie_between_each_other()

    def _lie_between_each_other(self) -> bool:
        """Whether the operands' elements take turns in the result: pairs, stacks of a last axis."""
        count, (_, shape, _) = len(self.regions), self.regions[0]
        turns = [count * step for step in contiguous_strides(tuple(shape))]
        return count > 1 and all(
            offset == number
            and tuple(box) == tuple(shape)
            and all(size == 1 or step == turn for size, step, turn in zip(box, steps, turns))
            for number, (offset, box, steps) in enumerate(self.regions)
        )

    def _woven(self, strides: Sequence[Ints]) -> LoopKernel:
        """Each turn is written as one wide number, where copies would write far apart."""
        dtype, shape = self.outs[0].dtype, tuple(self.regions[0][1])
        count = len(self.regions)
        wide = _WIDE[count * dtype.itemsize]
        reads = tuple([self._read(k, steps, shape) for k, steps in enumerate(strides)])
        target = Access(count, wide, 0, contiguous_strides(shape))
        return LoopKernel(shape, None, _weave(dtype.itemsize, count), reads, (target,))

    def kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        out, slot = self.outs[0], len(self.ins)
        whole = Access(slot, out.dtype, 0, contiguous_strides(out.shape))
        made: list[Kernel] = []
        if self.between:
            return [self._woven(strides)]
        if self.first:
            made.append(copy_kernel(out.shape, self._read(0, strides[0], out.shape), whole))
        elif self.op.has("zeros"):
            made.append(zero_kernel(out.shape, whole))
        for number, (offset, shape, steps) in enumerate(self.regions, self.first):
            read = self._read(number, strides[number], tuple(shape))
            target = Access(slot, out.dtype, offset, tuple(steps))
            made.append(copy_kernel(tuple(shape), read, target))
        return made

    def _read(self, number: int, steps: Ints, shape: Ints) -> Access:
        operand = self.ins[number]
        return Access(number, operand.dtype, 0, broadcast_strides(operand.shape, steps, shape))


class HostKernels(OpKernels):
    """Kind host, on a device that has kernels for what the record computes: contiguous inputs."""

    def __init__(self, op: Op, params: dict[str, Any], inputs: Avals, outputs: Avals) -> None:
        super().__init__(op, params, inputs, outputs)
        self.algorithm = algorithm_of(op, params)

    def kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        slots = tuple(range(len(self.ins) + len(self.outs)))
        inputs, outputs = slots[: len(self.ins)], slots[len(self.ins) :]
        return [HostStep(None, inputs, outputs, self.algorithm, (*self.ins, *self.outs))]

    def straight(self, number: int, shape: Ints, nbytes: Ints) -> bool:
        dense = contiguous_strides(shape)
        return nbytes != tuple(step * self.ins[number].dtype.itemsize for step in dense)


_KINDS: dict[str, type[OpKernels]] = {
    "map": LoopKernels,
    "row": LoopKernels,
    "contract": ContractKernels,
    "attend": AttendKernels,
    "scatter": ScatterKernels,
    "place": PlaceKernels,
    "host": HostKernels,
}


def kernels_of(
    op: Op, params: dict[str, Any], inputs: Sequence[Aval], outputs: Sequence[Aval]
) -> OpKernels:
    """The kernels of an op of a kind that is computed by kernels."""
    return _KINDS[op.kind](op, params, tuple(inputs), tuple(outputs))


def slots_of_calls(calls: Sequence[tuple[Avals, Avals]], own: int) -> Iterator[list[int]]:
    """The slots of each of many calls of an op: those of the `own` inputs of all calls come first,
    then what all of them have behind these, then the results."""
    inputs = len(calls) * own
    first = arguments = inputs + len(calls[0][0]) - own
    for number, (_, outs) in enumerate(calls):
        own_inputs = range(number * own, (number + 1) * own)
        yield [*own_inputs, *range(inputs, arguments), *range(first, first + len(outs))]
        first += len(outs)


def used_operands(program: Program | None) -> set[int]:
    """Numbers of the operands that a program reads."""
    return {i.attr for i in program.instrs if i.prim in ("arg", "load")} if program else set()


@lru_cache(None)
def _copy(itemsize: int) -> Program:
    builder = Builder()
    return builder.program(builder.arg(_PATTERNS[itemsize]))


@lru_cache(None)
def _zero(itemsize: int) -> Program:
    builder = Builder()
    return builder.program(builder.bits(_PATTERNS[itemsize], 0))


@lru_cache(None)
def _weave(itemsize: int, count: int) -> Program:
    """Several patterns as one number, the first in its lowest bits: that is the first in memory."""
    build, narrow = Builder(), _PATTERNS[itemsize]
    parts = [build.arg(narrow) for _ in range(count)]
    wide = _PATTERNS[count * itemsize]
    made = build.convert(parts[0], wide)
    for number, part in enumerate(parts[1:], 1):
        shift = build.bits(wide, 8 * itemsize * number)
        made = made | (build.convert(part, wide) << shift)
    return build.program(made)


def copy_kernel(shape: Ints, source: Access, target: Access) -> LoopKernel:
    """target[i] = source[i], bit for bit, for every i of a shape."""
    return LoopKernel(shape, None, _copy(target.dtype.itemsize), (source,), (target,))


def zero_kernel(shape: Ints, target: Access) -> LoopKernel:
    """target[i] = 0 for every i of a shape."""
    return LoopKernel(shape, None, _zero(target.dtype.itemsize), (), (target,))


def check_failure(op: Op, params: dict[str, Any], inputs: Sequence[Aval]) -> IndexOutOfRange:
    """The error of a call whose check failed."""
    text = op.check_message
    return IndexOutOfRange(text(inputs, params) if text else f"{op.name}: an index is out of range")
