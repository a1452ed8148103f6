"""Least squares and pseudo-inverses; the rank of matrices.

Invariant: singular values up to a cutoff count as zero; gradients are those at constant rank.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ArgumentError, LinAlgError, ShapeError
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import HostOp, register
from ..axes.extremes import any as any_
from ..axes.reduce import sum as sum_
from ..axes.statistics import largest_size
from ..axes.views import broadcast_to, expand_dims, matrix_transpose, squeeze
from ..base.surface import public
from ..build.create import zeros
from ..elementwise.arithmetic import abs, add, clone, multiply, square, subtract
from ..elementwise.logic import greater, not_equal
from ..products.contract import matmul
from .host import adjoint, floating, matrices, of_matrices, plain, together
from .spectra import SVD, eigvalsh, svdvals

Tensor = Any


class LstsqResult(NamedTuple):
    """The solution with the least residuals, the sums of their squares, the rank of the matrix and
    its singular values."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def _precision(operand: Tensor) -> float:
    """NumPy's default cutoff, relative to the largest singular value."""
    longest: int = max(operand.shape[-2:])
    return longest * float(np.finfo(operand.dtype).eps)


# ---- pseudo-inverses
def _pinv_infer(operand: Aval, cutoff: Aval, hermitian: bool) -> tuple[Aval, ...]:
    matrices("pinv", operand, square=hermitian)
    *batch, rows, columns = operand.shape
    if cutoff.shape not in ((), tuple(batch)):
        raise ShapeError(f"pinv: cutoffs of shape {cutoff.shape} for matrices {operand.shape}")
    return (operand.with_((*batch, columns, rows)),)


def _pinv(operand: np.ndarray, cutoff: np.ndarray, hermitian: bool) -> np.ndarray:
    with suppress(np.linalg.LinAlgError):
        return np.linalg.pinv(plain(operand), rtol=cutoff, hermitian=hermitian)
    raise LinAlgError("pinv: the singular values of a matrix did not converge")


def _pinv_grad(grad: Tensor, inverse: Tensor, operand: Tensor) -> Tensor:
    """-P^H g P^H + (g' - a (P g')) P P^H + P^H P (g' - (g' P) a) with g' = g^H (G. Golub, V.
    Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
    variables separate", 1973)."""
    turned, given = adjoint(inverse), adjoint(grad)
    outside = subtract(given, matmul(operand, matmul(inverse, given)))
    beside = subtract(given, matmul(matmul(given, inverse), operand))
    first = matmul(matmul(outside, inverse), turned)
    second = matmul(turned, matmul(inverse, beside))
    return subtract(add(first, second), matmul(matmul(turned, grad), turned))


def _pinv_vjp(
    grad: Tensor, out: Tensor, operand: Tensor, cutoff: Tensor, hermitian: bool
) -> tuple[Any, Any]:
    return (lambda: _pinv_grad(grad, out, operand)), None


def _pinv_samples(rng: np.random.Generator) -> Any:
    for case in ((3, 3), (2, 5, 3), (2, 3, 5), (2, 0, 3)):
        for operands, _ in of_matrices((case, {}))(rng):
            yield [*operands, np.array(1e-6)], {"hermitian": False}


PINV = register(
    HostOp(
        "pinv",
        2,
        _pinv_infer,
        body=_pinv,
        params=("hermitian",),
        fixed=(1,),
        vjp=_pinv_vjp,
        accepts="f",
        reference=lambda operand, cutoff, hermitian: np.linalg.pinv(
            plain(operand), rtol=cutoff, hermitian=hermitian
        ),
        samples=_pinv_samples,
        ulp=200.0,
        doc="Pseudo-inverse of each matrix of a stack.",
    )
)


@public(hybrid=False, linalg=True)
def pinv(a: Tensor, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Tensor:
    """Moore and Penrose's inverses [..., n, m] of matrices [..., m, n]; dtypes as in `inv`.

    Singular values up to `rtol` (or `rcond`: a number, or one of each matrix) times the largest
    count as zero; by default that is max(m, n) times the precision of the dtype.  `hermitian`: a is
    symmetric, and eigenvalues are computed.

    The gradient is that at constant rank.  LinAlgError where LAPACK does not converge.

    >>> hybrid.linalg.pinv(hybrid.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  , 0.  ],
            [0.  , 0.  , 0.25]])
    """
    a = floating(a, "pinv")
    if a.ndim < 2:
        raise ShapeError(f"pinv takes matrices in the last two axes, not shape {a.shape}")
    cutoff = _cutoff(a, rcond, rtol, "pinv")
    if 0 in a.shape[-2:]:  # no singular value, whatever the cutoffs are
        return matrix_transpose(clone(a))
    cutoff = cutoff if cutoff.ndim == 0 else broadcast_to(cutoff, a.shape[:-2])
    cutoff = astype(cutoff, dt.real_of(a.dtype))
    return bind(PINV, a, cutoff, hermitian=bool(hermitian))


def _cutoff(operand: Tensor, absolute: Any, relative: Any, name: str) -> Tensor:
    if absolute is not None and relative is not None:
        raise ArgumentError(f"{name}: give one of the two tolerances, not both")
    given = absolute if relative is None else relative
    given = _precision(operand) if given is None else given
    return as_tensor(given, operand.device, dt.real_of(operand.dtype))


# ---- least squares
def _lstsq_infer(operand: Aval, right: Aval, cutoff: float) -> tuple[Aval, ...]:
    matrices("lstsq", operand, right)
    if operand.shape[:-1] != right.shape[:-1]:
        raise ShapeError(f"lstsq: matrices {operand.shape} and right sides {right.shape}")
    *batch, rows, columns = operand.shape
    return (
        right.with_((*batch, columns, right.shape[-1])),
        operand.with_(tuple(batch), dt.int64),
        operand.with_((*batch, min(rows, columns))),
    )


def _lstsq(operand: np.ndarray, right: np.ndarray, cutoff: float) -> tuple[np.ndarray, ...]:
    *batch, rows, columns = operand.shape
    solution = np.empty((*batch, columns, right.shape[-1]), plain(right).dtype)
    rank = np.empty(batch, np.int64)
    values = np.empty((*batch, min(rows, columns)))
    with suppress(np.linalg.LinAlgError):
        for number in np.ndindex(*batch):
            one = np.linalg.lstsq(plain(operand[number]), plain(right[number]), cutoff)
            solution[number], rank[number], values[number] = one[0], one[2], one[3]
        return solution, rank, values
    raise LinAlgError("lstsq: the singular values of a matrix did not converge")


def _lstsq_vjp(
    grads: Any, outs: Any, operand: Tensor, right: Tensor, cutoff: float
) -> tuple[Any, Any]:
    """The solution is pinv(a) @ b; singular values have their own gradient."""
    to_solution, _, to_values = grads
    inverse: list[Tensor] = []

    def pseudo() -> Tensor:
        if not inverse:
            inverse.append(pinv(operand, rcond=cutoff))
        return inverse[0]

    def by_operand() -> Tensor:
        found = None
        if to_solution is not None:
            product = matmul(to_solution, adjoint(right))
            found = _pinv_grad(product, pseudo(), operand)
        if to_values is not None:
            left, _, turned = bind(SVD, operand, full=False)
            part = matmul(multiply(left, expand_dims(to_values, -2)), turned)
            found = part if found is None else add(found, part)
        return found

    def by_right() -> Tensor:
        return matmul(adjoint(pseudo()), to_solution)

    return by_operand, None if to_solution is None else by_right


def _lstsq_reference(
    operand: np.ndarray, right: np.ndarray, cutoff: float
) -> tuple[np.ndarray, ...]:
    operand = plain(operand)
    values = np.linalg.svd(operand, compute_uv=False)
    rank = np.linalg.matrix_rank(operand, rtol=cutoff)
    return np.linalg.pinv(operand, rtol=cutoff) @ plain(right), rank, values


LSTSQ = register(
    HostOp(
        "lstsq",
        2,
        _lstsq_infer,
        body=_lstsq,
        params=("cutoff",),
        nout=3,
        vjp=_lstsq_vjp,
        accepts="f",
        facts=frozenset(["optional_grads"]),
        reference=_lstsq_reference,
        samples=of_matrices(
            ((3, 3), (3, 2), {"cutoff": 1e-6}),
            ((2, 5, 3), (2, 5, 1), {"cutoff": 1e-6}),
            ((2, 3, 5), (2, 3, 2), {"cutoff": 1e-6}),
        ),
        ulp=400.0,
        doc="Solutions of least squares, ranks and singular values.",
    )
)


@public(hybrid=False, linalg=True)
def lstsq(a: Tensor, b: Tensor, rcond: float | None = None) -> LstsqResult:
    """The x with the least |b - a @ x| (and the least |x| among these), the sums of squared
    residuals, the rank of a and its singular values.

    a: [..., m, n]; b: [..., m, k] with the same leading axes, or [m] beside one matrix.  Singular
    values up to `rcond` times the largest count as zero (by default max(m, n) times the precision
    of the dtype, -1: the precision).  The residuals are empty where a has fewer rows than columns
    or the rank is less than n: that reads the data, so in `hybrid.function` Python takes part.
    Dtypes as in `inv`.

    The gradient is that at constant rank.  ShapeError where shapes do not fit, LinAlgError where
    LAPACK does not converge.

    >>> a = hybrid.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> found = hybrid.linalg.lstsq(a, hybrid.tensor([1.0, 3.0, 5.0]))
    >>> found.solution.round(3), found.rank
    (tensor([2., 1.]), tensor(2))
    """
    a, b = together(a, b, name="lstsq")
    if a.ndim < 2:
        raise ShapeError(f"lstsq takes matrices in the last two axes, not shape {a.shape}")
    cutoff = _precision(a) if rcond is None else float(rcond)
    cutoff = float(np.finfo(a.dtype).eps) if cutoff == -1 else cutoff
    columns = expand_dims(b, -1) if b.ndim == 1 else b
    solution, rank, values = bind(LSTSQ, a, columns, cutoff=cutoff)
    residuals = _residuals(a, columns, solution, rank)
    return LstsqResult(squeeze(solution, -1) if b.ndim == 1 else solution, residuals, rank, values)


def _residuals(operand: Tensor, right: Tensor, solution: Tensor, rank: Tensor) -> Tensor:
    rows, columns = operand.shape[-2:]
    if rows <= columns or not bool((rank.numpy() == columns).all()):
        return zeros(0, dtype=dt.real_of(operand.dtype), device=operand.device)
    rest = subtract(right, matmul(operand, solution))
    return sum_(square(abs(rest) if dt.is_complex(rest.dtype) else rest), axis=-2)


# ---- ranks
@public(hybrid=False, linalg=True)
def matrix_rank(
    A: Tensor,  # noqa: N803
    tol: Any = None,
    hermitian: bool = False,
    *,
    rtol: Any = None,
) -> Tensor:
    """How many singular values of each matrix [..., m, n] exceed `tol`, or `rtol` times the largest
    (by default max(m, n) times the precision of the dtype): int64 [...].

    Of fewer than two axes: 1 where an element is not zero.  `hermitian`: A is symmetric, and
    eigenvalues are computed.  Dtypes as in `inv`.

    >>> hybrid.linalg.matrix_rank(hybrid.tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor(1)
    """
    operand = floating(A, "matrix_rank")
    if operand.ndim < 2:
        return astype(any_(not_equal(operand, 0)), dt.int64)
    values = abs(eigvalsh(operand)) if hermitian else svdvals(operand)
    cutoff = _cutoff(operand, tol, rtol, "matrix_rank")
    if tol is None:
        cutoff = multiply(largest_size(values, axis=-1), cutoff)
    return sum_(astype(greater(values, expand_dims(cutoff, -1)), dt.int64), axis=-1)
