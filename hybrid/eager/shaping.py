"""Methods of Tensor about its sizes and its shape, in PyTorch's spellings.

Invariant: none computes anything; what a method makes is a view of the same elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..core import dtypes as dt
from ..core.errors import ShapeError, UnsupportedError
from ..ops.base.surface import public
from .tensor import Tensor

__all__: list[str] = []


@public(hybrid=False, method=True)
def numel(self: Tensor) -> int:
    """Number of elements.

    >>> import hybrid
    >>> hybrid.zeros((2, 3)).numel()
    6
    """
    return self._a.size


@public(hybrid=False, method=True)
def nelement(self: Tensor) -> int:
    """Number of elements.

    >>> import hybrid
    >>> hybrid.zeros((2, 3)).nelement()
    6
    """
    return self._a.size


@public(hybrid=False, method=True)
def dim(self: Tensor) -> int:
    """Number of axes.

    >>> import hybrid
    >>> hybrid.zeros((2, 3)).dim()
    2
    """
    return self._a.ndim


@public(hybrid=False, method=True)
def element_size(self: Tensor) -> int:
    """Bytes of one element.

    >>> import hybrid
    >>> hybrid.zeros(3, dtype="float64").element_size()
    8
    """
    return self._a.dtype.itemsize


@public(hybrid=False, method=True)
def is_floating_point(self: Tensor) -> bool:
    """Whether the dtype is floating.

    >>> import hybrid
    >>> hybrid.zeros(3).is_floating_point(), hybrid.arange(3).is_floating_point()
    (True, False)
    """
    return dt.is_float(self._a.dtype)


def _shape_of(args: tuple[Any, ...]) -> Any:
    return args[0] if len(args) == 1 and not hasattr(args[0], "__index__") else args


@public(hybrid=False, method=True)
def reshape(self: Tensor, *shape: Any, order: str = "C", copy: bool | None = None) -> Tensor:
    """The same elements in another shape; one size may be -1.  `order` and `copy` are those of
    `hybrid.reshape`.

    Raises ShapeError for another number of elements.

    >>> import hybrid
    >>> hybrid.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return ops.reshape(self, _shape_of(shape), order, copy=copy)


@public(hybrid=False, method=True)
def view(self: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape (`reshape`); one size may be -1.

    Raises ShapeError for another number of elements, UnsupportedError for a dtype.

    >>> import hybrid
    >>> hybrid.arange(4).view(2, 2).tolist()
    [[0, 1], [2, 3]]
    """
    if shape and isinstance(shape[0], (np.dtype, type)):
        raise UnsupportedError(
            "x.view(dtype) would read bits as another dtype: convert values with x.astype(dtype), "
            "or take the bits with hybrid.asarray(x.numpy().view(dtype))"
        )
    return ops.reshape(self, _shape_of(shape))


@public(hybrid=False, method=("permute", "permute_dims"))
def permute(self: Tensor, *axes: Any) -> Tensor:
    """Axes in another order.

    >>> import hybrid
    >>> hybrid.zeros((2, 3, 4)).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    return ops.permute_dims(self, _shape_of(axes))


@public(hybrid=False, method=True)
def transpose(self: Tensor, *axes: Any) -> Tensor:
    """Axes in another order, as NumPy's: all reversed (no argument), or a permutation, as ints or
    as one sequence.  Two axes are swapped by `x.swapaxes(i, j)`.

    ShapeError unless every axis is named once.

    >>> import hybrid
    >>> hybrid.zeros((2, 3, 4)).transpose(2, 0, 1).shape, hybrid.zeros((2, 3)).transpose().shape
    ((4, 2, 3), (3, 2))
    """
    if not axes or axes == (None,):
        return permute(self, range(self._a.ndim)[::-1])
    if len(axes) == 2 != self._a.ndim:
        raise ShapeError(
            f"transpose: axes {axes} are no permutation of {self._a.ndim} dimensions; "
            f"x.swapaxes{axes} swaps two axes"
        )
    return permute(self, *axes)


@public(hybrid=False, method=True)
def unsqueeze(self: Tensor, dim: int) -> Tensor:
    """A new axis of size 1 (PyTorch's name of expand_dims).

    >>> import hybrid
    >>> hybrid.zeros((2, 3)).unsqueeze(1).shape
    (2, 1, 3)
    """
    return ops.expand_dims(self, dim)


@public(hybrid=False, method=True)
def expand(self: Tensor, *sizes: Any) -> Tensor:
    """Broadcast to a shape; -1 keeps a size.

    Raises ShapeError where a size that is not 1 would change.

    >>> import hybrid
    >>> hybrid.tensor([[1], [2]]).expand(-1, 3).tolist()
    [[1, 1, 1], [2, 2, 2]]
    """
    want = tuple(_shape_of(sizes))
    pad = len(want) - self._a.ndim
    if pad < 0:
        raise ShapeError(f"expand: {want} has fewer axes than {self._a.shape}")
    return ops.broadcast_to(
        self, tuple(self._a.shape[i - pad] if d == -1 else d for i, d in enumerate(want))
    )


@public(hybrid=False, method="contiguous")
def _contiguous(self: Tensor) -> Tensor:
    """This tensor: how a value lies in memory is nothing that code can see.

    >>> import hybrid
    >>> x = hybrid.zeros((2, 3)).T
    >>> x.contiguous() is x
    True
    """
    return self


@public(hybrid=False, method="compress")
def _compress(self: Tensor, condition: Any, axis: int | None = None) -> Tensor:
    """Slices along an axis where a condition holds, as `hybrid.compress(condition, x, axis)`.

    >>> import hybrid
    >>> hybrid.tensor([1, 2, 3]).compress([True, False, True])
    tensor([1, 3])
    """
    return ops.compress(condition, self, axis)
