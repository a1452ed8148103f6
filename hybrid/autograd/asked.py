"""Tape nodes of results that a recorded function has differentiated itself before returning them.

Invariant: their gradients are kept by replays only where anyone has asked for one, since what they
need (the parameters that a training step replaces) would have to be copied in each call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import HybridError
from .tape import PseudoOp

__all__ = ["Asked"]

MOST_DROPPED = 16  # recordings that are dropped when a gradient is asked for


class Asked:
    """Whether anyone wants such gradients: `ever`; `dropped`: what lets go of the recordings whose
    replays do not give them."""

    __slots__ = ("ever", "dropped", "spent")

    def __init__(self) -> None:
        self.ever, self.dropped = False, list[Callable[[Any], None]]()
        # the node of such results of replays
        self.spent = (PseudoOp("recorded call", self._refuse, (None,)), (), (), None)

    def marked(self, tensor: Any) -> None:
        """Have the gradient of such a result of a recorded call note that it is asked for."""
        mark = PseudoOp("recorded result", self._note, (tensor._a,))
        tensor._node = (mark, (tensor._node,), (), None)

    def drops(self, dead: Callable[[Any], None]) -> None:
        """Call `dead` when a gradient is asked for that a replay did not keep."""
        self.dropped = [*self.dropped[1 - MOST_DROPPED :], dead]

    def _note(self, grads: list[Any]) -> list[Any]:
        self.ever = True
        return grads

    def _refuse(self, grads: list[Any]) -> Any:
        self.ever = True
        dropped, self.dropped = self.dropped, []
        for dead in dropped:
            dead(None)
        raise HybridError(
            "this result comes from a replay of a recorded function that has run backward through "
            "it already and then replaced values which another backward pass needs; from now on "
            "calls of the function keep them: call it again, or call backward only inside of it"
        )
