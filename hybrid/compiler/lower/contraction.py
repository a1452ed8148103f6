"""A contract region -> GemmKernel with its epilogue.

Invariant: the accumulator (plus the bias) is rounded to the contraction's dtype before anything
fused behind it reads it, exactly as when the result is stored and read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends.plan import Access, Dims, GemmKernel, Operand
from ...core.errors import GraphError
from ...ir.contract import accumulator, rounded
from ...ir.graph.graph import Node, Value
from ...ir.scalar.program import Val
from .affine import AffineMap, Ints, refine, reshape_strides, walk_path
from .assignment import Home
from .regions import ContractRegion, MemoryOperand

if TYPE_CHECKING:
    from .kernels import KernelProgram

__all__ = ["contraction"]


class _ResultAxes:
    """How the result is walked: batch, rows and columns, split as far as the operands need."""

    def __init__(self, c: Any, shape: Ints, maps: Sequence[AffineMap]) -> None:
        self.shape = shape
        self.parts = [tuple(v.sizes) for v in (c.out.batch, c.out.rows, c.out.cols)]
        if any(self.flat(m) is None for m in maps):
            fine = refine(sum(self.parts, ()), shape)
            self.parts = self._split(fine)

    def flat(self, m: AffineMap) -> Ints | None:
        """Strides of a map over the result, along all parts."""
        return reshape_strides(self.shape, m[1], sum(self.parts, ()))

    def _split(self, fine: Ints) -> list[Ints]:
        """Fine sizes dealt out to batch, rows and columns."""
        out: list[Ints] = []
        rest = [d for d in fine if d != 1]
        for part in self.parts:
            want, got = int(np.prod(part, dtype=np.int64)), []
            while want > 1:
                got.append(rest.pop(0))
                want //= got[-1]
            out.append(tuple(got))
        return out

    def deal(self, flat: Ints) -> list[Dims]:
        out, at = [], 0
        for part in self.parts:
            out.append(Dims(part, flat[at : at + len(part)]))
            at += len(part)
        return out


def _resplit(d: Any, sizes: Ints) -> Dims:
    """An index space of an operand in finer sizes."""
    got = reshape_strides(tuple(d.sizes), tuple(d.strides), sizes)
    if got is None:
        raise GraphError(f"a contraction's index of sizes {d.sizes} does not split into {sizes}")
    return Dims(sizes, got)


def contraction(
    r: ContractRegion, e: KernelProgram, stores: Sequence[tuple[Value, int, int, Home]]
) -> GemmKernel:
    """The kernel of a contract region that stores `stores`; `e` collects its epilogue."""
    n = r.head
    assert n.op.layout is not None
    avals = [v.aval for v in n.inputs]
    places = [_operand_place(o, n, e) for o in r.operands]
    c = n.op.layout(avals, [at[1] for _, at in places], [at[0] for _, at in places], **n.params)
    out_d, acc = n.outputs[0].aval.dtype, accumulator(avals[c.a.operand].dtype)
    maps: list[AffineMap] = []
    for v, _, _, h in stores:
        at = r.at_home(v, h.offset, h.strides)
        assert at is not None
        maps.append(at)
    total = e.composer.arg(acc)
    bias = _bias(c, n, e, places)
    plain = bias is None and len(stores) == 1 and stores[0][1] < 0
    value = None if plain else e.composer.carried(rounded(e.composer.s, total, bias, out_d), out_d)
    outs = [] if value is None else _values(r, e, stores, value)
    walk = _ResultAxes(
        c, r.shape, [*maps, *((a.offset, a.strides) for a in e.reads[bias is not None :])]
    )
    return GemmKernel(
        c.batch,
        c.m,
        c.n,
        c.k,
        _operand(c.a, places, avals, walk.parts[0], walk.parts[1], None),
        _operand(c.b, places, avals, walk.parts[0], None, walk.parts[2]),
        tuple(
            Operand(h.slot, v.aval.dtype, m[0], *walk.deal(_need(walk, m)))
            for (v, _, _, h), m in zip(stores, maps)
        ),
        acc,
        c.order,
        None if plain else e.composer.finish(outs, [v.aval.dtype for v, *_ in stores]),
        _reads(c, e, walk, bias is not None),
        tuple(e.params),
    )


def _operand_place(o: MemoryOperand, n: Node, e: KernelProgram) -> tuple[int, AffineMap]:
    """Slot and map of what the contraction reads."""
    h = e.assignment.home[o.value]
    at = walk_path(o.path, (h.offset, h.strides))
    if at is None:
        raise GraphError(f"{n.op.name}: an operand of {o.value.aval} cannot be walked")
    return h.slot, at


def _need(walk: _ResultAxes, m: AffineMap) -> Ints:
    flat = walk.flat(m)
    if flat is None:
        raise GraphError(
            f"a contraction's result of shape {walk.shape} cannot be walked with strides {m[1]}"
        )
    return flat


def _operand(
    v: Any,
    places: Sequence[Any],
    avals: Sequence[Any],
    batch: Ints,
    rows: Ints | None,
    cols: Ints | None,
) -> Operand:
    return Operand(
        places[v.operand][0],
        avals[v.operand].dtype,
        v.offset,
        _resplit(v.batch, batch),
        v.rows if rows is None else _resplit(v.rows, rows),
        v.cols if cols is None else _resplit(v.cols, cols),
    )


def _bias(c: Any, n: Node, e: KernelProgram, places: Sequence[Any]) -> Val | None:
    if c.bias is None:
        return None
    d = n.inputs[c.bias.operand].aval.dtype
    e.reads.append(Access(places[c.bias.operand][0], d, c.bias.offset, ()))
    return e.composer.arg(d)


def _values(r: ContractRegion, e: KernelProgram, stores: Sequence[Any], value: Val) -> list[Val]:
    made: dict[int, list[Any]] = {-1: [value]}
    e.run(r, {k for _, k, _, _ in stores}, made)
    return [made[k][i] for _, k, i, _ in stores]


def _reads(c: Any, e: KernelProgram, walk: _ResultAxes, biased: bool) -> tuple[Access, ...]:
    out = []
    for k, a in enumerate(e.reads):
        if biased and k == 0:
            parts = [
                _resplit(d, p) for d, p in zip((c.bias.batch, c.bias.rows, c.bias.cols), walk.parts)
            ]
            flat: Ints = sum((p.strides for p in parts), ())
        else:
            flat = _need(walk, (a.offset, a.strides))
        out.append(a._replace(strides=flat))
    return tuple(out)
