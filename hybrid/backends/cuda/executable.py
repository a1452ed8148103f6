"""A plan on a card: its kernels loaded, its temporaries in one arena, run as one CUDA graph, or as
several where the host decides between them.

Invariant: inputs are read only, but for states that the native entry owns alone; every output is
fresh, and nothing is allocated while kernels run.
"""

from __future__ import annotations

import ctypes
import weakref
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...core.aval import Aval, Device, device
from ...core.errors import BackendError, DeviceError, UnsupportedError, blame
from ...ir.algorithm import Control
from ...ir.graph.graph import Graph
from ..api import Entry, Executable, Interpreted, KernelTime, Replay
from ..cpu.python import abi, runtime
from ..cpu.python.entry import entry_of
from ..cpu.python.replay import NativeReplay
from ..interpret import graph_runner
from ..plan import HostStep, LoopKernel, Plan, Slot, plan_on, slots_of, unread_inputs
from . import array
from .control.driven import DrivenControl
from .copies import contiguous
from .function import GpuFunction, LibraryCall
from .graph_ir import CHECK_FAILED
from .graphs import GraphCopy, Graphs, Started, native_plan
from .kernels import steps
from .machine.blocks import block_address
from .machine.devices import DeviceState, device_state
from .machine.status import Status
from .order import follows_index, predecessors, spread
from .profile import timed

__all__ = ["PlanOnCard", "compile_plan", "waits_of"]

Steps = Sequence[GpuFunction | LibraryCall]

# Independent steps run side by side where that makes the longest path shorter, in graphs of up to
# so many launches, whose order is found in a moment.  On an H100 a node of a chain costs 0.5 to
# 1.3 us; branches save 12 % of a GPT step of 117 launches and 28 % of a small MLP's.
MOST_BRANCHED = 512
MOST_WORKSPACE = 64 << 20
MOST_SPREAD = 32 << 20  # bytes of temporaries: no more than stays in the card's cache


# ---- memory
class CardArena:
    """Memory for the temporaries of every plan of a device: their kernels run one after the other
    in its stream."""

    __slots__ = ("block", "nbytes", "address", "__weakref__")

    def __init__(self, state: DeviceState, nbytes: int) -> None:
        self.block, self.nbytes = state.pool.take(max(nbytes, 1)), nbytes
        self.address = block_address(self.block)


_ARENAS: weakref.WeakKeyDictionary[DeviceState, weakref.ref[CardArena]] = (
    weakref.WeakKeyDictionary()
)


def _arena(state: DeviceState, nbytes: int) -> CardArena:
    """The device's arena, or a larger one that later plans share."""
    known = _ARENAS.get(state)
    found = None if known is None else known()
    if found is None or found.nbytes < nbytes:
        found = CardArena(state, nbytes)
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
def _device(plan: Plan) -> Device:
    """Where a plan runs; inputs that nothing reads may be elsewhere."""
    used = [slot for kernel in plan.steps for slot in slots_of(kernel)]
    found = next(iter([*used, *plan.outputs]), None)
    return device("cuda") if found is None else plan.slots[found].aval.device


def _guarded(plan: Plan) -> list[bool]:
    """Which steps must do nothing after a failed check: those behind one that replace a state, or
    follow an index."""
    states = {number for number, slot in enumerate(plan.slots) if slot.kind == "state"}
    checked, found = False, []
    for kernel in plan.steps:
        follows = follows_index(kernel) or bool(slots_of(kernel) & states)
        found.append(checked and follows)
        checked = checked or (isinstance(kernel, LoopKernel) and kernel.check)
    return found


def _workspaces(plan: Plan, functions: Sequence[Steps]) -> tuple[dict[int, int], int]:
    """(offset in the arena of the workspace of each step, bytes of the arena).  Each has its own
    behind the temporaries, so that steps may run side by side, unless that takes much memory."""
    needs = {k: max((f.temp for f in each), default=0) for k, each in enumerate(functions)}
    sizes = {step: -(-need // 256) * 256 for step, need in needs.items() if need}
    start = -(-plan.arena_bytes // 256) * 256
    if sum(sizes.values()) > MOST_WORKSPACE:
        return dict.fromkeys(sizes, start), start + max(sizes.values())
    offsets = {}
    for step, size in sizes.items():
        offsets[step] = start
        start += size
    return offsets, start


def waits_of(functions: Sequence[Steps]) -> list[list[int]]:
    """For each launch those of its own step that it waits for: all since the one before that runs
    alone; none of those beside which it may run."""
    waits: list[list[int]] = []
    for each in functions:
        before: list[int] = []
        now: list[int] = []  # launches that run side by side
        for function in each:
            if not (isinstance(function, GpuFunction) and function.beside):
                before, now = now, []
            now.append(len(waits))
            waits.append(before)
    return waits


def _copies(plan: Plan) -> list[GraphCopy]:
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
            found.append(GraphCopy(number, source, slot.aval.nbytes))
    return found


class PlanOnCard(Executable):
    """Kernels of a plan without host steps."""

    def __init__(self, plan: Plan, state: DeviceState, functions: Sequence[Steps]) -> None:
        self.plan, self.state = plan, state
        self.status, self.settled = state.status, False
        self.owners = [number for number, each in enumerate(functions) for _ in each]
        self._waits = waits_of(functions)
        flat = [function for each in functions for function in each]
        state.enter()
        self._work, size = _workspaces(plan, functions)
        self.arena = _arena(state, size)
        self.consts = tuple(array.from_numpy(c, _device(plan)) for c in plan.consts)
        self._flat = flat
        launches = self._launches(flat)
        # calls of a library are nodes of graphs
        self.runs, self.calls = 0, any(isinstance(step, LibraryCall) for step in flat)
        self._arrange(launches)

    def _arrange(self, launches: list[Started]) -> None:
        """Make what runs the launches."""
        given = self._fixed(), _copies(self.plan), self._branches(), self._own()
        self.graphs = Graphs(self.state, launches, *given)

    def _own(self) -> Status | None:
        return self.status if self.settled else None

    def _launches(self, flat: Steps) -> list[Started]:
        """The steps with their functions loaded."""
        kernels = [step for step in flat if isinstance(step, GpuFunction)]
        made = self.state.modules.load([(k.symbol, k.text, k.shared) for k in kernels])
        loaded, launches = iter(made), []
        for step, owner in zip(flat, self.owners):
            if isinstance(step, LibraryCall):
                launches.append(Started.of(step))
            else:
                launches.append(Started(step, next(loaded), self._code(step, owner)))
        return launches

    def _code(self, function: GpuFunction, step: int) -> int:
        """The number of the check that a kernel makes; 0 for kernels that make none."""
        if function.check < 0:
            return 0
        message = self.plan.messages[step] or "an index is out of range"
        return self.status.code(message, self.plan.sites[step])

    def _fixed(self) -> dict[int, int]:
        """Addresses that are the same in every run, by slot; workspaces come behind the slots."""
        base, count = self.arena.address, len(self.plan.slots)
        fixed = {count + step: base + offset for step, offset in self._work.items()}
        for number, slot in enumerate(self.plan.slots):
            if slot.kind == "arena":
                fixed[number] = base + slot.index
            elif slot.kind == "const":
                fixed[number] = array.address(self.consts[slot.index])
        return fixed

    def _branches(self) -> list[list[int]] | None:
        """For each launch those that it waits for; None: they run one after the other."""
        if len(self.owners) > MOST_BRANCHED:
            return None
        after, depth = self._after(), list[int]()
        for before in after:
            depth.append(1 + max([depth[number] for number in before], default=0))
        return after if max(depth, default=0) < len(after) else None

    def _after(self) -> list[list[int]]:
        """For each launch those that it waits for: what its step waits for, or the launch of the
        same step before it."""
        shared = len(set(self._work.values())) < len(self._work)
        steps = predecessors(self.plan, _guarded(self.plan), self._work if shared else ())
        own: dict[int, list[int]] = {}
        for number, owner in enumerate(self.owners):
            own.setdefault(owner, []).append(number)
        after: list[list[int]] = []
        ends: list[list[int]] = []  # launches after which a step is done
        for step, before in enumerate(steps):
            waits = sorted({number for other in before for number in ends[other]})
            mine = own.get(step, [])
            after += [self._waits[number] or waits for number in mine]
            inner = {other for number in mine for other in self._waits[number]}
            ends.append([number for number in mine if number not in inner] or waits)
        return after

    # ---- runs
    def settle_checks(self) -> None:
        self.settled, self.status = True, self.state.settled
        self._arrange(self._launches(self._flat))

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        values, buffers = self._buffers(inputs)
        self.runs += 1
        if self.runs == 2 or self.calls:
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
        addresses = [0 if v is None else array.address(v) for v in values]
        return values, (ctypes.c_uint64 * (len(addresses) + 1))(*addresses)

    def _error(self, step: int, status: int) -> Exception:
        if status == CHECK_FAILED:
            return self.status.taken()
        if status > CHECK_FAILED:
            return self.status.error(status - CHECK_FAILED)
        return DeviceError(
            f"the CUDA driver refused the replay of {len(self.owners)} kernels (error {status}); "
            "an error in a kernel that was started before may be the reason"
        )

    # ---- the native entry
    def entry(self, replay: Replay, like: Entry | None = None) -> Entry | None:
        """The native entry of this plan; None where native code cannot read Python objects."""
        if not abi.available():
            return None
        self.graphs.instantiate()
        return entry_of(self._spec(replay), _OnCard(), self._error)

    def _spec(self, replay: Replay) -> NativeReplay:
        plan, states = self.plan, {number for _, number in replay.states}
        return NativeReplay(
            replay=replay,
            slots=plan.slots,
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
        values, buffers = self._buffers(inputs)
        rows = timed(self.plan, self.graphs, self.owners, buffers, runs)
        del values  # whose memory the kernels worked on
        return rows


Part = Graphs | tuple[DrivenControl, HostStep]


class PlanInParts(PlanOnCard):
    """A plan with branches or loops that the host drives: graphs of the kernels between them.

    Other plans may run while the host waits for a decision, so each call has an arena of its own.
    """

    def __init__(
        self,
        plan: Plan,
        state: DeviceState,
        functions: Sequence[Steps],
        driven: dict[int, DrivenControl],
    ) -> None:
        self.driven, self.parts = driven, list[Part]()
        super().__init__(plan, state, functions)

    def _arrange(self, launches: list[Started]) -> None:
        fixed = {slot: at for slot, at in self._fixed().items() if not self._packed(slot)}
        copies = _copies(self.plan)
        own = self._own()
        if copies:
            self.parts.append(Graphs(self.state, (), fixed, copies))
        begin = 0
        for step, driven in self.driven.items():
            end = bisect_left(self.owners, step)
            if end > begin:
                self.parts.append(Graphs(self.state, launches[begin:end], fixed, status=own))
            kernel = self.plan.steps[step]
            assert isinstance(kernel, HostStep)
            self.parts.append((driven, kernel))
            begin = end
        if begin < len(launches):
            self.parts.append(Graphs(self.state, launches[begin:], fixed, status=own))

    def _packed(self, slot: int) -> bool:
        return slot < len(self.plan.slots) and self.plan.slots[slot].kind == "arena"

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        if self.settled:
            _refuse_failed(self.state)
        values, _ = self._buffers(inputs)
        block = self.state.pool.take(max(self.plan.arena_bytes, 1))
        for number, slot in enumerate(self.plan.slots):
            if slot.kind == "arena":
                values[number] = array.on_block(slot.aval.shape, slot.aval.dtype, block, slot.index)
        addresses = [0 if v is None else array.address(v) for v in values]
        buffers = (ctypes.c_uint64 * (len(addresses) + 1))(*addresses)
        self.runs += 1
        for part in self.parts:
            if isinstance(part, tuple):
                driven, kernel = part
                targets = [values[slot] for slot in kernel.outputs]
                driven.into(targets, [values[slot] for slot in kernel.inputs])
                continue
            if self.runs == 2 or self.calls:
                part.instantiate()
            status = part.run(buffers)
            if status:
                raise self._error(0, status)
        return [values[slot] for slot in self.plan.outputs]

    def entry(self, replay: Replay, like: Entry | None = None) -> Entry | None:
        """None: the host decides between the parts."""
        return None

    def profile(self, inputs: Sequence[Any], runs: int = 20) -> list[KernelTime]:
        """Not offered: see Executable.profile."""
        raise BackendError(
            "the host drives the branches and loops of this plan, so its kernels are not timed one "
            "by one; time whole calls instead"
        )


class NodeByNode(Interpreted):
    """A graph through the eager kernels."""

    def settle_checks(self) -> None:
        raise UnsupportedError(
            "branches on values of tensors, and the device has no kernels for all of its operations"
        )


def _refuse_failed(state: DeviceState) -> None:
    """Raise the error of earlier work, which stays for where the host reads next."""
    state.enter()
    state.driver.wait_stream(state.stream)
    if state.status.failed():
        raise state.status.seen()


def _driven(step: HostStep, state: DeviceState) -> DrivenControl | None:
    """What runs a branch or loop; None for other steps."""
    if not isinstance(step.algorithm, Control):
        return None
    there, outs = step.avals[0].device, step.avals[len(step.inputs) :]
    runs = [compile_plan(plan_on(plan, there), None) for plan in step.plans]
    return DrivenControl(step.algorithm, runs, outs, state)


def compile_plan(plan: Plan, graph: Graph | None) -> Executable:
    """What replays a plan on its device.  Plans that hold a step which has no functions for a card
    go through the eager kernels, node by node."""
    state = device_state(_device(plan).index)
    state.enter()
    if len(plan.steps) <= MOST_BRANCHED:
        plan = spread(plan, MOST_SPREAD)
    functions: list[Steps] = []
    driven: dict[int, DrivenControl] = {}
    parts = any(isinstance(k, HostStep) and isinstance(k.algorithm, Control) for k in plan.steps)
    still = ("const",) if parts else ("arena", "const")
    moving = {n for n, slot in enumerate(plan.slots) if slot.kind not in still}
    try:
        for kernel, guarded in zip(plan.steps, _guarded(plan)):
            workspace = len(plan.slots) + len(functions)
            control = _driven(kernel, state) if isinstance(kernel, HostStep) else None
            if control is not None:
                driven[len(functions)] = control
                functions.append(())
                continue
            functions.append(steps(kernel, state.card, workspace, guarded, moving))
    except BackendError as error:
        if graph is None:
            blame(error, kernel=plan.steps[len(functions)])
            raise
        return NodeByNode(graph_runner(graph))
    if driven:
        return PlanInParts(plan, state, functions, driven)
    return PlanOnCard(plan, state, functions)
