"""Diagonals, triangles and grids of positions.

Invariant: positions are int64 and depend on sizes only, but for `mask_indices` and masks among the
arguments of `ix_`, which are read.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.errors import ShapeError
from ...core.shapes import as_shape, whole
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as astype
from ..axes.views import broadcast_to, reshape
from ..axes.windows import diagonal, embed_diagonal
from ..base.common import owned
from ..base.surface import public
from ..build.create import arange, ones
from ..build.join import stack
from ..build.matrices import eye
from ..elementwise.logic import greater_equal, not_equal
from ..indexing.truths import nonzero
from .shapes import ravel

Tensor = Any


# ---- diagonals
@public
def diag(v: Tensor, k: int = 0) -> Tensor:
    """The matrix with a 1-D tensor on diagonal k, or diagonal k of a matrix.

    ShapeError for other numbers of dimensions.

    >>> hybrid.diag(hybrid.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    >>> hybrid.diag(hybrid.tensor([[1, 2], [3, 4]]), k=1)
    tensor([2])
    """
    v = as_tensor(v)
    if v.ndim not in (1, 2):
        raise ShapeError(f"diag takes one or two dimensions, not shape {v.shape}")
    return embed_diagonal(v, k) if v.ndim == 1 else diagonal(v, k)


@public
def diagflat(v: Tensor, k: int = 0) -> Tensor:
    """The matrix with all elements of v on diagonal k.

    >>> hybrid.diagflat([[1, 2]], k=1)
    tensor([[0, 1, 0],
            [0, 0, 2],
            [0, 0, 0]])
    """
    return embed_diagonal(ravel(v), k)


@public
def diag_indices(n: int, ndim: int = 2) -> tuple[Tensor, ...]:
    """Positions of the main diagonal of a tensor with `ndim` axes of size n.

    >>> hybrid.diag_indices(2)
    (tensor([0, 1]), tensor([0, 1]))
    """
    return (arange(whole(n, "diag_indices: n")),) * operator.index(ndim)


@public
def diag_indices_from(arr: Tensor) -> tuple[Tensor, ...]:
    """Positions of the main diagonal of a tensor whose axes have one size.

    ShapeError below two dimensions, and for different sizes.

    >>> hybrid.diag_indices_from(hybrid.zeros(2, 2))
    (tensor([0, 1]), tensor([0, 1]))
    """
    arr = as_tensor(arr)
    if arr.ndim < 2 or len(set(arr.shape)) != 1:
        raise ShapeError(
            f"diag_indices_from takes at least two axes of one size, not shape {arr.shape}"
        )
    return diag_indices(arr.shape[0], arr.ndim)


# ---- triangles
@public
def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """An N x M matrix (square by default) of ones on and below diagonal k; float32 by default.

    >>> hybrid.tri(2, 3)
    tensor([[1., 0., 0.],
            [1., 1., 0.]])
    """
    rows, columns = as_shape((N, N if M is None else M))
    first = whole(k, "tri: k")
    below = greater_equal(reshape(arange(rows), (rows, 1)), arange(-first, columns - first))
    return astype(below, dt.canonical(dtype or dt.default_float))


@public
def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """Positions on and below diagonal k of an n x m matrix, in row-major order.

    >>> hybrid.tril_indices(2)
    (tensor([0, 1, 1]), tensor([0, 0, 1]))
    """
    return _tensors(np.tril_indices(*_counts(n, k, m)))


@public
def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """Positions on and above diagonal k of an n x m matrix, in row-major order.

    >>> hybrid.triu_indices(2)
    (tensor([0, 0, 1]), tensor([0, 1, 1]))
    """
    return _tensors(np.triu_indices(*_counts(n, k, m)))


@public
def tril_indices_from(arr: Tensor, k: int = 0) -> tuple[Tensor, ...]:
    """`tril_indices` for the shape of a matrix; ShapeError for other numbers of dimensions.

    >>> hybrid.tril_indices_from(hybrid.zeros(2, 2), k=-1)
    (tensor([1]), tensor([0]))
    """
    rows, columns = _matrix(arr, "tril_indices_from")
    return tril_indices(rows, k, columns)


@public
def triu_indices_from(arr: Tensor, k: int = 0) -> tuple[Tensor, ...]:
    """`triu_indices` for the shape of a matrix; ShapeError for other numbers of dimensions.

    >>> hybrid.triu_indices_from(hybrid.zeros(2, 2), k=1)
    (tensor([0]), tensor([1]))
    """
    rows, columns = _matrix(arr, "triu_indices_from")
    return triu_indices(rows, k, columns)


def _counts(n: Any, k: Any, m: Any) -> tuple[int, int, int]:
    rows, columns = as_shape((n, n if m is None else m))
    return rows, whole(k, "k"), columns


def _matrix(arr: Any, what: str) -> tuple[int, int]:
    arr = as_tensor(arr)
    if arr.ndim != 2:
        raise ShapeError(f"{what} takes two dimensions, not shape {arr.shape}")
    return arr.shape[0], arr.shape[1]


def _tensors(arrays: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
    return tuple([owned(a.astype(np.int64, copy=False), HOST) for a in arrays])


@public
def mask_indices(n: int, mask_func: Callable[..., Any], k: Any = 0) -> tuple[Tensor, ...]:
    """Positions in an n x n matrix where `mask_func(ones, k)`, such as `hybrid.triu`, is not
    zero; that is read on the host.

    >>> hybrid.mask_indices(2, hybrid.triu, 1)
    (tensor([0]), tensor([1]))
    """
    size = whole(n, "mask_indices: n")
    return nonzero(not_equal(mask_func(ones((size, size), dtype=dt.int64), k), 0))


@public
def identity(n: int, dtype: Any = None) -> Tensor:
    """The n x n matrix with ones on its diagonal; float32 by default.

    >>> hybrid.identity(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return eye(n, dtype=dtype)


# ---- grids
@public
def indices(dimensions: Sequence[int], dtype: Any = None, sparse: bool = False) -> Any:
    """The positions of all elements of a shape, [axes, *shape], int64 by default; sparse: a tuple
    of one tensor per axis that broadcast to them.

    >>> hybrid.indices((2, 3))[1]
    tensor([[0, 1, 2],
            [0, 1, 2]])
    """
    shape = as_shape(dimensions)
    target = dt.canonical(dtype or dt.default_int)
    rank = len(shape)
    along = [
        reshape(astype(arange(extent), target), tuple(extent if b == a else 1 for b in range(rank)))
        for a, extent in enumerate(shape)
    ]
    if sparse:
        return tuple(along)
    if not rank:
        return reshape(astype(arange(0), target), (0,))
    return stack([broadcast_to(t, shape) for t in along])


@public
def ix_(*args: Any) -> tuple[Tensor, ...]:
    """Sequences of positions, one per axis, shaped so that indexing with them picks all
    combinations; masks stand for the positions where they are true.

    ShapeError for a sequence of more than one dimension.

    >>> x = hybrid.arange(6).reshape(2, 3)
    >>> x[hybrid.ix_([0, 1], [2, 0])]
    tensor([[2, 0],
            [5, 3]])
    """
    made = []
    for axis, given in enumerate(args):
        tensor = as_tensor(given)
        if tensor.ndim != 1:
            raise ShapeError(f"ix_ takes sequences of one dimension, not shape {tensor.shape}")
        if not tensor.size:
            tensor = astype(tensor, dt.default_int)
        tensor = nonzero(tensor)[0] if tensor.dtype is dt.bool_ else tensor
        shape = tuple(tensor.size if a == axis else 1 for a in range(len(args)))
        made.append(reshape(tensor, shape))
    return tuple(made)


@public
def fromfunction(
    function: Callable[..., Any], shape: Sequence[int], *, dtype: Any = None, **kwargs: Any
) -> Any:
    """What `function(i, j, ..., **kwargs)` makes of the positions of a shape, one tensor of that
    shape per axis; float32 by default.

    >>> hybrid.fromfunction(lambda i, j: i + 10 * j, (2, 2))
    tensor([[ 0., 10.],
            [ 1., 11.]])
    """
    return function(*indices(shape, dtype=dtype or dt.default_float), **kwargs)
