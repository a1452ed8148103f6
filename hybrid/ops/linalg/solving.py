"""Linear systems: solve, triangular ones, inverses, and both for tensors of any rank.

Invariant: gradients are solutions of systems again, in public ops.  Formulas: M. Giles, "Collected
matrix derivative results for forward and reverse mode algorithmic differentiation" (2008), 2.2.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.errors import ShapeError
from ...core.shapes import broadcast_shapes, normalize_axis
from ...ir.door.bind import bind
from ...ir.op import HostOp, register
from ..axes.reduce import sum_like
from ..axes.views import expand_dims, matrix_transpose, moveaxis, reshape, squeeze
from ..base.surface import public
from ..build.matrices import tril, triu
from ..elementwise.arithmetic import negative
from ..products.contract import matmul
from .host import adjoint, floating, lapack, matrices, of_matrices, plain, square_infer, together
from .small import is_small, small_inv, small_solve
from .triangles import substitute

Tensor = Any


# ---- inverses
_inverse = lapack("inv", np.linalg.inv, "inv: a singular matrix")
_unchecked = lapack("inv", np.linalg.inv)


def _inv(operand: np.ndarray, checked: bool) -> np.ndarray:
    """The inverse; singular matrices have NaN where that is not `checked`."""
    if not checked:
        try:
            return _unchecked(operand)  # type: ignore[no-any-return]
        except np.linalg.LinAlgError:
            parts = [_inv(part, False) for part in operand] if operand.ndim > 2 else []
            return np.array(parts, operand.dtype) if parts else np.full_like(operand, np.nan)
    return _inverse(operand)  # type: ignore[no-any-return]


def _inv_vjp(grad: Tensor, out: Tensor, operand: Tensor, checked: bool) -> tuple[Any]:
    turned = adjoint(out)
    return (lambda: negative(matmul(matmul(turned, grad), turned)),)


INV = register(
    HostOp(
        "inv",
        1,
        square_infer("inv"),
        body=_inv,
        params=("checked",),
        vjp=_inv_vjp,
        accepts="f",
        reference=lambda operand, checked: np.linalg.inv(plain(operand)),
        samples=of_matrices(
            ((3, 3), {"checked": True}),
            ((2, 4, 4), {"checked": False}),
            ((1, 1), {"checked": True}),
            ((2, 0, 0), {"checked": True}),
        ),
        ulp=200.0,
        doc="Inverse of each matrix of a stack.",
    )
)


@public(hybrid=False, linalg=True)
def inv(a: Tensor) -> Tensor:
    """Inverses of square matrices, [..., n, n]; float32, float64, complex64 and complex128 stay,
    integers and bools give float32, half types raise DTypeError.

    ShapeError for matrices that are not square, LinAlgError for a singular one.

    >>> hybrid.linalg.inv(hybrid.tensor([[2.0, 0.0], [1.0, 1.0]]))
    tensor([[ 0.5,  0. ],
            [-0.5,  1. ]])
    """
    a = floating(a, "inv")
    return small_inv(a) if is_small(a) else bind(INV, a, checked=True)


# ---- general systems
_solution = lapack("solve", np.linalg.solve, "solve: a singular matrix")


def system_infer(name: str) -> Any:
    """(square, right[..., n, k]) -> solution of the broadcast stacks."""

    def infer(square: Aval, right: Aval, **params: Any) -> tuple[Aval, ...]:
        matrices(name, square, right, square=True)
        if square.shape[-1] != right.shape[-2]:
            raise ShapeError(
                f"{name}: matrices of shape {square.shape} and right sides of shape {right.shape}"
            )
        batch = broadcast_shapes(name, square.shape[:-2], right.shape[:-2])
        return (right.with_((*batch, *right.shape[-2:])),)

    return infer


def _solve_vjp(grad: Tensor, out: Tensor, square: Tensor, right: Tensor) -> tuple[Any, Any]:
    to_right = bind(SOLVE, adjoint(square), grad)

    def by_square() -> Tensor:
        return sum_like(negative(matmul(to_right, adjoint(out))), square.shape)

    return by_square, lambda: sum_like(to_right, right.shape)


MOST_COLUMNS = 64  # of small systems: LAPACK eliminates once for all of them
SYSTEMS = (((3, 3), (3, 2)), ((2, 4, 4), (4, 1)), ((3, 3), (2, 3, 3)), ((2, 2), (2, 0)))
SOLVE = register(
    HostOp(
        "solve",
        2,
        system_infer("solve"),
        body=lambda square, right: _solution(square, right),
        vjp=_solve_vjp,
        accepts="f",
        reference=lambda square, right: np.linalg.solve(plain(square), plain(right)),
        samples=of_matrices(*[(*row, {}) for row in SYSTEMS]),
        ulp=200.0,
        doc="Solutions of a @ x = b for stacks of matrices.",
    )
)


def with_columns(function: Any, right: Tensor) -> Tensor:
    """`function` of right sides, where one of a single axis is a column."""
    if right.ndim != 1:
        return function(right)
    return squeeze(function(expand_dims(right, -1)), -1)


@public(hybrid=False, linalg=True)
def solve(a: Tensor, b: Tensor) -> Tensor:
    """The x of a @ x = b.  a: [..., n, n]; b: [..., n, k], or [n], which is one vector (and gives
    [..., n]); leading axes broadcast.

    Dtypes as in `inv`.  ShapeError where shapes do not fit, LinAlgError for a singular matrix.

    >>> a = hybrid.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> hybrid.linalg.solve(a, hybrid.tensor([3.0, 4.0]))
    tensor([1., 1.])
    """
    square, right = together(a, b, name="solve")
    return with_columns(lambda columns: _solved(square, columns), right)


def _solved(square: Tensor, right: Tensor) -> Tensor:
    many = (square.ndim > 2 or right.ndim > 2) and 0 < right.shape[-1] <= MOST_COLUMNS
    if many and square.shape[-1:] == right.shape[-2:-1]:
        batch = broadcast_shapes("solve", square.shape[:-2], right.shape[:-2])
        if is_small(square, batch):
            return small_solve(square, right)
    return bind(SOLVE, square, right)


# ---- triangular systems
def _triangular_vjp(
    grad: Tensor, out: Tensor, factor: Tensor, right: Tensor, upper: bool, unit: bool
) -> tuple[Any, Any]:
    to_right = bind(TRIANGULAR, adjoint(factor), grad, upper=not upper, unit=unit)

    def by_factor() -> Tensor:
        whole = sum_like(negative(matmul(to_right, adjoint(out))), factor.shape)
        return triu(whole, k=int(unit)) if upper else tril(whole, k=-int(unit))

    return by_factor, lambda: sum_like(to_right, right.shape)


def _triangular_reference(
    factor: np.ndarray, right: np.ndarray, upper: bool, unit: bool
) -> np.ndarray:
    triangle = (np.triu if upper else np.tril)(plain(factor))
    if unit:
        np.einsum("...ii->...i", triangle)[...] = 1
    return np.linalg.solve(triangle, plain(right))


TRIANGULAR = register(
    HostOp(
        "solve_triangular",
        2,
        system_infer("solve_triangular"),
        body=lambda factor, right, upper, unit: substitute(
            plain(factor), plain(right), upper, unit
        ),
        params=("upper", "unit"),
        vjp=_triangular_vjp,
        accepts="f",
        reference=_triangular_reference,
        samples=of_matrices(
            *[
                (*row, {"upper": bool(number % 2), "unit": number == 2})
                for number, row in enumerate(SYSTEMS)
            ]
        ),
        ulp=200.0,
        doc="Solutions of a @ x = b from one triangle of a.",
    )
)


@public(hybrid=False, linalg=True)
def solve_triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """The x of a @ x = b from the upper or the lower triangle of a, as PyTorch's: what else is in a
    is not read, nor is the diagonal where it is `unitriangular` (ones).  `left=False`: x @ a = b.

    Shapes and dtypes as in `solve`; the gradient of a is in the same triangle.  LinAlgError for a
    zero on the diagonal.

    >>> a = hybrid.tensor([[2.0, 0.0], [1.0, 4.0]])
    >>> hybrid.linalg.solve_triangular(a, hybrid.tensor([2.0, 9.0]), upper=False)
    tensor([1., 2.])
    """
    factor, right = together(a, b, name="solve_triangular")
    if not left:
        turned = right if right.ndim == 1 else matrix_transpose(right)
        found = solve_triangular(
            matrix_transpose(factor), turned, upper=not upper, unitriangular=unitriangular
        )
        return found if right.ndim == 1 else matrix_transpose(found)
    params = {"upper": bool(upper), "unit": bool(unitriangular)}
    return with_columns(lambda columns: bind(TRIANGULAR, factor, columns, **params), right)


@public(hybrid=False, linalg=True)
def cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    """The x of a @ x = b from the Cholesky factor of a (what `cholesky` gives), as PyTorch's
    `cholesky_solve(b, factor)`.

    Shapes and dtypes as in `solve`; LinAlgError for a zero on the diagonal.

    >>> factor = hybrid.linalg.cholesky(hybrid.tensor([[4.0, 2.0], [2.0, 5.0]]))
    >>> hybrid.linalg.cholesky_solve(hybrid.tensor([8.0, 12.0]), factor)
    tensor([1., 2.])
    """
    right, lower = together(b, factor, name="cholesky_solve")
    lower = adjoint(lower) if upper else lower
    half = solve_triangular(lower, right, upper=False)
    return solve_triangular(adjoint(lower), half, upper=True)


# ---- any rank
@public(hybrid=False, linalg=True)
def tensorsolve(a: Tensor, b: Tensor, axes: Any = None) -> Tensor:
    """The x of tensordot(a, x, axes=x.ndim) = b; the `axes` of a are moved to its end first.

    ShapeError where the first axes of a, flattened, are not as large as the rest.

    >>> a = hybrid.eye(4).reshape(2, 2, 4)
    >>> hybrid.linalg.tensorsolve(a, hybrid.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 2., 3., 4.])
    """
    a, b = together(a, b, name="tensorsolve")
    if axes is not None:
        moved = [axes] if hasattr(axes, "__index__") else list(axes)
        moved = [normalize_axis(axis, a.ndim, "tensorsolve") for axis in moved]
        a = moveaxis(a, tuple(moved), tuple(range(a.ndim - len(moved), a.ndim)))
    rest = a.shape[b.ndim :]
    if prod(rest) ** 2 != a.size or b.size != prod(rest):
        raise ShapeError(f"tensorsolve: {a.shape} is no square system for {b.shape}")
    size = prod(rest)
    return reshape(solve(reshape(a, (size, size)), reshape(b, (size,))), rest)


@public(hybrid=False, linalg=True)
def tensorinv(a: Tensor, ind: int = 2) -> Tensor:
    """The inverse of a as a map of its last axes to its first `ind` ones:
    tensordot(tensorinv(a, ind), b, ind) is tensorsolve(a, b).

    ShapeError where these are not equally many elements, LinAlgError for a singular tensor.

    >>> hybrid.linalg.tensorinv(hybrid.eye(4).reshape(2, 2, 4)).shape
    (4, 2, 2)
    """
    a = floating(a, "tensorinv")
    if ind <= 0:
        raise ShapeError(f"tensorinv: ind = {ind} is not positive")
    first, rest = a.shape[:ind], a.shape[ind:]
    size = prod(rest)
    if prod(first) != size:
        raise ShapeError(f"tensorinv: axes {first} and {rest} are not equally many elements")
    return reshape(inv(reshape(a, (size, size))), rest + first)
