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

__all__ = ["schedule", "same_place"]


def _map(sizes: Ints, a: Access) -> tuple[int, Ints] | None:
    return None if a.gather else (a.offset, canonical(sizes, a.strides))


def _flat(o: Operand) -> tuple[Ints, tuple[int, Ints]]:
    dims = (o.batch, o.rows, o.cols)
    sizes: Ints = sum((tuple(d.sizes) for d in dims), ())
    return sizes, (o.offset, canonical(sizes, sum((tuple(d.strides) for d in dims), ())))


def _once(kernel: LoopKernel, at: tuple[int, Ints] | None) -> bool:
    """Whether a map of a kernel with reductions has one position per row: such results are stored
    when the row is done, those of elements may be stored before their operand is read again."""
    assert kernel.group is not None and at is not None
    start, stop = kernel.group
    return prod(kernel.shape[start:stop]) > 1 and not any(at[1][start:stop])


def same_place(kernel: Kernel, old: int, new: int) -> bool:
    """Whether the kernel may run when slots `old` and `new` are the same memory: every element of
    `old` is read only where the same element of `new` is written next."""
    if isinstance(kernel, LoopKernel):
        size = kernel.shape
        maps = {_map(size, a) for a in kernel.reads if a.slot == old}
        maps |= {_map(size, a) for a in kernel.writes if a.slot == new}
        if len(maps) != 1 or None in maps:
            return False
        return kernel.group is None or _once(kernel, maps.pop())
    if isinstance(kernel, GemmKernel):
        if old in (kernel.a.slot, kernel.b.slot):
            return False
        outs = [_flat(o) for o in kernel.outs if o.slot == new]
        maps = {_map(outs[0][0], a) for a in kernel.reads if a.slot == old} if outs else {None}
        return maps | {m for _, m in outs} == {outs[0][1]} if outs else False
    return False


class _Scheduler:
    def __init__(self, draft: Draft, donate: bool) -> None:
        self.draft, self.steps = draft, draft.steps
        n = len(self.steps)
        # gates come behind the steps: gate -1 is number n
        after = [s.after for s in self.steps] + draft.gates
        self.then: list[list[int]] = [[] for _ in after]
        self.waits = [len(a) for a in after]
        for k, waited in enumerate(after):
            for j in waited:
                self.then[j if j >= 0 else n - 1 - j].append(k)
        self.readers: dict[int, list[int]] = {}
        self.writers: dict[int, list[int]] = {}
        for k, s in enumerate(self.steps):
            for slot in s.reads:
                self.readers.setdefault(slot, []).append(k)
            for slot in s.writes:
                self.writers.setdefault(slot, []).append(k)
        self.failing = sum(s.may_fail for s in self.steps)
        self.ready: list[tuple[bool, int]] = []
        self.parked: set[int] = set()
        self.woken: list[int] = []  # parked steps, among others, that may have become free
        self.held: dict[int, set[int]] = {}  # state slot -> unfinished readers of the old value
        self.claims = [0] * n  # in-place states that a step writes
        self.by_reader: dict[int, list[int]] = {}
        if donate:
            self.claim()

    def claim(self) -> None:
        """States that could be written in place."""
        slots, outputs = self.draft.assignment.slots, set(self.draft.assignment.outputs)
        for new, slot in enumerate(slots):
            old, writers = slot.index, self.writers.get(new, [])
            if (
                slot.kind != "state"
                or old in outputs
                or slots[old].aval is not slot.aval
                or not writers
            ):
                continue
            readers, writing = self.readers.get(old, []), set(writers)
            own = [k for k in readers if k in writing]
            # of several writers only the first may read the old value, and only to copy it onto
            # itself
            if any(self.steps[k].may_fail for k in writers) or not all(
                same_place(self.steps[k].kernel, old, new)
                and (
                    len(writers) == 1
                    or (k == writers[0] and _moves_nothing(self.steps[k], {new: old}))
                )
                for k in own
            ):
                continue
            self.held[new] = set(readers) - writing
            for k in self.held[new]:
                self.by_reader.setdefault(k, []).append(new)
            for k in writers:
                self.claims[k] += 1

    def blocked(self, k: int) -> bool:
        if not self.claims[k]:
            return False
        return self.failing > 0 or any(self.held.get(s) for s in self.steps[k].writes)

    def drop(self, k: int) -> None:
        """Give the states that step k writes memory of their own."""
        for slot in self.steps[k].writes:
            if self.held.pop(slot, None) is not None:
                for w in self.writers[slot]:
                    self.claims[w] -= 1
                self.woken += self.writers[slot]

    def order(self) -> list[int]:
        self.ready = [(not s.may_fail, k) for k, s in enumerate(self.steps) if self.waits[k] == 0]
        heapq.heapify(self.ready)
        oldest: list[int] = []  # a heap of parked steps, and some that no longer are
        out: list[int] = []
        while self.ready or self.parked:
            if not self.ready:
                # nothing else can run: the oldest parked step keeps its states out of place
                k = heapq.heappop(oldest)
                if k in self.parked:
                    self.drop(k)
                    self.free(k)
                continue
            _, k = heapq.heappop(self.ready)
            if self.blocked(k):
                self.parked.add(k)
                heapq.heappush(oldest, k)
                continue
            out.append(k)
            if self.finish(k):
                woken, self.woken = self.woken, []
                for w in woken:
                    if w in self.parked and not self.blocked(w):
                        self.free(w)
        return out

    def free(self, k: int) -> None:
        """A parked step may run."""
        self.parked.discard(k)
        heapq.heappush(self.ready, (True, k))

    def finish(self, k: int) -> bool:
        """Mark step k done; true when parked steps (among `woken`) may have become free."""
        step = self.steps[k]
        passed = [k]
        while passed:
            for j in self.then[passed.pop()]:
                self.waits[j] -= 1
                if self.waits[j] == 0 and j >= len(self.steps):
                    passed.append(j)  # a gate opens with the last of its steps
                elif self.waits[j] == 0:
                    heapq.heappush(self.ready, (not self.steps[j].may_fail, j))
        freed = False
        if step.may_fail:
            self.failing -= 1
            freed = self.failing == 0
            self.woken += self.parked if freed else ()
        for slot in self.by_reader.get(k, ()):
            held = self.held.get(slot)
            if held is not None:
                held.discard(k)
                if not held:
                    freed = True
                    self.woken += self.writers[slot]
        return freed


def _moves_nothing(step: PlanStep, placed: dict[int, int]) -> bool:
    """A copy of old state onto itself."""
    k = step.kernel
    if not isinstance(k, LoopKernel) or k.check or len(k.writes) != 1 or len(k.reads) != 1:
        return False
    old = placed.get(k.writes[0].slot)
    plain = [i.prim for i in k.program.instrs] == ["arg"]
    return (
        plain
        and old is not None
        and old == k.reads[0].slot
        and same_place(k, old, k.writes[0].slot)
    )


def schedule(draft: Draft, donate: bool = True) -> Draft:
    """The draft with its steps in execution order and its in-place states marked."""
    s = _Scheduler(draft, donate)
    order = s.order()
    slots = draft.assignment.slots
    placed = {new: slots[new].index for new in s.held}
    for new in placed:
        slots[new] = slots[new]._replace(in_place=True)
    steps: Sequence[PlanStep] = [draft.steps[k] for k in order]
    for step in steps:
        step.after = set()
    idle = [t for t in steps if _moves_nothing(t, placed)]
    partial = tuple(sorted({slot for t in idle for slot in t.writes}))
    gone = set(idle)
    return Draft(draft.assignment, [t for t in steps if t not in gone], partial)
