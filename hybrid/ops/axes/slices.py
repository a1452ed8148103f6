"""Strided slices and their adjoint: records with any step, and the functions over them.

Invariant: a slice is a view; `embed` writes a tensor into zeros where the slice reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.errors import ShapeError
from ...core.shapes import contiguous_strides, normalize_axes
from ...ir.door.bind import as_tensor, bind
from ...ir.op import Op, PlaceOp, ViewOp, register
from ..base.common import SHAPE_ONLY, Part, shapes_of
from ..base.surface import public

Ints = tuple[int, ...]
Tensor = Any


def _kept(sizes: Ints, drop: Ints) -> Ints:
    return tuple(n for i, n in enumerate(sizes) if i not in drop)


def region(
    shape: Ints, strides: Sequence[int], begin: Ints, step: Ints, drop: Ints
) -> tuple[int, Ints]:
    """Offset and strides of the strided box that starts at `begin`;
    axes of `drop` have one position."""
    offset = sum(b * s for b, s, n in zip(begin, strides, shape) if n)
    return offset, tuple(s * k for i, (s, k) in enumerate(zip(strides, step)) if i not in drop)


class SlicePart(Part):
    """The gradient of one slice: zeros of `shape` with g in a box."""

    __slots__ = ("g", "shape", "begin", "step", "drop")

    @property
    def op(self) -> Op:
        return SLICE

    def __init__(self, gradient: Tensor, shape: Ints, begin: Ints, step: Ints, drop: Ints) -> None:
        self.g, self.shape, self.begin, self.step, self.drop = gradient, shape, begin, step, drop

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.g,)

    def of(self, *tensors: Tensor) -> Part:
        (gradient,) = tensors
        return SlicePart(gradient, self.shape, self.begin, self.step, self.drop)

    def __call__(self) -> Tensor:
        return embed(self.g, self.shape, self.begin, self.step, self.drop)


def _slice_layout(
    operand: Aval,
    strides: Ints,
    offset: int = 0,
    *,
    begin: Ints,
    sizes: Ints,
    step: Ints,
    drop: Ints,
) -> tuple[int, Ints]:
    off, result = region(operand.shape, strides, begin, step, drop)
    return (offset if 0 in sizes else offset + off), result


def _slice_reference(
    operand: np.ndarray, begin: Ints, sizes: Ints, step: Ints, drop: Ints
) -> np.ndarray:
    picks = [b + np.arange(n) * k for b, n, k in zip(begin, sizes, step)]
    return operand[np.ix_(*picks)].reshape(_kept(sizes, drop)) if picks else operand.copy()


SLICE = register(
    ViewOp(
        "slice",
        1,
        lambda operand, begin, sizes, step, drop: (operand.with_(_kept(sizes, drop)),),
        layout=_slice_layout,
        params=("begin", "sizes", "step", "drop"),
        keeps=SHAPE_ONLY,
        vjp=lambda gradient, out, operand, begin, sizes, step, drop: (
            SlicePart(gradient, operand.shape, begin, step, drop),
        ),
        reference=_slice_reference,
        samples=shapes_of(
            [
                ((5, 6), {"begin": (1, 5), "sizes": (3, 3), "step": (1, -2), "drop": ()}),
                ((5, 6), {"begin": (4, 0), "sizes": (1, 6), "step": (1, 1), "drop": (0,)}),
                ((3, 4), {"begin": (0, 2), "sizes": (3, 0), "step": (1, 1), "drop": ()}),
                ((), {"begin": (), "sizes": (), "step": (), "drop": ()}),
            ]
        ),
        doc="sizes[a] elements along every axis a, from begin[a] in steps of step[a]; axes of "
        "`drop` have one and go.",
    )
)


def slice_(
    operand: Tensor, begin: Ints, sizes: Ints, step: Ints | None = None, drop: Ints = ()
) -> Tensor:
    """The strided box of a tensor that starts at `begin`;
    nothing is normalised (see ops/index.py for x[...])."""
    return bind(SLICE, operand, begin=begin, sizes=sizes, step=step or (1,) * len(begin), drop=drop)


def narrow(
    operand: Tensor, axis: int, begin: int, size: int, step: int = 1, drop: bool = False
) -> Tensor:
    """`slice_` along one axis."""
    shape = operand.shape
    rest = len(shape) - axis - 1
    return slice_(
        operand,
        (*(0,) * axis, begin, *(0,) * rest),
        (*shape[:axis], size, *shape[axis + 1 :]),
        (*(1,) * axis, step, *(1,) * rest),
        (axis,) if drop else (),
    )


def _embed_infer(
    operand: Aval, *, shape: Ints, begin: Ints, step: Ints, drop: Ints
) -> tuple[Aval, ...]:
    inner = iter(operand.shape)
    for axis, extent in enumerate(shape):
        box = 1 if axis in drop else next(inner)
        ends = (begin[axis], begin[axis] + (box - 1) * step[axis])
        if box and not (min(ends) >= 0 and max(ends) < extent):
            raise ShapeError(
                f"embed: {box} elements from {begin[axis]} in steps of {step[axis]} leave an axis "
                f"of size {extent}"
            )
    return (operand.with_(shape),)


def _embed_layout(
    operand: Aval, *, shape: Ints, begin: Ints, step: Ints, drop: Ints
) -> list[tuple[int, Ints, Ints]]:
    off, strides = region(shape, contiguous_strides(shape), begin, step, drop)
    return [(0 if operand.size == 0 else off, operand.shape, strides)]


def full_sizes(shape: Ints, ndim: int, drop: Ints) -> Ints:
    """Sizes of a box of that shape with the axes of `drop`, which have one position."""
    inner = iter(shape)
    return tuple(1 if i in drop else next(inner) for i in range(ndim))


def write_box(target: np.ndarray, value: np.ndarray, begin: Ints, step: Ints, drop: Ints) -> None:
    """Write a value into the strided box of an array."""
    sizes = full_sizes(value.shape, target.ndim, drop)
    picks = [b + np.arange(n) * k for b, n, k in zip(begin, sizes, step)]
    target[np.ix_(*picks) if picks else ...] = value.reshape(sizes)


def _embed_reference(
    operand: np.ndarray, shape: Ints, begin: Ints, step: Ints, drop: Ints
) -> np.ndarray:
    result = np.zeros(shape, operand.dtype)
    write_box(result, operand, begin, step, drop)
    return result


EMBED = register(
    PlaceOp(
        "embed",
        1,
        _embed_infer,
        layout=_embed_layout,
        params=("shape", "begin", "step", "drop"),
        keeps=SHAPE_ONLY,
        facts=frozenset(["zeros"]),
        reference=_embed_reference,
        vjp=lambda gradient, out, operand, shape, begin, step, drop: (
            slice_(gradient, begin, full_sizes(operand.shape, len(shape), drop), step, drop),
        ),
        samples=shapes_of(
            [
                ((2, 3), {"shape": (5, 7), "begin": (3, 6), "step": (1, -2), "drop": ()}),
                ((3,), {"shape": (3, 2), "begin": (0, 1), "step": (1, 1), "drop": (1,)}),
                ((0,), {"shape": (3,), "begin": (0,), "step": (1,), "drop": ()}),
                ((), {"shape": (), "begin": (), "step": (), "drop": ()}),
            ]
        ),
        doc="The adjoint of slice: x in a strided box of zeros.",
    )
)


def embed(operand: Tensor, shape: Ints, begin: Ints, step: Ints, drop: Ints = ()) -> Tensor:
    """A tensor written into the strided box of a tensor of zeros."""
    return bind(EMBED, operand, shape=shape, begin=begin, step=step, drop=drop)


def _embeds_infer(
    *avals: Aval, shape: Ints, begins: tuple[Ints, ...], steps: tuple[Ints, ...]
) -> tuple[Aval, ...]:
    boxes = zip(avals, begins, steps)
    return [_embed_infer(a, shape=shape, begin=b, step=k, drop=()) for a, b, k in boxes][0]


def _embeds_layout(
    *avals: Aval, shape: Ints, begins: tuple[Ints, ...], steps: tuple[Ints, ...]
) -> list[tuple[int, Ints, Ints]]:
    boxes = zip(avals, begins, steps)
    return [
        box for a, b, k in boxes for box in _embed_layout(a, shape=shape, begin=b, step=k, drop=())
    ]


def _embeds_reference(
    *operands: np.ndarray, shape: Ints, begins: tuple[Ints, ...], steps: tuple[Ints, ...]
) -> np.ndarray:
    result = np.zeros(shape, operands[0].dtype)
    for operand, begin, step in zip(operands, begins, steps):
        write_box(result, operand, begin, step, ())
    return result


def _embeds_vjp(
    gradient: Tensor,
    out: Tensor,
    *operands: Tensor,
    shape: Ints,
    begins: tuple[Ints, ...],
    steps: tuple[Ints, ...],
) -> tuple[Any, ...]:
    return tuple(
        lambda x=x, b=b, k=k: slice_(gradient, b, x.shape, k)
        for x, b, k in zip(operands, begins, steps)
    )


EMBEDS = register(
    PlaceOp(
        "embeds",
        None,
        _embeds_infer,
        layout=_embeds_layout,
        params=("shape", "begins", "steps"),
        keeps=SHAPE_ONLY,
        facts=frozenset(["zeros"]),
        reference=_embeds_reference,
        vjp=_embeds_vjp,
        samples=shapes_of(
            [
                (
                    (2, 2),
                    (2, 1),
                    {"shape": (2, 4), "begins": ((0, 0), (0, 1)), "steps": ((1, 2), (1, 2))},
                ),
                ((3,), {"shape": (9,), "begins": ((1,),), "steps": ((3,),)}),
                ((0,), (2,), {"shape": (3,), "begins": ((0,), (1,)), "steps": ((1,), (1,))}),
            ]
        ),
        doc="Tensors in strided boxes of a tensor of zeros; no two boxes overlap.",
    )
)


def embeds(
    operands: list[Tensor], shape: Ints, begins: tuple[Ints, ...], steps: tuple[Ints, ...]
) -> Tensor:
    """Tensors of one dtype written into strided boxes, which do not overlap, of a tensor of
    zeros."""
    return bind(EMBEDS, *operands, shape=shape, begins=begins, steps=steps)


@public(method=True)
def flip(x: Tensor, axis: Any = None) -> Tensor:
    """x in reverse order along the axes (all by default).

    ShapeError for an axis out of range.

    >>> hybrid.flip(hybrid.tensor([[1, 2], [3, 4]]), axis=1)
    tensor([[2, 1],
            [4, 3]])
    """
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim, "flip")
    if not axes:
        return x
    return slice_(
        x,
        tuple(max(d - 1, 0) if i in axes else 0 for i, d in enumerate(x.shape)),
        x.shape,
        tuple(-1 if i in axes else 1 for i in range(x.ndim)),
    )
