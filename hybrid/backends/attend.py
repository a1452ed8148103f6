"""From an attend record to its kernel: the one door for eager calls, lowering and the tests; and
what every generator of such kernels asks first.

Invariant: what is computed depends on the record, its parameters and dtypes; slots, offsets and
strides say only where.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from ..core import dtypes as dt
from ..core.aval import Aval
from ..core.errors import BackendError
from ..core.precision import MATMUL
from ..ir.op import Op
from ..ir.scalar.program import TYPE, Builder, Program, ScalarType
from .generated import SlotRef
from .plan import Access, AttendKernel

__all__ = [
    "OUTPUTS",
    "GRADIENTS",
    "GradientName",
    "READS",
    "anywhere",
    "attend_kernel",
    "check_rows",
]

Ints = tuple[int, ...]
# names of the operands of a kernel, in its order
READS = ("q", "k", "v", "mask", "factor", "g", "peak", "total", "delta")
OUTPUTS = ("to out", "to peak", "to total")
GradientName = Literal["dq", "dk", "dv"]
GRADIENTS: tuple[GradientName, ...] = ("dq", "dk", "dv")


@lru_cache(64)
def _weight(body: Any, ty: ScalarType) -> Program:
    s = Builder()
    return s.program(body(s, s.arg(ty), s.arg(ty)))


def attend_kernel(
    op: Op,
    params: dict[str, Any],
    avals: Sequence[Aval],
    places: Sequence[tuple[int, tuple[int, Ints]]],
) -> AttendKernel:
    """The kernel of a record over inputs, then outputs: each a (slot, (offset, strides))."""
    if op.layout is None or op.body is None:
        raise BackendError(f"attend op {op.name} has no layout or no body")
    c = op.layout(avals, [at[1] for _, at in places], [at[0] for _, at in places], **params)

    def access(p: Any) -> Access | None:
        if p is None:
            return None
        return Access(places[p.operand][0], avals[p.operand].dtype, p.offset, p.strides)

    reads = tuple(map(access, c.reads))
    writes = tuple([a for a in map(access, c.writes) if a is not None])
    weight = _weight(op.body, TYPE[avals[0].dtype])
    fast: Literal["", "tf32", "bf16"] = (
        "tf32" if MATMUL.fast and avals[0].dtype is dt.float32 else ""
    )
    if c.narrow:
        fast = "bf16" if c.narrow == dt.bfloat16.name else "tf32"
    return AttendKernel(
        c.backward, c.batch, c.m, c.n, c.e, c.f, c.scale, c.causal, reads, writes, weight, fast
    )


def check_rows(kernel: AttendKernel) -> None:
    """BackendError unless the columns of matrices lie side by side."""
    queries, keys, values = kernel.reads[:3]
    matrices = [(queries, kernel.e), (keys, kernel.e), (values, kernel.f)]
    if kernel.backward:
        matrices.append((kernel.reads[5], kernel.f))
        matrices += zip(kernel.writes, (kernel.e, kernel.e, kernel.f))
    else:
        matrices.append((kernel.writes[0], kernel.f))
    for access, columns in matrices:
        if access is not None and columns > 1 and access.strides[-1] != 1:
            raise BackendError("attend kernels walk rows of adjacent elements; copy the operand")


def anywhere(kernel: AttendKernel) -> tuple[AttendKernel, dict[SlotRef, int]]:
    """The kernel with all operands at the start of slot 0, and where they really are."""

    def moved(access: Access) -> Access:
        return access._replace(slot=0, offset=0)

    slots: dict[SlotRef, int] = {}
    results = GRADIENTS if kernel.backward else OUTPUTS
    for name, access in (*zip(READS, kernel.reads), *zip(results, kernel.writes)):
        if access is not None:
            slots[SlotRef(name)] = access.slot
            slots[SlotRef(name, is_offset=True)] = access.offset * access.dtype.itemsize
    reads = tuple([None if access is None else moved(access) for access in kernel.reads])
    return kernel._replace(reads=reads, writes=tuple(map(moved, kernel.writes))), slots
