"""Products of stacks of matrices with stacks of vectors: matvec and vecmat.

Invariant: they are `matmul` with an axis of size 1, and have its sums.
"""

from __future__ import annotations

from typing import Any

from ...core.errors import ShapeError
from ...ir.door.bind import operands
from ..axes.views import expand_dims, squeeze
from ..base.surface import public
from ..build.pairs import conjugate
from .contract import matmul

Tensor = Any


def _checked(what: str, left: Any, right: Any, matrix: int) -> list[Tensor]:
    tensors = operands(left, right)
    if tensors[matrix].ndim < 2 or tensors[1 - matrix].ndim < 1:
        raise ShapeError(
            f"{what} takes a matrix and a vector, not shapes {tensors[0].shape} and "
            f"{tensors[1].shape}"
        )
    return tensors


@public
def matvec(x1: Tensor, x2: Any) -> Tensor:
    """x1 @ x2 of matrices x1[..., m, n] and vectors x2[..., n], as [..., m]; stacks broadcast.

    ShapeError where the shapes do not fit.

    >>> hybrid.matvec(hybrid.tensor([[1.0, 2.0], [3.0, 4.0]]), hybrid.tensor([1.0, -1.0]))
    tensor([-1., -1.])
    """
    left, right = _checked("matvec", x1, x2, 0)
    return squeeze(matmul(left, expand_dims(right, -1)), -1)


@public
def vecmat(x1: Tensor, x2: Any) -> Tensor:
    """conj(x1) @ x2 of vectors x1[..., n] and matrices x2[..., n, m], as [..., m]; stacks
    broadcast.

    ShapeError where the shapes do not fit.

    >>> hybrid.vecmat(hybrid.tensor([1.0, -1.0]), hybrid.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([-2., -2.])
    """
    left, right = _checked("vecmat", x1, x2, 1)
    return squeeze(matmul(expand_dims(conjugate(left), -2), right), -2)
