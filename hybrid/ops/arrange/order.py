"""Partial orders, and orders by several keys.

Invariant: NaN sorts last, as in `sort`; elements of a part of `partition` stay in their order, so
it is the same on all devices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.errors import IndexOutOfRange, ShapeError
from ...core.shapes import items_of, normalize_axis, whole
from ...ir.algorithm import StableParts
from ...ir.door.bind import as_tensor, bind, host_array
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, HostOp, register
from ...ir.tensor import Handle
from ..axes.slices import narrow
from ..base.common import real_only, shapes_of
from ..base.surface import public
from ..build.create import zeros
from ..build.pieces import unstack
from ..elementwise.arithmetic import add
from ..elementwise.logic import equal, less, logical_and, logical_not, logical_or, not_equal
from ..indexing.along import take_along_axis
from ..indexing.host_sort import order_of, plain
from ..indexing.sort import argsort, sort
from .shapes import ravel

Ints = tuple[int, ...]
Tensor = Any


MOST = 8  # places, from which on everything is sorted


def _classes(values: np.ndarray, axis: int, kth: Ints) -> np.ndarray:
    """The part of each element: twice the places whose elements are less, and one more where it
    equals the next one's."""
    ordered = np.take_along_axis(values, order_of(values, axis), axis)
    part = np.zeros(values.shape, np.int64)
    for place in kth:
        limit = np.take(ordered, [place], axis)
        less = (limit < values) | (np.isnan(values) & ~np.isnan(limit))
        part += less
        part += less | (limit == values) | (np.isnan(values) & np.isnan(limit))
    return part


def _positions(operand: np.ndarray, axis: int, kth: Ints) -> np.ndarray:
    part = _classes(plain(operand), axis, kth)
    return np.argsort(part, axis=axis, kind="stable")


def _parted(operand: np.ndarray, axis: int, kth: Ints) -> np.ndarray:
    return np.take_along_axis(operand, _positions(operand, axis, kth), axis)


_SAMPLES = shapes_of(
    [
        ((7,), {"axis": 0, "kth": (2,)}),
        ((3, 5), {"axis": 0, "kth": (0, 2)}),
        ((2, 60), {"axis": 1, "kth": (1, 7, 40)}),
    ]
)
ARGPARTITION = register(
    HostOp(
        "argpartition",
        1,
        lambda operand, axis, kth: (operand.with_(dtype=dt.int64),),
        body=_positions,
        algorithm=lambda axis, kth: StableParts(axis, kth, True),
        params=("axis", "kth"),
        vjp=NO_GRAD,
        facts=frozenset(["total"]),
        reference=_positions,
        ulp=0.0,
        samples=_SAMPLES,
        doc="Positions whose elements have the kth one in its sorted place.",
    )
)


def _partition_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axis: int, kth: Ints
) -> tuple[Tensor]:
    places = bind(ARGPARTITION, operand, axis=axis, kth=kth)
    return (take_along_axis(gradient, argsort(places, axis), axis),)


PARTITION = register(
    HostOp(
        "partition",
        1,
        lambda operand, axis, kth: (operand,),
        body=_parted,
        algorithm=lambda axis, kth: StableParts(axis, kth, False),
        params=("axis", "kth"),
        vjp=_partition_vjp,
        facts=frozenset(["total"]),
        reference=_parted,
        ulp=0.0,
        samples=_SAMPLES,
        doc="Elements with the kth one in its sorted place.",
    )
)


def _by_sorting(a: Tensor, axis: int, kth: Ints) -> Tensor:
    """The positions where no kernel finds them: those that sort the parts of the elements."""
    if len(kth) > MOST:
        return argsort(a, axis)
    ordered = take_along_axis(a, argsort(a, axis), axis)
    part = zeros(a.shape, dtype=dt.uint8, device=a.device)
    for place in kth:
        limit = narrow(ordered, axis, place, 1)
        last, ends = not_equal(a, a), not_equal(limit, limit)
        more = logical_or(less(limit, a), logical_and(last, logical_not(ends)))
        same = logical_or(equal(limit, a), logical_and(last, ends))
        part = add(part, add(astype(more, dt.uint8), astype(logical_or(more, same), dt.uint8)))
    return argsort(part, axis)


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
    element (or several) in its sorted place, none larger before and none smaller behind it;
    elements within these parts, and equal ones, keep their order (with more than 8 kth all are
    sorted).

    IndexOutOfRange for a kth outside of the axis; NaN is largest.

    >>> x = hybrid.tensor([5, 1, 4, 2])
    >>> x[hybrid.argpartition(x, 1)][1]
    tensor(2)
    """
    a = as_tensor(a)
    if axis is None:
        a, axis = ravel(a), 0
    real_only("argpartition", a)
    along = normalize_axis(axis, a.ndim, "argpartition")
    if not a.size:
        _ranks(kth, max(a.shape[along], 1), "argpartition")
        return zeros(a.shape, dtype=dt.int64, device=a.device)
    places = _ranks(kth, a.shape[along], "argpartition")
    if a.device is not HOST or len(places) > MOST:
        return _by_sorting(a, along, places)
    return bind(ARGPARTITION, a, axis=along, kth=places)


@public
def partition(a: Tensor, kth: Any, axis: int | None = -1) -> Tensor:
    """a with the kth smallest element (or several) along an axis (None: of the flattened tensor) in
    its sorted place, none larger before and none smaller behind it; elements within these parts,
    and equal ones, keep their order (with more than 8 kth all are sorted).

    IndexOutOfRange for a kth outside of the axis; NaN is largest.

    >>> hybrid.partition(hybrid.tensor([5, 1, 4, 2]), 1)[1]
    tensor(2)
    """
    a = as_tensor(a)
    if axis is None:
        a, axis = ravel(a), 0
    real_only("partition", a)
    along = normalize_axis(axis, a.ndim, "partition")
    if not a.size:
        return take_along_axis(a, argpartition(a, kth, along), along)
    places = _ranks(kth, a.shape[along], "partition")
    if len(places) > MOST:
        return sort(a, along)
    if a.device is not HOST:
        return take_along_axis(a, _by_sorting(a, along, places), along)
    return bind(PARTITION, a, axis=along, kth=places)


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
