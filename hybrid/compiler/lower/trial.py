"""Trying a node in a region: what it would read there, and which instructions that takes.

Invariant: a trial changes its region only in `join`, and then completely or not at all.
"""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

from ...ir.graph.graph import Const, Node, Value
from .affine import AffineMap, Embed, Ints, Path, canonical, dense_strides, walk_path
from .regions import (
    MAX_COST,
    MAX_READS,
    MAX_WRITES,
    Box,
    BoxOperand,
    GatherOperand,
    Instruction,
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

    def time_of(self, root_value: Value) -> Time: ...

    def unmade(self, root_value: Value) -> bool: ...


class Trial:
    """Instructions and reads that join a region together, or not at all."""

    def __init__(self, fusion: Partition, region: Region) -> None:
        self.fusion, self.region = fusion, region
        self.instructions: list[Instruction] = []
        self.memo: dict[Any, int] = {}
        self.reads: dict[Any, MemoryOperand] = {}
        self.cost = 0

    def resolve(self, value: Value, path: Path) -> Operand | None:
        """The operand that reads a value at the region's positions; None when there is none."""
        if isinstance(value, Const) and uniform(value):
            return LiteralOperand(value)
        root_value, lead = self.fusion.roots(value)
        full = lead + path
        if isinstance(root_value, Const) and uniform(root_value):
            return LiteralOperand(root_value)
        affine = walk_path(full, (0, dense_strides(root_value.aval.shape)))
        if affine is None:
            return None
        affine = (affine[0], canonical(self.region.shape, affine[1]))
        here = self.region.env.get(root_value)
        if here is not None:
            same = affine == (0, here[2])
            return ResultOperand(root_value, here[0], here[1]) if same else None
        if root_value in self.fusion.free:
            return self._copy(root_value, full, affine)
        if root_value in self.fusion.deferred:
            return self._deferred(root_value, affine)
        if self.fusion.time_of(root_value) >= self.region.time or not self.region.fits(affine):
            return None
        operand = ReadOperand(root_value, full, affine)
        self.reads.setdefault((root_value, affine), operand)
        return self.region.reads.get((root_value, affine)) or self.reads[root_value, affine]

    def _deferred(self, root_value: Value, affine: AffineMap) -> Operand | None:
        """A placement over zeros, read unmade: the kernel is cut where its box begins and ends."""
        region, node = self.region, root_value.node
        whole_of = (0, canonical(region.shape, dense_strides(root_value.aval.shape)))
        if (
            node is None
            or not isinstance(region, LoopRegion)
            or region.group is not None
            or root_value.aval.shape != region.shape
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
        box, spread = self.fusion.deferred[root_value]
        operand = BoxOperand(source, (*path, spread), box)
        self.reads.setdefault((root_value, "deferred"), operand)
        return operand

    def _copy(self, root_value: Value, path: Path, affine: AffineMap) -> Operand | None:
        """A private copy of a free node at the positions that are asked for."""
        identity = (root_value, affine)
        number = self.region.memo.get(identity, self.memo.get(identity))
        if number is None:
            node = root_value.node
            assert node is not None
            operands = self.operands(node, path)
            if operands is None:
                return None
            number = self._add(Instruction(node, operands, False, path))
            self.memo[identity] = number
        return ResultOperand(root_value, number)

    def operands(self, node: Node, spread: Path) -> tuple[Operand, ...] | None:
        """What a node reads at the positions `spread`; None when one operand cannot be had."""
        space = space_of(node)
        found: list[Operand] = []
        for number, value in enumerate(node.inputs):
            if number in node.op.gathers:
                root_value, path = self.fusion.roots(value)
                if (
                    root_value in self.region.env
                    or self.fusion.unmade(root_value)
                    or self.fusion.time_of(root_value) >= self.region.time
                ):
                    return None
                gathered = GatherOperand(root_value, path)
                self.reads.setdefault((root_value, ("gather", number, node)), gathered)
                found.append(gathered)
                continue
            operand = self.resolve(value, input_path(node, number, space) + spread)
            if operand is None:
                return None
            found.append(operand)
        return tuple(found)

    def _add(self, instruction: Instruction) -> int:
        self.instructions.append(instruction)
        self.cost += traits(instruction.node).cost
        return len(self.region.instructions) + len(self.instructions) - 1

    def _asks_where(self) -> bool:
        return any(
            traits(i.node).positional for i in (*self.region.instructions, *self.instructions)
        )

    def _after_reduction(self, number: int) -> bool:
        """Whether an instruction needs a visible value of the region."""
        instructions = [*self.region.instructions, *self.instructions]
        todo = [number]
        visited = {number}
        while todo:
            for operand in instructions[todo.pop()].operands:
                if isinstance(operand, ResultOperand) and operand.instruction not in visited:
                    if instructions[operand.instruction].visible:
                        return True
                    visited.add(operand.instruction)
                    todo.append(operand.instruction)
        return False

    def join(self, node: Node, spread: Embed) -> bool:
        """Put a node into the region at the positions `spread`, or do nothing and say false."""
        operands = self.operands(node, (spread,))
        if operands is None:
            return False
        region = self.region
        number = self._add(Instruction(node, operands, True, (spread,)))
        reads = {k: v for k, v in self.reads.items() if k not in region.reads}
        if region.instructions and (
            region.cost + self.cost > MAX_COST or len(region.reads) + len(reads) > MAX_READS
        ):
            return False
        stored = sum(v in self.fusion.stored for v in node.outputs)
        if region.instructions and region.stored + stored > MAX_WRITES:
            return False
        boxes = {
            o.box for o in (*region.reads.values(), *reads.values()) if isinstance(o, BoxOperand)
        }
        cells = prod(len(c) - 1 for c in cuts(region.shape, boxes)) if boxes else 1
        if cells > MAX_CELLS or (boxes and (node.op.kind == "row" or self._asks_where())):
            return False
        if region.column and node.op.kind == "row" and self._after_reduction(number):
            return False
        visible: dict[Value, tuple[int, int, Ints]] = {}
        for result, value in enumerate(node.outputs):
            embed = out_embed(node, value, space_of(node))
            strides = None if embed is None else strides_in(region.shape, value, (embed, spread))
            if strides is None or not region.fits((0, strides)):
                return False
            visible[value] = (number, result, strides)
        region.instructions += self.instructions
        region.env.update(visible)
        region.memo.update(self.memo)
        region.reads.update(reads)
        region.cost += self.cost
        region.stored += stored
        return True
