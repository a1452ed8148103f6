"""Shape arithmetic: broadcasting, axis normalisation, strides.

Invariant: shapes and strides are tuples of Python ints; strides count elements unless named bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from .errors import ArgumentError, ShapeError, shape_text, value_text

__all__ = [
    "whole",
    "items_of",
    "broadcast_shapes",
    "normalize_axis",
    "normalize_axes",
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
    size = 1
    for n in shape if type(shape) is tuple else ():
        if type(n) is not int or n < 0:
            break
        size *= n or 1
    else:
        if type(shape) is tuple and size < 1 << 63:
            return shape
    out = tuple([whole(n, "a size") for n in _listed(shape, "a shape")])
    if any(n < 0 for n in out):
        raise ShapeError(f"a shape cannot hold negative sizes: {shape_text(out)}")
    if prod([n or 1 for n in out]) >= 1 << 63:
        raise ShapeError(f"shape {shape_text(out)} holds more elements than an int64 counts")
    return out


def broadcast_shapes(what: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The NumPy broadcast of shapes; `what` names the op in the error.

    >>> broadcast_shapes("add", (3, 1), (4,))
    (3, 4)
    """
    first = shapes[0] if shapes else ()
    if all(s == first for s in shapes):
        return first
    n = max(map(len, shapes))
    out = []
    for axis in range(n):
        size = 1
        for s in shapes:
            k = axis - n + len(s)
            d = s[k] if k >= 0 else 1
            if d != 1 and size not in (1, d):
                raise ShapeError(f"{what}: shapes {', '.join(map(str, shapes))} do not broadcast")
            size = d if d != 1 else size
        out.append(size)
    return tuple(out)


def normalize_axis(axis: int, ndim: int, what: str = "axis") -> int:
    """Axis in 0..ndim-1; raises ShapeError outside."""
    a = whole(axis, f"{what}: axis" if what != "axis" else what)
    if not -ndim <= a < ndim:
        raise ShapeError(f"{what}: axis {value_text(a)} is out of range for {ndim} dimensions")
    return a % ndim


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


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    out, n = [], 1
    for d in reversed(shape):
        out.append(n)
        n *= max(d, 1)
    return tuple(reversed(out))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    return all(d <= 1 or s == c for d, s, c in zip(shape, strides, contiguous_strides(shape)))


def broadcast_strides(
    shape: Sequence[int], strides: Sequence[int], to: Sequence[int]
) -> tuple[int, ...]:
    """Strides that read an array of `shape` as if it had shape `to` (0 along broadcast axes)."""
    pad = len(to) - len(shape)
    return (0,) * pad + tuple(
        0 if d == 1 and t != 1 else s for d, s, t in zip(shape, strides, to[pad:])
    )


def collapse(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Merge adjacent axes that every operand walks linearly; drops axes of size 1.

    `strides` holds one tuple per operand.  Iteration order (row-major) is unchanged.

    >>> collapse((2, 3, 4), [(12, 4, 1), (0, 0, 0)])
    ((24,), [(1,), (0,)])
    """
    axes = [i for i, d in enumerate(shape) if d != 1]
    dims: list[int] = []
    outs: list[list[int]] = [[] for _ in strides]
    for i in axes:
        if dims and all(o[-1] == st[i] * shape[i] for o, st in zip(outs, strides)):
            dims[-1] *= shape[i]
            for o, st in zip(outs, strides):
                o[-1] = st[i]
        else:
            dims.append(shape[i])
            for o, st in zip(outs, strides):
                o.append(st[i])
    return tuple(dims), [tuple(o) for o in outs]


def reshape_strides(
    shape: Sequence[int], strides: Sequence[int], new: Sequence[int]
) -> tuple[int, ...] | None:
    """Strides of the same elements in the same order under shape `new`, or None.

    >>> reshape_strides((4, 6), (6, 1), (2, 2, 6)), reshape_strides((4, 6), (1, 4), (24,))
    ((12, 6, 1), None)

    Both shapes have the same number of elements; strides of axes of size 1 mean nothing.
    """
    if 0 in shape:
        return contiguous_strides(new)
    runs, (steps,) = collapse(shape, [tuple(strides)])
    out: list[int] = []
    rest, step, k = 1, 1, 0
    for d in new:
        if d != 1 and rest == 1:
            rest, step, k = runs[k], steps[k], k + 1
        if rest % d:
            return None
        rest //= d
        out.append(rest * step)
    return tuple(out)
