"""Rebuilding graphs: the one loop that passes are written on.

Invariant: the result shares every node that did not change with its source, and is the source
itself when nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from .graph import Graph, Node, Value

__all__ = ["rewrite", "walk", "keep_nodes"]

Visit = Callable[[Node, tuple[Value, ...]], "Sequence[Value] | Node | None"]


def rewrite(graph: Graph, visit: Visit) -> Graph:
    """Rebuild a graph node by node, in order.

    `visit(node, new_inputs)` returns values that replace the node's outputs, a Node to put in its
    place (its outputs replace the old ones), or None to keep the node with the new inputs.
    """
    env: dict[Value, Value] = {}
    nodes: list[Node] = []
    changed = False
    for n in graph.nodes:
        ins = tuple(env.get(v, v) for v in n.inputs)
        got = visit(n, ins)
        if got is None:
            if all(a is b for a, b in zip(ins, n.inputs)):
                nodes.append(n)
                continue
            got = Node(n.op, n.params, ins, [v.aval for v in n.outputs], n.site)
        changed = True
        if isinstance(got, Node):
            nodes.append(got)
            got = got.outputs
        env.update(zip(n.outputs, got))
    if not changed:
        return graph
    return Graph(graph.inputs, nodes, [env.get(v, v) for v in graph.outputs], graph.names)


def keep_nodes(graph: Graph, keep: Callable[[Node], bool]) -> Graph:
    """The graph with the nodes for which `keep` holds; the rest must have no users left."""
    nodes = [n for n in graph.nodes if keep(n)]
    if len(nodes) == len(graph.nodes):
        return graph
    return Graph(graph.inputs, nodes, graph.outputs, graph.names)


def walk(values: Iterable[Value]) -> Iterator[Node]:
    """Nodes that the values depend on, each once, producers first."""
    seen: set[Node] = set()
    done: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(v.node, False) for v in values if v.node is not None][::-1]
    while stack:
        n, leaving = stack.pop()
        if leaving:
            if n not in done:
                done.add(n)
                yield n
        elif n not in seen:
            seen.add(n)
            stack.append((n, True))
            stack.extend((v.node, False) for v in reversed(n.inputs) if v.node is not None)
