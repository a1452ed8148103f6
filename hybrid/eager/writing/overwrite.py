"""Writes of a part of a tensor into its own memory: they cost what the part costs.

Invariant: memory is written only where reference counts prove that one base and its live views are
all that can see it, and the proof and the writing are one call in C, which lets no thread in
between and none read while a piece is written; whoever holds an old value keeps it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from itertools import chain, compress, repeat
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST
from ...ir.door import bind as door
from ...ir.door.busy import is_busy
from ...ir.door.pending import COLLECTING
from ...ir.tensor import LISTED, SAME, Alias, Handle, Leaf, counted
from ...ops.indexing.getitem import box_of
from ...ops.indexing.truths import nonzero_places

__all__ = ["overwrite_item", "overwrite_view"]

PIECE = 500  # elements up to which NumPy keeps the GIL while it copies
SHARE = 8  # of a tensor: a larger part is sooner written with the rest
VIEWS = 8  # that are looked at
ROWS = 128  # a tensor of so many elements for each row is sooner made anew
_BASIC = frozenset([int, slice, type(None), type(...)])
_ALL, _VALUE = repeat(...), operator.attrgetter("_v")
_SET: Any = operator.setitem  # which runs no Python, as the dispatcher of `np.copyto` does


def overwrite_item(tensor: Any, key: Any, value: Any) -> bool:
    """tensor[key] = value; False where nothing was done."""
    family = _family(tensor)
    if family is None or isinstance(value, np.floating):  # which may not fit integers
        return False
    found, record = box_of(tensor, key), tensor._a
    lines = _lines_of(record.shape, key) if found is None else None
    if found is None and lines is None:
        found = box_of(tensor, _with_numbers(key))
        if found is None:
            return False
    stored = door.store(value, record.dtype, record.device)
    if stored._node is not None or stored._a.device is not HOST:
        return False
    if found is None:
        return _lines_written(family, tensor, lines or [], stored)
    box = found[0].kernel(tensor._v)
    if found[1] is not None:
        box = box.reshape(found[1])
    return _is_there(stored._v, box) or _written(family, box, stored)


def _is_there(source: np.ndarray, box: np.ndarray) -> bool:
    """Whether what is to be written is in its place, as `x[key] += 1` has it."""
    return (
        source.base is box.base
        and source.shape == box.shape
        and source.strides == box.strides
        and source.dtype == box.dtype
        and source.__array_interface__["data"] == box.__array_interface__["data"]
    )


def _whole(item: Any) -> np.ndarray | None:
    """An item of a key that is an integer, or an array of them, on the host."""
    if isinstance(item, Handle):
        item = item._v if item._a.device is HOST else None
    elif type(item) is list and set(map(type, item)) == {int}:
        item = np.array(item)
    if not isinstance(item, (np.ndarray, np.integer)) or item.dtype.kind not in "iu":
        return None
    return np.asarray(item)


def _is_mask(item: Any) -> bool:
    """Whether an item of a key is a mask with axes, on the host."""
    if isinstance(item, Handle):
        return item._a.dtype is dt.bool_ and item._a.device is HOST and item._a.ndim > 0
    return isinstance(item, np.ndarray) and item.dtype == np.bool_ and item.ndim > 0


def _with_numbers(key: Any) -> Any:
    """A key in which integers of NumPy and of tensors are numbers, which make the same box."""
    items = key if type(key) is tuple else (key,)
    found = [None if type(item) in _BASIC else _whole(item) for item in items]
    return tuple([i if n is None or n.ndim else int(n) for i, n in zip(items, found)])


def _lines_of(shape: tuple[int, ...], key: Any) -> list[np.ndarray] | None:
    """The places, a line of integers for each axis from the first on, of a key of integers and
    lines of them, or of a mask; None for other keys, and where there are so many places that the
    tensor is sooner made anew."""
    items, most = key if type(key) is tuple else (key,), math.prod(shape) // SHARE
    if len(items) == 1 and _is_mask(items[0]):
        mask = items[0]._v if isinstance(items[0], Handle) else items[0]
        if mask.shape != shape[: mask.ndim] or not 0 < np.count_nonzero(mask) <= most:
            return None
        return nonzero_places(mask)
    if not 0 < len(items) <= len(shape):
        return None
    lines = [np.array(item) if type(item) is int else _whole(item) for item in items]
    found = [line for line in lines if line is not None]
    if len(found) < len(lines) or max([line.ndim for line in found]) != 1:
        return None
    count = max([line.size for line in found])
    if not 0 < count <= most or any([line.size not in (1, count) for line in found]):
        return None
    if any([line.min() < -n or line.max() >= n for line, n in zip(found, shape)]):
        return None
    return [np.broadcast_to(line.astype(np.int64), count) for line in found]


def overwrite_view(view: Any, written: Any) -> bool:
    """Give a view, and so a part of its base, the value of `written`; False where nothing was
    done."""
    if written._node is not None or written._a.device is not HOST:
        return False
    family = _family(view)
    return family is not None and _written(family, view._v[...], written)


def _family(tensor: Any) -> list[Any] | None:
    """The base of a tensor and the live views of that, which see one memory and have no gradient;
    None where a write has to go another way."""
    if COLLECTING or door.LOCAL.mode is not None or tensor._a.device is not HOST:
        return None
    alias = getattr(tensor, "_x", None)
    if alias is None:
        family = [tensor]
    elif type(alias) is Alias:
        base = tensor if alias.base is None else alias.base
        family = [base, *base._x.live_views()]
        if len(family) > VIEWS or not _follow(tensor, family):
            return None
    else:
        return None
    for member in family:
        node = member._node
        if node is not None and (type(node) is not Leaf or door.grad_enabled()):
            return None
        if is_busy(member):
            return None
    return family


def _follow(tensor: Any, family: list[Any]) -> bool:
    """Whether the views of a family show what is written to its base, and `tensor`, one of it, can
    be written through."""
    while tensor is not family[0]:
        step = tensor._x.step
        if step is None or (step is not SAME and getattr(step[0], "write_back", None) is None):
            return False
        tensor = tensor._x.parent
    return all([view._x.step is not None for view in family[1:]])


def _written(family: list[Any], box: np.ndarray, stored: Any) -> bool:
    """Write into a box, an array that only the caller has, of the memory of a family."""
    size = box.size
    if size > PIECE and size > family[0]._a.size // SHARE:
        return False
    source = _source(stored, box.dtype, box.base)
    if source.ndim and not _fits(source.shape, box.shape):
        return False
    if size <= PIECE:
        return _copied(family, 0, [box], [source])
    if not source.ndim:
        return _copied(family, 1, _parts(box), repeat(source))
    if source.shape != box.shape:
        source = np.broadcast_to(source, box.shape)
    return _copied(family, 1, _parts(box), _parts(source))


def _lines_written(family: list[Any], tensor: Any, lines: list[np.ndarray], stored: Any) -> bool:
    """Write places of a tensor, one after the other."""
    count, inner = lines[0].size, tensor._a.shape[len(lines) :]
    source = _source(stored, tensor._v.dtype, family[0]._v)
    if source.ndim and not _fits(source.shape, (count, *inner)):
        return False
    if not inner and tensor._v.flags.c_contiguous:
        return _points_written(family, tensor, _numbers(lines, tensor._a.shape), source)
    if count * ROWS >= tensor._a.size:
        return False
    places = _parts_of_rows(tensor._v, list(zip(*[line.tolist() for line in lines])))
    if not source.ndim:
        return _copied(family, 0, places, repeat(source))
    source = np.broadcast_to(source, (count, *inner))
    return _copied(family, 0, places, _parts_of_rows(source, list(zip(range(count)))))


def _numbers(lines: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The row-major numbers of places."""
    numbers: Any = 0
    for line, extent in zip(lines, shape):
        numbers = numbers * extent + np.where(line < 0, line + extent, line)
    return numbers  # type: ignore[no-any-return]


def _points_written(family: list[Any], tensor: Any, numbers: np.ndarray, source: Any) -> bool:
    """Write elements of a contiguous tensor; NumPy keeps the GIL for indices and values that are
    simple lines."""
    starts = range(0, numbers.size, PIECE)
    places = [tensor._v.reshape(-1)] * len(starts)
    keys = [numbers[start : start + PIECE] for start in starts]
    if not source.ndim:
        return _copied(family, 1 - len(places), places, repeat(source), keys)
    source = np.ascontiguousarray(np.broadcast_to(source, numbers.shape))
    parts = [source[start : start + PIECE] for start in starts]
    return _copied(family, 1 - len(places), places, parts, keys)


def _source(stored: Any, dtype: np.dtype, memory: Any) -> np.ndarray:
    """The value of `stored` in a dtype, apart from some memory."""
    source: np.ndarray = stored._v
    if source.dtype != dtype or memory is source or memory is source.base:
        source = source.astype(dtype)
    return source


def _parts(array: np.ndarray) -> list[np.ndarray]:
    """Views of an array, as its shape says, that have at most PIECE elements."""
    inner = array.size // len(array)
    if inner > PIECE:
        return [part for row in array for part in _parts(row)]
    step = PIECE // inner
    return [array[i : i + step] for i in range(0, len(array), step)]


def _parts_of_rows(array: np.ndarray, rows: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    used = len(rows[0])
    if math.prod(array.shape[used:]) > PIECE:
        return [part for row in rows for part in _parts(array[row])]
    if array.ndim > used:
        return [array[row] for row in rows]
    keys: list[Any] = [(*row, ...) for row in rows]
    return [array[key] for key in keys]


def _copied(
    family: list[Any],
    others: int,
    places: list[np.ndarray],
    sources: Iterable[np.ndarray],
    keys: Iterable[Any] = _ALL,
) -> bool:
    """Copy where the base and the views of a family, the places and so many other arrays are all
    that see the memory.  Every local name that holds an array here counts."""
    memory: Any = places[0].base
    objects = [member._v for member in family]
    direct = sum([value is memory for value in objects])
    if objects[0] is not memory or not memory.flags.writeable:
        return False
    if not all([value is memory or value.base is memory for value in objects]):
        return False
    # the list, the handles, the views, the places and others, and the name `memory`
    seen = LISTED - 1 + direct + len(family) + len(places) + others + 1
    wanted = [seen if value is memory else LISTED + 1 for value in objects]
    if memory.base is not None:
        owner = door.backend_of(HOST).owner(memory)
        objects.append(owner)
        wanted.append(LISTED + 2)  # the base of `memory`, and the name `owner`
        if owner is None:
            return False
    elif not memory.flags.owndata:
        return False
    known = map(operator.is_, map(_VALUE, family), objects)
    proven = map(all, [chain(known, counted(objects, wanted))])
    written = map(_SET, chain.from_iterable(compress([places], proven)), keys, sources)
    return bool(list(written))


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether NumPy writes values of a shape into a box of another."""
    extra = len(shape) - len(wanted)
    if extra > 0 and set(shape[:extra]) != {1}:
        return False
    pairs = zip(shape[::-1], wanted[::-1])
    return all([size == 1 or size == extent for size, extent in pairs])
