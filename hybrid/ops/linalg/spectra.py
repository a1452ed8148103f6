"""Eigenvalues of symmetric matrices and singular values, with their vectors.

Invariant: values are real; vectors are defined up to a sign or phase (and, where values are equal,
a rotation); gradients are right for what does not depend on that choice, as PyTorch's, and infinite
or NaN where it must.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import ArgumentError
from ...ir.door.bind import bind
from ...ir.op import HostOp, register
from ..axes.views import broadcast_to, expand_dims
from ..base.surface import public
from ..build.matrices import eye
from ..elementwise.arithmetic import abs, add, divide, multiply, square, subtract
from ..elementwise.logic import less
from ..elementwise.selection import where
from ..indexing.along import take_along_axis
from ..indexing.sort import argsort, sort
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
    symmetric,
)

Tensor = Any


class EighResult(NamedTuple):
    """Eigenvalues in increasing order, and the eigenvectors as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SVDResult(NamedTuple):
    """Singular vectors as columns, singular values in decreasing order, the others as rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _columns(scale: Tensor, operand: Tensor) -> Tensor:
    """Columns times numbers."""
    return multiply(operand, expand_dims(scale, -2))


def _differences(values: Tensor) -> Tensor:
    """values[j] - values[i] at [i, j], and 1 on the diagonal."""
    gaps = subtract(expand_dims(values, -2), expand_dims(values, -1))
    same = eye(values.shape[-1], dtype=bool, device=values.device)
    return where(same, 1.0, gaps)


# ---- symmetric matrices
FAILED = "the eigenvalues of a matrix did not converge"
_eigh = {
    True: lapack("eigh_lo", np.linalg.eigh, f"eigh: {FAILED}", axes=1),
    False: lapack("eigh_up", lambda a: np.linalg.eigh(a, "U"), f"eigh: {FAILED}", axes=1),
}
_eigvalsh = {
    True: lapack("eigvalsh_lo", np.linalg.eigvalsh, f"eigvalsh: {FAILED}", axes=1),
    False: lapack(
        "eigvalsh_up", lambda a: np.linalg.eigvalsh(a, "U"), f"eigvalsh: {FAILED}", axes=1
    ),
}


def _eigh_infer(operand: Aval, lower: bool) -> tuple[Aval, ...]:
    matrices("eigh", operand, square=True)
    return operand.with_(operand.shape[:-1]), operand


def _eigh_vjp(grads: Any, outs: Any, operand: Tensor, lower: bool) -> tuple[Any]:
    """V (gw + V^H gV / (w[j] - w[i])) V^H (Giles 2008, 3.1), its symmetric part."""
    (to_values, to_vectors), (values, vectors) = grads, outs

    def by_operand() -> Tensor:
        turned = adjoint(vectors)
        if to_vectors is None:
            return matmul(_columns(to_values, vectors), turned)
        same = eye(values.shape[-1], dtype=bool, device=values.device)
        inner = divide(matmul(turned, to_vectors), _differences(values))
        inner = where(same, 0.0 if to_values is None else expand_dims(to_values, -1), inner)
        inner = divide(add(inner, adjoint(inner)), 2)
        return matmul(matmul(vectors, inner), turned)

    return (by_operand,)


def _eigh_reference(operand: np.ndarray, lower: bool) -> tuple[np.ndarray, ...]:
    return tuple(np.linalg.eigh(plain(operand), "L" if lower else "U"))


SYMMETRIC = of_matrices(
    ((3, 3), {"lower": True}),
    ((2, 4, 4), {"lower": False}),
    ((2, 0, 0), {"lower": True}),
    make=symmetric,
)
EIGH = register(
    HostOp(
        "eigh",
        1,
        _eigh_infer,
        body=lambda operand, lower: _eigh[lower](operand),
        params=("lower",),
        nout=2,
        vjp=_eigh_vjp,
        accepts="f",
        facts=frozenset(["optional_grads"]),
        reference=_eigh_reference,
        samples=SYMMETRIC,
        ulp=400.0,
        doc="Eigenvalues of symmetric matrices in increasing order, and eigenvectors as columns.",
    )
)


def _eigvalsh_infer(operand: Aval, lower: bool) -> tuple[Aval, ...]:
    matrices("eigvalsh", operand, square=True)
    return (operand.with_(operand.shape[:-1]),)


def _eigvalsh_vjp(grad: Tensor, out: Tensor, operand: Tensor, lower: bool) -> tuple[Any]:
    def by_operand() -> Tensor:
        vectors = bind(EIGH, operand, lower=lower)[1]
        return matmul(_columns(grad, vectors), adjoint(vectors))

    return (by_operand,)


EIGVALSH = register(
    HostOp(
        "eigvalsh",
        1,
        _eigvalsh_infer,
        body=lambda operand, lower: _eigvalsh[lower](operand),
        params=("lower",),
        vjp=_eigvalsh_vjp,
        accepts="f",
        reference=lambda operand, lower: _eigh_reference(operand, lower)[0],
        samples=SYMMETRIC,
        ulp=100.0,
        doc="Eigenvalues of symmetric matrices in increasing order.",
    )
)


def _is_lower(triangle: str, name: str) -> bool:
    if triangle not in ("L", "U", "l", "u"):
        raise ArgumentError(f"{name}: UPLO is 'L' or 'U', not {triangle!r}")
    return triangle in "Ll"


@public(hybrid=False, linalg=True)
def eigh(a: Tensor, UPLO: str = "L") -> EighResult:  # noqa: N803
    """Eigenvalues [..., n] in increasing order and eigenvectors [..., n, n] (columns) of symmetric
    (Hermitian) matrices, of which the lower ('L') or upper ('U') triangle is read.  Dtypes as in
    `inv`; eigenvalues are real.

    The gradient is symmetric, and right for what does not depend on the phases of vectors; it is
    infinite or NaN where eigenvalues are equal and vectors are asked for.  LinAlgError where LAPACK
    does not converge (NaN, infinities).

    >>> values, vectors = hybrid.linalg.eigh(hybrid.tensor([[2.0, 1.0], [1.0, 2.0]]))
    >>> values
    tensor([1., 3.])
    """
    lower = _is_lower(UPLO, "eigh")
    return EighResult(*bind(EIGH, floating(a, "eigh"), lower=lower))


@public(hybrid=False, linalg=True)
def eigvalsh(a: Tensor, UPLO: str = "L") -> Tensor:  # noqa: N803
    """Eigenvalues of symmetric matrices alone; see `eigh`.  Their gradient is finite everywhere.

    >>> hybrid.linalg.eigvalsh(hybrid.tensor([[2.0, 1.0], [1.0, 2.0]]))
    tensor([1., 3.])
    """
    lower = _is_lower(UPLO, "eigvalsh")
    return bind(EIGVALSH, floating(a, "eigvalsh"), lower=lower)


# ---- singular values
DIVERGED = "the singular values of a matrix did not converge"
_svd = {
    True: lapack("svd_f", np.linalg.svd, f"svd: {DIVERGED}"),
    False: lapack("svd_s", lambda a: np.linalg.svd(a, full_matrices=False), f"svd: {DIVERGED}"),
}
_svdvals = lapack(
    "svd", lambda a: np.linalg.svd(a, compute_uv=False), f"svdvals: {DIVERGED}", axes=1
)


def _svd_infer(operand: Aval, full: bool) -> tuple[Aval, ...]:
    matrices("svd", operand)
    *batch, rows, columns = operand.shape
    least = min(rows, columns)
    return (
        operand.with_((*batch, rows, rows if full else least)),
        operand.with_((*batch, least)),
        operand.with_((*batch, columns if full else least, columns)),
    )


def _svd_vjp(grads: Any, outs: Any, operand: Tensor, full: bool) -> tuple[Any]:
    """U ((skew(U^H gU) / E) S + S (skew(V^H gV) / E) + gS) V^H, and what gU and gV have outside of
    the columns of U and V, divided by S; skew(x) = x - x^H, E[i, j] = s[j]^2 - s[i]^2 (J. Townsend,
    "Differentiating the singular value decomposition", 2016, and PyTorch's gauge); for complex
    matrices half the diagonal of skew(U^H gU), divided by S, too.  The vectors that only `full` has
    are any basis of what is left: they have no gradient."""
    to_left, to_values, to_right = grads
    left, values, right = outs
    least = values.shape[-1]
    if full:
        left, right = columns_of(left, 0, least), rows_of(right, 0, least)
        to_left = None if to_left is None else columns_of(to_left, 0, least)
        to_right = None if to_right is None else rows_of(to_right, 0, least)

    def by_operand() -> Tensor:
        if to_left is None and to_right is None:
            return matmul(_columns(to_values, left), right)
        return _svd_part(to_left, to_values, to_right, left, values, right)

    return (by_operand,)


def _skew(operand: Tensor) -> Tensor:
    return subtract(operand, adjoint(operand))


def _svd_part(
    to_left: Any, to_values: Any, to_right: Any, left: Tensor, values: Tensor, right: Tensor
) -> Tensor:
    gaps = _differences(square(values))
    same = eye(values.shape[-1], dtype=bool, device=values.device)
    inner = where(same, 0.0 if to_values is None else expand_dims(to_values, -1), 0.0)
    outer = None
    if to_left is not None:
        seen = matmul(adjoint(left), to_left)
        inner = add(inner, _columns(values, divide(_skew(seen), gaps)))
        if to_right is not None and dt.is_complex(seen.dtype):
            turned = divide(_skew(seen), expand_dims(multiply(values, 2), -1))
            inner = add(inner, where(same, turned, 0.0))
        if left.shape[-2] > left.shape[-1]:
            rest = _columns(divide(1.0, values), subtract(to_left, matmul(left, seen)))
            outer = matmul(rest, right)
    if to_right is not None:
        seen = matmul(right, adjoint(to_right))
        inner = add(inner, multiply(divide(_skew(seen), gaps), expand_dims(values, -1)))
        if right.shape[-1] > right.shape[-2]:
            rest = subtract(to_right, matmul(adjoint(seen), right))
            part = matmul(_columns(divide(1.0, values), left), rest)
            outer = part if outer is None else add(outer, part)
    found = matmul(matmul(left, inner), right)
    return found if outer is None else add(found, outer)


def _svd_reference(operand: np.ndarray, full: bool) -> tuple[np.ndarray, ...]:
    return tuple(np.linalg.svd(plain(operand), full_matrices=full))


SVD = register(
    HostOp(
        "svd",
        1,
        _svd_infer,
        body=lambda operand, full: _svd[full](operand),
        params=("full",),
        nout=3,
        vjp=_svd_vjp,
        accepts="f",
        facts=frozenset(["optional_grads"]),
        reference=_svd_reference,
        samples=of_matrices(
            ((3, 3), {"full": False}),
            ((2, 5, 3), {"full": False}),
            ((2, 3, 5), {"full": False}),
            ((3, 3), {"full": True}),
            ((2, 0, 3), {"full": True}),
        ),
        ulp=400.0,
        doc="Singular vectors and values of each matrix of a stack.",
    )
)


def _svdvals_infer(operand: Aval) -> tuple[Aval, ...]:
    matrices("svdvals", operand)
    return (operand.with_((*operand.shape[:-2], min(operand.shape[-2:]))),)


def _svdvals_vjp(grad: Tensor, out: Tensor, operand: Tensor) -> tuple[Any]:
    def by_operand() -> Tensor:
        left, _, right = bind(SVD, operand, full=False)
        return matmul(_columns(grad, left), right)

    return (by_operand,)


SVDVALS = register(
    HostOp(
        "svdvals",
        1,
        _svdvals_infer,
        body=lambda operand: _svdvals(operand),
        vjp=_svdvals_vjp,
        accepts="f",
        reference=lambda operand: _svd_reference(operand, False)[1],
        samples=of_matrices(((3, 3), {}), ((2, 5, 3), {}), ((2, 3, 5), {}), ((2, 0, 3), {})),
        ulp=100.0,
        doc="Singular values of each matrix of a stack, in decreasing order.",
    )
)


@public(hybrid=False, linalg=True)
def svd(
    a: Tensor, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """U, S and Vh with a = U[..., :, :k] * S[..., None, :] @ Vh[..., :k, :], k = min(m, n).

    For a [..., m, n]: U [..., m, m], S [..., k] in decreasing order, Vh [..., n, n]; without
    `full_matrices` [..., m, k] and [..., k, n]; without `compute_uv` S alone.  `hermitian`: a is
    symmetric, and eigenvalues are computed.  Dtypes as in `inv`.

    Gradients as PyTorch's: infinite or NaN where singular values are equal (or zero, in a matrix
    that is not square) and vectors are asked for; none through the vectors that only
    `full_matrices` has; right for what does not depend on the phases of complex vectors.  Singular
    values are real.  LinAlgError where LAPACK does not converge (NaN, infinities).

    >>> u, s, vh = hybrid.linalg.svd(hybrid.tensor([[0.0, 2.0], [3.0, 0.0]]))
    >>> s
    tensor([3., 2.])
    """
    a = floating(a, "svd")
    if hermitian:
        return _symmetric_svd(a, compute_uv)
    if not compute_uv:
        return bind(SVDVALS, a)
    return SVDResult(*bind(SVD, a, full=bool(full_matrices)))


def _symmetric_svd(operand: Tensor, vectors_too: bool) -> Any:
    """Singular values of symmetric matrices: eigenvalues without their signs."""
    if not vectors_too:
        return sort(abs(eigvalsh(operand)), descending=True)
    values, vectors = eigh(operand)
    order = argsort(abs(values), descending=True)
    values = take_along_axis(values, order, -1)
    wide = broadcast_to(expand_dims(order, -2), vectors.shape)
    vectors = take_along_axis(vectors, wide, -1)
    signs = where(less(values, 0), -1.0, 1.0)
    right = adjoint(_columns(signs, vectors))
    return SVDResult(vectors, abs(values), right)


@public(hybrid=False, linalg=True)
def svdvals(x: Tensor, /) -> Tensor:
    """Singular values [..., min(m, n)] in decreasing order; see `svd`.  Their gradient is finite
    everywhere.

    >>> hybrid.linalg.svdvals(hybrid.tensor([[0.0, 2.0], [3.0, 0.0]]))
    tensor([3., 2.])
    """
    return bind(SVDVALS, floating(x, "svdvals"))
