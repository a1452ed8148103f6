"""What the follower notes of containers in one recorded call.

Invariant: an instruction that did something else in one of its runs is noted so, too.
"""

from __future__ import annotations

from typing import Any

from ....ir.tensor import Handle
from ...heap.allowlist import is_a
from ..machine import UNKNOWN, Stepper

__all__ = ["FreshNotes"]


class FreshNotes:
    """`of_made`: subscripts of containers that the call made and that are followed, `of_others`:
    those of others; `looked_up`: calls that took what an older dict holds at a key: the dict and
    the key; `holders`: the objects to whose attributes an instruction stored, tensors aside;
    `unheld`: instructions that stored to one that is not known."""

    def __init__(self) -> None:
        self.of_made: set[tuple[int, int]] = set()
        self.of_others: set[tuple[int, int]] = set()
        self.holders: dict[tuple[int, int], list[Any]] = {}
        self.unheld: set[tuple[int, int]] = set()
        self.replaced = 0  # calls of `dataclasses.replace` of which all is known
        self.looked_up: dict[tuple[int, int], list[tuple[Any, Any]]] = {}

    def note_holder(self, machine: Stepper, base: Any) -> None:
        """An attribute of an object is stored to."""
        at = id(machine.code), machine.offset
        holders = self.holders.setdefault(at, [])
        if base is UNKNOWN:
            self.unheld.add(at)
        elif not is_a(base, Handle) and not any(base is known for known in holders):
            holders.append(base)
