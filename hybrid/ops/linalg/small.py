"""Small matrices in large stacks: elimination written out as a program of scalars, which runs on
many matrices at once.

Invariant: float64 inside and rounded once, rows exchanged for the largest pivot, as in LAPACK; what
is chosen depends on shapes only, so eager calls and replays agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import LinAlgError
from ...ir.door.bind import bind
from ...ir.op import NO_GRAD, HostOp, MapOp, Op, register
from ...ir.scalar.program import TYPE, Builder, Val
from ..axes.views import broadcast_to, matrix_transpose
from ..build.create import zeros_like
from ..build.join import stack
from ..elementwise.arithmetic import negative
from ..products.contract import matmul
from .host import Ints, matrices, of_matrices, symmetric

Tensor = Any
Rows = list[list[Val]]

SIZE = 6  # rows of the largest such matrix: programs grow with the third power
STACK = 8  # matrices in the smallest such stack


def is_small(operand: Tensor, batch: Ints | None = None) -> bool:
    """Whether a stack is one of small square matrices of real numbers, and many (of `batch`)."""
    rows, columns = operand.shape[-2:] if operand.ndim > 1 else (0, 0)
    if not 0 < columns <= SIZE or rows != columns or dt.is_complex(operand.dtype):
        return False
    return prod(operand.shape[:-2] if batch is None else batch) >= STACK


# ---- programs
def _read(algebra: Builder, operand: Any, matrix: Val, size: int) -> Rows:
    """The elements of one matrix of a stack."""
    first = matrix * size**2
    return [
        [
            algebra.convert(operand.at(first + (row * size + column)), "f64")
            for column in range(size)
        ]
        for row in range(size)
    ]


def _triangle(algebra: Builder, rows: Rows) -> tuple[Val, Val]:
    """Gauss's elimination, in place; the sign of the exchanges, and whether a pivot is 0."""
    size = len(rows)
    sign = algebra.const("f64", 1.0)
    singular = algebra.const("b1", False)
    for place in range(size):
        head = rows[place]
        for other in range(place + 1, size):
            row = rows[other]
            swap = algebra.abs(row[place]) > algebra.abs(head[place])
            pairs = list(zip(head, row))
            head = [algebra.select(swap, second, first) for first, second in pairs]
            rows[other] = [algebra.select(swap, first, second) for first, second in pairs]
            sign = algebra.select(swap, -sign, sign)
        rows[place] = head
        empty = head[place] == 0.0
        singular = singular | empty
        for other in range(place + 1, size):
            row = rows[other]
            factor = algebra.select(empty, 0.0, row[place] / head[place])
            rows[other] = [
                value if column <= place else value - factor * head[column]
                for column, value in enumerate(row)
            ]
    return sign, singular


def _back(rows: Rows) -> Rows:
    """What stands behind the triangle, solved from below."""
    size = len(rows)
    solved: Rows = [[] for _ in range(size)]
    for place in reversed(range(size)):
        row = rows[place]
        for column in range(size, len(row)):
            value = row[column]
            for other in range(place + 1, size):
                value = value - row[other] * solved[other][column - size]
            solved[place].append(value / row[place])
    return solved


# ---- what the programs give
def _parts(algebra: Builder, values: list[Val], flag: Val, dtype: np.dtype) -> list[Val]:
    return [*[algebra.convert(value, TYPE[dtype]) for value in values], flag]


def _by_columns(square: Aval, columns: Aval) -> tuple[Aval, ...]:
    """A part for each row of the results, and the flags of the matrices, of each column."""
    part = columns.with_((*columns.shape[:-2], columns.shape[-1]))
    return (*[part] * square.shape[-1], part.with_(part.shape, dt.bool_))


def _rows_reference(function: Any, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows of what NumPy gives, all wrong where it gives nothing."""
    widened = [operand.astype(np.float64) for operand in operands]
    try:
        result = function(*widened)
    except np.linalg.LinAlgError:
        result = np.full_like(widened[-1], np.nan)
    parts = np.moveaxis(result, -2, 0)
    return (*parts, np.isnan(parts).any(0))


def _stacked(parts: Any) -> Tensor:
    """Rows [..., k] as matrices."""
    return stack(list(parts), axis=-2)


def _given(grads: Sequence[Any], like: Tensor) -> Tensor:
    """Gradients of rows as matrices; those that nobody asked for are zero."""
    return _stacked([zeros_like(like) if grad is None else grad for grad in grads])


def _refuse(flags: np.ndarray, failure: str) -> np.ndarray:
    if flags.any():
        raise LinAlgError(failure)
    return flags


REFUSE = register(
    HostOp(
        "refuse",
        1,
        lambda flags, failure: (flags,),
        body=_refuse,
        params=("failure",),
        vjp=NO_GRAD,
        accepts="b",
        reference=lambda flags, failure: flags,
        samples=lambda rng: [([np.zeros(3, bool)], {"failure": "a matrix has no answer"})],
        ulp=0.0,
        doc="LinAlgError where a flag is set.",
    )
)


# ---- determinants
def _det_infer(operand: Aval) -> tuple[Aval, ...]:
    matrices("det", operand, square=True)
    return (operand.with_(operand.shape[:-2]),)


def _det_body(algebra: Builder, operand: Any) -> Val:
    size = operand.shape[-1]
    rows = _read(algebra, operand, algebra.index(), size)
    value, _ = _triangle(algebra, rows)
    for place in range(size):
        value = value * rows[place][place]
    return algebra.convert(value, TYPE[operand.dtype])


def small_det(vjp: Any) -> Op:
    """The record of determinants of small matrices, with the gradient of the others."""
    return register(
        MapOp(
            "small_det",
            1,
            _det_infer,
            body=_det_body,
            gathers=(0,),
            vjp=vjp,
            accepts="f",
            reference=lambda operand: np.linalg.det(operand.astype(np.float64)),
            samples=of_matrices(
                *[((size, size), {}) for size in range(1, SIZE + 1)], ((2, 5, 3, 3), {})
            ),
            ulp=64.0,
            doc="Determinants of small matrices.",
        )
    )


# ---- inverses
def _inverse_infer(operand: Aval) -> tuple[Aval, ...]:
    matrices("inv", operand, square=True)
    return _by_columns(operand, operand)


def _inverse_body(algebra: Builder, operand: Any) -> list[Val]:
    """One column each: what is eliminated again for the next one is little."""
    size = operand.shape[-1]
    matrix = algebra.index() / size
    column = algebra.index() - matrix * size
    rows = _read(algebra, operand, matrix, size)
    for place, row in enumerate(rows):
        row.append(algebra.convert(column == place, "f64"))
    _, singular = _triangle(algebra, rows)
    return _parts(algebra, [row[0] for row in _back(rows)], singular, operand.dtype)


def _inverse_vjp(grads: Any, outs: Any, operand: Tensor) -> tuple[Any]:
    def by_operand() -> Tensor:
        turned = matrix_transpose(_stacked(outs[:-1]))
        given = _given(grads[:-1], outs[0])
        return negative(matmul(matmul(turned, given), turned))

    return (by_operand,)


INVERSES = {
    size: register(
        MapOp(
            f"small_inv_{size}",
            1,
            _inverse_infer,
            body=_inverse_body,
            gathers=(0,),
            nout=size + 1,
            vjp=_inverse_vjp,
            accepts="f",
            facts=frozenset(["optional_grads"]),
            reference=lambda operand: _rows_reference(np.linalg.inv, operand),
            samples=of_matrices(((3, size, size), {})),
            ulp=64.0,
            doc="Rows of the inverses of small matrices, and where there is none.",
        )
    )
    for size in range(1, SIZE + 1)
}


def small_inv(operand: Tensor) -> Tensor:
    """Inverses of a stack of small matrices."""
    *parts, singular = bind(INVERSES[operand.shape[-1]], operand)
    bind(REFUSE, singular, failure="inv: a singular matrix")
    return _stacked(parts)


# ---- systems
def _system_infer(square: Aval, right: Aval) -> tuple[Aval, ...]:
    matrices("solve", square, right, square=True)
    return _by_columns(square, right)


def _system_body(algebra: Builder, square: Any, right: Any) -> list[Val]:
    size, columns = right.shape[-2:]
    number = algebra.index()
    matrix = number if columns == 1 else number / columns
    rows = _read(algebra, square, matrix, size)
    for place, row in enumerate(rows):
        beside = matrix * ((size - 1) * columns) + (number + place * columns)
        row.append(algebra.convert(right.at(beside), "f64"))
    _, singular = _triangle(algebra, rows)
    return _parts(algebra, [row[0] for row in _back(rows)], singular, right.dtype)


def _system_vjp(grads: Any, outs: Any, square: Tensor, right: Tensor) -> tuple[Any, Any]:
    solution, given = _stacked(outs[:-1]), _given(grads[:-1], outs[0])
    to_right = small_solve(matrix_transpose(square), given)
    return lambda: negative(matmul(to_right, matrix_transpose(solution))), to_right


SYSTEMS = {
    size: register(
        MapOp(
            f"small_solve_{size}",
            2,
            _system_infer,
            body=_system_body,
            gathers=(0, 1),
            nout=size + 1,
            vjp=_system_vjp,
            accepts="f",
            facts=frozenset(["optional_grads"]),
            reference=lambda square, right: _rows_reference(np.linalg.solve, square, right),
            samples=of_matrices(
                ((3, size, size), (3, size, 1), {}), ((2, size, size), (2, size, 3), {})
            ),
            ulp=64.0,
            doc="Rows of the solutions of small systems, and where there is none.",
        )
    )
    for size in range(1, SIZE + 1)
}


def small_solve(square: Tensor, right: Tensor) -> Tensor:
    """Solutions of a stack of small systems [..., n, n] and [..., n, k]; leading axes broadcast."""
    batch = np.broadcast_shapes(square.shape[:-2], right.shape[:-2])
    square, right = (broadcast_to(x, (*batch, *x.shape[-2:])) for x in (square, right))
    *parts, singular = bind(SYSTEMS[square.shape[-1]], square, right)
    bind(REFUSE, singular, failure="solve: a singular matrix")
    return _stacked(parts)


# ---- Cholesky
def _cholesky_infer(operand: Aval) -> tuple[Aval, ...]:
    matrices("cholesky", operand, square=True)
    return _by_columns(operand, operand)


def _cholesky_body(algebra: Builder, operand: Any) -> list[Val]:
    size = operand.shape[-1]
    matrix = algebra.index() / size
    rows = _read(algebra, operand, matrix, size)
    wrong = algebra.const("b1", False)
    lower: Rows = [[] for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            value = rows[row][column]
            for other in range(column):
                value = value - lower[row][other] * lower[column][other]
            if row == column:
                wrong = wrong | (value <= 0.0)
                lower[row].append(algebra.op("sqrt", value))
            else:
                lower[row].append(value / lower[column][column])
    here = algebra.index() - matrix * size
    parts = []
    for values in lower:
        found = algebra.const("f64", 0.0)
        for column, value in enumerate(values):
            found = algebra.select(here == column, value, found)
        parts.append(found)
    return _parts(algebra, parts, wrong, operand.dtype)


def small_choleskys(vjp: Any) -> dict[int, Op]:
    """The records of Cholesky factors of small matrices by size; `vjp` of (gradient, factor)."""

    def rows_vjp(grads: Any, outs: Any, operand: Tensor) -> tuple[Any]:
        return (lambda: vjp(_given(grads[:-1], outs[0]), _stacked(outs[:-1])),)

    return {
        size: register(
            MapOp(
                f"small_cholesky_{size}",
                1,
                _cholesky_infer,
                body=_cholesky_body,
                gathers=(0,),
                nout=size + 1,
                vjp=rows_vjp,
                accepts="f",
                facts=frozenset(["optional_grads"]),
                reference=lambda operand: _rows_reference(np.linalg.cholesky, operand),
                samples=of_matrices(((3, size, size), {}), make=symmetric),
                ulp=16.0,
                doc="Rows of the Cholesky factors of small matrices, and where there is none.",
            )
        )
        for size in range(1, SIZE + 1)
    }


def small_cholesky(records: dict[int, Op], operand: Tensor) -> Tensor:
    """Cholesky factors of a stack of small matrices."""
    *parts, wrong = bind(records[operand.shape[-1]], operand)
    bind(REFUSE, wrong, failure="cholesky: a matrix is not positive definite")
    return _stacked(parts)
