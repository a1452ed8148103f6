"""The records of pooling over any number of spatial axes: maxima and sums over windows, and their
gradients.

Invariant: windows are walked in row-major order; the maximum is the first one (a NaN wins), sums
are added in that order.  One gather forward and one backward, padding too.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...ir.door.bind import bind
from ...ir.door.bind import convert as astype
from ...ir.op import MapOp, Op, register
from ...ir.scalar.program import TYPE, Builder, Val
from ..axes.views import reshape
from ..base.common import draw, wide
from ..indexing.along import ALONG
from .pool_windows import (
    Ints,
    at,
    both,
    covering,
    index_type,
    numbered,
    numpy_windows,
    pooled,
    window_values,
)

__all__ = ["MAX_POOL", "MAX_GRAD", "SUM_POOL", "SUM_POOL_GRAD"]

Tensor = Any
PARAMS = ("kernel", "stride", "padding", "dilation")


# ---- maximum
def _named(kind: str, window: dict[str, Ints]) -> str:
    """The public function of this many axes, for errors."""
    return f"{kind}_pool{len(window['kernel'])}d"


def _max_infer(operand: Aval, **window: Ints) -> tuple[Aval, ...]:
    shape = pooled(_named("max", window), operand.shape, **window)
    return operand.with_(shape), operand.with_(
        shape, dt.int32 if prod(operand.shape[2:]) < 2**31 else dt.int64
    )


def _max_body(algebra: Builder, operand: Any, **window: Ints) -> tuple[Val, Val]:
    place = TYPE[dt.int32 if prod(operand.shape[2:]) < 2**31 else dt.int64]
    best: Any = None
    where: Any = None
    seen: Any = None
    for element, inside, positions in window_values(algebra, operand, **window):
        element = element if inside is None else algebra.select(inside, element, float("-inf"))
        if best is None:
            best, where, seen = element, positions, inside
            continue
        better = (element > best) | ((element != element) & (best == best))
        if inside is not None and max(window["dilation"]) > 1:
            # places of padding may lie between those of the window: take the first one inside
            better = better | algebra.select(seen, False, inside)
            seen = seen | inside
        best, where = (
            algebra.select(better, element, best),
            algebra.select(better, positions, where),
        )
    return best, algebra.convert(where, place)


def _max_reference(operand: np.ndarray, **window: Ints) -> tuple[np.ndarray, np.ndarray]:
    windows = numpy_windows(wide(operand), -np.inf, **window)
    positions = np.broadcast_to(
        np.arange(prod(operand.shape[2:])).reshape(operand.shape[2:]), operand.shape
    )
    sources = numpy_windows(positions, 0, **window)
    best = windows.argmax(-1)[..., None]
    found = (np.take_along_axis(each, best, -1)[..., 0] for each in (windows, sources))
    maxima, places = found
    return maxima, places


def _max_vjp(
    gradients: tuple[Any, Any], outs: tuple[Any, Any], operand: Tensor, **window: Ints
) -> tuple[Any]:
    return (
        None
        if gradients[0] is None
        else bind(MAX_GRAD, gradients[0], outs[1], shape=operand.shape, **window),
    )


def _cases(channels: int = 2) -> list[tuple[Ints, dict[str, Ints]]]:
    """Images and windows of two, three and one spatial axes."""
    rows = [
        ((4, 6), (2, 2), (2, 2), (0, 0), (1, 1)),
        ((5, 7), (3, 2), (2, 3), (1, 1), (1, 1)),
        ((4, 3, 5), (2, 3, 2), (2, 1, 3), (1, 0, 1), (1, 1, 1)),
        ((6, 6), (2, 2), (1, 1), (0, 0), (2, 1)),
        ((3, 3), (3, 3), (3, 3), (1, 1), (1, 1)),
        ((4, 2, 5), (2, 1, 2), (1, 2, 1), (1, 0, 0), (2, 1, 2)),
        ((2, 4, 6), (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
        ((7,), (3,), (2,), (1,), (1,)),
    ]
    names = ("kernel", "stride", "padding", "dilation")
    return [((2, channels, *extents), dict(zip(names, window))) for extents, *window in rows]


MAX_POOL = register(
    MapOp(
        "max_pool",
        1,
        _max_infer,
        body=_max_body,
        gathers=(0,),
        params=PARAMS,
        nout=2,
        vjp=_max_vjp,
        accepts="f",
        reference=_max_reference,
        ulp=0.0,
        facts=frozenset(["optional_grads"]),
        keeps=frozenset(["out"]),
        samples=lambda rng: (([draw(rng, *s)], p) for s, p in _cases()),
        doc="Maxima over windows, and where they are (numbers in an image).",
    )
)


def _max_grad_body(
    algebra: Builder, gradient: Any, position: Any, *, shape: Ints, **window: Ints
) -> Val:
    type_name = index_type(shape, gradient.shape)
    image, channel, *place_of = (
        algebra.convert(algebra.coord(a), type_name) for a in range(len(shape))
    )
    own = numbered(place_of, shape[2:])
    total: Any = None
    for cover in covering(algebra, shape, gradient.shape, type_name, **window):
        place = at(algebra, position, type_name, image, channel, cover)
        mine = algebra.convert(place, type_name) == own
        # without gaps only windows that cover an element name it
        checks = (cover.exists, cover.covers if max(window["dilation"]) > 1 else None)
        for check in checks:
            mine = mine if check is None else mine & check
        element = at(algebra, gradient, type_name, image, channel, cover)
        part = algebra.select(mine, element, 0.0)
        total = part if total is None else total + part
    result: Val = total
    return result


def _max_grad_reference(
    gradient: np.ndarray, position: np.ndarray, *, shape: Ints, **window: Ints
) -> np.ndarray:
    result = np.zeros((prod(shape[:2]), prod(shape[2:])), wide(gradient).dtype)
    rows = np.arange(result.shape[0])[:, None]
    np.add.at(
        result,
        (rows, position.reshape(result.shape[0], -1)),
        wide(gradient).reshape(result.shape[0], -1),
    )
    return result.reshape(shape)


def _max_grad_samples(rng: np.random.Generator) -> Any:
    for shape, window in _cases():
        positions = _max_reference(draw(rng, *shape), **window)[1]
        yield [draw(rng, *positions.shape), positions], {"shape": shape, **window}


def _max_grad_vjp(
    outer: Tensor, out: Tensor, gradient: Tensor, position: Tensor, shape: Ints, **window: Ints
) -> tuple[Any, None]:
    flat = reshape(outer, shape[:2] + (prod(shape[2:]),))
    places = astype(reshape(position, position.shape[:2] + (prod(position.shape[2:]),)), dt.int64)
    return reshape(bind(ALONG, flat, places, axis=2), position.shape), None


MAX_GRAD = register(
    MapOp(
        "max_pool_grad",
        2,
        lambda gradient, position, shape, **window: (gradient.with_(shape),),
        body=_max_grad_body,
        gathers=(0, 1),
        params=("shape", *PARAMS),
        vjp=_max_grad_vjp,
        accepts="f",
        reference=_max_grad_reference,
        ulp=4.0,
        samples=_max_grad_samples,
        keeps=frozenset("1"),
        doc="Gradient of max_pool from the places of the maxima.",
    )
)


# ---- sums
def _sum_body(algebra: Builder, operand: Any, **window: Ints) -> Val:
    total: Any = None
    for element, inside, _ in window_values(algebra, operand, **window):
        element = element if inside is None else algebra.select(inside, element, 0.0)
        total = element if total is None else total + element
    result: Val = total
    return result


def _sum_grad_body(algebra: Builder, gradient: Any, *, shape: Ints, **window: Ints) -> Val:
    type_name = index_type(shape, gradient.shape)
    image, channel = (
        algebra.convert(algebra.coord(0), type_name),
        algebra.convert(algebra.coord(1), type_name),
    )
    total: Any = None
    for cover in covering(algebra, shape, gradient.shape, type_name, **window):
        element = at(algebra, gradient, type_name, image, channel, cover)
        inside = both(cover.exists, cover.covers)
        element = element if inside is None else algebra.select(inside, element, 0.0)
        total = element if total is None else total + element
    result: Val = total
    return result


def _sum_grad_reference(gradient: np.ndarray, *, shape: Ints, **window: Ints) -> np.ndarray:
    padded = tuple(n + 2 * q for n, q in zip(shape[2:], window["padding"]))
    result = np.zeros(shape[:2] + padded, wide(gradient).dtype)
    for taps in product(*map(range, window["kernel"])):
        places = [
            slice(tap * gap, tap * gap + (count - 1) * step + 1, step)
            for tap, gap, count, step in zip(
                taps, window["dilation"], gradient.shape[2:], window["stride"]
            )
        ]
        result[(slice(None), slice(None), *places)] += wide(gradient)
    inner = [slice(q, q + n) for q, n in zip(window["padding"], shape[2:])]
    return result[(slice(None), slice(None), *inner)]


SUM_POOL = register(
    MapOp(
        "sum_pool",
        1,
        lambda operand, **window: (
            operand.with_(pooled(_named("avg", window), operand.shape, **window)),
        ),
        body=_sum_body,
        gathers=(0,),
        params=PARAMS,
        vjp=lambda gradient, out, operand, **window: (
            bind(SUM_POOL_GRAD, gradient, shape=operand.shape, **window),
        ),
        accepts="f",
        keeps=frozenset(["shape"]),
        reference=lambda operand, **window: numpy_windows(wide(operand), 0, **window).sum(-1),
        ulp=8.0,
        samples=lambda rng: (([draw(rng, *s, low=0.5, high=1.5)], p) for s, p in _cases()),
        doc="Sums over windows.",
    )
)
SUM_POOL_GRAD: Op = register(
    MapOp(
        "sum_pool_grad",
        1,
        lambda gradient, shape, **window: (gradient.with_(shape),),
        body=_sum_grad_body,
        gathers=(0,),
        params=("shape", *PARAMS),
        vjp=lambda outer, out, gradient, shape, **window: (bind(SUM_POOL, outer, **window),),
        accepts="f",
        keeps=frozenset(["shape"]),
        reference=_sum_grad_reference,
        ulp=8.0,
        samples=lambda rng: (
            ([draw(rng, *pooled("", s, **p), low=0.5, high=1.5)], {"shape": s, **p})
            for s, p in _cases()
        ),
        doc="The adjoint of sum_pool.",
    )
)
