"""What the epilogue of a product does, before any code: its program, its operands, which values are
the same for all elements.

Invariant: the epilogue sees each finished sum once, reads its other arguments at the same (batch,
m, n), and every result is stored exactly once, after all its arguments were read (a read may share
memory with it).
"""

from __future__ import annotations

from typing import NamedTuple

from ....ir.scalar.program import Program, ScalarType
from ...plan import Dims, GemmKernel, Operand
from ...product import epilogue_of
from .factors import Runs, runs_of
from .micro import PackedElement

__all__ = ["Finish", "EpilogueOperand", "finish_of"]


class EpilogueOperand(NamedTuple):
    """A read or result of the epilogue: byte walks over batch, lines (tile rows) and columns."""

    name: str
    type: ScalarType
    offset: int  # bytes
    size: int
    batch: Runs
    lines: Runs
    columns: Runs
    together: bool  # lines of one tile lie in one run

    @property
    def uniform(self) -> bool:
        """One element for the whole product."""
        return all(
            runs.size == 1 or (runs.uniform and runs.stride == 0)
            for runs in (self.batch, self.lines, self.columns)
        )


class Finish(NamedTuple):
    """What to do with the finished tiles of one product, which are `vectors` vectors wide."""

    element: PackedElement
    vectors: int
    program: Program | None  # None: sums are stored as they are
    params: tuple[int, ...]  # bits of the program's run-time scalars
    reads: tuple[EpilogueOperand, ...]
    outs: tuple[EpilogueOperand, ...]
    transposed: bool  # lanes of results run along the lines of the tile
    whole: bool  # a vector has 16 columns, or none
    storable: bool  # sums may go to the result without the finishing function
    uniform: tuple[bool, ...]  # instructions with one value for the whole product
    passed: tuple[int, ...]  # those whose values elements use: computed once per call
    fetched: tuple[EpilogueOperand, ...]  # reads worth asking for before the sums are computed

    @property
    def line_bytes(self) -> int:
        """Bytes from line to line of a tile."""
        return self.vectors * 16 * self.element.size


def finish_of(
    kernel: GemmKernel,
    swapped: bool,
    vectors: int,
    element: PackedElement,
    whole: bool = False,
    group: int = 0,
) -> Finish:
    """The finish of a product.  `swapped`: lines of the tile are columns of the result.  `whole`:
    the driver gives vectors of 16 columns, or of none.  `group`: no tile has lines on both sides of
    a multiple of it."""
    program = epilogue_of(kernel, element.name)
    types = [element.name] * len(kernel.outs)
    if program is not None:
        types = [program.instrs[number].type for number in program.outs]
    way = (swapped, group)
    outs = tuple(
        [_stream(f"out{i}", t, out, way) for i, (t, out) in enumerate(zip(types, kernel.outs))]
    )
    reads = tuple([_read(kernel, program, i, way) for i in range(len(kernel.reads))])
    first = outs[0]
    adjacent = _adjacent(first.columns, first.size)
    transposed = not adjacent and first.lines.size > 1 and _along(first)
    uniform = _uniform(program, reads)
    fetched = [r for r in reads if (_along(r) if transposed else _adjacent(r.columns, r.size))]
    return Finish(
        element=element,
        vectors=vectors,
        program=program,
        params=kernel.params,
        reads=reads,
        outs=outs,
        transposed=transposed,
        whole=whole and not transposed,
        storable=program is None and adjacent and first.lines.uniform and len(outs) == 1,
        uniform=uniform,
        passed=_passed(program, uniform),
        fetched=tuple(fetched),
    )


def _adjacent(runs: Runs, itemsize: int) -> bool:
    return runs.uniform and runs.unit(itemsize)


def _along(stream: EpilogueOperand) -> bool:
    """Whether lines of a tile are adjacent elements."""
    return stream.together and stream.lines.unit(stream.size)


def _stream(
    name: str, type: ScalarType, operand: Operand, way: tuple[bool, int]
) -> EpilogueOperand:
    (swapped, group), itemsize = way, operand.dtype.itemsize
    lines, columns = runs_of(operand.rows, itemsize), runs_of(operand.cols, itemsize)
    if swapped:
        lines, columns = columns, lines
    batch, offset = runs_of(operand.batch, itemsize), operand.offset * itemsize
    together = lines.uniform or (group > 0 and lines.length % group == 0)
    return EpilogueOperand(name, type, offset, itemsize, batch, lines, columns, together)


def _read(
    kernel: GemmKernel, program: Program | None, number: int, way: tuple[bool, int]
) -> EpilogueOperand:
    """A read as an operand with the sizes of the result."""
    assert program is not None
    access, out = kernel.reads[number], kernel.outs[0]
    start, parts = 0, []
    for sizes in (out.batch.sizes, out.rows.sizes, out.cols.sizes):
        parts.append(Dims(sizes, tuple(access.strides[start : start + len(sizes)])))
        start += len(sizes)
    operand = Operand(access.slot, access.dtype, access.offset, *parts)
    return _stream(f"read{number}", program.args[number + 1], operand, way)


def _uniform(program: Program | None, reads: tuple[EpilogueOperand, ...]) -> tuple[bool, ...]:
    """Which instructions of the epilogue have one value for the whole product."""
    found: list[bool] = []
    for instr in program.instrs if program is not None else ():
        if instr.prim == "arg":
            found.append(instr.attr > 0 and reads[instr.attr - 1].uniform)
        else:
            found.append(instr.prim != "load" and all(found[arg] for arg in instr.args))
    return tuple(found)


def _passed(program: Program | None, uniform: tuple[bool, ...]) -> tuple[int, ...]:
    """Uniform instructions whose value elements use; constants and scalars are at hand anyway."""
    if program is None:
        return ()
    instrs = program.instrs
    used = set(program.outs)
    for number, instr in enumerate(instrs):
        if not uniform[number]:
            used.update(instr.args)
    return tuple(
        [
            number
            for number in sorted(used)
            if uniform[number] and instrs[number].prim not in ("const", "param")
        ]
    )
