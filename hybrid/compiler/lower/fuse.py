"""Fuse: partition the nodes of a graph into regions, each of which becomes one kernel.

A map or row node joins the latest region that it depends on when its positions line up with that
region's space, so that every other operand is made earlier and no cycle can arise: regions carry a
`time`, operands always come from smaller times.  Contractions take elementwise nodes as epilogue,
reductions over the last axes take elementwise nodes before and after them, reductions over other
axes take what only they read.  Nodes that cost next to nothing and read one stored value are
repeated in every region that wants them. Fusion decides where loads and stores happen and never
what is computed.

before:  %0 = linear(%x, %w)   %1 = relu(%0)   %2 = softmax(%1)   %3 = sum(%2, axes=(0, 1))
after:   [linear + relu]   [softmax]   [sum over columns]
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, TypeVar

from ...core.shapes import contiguous_strides
from ...ir.graph.graph import Const, Graph, Node, Value
from .affine import Embed, Ints, canonical, refine, row_embed, same_order, walk_path, whole
from .regions import (
    BEGINNING,
    HEADS,
    Box,
    CheckRegion,
    ContractRegion,
    CopyRegion,
    LoopRegion,
    MemoryOperand,
    ReadOperand,
    Region,
    Regions,
    Roots,
    Time,
    group_of,
    input_path,
    plain_box,
    small,
    space_of,
    traits,
    uniform,
)
from .trial import Trial

__all__ = ["fuse", "FREE_COST"]

AnyRegion = TypeVar("AnyRegion", bound=Region)

FREE_COST = 14  # instructions that may be repeated instead of stored
MAX_SINK = 16  # nodes in a row that move into the reduction that reads them
FEW_ROWS, LONG = 8, 1 << 15  # a reduction to fewer rows of at least so many elements stays alone


def contract_dims(n: Node) -> Ints:
    """The finest sizes in which a contraction's result is walked: its own axes, and where batch,
    rows and columns meet, which may be inside one."""
    assert n.op.layout is not None
    avals = [v.aval for v in n.inputs]
    c = n.op.layout(
        avals, [contiguous_strides(a.shape) for a in avals], [0] * len(avals), **n.params
    )
    return refine(
        (*c.out.batch.sizes, *c.out.rows.sizes, *c.out.cols.sizes), n.outputs[0].aval.shape
    )


class _Fusion:
    """The state of one run of the pass."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.roots = graph, Roots(graph)
        self.region: dict[Value, Region] = {}
        self.regions: list[Region] = []
        self.small: dict[Ints, Region] = {}
        self.columns: dict[Any, Region] = {}
        self.recent: dict[Ints, Region] = {}
        self.serial = self.ticks = 0
        self.checked: dict[Node, Region] = {}
        self.stored = self._stored()
        self.free: set[Value] = set()
        # placements over zeros that nobody has needed whole
        self.deferred: dict[Value, tuple[Box, Embed]] = {}
        self._find_free()
        self._find_sinks()

    # ---- facts found before the partition
    def _stored(self) -> set[Value]:
        """Roots that are in memory whatever is fused."""
        out: set[Value] = set(self.graph.inputs)
        uses = [
            v
            for n in self.graph.nodes
            for i, v in enumerate(n.inputs)
            if n.op.kind not in ("map", "row", "view") or i in n.op.gathers
        ]
        for v in (*self.graph.outputs, *uses, *(r for r, _ in self.roots.copied.values())):
            out.add(self.roots(v)[0])
        return out

    def _find_free(self) -> None:
        """Cheap nodes of at most one stored operand: repeated where they are read.

        A free node costs what it takes to make it from stored values, so chains of them are
        short."""
        costs: dict[Value, int] = {}
        for n in self.graph.nodes:
            if (
                n.op.kind != "map"
                or len(n.outputs) != 1
                or n.outputs[0] in self.stored
                or n.op.gathers
            ):
                continue
            t = traits(n)
            if t.placed or not t.cheap:
                continue
            cost, big, ok = max(t.cost, 1), set(), True
            for v in n.inputs:
                root = self.roots(v)[0]
                if root in self.free:
                    cost += costs[root]
                elif root.aval.size > 1 and not (isinstance(root, Const) and uniform(root)):
                    ok &= root in self.stored
                big.add(root)
            if (
                ok
                and cost <= FREE_COST
                and sum(r.aval.size > 1 for r in big) <= 1
                and _not_large(n)
            ):
                self.free.add(n.outputs[0])
                costs[n.outputs[0]] = cost

    def _find_sinks(self) -> None:
        """Elementwise nodes that only reductions of one kind read, which do not fuse otherwise."""
        targets: dict[Value, set[Any]] = {}
        depth: dict[Value, int] = {}  # nodes between a value and the reduction that takes it in
        for n in reversed(self.graph.nodes):
            mine: Any = None
            far = 0
            if n.op.kind == "row" and alone(n):
                mine = (space_of(n), group_of(n))
            elif n.op.kind == "map" and len(n.outputs) == 1 and self._sinks(n, targets, depth):
                (mine,) = targets[n.outputs[0]]
                far = depth[n.outputs[0]] + 1
                self.free.add(n.outputs[0])
            for v in n.inputs if n.op.kind != "view" else ():
                root = self.roots(v)[0]
                targets.setdefault(root, set()).add(mine)
                depth[root] = max(depth.get(root, 0), far)

    def _sinks(self, n: Node, targets: dict[Value, set[Any]], depth: dict[Value, int]) -> bool:
        v = n.outputs[0]
        found = targets.get(v, set())
        return (
            len(found) == 1
            and None not in found
            and depth[v] < MAX_SINK
            and v not in self.stored
            and n.op.check is None
            and not n.op.gathers
            and not traits(n).placed
        )

    # ---- times
    def time_of(self, root: Value) -> Time:
        r = self.region.get(root)
        return BEGINNING if r is None else r.time

    def unmade(self, root: Value) -> bool:
        """Whether a root exists only inside the kernels that read it."""
        return root in self.free or root in self.deferred

    def next_time(self, after: Time | None = None) -> Time:
        """A new time: after all others, or between `after` and the next whole number."""
        self.serial += 1
        if after is None:
            self.ticks += 1
            return self.ticks, 0
        return after[0], self.serial

    def producers(self, values: Iterable[Value]) -> set[Region]:
        """The regions that make what the values need, through free nodes."""
        out: set[Region] = set()
        seen: set[Value] = set()
        stack = [self.roots(v)[0] for v in values]
        while stack:
            v = stack.pop()
            if v in seen:
                continue
            seen.add(v)
            if v in self.free and v.node is not None:
                stack += [self.roots(x)[0] for x in v.node.inputs]
                if v.node in self.checked:
                    out.add(self.checked[v.node])
            elif v in self.deferred and v.node is not None:
                stack.append(self.roots(v.node.inputs[0])[0])
            elif v in self.region:
                out.add(self.region[v])
        return out

    # ---- the partition
    def run(self) -> Regions:
        for n in self.graph.nodes:
            if n.op.kind in ("map", "row"):
                if n.op.check is not None:
                    self.check(n)
                if n.outputs[0] not in self.free:
                    self.fuse_node(n)
            elif n.op.kind == "view":
                if n.outputs[0] in self.roots.copied:
                    self.copy(n.outputs[0])
            else:
                self.own_kernel(n)
        self.regions.sort(key=lambda r: r.time)
        return Regions(self.graph, tuple(self.regions), self.roots)

    def add(self, r: AnyRegion) -> AnyRegion:
        self.regions.append(r)
        return r

    def require(self, values: Iterable[Value]) -> None:
        """Make free roots stored values after all."""
        for v in values:
            root = self.roots(v)[0]
            if root in self.free and root.node is not None:
                self.free.discard(root)
                self.fuse_node(root.node)
            elif self.deferred.pop(root, None) is not None and root.node is not None:
                self.open_head(root.node)

    def check(self, n: Node) -> None:
        """The check of a node is a region of its own; the node itself comes after it."""
        r = self.add(CheckRegion(time=self.next_time(), shape=space_of(n), head=n))
        trial = Trial(self, r)
        spread = whole(r.shape, r.shape)
        ops = None if spread is None else trial.operands(n, (spread,))
        if ops is None:
            self.regions.pop()
            self.require(n.inputs)
            return self.check(n)
        r.arguments, r.insts, r.reads = ops, trial.insts, trial.reads
        r.operands = tuple(o for o in ops if isinstance(o, MemoryOperand))
        self.checked[n] = r

    def copy(self, v: Value) -> None:
        root, path = self.roots.copied[v]
        self.require([root])
        r = self.add(CopyRegion(time=self.next_time(), shape=v.aval.shape))
        r.operands = (ReadOperand(root, path),)
        r.env[v] = (0, 0, contiguous_strides(v.aval.shape))
        self.region[v] = r

    def own_kernel(self, n: Node) -> None:
        """A node that is a kernel by itself; a placement over zeros waits until needed whole."""
        self.require(n.inputs)
        box = plain_box(n) if n.outputs[0] not in self.stored else None
        if box is not None:
            self.deferred[n.outputs[0]] = box
        else:
            self.open_head(n)

    def open_head(self, n: Node) -> None:
        """The region of such a node: contractions take epilogues later."""
        time, shape = self.next_time(), n.outputs[0].aval.shape
        r: Region
        if n.op.kind == "contract":
            r = ContractRegion(time=time, shape=shape, head=n, dims=contract_dims(n))
            r.env[n.outputs[0]] = (-1, 0, canonical(shape, contiguous_strides(shape)))
        else:
            r = HEADS[n.op.kind](time=time, shape=shape, head=n)
        self.add(r).operands = tuple(ReadOperand(*self.roots(v)) for v in n.inputs)
        for v in n.outputs:
            self.region[v] = r

    def fuse_node(self, n: Node) -> None:
        """Join a region that n depends on, or open one."""
        found = self.producers(n.inputs) | ({self.checked[n]} if n in self.checked else set())
        deps = sorted(found, key=lambda r: r.time)
        after = deps[-1].time if deps else BEGINNING
        for r in self.candidates(n, deps):
            # everything that is not in r must be older than r
            if after <= r.time and self.join(n, r):
                return self.record(n, r)
        # small elementwise work (step counts, learning rates) runs as soon as it can, so that it
        # does not keep its readers out of older regions
        soon = after if n.op.kind == "map" and small(space_of(n)) else None
        group = group_of(n) if n.op.kind == "row" else None
        r = self.add(LoopRegion(time=self.next_time(soon), shape=space_of(n), group=group))
        spread = whole(r.shape, r.shape)
        if spread is None or not Trial(self, r).join(n, spread):
            self.regions.pop()
            self.require(n.inputs)
            return self.fuse_node(n)
        self.record(n, r)

    def record(self, n: Node, r: Region) -> None:
        for v in n.outputs:
            self.region[v] = r
        if small(r.shape) and r.group is None:
            self.small[r.shape] = r
        if r.column:
            self.columns[r.shape, r.group] = r
        elif isinstance(r, LoopRegion):
            self.recent[r.shape] = r

    def candidates(self, n: Node, deps: list[Region]) -> list[Region]:
        """Regions that n may join, the best first."""
        if any(v.aval.size == 0 for v in (*n.inputs, *n.outputs)):
            return []
        out: list[Region | None] = []
        if deps and isinstance(deps[-1], LoopRegion | ContractRegion):
            out.append(deps[-1])
        space = space_of(n)
        if n.op.kind == "row":
            out.append(self.columns.get((space, group_of(n))))
        else:
            out += [self.small.get(space), self.sibling(n, space)]
        return [r for r in dict.fromkeys(out) if r is not None and 0 not in r.shape]

    def sibling(self, n: Node, space: Ints) -> Region | None:
        """The last loop over the same space, if it reads a value that n reads too."""
        r = self.recent.get(space)
        if r is None:
            return None
        mine = {root for root, _ in map(self.roots, n.inputs) if root.aval.size > 1}
        return r if any(op.value in mine for op in r.reads.values()) else None

    def join(self, n: Node, r: Region) -> bool:
        if isinstance(r, ContractRegion) and (
            n.op.kind == "row" or traits(n).placed or n.op.gathers
        ):
            return False
        if r.column and r.group is not None and prod(r.shape[slice(*r.group)]) == 1:
            # an element and its row are one thing there: operands could not be told apart
            return False
        if n.op.kind == "row":
            return self.join_row(n, r)
        sealed = r.group is not None and apart(r.shape, r.group)
        return any(
            Trial(self, r).join(n, e) for e in self.spreads(n, r) if not sealed or _rows(e, r)
        )

    def join_row(self, n: Node, r: Region) -> bool:
        shape, group = space_of(n), group_of(n)
        spread = whole(shape, r.shape)
        if r.shape != shape or spread is None or r.group not in (None, group):
            return False
        if r.group is None and alone(n):
            return False
        old, r.group = r.group, group
        if Trial(self, r).join(n, spread):
            return True
        r.group = old
        return False

    def spreads(self, n: Node, r: Region) -> list[Embed]:
        """Ways in which the node's space may lie in the region's, the plain ones first."""
        shape = space_of(n)
        out = [whole(shape, r.shape)]
        if traits(n).placed:
            return [e for e in out if e is not None and shape == r.shape]
        if r.group is not None:
            out.append(row_embed(shape, r.shape, r.group))
        for i, v in enumerate(n.inputs):
            root, path = self.roots(v)
            here = r.env.get(root)
            if here is None or i in n.op.gathers:
                continue
            at = walk_path(path + input_path(n, i, shape), (0, contiguous_strides(root.aval.shape)))
            if at is not None and at[0] == 0:
                out.append(same_order(shape, at[1], r.shape, here[2]))
        return list(dict.fromkeys(e for e in out if e is not None))


def _not_large(n: Node) -> bool:
    """A free node is read at no more positions than its value has, except constants."""
    return n.outputs[0].aval.size >= max((v.aval.size for v in n.inputs), default=0)


def _rows(e: Embed, r: Region) -> bool:
    assert r.group is not None
    return not any(r.group[0] <= a < r.group[1] for a in e.axes)


def apart(shape: Ints, group: tuple[int, int]) -> bool:
    """Whether a reduction keeps away from values of every element that are stored: it runs over
    other axes than the last, or over so few and long rows that elementwise work would lose its
    parallelism."""
    return group[1] != len(shape) or (prod(shape[: group[0]]) < FEW_ROWS and prod(shape) >= LONG)


def alone(n: Node) -> bool:
    """`apart` of a row node."""
    return apart(space_of(n), group_of(n))


def fuse(graph: Graph) -> Regions:
    """The regions of a graph, in execution order."""
    return _Fusion(graph).run()
