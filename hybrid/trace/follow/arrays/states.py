"""What stands for the content of arrays outside of the call that it writes to.

Invariant: a term names the state of an array, by how many stores came before, and is not used
behind a further store where the memory of what it stands for may show that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...heap.allowlist import is_a
from ..terms import Collection, Made, WrittenArray
from .allowed import SHAPING

__all__ = ["current", "left_views", "sliced", "stale"]

_FRESH = (*SHAPING.values(), np.where, np.clip)  # whose results share no memory with what they get


def current(follow: Any, term: Any) -> Any:
    """A term with the state of a written array in the place of the array."""
    if type(term) is WrittenArray and term.stores is None:
        return WrittenArray(term.value, follow.versions[id(term.value)])
    return term


def sliced(term: Any) -> Any:
    """The part of a key that a term is, with calls in the place of slices."""
    if type(term) is not Collection:
        return term
    items = tuple([sliced(item) for item in term.items])
    return Made(slice, items, slice) if term.type is slice else term._replace(items=items)


def _shows(term: Any) -> Iterator[WrittenArray]:
    """The states of written arrays whose memory an array may share."""
    if type(term) is WrittenArray:
        yield term
    elif type(term) is Collection:
        for item in term.items:
            yield from _shows(item)
    elif type(term) is Made and issubclass(term.type, np.ndarray):
        fresh = is_a(term.function, np.ufunc) or any(term.function is known for known in _FRESH)
        for operand in () if fresh else term.operands:
            yield from _shows(operand)


def stale(follow: Any, term: Any) -> bool:
    """Whether an array may show a store that came behind the read which it is."""
    return any(
        state.stores is not None and state.stores < follow.versions[id(state.value)]
        for state in _shows(term)
    )


def left_views(term: Any) -> bool:
    """Whether what a call leaves may share memory with an array that it writes to."""
    if type(term) is Collection:
        return any(map(left_views, term.items))
    return type(term) is not WrittenArray and any(True for _ in _shows(term))
