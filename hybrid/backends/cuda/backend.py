"""The CUDA backend: values are arrays in the memory of NVIDIA's cards.

Invariant: importing and making it needs no card and no driver; whatever needs one says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval, Device
from ...core.aval import device as to_device
from ...core.floating import in_plain_floats
from ...ir.door.bind import forget
from ...ir.graph.graph import Graph
from ...ir.op import Op
from ...ops.indexing.generators import forget_generators
from ..api import Backend, EagerKernel, Executable
from ..plan import Plan
from . import array, exchange
from .copies import contiguous
from .eager.ops import eager
from .eager.together import together
from .executable import compile_plan
from .graphs import drop_dead
from .machine.devices import CURRENT, DeviceState, device_state, known_states
from .machine.driver import CHANGED, driver
from .machine.holders import holders, size_text
from .machine.transfer import LARGEST

__all__ = ["CudaBackend", "BACKEND"]

_SPARSE = 4  # bytes that are copied for each that is wanted, at most


class CudaBackend(Backend):
    """Values on CUDA devices."""

    kind = "cuda"
    native = True

    def empty(self, aval: Aval) -> Any:
        return array.empty(aval)

    def from_numpy(self, array_: np.ndarray, device: Device | None = None) -> Any:
        return array.from_numpy(array_, device)

    def to_numpy(self, value: Any) -> np.ndarray:
        if not value.flags.c_contiguous:
            low, high = array.span(value)
            if high - low > _SPARSE * value.nbytes + LARGEST:
                value = contiguous(value)  # rather than all that lies between its elements
        return array.to_numpy(value)

    def reader(self, aval: Aval) -> Callable[[Any], np.ndarray]:
        return array.reader(aval, super().reader(aval))

    def eager(
        self, op: Op, params: dict[str, Any], in_avals: Sequence[Aval], out_avals: Sequence[Aval]
    ) -> EagerKernel:
        return eager(op, params, in_avals, out_avals)

    def together(
        self,
        op: Op,
        params: dict[str, Any],
        calls: Sequence[tuple[tuple[Aval, ...], tuple[Aval, ...]]],
        own: int,
        one_by_one: EagerKernel,
    ) -> EagerKernel | None:
        return together(op, params, calls, own, one_by_one)

    @in_plain_floats
    def compile(self, plan: Plan, graph: Graph | None = None) -> Executable:
        return compile_plan(plan, graph)

    def send(self, array_: np.ndarray, device: Device) -> Any:
        return array.send(array_, device)

    def moved(self, value: Any, device: Device) -> Any:
        return array.to_peer(value, device)

    def current_device(self) -> Device:
        return to_device(f"{self.kind}:{CURRENT.index}")

    def pinned(self, array_: np.ndarray) -> np.ndarray:
        return array.pinned(array_)

    def is_pinned(self, array_: np.ndarray) -> bool:
        return array.is_pinned(array_)

    def dlpack_device(self, device: Device) -> tuple[int, int]:
        return exchange.CUDA, device.index

    def dlpack(self, value: Any, device: Device, **asked: Any) -> Any:
        return exchange.capsule_of(value, **asked)

    def imported(self, foreign: Any, copy: bool) -> tuple[Any, Device]:
        return exchange.take_over(foreign, copy)

    def interface(self, value: Any) -> dict[str, Any]:
        return exchange.interface_of(value)

    # ---- for hybrid.cuda
    size_text = staticmethod(size_text)

    def count(self) -> int:
        """How many devices there are."""
        return driver().device_count()

    def state(self, index: int) -> DeviceState:
        """What is kept for a device."""
        return device_state(index)

    def use_device(self, index: int) -> None:
        """Make a device the one that this thread's calls mean that name none."""
        CURRENT.index = index

    def holders(self, state: DeviceState) -> list[tuple[int, str]]:
        """(bytes, what) of what holds most of a device's memory."""
        return holders(state.pool, 20)

    # ---- the device
    def synchronize(self) -> None:
        for state in known_states():
            state.wait()

    def trim(self) -> None:
        drop_dead()
        for state in known_states():
            state.trim()

    def describe(self) -> dict[str, str]:
        state, used = device_state(), driver()
        version = used.version()
        state.enter()
        free, total = used.memory_info()
        return {
            "card": state.name,
            "architecture": state.card.arch,
            "CUDA": f"{version // 1000}.{version % 1000 // 10}",
            "multiprocessors": str(state.card.multiprocessors),
            "memory": f"{size_text(free)} of {size_text(total)} free",
            "devices": str(used.device_count()),
        }


def _other_driver() -> None:
    """Kernels that were loaded by another driver, and tensors of its devices, are of no use."""
    forget(CudaBackend.kind)
    forget_generators(CudaBackend.kind)


CHANGED.append(_other_driver)
BACKEND = CudaBackend
