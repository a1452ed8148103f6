"""Regions: groups of nodes that become one kernel, and how each node sits in its region's iteration
space.

Invariant: running regions in increasing `time` respects every dependency; inside a region,
instructions are in program order and every operand is a literal, a value of the region at the same
position, or a read from memory at an affine position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...core.cache import keep
from ...core.errors import GraphError
from ...core.shapes import broadcast_shapes, is_contiguous
from ...ir.graph.graph import Const, Graph, Node, Value, param_key
from ...ir.scalar.compose import op_program
from ...ir.scalar.program import FREE, PRIMS, SLOW
from .affine import (
    AffineMap,
    AffineView,
    Broadcast,
    Embed,
    Ints,
    Path,
    canonical,
    dense_strides,
    reshape_strides,
    row_embed,
    walk_path,
    whole,
)

__all__ = [
    "LiteralOperand",
    "ResultOperand",
    "ReadOperand",
    "GatherOperand",
    "BoxOperand",
    "MemoryOperand",
    "Operand",
    "Instruction",
    "Region",
    "LoopRegion",
    "CopyRegion",
    "HeadRegion",
    "ContractRegion",
    "AttendRegion",
    "ScatterRegion",
    "HostRegion",
    "PlaceRegion",
    "CheckRegion",
    "HEADS",
    "Regions",
    "Roots",
    "Traits",
    "traits",
    "group_of",
    "uniform",
    "input_path",
    "space_of",
    "out_embed",
    "strides_in",
    "small",
    "plain_box",
    "cuts",
    "Box",
    "Time",
    "BEGINNING",
    "MAX_READS",
    "MAX_COST",
    "MAX_WRITES",
]

Box = tuple[tuple[int, int], ...]  # (begin, end) along each axis
# When a region runs.  A region opened in program order takes the next whole number; one that must
# follow others closely takes the whole number of the last of them and a rising second number, which
# puts it after them and before all that comes later.  Pairs of integers never run out of room
# between two neighbours, so comparing times stays a proof that no cycle arises.
Time = tuple[int, int]
BEGINNING: Time = (0, 0)

MAX_READS = 24  # operands of one kernel that are read from memory
MAX_WRITES = 32  # values of one kernel that other kernels or the caller read for sure
MAX_COST = 600  # instructions of one kernel
MAX_PATH = 24  # views in a row that are read through; a longer chain is cut by a copy


# ---- what the passes ask of a node
class Traits(NamedTuple):
    """`cost`: instructions; `cheap`: none is slow; `positional`: asks where; `loads`: gathers."""

    cost: int
    cheap: bool
    positional: bool
    loads: bool

    @property
    def placed(self) -> bool:
        """Whether it reads at places that it finds from its own: evenly spaced along the last
        axis, but not along a row of several axes."""
        return self.positional and self.loads


_TRAITS: dict[Any, Traits] = {}
_MOST_TRAITS = 4096


def traits(node: Node) -> Traits:
    """Facts about the program of a map or row node; once per op, parameters and dtypes."""
    avals = tuple(v.aval for v in node.inputs)
    identity = (
        node.op,
        tuple((k, param_key(v)) for k, v in node.params.items()),
        avals if node.op.gathers else tuple(a.dtype for a in avals),
    )
    found = _TRAITS.get(identity)
    if found is None:
        program = op_program(node.op, avals, node.params, [v.aval for v in node.outputs])
        prims = [i.prim for i in program.instrs]
        costs = [PRIMS[p].cost for p in prims]
        found = Traits(
            sum(c > FREE for c in costs),
            max(costs, default=FREE) < SLOW,
            "index" in prims or "coord" in prims,
            "load" in prims,
        )
        keep(_TRAITS, identity, found, _MOST_TRAITS)
    return found


def group_of(node: Node) -> tuple[int, int]:
    """The adjacent axes of input 0 a row node works over: parameter `axes`, else the last."""
    ndim = node.inputs[0].aval.ndim
    axes = node.params.get("axes")
    return (int(axes[0]), int(axes[1])) if axes is not None else (max(ndim - 1, 0), ndim)


def uniform(literal: Const) -> bool:
    """Whether a literal is one number everywhere, so that a run-time scalar can stand for it."""
    if literal.aval.size <= 1:
        return literal.aval.size == 1
    raw = np.ascontiguousarray(literal.data).reshape(-1).view(f"V{literal.aval.dtype.itemsize}")
    return raw.tobytes() == raw[:1].tobytes() * literal.aval.size


@lru_cache(4096)
def _broadcast(shapes: tuple[Ints, ...]) -> Ints:
    return broadcast_shapes("a row op", *shapes)


def space_of(node: Node) -> Ints:
    """The node's space: a map's result shape, or what the operands of a row node broadcast to."""
    if node.op.kind != "row":
        return node.outputs[0].aval.shape
    return _broadcast(
        tuple(v.aval.shape for i, v in enumerate(node.inputs) if i not in node.op.gathers)
    )


def input_path(node: Node, number: int, space: Ints) -> Path:
    """From input i of a map or row node to the node's own space: as NumPy broadcasts."""
    shape = node.inputs[number].aval.shape
    return () if shape == space else (Broadcast(shape, space),)


def out_embed(node: Node, value: Value, space: Ints) -> Embed | None:
    """How a result of a map or row node lies in the node's own space."""
    shape = value.aval.shape
    if shape == space:
        return whole(shape, space)
    return row_embed(shape, space, group_of(node)) if node.op.kind == "row" else None


def strides_in(region_shape: Ints, value: Value, path: Path) -> Ints | None:
    """Canonical strides over the region's space of a value that lies there through `path`."""
    affine = walk_path(path, (0, dense_strides(value.aval.shape)))
    return None if affine is None or affine[0] != 0 else canonical(region_shape, affine[1])


def plain_box(node: Node) -> tuple[Box, Embed] | None:
    """The box of zeros that a placement writes its one operand to, and how the operand lies in the
    result's space; None when it is stepped or turned."""
    if (
        node.op.kind != "place"
        or not node.op.has("zeros")
        or len(node.inputs) != 1
        or node.op.layout is None
    ):
        return None
    source, result = node.inputs[0].aval, node.outputs[0].aval
    ((offset, shape, strides),) = node.op.layout(source, **node.params)
    steps = dense_strides(result.shape)
    axes: list[int] = []
    for size, stride in zip(shape, strides):
        axis = next(
            (
                a
                for a in range(axes[-1] + 1 if axes else 0, result.ndim)
                if steps[a] == stride and size <= result.shape[a]
            ),
            None,
        )
        if axis is None or source.size == 0:
            return None
        axes.append(axis)
    sizes = dict(zip(axes, shape))
    begin = [offset // s % d for s, d in zip(steps, result.shape)]
    box = tuple((b, b + sizes.get(a, 1)) for a, b in enumerate(begin))
    if any(e > d for (_, e), d in zip(box, result.shape)):
        return None
    return box, Embed(shape, tuple(range(len(shape))), shape, tuple(axes), result.ndim)


def cuts(shape: Ints, boxes: Iterable[Box]) -> list[list[int]]:
    """Per axis, where the space is cut so that every box is made of whole cells."""
    boxes = list(boxes)
    return [sorted({0, d, *(x for b in boxes for x in b[a])}) for a, d in enumerate(shape)]


def small(shape: Ints) -> bool:
    """Spaces so small that the cost of a kernel is its call."""
    return prod(shape) <= 64


# ---- roots
class Roots:
    """Every value as a path of views from a value that has memory of its own.

    A view with no affine form over its root makes its input a root: `copied` says of what."""

    def __init__(self, graph: Graph) -> None:
        self.paths: dict[Value, tuple[Value, Path]] = {}
        self.copied: dict[Value, tuple[Value, Path]] = {}
        for node in graph.nodes:
            if node.op.kind == "view":
                self._view(node)
            for number in range(len(node.inputs)) if node.op.kind == "scatter" else node.op.gathers:
                self._dense(node.inputs[number])
            if node.op.kind == "attend":
                for value in node.inputs:
                    self._rows(value)

    def __call__(self, value: Value) -> tuple[Value, Path]:
        return self.paths.get(value, (value, ()))

    def _dense(self, value: Value) -> None:
        """Make a value contiguous: it is read by linear index."""
        root_value, path = self(value)
        affine = walk_path(path, (0, dense_strides(root_value.aval.shape)))
        if affine is None or not is_contiguous(value.aval.shape, affine[1]):
            self.copied[value] = (root_value, path)
            self.paths[value] = (value, ())

    def _rows(self, value: Value) -> None:
        """Make the rows of a value lie side by side: a kernel reads vectors of them."""
        root_value, path = self(value)
        affine = walk_path(path, (0, dense_strides(root_value.aval.shape)))
        if affine is None or (value.aval.ndim and value.aval.shape[-1] != 1 and affine[1][-1] != 1):
            self.copied[value] = (root_value, path)
            self.paths[value] = (value, ())

    def _view(self, node: Node) -> None:
        root_value, path = self(node.inputs[0])
        step = (AffineView(node),)
        affine = walk_path(path + step, (0, dense_strides(root_value.aval.shape)))
        if affine is None or len(path) >= MAX_PATH:
            source = node.inputs[0]
            if (
                source is root_value
                or walk_path(step, (0, dense_strides(source.aval.shape))) is None
            ):
                raise GraphError(f"view {node.op.name} has no layout over contiguous elements")
            self.copied[source] = (root_value, path)
            self.paths[source] = (source, ())
            root_value, path = source, ()
        self.paths[node.outputs[0]] = (root_value, path + step)


# ---- operands of instructions
class LiteralOperand(NamedTuple):
    """A literal that is one number everywhere: a run-time scalar of the kernel."""

    value: Const


class ResultOperand(NamedTuple):
    """Result number `result` of instruction `instruction` of the same region; -1 is the head of a
    contraction."""

    value: Value
    instruction: int
    result: int = 0


class ReadOperand(NamedTuple):
    """Memory of `value` through `path`; `affine` is the map when that memory is contiguous."""

    value: Value
    path: Path = ()
    affine: AffineMap = (0, ())


class GatherOperand(NamedTuple):
    """Contiguous memory of `value` through `path`, read by linear index."""

    value: Value
    path: Path


class BoxOperand(NamedTuple):
    """Memory of `value` through `path` in the box `box` of the region's space, zero elsewhere."""

    value: Value
    path: Path
    box: Box


MemoryOperand = ReadOperand | GatherOperand | BoxOperand
Operand = LiteralOperand | ResultOperand | MemoryOperand


# ---- regions
class Instruction(NamedTuple):
    """A node at one position of the region's space.  `visible`: the node itself, whose results
    other regions may read; otherwise a private copy of a cheap node.  `spread` leads from the
    node's own space to the region's."""

    node: Node
    operands: tuple[Operand, ...]
    visible: bool
    spread: Path


@dataclass(eq=False, kw_only=True)
class Region:
    """Nodes that become one kernel.

    `shape`, `group`: iteration space.  `head`: the node that a region of a kind other than loop and
    copy is about, `operands` what it reads from memory.  `env`: visible value -> (instruction,
    result, strides over the space).  `stored`: how many values of `env` are in memory whatever is
    fused.  `placed`: whether some node is."""

    time: Time
    shape: Ints
    group: tuple[int, int] | None = None
    head: Node | None = None
    instructions: list[Instruction] = field(default_factory=list)
    env: dict[Value, tuple[int, int, Ints]] = field(default_factory=dict)
    memo: dict[Any, int] = field(default_factory=dict)
    reads: dict[Any, MemoryOperand] = field(default_factory=dict)
    operands: tuple[MemoryOperand, ...] = ()
    cost: int = 0
    stored: int = 0
    placed: bool = False

    @property
    def nodes(self) -> list[Node]:
        own = [] if self.head is None else [self.head]
        return own + [i.node for i in self.instructions if i.visible and i.node is not self.head]

    @property
    def results(self) -> list[Value]:
        """Values that the region makes."""
        return [] if self.head is None else list(self.head.outputs)

    @property
    def column(self) -> bool:
        """Whether the region reduces along other axes than the last."""
        return self.group is not None and self.group[1] != len(self.shape)

    def fits(self, affine: AffineMap) -> bool:
        """Whether the kernel can walk such a map."""
        return True

    def at_home(self, value: Value, offset: int, strides: Ints) -> AffineMap | None:
        """Over the region's space, the map of a visible value that lies at (offset, strides)."""
        number = self.env[value][0]
        if number < 0:
            return offset, strides
        instruction = self.instructions[number]
        embed = out_embed(instruction.node, value, space_of(instruction.node))
        return None if embed is None else walk_path((embed, *instruction.spread), (offset, strides))

    def writable(self, value: Value, location: tuple[int, int, Ints]) -> bool:
        """Whether the kernel can store a value at (slot, offset, strides)."""
        if value not in self.env:
            return True
        affine = self.at_home(value, location[1], location[2])
        return affine is not None and self.fits(affine)

    def split(self) -> list[Box | None]:
        """The space as boxes, each inside or outside of every box that is read; None: all of it."""
        boxes = {o.box for o in self.reads.values() if isinstance(o, BoxOperand)}
        if not boxes:
            return [None]
        return list(product(*(pairwise(c) for c in cuts(self.shape, boxes))))

    def all_reads(self) -> list[MemoryOperand]:
        """Operands that come from memory: of the head, then of instructions."""
        return [*self.operands, *self.reads.values()]


class LoopRegion(Region):
    """Elementwise nodes and reductions over one space."""

    @property
    def results(self) -> list[Value]:
        return list(self.env)


class CopyRegion(Region):
    """A value that views cannot reach: its one operand, copied to contiguous memory."""

    @property
    def results(self) -> list[Value]:
        return list(self.env)

    def at_home(self, value: Value, offset: int, strides: Ints) -> AffineMap | None:
        return offset, strides


@dataclass(eq=False, kw_only=True)
class HeadRegion(Region):
    """A node that is a kernel by itself."""

    head: Node


@dataclass(eq=False, kw_only=True)
class ContractRegion(HeadRegion):
    """A contraction and the elementwise nodes behind it; `shape` is the result's, and `dims` how
    the backend walks it."""

    dims: Ints

    @property
    def results(self) -> list[Value]:
        return list(self.env)

    def fits(self, affine: AffineMap) -> bool:
        return reshape_strides(self.shape, affine[1], self.dims) is not None


class AttendRegion(HeadRegion):
    """Attention, or its gradients."""


class ScatterRegion(HeadRegion):
    """Rows added to rows that an index names."""


class HostRegion(HeadRegion):
    """A Python callable over arrays."""


class PlaceRegion(HeadRegion):
    """Operands written to boxes of one result."""


@dataclass(eq=False, kw_only=True)
class CheckRegion(HeadRegion):
    """The check of a node that may fail; it makes nothing.  `arguments`: what the check takes."""

    arguments: tuple[Operand, ...] = ()

    @property
    def results(self) -> list[Value]:
        return []


# What a region of a node by itself is, by kind of op; contractions and checks have more to say.
HEADS: dict[str, type[HeadRegion]] = {
    "attend": AttendRegion,
    "scatter": ScatterRegion,
    "host": HostRegion,
    "place": PlaceRegion,
}


class Regions(NamedTuple):
    """The partition of a graph, in execution order."""

    graph: Graph
    order: tuple[Region, ...]
    roots: Roots
