"""NumPy's pad: tensors in a frame of constants, of pieces of themselves, of statistics or ramps.

Invariant: axes are extended one after the other, each with what the axes before it made, so a
corner has what the last axis says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, HybridError, ShapeError
from ...core.shapes import as_shape
from ...ir.door.bind import as_tensor, store
from ...ir.door.bind import convert as astype
from ..axes.extremes import max as max_
from ..axes.extremes import min as min_
from ..axes.reduce import mean as mean_
from ..axes.slices import embed, flip, narrow
from ..axes.views import broadcast_to, reshape
from ..base.common import pairs_of
from ..base.surface import public
from ..build.create import arange, full
from ..build.join import concat, slice_set
from ..elementwise.arithmetic import add, clone, divide, multiply, subtract
from ..elementwise.logic import isnan
from ..elementwise.rounding import floor, round
from ..elementwise.selection import where
from ..indexing.sort import sort

Tensor = Any
Widths = tuple[int, int]
# the argument that a mode takes beside the widths
_TAKES: Mapping[str, str] = {
    "constant": "constant_values",
    "edge": "",
    "reflect": "reflect_type",
    "symmetric": "reflect_type",
    "wrap": "",
    "mean": "stat_length",
    "median": "stat_length",
    "minimum": "stat_length",
    "maximum": "stat_length",
    "linear_ramp": "end_values",
    "empty": "",
}


@public
def pad(
    x: Tensor,
    pad_width: Any,
    mode: str = "constant",
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: str = "even",
) -> Tensor:
    """NumPy's pad: widths as one, (before, after), one pair per axis, or a dictionary from axes to
    these.

    Modes: 'constant' (`constant_values`, as one, a pair or one per axis), 'edge', 'wrap', 'reflect'
    and 'symmetric' (without and with the edge; `reflect_type` 'odd': two edges less what is
    reflected), 'mean', 'median', 'minimum' and 'maximum' (of the `stat_length` elements next to
    the edge, all by default), 'linear_ramp' (to `end_values`), 'empty' (zeros).  Gradients flow to
    x and to the values.  `nn.functional.pad` is PyTorch's.

    ShapeError for negative widths, an axis without elements that is not 'constant' or 'empty', and
    values that do not fit; HybridError for another mode, ArgumentError for what a mode does not
    take.

    >>> hybrid.pad(hybrid.tensor([1, 2, 3]), (1, 2), constant_values=9)
    tensor([9, 1, 2, 3, 9, 9])
    >>> hybrid.pad(hybrid.tensor([1, 2, 3]), 4, mode="reflect")
    tensor([1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3])
    """
    arguments = {
        "constant_values": constant_values,
        "end_values": end_values,
        "stat_length": stat_length,
        "reflect_type": reflect_type,
    }
    _check_mode(mode, arguments)
    return _padded(as_tensor(x), pad_width, mode, arguments)


def _padded(operand: Tensor, given: Any, mode: str, arguments: Mapping[str, Any]) -> Tensor:
    widths = pairs_of(given, operand.ndim)
    if any(width < 0 for margins in widths for width in margins):
        raise ShapeError(f"pad: widths must not be negative: {widths}; slice to remove elements")
    shape = as_shape(
        tuple(before + extent + after for extent, (before, after) in zip(operand.shape, widths))
    )
    if shape == operand.shape:
        return clone(operand)
    if mode in ("constant", "empty"):
        values = arguments["constant_values"] if mode == "constant" else 0
        return _framed(operand, widths, shape, values)
    for axis, margins in enumerate(widths):
        if any(margins) and operand.shape[axis] == 0:
            raise ShapeError(
                f"pad: axis {axis} has no elements; modes 'constant' and 'empty' extend it"
            )
    return _extended(operand, widths, mode, arguments)


def _check_mode(mode: Any, given: Mapping[str, Any]) -> None:
    if not isinstance(mode, str) or mode not in _TAKES:
        raise HybridError(f"pad: mode {mode!r} is not one of {', '.join(map(repr, _TAKES))}")
    kind = given["reflect_type"]
    if kind not in ("even", "odd"):
        raise ArgumentError(f"pad: reflect_type is {kind!r}; it is 'even' or 'odd'")
    usual = {"constant_values": 0, "end_values": 0, "stat_length": None, "reflect_type": "even"}
    for name, value in given.items():
        same = value is usual[name] or (type(value) is type(usual[name]) and value == usual[name])
        if name != _TAKES[mode] and not same:
            raise ArgumentError(f"pad: mode {mode!r} takes no {name}")


def _framed(padded: Tensor, widths: tuple[Widths, ...], shape: Any, values: Any) -> Tensor:
    """Padded with constants: one, or one for each side of each axis."""
    begin, step = tuple(before for before, _ in widths), (1,) * padded.ndim
    if isinstance(values, (int, float)) and _is_plus_zero(values):
        return embed(padded, shape, begin, step)
    if not isinstance(values, (list, tuple)) and getattr(values, "ndim", 0) == 0:
        filled = full(shape, values, dtype=padded.dtype, device=padded.device)
        return slice_set(filled, padded, begin, step)
    values = _for_sides("constant_values", values, padded, padded.dtype)
    for axis, margins in enumerate(widths):
        sides = [
            _side(values, axis, side, padded.ndim, _resized(padded, axis, width))
            for side, width in enumerate(margins)
        ]
        padded = concat([sides[0], padded, sides[1]], axis)
    return padded


def _is_plus_zero(value: float) -> bool:
    return value == 0 and not np.signbit(value)


def _for_sides(name: str, given: Any, padded: Tensor, dtype: np.dtype) -> Tensor:
    """A value for each side of each axis, as a tensor [ndim, 2]."""
    values, ndim = store(given, dtype, padded.device), padded.ndim
    try:
        return broadcast_to(values, (ndim, 2))
    except ShapeError:
        raise ShapeError(
            f"pad: {name} of shape {values.shape} are no number, no pair (before, after) "
            f"and no pair for each of {ndim} axes"
        ) from None


def _side(values: Tensor, axis: int, side: int, ndim: int, shape: tuple[int, ...]) -> Tensor:
    value = narrow(narrow(values, 0, axis, 1), 1, side, 1)
    return broadcast_to(reshape(value, (1,) * ndim), shape)


def _resized(tensor: Tensor, axis: int, extent: int) -> tuple[int, ...]:
    return (*tensor.shape[:axis], extent, *tensor.shape[axis + 1 :])


# ---- of the tensor itself
def _extended(operand: Tensor, widths: Any, mode: str, given: Mapping[str, Any]) -> Tensor:
    """A tensor extended along one axis after the other by what a mode makes of it."""
    if _TAKES[mode] == "stat_length":
        lengths = _lengths(given["stat_length"], operand, mode)
        return _each(
            operand,
            widths,
            lambda tensor, axis, margins: _stat(tensor, axis, margins, lengths[axis], mode),
        )
    if mode == "linear_ramp":
        wide = dt.complex128 if dt.is_complex(operand.dtype) else dt.float64
        values = _for_sides("end_values", given["end_values"], operand, wide)
        return _each(
            operand, widths, lambda tensor, axis, margins: _ramp(tensor, axis, margins, values)
        )
    if mode == "edge":
        return _each(operand, widths, _edge)
    if mode == "wrap":
        return _each(operand, widths, _wrapped)
    odd, with_edge = given["reflect_type"] == "odd", mode == "symmetric"
    return _each(
        operand,
        widths,
        lambda tensor, axis, margins: _reflected(tensor, axis, margins, with_edge, odd),
    )


def _each(operand: Tensor, widths: Any, extend: Callable[[Tensor, int, Widths], Tensor]) -> Tensor:
    for axis, margins in enumerate(widths):
        if any(margins):
            operand = extend(operand, axis, margins)
    return operand


def _between(leading: Tensor, middle: Tensor, trailing: Tensor, axis: int) -> Tensor:
    return concat([piece for piece in (leading, middle, trailing) if piece.shape[axis]], axis)


def _edges(operand: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    return narrow(operand, axis, 0, 1), narrow(operand, axis, operand.shape[axis] - 1, 1)


def _edge(operand: Tensor, axis: int, margins: Widths) -> Tensor:
    first, last = _edges(operand, axis)
    leading = broadcast_to(first, _resized(operand, axis, margins[0]))
    trailing = broadcast_to(last, _resized(operand, axis, margins[1]))
    return _between(leading, operand, trailing, axis)


def _wrapped(operand: Tensor, axis: int, margins: Widths) -> Tensor:
    """Each turn adds whole periods to both sides, as many as there are already."""
    period, (before, after) = operand.shape[axis], margins
    while before or after:
        extent = operand.shape[axis]
        whole = extent // period * period
        before_now, after_now = min(whole, before), min(whole, after)
        leading = narrow(operand, axis, whole - before_now, before_now)
        trailing = narrow(operand, axis, extent - whole, after_now)
        operand = _between(leading, operand, trailing, axis)
        before, after = before - before_now, after - after_now
    return operand


def _reflected(operand: Tensor, axis: int, margins: Widths, with_edge: bool, odd: bool) -> Tensor:
    """Each turn reflects whole periods at both ends; one element has nothing to reflect."""
    if operand.shape[axis] == 1:
        return _edge(operand, axis, margins)
    skip = 0 if with_edge else 1
    period, (before, after) = operand.shape[axis] - skip, margins
    while before or after:
        extent = operand.shape[axis]
        whole = (extent - skip) // period * period
        before_now, after_now = min(whole, before), min(whole, after)
        leading = flip(narrow(operand, axis, skip, before_now), axis)
        trailing = flip(narrow(operand, axis, extent - skip - after_now, after_now), axis)
        if odd:
            first, last = _edges(operand, axis)
            leading, trailing = _turned(first, leading), _turned(last, trailing)
        operand = _between(leading, operand, trailing, axis)
        before, after = before - before_now, after - after_now
    return operand


def _turned(edge: Tensor, piece: Tensor) -> Tensor:
    return astype(subtract(multiply(edge, 2), piece), piece.dtype)


# ---- of numbers that are computed
def _lengths(given: Any, operand: Tensor, mode: str) -> tuple[Widths, ...]:
    """How many elements at each side of each axis a statistic is of."""
    if given is None:
        return tuple((extent, extent) for extent in operand.shape)
    pairs = pairs_of(given, operand.ndim, "pad: stat_length")
    least = 1 if mode in ("minimum", "maximum") else 0
    if any(length < least for lengths in pairs for length in lengths):
        raise ShapeError(
            f"pad: stat_length {given!r}: mode {mode!r} takes {least} or more elements"
        )
    return tuple(
        (min(before, extent), min(after, extent))
        for extent, (before, after) in zip(operand.shape, pairs)
    )


def _stat(operand: Tensor, axis: int, margins: Widths, lengths: Widths, mode: str) -> Tensor:
    extent, sides = operand.shape[axis], []
    for start, length, width in zip((0, extent - lengths[1]), lengths, margins):
        chunk = narrow(operand, axis, start, length)
        value = _statistic(chunk, axis, mode)
        sides.append(broadcast_to(value, _resized(operand, axis, width)))
    return _between(sides[0], operand, sides[1], axis)


def _statistic(chunk: Tensor, axis: int, mode: str) -> Tensor:
    """A statistic along an axis in the dtype of the tensor: rounded where that is of integers."""
    if mode in ("minimum", "maximum"):
        return (max_ if mode == "maximum" else min_)(chunk, axis, keepdims=True)
    exact = chunk if dt.is_inexact(chunk.dtype) else astype(chunk, dt.float64)
    value = _middle(exact, axis) if mode == "median" else mean_(exact, axis, keepdims=True)
    return astype(round(value) if dt.is_int(chunk.dtype) else value, chunk.dtype)


def _middle(chunk: Tensor, axis: int) -> Tensor:
    """The median, NaN where an element is."""
    count = chunk.shape[axis]
    if not count:
        return mean_(chunk, axis, keepdims=True)
    ordered = sort(chunk, axis)
    middle = narrow(ordered, axis, (count - 1) // 2, 2 - count % 2)
    last = narrow(ordered, axis, count - 1, 1)
    return where(isnan(last), last, mean_(middle, axis, keepdims=True))


def _ramp(operand: Tensor, axis: int, margins: Widths, values: Tensor) -> Tensor:
    """Straight lines from the values to the edges, in double precision and rounded once."""
    sides = []
    for side, (edge, width) in enumerate(zip(_edges(operand, axis), margins)):
        edge = astype(edge, values.dtype)
        start = _side(values, axis, side, operand.ndim, edge.shape)
        steps = astype(arange(width, device=operand.device), dt.float64)
        steps = reshape(
            steps, tuple(width if number == axis else 1 for number in range(operand.ndim))
        )
        line = add(multiply(divide(subtract(edge, start), max(width, 1)), steps), start)
        line = astype(floor(line) if dt.is_int(operand.dtype) else line, operand.dtype)
        sides.append(flip(line, axis) if side else line)
    return _between(sides[0], operand, sides[1], axis)
