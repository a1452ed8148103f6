"""What a replay entry is specialised on, and what it does, in Python.

Invariant: inputs and outputs have the numbers of the plan.  A PythonEntry gives what the native
entry gives; it is the fallback where native code cannot read Python objects, and the tests' oracle.
It never writes a value in place.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ....core import dtypes as dt
from ....core.aval import Aval, aval
from ....ir.algorithm import Traversal, While
from ....ir.door.busy import GATE, put_values, values_of
from ....ir.tensor import Handle
from ...api import CHECKED, Held, HeldGradient, Pointer, Replay, ReplayInput
from ...plan import AttendKernel, GemmKernel, HostStep, LoopKernel, Plan, Slot, unread_inputs
from ..machine.alloc import empty
from ..machine.pool import OUT_OF_MEMORY, run_steps
from . import abi
from .entry_table import CLAMP, FORMS

__all__ = [
    "NativeReplay",
    "native_replay",
    "PythonEntry",
    "gradient_address",
    "decode_failure",
    "OUT_OF_MEMORY_STATUS",
]

OUT_OF_MEMORY_STATUS = CLAMP + 1
SHORT = 1 << 21  # rough count of multiplications and moved bytes of 20 microseconds
Step = Sequence[int]
_ROW_ORDER = (type(None), Held, HeldGradient, Pointer)


@dataclass(frozen=True, slots=True, eq=False)
class NativeReplay:
    """A replay with what only native code needs; inputs and outputs have the replay's numbers.

    slots         one per base pointer: input k, output, arena (byte offset), const, state (input k)
    steps         descriptors (function, args, items, grain, scratch bytes, flags)
    outputs       the slot of each output
    partial       state slots whose kernels write only a part, so that the old contents must be
                  there first
    arena_base    address of the arena; 0: each call has one of its own
    unread        inputs whose values nothing looks at
    release_gil   for plans longer than about 20 microseconds
    keep          objects that own what steps point to
    """

    replay: Replay
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...] = ()
    consts: tuple[np.ndarray, ...] = ()
    arena_bytes: int = 0
    arena_base: int = 0
    partial: frozenset[int] = frozenset()
    unread: frozenset[int] = frozenset()
    release_gil: bool = False
    keep: Any = None

    @property
    def states(self) -> list[tuple[int, int]]:
        """(input, slot of its new value)."""
        return [(number, self.outputs[output]) for output, number in self.replay.states]

    @property
    def results(self) -> list[int]:
        """The slot of each result, or ~k for the tensor of input k itself."""
        return [output if output < 0 else self.outputs[output] for output in self.replay.results]

    def rows(self) -> list[int]:
        """Inputs in the order of the table: passed ones, held ones, then those behind pointers."""
        sources = [found.source for found in self.replay.inputs]
        return sorted(range(len(sources)), key=lambda k: _ROW_ORDER.index(type(sources[k])))

    def address(self, number: int) -> int:
        """Address of the pointer to an input that is behind one; 0 for others."""
        source = self.replay.inputs[number].source
        if isinstance(source, HeldGradient):
            return gradient_address(self.replay, source.host)
        return source.address if isinstance(source, Pointer) else 0

    def validate(self) -> None:
        """ValueError for a spec that no entry can run safely."""
        for wrong, text in (*self._results_wrong(), *self._slots_wrong()):
            if wrong:
                raise ValueError(f"replay spec: {text}")

    def _results_wrong(self) -> Iterator[tuple[bool, str]]:
        """(whether something is wrong, what) of what the entry takes and gives."""
        form, count, types = self.replay.form, len(self.replay.results), self.replay.tensor_types
        given = [number for number, _ in self.states]
        yield form not in FORMS, f"form {form!r} is none of {', '.join(FORMS)}"
        yield form == "single" and count != 1, "form 'single' needs exactly one output"
        yield form == "none" and count > 0, "form 'none' has no outputs"
        yield len(set(given)) < len(given), "an input has two new values"
        tensors = bool(types) and all(issubclass(kind, Handle) for kind in types)
        yield not tensors, "tensor types must be classes of tensors"
        yield any(not _plain(c) for c in self.consts), "constants must be contiguous arrays"

    def _slots_wrong(self) -> Iterator[tuple[bool, str]]:
        """The same of the memory that kernels work on."""
        slots, states, inputs = self.slots, set(self.states), self.replay.inputs
        read = [slot.index for slot in slots if slot.kind == "input"]
        used = [slot for slot in (*self.results, *(slot for _, slot in states)) if slot >= 0]
        news = [(slot, number) for number, slot in enumerate(slots) if slot.kind == "state"]
        arenas = [slot for slot in slots if slot.kind == "arena"]
        yield len(set(read)) < len(read), "an input has two slots"
        leaves = any(slots[slot].kind == "arena" for slot in used)
        yield leaves, "an arena slot cannot leave the plan"
        strange = any((slot.index, number) not in states for slot, number in news)
        yield strange, "a state slot is not the new value of its input"
        over = {slot.index for slot, _ in news if slot.in_place}
        old = any(slots[slot].kind == "input" and slots[slot].index in over for slot in used)
        yield old, "the old value of an input that is written in place cannot leave the plan"
        grown = any(slot.in_place and slot.aval is not inputs[slot.index].aval for slot, _ in news)
        yield grown, "a state with another shape or dtype cannot be written in place"
        size = self.arena_bytes
        outside = any(slot.index % 64 or slot.index + slot.aval.nbytes > size for slot in arenas)
        yield outside, "an arena slot lies outside the arena or is not 64-byte aligned"


def _plain(a: np.ndarray) -> bool:
    return isinstance(a, np.ndarray) and a.flags.c_contiguous and a.flags.aligned


def gradient_address(replay: Replay, host: int) -> int:
    """Address of the pointer to the gradient of a held input."""
    source = replay.inputs[host].source
    assert isinstance(source, Held)
    return abi.slot_address(source.tensor._node, "grad")


def decode_failure(result: int) -> tuple[int, int]:
    """(step, status) of an int result; 1 + position, at most CLAMP, or OUT_OF_MEMORY_STATUS."""
    return result >> 32, result & 0xFFFFFFFF


def native_replay(plan: Plan, replay: Replay, segment: Any, temp: int) -> NativeReplay:
    """The replay with what only native code needs: where kernels are and what they work on."""
    arena = -(-plan.arena_bytes // 64) * 64
    guards = [*replay.guards, *((gradient_address(replay, k), id(None)) for k in replay.no_grad)]
    release = _work(plan) > SHORT
    if release:
        # others run meanwhile: a call starts only while nobody waits to read what it writes
        guards.append((GATE.ctypes.data, 0))
    steps = () if segment is None else range(0, 6 * len(segment.steps), 6)
    return NativeReplay(
        replay=replay._replace(guards=tuple(guards)),
        slots=(*plan.slots, Slot("arena", aval((temp,), dt.uint8), arena)),
        steps=tuple([tuple(segment.table[at : at + 6]) for at in steps]),
        outputs=plan.outputs,
        consts=plan.consts,
        arena_bytes=arena + temp + 64,
        partial=frozenset(plan.partial),
        unread=unread_inputs(plan, len(replay.inputs)) - {k for _, k in replay.states},
        release_gil=release,
        keep=(segment, plan),
    )


def _work(plan: Plan) -> int:
    total = 0
    for kernel in plan.steps:
        if isinstance(kernel, HostStep):  # that is native, as all plans in it are
            total += _inside(kernel)
        elif isinstance(kernel, GemmKernel):
            total += kernel.batch * kernel.m * kernel.n * kernel.k // 4
        elif isinstance(kernel, AttendKernel):
            total += prod(kernel.batch) * kernel.m * kernel.n * (kernel.e + kernel.f) // 4
        elif isinstance(kernel, LoopKernel):
            total += 4 * prod(kernel.shape) * (len(kernel.reads) + len(kernel.writes))
    return total


def _inside(step: HostStep) -> int:
    """The work of a native step; a loop without a known end is long."""
    if step.native:
        return 4 * sum([aval.size for aval in step.avals])
    inside = sum(map(_work, step.plans))
    if isinstance(step.algorithm, While):
        return SHORT + 1
    return inside * step.algorithm.count if isinstance(step.algorithm, Traversal) else inside


class PythonEntry:
    """The same as the native entry, in Python; never writes a value in place."""

    def __init__(self, spec: NativeReplay) -> None:
        spec.validate()
        self.spec = spec
        self.read = sorted(frozenset(range(len(spec.replay.inputs))) - spec.unread)

    def handles(self, args: tuple[Any, ...]) -> list[Any] | None:
        """The tensors of all inputs, by number, or None when something does not fit."""
        spec, inputs = self.spec, self.spec.replay.inputs
        passed = iter(args)
        if len(args) != [found.source for found in inputs].count(None):
            return None
        if any(ctypes.c_uint64.from_address(at).value != word for at, word in spec.replay.guards):
            return None
        found: list[Any] = []
        for number, wanted in enumerate(inputs):
            if wanted.source is None:
                found.append(next(passed))
            elif isinstance(wanted.source, Held):
                found.append(wanted.source.tensor)
            else:
                at = spec.address(number)
                if not ctypes.c_uint64.from_address(at).value:
                    return None
                found.append(ctypes.py_object.from_address(at).value)
        fits = all(map(self._fits, found, inputs)) and all(
            type(getattr(found[number], "_v", None)) is np.ndarray for number in self.read
        )
        return found if fits and self._distinct(found) else None

    def _fits(self, tensor: Any, wanted: ReplayInput) -> bool:
        """Whether a tensor has the record and the place on the tape that the plan was made for."""
        if type(tensor) not in self.spec.replay.tensor_types or tensor._a is not wanted.aval:
            return False
        return wanted.node is CHECKED or tensor._node is wanted.node

    def _distinct(self, found: list[Any]) -> bool:
        """Whether no tensor that is passed or written is also another input or has views.  Held
        tensors are as many as when recorded, so they are compared only where pointers lead."""
        sources = [wanted.source for wanted in self.spec.replay.inputs]
        pointed = any(self.spec.address(number) for number in range(len(sources)))
        ids, states = [id(tensor) for tensor in found], [k for k, _ in self.spec.states]
        moving = [k for k, source in enumerate(sources) if pointed or source is None]
        aliased = any(ids.count(ids[k]) > 1 for k in {*moving, *states})
        return not aliased and not any(hasattr(found[k], "_x") for k in states)

    def __call__(self, *args: Any) -> Any:
        spec = self.spec
        found = self.handles(args)
        if found is None:
            return NotImplemented
        taken = values_of(found)
        read = frozenset(self.read)
        values = [
            value.copy("C") if number in read and not _plain(value) else value
            for number, value in enumerate(taken)
        ]
        arena = np.empty(spec.arena_bytes + 64, np.uint8)
        skip = -arena.ctypes.data % 64
        arrays: list[Any] = []
        for i, s in enumerate(spec.slots):
            if s.kind in ("output", "state"):
                fresh = empty(s.aval)
                if i in spec.partial:
                    fresh[...] = values[s.index]
                arrays.append(fresh)
            elif s.kind == "input":
                arrays.append(values[s.index])
            else:
                arrays.append(
                    spec.consts[s.index] if s.kind == "const" else arena[skip + s.index :]
                )
        step, status = run_steps(spec.steps, [a.ctypes.data for a in arrays])
        if status == OUT_OF_MEMORY:
            return step << 32 | OUT_OF_MEMORY_STATUS
        if status:
            return step << 32 | min(status, CLAMP)
        old = {i: taken[s.index] for i, s in enumerate(spec.slots) if s.kind == "input"}
        outs = [
            found[~o] if o < 0 else self._tensor(old.get(o, arrays[o]), spec.slots[o].aval)
            for o in spec.results
        ]
        put_values(
            [found[k] for k, _ in spec.states],
            [old.get(slot, arrays[slot]) for _, slot in spec.states],
            [spec.slots[slot].aval for _, slot in spec.states],
        )
        if spec.replay.form == "single":
            return outs[0]
        return tuple(outs) if spec.replay.form == "tuple" else None

    def _tensor(self, value: np.ndarray, a: Aval) -> Any:
        kind: Any = self.spec.replay.tensor_types[0]
        t = kind.__new__(kind)
        t._v, t._a, t._node = value, a, None
        return t
