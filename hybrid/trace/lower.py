"""Lowering: a graph becomes a plan: regions -> homes -> kernels over slots -> order -> memory.

Invariant: the plan computes every output with the bits of node-by-node evaluation.  Nothing here
names an op or a backend; kernels are the plain data of backends/plan.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..backends.plan import Plan
from ..ir.graph import Graph
from .kernels import Draft, draft
from .passes.fuse import fuse
from .passes.memory import pack
from .passes.schedule import schedule
from .storage import assign

__all__ = ["lower", "drafted"]

States = Sequence[tuple[int, int]]


def drafted(graph: Graph, states: States = ()) -> Draft:
    """Kernels with their dependencies, before order and memory are fixed."""
    regions = fuse(graph)
    return draft(regions, assign(regions, states))


def lower(graph: Graph, states: States = (), donate: bool = True) -> Plan:
    """The plan of a graph.

    `states`: pairs (output number, input number): that output is the new value of that input, and
    may be written over it when no reader of the old value is left (`donate` False: never).
    """
    return pack(schedule(drafted(graph, states), donate))
