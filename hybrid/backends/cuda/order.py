"""Which steps of a plan must wait for which: the edges of its graph.

Invariant: two steps of which one writes memory that the other touches are ordered as in the plan,
whatever buffers the slots of a call have; edges that follow from others are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ...ir.algorithm import Assign
from ..plan import HostStep, Kernel, LoopKernel, Plan, ScatterKernel, slots_of, written_slots

__all__ = ["predecessors", "follows_index", "spread"]

ALIGN = 256  # bytes
STATUS_WORD = -1  # the space of what checks write and guarded kernels read
WORKSPACE = -2


class _Range(NamedTuple):
    """Bytes of one space: the arena, or the memory of one input or output."""

    space: int
    start: int
    stop: int


def follows_index(kernel: Kernel) -> bool:
    """Whether a kernel reads or writes where values say."""
    if isinstance(kernel, LoopKernel):
        return any(read.gather for read in kernel.reads)
    if isinstance(kernel, HostStep):
        return isinstance(kernel.algorithm, Assign)
    return isinstance(kernel, ScatterKernel)


def _range_of(plan: Plan, slot: int) -> _Range | None:
    """Where a slot may lie; None where nothing is ever written."""
    found = plan.slots[slot]
    if found.kind == "const":
        return None
    if found.kind == "arena":
        return _Range(0, found.index, found.index + found.aval.nbytes)
    # a new value may be written over the input that it replaces
    number = found.index if found.kind in ("input", "state") else len(plan.slots) + slot
    return _Range(1 + number, 0, 1)


def spread(plan: Plan, most: int) -> Plan:
    """The plan with temporaries that share no memory, so that no step waits for a reader of what
    was there before; as it is where they take more than `most` bytes."""
    slots, size = list(plan.slots), 0
    for number, slot in enumerate(slots):
        if slot.kind == "arena":
            slots[number] = slot._replace(index=size)
            size += -(-slot.aval.nbytes // ALIGN) * ALIGN
    return plan._replace(slots=tuple(slots), arena_bytes=size) if size <= most else plan


Users = list[tuple[_Range, int]]


class _Memory:
    """Who wrote each range last, and who has read it since, by space."""

    def __init__(self) -> None:
        self.writers: defaultdict[int, Users] = defaultdict(list)
        self.readers: defaultdict[int, Users] = defaultdict(list)

    def read(self, touched: _Range, step: int) -> set[int]:
        """The steps that a reader has to wait for."""
        self.readers[touched.space].append((touched, step))
        return {writer for where, writer in self.writers[touched.space] if _meet(where, touched)}

    def write(self, touched: _Range, step: int) -> set[int]:
        """The steps that a writer has to wait for; those of ranges that it covers are done with."""
        waits: set[int] = set()
        for users in (self.writers, self.readers):
            known = users[touched.space]
            waits |= {other for where, other in known if _meet(where, touched)}
            users[touched.space] = [user for user in known if not _covers(touched, user[0])]
        self.writers[touched.space].append((touched, step))
        return waits


def _meet(one: _Range, other: _Range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _covers(whole: _Range, part: _Range) -> bool:
    return whole.start <= part.start and part.stop <= whole.stop


def predecessors(
    plan: Plan, guarded: Sequence[bool], sharing: Collection[int] = ()
) -> list[list[int]]:
    """For each step the steps that it must wait for, as few as say all; `sharing`: steps that work
    in one workspace."""
    memory = _Memory()
    ancestors: list[int] = []  # bits of all steps before a step
    result: list[list[int]] = []
    status, workspace = _Range(STATUS_WORD, 0, 1), _Range(WORKSPACE, 0, 1)
    for number, kernel in enumerate(plan.steps):
        written = written_slots(kernel)
        read = slots_of(kernel) - written
        waits: set[int] = set()
        for slot in sorted(read):
            touched = _range_of(plan, slot)
            waits |= memory.read(touched, number) if touched is not None else set()
        if guarded[number] or follows_index(kernel):
            waits |= memory.read(status, number)
        for slot in sorted(written):
            touched = _range_of(plan, slot)
            waits |= memory.write(touched, number) if touched is not None else set()
        if isinstance(kernel, LoopKernel) and kernel.check:
            waits |= memory.write(status, number)
        if number in sharing:
            waits |= memory.write(workspace, number)
        waits.discard(number)
        known = 0
        for before in waits:
            known |= ancestors[before]
        result.append([before for before in sorted(waits) if not known >> before & 1])
        for before in waits:
            known |= 1 << before
        ancestors.append(known)
    return result
