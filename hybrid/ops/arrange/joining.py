"""Tensors put side by side, taken apart, and with slices put in or left out.

Invariant: where slices go in or out is decided by positions that the host knows; positions in a
tensor are read.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ...core.errors import ArgumentError, IndexOutOfRange, ShapeError
from ...core.shapes import broadcast_shapes, items_of, normalize_axis, whole
from ...ir.door.bind import as_tensor, host_array, operands, store
from ...ir.door.foreign import data_of
from ...ir.tensor import Handle
from ..axes.slices import narrow
from ..axes.views import broadcast_to, moveaxis, reshape
from ..base.surface import public
from ..build.join import concat
from ..elementwise.arithmetic import clone
from ..indexing.index import take
from .shapes import atleast_3d, ravel

Tensor = Any
FEW = 32  # so many positions cut a tensor into slices, more are a gather


# ---- side by side
@public
def append(arr: Tensor, values: Any, axis: int | None = None) -> Tensor:
    """`values` behind `arr` along an axis (None: both flattened); errors are those of `concat`.

    >>> hybrid.append(hybrid.tensor([1, 2]), [[3], [4]])
    tensor([1, 2, 3, 4])
    """
    first, second = operands(arr, values)
    return concat([first, second], axis)


@public
def column_stack(tup: Sequence[Tensor]) -> Tensor:
    """1-D tensors as the columns of a matrix; matrices side by side.

    Dtypes and errors are those of `concat`.

    >>> hybrid.column_stack([hybrid.tensor([1, 2]), hybrid.tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    tensors = operands(*items_of(tup, "column_stack: tup"))
    return concat([t if t.ndim > 1 else reshape(t, (t.size, 1)) for t in tensors], 1)


@public
def dstack(tup: Sequence[Tensor]) -> Tensor:
    """Tensors joined along the third axis, as `atleast_3d` makes them.

    Dtypes and errors are those of `concat`.

    >>> hybrid.dstack([hybrid.tensor([1, 2]), hybrid.tensor([3, 4])])
    tensor([[[1, 3],
             [2, 4]]])
    """
    return concat([atleast_3d(t) for t in operands(*items_of(tup, "dstack: tup"))], 2)


def _leaves(nested: Any, depth: int = 0) -> list[tuple[int, Any]]:
    """(depth, tensor) of all that a block is made of."""
    if not isinstance(nested, list):
        if isinstance(nested, tuple):
            raise ArgumentError("block takes lists of tensors, not tuples")
        return [(depth, nested)]
    if not nested:
        raise ShapeError("block: a list is empty")
    return [leaf for item in nested for leaf in _leaves(item, depth + 1)]


@public
def block(arrays: Any) -> Tensor:
    """A tensor of blocks in nested lists: the innermost lists are joined along the last axis, those
    around them along the one before, and so on.

    Dtypes promote; ShapeError where depths or shapes do not fit.

    >>> x = hybrid.ones(2, 2)
    >>> hybrid.block([[x, hybrid.zeros(2, 1)], [hybrid.full((1, 3), 7.0)]])
    tensor([[1., 1., 0.],
            [1., 1., 0.],
            [7., 7., 7.]])
    """
    found = _leaves(arrays)
    depths = {depth for depth, _ in found}
    if len(depths) != 1:
        raise ShapeError(f"block: lists nest {min(depths)} and {max(depths)} deep")
    depth = depths.pop()
    tensors = operands(*[leaf for _, leaf in found])
    rank = max(depth, *[t.ndim for t in tensors])
    rest = iter([reshape(t, (1,) * (rank - t.ndim) + t.shape) for t in tensors])

    def joined(nested: Any, level: int) -> Tensor:
        if level == depth:
            return next(rest)
        return concat([joined(item, level + 1) for item in nested], level - depth)

    return joined(arrays, 0) if depth else clone(tensors[0])


# ---- taken apart
def _number(given: Any) -> bool:
    """Whether an argument is an integer, no list of them."""
    axes: int = getattr(given, "ndim", 0)
    return hasattr(given, "__index__") and not axes


def _bounds(sections: Any, extent: int, what: str) -> list[int]:
    """Where pieces begin and end: so many of nearly one size, or cut at the given positions."""
    if not _number(sections):
        cuts = [whole(c, f"{what}: a position") for c in items_of(sections, f"{what}: sections")]
        return [0, *cuts, extent]
    count = operator.index(sections)
    if count < 1:
        raise ShapeError(f"{what}: {count} sections; it takes at least one")
    short, longer = divmod(extent, count)
    return [part * short + min(part, longer) for part in range(count + 1)]


def _pieces(x: Tensor, sections: Any, axis: int, what: str) -> list[Tensor]:
    extent = x.shape[axis]
    found = []
    for first, last in pairwise(_bounds(sections, extent, what)):
        inside = range(extent)[first:last]
        found.append(narrow(x, axis, inside.start if inside else 0, len(inside)))
    return found


@public
def array_split(ary: Tensor, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """ary cut along an axis into so many pieces, the first ones longer by one where that has to be,
    or at the given positions.

    ShapeError for less than one piece, and for an axis out of range.

    >>> hybrid.array_split(hybrid.arange(5), 3)
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """
    ary = as_tensor(ary)
    along = normalize_axis(axis, ary.ndim, "array_split")
    return _pieces(ary, indices_or_sections, along, "array_split")


def _split_evenly(x: Any, sections: Any, axis: int, least: int, what: str) -> list[Tensor]:
    """NumPy's split along one axis: pieces are of one size where only their number is given."""
    x = as_tensor(x)
    if x.ndim < least:
        raise ShapeError(f"{what} takes at least {least} dimensions, not shape {x.shape}")
    axis = min(axis, x.ndim - 1)
    if _number(sections):
        if sections > 0 and x.shape[axis] % operator.index(sections):
            raise ShapeError(
                f"{what}: {x.shape[axis]} elements are not {sections} equal pieces; "
                "hybrid.array_split makes pieces of nearly one size"
            )
    return _pieces(x, sections, axis, what)


@public
def hsplit(ary: Tensor, indices_or_sections: Any) -> list[Tensor]:
    """ary cut along axis 1 (of a 1-D tensor: 0) into equal pieces, or at the given positions.

    ShapeError where the pieces are not equal, and for a tensor without axes.

    >>> hybrid.hsplit(hybrid.tensor([[1, 2], [3, 4]]), 2)
    [tensor([[1],
            [3]]), tensor([[2],
            [4]])]
    """
    return _split_evenly(ary, indices_or_sections, 1, 1, "hsplit")


@public
def vsplit(ary: Tensor, indices_or_sections: Any) -> list[Tensor]:
    """ary cut along axis 0 into equal pieces, or at the given positions.

    ShapeError where the pieces are not equal, and below two dimensions.

    >>> hybrid.vsplit(hybrid.tensor([[1, 2], [3, 4]]), 2)
    [tensor([[1, 2]]), tensor([[3, 4]])]
    """
    return _split_evenly(ary, indices_or_sections, 0, 2, "vsplit")


@public
def dsplit(ary: Tensor, indices_or_sections: Any) -> list[Tensor]:
    """ary cut along axis 2 into equal pieces, or at the given positions.

    ShapeError where the pieces are not equal, and below three dimensions.

    >>> [p.shape for p in hybrid.dsplit(hybrid.zeros(2, 3, 4), [1])]
    [(2, 3, 1), (2, 3, 3)]
    """
    return _split_evenly(ary, indices_or_sections, 2, 3, "dsplit")


# ---- slices put in and left out
def _positions(given: Any, extent: int, most: int, what: str) -> np.ndarray:
    """Positions along an axis, 0-d for one integer: of an int, a slice, integers or a mask;
    negative ones count from the end, and those above `most` are out of range."""
    if isinstance(given, slice):
        return np.arange(extent, dtype=np.int64)[given]
    found = host_array(given) if isinstance(given, Handle) else data_of(given).array
    if found.dtype == np.bool_:
        if found.shape != (extent,):
            raise ShapeError(f"{what}: a mask of shape {found.shape} for an axis of size {extent}")
        return np.flatnonzero(found)
    if found.size and found.dtype.kind not in "iu":
        raise ArgumentError(f"{what}: positions are integers or a mask, not {found.dtype.name}")
    found = found.astype(np.int64)
    if found.ndim > 1:
        raise ShapeError(f"{what}: positions have one axis, not shape {found.shape}")
    wrong = found[(found < -extent) | (found > most)]
    if wrong.size:
        raise IndexOutOfRange(
            f"{what}: index {int(wrong.reshape(-1)[0])} is out of range for an axis of size "
            f"{extent}"
        )
    result: np.ndarray = np.where(found < 0, found + extent, found)
    return result


def _axis_of(x: Any, axis: int | None, what: str) -> tuple[Tensor, int]:
    x = as_tensor(x)
    return (ravel(x), 0) if axis is None else (x, normalize_axis(axis, x.ndim, what))


@public
def delete(arr: Tensor, obj: Any, axis: int | None = None) -> Tensor:
    """arr without the slices at `obj` (an integer, a slice, integers or a mask) along an axis
    (None: of the flattened tensor).  Positions in a tensor are read on the host.

    IndexOutOfRange for a position outside of the axis.

    >>> hybrid.delete(hybrid.tensor([[1, 2, 3], [4, 5, 6]]), 1, axis=1)
    tensor([[1, 3],
            [4, 6]])
    """
    x, along = _axis_of(arr, axis, "delete")
    extent = x.shape[along]
    gone = _positions(obj, extent, extent - 1, "delete")
    if not gone.size:
        return clone(x)
    if gone.size <= FEW:
        cuts = [-1, *np.unique(gone).tolist(), extent]
        return concat([narrow(x, along, a + 1, b - a - 1) for a, b in pairwise(cuts)], along)
    kept = np.ones(extent, np.bool_)
    kept[gone] = False
    return take(x, np.flatnonzero(kept), along)


@public
def insert(arr: Tensor, obj: Any, values: Any, axis: int | None = None) -> Tensor:
    """arr with `values`, in its dtype, put in before the positions `obj` (an integer, a slice,
    integers or a mask) along an axis (None: of the flattened tensor).  Positions in a tensor are
    read on the host.

    ShapeError where the values do not broadcast, IndexOutOfRange for a position.

    >>> hybrid.insert(hybrid.tensor([1, 2, 3]), 1, [8, 9])
    tensor([1, 8, 9, 2, 3])
    >>> hybrid.insert(hybrid.tensor([[1, 2], [3, 4]]), [0, 2], 7, axis=1)
    tensor([[7, 1, 2, 7],
            [7, 3, 4, 7]])
    """
    x, along = _axis_of(arr, axis, "insert")
    extent = x.shape[along]
    places = _positions(obj, extent, extent, "insert")
    added = store(values, x.dtype, x.device)
    added = reshape(added, (1,) * (x.ndim - added.ndim) + added.shape)
    if places.ndim == 0:
        added = moveaxis(added, 0, along)
    if places.size == 1:
        place = int(places.reshape(-1)[0])
        added = _spread(added, x, along, added.shape[along])
        after = narrow(x, along, place, extent - place)
        return concat([narrow(x, along, 0, place), added, after], along)
    count = places.size
    added = _spread(added, x, along, count)
    if 0 < count <= FEW:
        return concat(_between(x, added, places, along), along)
    behind = np.argsort(places, kind="stable")
    places = places.copy()
    places[behind] += np.arange(count)
    sources = np.empty(extent + count, np.int64)
    old = np.ones(extent + count, np.bool_)
    old[places] = False
    sources[places], sources[old] = extent + np.arange(count), np.arange(extent)
    return take(concat([x, added], along), sources, along)


def _between(x: Tensor, added: Tensor, places: np.ndarray, axis: int) -> list[Tensor]:
    """Pieces of x with one slice of `added` before each place."""
    pieces, start = [], 0
    for number in np.argsort(places, kind="stable").tolist():
        place = int(places[number])
        pieces += [narrow(x, axis, start, place - start), narrow(added, axis, number, 1)]
        start = place
    return [*pieces, narrow(x, axis, start, x.shape[axis] - start)]


def _spread(added: Tensor, x: Tensor, axis: int, count: int) -> Tensor:
    """Values broadcast to the shape of x with another size of one axis."""
    shape = x.shape[:axis] + (count,) + x.shape[axis + 1 :]
    if added.ndim > x.ndim or broadcast_shapes("insert", added.shape, shape) != shape:
        raise ShapeError(f"insert: values of shape {added.shape} do not fit shape {shape}")
    return broadcast_to(added, shape)
