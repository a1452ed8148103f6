"""Elements chosen by conditions and by numbers: where, argwhere, compress, choose, select.

Invariant: only what has a shape that the data decides reads its condition on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.shapes import broadcast_shapes, items_of, normalize_axis
from ...ir.door.bind import as_tensor, operands
from ...ir.door.bind import convert as astype
from ...ir.tensor import Handle
from ..axes.extremes import any as any_
from ..axes.views import broadcast_to, reshape
from ..base.common import owned
from ..base.surface import public
from ..build.create import zeros_like
from ..build.join import stack
from ..build.pieces import unstack
from ..elementwise.logic import logical_not
from ..elementwise.selection import where as _where
from ..indexing.along import take_along_axis
from ..indexing.getitem import getitem, setitem
from ..indexing.index import gather_axes, positions, take
from ..indexing.truths import Truths, nonzero, nonzero_places, true_rows, truth_of
from .shapes import ravel

Tensor = Any
_NOTHING: Any = object()  # where `where` gets one argument


# ---- by a condition
@public(method=True)
def where(condition: Any, x: Any = _NOTHING, y: Any = _NOTHING, /) -> Any:
    """x where the condition holds, else y; of a condition alone, its `nonzero`.

    Shapes broadcast, or ShapeError; the dtypes of x and y promote; a condition of another dtype
    holds where it is not zero.  The gradient goes to what was chosen.

    >>> x = hybrid.tensor([-1.0, 2.0, -3.0])
    >>> hybrid.where(x > 0, x, 0.0)
    tensor([0., 2., 0.])
    >>> hybrid.where(x > 0)
    (tensor([1]),)
    """
    if x is _NOTHING:
        return nonzero(condition)
    if y is _NOTHING:
        raise ArgumentError("where takes a condition alone, or with both x and y")
    return _where(condition, x, y)


where.operands_only = True  # type: ignore[attr-defined]


@public(method=True)
def argwhere(a: Tensor) -> Tensor:
    """Positions (int64, one row each) of the elements that are not zero; reads on the host how
    many there are.

    >>> hybrid.argwhere(hybrid.tensor([[0, 7], [8, 9]]))
    tensor([[0, 1],
            [1, 0],
            [1, 1]])
    """
    a = as_tensor(a)
    if not a.ndim:
        return reshape(nonzero(reshape(a, (1,)))[0], (-1, 1))[:, :0]
    if a.device is HOST:
        found = Truths.of(truth_of(a)).places(tuple(range(a.ndim)))
        return found if a.ndim > 1 else reshape(found, (found.size, 1))
    return owned(np.stack(nonzero_places(a.numpy()), 1), a.device)


@public
def flatnonzero(a: Tensor) -> Tensor:
    """Row-major positions (int64) of the elements that are not zero; reads the data on the host.

    >>> hybrid.flatnonzero(hybrid.tensor([[0, 7], [8, 9]]))
    tensor([1, 2, 3])
    """
    a = as_tensor(a)
    return Truths.of(truth_of(a)).places() if a.device is HOST else nonzero(ravel(a))[0]


@public
def extract(condition: Any, arr: Tensor) -> Tensor:
    """The elements of arr, flattened, where the condition, flattened, is not zero; reads the
    condition on the host.

    IndexOutOfRange for a condition that holds behind the last element.

    >>> hybrid.extract([True, False, True], hybrid.tensor([1, 2, 3]))
    tensor([1, 3])
    """
    arr = as_tensor(arr)
    return _held(ravel(arr), ravel(as_tensor(condition, arr.device)), 0)


@public
def compress(condition: Any, a: Tensor, axis: int | None = None) -> Tensor:
    """Slices along an axis (None: of the flattened tensor) where a 1-D condition, which may be
    shorter, is not zero; reads the condition on the host.

    ShapeError for a condition of other dimensions, IndexOutOfRange where it holds behind the end.

    >>> hybrid.compress([False, True], hybrid.tensor([[1, 2], [3, 4]]), axis=0)
    tensor([[3, 4]])
    """
    a = as_tensor(a)
    condition = as_tensor(condition, a.device)
    if condition.ndim != 1:
        raise ShapeError(f"compress: the condition has one axis, not shape {condition.shape}")
    if axis is None:
        a, axis = ravel(a), 0
    return _held(a, condition, normalize_axis(axis, a.ndim, "compress"))


def _held(x: Tensor, condition: Tensor, axis: int) -> Tensor:
    """Slices of x along an axis where a 1-D condition is not zero."""
    if not axis and condition.shape == x.shape[:1]:
        return true_rows(x, truth_of(condition))
    (found,) = nonzero(condition)
    if condition.size > x.shape[axis]:
        return take(x, found, axis)  # which looks at every position
    return gather_axes(x, [found], axis)


@public
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Tensor:
    """Elements of the first choice whose condition holds, else the default.

    Conditions are bool tensors, else DTypeError; shapes broadcast; the dtypes of choices and
    default promote; ArgumentError for lists of different lengths and empty ones.

    >>> x = hybrid.arange(5)
    >>> hybrid.select([x < 2, x > 3], [x, x * 10], -1)
    tensor([ 0,  1, -1, -1, 40])
    """
    conditions = [as_tensor(c) for c in items_of(condlist, "select: condlist")]
    choices = items_of(choicelist, "select: choicelist")
    if len(conditions) != len(choices) or not conditions:
        raise ArgumentError(
            f"select takes as many choices as conditions, at least one: there are "
            f"{len(conditions)} conditions and {len(choices)} choices"
        )
    for condition in conditions:
        if condition.dtype is not dt.bool_:
            raise DTypeError(f"select: conditions are bool tensors, not {condition.dtype.name}")
    *tensors, result = operands(*choices, default)
    tensors, result = _of_one_dtype(tensors, result)
    for condition, choice in zip(conditions[::-1], tensors[::-1]):
        result = _where(condition, choice, result)
    return result


def _of_one_dtype(tensors: list[Tensor], default: Tensor) -> tuple[list[Tensor], Tensor]:
    dtype = default.dtype
    for tensor in tensors:
        dtype = dt.promote(dtype, tensor.dtype)
    return [astype(t, dtype) for t in tensors], astype(default, dtype)


@public
def piecewise(x: Tensor, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Tensor:
    """Each function (or number) on the elements where its condition holds, the last one that holds;
    one function more than conditions is for the rest; 0 elsewhere, in x's dtype.

    Functions get the chosen elements only, so the conditions are read on the host; ArgumentError
    for another number of functions.

    >>> x = hybrid.tensor([-2.0, -1.0, 3.0])
    >>> hybrid.piecewise(x, [x < 0, x >= 0], [lambda v: -v, 7.0])
    tensor([2., 1., 7.])
    """
    x = as_tensor(x)
    conditions = [astype(as_tensor(c, x.device), dt.bool_) for c in _conditions(x, condlist)]
    if len(funclist) == len(conditions) + 1:
        conditions.append(logical_not(any_(stack(conditions), axis=0)))
    if len(funclist) != len(conditions):
        raise ArgumentError(
            f"piecewise: {len(conditions)} conditions take as many functions or one more, not "
            f"{len(funclist)}"
        )
    result = zeros_like(x)
    for condition, function in zip(conditions, funclist):
        condition = broadcast_to(condition, x.shape)
        result = _piece(x, result, condition, function, args, kw)
    return result


def _conditions(x: Tensor, given: Any) -> Any:
    """The list of conditions that is meant: one alone is a list of one."""
    if not isinstance(given, (list, tuple)):
        given = as_tensor(given, x.device)
        return unstack(given) if given.ndim > 1 or (given.ndim and not x.ndim) else [given]
    several = given and (isinstance(given[0], (list, tuple)) or hasattr(given[0], "dtype"))
    return given if several or not x.ndim else [given]


def _piece(
    x: Tensor,
    result: Tensor,
    condition: Tensor,
    function: Any,
    args: tuple[Any, ...],
    kw: dict[str, Any],
) -> Tensor:
    if not callable(function):
        return setitem(result, condition, function)
    if not x.ndim:
        return setitem(result, (), function(x, *args, **kw)) if condition.item() else result
    chosen = getitem(x, condition)
    return setitem(result, condition, function(chosen, *args, **kw)) if chosen.size else result


# ---- by a number
@public(method=True)
def choose(a: Tensor, choices: Any, *, mode: str = "raise") -> Tensor:
    """Element [a[i]][i] of the choices, which broadcast with a and each other.

    mode 'raise' raises IndexOutOfRange for a number outside 0..n-1, 'wrap' takes it modulo n,
    'clip' the nearest one.  Dtypes of the choices promote.

    >>> hybrid.choose(hybrid.tensor([1, 0, 1]), [[1, 2, 3], [10, 20, 30]])
    tensor([10,  2, 30])
    """
    a = as_tensor(a)
    listed = unstack(choices) if isinstance(choices, Handle) else items_of(choices, "choose")
    tensors = operands(*listed)
    if not tensors:
        raise ArgumentError("choose takes at least one choice")
    which = positions(a, len(tensors), mode, "choose", device=a.device, wrap=False)
    shape = broadcast_shapes("choose", a.shape, *[t.shape for t in tensors])
    table = stack([broadcast_to(t, shape) for t in tensors])
    index = reshape(broadcast_to(which, shape), (1, *shape))
    return reshape(take_along_axis(table, index, 0), shape)
