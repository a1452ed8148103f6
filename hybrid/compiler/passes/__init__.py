"""Graph passes, one file each, and what a pass is.

Invariant: a pass takes a valid graph and returns a valid graph with the same outputs bit for bit,
the same object when it changed nothing; it asks facts and kinds of ops and never names one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...ir.graph.graph import Graph, Node

__all__ = ["Pass", "Context", "keeps_effect"]


class Context(NamedTuple):
    """What the pipeline gives a pass: `kernel(node, arrays) -> arrays` runs one node with the eager
    kernels (None: nothing is folded)."""

    kernel: Callable[[Node, Sequence[Any]], Sequence[Any]] | None = None


class Pass(NamedTuple):
    """A step of the pipeline that makes a graph: `run(graph, context) -> graph`."""

    name: str
    run: Callable[[Graph, Context], Graph]


def keeps_effect(node: Node) -> bool:
    """Whether a node must run even if nobody reads it: it can fail, as eager code would have."""
    op = node.op
    return op.check is not None or op.has("effect") or (op.kind == "host" and not op.has("total"))
