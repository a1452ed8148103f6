"""Running an accepted recording: the executor protocol, and the reference executor that uses the
eager kernels.

Invariant: `run` changes nothing: it returns the values of the graph's outputs, or MISS; committing
them is the caller's last step, so an error leaves all state as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..ir.bind import entry_for
from ..ir.graph import Const, Graph, Value
from .recording import Recording

__all__ = ["MISS", "Executor", "ReferenceExecutor", "run_graph", "Run"]


class _Miss:
    def __repr__(self) -> str:
        return "MISS"


MISS = _Miss()
Run = Callable[[list[Any], tuple[Any, ...]], Any]


class Executor(Protocol):
    """Turns a recording into `run(args, captures) -> values of graph.outputs, or MISS`."""

    def prepare(self, recording: Recording) -> Run: ...


def run_graph(graph: Graph, values: list[Any]) -> list[Any]:
    """Output values of a graph for input values, node by node with the eager kernels."""
    env: dict[Value, Any] = dict(zip(graph.inputs, values))

    def get(v: Value) -> Any:
        return v.data if isinstance(v, Const) else env[v]

    for n in graph.nodes:
        key = tuple([(k, n.params[k]) for k in n.op.params if k in n.params])
        e = entry_for(n.op, tuple([v.aval for v in n.inputs]), key)
        got = e.kernel(*[get(v) for v in n.inputs])
        for v, x in zip(n.outputs, (got,) if len(n.outputs) == 1 else got):
            env[v] = x
    return [get(v) for v in graph.outputs]


class ReferenceExecutor:
    """Interprets the recorded graph; every device that has eager kernels can run it."""

    def prepare(self, recording: Recording) -> Run:
        graph = recording.graph

        def run(args: list[Any], caps: tuple[Any, ...]) -> list[Any]:
            return run_graph(graph, [t._v for t in args] + [t._v for t in caps])

        return run
