"""Axes in other places and other numbers of them: atleast_2d, transpose, ravel, rot90, resize.

Invariant: everything but `resize` is a view of its operand.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ShapeError
from ...core.shapes import as_shape, normalize_axes, normalize_axis, whole
from ...ir.door.bind import as_tensor
from ...ir.door.bind import convert as astype
from ..axes.slices import flip, narrow
from ..axes.views import (
    RESHAPE,
    apart,
    broadcast_to,
    in_columns,
    moveaxis,
    permute_dims,
    reshape,
    reversed_axes,
)
from ..base.surface import public
from ..build.create import zeros
from ..elementwise.arithmetic import clone

Ints = tuple[int, ...]
Tensor = Any


# ---- at least so many axes
def _each(operands: tuple[Any, ...], lift: Any) -> Any:
    """The one result of a function of several tensors, or a tuple of them."""
    results = tuple([lift(as_tensor(x)) for x in operands])
    return results[0] if len(results) == 1 else results


def _two(x: Tensor) -> Tensor:
    return reshape(x, (1,) * (2 - x.ndim) + x.shape) if x.ndim < 2 else x


def _three(x: Tensor) -> Tensor:
    return reshape(_two(x), (*_two(x).shape, 1)) if x.ndim < 3 else x


@public
def atleast_1d(*xs: Tensor) -> Any:
    """x, with one axis when it has none; of several tensors a tuple.

    >>> hybrid.atleast_1d(hybrid.tensor(3.0)), hybrid.atleast_1d(hybrid.zeros(2, 3)).shape
    (tensor([3.]), (2, 3))
    """
    return _each(xs, lambda x: x if x.ndim else reshape(x, (1,)))


@public
def atleast_2d(*xs: Tensor) -> Any:
    """x, with leading axes of size 1 up to two; of several tensors a tuple.

    >>> hybrid.atleast_2d(hybrid.tensor([1, 2]))
    tensor([[1, 2]])
    """
    return _each(xs, _two)


@public
def atleast_3d(*xs: Tensor) -> Any:
    """x as [1, n, 1] or [m, n, 1] below three axes; of several tensors a tuple.

    >>> hybrid.atleast_3d(hybrid.zeros(4)).shape, hybrid.atleast_3d(hybrid.zeros(4, 5)).shape
    ((1, 4, 1), (4, 5, 1))
    """
    return _each(xs, _three)


# ---- other orders
@public
def transpose(a: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """All axes reversed, or axis i of the result is axis axes[i] of a.

    ShapeError unless every axis is named once.

    >>> hybrid.transpose(hybrid.zeros(2, 3, 4)).shape
    (4, 3, 2)
    >>> hybrid.transpose(hybrid.zeros(2, 3, 4), (1, 0, 2)).shape
    (3, 2, 4)
    """
    a = as_tensor(a)
    return permute_dims(a, tuple(range(a.ndim))[::-1] if axes is None else axes)


@public
def rollaxis(a: Tensor, axis: int, start: int = 0) -> Tensor:
    """Axis `axis` moved before position `start`; `moveaxis` says more clearly where it goes.

    ShapeError for an axis or a position out of range.

    >>> hybrid.rollaxis(hybrid.zeros(2, 3, 4), 2).shape
    (4, 2, 3)
    """
    a = as_tensor(a)
    source = normalize_axis(axis, a.ndim, "rollaxis")
    before = whole(start, "rollaxis: start")
    before += a.ndim if before < 0 else 0
    if not 0 <= before <= a.ndim:
        raise ShapeError(f"rollaxis: start {start} is out of range for {a.ndim} dimensions")
    return moveaxis(a, source, before - (source < before))


@public(method=True)
def ravel(a: Tensor, order: str = "C") -> Tensor:
    """All elements as one axis, the last index running fastest, or the first with order 'F'.

    >>> x = hybrid.tensor([[1, 2], [3, 4]])
    >>> hybrid.ravel(x), hybrid.ravel(x, order="F")
    (tensor([1, 2, 3, 4]), tensor([1, 3, 2, 4]))
    """
    a = as_tensor(a)
    return reshape(reversed_axes(a) if in_columns(order, "ravel") else a, (a.size,))


@public
def copy(a: Any) -> Tensor:
    """The elements of a in a tensor of their own.

    >>> x = hybrid.tensor([1.0, 2.0])
    >>> y = hybrid.copy(x)
    >>> y[0] = 5.0
    >>> x, y
    (tensor([1., 2.]), tensor([5., 2.]))
    """
    return clone(a)


@public
def fliplr(m: Tensor) -> Tensor:
    """m in reverse order along axis 1; ShapeError below two dimensions.

    >>> hybrid.fliplr(hybrid.tensor([[1, 2], [3, 4]]))
    tensor([[2, 1],
            [4, 3]])
    """
    return flip(_of_rank(m, 2, "fliplr"), 1)


@public
def flipud(m: Tensor) -> Tensor:
    """m in reverse order along axis 0; ShapeError for a tensor without axes.

    >>> hybrid.flipud(hybrid.tensor([[1, 2], [3, 4]]))
    tensor([[3, 4],
            [1, 2]])
    """
    return flip(_of_rank(m, 1, "flipud"), 0)


def _of_rank(x: Any, least: int, what: str) -> Tensor:
    x = as_tensor(x)
    if x.ndim < least:
        axes = "one dimension" if least == 1 else f"{least} dimensions"
        raise ShapeError(f"{what} takes at least {axes}, not shape {x.shape}")
    return x


@public
def rot90(m: Tensor, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """m turned k times by a right angle in the plane of two axes, from the first to the second.

    ShapeError unless the axes are two different ones.

    >>> hybrid.rot90(hybrid.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    m = as_tensor(m)
    plane = tuple([normalize_axis(a, m.ndim, "rot90") for a in axes])
    if len(plane) != 2 or plane[0] == plane[1]:
        raise ShapeError(f"rot90: axes {tuple(axes)} are not two different axes")
    turns = whole(k, "rot90: k") % 4
    if turns in (0, 2):
        return flip(m, plane) if turns else m[...]
    order = list(range(m.ndim))
    order[plane[0]], order[plane[1]] = plane[1], plane[0]
    if turns == 1:
        return permute_dims(flip(m, plane[1]), order)
    return flip(permute_dims(m, order), plane[1])


@public
def resize(a: Tensor, new_shape: Any) -> Tensor:
    """The elements of a in row-major order, repeated or cut off to fill a new shape.

    Zeros where a has no element; ShapeError for negative sizes.

    >>> hybrid.resize(hybrid.tensor([1, 2, 3]), (2, 4))
    tensor([[1, 2, 3, 1],
            [2, 3, 1, 2]])
    """
    a, shape = as_tensor(a), as_shape(new_shape)
    return apart(RESHAPE, cycled(a, prod(shape)), shape=shape)


def cycled(x: Tensor, count: int) -> Tensor:
    """`count` elements of x in row-major order, again from the first one when all were there."""
    extent = x.size
    flat = reshape(x, (extent,))
    if count <= extent:
        return narrow(flat, 0, 0, count)
    if not extent:
        return zeros((count,), dtype=x.dtype, device=x.device)
    times = -(-count // extent)
    rows = broadcast_to(reshape(flat, (1, extent)), (times, extent))
    return narrow(reshape(rows, (times * extent,)), 0, 0, count)


@public
def ascontiguousarray(a: Any, dtype: Any = None) -> Tensor:
    """a as a tensor of at least one axis, converted to `dtype` where one is given: how a value
    lies in memory is nothing that code can see.

    >>> hybrid.ascontiguousarray(hybrid.zeros(2, 3).T).shape
    (3, 2)
    """
    a = atleast_1d(a)
    return a if dtype is None else astype(a, dt.canonical(dtype))


# ---- questions
@public
def shape(a: Any) -> tuple[int, ...]:
    """The sizes of the axes of a tensor, a number or a nested sequence.

    >>> hybrid.shape([[1, 2, 3]])
    (1, 3)
    """
    found: Ints = as_tensor(a).shape
    return found


@public
def ndim(a: Any) -> int:
    """The number of axes of a tensor, a number or a nested sequence.

    >>> hybrid.ndim([[1, 2, 3]])
    2
    """
    return len(shape(a))


@public
def size(a: Any, axis: Any = None) -> int:
    """The number of elements, or the size of an axis, or of several together.

    ShapeError for an axis out of range.

    >>> x = hybrid.zeros(2, 3)
    >>> hybrid.size(x), hybrid.size(x, 1)
    (6, 3)
    """
    sizes = shape(a)
    axes = range(len(sizes)) if axis is None else normalize_axes(axis, len(sizes), "size")
    return prod([sizes[a] for a in axes])


@public
def isscalar(element: Any) -> bool:
    """Whether x is a number, a text or a NumPy scalar; no tensor is.

    >>> hybrid.isscalar(3.1), hybrid.isscalar(hybrid.tensor(3.1))
    (True, False)
    """
    return isinstance(element, (np.generic, str, bytes, numbers.Number))
