"""The plan: kernels over buffer slots, plain data between tracing and a backend.

Invariant: a plan names no op and holds no array of the user; every kernel is described completely
by the values here, so that equal kernels are compiled once and any backend can run them. Strides
and offsets count elements.  Slots are numbered; Plan.slots says what each one is.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from ..core.aval import HOST, Aval, Device, aval
from ..core.errors import Site
from ..ir.algorithm import (
    Algorithm,
    Assign,
    BitsSpread,
    BitsTogether,
    Divisor,
    Order,
    Ranks,
    Scan,
    Sort,
    StableParts,
    TrueCounts,
    TrueElements,
    TruePlaces,
    TrueReplaced,
)
from ..ir.contract import Dims, SumOrder
from ..ir.scalar.program import Program

__all__ = [
    "Access",
    "LoopKernel",
    "Dims",
    "Operand",
    "GemmKernel",
    "ScatterKernel",
    "AttendKernel",
    "HostStep",
    "NATIVE",
    "Slot",
    "SlotKind",
    "SumOrder",
    "Plan",
    "Kernel",
    "plan_on",
    "slots_of",
    "written_slots",
    "unread_inputs",
]


# algorithms that the host has kernels of its own for
NATIVE = (
    *(Scan, Order, Sort, Ranks, StableParts, Divisor, BitsTogether, BitsSpread, Assign),
    *(TrueCounts, TruePlaces, TrueElements, TrueReplaced),
)
SlotKind = Literal["input", "output", "arena", "const", "state", "temp"]


class Access(NamedTuple):
    """How a loop kernel walks one operand: element (i0, i1, ...) of the iteration space is at
    offset + sum(i * stride).  Stride 0 broadcasts.  `gather` operands are contiguous, `strides` is
    () and the program addresses them with `load` by linear index."""

    slot: int
    dtype: np.dtype
    offset: int
    strides: tuple[int, ...]
    gather: bool = False


class LoopKernel(NamedTuple):
    """out[i] = program(reads at i) for every i of `shape`.

    `group` is None (every element on its own) or (start, stop): the adjacent axes that the
    reductions of the program run over; they form the row.  stop == len(shape): the row is the
    fastest part of the iteration space ("lanes" order).  Otherwise "column" order, and the program
    has reductions of per-element values only, whose results feed row-domain outputs. A write of a
    row-domain value has stride 0 along the group and is written once per row. `params` are the bit
    patterns of the program's run-time scalars. `check`: the single b1 output is not stored; true
    anywhere makes the kernel fail.
    """

    shape: tuple[int, ...]
    group: tuple[int, int] | None
    program: Program
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    params: tuple[int, ...] = ()
    check: bool = False


class Operand(NamedTuple):
    """A factor or result of a contraction: address = offset + batch(b) + rows(i) + cols(j)."""

    slot: int
    dtype: np.dtype
    offset: int
    batch: Dims
    rows: Dims
    cols: Dims


class GemmKernel(NamedTuple):
    """out[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n]); the accumulator has `acc`
    dtype (float32 for half types, int32/int64 for integers).  `order` 'chain': one fma chain per
    output from +0.0 in increasing k, blocks of 256, block sums added in order; 'lanes': per block
    the 64-lane tree. `epilogue` (None: round to the output's dtype) takes the accumulator as
    argument 0, then one argument per entry of `reads`, whose strides run over (batch, m, n) as
    given by `outs`' Dims flattened: len(strides) == len(batch dims) + len(rows dims) + len(cols
    dims).  `biased`: the epilogue adds its argument 1 to the sum before anything is rounded.
    `fast`: factors may be rounded as tensor cores take them.
    """

    batch: int
    m: int
    n: int
    k: int
    a: Operand
    b: Operand
    outs: tuple[Operand, ...]
    acc: np.dtype
    order: SumOrder = "chain"
    epilogue: Program | None = None
    reads: tuple[Access, ...] = ()
    params: tuple[int, ...] = ()
    biased: bool = False
    fast: bool = False


class ScatterKernel(NamedTuple):
    """out (already initialised) [index[i], :] += update[i, :] for i in order; rows of `inner`
    elements. Index values are checked before; each output element receives its updates in
    increasing i."""

    count: int  # type: ignore[assignment]
    inner: int
    out: Access
    index: Access  # type: ignore[assignment]
    update: Access


class AttendKernel(NamedTuple):
    """softmax(q @ k.T * scale + mask) @ v for every position of `batch`, or its gradients
    (`backward`), in the order of ops/attend.py.  `reads`: q[m, e], k[n, e], v[n, f], mask[m, n]
    (bool: where true, else added) or None, factor[m, n] or None; for gradients then g[m, f] and the
    vectors peak, total, delta [m].  `writes`: out[m, f], peak and total [m], or dq, dk, dv.
    Strides run over (*batch, rows, columns); columns of everything but mask and factor lie side by
    side.  `weight` is the program (score, peak) -> weight.  `fast`: what factors
    may be rounded to for tensor cores, whose sums are in another order."""

    backward: bool
    batch: tuple[int, ...]
    m: int
    n: int
    e: int
    f: int
    scale: float
    causal: bool
    reads: tuple[Access | None, ...]
    writes: tuple[Access, ...]
    weight: Program
    fast: Literal["", "tf32", "bf16"] = ""


class HostStep(NamedTuple):
    """A Python callable over NumPy arrays: inputs and outputs are contiguous slots.  `algorithm`:
    what it computes from values of these avals (inputs, then outputs), where a device may do it
    itself.  `plans`: of the graphs inside a branch or loop."""

    function: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    algorithm: Algorithm | None = None
    avals: tuple[Aval, ...] = ()
    plans: tuple[Any, ...] = ()  # of Plan

    @property
    def kind(self) -> str:
        """'host', or the name of what a device does itself."""
        named = self.on_device or self.plans
        return type(self.algorithm).__name__.lower() if named else "host"

    @property
    def native(self) -> bool:
        """Whether the host has a kernel of its own for it."""
        return isinstance(self.algorithm, NATIVE)

    @property
    def on_device(self) -> bool:
        """Whether a device may have kernels of its own for it: another one for every algorithm."""
        return self.native or (
            self.algorithm is not None and any(aval.device != HOST for aval in self.avals)
        )


Kernel = LoopKernel | GemmKernel | ScatterKernel | AttendKernel | HostStep


class Slot(NamedTuple):
    """What a buffer is: 'input' (index = number of the graph input), 'output' (fresh array),
    'arena' (index = byte offset), 'const' (index into Plan.consts), 'state' (index = graph input
    whose new value this is; may share the old value's memory when `in_place`); while a plan is
    made, 'temp' (becomes a part of the arena)."""

    kind: SlotKind
    aval: Aval
    index: int = 0  # type: ignore[assignment]
    in_place: bool = False


class Plan(NamedTuple):
    """Kernels in execution order over slots, with one arena whose lifetimes are packed.

    `outputs` are slot numbers; `sites` and `messages` go with `steps` (messages: text of a failed
    check). `partial`: in-place state slots of which the kernels write only a part: memory that is
    not the old value's must hold a copy of it first."""

    slots: tuple[Slot, ...]
    steps: tuple[Kernel, ...]
    outputs: tuple[int, ...]
    consts: tuple[np.ndarray, ...]
    arena_bytes: int
    sites: tuple[Site | None, ...]
    messages: tuple[str, ...]
    partial: tuple[int, ...] = ()


def plan_on(plan: Plan, device: Device) -> Plan:
    """The same plan over values of a device; plans inside its steps stay as they are."""

    def there(record: Aval) -> Aval:
        return aval(record.shape, record.dtype, device)

    slots = [slot._replace(aval=there(slot.aval)) for slot in plan.slots]
    steps = [
        step._replace(avals=tuple(map(there, step.avals))) if isinstance(step, HostStep) else step
        for step in plan.steps
    ]
    return plan._replace(slots=tuple(slots), steps=tuple(steps))


def slots_of(kernel: Kernel) -> set[int]:
    """The slots that a kernel reads or writes."""
    if isinstance(kernel, HostStep):
        return {*kernel.inputs, *kernel.outputs}
    walked: tuple[Access | Operand | None, ...]
    if isinstance(kernel, GemmKernel):
        walked = (kernel.a, kernel.b, *kernel.outs, *kernel.reads)
    elif isinstance(kernel, ScatterKernel):
        walked = (kernel.out, kernel.index, kernel.update)
    else:
        walked = (*kernel.reads, *kernel.writes)
    return {access.slot for access in walked if access is not None}


def written_slots(kernel: Kernel) -> set[int]:
    """The slots that a kernel writes."""
    if isinstance(kernel, HostStep):
        return set(kernel.outputs)
    if isinstance(kernel, GemmKernel):
        return {written.slot for written in kernel.outs}
    if isinstance(kernel, ScatterKernel):
        return {kernel.out.slot}
    return {access.slot for access in kernel.writes}


def unread_inputs(plan: Plan, count: int) -> frozenset[int]:
    """Of `count` inputs those that no step reads or replaces, and no output is: their values may
    be on any device."""
    used = {*plan.outputs, *plan.partial}.union(*map(slots_of, plan.steps))
    slots = [slot for number, slot in enumerate(plan.slots) if number in used]
    given = {slot.index for slot in slots if slot.kind in ("input", "state")}
    return frozenset(range(count)) - given
