"""The tape of results that a replay returns: their gradient, should anyone ask for it later.

Invariant: nothing is kept on the replay path but the input values.  When a gradient is asked for,
the recorded tape is rebuilt around values computed again by the same graph (the same bits) and
differentiated like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...autograd.tape import PseudoOp, is_alias, order, owner
from ...core.aval import Aval
from ...core.errors import HybridError
from ...ir.door.evaluate import evaluate_eager
from ...ir.door.pending import value_of
from ...ir.graph.graph import Graph
from ...ir.tensor import Handle, Leaf
from .inputs import Roles
from .outputs import Unfit

__all__ = ["ResultTape", "tape_of", "SPENT", "spent"]


def _spent(grads: list[Any]) -> Any:
    raise HybridError(
        "this result comes from a recorded function that also writes state, so what its gradient "
        "needs was not kept; call backward inside that function, or compute the result outside"
    )


SPENT = (PseudoOp("recorded call", _spent, (None,)), (), (), None)


def spent(output: int) -> Any:
    """The tape of results whose gradients have been used, by output number."""
    return SPENT


class _Input(NamedTuple):
    """A parent that is an input, by its position among those of the template."""

    position: int


class _Node(NamedTuple):
    """A node of the template: what the op resolved to, its parents (an _Input, (position of a node,
    output of it or None), or None), and what it saved, by value needed."""

    resolved: Any
    parents: tuple[Any, ...]
    saved: tuple[int | None, ...]
    outs: tuple[int | None, ...] | None


class ResultTape(NamedTuple):
    """Template of the tape above the results of one recorded call.  `nodes`: producers before
    users; `roots`: what each result hangs on; `position`: output number -> position among the
    results; `inputs`: numbers of the inputs that are on a tape; `graph`: computes what the nodes
    saved."""

    nodes: tuple[_Node, ...]
    roots: tuple[Any, ...]
    position: dict[int, int]
    inputs: tuple[int, ...]
    avals: tuple[Aval, ...]
    graph: Graph

    def start(self, inputs: Sequence[Any]) -> Callable[[int], Any]:
        """Tape nodes for the results of one replay, by output number."""
        values = [value_of(tensor) for tensor in inputs]
        parents = tuple([inputs[number]._node for number in self.inputs])

        def inner(parents: Sequence[Any]) -> list[Any]:
            return self._inner(parents, values)

        node = (PseudoOp("recorded call", None, self.avals, inner), parents, (), None)
        position = self.position
        return lambda output: node if len(position) == 1 else (position[output], node)

    def _inner(self, parents: Sequence[Any], values: list[Any]) -> list[Any]:
        """Nodes of the results, from the nodes that the inputs have now."""
        computed = evaluate_eager(self.graph, values)
        rebuilt: list[Any] = []

        def resolve(parent: Any) -> Any:
            if parent is None:
                return None
            if type(parent) is _Input:
                return parents[parent.position]
            node = rebuilt[parent[0]]
            return node if parent[1] is None else (parent[1], node)

        def picked(numbers: Sequence[int | None]) -> tuple[Any, ...]:
            return tuple([None if k is None else computed[k] for k in numbers])

        for resolved, above, saved, outputs in self.nodes:
            kept = picked(saved)
            results = None if outputs is None else picked(outputs)
            rebuilt.append((resolved, tuple(map(resolve, above)), kept, results))
        return [resolve(root) for root in self.roots]


class _Template:
    """Turns recorded tape nodes into template nodes; numbers inputs and saved values on the way."""

    def __init__(self, roles: Roles) -> None:
        recorder = self.recorder = roles.recorder
        self.starts = {  # id of the node of an input, where the recorded tape begins -> input
            id(owner(tensor._node)): number
            for number, tensor in enumerate([*recorder.args, *recorder.captures])
            if tensor._node is not None
        }
        self.inputs: dict[int, int] = {}  # input -> position, in order of use
        self.saved: dict[int, int] = {}  # value number -> position among the graph's outputs
        self.position: dict[int, int] = {}  # id of a recorded node -> position in the template

    def parent(self, node: Any) -> Any:
        if node is None:
            return None
        holder = owner(node)
        number = self.starts.get(id(holder))
        if number is not None:
            return _Input(self.inputs.setdefault(number, len(self.inputs)))
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
        return self.saved.setdefault(number, len(self.saved))


def tape_of(roles: Roles, results: dict[int, Handle]) -> ResultTape:
    """The tape above results (output number -> the recorded tensor); Unfit where a replay cannot
    have the same."""
    template, nodes = _Template(roles), []
    roots = [tensor._node for tensor in results.values()]
    for node in reversed(order(roots, set(template.starts))):
        if id(node) not in template.starts:
            nodes.append(template.node(node))
            template.position[id(node)] = len(nodes) - 1
    return ResultTape(
        tuple(nodes),
        tuple(map(template.parent, roots)),
        {output: i for i, output in enumerate(results)},
        tuple(template.inputs),
        tuple([tensor._a for tensor in results.values()]),
        roles.recorder.graph(list(template.saved)),
    )
