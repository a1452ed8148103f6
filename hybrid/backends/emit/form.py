"""What a loop kernel looks like apart from its numbers, and the argument words that hold the
numbers.

Invariant: a `Form` has no size, offset, slot or stride in it, so kernels with equal forms share one
code; `Words` fixes where each number lies in the argument words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...core.shapes import collapse, contiguous_strides
from ...ir.scalar.program import Program

__all__ = [
    "COLUMN_KINDS",
    "OperandForm",
    "Form",
    "Words",
    "Axes",
    "affine_values",
    "kind_of_stride",
]

Strides = tuple[int, ...]
COLUMN_KINDS = ("column", "strip_part", "strip_join")


class OperandForm(NamedTuple):
    """`walk` along the inner axis: '0' the same element, '1' adjacent, 's' any stride, 'm' several
    axes, 'n' several axes of which the last is adjacent, 'g' read by `load` only, 't' through
    turned tiles, 'r' written once per row.  `late`: no store before all reads of a row.  `stream`:
    too large for caches to be of use."""

    type: str
    walk: str
    late: bool = False
    stream: bool = False


class Form(NamedTuple):
    """`kind`: map, tiled (a map that reads some operand across its rows), row (reductions along the
    inner axis) or column (reductions along other axes); part and join: one pass over long rows, by
    blocks, and joining its block results (`stage` numbers the passes); strip_part and strip_join:
    the same for columns. `affine` are the values of `index` and `coord`: (attr of coord or None,
    walk).  `outer` counts outer axes, `multi` the axes that 'm' walks decompose the inner index
    into, `group` the reduced axes of a column kernel.  `short`: at most 16 inner elements.
    `buffered`: rows fit a buffer in scratch."""

    kind: str
    program: Program
    reads: tuple[OperandForm, ...]
    writes: tuple[OperandForm, ...]
    affine: tuple[tuple[int | None, str], ...]
    outer: int
    multi: int = 0
    group: int = 0
    short: bool = False
    buffered: bool = False
    check: bool = False
    stage: int = 0


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

    def slot(self, k: int) -> int:
        return 2 * k

    def param(self, i: int) -> int:
        return self._params + i

    def dim(self, d: int) -> int:
        """Size of outer axis d."""
        return self._dims + d

    @property
    def n(self) -> int:
        """Inner size; the next two words are the block size and the number of blocks."""
        return self._dims + self.form.outer

    def stride(self, k: int, axis: int) -> int:
        """Stride of walk k (operands, then affine values) along outer, group and inner axes."""
        return self._strides + k * self.rank + axis

    def group(self, d: int) -> int:
        """Size of group axis d."""
        return self._group + d

    def multi(self, d: int) -> int:
        """Size of the d-th axis that the inner index decomposes into."""
        return self._multi + d

    def multi_stride(self, k: int, d: int) -> int:
        return self._multi + self.form.multi * (1 + k) + d

    @property
    def temp(self) -> int:
        """Slot of the workspace of a staged form; the next word counts its cells per row."""
        return self._buffers

    def buffer(self, i: int) -> int:
        """Offset of the i-th row buffer in scratch."""
        return self._buffers + i


class Axes(NamedTuple):
    """A space with one stride tuple per walk, its axes dropped, ordered and merged."""

    shape: tuple[int, ...]
    strides: list[Strides]

    @staticmethod
    def of(shape: Sequence[int], strides: Sequence[Strides], lead: int | None = None) -> Axes:
        """Merge axes; with `lead`, order them first (freely) by that walk's falling stride."""
        if lead is not None and len(shape) > 1:
            order = sorted(
                range(len(shape)), key=lambda a: -abs(strides[lead][a]) if shape[a] > 1 else 0
            )
            shape = [shape[a] for a in order]
            strides = [tuple(s[a] for a in order) for s in strides]
        dims, out = collapse(shape, strides)
        return Axes(dims, out)

    def last(self, axis: int) -> Axes:
        """The same with an outer axis moved next to the inner one."""
        order = [*(d for d in range(len(self.shape) - 1) if d != axis), axis, len(self.shape) - 1]
        return Axes(
            tuple(self.shape[d] for d in order), [tuple(s[d] for d in order) for s in self.strides]
        )

    def swapped(self) -> Axes:
        """The same with the last two axes exchanged."""

        def swap(x: tuple[int, ...]) -> tuple[int, ...]:
            return (*x[:-2], x[-1], x[-2])

        return Axes(swap(self.shape), [swap(s) for s in self.strides])


def affine_values(
    program: Program, shape: tuple[int, ...]
) -> tuple[list[int | None], list[Strides]]:
    """A program's position-dependent values: (attr of coord, or None for index) and strides."""
    attrs: list[int | None] = []
    strides: list[Strides] = []
    for ins in program.instrs:
        if ins.prim == "index":
            attrs.append(None)
            strides.append(contiguous_strides(shape))
        elif ins.prim == "coord":
            attrs.append(ins.attr)
            strides.append(tuple(int(a == ins.attr) for a in range(len(shape))))
    return attrs, strides


def kind_of_stride(stride: int, unit: int = 1) -> str:
    return "0" if stride == 0 else "1" if stride == unit else "s"
