"""x[key] and its functional write, by NumPy's rules for ints, slices, None, ..., arrays, masks.

Invariant: a key of ints, slices, None and ... is one view; index arrays never read data on the
host, masks do (the shape of their result depends on it) unless a masked write can be a `where`.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Device
from ...core.errors import ArgumentError, DTypeError, HybridError, IndexOutOfRange, ShapeError
from ...core.floating import plain_floats
from ...core.shapes import broadcast_shapes, whole
from ...ir.door.bind import FAST, as_tensor, bind, store
from ...ir.door.foreign import data_of, holds_tensors
from ...ir.tensor import Handle
from ..axes.views import RESHAPE, SLICE, broadcast_to, moveaxis, permute_dims, reshape, slice_
from ..base.surface import public
from ..build.join import slice_set
from ..elementwise.selection import where
from .index import gather_axes, index_check, row_numbers, scatter_set

Ints = tuple[int, ...]
Tensor = Any


class Key(NamedTuple):
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


@public(method=True)
def nonzero(x: Tensor) -> tuple[Tensor, ...]:
    """Index tensors (int64, one per axis) of the nonzero elements; reads the data on the host."""
    x = as_tensor(x)
    if x.ndim == 0:
        raise ShapeError("nonzero takes at least one dimension")
    host = x.numpy()
    with plain_floats():
        found = np.nonzero(host)
    return tuple(as_tensor(i, x.device) for i in found)


@public
def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """Elements of x where the mask (of x's shape) is true, in order, as one axis."""
    return getitem(x, broadcast_to(as_tensor(mask, x.device), x.shape))


def _items(x: Tensor, key: Any) -> list[Any]:
    """One item per axis of the key, masks replaced by their index tensors, ... by slices."""
    items: list[Any] = []
    for k in key if isinstance(key, tuple) else (key,):
        if isinstance(k, (bool, np.bool_)):
            raise IndexError("a Python bool is no index; use x[None] for True, or hybrid.where")
        if k is None or k is Ellipsis or isinstance(k, slice):
            items.append(k)
            continue
        if not isinstance(k, Handle) and hasattr(k, "__index__") and not isinstance(k, np.ndarray):
            items.append(operator.index(k))
            continue
        t = k if isinstance(k, Handle) else _key_array(k)
        if (t._a.dtype if isinstance(t, Handle) else t.dtype) == dt.bool_:
            items.extend(_Mask(t, i, n) for i, n in enumerate(_positions(t, x.device)))
        else:
            items.append(t if isinstance(t, Handle) else as_tensor(t, x.device))
    used = sum(k is not None and k is not Ellipsis for k in items)
    if used > x.ndim:
        raise IndexOutOfRange(f"{used} indices for a tensor of {x.ndim} dimensions")
    dots = [i for i, k in enumerate(items) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = dots[0] if dots else len(items)
    items[at : at + 1] = [slice(None)] * (x.ndim - used)
    return items


def _key_array(k: Any) -> Any:
    """The array of an index that is no tensor; a tensor for a sequence that holds some.

    Raises DTypeError unless it holds integers or truth values."""
    if holds_tensors(k):
        return as_tensor(k)
    try:
        a = data_of(k).array
    except (TypeError, ValueError, MemoryError, HybridError):  # endless ranges, ragged rows
        a = None
    if a is None or a.dtype.kind not in ("iub" if a.size else "iubf"):
        raise DTypeError(
            "an index is made of integers, slices, None, ..., integer or bool arrays, not of a "
            f"{type(k).__name__}"
        )
    return a if a.size else a.astype(np.bool_ if a.dtype == np.bool_ else np.int64)


def _positions(mask: Any, device: Device) -> tuple[Tensor, ...]:
    """Index tensors of a mask; those of an array are constants."""
    if isinstance(mask, Handle) or mask.ndim == 0:
        return nonzero(mask)
    return tuple(as_tensor(i, device) for i in np.nonzero(mask))


class _Mask(NamedTuple):
    """Axis `axis` of a mask in a key: its shape must be that of the axes it stands for."""

    mask: Any
    axis: int
    positions: Tensor


def _index_tensor(k: Any, axis: int, n: int) -> Tensor:
    if isinstance(k, _Mask):
        if k.mask.shape[k.axis] != n:
            raise IndexOutOfRange(
                f"a mask of shape {k.mask.shape} does not fit axis {axis} of size {n}"
            )
        return k.positions
    return index_check(k, n, axis)


def _bound(v: Any) -> int | None:
    return None if v is None else whole(v, "a bound of a slice")


def _bounds(k: Any, n: int, axis: int) -> tuple[int, int, int]:
    """begin, size and step of an int or slice on an axis of size n."""
    if isinstance(k, slice):
        if k.step is not None and whole(k.step, "the step of a slice") == 0:
            raise ArgumentError("the step of a slice is 0")
        r = range(n)[slice(*[_bound(v) for v in (k.start, k.stop, k.step)])]
        return (r.start if len(r) else 0), len(r), (r.step if len(r) > 1 else 1)
    if not -n <= k < n:
        raise IndexOutOfRange(f"index {k} is out of range for axis {axis} of size {n}")
    return k % n, 1, 1


def parse(x: Tensor, key: Any) -> Key:
    """The key of x[key]; ints, slices and shapes are checked here."""
    begin, sizes, step, drop = [], [], [], []
    insert: list[int] = []
    index: list[tuple[int, Tensor]] = []
    advanced: list[int] = []  # places in the key of index tensors and ints
    axis = place = 0  # axis of x, axis of what box and insertion give
    items = _items(x, key)
    tensors = any(isinstance(k, (Handle, _Mask)) for k in items)
    for where_, k in enumerate(items):
        if k is None:
            insert.append(place)
            place += 1
            continue
        n = x.shape[axis]
        whole = isinstance(k, (Handle, _Mask))
        b, size, by = (0, n, 1) if whole else _bounds(k, n, axis)
        begin.append(b)
        sizes.append(size)
        step.append(by)
        if whole:
            index.append((place, _index_tensor(k, axis, n)))
        if whole or (tensors and isinstance(k, int)):
            advanced.append(where_)
        if isinstance(k, int):
            drop.append(axis)
        else:
            place += 1
        axis += 1
    front = bool(advanced) and advanced[-1] - advanced[0] + 1 != len(advanced)
    return Key(
        tuple(begin), tuple(sizes), tuple(step), tuple(drop), tuple(insert), tuple(index), front
    )


def _basic(x: Tensor, k: Key) -> Tensor:
    """The box of a key, with the inserted axes."""
    out = x
    if k.drop or k.sizes != x.shape or any(s != 1 for s in k.step):
        out = slice_(x, k.begin, k.sizes, k.step, k.drop)
    if k.insert:
        shape = list(out.shape)
        for i in k.insert:
            shape.insert(i, 1)
        out = reshape(out, tuple(shape))
    return out


_PLANS: dict[Any, tuple[dict[str, Any], Ints | None]] = {}
FAST.append(_PLANS)


def _part(k: Any) -> Any:
    """One item of a basic key in hashable form;
    Ellipsis (as a mark: not basic) for anything else."""
    t = type(k)
    if t is int or k is None:
        return k
    if t is slice and all(v is None or type(v) is int for v in (k.start, k.stop, k.step)):
        return ("slice", k.start, k.stop, k.step)
    return Ellipsis


def _plan(x: Tensor, key: Any) -> tuple[dict[str, Any], Ints | None] | None:
    """Parameters of the slice that x[key] is, and the shape it then gets;
    None for a key that is not basic."""
    parts = tuple([_part(k) for k in key]) if type(key) is tuple else (_part(key),)
    if Ellipsis in parts:
        return None
    plan = _PLANS.get((x._a.shape, parts))
    if plan is None:
        k = parse(x, key)
        params = {"begin": k.begin, "sizes": k.sizes, "step": k.step, "drop": k.drop}
        plan = params, _basic_shape(k) if k.insert else None
        if len(_PLANS) > 4096:
            _PLANS.clear()
        _PLANS[x._a.shape, parts] = plan
    return plan


@public
def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key]."""
    plan = _plan(x, key)
    if plan is not None:
        out = bind(SLICE, x, **plan[0])
        return out if plan[1] is None else bind(RESHAPE, out, shape=plan[1])
    k = parse(x, key)
    out = _basic(x, k)
    if not k.at:
        return reshape_view(out, x)
    axes, idx = [a for a, _ in k.at], [t for _, t in k.at]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        out, axes = moveaxis(out, axes, list(range(len(axes)))), list(range(len(axes)))
    batch = max(i.ndim for i in idx)
    got = gather_axes(out, idx, axes[0])
    if k.front and axes[0]:
        got = moveaxis(got, list(range(axes[0], axes[0] + batch)), list(range(batch)))
    return got


def reshape_view(out: Tensor, x: Tensor) -> Tensor:
    """out, or a view of all of x when the key selected everything (x[...] is a new handle)."""
    return out if out is not x else slice_(x, (0,) * x.ndim, x.shape)


# ---- functional writes
def _lone_mask(x: Tensor, key: Any) -> Tensor | None:
    m = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if isinstance(m, list) and m and not holds_tensors(m):
        m = data_of(m).array
    if isinstance(m, np.ndarray) and m.dtype == np.bool_:
        m = as_tensor(m, x.device)
    if isinstance(m, Handle) and m._a.dtype is dt.bool_ and m._a.shape == x.shape[: m._a.ndim]:
        return reshape(m, m._a.shape + (1,) * (x.ndim - m._a.ndim))
    return None


@public
def setitem(x: Tensor, key: Any, value: Any) -> Tensor:
    """A tensor like x after x[key] = value; the last write to an element stays.

    Raises ShapeError when value does not broadcast to x[key].
    """
    v = store(value, x.dtype, x.device)
    plan = _plan(x, key)
    if plan is not None:
        params, shape = plan
        box = _without(params["sizes"], params["drop"])
        v = reshape(_fit(v, box if shape is None else shape), box)
        return slice_set(x, v, params["begin"], params["step"], params["drop"])
    mask = _lone_mask(x, key)
    if mask is not None and v.size == 1:
        return where(mask, reshape(v, ()), x)
    k = parse(x, key)
    if not k.at:
        shape = _basic_shape(k)
        v = _fit(v, shape)
        return slice_set(x, reshape(v, _without(shape, k.insert)), k.begin, k.step, k.drop)
    return _set_indexed(x, k, v)


def _basic_shape(k: Key) -> Ints:
    shape = [n for a, n in enumerate(k.sizes) if a not in k.drop]
    for i in k.insert:
        shape.insert(i, 1)
    return tuple(shape)


def _without(shape: Ints, axes: Ints) -> Ints:
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def _fit(v: Tensor, shape: Ints) -> Tensor:
    """v broadcast to a shape; extra leading axes of size 1 are allowed, as NumPy does."""
    while v.ndim > len(shape) and v.shape[0] == 1:
        v = reshape(v, v.shape[1:])
    try:
        fits = broadcast_shapes("x[key] = value", v.shape, shape) == shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"a value of shape {v.shape} cannot be written where x[key] has shape {shape}"
        )
    return broadcast_to(v, shape)


def _set_indexed(x: Tensor, k: Key, v: Tensor) -> Tensor:
    """Writes at index tensors: rows of the box (indexed axes first)
    are replaced, then the box is written."""
    box = _basic(x, k)
    axes, idx = [a for a, _ in k.at], [t for _, t in k.at]
    batch = broadcast_shapes("index", *[i.shape for i in idx])
    rest = [a for a in range(box.ndim) if a not in axes]
    at = 0 if k.front else sum(a < axes[0] for a in rest)
    kept = tuple(box.shape[a] for a in rest)
    v = _fit(v, kept[:at] + batch + kept[at:])
    v = moveaxis(v, list(range(at, at + len(batch))), list(range(len(batch))))
    order = axes + rest
    sizes = tuple(box.shape[a] for a in axes)
    rows = row_numbers(tuple(broadcast_to(i, batch) for i in idx), sizes)
    inner = prod(kept)
    table = reshape(permute_dims(box, order), (prod(sizes), inner))
    new = scatter_set(table, rows, reshape(v, (rows.size, inner)))
    back = sorted(range(len(order)), key=order.__getitem__)
    new = permute_dims(reshape(new, sizes + kept), back)
    if (
        new.shape == x.shape
        and not k.drop
        and not k.insert
        and k.sizes == x.shape
        and all(s == 1 for s in k.step)
    ):
        return new
    return slice_set(x, reshape(new, _without(new.shape, k.insert)), k.begin, k.step, k.drop)
