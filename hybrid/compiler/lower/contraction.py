"""A contract region -> GemmKernel with its epilogue.

Invariant: the accumulator (plus the bias) is rounded to the contraction's dtype before anything
fused behind it reads it, exactly as when the result is stored and read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...backends.plan import Access, Dims, GemmKernel, Operand
from ...backends.product import may_be_fast
from ...core.errors import GraphError
from ...ir.contract import accumulator
from ...ir.graph.graph import Node, Value
from ...ir.scalar.program import Program
from .affine import AffineMap, Ints, refine, reshape_strides, walk_path
from .assignment import Location
from .kernel_program import KernelProgram
from .regions import ContractRegion, MemoryOperand

__all__ = ["contraction"]


class _ResultAxes:
    """How the result is walked: batch, rows and columns, split as far as the operands need."""

    def __init__(self, layout: Any, shape: Ints, maps: Sequence[AffineMap]) -> None:
        self.shape = shape
        self.parts = [tuple(v.sizes) for v in (layout.out.batch, layout.out.rows, layout.out.cols)]
        if any(self.flat(m) is None for m in maps):
            fine = refine(sum(self.parts, ()), shape)
            self.parts = self._split(fine)

    def flat(self, affine: AffineMap) -> Ints | None:
        """Strides of a map over the result, along all parts."""
        return reshape_strides(self.shape, affine[1], sum(self.parts, ()))

    def _split(self, fine: Ints) -> list[Ints]:
        """Fine sizes dealt out to batch, rows and columns."""
        parts: list[Ints] = []
        rest = [d for d in fine if d != 1]
        for part in self.parts:
            wanted, sizes = int(np.prod(part, dtype=np.int64)), []
            while wanted > 1:
                sizes.append(rest.pop(0))
                wanted //= sizes[-1]
            parts.append(tuple(sizes))
        return parts

    def deal(self, flat: Ints) -> list[Dims]:
        dims, start = [], 0
        for part in self.parts:
            dims.append(Dims(part, flat[start : start + len(part)]))
            start += len(part)
        return dims


def _resplit(dims: Any, sizes: Ints) -> Dims:
    """An index space of an operand in finer sizes."""
    strides = reshape_strides(tuple(dims.sizes), tuple(dims.strides), sizes)
    if strides is None:
        raise GraphError(f"a contraction's index of sizes {dims.sizes} does not split into {sizes}")
    return Dims(sizes, strides)


def contraction(
    region: ContractRegion,
    program: KernelProgram,
    stores: Sequence[tuple[Value, int, int, Location]],
) -> GemmKernel:
    """The kernel of a contract region that stores `stores`; `program` collects its epilogue."""
    node = region.head
    assert node.op.layout is not None
    avals = [v.aval for v in node.inputs]
    locations = [_operand_location(o, node, program) for o in region.operands]
    layout = node.op.layout(
        avals, [at[1] for _, at in locations], [at[0] for _, at in locations], **node.params
    )
    accumulated = accumulator(avals[layout.a.operand].dtype)
    maps = [_store_map(region, v, h) for v, _, _, h in stores]
    total = program.composer.arg(accumulated)
    bias = _bias(layout, node, program, locations)
    epilogue = _epilogue(region, program, stores, total, bias)
    walk = _ResultAxes(
        layout,
        region.shape,
        [*maps, *((a.offset, a.strides) for a in program.reads[bias is not None :])],
    )
    return GemmKernel(
        layout.batch,
        layout.m,
        layout.n,
        layout.k,
        _operand(layout.a, locations, avals, walk.parts[0], walk.parts[1], None),
        _operand(layout.b, locations, avals, walk.parts[0], None, walk.parts[2]),
        tuple(
            Operand(h.slot, v.aval.dtype, m[0], *walk.deal(_need(walk, m)))
            for (v, _, _, h), m in zip(stores, maps)
        ),
        accumulated,
        layout.order,
        epilogue,
        _reads(layout, program, walk, bias is not None),
        tuple(program.params),
        bias is not None,
        may_be_fast(avals[layout.a.operand].dtype),
    )


def _operand_location(
    operand: MemoryOperand, node: Node, program: KernelProgram
) -> tuple[int, AffineMap]:
    """Slot and map of what the contraction reads."""
    location = program.assignment.home[operand.value]
    affine = walk_path(operand.path, (location.offset, location.strides))
    if affine is None:
        raise GraphError(f"{node.op.name}: an operand of {operand.value.aval} cannot be walked")
    return location.slot, affine


def _store_map(region: ContractRegion, value: Value, location: Location) -> AffineMap:
    """Where the results of the contraction's space go for a value that is stored there."""
    affine = region.at_home(value, location.offset, location.strides)
    assert affine is not None
    return affine


def _need(walk: _ResultAxes, affine: AffineMap) -> Ints:
    flat = walk.flat(affine)
    if flat is None:
        raise GraphError(
            f"a contraction's result of shape {walk.shape} cannot be walked with strides "
            f"{affine[1]}"
        )
    return flat


def _operand(
    factor: Any,
    locations: Sequence[Any],
    avals: Sequence[Any],
    batch: Ints,
    rows: Ints | None,
    columns: Ints | None,
) -> Operand:
    return Operand(
        locations[factor.operand][0],
        avals[factor.operand].dtype,
        factor.offset,
        _resplit(factor.batch, batch),
        factor.rows if rows is None else _resplit(factor.rows, rows),
        factor.cols if columns is None else _resplit(factor.cols, columns),
    )


def _bias(layout: Any, node: Node, program: KernelProgram, locations: Sequence[Any]) -> int | None:
    if layout.bias is None:
        return None
    dtype = node.inputs[layout.bias.operand].aval.dtype
    program.reads.append(Access(locations[layout.bias.operand][0], dtype, layout.bias.offset, ()))
    return program.composer.arg(dtype)


def _epilogue(
    region: ContractRegion,
    program: KernelProgram,
    stores: Sequence[tuple[Value, int, int, Location]],
    total: int,
    bias: int | None,
) -> Program | None:
    """What becomes of the accumulator; None: it is rounded and stored."""
    if bias is None and len(stores) == 1 and stores[0][1] < 0:
        return None
    dtype, composer = region.head.outputs[0].aval.dtype, program.composer
    value = composer.rounded(total, bias, dtype)
    computed: dict[int, list[int]] = {-1: [value]}
    program.run(region, {k for _, k, _, _ in stores}, computed)
    results = [computed[k][i] for _, k, i, _ in stores]
    return composer.finish(results, [v.aval.dtype for v, *_ in stores])


def _reads(
    layout: Any, program: KernelProgram, walk: _ResultAxes, biased: bool
) -> tuple[Access, ...]:
    accesses = []
    for number, access in enumerate(program.reads):
        if biased and number == 0:
            parts = [
                _resplit(d, p)
                for d, p in zip((layout.bias.batch, layout.bias.rows, layout.bias.cols), walk.parts)
            ]
            flat: Ints = sum((p.strides for p in parts), ())
        else:
            flat = _need(walk, (access.offset, access.strides))
        accesses.append(access._replace(strides=flat))
    return tuple(accesses)
