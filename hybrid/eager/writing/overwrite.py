"""Writes of a part of a tensor into its own memory: they cost what the part costs.

Invariant: memory is written only where reference counts prove that one base and its live views are
all that can see it, and the proof and the writing are one call in C, which lets no thread in
between and none read while a piece is written; whoever holds an old value keeps it.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, repeat
from typing import Any

import numpy as np

from ...core.aval import HOST
from ...ir.door import bind as door
from ...ir.door.busy import is_busy
from ...ir.door.pending import COLLECTING
from ...ir.tensor import SAME, Alias, Leaf
from ...ops.indexing.getitem import box_of

__all__ = ["overwrite_item", "overwrite_view"]

PIECE = 500  # elements up to which NumPy keeps the GIL while it copies
SHARE = 8  # of a tensor: a larger part is sooner written with the rest
VIEWS = 8  # that are looked at
_ALL = repeat(...)
_SET: Any = operator.setitem  # which runs no Python, as the dispatcher of `np.copyto` does


def _counts(objects: Sequence[Any], wanted: Sequence[int]) -> Iterator[bool]:
    """Whether each object has so many references, asked when the iterator is read."""
    return map(operator.eq, map(sys.getrefcount, objects), wanted)


_LISTED = next(map(sys.getrefcount, [object()]))  # the count of what only a list holds


def overwrite_item(tensor: Any, key: Any, value: Any) -> bool:
    """tensor[key] = value; False where nothing was done."""
    family = _family(tensor)
    if family is None or isinstance(value, np.floating):  # which may not fit integers
        return False
    found = box_of(tensor, key)
    if found is None:
        return False
    record = tensor._a
    stored = door.store(value, record.dtype, record.device)
    if stored._node is not None or stored._a.device is not HOST:
        return False
    box = found[0].kernel(tensor._v)
    if found[1] is not None:
        box = box.reshape(found[1])
    return _written(family, box, stored)


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
    if COLLECTING or door.LOCAL.mode is not None:
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
    source, size = stored._v, box.size
    if size > PIECE and size > family[0]._a.size // SHARE:
        return False
    if source.ndim and not _fits(source.shape, box.shape):
        return False
    if source.dtype != box.dtype or box.base is source or box.base is source.base:
        source = source.astype(box.dtype)
    if size <= PIECE:
        return _copied(family, box, [box], [source])
    if not source.ndim:
        return _copied(family, box, _parts(box), repeat(source))
    if source.shape != box.shape:
        source = np.broadcast_to(source, box.shape)
    return _copied(family, box, _parts(box), _parts(source))


def _parts(array: np.ndarray) -> list[np.ndarray]:
    """Views of an array, as its shape says, that have at most PIECE elements."""
    inner = array.size // len(array)
    if inner > PIECE:
        return [part for row in array for part in _parts(row)]
    step = PIECE // inner
    return [array[i : i + step] for i in range(0, len(array), step)]


def _copied(
    family: list[Any], box: np.ndarray, places: list[np.ndarray], sources: Iterable[np.ndarray]
) -> bool:
    """Copy where the base and the views of a family, this box and its parts are all that see the
    memory.  Every local name that holds an array here counts."""
    memory: Any = box.base
    if family[0]._v is not memory or not memory.flags.writeable:
        return False
    # the handles and views, the box and its parts, and the name `memory`
    parts = 0 if places[0] is box else len(places)
    objects, wanted = [memory], [_LISTED + len(family) + parts + 2]
    if memory.base is not None:
        owner = door.backend_of(HOST).owner(memory)
        objects.append(owner)
        wanted.append(_LISTED + 2)  # the base of `memory`, and the name `owner`
        if owner is None:
            return False
    elif not memory.flags.owndata:
        return False
    if len(family) > 1:
        views = [member._v for member in family if member._v is not memory]
        objects += views
        wanted += [_LISTED + 2] * len(views)  # a handle, and the list `views`
        if not all([view.base is memory for view in views]):
            return False
    proven = map(all, [_counts(objects, wanted)])
    written = map(_SET, chain.from_iterable(compress([places], proven)), _ALL, sources)
    return bool(list(written))


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether NumPy writes values of a shape into a box of another."""
    extra = len(shape) - len(wanted)
    if extra > 0 and set(shape[:extra]) != {1}:
        return False
    pairs = zip(shape[::-1], wanted[::-1])
    return all([size == 1 or size == extent for size, extent in pairs])
