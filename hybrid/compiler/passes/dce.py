"""Dead code: nodes that no output needs go.

Legal for every node that cannot fail; an index check or a host call stays, because the eager
program would have raised there.

before:  %0 = exp(%x0)   %1 = add(%x0, %x0)   return %1
after:   %1 = add(%x0, %x0)   return %1
"""

from __future__ import annotations

from ...ir.graph.graph import Graph, Node
from ...ir.graph.rewrite import keep_nodes
from . import Context, Pass, keeps_effect

__all__ = ["PASS"]


def run(graph: Graph, context: Context) -> Graph:
    live: set[Node] = {v.node for v in graph.outputs if v.node is not None}
    for node in reversed(graph.nodes):
        if keeps_effect(node):
            live.add(node)
        if node in live:
            live.update(v.node for v in node.inputs if v.node is not None)
    return keep_nodes(graph, live.__contains__)


PASS = Pass("dce", run)
