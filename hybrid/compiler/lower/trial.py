"""Trying a node in a region: what it would read there, and which instructions that takes.

Invariant: a trial changes its region only in `join`, and then completely or not at all.
"""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

from ...core.shapes import contiguous_strides
from ...ir.graph.graph import Const, Node, Value
from .affine import AffineMap, Embed, Ints, Path, canonical, walk_path
from .regions import (
    MAX_COST,
    MAX_READS,
    MAX_WRITES,
    Box,
    BoxOperand,
    GatherOperand,
    Inst,
    LiteralOperand,
    LoopRegion,
    MemoryOperand,
    Operand,
    ReadOperand,
    Region,
    ResultOperand,
    Roots,
    Time,
    cuts,
    input_path,
    out_embed,
    space_of,
    strides_in,
    traits,
    uniform,
)

__all__ = ["Trial", "Partition", "MAX_CELLS"]

MAX_CELLS = 8  # boxes that a space is cut into


class Partition(Protocol):
    """What a trial asks about the partition so far."""

    roots: Roots
    free: set[Value]
    stored: set[Value]
    deferred: dict[Value, tuple[Box, Embed]]

    def time_of(self, root: Value) -> Time: ...

    def unmade(self, root: Value) -> bool: ...


class Trial:
    """Instructions and reads that join a region together, or not at all."""

    def __init__(self, fusion: Partition, region: Region) -> None:
        self.fusion, self.region = fusion, region
        self.insts: list[Inst] = []
        self.memo: dict[Any, int] = {}
        self.reads: dict[Any, MemoryOperand] = {}
        self.cost = 0

    def resolve(self, v: Value, path: Path) -> Operand | None:
        """The operand that reads v at the region's positions; None when it cannot be had there."""
        if isinstance(v, Const) and uniform(v):
            return LiteralOperand(v)
        root, lead = self.fusion.roots(v)
        full = lead + path
        if isinstance(root, Const) and uniform(root):
            return LiteralOperand(root)
        at = walk_path(full, (0, contiguous_strides(root.aval.shape)))
        if at is None:
            return None
        at = (at[0], canonical(self.region.shape, at[1]))
        here = self.region.env.get(root)
        if here is not None:
            same = at == (0, here[2])
            return ResultOperand(root, here[0], here[1]) if same else None
        if root in self.fusion.free:
            return self._copy(root, full, at)
        if root in self.fusion.deferred:
            return self._boxed(root, at)
        if self.fusion.time_of(root) >= self.region.time or not self.region.fits(at):
            return None
        op = ReadOperand(root, full, at)
        self.reads.setdefault((root, at), op)
        return self.region.reads.get((root, at)) or self.reads[root, at]

    def _boxed(self, root: Value, at: AffineMap) -> Operand | None:
        """A placement over zeros, read unmade: the kernel is cut where its box begins and ends."""
        r, n = self.region, root.node
        whole_of = (0, canonical(r.shape, contiguous_strides(root.aval.shape)))
        if (
            n is None
            or not isinstance(r, LoopRegion)
            or r.group is not None
            or root.aval.shape != r.shape
            or at != whole_of
        ):
            return None
        x, path = self.fusion.roots(n.inputs[0])
        if (
            self.fusion.time_of(x) >= r.time
            or x in self.fusion.free
            or x in self.fusion.deferred
            or x in r.env
        ):
            return None
        box, spread = self.fusion.deferred[root]
        op = BoxOperand(x, (*path, spread), box)
        self.reads.setdefault((root, "boxed"), op)
        return op

    def _copy(self, root: Value, path: Path, at: AffineMap) -> Operand | None:
        """A private copy of a free node at the positions that are asked for."""
        key = (root, at)
        k = self.region.memo.get(key, self.memo.get(key))
        if k is None:
            n = root.node
            assert n is not None
            ops = self.operands(n, path)
            if ops is None:
                return None
            k = self._add(Inst(n, ops, False, path))
            self.memo[key] = k
        return ResultOperand(root, k)

    def operands(self, n: Node, spread: Path) -> tuple[Operand, ...] | None:
        """What n reads at the positions `spread`; None when one operand cannot be had."""
        space = space_of(n)
        out: list[Operand] = []
        for i, v in enumerate(n.inputs):
            if i in n.op.gathers:
                root, path = self.fusion.roots(v)
                if (
                    root in self.region.env
                    or self.fusion.unmade(root)
                    or self.fusion.time_of(root) >= self.region.time
                ):
                    return None
                op = GatherOperand(root, path)
                self.reads.setdefault((root, ("gather", i, n)), op)
                out.append(op)
                continue
            got = self.resolve(v, input_path(n, i, space) + spread)
            if got is None:
                return None
            out.append(got)
        return tuple(out)

    def _add(self, inst: Inst) -> int:
        self.insts.append(inst)
        self.cost += traits(inst.node).cost
        return len(self.region.insts) + len(self.insts) - 1

    def _asks_where(self) -> bool:
        return any(traits(i.node).placed for i in (*self.region.insts, *self.insts))

    def _after_reduction(self, k: int) -> bool:
        """Whether instruction k needs a visible value of the region."""
        insts, todo, seen = [*self.region.insts, *self.insts], [k], {k}
        while todo:
            for o in insts[todo.pop()].operands:
                if isinstance(o, ResultOperand) and o.inst not in seen:
                    if insts[o.inst].visible:
                        return True
                    seen.add(o.inst)
                    todo.append(o.inst)
        return False

    def join(self, n: Node, spread: Embed) -> bool:
        """Put n into the region at the positions `spread`, or do nothing and say false."""
        ops = self.operands(n, (spread,))
        if ops is None:
            return False
        r = self.region
        k = self._add(Inst(n, ops, True, (spread,)))
        reads = {k: v for k, v in self.reads.items() if k not in r.reads}
        if r.insts and (r.cost + self.cost > MAX_COST or len(r.reads) + len(reads) > MAX_READS):
            return False
        stored = sum(v in self.fusion.stored for v in n.outputs)
        if r.insts and r.stored + stored > MAX_WRITES:
            return False
        boxes = {o.box for o in (*r.reads.values(), *reads.values()) if isinstance(o, BoxOperand)}
        cells = prod(len(c) - 1 for c in cuts(r.shape, boxes)) if boxes else 1
        if cells > MAX_CELLS or (boxes and (n.op.kind == "row" or self._asks_where())):
            return False
        if r.column and n.op.kind == "row" and self._after_reduction(k):
            return False
        placed: dict[Value, tuple[int, int, Ints]] = {}
        for i, v in enumerate(n.outputs):
            e = out_embed(n, v, space_of(n))
            at = None if e is None else strides_in(r.shape, v, (e, spread))
            if at is None or not r.fits((0, at)):
                return False
            placed[v] = (k, i, at)
        r.insts += self.insts
        r.env.update(placed)
        r.memo.update(self.memo)
        r.reads.update(reads)
        r.cost += self.cost
        r.stored += stored
        return True
