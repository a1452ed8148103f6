"""Indexing with tensors: checked indices, gathers, and the scatters that are their adjoints.

Invariant: `index_check` is the only record that can fail; every other record here takes int64
indices in range, which that one returns.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.shapes import broadcast_shapes, normalize_axis
from ...ir.algorithm import Assign
from ...ir.door.bind import as_tensor, bind, store
from ...ir.door.bind import convert as astype
from ...ir.door.foreign import data_of
from ...ir.op import NO_GRAD, HostOp, MapOp, ScatterOp, register
from ...ir.scalar.program import Builder, Val
from ...ir.tensor import Handle
from ..axes.views import RESHAPE, apart, broadcast_to, expand_dims, reshape
from ..base.common import draw, ints
from ..base.surface import public
from ..build.create import arange, zeros, zeros_like
from ..build.join import stack
from ..elementwise.arithmetic import add, multiply
from ..elementwise.logic import equal
from ..elementwise.rounding import remainder
from ..elementwise.selection import clip, where

Ints = tuple[int, ...]
Tensor = Any


# ---- checked indices
def _check_body(
    algebra: Builder, index: Val, *, size: int, axis: int, wrap: bool, ignore: int | None
) -> Val:
    wide_index = algebra.convert(index, "i64")
    out = (
        algebra.select(wide_index < 0, wide_index + size, wide_index)
        if wrap and index.type[0] == "i"
        else wide_index
    )
    return out if ignore is None else algebra.select(wide_index == ignore, -1, out)


def _check(
    algebra: Builder, index: Val, *, size: int, axis: int, wrap: bool, ignore: int | None
) -> Val:
    if index.type == "u64":
        return index >= size
    wide_index = algebra.convert(index, "i64")
    bad = (wide_index < (-size if wrap else 0)) | (wide_index >= size)
    return bad if ignore is None else bad & (wide_index != ignore)


def _check_message(avals: tuple[Aval, ...], params: dict[str, Any]) -> str:
    count, low = params["size"], -params["size"] if params["wrap"] else 0
    if count == 0:
        return f"an index is out of range: axis {params['axis']} has size 0"
    return (
        f"an index is out of range: axis {params['axis']} has size {count}, "
        f"so indices are {low}..{count - 1}"
    )


def _check_reference(
    index: np.ndarray, size: int, axis: int, wrap: bool, ignore: int | None
) -> np.ndarray:
    wide_index = index.astype(np.int64)
    out = np.where(wide_index < 0, wide_index + size, wide_index) if wrap else wide_index
    return out if ignore is None else np.where(wide_index == ignore, -1, out)


def _check_samples(rng: np.random.Generator) -> Any:
    yield [ints(rng, 3, 5, low=-7, high=7)], {"size": 7, "axis": 0, "wrap": True, "ignore": None}
    yield [ints(rng, 4, high=7)], {"size": 7, "axis": 1, "wrap": False, "ignore": 3}
    yield [ints(rng, 0)], {"size": 0, "axis": 0, "wrap": True, "ignore": None}
    yield [ints(rng)], {"size": 10, "axis": 0, "wrap": True, "ignore": None}


INDEX = register(
    MapOp(
        "index_check",
        1,
        lambda index, size, axis, wrap, ignore: (index.with_(dtype=dt.int64),),
        body=_check_body,
        check=_check,
        check_message=_check_message,
        params=("size", "axis", "wrap", "ignore"),
        accepts="iu",
        reference=_check_reference,
        samples=_check_samples,
        ulp=0.0,
        vjp=NO_GRAD,
        doc="Indices as int64 in range (negative ones counted from the end when wrap; `ignore` "
        "is -1); others fail.",
    )
)


def index_check(
    index: Any,
    size: int,
    axis: int = 0,
    *,
    wrap: bool = True,
    ignore: int | None = None,
    device: Device = HOST,
) -> Tensor:
    """Integer indices into an axis of that size, as int64 in range; raises IndexOutOfRange
    otherwise. Negative indices count from the end when `wrap`, else they are out of range; the
    number `ignore` gives -1.  Indices that are no tensor go to `device`."""
    tensor = as_tensor(index, device)
    if tensor.size == 0 and not dt.is_int(tensor.dtype):
        tensor = astype(tensor, dt.int64)
    if not dt.is_int(tensor.dtype):
        raise DTypeError(
            f"indices must be integers, not {tensor.dtype.name}; convert with .astype('int64')"
        )
    return bind(INDEX, tensor, size=size, axis=axis, wrap=wrap, ignore=ignore)


def positions(
    given: Any,
    extent: int,
    mode: str,
    what: str,
    *,
    axis: int = 0,
    device: Device = HOST,
    wrap: bool = True,
) -> Tensor:
    """Integer positions in 0..extent-1 by NumPy's modes; `wrap`: 'raise' takes negative ones."""
    if mode == "raise":
        return index_check(given, extent, axis, wrap=wrap, device=device)
    if mode not in ("wrap", "clip"):
        raise ArgumentError(f"{what}: mode is 'raise', 'wrap' or 'clip', not {mode!r}")
    index = as_tensor(given, device)
    if not dt.is_int(index.dtype) and index.size:
        raise DTypeError(f"{what}: positions must be integers, not {index.dtype.name}")
    if not extent:
        return index_check(index, extent, axis)
    index = index if index.dtype is dt.uint64 else astype(index, dt.int64)
    moved = remainder(index, extent) if mode == "wrap" else clip(index, 0, extent - 1)
    return index_check(moved, extent, axis)


# ---- gather
def _gather_infer(operand: Aval, *idx: Aval, axis: int, batch: int) -> tuple[Aval, ...]:
    tail = operand.ndim - axis - len(idx)
    shape = broadcast_shapes("gather", *[i.shape[: i.ndim - tail] for i in idx])
    return (operand.with_(operand.shape[:axis] + shape + operand.shape[operand.ndim - tail :]),)


def _gather_body(algebra: Builder, operand: Any, *idx: Val, axis: int, batch: int) -> Val:
    head = [algebra.coord(a) for a in range(axis)]
    tail = [algebra.coord(axis + batch + a) for a in range(len(operand.shape) - axis - len(idx))]
    result: Val = operand.at_coords(*head, *idx, *tail)
    return result


def row_numbers(idx: tuple[Tensor, ...], sizes: Ints, lead: int = 1) -> Tensor:
    """Row-major numbers of the rows that index tensors of one shape pick,
    for `lead` stacked tables; 1-D."""
    rows = idx[0]
    for index_, count in zip(idx[1:], sizes[1:]):
        rows = add(multiply(rows, count), index_)
    rows = reshape(rows, (rows.size,))
    if lead != 1:
        first = reshape(multiply(arange(lead, device=rows.device), prod(sizes)), (lead, 1))
        rows = reshape(add(first, rows), (lead * rows.size,))
    return rows


def _gather_vjp(
    grad: Tensor, out: Tensor, operand: Tensor, *idx: Tensor, axis: int, batch: int
) -> tuple[Any, ...]:
    depth = len(idx)
    shape, sizes = grad.shape[axis : axis + batch], operand.shape[axis : axis + depth]
    lead, inner = prod(operand.shape[:axis]), prod(operand.shape[axis + depth :])
    flat = tuple(
        broadcast_to(reshape(i, i.shape[: batch_dims(i, operand, axis, depth)]), shape) for i in idx
    )
    rows = row_numbers(flat, sizes, lead)
    got = scatter_add(rows, reshape(grad, (rows.size, inner)), lead * prod(sizes))
    return (reshape(got, operand.shape), *[None] * depth)


def batch_dims(indices: Any, operand: Any, axis: int, depth: int) -> int:
    """Axes of an index operand of gather,
    without the ones of size 1 that stand for x's trailing axes."""
    result: int = indices.ndim - (operand.ndim - axis - depth)
    return result


def _gather_reference(operand: np.ndarray, *idx: np.ndarray, axis: int, batch: int) -> np.ndarray:
    tail = operand.ndim - axis - len(idx)
    return operand[(slice(None),) * axis + tuple(i.reshape(i.shape[: i.ndim - tail]) for i in idx)]


def _gather_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 5, 3), ints(rng, 4, 1, high=5)], {"axis": 0, "batch": 1}
    yield [draw(rng, 2, 5, 3), ints(rng, 4, 2, 1, high=5)], {"axis": 1, "batch": 2}
    yield [draw(rng, 4, 5), ints(rng, 3, 1, high=4), ints(rng, 2, high=5)], {"axis": 0, "batch": 2}
    yield [draw(rng, 5), ints(rng, high=5)], {"axis": 0, "batch": 0}
    yield [draw(rng, 5), ints(rng, 0, high=5)], {"axis": 0, "batch": 1}


GATHER = register(
    MapOp(
        "gather",
        None,
        _gather_infer,
        body=_gather_body,
        gathers=(0,),
        params=("axis", "batch"),
        vjp=_gather_vjp,
        reference=_gather_reference,
        samples=_gather_samples,
        ulp=0.0,
        keeps=frozenset(str(i) for i in range(1, 64)),
        doc="Elements of x at index tensors for the axes from `axis` on, whose common shape "
        "(rank batch) replaces them.",
    )
)


def gather_axes(operand: Tensor, idx: list[Tensor], axis: int) -> Tensor:
    """x indexed by checked index tensors on adjacent axes starting at `axis`, as NumPy does."""
    tail = operand.ndim - axis - len(idx)
    batch = max(i.ndim for i in idx)
    if tail:
        idx = [bind(RESHAPE, i, shape=i.shape + (1,) * tail) for i in idx]
    return bind(GATHER, operand, *idx, axis=axis, batch=batch)


def gather_rows(operand: Tensor, rows: Tensor) -> Tensor:
    """x[rows] for checked row numbers."""
    return gather_axes(operand, [rows], 0)


@public(method=True)
def take(x: Tensor, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Tensor:
    """Slices of x at integer indices along an axis (None: of the flattened tensor);
    negative ones wrap.

    ShapeError for an axis out of range, IndexOutOfRange for an index; mode 'wrap' takes indices
    modulo the size, 'clip' the nearest one.

    >>> hybrid.take(hybrid.tensor([[1, 2], [3, 4], [5, 6]]), [2, 0, -1], axis=0)
    tensor([[5, 6],
            [1, 2],
            [5, 6]])
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    along = normalize_axis(axis, x.ndim, "take")
    index = positions(indices, x.shape[along], mode, "take", axis=along, device=x.device)
    return gather_axes(x, [index], along)


@public(method=True)
def repeat(x: Tensor, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element `repeats` times along an axis (None: of the flattened tensor); a sequence or a
    tensor holds one count for each position of the axis, and is read on the host.

    ShapeError for negative counts, for another number of them, and for an axis out of range;
    DTypeError for counts that are no integers.

    >>> hybrid.repeat(hybrid.tensor([1, 2]), 3)
    tensor([1, 1, 1, 2, 2, 2])
    >>> hybrid.repeat(hybrid.tensor([1, 2, 3]), [2, 0, 1])
    tensor([1, 1, 3])
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    along = normalize_axis(axis, x.ndim, "repeat")
    extent, shape = x.shape[along], list(x.shape)
    single = hasattr(repeats, "__index__") and not getattr(repeats, "ndim", 0)
    counts = np.asarray(operator.index(repeats)) if single else _counts(repeats, extent)
    if counts.size and counts.min() < 0:
        raise ShapeError(f"repeat: a count of {counts.min()}")
    if counts.ndim:
        positions = np.repeat(np.arange(extent), counts)
        return gather_axes(x, [as_tensor(positions, x.device)], along)
    shape.insert(along + 1, int(counts))
    if 1 < counts <= _FEW_TIMES and prod(shape[along + 2 :]) == 1:
        wide = stack([x] * int(counts), along + 1)  # they take turns: no walk of two steps a row
    else:
        wide = broadcast_to(expand_dims(x, along + 1), tuple(shape))
    shape[along : along + 2] = [extent * int(counts)]
    return apart(RESHAPE, wide, shape=tuple(shape))


_FEW_TIMES = 8


def _counts(repeats: Any, extent: int) -> np.ndarray:
    """One count for each position of an axis; a single one stays alone."""
    read = isinstance(repeats, Handle)
    counts: np.ndarray = repeats.numpy() if read else data_of(repeats).array
    if counts.size and counts.dtype.kind not in "iub":
        raise DTypeError(f"repeat: the counts are {counts.dtype.name}, not integers")
    if counts.size == 1:
        return counts.reshape(()).astype(np.int64)
    if counts.shape != (extent,):
        raise ShapeError(f"repeat: counts of shape {counts.shape} for an axis of size {extent}")
    return counts.astype(np.int64)


@public
def embedding(weight: Tensor, index: Any) -> Tensor:
    """Rows of weight[n, d] at integer indices of any shape;
    negative indices are errors, as in PyTorch.

    The result is [*index.shape, d]; the gradient adds up where an index occurs twice.

    >>> table = hybrid.tensor([[0.0, 1.0], [2.0, 3.0]], requires_grad=True)
    >>> hybrid.embedding(table, hybrid.tensor([1, 1])).sum().backward()
    >>> table.grad
    tensor([[0., 0.],
            [2., 2.]])
    """
    weight = as_tensor(weight)
    if weight.ndim != 2:
        raise ShapeError(
            f"embedding: the weight has shape {weight.shape}; it takes weight[entries, features]"
        )
    rows = index_check(index, weight.shape[0], 0, wrap=False, device=weight.device)
    return gather_axes(weight, [rows], 0)


# ---- scatter
def _scatter_reference(index: np.ndarray, update: np.ndarray, rows: int) -> np.ndarray:
    out = np.zeros(
        (rows, update.shape[1]), np.float64 if update.dtype.kind not in "iub" else update.dtype
    )
    np.add.at(out, index, update.astype(out.dtype))
    return out


def _scatter_infer(index: Aval, update: Aval, *, rows: int) -> tuple[Aval, ...]:
    if dt.is_half(update.dtype):
        raise DTypeError(
            f"scatter_add accumulates in float32; convert {update.dtype.name} updates before "
            "and after"
        )
    return (update.with_((rows, update.shape[1])),)


def _scatter_samples(rng: np.random.Generator) -> Any:
    yield [ints(rng, 9, high=4), draw(rng, 9, 3)], {"rows": 4}
    yield [ints(rng, 5, high=7), draw(rng, 5, 1)], {"rows": 7}
    yield [ints(rng, 0), draw(rng, 0, 2)], {"rows": 3}


SCATTER_ADD = register(
    ScatterOp(
        "scatter_add",
        2,
        _scatter_infer,
        params=("rows",),
        vjp=lambda grad, out, index, update, rows: (None, gather_rows(grad, index)),
        keeps=frozenset("0"),
        facts=frozenset(["zeros"]),
        reference=_scatter_reference,
        samples=_scatter_samples,
        ulp=40.0,
        doc="Zeros[rows, inner] with out[index[i]] += update[i] for i in order.",
    )
)


def scatter_add(rows: Tensor, update: Tensor, count: int) -> Tensor:
    """Zeros of `count` rows, to which update[i] is added at rows[i] (checked), in order of i.  Half
    types accumulate in float32."""
    dtype = update.dtype
    out = bind(SCATTER_ADD, rows, astype(update, dt.compute_type(dtype)), rows=count)
    return astype(out, dtype)


def _set_rows(base: np.ndarray, index: np.ndarray, update: np.ndarray) -> np.ndarray:
    """base with row index[i] replaced by update[i]; NumPy assigns one after the other."""
    out = base.copy()
    places, values = np.ascontiguousarray(index), np.ascontiguousarray(update)
    if base.shape[1] == 1:  # NumPy has a way of its own for one line
        out.reshape(-1)[places] = values.reshape(-1)
    else:
        out[places] = values
    return out


def _set_reference(base: np.ndarray, index: np.ndarray, update: np.ndarray) -> np.ndarray:
    """The same by the number of the last update of each row."""
    out = base.copy()
    last = np.full(base.shape[0], -1, np.int64)
    np.maximum.at(last, index, np.arange(index.size))
    hit = np.flatnonzero(last >= 0)
    out[hit] = update[last[hit]]
    return out


def _set_vjp(
    grad: Tensor, out: Tensor, base: Tensor, index: Tensor, update: Tensor
) -> tuple[Any, ...]:
    order = arange(index.size, device=index.device)
    column = reshape(order, (index.size, 1))
    last = scatter_set(zeros(base.shape[0], 1, dtype=dt.int64, device=base.device), index, column)
    mine = equal(gather_rows(last, index), column)
    return (
        scatter_set(grad, index, zeros_like(update, dtype=grad.dtype)),
        None,
        where(mine, gather_rows(grad, index), zeros_like(update, dtype=grad.dtype)),
    )


def _set_samples(rng: np.random.Generator) -> Any:
    yield [draw(rng, 4, 3), ints(rng, 6, high=4), draw(rng, 6, 3)], {}
    yield [draw(rng, 4, 1), ints(rng, 0, high=4), draw(rng, 0, 1)], {}


SCATTER_SET = register(
    HostOp(
        "scatter_set",
        3,
        lambda base, index, update: (base,),
        body=_set_rows,
        algorithm=Assign,
        vjp=_set_vjp,
        keeps=frozenset("1"),
        facts=frozenset(["total"]),
        reference=_set_reference,
        samples=_set_samples,
        ulp=0.0,
        doc="base[rows, inner] with row index[i] replaced by update[i]; the last write stays.",
    )
)


def scatter_set(base: Tensor, rows: Tensor, update: Tensor) -> Tensor:
    """A copy of base[n, inner] with base[rows[i]] = update[i] for checked rows;
    the last write stays."""
    return bind(SCATTER_SET, base, rows, astype(update, base.dtype))


@public
def index_add(x: Tensor, axis: int, index: Any, source: Any) -> Tensor:
    """x plus slices of `source` added at integer indices along an axis (torch.index_add).

    `source` has x's shape with len(index) along the axis; IndexOutOfRange for an index out of
    range.

    >>> hybrid.index_add(hybrid.zeros(3), 0, [0, 2, 2], hybrid.tensor([1.0, 2.0, 3.0]))
    tensor([1., 0., 5.])
    """
    x = as_tensor(x)
    along = normalize_axis(axis, x.ndim, "index_add")
    checked = index_check(index, x.shape[along], along, device=x.device)
    stored = store(source, x.dtype, x.device)
    if checked.ndim != 1 or stored.shape != x.shape[:along] + checked.shape + x.shape[along + 1 :]:
        raise ShapeError(
            f"index_add: index {checked.shape} and source {stored.shape} do not fit shape "
            f"{x.shape} at axis {along}"
        )
    lead, inner = prod(x.shape[:along]), prod(x.shape[along + 1 :])
    rows = row_numbers((checked,), x.shape[along : along + 1], lead)
    return add(
        x,
        reshape(
            scatter_add(rows, reshape(stored, (rows.size, inner)), lead * x.shape[along]), x.shape
        ),
    )
