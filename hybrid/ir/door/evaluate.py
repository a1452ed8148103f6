"""A graph run node by node: through the kernels of eager mode, the oracle or a caller's kernels.

Invariant: no optimisation happens here; values are released after their last use and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.errors import GraphError, IndexOutOfRange
from ..graph.graph import Const, Graph, Node, Value
from ..oracle import reference, round_to
from ..tensor import Literal, new_handle
from .bind import fetched, on_device, resolved_for, run

__all__ = [
    "evaluate",
    "evaluate_eager",
    "evaluate_collected",
    "eager_kernel",
    "host_kernel",
    "kernel_at",
    "evaluate_reference",
    "reference_kernel",
]

Look = Callable[[Node, Sequence[Any], Sequence[Any]], None]
Kernel = Callable[[Node, Sequence[Any]], Sequence[Any]]


def _last_uses(graph: Graph) -> dict[int, list[Value]]:
    last: dict[Value, int] = {}
    for number, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.outputs):
            last[value] = number
    kept = set(graph.outputs)
    released: dict[int, list[Value]] = {}
    for value, number in last.items():
        if value not in kept:
            released.setdefault(number, []).append(value)
    return released


def _data(literal: Const) -> np.ndarray:
    return literal.data


def evaluate(
    graph: Graph,
    inputs: Sequence[Any],
    kernel: Kernel,
    literal: Callable[[Const], Any] = _data,
) -> list[Any]:
    """Outputs of the graph; `kernel(node, values)` returns the node's results, one per output, and
    `literal` gives the value of a literal (default: its host array)."""
    if len(inputs) != len(graph.inputs):
        raise GraphError(f"{len(inputs)} values for {len(graph.inputs)} graph inputs")
    values: dict[Value, Any] = dict(zip(graph.inputs, inputs))
    dead = _last_uses(graph)
    for number, node in enumerate(graph.nodes):
        given = [literal(v) if isinstance(v, Const) else values[v] for v in node.inputs]
        results = kernel(node, given)
        if len(results) != len(node.outputs):
            raise GraphError(
                f"{node.op.name} gave {len(results)} results, {len(node.outputs)} expected"
            )
        values.update(zip(node.outputs, results))
        for value in dead.get(number, ()):
            values.pop(value, None)
    return [literal(v) if isinstance(v, Const) else values[v] for v in graph.outputs]


def eager_kernel(node: Node, values: Sequence[Any]) -> tuple[Any, ...]:
    """The results of one node from the kernels of eager mode."""
    ordered = tuple([(k, node.params[k]) for k in node.op.params if k in node.params])
    results = resolved_for(node.op, tuple([v.aval for v in node.inputs]), ordered).kernel(*values)
    return (results,) if len(node.outputs) == 1 else tuple(results)


def host_kernel(node: Node, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same for host arrays, whatever the device of the node."""
    values = [on_device(x, v.aval.device) for x, v in zip(arrays, node.inputs)]
    results = zip(eager_kernel(node, values), node.outputs, strict=True)
    return [fetched(x, v.aval.device) for x, v in results]


def kernel_at(node: Node, values: Sequence[Any]) -> tuple[Any, ...]:
    """`eager_kernel` whose errors of indices name the line of the node."""
    try:
        return eager_kernel(node, values)
    except IndexOutOfRange as error:
        if node.site is None:
            raise
        text = str(error)
    raise IndexOutOfRange(f"{text} (at {node.site})")


def evaluate_eager(graph: Graph, inputs: Sequence[Any], look: Look | None = None) -> list[Any]:
    """Outputs of the graph, node by node with the kernels of eager mode; `look` is told of each
    node with the values that it gets and makes."""

    def told(node: Node, values: Sequence[Any]) -> tuple[Any, ...]:
        results = kernel_at(node, values)
        if look is not None:
            look(node, values, results)
        return results

    kernel = kernel_at if look is None else told
    return evaluate(graph, inputs, kernel, lambda c: on_device(c.data, c.aval.device))


def evaluate_collected(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """The same by op calls, which this thread's mode may collect: some may be pending."""

    def called(node: Node, given: Sequence[Any]) -> tuple[Any, ...]:
        ordered = tuple([(k, node.params[k]) for k in node.op.params if k in node.params])
        resolved = resolved_for(node.op, tuple([v.aval for v in node.inputs]), ordered)
        made = run(resolved, tuple(given), link=False)
        return (made,) if resolved.single else tuple(made)

    def number(const: Const) -> Any:
        tensor = new_handle(on_device(const.data, const.aval.device), const.aval)
        if not const.aval.shape:
            tensor._x = Literal(const.data)
        return tensor

    tensors = [new_handle(value, given.aval) for value, given in zip(inputs, graph.inputs)]
    return [tensor._v for tensor in evaluate(graph, tensors, called, number)]


def reference_kernel(node: Node, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One node through its record's oracle."""
    return reference(node.op, node.params, values)


def evaluate_reference(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The graph through the slow oracles: within the records' stated error, not bit for bit.

    An oracle around this one may have widened the inputs."""
    given = [round_to(x, v.aval.dtype) for x, v in zip(inputs, graph.inputs, strict=True)]
    return evaluate(graph, given, reference_kernel)
