"""Powers, exponentials and chains of products of matrices; products by the standard's rules.

Invariant: the gradient of the exponential is an exponential of twice the size.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import ArgumentError, ShapeError
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.op import HostOp, register
from ..axes.views import broadcast_to, expand_dims
from ..base.surface import public
from ..build.create import zeros_like
from ..build.join import concat
from ..build.matrices import eye
from ..elementwise.arithmetic import multiply
from ..products.contract import matmul
from .host import adjoint, columns_of, floating, of_matrices, plain, rows_of, square_infer
from .solving import inv

Tensor = Any

# b[0..13] of the approximant of degree 13 by Padé, and the largest 1-norm that it is exact to
# float64 for (N. Higham, "The scaling and squaring method for the matrix exponential revisited",
# 2005)
_TERMS = (
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
)
_BOUND = 5.371920351148152


# ---- exponentials
def _exponential(operand: np.ndarray) -> np.ndarray:
    """Scaled by a power of two, approximated, squared as often: each matrix by its own norm."""
    operand = plain(operand)
    if not operand.size:
        return operand
    size = np.abs(operand).sum(-2).max(-1)
    finite = np.isfinite(size)
    _, powers = np.frexp(np.where(finite, size, 0) / _BOUND)
    powers = np.maximum(powers, 0)
    small = np.ldexp(1.0, -powers)[..., None, None]
    scaled = np.where(finite[..., None, None], operand, 0) * small
    result = _approximant(scaled)
    for number in range(int(powers.max())):
        more = (powers > number)[..., None, None]
        result = np.where(more, result @ result, result)
    return np.where(finite[..., None, None], result, np.nan)


def _approximant(operand: np.ndarray) -> np.ndarray:
    """(V - U)^-1 (V + U), with the odd terms in U and the even ones in V."""
    squared, power = operand @ operand, np.eye(operand.shape[-1])
    even, odd = power * _TERMS[0], power * _TERMS[1]
    for number in range(2, len(_TERMS), 2):
        power = power @ squared
        even = even + power * _TERMS[number]
        odd = odd + power * _TERMS[number + 1]
    odd = operand @ odd
    return np.linalg.solve(even - odd, even + odd)


def _exponential_vjp(grad: Tensor, out: Tensor, operand: Tensor) -> tuple[Any]:
    """What stands beside the diagonal of the exponential of ((a^H, g), (0, a^H)) (R. Mathias, "A
    chain rule for matrix functions and applications", 1996)."""

    def by_operand() -> Tensor:
        turned, size = adjoint(operand), operand.shape[-1]
        above = concat([turned, grad], -1)
        below = concat([zeros_like(turned), turned], -1)
        whole = bind(MATRIX_EXP, concat([above, below], -2))
        return columns_of(rows_of(whole, 0, size), size, size)

    return (by_operand,)


def _exponential_reference(operand: np.ndarray) -> np.ndarray:
    """The series, of a matrix divided by 2^10, squared ten times."""
    scaled = operand.astype(np.result_type(operand, np.longdouble)) / 1024
    term = total = np.broadcast_to(np.eye(operand.shape[-1], dtype=scaled.dtype), operand.shape)
    for number in range(1, 20):
        term = np.einsum("...ij,...jk->...ik", term, scaled) / number
        total = total + term
    for _ in range(10):
        total = np.einsum("...ij,...jk->...ik", total, total)
    return total


MATRIX_EXP = register(
    HostOp(
        "matrix_exp",
        1,
        square_infer("matrix_exp"),
        body=_exponential,
        vjp=_exponential_vjp,
        accepts="f",
        facts=frozenset(["total"]),
        reference=_exponential_reference,
        samples=of_matrices(
            ((3, 3), {}),
            ((2, 2, 2), {}),
            ((2, 0, 0), {}),
            make=lambda rng, *shape: rng.uniform(-1.5, 1.5, shape),
        ),
        ulp=200.0,
        doc="Exponential of each matrix of a stack.",
    )
)


@public(hybrid=False, linalg=True)
def matrix_exp(a: Tensor) -> Tensor:
    """Exponentials of square matrices: 1 + a + a @ a / 2 + ...; [..., n, n], dtypes as in `inv`.

    A matrix with a NaN or an infinity gives NaN.  ShapeError for matrices that are not square.

    >>> hybrid.linalg.matrix_exp(hybrid.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    return bind(MATRIX_EXP, floating(a, "matrix_exp"))


# ---- powers
@public(hybrid=False, linalg=True)
def matrix_power(a: Tensor, n: int) -> Tensor:
    """Square matrices multiplied n times: ones on the diagonal for 0, powers of the inverse for a
    negative n.  [..., n, n]; integers stay integers unless n is negative.

    ShapeError for matrices that are not square; LinAlgError for a singular one and a negative n.

    >>> hybrid.linalg.matrix_power(hybrid.tensor([[1, 1], [1, 0]]), 10)
    tensor([[89, 55],
            [55, 34]])
    """
    a = as_tensor(a)
    count = _whole(n)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"matrix_power takes square matrices, not shape {a.shape}")
    if count == 0:
        return broadcast_to(eye(a.shape[-1], dtype=a.dtype, device=a.device), a.shape)
    base = inv(a) if count < 0 else a
    count, result = (-count if count < 0 else count), None
    while count:
        if count % 2:
            result = base if result is None else matmul(result, base)
        count //= 2
        if count:
            base = matmul(base, base)
    return result


def _whole(count: Any) -> int:
    try:
        return operator.index(count)
    except TypeError:
        raise ArgumentError(f"matrix_power: n is a whole number, not {count!r}") from None


# ---- products
@public(hybrid=False, linalg=True)
def multi_dot(arrays: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices, in the order of multiplications that takes the fewest;
    the first may be a row (one axis), the last a column.

    ShapeError where sizes do not fit, or for one tensor alone.

    >>> hybrid.linalg.multi_dot([hybrid.ones(2, 30), hybrid.ones(30, 3), hybrid.ones(3, 4)]).shape
    (2, 4)
    """
    tensors = operands(*arrays)
    if len(tensors) < 2:
        raise ShapeError(f"multi_dot takes two tensors or more, not {len(tensors)}")
    row, column = tensors[0].ndim == 1, tensors[-1].ndim == 1
    if row:
        tensors[0] = expand_dims(tensors[0], 0)
    if column:
        tensors[-1] = expand_dims(tensors[-1], 1)
    for tensor in tensors:
        if tensor.ndim != 2:
            raise ShapeError(f"multi_dot takes matrices, not shape {tensor.shape}")
    sizes = [tensors[0].shape[0], *[tensor.shape[1] for tensor in tensors]]
    result = _chain(tensors, _cuts(sizes), 0, len(tensors) - 1)
    result = result[0] if row else result
    return result[..., 0] if column else result


def _cuts(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where the product of the factors first..last is cut, for all pairs (T. Cormen et al.,
    "Introduction to algorithms", matrix-chain multiplication)."""
    count = len(sizes) - 1
    costs = {(place, place): 0 for place in range(count)}
    cuts: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for first in range(count - length):
            last = first + length
            found = [
                costs[first, cut]
                + costs[cut + 1, last]
                + sizes[first] * sizes[cut + 1] * sizes[last + 1]
                for cut in range(first, last)
            ]
            costs[first, last] = min(found)
            cuts[first, last] = first + found.index(min(found))
    return cuts


def _chain(
    tensors: list[Tensor], cuts: dict[tuple[int, int], int], first: int, last: int
) -> Tensor:
    if first == last:
        return tensors[first]
    cut = cuts[first, last]
    return matmul(_chain(tensors, cuts, first, cut), _chain(tensors, cuts, cut + 1, last))


@public(hybrid=False, linalg=True)
def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of the elements of two vectors, as a matrix; `hybrid.outer` flattens tensors.

    ShapeError for tensors that have not one dimension.

    >>> hybrid.linalg.outer(hybrid.tensor([1, 2]), hybrid.tensor([10, 20, 30]))
    tensor([[10, 20, 30],
            [20, 40, 60]])
    """
    left, right = operands(x1, x2)
    if left.ndim != 1 or right.ndim != 1:
        raise ShapeError(
            f"linalg.outer takes vectors, not shapes {left.shape} and {right.shape}; "
            "hybrid.outer flattens"
        )
    return multiply(expand_dims(left, 1), expand_dims(right, 0))
