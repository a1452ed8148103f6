"""Memory: offsets in one arena for every temporary of a plan.

A temporary lives from its first writer to its last reader; freed ranges are merged and reused
best-fit, aligned to 64 bytes.  An elementwise kernel writes over an operand that it is the last to
read when it walks both the same way.
"""

from __future__ import annotations

from ...backends.arena import Arena, aligned
from ...backends.plan import LoopKernel, Plan
from ...core.extents import apart
from .kernels import Draft, PlanStep
from .schedule import runs_in_place

__all__ = ["pack"]


def _lives(steps: list[PlanStep], temporaries: set[int]) -> tuple[dict[int, int], dict[int, int]]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, step in enumerate(steps):
        for slot in (step.reads | step.writes) & temporaries:
            first.setdefault(slot, number)
            last[slot] = number
    return first, last


def offsets(draft: Draft) -> tuple[dict[int, int], int]:
    """(offset of every temporary slot, bytes of the arena)."""
    slots = draft.assignment.slots
    temporaries = {k for k, s in enumerate(slots) if s.kind == "temp" and s.aval.nbytes}
    first, last = _lives(draft.steps, temporaries)
    size = {slot: aligned(slots[slot].aval.nbytes) for slot in temporaries}
    root: dict[int, int] = {}  # where a slot is written over another one: that one
    uses: list[tuple[bool, int, int]] = []  # (begins or ends, slot, bytes)
    for number, step in enumerate(draft.steps):
        dying = sorted(
            s for s in step.reads & temporaries if last[s] == number and first[s] < number
        )
        given: set[int] = set()
        for new_slot in sorted(s for s in step.writes & temporaries if first[s] == number):
            fit = (s for s in dying if s not in given and size[s] == size[new_slot])
            over = next((s for s in fit if _over(step, s, new_slot)), None)
            if over is not None:
                given.add(over)
                root[new_slot] = root.get(over, over)
            else:
                uses.append((True, new_slot, size[new_slot]))
        ending = [slot for slot in dying if slot not in given]
        ending += [
            slot
            for slot in sorted(step.writes & temporaries)
            if last[slot] == number and first[slot] == number
        ]
        uses += [(False, root.get(slot, slot), size[slot]) for slot in ending]
    places, peak = _placed(tuple(uses))
    offset_of = dict(zip([slot for begins, slot, _ in uses if begins], places))
    return offset_of | {slot: offset_of[over] for slot, over in root.items()}, peak


@apart
def _placed(uses: tuple[tuple[bool, int, int], ...]) -> tuple[tuple[int, ...], int]:
    """(offset of each slot that begins, bytes of the arena)."""
    arena, offset_of = Arena(), dict[int, int]()
    for begins, slot, size in uses:
        if begins:
            offset_of[slot] = arena.take(size)
        else:
            arena.give(offset_of[slot], size)
    return tuple(offset_of.values()), arena.peak


def _over(step: PlanStep, old_slot: int, new_slot: int) -> bool:
    kernel = step.kernel
    if not isinstance(kernel, LoopKernel):
        return False
    sizes = {
        a.dtype.itemsize for a in (*kernel.reads, *kernel.writes) if a.slot in (old_slot, new_slot)
    }
    return len(sizes) == 1 and runs_in_place(kernel, old_slot, new_slot)


def pack(draft: Draft) -> Plan:
    """The plan: temporaries become places in the arena."""
    assignment = draft.assignment
    offset_of, size = offsets(draft)
    slots = tuple(
        t._replace(kind="arena", index=offset_of.get(k, 0)) if t.kind == "temp" else t
        for k, t in enumerate(assignment.slots)
    )
    return Plan(
        slots,
        tuple(t.kernel for t in draft.steps),
        tuple(assignment.outputs),
        tuple(assignment.consts),
        size,
        tuple(t.site for t in draft.steps),
        tuple(t.message for t in draft.steps),
        draft.partial,
    )
