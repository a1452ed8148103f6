"""The kinds of devices that generic tests run on, and tensors there.

HYBRID_BACKENDS=all runs every case on every kind; without it the default kind sees every case and
the others a sample.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import toy_backend  # noqa: F401  (registers the kind "toy")

import hybrid
from hybrid.backends.api import backend, kinds
from hybrid.core.aval import HOST
from hybrid.core.errors import HybridError
from hybrid.ir.graph.graph import Graph
from hybrid.ir.graph.text import parse_graph, print_graph

__all__ = ["KINDS", "EVERY", "sampled", "tensor", "params_on", "graph_on", "values", "arrays"]

EVERY = os.environ.get("HYBRID_BACKENDS") == "all"


def _runs(kind: str) -> bool:
    """Whether there is such a device here."""
    try:
        backend(kind).from_numpy(np.zeros(1))
    except (HybridError, ImportError):
        return False
    return True


OWN_SUMS = {"toy"}  # whose sums are not those of the numerics contract
FEW = {"boxes"}  # of which a few tests are enough
FOUND = sorted(filter(_runs, kinds()), key=lambda kind: kind != HOST.kind)
KINDS = tuple(kind for kind in FOUND if EVERY or kind not in FEW)


def sampled(cases: Sequence[Any], kind: str, few: int = 3) -> Sequence[Any]:
    """All cases on the default kind; elsewhere `few` of them, spread out, unless all are wanted."""
    if EVERY or kind == HOST.kind or len(cases) <= few:
        return cases
    return [cases[i * len(cases) // few] for i in range(few)]


def tensor(x: Any, kind: str, **more: Any) -> Any:
    """The tensor of an array on a kind of device."""
    return hybrid.tensor(x, device=kind, **more)


def params_on(params: dict[str, Any], kind: str) -> dict[str, Any]:
    """The parameters of a record with that device in the place of the default one."""
    return {k: hybrid.device(kind) if v is HOST else v for k, v in params.items()}


def graph_on(graph: Graph, kind: str) -> Graph:
    """The same graph on a kind of device; the graphs in its nodes stay of the host."""
    if kind == HOST.kind:
        return graph
    parts = re.split(r'(region "(?:[^"\\]|\\.)*")', print_graph(graph))
    for number in range(0, len(parts), 2):
        text = re.sub(r"(?<=[0-9a-z]\[)([0-9x]*\])", rf"\1@{kind}", parts[number])
        parts[number] = text.replace(f"@{HOST.kind}", f"@{kind}")
    return parse_graph("".join(parts))


def values(arrays: Sequence[np.ndarray], kind: str) -> list[Any]:
    """Host arrays as values of a backend."""
    there = backend(kind)
    return [there.from_numpy(x) if kind != HOST.kind else x for x in arrays]


def arrays(made: Sequence[Any], kind: str) -> list[np.ndarray]:
    """Values of a backend as host arrays."""
    return list(map(backend(kind).to_numpy, made))
