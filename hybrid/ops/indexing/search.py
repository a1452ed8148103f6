"""Positions of values in a sorted row.

Invariant: values and the row are compared in NumPy's common dtype, NaN as the largest number; a
search takes as many steps as any position needs, so it is a loop over elements that fuses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import DTypeError, ShapeError
from ...ir.door.bind import as_tensor, bind, operands
from ...ir.op import NO_GRAD, MapOp, register
from ...ir.scalar.program import TYPE, Builder, ScalarType, Val
from ..base.surface import public
from .along import take_along_axis
from .host_sort import plain
from .index import index_check

Tensor = Any

_HELD = {kind: dtype for dtype, kind in TYPE.items() if not dt.is_half(dtype)}


def _search_body(algebra: Builder, edges: Any, operand: Val, right: bool) -> Val:
    """By halves, in as many steps as any position needs: NaN is the largest number."""
    count, position = edges.shape[0], algebra.const("i64", 0)
    held = dt.compute_type(edges.dtype), _HELD[operand.type]
    common: ScalarType = TYPE[dt.canonical(np.result_type(*held))]
    common = "u8" if common == "b1" else common
    wanted = algebra.convert(operand, common)
    for bit in reversed(range(count.bit_length())):
        further = position + (1 << bit)
        value = algebra.convert(edges.at(algebra.min_(further, count) - 1), common)
        ahead = ~_less(wanted, value) if right else _less(value, wanted)
        position = algebra.select((further <= count) & ahead, further, position)
    return position


def _less(left: Val, right: Val) -> Val:
    if left.type not in ("f32", "f64"):
        return left < right
    return (left < right) | ((left == left) & (right != right))


def _search(edges: np.ndarray, operand: np.ndarray, right: bool) -> np.ndarray:
    common = np.result_type(plain(edges), plain(operand))
    return np.searchsorted(
        edges.astype(common), operand.astype(common), side="right" if right else "left"
    ).astype(np.int64)


def _search_samples(rng: np.random.Generator) -> Any:
    yield [np.sort(rng.normal(size=9)), rng.normal(size=(3, 4))], {"right": False}
    yield [np.arange(4.0), np.array([1.0, 4.0, -1.0])], {"right": True}


SEARCH = register(
    MapOp(
        "searchsorted",
        2,
        lambda edges, operand, right: (operand.with_(dtype=dt.int64),),
        body=_search_body,
        result="int",
        gathers=(0,),
        params=("right",),
        vjp=NO_GRAD,
        reference=_search,
        samples=_search_samples,
        ulp=0.0,
        doc="Where each element would be inserted in a sorted row.",
    )
)


def _by(edges: Tensor, sorter: Any) -> Tensor:
    """The edges in the order of `sorter`."""
    permutation = as_tensor(sorter, edges.device)
    if not dt.is_int(permutation.dtype) and permutation.size:
        raise DTypeError(
            "searchsorted: sorter holds positions, which are integers, not "
            f"{permutation.dtype.name}"
        )
    if permutation.shape != edges.shape:
        raise ShapeError(
            f"searchsorted: sorter of shape {permutation.shape} for edges of shape {edges.shape}; "
            "it is the order of all of them, as argsort gives it"
        )
    return take_along_axis(edges, index_check(permutation, edges.shape[0], 0, wrap=False), 0)


@public(method=True)
def searchsorted(
    edges: Tensor, x: Any, /, side: str = "left", sorter: Tensor | None = None
) -> Tensor:
    """Positions (int64) at which elements of x keep the one-dimensional `edges` sorted.

    side 'left' puts an equal element before, 'right' behind.  `sorter` is the order of edges that
    are not sorted, as `argsort` gives it.  ShapeError for edges of more dimensions and for a sorter
    of another shape, DTypeError for one that holds no integers.

    >>> edges = hybrid.tensor([1.0, 2.0, 4.0])
    >>> hybrid.searchsorted(edges, hybrid.tensor([0.5, 2.0, 9.0]))
    tensor([0, 1, 3])
    >>> hybrid.searchsorted(edges, hybrid.tensor([0.5, 2.0, 9.0]), side="right")
    tensor([0, 2, 3])
    """
    edges, x = operands(edges, x, compares=True)
    if edges.ndim != 1 or side not in ("left", "right"):
        raise ShapeError(
            "searchsorted takes a one-dimensional sorted tensor and side 'left' or 'right'"
        )
    if sorter is not None:
        edges = _by(edges, sorter)
    return bind(SEARCH, edges, x, right=side == "right")
