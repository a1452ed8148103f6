"""Joining and writing: concat, stack, functional writes into a box.

Invariant: a record of kind 'place' writes each operand into one strided region of a fresh result;
with the fact 'base' operand 0 fills the result first, with 'zeros' zeros do, otherwise the regions
cover it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval
from ...core.errors import DTypeError, ShapeError
from ...core.shapes import contiguous_strides, items_of, normalize_axis
from ...ir.door.bind import bind, operands, store
from ...ir.door.bind import convert as astype
from ...ir.op import PlaceOp, extend, register
from ..axes.slices import (
    SLICE,
    SlicePart,
    embed,
    full_sizes,
    narrow,
    region,
    slice_,
    write_box,
)
from ..axes.views import expand_dims, reshape
from ..base.common import SHAPE_ONLY, draw
from ..base.surface import public
from ..elementwise.arithmetic import clone
from .create import zeros, zeros_like

Ints = tuple[int, ...]
Tensor = Any


# ---- concat
def _concat_infer(*avals: Aval, axis: int) -> tuple[Aval, ...]:
    first = avals[0]
    for other in avals[1:]:
        if (
            other.ndim != first.ndim
            or other.shape[:axis] + other.shape[axis + 1 :]
            != first.shape[:axis] + first.shape[axis + 1 :]
        ):
            raise ShapeError(
                f"concat: shapes {first.shape} and {other.shape} differ outside axis {axis}"
            )
    total = sum(a.shape[axis] for a in avals)
    return (first.with_(first.shape[:axis] + (total,) + first.shape[axis + 1 :]),)


def _concat_layout(*avals: Aval, axis: int) -> list[tuple[int, Ints, Ints]]:
    steps = contiguous_strides(_concat_infer(*avals, axis=axis)[0].shape)
    starts = [0, *accumulate(a.shape[axis] for a in avals)]
    return [(0 if a.size == 0 else b * steps[axis], a.shape, steps) for a, b in zip(avals, starts)]


def _concat_vjp(gradient: Tensor, out: Tensor, *tensors: Tensor, axis: int) -> tuple[Any, ...]:
    starts = [0, *accumulate(x.shape[axis] for x in tensors)]
    return tuple(
        lambda start=b, operand=x: narrow(gradient, axis, start, operand.shape[axis])
        for b, x in zip(starts, tensors)
    )


def _concat_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 2, 3), draw(rng, 2, 1), draw(rng, 2, 0)], {"axis": 1}
    yield [draw(rng, 3), draw(rng, 5)], {"axis": 0}
    yield [draw(rng, 2, 0)], {"axis": 0}


CONCAT = register(
    PlaceOp(
        "concat",
        None,
        _concat_infer,
        layout=_concat_layout,
        params=("axis",),
        keeps=SHAPE_ONLY,
        vjp=_concat_vjp,
        reference=lambda *tensors, axis: np.concatenate(tensors, axis),
        samples=_concat_samples,
        doc="Tensors one after the other along an axis.",
    )
)


def _converted(caller: str, xs: Any, dtype: Any, casting: Any) -> list[Any]:
    """Operands of a join, in `dtype` if it is given and `casting` allows that."""
    tensors = operands(*items_of(xs, f"{caller}: xs"))
    if dtype is None:
        return tensors
    wanted = dt.canonical(dtype)
    for tensor in tensors:
        if not dt.casts(tensor.dtype, wanted, casting):
            raise DTypeError(
                f"{caller}: {tensor.dtype.name} does not become {wanted.name} with casting "
                f"{casting!r}; casting='unsafe' allows all"
            )
    return [astype(tensor, wanted) for tensor in tensors]


@public(hybrid=("concat", "concatenate"))
def concat(
    xs: Sequence[Tensor],
    axis: int | None = 0,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Tensor:
    """Tensors joined along an existing axis (None: flattened first); dtypes are promoted, and
    sequences of Python numbers take the dtype of the tensors.  `dtype` is that of the result, if
    NumPy's `casting` rule allows it.

    ShapeError where the shapes differ outside that axis, and for no tensors; DTypeError for a
    conversion that is not allowed.

    >>> hybrid.concat([hybrid.tensor([[1, 2]]), hybrid.tensor([[3.0, 4.5]])])
    tensor([[1. , 2. ],
            [3. , 4.5]])
    """
    tensors = _converted("concat", xs, dtype, casting)
    if not tensors:
        raise ShapeError("concat needs at least one tensor")
    if axis is None:
        tensors, axis = [reshape(t, (t.size,)) for t in tensors], 0
    if len(tensors) == 1:
        normalize_axis(axis, tensors[0].ndim, "concat")
        return clone(tensors[0])
    return bind(CONCAT, *tensors, axis=normalize_axis(axis, tensors[0].ndim, "concat"))


@public
def stack(
    xs: Sequence[Tensor], axis: int = 0, *, dtype: Any = None, casting: str = "same_kind"
) -> Tensor:
    """Tensors of one shape joined along a new axis, dtypes as in `concat`.

    ShapeError where the shapes differ.

    >>> hybrid.stack([hybrid.tensor([1, 2]), hybrid.tensor([3, 4])], axis=1)
    tensor([[1, 3],
            [2, 4]])
    """
    tensors = _converted("stack", xs, dtype, casting)
    if len({t.shape for t in tensors}) != 1:
        raise ShapeError(
            f"stack needs one or more tensors of one shape, not {[t.shape for t in tensors]}"
        )
    along_axis = normalize_axis(axis, tensors[0].ndim + 1, "stack")
    return concat([expand_dims(t, along_axis) for t in tensors], along_axis)


@public(hybrid=("vstack", "row_stack"))
def vstack(xs: Sequence[Tensor], *, dtype: Any = None, casting: str = "same_kind") -> Tensor:
    """Tensors on top of each other (1-D tensors are rows).

    Dtypes and errors are those of `concat`.

    >>> hybrid.vstack([hybrid.tensor([1, 2]), hybrid.tensor([[3, 4], [5, 6]])])
    tensor([[1, 2],
            [3, 4],
            [5, 6]])
    """
    tensors = _converted("vstack", xs, dtype, casting)
    return concat(
        [reshape(t, (1,) * (2 - t.ndim) + t.shape) if t.ndim < 2 else t for t in tensors], 0
    )


@public
def hstack(xs: Sequence[Tensor], *, dtype: Any = None, casting: str = "same_kind") -> Tensor:
    """Tensors side by side (along axis 1; 1-D tensors along axis 0).

    Dtypes and errors are those of `concat`.

    >>> hybrid.hstack([hybrid.tensor([[1], [2]]), hybrid.tensor([[3, 4], [5, 6]])])
    tensor([[1, 3, 4],
            [2, 5, 6]])
    """
    given = _converted("hstack", xs, dtype, casting)
    tensors = [reshape(t, (1,)) if t.ndim == 0 else t for t in given]
    return concat(tensors, 0 if tensors and tensors[0].ndim == 1 else 1)


# ---- writing a box
def _set_infer(base: Aval, value: Aval, *, begin: Ints, step: Ints, drop: Ints) -> tuple[Aval, ...]:
    return (base,)


def _set_layout(
    base: Aval, value: Aval, *, begin: Ints, step: Ints, drop: Ints
) -> list[tuple[int, Ints, Ints]]:
    off, strides = region(base.shape, contiguous_strides(base.shape), begin, step, drop)
    return [(0 if value.size == 0 else off, value.shape, strides)]


def _set_vjp(
    gradient: Tensor, out: Tensor, base: Tensor, value: Tensor, begin: Ints, step: Ints, drop: Ints
) -> Any:
    sizes = full_sizes(value.shape, base.ndim, drop)
    return (
        lambda: slice_set(gradient, zeros_like(value, dtype=gradient.dtype), begin, step, drop),
        lambda: slice_(gradient, begin, sizes, step, drop),
    )


def _set_reference(
    base: np.ndarray, value: np.ndarray, begin: Ints, step: Ints, drop: Ints
) -> np.ndarray:
    result = base.copy()
    write_box(result, value, begin, step, drop)
    return result


def _set_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 5, 6), draw(rng, 2, 3)], {"begin": (1, 5), "step": (2, -1), "drop": ()}
    yield [draw(rng, 5, 6), draw(rng, 6)], {"begin": (4, 0), "step": (1, 1), "drop": (0,)}
    yield [draw(rng, 3), draw(rng, 0)], {"begin": (3,), "step": (1,), "drop": ()}
    yield [draw(rng), draw(rng)], {"begin": (), "step": (), "drop": ()}


SLICE_SET = register(
    PlaceOp(
        "slice_set",
        2,
        _set_infer,
        layout=_set_layout,
        params=("begin", "step", "drop"),
        vjp=_set_vjp,
        keeps=SHAPE_ONLY,
        facts=frozenset(["base"]),
        reference=_set_reference,
        samples=_set_samples,
        doc="base with value written into a strided box.",
    )
)


def slice_set(base: Tensor, value: Tensor, begin: Ints, step: Ints, drop: Ints = ()) -> Tensor:
    """A copy of base with `value` in the strided box that starts at `begin`;
    value's shape is the box's."""
    value = store(value, base.dtype, base.device)
    return bind(SLICE_SET, base, value, begin=begin, step=step, drop=drop)


# ---- what slices do with their base
def _axis_of(parts: Sequence[SlicePart], sizes: Sequence[Ints]) -> int | None:
    """The one axis along which the boxes differ;
    None when there are several, or a box has steps."""
    first = parts[0]
    if any(k != 1 for p in parts for k in p.step) or any(0 in s for s in sizes):
        return None
    axes = {
        a
        for p, s in zip(parts, sizes)
        for a in range(len(first.shape))
        if p.begin[a] != first.begin[a] or s[a] != sizes[0][a]
    }
    return axes.pop() if len(axes) == 1 else None


def _joined_slices(parts: Sequence[SlicePart]) -> Tensor | None:
    """The boxes side by side, zeros between them; None when they overlap or do not line up."""
    sizes = [full_sizes(p.g.shape, len(p.shape), p.drop) for p in parts]
    axis = _axis_of(parts, sizes)
    if axis is None:
        return None
    order = sorted(range(len(parts)), key=lambda piece: parts[piece].begin[axis])
    first, pieces = parts[order[0]], []
    start = reached = first.begin[axis]
    for piece in order:
        begin = parts[piece].begin[axis]
        if begin < reached:
            return None
        if begin > reached:
            gap = tuple(begin - reached if a == axis else n for a, n in enumerate(sizes[piece]))
            pieces.append(zeros(gap, dtype=first.g.dtype, device=first.g.device))
        pieces.append(reshape(parts[piece].g, sizes[piece]))
        reached = begin + sizes[piece][axis]
    result = concat(pieces, axis)
    if result.shape == first.shape:
        return result
    corner = tuple(start if a == axis else b for a, b in enumerate(first.begin))
    return embed(result, first.shape, corner, first.step, ())


extend(
    SLICE,
    write_back=lambda base, value, begin, sizes, step, drop: slice_set(
        base, value, begin, step, drop
    ),
    join=_joined_slices,
)
