"""From a plan and what is known about its inputs to the native entry that serves calls.

Invariant: the entry checks every input it did not get from a checked source; a plan whose kernels
failed raises the error of the user's line with all tensors as before.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ....core import dtypes as dt
from ....core.aval import aval
from ....ir.door.busy import GATE
from ...api import Entry, Replay
from ...plan import AttendKernel, GemmKernel, LoopKernel, Plan, Slot
from ..machine.pool import OUT_OF_MEMORY
from . import abi
from .entry import build_entries
from .entry_model import OUT_OF_MEMORY_STATUS, NativeReplay, decode_failure, gradient_address

__all__ = ["native_entry"]

SHORT = 1 << 21  # rough count of multiplications and moved bytes of 20 microseconds


def native_entry(
    plan: Plan, replay: Replay, segment: Any, temp: int, error: Callable[[int, int], Exception]
) -> Entry | None:
    """The entry that serves calls of a plan; None where native code cannot read Python objects."""
    if not abi.available():
        return None
    entry, entry_of = build_entries(_native_replay(plan, replay, segment, temp))
    owners = segment.owners if segment is not None else []

    def failed(got: int) -> Exception:
        step, status = decode_failure(got)
        return error(owners[step], OUT_OF_MEMORY if status == OUT_OF_MEMORY_STATUS else status)

    def checked(*tensors: Any) -> Any:
        got = entry(*tensors)
        if type(got) is int:
            raise failed(got)
        return got

    return Entry(checked, entry, Items(entry_of), failed)


class Items:
    """``items[key]`` is what a function gives for one key: a C function called by a subscript,
    after which Python does not look for signals."""

    __slots__ = ("__getitem__",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.__getitem__ = function


def _native_replay(plan: Plan, replay: Replay, segment: Any, temp: int) -> NativeReplay:
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
        release_gil=release,
        keep=(segment, plan),
    )


def _work(plan: Plan) -> int:
    total = 0
    for kernel in plan.steps:
        if isinstance(kernel, GemmKernel):
            total += kernel.batch * kernel.m * kernel.n * kernel.k // 4
        elif isinstance(kernel, AttendKernel):
            total += prod(kernel.batch) * kernel.m * kernel.n * (kernel.e + kernel.f) // 4
        elif isinstance(kernel, LoopKernel):
            total += 4 * prod(kernel.shape) * (len(kernel.reads) + len(kernel.writes))
    return total
