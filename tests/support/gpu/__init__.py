"""A card made of NumPy: an interpreter of PTX text and a driver over memory of the host.

`run(function, buffers)` runs a generated kernel, `check(kernel, buffers)` compares one with the
CPU's bits, `SimulatedDriver()` stands in for NVIDIA's driver (`machine.driver.use`).
"""

from .driver import SimulatedDriver
from .harness import check, run, run_all, to_ptx
from .machine import Deadlock, Trap
from .memory import MemoryFault
from .races import Race

__all__ = [
    "Deadlock",
    "MemoryFault",
    "Race",
    "SimulatedDriver",
    "Trap",
    "check",
    "run",
    "run_all",
    "to_ptx",
]
