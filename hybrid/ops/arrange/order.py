"""Partial orders, and orders by several keys.

Invariant: NaN sorts last, as in `sort`; what `partition` does not promise is unspecified and may
differ between devices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import IndexOutOfRange, ShapeError
from ...core.shapes import items_of, normalize_axis, whole
from ...ir.door.bind import as_tensor, bind, host_array
from ...ir.op import NO_GRAD, HostOp, register
from ...ir.tensor import Handle
from ..base.common import shapes_of
from ..base.surface import public
from ..build.create import zeros
from ..build.pieces import unstack
from ..indexing.along import take_along_axis
from ..indexing.host_sort import plain
from ..indexing.sort import argsort
from .shapes import ravel

Ints = tuple[int, ...]
Tensor = Any


# NumPy computes both for every device: the order within the parts is nothing that a sort repeats
def _partitioned(operand: np.ndarray, axis: int, kth: Ints) -> np.ndarray:
    return np.argpartition(plain(operand), kth, axis=axis)


ARGPARTITION = register(
    HostOp(
        "argpartition",
        1,
        lambda operand, axis, kth: (operand.with_(dtype=dt.int64),),
        body=_partitioned,
        params=("axis", "kth"),
        vjp=NO_GRAD,
        facts=frozenset(["total"]),
        reference=_partitioned,
        ulp=0.0,
        samples=shapes_of(
            [
                ((7,), {"axis": 0, "kth": (2,)}),
                ((3, 5), {"axis": 0, "kth": (0, 2)}),
            ]
        ),
        doc="Positions whose elements have the kth one in its sorted place.",
    )
)


def _partition_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axis: int, kth: Ints
) -> tuple[Tensor]:
    """Equal ranks are the same element: from the result by its order, to x by that of x."""
    ranked = take_along_axis(gradient, argsort(out, axis), axis)
    return (take_along_axis(ranked, argsort(argsort(operand, axis), axis), axis),)


def _parted(operand: np.ndarray, axis: int, kth: Ints) -> np.ndarray:
    return np.partition(plain(operand), kth, axis).astype(operand.dtype)


PARTITION = register(
    HostOp(
        "partition",
        1,
        lambda operand, axis, kth: (operand,),
        body=_parted,
        params=("axis", "kth"),
        vjp=_partition_vjp,
        facts=frozenset(["total"]),
        reference=_parted,
        ulp=0.0,
        samples=shapes_of(
            [
                ((7,), {"axis": 0, "kth": (2,)}),
                ((3, 5), {"axis": 0, "kth": (0, 2)}),
            ]
        ),
        doc="Elements with the kth one in its sorted place.",
    )
)


def _ranks(kth: Any, extent: int, what: str) -> Ints:
    given = host_array(kth).reshape(-1).tolist() if isinstance(kth, Handle) else kth
    listed = (given,) if hasattr(given, "__index__") else items_of(given, f"{what}: kth")
    ranks = [whole(k, f"{what}: kth") for k in listed]
    for rank in ranks:
        if not -extent <= rank < extent:
            raise IndexOutOfRange(f"{what}: kth {rank} is out of range for {extent} elements")
    return tuple(sorted({rank % extent for rank in ranks}))


@public(method=True)
def argpartition(a: Tensor, kth: Any, axis: int | None = -1) -> Tensor:
    """Positions (int64) along an axis (None: of the flattened tensor) that put the kth smallest
    element (or several) in its sorted place, none larger before and none smaller behind it; the
    order within these parts is unspecified.

    IndexOutOfRange for a kth outside of the axis; NaN is largest.

    >>> x = hybrid.tensor([5, 1, 4, 2])
    >>> x[hybrid.argpartition(x, 1)][1]
    tensor(2)
    """
    a = as_tensor(a)
    if axis is None:
        a, axis = ravel(a), 0
    along = normalize_axis(axis, a.ndim, "argpartition")
    if not a.size:
        _ranks(kth, max(a.shape[along], 1), "argpartition")
        return zeros(a.shape, dtype=dt.int64, device=a.device)
    return bind(ARGPARTITION, a, axis=along, kth=_ranks(kth, a.shape[along], "argpartition"))


@public
def partition(a: Tensor, kth: Any, axis: int | None = -1) -> Tensor:
    """a with the kth smallest element (or several) along an axis (None: of the flattened tensor) in
    its sorted place, none larger before and none smaller behind it; the order within these parts
    is unspecified.

    IndexOutOfRange for a kth outside of the axis; NaN is largest.

    >>> hybrid.partition(hybrid.tensor([5, 1, 4, 2]), 1)[1]
    tensor(2)
    """
    a = as_tensor(a)
    if axis is None:
        a, axis = ravel(a), 0
    along = normalize_axis(axis, a.ndim, "partition")
    if not a.size:
        return take_along_axis(a, argpartition(a, kth, along), along)
    return bind(PARTITION, a, axis=along, kth=_ranks(kth, a.shape[along], "partition"))


@public
def lexsort(keys: Any, axis: int = -1) -> Tensor:
    """Positions (int64) that sort by the last key, equal ones by the key before it, and so on.

    `keys`: tensors of one shape, or a tensor whose slices they are; ShapeError for none, and for
    different shapes.

    >>> hybrid.lexsort((hybrid.tensor([3, 1, 2]), hybrid.tensor([0, 1, 0])))
    tensor([2, 0, 1])
    """
    listed = unstack(keys) if isinstance(keys, Handle) else items_of(keys, "lexsort: keys")
    tensors = [as_tensor(k) for k in listed]
    if not tensors or len({t.shape for t in tensors}) != 1:
        raise ShapeError(
            f"lexsort takes one or more keys of one shape, not {[t.shape for t in tensors]}"
        )
    if not tensors[0].ndim:
        return zeros((), dtype=dt.int64, device=tensors[0].device)
    positions = argsort(tensors[0], axis)
    for key in tensors[1:]:
        again = argsort(take_along_axis(key, positions, axis), axis)
        positions = take_along_axis(positions, again, axis)
    return positions
