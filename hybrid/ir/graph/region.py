"""A graph inside a node: what a branch or a step of a loop computes, as a parameter.

Invariant: a region never changes, and two regions are equal exactly if they compute the same from
the same operands, literals compared by their bits; where their lines stand plays no part.  All its
values are of the host: the node that it is in says where it runs.
"""

from __future__ import annotations

from typing import Any

from ...core.aval import HOST, Aval, Device, aval
from ...core.errors import GraphError
from .graph import Const, Graph, Node, Value, literal_key, param_key

__all__ = ["Region", "graph_on", "regions_in"]


def graph_on(graph: Graph, device: Device) -> Graph:
    """The same graph with all its values on a device; graphs inside its nodes stay of the host."""
    listed = (*graph.inputs, *graph.outputs, *[v for n in graph.nodes for v in n.inputs])
    if all(value.aval.device is device for value in listed):
        return graph
    values = {v: Value(_aval_on(v.aval, device)) for v in graph.inputs}

    def operand(value: Value) -> Value:
        if isinstance(value, Const) and value not in values:
            values[value] = Const(_aval_on(value.aval, device), value.data)
        return values[value]

    nodes = []
    for node in graph.nodes:
        params = {k: device if isinstance(v, Device) else v for k, v in node.params.items()}
        avals = [_aval_on(v.aval, device) for v in node.outputs]
        nodes.append(Node(node.op, params, tuple(map(operand, node.inputs)), avals, node.site))
        values.update(zip(node.outputs, nodes[-1].outputs))
    return Graph(list(map(operand, graph.inputs)), nodes, list(map(operand, graph.outputs)))


def _aval_on(record: Aval, device: Device) -> Aval:
    return record if record.device is device else aval(record.shape, record.dtype, device)


def _key(graph: Graph) -> tuple[Any, ...]:
    """What a graph computes, comparable."""
    number: dict[Value, int] = {value: k for k, value in enumerate(graph.inputs)}

    def operand(value: Value) -> Any:
        return literal_key(value) if isinstance(value, Const) else number[value]

    nodes = []
    for node in graph.nodes:
        params = tuple((k, param_key(node.params[k])) for k in sorted(node.params))
        avals = tuple(v.aval for v in node.outputs)
        nodes.append((node.op, params, tuple(map(operand, node.inputs)), avals))
        for value in node.outputs:
            number[value] = len(number)
    inputs = tuple(v.aval for v in graph.inputs)
    return inputs, tuple(nodes), tuple(map(operand, graph.outputs))


class Region:
    """A graph whose inputs are block arguments; hashable, so that it can be a parameter."""

    __slots__ = ("graph", "key", "_hash")

    def __init__(self, graph: Graph) -> None:
        for value in (*graph.inputs, *[out for node in graph.nodes for out in node.outputs]):
            if value.aval.device is not HOST:
                raise GraphError(f"a region computes with {value.aval}, which is not of the host")
        self.graph, self.key = graph, _key(graph)
        self._hash = hash(self.key)

    @property
    def ins(self) -> tuple[Any, ...]:
        """The avals of its arguments."""
        return tuple([v.aval for v in self.graph.inputs])

    @property
    def outs(self) -> tuple[Any, ...]:
        """The avals of its results."""
        return tuple([v.aval for v in self.graph.outputs])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and self.key == other.key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Region({len(self.graph.nodes)} nodes)"


def regions_in(params: dict[str, Any]) -> list[Region]:
    """The regions among the parameters of a node, in order."""
    found: list[Region] = []
    for value in params.values():
        listed = value if isinstance(value, tuple) else (value,)
        found += [v for v in listed if isinstance(v, Region)]
    return found
