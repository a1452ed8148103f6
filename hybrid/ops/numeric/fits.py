"""Polynomials fitted to points by least squares.

Invariant: the one host step is the pseudo-inverse of scaled powers, in float64 by NumPy's LAPACK,
rounded once; what is made of it has its gradients.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, ShapeError
from ...core.floating import in_plain_floats
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.door.bind import convert as astype
from ...ir.op import HostOp, register
from ..axes.reduce import sum as sum_
from ..axes.views import expand_dims, reshape
from ..base.common import draw
from ..base.surface import public
from ..build.create import zeros
from ..elementwise.arithmetic import abs, add, divide, multiply, square, subtract
from ..elementwise.functions import sqrt
from ..linalg.host import adjoint, plain
from ..linalg.twins import twin
from ..products.contract import matmul, outer
from .polynomials import vander

Tensor = Any


# ---- the pseudo-inverse
def _inverse(columns: np.ndarray, rcond: float) -> np.ndarray:
    wide = np.asarray(columns, np.promote_types(columns.dtype, np.float64))
    return np.linalg.pinv(wide, rcond).astype(columns.dtype)


def _inverse_vjp(gradient: Tensor, out: Tensor, columns: Tensor, rcond: float) -> tuple[Tensor]:
    """The derivative of a pseudo-inverse of constant rank (G. H. Golub and V. Pereyra, SIAM Journal
    on Numerical Analysis 10, 1973): the inverse, and the two spaces that it leaves out."""
    turned, back = adjoint(out), adjoint(gradient)
    inside = matmul(matmul(turned, gradient), turned)
    rows = subtract(back, matmul(columns, matmul(out, back)))
    rows = matmul(matmul(rows, out), turned)
    rest = subtract(back, matmul(matmul(back, out), columns))
    rest = matmul(matmul(turned, out), rest)
    return (subtract(add(rows, rest), inside),)


def _inverse_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 6, 3)], {"rcond": 1e-12}
    yield [draw(rng, 3, 3) + 4 * np.eye(3)], {"rcond": 1e-12}
    yield [draw(rng, 2, 4)], {"rcond": 1e-12}


INVERSE = register(
    HostOp(
        "inverse_of_columns",
        1,
        lambda columns, rcond: (columns.with_(columns.shape[::-1]),),
        body=_inverse,
        params=("rcond",),
        accepts="f",
        vjp=_inverse_vjp,
        reference=lambda columns, rcond: np.linalg.pinv(plain(columns), rcond),
        samples=_inverse_samples,
        ulp=4000.0,
        doc="The matrix that gives the coefficients of columns with the least squares.",
    )
)
twin(INVERSE)


# ---- fits
def _points(x: Any, y: Any, degree: int, w: Any) -> tuple[Tensor, Tensor, Tensor | None, np.dtype]:
    """Points and their weights, checked, in double precision, and the dtype of results."""
    given = [t for t in (x, y, w) if t is not None]
    tensors = operands(*given, whole=dt.default_int)
    wanted = tensors[0].dtype
    for tensor in tensors[1:]:
        wanted = dt.promote(wanted, tensor.dtype)
    wanted = wanted if dt.is_inexact(wanted) else dt.default_float
    places, values, *weights = (
        astype(t, dt.complex128 if dt.is_complex(t.dtype) else dt.float64) for t in tensors
    )
    if degree < 0:
        raise ArgumentError(f"polyfit: deg is {degree}; it has to be 0 or more")
    if places.ndim != 1 or not places.size:
        raise ShapeError(f"polyfit takes places in one dimension, not shape {places.shape}")
    if values.ndim not in (1, 2) or values.shape[0] != places.shape[0]:
        raise ShapeError(f"polyfit: values of shape {values.shape} for {places.shape[0]} places")
    if weights and weights[0].shape != places.shape:
        raise ShapeError(f"polyfit: weights of shape {weights[0].shape} for {places.shape}")
    return places, values, weights[0] if weights else None, wanted


def _squares(operand: Tensor) -> Tensor:
    return square(abs(operand) if dt.is_complex(operand.dtype) else operand)


def _system(
    places: Tensor, values: Tensor, weights: Tensor | None, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Powers as columns of length 1, values, and the lengths that the columns had."""
    columns = vander(places, degree + 1)
    if weights is not None:
        columns = multiply(columns, expand_dims(weights, -1))
        values = multiply(values, weights if values.ndim == 1 else expand_dims(weights, -1))
    scale = sqrt(sum_(_squares(columns), axis=0))
    return divide(columns, scale), values, scale


@in_plain_floats
def _quality(
    columns: Tensor, squares: Tensor, rcond: float, dtype: np.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The sums of squares, none where columns are too much alike; how many differ, and their
    singular values.  Reads the data."""
    count, device = columns.shape[1], columns.device
    singular = np.linalg.svd(columns.numpy(), compute_uv=False)
    rank = int((singular > rcond * singular[0]).sum())
    squares = reshape(squares, (squares.size,))
    if not rank == count < columns.shape[0]:
        squares = zeros((0,), device=device)
    values = astype(as_tensor(singular, device), dtype)
    return astype(squares, dtype), as_tensor(np.array(rank, np.int32), device), values


def _spread(inverse: Tensor, scale: Tensor, squares: Tensor, free: int | None) -> Tensor:
    """The covariances of the coefficients, for each column of y; `free` is how many points more
    than coefficients there are, None for covariances that are not scaled."""
    if free is not None and free <= 0:
        raise ArgumentError("polyfit: cov takes more points than coefficients, or cov='unscaled'")
    found = divide(matmul(inverse, adjoint(inverse)), outer(scale, scale))
    left = 1.0 if free is None else divide(squares, free)
    return multiply(found if squares.ndim == 0 else expand_dims(found, -1), left)


@public
def polyfit(
    x: Any,
    y: Any,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: Any = None,
    cov: bool | str = False,
) -> Any:
    """The coefficients, the highest power first, of the polynomial of degree `deg` that fits the
    points (x, y) with the least squares; for each column of a matrix y.

    w are weights of the distances.  Powers whose singular value is less than rcond (len(x) times
    the precision of the dtype by default) of the largest are left out; NumPy warns there.  `cov`
    gives the covariances of the coefficients too, scaled by the residuals unless it is "unscaled";
    `full` the sum of the squares, the rank, the singular values and rcond, for which it reads the
    data.  Integers give float32.  Gradients for x, y and w.

    ShapeError for points that do not fit, ArgumentError for a negative degree or too few points
    for `cov`.

    >>> hybrid.polyfit(hybrid.tensor([0.0, 1.0, 2.0, 3.0]), [1.0, 3.0, 5.0, 7.0], 1).round(3)
    tensor([2., 1.])
    """
    degree = operator.index(deg)
    places, values, weights, wanted = _points(x, y, degree, w)
    columns, right, scale = _system(places, values, weights, degree)
    if rcond is None:
        rcond = float(np.finfo(dt.compute_type(wanted)).eps) * places.shape[0]
    inverse = bind(INVERSE, columns, rcond=float(rcond))
    scaled = matmul(inverse, right)
    found = divide(scaled, scale if values.ndim == 1 else expand_dims(scale, -1))
    found = astype(found, wanted)
    if not full and not cov:
        return found
    squares = sum_(_squares(subtract(matmul(columns, scaled), right)), axis=0)
    if full:
        return found, *_quality(columns, squares, rcond, dt.real_of(wanted)), rcond
    free = None if cov == "unscaled" else places.shape[0] - degree - 1
    return found, astype(_spread(inverse, scale, squares, free), wanted)
