"""Sets: the distinct values of two tensors, joined, shared, or in one alone.

Invariant: the number of values depends on the data, so that is read; real tensors of one dtype on
the host are sorted and searched by kernels, others by NumPy.  Every NaN of a tensor counts as one
value.  Distinct integers stay distinct beside floats, as far as float64
tells them apart.  The gradient of a value goes to the first element that holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.floating import in_plain_floats, plainly
from ...ir.door.bind import as_tensor, operands
from ...ir.door.bind import convert as astype
from ...ir.door.foreign import rounded
from ..axes.views import reshape
from ..base.common import owned
from ..base.surface import public
from ..build.join import concat
from ..indexing.index import gather_axes, take
from ..indexing.search import searchsorted
from ..indexing.sort import apart, has_gradient, isin, sort, unique
from ..indexing.truths import Truths

Tensor = Any


def _hosts(left: Tensor, right: Tensor) -> list[np.ndarray]:
    """The elements of two tensors in dtypes that NumPy tells them apart in."""
    if dt.signs_differ(left.dtype, right.dtype):  # what is left of the range is in no set of that
        first, second = left.numpy(), right.numpy()
        most = np.iinfo(first.dtype).max
        inside = second >= 0 if left.dtype is dt.uint64 else second <= np.uint64(most)
        return [first, second[inside].astype(first.dtype)]
    mixed = dt.is_inexact(left.dtype) is not dt.is_inexact(right.dtype)
    common = apart(left.dtype, right.dtype)
    tensors = [
        astype(tensor, common) if dt.is_inexact(tensor.dtype) or not mixed else tensor
        for tensor in (left, right)
    ]
    return [tensor.numpy().astype(dt.compute_type(tensor.dtype), copy=False) for tensor in tensors]


@in_plain_floats
def _found(function: Callable[..., Any], left: Any, right: Any, **more: Any) -> Any:
    """What NumPy finds in two tensors, as tensors of their common dtype on their device."""
    left, right = operands(left, right)
    dtype, hosts = dt.promote(left.dtype, right.dtype), _hosts(left, right)
    found = function(*hosts, **more)
    values, *places = found if isinstance(found, tuple) else (found,)
    if not places and apart(left.dtype, right.dtype) is not dtype:
        wide = dt.compute_type(dtype)  # rounding may make some of them equal
        values = np.unique(rounded(values, dtype).astype(wide))
        hosts = [rounded(host, dtype).astype(wide) for host in hosts]
    result = _taken(values, hosts, [left, right], dtype)
    return (result, *[owned(part, left.device) for part in places]) if places else result


def _taken(
    values: np.ndarray, hosts: list[np.ndarray], tensors: list[Tensor], dtype: np.dtype
) -> Tensor:
    """Values that were found in tensors, whose elements on the host are `hosts`: where gradients
    are recorded, the first elements that hold them. NaN is found as a largest number."""
    device = tensors[0].device
    if not any(map(has_gradient, tensors)):
        return astype(as_tensor(values, device), dtype)
    joined = np.concatenate([host.reshape(-1) for host in hosts])
    order = np.argsort(joined, kind="stable")
    places = order[np.searchsorted(joined, values, sorter=order)]
    given = [reshape(astype(tensor, dtype), (-1,)) for tensor in tensors]
    return take(concat(given), as_tensor(np.asarray(places), device))


def _alike(left: Tensor, right: Tensor) -> bool:
    """Whether kernels find the values of two tensors."""
    one = left.dtype is right.dtype and left.device is HOST and right.device is HOST
    return one and not dt.is_complex(left.dtype)


def _kept(values: Tensor, kept: Tensor) -> Tensor:
    return Truths.of(kept).taken(values)


def _shared(left: Tensor, right: Tensor, places: bool) -> Any:
    """The distinct values of both, and their first positions."""
    if not places:
        values = unique(left)
        return _kept(values, isin(values, right))
    values, first = unique(left, return_index=True)
    others, second = unique(right, return_index=True)
    both = Truths.of(isin(values, others))
    shared = both.taken(values)
    places = searchsorted(others, shared)
    return shared, both.taken(first), gather_axes(second, [places], 0)


@public
def union1d(ar1: Any, ar2: Any) -> Tensor:
    """The distinct values of two tensors, in increasing order; reads the data.

    >>> hybrid.union1d(hybrid.tensor([3, 1, 2]), hybrid.tensor([2, 5]))
    tensor([1, 2, 3, 5])
    """
    left, right = operands(ar1, ar2)
    if _alike(left, right):
        return unique(concat([reshape(left, (-1,)), reshape(right, (-1,))]))
    return _found(np.union1d, left, right)


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
    left, right = operands(ar1, ar2)
    if _alike(left, right) and not assume_unique:
        return _shared(left, right, return_indices)
    return _found(
        np.intersect1d, left, right, assume_unique=assume_unique, return_indices=return_indices
    )


@public
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """The distinct values of ar1 that ar2 does not hold, in increasing order (in that of ar1 with
    `assume_unique`) and in its dtype; reads the data.

    >>> hybrid.setdiff1d(hybrid.tensor([1, 2, 3, 2, 4]), hybrid.tensor([3, 4, 5]))
    tensor([1, 2])
    """
    left, right = operands(ar1, ar2, compares=True)
    if _alike(left, right):
        values = reshape(left, (-1,)) if assume_unique else unique(left)
        return _kept(values, isin(values, right, invert=True))
    first, second = _hosts(left, right)
    found = plainly(np.setdiff1d, first, second, assume_unique)
    return _taken(found, [first], [left], left.dtype)


@public
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """The distinct values that one of two tensors holds and the other does not, in increasing
    order; reads the data.

    >>> hybrid.setxor1d(hybrid.tensor([1, 2, 3]), hybrid.tensor([2, 3, 5]))
    tensor([1, 5])
    """
    left, right = operands(ar1, ar2)
    if _alike(left, right) and not assume_unique:
        first, second = unique(left), unique(right)
        alone = [
            _kept(values, isin(values, others, invert=True))
            for values, others in ((first, second), (second, first))
        ]
        return sort(concat(alone))
    return _found(np.setxor1d, left, right, assume_unique=assume_unique)
