"""Steps that the CPU gives to NumPy, as kernels: running sums, orders, assignments.

Invariant: what a step computes is its algorithm (ir/algorithm.py) over contiguous slots; results
have the bits of the host's, whatever the schedule.
"""

from __future__ import annotations

from ....core.errors import BackendError
from ....ir.algorithm import Assign, Order, Scan
from ...plan import HostStep
from ..function import Card, GpuFunction
from . import assign, order, scan

__all__ = ["generate"]


def generate(
    step: HostStep, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """Functions that together are a step."""
    given = card, temp_slot, guarded
    match step.algorithm:
        case Scan():
            return scan.generate(step.algorithm, step, *given)
        case Order():
            return order.generate(step.algorithm, step, *given)
        case Assign():
            return assign.generate(step.algorithm, step, *given)
        case _:
            raise BackendError("a step on the host")
