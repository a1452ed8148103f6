"""x[key] and its functional write, by NumPy's rules for ints, slices, None, ..., arrays, masks.

Invariant: a key of ints, slices, None and ... is one view; index arrays never read data on the
host, masks do (the shape of their result depends on it) unless a masked write can be a `where`.
"""

from __future__ import annotations

import operator
from contextlib import suppress
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.cache import keep
from ...core.errors import ArgumentError, DTypeError, HybridError, IndexOutOfRange, ShapeError
from ...core.shapes import broadcast_shapes, whole
from ...ir.door.bind import FAST, TABLE_LIMIT, Resolved, as_tensor, resolve, run, store
from ...ir.door.foreign import data_of, holds_tensors
from ...ir.tensor import Handle
from ..axes.slices import SLICE, slice_
from ..axes.views import broadcast_to, moveaxis, permute_dims, reshape
from ..base.surface import public
from ..build.join import slice_set
from ..elementwise.selection import where
from .index import gather_axes, index_check, row_numbers, scatter_set
from .truths import places_of, true_rows, with_elements

Ints = tuple[int, ...]
Tensor = Any
NESTED = 64  # axes that an array of NumPy may have


class IndexKey(NamedTuple):
    """A parsed key: a strided box of x, axes of size 1 to insert into it (positions in the result
    of the box), and index tensors for axes of what that gives; `front` puts their shape first, else
    it stands at the first one."""

    begin: Ints
    sizes: Ints
    step: Ints
    drop: Ints
    insert: Ints
    at: tuple[tuple[int, Tensor], ...]
    front: bool


@public
def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """Elements of x where the mask (of x's shape) is true, in order, as one axis.

    The mask is read on the host; ShapeError where it does not broadcast to x.

    >>> x = hybrid.tensor([[1, -2], [-3, 4]])
    >>> hybrid.masked_select(x, x > 0)
    tensor([1, 4])
    """
    return getitem(x, broadcast_to(as_tensor(mask, x.device), x.shape))


def _items(operand: Tensor, key: Any) -> list[Any]:
    """One item per axis of the key, masks replaced by their index tensors, ... by slices."""
    items: list[Any] = []
    for item in key if isinstance(key, tuple) else (key,):
        if isinstance(item, (bool, np.bool_)):
            items.append(_Flag(as_tensor(np.arange(int(item)), operand.device)))
            continue
        if item is None or item is Ellipsis or isinstance(item, slice):
            items.append(item)
            continue
        if (
            not isinstance(item, Handle)
            and hasattr(item, "__index__")
            and not isinstance(item, np.ndarray)
        ):
            items.append(operator.index(item))
            continue
        tensor: Any = item if isinstance(item, Handle) else _key_array(item)
        truth = (tensor._a.dtype if isinstance(tensor, Handle) else tensor.dtype) == dt.bool_
        if truth and not tensor.ndim:
            items.append(_Flag(places_of(tensor.reshape(1), operand.device)[0]))
        elif truth:
            found = places_of(tensor, operand.device)
            items.extend(_Mask(tensor, i, n) for i, n in enumerate(found))
        else:
            items.append(
                tensor if isinstance(tensor, Handle) else as_tensor(tensor, operand.device)
            )
    used = sum(k is not None and k is not Ellipsis and type(k) is not _Flag for k in items)
    if used > operand.ndim:
        raise IndexOutOfRange(f"{used} indices for a tensor of {operand.ndim} dimensions")
    dots = [i for i, k in enumerate(items) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    positions = dots[0] if dots else len(items)
    # an ellipsis that stands for no axis still comes between the indices beside it
    spread: list[Any] = [slice(None)] * (operand.ndim - used)
    items[positions : positions + 1] = spread or (dots and [Ellipsis])
    return items


def _key_array(item: Any) -> Any:
    """The array of an index that is no tensor; a tensor for a sequence that holds some.

    Raises DTypeError unless it holds integers or truth values."""
    if holds_tensors(item):
        return as_tensor(item)
    try:
        array = data_of(item).array
    except (TypeError, ValueError, MemoryError, HybridError):  # endless ranges, ragged rows
        array = None
    if array is None or array.dtype.kind not in ("iub" if array.size else "iubf"):
        raise DTypeError(
            "an index is made of integers, slices, None, ..., integer or bool arrays, not of a "
            f"{type(item).__name__}"
        )
    if array.size or array.dtype == np.bool_:
        return array
    return array.astype(np.int64)


class _Mask(NamedTuple):
    """Axis `axis` of a mask in a key: its shape must be that of the axes it stands for."""

    mask: Any
    axis: int
    positions: Tensor


class _Flag(NamedTuple):
    """A truth value in a key: positions of a new axis of size 1, one or none."""

    positions: Tensor


def _index_tensor(item: Any, axis: int, extent: int) -> Tensor:
    if isinstance(item, _Mask):
        if item.mask.shape[item.axis] not in (extent, 0):  # the standard lets a mask be empty
            raise IndexOutOfRange(
                f"a mask of shape {item.mask.shape} does not fit axis {axis} of size {extent}"
            )
        return item.positions
    return index_check(item, extent, axis)


def _bound(border: Any) -> int | None:
    return None if border is None else whole(border, "a bound of a slice")


def _bounds(item: Any, extent: int, axis: int) -> tuple[int, int, int]:
    """begin, size and step of an int or slice on an axis of that extent."""
    if isinstance(item, slice):
        if item.step is not None and whole(item.step, "the step of a slice") == 0:
            raise ArgumentError("the step of a slice is 0")
        chosen = range(extent)[slice(*[_bound(v) for v in (item.start, item.stop, item.step)])]
        return (
            (chosen.start if len(chosen) else 0),
            len(chosen),
            (chosen.step if len(chosen) > 1 else 1),
        )
    if not -extent <= item < extent:
        raise IndexOutOfRange(f"index {item} is out of range for axis {axis} of size {extent}")
    return item % extent, 1, 1


def parse(operand: Tensor, key: Any) -> IndexKey:
    """The key of x[key]; ints, slices and shapes are checked here."""
    begin, sizes, step, drop = [], [], [], []
    insert: list[int] = []
    index: list[tuple[int, Tensor]] = []
    advanced: list[int] = []  # places in the key of index tensors and ints
    axis = place = 0  # axis of x, axis of what box and insertion give
    items = _items(operand, key)
    tensors = any(isinstance(k, (Handle, _Mask, _Flag)) for k in items)
    for where_, item in enumerate(items):
        if item is Ellipsis:
            continue
        if item is None or type(item) is _Flag:
            insert.append(place)
            if item is not None:
                index.append((place, item.positions))
                advanced.append(where_)
            place += 1
            continue
        extent = operand.shape[axis]
        whole = isinstance(item, (Handle, _Mask))
        start, size, stride = (0, extent, 1) if whole else _bounds(item, extent, axis)
        begin.append(start)
        sizes.append(size)
        step.append(stride)
        if whole:
            index.append((place, _index_tensor(item, axis, extent)))
        if whole or (tensors and isinstance(item, int)):
            advanced.append(where_)
        if isinstance(item, int):
            drop.append(axis)
        else:
            place += 1
        axis += 1
    front = bool(advanced) and advanced[-1] - advanced[0] + 1 != len(advanced)
    return IndexKey(
        tuple(begin), tuple(sizes), tuple(step), tuple(drop), tuple(insert), tuple(index), front
    )


def _basic(operand: Tensor, key: IndexKey) -> Tensor:
    """The box of a key, with the inserted axes."""
    result = operand
    if key.drop or key.sizes != operand.shape or any(s != 1 for s in key.step):
        result = slice_(operand, key.begin, key.sizes, key.step, key.drop)
    if key.insert:
        shape = list(result.shape)
        for axis in key.insert:
            shape.insert(axis, 1)
        result = reshape(result, tuple(shape))
    return result


_PLANS: dict[Any, tuple[dict[str, Any], Ints | None]] = {}
_SLICES: dict[Any, tuple[Resolved, Ints | None]] = {}  # by the record of a tensor and the key
FAST.extend((_PLANS, _SLICES))


_WHOLE = frozenset([int, type(None)])


def _part(item: Any) -> Any:
    """One item of a basic key in hashable form;
    Ellipsis (as a mark: not basic) for anything else."""
    kind = type(item)
    if kind is int or item is None:
        return item
    if kind is slice:
        part = item.start, item.stop, item.step
        if not _WHOLE.issuperset(map(type, part)):
            part = tuple([_part(bound) for bound in part])
        return Ellipsis if Ellipsis in part else part
    return int(item) if issubclass(kind, np.integer) else Ellipsis


def _parts(key: Any) -> tuple[Any, ...] | None:
    """A basic key in hashable form; None for others."""
    parts = tuple([_part(k) for k in key]) if type(key) is tuple else (_part(key),)
    return None if Ellipsis in parts else parts


def _plan(operand: Tensor, key: Any) -> tuple[dict[str, Any], Ints | None] | None:
    """Parameters of the slice that x[key] is, and the shape it then gets;
    None for a key that is not basic."""
    parts = _parts(key)
    if parts is None:
        return None
    plan = _PLANS.get((operand._a.shape, parts))
    if plan is None:
        parsed = parse(operand, key)
        params = {
            "begin": parsed.begin,
            "sizes": parsed.sizes,
            "step": parsed.step,
            "drop": parsed.drop,
        }
        plan = params, _basic_shape(parsed) if parsed.insert else None
        keep(_PLANS, (operand._a.shape, parts), plan, TABLE_LIMIT)
    return plan


def _slice(operand: Tensor, key: Any, parts: tuple[Any, ...]) -> tuple[Resolved, Ints | None]:
    """What makes the slice that a basic key is, and the shape it then gets."""
    plan = _plan(operand, key)
    assert plan is not None
    found = resolve(SLICE, (operand,), plan[0])[0], plan[1]
    return keep(_SLICES, (operand._a, parts), found, TABLE_LIMIT)


@public
def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key]: ints, slices, None, ..., integer and bool tensors, or a tuple of them, as in
    NumPy.

    Raises IndexOutOfRange for an index outside of its axis and for too many of them.

    >>> hybrid.getitem(hybrid.arange(6).reshape(2, 3), (slice(None), [2, 0]))
    tensor([[2, 0],
            [5, 3]])
    """
    found = box_of(x, key)
    if found is not None:
        result = run(found[0], (x,))
        return result if found[1] is None else reshape(result, found[1])
    mask = _lone_mask(x, key)
    if mask is not None and mask.ndim:
        return true_rows(x, mask)
    parsed = parse(x, key)
    result = _basic(x, parsed)
    if not parsed.at:
        return reshape_view(result, x)
    axes, indices = [a for a, _ in parsed.at], [t for _, t in parsed.at]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        result, axes = moveaxis(result, axes, list(range(len(axes)))), list(range(len(axes)))
    batch = max(i.ndim for i in indices)
    got = gather_axes(result, indices, axes[0])
    if parsed.front and axes[0]:
        got = moveaxis(got, list(range(axes[0], axes[0] + batch)), list(range(batch)))
    return got


def reshape_view(out: Tensor, operand: Tensor) -> Tensor:
    """out, or a view of all of x when the key selected everything (x[...] is a new handle)."""
    return out if out is not operand else slice_(operand, (0,) * operand.ndim, operand.shape)


def box_of(x: Tensor, key: Any) -> tuple[Resolved, Ints | None] | None:
    """What makes the slice that a basic key is, and the shape it then gets; None for other keys."""
    parts = _parts(key)
    return None if parts is None else _SLICES.get((x._a, parts)) or _slice(x, key, parts)


# ---- functional writes
def _lone_mask(operand: Tensor, key: Any) -> Any:
    """The mask of axes from the first on, a tensor or an array, that is all of a key; None for
    other keys."""
    mask: Any = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if isinstance(mask, list) and _starts_with_truth(mask) and not holds_tensors(mask):
        with suppress(TypeError, ValueError, HybridError):  # no array: that is said elsewhere
            mask = data_of(mask).array
    found: Any = mask if isinstance(mask, (Handle, np.ndarray)) else None
    if found is None or found.dtype != dt.bool_:
        return None
    return found if found.shape == operand.shape[: found.ndim] else None


def _starts_with_truth(items: Any) -> bool:
    """Whether the first element of nested lists is a truth value."""
    for _ in range(NESTED):
        if not isinstance(items, list) or not items:
            break
        items = items[0]
    return isinstance(items, (bool, np.bool_))


def _in_rows(operand: Tensor, mask: Any) -> Tensor:
    """The operand with one axis for those of a mask."""
    if mask.ndim == 1:
        return operand
    return reshape(operand, (mask.size, *operand.shape[mask.ndim :]))


@public
def setitem(x: Tensor, key: Any, value: Any) -> Tensor:
    """A tensor like x after x[key] = value; the last write to an element stays.

    Raises ShapeError when value does not broadcast to x[key].

    >>> hybrid.setitem(hybrid.zeros(2, 3), (slice(None), 1), hybrid.tensor([5.0, 6.0]))
    tensor([[0., 5., 0.],
            [0., 6., 0.]])
    """
    if isinstance(value, np.floating) and dt.is_int(x.dtype) and not np.isfinite(value):
        raise OverflowError(f"x[key] = value: {value} does not fit {x.dtype.name}")
    stored = store(value, x.dtype, x.device)
    plan = _plan(x, key)
    if plan is not None:
        params, shape = plan
        box = _without(params["sizes"], params["drop"])
        stored = reshape(_fit(stored, box if shape is None else shape), box)
        return slice_set(x, stored, params["begin"], params["step"], params["drop"])
    mask = _lone_mask(x, key)
    if mask is not None and stored.size == 1:
        shape = mask.shape + (1,) * (x.ndim - mask.ndim)
        return where(reshape(as_tensor(mask, x.device), shape), reshape(stored, ()), x)
    if mask is not None and mask.ndim:
        written = with_elements(x, mask, lambda count: _fit(stored, (count,)))
        if written is not None:
            return written
    if mask is not None and mask.ndim > 1:
        return reshape(setitem(_in_rows(x, mask), mask.reshape(-1), stored), x.shape)
    parsed = parse(x, key)
    if not parsed.at:
        shape = _basic_shape(parsed)
        stored = _fit(stored, shape)
        return slice_set(
            x,
            reshape(stored, _without(shape, parsed.insert)),
            parsed.begin,
            parsed.step,
            parsed.drop,
        )
    return _set_indexed(x, parsed, stored)


def _basic_shape(key: IndexKey) -> Ints:
    shape = [n for a, n in enumerate(key.sizes) if a not in key.drop]
    for axis in key.insert:
        shape.insert(axis, 1)
    return tuple(shape)


def _without(shape: Ints, axes: Ints) -> Ints:
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def _fit(values: Tensor, shape: Ints) -> Tensor:
    """Values broadcast to a shape; extra leading axes of size 1 are allowed, as NumPy does."""
    while values.ndim > len(shape) and values.shape[0] == 1:
        values = reshape(values, values.shape[1:])
    try:
        fits = broadcast_shapes("x[key] = value", values.shape, shape) == shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"a value of shape {values.shape} cannot be written where x[key] has shape {shape}"
        )
    return broadcast_to(values, shape)


def _set_indexed(operand: Tensor, key: IndexKey, values: Tensor) -> Tensor:
    """Writes at index tensors: rows of the box (indexed axes first)
    are replaced, then the box is written."""
    box = _basic(operand, key)
    axes, indices = [a for a, _ in key.at], [t for _, t in key.at]
    batch = broadcast_shapes("index", *[i.shape for i in indices])
    rest = [a for a in range(box.ndim) if a not in axes]
    positions = 0 if key.front else sum(a < axes[0] for a in rest)
    kept = tuple(box.shape[a] for a in rest)
    values = _fit(values, kept[:positions] + batch + kept[positions:])
    values = moveaxis(
        values, list(range(positions, positions + len(batch))), list(range(len(batch)))
    )
    order = axes + rest
    sizes = tuple(box.shape[a] for a in axes)
    rows = row_numbers(tuple(broadcast_to(i, batch) for i in indices), sizes)
    inner = prod(kept)
    table = reshape(permute_dims(box, order), (prod(sizes), inner))
    new = scatter_set(table, rows, reshape(values, (rows.size, inner)))
    back = sorted(range(len(order)), key=order.__getitem__)
    new = permute_dims(reshape(new, sizes + kept), back)
    if (
        new.shape == operand.shape
        and not key.drop
        and not key.insert
        and key.sizes == operand.shape
        and all(s == 1 for s in key.step)
    ):
        return new
    return slice_set(
        operand, reshape(new, _without(new.shape, key.insert)), key.begin, key.step, key.drop
    )
