"""Windows over images [N, C, *extents], of any number of spatial axes: their sizes, their elements,
which of them cover an element.

Invariant: windows are walked in row-major order, and so are the windows that cover an element.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import ShapeError
from ...ir.scalar.program import Builder, ScalarType, Val

__all__ = [
    "Ints",
    "pooled",
    "index_type",
    "numbered",
    "at",
    "window_values",
    "numpy_windows",
    "covering",
    "both",
]

Ints = tuple[int, ...]


def pooled(
    name: str, shape: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Ints:
    """The shape of what windows over images of a shape give."""
    if len(shape) != len(kernel) + 2:
        raise ShapeError(f"{name}: windows of {kernel} do not fit images of shape {shape}")
    if min(*kernel, *stride, *dilation) < 1 or any(
        not 0 <= 2 * p <= k for p, k in zip(padding, kernel)
    ):
        raise ShapeError(
            f"{name}: kernel {kernel}, stride {stride} and dilation {dilation} must be positive, "
            f"padding {padding} at most half the kernel"
        )
    axes = zip(shape[2:], kernel, stride, padding, dilation)
    result = tuple([(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes])
    if min(result) < 1:
        raise ShapeError(f"{name}: a window of {kernel} does not fit images of {shape[2:]}")
    return shape[:2] + result


def index_type(*shapes: Ints) -> ScalarType:
    """Type for the arithmetic on element numbers: i32 where it suffices, which is twice as fast."""
    return "i32" if max(map(prod, shapes)) < 2**31 else "i64"


def numbered(positions: Sequence[Val], extents: Ints) -> Val:
    """The row-major number of an element from its coordinates; the first extent is not needed."""
    total = positions[0]
    for coordinate, extent in zip(positions[1:], extents[1:]):
        total = total * extent + coordinate
    return total


def at(
    algebra: Builder,
    operand: Any,
    type_name: ScalarType,
    image: Val,
    channel: Val,
    cover: Cover,
) -> Val:
    """The element of a window's result; element 0 where there is no such window."""
    total = numbered((image, channel, *cover.window), operand.shape)
    if cover.exists is not None:
        total = algebra.select(cover.exists, total, 0)
    result: Val = operand.at(algebra.convert(total, "i64"))
    return result


def window_values(
    algebra: Builder, operand: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Iterator[tuple[Val, Val | None, Val]]:
    """(element, whether it lies in the image or None when it must, its number in the image) of a
    window, in order.  Numbers outside mean nothing, but the first one is of the nearest element."""
    size, type_name = operand.shape[2:], index_type(operand.shape)
    image, channel, *at_out = (
        algebra.convert(algebra.coord(a), type_name) for a in range(len(operand.shape))
    )
    plane = (image * operand.shape[1] + channel) * prod(size)
    base = [out * step - before for out, step, before in zip(at_out, stride, padding)]
    for taps in product(*map(range, kernel)):
        positions = [first + tap * gap for first, tap, gap in zip(base, taps, dilation)]
        inside = None
        for position, before, extent in zip(positions, padding, size):
            if before:
                valid = (position >= 0) & (position < extent)
                inside = both(inside, valid)
        place = numbered(positions, size)
        index = plane + place
        if inside is not None:
            index = algebra.select(inside, index, 0)
        if inside is not None and not any(taps):
            nearest = [algebra.max(p, 0) if q else p for p, q in zip(positions, padding)]
            place = numbered(nearest, size)
        yield operand.at(algebra.convert(index, "i64")), inside, place


def numpy_windows(
    operand: np.ndarray, fill: float, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> np.ndarray:
    """[N, C, *outputs, elements of a window]."""
    full = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    padded = np.pad(operand, ((0, 0), (0, 0), *((q, q) for q in padding)), constant_values=fill)
    axes = tuple(range(2, operand.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(padded, full, axes)
    steps = tuple([slice(None, None, step) for step in (*stride, *dilation)])
    windows = windows[(slice(None), slice(None), *steps)]
    return windows.reshape(*windows.shape[: operand.ndim], prod(kernel))


def both(left: Val | None, right: Val | None) -> Val | None:
    """Two conditions at once; None is always true."""
    if left is None or right is None:
        return right if left is None else left
    return left & right


class Cover(NamedTuple):
    """A window that may cover an element, by its place along each axis: whether there is such a
    window, and whether it covers the element; None: always."""

    window: tuple[Val, ...]
    exists: Val | None
    covers: Val | None


def covering(
    algebra: Builder,
    shape: Ints,
    out: Ints,
    type_name: ScalarType,
    kernel: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> Iterator[Cover]:
    """The windows that may cover an element of the image, the last one first."""
    found: list[list[tuple[Val, Val | None, Val | None]]] = []
    for axis in range(len(kernel)):
        position = algebra.convert(algebra.coord(2 + axis), type_name) + padding[axis]
        tight = (
            stride[axis] == kernel[axis]
            and dilation[axis] == 1
            and padding[axis] == 0
            and shape[2 + axis] % stride[axis] == 0
        )
        reach = dilation[axis] * (kernel[axis] - 1)
        sizes = (out[2 + axis], stride[axis], reach, dilation[axis])
        found.append(list(covering_axis(algebra, position, *sizes, tight)))
    for along in product(*found):
        window, exists, covers = zip(*along)
        yield Cover(window, reduce(both, exists), reduce(both, covers))


def covering_axis(
    algebra: Builder,
    position: Val,
    extent: int,
    stride: int,
    reach: int,
    dilation: int,
    tight: bool,
) -> Iterator[tuple[Val, Val | None, Val | None]]:
    """(window, whether there is one, whether it covers the position) along one axis; where windows
    are `tight`, each element is in one."""
    last = quotient(algebra, position, stride)
    for step in range(reach // stride + 1):
        window, exists, covers = last - step, None, None
        if not tight:
            exists = (window >= 0) & (window < extent)
        # the last window to begin before an element covers it, unless windows have gaps
        if dilation > 1 or (step + 1) * stride - 1 > reach:
            distance = position - window * stride
            covers = distance <= reach
            if dilation > 1:
                whole = quotient(algebra, distance, dilation) * dilation
                covers = covers & (distance - whole == 0)
        yield window, exists, covers


def quotient(algebra: Builder, operand: Val, divisor: int) -> Val:
    """floor(operand / divisor) for 0 <= operand < 2**31 (of i64: sizes that fit in memory): a
    shift, or a product with the rounded up reciprocal, of which the high half is exact (Granlund
    and Montgomery, 1994); vector units have no integer division."""
    bits = (divisor - 1).bit_length()
    if divisor & (divisor - 1) == 0:
        return operand >> bits
    if operand.type == "i32":
        factor = -(-(1 << (31 + bits)) // divisor)
        high = algebra.mulhi(algebra.convert(operand, "u32"), algebra.const("u32", factor))
        return algebra.convert(high >> (bits - 1), "i32")
    return algebra.convert(
        algebra.floor((algebra.convert(operand, "f64") + 0.5) / float(divisor)), operand.type
    )
