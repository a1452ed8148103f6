"""Trees of containers with tensors at the leaves (optree): flatten, rebuild, map.

Invariant: dict order is insertion order, None is a leaf-free node, and any object that is no
container (tuple, namedtuple, list, dict, OrderedDict, defaultdict, deque) is a leaf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

from .errors import ArgumentError

__all__ = ["flatten", "unflatten", "map_tree", "leaves", "prefix"]


def flatten(tree: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """Leaves in order and the structure to rebuild the tree; ArgumentError where it has no end.

    >>> flatten({"a": 1, "b": (2, None)})[0]
    [1, 2]
    """
    # optree sorts keys unless told otherwise, which is told for a namespace
    with optree.dict_insertion_ordered(True, namespace="hybrid"):
        try:
            found, structure = optree.tree_flatten(tree, namespace="hybrid")
        except RecursionError:
            raise ArgumentError(
                f"a {type(tree).__name__} holds itself or is nested too deeply: only containers "
                "that end can be taken apart"
            ) from None
    return found, structure


def unflatten(structure: optree.PyTreeSpec, new_leaves: list[Any]) -> Any:
    """The tree of that structure with other leaves."""
    return optree.tree_unflatten(structure, new_leaves)


def map_tree(function: Callable[..., Any], tree: Any) -> Any:
    """The tree with f applied to each leaf."""
    found, structure = flatten(tree)
    return unflatten(structure, [function(x) for x in found])


def leaves(tree: Any) -> list[Any]:
    """The leaves only."""
    return flatten(tree)[0]


def prefix(structure: optree.PyTreeSpec, tree: Any) -> list[Any]:
    """What a tree says of each leaf of a structure that it is a prefix of: a leaf of it, or None,
    stands for all below.  Raises ValueError where it is none.

    >>> prefix(flatten((1, {"a": 2, "b": [3, 4]}))[1], (0, {"a": None, "b": 1}))
    [0, None, 1, 1]
    """
    with optree.dict_insertion_ordered(True, namespace="hybrid"):
        found = optree.tree_flatten(
            tree, lambda part: part is not tree, none_is_leaf=True, namespace="hybrid"
        )
    parts, level = found[0], found[1]
    if level.is_leaf() or structure.is_leaf():
        if structure.is_leaf() and not level.is_leaf():
            raise ValueError("a container stands where the structure has a leaf")
        return [tree] * structure.num_leaves
    children = structure.children()
    if structure.type is not level.type or len(parts) != len(children):
        raise ValueError("containers differ")
    if isinstance(structure.type, type) and issubclass(structure.type, dict):
        keys = {key: part for key, part in zip(level.entries(), parts)}
        if keys.keys() != set(structure.entries()):
            raise ValueError("keys differ")
        parts = [keys[key] for key in structure.entries()]
    return [leaf for child, part in zip(children, parts) for leaf in prefix(child, part)]
