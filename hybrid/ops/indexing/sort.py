"""Sorting and sets: orders by kernels, sorts of many values and sets by NumPy on the CPU.

Invariant: NaN sorts last and counts as larger than every number; sorts are stable.  Results whose
shape depends on the data (unique) are no ops: they read the data and return fresh tensors, or
elements at positions that they found where these have a gradient.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.errors import ShapeError
from ...core.floating import in_plain_floats
from ...core.shapes import normalize_axis, whole
from ...ir.algorithm import Order, Sort
from ...ir.door.bind import as_tensor, bind, grad_enabled, operands
from ...ir.door.bind import convert as astype
from ...ir.op import NO_GRAD, HostOp, MapOp, register
from ...ir.scalar.program import Builder, Val
from ..axes.cumulative import cumulative_sum
from ..axes.extremes import any as any_
from ..axes.slices import narrow
from ..axes.views import broadcast_to, expand_dims, reshape
from ..base.common import ints, owned, shapes_of
from ..base.surface import public
from ..build.create import zeros
from ..build.join import concat
from ..elementwise.arithmetic import subtract
from ..elementwise.logic import (
    equal,
    greater_equal,
    less_equal,
    logical_and,
    logical_not,
    not_equal,
)
from ..elementwise.selection import clip
from .along import take_along_axis
from .host_sort import distinct, distinct_numbers, order_of, plain, sorted_lines, starts_of
from .index import gather_axes, scatter_set, take
from .search import searchsorted
from .truths import Truths

Tensor = Any


class TopK(NamedTuple):
    """The largest (or smallest) elements and where they were."""

    values: Tensor
    indices: Tensor


class Unique(NamedTuple):
    """Distinct values, first positions, positions of every element's value, counts."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Distinct values and how often each occurs."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Distinct values, and the position of every element's value among them."""

    values: Tensor
    inverse_indices: Tensor


def _order_by_comparing(operand: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    values = plain(operand)
    if not descending:
        return np.argsort(values, axis=axis, kind="stable")
    back = np.argsort(np.flip(values, axis), axis=axis, kind="stable")
    return np.flip(values.shape[axis] - 1 - back, axis)


_SAMPLES = shapes_of(
    [
        ((7,), {"axis": 0, "descending": False}),
        ((3, 5), {"axis": 0, "descending": True}),
        ((2, 0), {"axis": 1, "descending": False}),
        ((40, 41), {"axis": 1, "descending": True}),
    ]
)
ARGSORT = register(
    HostOp(
        "argsort",
        1,
        lambda operand, axis, descending: (operand.with_(dtype=dt.int64),),
        body=order_of,
        algorithm=Order,
        params=("axis", "descending"),
        vjp=NO_GRAD,
        facts=frozenset(["total"]),
        reference=_order_by_comparing,
        ulp=0.0,
        samples=_SAMPLES,
        doc="Stable order of the elements along an axis.",
    )
)


@public(method=True)
def argsort(
    x: Tensor, axis: int | None = -1, *, descending: bool = False, stable: bool | None = True
) -> Tensor:
    """Positions (int64) that sort x along an axis (None: of the flattened tensor);
    equal elements keep their order, NaN is largest.

    ShapeError for an axis out of range.

    >>> hybrid.argsort(hybrid.tensor([3.0, 1.0, hybrid.nan, 1.0]))
    tensor([1, 3, 0, 2])
    """
    x, along_axis = _lined("argsort", as_tensor(x), axis)
    return bind(ARGSORT, x, axis=along_axis, descending=bool(descending))


def _lined(caller: str, operand: Tensor, axis: int | None) -> tuple[Tensor, int]:
    """The operand, flattened where axis is None, and the axis to be sorted."""
    if axis is None:
        return reshape(operand, (operand.size,)), 0
    if operand.ndim == 0:
        raise ShapeError(f"{caller} takes at least one dimension, or axis=None")
    return operand, normalize_axis(axis, operand.ndim, caller)


def _sort_vjp(
    gradient: Tensor, out: Tensor, operand: Tensor, axis: int, descending: bool
) -> tuple[Tensor]:
    order = argsort(operand, axis, descending=descending)
    return (take_along_axis(gradient, argsort(order, axis), axis),)


SORT = register(
    HostOp(
        "sort",
        1,
        lambda operand, axis, descending: (operand,),
        body=sorted_lines,
        algorithm=Sort,
        params=("axis", "descending"),
        vjp=_sort_vjp,
        facts=frozenset(["total"]),
        reference=lambda operand, axis, descending: np.take_along_axis(
            operand, _order_by_comparing(operand, axis, descending), axis
        ),
        ulp=0.0,
        samples=_SAMPLES,
        doc="The elements along an axis in their order.",
    )
)


@public(method=True)
def sort(
    x: Tensor, axis: int | None = -1, *, descending: bool = False, stable: bool | None = True
) -> Tensor:
    """x sorted along an axis (None: flattened first); equal elements keep their order whatever
    `stable` says, NaN is largest.

    Same shape and dtype; ShapeError for an axis out of range.

    >>> hybrid.sort(hybrid.tensor([[3, 1, 2], [9, 7, 8]]), descending=True)
    tensor([[3, 2, 1],
            [9, 8, 7]])
    """
    x, along_axis = _lined("sort", as_tensor(x), axis)
    if x.device is HOST and not dt.is_complex(x.dtype):
        return bind(SORT, x, axis=along_axis, descending=bool(descending))
    return take_along_axis(x, argsort(x, along_axis, descending=descending), along_axis)


@public(method=True)
def topk(x: Tensor, k: int, axis: int = -1, *, largest: bool = True) -> TopK:
    """The k largest (or smallest) elements along an axis, sorted, and their positions.

    ShapeError where the axis is shorter than k.

    >>> values, positions = hybrid.topk(hybrid.tensor([5.0, 9.0, 1.0, 7.0]), 2)
    >>> values, positions
    (tensor([9., 7.]), tensor([1, 3]))
    """
    x = as_tensor(x)
    along_axis, rank = normalize_axis(axis, x.ndim, "topk"), operator.index(k)
    if not 0 <= rank <= x.shape[along_axis]:
        raise ShapeError(f"topk: k = {rank} of an axis of size {x.shape[along_axis]}")
    positions = narrow(argsort(x, along_axis, descending=largest), along_axis, 0, rank)
    return TopK(take_along_axis(x, positions, along_axis), positions)


@public
def diff(
    x: Tensor, n: int = 1, axis: int = -1, *, prepend: Any = None, append: Any = None
) -> Tensor:
    """Differences of neighbours along an axis, n times; prepend and append are joined to x first
    (a number, or a 0-d tensor, as one position of the axis).

    ShapeError for a negative n and an axis out of range.

    >>> x = hybrid.tensor([1, 4, 9, 16])
    >>> hybrid.diff(x), hybrid.diff(x, 2), hybrid.diff(x, prepend=0)
    (tensor([3, 5, 7]), tensor([2, 2]), tensor([1, 3, 5, 7]))
    """
    x, count = as_tensor(x), whole(n, "diff: n")
    along_axis = normalize_axis(axis, x.ndim, "diff")
    if count < 0:
        raise ShapeError(f"diff: n = {count} is negative")
    if count and (prepend is not None or append is not None):
        parts = operands(*[t for t in (prepend, x, append) if t is not None])
        one = x.shape[:along_axis] + (1,) + x.shape[along_axis + 1 :]
        x = concat([t if t.ndim else broadcast_to(t, one) for t in parts], along_axis)
    for _ in range(min(count, x.shape[along_axis])):  # nothing is left after that many
        size = x.shape[along_axis]
        high, low = (
            narrow(x, along_axis, min(1, size), max(size - 1, 0)),
            narrow(x, along_axis, 0, max(size - 1, 0)),
        )
        x = not_equal(high, low) if x.dtype is dt.bool_ else subtract(high, low)
    return x


# ---- sets
_FEW = 16  # elements that are compared one by one faster than they are searched


@public
def unique_all(x: Tensor) -> Unique:
    """Distinct values in increasing order with positions and counts; reads the data on the
    host.

    x counts as flattened; a named tuple (values, indices, inverse_indices, counts).

    >>> found = hybrid.unique_all(hybrid.tensor([3, 1, 3]))
    >>> found.values, found.counts
    (tensor([1, 3]), tensor([1, 2]))
    """
    x = as_tensor(x)
    return Unique(*_distinct(x, True, True, True, False))


def _starts_body(algebra: Builder, before: Any, operand: Val, equal_nan: bool) -> Val:
    """Whether another value begins at each element of a sorted line."""
    index = algebra.coord(0)
    ahead = before.at(algebra.select(index > 0, index - 1, 0))
    if operand.type == "b1":
        ahead, operand = [algebra.convert(value, "u8") for value in (ahead, operand)]
    other = operand != ahead
    if equal_nan and operand.type in ("f32", "f64"):
        other = other & (ahead == ahead)
    starts: Val = (index == 0) | other
    return starts


def _starts(before: np.ndarray, operand: np.ndarray, equal_nan: bool) -> np.ndarray:
    return starts_of(plain(operand), nans=not equal_nan)


def _starts_samples(rng: np.random.Generator) -> Any:
    for line in ([0.0, -0.0, 1.0, 1.0, 5.0], [], [2.0], np.sort(ints(rng, 70, high=9))):
        for equal_nan in (True, False):
            yield [np.asarray(line), np.asarray(line)], {"equal_nan": equal_nan}


STARTS = register(
    MapOp(
        "value_starts",
        2,
        lambda before, operand, equal_nan: (operand.with_(dtype=dt.bool_),),
        body=_starts_body,
        result="bool",
        gathers=(0,),
        params=("equal_nan",),
        vjp=NO_GRAD,
        reference=_starts,
        samples=_starts_samples,
        ulp=0.0,
        doc="Where another value begins in a sorted line, given twice.",
    )
)


def _distinct(
    x: Tensor, first: bool, inverse: bool, counts: bool, equal_nan: bool
) -> list[Tensor | None]:
    """The distinct values and what else was asked, on the tensor's device: first positions, the
    number of the value of each element, how often each value occurs."""
    if x.device is not HOST or dt.is_complex(x.dtype):
        return _distinct_by_numpy(x, first, inverse, counts, equal_nan)
    followed, flat, order = has_gradient(x), reshape(x, (x.size,)), None
    if first or followed or inverse:
        order = argsort(flat)
        ranked = gather_axes(flat, [order], 0)
    else:
        ranked = sort(flat)
    starts = bind(STARTS, ranked, ranked, equal_nan=equal_nan)
    truths = Truths.of(starts)
    places = truths.taken(order) if order is not None and (first or followed) else None
    values = gather_axes(flat, [places], 0) if followed else truths.taken(ranked)
    number = None
    if inverse:
        numbers = subtract(cumulative_sum(starts, dtype=dt.int64), 1)
        base = zeros(x.size, 1, dtype=dt.int64)
        number = reshape(scatter_set(base, order, reshape(numbers, (x.size, 1))), x.shape)
    return [values, places if first else None, number, truths.gaps() if counts else None]


@in_plain_floats
def _distinct_by_numpy(
    x: Tensor, first: bool, inverse: bool, counts: bool, equal_nan: bool
) -> list[Tensor | None]:
    """The same of complex numbers, which NumPy orders, and of another device."""
    followed = has_gradient(x)
    asked = first or followed, inverse, counts
    if dt.is_complex(x.dtype):
        found = distinct_numbers(x.numpy(), asked, equal_nan)
    else:
        given = x.numpy().reshape(-1)
        order = order_of(given, 0)
        found = distinct(given[order], order, x.shape, asked, equal_nan)
    parts = [None if part is None else owned(part, x.device) for part in found]
    if followed:
        parts[0] = take(reshape(x, (-1,)), parts[1])
        parts[1] = parts[1] if first else None
    return parts


def has_gradient(x: Tensor) -> bool:
    """Whether elements of x that are selected by its data have to be taken on the tape."""
    return x._node is not None and grad_enabled() and dt.is_inexact(x.dtype)


def apart(left: np.dtype, right: np.dtype) -> np.dtype:
    """The dtype that values of two dtypes are compared in: integers beside floats stay distinct as
    far as float64 tells them apart."""
    common = dt.promote(left, right)
    if not dt.is_inexact(common) or (dt.is_inexact(left) and dt.is_inexact(right)):
        return common
    return dt.promote(common, dt.float64)


@public
def isin(x: Any, test: Any, /, *, invert: bool = False) -> Tensor:
    """Whether each element of x equals some element of `test`; NaN equals nothing.

    The result is bool, of x's shape.  Integers are compared with floats in float64.

    >>> hybrid.isin(hybrid.tensor([1, 2, 3]), hybrid.tensor([3, 1]))
    tensor([ True, False,  True])
    """
    x, test = operands(x, test, compares=True)
    if dt.signs_differ(x.dtype, test.dtype):
        wide = dt.uint64 if test.dtype is dt.uint64 else dt.int64
        inside = greater_equal(x, 0) if wide is dt.uint64 else less_equal(x, np.iinfo(wide).max)
        found = logical_and(inside, isin(astype(x, wide), astype(test, wide)))
        return logical_not(found) if invert else found
    common = apart(x.dtype, test.dtype)
    x, test = astype(x, common), astype(test, common)
    flat = reshape(test, (test.size,))
    if test.size <= _FEW:
        found = any_(equal(expand_dims(x, -1), flat), axis=-1)
    else:
        ordered = sort(flat)
        place = clip(searchsorted(ordered, x), None, test.size - 1)
        found = equal(gather_axes(ordered, [place], 0), x)
    return logical_not(found) if invert else found


@public
def unique(
    x: Tensor,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
) -> Any:
    """NumPy's unique: distinct values in increasing order (None: of the flattened tensor), or
    distinct slices along an axis; reads the data on the host.

    With the `return_` arguments a tuple: the values, their first positions, the positions of all
    elements among the values, how often each occurs.  `equal_nan`: NaN occurs once (in
    `unique_values` each is a value of its own).  The gradient of a value goes to its first element.

    >>> hybrid.unique(hybrid.tensor([3, 1, 3, 2]))
    tensor([1, 2, 3])
    >>> hybrid.unique(hybrid.tensor([3, 1, 3, 2]), return_counts=True)
    (tensor([1, 2, 3]), tensor([1, 1, 2]))
    """
    x = as_tensor(x)
    asked = bool(return_index), bool(return_inverse), bool(return_counts)
    if axis is None:
        found = _distinct(x, *asked, bool(equal_nan))
    else:
        found = _distinct_slices(x, asked, normalize_axis(axis, x.ndim, "unique"), bool(equal_nan))
    values, *rest = [part for part in found if part is not None]
    return (values, *rest) if rest else values


@in_plain_floats
def _distinct_slices(
    x: Tensor, asked: tuple[bool, bool, bool], axis: int, equal_nan: bool
) -> list[Tensor]:
    followed, (first, *others) = has_gradient(x), asked
    unique_of: Any = np.unique
    parts = unique_of(plain(x.numpy()), first or followed, *others, axis, equal_nan=equal_nan)
    parts = parts if isinstance(parts, tuple) else (parts,)
    found = [owned(np.asarray(part), x.device) for part in parts]
    found[0] = take(x, found[1], axis) if followed else astype(found[0], x.dtype)
    if followed and not first:
        del found[1]
    return found


@public
def unique_values(x: Tensor) -> Tensor:
    """Distinct values in increasing order, each NaN a value of its own; reads the data on the host.

    >>> hybrid.unique_values(hybrid.tensor([3, 1, 3, 2]))
    tensor([1, 2, 3])
    """
    values, *_ = _distinct(as_tensor(x), False, False, False, False)
    return values


@public
def unique_counts(x: Tensor) -> UniqueCounts:
    """Distinct values and how often each occurs, as a named tuple (values, counts).

    >>> values, counts = hybrid.unique_counts(hybrid.tensor([3, 1, 3, 2]))
    >>> values, counts
    (tensor([1, 2, 3]), tensor([1, 1, 2]))
    """
    values, _, _, counts = _distinct(as_tensor(x), False, False, True, False)
    return UniqueCounts(values, counts)


@public
def unique_inverse(x: Tensor) -> UniqueInverse:
    """Distinct values and, for every element, the position of its value, as a named tuple (values,
    inverse_indices).

    >>> values, inverse = hybrid.unique_inverse(hybrid.tensor([[3, 1], [3, 2]]))
    >>> values.tolist(), inverse.tolist(), values[inverse].tolist()
    ([1, 2, 3], [[2, 0], [2, 1]], [[3, 1], [3, 2]])
    """
    values, _, inverse, _ = _distinct(as_tensor(x), False, True, False, False)
    return UniqueInverse(values, inverse)
