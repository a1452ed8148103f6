"""Boxes of a tensor whose first element is known only when they are read or written.

Invariant: these records compute what `slice` and `slice_set` do, element for element, with some of
the numbers in `begin` as int64 operands that are in range; they stand for those in recordings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.aval import Aval
from ...ir.door.bind import bind
from ...ir.op import MapOp, extend, register
from ...ir.scalar.program import Builder, Val
from ..axes.slices import SLICE
from ..base.common import SHAPE_ONLY, draw
from ..build.create import zeros_like
from ..build.join import SLICE_SET

Ints = tuple[int, ...]
Tensor = Any
Starts = tuple[Any, ...]


def _starts(begin: Ints, axes: Ints, found: Starts) -> Starts:
    """Where the box begins along each axis: numbers, but operands for `axes`."""
    given = dict(zip(axes, found))
    return tuple([given.get(axis, fixed) for axis, fixed in enumerate(begin)])


def _kept(sizes: Ints, drop: Ints) -> Ints:
    return tuple(n for axis, n in enumerate(sizes) if axis not in drop)


def _whole(shape: Ints, sizes: Ints, begin: Ints, axes: Ints) -> Ints:
    """The axes of which a box takes all."""
    return tuple(
        axis
        for axis, extent in enumerate(shape)
        if axis not in axes and begin[axis] == 0 and sizes[axis] == extent
    )


# ---- reading
def _window_body(
    algebra: Builder,
    operand: Any,
    *found: Val,
    begin: Ints,
    sizes: Ints,
    step: Ints,
    drop: Ints,
    axes: Ints,
) -> Val:
    coords, place = [], 0
    for axis, start in enumerate(_starts(begin, axes, found)):
        if axis in drop:
            coords.append(start)
        else:
            coords.append(algebra.coord(place) * step[axis] + start)
            place += 1
    result: Val = operand.at_coords(*coords)
    return result


def _window_reference(
    operand: np.ndarray,
    *found: np.ndarray,
    begin: Ints,
    sizes: Ints,
    step: Ints,
    drop: Ints,
    axes: Ints,
) -> np.ndarray:
    starts = _starts(begin, axes, tuple(map(int, found)))
    picks = [b + np.arange(n) * k for b, n, k in zip(starts, sizes, step)]
    return operand[np.ix_(*picks)].reshape(_kept(sizes, drop))


def _window_vjp(
    gradient: Tensor,
    out: Tensor,
    operand: Tensor,
    *found: Tensor,
    begin: Ints,
    sizes: Ints,
    step: Ints,
    drop: Ints,
    axes: Ints,
) -> tuple[Any, ...]:
    base = zeros_like(operand, dtype=gradient.dtype)
    whole = _whole(operand.shape, sizes, begin, axes)
    params = {"begin": begin, "step": step, "drop": drop, "axes": axes, "whole": whole}
    got = bind(WINDOW_SET, base, gradient, *found, **params)
    return (got, *[None] * len(found))


def _window_samples(rng: np.random.Generator) -> Any:
    at = np.int64
    yield (
        [draw(rng, 5, 6), at(1)],
        {"begin": (0, 2), "sizes": (3, 3), "step": (1, 1), "drop": (), "axes": (0,)},
    )
    yield (
        [draw(rng, 5, 6), at(4)],
        {"begin": (4, 0), "sizes": (1, 6), "step": (1, 1), "drop": (0,), "axes": (0,)},
    )
    yield (
        [draw(rng, 3, 4), at(1), at(2)],
        {"begin": (0, 0), "sizes": (1, 2), "step": (1, 1), "drop": (0,), "axes": (0, 1)},
    )


WINDOW = register(
    MapOp(
        "window",
        None,
        lambda operand, *found, begin, sizes, step, drop, axes: (
            operand.with_(_kept(sizes, drop)),
        ),
        body=_window_body,
        gathers=(0,),
        params=("begin", "sizes", "step", "drop", "axes"),
        vjp=_window_vjp,
        reference=_window_reference,
        samples=_window_samples,
        ulp=0.0,
        keeps=frozenset(str(number) for number in range(1, 64)) | SHAPE_ONLY,
        doc="`slice` with operands in the place of begin[a] for each a of `axes`; all positions "
        "are in range.",
    )
)


# ---- writing
def _boxed(value: Any, ndim: int, drop: Ints) -> Ints:
    inner = iter(value.shape)
    return tuple(1 if axis in drop else next(inner) for axis in range(ndim))


def _window_set_body(
    algebra: Builder,
    base: Val,
    value: Any,
    *found: Val,
    begin: Ints,
    step: Ints,
    drop: Ints,
    axes: Ints,
    whole: Ints,
) -> Val:
    sizes, inside, coords = _boxed(value, len(begin), drop), None, []
    for axis, start in enumerate(_starts(begin, axes, found)):
        place = algebra.coord(axis)
        if axis not in whole:
            place = place - start
            fits = (place >= 0) & (place < sizes[axis])
            inside = fits if inside is None else inside & fits
            place = algebra.select(fits, place, 0)
        if axis not in drop:
            coords.append(place)
    written: Val = value.at_coords(*coords)
    return written if inside is None else algebra.select(inside, written, base)


def _window_set_reference(
    base: np.ndarray,
    value: np.ndarray,
    *found: np.ndarray,
    begin: Ints,
    step: Ints,
    drop: Ints,
    axes: Ints,
    whole: Ints,
) -> np.ndarray:
    result, sizes = base.copy(), _boxed(value, base.ndim, drop)
    starts = _starts(begin, axes, tuple(map(int, found)))
    result[tuple(slice(b, b + n) for b, n in zip(starts, sizes))] = value.reshape(sizes)
    return result


def _window_set_vjp(
    gradient: Tensor,
    out: Tensor,
    base: Tensor,
    value: Tensor,
    *found: Tensor,
    begin: Ints,
    step: Ints,
    drop: Ints,
    axes: Ints,
    whole: Ints,
) -> tuple[Any, ...]:
    params = {"begin": begin, "step": step, "drop": drop, "axes": axes}
    sizes = _boxed(value, base.ndim, drop)
    nothing = zeros_like(value, dtype=gradient.dtype)
    return (
        lambda: bind(WINDOW_SET, gradient, nothing, *found, whole=whole, **params),
        lambda: bind(WINDOW, gradient, *found, sizes=sizes, **params),
        *[None] * len(found),
    )


def _window_set_samples(rng: np.random.Generator) -> Any:
    at, ones = np.int64, (1, 1)
    yield (
        [draw(rng, 5, 6), draw(rng, 2, 3), at(3)],
        {"begin": (0, 2), "step": ones, "drop": (), "axes": (0,), "whole": ()},
    )
    yield (
        [draw(rng, 5, 6), draw(rng, 6), at(4)],
        {"begin": (0, 0), "step": ones, "drop": (0,), "axes": (0,), "whole": (1,)},
    )
    yield (
        [draw(rng, 3, 4), draw(rng), at(1), at(2)],
        {"begin": (0, 0), "step": ones, "drop": (0, 1), "axes": (0, 1), "whole": ()},
    )


WINDOW_SET = register(
    MapOp(
        "window_set",
        None,
        lambda base, value, *found, begin, step, drop, axes, whole: (base,),
        body=_window_set_body,
        gathers=(1,),
        params=("begin", "step", "drop", "axes", "whole"),
        vjp=_window_set_vjp,
        reference=_window_set_reference,
        samples=_window_set_samples,
        ulp=0.0,
        keeps=frozenset(str(number) for number in range(2, 64)) | SHAPE_ONLY,
        doc="`slice_set` in steps of one with operands in the place of begin[a] for each a of "
        "`axes`; the box is all of the axes `whole`.",
    )
)


# ---- what stands for slices in recordings
def _moved_slice(
    avals: tuple[Aval, ...], axes: Ints, begin: Ints, sizes: Ints, step: Ints, drop: Ints
) -> tuple[MapOp, dict[str, Any]]:
    fixed = tuple(0 if axis in axes else start for axis, start in enumerate(begin))
    params = {"begin": fixed, "sizes": sizes, "step": step, "drop": drop, "axes": axes}
    return WINDOW, params


def _moved_write(
    avals: tuple[Aval, ...], axes: Ints, begin: Ints, step: Ints, drop: Ints
) -> tuple[MapOp, dict[str, Any]] | None:
    if any(stride != 1 for stride in step) or 0 in avals[1].shape:
        return None
    fixed = tuple(0 if axis in axes else start for axis, start in enumerate(begin))
    sizes = _boxed(avals[1], len(begin), drop)
    whole = _whole(avals[0].shape, sizes, begin, axes)
    params = {"begin": fixed, "step": step, "drop": drop, "axes": axes, "whole": whole}
    return WINDOW_SET, params


extend(SLICE, moved=_moved_slice)
extend(SLICE_SET, moved=_moved_write)
