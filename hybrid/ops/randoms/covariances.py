"""Square roots of covariance matrices, which may be singular.

Invariant: what a matrix is, and what is done about it, is decided where its values are read, inside
a record: eager calls and replays take the same way.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, LinAlgError
from ...ir.door.bind import bind
from ...ir.door.bind import convert as astype
from ...ir.op import HostOp, register
from ..axes.views import matrix_transpose
from ..base.common import draw
from ..build.matrices import eye
from ..elementwise.arithmetic import abs, add, multiply
from ..elementwise.functions import sqrt
from ..elementwise.logic import equal
from ..elementwise.selection import where
from ..linalg.factors import cholesky_gradient
from ..linalg.host import of_matrices, plain, square_infer, symmetric
from ..linalg.spectra import eigh, svd

Tensor = Any
RULES = ("check", "tol", "precision")  # "check": 'raise', 'warn' or 'ignore'
GIVEN = {"check": "raise", "tol": 1e-8, "precision": 1e-7}  # of samples
_finfo: Any = ml_dtypes.finfo

__all__ = ["LOWER_ROOT", "SEMIDEFINITE", "check_method", "root_of"]


def check_method(method: str, check_valid: str) -> None:
    if method not in ("cholesky", "eigh", "svd"):
        raise ArgumentError(f"method is {method!r}; it is 'cholesky', 'eigh' or 'svd'")
    if check_valid not in ("raise", "warn", "ignore"):
        raise ArgumentError(f"check_valid is {check_valid!r}; it is 'raise', 'warn' or 'ignore'")


def root_of(given: Tensor, dtype: np.dtype, method: str, check: str, tol: float) -> Tensor:
    """r with r^T r = given, in a dtype; what rounding explains is that of both dtypes."""
    spread = astype(given, dtype)
    known = given.dtype if dt.is_float(given.dtype) else dtype
    least = max(float(_finfo(known).eps), float(_finfo(dtype).eps))
    rules = {"check": check, "tol": tol, "precision": least}
    if method == "cholesky":
        return matrix_transpose(bind(LOWER_ROOT, spread, **rules))
    if check != "ignore":
        spread = bind(SEMIDEFINITE, spread, **rules)
    if method == "eigh":
        values, columns = eigh(spread)
        return multiply(sqrt(abs(values))[:, None], matrix_transpose(columns))
    _, values, rows = svd(spread)
    return multiply(sqrt(values)[:, None], rows)


# ---- what a matrix is
def _spectrum(operand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of the matrix in a lower triangle."""
    if np.isfinite(operand).all():
        with suppress(np.linalg.LinAlgError):
            values, vectors = np.linalg.eigh(plain(operand))
            return values, vectors
    raise LinAlgError("multivariate_normal: the covariance has elements that are not finite")


def _judge(values: np.ndarray, check: str, tol: float, precision: float) -> bool:
    """Whether no eigenvalue is negative, but for rounding; what is said where one is."""
    slack = len(values) * precision * float(np.abs(values).max(initial=0.0))
    if not (values < -max(tol, slack)).any():
        return True
    message = (
        "multivariate_normal: the covariance is not positive semidefinite: it has the eigenvalue "
        f"{values.min():.6g}"
    )
    if check == "raise":
        raise LinAlgError(message)
    if check == "warn":
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return False


def _judged(operand: np.ndarray, check: str, tol: float, precision: float) -> np.ndarray:
    for number in np.ndindex(operand.shape[:-2]):
        _judge(_spectrum(operand[number])[0], check, tol, precision)
    return operand.copy()


SEMIDEFINITE = register(
    HostOp(
        "semidefinite",
        1,
        square_infer("semidefinite"),
        body=_judged,
        vjp=lambda grad, out, operand, check, tol, precision: (lambda: grad,),
        params=RULES,
        accepts="f",
        reference=lambda operand, check, tol, precision: operand,
        samples=of_matrices(
            ((3, 3), {"check": "raise", "tol": 1e-8, "precision": 1e-7}), make=symmetric
        ),
        ulp=0.0,
        doc="A matrix of which it is said where an eigenvalue is negative.",
    )
)


# ---- lower triangles
def _lower_roots(operand: np.ndarray, check: str, tol: float, precision: float) -> np.ndarray:
    with suppress(np.linalg.LinAlgError):
        found: np.ndarray = np.linalg.cholesky(plain(operand))
        if np.isfinite(found).all():
            return found
    made = np.empty(operand.shape)
    for number in np.ndindex(operand.shape[:-2]):
        made[number] = _lower_root(operand[number], check, tol, precision)
    return made


def _lower_root(operand: np.ndarray, check: str, tol: float, precision: float) -> np.ndarray:
    """A lower triangle whose columns are zero where nothing is left of the diagonal; of a matrix
    with negative eigenvalues that of the matrix with their sizes."""
    values, columns = _spectrum(operand)
    remaining = np.tril(plain(operand))
    if not _judge(values, check, tol, precision):
        remaining = np.tril((columns * np.abs(values)) @ columns.T)
    least = len(remaining) * precision * np.abs(np.diagonal(remaining))
    made = np.zeros_like(remaining)
    for place in range(len(remaining)):
        explained = made[place:, :place] @ made[place, :place]
        column = remaining[place:, place] - explained
        if column[0] > least[place]:
            made[place:, place] = column / np.sqrt(column[0])
    return made


def _lower_gradient(grad: Tensor, factor: Tensor) -> Tensor:
    """That of Cholesky's factor at constant rank: zero columns stay zero, whatever is in their
    place on the diagonal."""
    size = factor.shape[-1]
    unit = eye(size, dtype=factor.dtype, device=factor.device)
    absent = multiply(unit, equal(factor, 0))
    without = absent.sum(axis=-2, keepdims=True)
    return cholesky_gradient(where(equal(without, 0), grad, 0.0), add(factor, absent))


def _singular(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Matrices of low rank, with the same zero columns in every float dtype."""
    size = shape[-1]
    lower = np.tril(np.round(draw(rng, *shape)))
    lower[..., np.arange(size), np.arange(size)] = np.arange(size) % 2
    lower[..., :, ::2] = 0.0
    made: np.ndarray = lower @ np.swapaxes(lower, -1, -2)
    return made.astype(np.float32)


def _samples(rng: np.random.Generator) -> Any:
    yield from of_matrices(((3, 3), GIVEN), ((2, 4, 4), GIVEN), make=symmetric)(rng)
    yield [_singular(rng, 4, 4)], GIVEN


LOWER_ROOT = register(
    HostOp(
        "lower_root",
        1,
        square_infer("lower_root"),
        body=_lower_roots,
        vjp=lambda grad, out, operand, check, tol, precision: (lambda: _lower_gradient(grad, out),),
        params=RULES,
        accepts="f",
        reference=lambda operand, check, tol, precision: _lower_roots(
            operand, check, tol, precision
        ),
        samples=_samples,
        ulp=100.0,
        doc="Cholesky's lower triangle, of singular matrices too, with columns of zeros.",
    )
)
