"""Many calls of one op as one native call that starts few kernels.

Invariant: every call's kernels are those of the single call, over the same addresses, so the bits
are the same; they do not depend on each other, so their order is free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ....core.aval import Aval
from ....core.shapes import contiguous_strides
from ....ir.op import Op
from ...op_kernels import kernels_of, slots_of_calls
from ..array import DeviceArray
from ..function import GpuFunction
from ..kernels import generate
from ..launch.caller import Fallback, FreshResult, make_caller
from ..launch.merge import merged
from ..launch.prepare import load
from ..launch.refused import RefusedLaunch
from ..machine.devices import DeviceState, device_state

__all__ = ["together"]

Call = Callable[..., Any]
Avals = tuple[Aval, ...]


def together(
    op: Op,
    params: dict[str, Any],
    calls: Sequence[tuple[Avals, Avals]],
    own: int,
    one_by_one: Call,
) -> Call | None:
    """A function of the own inputs of all calls and of the inputs that they share, which gives all
    results; None for ops that do more than to walk over their inputs once."""
    if op.kind != "map" or op.check is not None or op.gathers:
        return None
    state = device_state(calls[0][1][0].device.index)
    shared = len(calls[0][0]) - own
    arguments = len(calls) * own + shared
    functions: list[GpuFunction] = []
    results: list[Aval] = []
    for slots, (ins, outs) in zip(slots_of_calls(calls, own), calls):
        functions += _functions_of(op, params, ins, outs, slots, state)
        results += outs
    ready = load(merged(functions), state, arguments + len(results))
    made = make_caller(
        ready.starts,
        arguments,
        [FreshResult(aval, state.pool.source_of(aval.nbytes)) for aval in results],
        state.record,
        DeviceArray,
        contiguous=True,
        fallback=Fallback(one_by_one),
        refused=RefusedLaunch(op.name, state, one_by_one),
        keep=ready.kept,
    )
    return made if len(results) > 1 else lambda *arrays: (made(*arrays),)


def _functions_of(
    op: Op,
    params: dict[str, Any],
    ins: Avals,
    outs: Avals,
    slots: Sequence[int],
    state: DeviceState,
) -> list[GpuFunction]:
    """The functions of a single call, whose slots have the numbers `slots`."""
    source = kernels_of(op, params, ins, outs)
    moved = []
    for kernel in source.kernels([contiguous_strides(a.shape) for a in ins]):
        for function in generate(kernel, state.card, len(slots)):
            words = list(function.words)
            for position in function.slots:
                if 0 <= words[position] < len(slots):
                    words[position] = slots[words[position]]
            moved.append(function._replace(words=tuple(words)))
    return moved
