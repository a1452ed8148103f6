"""Schedule: the order of a plan's kernels, and which new states may overwrite the old ones.

Program order, except that kernels that can fail (index checks, host calls) go first of those that
are ready, and a kernel that overwrites state waits for every reader of the old value and for
everything that can fail.  Where that is impossible (two states that need each other's old values, a
host call that reads new state, an old value that is returned) the state gets memory of its own and
is swapped at commit.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import prod

from ...backends.plan import Access, GemmKernel, Kernel, LoopKernel, Operand
from .affine import Ints, canonical
from .kernels import Draft, PlanStep

__all__ = ["schedule", "runs_in_place"]


def _map(sizes: Ints, access: Access) -> tuple[int, Ints] | None:
    return None if access.gather else (access.offset, canonical(sizes, access.strides))


def _flat(operand: Operand) -> tuple[Ints, tuple[int, Ints]]:
    dims = (operand.batch, operand.rows, operand.cols)
    sizes: Ints = sum((tuple(d.sizes) for d in dims), ())
    return sizes, (operand.offset, canonical(sizes, sum((tuple(d.strides) for d in dims), ())))


def _once(kernel: LoopKernel, affine: tuple[int, Ints] | None) -> bool:
    """Whether a map of a kernel with reductions has one position per row: such results are stored
    when the row is done, those of elements may be stored before their operand is read again."""
    assert kernel.group is not None and affine is not None
    start, stop = kernel.group
    return prod(kernel.shape[start:stop]) > 1 and not any(affine[1][start:stop])


def runs_in_place(kernel: Kernel, old_slot: int, new_slot: int) -> bool:
    """Whether the kernel may run when slots `old` and `new` are the same memory: every element of
    `old` is read only where the same element of `new` is written next.

    Proof by equal maps: if all reads of `old` and all writes of `new` go through one and the same
    map, position p touches element map(p) of both and no other position does before it, in whatever
    order and on however many threads positions run.  Factors of a product are read many times, so
    only operands of its epilogue may be overwritten."""
    if isinstance(kernel, LoopKernel):
        size = kernel.shape
        maps = {_map(size, a) for a in kernel.reads if a.slot == old_slot}
        maps |= {_map(size, a) for a in kernel.writes if a.slot == new_slot}
        if len(maps) != 1 or None in maps:
            return False
        return kernel.group is None or _once(kernel, maps.pop())
    if isinstance(kernel, GemmKernel):
        if old_slot in (kernel.a.slot, kernel.b.slot):
            return False
        outputs = [_flat(o) for o in kernel.outs if o.slot == new_slot]
        maps = (
            {_map(outputs[0][0], a) for a in kernel.reads if a.slot == old_slot}
            if outputs
            else {None}
        )
        return maps | {m for _, m in outputs} == {outputs[0][1]} if outputs else False
    return False


class _Scheduler:
    def __init__(self, draft: Draft, donate: bool) -> None:
        self.draft, self.steps = draft, draft.steps
        count = len(self.steps)
        # gates come behind the steps: gate -1 is number `count`
        after = [s.after for s in self.steps] + draft.gates
        self.then: list[list[int]] = [[] for _ in after]
        self.waits = [len(a) for a in after]
        for number, waited in enumerate(after):
            for waiting in waited:
                self.then[waiting if waiting >= 0 else count - 1 - waiting].append(number)
        self.readers: dict[int, list[int]] = {}
        self.writers: dict[int, list[int]] = {}
        for number, step in enumerate(self.steps):
            for slot in step.reads:
                self.readers.setdefault(slot, []).append(number)
            for slot in step.writes:
                self.writers.setdefault(slot, []).append(number)
        self.failing = sum(s.may_fail for s in self.steps)
        self.ready: list[tuple[bool, int]] = []
        self.parked: set[int] = set()
        self.woken: list[int] = []  # parked steps, among others, that may have become free
        # state slot -> unfinished readers of the old value; a state that has left this table gets
        # memory of its own
        self.old_readers: dict[int, set[int]] = {}
        self.claims = [0] * count  # in-place states that a step writes
        self.by_reader: dict[int, list[int]] = {}
        if donate:
            self.claim()

    def claim(self) -> None:
        """States that could be written in place."""
        slots, outputs = self.draft.assignment.slots, set(self.draft.assignment.outputs)
        for new_slot, slot in enumerate(slots):
            old_slot, writers = slot.index, self.writers.get(new_slot, [])
            if (
                slot.kind != "state"
                or old_slot in outputs
                or slots[old_slot].aval is not slot.aval
                or not writers
            ):
                continue
            readers, writing = self.readers.get(old_slot, []), set(writers)
            both = [k for k in readers if k in writing]
            # of several writers only the first may read the old value, and only to copy it onto
            # itself
            if any(self.steps[k].may_fail for k in writers) or not all(
                runs_in_place(self.steps[k].kernel, old_slot, new_slot)
                and (
                    len(writers) == 1
                    or (k == writers[0] and _moves_nothing(self.steps[k], {new_slot: old_slot}))
                )
                for k in both
            ):
                continue
            self.old_readers[new_slot] = set(readers) - writing
            for number in self.old_readers[new_slot]:
                self.by_reader.setdefault(number, []).append(new_slot)
            for number in writers:
                self.claims[number] += 1

    def blocked(self, number: int) -> bool:
        if not self.claims[number]:
            return False
        return self.failing > 0 or any(self.old_readers.get(s) for s in self.steps[number].writes)

    def drop(self, number: int) -> None:
        """Give the states that a step writes memory of their own."""
        for slot in self.steps[number].writes:
            if self.old_readers.pop(slot, None) is not None:
                for writer in self.writers[slot]:
                    self.claims[writer] -= 1
                self.woken += self.writers[slot]

    def order(self) -> list[int]:
        self.ready = [(not s.may_fail, k) for k, s in enumerate(self.steps) if self.waits[k] == 0]
        heapq.heapify(self.ready)
        oldest: list[int] = []  # a heap of parked steps, and some that no longer are
        ordered: list[int] = []
        while self.ready or self.parked:
            if not self.ready:
                # nothing else can run: the oldest parked step keeps its states out of place
                number = heapq.heappop(oldest)
                if number in self.parked:
                    self.drop(number)
                    self.free(number)
                continue
            _, number = heapq.heappop(self.ready)
            if self.blocked(number):
                self.parked.add(number)
                heapq.heappush(oldest, number)
                continue
            ordered.append(number)
            if self.finish(number):
                woken, self.woken = self.woken, []
                for writer in woken:
                    if writer in self.parked and not self.blocked(writer):
                        self.free(writer)
        return ordered

    def free(self, number: int) -> None:
        """A parked step may run."""
        self.parked.discard(number)
        heapq.heappush(self.ready, (True, number))

    def finish(self, number: int) -> bool:
        """Mark a step done; true when parked steps (among `woken`) may have become free."""
        step = self.steps[number]
        passed = [number]
        while passed:
            for waiting in self.then[passed.pop()]:
                self.waits[waiting] -= 1
                if self.waits[waiting] == 0 and waiting >= len(self.steps):
                    passed.append(waiting)  # a gate opens with the last of its steps
                elif self.waits[waiting] == 0:
                    heapq.heappush(self.ready, (not self.steps[waiting].may_fail, waiting))
        freed = False
        if step.may_fail:
            self.failing -= 1
            freed = self.failing == 0
            self.woken += self.parked if freed else ()
        for slot in self.by_reader.get(number, ()):
            readers_left = self.old_readers.get(slot)
            if readers_left is not None:
                readers_left.discard(number)
                if not readers_left:
                    freed = True
                    self.woken += self.writers[slot]
        return freed


def _moves_nothing(step: PlanStep, old_slots: dict[int, int]) -> bool:
    """A copy of old state onto itself."""
    kernel = step.kernel
    if (
        not isinstance(kernel, LoopKernel)
        or kernel.check
        or len(kernel.writes) != 1
        or len(kernel.reads) != 1
    ):
        return False
    old_slot = old_slots.get(kernel.writes[0].slot)
    plain = [i.prim for i in kernel.program.instrs] == ["arg"]
    return (
        plain
        and old_slot is not None
        and old_slot == kernel.reads[0].slot
        and runs_in_place(kernel, old_slot, kernel.writes[0].slot)
    )


def schedule(draft: Draft, donate: bool = True) -> Draft:
    """The draft with its steps in execution order and its in-place states marked."""
    scheduler = _Scheduler(draft, donate)
    order = scheduler.order()
    slots = draft.assignment.slots
    old_slots = {new: slots[new].index for new in scheduler.old_readers}
    for new_slot in old_slots:
        slots[new_slot] = slots[new_slot]._replace(in_place=True)
    steps: Sequence[PlanStep] = [draft.steps[k] for k in order]
    for step in steps:
        step.after = set()
    idle = [t for t in steps if _moves_nothing(t, old_slots)]
    partial = tuple(sorted({slot for t in idle for slot in t.writes}))
    gone = set(idle)
    return Draft(draft.assignment, [t for t in steps if t not in gone], partial)
