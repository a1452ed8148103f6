"""The gradients of one recorded call as native code: from those of its results to what each use of
its inputs gives to theirs.

Invariant: a plan does what `perform` does for the nodes that the call unfolds to, in their order;
what is given to a value that the call itself uses, too, is added at its time among these uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ....autograd.passes import pull, takes
from ....core import signals
from ....core.aval import Aval
from ....ir.door import bind as door
from ....ir.door.evaluate import evaluate_eager
from ....ir.graph.graph import Graph, Value
from ....ir.graph.rewrite import inlined
from ....ir.tensor import Leaf, new_handle
from ....ops.base.common import Part
from ...record.recorder import Recorder
from ...record.result_tape import ResultTape, TemplateInput
from ..value_plans import ValuePlan, value_plan
from .shares import TIME, Share, Shares, added, settled, split

__all__ = ["CallPulls", "CallSeeds", "Pull", "compiled"]

_LAST = -1  # behind all uses inside of the call
# for each value that results are: how many of its own uses come before each further share
Pattern = tuple[Any, ...]


class _Root(NamedTuple):
    """A value that results are: their numbers, and when the call uses it itself, latest first, as
    runs and places."""

    results: tuple[int, ...]
    uses: tuple[tuple[int, int], ...]
    aval: Aval
    name: tuple[int, int]


class Give(NamedTuple):
    """What one use of an input gives: the position of the input, when (run, place), which outputs
    of the plan, and how a part is made of them (None: there is one output, and no part)."""

    position: int
    run: int
    place: int
    outputs: range
    part: Callable[..., Part] | None
    aval: Any


class Pull(NamedTuple):
    """The plan of a call for one pattern."""

    plan: ValuePlan
    avals: list[Aval]
    gives: list[Give]

    def run(self, values: list[Any], begun: list[int], parents: Sequence[Any], to: Shares) -> None:
        """Give what the call gives."""
        handles = list(map(new_handle, self.plan.run(values), self.avals))
        for position, run, place, outputs, part, aval in self.gives:
            parent = parents[position]
            if parent is None:
                continue
            gradient: Any = handles[outputs.start]
            if part is not None:
                gradient = part(*handles[outputs.start : outputs.stop])
            to.give(parent, (-float(begun[run] + place), gradient, aval))


class CallSeeds(NamedTuple):
    """What the results of a call were given, by pattern."""

    pattern: Pattern
    tensors: list[Any]


class CallPulls:
    """The plans of calls whose nodes are visited in one way."""

    def __init__(self, tape: ResultTape, places: dict[int, tuple[int, int]]) -> None:
        self.places = places
        self.roots: list[_Root] = []
        self.passed: dict[int, int] = {}  # results that are inputs of the call
        self.plans: dict[tuple[Pattern, bool], Pull | None] = {}  # None: there can be none
        found: dict[tuple[int, int], list[int]] = {}
        for number, root in enumerate(tape.roots):
            if type(root) is TemplateInput:
                self.passed[number] = root.position
            elif root is not None and root[0] in places:
                found.setdefault((root[0], root[1] or 0), []).append(number)
        for name, results in found.items():
            uses = [
                places[user]
                for user, node in enumerate(tape.nodes)
                if user in places and name in map(_name, node.parents)
            ]
            aval = tape.avals[results[0]]
            self.roots.append(_Root(tuple(results), tuple(sorted(uses, reverse=True)), aval, name))

    def given(self, node: Any, shares: Shares, begun: list[int]) -> CallSeeds | None:
        """What the results of a call were given; None where that is nothing."""
        pattern: list[Any] = []
        tensors: list[Any] = []
        for number, position in self.passed.items():
            parent = node[1][position]
            for share in shares.given.pop((id(node), number), ()):
                if parent is not None:
                    shares.give(parent, share)
        for root in self.roots:
            found: list[Share] = []
            for number in root.results:
                found += shares.given.pop((id(node), number), ())
            pattern.append(_merged(root, found, begun, tensors) if found else None)
        return CallSeeds(tuple(pattern), tensors) if tensors else None


def _name(parent: Any) -> tuple[int, int] | None:
    """A value inside of a call: the number of a node and which output of it."""
    if parent is None or type(parent) is TemplateInput:
        return None
    return parent[0], parent[1] or 0


def _merged(
    root: _Root, found: list[Share], begun: list[int], tensors: list[Any]
) -> tuple[int, ...]:
    """How many uses of its own come before each share that remains once those that come first have
    been added up; `tensors` gets them."""
    if not root.uses:
        tensors.append(added(*split(found)))
        return (0,)
    parts = [share for share in found if isinstance(share[1], Part)]
    shares = sorted([share for share in found if not isinstance(share[1], Part)], key=TIME)
    own = [-float(begun[run] + place) for run, place in root.uses]
    first = [share for share in shares if share[0] < own[0]]
    pattern = list[int]()
    if first:
        tensors.append(added(first, []))
        pattern.append(0)
    for time, gradient, _ in shares[len(first) :]:
        tensors.append(gradient)
        pattern.append(sum([use < time for use in own]))
    if parts:
        tensors.append(added([], sorted(parts, key=TIME)))
        pattern.append(_LAST)
    return tuple(pattern)


class _Found(NamedTuple):
    """What was given to an input: its position, the node that gave it, the part if it is one, its
    tensors, and the record."""

    position: int
    user: int
    part: Part | None
    tensors: tuple[Any, ...]
    aval: Any


class _Recorded(NamedTuple):
    """What a recorder saw: the handles that it was given, and what was given to the inputs."""

    given: list[Any]
    recorder: Recorder
    found: list[_Found]


def compiled(
    tape: ResultTape, pulls: CallPulls, given: CallSeeds, values: list[Any]
) -> Pull | None:
    """The plan for a pattern; None where its graph is not all that the pass does, or where parts of
    uses inside and outside of the call would have to be added up together."""
    graph = tape.graph
    inputs = [Value(v.aval) for v in graph.inputs] + [Value(t._a) for t in given.tensors]
    count = len(graph.inputs)
    renamed: dict[Value, Value] = dict(zip(graph.inputs, inputs))
    made = inlined(graph.nodes, renamed)
    saved = evaluate_eager(graph, values)
    handles = [new_handle(v, o.aval) for v, o in zip(saved, graph.outputs)]
    with signals.held:
        seen = _recorded(tape, pulls, given, handles)
    if seen is None or seen.recorder.reasons or seen.recorder.captures:
        return None
    recorder = seen.recorder
    numbers: list[int] = []
    gives = []
    for position, user, part, tensors, aval in seen.found:
        outputs = range(len(numbers), len(numbers) + len(tensors))
        made_of = None
        if part is not None:  # without the values of the tensors
            made_of = part.of(*[new_handle(None, tensor._a) for tensor in tensors]).of
        gives.append(Give(position, *pulls.places[user], outputs, made_of, aval))
        numbers += [recorder.ref(tensor) for tensor in tensors]
    backward = recorder.graph(numbers)
    names = [*[renamed.get(o, o) for o in graph.outputs], *inputs[count:]]
    renamed = dict(zip(backward.inputs, names))
    made += inlined(backward.nodes, renamed)
    results = [renamed.get(output, output) for output in backward.outputs]
    avals = [recorder.aval_of(number) for number in numbers]
    device = tape.avals[0].device
    return Pull(value_plan(Graph(inputs, made, results), device), avals, gives)


@signals.critical
def _recorded(
    tape: ResultTape, pulls: CallPulls, given: CallSeeds, saved: list[Any]
) -> _Recorded | None:
    held = [*saved, *[new_handle(tensor._v, tensor._a) for tensor in given.tensors]]
    recorder = Recorder(held)
    outer = door.push_mode(recorder)
    try:
        found = _pulled(tape, pulls, given.pattern, saved, held[len(saved) :])
    finally:
        door.pop_mode(outer)
    return None if found is None else _Recorded(held, recorder, found)


def _pulled(
    tape: ResultTape, pulls: CallPulls, pattern: Pattern, saved: list[Any], tensors: list[Any]
) -> list[_Found] | None:
    """Run the pass of a call; None: see `compiled`."""
    places = pulls.places
    leaves = [Leaf(new_handle(None, None)) for _ in tape.inputs]  # type: ignore[arg-type]
    nodes = tape.unfolded(leaves, saved)[0]
    order = sorted(places, key=places.__getitem__, reverse=True)
    shares, found = Shares(), list[_Found]()
    last = set[tuple[int, int]]()  # values that were given parts outside
    following = iter(tensors)
    for root, behind in zip(pulls.roots, pattern):
        uses = [time for time, user in enumerate(order) if places[user] in root.uses]
        for use in behind or ():
            time = float("inf") if use in (_LAST, len(uses)) else uses[use] - 0.5
            node = nodes[root.name[0]]
            shares.give((root.name[1], node), (time, next(following), root.aval))
            if use == _LAST:
                last.add(root.name)
    for time, user in enumerate(order):
        grads = shares.take(nodes[user])
        if grads is None:
            continue
        template = tape.nodes[user].parents
        for parent, gradient, aval in zip(template, pull(nodes[user], grads), takes(nodes[user])):
            if parent is None or gradient is None:
                continue
            gradient = settled(gradient, aval)
            if type(parent) is TemplateInput:
                part = gradient if isinstance(gradient, Part) else None
                held = (gradient,) if part is None else part.tensors
                found.append(_Found(parent.position, user, part, held, aval))
            elif isinstance(gradient, Part) and _name(parent) in last:
                return None
            else:
                node = nodes[parent[0]]
                shares.give((parent[1] or 0, node), (float(time), gradient, aval))
    return found
