"""Determinants, with a sign and a logarithm or as they are.

Invariant: the gradient of det is the matrix of cofactors, whose own derivative needs no inverse
either: singular matrices have both.
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
from ..elementwise.arithmetic import add, divide, multiply, subtract
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
    """Cofactors of 1 row do not change, those of 2 are linear."""
    size = operand.shape[-1]
    if size < 2:
        return (None,)
    if size == 2:
        return (lambda: bind(COFACTORS, grad),)
    return (lambda: bind(SLOPE, conj(operand), grad),)


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


# ---- the derivative of cofactors
def _slope_infer(operand: Aval, direction: Aval) -> tuple[Aval, ...]:
    matrices("cofactors_slope", operand, direction, square=True)
    return (operand,)


def _without_two(values: np.ndarray) -> np.ndarray:
    """The product of all values but the i-th and the j-th at i, j; 0 at i, i."""
    count = values.shape[-1]
    ones = np.ones((*values.shape[:-1], 1))
    before = np.concatenate([ones, np.cumprod(values, -1)[..., :-1]], -1)
    behind = np.flip(np.cumprod(np.flip(values, -1), -1), -1)
    behind = np.concatenate([behind[..., 1:], ones], -1)
    between = np.zeros((*values.shape[:-1], count, count))
    for place in range(1, count):
        run = between[..., :, place - 1] * values[..., place - 1 : place]
        run[..., place - 1] = 1
        between[..., :, place] = run
    above = np.triu(before[..., :, None] * between * behind[..., None, :], 1)
    made: np.ndarray = above + np.swapaxes(above, -1, -2)
    return made


def _slope(operand: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How the cofactors of U S V^H change along a direction: as those of S along U^H D V, whose
    products leave two singular values out, so that nothing is divided."""
    operand, direction = plain(operand), plain(direction)
    if not operand.size:
        return operand
    wrong = ~np.isfinite(operand).all((-2, -1), keepdims=True)
    left, values, right = np.linalg.svd(np.where(wrong, 0, operand))
    turned = left.conj().swapaxes(-1, -2) @ direction @ right.conj().swapaxes(-1, -2)
    products = _without_two(values)
    inner = -np.swapaxes(turned, -1, -2) * products
    along = (products @ np.diagonal(turned, 0, -2, -1)[..., None])[..., 0]
    np.einsum("...ii->...i", inner)[...] = along
    scale = np.linalg.det(left) * np.linalg.det(right)
    found = scale[..., None, None] * (left.conj() @ inner @ right.conj())
    return np.where(wrong, np.nan, found)


def _slope_vjp(grad: Tensor, out: Tensor, operand: Tensor, direction: Tensor) -> tuple[Any, Any]:
    """By the direction the same again, as second derivatives are symmetric; by the matrix from
    (<d, C> C - C d^T C) / det(a), which is the slope: only where a is not singular."""

    def by_operand() -> Tensor:
        whole, along = conj(operand), conj(direction)
        factor, size = bind(COFACTORS, whole), bind(DET, whole)
        inner, outer = (_total(multiply(each, factor)) for each in (along, grad))
        turned = [matmul(matmul(a, matrix_transpose(factor)), b) for a, b in _both(grad, along)]
        change = subtract(multiply(along, outer), turned[0])
        change = add(change, subtract(multiply(grad, inner), turned[1]))
        level = divide(_total(multiply(grad, conj(out))), _spread(size))
        by_factor = bind(SLOPE, whole, divide(change, _spread(size)))
        return subtract(by_factor, multiply(level, factor))

    return by_operand, lambda: bind(SLOPE, conj(operand), grad)


def _both(left: Tensor, right: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    return (left, right), (right, left)


def _total(numbers: Tensor) -> Tensor:
    return sum_(numbers, axis=(-2, -1), keepdims=True)


def _slope_reference(operand: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The change of what is left without a row and a column, times the sign of their place."""
    size = operand.shape[-1]
    matrix, change = plain(operand), plain(direction)
    found = np.empty_like(matrix)
    for row in range(size):
        for column in range(size):
            rest, moved = (np.delete(np.delete(x, row, -2), column, -1) for x in (matrix, change))
            grown = (_cofactors_reference(rest) * moved).sum((-2, -1))
            found[..., row, column] = (-1) ** (row + column) * grown
    return found


SLOPE: Op = register(
    HostOp(
        "cofactors_slope",
        2,
        _slope_infer,
        body=_slope,
        vjp=_slope_vjp,
        accepts="f",
        facts=frozenset(["total"]),
        reference=_slope_reference,
        samples=of_matrices(((3, 3), (3, 3), {}), ((2, 4, 4), (2, 4, 4), {})),
        ulp=400.0,
        doc="Derivative of the cofactors of a matrix along another one.",
    )
)


@public(hybrid=False, linalg=True)
def det(a: Tensor) -> Tensor:
    """Determinants [...] of square matrices [..., n, n]; dtypes as in `inv`.

    First and second derivatives are right at singular matrices, too; of more than two rows the
    third one is not.
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
