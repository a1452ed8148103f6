"""Trees of containers with tensors at the leaves (optree): flatten, rebuild, map.

Invariant: dict order is insertion order, None is a leaf-free node, and any object that is no
container (tuple, namedtuple, list, dict, OrderedDict, defaultdict, deque) is a leaf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

__all__ = ["flatten", "unflatten", "map_tree", "leaves"]


def flatten(tree: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """Leaves in order and the structure to rebuild the tree.

    >>> flatten({"a": 1, "b": (2, None)})[0]
    [1, 2]
    """
    # optree sorts keys unless told otherwise, which is told for a namespace
    with optree.dict_insertion_ordered(True, namespace="hybrid"):
        found, structure = optree.tree_flatten(tree, namespace="hybrid")
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
