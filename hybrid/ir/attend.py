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
    "AttendOperand",
    "Attend",
    "attention_shapes",
    "attention_layout",
    "attention_grad_layout",
]

TILE = 32  # queries and keys in this many decide what the causal mask leaves out
BLOCK = 256  # queries and keys of one chain

Ints = tuple[int, ...]


class AttendOperand(NamedTuple):
    """Operand number `operand`: element (batch coordinates, row, column) is at offset + sum(i *
    stride); a vector has one value per row and no stride for columns."""

    operand: int
    offset: int
    strides: Ints


class Attend(NamedTuple):
    """softmax(q[m, e] @ k[n, e].T * scale + mask) @ v[n, f] for every position of `batch`, or its
    gradients.

    `reads`: q, k, v, then mask and factor [m, n] (None: absent), then for gradients g[m, f] and the
    vectors peak, total, delta [m].  `writes`: out, peak and total, or dq, dk and dv.  `narrow`: the
    name of the half type that all operands are values of, or nothing.
    """

    backward: bool
    batch: Ints
    m: int
    n: int
    e: int
    f: int
    scale: float
    causal: bool
    reads: tuple[AttendOperand | None, ...]
    writes: tuple[AttendOperand, ...]
    narrow: str = ""


def attention_shapes(
    query: Ints, key: Ints, value: Ints, *pairs: Ints
) -> tuple[Ints, int, int, int, int]:
    """(batch, m, n, e, f) of query, key, value and what broadcasts to [..., m, n].

    >>> attention_shapes((2, 1, 5, 8), (3, 7, 8), (3, 7, 4), (7,))
    ((2, 3), 5, 7, 8, 4)
    """
    if min(len(query), len(key), len(value)) < 2 or query[-1] != key[-1] or key[-2] != value[-2]:
        raise ShapeError(
            f"attention: query {query}, key {key} and value {value} do not fit; they are "
            "[..., queries, features], [..., keys, features] and [..., keys, values]"
        )
    m, n = query[-2], key[-2]
    for pair in pairs:
        if any(have not in (1, want) for have, want in zip(pair[::-1], (n, m))):
            raise ShapeError(
                f"attention: a mask of shape {pair} does not broadcast to [..., {m}, {n}]"
            )
    batch = broadcast_shapes(
        "attention", query[:-2], key[:-2], value[:-2], *[p[:-2] for p in pairs]
    )
    return batch, m, n, query[-1], value[-1]


class _Walks:
    """Operands on the way to their kernel: batch axes broadcast and merged."""

    def __init__(self, batch: Ints, offsets: Sequence[int]) -> None:
        self.batch, self.offsets = batch, offsets
        self.inner: dict[int, Ints] = {}
        self.outer: dict[int, Ints] = {}

    def add(self, number: int, shape: Ints, strides: Ints, inner_shape: Ints) -> None:
        """Operand i; its last axes broadcast to `inner_shape`."""
        rank = len(inner_shape)
        shape, strides = (1,) * (rank - len(shape)) + shape, (0,) * (rank - len(strides)) + strides
        leading = len(shape) - rank
        self.inner[number] = broadcast_strides(shape[leading:], strides[leading:], inner_shape)
        self.outer[number] = broadcast_strides(shape[:leading], strides[:leading], self.batch)

    def operands(self) -> tuple[Ints, dict[int, AttendOperand]]:
        sizes, outer = collapse(self.batch, list(self.outer.values()))
        return sizes, {
            i: AttendOperand(i, self.offsets[i], o + self.inner[i])
            for i, o in zip(self.outer, outer)
        }


def _optional(first: int, count: int, masked: bool) -> tuple[int | None, int | None]:
    """Numbers of the mask and of the factor when inputs from `first` on are optional."""
    mask_number = first if masked else None
    factor_number = first + masked
    return mask_number, factor_number if factor_number < count else None


def attention_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int],
    *,
    scale: float,
    causal: bool,
    masked: bool,
    narrow: str = "",
) -> Attend:
    """(q, k, v, [mask], [factor]) -> (out, peak, total)."""
    shapes, inputs = [a.shape for a in avals], len(avals) - 3
    batch, m, n, e, f = attention_shapes(*shapes[:inputs])
    walks = _Walks(batch, offsets)
    inner_shape = [(m, e), (n, e), (n, f), *[(m, n)] * (inputs - 3), (m, f), (m,), (m,)]
    for number, wanted_shape in enumerate(inner_shape):
        walks.add(number, shapes[number], tuple(strides[number]), wanted_shape)
    sizes, located = walks.operands()
    optional = [None if i is None else located[i] for i in _optional(3, inputs, masked)]
    return Attend(
        False,
        sizes,
        m,
        n,
        e,
        f,
        scale,
        causal,
        (located[0], located[1], located[2], *optional),
        (located[inputs], located[inputs + 1], located[inputs + 2]),
        narrow,
    )


def attention_grad_layout(
    avals: Sequence[Aval],
    strides: Sequence[Ints],
    offsets: Sequence[int],
    *,
    scale: float,
    causal: bool,
    masked: bool,
    narrow: str = "",
) -> Attend:
    """(g, q, k, v, peak, total, delta, [mask], [factor]) -> (dq, dk, dv)."""
    shapes, inputs = [a.shape for a in avals], len(avals) - 3
    batch, m, n, e, f = attention_shapes(*shapes[1:4], *shapes[7:inputs])
    walks = _Walks(batch, offsets)
    inner_shape = [(m, f), (m, e), (n, e), (n, f), (m,), (m,), (m,), *[(m, n)] * (inputs - 7)]
    for number, wanted_shape in enumerate([*inner_shape, (m, e), (n, e), (n, f)]):
        walks.add(number, shapes[number], tuple(strides[number]), wanted_shape)
    sizes, located = walks.operands()
    optional = [None if i is None else located[i] for i in _optional(7, inputs, masked)]
    return Attend(
        True,
        sizes,
        m,
        n,
        e,
        f,
        scale,
        causal,
        (
            located[1],
            located[2],
            located[3],
            *optional,
            located[0],
            located[4],
            located[5],
            located[6],
        ),
        (located[inputs], located[inputs + 1], located[inputs + 2]),
        narrow,
    )
