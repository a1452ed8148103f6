"""Functions applied along axes, and zeros cut off at the ends.

Invariant: a function sees each line once, in row-major order of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ...core.errors import ArgumentError, ShapeError
from ...core.shapes import normalize_axes, normalize_axis
from ...ir.door.bind import as_tensor
from ..axes.slices import narrow, slice_
from ..axes.views import expand_dims, moveaxis, reshape
from ..base.surface import public
from ..build.join import stack
from ..elementwise.logic import not_equal
from ..indexing.truths import nonzero_places

Tensor = Any


@public
def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Tensor:
    """The results of func1d(line, *args, **kwargs) for each line of arr along an axis; what they
    have of axes takes the place of that one.

    The function is called for every line: one that takes an axis is much faster.  ShapeError where
    there is no line.

    >>> x = hybrid.tensor([[3.0, 1.0], [2.0, 6.0]])
    >>> hybrid.apply_along_axis(lambda line: line.max() - line.min(), 1, x)
    tensor([2., 4.])
    """
    x = as_tensor(arr)
    along = normalize_axis(axis, x.ndim, "apply_along_axis")
    moved = moveaxis(x, along, -1)
    outer, size = moved.shape[:-1], moved.shape[-1]
    rows = reshape(moved, (prod(outer), size))
    if not rows.shape[0]:
        raise ShapeError(f"apply_along_axis: there is no line in shape {x.shape}")
    found = [
        as_tensor(func1d(narrow(rows, 0, row, 1, drop=True), *args, **kwargs))
        for row in range(rows.shape[0])
    ]
    inner = found[0].shape
    result = reshape(stack(found, 0), outer + inner)
    places = tuple(range(len(outer), len(outer) + len(inner)))
    return moveaxis(result, places, tuple(along + place for place in range(len(inner))))


@public
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Tensor:
    """func(x, axis) for one axis after the other; an axis that it removes is kept with size 1.

    >>> hybrid.apply_over_axes(hybrid.sum, hybrid.arange(6).reshape(1, 2, 3), [0, 2])
    tensor([[[ 3],
             [12]]])
    """
    x = as_tensor(a)
    for axis in (axes,) if hasattr(axes, "__index__") else axes:
        along = normalize_axis(axis, x.ndim, "apply_over_axes")
        found = as_tensor(func(x, along))
        found = expand_dims(found, along) if found.ndim == x.ndim - 1 else found
        if found.ndim != x.ndim:
            raise ShapeError(
                f"apply_over_axes: the function gave shape {found.shape} of shape {x.shape}"
            )
        x = found
    return x


@public
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Tensor:
    """x without the zeros at its ends along axes (all by default); reads the data.

    trim holds 'f' for the front and 'b' for the back.

    >>> hybrid.trim_zeros(hybrid.tensor([0, 0, 1, 0, 2, 0]))
    tensor([1, 0, 2])
    """
    x = as_tensor(filt)
    ends = trim.lower()
    if ends not in ("fb", "bf", "f", "b"):
        raise ArgumentError(f"trim_zeros: trim is {trim!r}; it holds 'f' and 'b'")
    axes = normalize_axes(axis, x.ndim, "trim_zeros")
    there = nonzero_places(not_equal(x, 0).numpy()) if axes else ()
    begin, sizes = [0] * x.ndim, list(x.shape)
    for along in axes:
        places = there[along]
        if not places.size:
            sizes[along] = 0
            continue
        first = int(places.min()) if "f" in ends else 0
        last = int(places.max()) + 1 if "b" in ends else x.shape[along]
        begin[along], sizes[along] = first, last - first
    return slice_(x, tuple(begin), tuple(sizes)) if axes else x
