"""The pipeline: from a recorded graph to a plan, as a table of contents.

Invariant: the steps of STEPS run in this order, each named and timed; the verifier accepts the
graph after every step that makes one.  A hook sees each result; an error carries its step's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any, Literal, NamedTuple

from ..backends.plan import HostStep, Plan
from ..core.errors import blame
from ..core.floating import in_plain_floats
from ..ir.graph.graph import Graph
from ..ir.graph.region import regions_in
from ..ir.graph.verify import verify
from .lower.assignment import Assignment, assign
from .lower.fuse import fuse
from .lower.kernels import Draft, draft
from .lower.memory import pack
from .lower.pairs import in_pairs, labelled
from .lower.regions import Regions
from .lower.schedule import schedule
from .lower.shared_factors import share
from .passes import Context, Pass

__all__ = [
    "PASSES",
    "LOWERING",
    "STEPS",
    "PipelineStep",
    "Timing",
    "Built",
    "optimize",
    "lower",
    "build",
]

Hook = Callable[[str, Any], None]
# fields of Work that steps make
Made = Literal["graph", "pairs", "regions", "assignment", "draft", "plan"]


@dataclass
class Work:
    """What the steps make, one after the other, and what they are given."""

    graph: Graph
    context: Context
    states: Sequence[tuple[int, int]] = ()
    donate: bool = True
    pairs: Graph | None = None
    regions: Regions | None = None
    assignment: Assignment | None = None
    draft: Draft | None = None
    plan: Plan | None = None


class PipelineStep(NamedTuple):
    """A step of the pipeline: `run(work)` gives the new value of the field `makes` of the work."""

    name: str
    makes: Made
    run: Callable[[Any], Any]


def _pass(graph_pass: Pass) -> PipelineStep:
    return PipelineStep(
        graph_pass.name, "graph", lambda work: graph_pass.run(work.graph, work.context)
    )


# Modules of passes/, in order: the graph passes are their PASS.
ORDER = ("fold", "simplify", "cse", "dce")
PASSES: tuple[Pass, ...] = tuple(
    [import_module(f"{__package__}.passes.{name}").PASS for name in ORDER]
)

STEPS: tuple[PipelineStep, ...] = (
    *map(_pass, PASSES),
    PipelineStep("pairs", "pairs", lambda work: in_pairs(work.graph)),
    PipelineStep("fuse", "regions", lambda work: fuse(work.pairs)),
    PipelineStep("assign", "assignment", lambda work: assign(work.regions, work.states)),
    PipelineStep("kernels", "draft", lambda work: draft(work.regions, work.assignment)),
    PipelineStep("share", "draft", lambda work: share(work.draft)),
    PipelineStep("schedule", "draft", lambda work: schedule(work.draft, work.donate)),
    PipelineStep("memory", "plan", lambda work: _packed(work)),
)

# Names of the steps after the graph: pairs of parts, regions, homes, kernels, order, memory.
LOWERING = tuple(s.name for s in STEPS if s.makes != "graph")


def _packed(work: Work) -> Plan:
    """The plan."""
    assert work.draft is not None
    return _with_inner(labelled(pack(work.draft), work.graph), work.context)


def _with_inner(plan: Plan, context: Context) -> Plan:
    """The plan with those of the graphs inside its branches and loops."""
    steps = []
    for step in plan.steps:
        params = getattr(step.function, "keywords", {}) if isinstance(step, HostStep) else {}
        inner = tuple([build(r.graph, kernel=context.kernel).plan for r in regions_in(params)])
        steps.append(step._replace(plans=inner) if isinstance(step, HostStep) and inner else step)
    return plan._replace(steps=tuple(steps))


class Timing(NamedTuple):
    """What one step did: seconds, and the number of nodes (or regions, kernels, steps) after it."""

    name: str
    seconds: float
    size: int


class Built(NamedTuple):
    """The optimised graph, its plan, and the steps that led there."""

    graph: Graph
    plan: Plan
    steps: tuple[Timing, ...]

    def __str__(self) -> str:
        return "\n".join(f"{s.name:10} {s.seconds * 1e3:8.2f} ms {s.size:6}" for s in self.steps)


def _size(result: Any) -> int:
    for name in ("nodes", "order", "home", "steps"):
        part = getattr(result, name, None)
        if part is not None:
            return len(part)
    return 0


def _run(work: Work, steps: Sequence[PipelineStep], hook: Hook | None, check: bool) -> list[Timing]:
    """The one loop over steps: timed, shown to the hook, verified where asked."""
    timings = []
    for step in steps:
        start = perf_counter()
        try:
            result = step.run(work)
        except Exception as error:
            blame(error, step=step.name)
            raise
        setattr(work, step.makes, result)
        timings.append(Timing(step.name, perf_counter() - start, _size(result)))
        if hook is not None:
            hook(step.name, result)
        if check and step.makes == "graph":
            verify(result)
    return timings


def optimize(
    graph: Graph,
    context: Context | None = None,
    hook: Hook | None = None,
    check: bool = False,
    passes: Sequence[Pass] = PASSES,
) -> tuple[Graph, tuple[Timing, ...]]:
    """The graph after the passes.  `check`: run the verifier after each."""
    work = Work(graph, context or Context())
    timings = _run(work, tuple(map(_pass, passes)), hook, check)
    return work.graph, tuple(timings)


def lower(graph: Graph, states: Sequence[tuple[int, int]] = (), donate: bool = True) -> Plan:
    """The plan of a graph as it is, without the passes.

    `states`: pairs (output number, input number): that output is the new value of that input, and
    may be written over it when no reader of the old value is left (`donate` False: never).
    """
    work = Work(graph, Context(), states, donate)
    _run(work, [s for s in STEPS if s.makes != "graph"], None, False)
    assert work.plan is not None
    return work.plan


@in_plain_floats
def build(
    graph: Graph,
    states: Sequence[tuple[int, int]] = (),
    kernel: Any = None,
    donate: bool = True,
    hook: Hook | None = None,
    check: bool = False,
) -> Built:
    """Optimise and lower.

    `states`: (output number, input number) pairs, that output being the input's new value;
    `kernel(node, arrays) -> arrays` evaluates one node with the eager kernels, for constant
    folding; `hook(step name, result)` sees each intermediate form.
    """
    work = Work(graph, Context(kernel), states, donate)
    timings = _run(work, STEPS, hook, check)
    assert work.plan is not None
    return Built(work.graph, work.plan, tuple(timings))
