"""Sets: the distinct values of two tensors, joined, shared, or in one alone.

Invariant: the number of values depends on the data, which is read; NumPy finds them on the host,
and every NaN counts as one value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.floating import plain_floats
from ...ir.door.bind import as_tensor, operands
from ...ir.door.bind import convert as astype
from ..base.surface import public

Tensor = Any


def _found(function: Callable[..., Any], left: Any, right: Any, **more: Any) -> Any:
    """What NumPy finds in two tensors of one dtype, as tensors on their device."""
    left, right = operands(left, right)
    dtype = dt.promote(left.dtype, right.dtype)
    wide = dt.compute_type(dtype)
    hosts = [astype(t, dtype).numpy().astype(wide, copy=False) for t in (left, right)]
    with plain_floats():
        found = function(*hosts, **more)
    if isinstance(found, tuple):
        values, *places = [as_tensor(part, left.device) for part in found]
        return (astype(values, dtype), *places)
    return astype(as_tensor(found, left.device), dtype)


@public
def union1d(ar1: Any, ar2: Any) -> Tensor:
    """The distinct values of two tensors, in increasing order; reads the data.

    >>> hybrid.union1d(hybrid.tensor([3, 1, 2]), hybrid.tensor([2, 5]))
    tensor([1, 2, 3, 5])
    """
    return _found(np.union1d, ar1, ar2)


@public
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """The distinct values that both tensors hold, in increasing order; reads the data.

    `assume_unique` says that neither holds a value twice, which is faster.  `return_indices` gives
    the first positions of the values in both, flattened, too.

    >>> hybrid.intersect1d(hybrid.tensor([1, 3, 4, 3]), hybrid.tensor([3, 1, 2, 1]))
    tensor([1, 3])
    >>> hybrid.intersect1d([1, 3, 4], [3, 1, 2], return_indices=True)
    (tensor([1, 3]), tensor([0, 1]), tensor([1, 0]))
    """
    return _found(
        np.intersect1d, ar1, ar2, assume_unique=assume_unique, return_indices=return_indices
    )


@public
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """The distinct values of ar1 that ar2 does not hold, in increasing order (in that of ar1 with
    `assume_unique`); reads the data.

    >>> hybrid.setdiff1d(hybrid.tensor([1, 2, 3, 2, 4]), hybrid.tensor([3, 4, 5]))
    tensor([1, 2])
    """
    return _found(np.setdiff1d, ar1, ar2, assume_unique=assume_unique)


@public
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """The distinct values that one of two tensors holds and the other does not, in increasing
    order; reads the data.

    >>> hybrid.setxor1d(hybrid.tensor([1, 2, 3]), hybrid.tensor([2, 3, 5]))
    tensor([1, 5])
    """
    return _found(np.setxor1d, ar1, ar2, assume_unique=assume_unique)
