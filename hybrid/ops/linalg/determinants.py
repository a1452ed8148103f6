"""Determinants, with a sign and a logarithm or as they are.

Invariant: the gradient of det is the matrix of cofactors, which singular matrices have, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...ir.door.bind import bind
from ...ir.op import HostOp, Op, register
from ..axes.reduce import sum as sum_
from ..axes.views import expand_dims, matrix_transpose
from ..base.surface import public
from ..build.create import zeros_like
from ..build.pairs import complex_of
from ..complex.arithmetic import conj, imag
from ..elementwise.arithmetic import divide, multiply, subtract
from ..products.contract import matmul
from .host import adjoint, floating, lapack, matrices, of_matrices, plain, square_infer
from .small import SIZE, small_det
from .solving import INV

Tensor = Any


class SlogdetResult(NamedTuple):
    """The sign of a determinant (-1, 0 or 1, or complex of size 1), the logarithm of its size."""

    sign: Tensor
    logabsdet: Tensor


def _spread(numbers: Tensor) -> Tensor:
    """A number of each matrix beside the matrices."""
    return expand_dims(numbers, (-2, -1))


def _infer(name: str, count: int) -> Any:
    def infer(operand: Aval) -> tuple[Aval, ...]:
        matrices(name, operand, square=True)
        return (operand.with_(operand.shape[:-2]),) * count

    return infer


_det = lapack("det", np.linalg.det)
_slogdet = lapack("slogdet", np.linalg.slogdet)


def _det_vjp(grad: Tensor, out: Tensor, operand: Tensor) -> tuple[Any]:
    return (lambda: multiply(_spread(grad), conj(bind(COFACTORS, operand))),)


_SAMPLES = of_matrices(((3, 3), {}), ((2, 4, 4), {}), ((1, 1), {}), ((2, 0, 0), {}))

DET = register(
    HostOp(
        "det",
        1,
        _infer("det", 1),
        body=lambda operand: _det(operand),
        vjp=_det_vjp,
        accepts="f",
        facts=frozenset(["total"]),
        reference=lambda operand: np.linalg.det(plain(operand)),
        samples=_SAMPLES,
        ulp=100.0,
        doc="Determinant of each matrix of a stack.",
    )
)
SMALL_DET = small_det(_det_vjp)


# ---- cofactors
def _cofactors(operand: np.ndarray) -> np.ndarray:
    """det(a) a^-T where LAPACK can invert a; else det(U) det(V^H) conj(U adj(S) V^H) from its
    singular values, of which those of a singular matrix need no division."""
    operand = plain(operand)
    sizes = np.linalg.det(operand)
    regular = np.isfinite(sizes) & (sizes != 0)
    found = np.empty_like(operand)
    if regular.any():
        inverse = np.linalg.inv(operand[regular])
        found[regular] = sizes[regular][..., None, None] * np.swapaxes(inverse, -1, -2)
    if not regular.all():
        found[~regular] = _singular_cofactors(operand[~regular])
    return found


def _singular_cofactors(operand: np.ndarray) -> np.ndarray:
    wrong = ~np.isfinite(operand).all((-2, -1))
    operand = np.where(wrong[:, None, None], 0, operand)
    left, values, right = np.linalg.svd(operand)
    others = np.repeat(values[:, None, :], values.shape[-1], 1)
    np.einsum("...ii->...i", others)[...] = 1
    scale = (np.linalg.det(left) * np.linalg.det(right))[:, None] * others.prod(-1)
    found = (left.conj() * scale[:, None, :]) @ right.conj()
    return np.where(wrong[:, None, None], np.nan, found)


def _cofactors_vjp(grad: Tensor, out: Tensor, operand: Tensor) -> tuple[Any]:
    """(<g, C> C - C g^T C) / det(a), with the conjugates of C and det(a): only where a is not
    singular."""

    def by_operand() -> Tensor:
        factor, size = conj(out), conj(bind(DET, operand))
        along = sum_(multiply(grad, factor), axis=(-2, -1))
        across = matmul(matmul(factor, matrix_transpose(grad)), factor)
        return divide(subtract(multiply(_spread(along), factor), across), _spread(size))

    return (by_operand,)


def _cofactors_reference(operand: np.ndarray) -> np.ndarray:
    """Determinants of what is left without a row and a column."""
    size = operand.shape[-1]
    widened = plain(operand)
    found = np.empty_like(widened)
    for row in range(size):
        for column in range(size):
            rest = np.delete(np.delete(widened, row, -2), column, -1)
            found[..., row, column] = (-1) ** (row + column) * np.linalg.det(rest)
    return found


COFACTORS: Op = register(
    HostOp(
        "cofactors",
        1,
        square_infer("cofactors"),
        body=_cofactors,
        vjp=_cofactors_vjp,
        accepts="f",
        facts=frozenset(["total"]),
        reference=_cofactors_reference,
        samples=_SAMPLES,
        ulp=400.0,
        doc="Derivative of the determinant by each element.",
    )
)


@public(hybrid=False, linalg=True)
def det(a: Tensor) -> Tensor:
    """Determinants [...] of square matrices [..., n, n]; dtypes as in `inv`.

    The gradient is right at singular matrices, too (the cofactors); the second derivative is not.
    ShapeError for matrices that are not square.

    >>> hybrid.linalg.det(hybrid.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(-2.)
    """
    a = floating(a, "det")
    small = a.ndim > 1 and 0 < a.shape[-1] <= SIZE and not dt.is_complex(a.dtype)
    return bind(SMALL_DET if small else DET, a)


# ---- sign and logarithm
def _slogdet_vjp(grads: Any, outs: Any, operand: Tensor) -> tuple[Any]:
    """g a^-H, with the gradient of the angle of a complex sign as imaginary part of g."""
    to_sign, to_size = grads
    turns = to_sign is not None and dt.is_complex(operand.dtype)

    def by_operand() -> Tensor:
        weight = to_size
        if turns:
            angle = imag(multiply(to_sign, conj(outs[0])))
            weight = complex_of(zeros_like(angle) if to_size is None else to_size, angle)
        return multiply(_spread(weight), adjoint(bind(INV, operand, checked=True)))

    return (by_operand if turns or to_size is not None else None,)


SLOGDET = register(
    HostOp(
        "slogdet",
        1,
        _infer("slogdet", 2),
        body=lambda operand: _slogdet(operand),
        nout=2,
        vjp=_slogdet_vjp,
        accepts="f",
        facts=frozenset(["total", "optional_grads"]),
        reference=lambda operand: tuple(np.linalg.slogdet(plain(operand))),
        samples=_SAMPLES,
        ulp=100.0,
        doc="Sign of the determinant of each matrix, and the logarithm of its size.",
    )
)


@public(hybrid=False, linalg=True)
def slogdet(a: Tensor) -> SlogdetResult:
    """Sign (-1, 0 or 1; of complex matrices det / |det|) and logarithm of the size of determinants,
    which may be too large or small for a number; 0 and -inf of singular matrices.  Shapes and
    dtypes as in `det`, the logarithm of complex ones is real.

    The gradient of a singular matrix raises LinAlgError.

    >>> hybrid.linalg.slogdet(hybrid.tensor([[1.0, 2.0], [3.0, 4.0]]))
    SlogdetResult(sign=tensor(-1.), logabsdet=tensor(0.6931))
    """
    return SlogdetResult(*bind(SLOGDET, floating(a, "slogdet")))
