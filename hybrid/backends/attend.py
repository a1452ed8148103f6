"""From an attend record to its kernel: the one door for eager calls, lowering and the tests.

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
from ..ir.scalar.program import TYPE, Builder, Program
from .plan import Access, AttendKernel

__all__ = ["attend_kernel"]

Ints = tuple[int, ...]


@lru_cache(64)
def _weight(body: Any, ty: str) -> Program:
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
