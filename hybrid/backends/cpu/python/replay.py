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
from ...api import Replay
from ...plan import AttendKernel, GemmKernel, LoopKernel, Plan, Slot
from ..machine.pool import OUT_OF_MEMORY
from . import abi
from .entry import OUT_OF_MEMORY_STATUS, ReplaySpec, build_entries, decode_failure

__all__ = ["native_entry"]

SHORT = 1 << 21  # rough count of multiplications and moved bytes of 20 microseconds


def native_entry(
    plan: Plan, r: Replay, segment: Any, temp: int, error: Callable[[int, int], Exception]
) -> Callable[..., Any] | None:
    """A function of each call's tensors; None where native code cannot read Python objects.

    Its attribute `raw` is the same without a frame of Python: it gives an int, which `failed` makes
    an error of, where a kernel failed; `of` takes the tensors in a tuple, as a subscript."""
    if not abi.available():
        return None
    passed = [
        k for k in range(len(r.avals)) if k not in r.held and k not in r.grads and k not in r.places
    ]
    order = {k: i for i, k in enumerate([*passed, *r.held, *r.grads, *r.places])}
    entry, entry_of = build_entries(_spec(plan, r, passed, order, segment, temp))
    owners = segment.owners if segment is not None else []

    def failed(got: int) -> Exception:
        step, status = decode_failure(got)
        return error(owners[step], OUT_OF_MEMORY if status == OUT_OF_MEMORY_STATUS else status)

    def checked(*tensors: Any) -> Any:
        got = entry(*tensors)
        if type(got) is int:
            raise failed(got)
        return got

    checked.of, checked.failed = Items(entry_of), failed  # type: ignore[attr-defined]
    checked.raw = entry  # type: ignore[attr-defined]
    return checked


class Items:
    """``items[key]`` is what a function gives for one key.  Python does not look for signals after
    a subscript, so the result of a C function cannot get lost before it is stored."""

    __slots__ = ("__getitem__",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.__getitem__ = function


def _spec(
    plan: Plan, r: Replay, passed: list[int], order: dict[int, int], segment: Any, temp: int
) -> ReplaySpec:
    slots = [
        s._replace(index=order[s.index]) if s.kind in ("input", "state") else s for s in plan.slots
    ]
    arena = -(-plan.arena_bytes // 64) * 64
    slots.append(Slot("arena", aval((temp,), dt.uint8), arena))
    number_of = {o: k for o, k in r.states}
    states = tuple((order[k], plan.outputs[o]) for o, k in number_of.items())
    guards = [
        *r.guards,
        *((abi.slot_address(r.held[k]._node, "grad"), id(None)) for k in r.no_grad),
    ]
    places = [
        (abi.slot_address(r.held[host]._node, "grad"), r.avals[k]) for k, host in r.grads.items()
    ]
    places += [(at, r.avals[k]) for k, at in r.places.items()]
    release = _work(plan) > SHORT
    if release:
        guards.append((GATE.ctypes.data, 0))
    steps = (
        []
        if segment is None
        else [tuple(segment.table[6 * i : 6 * i + 6]) for i in range(len(segment.steps))]
    )
    form = "single" if r.single else "tuple" if r.results else "none"
    return ReplaySpec(
        tensor_types=(r.tensor,),
        arg_avals=tuple(r.avals[k] for k in passed),
        captures=tuple((t, r.avals[k]) for k, t in r.held.items()),
        places=tuple(places),
        guards=tuple(guards),
        tracked=frozenset(order[k] for k in r.loose),
        nodes={order[k]: n for k, n in r.nodes.items()},
        slots=tuple(slots),
        steps=tuple(steps),
        outputs=tuple(plan.outputs[o] for o in r.results),
        consts=plan.consts,
        arena_bytes=arena + temp + 64,
        states=states,
        partial=frozenset(plan.partial),
        form=form,
        release_gil=release,
        keep=(segment, plan, r.keep),
    )


def _work(plan: Plan) -> int:
    total = 0
    for k in plan.steps:
        if isinstance(k, GemmKernel):
            total += k.batch * k.m * k.n * k.k // 4
        elif isinstance(k, AttendKernel):
            total += prod(k.batch) * k.m * k.n * (k.e + k.f) // 4
        elif isinstance(k, LoopKernel):
            total += 4 * prod(k.shape) * (len(k.reads) + len(k.writes))
    return total
