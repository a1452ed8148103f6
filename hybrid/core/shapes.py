"""Shape arithmetic: broadcasting, axis normalisation, strides.

Invariant: shapes and strides are tuples of Python ints; strides count elements unless named bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from .errors import ArgumentError, AxisError, ShapeError, shape_text, value_text

__all__ = [
    "whole",
    "items_of",
    "broadcast_shapes",
    "normalize_axis",
    "normalize_axes",
    "reduced_axes",
    "contiguous_strides",
    "as_shape",
    "is_contiguous",
    "broadcast_strides",
    "collapse",
    "reshape_strides",
]


def whole(value: Any, what: str) -> int:
    """An argument that is an int, as one; ArgumentError naming `what` for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentError(f"{what} is {_text(value)}: it has to be an integer") from None


def _text(value: Any) -> str:
    plain = value is None or isinstance(value, (str, bytes, int, float, complex))
    return value_text(value) if plain else f"of type {type(value).__name__}"


def items_of(value: Any, what: str) -> tuple[Any, ...]:
    """The items of an argument that is a list; ArgumentError for anything else, endless ranges
    included."""
    if isinstance(value, (str, bytes, Mapping, type)) or not hasattr(value, "__iter__"):
        raise ArgumentError(f"{what} is {_text(value)}: it has to be a list or a tuple")
    if isinstance(value, range) and value[: 1 << 20] != value:
        raise ArgumentError(f"{what} is a range of too many items")
    return tuple(value)


def _listed(value: Any, what: str) -> tuple[Any, ...]:
    """The items of an int or a sequence of ints."""
    if hasattr(value, "__index__") and not getattr(value, "ndim", 0):
        return (value,)
    if isinstance(value, (str, bytes, Mapping, type)) or not hasattr(value, "__iter__"):
        raise ArgumentError(f"{what} is {_text(value)}: it has to be an integer or a tuple of them")
    if isinstance(value, range) and len(value) > 64:
        raise ShapeError(f"{what} has {len(value)} entries; a tensor has at most 64 axes")
    return tuple(value)


def as_shape(shape: Any) -> tuple[int, ...]:
    """A shape from an int or a sequence of ints; ShapeError for negative sizes and for more
    elements than an int64 counts."""
    # nearly always it is a good shape already and is given back; `type is int` keeps truth values
    # and NumPy's integers out; beside an axis of size 0 the others still have strides to be counted
    size = 1
    for extent in shape if type(shape) is tuple else ():
        if type(extent) is not int or extent < 0:
            break
        size *= extent or 1
    else:
        if type(shape) is tuple and size < 1 << 63:
            return shape
    result = tuple([whole(n, "a size") for n in _listed(shape, "a shape")])
    if any(n < 0 for n in result):
        raise ShapeError(f"a shape cannot hold negative sizes: {shape_text(result)}")
    if prod([n or 1 for n in result]) >= 1 << 63:
        raise ShapeError(f"shape {shape_text(result)} holds more elements than an int64 counts")
    return result


def broadcast_shapes(what: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The NumPy broadcast of shapes; `what` names the op in the error.

    >>> broadcast_shapes("add", (3, 1), (4,))
    (3, 4)
    """
    first = shapes[0] if shapes else ()
    if all(s == first for s in shapes):
        return first
    ndim = max(map(len, shapes))
    result = []
    for axis in range(ndim):
        size = 1
        for shape in shapes:
            position = axis - ndim + len(shape)
            extent = shape[position] if position >= 0 else 1
            if extent != 1 and size not in (1, extent):
                raise ShapeError(f"{what}: shapes {', '.join(map(str, shapes))} do not broadcast")
            size = extent if extent != 1 else size
        result.append(size)
    return tuple(result)


def normalize_axis(axis: int, ndim: int, what: str = "") -> int:
    """Axis in 0..ndim-1; raises ShapeError outside."""
    if isinstance(axis, bool):
        raise ArgumentError(f"{what or 'axis'}: axis is {axis}: it has to be an integer")
    index = whole(axis, f"{what}: axis" if what else "axis")
    if not -ndim <= index < ndim:
        raise AxisError(
            f"{what or 'axis'}: axis {value_text(index)} is out of range for {ndim} dimensions"
        )
    return index % ndim


def normalize_axes(
    axis: int | Iterable[int] | None, ndim: int, what: str = "axis"
) -> tuple[int, ...]:
    """Sorted distinct axes; None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = [normalize_axis(a, ndim, what) for a in _listed(axis, f"{what}: axis")]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{what}: axis {axis} repeats")
    return tuple(sorted(axes))


def reduced_axes(
    axis: int | Iterable[int] | None, ndim: int, what: str = "axis"
) -> tuple[int, ...]:
    """`normalize_axes` for a reduction: the axis of a 0-d operand may be named, as in NumPy."""
    if ndim or axis is None:
        return normalize_axes(axis, ndim, what)
    normalize_axes(axis, 1, what)
    return ()


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    strides, stride = [], 1
    for extent in reversed(shape):
        strides.append(stride)
        stride *= max(extent, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    return all(
        extent <= 1 or stride == dense
        for extent, stride, dense in zip(shape, strides, contiguous_strides(shape))
    )


def broadcast_strides(
    shape: Sequence[int], strides: Sequence[int], target: Sequence[int]
) -> tuple[int, ...]:
    """Strides that read an array of `shape` as if it had shape `target` (0 along broadcast
    axes)."""
    missing = len(target) - len(shape)
    return (0,) * missing + tuple(
        0 if extent == 1 and wanted != 1 else stride
        for extent, stride, wanted in zip(shape, strides, target[missing:])
    )


def collapse(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Merge adjacent axes that every operand walks linearly; drops axes of size 1.

    `strides` holds one tuple per operand.  Iteration order (row-major) is unchanged.

    >>> collapse((2, 3, 4), [(12, 4, 1), (0, 0, 0)])
    ((24,), [(1,), (0,)])
    """
    # an axis joins the one before it where a whole run of it is one step of that axis, for every
    # operand: one loop counter then walks both; broadcast axes join as 0 == 0 * size
    axes = [i for i, d in enumerate(shape) if d != 1]
    extents: list[int] = []
    results: list[list[int]] = [[] for _ in strides]
    for axis in axes:
        if extents and all(
            merged[-1] == operand[axis] * shape[axis] for merged, operand in zip(results, strides)
        ):
            extents[-1] *= shape[axis]
            for merged, operand in zip(results, strides):
                merged[-1] = operand[axis]
        else:
            extents.append(shape[axis])
            for merged, operand in zip(results, strides):
                merged.append(operand[axis])
    return tuple(extents), [tuple(merged) for merged in results]


def reshape_strides(
    shape: Sequence[int], strides: Sequence[int], target: Sequence[int]
) -> tuple[int, ...] | None:
    """Strides of the same elements in the same order under shape `target`, or None.

    >>> reshape_strides((4, 6), (6, 1), (2, 2, 6)), reshape_strides((4, 6), (1, 4), (24,))
    ((12, 6, 1), None)

    Both shapes have the same number of elements; strides of axes of size 1 mean nothing.
    """
    if 0 in shape:
        return contiguous_strides(target)
    # runs that one stride walks are split into whole axes of the target, the slowest axis first; an
    # axis that reaches over the end of a run has no single stride
    runs, (steps,) = collapse(shape, [tuple(strides)])
    result: list[int] = []
    rest, step, following = 1, 1, 0
    for extent in target:
        if extent != 1 and rest == 1:
            rest, step, following = runs[following], steps[following], following + 1
        if rest % extent:
            return None
        rest //= extent
        result.append(rest * step)
    return tuple(result)
