"""The CPU backend: values are numpy.ndarray objects.

Invariant: no value handed out is a NumPy scalar, and none shares memory that somebody else may
write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.extents import Unsized
from ...core.floating import in_plain_floats
from ...ir.graph.graph import Graph
from ...ir.op import Op
from ..api import Backend, Calls, EagerKernel, Executable
from ..events import EventFilter
from ..layout import ObjectLayout
from ..plan import HostStep, Plan
from . import kept
from .control.steps import PlanCode
from .eager.eager import eager
from .eager.renewed import renewed
from .executable import PlanRunner, program_of
from .machine import alloc
from .machine.host import machine, trim_heap
from .machine.jit import beside
from .machine.pool import get_num_threads, pool, set_num_threads
from .measure.calibration import told
from .python.objects import objects
from .watch.hooks import event_filter

__all__ = ["CpuBackend", "BACKEND"]


class CpuBackend(Backend):
    """Eager kernels and plans as native code of this machine."""

    kind = "cpu"
    native = True

    def empty(self, aval: Aval) -> np.ndarray:
        return alloc.empty(aval)

    def owner(self, value: Any) -> Any:
        return value.base if alloc.is_block(value.base) else None

    def trim(self) -> None:
        alloc.trim()
        trim_heap()

    def from_numpy(self, array: np.ndarray, device: Any = None) -> np.ndarray:
        return np.array(array, order="C", copy=True)

    def to_numpy(self, value: np.ndarray) -> np.ndarray:
        return value

    def eager(
        self, op: Op, params: dict[str, Any], in_avals: Sequence[Aval], out_avals: Sequence[Aval]
    ) -> EagerKernel:
        return eager(op, params, in_avals, out_avals)

    def renewed(
        self, op: Op, params: dict[str, Any], calls: Calls, own: int, into: tuple[int, ...]
    ) -> Callable[[Sequence[Any]], list[Any] | None] | None:
        return renewed(op, params, calls, own, into)

    @in_plain_floats
    def compile(self, plan: Plan, graph: Graph | None = None) -> Executable:
        return PlanRunner(plan)

    def outline(self, plan: Plan) -> PlanCode:
        if any(isinstance(step, HostStep) for step in plan.steps):
            raise Unsized("a step runs in Python")
        return program_of(plan)

    @in_plain_floats
    def assemble(self, plan: Plan, pieces: Any) -> Executable:
        return PlanRunner(plan, pieces)

    def recall(self, identity: bytes) -> tuple[Plan, PlanCode] | None:
        return kept.read(identity)

    def remember(self, identity: bytes, plan: Plan, made: Executable) -> None:
        if isinstance(made, PlanRunner):
            kept.write(identity, plan, made.program)

    def beside(self, cancelled: Callable[[], bool]) -> AbstractContextManager[None]:
        return beside(cancelled)

    def get_num_threads(self) -> int:
        return get_num_threads()

    def set_num_threads(self, threads: int) -> None:
        set_num_threads(threads)

    def synchronize(self) -> None:
        """Nothing to wait for: every call returns when its work is done."""

    def layout(self) -> ObjectLayout | None:
        return objects()

    def event_filter(self) -> EventFilter:
        return event_filter()

    def describe(self) -> dict[str, str]:
        facts = machine()
        caches = ", ".join(
            f"{n} {cache.size >> 10} KiB"
            for n, cache in (("L1", facts.first), ("L2", facts.second), ("L3", facts.third))
        )
        return {
            "model": facts.name,
            "vectors": f"{facts.vector_bytes * 8} bit, {facts.vector_registers} registers",
            "caches": caches,
            "threads": f"{pool().threads()} of {facts.cores} usable cores",
            "costs": told(),
        }


BACKEND = CpuBackend
