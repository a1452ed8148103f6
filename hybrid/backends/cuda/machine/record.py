"""What native code reads of a device at every call: the driver's functions and the stream.

Invariant: a record lives as long as the process and belongs to one device of one driver.
"""

from __future__ import annotations

import ctypes

from ...cpu.machine.host import immortal_memory
from .driver import Driver

__all__ = [
    "Record",
    "LAUNCH",
    "STREAM",
    "CONTEXT",
    "USE_CONTEXT",
    "FAILED",
]

# cuLaunchKernel; where the number of the current stream is; the device's context and
# cuCtxSetCurrent where there are several devices; the last status of a launch that was refused
LAUNCH, STREAM, CONTEXT, USE_CONTEXT, FAILED = range(0, 40, 8)
_OFFSETS = {
    "launch": LAUNCH,
    "stream": STREAM,
    "context": CONTEXT,
    "use_context": USE_CONTEXT,
    "failed": FAILED,
}


class Record:
    """The words of a device, by name."""

    def __init__(self, driver: Driver | None = None, stream: int = 0) -> None:
        self.address = immortal_memory(64)
        self._words = (ctypes.c_uint64 * 8).from_address(self.address)
        self["launch"] = driver.address("cuLaunchKernel") if driver is not None else 0
        self["stream"] = stream or self.address + 56  # a word that stays 0

    def __getitem__(self, name: str) -> int:
        return self._words[_OFFSETS[name] // 8]

    def __setitem__(self, name: str, value: int) -> None:
        self._words[_OFFSETS[name] // 8] = value

    def use_context(self, driver: Driver, device: int) -> None:
        """Let every call make the device's context the one of its thread."""
        self["context"] = driver.context(device)
        self["use_context"] = driver.address("cuCtxSetCurrent")
