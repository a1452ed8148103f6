"""The units that gangs are made of: native steps, with the memory they touch and what they cost.

Invariant: two units of which one writes memory that the other touches have a bit in common,
wherever the plan's slots lie, but for places in the arena that are taken one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ....core.shapes import contiguous_strides
from ...plan import Access, HostStep, Kernel, LoopKernel, Plan, slots_of
from ...plan import written_slots as written_by
from ..python.caller import NativeStep
from .cost import step_us

__all__ = ["Unit", "bare_units", "conflict", "units_of"]

WORKSPACE = 1  # the bit of what all kernels with a workspace share


class WrittenBox(NamedTuple):
    """The part of a slot that a unit writes, from `low` up to `high` along each axis; `bit`: of the
    slot's memory."""

    bit: int
    slot: int
    low: tuple[int, ...]
    high: tuple[int, ...]


class Unit(NamedTuple):
    """A native step of kernel `owner` (None: that runs in Python).  `reads` and `writes`: bits of
    the memory that it touches; `cost`: microseconds on one thread; `fence`: nothing passes it, for
    it may fail, or runs Python or other plans."""

    owner: int
    step: NativeStep | None
    reads: int
    writes: int
    cost: float
    fence: bool
    boxes: tuple[WrittenBox, ...] = ()


def conflict(one: Unit, other: Unit) -> bool:
    """Whether one writes what the other touches."""
    if one.writes & other.reads or one.reads & other.writes:
        return True
    shared = one.writes & other.writes
    for box in one.boxes if shared else ():
        if any(_disjoint(box, there) for there in other.boxes):
            shared &= ~box.bit
    return shared != 0


def _disjoint(box: WrittenBox, other: WrittenBox) -> bool:
    """Whether they are parts of one slot without a common element."""
    if box.slot != other.slot:
        return False
    edges = zip(box.low, box.high, other.low, other.high)
    return any(high <= start or stop <= low for low, high, start, stop in edges)


def bare_units(steps: Sequence[Sequence[NativeStep]]) -> list[Unit]:
    """The units of a plan that nobody is to gather."""
    return [
        Unit(owner, step, 0, 0, 0.0, True)
        for owner, own in enumerate(steps)
        for step in own or (None,)
    ]


def units_of(
    plan: Plan, steps: Sequence[Sequence[NativeStep]], roots: Mapping[int, int]
) -> list[Unit]:
    """The units of a plan, in its order; `steps`: of each kernel."""
    bits = [_bit(plan, roots, number) for number in range(len(plan.slots))]
    units = []
    for owner, (kernel, own) in enumerate(zip(plan.steps, steps)):
        written = written_by(kernel)
        writes = _union(bits, written)
        reads = _union(bits, slots_of(kernel) - written)
        if len(own) > 1 or any(step.temp for step in own):
            writes |= WORKSPACE  # and the steps of one kernel follow one another
        fence, boxes = _is_fence(kernel), _boxes(plan, kernel, bits)
        for step in own or (None,):
            cost = 0.0 if fence or step is None else step_us(kernel, step)
            units.append(Unit(owner, step, reads, writes, cost, fence or step is None, boxes))
    return units


def _boxes(plan: Plan, kernel: Kernel, bits: Sequence[int]) -> tuple[WrittenBox, ...]:
    """The boxes that a loop writes, each the only one in its slot."""
    if not isinstance(kernel, LoopKernel):
        return ()
    found: dict[int, WrittenBox | None] = {}
    for access in kernel.writes:
        known = access.slot in found
        found[access.slot] = None if known else _box(plan, kernel, access, bits[access.slot])
    return tuple([box for box in found.values() if box is not None])


def _box(plan: Plan, kernel: LoopKernel, access: Access, bit: int) -> WrittenBox | None:
    """The box that an access walks, where each of its axes is one of the slot."""
    shape = plan.slots[access.slot].aval.shape
    strides = contiguous_strides(shape)
    low, rest = [], access.offset
    for stride in strides:
        start, rest = divmod(rest, stride) if stride else (0, rest)
        low.append(start)
    high = [start + 1 for start in low]
    for size, stride in zip(kernel.shape, access.strides):
        if size == 1 or not stride:
            continue
        axis = next((k for k, own in enumerate(strides) if own == stride and shape[k] > 1), -1)
        if axis < 0 or high[axis] - low[axis] > 1:
            return None
        high[axis] = low[axis] + size
    outside = any(stop > size for stop, size in zip(high, shape))
    return None if rest or outside else WrittenBox(bit, access.slot, tuple(low), tuple(high))


def _is_fence(kernel: Kernel) -> bool:
    """Whether a kernel may fail, or is an algorithm or other plans."""
    return isinstance(kernel, HostStep) or (isinstance(kernel, LoopKernel) and kernel.check)


def _union(bits: Sequence[int], slots: set[int]) -> int:
    found = 0
    for slot in slots:
        found |= bits[slot]
    return found


def _bit(plan: Plan, roots: Mapping[int, int], number: int) -> int:
    """The bit of a slot's memory; none where nothing is ever written."""
    slot = plan.slots[number]
    if slot.kind == "const":
        return 0
    if slot.kind in ("input", "state"):  # a new value may be written over the input it replaces
        return 2 << (len(plan.slots) + slot.index)
    return 2 << roots.get(number, number)
