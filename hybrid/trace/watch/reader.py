"""What the parts that follow classes, C code and hybrid's own objects ask of the whole.

They call each other (an item may be a class, whose property is C code, which reads an item):
`objects.Objects` is the reader that joins them.  Invariant: looking never runs code of a user.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, Protocol

from .fact_table import Access

__all__ = ["Reader"]


class Reader(Protocol):
    """Reads real objects and notes a fact for each place read."""

    def reach(self, value: Any, access: Access, source: Any = None) -> Any:
        """A value was read out of source (None: a root that existed); gives it back."""

    def function(self, function: FunctionType, access: Access) -> None:
        """A function is among those that the call may enter."""

    def attr(self, holder: Any, name: str, access: Access) -> list[Any]:
        """Objects that `holder.name` may be."""

    def item(self, holder: Any, key: Any, access: Access) -> list[Any]:
        """Objects that `holder[key]` may be."""

    def contents(self, holder: Any, access: Access) -> list[Any]:
        """All items of a container."""

    def deep(self, holder: Any, access: Access, text: bool = False) -> None:
        """All that C code may find from here."""

    def applied(
        self, function: Any, arguments: list[list[Any]], access: Access, spread: bool = False
    ) -> list[Any] | None:
        """What a C callable reads and may give; None when its work is not known."""
