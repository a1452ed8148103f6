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

    def resolve(self, value: Value, path: Path) -> Operand | None:
        """The operand that reads v at the region's positions; None when it cannot be had there."""
        if isinstance(value, Const) and uniform(value):
            return LiteralOperand(value)
        root, lead = self.fusion.roots(value)
        full = lead + path
        if isinstance(root, Const) and uniform(root):
            return LiteralOperand(root)
        affine = walk_path(full, (0, contiguous_strides(root.aval.shape)))
        if affine is None:
            return None
        affine = (affine[0], canonical(self.region.shape, affine[1]))
        here = self.region.env.get(root)
        if here is not None:
            same = affine == (0, here[2])
            return ResultOperand(root, here[0], here[1]) if same else None
        if root in self.fusion.free:
            return self._copy(root, full, affine)
        if root in self.fusion.deferred:
            return self._boxed(root, affine)
        if self.fusion.time_of(root) >= self.region.time or not self.region.fits(affine):
            return None
        operand = ReadOperand(root, full, affine)
        self.reads.setdefault((root, affine), operand)
        return self.region.reads.get((root, affine)) or self.reads[root, affine]

    def _boxed(self, root: Value, affine: AffineMap) -> Operand | None:
        """A placement over zeros, read unmade: the kernel is cut where its box begins and ends."""
        region, node = self.region, root.node
        whole_of = (0, canonical(region.shape, contiguous_strides(root.aval.shape)))
        if (
            node is None
            or not isinstance(region, LoopRegion)
            or region.group is not None
            or root.aval.shape != region.shape
            or affine != whole_of
        ):
            return None
        source, path = self.fusion.roots(node.inputs[0])
        if (
            self.fusion.time_of(source) >= region.time
            or source in self.fusion.free
            or source in self.fusion.deferred
            or source in region.env
        ):
            return None
        box, spread = self.fusion.deferred[root]
        operand = BoxOperand(source, (*path, spread), box)
        self.reads.setdefault((root, "boxed"), operand)
        return operand

    def _copy(self, root: Value, path: Path, affine: AffineMap) -> Operand | None:
        """A private copy of a free node at the positions that are asked for."""
        key = (root, affine)
        number = self.region.memo.get(key, self.memo.get(key))
        if number is None:
            node = root.node
            assert node is not None
            operands = self.operands(node, path)
            if operands is None:
                return None
            number = self._add(Inst(node, operands, False, path))
            self.memo[key] = number
        return ResultOperand(root, number)

    def operands(self, node: Node, spread: Path) -> tuple[Operand, ...] | None:
        """What n reads at the positions `spread`; None when one operand cannot be had."""
        space = space_of(node)
        found: list[Operand] = []
        for number, value in enumerate(node.inputs):
            if number in node.op.gathers:
                root, path = self.fusion.roots(value)
                if (
                    root in self.region.env
                    or self.fusion.unmade(root)
                    or self.fusion.time_of(root) >= self.region.time
                ):
                    return None
                gathered = GatherOperand(root, path)
                self.reads.setdefault((root, ("gather", number, node)), gathered)
                found.append(gathered)
                continue
            operand = self.resolve(value, input_path(node, number, space) + spread)
            if operand is None:
                return None
            found.append(operand)
        return tuple(found)

    def _add(self, inst: Inst) -> int:
        self.insts.append(inst)
        self.cost += traits(inst.node).cost
        return len(self.region.insts) + len(self.insts) - 1

    def _asks_where(self) -> bool:
        return any(traits(i.node).placed for i in (*self.region.insts, *self.insts))

    def _after_reduction(self, number: int) -> bool:
        """Whether instruction k needs a visible value of the region."""
        insts, todo, seen = [*self.region.insts, *self.insts], [number], {number}
        while todo:
            for operand in insts[todo.pop()].operands:
                if isinstance(operand, ResultOperand) and operand.inst not in seen:
                    if insts[operand.inst].visible:
                        return True
                    seen.add(operand.inst)
                    todo.append(operand.inst)
        return False

    def join(self, node: Node, spread: Embed) -> bool:
        """Put n into the region at the positions `spread`, or do nothing and say false."""
        operands = self.operands(node, (spread,))
        if operands is None:
            return False
        region = self.region
        number = self._add(Inst(node, operands, True, (spread,)))
        reads = {k: v for k, v in self.reads.items() if k not in region.reads}
        if region.insts and (
            region.cost + self.cost > MAX_COST or len(region.reads) + len(reads) > MAX_READS
        ):
            return False
        stored = sum(v in self.fusion.stored for v in node.outputs)
        if region.insts and region.stored + stored > MAX_WRITES:
            return False
        boxes = {
            o.box for o in (*region.reads.values(), *reads.values()) if isinstance(o, BoxOperand)
        }
        cells = prod(len(c) - 1 for c in cuts(region.shape, boxes)) if boxes else 1
        if cells > MAX_CELLS or (boxes and (node.op.kind == "row" or self._asks_where())):
            return False
        if region.column and node.op.kind == "row" and self._after_reduction(number):
            return False
        placed: dict[Value, tuple[int, int, Ints]] = {}
        for result, value in enumerate(node.outputs):
            embed = out_embed(node, value, space_of(node))
            strides = None if embed is None else strides_in(region.shape, value, (embed, spread))
            if strides is None or not region.fits((0, strides)):
                return False
            placed[value] = (number, result, strides)
        region.insts += self.insts
        region.env.update(placed)
        region.memo.update(self.memo)
        region.reads.update(reads)
        region.cost += self.cost
        region.stored += stored
        return True
