"""What a loop kernel looks like apart from its numbers, and the argument words that hold the
numbers.

Invariant: a `Form` has no size, offset, slot or stride in it, so kernels with equal forms share one
code; `Words` fixes where each number lies in the argument words.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from ...core.shapes import collapse, contiguous_strides
from ...ir.scalar.program import Program, ScalarType

__all__ = [
    "Walk",
    "FormKind",
    "OperandForm",
    "Form",
    "Words",
    "Axes",
    "affine_values",
]

Strides = tuple[int, ...]


class Walk(StrEnum):
    """How an operand lies along the inner axis (strings, so that forms are hashed quickly)."""

    SAME = "same"  # the same element everywhere
    ADJACENT = "adjacent"
    COUNTED = "counted"  # an affine value: the number of the element in its row
    STRIDED = "strided"
    EVERY_OTHER = "every other"  # an operand's, a stride of 2
    EVEN = "even"  # results that fill each other's gaps: this one's, and
    ODD = "odd"  # those of the next result
    AXES = "axes"  # several axes, which the inner index is divided into
    RUNS = "runs"  # several axes, adjacent along the last of them
    COPIED = "copied"  # runs, through a row buffer that holds them one after the other
    GATHERED = "gathered"  # read by `load` only
    TURNED = "turned"  # through turned tiles
    ONCE = "once"  # written once per row

    @staticmethod
    def of(stride: int) -> Walk:
        """Of an operand with that stride along the inner axis."""
        if stride == 0:
            return Walk.SAME
        return Walk.ADJACENT if stride == 1 else Walk.STRIDED

    @property
    def several_axes(self) -> bool:
        return self is Walk.AXES or self is Walk.RUNS

    @property
    def lane_by_lane(self) -> bool:
        """Whether a vector of elements may take one access for each."""
        return self in (Walk.STRIDED, Walk.EVEN, Walk.ODD) or self.several_axes


class FormKind(StrEnum):
    """What a kernel's code is made of; the symbol of the code starts with it."""

    MAP = "map"  # every element on its own
    TILED = "tiled"  # a map that reads some operand across its rows
    ROW = "row"  # reductions along the inner axis
    COLUMN = "column"  # reductions along other axes
    ROW_PART = "part"  # one pass over long rows, by blocks
    ROW_JOIN = "join"  # its block results joined
    STRIP_PART = "strip_part"  # the same for columns
    STRIP_JOIN = "strip_join"

    @property
    def columns(self) -> bool:
        """Whether reductions run over other axes than the inner one."""
        return self in (FormKind.COLUMN, FormKind.STRIP_PART, FormKind.STRIP_JOIN)


class OperandForm(NamedTuple):
    """`late`: no store before all reads of a row.  `stream`: too large for caches to be of use."""

    type: ScalarType
    walk: Walk
    late: bool = False
    stream: bool = False


class Form(NamedTuple):
    """`affine`: the values of `index` and `coord`: (attr of coord or None, walk).  `outer` counts
    outer axes, `multi` the axes that walks over several axes divide the inner index into, and
    `group` the reduced axes of a column kernel.  `short`: so many vectors are a row (0: any
    number), the last of them a whole one where `whole`.  `buffered`: rows fit a buffer in scratch.
    `pass_number`: the pass over the row that a part or join is of."""

    kind: FormKind
    program: Program
    reads: tuple[OperandForm, ...]
    writes: tuple[OperandForm, ...]
    affine: tuple[tuple[int | None, Walk], ...]
    outer: int
    multi: int = 0
    group: int = 0
    short: int = 0
    whole: bool = False
    buffered: bool = False
    check: bool = False
    pass_number: int = 0

    @property
    def walks(self) -> list[Walk]:
        """Those of operands, then of results."""
        return [operand.walk for operand in (*self.reads, *self.writes)]


class Words:
    """Positions in the argument words of a form."""

    __slots__ = (
        "form",
        "ops",
        "_params",
        "_dims",
        "_strides",
        "_multi",
        "_group",
        "_buffers",
        "rank",
    )

    def __init__(self, form: Form) -> None:
        self.form = form
        self.ops = len(form.reads) + len(form.writes)
        walks = self.ops + len(form.affine)
        self.rank = form.outer + form.group + 1
        self._params = 2 * self.ops
        self._dims = self._params + len(form.program.params)
        self._strides = self._dims + form.outer + 3
        self._group = self._strides + walks * self.rank
        self._multi = self._group + form.group
        self._buffers = self._multi + form.multi * (1 + walks)

    def slot(self, operand: int) -> int:
        return 2 * operand

    def param(self, number: int) -> int:
        return self._params + number

    def dim(self, axis: int) -> int:
        """Size of outer axis d."""
        return self._dims + axis

    @property
    def n(self) -> int:
        """Inner size; the next two words are the block size and the number of blocks."""
        return self._dims + self.form.outer

    def stride(self, walk: int, axis: int) -> int:
        """Stride of a walk (operands, then affine values) along outer, group and inner axes."""
        return self._strides + walk * self.rank + axis

    def group(self, axis: int) -> int:
        """Size of group axis d."""
        return self._group + axis

    def multi(self, axis: int) -> int:
        """Size of an axis that the inner index decomposes into."""
        return self._multi + axis

    def multi_stride(self, walk: int, axis: int) -> int:
        return self._multi + self.form.multi * (1 + walk) + axis

    @property
    def temp(self) -> int:
        """Slot of the workspace of blocks' results; the next word counts its cells per row."""
        return self._buffers

    def buffer(self, number: int) -> int:
        """Offset of the i-th row buffer in scratch."""
        return self._buffers + number


class Axes(NamedTuple):
    """A space with one stride tuple per walk, its axes dropped, ordered and merged."""

    shape: tuple[int, ...]
    strides: list[Strides]

    @staticmethod
    def of(shape: Sequence[int], strides: Sequence[Strides], lead: int | None = None) -> Axes:
        """Merge axes; with `lead`, order them first (freely) by that walk's falling stride."""
        if lead is not None and len(shape) > 1:
            order = sorted(
                range(len(shape)),
                key=lambda axis: -abs(strides[lead][axis]) if shape[axis] > 1 else 0,
            )
            shape = [shape[a] for a in order]
            strides = [tuple(s[a] for a in order) for s in strides]
        dims, merged = collapse(shape, strides)
        return Axes(dims, merged)

    def last(self, axis: int) -> Axes:
        """The same with an outer axis moved next to the inner one."""
        order = [*(d for d in range(len(self.shape) - 1) if d != axis), axis, len(self.shape) - 1]
        return Axes(
            tuple(self.shape[d] for d in order), [tuple(s[d] for d in order) for s in self.strides]
        )

    def swapped(self) -> Axes:
        """The same with the last two axes exchanged."""

        def swap(items: tuple[int, ...]) -> tuple[int, ...]:
            return (*items[:-2], items[-1], items[-2])

        return Axes(swap(self.shape), [swap(s) for s in self.strides])


def affine_values(
    program: Program, shape: tuple[int, ...]
) -> tuple[list[int | None], list[Strides]]:
    """A program's position-dependent values: (attr of coord, or None for index) and strides."""
    attrs: list[int | None] = []
    strides: list[Strides] = []
    for instr in program.instrs:
        if instr.prim == "index":
            attrs.append(None)
            strides.append(contiguous_strides(shape))
        elif instr.prim == "coord":
            attrs.append(instr.attr)
            strides.append(tuple(int(a == instr.attr) for a in range(len(shape))))
    return attrs, strides
