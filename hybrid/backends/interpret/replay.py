"""Replays without a compiler: a plan interpreted on the host, or a graph run through eager kernels.

Invariant: inputs are read only, every result is fresh, and an error names the line of the step that
failed.  A backend is asked for nothing but its values (and its eager kernels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ...core import dtypes as dt
from ...core.aval import Aval, Device
from ...core.errors import BackendError, IndexOutOfRange, LinAlgError, Site
from ...core.floating import in_plain_floats
from ...ir.door.evaluate import evaluate_eager
from ...ir.graph.graph import Graph
from ..plan import HostStep, Plan, Slot, unread_inputs
from .kernels import Buffers, run_kernel

__all__ = ["run_plan", "Values", "plan_runner", "graph_runner"]

FRESH, ARENA = 0x5A, 0xA5  # what memory holds before a kernel writes it: nothing that looks right
Run = Callable[[Sequence[Any]], list[Any]]


class Values(Protocol):
    """What the interpreter needs of a backend."""

    def from_numpy(self, array: np.ndarray, device: Device | None = None) -> Any: ...
    def to_numpy(self, value: Any) -> np.ndarray: ...


def _memory(plan: Plan, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A flat buffer for every slot, of the parts of complex numbers; inputs whose new value is made
    in place are copied first."""
    changed = {s.index for s in plan.slots if s.kind == "state" and s.in_place}
    own = [
        np.array(x, order="C").reshape(-1) if i in changed else np.ascontiguousarray(x).reshape(-1)
        for i, x in enumerate(inputs)
    ]
    arena = np.full(plan.arena_bytes, ARENA, np.uint8)

    def buffer(slot: Slot) -> np.ndarray:
        nbytes, dtype = slot.aval.nbytes, slot.aval.dtype
        if slot.kind == "input" or (slot.kind == "state" and slot.in_place):
            return own[slot.index]
        if slot.kind == "const":
            return np.ascontiguousarray(plan.consts[slot.index]).reshape(-1)
        if slot.kind == "arena":
            return arena[slot.index : slot.index + nbytes].view(dtype)
        if slot.kind in ("output", "state"):
            return np.full(nbytes, FRESH, np.uint8).view(dtype)
        raise BackendError(f"a plan has a slot of unknown kind {slot.kind!r}")

    return [made.view(dt.real_of(dt.canonical(made.dtype))) for made in map(buffer, plan.slots)]


def _host_step(step: HostStep, plan: Plan, buffers: list[np.ndarray]) -> None:
    shown = [(s, plan.slots[s].aval) for s in step.inputs]
    got = step.function(*[buffers[s].view(a.dtype).reshape(a.shape) for s, a in shown])
    results = got if isinstance(got, (tuple, list)) else (got,)
    for slot, values in zip(step.outputs, results, strict=True):
        flat = np.ascontiguousarray(values, plan.slots[slot].aval.dtype).reshape(-1)
        buffers[slot][...] = flat.view(buffers[slot].dtype)


@in_plain_floats
def run_plan(
    plan: Plan,
    inputs: Sequence[np.ndarray],
    kernel_runner: Callable[[Any, Buffers], None] = run_kernel,
) -> list[np.ndarray]:
    """Outputs of a plan for host arrays; kernels run one after the other."""
    buffers = _memory(plan, inputs)
    for number, step in enumerate(plan.steps):
        failed: Exception | None = None
        try:
            if isinstance(step, HostStep):
                _host_step(step, plan, buffers)
            else:
                kernel_runner(step, buffers.__getitem__)
        except LinAlgError as error:
            failed = LinAlgError(_at(str(error), plan.sites[number]))
        except IndexOutOfRange as error:
            if isinstance(step, HostStep):
                raise
            text = plan.messages[number] or str(error)
            failed = IndexOutOfRange(_at(text, plan.sites[number]))
        if failed is not None:
            raise failed
    avals = [(s, plan.slots[s].aval) for s in plan.outputs]
    return [buffers[s].view(a.dtype).reshape(a.shape) for s, a in avals]


def _at(text: str, site: Site | None) -> str:
    return f"{text} (at {site})" if site else text


def plan_runner(plan: Plan, backend: Values) -> Run:
    """A plan as a function of device values: computed on the host, and results moved back."""
    avals: list[Aval] = [plan.slots[s].aval for s in plan.outputs]

    def run(inputs: Sequence[Any]) -> list[Any]:
        unread, nothing = unread_inputs(plan, len(inputs)), np.empty(0)
        given = [nothing if i in unread else backend.to_numpy(x) for i, x in enumerate(inputs)]
        results = run_plan(plan, given)
        return [backend.from_numpy(x, a.device) for x, a in zip(results, avals)]

    return run


def graph_runner(graph: Graph) -> Run:
    """A graph as a function of device values, node by node with the kernels of eager mode."""
    return lambda inputs: evaluate_eager(graph, inputs)
