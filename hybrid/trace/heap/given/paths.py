"""Numbers inside of arguments, by path: the position of the argument, then the index, key or field
name of each step.

Invariant: a path leads through exact lists, tuples, dicts and what `structure_of` knows by its
fields; looking runs no code of a user.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ..allowlist import is_tuple, plain
from ..lists import listable
from ..structure import EMPTY, steps_of, structure_of

__all__ = ["numbers_inside", "spelled", "steps_from", "tree_of"]

MAX_NUMBERS = 256  # in one argument
MAX_STEPS = 8
MAX_PARTS = 2048  # of one argument that are looked through


@functools.lru_cache(128)
def tree_of(paths: frozenset[tuple[Any, ...]]) -> dict[Any, Any]:
    """The paths as nested dicts, by step; at None stands the path that ends there."""
    tree: dict[Any, Any] = {}
    for path in paths:
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node[None] = path
    return tree


def steps_from(value: Any) -> list[tuple[Any, Any]]:
    """(step, part) of what is inside of a container or object, where the step is plain."""
    cls = type(value)
    if cls is list or is_tuple(value):
        return list(enumerate(tuple(value) if cls is list else tuple.__iter__(value)))
    if cls is dict:
        pairs = list(value.items())
    elif plain(value):
        return []
    else:
        structure = structure_of(value)
        if structure is None:
            return []
        pairs = list(zip(steps_of(value, structure), structure.parts))
    return [(s, p) for s, p in pairs if (type(s) is str or type(s) is int) and p is not EMPTY]


def numbers_inside(value: Any, position: int) -> list[tuple[tuple[Any, ...], Any]]:
    """(path, number) of the ints and floats in an argument, those of lists of numbers aside; none
    where there are very many."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    todo: list[tuple[tuple[Any, ...], Any]] = [((position,), value)]
    met = set[int]()
    for _ in range(MAX_PARTS):
        if not todo:
            return found
        path, value = todo.pop()
        if id(value) in met or len(path) > MAX_STEPS:
            continue
        met.add(id(value))
        for step, part in reversed(steps_from(value)):
            kind = type(part)
            if kind is not int and kind is not float:
                todo.append(((*path, step), part))
            elif not _listed(value):
                found.append(((*path, step), part))
        if len(found) > MAX_NUMBERS:
            return []
    return []


def _listed(value: Any) -> bool:
    """Whether a container is what may be data as a list of numbers."""
    return listable(value) and len(set(map(type, value))) == 1


def spelled(place: Any) -> str:
    """How a message names a number by its position or path."""
    if type(place) is not tuple:
        return f"the number that is its argument {place + 1}"
    steps = "".join(_texts(place[1:]))
    return f"the number at {steps} of its argument {place[0] + 1}"


def _texts(steps: tuple[Any, ...]) -> Iterator[str]:
    for step in steps:
        yield f".{step}" if type(step) is str and step.isidentifier() else f"[{step!r}]"
