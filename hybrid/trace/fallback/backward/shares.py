"""What the uses of a value give to its gradient, each at its time, added up in their order.

Invariant: a total depends on times and values only, so it has the bits of a pass in which the
shares come one after the other (autograd/sums.py), in whatever order they are found.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from ....autograd.passes import fit
from ....autograd.tape import place
from ....ops.base.common import Part
from ....ops.build.parts import total
from ....ops.elementwise.arithmetic import add

__all__ = ["Share", "Shares", "TIME", "added", "settled", "split"]

# when it comes (users before producers), the gradient or part, the record of what it is for
Share = tuple[float, Any, Any]
TIME = itemgetter(0)


def settled(gradient: Any, aval: Any) -> Any:
    """A gradient as a vjp rule returned it, as a tensor that fits or as a part."""
    if callable(gradient):
        if isinstance(gradient, Part):
            return gradient
        gradient = gradient()
    return gradient if aval is None else fit(gradient, aval)


def split(shares: list[Share]) -> tuple[list[Share], list[Share]]:
    """Shares that are added up one by one, in their order, and parts, which come last; a part that
    is alone is a tensor like any other."""
    if len(shares) == 1:
        time, gradient, aval = shares[0]
        if isinstance(gradient, Part):
            return [(time, fit(gradient(), aval), aval)], []
        return shares, []
    shares.sort(key=TIME)
    parts = [share for share in shares if isinstance(share[1], Part)]
    if not parts:
        return shares, parts
    return [share for share in shares if not isinstance(share[1], Part)], parts


def added(shares: list[Share], parts: list[Share]) -> Any:
    """The sum of what `split` gives."""
    result: Any = None
    for _, gradient, _ in shares:
        result = gradient if result is None else add(result, gradient)
    if parts:
        gradient = fit(total([part for _, part, _ in parts]), parts[0][2])
        result = gradient if result is None else add(result, gradient)
    return result


class Shares:
    """Those of a pass by id of owner and output."""

    __slots__ = ("given",)

    def __init__(self) -> None:
        self.given: dict[tuple[int, int], list[Share]] = {}

    def give(self, node: Any, share: Share) -> None:
        """One more for a node."""
        self.given.setdefault(place(node), []).append(share)

    def take(self, node: Any, keeping: bool = False) -> list[Any] | None:
        """The gradients of the outputs of an op; None: there are none."""
        found, found_any = list[Any](), False
        for output in range(len(node[0].outs)):
            shares = self.given.pop((id(node), output), None)
            gradient = None
            if shares:
                found_any, gradient = True, added(*split(shares))
                if keeping:
                    self.given[id(node), output] = [(0.0, gradient, None)]
            found.append(gradient)
        return found if found_any else None

    def total(self, node: Any) -> Any:
        """The gradient of a node, or None."""
        shares = self.given.get(place(node))
        return added(*split(shares)) if shares else None
