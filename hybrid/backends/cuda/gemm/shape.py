"""The same product in another shape: transposed, or with a batch among its columns.

Invariant: each output keeps its factors, its chain of k and its address; only the name of its index
changes.
"""

from __future__ import annotations

from math import prod

from ....core.shapes import collapse
from ...plan import Access, Dims, GemmKernel, Operand

__all__ = ["merged", "oriented", "turned"]

Parts = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def turned(kernel: GemmKernel) -> GemmKernel:
    """The transposed product: its rows are the columns of the other."""

    def turn(operand: Operand) -> Operand:
        return operand._replace(rows=operand.cols, cols=operand.rows)

    reads = []
    for read in kernel.reads:
        batch, rows, cols = _parts(read, kernel)
        reads.append(read._replace(strides=batch + cols + rows))
    return kernel._replace(
        m=kernel.n,
        n=kernel.m,
        a=turn(kernel.b),
        b=turn(kernel.a),
        outs=tuple(turn(out) for out in kernel.outs),
        reads=tuple(reads),
    )


def _parts(read: Access, kernel: GemmKernel) -> Parts:
    """Strides of what an epilogue reads: over batch, rows and columns."""
    out = kernel.outs[0]
    batch, rows = len(out.batch.sizes), len(out.batch.sizes) + len(out.rows.sizes)
    return read.strides[:batch], read.strides[batch:rows], read.strides[rows:]


def oriented(kernel: GemmKernel) -> bool:
    """Whether the columns of the first result lie side by side, or its rows do not either."""

    def adjacent(dims: Dims) -> bool:
        sizes, (strides,) = collapse(dims.sizes, [dims.strides])
        return bool(strides) and strides[-1] == 1

    out = kernel.outs[0]
    return adjacent(out.cols) or not adjacent(out.rows)


def merged(kernel: GemmKernel) -> GemmKernel:
    """The product with those dimensions of the batch among the columns that the left factor does
    not have: tiles then go on from one product of the batch to the next."""
    sizes, strides = kernel.a.batch
    moved = [axis for axis, stride in enumerate(strides) if stride == 0 and sizes[axis] > 1]
    count = prod(sizes[axis] for axis in moved)
    if not moved or kernel.order != "chain" or count * kernel.n >= 1 << 31:
        return kernel
    kept = [axis for axis in range(len(sizes)) if axis not in moved]

    def taken(values: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
        return tuple(values[axis] for axis in axes)

    def less(dims: Dims) -> Dims:
        return Dims(taken(dims.sizes, kept), taken(dims.strides, kept))

    def more(batch: Dims, cols: Dims) -> Dims:
        return Dims(
            taken(batch.sizes, moved) + cols.sizes, taken(batch.strides, moved) + cols.strides
        )

    def widened(operand: Operand) -> Operand:
        return operand._replace(batch=less(operand.batch), cols=more(operand.batch, operand.cols))

    reads = []
    for read in kernel.reads:
        batch, rows, cols = _parts(read, kernel)
        over = taken(batch, kept) + rows + taken(batch, moved) + cols
        reads.append(read._replace(strides=over))
    return kernel._replace(
        batch=kernel.batch // count,
        n=kernel.n * count,
        a=kernel.a._replace(batch=less(kernel.a.batch)),
        b=widened(kernel.b),
        outs=tuple(widened(out) for out in kernel.outs),
        reads=tuple(reads),
    )
