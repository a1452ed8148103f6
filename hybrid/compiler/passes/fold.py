"""Fold constants: a node whose inputs are all literals becomes literals.

Legal when the eager kernel itself computes the value, so the bits are those of the eager call, and
the result is small.  Nodes that may fail, host calls and fills (no inputs, more than one element)
stay.

before:  %0 = add(float32[] 1.0, float32[] 2.0)     %1 = multiply(%x0, %0)
after:   %1 = multiply(%x0, float32[] 3.0)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.errors import HybridError
from ...ir.graph.graph import Const, Graph, Node, Value
from ...ir.graph.rewrite import rewrite
from . import Context, Pass, keeps_effect

__all__ = ["PASS", "MAX_BYTES"]

MAX_BYTES = 64 << 10


def _literal(value: Value, computed: np.ndarray) -> Const:
    data = np.array(np.asarray(computed), dtype=value.aval.dtype, order="C").reshape(
        value.aval.shape
    )
    data.flags.writeable = False
    return Const(value.aval, data)


def _foldable(node: Node, inputs: Sequence[Value]) -> bool:
    if (
        keeps_effect(node)
        or node.op.kind == "host"
        or not all(isinstance(v, Const) and v.known for v in inputs)
    ):
        return False
    if not inputs and any(v.aval.size > 1 for v in node.outputs):
        return False
    return sum(v.aval.nbytes for v in (*inputs, *node.outputs)) <= MAX_BYTES


def run(graph: Graph, context: Context) -> Graph:
    kernel = context.kernel
    if kernel is None:
        return graph

    def visit(old: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not _foldable(old, inputs):
            return None
        node = (
            old
            if inputs == old.inputs
            else Node(old.op, old.params, inputs, [v.aval for v in old.outputs], old.site)
        )
        try:
            results = kernel(node, [v.data for v in inputs if isinstance(v, Const)])
        except HybridError:
            return None
        return [_literal(v, x) for v, x in zip(old.outputs, results, strict=True)]

    return rewrite(graph, visit)


PASS = Pass("fold", run)
