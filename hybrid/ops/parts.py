"""Gradients of a value that was used in pieces, added up in one go.

Invariant: the total depends on the parts and their order only, so a backward pass gives the same
bits however it is run.  Slices that do not overlap are joined instead of being added as boxes of
zeros, and small products of one shape (a weight used at every time step) become one product over
their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .common import Part
from .contract import WeightPart, matmul
from .create import zeros
from .elementwise import add
from .movement import SlicePart, embed, matrix_transpose, reshape
from .place import concat

__all__: list[str] = []

Ints = tuple[int, ...]
Tensor = Any


def total(parts: Sequence[Part]) -> Tensor:
    """The sum of the gradients that the parts stand for."""
    out: Tensor = None
    for kind, join in ((SlicePart, _joined_slices), (WeightPart, _joined_products)):
        same: list[Any] = [p for p in parts if type(p) is kind]
        got = None if len(same) < 2 else join(same)
        sums = [p() for p in same] if got is None else [got]
        for g in sums:
            out = g if out is None else add(out, g)
    return out


# ---- slices
def _sizes(p: SlicePart) -> Ints:
    """The box of a part with all its axes."""
    inner = iter(p.g.shape)
    return tuple(1 if i in p.drop else next(inner) for i in range(len(p.shape)))


def _axis_of(parts: Sequence[SlicePart], sizes: Sequence[Ints]) -> int | None:
    """The one axis along which the boxes differ;
    None when there are several, or a box has steps."""
    first = parts[0]
    if any(k != 1 for p in parts for k in p.step) or any(0 in s for s in sizes):
        return None
    axes = {
        a
        for p, s in zip(parts, sizes)
        for a in range(len(first.shape))
        if p.begin[a] != first.begin[a] or s[a] != sizes[0][a]
    }
    return axes.pop() if len(axes) == 1 else None


def _joined_slices(parts: Sequence[SlicePart]) -> Tensor | None:
    """The boxes side by side, zeros between them; None when they overlap or do not line up."""
    sizes = [_sizes(p) for p in parts]
    axis = _axis_of(parts, sizes)
    if axis is None:
        return None
    order = sorted(range(len(parts)), key=lambda i: parts[i].begin[axis])
    first, pieces = parts[order[0]], []
    start = at = first.begin[axis]
    for i in order:
        begin = parts[i].begin[axis]
        if begin < at:
            return None
        if begin > at:
            gap = tuple(begin - at if a == axis else n for a, n in enumerate(sizes[i]))
            pieces.append(zeros(gap, dtype=first.g.dtype, device=first.g.device))
        pieces.append(reshape(parts[i].g, sizes[i]))
        at = begin + sizes[i][axis]
    out = concat(pieces, axis)
    if out.shape == first.shape:
        return out
    corner = tuple(start if a == axis else b for a, b in enumerate(first.begin))
    return embed(out, first.shape, corner, first.step, ())


# ---- products
def _joined_products(parts: Sequence[WeightPart]) -> Tensor | None:
    """One product over all rows, where copying the rows costs less than adding up the products."""
    outs, ins = parts[0].shape
    rows = sum(p.rows for p in parts)
    if rows * (outs + ins) > 2 * len(parts) * outs * ins:
        return None
    g, x = (concat(factors, 0) for factors in zip(*(p.factors() for p in parts)))
    return matmul(matrix_transpose(g), x)
