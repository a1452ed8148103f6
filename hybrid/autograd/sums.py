"""The gradients gathered so far in a backward pass, and those that wait to be added up together.

Invariant: a value's gradient is complete when the value is visited; parts (ops/build/parts.py) wait
only where a value has several uses, so that what they hold is not kept for longer than needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir.door import bind as door
from ..ir.door.together import together
from ..ir.op import Op
from ..ir.tensor import LISTED, counted, new_handle
from ..ops.base.common import Part
from ..ops.build.parts import total
from ..ops.elementwise.arithmetic import add
from .tape import place

__all__ = ["GradientSums"]

Fit = Callable[[Any, Any], Any]
ADD: Op = add.op  # type: ignore[attr-defined]
LARGE = 1 << 20  # bytes from which on a sum is better made where the first summand lies


def _sum(gradients: list[Any], output: int, gradient: Any) -> Any:
    """gradients[output] + gradient, in the memory of the first where only this list has that."""
    aval = gradient._a
    large = aval.nbytes >= LARGE and gradients[output]._a is aval and not door.grad_enabled()
    if large and all(counted([gradients[output]], [LISTED + 1])):
        made = together(ADD, (), (gradients[output], gradient), 2, 0, (0,))
        if made is not None:
            return new_handle(made[0][0], aval)
    return add(gradients[output], gradient)


class GradientSums:
    """Gradients by id of owner, one per output of it; `fit` brings one to the aval of its input."""

    def __init__(self, nodes: list[Any], fit: Fit) -> None:
        self.nodes, self.fit = nodes, fit
        self.store: dict[int, list[Any]] = {}
        self.parts: dict[int, dict[int, tuple[Any, Any, list[Part]]]] = {}
        self.uses: dict[tuple[int, int], int] | None = None

    def add(self, node: Any, gradient: Any) -> None:
        """One more gradient of a node."""
        output, count = 0, 1
        if type(node) is tuple and type(node[0]) is int:
            output, node = node
            count = len(node[0].outs)
        gradients = self.store.get(id(node))
        if gradients is None:
            gradients = self.store[id(node)] = [None] * count
        known = gradients[output] is not None
        gradients[output] = _sum(gradients, output, gradient) if known else gradient

    def give(self, node: Any, gradient: Any, aval: Any) -> None:
        """A gradient as a vjp rule returned it: a tensor, a function that makes it, or a part.
        `aval` is the input's; None: it fits."""
        if callable(gradient):
            if (
                isinstance(gradient, Part)
                and aval is not None
                and self._waits(node, gradient, aval)
            ):
                return
            gradient = gradient()
        self.add(node, gradient if aval is None else self.fit(gradient, aval))

    def _waits(self, node: Any, part: Part, aval: Any) -> bool:
        """Keep a part until the others have come; false where there are none."""
        key = place(node)
        count = self._count(key)
        if count > 1:
            parts = self.parts.setdefault(key[0], {}).setdefault(key[1], (node, aval, []))[2]
            parts.append(part)
            if len(parts) == count:
                self.settle(key[0])
        return count > 1

    def take(self, node: Any, keeping: bool) -> list[Any] | None:
        """All gradients of an owner."""
        if self.parts:
            self.settle(id(node))
        return self.store.get(id(node)) if keeping else self.store.pop(id(node), None)

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
                        output = place(parent)
                        uses[output] = uses.get(output, 0) + 1
            self.uses = uses
        return self.uses[key]
