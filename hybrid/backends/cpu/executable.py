"""A plan run from Python: one native call for each run of kernels between two host steps.

Invariant: inputs are read only; every output and every new state value is a fresh array.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import BackendError, IndexOutOfRange, LinAlgError
from ...core.floating import in_plain_floats
from ..api import Entry, Executable, KernelTime, Replay
from ..plan import HostStep, Plan, Slot, unread_inputs
from .control.steps import PlanCode, control_step, interruption, native_inside
from .gang import arranged, gang_step
from .kernels import step_lists
from .machine import alloc
from .machine.pool import OUT_OF_MEMORY, pool
from .profile import Timer, run_timed
from .python.abi import pointer
from .python.caller import NativeStep, step_table
from .python.entry import native_entry
from .python.method import words_array

__all__ = ["PlanRunner", "Segment"]


SMALL = 1 << 16  # bytes of memory that is kept between runs


class Segment:
    """Consecutive native steps as one table; `owners`: the kernel each step belongs to."""

    def __init__(self, steps: Sequence[NativeStep], owners: Sequence[int]) -> None:
        self.steps, self.owners = list(steps), list(owners)
        self.table, self.owned = step_table(steps)
        self.scratch = max((s.scratch for s in steps), default=0)

    def run(self, pointers: Any) -> tuple[int, int]:
        """(0, 0), or the kernel that failed and its status."""
        workers, failed = pool(), ctypes.c_int64(0)
        status = workers.plan(
            workers.ctl, self.table, len(self.steps), pointers, self.scratch, ctypes.byref(failed)
        )
        return (self.owners[failed.value], status) if status else (0, 0)


def program_of(plan: Plan) -> PlanCode:
    """The native steps of a plan; branches and loops are native where all inside them is."""
    plain = [i for i, k in enumerate(plan.steps) if not isinstance(k, HostStep) or k.native]
    lists, temp = step_lists([plan.steps[i] for i in plain], len(plan.slots))
    steps_of, inside = dict(zip(plain, lists)), {}
    for number, kernel in enumerate(plan.steps):
        if isinstance(kernel, HostStep) and native_inside(kernel):
            step, inside[number] = control_step(kernel, program_of)
            steps_of[number] = [step]
    order = sorted(steps_of)
    owners = [number for number in order for _ in steps_of[number]]
    return PlanCode([step for number in order for step in steps_of[number]], owners, inside, temp)


class _Memory(NamedTuple):
    """Memory of a run that has no part in its results: what is in slots in each run, where, and the
    `others`: number, slot, what makes a fresh array (None: it is an input)."""

    arena: np.ndarray
    arrays: list[Any]
    words: list[int]
    others: list[tuple[int, Slot, Callable[[], np.ndarray] | None]]
    small: bool


class PlanRunner(Executable):
    """Compiled kernels of a plan, and what is needed to run them."""

    def __init__(self, plan: Plan, program: PlanCode | None = None) -> None:
        self._spare: list[_Memory] = []  # of a run that has ended, for the next one
        program = program or program_of(plan)
        self.program, self.temp, self.inside = program, program.temp, program.inside
        steps_of: list[list[NativeStep]] = [[] for _ in plan.steps]
        for owner, step in zip(program.owners, program.steps):
            steps_of[owner].append(step)
        threads = pool().threads() if pool().running() > 1 else 1
        self.plan, groups = arranged(plan, steps_of, threads)
        self.parts: list[Segment | HostStep] = []
        steps: list[NativeStep] = []
        owners: list[int] = []
        for group in groups:
            kernel = plan.steps[group[0].owner]
            if group[0].step is None:
                self._close(steps, owners)
                if isinstance(kernel, HostStep):
                    self.parts.append(kernel)
                continue
            if len(group) > 1:
                steps.append(gang_step(group, threads))
                owners.append(group[0].owner)
            steps += [unit.step for unit in group if unit.step is not None]
            owners += [unit.owner for unit in group]
        self._close(steps, owners)

    def _close(self, steps: list[NativeStep], owners: list[int]) -> None:
        if steps:
            self.parts.append(Segment(steps, owners))
            steps.clear()
            owners.clear()

    def keeps_inputs(self) -> bool:
        """Only an input that is an output as it is shares its memory."""
        return any(self.plan.slots[number].kind == "input" for number in self.plan.outputs)

    def entry(self, replay: Replay, like: Entry | None = None) -> Entry | None:
        """The native entry of this plan, when all its steps are native."""
        if any(isinstance(p, HostStep) for p in self.parts) or len(self.parts) > 1:
            return None
        segment = self.parts[0] if self.parts else None
        return native_entry(self.plan, replay, segment, self.temp, self._error, like)

    def profile(self, inputs: Sequence[np.ndarray], runs: int = 20) -> list[KernelTime]:
        """Every kernel timed by itself; see Executable.profile."""
        timer = Timer()
        timer.calibrate()
        copies = list(inputs)  # states are updated in place, as in a replay: on copies
        for slot in self.plan.slots:
            if slot.kind == "state" and slot.in_place:
                copies[slot.index] = np.array(inputs[slot.index], order="C")
        for _ in range(max(runs, 1)):
            self._run(copies, timer)
        steps: dict[int, list[NativeStep]] = {}
        gangs: dict[int, int] = {}
        for owner, step, gang in self._native():
            steps.setdefault(owner, []).append(step)
            gangs.setdefault(owner, gang)
        return timer.rows(self.plan, steps, gangs)

    def _native(self) -> Iterator[tuple[int, NativeStep, int]]:
        """(kernel, native step, number of its gang or 0), in the order in which they run."""
        gang = left = 0
        for part in self.parts:
            for owner, step in zip(part.owners, part.steps) if isinstance(part, Segment) else ():
                if step.members:
                    gang, left = gang + 1, step.members
                    continue
                yield owner, step, gang if left else 0
                left = max(left - 1, 0)

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self._run(inputs, None)

    def _run(self, inputs: Sequence[np.ndarray], timer: Timer | None) -> list[np.ndarray]:
        memory = None
        with suppress(IndexError):  # the first run, or another thread is inside
            memory = self._spare.pop()
        if memory is None:
            memory = self._memory(len(inputs))
        arrays, words = list(memory.arrays), list(memory.words)
        for number, slot, make in memory.others:
            if make is not None and not (timer is not None and slot.in_place):
                arrays[number] = array = make()
            else:
                arrays[number] = array = np.asarray(inputs[slot.index], order="C")
            words[number] = pointer(array)
        for partial in self.plan.partial:
            np.copyto(arrays[partial], inputs[self.plan.slots[partial].index])
        pointers = words_array(words)
        for part in self.parts:
            if isinstance(part, HostStep):
                self._host(part, arrays, timer)
                continue
            kernel, status = (
                part.run(pointers) if timer is None else run_timed(timer, part, pointers)
            )
            if status:
                raise self._error(kernel, status)
        outputs = [arrays[s] for s in self.plan.outputs]
        if memory.small and not self._spare:
            self._spare.append(memory)
        return outputs

    def _memory(self, count: int) -> _Memory:
        """What runs with so many inputs need of memory, and may use again."""
        plan = self.plan
        arena = np.empty(plan.arena_bytes + self.temp + 128, np.uint8)
        aligned = -(-pointer(arena) // 64) * 64
        inside, unread = arena[aligned - pointer(arena) :], unread_inputs(plan, count)
        arrays: list[Any] = []
        others: list[tuple[int, Slot, Callable[[], np.ndarray] | None]] = []
        for number, slot in enumerate(plan.slots):
            array = self._array(slot, inside, unread)
            arrays.append(array)
            if array is None:
                fresh = slot.kind in ("output", "state")
                others.append((number, slot, alloc.maker(slot.aval) if fresh else None))
        words = [0 if array is None else pointer(array) for array in arrays]
        words.append(aligned + -(-plan.arena_bytes // 64) * 64)
        return _Memory(arena, arrays, words, others, arena.nbytes <= SMALL)

    def _array(self, slot: Slot, arena: np.ndarray, unread: frozenset[int]) -> np.ndarray | None:
        """What is in a slot in each run; None: that is made, or given."""
        if slot.kind == "input":
            return np.empty(0) if slot.index in unread else None
        if slot.kind == "const":
            return np.asarray(self.plan.consts[slot.index], order="C")
        if slot.kind == "arena":
            return np.ndarray(slot.aval.shape, slot.aval.dtype, arena, slot.index)
        if slot.kind in ("output", "state"):
            return None
        raise BackendError(f"a plan has a slot of unknown kind {slot.kind!r}")

    @in_plain_floats
    def _host(self, step: HostStep, arrays: list[np.ndarray], timer: Timer | None) -> None:
        values, failed = [arrays[s] for s in step.inputs], ""
        try:
            if timer is None:
                returned = step.function(*values)
            else:
                timed_key = (self._number(step), 0)
                returned = timer.time(timed_key, lambda: step.function(*values))
        except LinAlgError as error:
            site = self.plan.sites[self._number(step)]
            failed = f"{error} (at {site})" if site else str(error)
        if failed:
            raise LinAlgError(failed)
        results = returned if isinstance(returned, (tuple, list)) else (returned,)
        for target, result in zip(step.outputs, results):
            np.copyto(arrays[target], result)

    def _number(self, step: HostStep) -> int:
        """The place of a step in the plan."""
        return next(i for i, k in enumerate(self.plan.steps) if k is step)

    def _error(self, kernel: int, status: int) -> Exception:
        if status == OUT_OF_MEMORY:
            return MemoryError("no memory for the work of a thread")
        stopped = interruption(status)
        if stopped is not None:
            return stopped  # type: ignore[return-value]
        site, text = self.plan.sites[kernel], self.plan.messages[kernel]
        if kernel in self.inside:
            site, text = self.inside[kernel][status - 1]
        text = text or "an index is out of range"
        return IndexOutOfRange(f"{text} (at {site})" if site else text)
