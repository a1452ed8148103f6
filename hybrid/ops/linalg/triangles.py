"""Triangular systems and LU factorizations of stacks, which NumPy's LAPACK does not show.

Invariant: float64 arrays of NumPy in one layout; results are fresh.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ...core.errors import LinAlgError
from .host import lapack

__all__ = ["substitute", "factorize", "order_of"]

BLOCK = 64  # rows that LAPACK solves at once; products do the rest
PANEL = 32  # columns that are eliminated one by one
_solve = lapack("solve", np.linalg.solve, "solve_triangular: a zero on the diagonal of a matrix")


def substitute(
    factor: np.ndarray, right: np.ndarray, upper: bool, unit: bool = False
) -> np.ndarray:
    """The solution of factor @ x = right from one triangle of `factor`; stacks broadcast.

    A lower one is turned around: elimination with pivots leaves an upper triangle as it is."""
    size = factor.shape[-1]
    if not upper:
        turned = substitute(factor[..., ::-1, ::-1], right[..., ::-1, :], True, unit)
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
    of the operand in the order of the product.  By panels of columns, all matrices at once."""
    *batch, rows, columns = operand.shape
    least = min(rows, columns)
    packed = operand.reshape(prod(batch), rows, columns).copy()
    count = packed.shape[0]
    pivots = np.broadcast_to(np.arange(1, least + 1, dtype=np.int32), (count, least)).copy()
    for start in range(0, least, PANEL):
        stop = min(start + PANEL, least)
        for column in range(start, stop):
            _eliminate(packed, pivots, column, stop, pivot)
        if stop < columns:
            corner, right = packed[:, start:stop, start:stop], packed[:, start:stop, stop:]
            right[...] = substitute(np.ascontiguousarray(corner), right, False, unit=True)
            packed[:, stop:, stop:] -= packed[:, stop:, start:stop] @ right
    pivots = pivots.reshape(*batch, least)
    return packed.reshape(operand.shape), pivots, order_of(pivots, rows)


def _eliminate(packed: np.ndarray, pivots: np.ndarray, column: int, stop: int, pivot: bool) -> None:
    """One column of a panel that ends before `stop`; where no pivot is left it stays."""
    if pivot:
        chosen = column + np.abs(packed[:, column:, column]).argmax(-1)
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
    exchanges = pivots.reshape(prod(batch), least)
    count = exchanges.shape[0]
    order = np.broadcast_to(np.arange(rows), (count, rows)).copy()
    numbers = np.arange(count)
    for place in range(least):
        other = exchanges[:, place] - 1
        if ((other < place) | (other >= rows)).any():
            raise LinAlgError(f"a pivot of row {place} is not in {place + 1}..{rows}")
        moved = order[numbers, other]
        order[numbers, other] = order[:, place]
        order[:, place] = moved
    return order.reshape(*batch, rows)
