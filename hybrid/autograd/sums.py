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

    def add(self, node: Any, grad: Any) -> None:
        """One more gradient of a node."""
        whole = owner(node)
        output, count = (node[0], len(whole[0].outs)) if whole is not node else (0, 1)
        grads = self.store.setdefault(id(whole), [None] * count)
        grads[output] = grad if grads[output] is None else add(grads[output], grad)

    def give(self, node: Any, grad: Any, aval: Any) -> None:
        """A gradient as a vjp rule returned it: a tensor, a function that makes it, or a part.
        `aval` is the input's; None: it fits."""
        if callable(grad):
            if isinstance(grad, Part) and aval is not None and self._waits(node, grad, aval):
                return
            grad = grad()
        self.add(node, grad if aval is None else self.fit(grad, aval))

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

    def take(self, node: Any, keep: bool) -> list[Any] | None:
        """All gradients of an owner."""
        if self.parts:
            self.settle(id(node))
        return self.store.get(id(node)) if keep else self.store.pop(id(node), None)

    def settle(self, ident: int) -> None:
        """Add up the parts that wait for an owner."""
        for node, aval, parts in self.parts.pop(ident, {}).values():
            self.add(node, self.fit(total(parts), aval))

    def finish(self) -> dict[int, list[Any]]:
        """Everything that was not taken."""
        for ident in list(self.parts):
            self.settle(ident)
        return self.store

    def _count(self, key: tuple[int, int]) -> int:
        if self.uses is None:
            uses: dict[tuple[int, int], int] = {}
            for node in self.nodes:
                for parent in node[1] if type(node) is tuple else ():
                    if parent is not None:
                        used = _key(parent)
                        uses[used] = uses.get(used, 0) + 1
            self.uses = uses
        return self.uses[key]


def _key(node: Any) -> tuple[int, int]:
    """Which output of which owner a node is."""
    if type(node) is tuple and type(node[0]) is int:
        return id(node[1]), node[0]
    return id(node), 0
