"""A plan on a card: its kernels loaded, its temporaries in one arena, run as one CUDA graph.

Invariant: inputs are read only, but for states that the native entry owns alone; every output is
fresh, and nothing is allocated while kernels run.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval, aval
from ...core.errors import BackendError, DeviceError, blame
from ...ir.graph.graph import Graph
from ..api import Entry, Executable, Interpreted, KernelTime, Replay
from ..cpu.python import abi, runtime
from ..cpu.python.entry import entry_of
from ..cpu.python.replay import NativeReplay
from ..interpret import graph_runner
from ..plan import HostStep, Kernel, LoopKernel, Plan, ScatterKernel, Slot, slots_of, unread_inputs
from . import array
from .copies import contiguous
from .function import GpuFunction
from .graphs import Copy, Graphs, Started, native_plan
from .kernels import generate
from .machine.blocks import block_address
from .machine.devices import DeviceState, device_state
from .profile import timed

__all__ = ["PlanOnCard", "compile_plan"]


# ---- memory
class Arena:
    """Memory for the temporaries of every plan of a device: their kernels run one after the other
    in its stream."""

    __slots__ = ("block", "nbytes", "address", "__weakref__")

    def __init__(self, state: DeviceState, nbytes: int) -> None:
        self.block, self.nbytes = state.pool.take(max(nbytes, 1)), nbytes
        self.address = block_address(self.block)


_ARENAS: weakref.WeakKeyDictionary[DeviceState, weakref.ref[Arena]] = weakref.WeakKeyDictionary()


def _arena(state: DeviceState, nbytes: int) -> Arena:
    """The device's arena, or a larger one that later plans share."""
    known = _ARENAS.get(state)
    found = None if known is None else known()
    if found is None or found.nbytes < nbytes:
        found = Arena(state, nbytes)
        _ARENAS[state] = weakref.ref(found)
    return found


class _OnCard:
    """Device arrays, for the native entry."""

    def api(self) -> int:
        return _api()

    def maker(self, aval: Aval) -> Callable[[], np.ndarray]:
        return array.maker(aval)

    def owner(self, aval: Aval) -> type:
        return type(array.maker(aval)().base)

    def copies(self) -> bool:
        return True


@lru_cache(1)
def _api() -> int:
    native = runtime.native()
    assert native is not None
    return native.api_with(
        plan=native_plan(),
        memcpy=native_plan("hy_gpu_nothing"),
        ndarray=id(array.DeviceArray),
        copier=id(contiguous),
        copy_array=0,
    )


# ---- plans
def _writes_by_index(kernel: Kernel) -> bool:
    reads = kernel.reads if isinstance(kernel, LoopKernel) else ()
    return isinstance(kernel, ScatterKernel) or any(read.gather for read in reads)


def _guarded(plan: Plan) -> list[bool]:
    """Which steps must do nothing after a failed check: those behind one that replace a state, or
    follow an index."""
    states = {number for number, slot in enumerate(plan.slots) if slot.kind == "state"}
    checked, found = False, []
    for kernel in plan.steps:
        follows = _writes_by_index(kernel) or bool(slots_of(kernel) & states)
        found.append(checked and follows)
        checked = checked or (isinstance(kernel, LoopKernel) and kernel.check)
    return found


def _copies(plan: Plan) -> list[Copy]:
    """States whose new memory starts as a copy: those that kernels write a part of and, where a
    check may fail, all."""
    checked = any(isinstance(k, LoopKernel) and k.check for k in plan.steps)
    source_of = {s.index: n for n, s in enumerate(plan.slots) if s.kind == "input"}
    partial = set(plan.partial)
    found = []
    for number, slot in enumerate(plan.slots):
        source = source_of.get(slot.index)
        if slot.kind != "state" or source is None or plan.slots[source].aval is not slot.aval:
            continue
        if number in partial or checked:
            found.append(Copy(number, source, slot.aval.nbytes))
    return found


class PlanOnCard(Executable):
    """Kernels of a plan without host steps."""

    def __init__(self, plan: Plan, state: DeviceState, functions: list[list[GpuFunction]]) -> None:
        self.plan, self.state = plan, state
        self.owners = [number for number, each in enumerate(functions) for _ in each]
        flat = [function for each in functions for function in each]
        state.enter()
        loaded = state.modules.load([(f.symbol, f.text, f.shared) for f in flat])
        self.temp = max((f.temp for f in flat), default=0)
        self.work = -(-plan.arena_bytes // 256) * 256  # the workspace is behind the temporaries
        self.arena = _arena(state, self.work + self.temp)
        self.consts = tuple(array.from_numpy(c, self._device()) for c in plan.consts)
        launches = [
            Started(function, code, self._code(owner) if function.check >= 0 else 0)
            for function, code, owner in zip(flat, loaded, self.owners)
        ]
        self.graphs = Graphs(state, launches, self._fixed(), _copies(plan))
        self.runs = 0

    def _device(self) -> Any:
        return self.plan.slots[0].aval.device

    def _code(self, step: int) -> int:
        message = self.plan.messages[step] or "an index is out of range"
        return self.state.status.code(message, self.plan.sites[step])

    def _fixed(self) -> dict[int, int]:
        """Addresses that are the same in every run, by slot; the workspace is the last slot."""
        base, fixed = self.arena.address, {len(self.plan.slots): self.arena.address + self.work}
        for number, slot in enumerate(self.plan.slots):
            if slot.kind == "arena":
                fixed[number] = base + slot.index
            elif slot.kind == "const":
                fixed[number] = array.address(self.consts[slot.index])
        return fixed

    # ---- runs
    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        values, buffers = self._buffers(inputs)
        self.runs += 1
        if self.runs == 2:
            self.graphs.instantiate()
        status = self.graphs.run(buffers)
        if status:
            raise self._error(0, status)
        return [values[slot] for slot in self.plan.outputs]

    def _buffers(self, inputs: Sequence[Any]) -> tuple[list[Any], Any]:
        """The value of every slot that has one, and the addresses of all of them."""
        unread = unread_inputs(self.plan, len(inputs))

        def value(slot: Slot) -> Any:
            if slot.kind == "input":
                return None if slot.index in unread else contiguous(inputs[slot.index])
            if slot.kind == "const":
                return self.consts[slot.index]
            if slot.kind in ("output", "state"):
                return array.empty(slot.aval)
            if slot.kind == "arena":
                return None
            raise BackendError(f"a plan has a slot of unknown kind {slot.kind!r}")

        values = list(map(value, self.plan.slots))
        places = [0 if v is None else array.address(v) for v in values]
        return values, (ctypes.c_uint64 * (len(places) + 1))(*places)

    def _error(self, step: int, status: int) -> Exception:
        return DeviceError(
            f"the CUDA driver refused the replay of {len(self.graphs.launches)} kernels: "
            f"error {status}"
        )

    # ---- the native entry
    def entry(self, replay: Replay) -> Entry | None:
        """The native entry of this plan; None where native code cannot read Python objects."""
        if not abi.available():
            return None
        self.graphs.instantiate()
        return entry_of(self._spec(replay), _OnCard(), self._error)

    def _spec(self, replay: Replay) -> NativeReplay:
        plan, states = self.plan, {number for _, number in replay.states}
        workspace = Slot("arena", aval((self.temp,), dt.uint8), self.work)
        return NativeReplay(
            replay=replay,
            slots=(*plan.slots, workspace),
            steps=(self.graphs.steps,),
            outputs=plan.outputs,
            consts=self.consts,
            arena_bytes=max(self.arena.nbytes, 1),
            arena_base=self.arena.address,
            unread=unread_inputs(plan, len(replay.inputs)) - states,
            keep=(self, plan),
        )

    def profile(self, inputs: Sequence[Any], runs: int = 20) -> list[KernelTime]:
        """Every kernel timed by itself between two events; see Executable.profile."""
        copies = list(inputs)  # states are updated in place, as in a replay: on copies
        values, buffers = self._buffers(copies)
        del values
        return timed(self.plan, self.graphs, self.owners, buffers, runs)


def compile_plan(plan: Plan, graph: Graph | None) -> Executable:
    """What replays a plan on its device.  Plans with steps on the host, and those that hold a
    kernel which has no functions for a card, go through the eager kernels, node by node."""
    index = plan.slots[0].aval.device.index if plan.slots else 0
    state = device_state(index)
    functions: list[list[GpuFunction]] = []
    try:
        for kernel, guarded in zip(plan.steps, _guarded(plan)):
            if isinstance(kernel, HostStep):
                raise BackendError("a step on the host")
            functions.append(generate(kernel, state.card, len(plan.slots), guarded))
    except BackendError as error:
        if graph is None:
            blame(error, kernel=plan.steps[len(functions)])
            raise
        return Interpreted(graph_runner(graph))
    return PlanOnCard(plan, state, functions)
