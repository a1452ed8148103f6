"""What the follower notes of arrays in one recorded call.

Invariant: what is noted of an instruction is true of each of its runs that are counted.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from ...heap.allowlist import is_a, site_of
from ..machine import CREATED, UNKNOWN, UNSEEN, Lazy, StackSlot, Stepper
from ..terms import Load, parts

__all__ = ["ArrayNotes"]


class ArrayNotes:
    """`data`: arguments that are data, by id, with the number of what stands for it; `again`: how
    many runs of an instruction did with all that they got what replays do again, by code and
    offset, of those in frames that may have got data (`carries`: the instruction under way is in
    one); `arrays`, `made`: what is offered to hybrid right now; `fresh`: followed arrays that
    functions of the user gave back; `loud`: errors of floating point that NumPy did not ignore
    where some were computed; `looked`: where Python first looked at one; `under`: the frame whose
    instruction is under way."""

    def __init__(self) -> None:
        self.data: dict[int, int] = {}
        self.again: collections.Counter[tuple[int, int]] = collections.Counter()
        self.carries = False
        self.arrays: Any = None
        self.made: Any = None
        self.fresh: dict[int, Any] = {}
        self.loud: set[str] = set()
        self.looked = ""
        self.looking: tuple[Any, int] | None = None
        self.under: Stepper | None = None

    def does_again(self, machine: Stepper) -> None:
        """Replays do again what the instruction of a frame did with all that it got."""
        self.again[id(machine.code), machine.offset] += self.carries

    def left(self, slot: StackSlot) -> StackSlot:
        """What is known of a slot that is stored in a place: no object that is not the program's
        is held."""
        if slot.method == CREATED:
            return UNSEEN
        shown = type(slot.value) is Lazy or (slot.term is not None and is_a(slot.value, np.ndarray))
        return slot._replace(value=UNKNOWN) if shown else slot

    def note_look(self, slot: StackSlot) -> None:
        """Python looks at what is in a slot."""
        if self.looked or self.under is None or not self.data:
            return
        if any(type(leaf) is Load and leaf.of_call for leaf in parts(slot.term)):
            self.looked = site_of(self.under.code, max(self.under.offset, 0))
            self.looking = self.under.code, self.under.offset
