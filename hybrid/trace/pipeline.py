"""The pipeline: from a recorded graph to a plan, as a table of contents.

Invariant: the stages below run in this order, each step named and timed; the verifier accepts the
graph after every step.  A hook sees the graph after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

from ..backends.plan import Plan
from ..ir.graph import Graph
from ..ir.verify import verify
from .kernels import Draft, draft
from .passes import Context, Pass, cse, dce, fold, simplify
from .passes.fuse import fuse
from .passes.memory import pack
from .passes.schedule import schedule
from .regions import Regions
from .share import share
from .storage import Storage, assign

__all__ = ["PASSES", "STAGES", "Step", "Result", "optimize", "lower", "build"]

# Graph passes, in order.
PASSES: tuple[Pass, ...] = (fold.PASS, simplify.PASS, cse.PASS, dce.PASS)

# Steps after the graph: regions, homes, kernels, order, memory.
STAGES = ("fuse", "assign", "kernels", "schedule", "memory")

Hook = Callable[[str, Any], None]


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


class _Run:
    """Times steps and shows their results to the hook."""

    def __init__(self, hook: Hook | None) -> None:
        self.hook = hook
        self.steps: list[Step] = []

    def __call__(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        start = perf_counter()
        out = function(*args)
        self.steps.append(Step(name, perf_counter() - start, _size(out)))
        if self.hook is not None:
            self.hook(name, out)
        return out


def _size(x: Any) -> int:
    for name in ("nodes", "order", "home", "steps"):
        got = getattr(x, name, None)
        if got is not None:
            return len(got)
    return 0


def optimize(
    graph: Graph,
    context: Context | None = None,
    hook: Hook | None = None,
    check: bool = False,
    passes: Sequence[Pass] = PASSES,
) -> tuple[Graph, tuple[Step, ...]]:
    """The graph after the passes.  `check`: run the verifier after each."""
    run = _Run(hook)
    for p in passes:
        graph = run(p.name, p.run, graph, context or Context())
        if check:
            verify(graph)
    return graph, tuple(run.steps)


def _kernels(regions: Regions, homes: Storage) -> Draft:
    return share(draft(regions, homes))


def _lower(run: _Run, graph: Graph, states: Sequence[tuple[int, int]], donate: bool) -> Plan:
    regions = run("fuse", fuse, graph)
    homes = run("assign", assign, regions, states)
    made = run("kernels", _kernels, regions, homes)
    ordered = run("schedule", schedule, made, donate)
    return run("memory", pack, ordered)


def lower(graph: Graph, states: Sequence[tuple[int, int]] = (), donate: bool = True) -> Plan:
    """The plan of a graph as it is, without the passes.

    `states`: pairs (output number, input number): that output is the new value of that input, and
    may be written over it when no reader of the old value is left (`donate` False: never).
    """
    return _lower(_Run(None), graph, states, donate)


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
    graph, done = optimize(graph, Context(kernel), hook, check)
    run = _Run(hook)
    plan = _lower(run, graph, states, donate)
    return Result(graph, plan, done + tuple(run.steps))
