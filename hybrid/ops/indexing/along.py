"""One index per element along an axis: take_along_axis and the write where it reads.

Invariant: records take int64 indices in range, which `index_check` returns.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.errors import ShapeError
from ...core.shapes import broadcast_shapes, contiguous_strides, normalize_axis
from ...ir.door.bind import as_tensor, bind, store
from ...ir.op import MapOp, register
from ...ir.scalar.program import Builder, Val
from ..axes.views import broadcast_to, reshape
from ..base.common import draw, ints
from ..base.surface import public
from ..build.create import arange
from ..elementwise.arithmetic import add, multiply
from .index import index_check, scatter_add, scatter_set

Ints = tuple[int, ...]
Tensor = Any


def _along_infer(operand: Aval, index: Aval, *, axis: int) -> tuple[Aval, ...]:
    if operand.ndim != index.ndim or any(
        n > m for a, (n, m) in enumerate(zip(index.shape, operand.shape)) if a != axis
    ):
        raise ShapeError(
            f"take_along_axis: indices of shape {index.shape} do not fit shape {operand.shape}"
        )
    return (operand.with_(index.shape),)


def _along_body(algebra: Builder, operand: Any, index: Val, *, axis: int) -> Val:
    result: Val = operand.at_coords(
        *[index if a == axis else algebra.coord(a) for a in range(len(operand.shape))]
    )
    return result


def _along_numbers(index: Tensor, shape: Ints, axis: int) -> Tensor:
    """Row-major element numbers that take_along_axis reads, 1-D."""
    total = None
    for along, step in enumerate(contiguous_strides(shape)):
        number = index
        if along != axis:
            extent = index.shape[along]
            aligned = tuple(extent if b == along else 1 for b in range(len(shape)))
            number = reshape(arange(extent, device=index.device), aligned)
        part = multiply(number, step) if step != 1 else number
        total = part if total is None else add(total, part)
    return reshape(broadcast_to(total, index.shape), (index.size,))


def _along_vjp(
    grad: Tensor, out: Tensor, operand: Tensor, index: Tensor, axis: int
) -> tuple[Any, ...]:
    numbers = _along_numbers(index, operand.shape, axis)
    return reshape(
        scatter_add(numbers, reshape(grad, (grad.size, 1)), prod(operand.shape)), operand.shape
    ), None


def _along_reference(operand: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    part = operand[
        tuple(slice(None) if a == axis else slice(0, n) for a, n in enumerate(index.shape))
    ]
    return np.take_along_axis(part, index, axis)


def _along_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 4, 5), ints(rng, 4, 3, high=5)], {"axis": 1}
    yield [draw(rng, 4, 5, 2), ints(rng, 6, 5, 1, high=4)], {"axis": 0}
    yield [draw(rng, 4), ints(rng, 0, high=4)], {"axis": 0}


ALONG = register(
    MapOp(
        "take_along_axis",
        2,
        _along_infer,
        body=_along_body,
        gathers=(0,),
        params=("axis",),
        vjp=_along_vjp,
        reference=_along_reference,
        samples=_along_samples,
        ulp=0.0,
        keeps=frozenset("1"),
        doc="x[..., i[j], ...] along an axis, the other coordinates being those of i.",
    )
)


def _along_index(operand: Tensor, indices: Any, axis: int) -> tuple[Tensor, int]:
    along = normalize_axis(axis, operand.ndim, "take_along_axis")
    index = as_tensor(indices, operand.device)
    if index.ndim != operand.ndim:
        raise ShapeError(
            f"take_along_axis: indices of shape {index.shape} do not fit shape {operand.shape}"
        )
    shape = broadcast_shapes(
        "take_along_axis",
        index.shape[:along] + (1,) + index.shape[along + 1 :],
        operand.shape[:along] + (1,) + operand.shape[along + 1 :],
    )
    index = broadcast_to(index, shape[:along] + index.shape[along : along + 1] + shape[along + 1 :])
    return index_check(index, operand.shape[along], along), along


@public(method=True)
def take_along_axis(x: Tensor, indices: Any, axis: int | None = -1) -> Tensor:
    """NumPy's take_along_axis: one index per result element along an axis (None: of
    the flattened tensor); other axes broadcast.

    ShapeError where the shapes do not fit, IndexOutOfRange for an index out of range.

    >>> x = hybrid.tensor([[3, 1, 2], [9, 8, 7]])
    >>> hybrid.take_along_axis(x, hybrid.argsort(x), axis=1)
    tensor([[1, 2, 3],
            [7, 8, 9]])
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    index, along = _along_index(x, indices, axis)
    shape = index.shape[:along] + x.shape[along : along + 1] + index.shape[along + 1 :]
    return bind(ALONG, broadcast_to(x, shape), index, axis=along)


def put_along(x: Tensor, indices: Any, values: Any, axis: int) -> Tensor:
    """A copy of x with `values` written where take_along_axis reads;
    the last write to an element stays."""
    index, along = _along_index(x, indices, axis)
    stored = broadcast_to(store(values, x.dtype, x.device), index.shape)
    numbers = _along_numbers(index, x.shape, along)
    return reshape(
        scatter_set(reshape(x, (x.size, 1)), numbers, reshape(stored, (stored.size, 1))), x.shape
    )
