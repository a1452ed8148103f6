"""Elements at places of the sorted order, and places of elements among sorted edges: the records
that statistics are made of.

Invariant: NaN is the largest number; places are in range and increasing, None stands for all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval
from ...core.shapes import normalize_axes
from ...ir.algorithm import Ranks
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, HostOp, MapOp, register
from ...ir.scalar.program import Builder, Val
from ..axes.reduce import keep_shape
from ..axes.views import permute_dims, reshape
from ..base.common import draw, shapes_of
from ..build.create import arange, zeros_like
from ..elementwise.arithmetic import add, multiply
from ..indexing.along import take_along_axis
from ..indexing.host_sort import order_of
from ..indexing.host_sort import plain as _plain
from ..indexing.index import scatter_add, take
from ..indexing.sort import argsort, sort

Ints = tuple[int, ...]
Tensor = Any


def floating(operand: Any) -> Tensor:
    """A tensor of floats or complex numbers: integers and bools are converted to float32."""
    operand = as_tensor(operand)
    return operand if dt.is_inexact(operand.dtype) else astype(operand, dt.default_float)


def lines(operand: Tensor, axis: Any, what: str) -> tuple[Tensor, Ints]:
    """The tensor with these axes joined to one behind the others, and its shape with each of them
    of size 1."""
    axes = normalize_axes(axis, operand.ndim, what)
    rest = tuple(a for a in range(operand.ndim) if a not in axes)
    if axes != tuple(range(len(rest), operand.ndim)):
        operand = permute_dims(operand, rest + axes)
        kept = _back(operand.shape, rest, axes)
    else:
        kept = keep_shape(operand.shape, axes)
    if len(axes) == 1:
        return operand, kept
    extent = 1
    for size in operand.shape[len(rest) :]:
        extent *= size
    return reshape(operand, (*operand.shape[: len(rest)], extent)), kept


def _back(moved: Ints, rest: Ints, axes: Ints) -> Ints:
    kept = [1] * (len(rest) + len(axes))
    for place, axis in enumerate(rest):
        kept[axis] = moved[place]
    return tuple(kept)


# ---- elements at places of the order
_MANY = 8  # places, from which on sorting is faster


def _elements(operand: np.ndarray, places: Ints) -> np.ndarray:
    return np.take_along_axis(operand, _positions(operand, places), -1)


def _positions(operand: np.ndarray, places: Ints) -> np.ndarray:
    return np.take(order_of(operand, -1), np.array(places, np.intp), -1)


def _sized(operand: Aval, places: Ints) -> Ints:
    return (*operand.shape[:-1], len(places))


def _elements_vjp(gradient: Tensor, out: Tensor, operand: Tensor, places: Ints) -> tuple[Tensor]:
    positions = bind(POSITIONS, operand, places=places)
    count, chosen = operand.shape[-1], positions.shape[-1]
    rows = operand.size // max(count, 1)
    first = reshape(multiply(arange(rows, device=operand.device), count), (rows, 1))
    numbers = reshape(add(reshape(positions, (rows, chosen)), first), (rows * chosen,))
    spread = scatter_add(numbers, reshape(gradient, (gradient.size, 1)), operand.size)
    return (reshape(spread, operand.shape),)


_PLACES: Any = [
    ((7,), {"places": (3,)}),
    ((3, 8), {"places": (0, 3, 7)}),
    ((2, 2, 9), {"places": (0, 1, 2, 3, 4, 5, 6, 7, 8)}),
    ((300, 70), {"places": (0, 35, 69)}),
    ((2, 700), {"places": (0, 350)}),
]
ELEMENTS = register(
    HostOp(
        "elements_at_ranks",
        1,
        lambda operand, places: (operand.with_(_sized(operand, places)),),
        body=_elements,
        algorithm=partial(Ranks, positions=False),
        params=("places",),
        vjp=_elements_vjp,
        facts=frozenset(["total"]),
        reference=lambda operand, places: np.sort(_plain(operand), -1)[..., list(places)],
        ulp=0.0,
        samples=shapes_of(_PLACES),
        doc="The elements at some places of the sorted order along the last axis.",
    )
)
POSITIONS = register(
    HostOp(
        "positions_at_ranks",
        1,
        lambda operand, places: (operand.with_(_sized(operand, places), dt.int64),),
        body=_positions,
        algorithm=partial(Ranks, positions=True),
        params=("places",),
        vjp=NO_GRAD,
        facts=frozenset(["total"]),
        reference=_positions,
        ulp=0.0,
        samples=shapes_of(_PLACES),
        doc="Positions of the elements at some places of the order along the last axis.",
    )
)


def elements_at(operand: Tensor, places: Ints | None) -> Tensor:
    """The elements at these places of the sorted order along the last axis (None: all)."""
    axis = operand.ndim - 1
    if places is None:
        return sort(operand, axis)
    wanted = tuple(sorted(set(places)))
    if len(wanted) > _MANY:
        return take(sort(operand, axis), list(places), axis)
    if operand.device is HOST:
        found = bind(ELEMENTS, operand, places=wanted)
    else:  # a card sorts by itself
        order = take(argsort(operand, axis), list(wanted), axis)
        found = take_along_axis(operand, order, axis)
    if wanted == places:
        return found
    return take(found, [wanted.index(place) for place in places], axis)


# ---- places among sorted edges
def _before(algebra: Builder, edge: Val, operand: Val, right: bool) -> Val:
    """Whether an edge lies before the element, NaN being the largest."""
    if edge.type not in ("f32", "f64"):
        return edge <= operand if right else edge < operand
    if right:
        return algebra.select(operand == operand, edge <= operand, operand != operand)
    return (edge < operand) | ((operand != operand) & (edge == edge))


def _bucket_body(algebra: Builder, edges: Any, operand: Val, *, right: bool, closed: bool) -> Val:
    """A search by halves that takes the same steps for every element."""
    (count,) = edges.shape
    place = algebra.const("i64", 0)
    for power in reversed(range(count.bit_length())):
        probe = place + (1 << power)
        edge = edges.at_coords(algebra.min(probe, count) - 1)
        before = _before(algebra, edge, operand, right)
        place = algebra.select((probe <= count) & before, probe, place)
    if closed:
        highest = edges.at_coords(algebra.const("i64", count - 1))
        place = algebra.select(operand == highest, count - 1, place)
    return place


def _bucket_reference(
    edges: np.ndarray, operand: np.ndarray, right: bool, closed: bool
) -> np.ndarray:
    edges, operand = _plain(edges), _plain(operand)
    found = np.asarray(np.searchsorted(edges, operand, side="right" if right else "left"))
    return np.where(closed & (operand == edges[-1]), edges.size - 1, found).astype(np.int64)


def _bucket_samples(rng: np.random.Generator) -> Any:
    for count, right in ((9, False), (16, True), (1, True)):
        yield [np.sort(draw(rng, count)), draw(rng, 3, 5)], {"right": right, "closed": False}
    for right, closed in ((False, False), (True, True)):
        edges, found = np.array([-1.0, 0.0, 0.0, 2.0]), np.array([0.0, 2.0, 5.0])
        yield [edges, found], {"right": right, "closed": closed}


BUCKET = register(
    MapOp(
        "bucket",
        2,
        lambda edges, operand, right, closed: (operand.with_(dtype=dt.int64),),
        body=_bucket_body,
        params=("right", "closed"),
        gathers=(0,),
        vjp=NO_GRAD,
        reference=_bucket_reference,
        samples=_bucket_samples,
        ulp=0.0,
        doc="How many of the sorted edges are less than each element (right: or equal to it, the "
        "last one not where closed).",
    )
)


def bucket(edges: Any, operand: Any, right: bool, closed: bool = False) -> Tensor:
    """How many of the sorted edges lie before each element; integers beside floats are compared in
    float64."""
    edges, operand = operands(edges, operand, compares=True)
    if not edges.size:
        return zeros_like(operand, dtype=dt.int64)
    mixed = dt.signs_differ(edges.dtype, operand.dtype)
    common = dt.float64 if mixed else dt.promote(edges.dtype, operand.dtype)
    if dt.is_float(edges.dtype) != dt.is_float(operand.dtype):
        common = dt.float64
    elif common is dt.bool_:
        common = dt.default_int
    return bind(BUCKET, astype(edges, common), astype(operand, common), right=right, closed=closed)
