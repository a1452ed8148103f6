"""Rules of gathers and scatters: rows of a batch are told apart by one more index.

Invariant: indices stay in range, and updates of one element in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.door.bind import bind
from ...ir.op import extend
from ..axes.views import moveaxis, reshape
from ..build.create import arange
from ..elementwise.arithmetic import add, multiply
from ..indexing.along import ALONG
from ..indexing.index import GATHER, SCATTER_ADD, SCATTER_SET
from ..indexing.search import SEARCH
from .tools import Flags, every, unfolded

Tensor = Any
Inputs = Sequence[Tensor]


def _gather(inputs: Inputs, flags: Flags, size: int, axis: int, batch: int) -> Tensor:
    operand, *idx = inputs
    if not any(flags[1:]):
        return bind(GATHER, operand, *idx, axis=axis + 1, batch=batch)
    tail = operand._a.ndim - flags[0] - axis - len(idx)
    lifted = [_index(i, flag, batch, tail) for i, flag in zip(idx, flags[1:])]
    if not flags[0]:
        return moveaxis(bind(GATHER, operand, *lifted, axis=axis, batch=batch + 1), axis, 0)
    rows = reshape(arange(size, device=operand._a.device), (size, *[1] * (batch + tail)))
    moved = moveaxis(operand, 0, axis)
    return moveaxis(bind(GATHER, moved, rows, *lifted, axis=axis, batch=batch + 1), axis, 0)


def _index(index: Tensor, flag: bool, batch: int, tail: int) -> Tensor:
    """An index tensor with the batch axis before its own axes, which are as many as those of the
    others."""
    if not flag:
        return index
    size, *rest = index._a.shape
    return reshape(index, (size, *[1] * (batch + tail - len(rest)), *rest))


def _numbers(index: Tensor, rows: int, size: int) -> Tensor:
    """Numbers of rows in the tables of all rows of the batch, stacked."""
    count = index._a.shape[1]
    first = multiply(arange(size, device=index._a.device), rows)
    return reshape(add(reshape(first, (size, 1)), index), (size * count,))


def _scatter_add(inputs: Inputs, flags: Flags, size: int, rows: int) -> Tensor:
    index, update = every(inputs, flags, size)
    _, count, inner = update._a.shape
    if not flags[0]:  # one table, whose rows are those of all
        wide = reshape(moveaxis(update, 0, 1), (count, size * inner))
        made = bind(SCATTER_ADD, inputs[0], wide, rows=rows)
        return moveaxis(reshape(made, (rows, size, inner)), 1, 0)
    flat = reshape(update, (size * count, inner))
    made = bind(SCATTER_ADD, _numbers(index, rows, size), flat, rows=size * rows)
    return unfolded(made, size)


def _scatter_set(inputs: Inputs, flags: Flags, size: int) -> Tensor:
    base, index, update = every(inputs, flags, size)
    _, rows, inner = base._a.shape
    flat = reshape(update, (size * update._a.shape[1], inner))
    table = reshape(base, (size * rows, inner))
    return unfolded(bind(SCATTER_SET, table, _numbers(index, rows, size), flat), size)


def _along(inputs: Inputs, flags: Flags, size: int, axis: int) -> Tensor:
    return bind(ALONG, *every(inputs, flags, size), axis=axis + 1)


def _searchsorted(inputs: Inputs, flags: Flags, size: int, **params: Any) -> Tensor | None:
    """Places of many values in one sequence; several sequences have no such form."""
    return None if flags[0] else bind(SEARCH, *inputs, **params)


extend(GATHER, batch=_gather)
extend(SCATTER_ADD, batch=_scatter_add)
extend(SCATTER_SET, batch=_scatter_set)
extend(ALONG, batch=_along)
extend(SEARCH, batch=_searchsorted)
