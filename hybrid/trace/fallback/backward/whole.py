"""Backward passes over results of replays as native code: one plan a pass, however many calls and
eager operations it goes through.

Invariant: a plan is the recorded eager pass, so it has its bits; a pass is known by the whole
structure of its tape, and what differs in anything but values is another pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ....autograd.passes import BackwardPass, Gradients, perform, seed
from ....autograd.tape import PseudoOp, is_alias, is_call, order, owner
from ....core import signals
from ....core.aval import Aval
from ....core.cache import Bounded
from ....core.precision import MATMUL
from ....ir.door import bind as door
from ....ir.door.evaluate import evaluate_eager
from ....ir.door.pending import known
from ....ir.graph.graph import Graph, Node, Value
from ....ir.graph.rewrite import inlined
from ....ir.tensor import Handle, Leaf, new_handle
from ...record.recorder import Recorder
from ...record.result_tape import Replayed, ResultTape
from ..value_plans import ValuePlan, value_plan
from .calls import Calls, by_calls

__all__ = ["planned"]

MOST_PASSES = 8  # kept per recording
MOST_NODES = 8_000  # of a tape whose pass is compiled, with what replays computed
EVER_NEW = 64  # passes that were not met before, after which none is looked for among those met
AGAIN, OFTEN = 2, 8  # times that a pass is met before it is compiled: else op by op, call by call


class _Passes(Calls):
    """The passes that began at results of one recording."""

    def __init__(self) -> None:
        super().__init__()
        self.met = Bounded[_Met](MOST_PASSES)
        self.whole = False  # whether there is a plan of a whole pass


class _Met:
    """One pass: `plan` once it is compiled; `results`: for each gradient that it gives the number
    of the source (of the node, where there are no sources) and of the output, or None."""

    __slots__ = ("times", "broken", "plan", "avals", "results")

    def __init__(self) -> None:
        self.times, self.broken = 0, False
        self.plan: ValuePlan | None = None
        self.avals: list[Aval] = []
        self.results: list[tuple[int, int | None]] = []


class _Walk(NamedTuple):
    """The tape of a pass: `key`, all there is to it but values; `values` and their records; for
    each node, users first, how many of these are its own (after them come given seeds)."""

    key: list[Any]
    values: list[Any]
    avals: list[Aval]
    counts: list[int]

    def keep(self, saved: Sequence[Any], of: Sequence[Aval]) -> None:
        """Add what a node saved."""
        for value, aval in zip(saved, of):
            if value is not None:
                self.values.append(value._v if isinstance(value, Handle) else value)
                self.avals.append(aval)

    def add(self, node: Any) -> bool:
        """Add a node; false for one that no plan can do."""
        resolved, _, saved, outputs = node
        before = len(self.values)
        if type(resolved) is not PseudoOp:
            self.key.append(resolved)
            self.key.extend([value is None for value in (*saved, outputs)])
            self.keep(saved, resolved.ins)
            self.keep(outputs or (), resolved.outs)
        elif isinstance(resolved.inner, Replayed):
            self.key.append(resolved.inner.tape.serial)
            graph = resolved.inner.tape.graph
            self.keep(resolved.inner.values, [value.aval for value in graph.inputs])
        elif is_alias(resolved):
            self.key.append(PseudoOp)
        else:
            return False
        self.counts.append(len(self.values) - before)
        return True


def planned(task: BackwardPass, nodes: list[Any]) -> Gradients | None:
    """The gradients that a pass over recorded calls gives, from a plan; None: by `perform`."""
    found = [_passes(node[0].inner.tape) for node in nodes if is_call(node)]
    passes = found[0]
    if passes.strange >= EVER_NEW and not passes.whole:
        return by_calls(task, nodes, found)
    walk = _walk(task, nodes)
    if walk is None:
        return None
    met = passes.met.of(tuple(walk.key), _Met)
    plan = met.plan
    if plan is None:
        met.times += 1
        if met.times == 1:
            for calls in set(found):
                calls.strange += 1
        if met.broken or met.times < OFTEN or not passes.affordable():
            given = by_calls(task, nodes, found)
            if given is not None or met.broken or met.times < AGAIN or not passes.affordable():
                return given
        try:
            plan = _compile(task, nodes, walk, met)
        except Exception as error:
            if signals.foreign(error):
                raise
        if plan is None:
            met.broken = True
            return None
        met.plan = plan
        passes.compilations += 1
        passes.whole = True
    passes.native += 1
    outputs = plan.run(known(walk.values))
    avals, places = met.avals, nodes if task.sources is None else task.sources
    return [
        (places[k], None if out is None else new_handle(outputs[out], avals[out]))
        for k, out in met.results
    ]


def _passes(tape: ResultTape) -> _Passes:
    if not tape.plans:
        tape.plans.append(_Passes())
    found: _Passes = tape.plans[0]
    return found


def _reference(numbers: dict[int, int], node: Any) -> Any:
    """A node by the number of its owner, and which output of it."""
    if node is None:
        return None
    holder = owner(node)
    number = numbers.get(id(holder))
    return number if holder is node or number is None else (number, node[0])


def _walk(task: BackwardPass, nodes: list[Any]) -> _Walk | None:
    """The tape of a pass; None where it goes through what no plan can do."""
    tapes = [node[0].inner.tape for node in nodes if is_call(node)]
    if len(nodes) + sum([len(tape.graph.nodes) + len(tape.nodes) for tape in tapes]) > MOST_NODES:
        return None
    numbers = {id(node): number for number, node in enumerate(nodes)}
    walk = _Walk([MATMUL.fast, bool(task.stop)], [], [], [])
    for node in nodes:
        if type(node) is not tuple or id(node) in task.stop:
            walk.key.append(None)
            walk.counts.append(0)
        elif not walk.add(node):
            return None
        else:
            walk.key.extend([_reference(numbers, parent) for parent in node[1]])
    for output, given in zip(task.outputs, task.seeds):
        walk.key.append((_reference(numbers, output._node), output._a, given is None))
        if given is None and output._a.size != 1:
            return None  # an error, which `perform` raises
        if given is not None:
            walk.keep([seed(output, given)], [output._a])
    if task.sources is not None:
        walk.key.append(tuple([_reference(numbers, node) for node in task.sources]))
    device = task.outputs[0]._a.device if task.outputs else None
    return walk if all(aval.device is device for aval in walk.avals) else None


class _Mirrored(NamedTuple):
    """A recorded call whose values are in the hands of a recorder."""

    tape: ResultTape
    computed: list[Any]

    def nodes(self, parents: Sequence[Any]) -> list[Any]:
        """See RecordedCall."""
        return self.tape.rebuilt(parents, self.computed)

    def reached(self, output: int, parents: Sequence[Any]) -> Sequence[Any]:
        """See RecordedCall."""
        return [parents[position] for position in self.tape.reach[output]]


class _Mirror:
    """A copy of the tape of a pass around tensors: these are `given` to a recorder and stand for
    `values` of a graph, which `made` gives from its `inputs`."""

    def __init__(self, task: BackwardPass, nodes: list[Any], walk: _Walk) -> None:
        self.inputs = [Value(aval) for aval in walk.avals]
        self.made: list[Node] = []
        self.given: list[Any] = []
        self.values: list[Value] = []
        self.known, self.stop = known(walk.values), task.stop
        self.numbers = {id(node): number for number, node in enumerate(nodes)}
        self.copies: dict[int, Any] = {}
        end = sum(walk.counts)
        seeds = iter(range(end, len(walk.values)))
        for number in reversed(range(len(nodes))):
            begin = end - walk.counts[number]
            self.copies[number] = self._copy(nodes[number], range(begin, end))
            end = begin
        outputs = [new_handle(None, t._a, self._copied(t._node)) for t in task.outputs]
        given = [None if s is None else self._tensor(next(seeds)) for s in task.seeds]
        stop = frozenset([id(self._copied(n)) for n in nodes if id(n) in task.stop])
        sources = None if task.sources is None else list(map(self._source, task.sources))
        self.task = BackwardPass(outputs, given, stop, sources)

    def _tensor(self, place: int) -> Any:
        """A tensor for an input."""
        value = self.inputs[place]
        self.given.append(new_handle(self.known[place], value.aval))
        self.values.append(value)
        return self.given[-1]

    def _copied(self, node: Any) -> Any:
        """The copy of a node that has one."""
        if node is None:
            return None
        holder = owner(node)
        copy = self.copies[self.numbers[id(holder)]]
        return copy if holder is node else (node[0], copy)

    def _source(self, node: Any) -> Any:
        """The copy of a node whose gradient is wanted, though it may not be reached."""
        if id(owner(node)) in self.numbers:
            return self._copied(node)
        return Leaf(new_handle(None, None))  # type: ignore[arg-type]

    def _copy(self, node: Any, places: range) -> Any:
        if type(node) is not tuple or id(node) in self.stop:
            return Leaf(new_handle(None, None))  # type: ignore[arg-type]
        resolved, parents, saved, outputs = node
        ancestors = tuple(map(self._copied, parents))
        if is_call(node):
            call = _Mirrored(resolved.inner.tape, self._computed(resolved.inner, places))
            return PseudoOp(resolved.name, None, resolved.outs, call), ancestors, (), None
        following = iter(places)

        def around(values: Any) -> Any:
            return tuple([None if v is None else self._tensor(next(following)) for v in values])

        kept = around(saved)
        return resolved, ancestors, kept, None if outputs is None else around(outputs)

    def _computed(self, replayed: Replayed, places: range) -> list[Any]:
        """Tensors for what a recorded call saved."""
        graph = replayed.tape.graph
        values = dict(zip(graph.inputs, [self.inputs[place] for place in places]))
        self.made += inlined(graph.nodes, values)
        known_values = evaluate_eager(graph, [self.known[place] for place in places])
        handles = [new_handle(v, o.aval) for v, o in zip(known_values, graph.outputs)]
        self.given += handles
        self.values += [values.get(output, output) for output in graph.outputs]
        return handles


def _compile(task: BackwardPass, nodes: list[Any], walk: _Walk, met: _Met) -> ValuePlan | None:
    """The plan of a pass, from running it under a recorder; None where its graph is not all that it
    does."""
    with signals.held:
        mirror, recorder, found = _recorded(task, nodes, walk)
    if recorder.reasons or recorder.captures:
        return None
    numbers: dict[int, int] = {}
    met.results = []
    places = {id(copy): number for number, copy in mirror.copies.items()}
    for k, (node, gradient) in enumerate(found):
        out = None
        if gradient is not None:
            out = numbers.setdefault(recorder.ref(gradient), len(numbers))
        met.results.append((places[id(node)] if task.sources is None else k, out))
    met.avals = [recorder.aval_of(number) for number in numbers]
    backward = recorder.graph(list(numbers))
    values = dict(zip(backward.inputs, mirror.values))
    made = mirror.made + inlined(backward.nodes, values)
    outputs = [values.get(output, output) for output in backward.outputs]
    return value_plan(Graph(mirror.inputs, made, outputs), task.outputs[0]._a.device)


@signals.critical
def _recorded(
    task: BackwardPass, nodes: list[Any], walk: _Walk
) -> tuple[_Mirror, Recorder, Gradients]:
    mirror = _Mirror(task, nodes, walk)
    recorder = Recorder(mirror.given)
    outer = door.push_mode(recorder)
    try:
        roots = [output._node for output in mirror.task.outputs]
        found = perform(mirror.task, order(roots, mirror.task.stop))
    finally:
        door.pop_mode(outer)
    return mirror, recorder, found
