"""What a backend may know of the interpreter: where Python's objects keep what facts are about.

Invariant: while all words of a list of pairs stand at their addresses, compared in order, what the
list was made for has not changed.  A pair that follows from a pointer comes after the pair that
guards the pointer, so a reader that stops at the first difference never follows a stale one.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

__all__ = ["ObjectLayout", "Pairs", "Unreadable"]

Pairs = list[tuple[int, int]]  # (address, the 8-byte word that must be there)
Same = Callable[[Any, Any], bool]


class Unreadable(Exception):
    """This place has no address that native code could read."""


class ObjectLayout(Protocol):
    """Addresses of pointers inside objects, pairs that keep them where they are, and stacks.

    Methods raise Unreadable for what has no such form here; then Python has to look itself."""

    def kind(self, obj: Any) -> int:
        """Address of the pointer to the class of an object."""

    def cell(self, cell: Any) -> int:
        """Address of the pointer to what a closure cell holds."""

    def operand(self, frame: FrameType, place: int) -> Any:
        """What lies at a place on the value stack of a frame that stands between two instructions,
        0 being the lowest; Unreadable for a null."""

    def counted(
        self, function: Any, calls: int, last: Any
    ) -> tuple[Callable[..., Any], Callable[[], int]]:
        """A callable that hands what it gets on to a function so many times, and to `last` from
        then on; and how many times are left.  No Python runs in between."""

    def length(self, items: list[Any]) -> Pairs:
        """Pairs that keep the length of a list."""

    def list_item(self, items: list[Any], index: int) -> tuple[Pairs, int]:
        """Pairs, and the address of the pointer to a list item."""

    def tuple_item(self, items: tuple[Any, ...], index: int) -> int:
        """Address of the pointer to a tuple item."""

    def member(self, obj: Any, field: Any) -> int:
        """Address of the pointer behind a descriptor (or a function's attribute, by name) of a C
        type; null for None where the field is empty."""

    def instance_dict(self, obj: Any, names: dict[Any, Any]) -> int:
        """Address of the pointer from an instance to its dict, which is `names`."""

    def order(self, cls: type) -> Pairs:
        """Pairs that keep the bases of a class."""

    def class_dict(self, cls: type) -> dict[Any, Any]:
        """The dict behind a class, which Python shows through a proxy only."""

    def dict_size(self, names: dict[Any, Any], size: int) -> Pairs:
        """Pairs that hold while a dict has that many items."""

    def dict_value(
        self, names: dict[Any, Any], key: Any, near: int, same: Same
    ) -> tuple[Pairs, int]:
        """Pairs, and the address of the pointer to a value; `near`: where the key probably is in
        the dict's order, `same(a, b)`: whether two keys are one."""

    def dict_absent(self, names: dict[Any, Any], key: Any, near: int, same: Same) -> Pairs:
        """Pairs that hold only while the key is not in the dict."""

    def dict_keys(self, names: dict[Any, Any]) -> Pairs:
        """Pairs that hold only while the keys and their order stay."""

    def twister(self, generator: Any) -> memoryview | None:
        """The words that a `random.Random` changes when it draws, where they are known; does not
        keep the generator."""

    def kept(self, entry: Any) -> Any:
        """The result in an entry of a bounded `functools.lru_cache`."""

    def kept_at(self, entry: Any) -> int:
        """Address of the pointer to it."""

    def dict_version(self, names: dict[Any, Any]) -> int | None:
        """Address of a word that grows with every change of a dict, where there is one."""

    def class_version(self, cls: type) -> int | None:
        """Address of a word that moves with every change of a class or its bases, where there is
        one by now."""
