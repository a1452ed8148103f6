"""Triangular systems and LU factorizations of stacks, which NumPy does not show.

Invariant: float64 or complex128 arrays of NumPy in one layout; results are fresh.  Large matrices
go to the library of NumPy's wheel one by one; small ones, and all where there is no such library,
are computed with NumPy's own functions, a stack at once.  Shapes alone decide.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ...core.errors import LinAlgError
from .host import lapack
from .library import find

__all__ = ["substitute", "factorize", "order_of"]

BLOCK = 64  # rows that NumPy's `solve` takes at once; products do the rest
PANEL = 32  # columns that are eliminated one by one
LIBRARY = find()
SINGULAR = "solve_triangular: a zero on the diagonal of a matrix"
_solve = lapack("solve", np.linalg.solve, SINGULAR)


def _one_by_one(count: int, size: int) -> bool:
    """Whether so many matrices are few, or large, so that a call for each is little."""
    return LIBRARY is not None and (count <= 4 or size >= 32)


def substitute(
    factor: np.ndarray, right: np.ndarray, upper: bool, unit: bool = False
) -> np.ndarray:
    """The solution of factor @ x = right from one triangle of `factor`; stacks broadcast."""
    size, batch = factor.shape[-1], np.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    if not _one_by_one(prod(batch), size):
        return _by_blocks(factor, right, upper, unit)
    factor = np.broadcast_to(factor, (*batch, size, size))
    right = np.broadcast_to(right, (*batch, *right.shape[-2:]))
    solved = np.empty_like(right)
    for number in np.ndindex(*batch):
        one = LIBRARY.substitute(np.ascontiguousarray(factor[number]), right[number], upper, unit)  # type: ignore[union-attr]
        if one is None:
            raise LinAlgError(SINGULAR)
        solved[number] = one
    return solved


def _by_blocks(factor: np.ndarray, right: np.ndarray, upper: bool, unit: bool) -> np.ndarray:
    """With NumPy's `solve`; a lower triangle is turned around: elimination with pivots leaves an
    upper one as it is."""
    size = factor.shape[-1]
    if not upper:
        turned = _by_blocks(factor[..., ::-1, ::-1], right[..., ::-1, :], True, unit)
        return np.ascontiguousarray(turned[..., ::-1, :])
    triangle = np.triu(factor)
    if unit:
        diagonal = np.arange(size)
        triangle[..., diagonal, diagonal] = 1
    if size <= BLOCK:
        return _solve(triangle, right)  # type: ignore[no-any-return]
    batch = np.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    solved = np.empty((*batch, *right.shape[-2:]), right.dtype)
    stop = size
    while stop:
        start = max(stop - BLOCK, 0)
        rest = right[..., start:stop, :]
        if stop < size:
            rest = rest - triangle[..., start:stop, stop:] @ solved[..., stop:, :]
        solved[..., start:stop, :] = _solve(triangle[..., start:stop, start:stop], rest)
        stop = start
    return solved


def factorize(operand: np.ndarray, pivot: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(LU, pivots, order) of a stack: LU as LAPACK's getrf packs it, pivots from 1, and the rows
    of the operand in the order of the product."""
    *batch, rows, columns = operand.shape
    least, count = min(rows, columns), prod(batch)
    packed = operand.reshape(count, rows, columns).copy()
    pivots = np.broadcast_to(np.arange(1, least + 1, dtype=np.int32), (count, least)).copy()
    if pivot and packed.size and _one_by_one(count, least):
        for number in range(count):
            packed[number], pivots[number] = LIBRARY.factorize(packed[number])  # type: ignore[union-attr]
    else:
        _eliminate_all(packed, pivots, pivot)
    pivots = pivots.reshape(*batch, least)
    return packed.reshape(operand.shape), pivots, order_of(pivots, rows)


def _eliminate_all(packed: np.ndarray, pivots: np.ndarray, pivot: bool) -> None:
    """By panels of columns, all matrices at once, in place."""
    columns, least = packed.shape[-1], pivots.shape[-1]
    for start in range(0, least, PANEL):
        stop = min(start + PANEL, least)
        for column in range(start, stop):
            _eliminate(packed, pivots, column, stop, pivot)
        if stop < columns:
            corner, right = packed[:, start:stop, start:stop], packed[:, start:stop, stop:]
            right[...] = _by_blocks(corner, right, False, True)
            packed[:, stop:, stop:] -= packed[:, stop:, start:stop] @ right


def _eliminate(packed: np.ndarray, pivots: np.ndarray, column: int, stop: int, pivot: bool) -> None:
    """One column of a panel that ends before `stop`; where no pivot is left it stays."""
    if pivot:
        left = packed[:, column:, column]
        chosen = column + (np.abs(left.real) + np.abs(left.imag)).argmax(-1)  # as LAPACK does
        pivots[:, column] = chosen + 1
        numbers = np.arange(packed.shape[0])
        moved = packed[numbers, chosen]
        packed[numbers, chosen] = packed[:, column]
        packed[:, column] = moved
    below = packed[:, column + 1 :, column]
    head = packed[:, column, column]
    below /= np.where(head == 0, 1, head)[:, None]
    inside = packed[:, column + 1 :, column + 1 : stop]
    inside -= below[:, :, None] * packed[:, None, column, column + 1 : stop]


def order_of(pivots: np.ndarray, rows: int) -> np.ndarray:
    """The order of rows that the exchanges with `pivots` (from 1) lead to."""
    *batch, least = pivots.shape
    exchanges = pivots.reshape(prod(batch), least).astype(np.int64) - 1
    places = np.arange(least)
    if ((exchanges < places) | (exchanges >= rows)).any():
        raise LinAlgError(f"pivots are from 1 to {rows}, and none is before its own row")
    count = exchanges.shape[0]
    order = np.broadcast_to(np.arange(rows), (count, rows)).copy()
    if count < 32:  # Python's lists are as fast as arrays of so many
        for number in range(count):
            one = list(range(rows))
            for place, other in enumerate(exchanges[number].tolist()):
                one[place], one[other] = one[other], one[place]
            order[number] = one
        return order.reshape(*batch, rows)
    numbers = np.arange(count)
    for place in range(least):
        other = exchanges[:, place]
        moved = order[numbers, other]
        order[numbers, other] = order[:, place]
        order[:, place] = moved
    return order.reshape(*batch, rows)
