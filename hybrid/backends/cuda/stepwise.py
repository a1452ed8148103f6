"""Eager calls of which a library does a part: their steps started one after the other from Python.

Invariant: a library reads operands at multiples of 16 bytes; what lies elsewhere is copied, with
the strides it has, so the steps are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...ir.door.context import aside
from ..plan import Kernel
from .array import address, empty, on_block, span
from .blas import takes
from .function import GpuFunction, LibraryCall
from .kernels import steps
from .machine.blocks import block_address
from .machine.devices import DeviceState
from .machine.modules import Loaded

__all__ = ["Stepwise", "with_library"]

_PAGE = 256
Step = tuple[GpuFunction | LibraryCall, Loaded | None]


def with_library(
    kernels: Sequence[Kernel], state: DeviceState, slots: int
) -> list[GpuFunction | LibraryCall] | None:
    """The steps of kernels over so many slots, None where no library takes part."""
    if not any(map(takes, kernels)):
        return None
    state.enter()
    found = [step for kernel in kernels for step in steps(kernel, state.card, slots)]
    return found if any(isinstance(step, LibraryCall) for step in found) else None


class Stepwise:
    """A call with these steps; arguments that are not contiguous go to `fallback`, if given."""

    def __init__(
        self,
        made: Sequence[GpuFunction | LibraryCall],
        state: DeviceState,
        outs: Sequence[Aval],
        fallback: Callable[..., Any] | None,
    ) -> None:
        self.state, self.outs, self.fallback = state, tuple(outs), fallback
        functions = [step for step in made if isinstance(step, GpuFunction)]
        loaded = iter(state.modules.load([(f.symbol, f.text, f.shared) for f in functions]))
        self.steps: list[Step] = [
            (step, next(loaded) if isinstance(step, GpuFunction) else None) for step in made
        ]
        self.temp = max(step.temp for step in made)
        calls = [step for step in made if isinstance(step, LibraryCall)]
        self.aligned = {slot for call in calls for slot in call.aligned}

    def __call__(self, *arrays: np.ndarray) -> Any:
        if self.fallback is not None and not all(x.flags.c_contiguous for x in arrays):
            return self.fallback(*arrays)
        return aside(self._run, *arrays)

    def _run(self, *arrays: np.ndarray) -> Any:
        state = self.state
        state.enter()
        given = [
            self._moved(x) if slot in self.aligned and address(x) % 16 else x
            for slot, x in enumerate(arrays)
        ]
        results = [empty(out) for out in self.outs]
        workspace = state.pool.take(max(self.temp, 1))
        addresses = [address(x) for x in (*given, *results)]
        addresses += [block_address(workspace), state.status.address]
        for step, code in self.steps:
            if code is None:
                assert isinstance(step, LibraryCall)
                step.run(addresses, state.stream)
                continue
            assert isinstance(step, GpuFunction)
            state.start(step, code, addresses)
        return results[0] if len(results) == 1 else tuple(results)

    def _moved(self, value: np.ndarray) -> np.ndarray:
        """The memory that an array spans, copied to where its first element is aligned."""
        low, high = span(value)
        first = address(value) - low
        gap = -first % _PAGE
        block = self.state.pool.take(gap + high - low)
        target = block_address(block) + gap
        self.state.driver.on_device(target, low, high - low, self.state.stream)
        return on_block(value.shape, value.dtype, block, gap + first, value.strides)
