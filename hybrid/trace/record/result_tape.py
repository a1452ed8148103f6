"""The tape of results that a replay returns: their gradient, should anyone ask for it later.

Invariant: a replay keeps what computes the values that a backward pass reads, as they were in that
call: input values, and as further outputs of its graph (`kept`) values of inputs that it replaces
and those that are dear to compute again.  From them the recorded tape is rebuilt (the same bits)
and differentiated like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from itertools import count
from typing import Any, NamedTuple

from ...autograd.tape import PseudoOp, is_alias, order, owner, place
from ...control.regions import INNER
from ...core.aval import Aval
from ...ir.door.busy import values_of
from ...ir.door.context import current_mode
from ...ir.door.evaluate import evaluate_collected, evaluate_eager
from ...ir.door.pending import COLLECTING, known
from ...ir.graph.graph import Const, Graph, Node, Value
from ...ir.tensor import Handle, Leaf
from .outputs import Unfit
from .recorder import RecordedOp, Recorder

__all__ = ["ResultTape", "Replayed", "TapeOf", "TemplateInput", "tape_of"]

SERIALS = count()
CHEAP = ("map", "view", "place")  # kinds of op whose results are computed again rather than kept


class TemplateInput(NamedTuple):
    """A parent that is an input, by its position among those of the template."""

    position: int


class _Node(NamedTuple):
    """A node of the template: what the op resolved to, its parents (a TemplateInput, (position of a
    node, output of it or None), or None), and what it saved, by value needed."""

    resolved: Any
    parents: tuple[Any, ...]
    saved: tuple[int | None, ...]
    outs: tuple[int | None, ...] | None


class ResultTape(NamedTuple):
    """Template of the tape above the results of one recorded call.  `nodes`: producers before
    users; `roots`: what each result hangs on; `position`: output number -> position among the
    results (those that are missing are `spent`); `inputs`: numbers of the inputs that are on a
    tape, and for each result in `reach` the positions of those that it depends on; `graph`:
    computes what the nodes saved from the inputs `needed` and the outputs `kept`; `serial`: tells
    templates apart; `plans`: whole backward passes, kept by who makes them."""

    nodes: tuple[_Node, ...]
    roots: tuple[Any, ...]
    position: dict[int, int]
    inputs: tuple[int, ...]
    reach: tuple[tuple[int, ...], ...]
    avals: tuple[Aval, ...]
    graph: Graph
    needed: tuple[int, ...]
    kept: tuple[int, ...]
    serial: int
    plans: list[Any]

    def start(
        self, inputs: Sequence[Any], outputs: Callable[[int], Any], spent: Any
    ) -> Callable[[int], Any]:
        """Tape nodes for the results of one replay, by output number; `outputs` gives the value of
        an output of its graph, `spent` is the node of other results."""
        node = self.node(inputs, [outputs(number) for number in self.kept])
        return lambda output: self.hung(node, output) if output in self.position else spent

    def hung(self, node: Any, output: int) -> Any:
        """What a result that is on the tape hangs on, of the node of its replay."""
        return node if len(self.position) == 1 else (self.position[output], node)

    def node(self, inputs: Sequence[Any], kept: list[Any]) -> Any:
        """The node of one replay, with the values of the outputs that are kept."""
        handles = [inputs[number] for number in self.needed]
        values = [handles[0]._v] if len(handles) == 1 else values_of(handles)
        if COLLECTING:
            values = known(values)
        values += kept
        parents = tuple([inputs[number]._node for number in self.inputs])
        return (
            PseudoOp("recorded call", None, self.avals, Replayed(self, values)),
            parents,
            (),
            None,
        )

    def rebuilt(self, parents: Sequence[Any], computed: Sequence[Any]) -> list[Any]:
        """Nodes of the results, from the nodes that the inputs have now and the outputs of
        `graph`."""
        return self.unfolded(parents, computed)[1]

    def unfolded(
        self, parents: Sequence[Any], computed: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """The same after the nodes of the template."""
        nodes: list[Any] = []

        def resolve(parent: Any) -> Any:
            if parent is None:
                return None
            if type(parent) is TemplateInput:
                return parents[parent.position]
            node = nodes[parent[0]]
            return node if parent[1] is None else (parent[1], node)

        def picked(numbers: Sequence[int | None]) -> tuple[Any, ...]:
            return tuple([None if k is None else computed[k] for k in numbers])

        for resolved, ancestors, saved, outputs in self.nodes:
            results = None if outputs is None else picked(outputs)
            nodes.append((resolved, tuple(map(resolve, ancestors)), picked(saved), results))
        return nodes, [resolve(root) for root in self.roots]


class Replayed(NamedTuple):
    """One replay on the tape: the values that its template needs."""

    tape: ResultTape
    values: list[Any]

    def nodes(self, parents: Sequence[Any]) -> list[Any]:
        """See RecordedCall."""
        mode = current_mode()
        collects = mode is not None and mode.defers
        compute = evaluate_collected if collects else evaluate_eager
        return self.tape.rebuilt(parents, compute(self.tape.graph, self.values))

    def reached(self, output: int, parents: Sequence[Any]) -> Sequence[Any]:
        """See RecordedCall."""
        return [parents[position] for position in self.tape.reach[output]]


class _Template:
    """Turns recorded tape nodes into template nodes; numbers inputs and saved values on the way."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        # (id of the owner, output) of the node of an input, where the recorded tape begins -> input
        self.starts: dict[tuple[int, int], int] = {}
        self.shared = set[tuple[int, int]]()
        for number, tensor in enumerate([*recorder.args, *recorder.captures]):
            if tensor._node is not None:
                key = place(tensor._node)
                if self.starts.setdefault(key, number) != number:
                    self.shared.add(key)
        self.inputs: dict[int, int] = {}  # input -> position, in order of use
        self.saved: dict[int, int] = {}  # value number -> position among the graph's outputs
        self.position: dict[int, int] = {}  # id of a recorded node -> position in the template
        self.made: list[_Node] = []

    def parent(self, node: Any) -> Any:
        if node is None:
            return None
        holder, key = owner(node), place(node)
        number = self.starts.get(key)
        if number is not None:
            if key in self.shared:
                raise Unfit("has two inputs with one gradient history")
            return TemplateInput(self.inputs.setdefault(number, len(self.inputs)))
        if id(holder) not in self.position:
            raise Unfit("returns a differentiable result of values from before the call")
        return self.position[id(holder)], node[0] if holder is not node else None

    def node(self, node: Any) -> _Node:
        if isinstance(node, Leaf):
            raise Unfit("returns a result that depends on a leaf made inside the call")
        resolved, parents, saved, outputs = node
        if isinstance(resolved, PseudoOp) and not is_alias(resolved):
            own = f"a function with a gradient of its own ({resolved.name})"
            raise Unfit(f"returns a differentiable result of {own}")
        return _Node(
            resolved,
            tuple(map(self.parent, parents)),
            tuple(map(self.value, saved)),
            None if outputs is None else tuple(map(self.value, outputs)),
        )

    def value(self, saved: Any) -> int | None:
        if saved is None:
            return None
        number = self.recorder.handles.get(id(saved)) if isinstance(saved, Handle) else None
        if number is None:
            raise Unfit("returns a differentiable result of values from before the call")
        if number == INNER:
            raise Unfit("returns a differentiable result of a loop's inner values")
        return self.saved.setdefault(number, len(self.saved))

    def reach(self, root: Any) -> tuple[int, ...]:
        """Positions of the inputs that a result depends on."""
        todo, met, found = [root], set[int](), dict[int, None]()
        nodes = self.made
        while todo:
            parent = todo.pop()
            if type(parent) is TemplateInput:
                found[parent.position] = None
            elif parent is not None and parent[0] not in met:
                met.add(parent[0])
                todo += nodes[parent[0]].parents
        return tuple(sorted(found))

    def fill(self, roots: list[Any]) -> None:
        """Make the nodes above these."""
        stop = {ident for ident, _ in self.starts}
        for node in reversed(order(roots, stop)):
            if id(node) not in stop:
                self.made.append(self.node(node))
                self.position[id(node)] = len(self.made) - 1


class _Work(NamedTuple):
    """How saved values come about: the steps that are run again, the inputs they need, and the
    values that are kept, by number."""

    steps: list[RecordedOp]
    inputs: list[int]
    kept: list[int]


def _work(recorder: Recorder, saved: Iterable[int], free: Container[int], again: bool) -> _Work:
    """The least work; `free`: values that are results anyhow; `again`: whatever is not is computed
    again."""
    wanted, work = set(saved), _Work([], [], [])
    for step in reversed(recorder.steps):
        here = [number for number in step.outputs if number in wanted]
        if not here:
            continue
        cheap = step.op.kind in CHEAP and not step.op.gathers and not step.op.has("effect")
        if all(number in free for number in here) or not (cheap or again):
            work.kept.extend(here)
        else:
            work.steps.append(step)
            wanted.update(step.inputs)
    work.steps.reverse()
    work.inputs.extend(sorted(wanted & {number for number, *_ in recorder.start.values()}))
    return work


def _graph(recorder: Recorder, work: _Work, saved: Iterable[int]) -> Graph:
    """The same as a graph of the inputs, then of what is kept."""
    given = [*work.inputs, *work.kept]
    values = {number: Value(recorder.aval_of(number)) for number in given}
    inputs = list(values.values())
    for number, data in recorder.consts.items():
        values[number] = Const(recorder.avals[number], data)
    nodes = []
    for step in work.steps:
        operands = [values[number] for number in step.inputs]
        nodes.append(Node(step.op, dict(step.params), operands, step.avals, step.site))
        values.update(zip(step.outputs, nodes[-1].outputs))
    return Graph(inputs, nodes, [values[number] for number in saved])


def _passed(recorder: Recorder) -> set[int]:
    """Numbers of the values that lead to one from which the call has run backward, and of those
    that come of it."""
    found, after = set(recorder.passed), set(recorder.passed)
    for step in recorder.steps:
        if not after.isdisjoint(step.inputs):
            after.update(step.outputs)
    for step in reversed(recorder.steps):
        if not found.isdisjoint(step.outputs):
            found.update(step.inputs)
    return found | after


class TapeOf(NamedTuple):
    """What a recording knows of the tape of its results: the template (None: all are spent), and
    the numbers of further outputs for it."""

    tape: ResultTape | None
    extra: list[int]


def tape_of(
    recorder: Recorder,
    results: dict[int, Handle],
    numbers: list[int],
    replaced: frozenset[int],
    changed: bool,
    dead: Callable[[Any], None],
) -> TapeOf:
    """The tape above results (output number -> the recorded tensor); Unfit where a replay cannot
    have the same.

    `numbers`: of the values behind the outputs; `replaced`: inputs that are not found after the
    call; `changed`: whether it writes or leaves gradients; `dead`: drops the recording."""
    asked = recorder.asked
    first = set() if asked.ever else _passed(recorder)
    again = {output: t for output, t in results.items() if numbers[output] in first}
    live = {output: t for output, t in results.items() if output not in again}
    if again and not _needs_parameters(recorder, again, replaced):
        live, again = results, {}
    tape, extra = None, list[int]()
    if live:
        try:
            tape, extra = _tape(recorder, live, numbers, replaced)
        except Unfit:
            if asked.ever or not changed:
                raise
            again = results
    for tensor in again.values():
        asked.marked(tensor)
    if again:
        asked.drops(dead)
    return TapeOf(tape, extra)


def _needs_parameters(
    recorder: Recorder, results: dict[int, Handle], replaced: frozenset[int]
) -> bool:
    """Whether the gradients of results need parameters that are replaced, or cannot be had."""
    template = _Template(recorder)
    try:
        template.fill([tensor._node for tensor in results.values()])
    except Unfit:
        return bool(replaced)
    tensors, starts = [*recorder.args, *recorder.captures], _starts(recorder)
    work = _work(recorder, template.saved, (), True)
    needed = [starts[number] for number in work.inputs if starts[number] in replaced]
    return any(tensors[number]._node is not None for number in needed)


def _starts(recorder: Recorder) -> dict[int, int]:
    """Number of a value -> the input that has it when the call begins."""
    tensors = [*recorder.args, *recorder.captures]
    return {recorder.start[id(tensor)][0]: number for number, tensor in enumerate(tensors)}


def _tape(
    recorder: Recorder, results: dict[int, Handle], numbers: list[int], replaced: frozenset[int]
) -> tuple[ResultTape, list[int]]:
    """The template, and the numbers of further outputs that it keeps."""
    template, roots = _Template(recorder), [tensor._node for tensor in results.values()]
    template.fill(roots)
    starts, work = _starts(recorder), _work(recorder, template.saved, numbers, False)
    lost = [number for number in work.inputs if starts[number] in replaced]
    inputs = [number for number in work.inputs if starts[number] not in replaced]
    work = _Work(work.steps, inputs, sorted({*work.kept, *lost}))
    extra = [number for number in work.kept if number not in numbers]
    outputs = {number: k for k, number in reversed([*enumerate([*numbers, *extra])])}
    ends = tuple(map(template.parent, roots))
    tape = ResultTape(
        nodes=tuple(template.made),
        roots=ends,
        position={output: i for i, output in enumerate(results)},
        inputs=tuple(template.inputs),
        reach=tuple(map(template.reach, ends)),
        avals=tuple([tensor._a for tensor in results.values()]),
        graph=_graph(recorder, work, template.saved),
        needed=tuple([starts[number] for number in inputs]),
        kept=tuple([outputs[number] for number in work.kept]),
        serial=next(SERIALS),
        plans=[],
    )
    return tape, extra
