"""Where values live: each root gets a home (slot, offset, strides), chosen so that producers write
directly into outputs, into new state and into the boxes of larger results.

Invariant: every reader of a root can walk its home; what cannot be written in place is copied by a
step of its own (`copies`) or stored a second time by its producer (`extra`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal, NamedTuple

import numpy as np

from ...backends.plan import Slot, SlotKind
from ...core.aval import Aval
from ...core.extents import is_extent
from ...core.shapes import is_contiguous
from ...ir.graph.graph import Const, Value, literal_key
from .affine import AffineView, Ints, Path, dense_strides, inverse_strides, walk_path
from .regions import (
    AttendRegion,
    ContractRegion,
    CopyRegion,
    GatherOperand,
    HostRegion,
    LoopRegion,
    MemoryOperand,
    PlaceRegion,
    Region,
    Regions,
    ScatterRegion,
)

__all__ = ["Location", "Box", "Copy", "Assignment", "assign", "box_of", "uncovered"]


MAX_NEST = 8  # boxes inside boxes
WORTH = 1 << 22  # bytes of a placement of which only what its box leaves is filled
MAX_EXTRA = 8  # places in which a producer stores a value a second time; the rest are copies


# What a reader can walk: any map, rows of adjacent elements, contiguous memory, a slot of its own.
Demand = Literal["any", "rows", "flat", "whole"]


class Location(NamedTuple):
    """Element i of a value is at offset + sum(i * strides) of a slot."""

    slot: int
    offset: int
    strides: Ints


class Box(NamedTuple):
    """A part of a value: where it begins, and its sizes."""

    begin: Ints
    shape: Ints


class Copy(NamedTuple):
    """A value read through `path` with shape `shape`, written to a box of a slot."""

    root: Value
    path: Path
    shape: Ints
    target: Location


class _Use(NamedTuple):
    """A read of a root: `shape` of what is read, and what its reader can walk."""

    region: Region
    operand: MemoryOperand
    demand: Demand


@dataclass
class Assignment:
    """Slots, homes of roots, and the stores that homes do not cover."""

    slots: list[Slot] = field(default_factory=list)
    consts: list[np.ndarray] = field(default_factory=list)
    home: dict[Value, Location] = field(default_factory=dict)
    extra: dict[Value, list[Location]] = field(default_factory=dict)  # second stores of a producer
    # by place/copy region; None: at the end
    copies: dict[Region | None, list[Copy]] = field(default_factory=dict)
    outputs: list[int] = field(default_factory=list)
    # operands written straight into a result
    direct: dict[Region, list[Value]] = field(default_factory=dict)
    needed: set[Value] = field(default_factory=set)

    def new(self, kind: SlotKind, aval: Aval, index: int = 0) -> int:
        self.slots.append(Slot(kind, aval, index))
        return len(self.slots) - 1


def box_of(region: PlaceRegion) -> list[tuple[int, int, Ints, Ints]]:
    """(operand number, offset, shape, strides) of every box a place region writes, in elements."""
    node = region.head
    assert node.op.layout is not None
    based = node.op.has("base")
    boxes = node.op.layout(*[v.aval for v in node.inputs], **node.params)
    whole = (
        [(0, 0, node.outputs[0].aval.shape, dense_strides(node.outputs[0].aval.shape))]
        if based
        else []
    )
    return whole + [(k, *box) for k, box in enumerate(boxes, start=int(based))]


def uncovered(region: PlaceRegion) -> list[Box]:
    """The parts of a placement over zeros that have to be filled before its boxes are written:
    none, where these cover it; what lies around a single one; or the whole, where that is small or
    is not much more."""
    node = region.head
    aval, boxes = node.outputs[0].aval, box_of(region)
    whole = [Box((0,) * aval.ndim, aval.shape)]
    numbers = [number for _, offset, *rest in boxes for number in (offset, *rest[0], *rest[1])]
    if any(map(is_extent, (*aval.shape, *numbers))):
        return whole
    if sum(prod(shape) for _, _, shape, _ in boxes) == aval.size:
        return []
    dense = dense_strides(aval.shape)
    _, offset, shape, strides = boxes[0]
    fits = len(boxes) == 1 and len(shape) == aval.ndim and aval.nbytes >= WORTH
    if not fits or any(
        extent > 1 and stride != step for extent, stride, step in zip(shape, strides, dense)
    ):
        return whole
    parts, begin, sizes = list[Box](), [0] * aval.ndim, list(aval.shape)
    for axis, (extent, inner) in enumerate(zip(aval.shape, shape)):
        first = offset // dense[axis] % extent
        for start, count in ((0, first), (first + inner, extent - first - inner)):
            if count:
                begin[axis], sizes[axis] = start, count
                parts.append(Box(tuple(begin), tuple(sizes)))
        begin[axis], sizes[axis] = first, inner
    return parts if 2 * sum(prod(part.shape) for part in parts) <= aval.size else whole


class _Assign:
    def __init__(self, regions: Regions, states: Sequence[tuple[int, int]]) -> None:
        self.regions, self.roots, self.graph = regions, regions.roots, regions.graph
        self.states = dict(states)
        self.result = Assignment()
        self.uses: dict[Value, list[_Use]] = {}
        self.wants: dict[Value, list[tuple[Copy, Region | None]]] = {}
        self.consts: dict[object, int] = {}
        self.made: dict[Value, Region] = {}
        self.nested: dict[Value, int] = {}  # how many boxes a value lies in

    def run(self) -> Assignment:
        assignment = self.result
        for number, value in enumerate(self.graph.inputs):
            slot = assignment.new("input", value.aval, number)
            assignment.home[value] = Location(slot, 0, dense_strides(value.aval.shape))
        for region in self.regions.order:
            for value in region.results:
                self.made[value] = region
            for operand in region.operands:
                self.uses.setdefault(operand.value, []).append(
                    _Use(region, operand, _demand(operand, region))
                )
            for operand in region.reads.values():
                self.uses.setdefault(operand.value, []).append(
                    _Use(region, operand, _demand(operand))
                )
        self.need()
        self.outputs()
        for region in reversed(self.regions.order):
            for value in region.results:
                if value in assignment.needed:
                    self.choose_home(value, region)
            if isinstance(region, PlaceRegion | CopyRegion) and any(
                v in assignment.needed for v in region.results
            ):
                self.boxes(region)
        return assignment

    def need(self) -> None:
        """Roots that some kernel reads, or that are outputs."""
        for value in self.uses:
            self.result.needed.add(value)
            if isinstance(value, Const):
                self.constant(value)
        for value in self.graph.outputs:
            self.result.needed.add(self.roots(value)[0])
        for region in self.regions.order:
            if isinstance(region, ScatterRegion | HostRegion | AttendRegion):
                self.result.needed.update(region.results)

    def constant(self, literal: Const) -> int:
        identity = literal_key(literal)
        slot = self.consts.get(identity)
        if slot is None:
            slot = self.consts[identity] = self.result.new(
                "const", literal.aval, len(self.result.consts)
            )
            self.result.consts.append(literal.data)
        self.result.home[literal] = Location(slot, 0, dense_strides(literal.aval.shape))
        return slot

    # ---- outputs
    def outputs(self) -> None:
        fresh: dict[Value, int] = {}
        for number, value in enumerate(self.graph.outputs):
            root_value, path = self.roots(value)
            state = self.states.get(number)
            if state is None and value in fresh:
                self.result.outputs.append(fresh[value])
                continue
            same = self.passed(value, root_value, path)
            if same is not None and (state is None or root_value is self.graph.inputs[state]):
                self.result.outputs.append(same)
                continue
            if isinstance(root_value, Const):
                self.constant(root_value)
            slot = self.result.new("output" if state is None else "state", value.aval, state or 0)
            if state is None:
                fresh[value] = slot
            self.result.outputs.append(slot)
            target = Location(slot, 0, dense_strides(value.aval.shape))
            self.wants.setdefault(root_value, []).append(
                (Copy(root_value, path, value.aval.shape, target), None)
            )
        for root_value in [r for r in self.wants if r not in self.made]:
            self.result.copies.setdefault(None, []).extend(c for c, _ in self.wants[root_value])

    def passed(self, value: Value, root_value: Value, path: Path) -> int | None:
        """The slot of an input or literal that is returned as it is."""
        if root_value in self.made:
            return None
        affine = walk_path(path, (0, dense_strides(root_value.aval.shape)))
        if (
            affine is None
            or affine[0] != 0
            or root_value.aval.shape != value.aval.shape
            or not is_contiguous(value.aval.shape, affine[1])
        ):
            return None
        return (
            self.constant(root_value)
            if isinstance(root_value, Const)
            else self.result.home[root_value].slot
        )

    # ---- homes
    def choose_home(self, value: Value, region: Region) -> None:
        """Choose v's home among the boxes that want it; stores or copies serve the others."""
        assignment, chosen = self.result, None
        for copy, reader in self.wants.get(value, ()):
            depth = 0 if reader is None else 1 + max(self.nested.get(o, 0) for o in reader.results)
            target = self.target(value, copy) if depth <= MAX_NEST else None
            if (
                chosen is None
                and target is not None
                and self.eligible(value, region, target, reader)
            ):
                chosen = assignment.home[value] = target
                self.nested[value] = depth
                if reader is not None:
                    assignment.direct.setdefault(reader, []).append(value)
            elif (
                target is not None
                and isinstance(region, LoopRegion | ContractRegion)
                and len(assignment.extra.get(value, ())) < MAX_EXTRA
                and self.may_store(reader)
                and region.writable(value, target)
            ):
                assignment.extra.setdefault(value, []).append(target)
                self.nested[value] = max(self.nested.get(value, 0), depth)
                if reader is not None:
                    assignment.direct.setdefault(reader, []).append(value)
            else:
                assignment.copies.setdefault(reader, []).append(copy)
        if chosen is None:
            assignment.home[value] = Location(
                assignment.new("temp", value.aval), 0, dense_strides(value.aval.shape)
            )

    def target(self, value: Value, copy: Copy) -> Location | None:
        """Where the value's own elements would go so that `path` finds them in the box; None when
        it does not read every element once."""
        if value.aval.size == 0:
            return None
        box = copy.target
        found = inverse_strides(value.aval.shape, copy.path, box.offset, box.strides, copy.shape)
        return None if found is None else Location(box.slot, *found)

    # Two values share a slot only as boxes of one result.  Boxes of a placement do not overlap, so
    # their producers may store into them in any order; boxes over a base must come after it, so
    # nobody stores into those directly and copies fill them, in order.
    def may_store(self, reader: Region | None) -> bool:
        """A box over a base may be written only after the base."""
        return reader is None or reader.head is None or not reader.head.op.has("base")

    def eligible(
        self, value: Value, region: Region, target: Location, reader: Region | None
    ) -> bool:
        used_values = self.uses.get(value, [])
        if not self.may_store(reader):
            return False
        dense = target.strides == dense_strides(value.aval.shape)
        if isinstance(region, PlaceRegion | ScatterRegion | HostRegion) and not dense:
            return False
        if isinstance(region, AttendRegion) and not _vectors(value.aval.shape, target.strides):
            return False
        own_slot = not target.offset and self.result.slots[target.slot].aval == value.aval
        if isinstance(region, ScatterRegion | HostRegion) and not own_slot:
            return False
        return region.writable(value, target) and all(self.walks(u, target) for u in used_values)

    def walks(self, use: _Use, target: Location) -> bool:
        affine = walk_path(use.operand.path, (target.offset, target.strides))
        if affine is None:
            return False
        if use.demand == "any":
            # what the head of a contraction reads may have any strides: it is packed
            return use.operand in use.region.operands or use.region.fits(affine)
        shape = self.shape_of(use)
        if use.demand == "rows":
            return _vectors(shape, affine[1])
        if not is_contiguous(shape, affine[1]):
            return False
        slot = self.result.slots[target.slot]
        return use.demand == "flat" or (affine[0] == 0 and slot.aval.shape == shape)

    def shape_of(self, use: _Use) -> Ints:
        last = use.operand.path[-1] if use.operand.path else None
        return (
            last.node.outputs[0].aval.shape
            if isinstance(last, AffineView)
            else use.operand.value.aval.shape
        )

    def boxes(self, region: PlaceRegion | CopyRegion) -> None:
        """Ask for the operands of a placement (or of a copy) in the boxes of its home."""
        operands = region.operands
        if isinstance(region, CopyRegion):
            (value,), (operand,) = region.results, operands
            self.ask(
                Copy(operand.value, operand.path, value.aval.shape, self.result.home[value]), region
            )
            return
        value = region.head.outputs[0]
        location = self.result.home[value]
        for number, offset, shape, strides in box_of(region):
            operand = operands[number]
            self.ask(
                Copy(
                    operand.value,
                    operand.path,
                    shape,
                    Location(location.slot, location.offset + offset, strides),
                ),
                region,
            )

    def ask(self, copy: Copy, region: Region) -> None:
        if copy.root in self.made and region.head is not None and region.head.op.has("base"):
            self.result.copies.setdefault(region, []).append(copy)
        elif copy.root in self.made:
            self.wants.setdefault(copy.root, []).append((copy, region))
        else:
            self.result.copies.setdefault(region, []).append(copy)


def _demand(operand: MemoryOperand, head: Region | None = None) -> Demand:
    """What an operand asks of its memory; `head`: the region whose head reads it."""
    if isinstance(operand, GatherOperand):
        return "flat"
    if isinstance(head, HostRegion):
        return "whole"
    return "rows" if isinstance(head, ScatterRegion | AttendRegion) else "any"


def _vectors(shape: Ints, strides: Ints) -> bool:
    """Whether rows of elements that lie side by side can be read and written."""
    return not shape or shape[-1] == 1 or strides[-1] == 1


def assign(regions: Regions, states: Sequence[tuple[int, int]] = ()) -> Assignment:
    """Homes of all values; `states` pairs (output number, input number whose new value it is)."""
    return _Assign(regions, states).run()
