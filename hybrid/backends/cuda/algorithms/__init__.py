"""Steps that the CPU gives to NumPy, as kernels: running sums, orders, assignments.

Invariant: what a step computes is its algorithm (ir/algorithm.py) over contiguous slots; results
have the bits of the host's, whatever the schedule.
"""

from __future__ import annotations

from typing import Any

from ....core.errors import BackendError
from ....ir.algorithm import Assign, Control, Order, Scan
from ...plan import HostStep
from ..function import Card, GpuFunction
from . import assign, order, scan

__all__ = ["generate", "has_kernels"]

_GENERATE: dict[Any, Any] = {
    Scan: scan.generate,
    Order: order.generate,
    Assign: assign.generate,
}


def has_kernels(algorithm: Any) -> bool:
    """Whether a card computes what a record of kind host says that it computes."""
    return type(algorithm) in _GENERATE or isinstance(algorithm, Control)


def generate(
    step: HostStep, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """Functions that together are a step."""
    makes = _GENERATE.get(type(step.algorithm))
    if makes is None:
        raise BackendError("a step on the host")
    made: list[GpuFunction] = makes(step.algorithm, step, card, temp_slot, guarded)
    return made
