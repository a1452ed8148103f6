"""Places in the arena for temporaries of steps that run in groups.

Invariant: what is in use in one group shares no byte, but a result that a kernel writes over its
operand: those slots are one piece of memory, as they were in the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...arena import Arena, aligned
from ...plan import Plan, slots_of, written_slots
from .units import Unit

__all__ = ["repacked", "roots_of"]


def roots_of(plan: Plan) -> dict[int, int]:
    """For each place in the arena the slot that stands for its memory."""
    slots = plan.slots
    roots = {k: k for k, s in enumerate(slots) if s.kind == "arena" and s.aval.nbytes}
    for kernel in plan.steps:
        written = written_slots(kernel) & roots.keys()
        for new in sorted(written):
            start, stop = slots[new].index, slots[new].index + slots[new].aval.nbytes
            for old in sorted((slots_of(kernel) & roots.keys()) - {new}):
                there = slots[old].index
                if there < stop and start < there + slots[old].aval.nbytes:
                    _join(roots, old, new)
    return {slot: _root(roots, slot) for slot in roots}


def _root(roots: Mapping[int, int], slot: int) -> int:
    while roots[slot] != slot:
        slot = roots[slot]
    return slot


def _join(roots: dict[int, int], one: int, other: int) -> None:
    roots[_root(roots, one)] = _root(roots, other)


def repacked(plan: Plan, groups: Sequence[Sequence[Unit]], roots: Mapping[int, int]) -> Plan:
    """The plan with temporaries that live from the first to the last group that touches them."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    touched = [slots_of(kernel) & roots.keys() for kernel in plan.steps]
    for number, group in enumerate(groups):
        for unit in group:
            for slot in sorted(touched[unit.owner]):
                first.setdefault(roots[slot], number)
                last[roots[slot]] = number
    sizes: dict[int, int] = {}
    for slot, root in roots.items():
        sizes[root] = max(sizes.get(root, 0), aligned(plan.slots[slot].aval.nbytes))
    begins, ends = _by_group(first), _by_group(last)
    arena, offsets = Arena(), dict[int, int]()
    for number in range(len(groups)):
        for root in begins.get(number, ()):
            offsets[root] = arena.take(sizes[root])
        for root in ends.get(number, ()):
            arena.give(offsets[root], sizes[root])
    slots = tuple(
        slot._replace(index=offsets.get(roots.get(k, -1), 0)) if slot.kind == "arena" else slot
        for k, slot in enumerate(plan.slots)
    )
    return plan._replace(slots=slots, arena_bytes=arena.peak)


def _by_group(number_of: Mapping[int, int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for root, number in number_of.items():
        found.setdefault(number, []).append(root)
    return found
