"""The interpreter of plans: what a backend without a compiler replays with, and an oracle.

Invariant: NumPy on the host and nothing else; its bits are those of the numerics contract.
"""

from .kernels import run_kernel
from .nodes import checker, interpreted, node_kernel
from .program import DTYPE, fma32, fma64, run_program
from .replay import graph_runner, plan_runner, run_plan

__all__ = [
    "DTYPE",
    "checker",
    "fma32",
    "fma64",
    "graph_runner",
    "interpreted",
    "node_kernel",
    "plan_runner",
    "run_kernel",
    "run_plan",
    "run_program",
]
