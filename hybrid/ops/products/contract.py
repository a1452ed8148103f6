"""Matrix products: matmul and linear with their gradients; tensordot, vecdot, outer, dot, kron.

Invariant: a record's layout (ir/contract.py) says what is summed in which order; gradients are
contractions again.  Half types accumulate in float32 and are rounded once, bias included.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import DTypeError, ShapeError
from ...core.shapes import normalize_axis
from ...ir import contract as layouts
from ...ir.door.bind import bind, operands
from ...ir.door.flat import flat
from ...ir.op import ContractOp, Op, register
from ..axes.reduce import sum as sum_
from ..axes.reduce import sum_like
from ..axes.views import expand_dims, matrix_transpose, moveaxis, permute_dims, reshape
from ..base.common import Part, draw, inferred, wide
from ..base.surface import public
from ..build.join import concat
from ..build.pairs import complex_of, conjugate, pairs_in
from ..elementwise.arithmetic import add, multiply, subtract

Ints = tuple[int, ...]
Pair = tuple[int, int]
Tensor = Any


# ---- matmul
def _matmul_vjp(grad: Tensor, out: Tensor, left: Tensor, right: Tensor) -> tuple[Any, Any]:
    if left.ndim == 1 and right.ndim == 1:
        return lambda: multiply(grad, right), lambda: multiply(grad, left)
    if right.ndim == 1:
        return (
            lambda: multiply(expand_dims(grad, -1), right),
            lambda: matmul(reshape(grad, (grad.size,)), reshape(left, (grad.size, left.shape[-1]))),
        )
    if left.ndim == 1:

        def by_row() -> Tensor:
            return sum_like(
                reshape(
                    matmul(expand_dims(grad, -2), matrix_transpose(right)),
                    grad.shape[:-1] + left.shape,
                ),
                left.shape,
            )

        return by_row, lambda: multiply(expand_dims(left, -1), expand_dims(grad, -2))
    if right.ndim == 2 and left.ndim > 2:
        rows = prod(left.shape[:-1])
        return (
            lambda: matmul(grad, matrix_transpose(right)),
            lambda: matmul(
                matrix_transpose(reshape(left, (rows, left.shape[-1]))),
                reshape(grad, (rows, grad.shape[-1])),
            ),
        )
    return (
        lambda: sum_like(matmul(grad, matrix_transpose(right)), left.shape),
        lambda: sum_like(matmul(matrix_transpose(left), grad), right.shape),
    )


def _matmul_samples(rng: np.random.Generator) -> Any:
    for left, right in [
        ((3, 4), (4, 5)),
        ((1, 7), (7, 1)),
        ((4,), (4,)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 3)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((2, 3, 4), (4, 5)),
        ((3, 0), (0, 2)),
        ((0, 3), (3, 2)),
    ]:
        yield [draw(rng, *left, low=0.5, high=1.5), draw(rng, *right, low=0.5, high=1.5)], {}


MATMUL = register(
    ContractOp(
        "matmul",
        2,
        inferred(layouts.matmul_shape),
        layout=layouts.matmul_layout,
        vjp=_matmul_vjp,
        reference=lambda left, right: np.matmul(wide(left), wide(right)),
        samples=_matmul_samples,
        ulp=8.0,
        accepts="iuf",
        doc="Matrix product with NumPy's rules for every rank.",
    )
)


def _no_bools(name: str, *tensors: Tensor) -> None:
    if all(x.dtype is dt.bool_ for x in tensors):
        raise DTypeError(f"{name} does not take bool tensors; convert one with .astype")


def _factors(left: Tensor, right: Tensor, /) -> tuple[Tensor, Tensor]:
    left, right = operands(left, right)
    _no_bools("matmul", left, right)
    return left, right


matmul = public(
    flat(MATMUL, _factors), method=("matmul", "mm", "bmm", "dot"), operator=True, linalg=True
)
matmul.__name__ = matmul.__qualname__ = "matmul"
matmul.__doc__ = """a @ b: matrices in the last two axes, leading axes broadcast.

A 1-D operand is a row (a) or a column (b), whose axis the result does not have.  Dtypes promote;
half types accumulate in float32 and are rounded once.  Raises ShapeError when inner sizes differ
and DTypeError for bool tensors.

>>> hybrid.matmul(hybrid.tensor([[1, 2], [3, 4]]), hybrid.tensor([10, 1]))
tensor([12, 34])
>>> hybrid.matmul(hybrid.ones(5, 1, 2, 3), hybrid.ones(4, 3, 6)).shape
(5, 4, 2, 6)
"""


# ---- linear
def _linear_vjp(
    grad: Tensor, out: Tensor, operand: Tensor, weight: Tensor, bias: Tensor | None = None
) -> tuple[Any, ...]:
    rows = prod(operand.shape[:-1])

    def flat() -> Tensor:
        return reshape(grad, (rows, weight.shape[0]))

    grads = lambda: matmul(grad, weight), WeightPart(grad, operand, weight.shape)
    return grads if bias is None else (*grads, lambda: sum_(flat(), axis=0))


class WeightPart(Part):
    """The gradient of a weight[out, in] from one use: g[rows, out] transposed times x[rows, in]."""

    __slots__ = ("_g", "_x", "rows", "shape")
    rank = 1

    @property
    def op(self) -> Op:
        return LINEAR

    def __init__(self, grad: Tensor, operand: Tensor, shape: Ints) -> None:
        self._g, self._x, self.rows, self.shape = grad, operand, prod(operand.shape[:-1]), shape

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.factors()

    def of(self, *tensors: Tensor) -> Part:
        grad, operand = tensors
        return WeightPart(grad, operand, self.shape)

    def factors(self) -> tuple[Tensor, Tensor]:
        """g and x as matrices."""
        sizes = zip((self._g, self._x), self.shape)
        grad, operand = [x if x.ndim == 2 else reshape(x, (self.rows, n)) for x, n in sizes]
        return grad, operand

    def __call__(self) -> Tensor:
        grad, operand = self.factors()
        return matmul(matrix_transpose(grad), operand)


def _joined_products(parts: Sequence[WeightPart]) -> Tensor | None:
    """One product over all rows, where copying the rows costs less than adding up the products."""
    outs, ins = parts[0].shape
    rows = sum(p.rows for p in parts)
    if rows * (outs + ins) > 2 * len(parts) * outs * ins:
        return None
    grads, operand = (concat(factors, 0) for factors in zip(*(p.factors() for p in parts)))
    return matmul(matrix_transpose(grads), operand)


def _linear_samples(rng: np.random.Generator) -> Any:
    def one(*shape: int) -> np.ndarray:
        return draw(rng, *shape, low=0.5, high=1.5)

    yield [one(3, 4), one(5, 4), one(5)], {}
    yield [one(2, 3, 4), one(5, 4)], {}
    yield [one(4), one(3, 4), one(3)], {}
    yield [one(6, 4), one(1, 4), one(1)], {}
    yield [one(0, 4), one(3, 4), one(3)], {}


def _linear_reference(
    operand: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    out = np.matmul(wide(operand), wide(weight).T)
    result: np.ndarray = out if bias is None else out + wide(bias)
    return result


LINEAR = register(
    ContractOp(
        "linear",
        None,
        inferred(layouts.linear_shape),
        layout=layouts.linear_layout,
        vjp=_linear_vjp,
        join=_joined_products,
        reference=_linear_reference,
        samples=_linear_samples,
        ulp=8.0,
        accepts="iuf",
        keeps=frozenset("01"),
        doc="x[..., in] @ weight[out, in].T + bias[out].",
    )
)


@public(functional=True)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x[..., in] @ weight[out, in].T + bias[out], rounded once; the result is [..., out].

    Raises ShapeError when the sizes do not fit.

    >>> weight, bias = hybrid.tensor([[1.0, 2.0], [0.0, -1.0]]), hybrid.tensor([10.0, 0.0])
    >>> hybrid.linear(hybrid.tensor([3.0, 4.0]), weight, bias)
    tensor([21., -4.])
    """
    return bind(LINEAR, x, weight) if bias is None else bind(LINEAR, x, weight, bias)


# ---- other products
def _axes_pair(
    axes: Any, left_operand: Tensor, right_operand: Tensor
) -> tuple[list[int], list[int]]:
    if hasattr(axes, "__index__"):
        count = operator.index(axes)
        return list(range(left_operand.ndim - count, left_operand.ndim)), list(range(count))
    left, right = ([v] if hasattr(v, "__index__") else list(v) for v in axes)
    return (
        [normalize_axis(v, left_operand.ndim, "tensordot") for v in left],
        [normalize_axis(v, right_operand.ndim, "tensordot") for v in right],
    )


@public(linalg=True)
def tensordot(a: Tensor, b: Tensor, /, axes: Any = 2) -> Tensor:
    """Sum of products over pairs of axes: an int (last of a with first of b) or two
    sequences.

    ShapeError where the sizes of a pair differ.

    >>> hybrid.tensordot(hybrid.ones(2, 3, 4), hybrid.ones(3, 4, 5)).shape
    (2, 5)
    >>> hybrid.tensordot(hybrid.ones(2, 3), hybrid.ones(4, 2), axes=([0], [1])).shape
    (3, 4)
    """
    a, b = operands(a, b)
    left, right = _axes_pair(axes, a, b)
    if len(left) != len(right) or any(a.shape[i] != b.shape[j] for i, j in zip(left, right)):
        raise ShapeError(f"tensordot: axes {axes} of shapes {a.shape} and {b.shape} do not pair up")
    free_a = [i for i in range(a.ndim) if i not in left]
    free_b = [i for i in range(b.ndim) if i not in right]
    summed = prod(a.shape[i] for i in left)
    rows, cols = tuple(a.shape[i] for i in free_a), tuple(b.shape[i] for i in free_b)
    operand = reshape(permute_dims(a, free_a + left), (prod(rows), summed))
    result = reshape(permute_dims(b, right + free_b), (summed, prod(cols)))
    return reshape(matmul(operand, result), rows + cols)


def dot_of_numbers(left: Tensor, right: Tensor, conjugated: bool = False) -> Tensor:
    """The sum of products of two lines of complex numbers, from one product of their pairs."""
    found = bind(MATMUL, permute_dims(pairs_in(left), (1, 0)), pairs_in(right))
    reals, imaginaries = found[0, 0], found[1, 1]  # products of parts of one kind
    across, back = found[0, 1], found[1, 0]
    if conjugated:
        return complex_of(add(reals, imaginaries), subtract(across, back))
    return complex_of(subtract(reals, imaginaries), add(across, back))


@public(linalg=True)
def vecdot(a: Tensor, b: Tensor, /, *, axis: int = -1) -> Tensor:
    """Dot products along an axis, of complex tensors with the conjugate of a; the other axes
    broadcast.

    ShapeError where the sizes along the axis differ.

    >>> hybrid.vecdot(hybrid.tensor([[1, 2], [3, 4]]), hybrid.tensor([10, 1]))
    tensor([12, 34])
    """
    a, b = operands(a, b)
    operand, result = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    if operand.shape[-1] != result.shape[-1]:
        raise ShapeError(f"vecdot: axis {axis} has size {operand.shape[-1]} and {result.shape[-1]}")
    if operand.ndim == result.ndim == 1 and all(dt.is_complex(t.dtype) for t in (a, b)):
        return dot_of_numbers(operand, result, conjugated=True)
    out = matmul(expand_dims(conjugate(operand), -2), expand_dims(result, -1))
    return reshape(out, out.shape[:-2])


@public(method=True)
def outer(a: Tensor, b: Tensor, /) -> Tensor:
    """All products of the elements of two tensors (flattened), as a matrix.

    >>> hybrid.outer(hybrid.tensor([1, 2]), hybrid.tensor([10, 20, 30]))
    tensor([[10, 20, 30],
            [20, 40, 60]])
    """
    a, b = operands(a, b)
    return multiply(reshape(a, (a.size, 1)), reshape(b, (1, b.size)))


@public
def dot(a: Tensor, b: Tensor, /) -> Tensor:
    """NumPy's dot: products with scalars, inner products, matmul; with more dimensions, sums over
    the last axis of a and the second last of b.

    ShapeError where the sizes of these axes differ.

    >>> hybrid.dot(hybrid.tensor([1, 2, 3]), hybrid.tensor([4, 5, 6]))
    tensor(32)
    """
    a, b = operands(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    return matmul(a, b) if b.ndim <= 2 else tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 2,)))


@public(linalg=True)
def kron(a: Tensor, b: Tensor, /) -> Tensor:
    """Kronecker product of tensors; one of fewer dimensions gets axes of size 1 before its own.

    >>> hybrid.kron(hybrid.eye(2), hybrid.tensor([[1.0, 2.0]]))
    tensor([[1., 2., 0., 0.],
            [0., 0., 1., 2.]])
    """
    a, b = operands(a, b)
    left, right = ((1,) * (b.ndim - a.ndim) + a.shape, (1,) * (a.ndim - b.ndim) + b.shape)
    operand = reshape(a, tuple(v for n in left for v in (n, 1)))
    result = reshape(b, tuple(v for n in right for v in (1, n)))
    return reshape(multiply(operand, result), tuple(m * n for m, n in zip(left, right)))
