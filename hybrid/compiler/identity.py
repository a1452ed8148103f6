"""What a plan depends on, as a digest that is the same in every process; plans without the lines of
a program.

Invariant: equal digests mean equal plans, of the same version of this package; a graph with a
parameter or an op that no text says all about has none.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from ..backends.plan import Plan
from ..core.aval import Aval, Device
from ..core.errors import Site
from ..core.precision import MATMUL
from ..ir.graph.graph import Const, Graph, Node, Value
from ..ir.op import is_stock

__all__ = ["identity_of", "placed", "unplaced"]

FEW = 64  # nodes of a graph from which on looking for its plan pays
MAKERS = ("backends", "compiler", "core", "ir", "ops")  # what has a part in a plan
BEGAN = time.time()  # of this process, or soon after
SETTLED = 2.0  # seconds before that, in which it may have read the code
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class _Unsaid(Exception):
    """No text says all about a value."""


@lru_cache(1)
def _version() -> bytes | None:
    """A digest of the code that makes plans, by its text; None where that is not what runs: it is
    not there as text, or was written since this process has it."""
    digest = hashlib.sha256(repr((sys.version_info, np.__version__)).encode())
    found = set[str]()
    for folder, inside, files in chain(*[os.walk(os.path.join(PACKAGE, m)) for m in MAKERS]):
        inside.sort()
        for name in sorted(files):
            if not name.endswith(".py"):
                continue
            path = os.path.join(folder, name)
            with open(path, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_ctime > BEGAN - SETTLED:
                    return None
                text = file.readall()
            digest.update(f"{path[len(PACKAGE) :]} {len(text)}\n".encode())
            digest.update(text)
            found.add(path)
    return digest.digest() if os.path.abspath(__file__) in found else None


_EXACT: dict[type, Callable[[Any], str]] = {
    int: repr,
    bool: repr,
    type(None): repr,
    str: repr,
    bytes: repr,
    float: float.hex,
    Device: lambda device: f"@{device.name}",
}


def _text(value: Any) -> str:
    """A parameter; texts of unequal ones differ, 0.0 and -0.0 and 1 and True among them."""
    exact = _EXACT.get(type(value))
    if exact is not None:
        return exact(value)
    if type(value) is tuple:
        return f"({','.join(map(_text, value))},)"
    if isinstance(value, np.dtype):
        return f"<{value.name}>"
    raise _Unsaid(type(value))


def _literal(literal: Const) -> str:
    content = hashlib.sha256(literal.data.tobytes()).hexdigest()
    return f"{type(literal).__name__} {literal.aval!r} {content}"


class _Lines:
    """The text of a graph: values are numbered as they are made."""

    def __init__(self, graph: Graph) -> None:
        self.places: dict[Value, str] = {}
        self.sites: dict[Site | None, int] = {}
        self.avals: dict[Aval, str] = {}
        inputs = list(map(self._made, graph.inputs))
        self.lines = [*inputs, *map(self._node, graph.nodes), *map(self._read, graph.outputs)]

    def _made(self, value: Value) -> str:
        aval = value.aval
        text = self.avals.get(aval) or self.avals.setdefault(aval, repr(aval))
        name = self.places[value] = f"%{len(self.places)}"
        return f"{name} {text}"

    def _read(self, value: Value) -> str:
        return _literal(value) if isinstance(value, Const) else self.places[value]

    def _node(self, node: Node) -> str:
        if not is_stock(node.op):
            raise _Unsaid(node.op.name)
        params = [f"{name}={_text(value)}" for name, value in node.params.items()]
        inputs = " ".join(map(self._read, node.inputs))
        results = " ".join(map(self._made, node.outputs))
        # which nodes stand in one line: a plan names the line of one of them
        site = self.sites.setdefault(node.site, len(self.sites))
        return f"{results} = {node.op.name} {inputs} {{{' '.join(params)}}} #{site}"


def identity_of(graph: Graph, states: Sequence[tuple[int, int]]) -> bytes | None:
    """The digest of a graph and its states; None for small ones, and where there is none."""
    version = _version() if len(graph.nodes) >= FEW else None
    if version is None:
        return None
    try:
        text = "\n".join([*_Lines(graph).lines, repr(tuple(states)), repr(MATMUL.fast)])
    except _Unsaid:
        return None
    return hashlib.sha256(version + text.encode()).digest()


def _numbers(graph: Graph) -> dict[Site | None, int]:
    numbers: dict[Site | None, int] = {}
    for node in graph.nodes:
        numbers.setdefault(node.site, len(numbers))
    return numbers


def unplaced(plan: Plan, graph: Graph) -> Plan | None:
    """The plan of a graph with numbers in place of lines, or None if it names one of no node."""
    numbers = _numbers(graph)
    found = [-1 if site is None else numbers.get(site) for site in plan.sites]
    return None if None in found else plan._replace(sites=tuple(found))  # type: ignore[arg-type]


def placed(plan: Plan, graph: Graph) -> Plan:
    """Such a plan with the lines of a graph of the same identity."""
    sites: list[Any] = [*_numbers(graph), None]
    return plan._replace(sites=tuple([sites[number] for number in plan.sites]))  # type: ignore[call-overload]
