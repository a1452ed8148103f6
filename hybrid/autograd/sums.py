"""The gradients gathered so far in a backward pass, and those that wait to be added up together.

Invariant: a value's gradient is complete when the value is visited; parts (ops/build/parts.py) wait
only where a value has several uses, so that what they hold is not kept for longer than needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.base.common import Part
from ..ops.build.parts import total
from ..ops.elementwise.arithmetic import add
from .tape import owner

__all__ = ["Sums"]

Fit = Callable[[Any, Any], Any]


class Sums:
    """Gradients by id of owner, one per output of it; `fit` brings one to the aval of its input."""

    def __init__(self, nodes: list[Any], fit: Fit) -> None:
        self.nodes, self.fit = nodes, fit
        self.store: dict[int, list[Any]] = {}
        self.parts: dict[int, dict[int, tuple[Any, Any, list[Part]]]] = {}
        self.uses: dict[tuple[int, int], int] | None = None

    def add(self, node: Any, g: Any) -> None:
        """One more gradient of a node."""
        who = owner(node)
        slot, size = (node[0], len(who[0].outs)) if who is not node else (0, 1)
        held = self.store.setdefault(id(who), [None] * size)
        held[slot] = g if held[slot] is None else add(held[slot], g)

    def give(self, node: Any, g: Any, aval: Any) -> None:
        """A gradient as a vjp rule returned it: a tensor, a function that makes it, or a part.
        `aval` is the input's; None: it fits."""
        if callable(g):
            if isinstance(g, Part) and aval is not None and self._waits(node, g, aval):
                return
            g = g()
        self.add(node, g if aval is None else self.fit(g, aval))

    def _waits(self, node: Any, part: Part, aval: Any) -> bool:
        """Keep a part until the others have come; false where there are none."""
        key = _key(node)
        count = self._count(key)
        if count > 1:
            parts = self.parts.setdefault(key[0], {}).setdefault(key[1], (node, aval, []))[2]
            parts.append(part)
            if len(parts) == count:
                self.settle(key[0])
        return count > 1

    def take(self, who: Any, keep: bool) -> list[Any] | None:
        """All gradients of an owner."""
        if self.parts:
            self.settle(id(who))
        return self.store.get(id(who)) if keep else self.store.pop(id(who), None)

    def settle(self, key: int) -> None:
        """Add up the parts that wait for an owner."""
        for node, aval, parts in self.parts.pop(key, {}).values():
            self.add(node, self.fit(total(parts), aval))

    def finish(self) -> dict[int, list[Any]]:
        """Everything that was not taken."""
        for key in list(self.parts):
            self.settle(key)
        return self.store

    def _count(self, key: tuple[int, int]) -> int:
        if self.uses is None:
            uses: dict[tuple[int, int], int] = {}
            for n in self.nodes:
                if type(n) is tuple:
                    for p in n[1]:
                        if p is not None:
                            k = (
                                (id(p[1]), p[0])
                                if type(p) is tuple and type(p[0]) is int
                                else (id(p), 0)
                            )
                            uses[k] = uses.get(k, 0) + 1
            self.uses = uses
        return self.uses[key]


def _key(node: Any) -> tuple[int, int]:
    """Which output of which owner a node is."""
    if type(node) is tuple and type(node[0]) is int:
        return id(node[1]), node[0]
    return id(node), 0
