"""Regions with homes -> kernels over slots: programs, operand maps, fills, copies and checks.

Invariant: a step depends on every step that completes a value it reads, and a box is written after
the fill under it; steps are listed in an order that respects this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ...backends.attend import attend_kernel
from ...backends.plan import Access, HostStep, Kernel, LoopKernel, ScatterKernel
from ...core.errors import GraphError, Site
from ...ir.graph.graph import Node, Value
from ...ir.graph.region import regions_in
from ...ir.op import algorithm_of
from .affine import Ints, dense_strides, walk_path
from .assignment import Assignment, Box, Copy, Location, uncovered
from .composition import Composition, Programs
from .contraction import contraction
from .kernel_program import KernelProgram, copy_program, fill_program, live_instructions
from .regions import (
    AttendRegion,
    CheckRegion,
    ContractRegion,
    CopyRegion,
    HostRegion,
    LoopRegion,
    MemoryOperand,
    PlaceRegion,
    Region,
    Regions,
    ResultOperand,
    ScatterRegion,
)

__all__ = ["PlanStep", "Draft", "draft"]

MAX_WAITS = 32  # steps that each reader of a value waits for by itself


@dataclass(eq=False)
class PlanStep:
    """A kernel, the slots it reads and writes, and the steps before it (until they are ordered; a
    negative number is a gate of the draft)."""

    kernel: Kernel
    site: Site | None
    message: str = ""
    after: set[int] = field(default_factory=set)
    reads: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()
    may_fail: bool = False


@dataclass
class Draft:
    """Steps in a valid order over slots that have no memory yet.

    `gates`: groups of steps (and gates) that many others wait for; the first is number -1."""

    assignment: Assignment
    steps: list[PlanStep]
    partial: tuple[int, ...] = ()  # as in Plan
    gates: list[set[int]] = field(default_factory=list)


class _Drafter:
    def __init__(self, regions: Regions, assignment: Assignment) -> None:
        self.regions, self.assignment = regions, assignment
        self.steps: list[PlanStep] = []
        self.ready: dict[Value, set[int]] = {}  # steps that complete a value
        self.gates: list[set[int]] = []
        self.gate_of: dict[Value, tuple[int, int]] = {}  # gate of so many steps of a value
        self.fills: dict[Region, set[int]] = {}  # the steps that put zeros below placements
        self.inside: dict[Value, list[Region]] = {}
        for region, values in assignment.direct.items():
            for value in values:
                self.inside.setdefault(value, []).append(region)
        self.checks: dict[Node, int] = {}
        self.programs = Programs()

    def run(self) -> Draft:
        for region in self.regions.order:
            self.region(region)
        for copy in self.assignment.copies.get(None, ()):
            self.copy_step(copy, None)
        return Draft(self.assignment, self.steps, gates=self.gates)

    def region(self, region: Region) -> None:
        match region:
            case LoopRegion():
                self.loop(region)
            case ContractRegion():
                self.contract(region)
            case CheckRegion():
                self.check(region)
            case CopyRegion():
                self.copy(region)
            case PlaceRegion():
                self.place(region)
            case AttendRegion():
                self.attend(region)
            case ScatterRegion():
                self.scatter(region)
            case HostRegion():
                self.host(region)
            case _:
                raise GraphError(f"no kernel for a {type(region).__name__}")

    # ---- steps
    def add(
        self,
        kernel: Kernel,
        site: Site | None,
        used_values: Iterable[Value],
        makes: Iterable[Value],
        slots: Iterable[int],
        after: Iterable[int] = (),
        message: str = "",
    ) -> int:
        makes_values, used = list(makes), set(used_values)
        before = set(after).union(*(self.fills_under(v) for v in makes_values))
        for value in used:
            before |= self.completed_by(value)
        reads = frozenset(self.assignment.home[v].slot for v in used)
        fails = isinstance(kernel, HostStep) or (isinstance(kernel, LoopKernel) and kernel.check)
        step = len(self.steps)
        self.steps.append(PlanStep(kernel, site, message, before, reads, frozenset(slots), fails))
        for value in makes_values:
            self.ready.setdefault(value, set()).add(step)
        return step

    def completed_by(self, value: Value) -> set[int]:
        """What to wait for before a value is read: its steps, or one gate for many of them."""
        steps = self.ready.get(value, set())
        if len(steps) <= MAX_WAITS:
            return steps
        size, gate = self.gate_of.get(value, (0, 0))
        if size != len(steps):
            self.gates.append(set(steps))
            gate = -len(self.gates)
            self.gate_of[value] = len(steps), gate
        return {gate}

    def fills_under(self, value: Value) -> set[int]:
        """The fills below a value where it is written straight into placements."""
        fills: set[int] = set()
        for region in self.inside.get(value, ()):
            fills |= self.fill(region)
            for outer in region.env if region.head is None else region.head.outputs:
                fills |= self.fills_under(outer)
        return fills

    def fill(self, region: Region) -> set[int]:
        """The zeros below the boxes of a placement, before the first of them."""
        node = region.head
        if node is None or not node.op.has("zeros"):
            return set()
        if region not in self.fills:
            assert isinstance(region, PlaceRegion)
            value, parts = node.outputs[0], uncovered(region)
            self.fills[region] = {self.zeros(value, node.site, part) for part in parts}
        return self.fills[region]

    def zeros(self, value: Value, site: Site | None, part: Box | None = None) -> int:
        location, aval = self.assignment.home[value], value.aval
        begin, shape = part or ((0,) * aval.ndim, aval.shape)
        offset = location.offset + sum(b * s for b, s in zip(begin, location.strides))
        target = Access(location.slot, aval.dtype, offset, location.strides)
        kernel = LoopKernel(shape, None, fill_program(aval.dtype), (), (target,))
        return self.add(kernel, site, (), (value,), (location.slot,))

    def copy_step(self, copy: Copy, site: Site | None, after: Iterable[int] = ()) -> int:
        location = self.assignment.home[copy.root]
        affine = walk_path(copy.path, (location.offset, location.strides))
        if affine is None:
            raise GraphError(f"a copy cannot walk {copy.root.aval}")
        dtype = copy.root.aval.dtype
        kernel = LoopKernel(
            copy.shape,
            None,
            copy_program(dtype),
            (Access(location.slot, dtype, *affine),),
            (Access(copy.target.slot, dtype, copy.target.offset, copy.target.strides),),
        )
        return self.add(kernel, site, (copy.root,), (), (copy.target.slot,), after)

    def stores(self, region: Region) -> list[tuple[Value, int, int, Location]]:
        """(value, instruction, result, where) of everything a region stores."""
        stores = []
        for value, (number, result, _) in region.env.items():
            if value in self.assignment.needed:
                stores += [
                    (value, number, result, h)
                    for h in (self.assignment.home[value], *self.assignment.extra.get(value, ()))
                ]
        return stores

    def program(self, cell: tuple[tuple[int, int], ...] | None = None) -> KernelProgram:
        """The program of a kernel that is about to be described."""
        return KernelProgram(self.assignment, Composition(self.programs), cell)

    # ---- one method per kind of region
    def loop(self, region: LoopRegion) -> None:
        stores = self.stores(region)
        if not stores:
            return
        for cell in region.split():
            shape = region.shape if cell is None else tuple(hi - lo for lo, hi in cell)
            self.part(region, stores, self.program(cell), shape)

    def part(
        self,
        region: Region,
        stores: Sequence[tuple[Value, int, int, Location]],
        program: KernelProgram,
        shape: Ints,
    ) -> None:
        """The kernel of a loop region, or of one box of its space."""
        computed: dict[int, list[int]] = {}
        program.run(region, {k for _, k, _, _ in stores}, computed)
        writes = []
        for value, _, _, location in stores:
            affine = region.at_home(value, location.offset, location.strides)
            assert affine is not None
            writes.append(
                Access(location.slot, value.aval.dtype, program.origin(affine), affine[1])
            )
        scalar_program = program.composer.finish(
            [computed[k][i] for _, k, i, _ in stores], [v.aval.dtype for v, *_ in stores]
        )
        kernel = LoopKernel(
            shape,
            region.group,
            scalar_program,
            tuple(program.reads),
            tuple(writes),
            tuple(program.params),
        )
        self.finish(region, kernel, stores)

    def finish(
        self,
        region: Region,
        kernel: Kernel,
        stores: Sequence[tuple[Value, int, int, Location]],
        more: Iterable[Value] = (),
    ) -> None:
        needed = {k for _, k, _, _ in stores}
        instructions = live_instructions(region.instructions, needed)
        used_values = {
            o.value
            for k in instructions
            for o in region.instructions[k].operands
            if isinstance(o, MemoryOperand)
        }
        checks = [
            self.checks[region.instructions[k].node]
            for k in instructions
            if region.instructions[k].node in self.checks
        ]
        nodes = [
            region.instructions[k].node
            for k in sorted(instructions)
            if region.instructions[k].visible
        ]
        site = (region.head or nodes[0]).site
        self.add(
            kernel,
            site,
            {*used_values, *more},
            {v for v, *_ in stores},
            {h.slot for *_, h in stores},
            checks,
        )

    def contract(self, region: ContractRegion) -> None:
        stores = self.stores(region)
        if not stores:
            return
        program = self.program()
        kernel = contraction(region, program, stores)
        operands = {o.value for o in region.operands}
        self.finish(region, kernel, stores, operands)

    def check(self, region: CheckRegion) -> None:
        node = region.head
        program = self.program()
        computed: dict[int, list[int]] = {}
        program.run(
            region,
            {o.instruction for o in region.arguments if isinstance(o, ResultOperand)},
            computed,
        )
        arguments = program.operands(region.arguments, computed)
        kernel = LoopKernel(
            region.shape,
            None,
            program.composer.check(node, arguments),
            tuple(program.reads),
            (),
            tuple(program.params),
            True,
        )
        text = node.op.check_message
        avals = tuple(v.aval for v in node.inputs)
        message = text(avals, node.params) if text else f"{node.op.name}: an index is out of range"
        used_values = {o.value for o in region.all_reads()}
        self.checks[node] = self.add(kernel, node.site, used_values, (), (), (), message)

    def copy(self, region: CopyRegion) -> None:
        (value,) = region.env
        if value not in self.assignment.needed:
            return
        self.boxes(region, value, None)

    def place(self, region: PlaceRegion) -> None:
        node = region.head
        value = node.outputs[0]
        if value not in self.assignment.needed:
            return
        self.boxes(region, value, node.site)

    def boxes(self, region: Region, value: Value, site: Site | None) -> None:
        """The copies of a placement, in order, and what its producers already wrote."""
        finished = self.ready.setdefault(value, set())
        for root_value in self.assignment.direct.get(region, ()):
            finished |= self.completed_by(root_value)
        last = self.fill(region) | self.fills_under(value)
        for copy in self.assignment.copies.get(region, ()):
            step = self.copy_step(copy, site, last)
            finished.add(step)
            if region.head is not None and region.head.op.has("base"):
                last = {step}

    def attend(self, region: AttendRegion) -> None:
        node = region.head
        locations = [
            (at.slot, (at.offset, at.strides)) for at in map(self.head_access, region.operands)
        ]
        homes = [self.assignment.home[v] for v in node.outputs]
        locations += [(h.slot, (h.offset, h.strides)) for h in homes]
        kernel = attend_kernel(
            node.op, node.params, [v.aval for v in (*node.inputs, *node.outputs)], locations
        )
        used_values = {o.value for o in region.operands}
        self.add(kernel, node.site, used_values, node.outputs, {h.slot for h in homes})

    def scatter(self, region: ScatterRegion) -> None:
        node = region.head
        result = node.outputs[0]
        location = self.assignment.home[result]
        before = self.zeros(result, node.site)
        index, update = (self.head_access(o) for o in region.operands)
        if len(update.strides) < 2 or result.aval.ndim != 2:
            raise GraphError(
                f"{node.op.name}: a scatter takes index[count] and update[count, inner]"
            )
        kernel = ScatterKernel(
            node.inputs[0].aval.size,
            result.aval.shape[1],
            Access(location.slot, result.aval.dtype, location.offset, location.strides),
            index,
            update,
        )
        self.add(
            kernel,
            node.site,
            {o.value for o in region.operands},
            (result,),
            (location.slot,),
            (before,),
        )

    def head_access(self, operand: MemoryOperand) -> Access:
        location = self.assignment.home[operand.value]
        affine = walk_path(operand.path, (location.offset, location.strides))
        if affine is None:
            raise GraphError(f"a kernel cannot walk {operand.value.aval}")
        return Access(location.slot, operand.value.aval.dtype, *affine)

    def host(self, region: HostRegion) -> None:
        node = region.head
        inputs = [self.whole(v, o, node.site) for v, o in zip(node.inputs, region.operands)]
        outputs = [self.assignment.home[v].slot for v in node.outputs]
        function = (
            partial(node.op.body, **node.params) if node.params and node.op.body else node.op.body
        )
        avals = tuple(v.aval for v in (*node.inputs, *node.outputs))
        algorithm = algorithm_of(node.op, node.params)
        step = self.add(
            HostStep(function, tuple(s for s, _ in inputs), tuple(outputs), algorithm, avals),
            node.site,
            {o.value for o in region.operands},
            node.outputs,
            outputs,
            [
                *[a for _, a in inputs if a is not None],
                # what runs graphs of its own may never end where an earlier check fails
                *(self.checks.values() if regions_in(node.params) else ()),
            ],
        )
        self.steps[step].reads |= frozenset(s for s, _ in inputs)

    def whole(
        self, value: Value, operand: MemoryOperand, site: Site | None
    ) -> tuple[int, int | None]:
        """A slot that holds exactly the value, contiguous; a copy where it lies elsewhere."""
        affine, aval = self.head_access(operand), value.aval
        dense = dense_strides(aval.shape)
        if (
            affine.offset == 0
            and affine.strides == dense
            and self.assignment.slots[affine.slot].aval is aval
        ):
            return affine.slot, None
        slot = self.assignment.new("temp", aval)
        return slot, self.copy_step(
            Copy(operand.value, operand.path, aval.shape, Location(slot, 0, dense)), site
        )


def draft(regions: Regions, assignment: Assignment) -> Draft:
    """Steps of all regions."""
    return _Drafter(regions, assignment).run()
