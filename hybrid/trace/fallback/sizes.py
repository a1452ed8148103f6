"""The plans of one family of signatures, made once for many sizes.

Invariant: at most MOST of them, each for a class of sizes; the one that was used last is tried
first and the one that was not used for the longest time leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import thread_time
from typing import Any

from ...compiler.pipeline import build
from ...compiler.sized import SizedPlan, form_of
from ...core import signals
from ...core.aval import Aval
from ...ir.door.bind import backend_of
from ...ir.door.evaluate import host_kernel
from ...ir.graph.graph import Graph
from ..record.recording import Recording
from .budget import SHARE

__all__ = ["Sizes", "MOST"]

MOST = 12  # plans of a family
FIRST = 3  # of those made before they have been of use
LATER = 1  # sizes that are compiled by themselves before the first plan for many
# Seconds that may go into a plan whatever it brings, and sizes that pay for one that took longer.
LITTLE, MANY = 0.05, 32
EACH = 4  # sizes that were filled in and pay for one more such plan


class StepPlan(SizedPlan):
    """One for graphs in which these outputs are new values of inputs (output, input)."""

    def __init__(self, first: Graph, second: Graph, states: list[tuple[int, int]]) -> None:
        super().__init__(first, second, lambda graph: _made(graph, states))
        self.states = states


class Sizes:
    """`plans`, the latest first; `missed`: sizes that none of them was for; `filled`: the others;
    `made`: plans so far, those that were for one size only included; `uses` of the last one, which
    took `seconds` to make; `cost`: what a size that is filled in takes beside 1.1 eager calls."""

    __slots__ = ("plans", "missed", "filled", "made", "last", "uses", "seconds", "cost")

    def __init__(self) -> None:
        self.plans: list[StepPlan] = []
        self.missed = self.filled = self.made = self.uses = 0
        self.seconds = self.cost = 0.0
        self.last: StepPlan | None = None

    @property
    def trying(self) -> bool:
        """Whether a size that no plan is for may give one more."""
        used = self.made < FIRST or self.uses >= MANY or self.seconds < LITTLE
        return self.missed >= LATER and self.made < FIRST + self.filled // EACH and used

    def holds(self, avals: Sequence[Aval]) -> bool:
        """Whether a call whose tensors have these records is one that a plan was made for."""
        return any(plan.holds(avals) for plan in self.plans)

    def fill(self, recording: Recording, other: Recording) -> Any:
        """The plan of a recording and what the backend needs beside it; None where it has to be
        compiled by itself.  `other`: one that differs in sizes only."""
        graph, states = recording.graph, recording.outcome.states
        form = form_of(graph)
        for plan in self.plans:
            made = plan.fill(graph, form) if plan.states == states else None
            if made is not None:
                self.filled += 1
                self.uses += plan is self.last
                self.plans = [plan, *[known for known in self.plans if known is not plan]]
                return made
        trying, self.missed = self.trying, self.missed + 1
        if not trying:
            return None
        self.made += 1
        start = thread_time()
        for first, second in ((other.graph, graph), (graph, other.graph)):
            made = self._learnt(first, second, graph, states)
            if made is not None:
                break
        self.seconds, self.uses = thread_time() - start, 0
        return made

    def charged(self, seconds: float, saved: float) -> None:
        """A size that was filled in took this time, in which an eager call would have made kernels
        for `saved` seconds."""
        if self.uses:  # no plan for many was made in it
            self.cost += 0.2 * (seconds - (1 + SHARE) * saved - self.cost)

    def _learnt(
        self, first: Graph, second: Graph, graph: Graph, states: list[tuple[int, int]]
    ) -> Any:
        """What a new plan gives for a graph, if it is for more sizes than one: where a size happens
        to be that of something else, the other one of two may do better."""
        try:
            plan = StepPlan(first, second, states)
            made = plan.fill(graph) if plan.general else None
        except Exception as error:
            if signals.foreign(error):
                raise
            return None
        if plan.general:
            self.plans, self.last = [plan, *self.plans][:MOST], plan
        return made


def _made(graph: Graph, states: list[tuple[int, int]]) -> Any:
    plan = build(graph, states, kernel=host_kernel).plan
    return plan, backend_of(graph.outputs[0].aval.device).outline(plan)
