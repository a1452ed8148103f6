"""Regions with homes -> kernels over slots: programs, operand maps, fills, copies and checks.

Invariant: a step depends on every step that completes a value it reads, and a box is written after
the fill beneath it; steps are listed in an order that respects this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ...backends.attend import attend_kernel
from ...backends.plan import Access, HostStep, Kernel, LoopKernel, ScatterKernel
from ...core.aval import Aval
from ...core.errors import GraphError, Site
from ...core.shapes import contiguous_strides
from ...ir.graph.graph import Const, Node, Value
from ...ir.scalar.compose import Composer, operand_type
from ...ir.scalar.program import TYPE, Builder, Val
from .affine import Ints, View, walk_path
from .assignment import Assignment, Copy, Home
from .contraction import contraction
from .regions import (
    AttendRegion,
    Box,
    BoxOperand,
    CheckRegion,
    ContractRegion,
    CopyRegion,
    GatherOperand,
    HostRegion,
    Inst,
    LiteralOperand,
    LoopRegion,
    MemoryOperand,
    Operand,
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


def bits(c: Const) -> int:
    """The bit pattern of a uniform literal, as a kernel's run-time scalar."""
    one = np.ascontiguousarray(c.data).reshape(-1)[:1].tobytes()
    return int.from_bytes(one, "little")


def copy_program(d: np.dtype) -> Any:
    s = Builder()
    return s.program(s.arg(operand_type(d)))


def fill_program(d: np.dtype) -> Any:
    s = Builder()
    return s.program(s.bits(operand_type(d), 0))


class KernelProgram:
    """One kernel's program under construction: operands by memory map, run-time scalars by bits."""

    def __init__(self, assignment: Assignment, composer: Composer, cell: Box | None = None) -> None:
        self.assignment, self.composer, self.cell = assignment, composer, cell
        self.reads: list[Access] = []
        self.params: list[int] = []
        self._read: dict[Any, Any] = {}  # by operand: a value, or a Gathered
        self._scalars: dict[tuple[np.dtype, int], Val] = {}  # by dtype and bits

    def param(self, c: Const) -> Val:
        key = (c.aval.dtype, bits(c))
        if key not in self._scalars:
            self._scalars[key] = self.composer.param(c.aval.dtype)
            self.params.append(key[1])
        return self._scalars[key]

    def read(self, op: MemoryOperand) -> Any:
        """The value of an operand in memory."""
        home, a = self.assignment.home[op.value], op.value.aval
        at = walk_path(op.path, (home.offset, home.strides))
        if at is None:
            raise GraphError(f"a kernel cannot walk {a} at {home}")
        gathered = isinstance(op, GatherOperand)
        if isinstance(op, GatherOperand):
            seen = Access(home.slot, a.dtype, at[0], (), True)
            a = _viewed(op)
        elif isinstance(op, BoxOperand):
            assert self.cell is not None
            if not all(b <= lo and hi <= e for (b, e), (lo, hi) in zip(op.box, self.cell)):
                return self.composer.s.const(TYPE[a.dtype], 0)
            offset = at[0] + sum(
                s * (lo - b) for s, (b, _), (lo, _) in zip(at[1], op.box, self.cell)
            )
            seen = Access(home.slot, a.dtype, offset, at[1])
        else:
            seen = Access(home.slot, a.dtype, self.origin(at), at[1])
        key = (seen, a.shape if gathered else ())
        if key not in self._read:
            self._read[key] = self.composer.gather(a) if gathered else self.composer.arg(a.dtype)
            self.reads.append(seen)
        return self._read[key]

    def origin(self, at: tuple[int, Ints]) -> int:
        """Where a map over the region starts in this kernel's part of it."""
        return at[0] + sum(s * lo for s, (lo, _) in zip(at[1], self.cell or ()))

    def operands(self, ops: Sequence[Operand], made: dict[int, list[Any]]) -> list[Any]:
        out = []
        for op in ops:
            if isinstance(op, LiteralOperand):
                out.append(self.param(op.value))
            elif isinstance(op, ResultOperand):
                out.append(made[op.inst][op.result])
            else:
                out.append(self.read(op))
        return out

    def run(self, region: Region, wanted: Iterable[int], made: dict[int, list[Any]]) -> None:
        """Values of the instructions that the wanted ones need; `made` is filled."""
        live = _live(region.insts, wanted)
        for k in sorted(live):
            n = region.insts[k].node
            values = self.operands(region.insts[k].operands, made)
            made[k] = self.composer.apply(
                n.op, n.params, values, [v.aval for v in n.inputs], [v.aval for v in n.outputs]
            )


def _live(insts: Sequence[Inst], wanted: Iterable[int]) -> set[int]:
    live: set[int] = set()
    stack = [k for k in wanted if k >= 0]
    while stack:
        k = stack.pop()
        if k not in live:
            live.add(k)
            used = (o.inst for o in insts[k].operands if isinstance(o, ResultOperand))
            stack += [i for i in used if i >= 0]
    return live


def _viewed(op: GatherOperand) -> Aval:
    """The aval of what a gather operand reads."""
    last = op.path[-1] if op.path else None
    return last.node.outputs[0].aval if isinstance(last, View) else op.value.aval


class _Drafter:
    def __init__(self, regions: Regions, assignment: Assignment) -> None:
        self.regions, self.assignment = regions, assignment
        self.steps: list[PlanStep] = []
        self.ready: dict[Value, set[int]] = {}  # steps that complete a value
        self.gates: list[set[int]] = []
        self.gate_of: dict[Value, tuple[int, int]] = {}  # gate of so many steps of a value
        self.fills: dict[Region, int] = {}  # the steps that put zeros below placements
        self.inside: dict[Value, list[Region]] = {}
        for r, values in assignment.direct.items():
            for v in values:
                self.inside.setdefault(v, []).append(r)
        self.checks: dict[Node, int] = {}

    def run(self) -> Draft:
        for r in self.regions.order:
            self.region(r)
        for c in self.assignment.copies.get(None, ()):
            self.copy_step(c, None)
        return Draft(self.assignment, self.steps, gates=self.gates)

    def region(self, r: Region) -> None:
        match r:
            case LoopRegion():
                self.loop(r)
            case ContractRegion():
                self.contract(r)
            case CheckRegion():
                self.check(r)
            case CopyRegion():
                self.copy(r)
            case PlaceRegion():
                self.place(r)
            case AttendRegion():
                self.attend(r)
            case ScatterRegion():
                self.scatter(r)
            case HostRegion():
                self.host(r)
            case _:
                raise GraphError(f"no kernel for a {type(r).__name__}")

    # ---- steps
    def add(
        self,
        kernel: Kernel,
        site: Site | None,
        uses: Iterable[Value],
        makes: Iterable[Value],
        slots: Iterable[int],
        after: Iterable[int] = (),
        message: str = "",
    ) -> int:
        made, used = list(makes), set(uses)
        before = set(after).union(*(self.fills_under(v) for v in made))
        for v in used:
            before |= self.completed_by(v)
        reads = frozenset(self.assignment.home[v].slot for v in used)
        fails = isinstance(kernel, HostStep) or (isinstance(kernel, LoopKernel) and kernel.check)
        k = len(self.steps)
        self.steps.append(PlanStep(kernel, site, message, before, reads, frozenset(slots), fails))
        for v in made:
            self.ready.setdefault(v, set()).add(k)
        return k

    def completed_by(self, v: Value) -> set[int]:
        """What to wait for before v is read: its steps, or one gate for many of them."""
        steps = self.ready.get(v, set())
        if len(steps) <= MAX_WAITS:
            return steps
        size, gate = self.gate_of.get(v, (0, 0))
        if size != len(steps):
            self.gates.append(set(steps))
            gate = -len(self.gates)
            self.gate_of[v] = len(steps), gate
        return {gate}

    def fills_under(self, v: Value) -> set[int]:
        """The fills below v where it is written straight into placements."""
        out: set[int] = set()
        for r in self.inside.get(v, ()):
            out |= self.fill(r)
            for outer in r.env if r.head is None else r.head.outputs:
                out |= self.fills_under(outer)
        return out

    def fill(self, r: Region) -> set[int]:
        """The zeros below the boxes of a placement, before the first of them."""
        n = r.head
        if n is None or not n.op.has("zeros"):
            return set()
        if r not in self.fills:
            self.fills[r] = self.zeros(n.outputs[0], n.site)
        return {self.fills[r]}

    def zeros(self, v: Value, site: Site | None) -> int:
        h, a = self.assignment.home[v], v.aval
        to = Access(h.slot, a.dtype, h.offset, h.strides)
        kernel = LoopKernel(a.shape, None, fill_program(a.dtype), (), (to,))
        return self.add(kernel, site, (), (v,), (h.slot,))

    def copy_step(self, c: Copy, site: Site | None, after: Iterable[int] = ()) -> int:
        home = self.assignment.home[c.root]
        at = walk_path(c.path, (home.offset, home.strides))
        if at is None:
            raise GraphError(f"a copy cannot walk {c.root.aval}")
        d = c.root.aval.dtype
        kernel = LoopKernel(
            c.shape,
            None,
            copy_program(d),
            (Access(home.slot, d, *at),),
            (Access(c.to.slot, d, c.to.offset, c.to.strides),),
        )
        return self.add(kernel, site, (c.root,), (), (c.to.slot,), after)

    def stores(self, r: Region) -> list[tuple[Value, int, int, Home]]:
        """(value, instruction, result, where) of everything a region stores."""
        out = []
        for v, (k, i, _) in r.env.items():
            if v in self.assignment.needed:
                out += [
                    (v, k, i, h)
                    for h in (self.assignment.home[v], *self.assignment.extra.get(v, ()))
                ]
        return out

    # ---- one method per kind of region
    def loop(self, r: LoopRegion) -> None:
        stores = self.stores(r)
        if not stores:
            return
        for cell in r.split():
            shape = r.shape if cell is None else tuple(hi - lo for lo, hi in cell)
            self.part(r, stores, KernelProgram(self.assignment, Composer(), cell), shape)

    def part(
        self,
        r: Region,
        stores: Sequence[tuple[Value, int, int, Home]],
        e: KernelProgram,
        shape: Ints,
    ) -> None:
        """The kernel of a loop region, or of one box of its space."""
        made: dict[int, list[Any]] = {}
        e.run(r, {k for _, k, _, _ in stores}, made)
        writes = []
        for v, _, _, h in stores:
            at = r.at_home(v, h.offset, h.strides)
            assert at is not None
            writes.append(Access(h.slot, v.aval.dtype, e.origin(at), at[1]))
        program = e.composer.finish(
            [made[k][i] for _, k, i, _ in stores], [v.aval.dtype for v, *_ in stores]
        )
        kernel = LoopKernel(shape, r.group, program, tuple(e.reads), tuple(writes), tuple(e.params))
        self.finish(r, kernel, stores)

    def finish(
        self,
        r: Region,
        kernel: Kernel,
        stores: Sequence[tuple[Value, int, int, Home]],
        more: Iterable[Value] = (),
    ) -> None:
        live = {k for _, k, _, _ in stores}
        insts = _live(r.insts, live)
        uses = {o.value for k in insts for o in r.insts[k].operands if isinstance(o, MemoryOperand)}
        checks = [self.checks[r.insts[k].node] for k in insts if r.insts[k].node in self.checks]
        nodes = [r.insts[k].node for k in sorted(insts) if r.insts[k].visible]
        site = (r.head or nodes[0]).site
        self.add(
            kernel,
            site,
            {*uses, *more},
            {v for v, *_ in stores},
            {h.slot for *_, h in stores},
            checks,
        )

    def contract(self, r: ContractRegion) -> None:
        stores = self.stores(r)
        if not stores:
            return
        e = KernelProgram(self.assignment, Composer())
        kernel = contraction(r, e, stores)
        ops = {o.value for o in r.operands}
        self.finish(r, kernel, stores, ops)

    def check(self, r: CheckRegion) -> None:
        n = r.head
        e = KernelProgram(self.assignment, Composer())
        made: dict[int, list[Any]] = {}
        e.run(r, {o.inst for o in r.arguments if isinstance(o, ResultOperand)}, made)
        bad = e.composer.check(n.op, n.params, e.operands(r.arguments, made))
        kernel = LoopKernel(
            r.shape, None, e.composer.s.program(bad), tuple(e.reads), (), tuple(e.params), True
        )
        text = n.op.check_message
        avals = tuple(v.aval for v in n.inputs)
        message = text(avals, n.params) if text else f"{n.op.name}: an index is out of range"
        uses = {o.value for o in r.all_reads()}
        self.checks[n] = self.add(kernel, n.site, uses, (), (), (), message)

    def copy(self, r: CopyRegion) -> None:
        (v,) = r.env
        if v not in self.assignment.needed:
            return
        self.boxes(r, v, None)

    def place(self, r: PlaceRegion) -> None:
        n = r.head
        v = n.outputs[0]
        if v not in self.assignment.needed:
            return
        self.boxes(r, v, n.site)

    def boxes(self, r: Region, v: Value, site: Site | None) -> None:
        """The copies of a placement, in order, and what its producers already wrote."""
        done = self.ready.setdefault(v, set())
        for root in self.assignment.direct.get(r, ()):
            done |= self.completed_by(root)
        last = self.fill(r) | self.fills_under(v)
        for c in self.assignment.copies.get(r, ()):
            k = self.copy_step(c, site, last)
            done.add(k)
            if r.head is not None and r.head.op.has("base"):
                last = {k}

    def attend(self, r: AttendRegion) -> None:
        n = r.head
        places = [(at.slot, (at.offset, at.strides)) for at in map(self.head_access, r.operands)]
        homes = [self.assignment.home[v] for v in n.outputs]
        places += [(h.slot, (h.offset, h.strides)) for h in homes]
        kernel = attend_kernel(n.op, n.params, [v.aval for v in (*n.inputs, *n.outputs)], places)
        uses = {o.value for o in r.operands}
        self.add(kernel, n.site, uses, n.outputs, {h.slot for h in homes})

    def scatter(self, r: ScatterRegion) -> None:
        n = r.head
        out = n.outputs[0]
        h = self.assignment.home[out]
        before = self.zeros(out, n.site)
        index, update = (self.head_access(o) for o in r.operands)
        if len(update.strides) < 2 or out.aval.ndim != 2:
            raise GraphError(f"{n.op.name}: a scatter takes index[count] and update[count, inner]")
        kernel = ScatterKernel(
            n.inputs[0].aval.size,
            out.aval.shape[1],
            Access(h.slot, out.aval.dtype, h.offset, h.strides),
            index,
            update,
        )
        self.add(kernel, n.site, {o.value for o in r.operands}, (out,), (h.slot,), (before,))

    def head_access(self, op: MemoryOperand) -> Access:
        h = self.assignment.home[op.value]
        at = walk_path(op.path, (h.offset, h.strides))
        if at is None:
            raise GraphError(f"a kernel cannot walk {op.value.aval}")
        return Access(h.slot, op.value.aval.dtype, *at)

    def host(self, r: HostRegion) -> None:
        n = r.head
        ins = [self.whole(v, o, n.site) for v, o in zip(n.inputs, r.operands)]
        outs = [self.assignment.home[v].slot for v in n.outputs]
        function = partial(n.op.body, **n.params) if n.params and n.op.body else n.op.body
        k = self.add(
            HostStep(function, tuple(s for s, _ in ins), tuple(outs)),
            n.site,
            {o.value for o in r.operands},
            n.outputs,
            outs,
            [a for _, a in ins if a is not None],
        )
        self.steps[k].reads |= frozenset(s for s, _ in ins)

    def whole(self, v: Value, op: MemoryOperand, site: Site | None) -> tuple[int, int | None]:
        """A slot that holds exactly v, contiguous; a copy where v lies elsewhere."""
        at, a = self.head_access(op), v.aval
        dense = contiguous_strides(a.shape)
        if at.offset == 0 and at.strides == dense and self.assignment.slots[at.slot].aval is a:
            return at.slot, None
        slot = self.assignment.new("temp", a)
        return slot, self.copy_step(Copy(op.value, op.path, a.shape, Home(slot, 0, dense)), site)


def draft(regions: Regions, assignment: Assignment) -> Draft:
    """Steps of all regions."""
    return _Drafter(regions, assignment).run()
