"""Running an accepted recording: the executor protocol.

Invariant: `run` changes nothing: it returns the values of the graph's outputs, or MISS; committing
them is the caller's last step, so an error leaves all state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..record.recording import Recording

__all__ = ["MISS", "Executor", "Run"]


class _Miss:
    def __repr__(self) -> str:
        return "MISS"


MISS = _Miss()
Run = Callable[[Sequence[Any]], Any]


class Executor(Protocol):
    """Turns a recording into `run(inputs) -> values of graph.outputs, or MISS`."""

    def prepare(self, recording: Recording) -> Run: ...
