"""Graphs compiled to functions of values, without tensors of the user around them.

Invariant: a run gives the bits of the graph run node by node, and changes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ...backends.api import CHECKED, Entry, Replay, ReplayInput
from ...compiler.pipeline import build
from ...core import signals
from ...core.aval import Device
from ...ir.door.bind import LOCAL, STATE, backend_of
from ...ir.door.evaluate import host_kernel
from ...ir.graph.graph import Graph
from ...ir.tensor import Handle

__all__ = ["ValuePlan", "value_plan"]


class Carrier(Handle):
    """What brings a value into a native entry and out of it."""

    __slots__ = ()


class ValuePlan:
    """A plan as a function of the values of its graph's inputs."""

    __slots__ = ("entry", "executable", "avals", "spare")

    def __init__(self, graph: Graph, device: Device) -> None:
        self.avals = [value.aval for value in graph.inputs]
        self.spare: list[list[Carrier]] = []  # what carried values before
        result = build(graph, (), kernel=host_kernel)
        self.executable = backend_of(device).compile(result.plan, result.graph)
        self.entry: Entry | None = self.executable.entry(
            Replay(
                inputs=tuple([ReplayInput(aval, None, CHECKED) for aval in self.avals]),
                states=(),
                results=tuple(range(len(graph.outputs))),
                form="tuple",
                tensor_types=(Carrier,),
            )
        )

    def run(self, values: list[Any]) -> list[Any]:
        """Values of the outputs."""
        entry = self.entry
        if entry is not None:
            carriers: list[Carrier] = []
            with suppress(IndexError):
                carriers = self.spare.pop()
            carriers = carriers or [self._carrier(aval) for aval in self.avals]
            for carrier, value in zip(carriers, values):
                carrier._v = value
            made = entry.call(*carriers)
            for carrier in carriers:
                carrier._v = None
            self.spare.append(carriers)
            if made is not NotImplemented:
                return [carrier._v for carrier in made]
        values = self.executable(values)
        return values

    @staticmethod
    def _carrier(aval: Any) -> Carrier:
        carrier = Carrier()
        carrier._a, carrier._node = aval, None
        return carrier


def value_plan(graph: Graph, device: Device) -> ValuePlan:
    """A graph compiled with no mode that would look at what the compiler computes."""
    with signals.held:
        return _value_plan(graph, device)


@signals.critical
def _value_plan(graph: Graph, device: Device) -> ValuePlan:
    mode = LOCAL.mode
    STATE.special -= mode is not None
    LOCAL.mode = None
    try:
        return ValuePlan(graph, device)
    finally:
        STATE.special += mode is not None
        LOCAL.mode = mode
