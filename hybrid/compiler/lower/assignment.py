"""Where values live: each root gets a home (slot, offset, strides), chosen so that producers write
directly into outputs, into new state and into the boxes of larger results.

Invariant: every reader of a root can walk its home; what cannot be written in place is copied by a
step of its own (`copies`) or stored a second time by its producer (`extra`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from ...backends.plan import Slot, SlotKind
from ...core.aval import Aval
from ...core.shapes import contiguous_strides, is_contiguous
from ...ir.graph.graph import Const, Value, literal_key
from .affine import Ints, Path, View, inverse_strides, walk_path
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

__all__ = ["Home", "Copy", "Assignment", "assign", "box_of"]


MAX_NEST = 8  # boxes inside boxes
MAX_EXTRA = 8  # places in which a producer stores a value a second time; the rest are copies


# What a reader can walk: any map, rows of adjacent elements, contiguous memory, a slot of its own.
Demand = Literal["any", "rows", "flat", "whole"]


class Home(NamedTuple):
    """Element i of a value is at offset + sum(i * strides) of a slot."""

    slot: int
    offset: int
    strides: Ints


class Copy(NamedTuple):
    """A value read through `path` with shape `shape`, written to a box of a slot."""

    root: Value
    path: Path
    shape: Ints
    to: Home


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
    home: dict[Value, Home] = field(default_factory=dict)
    extra: dict[Value, list[Home]] = field(default_factory=dict)  # second stores of a producer
    # by place/copy region; None: at the end
    copies: dict[Region | None, list[Copy]] = field(default_factory=dict)
    outputs: list[int] = field(default_factory=list)
    # operands written straight into a result
    direct: dict[Region, list[Value]] = field(default_factory=dict)
    needed: set[Value] = field(default_factory=set)

    def new(self, kind: SlotKind, a: Aval, index: int = 0) -> int:
        self.slots.append(Slot(kind, a, index))
        return len(self.slots) - 1


def box_of(r: PlaceRegion) -> list[tuple[int, int, Ints, Ints]]:
    """(operand number, offset, shape, strides) of every box a place region writes, in elements."""
    n = r.head
    assert n.op.layout is not None
    based = n.op.has("base")
    boxes = n.op.layout(*[v.aval for v in n.inputs], **n.params)
    whole = (
        [(0, 0, n.outputs[0].aval.shape, contiguous_strides(n.outputs[0].aval.shape))]
        if based
        else []
    )
    return whole + [(k, *box) for k, box in enumerate(boxes, start=int(based))]


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
        s = self.result
        for k, v in enumerate(self.graph.inputs):
            slot = s.new("input", v.aval, k)
            s.home[v] = Home(slot, 0, contiguous_strides(v.aval.shape))
        for r in self.regions.order:
            for v in r.results:
                self.made[v] = r
            for op in r.operands:
                self.uses.setdefault(op.value, []).append(_Use(r, op, _demand(op, r)))
            for op in r.reads.values():
                self.uses.setdefault(op.value, []).append(_Use(r, op, _demand(op)))
        self.need()
        self.outputs()
        for r in reversed(self.regions.order):
            for v in r.results:
                if v in s.needed:
                    self.choose_home(v, r)
            if isinstance(r, PlaceRegion | CopyRegion) and any(v in s.needed for v in r.results):
                self.boxes(r)
        return s

    def need(self) -> None:
        """Roots that some kernel reads, or that are outputs."""
        for v in self.uses:
            self.result.needed.add(v)
            if isinstance(v, Const):
                self.constant(v)
        for v in self.graph.outputs:
            self.result.needed.add(self.roots(v)[0])
        for r in self.regions.order:
            if isinstance(r, ScatterRegion | HostRegion | AttendRegion):
                self.result.needed.update(r.results)

    def constant(self, c: Const) -> int:
        key = literal_key(c)
        slot = self.consts.get(key)
        if slot is None:
            slot = self.consts[key] = self.result.new("const", c.aval, len(self.result.consts))
            self.result.consts.append(c.data)
        self.result.home[c] = Home(slot, 0, contiguous_strides(c.aval.shape))
        return slot

    # ---- outputs
    def outputs(self) -> None:
        fresh: dict[Value, int] = {}
        for k, v in enumerate(self.graph.outputs):
            root, path = self.roots(v)
            state = self.states.get(k)
            if state is None and v in fresh:
                self.result.outputs.append(fresh[v])
                continue
            same = self.passed(v, root, path)
            if same is not None and (state is None or root is self.graph.inputs[state]):
                self.result.outputs.append(same)
                continue
            if isinstance(root, Const):
                self.constant(root)
            slot = self.result.new("output" if state is None else "state", v.aval, state or 0)
            if state is None:
                fresh[v] = slot
            self.result.outputs.append(slot)
            to = Home(slot, 0, contiguous_strides(v.aval.shape))
            self.wants.setdefault(root, []).append((Copy(root, path, v.aval.shape, to), None))
        for root in [r for r in self.wants if r not in self.made]:
            self.result.copies.setdefault(None, []).extend(c for c, _ in self.wants[root])

    def passed(self, v: Value, root: Value, path: Path) -> int | None:
        """The slot of an input or literal that is returned as it is."""
        if root in self.made:
            return None
        at = walk_path(path, (0, contiguous_strides(root.aval.shape)))
        if (
            at is None
            or at[0] != 0
            or root.aval.shape != v.aval.shape
            or not is_contiguous(v.aval.shape, at[1])
        ):
            return None
        return self.constant(root) if isinstance(root, Const) else self.result.home[root].slot

    # ---- homes
    def choose_home(self, v: Value, r: Region) -> None:
        """Choose v's home among the boxes that want it; stores or copies serve the others."""
        s, chosen = self.result, None
        for copy, by in self.wants.get(v, ()):
            depth = 0 if by is None else 1 + max(self.nested.get(o, 0) for o in by.results)
            to = self.target(v, copy) if depth <= MAX_NEST else None
            if chosen is None and to is not None and self.eligible(v, r, to, by):
                chosen = s.home[v] = to
                self.nested[v] = depth
                if by is not None:
                    s.direct.setdefault(by, []).append(v)
            elif (
                to is not None
                and isinstance(r, LoopRegion | ContractRegion)
                and len(s.extra.get(v, ())) < MAX_EXTRA
                and self.may_store(by)
                and r.writable(v, to)
            ):
                s.extra.setdefault(v, []).append(to)
                self.nested[v] = max(self.nested.get(v, 0), depth)
                if by is not None:
                    s.direct.setdefault(by, []).append(v)
            else:
                s.copies.setdefault(by, []).append(copy)
        if chosen is None:
            s.home[v] = Home(s.new("temp", v.aval), 0, contiguous_strides(v.aval.shape))

    def target(self, v: Value, c: Copy) -> Home | None:
        """Where v's own elements would go so that `path` finds them in the box; None when it does
        not read every element once."""
        if v.aval.size == 0:
            return None
        got = inverse_strides(v.aval.shape, c.path, c.to.offset, c.to.strides, c.shape)
        return None if got is None else Home(c.to.slot, *got)

    def may_store(self, by: Region | None) -> bool:
        """A box over a base may be written only after the base."""
        return by is None or by.head is None or not by.head.op.has("base")

    def eligible(self, v: Value, r: Region, to: Home, by: Region | None) -> bool:
        uses = self.uses.get(v, [])
        if not self.may_store(by):
            return False
        dense = to.strides == contiguous_strides(v.aval.shape)
        if isinstance(r, PlaceRegion | ScatterRegion | HostRegion) and not dense:
            return False
        if isinstance(r, AttendRegion) and not _vectors(v.aval.shape, to.strides):
            return False
        own_slot = not to.offset and self.result.slots[to.slot].aval == v.aval
        if isinstance(r, ScatterRegion | HostRegion) and not own_slot:
            return False
        return r.writable(v, to) and all(self.walks(u, to) for u in uses)

    def walks(self, u: _Use, to: Home) -> bool:
        at = walk_path(u.operand.path, (to.offset, to.strides))
        if at is None:
            return False
        if u.demand == "any":
            # what the head of a contraction reads may have any strides: it is packed
            return u.operand in u.region.operands or u.region.fits(at)
        shape = self.shape_of(u)
        if u.demand == "rows":
            return _vectors(shape, at[1])
        if not is_contiguous(shape, at[1]):
            return False
        slot = self.result.slots[to.slot]
        return u.demand == "flat" or (at[0] == 0 and slot.aval.shape == shape)

    def shape_of(self, u: _Use) -> Ints:
        last = u.operand.path[-1] if u.operand.path else None
        return (
            last.node.outputs[0].aval.shape
            if isinstance(last, View)
            else u.operand.value.aval.shape
        )

    def boxes(self, r: PlaceRegion | CopyRegion) -> None:
        """Ask for the operands of a placement (or of a copy) in the boxes of its home."""
        operands = r.operands
        if isinstance(r, CopyRegion):
            (v,), (op,) = r.results, operands
            self.ask(Copy(op.value, op.path, v.aval.shape, self.result.home[v]), r)
            return
        v = r.head.outputs[0]
        h = self.result.home[v]
        for k, offset, shape, strides in box_of(r):
            op = operands[k]
            self.ask(Copy(op.value, op.path, shape, Home(h.slot, h.offset + offset, strides)), r)

    def ask(self, c: Copy, r: Region) -> None:
        if c.root in self.made and r.head is not None and r.head.op.has("base"):
            self.result.copies.setdefault(r, []).append(c)
        elif c.root in self.made:
            self.wants.setdefault(c.root, []).append((c, r))
        else:
            self.result.copies.setdefault(r, []).append(c)


def _demand(op: MemoryOperand, head: Region | None = None) -> Demand:
    """What an operand asks of its memory; `head`: the region whose head reads it."""
    if isinstance(op, GatherOperand):
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
