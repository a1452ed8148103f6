"""What every order of a plan's steps must satisfy: who wrote each byte that a kernel reads.

Invariant: nothing here asks the code under test what conflicts; memory is followed byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from hybrid.backends.cpu.gang import cost, gather, layout
from hybrid.backends.plan import GemmKernel, LoopKernel, Plan, slots_of, written_slots

__all__ = ["followed", "groups_of", "keen", "Step"]

Step = tuple[int, int, bool]  # kernel, which of its steps, whether that is the last


@pytest.fixture
def keen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever may form a gang does, cut as finely as can be."""
    for name in ("LEAST", "FIRST", "PART"):
        monkeypatch.setattr(gather, name, -1e9)
    for module in (cost, layout):
        monkeypatch.setattr(module, "PIECE", 1e-3)
    monkeypatch.setattr(cost, "BARRIER", -1e3)
    monkeypatch.setattr("hybrid.backends.cpu.gang.MORE_MEMORY", 1 << 40)


def groups_of(runner: Any) -> list[list[Step]]:
    """The steps of a runner as they run on several threads, from its tables."""
    last: dict[int, int] = {}
    found: list[list[Step]] = []
    for part in runner.parts:
        if not hasattr(part, "steps"):
            number = next(k for k, step in enumerate(runner.plan.steps) if step is part)
            found.append([(number, 0, True)])
            continue
        at = 0
        while at < len(part.steps):
            many = part.steps[at].members
            first = at + bool(many)
            group = part.owners[first : first + max(many, 1)]
            steps = []
            for owner in group:
                last[owner] = last.get(owner, -1) + 1
                steps.append((owner, last[owner], False))
            found.append(steps)
            at = first + len(group)
    return [[(o, k, k == last.get(o, 0)) for o, k, _ in group] for group in found]


def _elements(shape: Sequence[int], offset: int, strides: Sequence[int]) -> np.ndarray:
    places = np.full((), offset, np.int64)
    for size, stride in zip(shape, strides):
        if not stride:  # one place, also of a sum of nothing
            continue
        places = places[..., None] + np.arange(size) * stride
    return places.ravel()


def _parts(kernel: Any, slot: int) -> Iterator[np.ndarray]:
    """The elements of a slot that a kernel writes, where that is known exactly."""
    if isinstance(kernel, LoopKernel):
        for access in kernel.writes:
            if access.slot == slot:
                yield _elements(kernel.shape, access.offset, access.strides)
    if isinstance(kernel, GemmKernel):
        for out in kernel.outs:
            if out.slot == slot:
                dims = (out.batch, out.rows, out.cols)
                sizes = [n for d in dims for n in d.sizes]
                yield _elements(sizes, out.offset, [s for d in dims for s in d.strides])


class _Followed:
    """Memory that holds, for each byte, which kernel wrote it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.arena = np.full(plan.arena_bytes, -1, np.int32)
        self.spaces: dict[Any, np.ndarray] = {}

    def bytes_of(self, slot: int) -> np.ndarray:
        found = self.plan.slots[slot]
        size = found.aval.nbytes
        if found.kind == "arena":
            return self.arena[found.index : found.index + size]
        shared = found.kind == "input" or (found.kind == "state" and found.in_place)
        key = ("input", found.index) if shared else ("slot", slot)
        return self.spaces.setdefault(key, np.full(size, -1, np.int32))

    def read(self, number: int) -> dict[int, bytes]:
        kernel = self.plan.steps[number]
        slots = slots_of(kernel) - written_slots(kernel)
        return {slot: self.bytes_of(slot).tobytes() for slot in slots}

    def places(self, number: int, slot: int) -> np.ndarray:
        """The bytes of a slot's memory that a kernel writes."""
        kernel, aval = self.plan.steps[number], self.plan.slots[slot].aval
        parts, width = list(_parts(kernel, slot)), max(aval.dtype.itemsize, 1)
        if not parts or not aval.nbytes:
            return np.arange(aval.nbytes)
        if any(part.max(initial=0) >= aval.size for part in parts):  # pairs of a complex number
            width //= 2
        elements = np.unique(np.concatenate(parts))
        return (elements[:, None] * width + np.arange(width)).ravel()

    def write(self, number: int) -> None:
        for slot in written_slots(self.plan.steps[number]):
            self.bytes_of(slot)[self.places(number, slot)] = number


def _apart(memory: _Followed, group: Sequence[Step]) -> None:
    """No byte that one of the group writes is touched by another one."""
    marked: dict[int, np.ndarray] = {}

    def mark(slot: int) -> np.ndarray:
        view = memory.bytes_of(slot)
        base = view if view.base is None or view.base.dtype != np.int32 else view.base
        holder = marked.setdefault(id(base), np.full(base.size, -1, np.int32))
        start = (view.ctypes.data - base.ctypes.data) // 4
        return holder[start : start + view.size]

    for number in {owner for owner, _, _ in group}:
        for slot in written_slots(memory.plan.steps[number]):
            places, line = memory.places(number, slot), mark(slot)
            assert ((line[places] == -1) | (line[places] == number)).all(), group
            line[places] = number
    for number in {owner for owner, _, _ in group}:
        kernel = memory.plan.steps[number]
        for slot in slots_of(kernel) - written_slots(kernel):
            line = mark(slot)
            assert ((line == -1) | (line == number)).all(), group


def followed(plan: Plan, groups: Sequence[Sequence[Step]]) -> tuple[Any, Any]:
    """(for each kernel who wrote what it read, who wrote each result): the same for every legal
    order.  Fails where members of a group are not apart."""
    memory, seen = _Followed(plan), dict[int, Any]()
    for group in groups:
        _apart(memory, group)
        for number, piece, _ in group:
            found = memory.read(number)
            assert piece == 0 or seen[number] == found, "an operand of a kernel was overwritten"
            seen[number] = found
        for number, _, last in group:
            if last:
                memory.write(number)
    results = {slot: memory.bytes_of(slot).tobytes() for slot in plan.outputs}
    return seen, results
