"""Reference replay: a graph run node by node, through op.reference or a caller's kernels.

Invariant: no optimisation happens here; values are released after their last use and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.aval import Aval
from ...core.errors import GraphError
from ...core.floating import plain_floats
from ..graph.graph import Const, Graph, Node, Value
from .bind import entry_for

__all__ = [
    "evaluate",
    "evaluate_eager",
    "eager_kernel",
    "evaluate_reference",
    "reference_kernel",
]

Kernel = Callable[[Node, Sequence[Any]], Sequence[Any]]


def _last_uses(graph: Graph) -> dict[int, list[Value]]:
    last: dict[Value, int] = {}
    for k, n in enumerate(graph.nodes):
        for v in (*n.inputs, *n.outputs):
            last[v] = k
    kept = set(graph.outputs)
    out: dict[int, list[Value]] = {}
    for v, k in last.items():
        if v not in kept:
            out.setdefault(k, []).append(v)
    return out


def evaluate(graph: Graph, inputs: Sequence[Any], kernel: Kernel) -> list[Any]:
    """Outputs of the graph; `kernel(node, values)` returns the node's results, one per output."""
    if len(inputs) != len(graph.inputs):
        raise GraphError(f"{len(inputs)} values for {len(graph.inputs)} graph inputs")
    env: dict[Value, Any] = dict(zip(graph.inputs, inputs))
    dead = _last_uses(graph)
    for k, n in enumerate(graph.nodes):
        got = kernel(n, [v.data if isinstance(v, Const) else env[v] for v in n.inputs])
        if len(got) != len(n.outputs):
            raise GraphError(f"{n.op.name} gave {len(got)} results, {len(n.outputs)} expected")
        env.update(zip(n.outputs, got))
        for v in dead.get(k, ()):
            env.pop(v, None)
    return [v.data if isinstance(v, Const) else env[v] for v in graph.outputs]


def eager_kernel(node: Node, values: Sequence[Any]) -> tuple[Any, ...]:
    """The results of one node from the kernels of eager mode."""
    key = tuple([(k, node.params[k]) for k in node.op.params if k in node.params])
    got = entry_for(node.op, tuple([v.aval for v in node.inputs]), key).kernel(*values)
    return (got,) if len(node.outputs) == 1 else tuple(got)


def evaluate_eager(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """Outputs of the graph, node by node with the kernels of eager mode."""
    return evaluate(graph, inputs, eager_kernel)


def _cast(x: Any, a: Aval) -> np.ndarray:
    with plain_floats():
        return np.ascontiguousarray(np.asarray(x).astype(a.dtype, copy=False)).reshape(a.shape)


def reference_kernel(node: Node, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One node through its record's NumPy oracle, rounded to the result's dtype."""
    op = node.op
    if op.reference is None:
        raise GraphError(f"{op.name} has no reference; evaluate with a kernel function instead")
    with plain_floats():
        got = op.reference(*values, **node.params)
    outs = got if op.nout > 1 else (got,)
    return [_cast(x, v.aval) for x, v in zip(outs, node.outputs, strict=True)]


def evaluate_reference(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The graph through the slow oracles: within the records' stated error, not bit for bit."""
    return evaluate(graph, inputs, reference_kernel)
