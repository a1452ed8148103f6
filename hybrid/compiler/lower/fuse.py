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

from ...ir.graph.graph import Const, Graph, Node, Value, param_key
from .affine import (
    Embed,
    Ints,
    canonical,
    dense_strides,
    refine,
    row_embed,
    same_order,
    walk_path,
    whole,
)
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
SPREAD = 16  # positions for each element of an operand that costs nothing to read
MAX_SINK = 16  # nodes in a row that move into the reduction that reads them
FEW_ROWS, LONG = 8, 1 << 15  # a reduction to fewer rows of at least so many elements stays alone


def contract_dims(node: Node) -> Ints:
    """The finest sizes in which a contraction's result is walked: its own axes, and where batch,
    rows and columns meet, which may be inside one."""
    assert node.op.layout is not None
    avals = [v.aval for v in node.inputs]
    layout = node.op.layout(
        avals, [dense_strides(a.shape) for a in avals], [0] * len(avals), **node.params
    )
    return refine(
        (*layout.out.batch.sizes, *layout.out.rows.sizes, *layout.out.cols.sizes),
        node.outputs[0].aval.shape,
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
        self.dims: dict[Any, Ints] = {}
        self.serial = self.ticks = 0
        self.checked: dict[Node, Region] = {}
        self.stored = self._stored()
        self.free: set[Value] = set()
        # placements over zeros that nobody has needed whole: readers cut their space into boxes
        # and read zeros or the operand, so the result itself need not exist
        self.deferred: dict[Value, tuple[Box, Embed]] = {}
        self._find_free()
        self._find_sinks()

    # ---- facts found before the partition
    def _stored(self) -> set[Value]:
        """Roots that are in memory whatever is fused."""
        stored: set[Value] = set(self.graph.inputs)
        used_values = [
            v
            for n in self.graph.nodes
            for i, v in enumerate(n.inputs)
            if n.op.kind not in ("map", "row", "view") or i in n.op.gathers
        ]
        for value in (
            *self.graph.outputs,
            *used_values,
            *(r for r, _ in self.roots.copied.values()),
        ):
            stored.add(self.roots(value)[0])
        return stored

    def _find_free(self) -> None:
        """Cheap nodes of at most one large operand: repeated where they are read.

        A free node costs what it takes to make it from stored values, or from one that others
        read, too: chains of them are short."""
        costs: dict[Value, int] = {}
        readers: dict[Value, set[Node]] = {}
        for node in self.graph.nodes:
            for value in node.inputs if node.op.kind != "view" else ():
                readers.setdefault(self.roots(value)[0], set()).add(node)
        for node in self.graph.nodes:
            if (
                node.op.kind != "map"
                or len(node.outputs) != 1
                or node.outputs[0] in self.stored
                or node.op.gathers
            ):
                continue
            facts = traits(node)
            if facts.positional or not facts.cheap:
                continue
            roots = {self.roots(value)[0] for value in node.inputs}
            cost = max(facts.cost, 1) + sum(costs.get(root, 0) for root in roots)
            if cost <= FREE_COST and _not_large(node) and self._repeatable(node, roots, readers):
                self.free.add(node.outputs[0])
                costs[node.outputs[0]] = cost

    def _repeatable(self, node: Node, roots: set[Value], readers: dict[Value, set[Node]]) -> bool:
        """Whether what reads a node may as well read its operands."""
        result = node.outputs[0].aval
        roots = {r for r in roots if r.aval.size > 1 and not (isinstance(r, Const) and uniform(r))}
        if len(roots) <= 1 and all(r in self.free or r in self.stored for r in roots):
            return True
        large = [root for root in roots if root.aval.size * SPREAD > result.size]
        return len(large) == 1 and (
            large[0] in self.free
            or (
                large[0].aval.nbytes <= result.nbytes
                and (large[0] in self.stored or len(readers[large[0]]) > 1)
            )
        )

    def _find_sinks(self) -> None:
        """Elementwise nodes that only reductions of one kind read, which do not fuse otherwise:
        they stay alone, or the nodes would be the end of a product, which no reduction joins."""
        targets: dict[Value, set[Any]] = {}
        depth: dict[Value, int] = {}  # nodes between a value and the reduction that takes it in
        behind = self._behind_products()
        for node in reversed(self.graph.nodes):
            target: Any = None
            distance = 0
            if node.op.kind == "row":
                target = (space_of(node), group_of(node), alone(node))
            elif (
                node.op.kind == "map"
                and len(node.outputs) == 1
                and self._sinks(node, targets, depth)
                and (next(iter(targets[node.outputs[0]]))[2] or node.outputs[0] in behind)
            ):
                (target,) = targets[node.outputs[0]]
                distance = depth[node.outputs[0]] + 1
                self.free.add(node.outputs[0])
            for value in node.inputs if node.op.kind != "view" else ():
                root_value = self.roots(value)[0]
                targets.setdefault(root_value, set()).add(target)
                depth[root_value] = max(depth.get(root_value, 0), distance)

    def _behind_products(self) -> set[Value]:
        """Cheap elementwise results of something as large that a product gives."""
        found: set[Value] = set()
        for node in self.graph.nodes:
            size = node.outputs[0].aval.size if node.outputs else 0
            if node.op.kind == "contract" or (
                node.op.kind == "map"
                and traits(node).cheap
                and any(v.aval.size == size and self.roots(v)[0] in found for v in node.inputs)
            ):
                found.update(node.outputs)
        return found

    def _sinks(self, node: Node, targets: dict[Value, set[Any]], depth: dict[Value, int]) -> bool:
        value = node.outputs[0]
        found = targets.get(value, set())
        return (
            len(found) == 1
            and None not in found
            and depth[value] < MAX_SINK
            and value not in self.stored
            and node.op.check is None
            and not node.op.gathers
            and not traits(node).positional
        )

    # ---- times
    def time_of(self, root_value: Value) -> Time:
        region = self.region.get(root_value)
        return BEGINNING if region is None else region.time

    def unmade(self, root_value: Value) -> bool:
        """Whether a root exists only inside the kernels that read it."""
        return root_value in self.free or root_value in self.deferred

    def next_time(self, after: Time | None = None) -> Time:
        """A new time: after all others, or between `after` and the next whole number."""
        self.serial += 1
        if after is None:
            self.ticks += 1
            return self.ticks, 0
        return after[0], self.serial

    def producers(self, values: Iterable[Value]) -> set[Region]:
        """The regions that make what the values need, through free nodes."""
        sources = self.sources(values)
        found = {self.region[value] for value in sources if value in self.region}
        nodes = [value.node for value in sources if value in self.free]
        return found | {self.checked[node] for node in nodes if node in self.checked}

    def sources(self, values: Iterable[Value]) -> set[Value]:
        """The roots that the values need, through free nodes, which are among them."""
        found: set[Value] = set()
        stack = [self.roots(v)[0] for v in values]
        while stack:
            value = stack.pop()
            if value in found:
                continue
            found.add(value)
            if value in self.free and value.node is not None:
                stack += [self.roots(x)[0] for x in value.node.inputs]
            elif value in self.deferred and value.node is not None:
                stack.append(self.roots(value.node.inputs[0])[0])
        return found

    # ---- the partition
    def run(self) -> Regions:
        for node in self.graph.nodes:
            if node.op.kind in ("map", "row"):
                if node.op.check is not None:
                    self.check(node)
                if node.outputs[0] not in self.free:
                    self.fuse_node(node)
            elif node.op.kind == "view":
                if node.outputs[0] in self.roots.copied:
                    self.copy(node.outputs[0])
            else:
                self.own_kernel(node)
        self.regions.sort(key=lambda region: region.time)
        return Regions(self.graph, tuple(self.regions), self.roots)

    def add(self, region: AnyRegion) -> AnyRegion:
        self.regions.append(region)
        return region

    def require(self, values: Iterable[Value]) -> None:
        """Make free roots stored values after all."""
        for value in values:
            root_value = self.roots(value)[0]
            if root_value in self.free and root_value.node is not None:
                self.free.discard(root_value)
                self.fuse_node(root_value.node)
            elif self.deferred.pop(root_value, None) is not None and root_value.node is not None:
                self.open_head(root_value.node)

    def check(self, node: Node) -> None:
        """The check of a node is a region of its own; the node itself comes after it."""
        region = self.add(CheckRegion(time=self.next_time(), shape=space_of(node), head=node))
        trial = Trial(self, region)
        spread = whole(region.shape, region.shape)
        operands = None if spread is None else trial.operands(node, (spread,))
        if operands is None:
            self.regions.pop()
            self.require(node.inputs)
            return self.check(node)
        region.arguments = operands
        region.instructions, region.reads = trial.instructions, trial.reads
        region.operands = tuple(o for o in operands if isinstance(o, MemoryOperand))
        self.checked[node] = region

    def copy(self, value: Value) -> None:
        root_value, path = self.roots.copied[value]
        self.require([root_value])
        region = self.add(CopyRegion(time=self.next_time(), shape=value.aval.shape))
        region.operands = (ReadOperand(root_value, path),)
        region.env[value] = (0, 0, dense_strides(value.aval.shape))
        self.region[value] = region

    def own_kernel(self, node: Node) -> None:
        """A node that is a kernel by itself; a placement over zeros waits until needed whole."""
        self.require(node.inputs)
        box = plain_box(node) if node.outputs[0] not in self.stored else None
        if box is not None:
            self.deferred[node.outputs[0]] = box
        else:
            self.open_head(node)

    def open_head(self, node: Node) -> None:
        """The region of such a node: contractions take epilogues later."""
        time, shape = self.next_time(), node.outputs[0].aval.shape
        region: Region
        if node.op.kind == "contract":
            region = ContractRegion(time=time, shape=shape, head=node, dims=self.dims_of(node))
            region.env[node.outputs[0]] = (-1, 0, canonical(shape, dense_strides(shape)))
        else:
            region = HEADS[node.op.kind](time=time, shape=shape, head=node)
        self.add(region).operands = tuple(ReadOperand(*self.roots(v)) for v in node.inputs)
        for value in node.outputs:
            self.region[value] = region

    def dims_of(self, node: Node) -> Ints:
        """`contract_dims`, once for all nodes of one kind."""
        params = tuple([(name, param_key(value)) for name, value in node.params.items()])
        identity = node.op, params, tuple([v.aval for v in node.inputs])
        found = self.dims.get(identity)
        return self.dims.setdefault(identity, contract_dims(node)) if found is None else found

    def fuse_node(self, node: Node) -> None:
        """Join a region that the node depends on, or open one."""
        found = self.producers(node.inputs)
        if node in self.checked:
            found.add(self.checked[node])
        producers = sorted(found, key=lambda region: region.time)
        after = producers[-1].time if producers else BEGINNING
        for region in self.candidates(node, producers):
            # what the node needs and the region does not make must be older than the region: then
            # nothing that the region needs can come to depend on it
            if after <= region.time and self.join(node, region):
                return self.record(node, region)
        # small elementwise work (step counts, learning rates) runs as soon as it can, so that it
        # does not keep its readers out of older regions
        soon = after if node.op.kind == "map" and small(space_of(node)) else None
        group = group_of(node) if node.op.kind == "row" else None
        region = self.add(LoopRegion(time=self.next_time(soon), shape=space_of(node), group=group))
        spread = whole(region.shape, region.shape)
        if spread is None or not Trial(self, region).join(node, spread):
            self.regions.pop()
            self.require(node.inputs)
            return self.fuse_node(node)
        self.record(node, region)

    def record(self, node: Node, region: Region) -> None:
        region.placed |= node.op.kind == "map" and traits(node).placed
        for value in node.outputs:
            self.region[value] = region
        if small(region.shape) and region.group is None:
            self.small[region.shape] = region
        if region.column:
            self.columns[region.shape, region.group] = region
        elif isinstance(region, LoopRegion):
            self.recent[region.shape] = region

    def candidates(self, node: Node, producers: list[Region]) -> list[Region]:
        """Regions that the node may join, the best first."""
        if any(v.aval.size == 0 for v in (*node.inputs, *node.outputs)):
            return []
        found: list[Region | None] = []
        if producers and isinstance(producers[-1], LoopRegion | ContractRegion):
            found.append(producers[-1])
        space = space_of(node)
        if node.op.kind == "row":
            found.append(self.columns.get((space, group_of(node))))
            beside = self.sibling(node, space)
            found.append(beside if beside and beside.group == group_of(node) else None)
        else:
            found += [self.small.get(space), self.sibling(node, space)]
        return [r for r in dict.fromkeys(found) if r is not None and 0 not in r.shape]

    def sibling(self, node: Node, space: Ints) -> Region | None:
        """The last loop over the same space, if it reads a value that the node reads too."""
        region = self.recent.get(space)
        if region is None:
            return None
        roots = {root for root in self.sources(node.inputs) if root.aval.size > 1}
        return region if any(op.value in roots for op in region.reads.values()) else None

    def join(self, node: Node, region: Region) -> bool:
        if isinstance(region, ContractRegion) and (
            node.op.kind == "row" or traits(node).positional or node.op.gathers
        ):
            return False
        if (
            region.column
            and region.group is not None
            and prod(region.shape[slice(*region.group)]) == 1
        ):
            # an element and its row are one thing there: operands could not be told apart
            return False
        if node.op.kind == "row":
            return self.join_row(node, region)
        several = region.group is not None and over_several(region.shape, region.group)
        if several and traits(node).placed:
            return False
        sealed = region.group is not None and apart(region.shape, region.group)
        return any(
            Trial(self, region).join(node, e)
            for e in self.spreads(node, region)
            if not sealed or _rows(e, region)
        )

    def join_row(self, node: Node, region: Region) -> bool:
        shape, group = space_of(node), group_of(node)
        spread = whole(shape, region.shape)
        if region.shape != shape or spread is None or region.group not in (None, group):
            return False
        if region.group is None and alone(node):
            return False
        if region.placed and over_several(shape, group):
            return False
        # the trial asks the region what reductions run over, so the group is set before it is known
        # whether the node fits, and put back
        before, region.group = region.group, group
        if Trial(self, region).join(node, spread):
            return True
        region.group = before
        return False

    def spreads(self, node: Node, region: Region) -> list[Embed]:
        """Ways in which the node's space may lie in the region's, the plain ones first."""
        shape = space_of(node)
        found = [whole(shape, region.shape)]
        if traits(node).positional:
            return [e for e in found if e is not None and shape == region.shape]
        if region.group is not None:
            found.append(row_embed(shape, region.shape, region.group))
        for number, value in enumerate(node.inputs):
            root_value, path = self.roots(value)
            here = region.env.get(root_value)
            if here is None or number in node.op.gathers:
                continue
            affine = walk_path(
                path + input_path(node, number, shape),
                (0, dense_strides(root_value.aval.shape)),
            )
            if affine is not None and affine[0] == 0:
                found.append(same_order(shape, affine[1], region.shape, here[2]))
        return list(dict.fromkeys(e for e in found if e is not None))


def _not_large(node: Node) -> bool:
    """A free node is read at no more positions than its value has, except constants."""
    return node.outputs[0].aval.size >= max((v.aval.size for v in node.inputs), default=0)


def over_several(shape: Ints, group: tuple[int, int]) -> bool:
    """Whether more than one axis of a group is longer than 1."""
    return sum(n > 1 for n in shape[slice(*group)]) > 1


def _rows(spread: Embed, region: Region) -> bool:
    assert region.group is not None
    return not any(region.group[0] <= a < region.group[1] for a in spread.axes)


def apart(shape: Ints, group: tuple[int, int]) -> bool:
    """Whether a reduction keeps away from values of every element that are stored: it runs over
    other axes than the last, or over so few and long rows that elementwise work would lose its
    parallelism."""
    return group[1] != len(shape) or (prod(shape[: group[0]]) < FEW_ROWS and prod(shape) >= LONG)


def alone(node: Node) -> bool:
    """`apart` of a row node."""
    return apart(space_of(node), group_of(node))


def fuse(graph: Graph) -> Regions:
    """The regions of a graph, in execution order."""
    return _Fusion(graph).run()
