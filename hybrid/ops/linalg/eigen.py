"""Eigenvalues of general square matrices, with their vectors: complex numbers always.

Invariant: records give pairs of parts; vectors have length 1 and a phase that LAPACK chooses, and
gradients are right for what does not depend on that phase, as PyTorch's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import LinAlgError
from ...ir.door.bind import bind
from ...ir.op import HostOp, register
from ..axes.positions import argmin
from ..axes.reduce import sum as sum_
from ..axes.views import expand_dims
from ..base.surface import public
from ..build.matrices import eye
from ..build.pairs import numbers_of, pairs_of
from ..complex.arithmetic import conj, real
from ..elementwise.arithmetic import abs, divide, multiply, subtract
from ..elementwise.selection import where
from ..indexing.along import take_along_axis
from ..products.contract import matmul
from .host import adjoint, floating, matrices, of_matrices, plain
from .solving import SOLVE

Tensor = Any
FAILED = "the eigenvalues of a matrix did not converge"


class EigResult(NamedTuple):
    """Eigenvalues, and the eigenvectors as columns, in the same order."""

    eigenvalues: Tensor
    eigenvectors: Tensor


# ---- values and vectors
def _pairs(numbers: np.ndarray) -> np.ndarray:
    return pairs_of(numbers.astype(np.complex128, copy=False))


def _eig(operand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with suppress(np.linalg.LinAlgError):
        values, vectors = np.linalg.eig(plain(operand))
        return _pairs(values), _pairs(vectors)
    raise LinAlgError(f"eig: {FAILED}")


def _eig_infer(operand: Aval) -> tuple[Aval, ...]:
    matrices("eig", operand, square=True)
    return operand.with_((*operand.shape[:-1], 2)), operand.with_((*operand.shape, 2))


def _pulled(inner: Tensor, vectors: Tensor, operand: Tensor) -> Tensor:
    """V^-H inner V^H, the real part where the matrix is real."""
    turned = adjoint(vectors)
    found = bind(SOLVE, turned, matmul(inner, turned))
    return found if dt.is_complex(operand.dtype) else real(found)


def _on_diagonal(values: Tensor, beside: Any) -> Tensor:
    same = eye(values.shape[-1], dtype=bool, device=values.device)
    return where(same, expand_dims(values, -1), beside)


def _eig_vjp(grads: Any, outs: Any, operand: Tensor) -> tuple[Any]:
    """V^-H (gw + (V^H gV - V^H V Re diag(V^H gV)) / conj(w[j] - w[i])) V^H (C. Boeddeker et al.,
    "On the computation of complex-valued gradients with application to statistically optimum
    beamforming", 2017, for vectors of length 1)."""
    to_values, to_vectors = (None if grad is None else numbers_of(grad) for grad in grads)

    def by_operand() -> Tensor:
        values, vectors = map(numbers_of, outs)
        if to_vectors is None:
            return _pulled(_on_diagonal(to_values, 0.0), vectors, operand)
        turned = adjoint(vectors)
        seen = matmul(turned, to_vectors)
        same = eye(values.shape[-1], dtype=bool, device=values.device)
        along = sum_(where(same, real(seen), 0.0), axis=-2, keepdims=True)
        gaps = conj(subtract(expand_dims(values, -2), expand_dims(values, -1)))
        inner = subtract(seen, multiply(matmul(turned, vectors), along))
        inner = divide(inner, where(same, 1.0, gaps))
        given = multiply(values, 0.0) if to_values is None else to_values
        return _pulled(_on_diagonal(given, inner), vectors, operand)

    return (by_operand,)


def _general(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Matrices with different eigenvalues, some of them no real numbers.  They are float32:
    gradients are of what does not depend on phases (tests/ops/linalg has those)."""
    made: np.ndarray = rng.uniform(-2.0, 2.0, shape).astype(np.float32)
    return made


_SAMPLES = of_matrices(((3, 3), {}), ((2, 4, 4), {}), ((1, 1), {}), ((2, 0, 0), {}), make=_general)

EIG = register(
    HostOp(
        "eig",
        1,
        _eig_infer,
        body=_eig,
        nout=2,
        vjp=_eig_vjp,
        accepts="f",
        facts=frozenset(["optional_grads"]),
        reference=_eig,
        samples=_SAMPLES,
        ulp=1000.0,
        doc="Eigenvalues of square matrices and eigenvectors as columns, both as pairs of parts.",
    )
)


@public(hybrid=False, linalg=True)
def eig(a: Tensor, /) -> EigResult:
    """Eigenvalues [..., n] and eigenvectors [..., n, n] (columns of length 1) of square matrices,
    in LAPACK's order: complex64 of float32, complex128 of float64, also where NumPy gives real
    ones.  Other dtypes as in `inv`.

    The gradient is right for what does not depend on the phases of vectors, infinite or NaN where
    eigenvalues are equal and vectors are asked for; it needs matrices that have n independent
    vectors (LinAlgError).  ShapeError for matrices that are not square, LinAlgError for a NaN or an
    infinity.

    >>> values, vectors = hybrid.linalg.eig(hybrid.tensor([[0.0, -1.0], [1.0, 0.0]]))
    >>> values
    tensor([0.+1.j, 0.-1.j], dtype=complex64)
    """
    return EigResult(*map(numbers_of, bind(EIG, floating(a, "eig"))))


# ---- values alone
def _eigvals(operand: np.ndarray) -> np.ndarray:
    with suppress(np.linalg.LinAlgError):
        return _pairs(np.linalg.eigvals(plain(operand)))
    raise LinAlgError(f"eigvals: {FAILED}")


def _eigvals_infer(operand: Aval) -> tuple[Aval, ...]:
    matrices("eigvals", operand, square=True)
    return (operand.with_((*operand.shape[:-1], 2)),)


def _eigvals_vjp(grad: Tensor, out: Tensor, operand: Tensor) -> tuple[Any]:
    """That of `eig`, whose values LAPACK may give in another order: each takes the gradient of the
    one that is nearest."""

    def by_operand() -> Tensor:
        values, vectors = map(numbers_of, bind(EIG, operand))
        known = numbers_of(out)
        apart = abs(subtract(expand_dims(known, -1), expand_dims(values, -2)))
        given = take_along_axis(numbers_of(grad), argmin(apart, axis=-2), -1)
        return _pulled(_on_diagonal(given, 0.0), vectors, operand)

    return (by_operand,)


EIGVALS = register(
    HostOp(
        "eigvals",
        1,
        _eigvals_infer,
        body=_eigvals,
        vjp=_eigvals_vjp,
        accepts="f",
        reference=_eigvals,
        samples=_SAMPLES,
        ulp=1000.0,
        doc="Eigenvalues of square matrices, as pairs of parts.",
    )
)


@public(hybrid=False, linalg=True)
def eigvals(a: Tensor, /) -> Tensor:
    """Eigenvalues of square matrices alone, complex numbers; see `eig`.  Their gradient is finite
    where the matrix has n independent vectors.

    >>> hybrid.linalg.eigvals(hybrid.tensor([[2.0, 0.0], [1.0, 3.0]])).real.sort()
    tensor([2., 3.])
    """
    return numbers_of(bind(EIGVALS, floating(a, "eigvals")))
