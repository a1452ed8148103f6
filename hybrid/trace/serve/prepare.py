"""From an accepted recording to native code: passes, plan, executable.

Invariant: what is prepared here gives the bits of the recorded graph run node by node.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from ...compiler.pipeline import Result, build
from ...core.aval import CPU
from ...core.errors import blame
from ...ir.door.bind import backend_of
from ...ir.door.busy import values_of
from ...ir.door.evaluate import eager_kernel
from ...ir.graph.graph import Graph
from ..record.guards import Ref
from ..record.recording import Recording

__all__ = ["NativeExecutor", "Prepared", "input_of"]


def device_of(graph: Graph) -> Any:
    """The device a graph runs on."""
    for v in (*graph.inputs, *graph.outputs):
        return v.aval.device
    return CPU


class Prepared:
    """Native code of one recording."""

    def __init__(self, recording: Recording) -> None:
        start = perf_counter()
        self.recording = recording
        self.states = [(i, input_of(recording, role)) for role, i in recording.writes]
        self.result: Result = build(recording.graph, self.states, kernel=eager_kernel)
        lowered = perf_counter()
        try:
            self.executable = backend_of(device_of(recording.graph)).compile(self.result.plan)
        except Exception as e:
            blame(e, step="compile", plan=self.result.plan)
            raise
        self.lower_seconds, self.compile_seconds = lowered - start, perf_counter() - lowered

    @property
    def forms(self) -> list[tuple[str, Any]]:
        """The intermediate forms, for people to look at: made again, as they would take more memory
        than the code."""
        graph = self.recording.graph
        forms: list[tuple[str, Any]] = [("recorded", graph)]
        build(graph, self.states, eager_kernel, hook=lambda *form: forms.append(form))
        return forms

    def __call__(self, args: list[Any], caps: tuple[Any, ...]) -> list[np.ndarray]:
        """Values of the graph's outputs; nothing else changes."""
        return self.executable(values_of([*args, *caps]))


def input_of(r: Recording, role: Ref) -> int:
    """The number of the graph input that an argument or capture is."""
    return role.number + (r.args if role.kind == "cap" else 0)


class NativeExecutor:
    """The executor of @function: a backend's native code."""

    def prepare(self, recording: Recording) -> Prepared:
        """Compile a recording; the result can be called."""
        return Prepared(recording)
