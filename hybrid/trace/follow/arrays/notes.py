"""What the follower notes of arrays in one recorded call.

Invariant: what is noted of an instruction is true of each of its runs that are counted.
"""

from __future__ import annotations

import collections
from typing import Any

from ...heap.allowlist import site_of
from ..machine import StackSlot, Stepper
from ..terms import Load, parts

__all__ = ["ArrayNotes"]


class ArrayNotes:
    """`data`: arguments that are data, by id, with the number of what stands for it; `consumed`:
    how often an instruction computed with such an argument, by code, offset and id; `arrays`: what
    is offered to hybrid right now; `fresh`: followed arrays that functions of the user gave back;
    `looked`: where Python first looked at one; `under`: the frame whose instruction is under
    way."""

    def __init__(self) -> None:
        self.data: dict[int, int] = {}
        self.consumed: collections.Counter[tuple[int, int, int]] = collections.Counter()
        self.arrays: Any = None
        self.fresh: dict[int, Any] = {}
        self.looked = ""
        self.under: Stepper | None = None

    def note_look(self, slot: StackSlot) -> None:
        """Python looks at what is in a slot."""
        if self.looked or self.under is None or not self.data:
            return
        if any(type(leaf) is Load and leaf.of_call for leaf in parts(slot.term)):
            self.looked = site_of(self.under.code, max(self.under.offset, 0))
