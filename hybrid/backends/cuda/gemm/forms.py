"""What the text of a product's kernel depends on: how its operands lie, without their numbers.

Invariant: a form holds no size, offset, slot or stride, so kernels of equal forms share one text;
`numbers_of` names every number that such a text may ask for.  Strides are bytes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import prod
from typing import NamedTuple

import numpy as np

from ....core.errors import UnsupportedError
from ....core.shapes import collapse
from ....ir.scalar.program import Program, ScalarType
from ...plan import Dims, GemmKernel, Operand
from ...product import epilogue_of

__all__ = [
    "Accumulator",
    "FinishForm",
    "Numbers",
    "GemmOperand",
    "Spacing",
    "ByteWalk",
    "WalkForm",
    "element_of",
    "factor_form",
    "finish_of",
    "numbers_of",
    "reads_of",
    "walk_of",
]

Numbers = dict[str, int]


class Accumulator(NamedTuple):
    """An accumulator: its program type, LLVM scalar and bytes."""

    name: ScalarType
    scalar: str
    size: int

    @property
    def is_float(self) -> bool:
        return self.name[0] == "f"

    @property
    def zero(self) -> str:
        return "0.0" if self.is_float else "0"


_ELEMENTS = {
    "float32": Accumulator("f32", "float", 4),
    "float64": Accumulator("f64", "double", 8),
    "int32": Accumulator("i32", "i32", 4),
    "int64": Accumulator("i64", "i64", 8),
    "uint32": Accumulator("i32", "i32", 4),
    "uint64": Accumulator("i64", "i64", 8),
}


def element_of(acc: np.dtype) -> Accumulator:
    """The accumulator of a dtype; unsigned integers wrap like signed ones."""
    found = _ELEMENTS.get(acc.name)
    if found is None:
        raise UnsupportedError(
            f"products cannot accumulate in {acc.name}; use float32, float64, int32 or int64"
        )
    return found


class Spacing(StrEnum):
    """From one element to the next along the fastest dimension of an index."""

    SAME = "same"
    ADJACENT = "adjacent"
    STRIDED = "strided"


class WalkForm(NamedTuple):
    """An index split into `rank` dimensions; no dimension: every index has the offset 0."""

    rank: int
    step: Spacing

    @property
    def uniform(self) -> bool:
        return self.rank <= 1


class ByteWalk(NamedTuple):
    """index -> sum(coordinate * stride), in bytes."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    form: WalkForm

    def numbers(self, name: str) -> Numbers:
        found = {f"{name}.size{axis}": size for axis, size in enumerate(self.sizes)}
        found.update({f"{name}.stride{axis}": step for axis, step in enumerate(self.strides)})
        return found


def walk_of(dims: Dims, itemsize: int) -> ByteWalk:
    """Merged dimensions of an index; one that goes nowhere has none."""
    sizes, (strides,) = collapse(dims.sizes, [dims.strides])
    if not any(strides):
        return ByteWalk((), (), WalkForm(0, Spacing.SAME))
    step = {0: Spacing.SAME, 1: Spacing.ADJACENT}.get(strides[-1], Spacing.STRIDED)
    return ByteWalk(sizes, tuple(s * itemsize for s in strides), WalkForm(len(sizes), step))


class GemmOperand(NamedTuple):
    """An operand of a product.  `type` is what programs see, `dtype` what lies in memory.  So many
    elements along the rows or the columns may be one access, `row_vector` and `col_vector`, if the
    buffer is aligned: 1 where they are not adjacent.  `inner`: of the workspace, which is."""

    name: str
    type: ScalarType
    dtype: str
    size: int
    batch: WalkForm
    rows: WalkForm
    cols: WalkForm
    row_vector: int = 1
    col_vector: int = 1
    inner: bool = False

    @property
    def is_left(self) -> bool:
        """Whether it is the first factor, whose lines are rows."""
        return self.name == "a"


def _vector(
    along: ByteWalk, count: int, others: Sequence[ByteWalk], offset: int, itemsize: int
) -> int:
    """How many elements along an index may be one aligned access of at most 16 bytes, where the
    address of the buffer is a multiple of 16."""
    if along.form.step is not Spacing.ADJACENT:
        return 1
    jumps = [offset * itemsize, *along.strides[:-1]]
    jumps += [stride for walk in others for stride in walk.strides]
    inner = along.sizes[-1] if along.form.rank > 1 else count
    for width in (16 // itemsize, 8 // itemsize, 4 // itemsize):
        if width > 1 and inner % width == 0 and not any(j % (width * itemsize) for j in jumps):
            return width
    return 1


def _operand_form(name: str, type: ScalarType, operand: Operand) -> tuple[GemmOperand, Numbers]:
    itemsize = operand.dtype.itemsize
    batch, rows, cols = (walk_of(d, itemsize) for d in (operand.batch, operand.rows, operand.cols))
    row_count, col_count = prod(operand.rows.sizes), prod(operand.cols.sizes)
    form = GemmOperand(
        name,
        type,
        operand.dtype.name,
        itemsize,
        batch.form,
        rows.form,
        cols.form,
        _vector(rows, row_count, (batch, cols), operand.offset, itemsize),
        _vector(cols, col_count, (batch, rows), operand.offset, itemsize),
    )
    numbers = {f"{name}.slot": operand.slot, f"{name}.offset": operand.offset * itemsize}
    for part, walk in (("batch", batch), ("rows", rows), ("cols", cols)):
        numbers.update(walk.numbers(f"{name}.{part}"))
    return form, numbers


def factor_form(name: str, operand: Operand, element: Accumulator) -> GemmOperand:
    """A factor, whose elements are widened to the accumulator where they are loaded."""
    return _operand_form(name, element.name, operand)[0]


# ---- what is done with sums
class FinishForm(NamedTuple):
    """From finished sums to results.  Without a program sums are stored as they are.  `width`:
    columns that one thread may finish together, as aligned vectors."""

    element: Accumulator
    program: Program | None
    reads: tuple[GemmOperand, ...]
    outs: tuple[GemmOperand, ...]
    width: int


def _fits(stream: GemmOperand, operand: Operand, width: int) -> bool:
    """Whether `width` columns are one element, or adjacent and aligned."""
    walk = walk_of(operand.cols, stream.size)
    if walk.form.rank == 0:
        return True
    enough = min(width, 16 // stream.size)
    return stream.col_vector >= enough and (walk.form.rank == 1 or walk.sizes[-1] % width == 0)


def reads_of(kernel: GemmKernel) -> list[Operand]:
    """What the epilogue reads, as operands with the sizes of the result."""
    out, found = kernel.outs[0], []
    for access in kernel.reads:
        start, parts = 0, []
        for sizes in (out.batch.sizes, out.rows.sizes, out.cols.sizes):
            parts.append(Dims(sizes, tuple(access.strides[start : start + len(sizes)])))
            start += len(sizes)
        found.append(Operand(access.slot, access.dtype, access.offset, *parts))
    return found


def finish_of(kernel: GemmKernel) -> FinishForm:
    """The form of what is done with the sums of a kernel."""
    element = element_of(kernel.acc)
    program = epilogue_of(kernel, element.name)
    types: list[ScalarType] = [element.name] * len(kernel.outs)
    if program is not None:
        types = [program.instrs[number].type for number in program.outs]
    pairs = [
        (_operand_form(f"read{i}", program.args[i + 1], operand)[0], operand)
        for i, operand in enumerate(reads_of(kernel))
        if program is not None
    ]
    reads = tuple(form for form, _ in pairs)
    pairs += [
        (_operand_form(f"out{i}", type, out)[0], out)
        for i, (type, out) in enumerate(zip(types, kernel.outs, strict=True))
    ]
    outs = tuple(form for form, _ in pairs[len(reads) :])
    width = 16 // element.size
    if kernel.n % width or not all(_fits(form, operand, width) for form, operand in pairs):
        width = 1
    return FinishForm(element, program, reads, outs, width)


def numbers_of(kernel: GemmKernel) -> Numbers:
    """Every number of a kernel by the name that texts ask for it with."""
    operands = [("a", kernel.a), ("b", kernel.b)]
    operands += [(f"read{i}", read) for i, read in enumerate(reads_of(kernel))]
    operands += [(f"out{i}", out) for i, out in enumerate(kernel.outs)]
    found = {"batch": kernel.batch, "m": kernel.m, "n": kernel.n, "k": kernel.k}
    for name, operand in operands:
        found.update(_operand_form(name, "f32", operand)[1])
    found.update({f"param{i}": bits for i, bits in enumerate(kernel.params)})
    return found
