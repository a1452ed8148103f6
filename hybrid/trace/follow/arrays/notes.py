"""What the follower notes of arrays in one recorded call.

Invariant: what is noted of an instruction is true of each of its runs that are counted.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from ...heap.allowlist import is_a, site_of
from ...heap.data import is_real
from ..machine import CREATED, UNKNOWN, UNSEEN, Lazy, StackSlot, Stepper
from ..terms import Load, WrittenArray, parts

__all__ = ["ArrayNotes", "may_be_written"]


def may_be_written(value: Any) -> bool:
    """Whether stores into an object may be followed: an array of real numbers, no two of whose
    elements share memory."""
    if type(value) is not np.ndarray or not value.flags.writeable or not is_real(value.dtype):
        return False
    span = value.itemsize
    for step, extent in sorted([(abs(s), n) for s, n in zip(value.strides, value.shape) if n > 1]):
        if step < span:
            return False
        span += step * (extent - 1)
    return True


class ArrayNotes:
    """`data`: arguments that are data, by id, with the number of what stands for it; `again`: how
    many runs of an instruction did with all that they got what replays do again, by code and
    offset, of those in frames that may have got data (`carries`: the instruction under way is in
    one); `arrays`, `made`: what is offered to hybrid right now; `fresh`: followed arrays that
    functions of the user gave back; `loud`: errors of floating point that NumPy did not ignore
    where some were computed; `looked`: where Python first looked at one; `under`: the frame whose
    instruction is under way; `writes`: whether calls were seen to write to arrays outside, `met`:
    those that this one found, by id, `versions`: how many stores to each there were, `begun`: what
    they held before, `cuts`: the keys of parts that were read of them; `lent`: arguments that are
    data, by number."""

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
        self.writes = False
        self.met: dict[int, Any] = {}
        self.versions: collections.Counter[int] = collections.Counter()
        self.begun: dict[int, Any] = {}
        self.cuts: dict[Any, Any] = {}
        self.lent: dict[int, Any] = {}
        self.touched: dict[Any, set[tuple[int, int]]] = collections.defaultdict(set)

    def uses(self, machine: Stepper, array: Any) -> None:
        """An instruction gets a written array and does with it what is followed."""
        self.touched["array", id(array)].add((id(machine.code), machine.offset))

    def array_at(self, machine: Stepper, slot: StackSlot, value: Any, new: bool) -> StackSlot:
        """What is known of a place that holds this; `new`: the call has stored it there."""
        if not self.writes or not may_be_written(value) or (new and id(value) not in self.met):
            return slot
        self.met[id(value)] = value
        self.uses(machine, value)
        return StackSlot(value, WrittenArray(value))

    def does_again(self, machine: Stepper) -> None:
        """Replays do again what the instruction of a frame did with all that it got."""
        self.again[id(machine.code), machine.offset] += self.carries

    def left(self, slot: StackSlot) -> StackSlot:
        """What is known of a slot that is stored in a place: no object that is not the program's
        is held."""
        if slot.method == CREATED:
            return UNSEEN
        if type(slot.term) is WrittenArray:
            if self.under is not None:
                self.uses(self.under, slot.term.value)
            return StackSlot(slot.value)  # the array itself
        shown = type(slot.value) is Lazy or (slot.term is not None and is_a(slot.value, np.ndarray))
        return slot._replace(value=UNKNOWN) if shown else slot

    def note_look(self, slot: StackSlot) -> None:
        """Python looks at what is in a slot."""
        if self.looked or self.under is None or not self.data:
            return
        if any(type(leaf) is Load and leaf.of_call for leaf in parts(slot.term)):
            self.looked = site_of(self.under.code, max(self.under.offset, 0))
            self.looking = self.under.code, self.under.offset
