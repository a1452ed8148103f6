"""Rebuilding graphs: the one loop that passes are written on.

Invariant: the result shares every node that did not change with its source, and is the source
itself when nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from .graph import Graph, Node, Value

__all__ = ["rewrite", "dependencies", "inlined", "keep_nodes"]

Visit = Callable[[Node, tuple[Value, ...]], "Sequence[Value] | Node | None"]


def rewrite(graph: Graph, visit: Visit) -> Graph:
    """Rebuild a graph node by node, in order.

    `visit(node, new_inputs)` returns values that replace the node's outputs, a Node to put in its
    place (its outputs replace the old ones), or None to keep the node with the new inputs.
    """
    replaced: dict[Value, Value] = {}
    nodes: list[Node] = []
    changed = False
    for node in graph.nodes:
        inputs = tuple(replaced.get(v, v) for v in node.inputs)
        replacement = visit(node, inputs)
        if replacement is None:
            if all(a is b for a, b in zip(inputs, node.inputs)):
                nodes.append(node)
                continue
            replacement = Node(
                node.op, node.params, inputs, [v.aval for v in node.outputs], node.site
            )
        changed = True
        if isinstance(replacement, Node):
            nodes.append(replacement)
            replacement = replacement.outputs
        replaced.update(zip(node.outputs, replacement))
    if not changed:
        return graph
    return Graph(graph.inputs, nodes, [replaced.get(v, v) for v in graph.outputs], graph.names)


def keep_nodes(graph: Graph, keep: Callable[[Node], bool]) -> Graph:
    """The graph with the nodes for which `keep` holds; the rest must have no users left."""
    nodes = [n for n in graph.nodes if keep(n)]
    if len(nodes) == len(graph.nodes):
        return graph
    return Graph(graph.inputs, nodes, graph.outputs, graph.names)


def dependencies(values: Iterable[Value], known: Container[Value] = ()) -> Iterator[Node]:
    """Nodes that the values depend on, each once, producers first; none whose first result is
    `known`, nor what only such ones need."""
    visited: set[Node] = set()
    finished: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(v.node, False) for v in values if v.node is not None][::-1]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            if node not in finished:
                finished.add(node)
                yield node
        elif node not in visited and node.outputs[0] not in known:
            visited.add(node)
            stack.append((node, True))
            stack.extend((v.node, False) for v in reversed(node.inputs) if v.node is not None)


def inlined(nodes: Sequence[Node], values: dict[Value, Value]) -> list[Node]:
    """Copies of nodes on other values; `values` learns what became of their outputs."""
    copies = []
    for node in nodes:
        operands = [values.get(value, value) for value in node.inputs]
        avals = [output.aval for output in node.outputs]
        copies.append(Node(node.op, node.params, operands, avals, node.site))
        values.update(zip(node.outputs, copies[-1].outputs))
    return copies
