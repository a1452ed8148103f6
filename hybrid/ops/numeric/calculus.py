"""Interpolation, finite differences, integrals of samples, phases, cross products.

Invariant: formulas are those of NumPy, made of public functions, so that each has its gradient.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.shapes import broadcast_shapes, normalize_axes, normalize_axis
from ...ir.door.bind import as_tensor, bind, is_complex, operands, store
from ...ir.door.bind import convert as astype
from ...ir.op import MapOp, register
from ...ir.scalar.program import Builder, Val
from ...ir.tensor import Handle
from ..axes.cumulative import cumulative_sum
from ..axes.reduce import sum as sum_
from ..axes.slices import narrow
from ..axes.views import broadcast_to, moveaxis, reshape
from ..base.common import draw, real_only
from ..base.surface import public
from ..build.join import concat, stack
from ..build.pairs import complex_of, parts_of
from ..elementwise.arithmetic import abs, add, divide, multiply, negative, subtract
from ..elementwise.logic import equal, greater, less, less_equal, logical_and
from ..elementwise.rounding import remainder
from ..elementwise.selection import clip, maximum, minimum, where
from ..indexing.index import gather_rows, scatter_add, take
from ..indexing.sort import argsort, diff
from .ranks import bucket, floating

Tensor = Any


# ---- interpolation
def _periodic(x: Tensor, xp: Tensor, fp: Tensor, period: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Positions within one period, the points in order, and the nearest of them on both sides."""
    if period == 0:
        raise ArgumentError("interp: period is 0")
    period = math.fabs(period)
    x, xp = remainder(x, period), remainder(xp, period)
    order = argsort(xp)
    xp, fp = take(xp, order, 0), take(fp, order, 0)
    size = xp.shape[0]
    before, behind = (
        subtract(narrow(xp, 0, size - 1, 1), period),
        add(narrow(xp, 0, 0, 1), period),
    )
    xp = concat([before, xp, behind], 0)
    return x, xp, concat([narrow(fp, 0, size - 1, 1), fp, narrow(fp, 0, 0, 1)], 0)


def _line_body(algebra: Builder, x: Val, found: Val, places: Any, values: Any) -> Val:
    """The line through the points around x, from its left end, or where that is no number from its
    right end; outside, the nearest value."""
    last = places.shape[0] - 1
    left = algebra.min(algebra.max(found - 1, 0), last - 1)
    low, high = places.at_coords(left), places.at_coords(left + 1)
    begin, end = values.at_coords(left), values.at_coords(left + 1)
    slope = (end - begin) / (high - low)
    ahead, back = slope * (x - low) + begin, slope * (x - high) + end
    back = algebra.select((back == back) | (begin != end), back, begin)
    between = algebra.select(ahead == ahead, ahead, back)
    between = algebra.select(x == low, begin, algebra.select(x == high, end, between))
    first, final = (algebra.const("i64", place) for place in (0, last))
    between = algebra.select(x < places.at_coords(first), values.at_coords(first), between)
    between = algebra.select(x > places.at_coords(final), values.at_coords(final), between)
    return algebra.select(x == x, between, x)


def _line_vjp(
    gradient: Tensor, out: Tensor, x: Tensor, found: Tensor, places: Tensor, values: Tensor
) -> tuple[Any, ...]:
    """To both ends of the segment by their distance; a point belongs to the segment behind it."""
    size = places.shape[0]
    left = minimum(maximum(subtract(found, 1), 0), size - 2)
    low, high = gather_rows(places, left), gather_rows(places, add(left, 1))
    rise = subtract(gather_rows(values, add(left, 1)), gather_rows(values, left))
    width = subtract(high, low)
    width = where(equal(width, 0), 1.0, width)
    inside = logical_and(less_equal(low, x), less_equal(x, high))
    share = clip(divide(subtract(x, low), width), 0.0, 1.0)
    by_place = where(inside, multiply(gradient, divide(rise, width)), 0.0)

    def by_ends(amount: Tensor) -> Tensor:
        first, second = multiply(amount, subtract(1.0, share)), multiply(amount, share)
        rows = concat([reshape(t, (t.size, 1)) for t in (first, second)], 0)
        ends = concat([reshape(t, (t.size,)) for t in (left, add(left, 1))], 0)
        return reshape(scatter_add(ends, rows, size), (size,))

    return by_place, None, lambda: negative(by_ends(by_place)), lambda: by_ends(gradient)


def _line_reference(
    x: np.ndarray, found: np.ndarray, places: np.ndarray, values: np.ndarray
) -> np.ndarray:
    x, places, values = (t.astype(np.float64) for t in (x, places, values))
    return np.interp(x, places, values)


def _line_samples(rng: np.random.Generator) -> Any:
    x = np.array([0.5, -9.0, 9.0, 1.3])
    for places in (np.array([-1.0, 2.0]), np.arange(-3.0, 3.0)):
        found = np.searchsorted(places, x, side="right")
        yield [x, found, places, draw(rng, places.size)], {}


LINE = register(
    MapOp(
        "interp",
        4,
        lambda x, found, places, values: (x,),
        body=_line_body,
        gathers=(2, 3),
        vjp=_line_vjp,
        accepts="f",
        reference=_line_reference,
        samples=_line_samples,
        ulp=64.0,
        doc="The line through sorted points, two or more, and how many of them lie up to x.",
    )
)


def _along_segments(x: Tensor, xp: Tensor, fp: Tensor) -> Tensor:
    if xp.shape[0] == 1:
        return broadcast_to(fp, x.shape) if x.ndim else reshape(fp, ())
    return bind(LINE, x, bucket(xp, x, right=True), xp, fp)


def _complex_interp(
    x: Tensor, xp: Tensor, fp: Tensor, ends: tuple[Any, Any], period: Any
) -> Tensor:
    """Both parts of complex values, one by one."""
    fp = fp if dt.is_complex(fp.dtype) else astype(fp, dt.complex_of(floating(fp).dtype))
    parts = [
        [None] * 2 if end is None else parts_of(store(end, fp.dtype, fp.device)) for end in ends
    ]
    found = [
        interp(x, xp, part, parts[0][number], parts[1][number], period)
        for number, part in enumerate(parts_of(fp))
    ]
    return complex_of(*found)


@public
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Tensor:
    """The values at x of the function that is linear between the points (xp, fp), xp increasing.

    Below the first point it is `left` (the first value by default), above the last one `right`.
    With `period` positions wrap, and xp need not be sorted.  The dtype is that of the operands,
    float32 for integers; values may be complex, positions not.  There are gradients for x (at a
    point, that of the segment behind it), xp and fp.  ShapeError for points that are not in one
    dimension.

    >>> hybrid.interp(hybrid.tensor([0.5, 2.0, 9.0]), [0.0, 1.0, 3.0], [0.0, 10.0, 20.0])
    tensor([ 5., 15., 20.])
    """
    x, xp, fp = operands(x, xp, fp, whole=dt.default_float)
    if is_complex((fp, left, right)):
        return _complex_interp(x, xp, fp, (left, right), period)
    real_only("interp", x, xp)
    wanted = dt.promote(dt.promote(x.dtype, xp.dtype), fp.dtype)
    wanted = wanted if dt.is_float(wanted) else dt.default_float
    inner = dt.compute_type(wanted)
    x, xp, fp = (astype(t, inner) for t in (x, xp, fp))
    if xp.ndim != 1 or fp.shape != xp.shape or not xp.shape[0]:
        raise ShapeError(
            f"interp takes points in one dimension, not xp {xp.shape} and fp {fp.shape}"
        )
    if period is not None:
        x, xp, fp = _periodic(x, xp, fp, period)
        return astype(_along_segments(x, xp, fp), wanted)
    found = _along_segments(x, xp, fp)
    if left is not None:
        left = store(left, inner, x.device)
        found = where(less(x, narrow(xp, 0, 0, 1, drop=True)), left, found)
    if right is not None:
        right = store(right, inner, x.device)
        found = where(greater(x, narrow(xp, 0, xp.shape[0] - 1, 1, drop=True)), right, found)
    return astype(found, wanted)


# ---- differences
def _spacings(f: Tensor, given: tuple[Any, ...], axes: tuple[int, ...]) -> list[Any]:
    """For each axis a distance, or the distances between its coordinates."""
    if len(given) not in (0, 1, len(axes)):
        raise ArgumentError(f"gradient: {len(given)} spacings for {len(axes)} axes")
    if len(given) <= 1:
        given = (given[0] if given else 1.0,) * len(axes)
    found: list[Any] = []
    for spacing, axis in zip(given, axes):
        if not isinstance(spacing, Handle) and np.ndim(spacing) == 0:
            found.append(float(spacing))
            continue
        points = as_tensor(spacing, f.device)
        if points.ndim == 0:
            found.append(points)
            continue
        if points.shape != (f.shape[axis],):
            raise ShapeError(
                f"gradient: coordinates of shape {points.shape} for an axis of size {f.shape[axis]}"
            )
        steps = diff(floating(points) if not dt.is_float(points.dtype) else points)
        found.append(reshape(steps, tuple(-1 if a == axis else 1 for a in range(f.ndim))))
    return found


def _one_gradient(f: Tensor, axis: int, steps: Any, order: int) -> Tensor:
    """Central differences inside, one-sided ones of the first or second order at the ends."""
    size = f.shape[axis]
    even = not getattr(steps, "ndim", 0)

    def at(begin: int, count: int = 1) -> Tensor:
        return narrow(f, axis, begin % size, count)

    def step(begin: int, count: int = 1) -> Tensor:
        return steps if even else narrow(steps, axis, begin % (size - 1), count)

    if even:
        inside = divide(subtract(at(2, size - 2), at(0, size - 2)), steps * 2.0)
    else:
        inside = _weighted(
            _inner_weights(step(0, size - 2), step(1, size - 2)),
            [at(begin, size - 2) for begin in range(3)],
        )
    if order == 1:
        first = divide(subtract(at(1), at(0)), step(0))
        last = divide(subtract(at(-1), at(-2)), step(-1))
    else:
        near = _end_weights(step(0), step(1))
        far = [-weight for weight in _end_weights(step(-1), step(-2))]
        first = _weighted(near, [at(0), at(1), at(2)])
        last = _weighted(far, [at(-1), at(-2), at(-3)])
    return concat([first, inside, last], axis)


def _weighted(weights: list[Tensor], values: list[Tensor]) -> Tensor:
    first, second, third = (multiply(w, v) for w, v in zip(weights, values))
    return add(add(first, second), third)


def _inner_weights(before: Tensor, behind: Tensor) -> list[Tensor]:
    """Weights of three neighbours at unequal distances, exact for parabolas."""
    both = before + behind
    return [
        -behind / (before * both),
        (behind - before) / (before * behind),
        before / (behind * both),
    ]


def _end_weights(near: Any, far: Any) -> list[Any]:
    """Weights of an end and its two neighbours, exact for parabolas; numbers of numbers."""
    both = near + far
    return [-(near + both) / (near * both), both / (near * far), -near / (far * both)]


@public
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """The slopes of samples along axes: central differences inside, one-sided ones of the first or
    second order (`edge_order`) at the ends.

    varargs: the distance of samples for all axes, or for each axis a distance or coordinates.  One
    tensor for one axis, a tuple for several (all by default).  Integers give float32.  ShapeError
    for an axis with fewer than edge_order + 1 samples, or coordinates that do not fit.

    >>> hybrid.gradient(hybrid.tensor([1.0, 2.0, 4.0, 7.0]))
    tensor([1. , 1.5, 2.5, 3. ])
    >>> hybrid.gradient(hybrid.tensor([1.0, 2.0, 4.0]), [0.0, 1.0, 3.0])
    tensor([1., 1., 1.])
    """
    f = floating(f)
    if axis is None:
        axis = tuple(range(f.ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    along = tuple(normalize_axis(one, f.ndim, "gradient") for one in axes)
    normalize_axes(along, f.ndim, "gradient")  # none repeats
    if edge_order not in (1, 2):
        raise ArgumentError(f"gradient: edge_order is {edge_order}; it has to be 1 or 2")
    spacings = _spacings(f, varargs, along)
    found = []
    for one, steps in zip(along, spacings):
        if f.shape[one] < edge_order + 1:
            raise ShapeError(
                f"gradient: axis {one} has size {f.shape[one]}; edge_order {edge_order} takes at "
                f"least {edge_order + 1}"
            )
        found.append(astype(_one_gradient(f, one, steps, edge_order), f.dtype))
    return found[0] if len(found) == 1 else tuple(found)


@public
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    """Differences of neighbours in the flattened tensor, between to_begin and to_end.

    >>> hybrid.ediff1d(hybrid.tensor([1, 2, 4, 7]), to_begin=-99, to_end=[88, 99])
    tensor([-99,   1,   2,   3,  88,  99])
    """
    x = as_tensor(ary)
    if x.dtype is dt.bool_:
        raise DTypeError("ediff1d: truth values have no difference; convert with .astype")
    found = diff(reshape(x, (x.size,)))
    parts = []
    for name, given in (("to_begin", to_begin), (None, found), ("to_end", to_end)):
        if given is None:
            continue
        part = operands(found, given)[1]
        if name and dt.promote(part.dtype, x.dtype) is not x.dtype and not dt.is_float(x.dtype):
            raise DTypeError(f"ediff1d: {name} of {part.dtype.name} beside {x.dtype.name}")
        parts.append(astype(reshape(part, (part.size,)), x.dtype))
    return concat(parts, 0) if len(parts) > 1 else found


# ---- integrals
@public
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """The integral of samples along an axis by the trapezoidal rule; x holds their places, or dx
    their distance.

    Integers give float32.  ShapeError for places that do not fit.

    >>> hybrid.trapezoid(hybrid.tensor([1.0, 2.0, 3.0])), hybrid.trapezoid([1.0, 2.0], x=[4.0, 8.0])
    (tensor(4.), tensor(6.))
    """
    values = floating(y)
    along = normalize_axis(axis, values.ndim, "trapezoid")
    size = max(values.shape[along] - 1, 0)
    steps = dx
    if x is not None:
        places = operands(values, x)[1]
        if places.ndim == 1:
            steps = diff(places)
            if steps.shape[0] != size:
                raise ShapeError(f"trapezoid: {places.shape[0]} places for {size + 1} samples")
            steps = reshape(steps, tuple(-1 if a == along else 1 for a in range(values.ndim)))
        else:
            steps = diff(places, axis=along)
    behind = narrow(values, along, min(1, values.shape[along]), size)
    pairs = add(behind, narrow(values, along, 0, size))
    return sum_(divide(multiply(pairs, steps), 2.0), along)


# ---- phases
@public
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Tensor:
    """Phases along an axis, with periods added where neighbours differ by more than `discont` (half
    a period by default).

    Integers with an integer period stay integers.

    >>> hybrid.unwrap(hybrid.tensor([0.0, 3.0, 6.0, 1.0, 4.0]), period=8)
    tensor([ 0.,  3.,  6.,  9., 12.])
    """
    x = as_tensor(p)
    real_only("unwrap", x)
    whole = dt.is_int(x.dtype) and hasattr(period, "__index__")
    x = x if whole else floating(x)
    along = normalize_axis(axis, x.ndim, "unwrap")
    discont = period / 2 if discont is None else discont
    high, odd = divmod(operator.index(period), 2) if whole else (period / 2, 0)
    steps = diff(x, axis=along)
    inside = subtract(remainder(add(steps, high), period), high)
    if not odd:
        upwards = logical_and(equal(inside, -high), greater(steps, 0))
        inside = where(upwards, high, inside)
    jumps = where(less(abs(steps), discont), 0, subtract(inside, steps))
    first = narrow(x, along, 0, min(1, x.shape[along]))
    rest = narrow(x, along, min(1, x.shape[along]), max(x.shape[along] - 1, 0))
    return concat([first, astype(add(rest, cumulative_sum(jumps, axis=along)), x.dtype)], along)


# ---- cross products
def _parts(x: Tensor, axis: int) -> list[Tensor]:
    return [narrow(x, axis, place, 1, drop=True) for place in range(x.shape[axis])]


@public
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Tensor:
    """Cross products of vectors along the axes axisa and axisb, or `axis` for all; those of the
    result lie along axisc.

    Vectors have size 3, or 2, whose third component is 0; of two such it is the whole result.  The
    other axes broadcast.  ShapeError for vectors of other sizes.

    >>> hybrid.cross(hybrid.tensor([1, 0, 0]), hybrid.tensor([0, 1, 0]))
    tensor([0, 0, 1])
    """
    a, b = operands(a, b)
    if axis is not None:
        axisa = axisb = axisc = axis
    if not a.ndim or not b.ndim:
        raise ShapeError("cross takes at least one dimension")
    first = _parts(a, normalize_axis(axisa, a.ndim, "cross"))
    second = _parts(b, normalize_axis(axisb, b.ndim, "cross"))
    sizes = len(first), len(second)
    if not {*sizes} <= {2, 3}:
        raise ShapeError(f"cross takes vectors of size 2 or 3, not {sizes[0]} and {sizes[1]}")
    last = subtract(multiply(first[0], second[1]), multiply(first[1], second[0]))
    if sizes == (2, 2):
        return last
    if sizes == (3, 3):
        across = subtract(multiply(first[1], second[2]), multiply(first[2], second[1]))
        along = subtract(multiply(first[2], second[0]), multiply(first[0], second[2]))
    elif sizes == (3, 2):
        across, along = negative(multiply(first[2], second[1])), multiply(first[2], second[0])
    else:
        across, along = multiply(first[1], second[2]), negative(multiply(first[0], second[2]))
    return moveaxis(stack([across, along, last], -1), -1, normalize_axis(axisc, last.ndim + 1))


@public(hybrid=False, linalg="cross")
def cross_of_three(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """Cross products of vectors of size 3 along an axis (array API); other axes broadcast.

    ShapeError for vectors of another size.

    >>> hybrid.linalg.cross(hybrid.tensor([0.0, 0.0, 1.0]), hybrid.tensor([1.0, 0.0, 0.0]))
    tensor([0., 1., 0.])
    """
    left, right = operands(x1, x2)
    for x in (left, right):
        if x.shape[normalize_axis(axis, x.ndim, "linalg.cross")] != 3:
            raise ShapeError(f"linalg.cross takes vectors of size 3, not shape {x.shape}")
    shape = broadcast_shapes("linalg.cross", left.shape, right.shape)
    return cross(broadcast_to(left, shape), broadcast_to(right, shape), axis=axis)
