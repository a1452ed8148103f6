"""From plan kernels to launches: generated, loaded, their words ready but for addresses.

Invariant: slots are numbered as the kernels number them; the workspace is the slot behind those,
and the code of the call the one behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...generated import WORD_MASK
from ...plan import Kernel, LoopKernel
from ..function import STATUS, GpuFunction
from ..kernels import generate
from ..machine.devices import DeviceState
from ..machine.modules import Loaded
from .caller import Start
from .merge import merged

__all__ = ["PreparedKernels", "load", "prepare"]


class PreparedKernels(NamedTuple):
    """Launches in order, the bytes of workspace that they need, whether they check something, and
    the loaded functions, which must be held."""

    starts: list[Start]
    temp: int
    checks: bool
    kept: list[Loaded]


def _functions(kernels: Sequence[Kernel], state: DeviceState, slots: int) -> list[GpuFunction]:
    made: list[GpuFunction] = []
    checked = False
    for kernel in kernels:
        made += generate(kernel, state.card, slots, checked)
        checked = checked or (isinstance(kernel, LoopKernel) and kernel.check)
    return made


def _start(function: GpuFunction, loaded: Loaded, status: int, code: int) -> Start:
    words, slots = [word & WORD_MASK for word in function.words], list(function.slots)
    for position in function.slots:
        if words[position] == STATUS & WORD_MASK:
            words[position] = status
            slots.remove(position)
    if function.check >= 0:
        words[function.check] = code
        slots.append(function.check)
    sizes = function.blocks, function.threads, function.shared
    return Start(loaded.handle, *sizes, tuple(words), tuple(slots))


def prepare(
    kernels: Sequence[Kernel], state: DeviceState, slots: int, before: int | None = None
) -> PreparedKernels:
    """Kernels over so many slots, ready to start on a device; those behind `before` of them do not
    depend on each other."""
    first = len(kernels) if before is None else before
    functions = _functions(kernels[:first], state, slots)
    functions += merged(_functions(kernels[first:], state, slots))
    return load(functions, state, slots)


def load(functions: Sequence[GpuFunction], state: DeviceState, slots: int) -> PreparedKernels:
    """Functions over so many slots, ready to start on a device."""
    state.enter()
    loaded = state.modules.load([(f.symbol, f.text, f.shared) for f in functions])
    starts = [
        _start(function, there, state.status.address, slots + 1)
        for function, there in zip(functions, loaded, strict=True)
    ]
    temp = max((function.temp for function in functions), default=0)
    checks = any(function.check >= 0 for function in functions)
    return PreparedKernels(starts, temp, checks, loaded)
