"""Writes in place by NumPy's names: put, place, putmask, copyto, put_along_axis, fill_diagonal.

Invariant: the tensor given takes a new value as `x[key] = value` gives it one: views, the tape and
a recorder see that; values that are too few are repeated.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes as dt
from ...core.errors import DTypeError, ShapeError
from ...core.shapes import broadcast_shapes
from ...ir.door.bind import as_tensor, current_mode, store
from ...ir.door.foreign import is_number, number_dtype
from ...ir.tensor import Handle
from ..axes.views import broadcast_to, reshape
from ..base.surface import public
from ..build.create import zeros
from ..build.join import slice_set
from ..elementwise.arithmetic import clone
from ..elementwise.selection import where
from ..indexing.along import put_along
from ..indexing.index import positions, scatter_set
from ..indexing.truths import nonzero
from .shapes import cycled, ravel

Tensor = Any


def _written(x: Any, what: str) -> Tensor:
    """The tensor that is written; DTypeError for anything else, which would keep its value."""
    if isinstance(x, Handle):
        return x
    raise DTypeError(
        f"{what} writes the tensor that it is given, not a {type(x).__name__}; make a tensor of it "
        "first, with hybrid.asarray"
    )


def _give(x: Tensor, value: Tensor) -> None:
    """x takes a value of its shape and dtype."""
    x._inplace(value)


def _put_rows(x: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write elements at checked row-major numbers; the last write to an element stays."""
    flat = _flat(x)
    if flat is not None:
        flat[rows] = values
        return
    column = reshape(values, (values.size, 1))
    _give(x, reshape(scatter_set(reshape(x, (x.size, 1)), rows, column), x.shape))


def _flat(x: Tensor) -> Tensor | None:
    """A view of x with one axis, which writes go through to where they cost what they write; None
    where there is none."""
    if current_mode() is not None or x._node is not None:
        return None
    flat = ravel(x)
    return flat if flat is x or getattr(flat, "_x", None) is not None else None


@public
def fill_diagonal(a: Tensor, val: Any, wrap: bool = False) -> None:
    """Write `val` (a number, or values that are repeated) on the main diagonal of `a`, in place;
    `wrap` goes on below it in a tall matrix.  No value leaves it as it is.

    ShapeError below two dimensions, and for more than two axes of different sizes.

    >>> x = hybrid.zeros(2, 3)
    >>> hybrid.fill_diagonal(x, 5.0)
    >>> x
    tensor([[5., 0., 0.],
            [0., 5., 0.]])
    """
    a = _written(a, "fill_diagonal")
    if a.ndim < 2:
        raise ShapeError(f"fill_diagonal takes at least two dimensions, not shape {a.shape}")
    columns, stop = a.shape[1], a.size
    if a.ndim == 2:
        step = columns + 1
        stop = a.size if wrap else min(a.size, columns * columns)
    elif len(set(a.shape)) != 1:
        raise ShapeError(f"fill_diagonal takes more than two axes of one size, not shape {a.shape}")
    else:
        step = sum(a.shape[0] ** power for power in range(a.ndim))
    count = len(range(0, stop, step))
    given = store(val, a.dtype, a.device)
    if count and given.size:
        values, flat = cycled(given, count), _flat(a)
        if flat is not None:
            flat[:stop:step] = values
        else:
            _give(a, reshape(slice_set(ravel(a), values, (0,), (step,)), a.shape))


# ---- at positions
@public(method=True)
def put(a: Tensor, ind: Any, v: Any, mode: str = "raise") -> None:
    """Write values at row-major positions of `a`, in place: a.ravel()[ind] = v.

    Fewer values than positions are repeated, none leave `a` as it is; of equal positions the last
    one stays.  mode 'raise' raises IndexOutOfRange for a position outside (negative ones count from
    the end), 'wrap' takes it modulo the size, 'clip' the nearest one.

    >>> x = hybrid.zeros(2, 2)
    >>> hybrid.put(x, [0, -1], [5.0, 7.0])
    >>> x
    tensor([[5., 0.],
            [0., 7.]])
    """
    a = _written(a, "put")
    given = store(v, a.dtype, a.device)
    if a.size and not given.size:
        ind = zeros((0,), dtype=dt.int64, device=a.device)  # NumPy looks at no position then
    rows = ravel(positions(ind, a.size, mode, "put", device=a.device))
    if rows.size:
        _put_rows(a, rows, cycled(given, rows.size))


@public
def place(arr: Tensor, mask: Any, vals: Any) -> None:
    """Write values where the mask (of arr's size) is true, in place, repeated as needed: the n-th
    true element takes the n-th value.  The mask is read on the host.

    ShapeError for a mask of another size, and for no values.

    >>> x = hybrid.arange(5)
    >>> hybrid.place(x, x > 1, [70, 80])
    >>> x
    tensor([ 0,  1, 70, 80, 70])
    """
    arr = _written(arr, "place")
    (rows,) = nonzero(_mask_of(arr, mask, "place"))
    given = store(vals, arr.dtype, arr.device)
    if rows.size:
        if not given.size:
            raise ShapeError("place: there is no value to write")
        _put_rows(arr, rows, cycled(given, rows.size))


def _mask_of(x: Tensor, mask: Any, what: str) -> Tensor:
    mask = as_tensor(mask, x.device)
    if mask.size != x.size:
        raise ShapeError(f"{what}: a mask of shape {mask.shape} for a tensor of shape {x.shape}")
    return ravel(mask)


@public
def putmask(a: Tensor, mask: Any, values: Any) -> None:
    """Write values where the mask (of a's size) is true, in place: element n takes value n,
    repeated as needed.

    ShapeError for a mask of another size.

    >>> x = hybrid.arange(5)
    >>> hybrid.putmask(x, x > 1, [-33, -44])
    >>> x
    tensor([  0,   1, -33, -44, -33])
    """
    a = _written(a, "putmask")
    flat = _mask_of(a, mask, "putmask")
    given = store(values, a.dtype, a.device)
    if given.size:
        shown = given if given.size == 1 else cycled(given, a.size)
        shown = reshape(shown, () if given.size == 1 else a.shape)
        _give(a, where(reshape(flat, a.shape), shown, a))


@public
def copyto(dst: Tensor, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Write `src`, which broadcasts, into `dst`, in place, where the mask `where` is true.

    DTypeError where `casting` ('no', 'equiv', 'safe', 'same_kind' or 'unsafe') does not allow the
    dtype, ShapeError where shapes do not broadcast.

    >>> x = hybrid.zeros(3)
    >>> hybrid.copyto(x, [1.0, 2.0, 3.0], where=[True, False, True])
    >>> x
    tensor([1., 0., 3.])
    """
    target = _written(dst, "copyto")
    own = _casts(target, src, casting)
    if not own:
        raise DTypeError(
            f"copyto: casting {casting!r} does not allow to write this into {target.dtype.name}; "
            "pass casting='unsafe' to convert"
        )
    given = store(src, target.dtype, target.device)
    _give(target, _copied(target, given, where))


def _casts(target: Tensor, src: Any, casting: str) -> bool:
    """Whether NumPy's rule of that name lets `src` be written; numbers are weak."""
    source = number_dtype(src) if is_number(src) else as_tensor(src).dtype
    weak = is_number(src) or isinstance(src, (list, tuple))
    if weak and casting != "unsafe" and source.kind in "iuf":
        return dt.is_inexact(target.dtype) or (dt.is_int(target.dtype) and not dt.is_float(source))
    return dt.casts(source, target.dtype, casting)


def _copied(target: Tensor, given: Tensor, mask: Any) -> Tensor:
    if broadcast_shapes("copyto", given.shape, target.shape) != target.shape:
        raise ShapeError(f"copyto: shape {given.shape} does not fit shape {target.shape}")
    given = broadcast_to(given, target.shape)
    if mask is True:
        return clone(given)
    mask = as_tensor(mask, target.device)
    if mask.dtype is not dt.bool_:
        raise DTypeError(f"copyto: where is a bool tensor, not {mask.dtype.name}")
    return where(broadcast_to(mask, target.shape), given, target)


@public
def put_along_axis(arr: Tensor, indices: Any, values: Any, axis: int | None = -1) -> None:
    """Write values where `take_along_axis` reads, in place; the last write to an element stays.

    ShapeError where the shapes do not fit, IndexOutOfRange for an index out of range.

    >>> x = hybrid.zeros(2, 3)
    >>> hybrid.put_along_axis(x, hybrid.tensor([[1], [2]]), 5.0, axis=1)
    >>> x
    tensor([[0., 5., 0.],
            [0., 0., 5.]])
    """
    arr = _written(arr, "put_along_axis")
    if axis is None:
        _give(arr, reshape(put_along(ravel(arr), indices, values, 0), arr.shape))
    else:
        _give(arr, put_along(arr, indices, values, axis))
