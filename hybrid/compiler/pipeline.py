"""The pipeline: from a recorded graph to a plan, as a table of contents.

Invariant: the steps of STEPS run in this order, each named and timed; the verifier accepts the
graph after every step that makes one.  A hook sees each result; an error carries its step's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

from ..backends.plan import Plan
from ..core.errors import blame
from ..core.floating import in_plain_floats
from ..ir.graph.graph import Graph
from ..ir.graph.verify import verify
from .lower.fuse import fuse
from .lower.homes import Storage, assign
from .lower.kernels import Draft, draft
from .lower.memory import pack
from .lower.regions import Regions
from .lower.schedule import schedule
from .lower.share import share
from .passes import Context, Pass, cse, dce, fold, simplify

__all__ = ["PASSES", "STAGES", "STEPS", "Stage", "Step", "Result", "optimize", "lower", "build"]

Hook = Callable[[str, Any], None]


@dataclass
class Work:
    """What the steps make, one after the other, and what they are given."""

    graph: Graph
    context: Context
    states: Sequence[tuple[int, int]] = ()
    donate: bool = True
    regions: Regions | None = None
    storage: Storage | None = None
    draft: Draft | None = None
    plan: Plan | None = None


class Stage(NamedTuple):
    """A step of the pipeline: `run(work)` gives the new value of the field `makes` of the work."""

    name: str
    makes: str
    run: Callable[[Any], Any]


def _pass(p: Pass) -> Stage:
    return Stage(p.name, "graph", lambda w: p.run(w.graph, w.context))


# Graph passes, in order.
PASSES: tuple[Pass, ...] = (fold.PASS, simplify.PASS, cse.PASS, dce.PASS)

STEPS: tuple[Stage, ...] = (
    *map(_pass, PASSES),
    Stage("fuse", "regions", lambda w: fuse(w.graph)),
    Stage("assign", "storage", lambda w: assign(w.regions, w.states)),
    Stage("kernels", "draft", lambda w: draft(w.regions, w.storage)),
    Stage("share", "draft", lambda w: share(w.draft)),
    Stage("schedule", "draft", lambda w: schedule(w.draft, w.donate)),
    Stage("memory", "plan", lambda w: pack(w.draft)),
)

# Names of the steps after the graph: regions, homes, kernels, order, memory.
STAGES = tuple(s.name for s in STEPS if s.makes != "graph")


class Step(NamedTuple):
    """What one step did: seconds, and the number of nodes (or regions, kernels, steps) after it."""

    name: str
    seconds: float
    size: int


class Result(NamedTuple):
    """The optimised graph, its plan, and the steps that led there."""

    graph: Graph
    plan: Plan
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(f"{s.name:10} {s.seconds * 1e3:8.2f} ms {s.size:6}" for s in self.steps)


def _size(x: Any) -> int:
    for name in ("nodes", "order", "home", "steps"):
        got = getattr(x, name, None)
        if got is not None:
            return len(got)
    return 0


def _run(work: Work, stages: Sequence[Stage], hook: Hook | None, check: bool) -> list[Step]:
    """The one loop over steps: timed, shown to the hook, verified where asked."""
    done = []
    for stage in stages:
        start = perf_counter()
        try:
            out = stage.run(work)
        except Exception as e:
            blame(e, step=stage.name)
            raise
        setattr(work, stage.makes, out)
        done.append(Step(stage.name, perf_counter() - start, _size(out)))
        if hook is not None:
            hook(stage.name, out)
        if check and stage.makes == "graph":
            verify(out)
    return done


def optimize(
    graph: Graph,
    context: Context | None = None,
    hook: Hook | None = None,
    check: bool = False,
    passes: Sequence[Pass] = PASSES,
) -> tuple[Graph, tuple[Step, ...]]:
    """The graph after the passes.  `check`: run the verifier after each."""
    work = Work(graph, context or Context())
    done = _run(work, tuple(map(_pass, passes)), hook, check)
    return work.graph, tuple(done)


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
) -> Result:
    """Optimise and lower.

    `states`: (output number, input number) pairs, that output being the input's new value;
    `kernel(node, arrays) -> arrays` evaluates one node with the eager kernels, for constant
    folding; `hook(step name, result)` sees each intermediate form.
    """
    work = Work(graph, Context(kernel), states, donate)
    done = _run(work, STEPS, hook, check)
    assert work.plan is not None
    return Result(work.graph, work.plan, tuple(done))
