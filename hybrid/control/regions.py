"""Branches and loops while a call is recorded: what ran step by step becomes one node with graphs.

Every run of a branch or of a loop's functions is a block: steps between two marks, with fresh
handles for what it is given.  Invariant: blocks become a graph only if all runs of a function are
equal; until `splice` the steps are those of eager code, and `unroll` leaves them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.aval import HOST, Device
from ..core.errors import Site
from ..core.sites import user_site
from ..ir.graph.graph import Const, Graph, Node, Value, param_key
from ..ir.graph.region import Region, graph_on
from ..ir.op import Op
from ..ir.tensor import Handle, new_handle

__all__ = ["INNER", "RecordedOp", "RegionCall", "OpenRegions"]

INNER = -1  # the number of whatever a region made and keeps to itself


class RecordedOp(NamedTuple):
    """One recorded op: inputs are value numbers, or 0-d and constant arrays kept as Const."""

    op: Op
    params: tuple[tuple[str, Any], ...]
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]
    avals: tuple[Any, ...]
    site: Site | None


class RegionCall(NamedTuple):
    """One run of a function: its steps [start, stop), the numbers it was given, those of the
    written tensors when it began and ended (by id), of its results, and of the older tensors that
    it used (by id)."""

    start: int
    stop: int
    given: tuple[int, ...]
    before: dict[int, int]
    after: dict[int, int]
    results: tuple[int, ...]
    read: dict[int, int]


class OpenRegions:
    """One branch or loop while it is recorded (by a Recorder of trace/record).  `problem`: why it
    cannot become a node."""

    def __init__(self, recorder: Any, operands: Sequence[Any]) -> None:
        self.recorder, self.problem = recorder, ""
        self.entry = [recorder.ref(tensor) for tensor in operands]
        self.mark, self.numbers = len(recorder.steps), len(recorder.avals)
        self.captured = len(recorder.captures)
        self.known = set(recorder.handles)
        self.sources: dict[int, int] = {}  # number of what a block is given -> where it is from
        self.states: dict[int, Handle] = {}  # older tensors that were written inside, by id
        self.first: dict[int, int] = {}  # and the number of what each held before
        self.read: dict[int, int] = {}  # older tensors that this block used, by id -> number
        self.before: dict[int, int] = {}
        self.undo: list[tuple[Handle, Any, Any, Any, int]] | None = None
        self.open: tuple[int, tuple[int, ...]] | None = None
        recorder.regions.append(self)

    def __enter__(self) -> OpenRegions:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Nothing that runs from now on belongs to it."""
        self.recorder.regions.remove(self)
        if kind is not None:
            self.unroll()
            self.recorder.why("leaves a branch or loop by an exception")

    # ---- hooks of the recorder
    def refuse(self, problem: str) -> None:
        """Note why no node can stand for this."""
        self.problem = self.problem or problem

    def _outer(self, ident: int) -> bool:
        return ident in self.known or ident in self.recorder.start

    def used(self, inputs: Sequence[Handle], numbers: Sequence[int]) -> None:
        """An op inside was given these tensors."""
        for tensor, number in zip(inputs, numbers):
            if id(tensor) not in self.states and self._outer(id(tensor)):
                self.read[id(tensor)] = number

    def assigned(self, handle: Handle, number: int) -> None:
        """Before: a tensor that holds the value with this number gets another one."""
        if not self._outer(id(handle)):
            return
        if self.undo is not None:
            self.undo.append((handle, handle._v, handle._a, handle._node, number))
        if id(handle) not in self.states:
            self.states[id(handle)] = handle
            self.first[id(handle)] = self.before[id(handle)] = number

    # ---- blocks
    def begin(self, leaves: Sequence[Any]) -> list[Any]:
        """Start a run that is given these tensors: handles of its own on their values."""
        recorder, given = self.recorder, []
        for leaf in leaves:
            source = recorder.ref(leaf)
            inner = new_handle(leaf._v, leaf._a, leaf._node)
            self.sources[recorder.number_new(inner)] = source
            given.append(inner)
        self.read.clear()
        self.before = {ident: recorder.handles[ident] for ident in self.states}
        self.open = len(recorder.steps), tuple([recorder.handles[id(t)] for t in given])
        return given

    def end(self, results: Sequence[Any]) -> RegionCall:
        """The run that has ended with these results."""
        recorder = self.recorder
        assert self.open is not None
        start, given = self.open
        numbers = tuple([recorder.ref(tensor) for tensor in results])
        after = {ident: recorder.handles[ident] for ident in self.states}
        stop, read = len(recorder.steps), dict(self.read)
        return RegionCall(start, stop, given, dict(self.before), after, numbers, read)

    @property
    def only_seen(self) -> bool:
        """Whether what runs now is not part of the call."""
        return any(region.undo is not None for region in self.recorder.regions)

    def speculate(self) -> None:
        """What runs from now on only shows what a function would do: see `restore`."""
        self.undo = []

    def restore(self) -> None:
        """Give older tensors back what they held before `speculate`."""
        for handle, value, aval, node, number in reversed(self.undo or []):
            handle._v, handle._a, handle._node = value, aval, node
            self.recorder.handles[id(handle)] = number
        self.undo = None

    # ---- the end
    def key(self, block: RegionCall) -> tuple[Any, ...]:
        """What a block does, comparable with other runs of the function."""
        recorder = self.recorder
        names: dict[int, Any] = {n: ("given", k) for k, n in enumerate(block.given)}
        for ident, number in self.held(block).items():
            names.setdefault(number, ("state", list(self.states).index(ident)))

        def operand(number: int) -> Any:
            literal = recorder.consts.get(number)
            if number in names or literal is None:
                return names.get(number, number)
            return recorder.avals[number], literal.tobytes()

        operations = []
        for step in recorder.steps[block.start : block.stop]:
            params = tuple((name, param_key(value)) for name, value in step.params)
            operations.append((step.op, params, tuple(map(operand, step.inputs)), step.avals))
            for output in step.outputs:
                names[output] = ("made", len(names))
        ends = [block.after.get(ident, number) for ident, number in self.held(block).items()]
        return tuple(operations), tuple(map(operand, (*block.results, *ends)))

    def held(self, block: RegionCall) -> dict[int, int]:
        """Numbers of what all written tensors held when a block began, by id."""
        return {ident: block.before.get(ident, self.first[ident]) for ident in self.states}

    def agree(self, blocks: Sequence[RegionCall]) -> bool:
        """Whether all runs of a function did the same."""
        keys = [self.key(block) for block in blocks]
        return all(key == keys[0] for key in keys)

    def outer(self, blocks: Sequence[RegionCall]) -> list[int]:
        """Numbers of older values that blocks use, in the order of use."""
        recorder, found = self.recorder, dict[int, None]()
        for block in blocks:
            own = {*block.given, *self.held(block).values()}
            steps = recorder.steps[block.start : block.stop]
            own.update(number for step in steps for number in step.outputs)
            used = [number for step in steps for number in step.inputs]
            for number in (*used, *block.results, *block.after.values()):
                if number not in own and number not in recorder.consts:
                    found[number] = None
        return list(found)

    def region(
        self, block: RegionCall, outer: Sequence[int], split: int | None, writes: bool = True
    ) -> Region:
        """A block as a graph of what it is given, of which the first `split` come before the states
        and the others behind them, and of the outer numbers.  Results are cut the same way; a block
        that does not `write` has no states among them."""
        recorder, held = self.recorder, self.held(block)
        values: dict[int, Value] = {}
        inputs = []
        cut = len(block.given) if split is None else split
        for number in (*block.given[:cut], *held.values(), *block.given[cut:], *outer):
            inputs.append(Value(recorder.avals[number]))
            values.setdefault(number, inputs[-1])

        def operand(number: int) -> Value:
            if number not in values and number in recorder.consts:
                values[number] = Const(recorder.avals[number], recorder.consts[number])
            return values[number]

        nodes = []
        for step in recorder.steps[block.start : block.stop]:
            given = [operand(number) for number in step.inputs]
            node = Node(step.op, dict(step.params), given, step.avals, step.site)
            nodes.append(node)
            values.update(zip(step.outputs, node.outputs))
        ends = [block.after.get(ident, number) for ident, number in held.items()]
        cut = len(block.results) if split is None else split
        results = [*block.results[:cut], *(ends if writes else ()), *block.results[cut:]]
        return Region(graph_on(Graph(inputs, nodes, [operand(n) for n in results]), HOST))

    def _devices(self, blocks: Sequence[RegionCall], numbers: Sequence[int]) -> set[Device]:
        """Where the values are that blocks use and make."""
        recorder, found = self.recorder, {*numbers}
        for block in blocks:
            found.update(block.results)
            for step in recorder.steps[block.start : block.stop]:
                found.update((*step.inputs, *step.outputs))
        return {recorder.avals[number].device for number in found}

    def fits(
        self, blocks: Sequence[RegionCall], results: Sequence[Any], numbers: Sequence[int]
    ) -> bool:
        """Whether nothing is in the way of a node with these results and operands."""
        recorder = self.recorder
        fresh = [id(tensor) for tensor in recorder.captures[self.captured :]]
        older = {recorder.start[ident][0] for ident in fresh}
        for block in blocks:
            shared = set(self.held(block).values())
            if any(n in shared and ident not in self.states for ident, n in block.read.items()):
                self.refuse("reads and writes tensors that share a value")
        if any(tensor._node is not None for tensor in self.states.values()):
            self.refuse("writes tensors that are followed by a gradient")
        if any(n == INNER or (n >= self.numbers and n not in older) for n in numbers):
            self.refuse("uses a tensor outside of the step or branch that made it")
        elif len(self._devices(blocks, numbers)) > 1:
            self.refuse("computes on several devices")
        if not results and not self.states:
            self.refuse("gives no tensor")
        return not self.problem

    def moved(self, numbers: dict[int, int]) -> None:
        """Values have got other numbers."""
        for known in (self.first, self.before, self.read):
            for ident, number in known.items():
                known[ident] = numbers.get(number, number)
        if self.undo is not None:
            self.undo = [(*old[:4], numbers.get(old[4], old[4])) for old in self.undo]

    def splice(
        self,
        op: Op,
        params: dict[str, Any],
        operands: Sequence[int],
        results: Sequence[Any],
        split: int | None = None,
    ) -> None:
        """One step in the place of all since the mark; its results are what these tensors, with the
        states behind the first `split`, hold."""
        recorder, moved = self.recorder, self._forget()
        for region in recorder.regions:
            region.moved(moved)
        cut = len(results) if split is None else split
        made = [recorder.number_new(t) for t in results[:cut]]
        for ident, handle in self.states.items():
            made.append(len(recorder.avals))
            recorder.avals.append(handle._a)
            recorder.handles[ident] = made[-1]
        made += [recorder.number_new(t) for t in results[cut:]]
        inputs = tuple([moved.get(number, number) for number in operands])
        given = tuple([recorder.avals[number] for number in made])
        recorder.steps.append(
            RecordedOp(op, tuple(params.items()), inputs, tuple(made), given, user_site())
        )

    def _forget(self) -> dict[int, int]:
        """Drop the steps since the mark and the numbers they made: those of older tensors that were
        first met inside move (old number -> new), so that numbers do not depend on how much ran."""
        recorder, moved = self.recorder, dict[int, int]()
        del recorder.steps[self.mark :]
        avals, recorder.avals[self.numbers :] = recorder.avals[:], []
        for tensor in recorder.captures[self.captured :]:
            number, aval, node = recorder.start[id(tensor)]
            moved[number] = len(recorder.avals)
            recorder.avals.append(avals[number])
            recorder.start[id(tensor)] = moved[number], aval, node
        gone = [n for n in recorder.consts if n >= self.numbers]
        dropped = {n: recorder.consts.pop(n) for n in gone}
        for ident, number in list(recorder.handles.items()):
            if number in dropped:
                del recorder.handles[ident]
            elif number >= self.numbers:
                recorder.handles[ident] = moved.get(number, INNER)
        return moved

    def unroll(self) -> None:
        """Leave the steps as eager code made them."""
        recorder = self.recorder

        def source(number: int) -> int:
            while number in self.sources:
                number = self.sources[number]
            return number

        for k in range(self.mark, len(recorder.steps)):
            step = recorder.steps[k]
            recorder.steps[k] = step._replace(inputs=tuple(map(source, step.inputs)))
        for ident, number in list(recorder.handles.items()):
            recorder.handles[ident] = source(number)
