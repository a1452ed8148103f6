"""Gangs: steps of a plan that wait for one another nowhere, run side by side as one step.

Invariant: steps of a gang share no memory that one of them writes, and a gang has the place of its
members in a legal order, so which thread runs what when has no part in any result.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...plan import Plan
from ..python.caller import NativeStep
from .cost import worth_while
from .gather import gathered
from .layout import gang_step
from .places import repacked, roots_of
from .units import Unit, bare_units, units_of

__all__ = ["Unit", "arranged", "gang_step"]

MORE_MEMORY = 1 << 20  # bytes that an arena may grow, beside a quarter of it


def arranged(
    plan: Plan, steps: Sequence[Sequence[NativeStep]], threads: int
) -> tuple[Plan, list[list[Unit]]]:
    """(the plan with memory for them, its units in groups that run one after the other), for so
    many threads.  `steps`: the native steps of each kernel; none: it runs in Python."""
    if threads < 2 or not worth_while(steps):
        return plan, [[unit] for unit in bare_units(steps)]
    roots = roots_of(plan)
    units = units_of(plan, steps, roots)
    alone = [[unit] for unit in units]
    groups = gathered(units, threads)
    if all(len(group) == 1 for group in groups):
        return plan, alone
    moved = repacked(plan, groups, roots)
    if moved.arena_bytes > plan.arena_bytes * 5 // 4 + MORE_MEMORY:
        return plan, alone
    return moved, groups
