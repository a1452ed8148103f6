"""Factorizations without iteration: Cholesky, QR and LU.

Invariant: gradients are written with triangular solutions, in public ops; where a factor reads one
triangle of a symmetric matrix, its gradient is symmetric, as PyTorch's.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ArgumentError, ShapeError, UnsupportedError
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, HostOp, register
from ..axes.views import broadcast_to, expand_dims
from ..base.surface import public
from ..build.create import arange, zeros
from ..build.join import concat
from ..build.matrices import eye, tril, triu
from ..complex.arithmetic import conj
from ..elementwise.arithmetic import add, divide, multiply, subtract
from ..elementwise.logic import equal
from ..indexing.along import take_along_axis
from ..indexing.sort import argsort
from ..products.contract import matmul
from .host import (
    adjoint,
    columns_of,
    floating,
    lapack,
    matrices,
    of_matrices,
    plain,
    rows_of,
    square_infer,
    symmetric,
    together,
)
from .small import is_small, small_cholesky, small_choleskys
from .solving import TRIANGULAR, with_columns
from .triangles import factorize, order_of

Tensor = Any


class QRResult(NamedTuple):
    """Orthonormal columns and an upper triangle, whose product is the matrix."""

    Q: Tensor
    R: Tensor


class LUResult(NamedTuple):
    """A permutation, a lower triangle with ones on its diagonal and an upper one: a = P @ L @ U."""

    P: Tensor
    L: Tensor
    U: Tensor


class LUFactor(NamedTuple):
    """Both triangles in one matrix, and the rows that were exchanged, as LAPACK has them."""

    LU: Tensor
    pivots: Tensor


def lower_solve(factor: Tensor, right: Tensor, unit: bool = False) -> Tensor:
    return bind(TRIANGULAR, factor, right, upper=False, unit=unit)


def upper_solve(factor: Tensor, right: Tensor, unit: bool = False) -> Tensor:
    return bind(TRIANGULAR, factor, right, upper=True, unit=unit)


# ---- Cholesky
_cholesky = lapack("cholesky_lo", np.linalg.cholesky, "cholesky: a matrix is not positive definite")


def _halved(operand: Tensor) -> Tensor:
    """The lower triangle with half of the diagonal."""
    return divide(add(tril(operand), tril(operand, k=-1)), 2)


def cholesky_gradient(grad: Tensor, factor: Tensor) -> Tensor:
    """L^-H S L^-1 with S the Hermitian part of the lower triangle of L^H g, its diagonal halved
    (Giles 2008; I. Murray, "Differentiation of the Cholesky decomposition", 2016)."""
    turned = adjoint(factor)
    inner = _halved(matmul(turned, grad))
    inner = divide(add(inner, adjoint(inner)), 2)
    half = upper_solve(turned, inner)
    return upper_solve(turned, adjoint(half))


CHOLESKY = register(
    HostOp(
        "cholesky",
        1,
        square_infer("cholesky"),
        body=lambda operand: _cholesky(operand),
        vjp=lambda grad, out, operand: (lambda: cholesky_gradient(grad, out),),
        accepts="f",
        reference=lambda operand: np.linalg.cholesky(plain(operand)),
        samples=of_matrices(((3, 3), {}), ((2, 4, 4), {}), ((2, 0, 0), {}), make=symmetric),
        ulp=100.0,
        doc="Lower triangle L with a = L @ L.mT, read from the lower triangle of a.",
    )
)
SMALL_CHOLESKY = small_choleskys(cholesky_gradient)


def _lower_factor(operand: Tensor) -> Tensor:
    if is_small(operand):
        return small_cholesky(SMALL_CHOLESKY, operand)
    return bind(CHOLESKY, operand)


@public(hybrid=False, linalg=True)
def cholesky(a: Tensor, /, *, upper: bool = False) -> Tensor:
    """The lower triangle L with a = L @ L.mH, or the upper one U with a = U.mH @ U; only that
    triangle of a is read.  [..., n, n]; dtypes as in `inv`.

    The gradient is symmetric (Hermitian).  ShapeError for matrices that are not square, LinAlgError
    for one that is not positive definite.

    >>> hybrid.linalg.cholesky(hybrid.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    a = floating(a, "cholesky")
    if not upper:
        return _lower_factor(a)
    return adjoint(_lower_factor(adjoint(a)))


# ---- QR
def _qr_infer(operand: Aval, mode: str) -> tuple[Aval, ...]:
    matrices("qr", operand)
    *batch, rows, columns = operand.shape
    inner = rows if mode == "complete" else min(rows, columns)
    return operand.with_((*batch, rows, inner)), operand.with_((*batch, inner, columns))


def _qr(operand: np.ndarray, mode: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.linalg.qr(plain(operand), mode))


def _mirrored(operand: Tensor) -> Tensor:
    """The lower triangle, and its mirror image above the diagonal, which is real."""
    lower = _halved(operand)
    return add(lower, adjoint(lower))


def _qr_vjp(grads: Any, outs: Any, operand: Tensor, mode: str) -> tuple[Any]:
    """(gQ + Q mirrored(R gR^H - gQ^H Q)) R^-H (S. F. Walter, L. Lehmann, "Algorithmic
    differentiation of linear algebra functions with application in optimum experimental design",
    2010); columns of a wide matrix behind the square X, with V = Q^H Y, give Q gV, and gV to gQ."""
    grad_q, grad_r = grads
    factor, triangle = outs
    rows, columns = operand.shape[-2:]
    if mode == "complete" and rows > columns:
        raise UnsupportedError(
            "the gradient of qr with mode='complete' is not defined where matrices have more rows "
            "than columns; use mode='reduced'"
        )

    def by_operand() -> Tensor:
        to_q, to_r, square, rest = grad_q, grad_r, triangle, None
        if columns > rows:
            square = columns_of(triangle, 0, rows)
            if grad_r is not None:
                beside = columns_of(grad_r, rows, columns - rows)
                to_r = columns_of(grad_r, 0, rows)
                rest = matmul(factor, beside)
                part = matmul(columns_of(operand, rows, columns - rows), adjoint(beside))
                to_q = part if to_q is None else add(to_q, part)
        inner = None if to_r is None else matmul(square, adjoint(triu(to_r)))
        if to_q is not None:
            part = matmul(adjoint(to_q), factor)
            inner = multiply(part, -1) if inner is None else subtract(inner, part)
        whole = matmul(factor, _mirrored(inner))
        whole = whole if to_q is None else add(to_q, whole)
        found = adjoint(upper_solve(square, adjoint(whole)))
        if columns <= rows:
            return found
        if rest is None:
            wide = (*operand.shape[:-1], columns - rows)
            rest = zeros(wide, dtype=found.dtype, device=found.device)
        return concat([found, rest], -1)

    return (by_operand,)


def _qr_reference(operand: np.ndarray, mode: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.linalg.qr(plain(operand), mode))


QR = register(
    HostOp(
        "qr",
        1,
        _qr_infer,
        body=_qr,
        params=("mode",),
        nout=2,
        vjp=_qr_vjp,
        accepts="f",
        facts=frozenset(["total", "optional_grads"]),
        reference=_qr_reference,
        samples=of_matrices(
            ((3, 3), {"mode": "reduced"}),
            ((2, 5, 3), {"mode": "reduced"}),
            ((2, 3, 5), {"mode": "reduced"}),
            ((2, 3, 5), {"mode": "complete"}),
            ((2, 0, 3), {"mode": "reduced"}),
        ),
        ulp=200.0,
        doc="Orthonormal columns and an upper triangle, whose product is the matrix.",
    )
)


@public(hybrid=False, linalg=True)
def qr(a: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and an upper triangle R with a = Q @ R.

    For a [..., m, n] and k = min(m, n): mode 'reduced' gives [..., m, k] and [..., k, n],
    'complete' [..., m, m] and [..., m, n], 'r' only R of 'reduced'.  Dtypes as in `inv`.

    The gradient needs columns that do not depend on each other (of the first m, where there are
    more); UnsupportedError for that of 'complete' where m > n.

    >>> q, r = hybrid.linalg.qr(hybrid.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> abs(r)
    tensor([[5. , 2.2],
            [0. , 0.4]])
    """
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(f"qr: mode is 'reduced', 'complete' or 'r', not {mode!r}")
    found = bind(QR, floating(a, "qr"), mode="reduced" if mode == "r" else mode)
    return found[1] if mode == "r" else QRResult(*found)


# ---- LU
def _lu_infer(operand: Aval, pivot: bool) -> tuple[Aval, ...]:
    matrices("lu", operand)
    *batch, rows, columns = operand.shape
    pivots = operand.with_((*batch, min(rows, columns)), dt.int32)
    return operand, pivots, operand.with_((*batch, rows), dt.int64)


def _lu_vjp(grads: Any, outs: Any, operand: Tensor, pivot: bool) -> tuple[Any]:
    """P L^-H X U^-H with X = (L^H gL below the diagonal, gU U^H in the upper triangle).

    What a matrix that is not square has beside its square part: its own gradient goes through
    L^-H or U^-H, and X of the square part is less that gradient's product with it."""
    grad, (packed, _, order) = grads[0], outs
    rows, columns = operand.shape[-2:]
    least = min(rows, columns)

    def by_operand() -> Tensor:
        def corner(whole: Tensor) -> Tensor:
            return rows_of(columns_of(whole, 0, least), 0, least)

        inside, given = corner(packed), corner(grad)
        turned = adjoint(inside)  # an upper triangle with ones, a lower one
        lower, upper = unit_lower(inside), triu(inside)
        below = matmul(adjoint(lower), tril(given, k=-1))
        above = matmul(triu(given), adjoint(upper))
        extra = None
        if columns > rows:
            extra = columns_of(grad, rows, columns - rows)
            beside = adjoint(columns_of(packed, rows, columns - rows))
            below = subtract(below, matmul(extra, beside))
        elif rows > columns:
            extra = rows_of(grad, columns, rows - columns)
            beside = adjoint(rows_of(packed, columns, rows - columns))
            above = subtract(above, matmul(beside, extra))
        inner = add(tril(below, k=-1), triu(above))
        left = upper_solve(turned, inner, unit=True)
        if rows > columns:
            left = concat([left, extra], -2)
        found = adjoint(upper_solve(inside, adjoint(left)))
        if columns > rows:
            found = concat([found, upper_solve(turned, extra, unit=True)], -1)
        return take_rows(found, argsort(order, -1))

    return (None if grad is None else by_operand,)


def unit_lower(packed: Tensor) -> Tensor:
    """The lower triangle with ones on its diagonal."""
    rows, columns = packed.shape[-2:]
    ones = eye(rows, columns, dtype=packed.dtype, device=packed.device)
    return add(tril(packed, k=-1), ones)


def take_rows(operand: Tensor, order: Tensor) -> Tensor:
    """Rows of each matrix in an order of its own."""
    wide = (*order.shape, operand.shape[-1])
    return take_along_axis(operand, broadcast_to(expand_dims(order, -1), wide), -2)


def _lu_reference(operand: np.ndarray, pivot: bool) -> tuple[np.ndarray, ...]:
    """Row by row: the largest element of a column first, what is left of the matrix after it."""
    *batch, rows, columns = operand.shape
    packed = plain(operand).reshape(prod(batch), rows, columns).copy()
    least = min(rows, columns)
    pivots = np.zeros((len(packed), least), np.int32)
    orders = np.zeros((len(packed), rows), np.int64)
    for number, matrix in enumerate(packed):
        order = list(range(rows))
        for step in range(least):
            chosen = step + int(np.argmax(np.abs(matrix[step:, step]))) if pivot else step
            pivots[number, step] = chosen + 1
            matrix[[step, chosen]] = matrix[[chosen, step]]
            order[step], order[chosen] = order[chosen], order[step]
            matrix[step + 1 :, step] /= matrix[step, step] or 1.0
            matrix[step + 1 :, step + 1 :] -= np.outer(
                matrix[step + 1 :, step], matrix[step, step + 1 :]
            )
        orders[number] = order
    return (
        packed.reshape(operand.shape),
        pivots.reshape(*batch, least),
        orders.reshape(*batch, rows),
    )


LU = register(
    HostOp(
        "lu",
        1,
        _lu_infer,
        body=lambda operand, pivot: factorize(plain(operand), pivot),
        params=("pivot",),
        nout=3,
        vjp=_lu_vjp,
        accepts="f",
        facts=frozenset(["total", "optional_grads"]),
        reference=_lu_reference,
        samples=of_matrices(
            ((3, 3), {"pivot": True}),
            ((2, 5, 3), {"pivot": True}),
            ((2, 3, 5), {"pivot": True}),
            ((2, 4, 4), {"pivot": False}),
            ((2, 0, 3), {"pivot": True}),
        ),
        ulp=200.0,
        doc="Both triangles of an LU factorization in one matrix, pivots, the order of the rows.",
    )
)


def _order_infer(pivots: Aval, rows: int) -> tuple[Aval, ...]:
    if dt.kind(pivots.dtype) != "i" or pivots.ndim < 1 or pivots.shape[-1] > rows:
        raise ShapeError(f"lu_solve: pivots {pivots} of {rows} rows")
    return (pivots.with_((*pivots.shape[:-1], rows), dt.int64),)


ROW_ORDER = register(
    HostOp(
        "lu_order",
        1,
        _order_infer,
        body=lambda pivots, rows: order_of(np.ascontiguousarray(pivots), rows),
        params=("rows",),
        vjp=NO_GRAD,
        accepts="i",
        reference=lambda pivots, rows: order_of(pivots, rows),
        samples=lambda rng: [
            ([np.array([2, 3, 3], np.int32)], {"rows": 3}),
            ([np.array([[4, 2], [1, 3]], np.int32)], {"rows": 4}),
        ],
        ulp=0.0,
        doc="The order of rows that LAPACK's pivots lead to.",
    )
)


@public(hybrid=False, linalg=True)
def lu(a: Tensor, *, pivot: bool = True) -> LUResult:
    """A permutation P, a lower triangle L with ones on its diagonal and an upper one U with
    a = P @ L @ U, as PyTorch's and SciPy's.

    For a [..., m, n] and k = min(m, n): [..., m, m], [..., m, k] and [..., k, n].  Dtypes as in
    `inv`; `pivot=False` exchanges no rows.  The gradient needs a first square part, in the order
    of P, that is not singular.

    >>> p, l, u = hybrid.linalg.lu(hybrid.tensor([[1.0, 3.0], [2.0, 4.0]]))
    >>> l, u
    (tensor([[1. , 0. ],
            [0.5, 1. ]]), tensor([[2., 4.],
            [0., 1.]]))
    """
    packed, _, order = bind(LU, floating(a, "lu"), pivot=bool(pivot))
    rows, columns = packed.shape[-2:]
    least = min(rows, columns)
    numbers = expand_dims(arange(rows, device=packed.device), -1)
    permutation = astype(equal(expand_dims(order, -2), numbers), packed.dtype)
    lower = unit_lower(columns_of(packed, 0, least))
    return LUResult(permutation, lower, triu(rows_of(packed, 0, least)))


@public(hybrid=False, linalg=True)
def lu_factor(a: Tensor, *, pivot: bool = True) -> LUFactor:
    """Both triangles of `lu` in one matrix [..., m, n] (the ones are left out), and the pivots
    (int32, from 1): row i was exchanged with row pivots[i] - 1, as PyTorch's.

    >>> packed, pivots = hybrid.linalg.lu_factor(hybrid.tensor([[1.0, 3.0], [2.0, 4.0]]))
    >>> packed, pivots.tolist()
    (tensor([[2. , 4. ],
            [0.5, 1. ]]), [2, 2])
    """
    packed, pivots, _ = bind(LU, floating(a, "lu_factor"), pivot=bool(pivot))
    return LUFactor(packed, pivots)


@public(hybrid=False, linalg=True)
def lu_solve(
    LU: Tensor,  # noqa: N803
    pivots: Tensor,
    B: Tensor,  # noqa: N803
    *,
    left: bool = True,
    adjoint: bool = False,
) -> Tensor:
    """The x of a @ x = B from what `lu_factor` gives of a; `adjoint`: of a.mH @ x = B;
    `left=False`: of x @ a = B.  PyTorch's.

    Shapes and dtypes as in `solve`.  LinAlgError for a singular matrix, or pivots that are none.

    >>> packed, pivots = hybrid.linalg.lu_factor(hybrid.tensor([[1.0, 3.0], [2.0, 4.0]]))
    >>> hybrid.linalg.lu_solve(packed, pivots, hybrid.tensor([4.0, 6.0]))
    tensor([1., 1.])
    """
    packed, right = together(LU, B, name="lu_solve")
    if not left:
        found = lu_solve(packed, pivots, _turned(right), adjoint=not adjoint)
        return _turned(found)
    order = bind(ROW_ORDER, as_tensor(pivots), rows=packed.shape[-2])

    def solved(columns: Tensor) -> Tensor:
        if adjoint:
            turned = _turned(packed)
            half = upper_solve(turned, lower_solve(turned, columns), unit=True)
            return _ordered(half, argsort(order, -1))
        half = lower_solve(packed, _ordered(columns, order), unit=True)
        return upper_solve(packed, half)

    return with_columns(solved, right)


def _turned(operand: Tensor) -> Tensor:
    """The conjugate transpose; of a vector the conjugate."""
    return conj(operand) if operand.ndim == 1 else adjoint(operand)


def _ordered(operand: Tensor, order: Tensor) -> Tensor:
    """`take_rows` of stacks that broadcast."""
    batch = np.broadcast_shapes(operand.shape[:-2], order.shape[:-1])
    operand = broadcast_to(operand, (*batch, *operand.shape[-2:]))
    return take_rows(operand, broadcast_to(order, (*batch, order.shape[-1])))
