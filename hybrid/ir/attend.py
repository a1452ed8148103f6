"""Attention as data: what a record of kind 'attend' reads and writes, as strided index spaces.

Its `layout(avals, strides, offsets, **params)` (inputs, then outputs) is one of the functions below
and returns an Attend; backends read nothing else.  Invariant: the order of every sum depends on
logical shapes only (ops/attend.py defines it); strides and offsets count elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..core.aval import Aval
from ..core.errors import ShapeError
from ..core.shapes import broadcast_shapes, broadcast_strides, collapse

__all__ = [
    "TILE",
    "BLOCK",
    "Place",
    "Attend",
    "attention_shapes",
    "attention_layout",
    "attention_grad_layout",
]

TILE = 32  # queries and keys in this many decide what the causal mask leaves out
BLOCK = 256  # queries and keys of one chain

Ints = tuple[int, ...]


class Place(NamedTuple):
    """Operand number `operand`: element (batch coordinates, row, column) is at offset + sum(i *
    stride); a vector has one value per row and no stride for columns."""

    operand: int
    offset: int
    strides: Ints


class Attend(NamedTuple):
    """softmax(q[m, e] @ k[n, e].T * scale + mask) @ v[n, f] for every position of `batch`, or its
    gradients.

    `reads`: q, k, v, then mask and factor [m, n] (None: absent), then for gradients g[m, f] and the
    vectors peak, total, delta [m].  `writes`: out, peak and total, or dq, dk and dv.
    """

    backward: bool
    batch: Ints
    m: int
    n: int
    e: int
    f: int
    scale: float
    causal: bool
    reads: tuple[Place | None, ...]
    writes: tuple[Place, ...]


def attention_shapes(q: Ints, k: Ints, v: Ints, *pairs: Ints) -> tuple[Ints, int, int, int, int]:
    """(batch, m, n, e, f) of query, key, value and what broadcasts to [..., m, n].

    >>> attention_shapes((2, 1, 5, 8), (3, 7, 8), (3, 7, 4), (7,))
    ((2, 3), 5, 7, 8, 4)
    """
    if min(len(q), len(k), len(v)) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
        raise ShapeError(
            f"attention: query {q}, key {k} and value {v} do not fit; they are [..., queries, "
            "features], [..., keys, features] and [..., keys, values]"
        )
    m, n = q[-2], k[-2]
    for p in pairs:
        if any(have not in (1, want) for have, want in zip(p[::-1], (n, m))):
            raise ShapeError(
                f"attention: a mask of shape {p} does not broadcast to [..., {m}, {n}]"
            )
    batch = broadcast_shapes("attention", q[:-2], k[:-2], v[:-2], *[p[:-2] for p in pairs])
    return batch, m, n, q[-1], v[-1]


class _Walks:
    """Operands on their way to places: batch axes broadcast and merged."""

    def __init__(self, batch: Ints, offsets: Sequence[int]) -> None:
        self.batch, self.offsets = batch, offsets
        self.inner: dict[int, Ints] = {}
        self.outer: dict[int, Ints] = {}

    def add(self, i: int, shape: Ints, strides: Ints, inner: Ints) -> None:
        """Operand i; its last axes broadcast to `inner`."""
        k = len(inner)
        shape, strides = (1,) * (k - len(shape)) + shape, (0,) * (k - len(strides)) + strides
        cut = len(shape) - k
        self.inner[i] = broadcast_strides(shape[cut:], strides[cut:], inner)
        self.outer[i] = broadcast_strides(shape[:cut], strides[:cut], self.batch)

    def places(self) -> tuple[Ints, dict[int, Place]]:
        sizes, outer = collapse(self.batch, list(self.outer.values()))
        return sizes, {
            i: Place(i, self.offsets[i], o + self.inner[i]) for i, o in zip(self.outer, outer)
        }


def _optional(first: int, count: int, masked: bool) -> tuple[int | None, int | None]:
    """Numbers of the mask and of the factor when inputs from `first` on are optional."""
    mask = first if masked else None
    factor = first + masked
    return mask, factor if factor < count else None


def attention_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int],
    *,
    scale: float,
    causal: bool,
    masked: bool,
) -> Attend:
    """(q, k, v, [mask], [factor]) -> (out, peak, total)."""
    shapes, ins = [a.shape for a in avals], len(avals) - 3
    batch, m, n, e, f = attention_shapes(*shapes[:ins])
    walks = _Walks(batch, offsets)
    inner = [(m, e), (n, e), (n, f), *[(m, n)] * (ins - 3), (m, f), (m,), (m,)]
    for i, want in enumerate(inner):
        walks.add(i, shapes[i], tuple(strides[i]), want)
    sizes, at = walks.places()
    extra = [None if i is None else at[i] for i in _optional(3, ins, masked)]
    return Attend(
        False,
        sizes,
        m,
        n,
        e,
        f,
        scale,
        causal,
        (at[0], at[1], at[2], *extra),
        (at[ins], at[ins + 1], at[ins + 2]),
    )


def attention_grad_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int],
    *,
    scale: float,
    causal: bool,
    masked: bool,
) -> Attend:
    """(g, q, k, v, peak, total, delta, [mask], [factor]) -> (dq, dk, dv)."""
    shapes, ins = [a.shape for a in avals], len(avals) - 3
    batch, m, n, e, f = attention_shapes(*shapes[1:4], *shapes[7:ins])
    walks = _Walks(batch, offsets)
    inner = [(m, f), (m, e), (n, e), (n, f), (m,), (m,), (m,), *[(m, n)] * (ins - 7)]
    for i, want in enumerate([*inner, (m, e), (n, e), (n, f)]):
        walks.add(i, shapes[i], tuple(strides[i]), want)
    sizes, at = walks.places()
    extra = [None if i is None else at[i] for i in _optional(7, ins, masked)]
    return Attend(
        True,
        sizes,
        m,
        n,
        e,
        f,
        scale,
        causal,
        (at[1], at[2], at[3], *extra, at[0], at[4], at[5], at[6]),
        (at[ins], at[ins + 1], at[ins + 2]),
    )
