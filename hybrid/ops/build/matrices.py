"""Matrices by position: eye, triangles, one_hot, meshgrid.

Invariant: which elements are kept depends on coordinates only, never on values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Device
from ...core.aval import device as to_device
from ...core.errors import DTypeError, HybridError, ShapeError
from ...core.shapes import as_shape, whole
from ...ir.door.bind import as_tensor, bind
from ...ir.door.bind import convert as astype
from ...ir.op import MapOp, Op, register
from ...ir.scalar.program import TYPE, Builder, Val
from ..axes.views import BROADCAST, apart, broadcast_to, expand_dims, reshape
from ..base.common import shapes_of
from ..base.surface import public
from ..elementwise.logic import equal
from .create import arange, finish, fresh, no_inputs

Ints = tuple[int, ...]
Tensor = Any


def _eye_body(algebra: Builder, *, shape: Ints, dtype: np.dtype, k: int, device: Device) -> Val:
    return algebra.convert(algebra.coord(0) + k == algebra.coord(1), TYPE[dtype])


EYE = register(
    MapOp(
        "eye",
        0,
        fresh,
        body=_eye_body,
        params=("shape", "dtype", "k", "device"),
        ulp=0.0,
        reference=lambda shape, dtype, k, device: np.eye(shape[0], shape[1], k=k),
        samples=no_inputs(
            {"shape": (3, 5), "dtype": dt.float32, "k": 1},
            {"shape": (4, 4), "dtype": dt.bool_, "k": -1},
            {"shape": (0, 2), "dtype": dt.int64, "k": 0},
        ),
        doc="Ones on diagonal k.",
    )
)


@public
def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    k: int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A matrix (square by default) with ones on diagonal k.

    float32 by default.

    >>> hybrid.eye(2, 3, k=1)
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
    """
    shape = as_shape((n_rows, n_rows if n_cols is None else n_cols))
    return finish(
        bind(
            EYE,
            shape=shape,
            dtype=dt.canonical(dtype or dt.default_float),
            k=_within(k, shape),
            device=to_device(device),
        ),
        requires_grad,
    )


def _within(k: int, shape: tuple[int, ...]) -> int:
    """A diagonal's number, no farther out than the first one that lies beside the matrix."""
    rows, columns = shape[-2:]
    return max(-rows, min(whole(k, "k"), columns))


def _triangle(name: str, zeros: str, keep: Any, oracle: Any) -> Op:
    def body(algebra: Builder, operand: Val, *, k: int, axes: tuple[int, int]) -> Val:
        return algebra.select(keep(algebra.coord(axes[1]), algebra.coord(axes[0]) + k), operand, 0)

    op: Op = MapOp(
        name,
        1,
        lambda operand, k, axes: (operand,),
        body=body,
        params=("k", "axes"),
        ulp=0.0,
        vjp=lambda gradient, out, operand, k, axes: (bind(op, gradient, k=k, axes=axes),),
        keeps=frozenset(["shape"]),
        reference=lambda operand, k, axes: oracle(operand, k),
        samples=shapes_of(
            [
                ((4, 5), {"k": 0, "axes": (0, 1)}),
                ((2, 3, 3), {"k": -1, "axes": (1, 2)}),
                ((0, 3), {"k": 1, "axes": (0, 1)}),
            ]
        ),
        doc=f"x with zeros {zeros} diagonal k of the last two axes.",
    )
    return register(op)


TRIL = _triangle("tril", "above", lambda col, row: col <= row, np.tril)
TRIU = _triangle("triu", "below", lambda col, row: col >= row, np.triu)


def _apply_triangle(op: Op, operand: Tensor, k: int) -> Tensor:
    operand = as_tensor(operand)
    if operand.ndim < 2:
        raise ShapeError(f"{op.name} takes at least two dimensions, not shape {operand.shape}")
    return bind(op, operand, k=_within(k, operand.shape), axes=(operand.ndim - 2, operand.ndim - 1))


@public(method=True)
def tril(x: Tensor, k: int = 0) -> Tensor:
    """x with zeros above diagonal k of the last two axes.

    ShapeError below two dimensions.

    >>> hybrid.tril(hybrid.ones(2, 3), k=-1)
    tensor([[0., 0., 0.],
            [1., 0., 0.]])
    """
    return _apply_triangle(TRIL, x, k)


@public(method=True)
def triu(x: Tensor, k: int = 0) -> Tensor:
    """x with zeros below diagonal k of the last two axes.

    ShapeError below two dimensions.

    >>> hybrid.triu(hybrid.ones(2, 3))
    tensor([[1., 1., 1.],
            [0., 1., 1.]])
    """
    return _apply_triangle(TRIU, x, k)


@public
def one_hot(index: Tensor, num_classes: int, *, dtype: Any = None) -> Tensor:
    """[..., num_classes] with 1 where the class is the index (all 0 where it is out of range);
    float32 by default.  `nn.functional.one_hot` is PyTorch's: int64, checked.

    >>> hybrid.one_hot(hybrid.tensor([0, 2, -1]), 3)
    tensor([[1., 0., 0.],
            [0., 0., 1.],
            [0., 0., 0.]])
    """
    index = as_tensor(index)
    if not dt.is_int(index.dtype):
        raise DTypeError(f"one_hot takes integer indices, not {index.dtype.name}")
    classes = arange(num_classes, device=index.device)
    return astype(
        equal(expand_dims(astype(index, dt.int64), -1), classes),
        dt.canonical(dtype or dt.default_float),
    )


def _own(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return apart(BROADCAST, x, shape=shape)


@public
def meshgrid(
    *arrays: Tensor, indexing: str = "xy", sparse: bool = False, copy: bool = True
) -> tuple[Tensor, ...]:
    """Coordinate matrices of one-dimensional tensors ('xy' as NumPy's default, 'ij' for matrix
    order), given one by one or as one list of tensors; each keeps its dtype.  `sparse`: each of
    size 1 along the other axes, to be broadcast; `copy`: False gives views of the tensors.

    Raises ShapeError for a tensor of more than one dimension.

    >>> [m.shape for m in hybrid.meshgrid(hybrid.arange(2), hybrid.arange(3), indexing="ij")]
    [(2, 3), (2, 3)]
    """
    if indexing not in ("xy", "ij"):
        raise HybridError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    first = arrays[0] if len(arrays) == 1 else None
    if isinstance(first, (list, tuple)) and not any(map(np.isscalar, first)):
        arrays = tuple(first)
    xs = tuple(as_tensor(x) for x in arrays)
    for operand in xs:
        if operand.ndim > 1:
            raise ShapeError(f"meshgrid takes one-dimensional tensors, not shape {operand.shape}")
    count = len(xs)
    positions = list(range(count))
    if indexing == "xy" and count > 1:
        positions[:2] = [1, 0]
    shape = [0] * count
    for operand, axis in zip(xs, positions):
        shape[axis] = operand.size
    aligned = [
        reshape(x, tuple(x.size if i == a else 1 for i in range(count)))
        for x, a in zip(xs, positions)
    ]
    if not copy:
        return tuple(aligned if sparse else [broadcast_to(x, tuple(shape)) for x in aligned])
    return tuple([_own(x, x.shape if sparse else tuple(shape)) for x in aligned])
