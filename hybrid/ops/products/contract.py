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
from ..elementwise.arithmetic import multiply

Ints = tuple[int, ...]
Pair = tuple[int, int]
Tensor = Any


# ---- matmul
def _matmul_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Any, Any]:
    if a.ndim == 1 and b.ndim == 1:
        return lambda: multiply(g, b), lambda: multiply(g, a)
    if b.ndim == 1:
        return (
            lambda: multiply(expand_dims(g, -1), b),
            lambda: matmul(reshape(g, (g.size,)), reshape(a, (g.size, a.shape[-1]))),
        )
    if a.ndim == 1:

        def by_row() -> Tensor:
            return sum_like(
                reshape(matmul(expand_dims(g, -2), matrix_transpose(b)), g.shape[:-1] + a.shape),
                a.shape,
            )

        return by_row, lambda: multiply(expand_dims(a, -1), expand_dims(g, -2))
    if b.ndim == 2 and a.ndim > 2:
        rows = prod(a.shape[:-1])
        return (
            lambda: matmul(g, matrix_transpose(b)),
            lambda: matmul(
                matrix_transpose(reshape(a, (rows, a.shape[-1]))), reshape(g, (rows, g.shape[-1]))
            ),
        )
    return (
        lambda: sum_like(matmul(g, matrix_transpose(b)), a.shape),
        lambda: sum_like(matmul(matrix_transpose(a), g), b.shape),
    )


def _matmul_samples(rng: np.random.Generator) -> Any:
    for a, b in [
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
        yield [draw(rng, *a, low=0.5, high=1.5), draw(rng, *b, low=0.5, high=1.5)], {}


MATMUL = register(
    ContractOp(
        "matmul",
        2,
        inferred(layouts.matmul_shape),
        layout=layouts.matmul_layout,
        vjp=_matmul_vjp,
        reference=lambda a, b: np.matmul(wide(a), wide(b)),
        samples=_matmul_samples,
        ulp=8.0,
        accepts="iuf",
        doc="Matrix product with NumPy's rules for every rank.",
    )
)


def _no_bools(name: str, *xs: Tensor) -> None:
    if all(x.dtype is dt.bool_ for x in xs):
        raise DTypeError(f"{name} does not take bool tensors; convert one with .astype")


def _factors(a: Tensor, b: Tensor, /) -> tuple[Tensor, Tensor]:
    a, b = operands(a, b)
    _no_bools("matmul", a, b)
    return a, b


matmul = public(flat(MATMUL, _factors), method=("matmul", "mm", "bmm", "dot"), operator=True)
matmul.__name__ = matmul.__qualname__ = "matmul"
matmul.__doc__ = """a @ b: matrices in the last two axes, leading axes broadcast.

A 1-D operand is a row (a) or a column (b), whose axis the result does not have.  Dtypes promote;
half types accumulate in float32 and are rounded once.  Raises ShapeError when inner sizes differ
and DTypeError for bool tensors.
"""


# ---- linear
def _linear_vjp(
    g: Tensor, out: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None
) -> tuple[Any, ...]:
    rows = prod(x.shape[:-1])

    def flat() -> Tensor:
        return reshape(g, (rows, w.shape[0]))

    grads = lambda: matmul(g, w), WeightPart(g, x, w.shape)
    return grads if b is None else (*grads, lambda: sum_(flat(), axis=0))


class WeightPart(Part):
    """The gradient of a weight[out, in] from one use: g[rows, out] transposed times x[rows, in]."""

    __slots__ = ("_g", "_x", "rows", "shape")
    rank = 1

    @property
    def op(self) -> Op:
        return LINEAR

    def __init__(self, g: Tensor, x: Tensor, shape: Ints) -> None:
        self._g, self._x, self.rows, self.shape = g, x, prod(x.shape[:-1]), shape

    def factors(self) -> tuple[Tensor, Tensor]:
        """g and x as matrices."""
        return reshape(self._g, (self.rows, self.shape[0])), reshape(
            self._x, (self.rows, self.shape[1])
        )

    def __call__(self) -> Tensor:
        g, x = self.factors()
        return matmul(matrix_transpose(g), x)


def _joined_products(parts: Sequence[WeightPart]) -> Tensor | None:
    """One product over all rows, where copying the rows costs less than adding up the products."""
    outs, ins = parts[0].shape
    rows = sum(p.rows for p in parts)
    if rows * (outs + ins) > 2 * len(parts) * outs * ins:
        return None
    g, x = (concat(factors, 0) for factors in zip(*(p.factors() for p in parts)))
    return matmul(matrix_transpose(g), x)


def _linear_samples(rng: np.random.Generator) -> Any:
    def one(*s: int) -> np.ndarray:
        return draw(rng, *s, low=0.5, high=1.5)

    yield [one(3, 4), one(5, 4), one(5)], {}
    yield [one(2, 3, 4), one(5, 4)], {}
    yield [one(4), one(3, 4), one(3)], {}
    yield [one(6, 4), one(1, 4), one(1)], {}
    yield [one(0, 4), one(3, 4), one(3)], {}


def _linear_reference(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    out = np.matmul(wide(x), wide(w).T)
    return out if b is None else out + wide(b)


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
    """
    return bind(LINEAR, x, weight) if bias is None else bind(LINEAR, x, weight, bias)


# ---- other products
def _axes_pair(axes: Any, a: Tensor, b: Tensor) -> tuple[list[int], list[int]]:
    if hasattr(axes, "__index__"):
        n = operator.index(axes)
        return list(range(a.ndim - n, a.ndim)), list(range(n))
    left, right = ([v] if hasattr(v, "__index__") else list(v) for v in axes)
    return (
        [normalize_axis(v, a.ndim, "tensordot") for v in left],
        [normalize_axis(v, b.ndim, "tensordot") for v in right],
    )


@public
def tensordot(a: Tensor, b: Tensor, /, *, axes: Any = 2) -> Tensor:
    """Sum of products over pairs of axes: an int (last of a with first of b) or two sequences."""
    a, b = operands(a, b)
    left, right = _axes_pair(axes, a, b)
    if len(left) != len(right) or any(a.shape[i] != b.shape[j] for i, j in zip(left, right)):
        raise ShapeError(f"tensordot: axes {axes} of shapes {a.shape} and {b.shape} do not pair up")
    free_a = [i for i in range(a.ndim) if i not in left]
    free_b = [i for i in range(b.ndim) if i not in right]
    k = prod(a.shape[i] for i in left)
    rows, cols = tuple(a.shape[i] for i in free_a), tuple(b.shape[i] for i in free_b)
    x = reshape(permute_dims(a, free_a + left), (prod(rows), k))
    y = reshape(permute_dims(b, right + free_b), (k, prod(cols)))
    return reshape(matmul(x, y), rows + cols)


@public
def vecdot(a: Tensor, b: Tensor, /, *, axis: int = -1) -> Tensor:
    """Dot products along an axis; the other axes broadcast."""
    a, b = operands(a, b)
    x, y = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"vecdot: axis {axis} has size {x.shape[-1]} and {y.shape[-1]}")
    out = matmul(expand_dims(x, -2), expand_dims(y, -1))
    return reshape(out, out.shape[:-2])


@public(method=True)
def outer(a: Tensor, b: Tensor, /) -> Tensor:
    """All products of the elements of two tensors (flattened), as a matrix."""
    a, b = operands(a, b)
    return multiply(reshape(a, (a.size, 1)), reshape(b, (1, b.size)))


@public
def dot(a: Tensor, b: Tensor, /) -> Tensor:
    """NumPy's dot for up to two dimensions: products with scalars, inner products, matmul."""
    a, b = operands(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    return matmul(a, b) if b.ndim <= 2 else tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 2,)))


@public
def kron(a: Tensor, b: Tensor, /) -> Tensor:
    """Kronecker product of tensors of one rank."""
    a, b = operands(a, b)
    if a.ndim != b.ndim:
        raise ShapeError(f"kron takes tensors of one rank, not {a.shape} and {b.shape}")
    x = reshape(a, tuple(v for n in a.shape for v in (n, 1)))
    y = reshape(b, tuple(v for n in b.shape for v in (1, n)))
    return reshape(multiply(x, y), tuple(m * n for m, n in zip(a.shape, b.shape)))
