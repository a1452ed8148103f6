"""Errors of hybrid's own work on a call that has run: which step failed, at which line of the user.

Invariant: looking at an error never raises, and costs nothing until there is one: the node, region
or kernel in hand is read from the frames that the error left.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from ..core.errors import Site, blamed
from ..ir.graph.graph import Graph, Node
from .lower.kernels import PlanStep
from .lower.regions import Region, Regions

__all__ = ["reason"]

MAX_FRAMES = 5000


def reason(error: Exception, doing: str) -> str:
    """In words that follow 'it': what could not be done, in which step, at what and why.

    >>> reason(ValueError("no"), "cannot be compiled")
    'cannot be compiled: ValueError: no'
    """
    try:
        return _reason(error, doing)
    except Exception:  # no memory, or a message that cannot be made
        return f"{doing}: {type(error).__name__}"


def _reason(error: Exception, doing: str) -> str:
    notes = blamed(error)
    what, site = _culprit(error, notes)
    step = "failed" if what else ""
    if "step" in notes:
        step = f"{notes['step']} failed"
    where = f" at {what}" if what else ""
    line = f" ({site})" if site is not None else ""
    text = str(error).strip().partition("\n")[0][:200]
    cause = type(error).__name__ + (f": {text}" if text else "")
    return ": ".join(part for part in (doing, f"{step}{where}{line}".strip(), cause) if part)


def _culprit(error: Exception, notes: dict[str, Any]) -> tuple[str, Site | None]:
    """What was in hand, in words, and the user's line that asked for it."""
    kernel, plan = notes.get("kernel"), notes.get("plan")
    if plan is not None:
        for step, site in zip(plan.steps, plan.sites):
            if step is kernel:
                return f"a {type(step).__name__}", site
    whole = None
    for local in _locals(error):
        if type(local) is Node:
            return local.op.name, local.site
        if isinstance(local, Region) and local.nodes:
            return _names(local), local.nodes[0].site
        if type(local) is PlanStep:
            return f"a {type(local.kernel).__name__}", local.site
        whole = whole or (local if type(local) in (Graph, Regions) else None)
    sites = _sites(whole) if plan is None else iter(plan.sites)
    return "", next((s for s in sites if s is not None), None)


def _names(region: Region) -> str:
    names = [n.op.name for n in region.nodes]
    return " + ".join(names[:6]) + (" + ..." if len(names) > 6 else "")


def _sites(whole: Any) -> Iterator[Site | None]:
    graph = whole.graph if type(whole) is Regions else whole
    return (n.site for n in graph.nodes) if graph is not None else iter(())


def _locals(error: Exception) -> Iterator[Any]:
    """Local values of the frames an error went through, the innermost frame first."""
    frames: list[Any] = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None and len(frames) < MAX_FRAMES:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    for frame in reversed(frames):
        yield from frame.f_locals.values()
