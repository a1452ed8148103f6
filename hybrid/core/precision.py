"""How exactly float32 products are computed: a part of the mode in which ops run.

Invariant: `MATMUL.fast` only says what is allowed; whoever keeps something that was made under one
setting has it among its keys, or is told of a change.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MATMUL"]


class Matmul:
    """`fast`: float32 products may round their factors as tensor cores take them."""

    __slots__ = ("fast", "listeners")

    def __init__(self) -> None:
        self.fast = False
        self.listeners: list[Callable[[], None]] = []

    def set(self, fast: bool) -> None:
        """Change the setting of the process and tell who keeps what was made under the other."""
        if fast is not self.fast:
            self.fast = fast
            for listener in self.listeners:
                listener()


MATMUL = Matmul()
