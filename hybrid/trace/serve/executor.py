"""Running an accepted recording: the executor protocol, and the reference executor that uses the
eager kernels.

Invariant: `run` changes nothing: it returns the values of the graph's outputs, or MISS; committing
them is the caller's last step, so an error leaves all state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ...ir.door.busy import values_of
from ...ir.door.evaluate import evaluate_eager
from ..record.recording import Recording

__all__ = ["MISS", "Executor", "ReferenceExecutor", "Run"]


class _Miss:
    def __repr__(self) -> str:
        return "MISS"


MISS = _Miss()
Run = Callable[[Sequence[Any]], Any]


class Executor(Protocol):
    """Turns a recording into `run(inputs) -> values of graph.outputs, or MISS`."""

    def prepare(self, recording: Recording) -> Run: ...


class ReferenceExecutor:
    """Interprets the recorded graph; every device that has eager kernels can run it."""

    def prepare(self, recording: Recording) -> Run:
        graph = recording.graph

        def run(inputs: Sequence[Any]) -> list[Any]:
            return evaluate_eager(graph, values_of(inputs))

        return run
