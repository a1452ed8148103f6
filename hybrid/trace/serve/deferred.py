"""Deferred mode: Python runs at each call, its ops are collected and run as fused native segments.

Invariant: a call leaves exactly what the plain function leaves; nothing is pending after it.  Which
of the two ways is faster is found out by taking turns once the segments of a signature repeat, as
both give the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal

from ...ir.door.context import begin_collecting, end_collecting
from ...ir.door.pending import Collector, Segment
from .segments import Segments

__all__ = ["Deferred", "Deferral", "deferral_for", "CHOICE"]

Choice = Literal["auto", "always", "never"]
CHOICE: list[str] = [os.environ.get("HYBRID_DEFERRED", "auto")]
TURNS = 4  # calls of each way that are compared
PATIENCE = 32  # calls after which segments that never repeat are given up


class Deferred(Collector):
    """The mode of one call."""

    __slots__ = ("segments",)

    def __init__(self, segments: Segments) -> None:
        super().__init__()
        self.segments = segments

    def serve(self, segment: Segment, held: tuple[int, ...]) -> dict[int, Any]:
        return self.segments.values(segment, held)


class Deferral:
    """How calls of one signature are run: `verdict` is empty while that is being found out."""

    __slots__ = ("segments", "verdict", "calls", "steady", "times", "broken")

    def __init__(self, segments: Segments) -> None:
        self.segments = segments
        self.verdict: Literal["", "deferred", "eager"] = "deferred" if CHOICE[0] == "always" else ""
        self.calls = self.steady = 0
        self.times: tuple[list[float], list[float]] = ([], [])  # deferred, eager

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, bool]:
        """One call: its result, and whether it was deferred."""
        if self.verdict:
            return self._deferred(function, args, kwargs), True
        deferred, eager = self.times
        if self.steady and len(eager) < len(deferred):
            start = perf_counter()
            result = function(*args, **kwargs)
            eager.append(perf_counter() - start)
            if len(eager) == TURNS:
                self.verdict = "deferred" if min(deferred) <= min(eager) else "eager"
            return result, False
        segments = self.segments
        before = segments.fresh, segments.compilations
        start = perf_counter()
        result = self._deferred(function, args, kwargs)
        seconds = perf_counter() - start
        self.calls += 1
        if before == (segments.fresh, segments.compilations):
            self.steady += 1
            deferred.append(seconds)
        elif self.calls >= PATIENCE and not self.steady:
            self.verdict = "eager"
        return result, True

    def _deferred(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mode = Deferred(self.segments)
        try:
            begin_collecting(mode)
            return function(*args, **kwargs)
        finally:
            end_collecting(mode)


def deferral_for(segments: Segments) -> Deferral | None:
    """How the calls of a signature go on whose Python has to run; None: eagerly."""
    return None if CHOICE[0] == "never" else Deferral(segments)
