"""Common subexpressions: of two nodes with the same op, parameters and inputs the first serves
both.

Legal always: ops are functions of their inputs and parameters (random numbers take their counter as
an input).  Parameters and literals are compared by type and bits: 0.0 is not -0.0.  Nodes with the
fact `effect` stay.

before:  %0 = exp(%x0)   %1 = exp(%x0)   %2 = add(%0, %1)
after:   %0 = exp(%x0)   %2 = add(%0, %0)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.graph.graph import Const, Graph, Node, Value, literal_key, param_key
from ...ir.graph.rewrite import rewrite
from . import Context, Pass

__all__ = ["PASS"]


def run(graph: Graph, context: Context) -> Graph:
    seen: dict[Any, Node] = {}

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | Node | None:
        if node.op.has("effect"):
            return None
        key = (
            node.op,
            tuple((k, param_key(node.params[k])) for k in sorted(node.params)),
            tuple(literal_key(v) if isinstance(v, Const) else v for v in inputs),
        )
        first = seen.get(key)
        if first is not None:
            return first.outputs
        kept = node
        if any(a is not b for a, b in zip(inputs, node.inputs)):
            kept = Node(node.op, node.params, inputs, [v.aval for v in node.outputs], node.site)
        seen[key] = kept
        return None if kept is node else kept

    return rewrite(graph, visit)


PASS = Pass("cse", run)
