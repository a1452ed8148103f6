"""What the backend keeps for each device: card, memory, kernels, status and the current stream.

Invariant: there is one DeviceState per driver and device, made on first use; all work of a device
goes to its current stream, and a stream that takes its place waits for it, so all work of a device
is in the order in which it was started.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ....core.errors import DeviceError
from ....ir.door.context import aside
from ...generated import WORD_MASK
from ..function import Card, GpuFunction
from . import driver as door
from .driver import Driver, driver
from .holders import out_of_memory
from .lane import DeviceStreams, Lane
from .memory import HOST_MEMORY, MemoryPool
from .modules import Loaded, Modules
from .record import Record
from .status import Status
from .transfer import Transfer

__all__ = [
    "CURRENT",
    "DeviceState",
    "current_state",
    "device_state",
    "known_states",
    "enter",
    "pinned_pool",
    "load",
]

# CUdevice_attribute
_MULTIPROCESSORS, _L2_BYTES, _THREADS, _MAJOR, _MINOR, _SHARED = 16, 38, 39, 75, 76, 97
_HOST_PAGES = 100  # the card reads all of the host's memory by itself
_OLDEST = 80  # compute capability times ten


class DeviceState(DeviceStreams):
    """One device of one driver, while it is used."""

    def __init__(self, used: Driver, index: int) -> None:
        count = used.device_count()
        if not 0 <= index < count:
            there = f"there are {count}, numbered from 0" if count else "there is none"
            raise DeviceError(f"there is no CUDA device {index}: {there}")
        super().__init__(used, index)
        self.name = used.device_name(index)
        major, minor = used.attribute(index, _MAJOR), used.attribute(index, _MINOR)
        if 10 * major + minor < _OLDEST:
            raise DeviceError(
                f"{self.name} (compute capability {major}.{minor}) is too old: hybrid needs "
                "a card of capability 8.0 or later; use device='cpu'"
            )
        self.card = Card(
            f"sm_{major}{minor}",
            self.name,
            used.attribute(index, _MULTIPROCESSORS),
            used.attribute(index, _SHARED),
            used.attribute(index, _L2_BYTES),
            used.attribute(index, _THREADS) // 32,
        )
        used.use_device(index)
        self.several = count > 1
        self.reads_host = bool(used.attribute(index, _HOST_PAGES))
        whole = getattr(used, "guards", False)  # a driver that looks at each allocation
        self.pool = MemoryPool(self._allocate, self._free, self._explain, index, whole)
        self.modules = Modules(used, self.card.arch)
        self.status = Status(used)
        self.lane, self.transfer = Lane(self, self.pool), Transfer(self, self.status)
        self.makers: dict[Any, Any] = {}  # (shape, dtype) -> function that gives a fresh array
        self.copiers: dict[Any, Any] = {}  # layout -> function that gives a contiguous copy

    @cached_property
    def record(self) -> Record:
        """What native code reads of this device."""
        made = Record(self.driver, ctypes.addressof(self.stream_word))
        if self.several:
            made.use_context(self.driver, self.index)
        return made

    @cached_property
    def settled(self) -> Status:
        """The status of runs that wait for their own checks."""
        self.enter()
        return Status(self.driver)

    def _allocate(self, nbytes: int) -> int:
        self.enter()
        address: int = aside(self.driver.allocate, nbytes)
        return address

    def _free(self, address: int) -> None:
        self.enter()
        aside(self.driver.free, address)

    def _explain(self, nbytes: int) -> str:
        self.enter()
        return out_of_memory(nbytes, self.name, self.driver.memory_info(), self.pool)

    def start(self, function: GpuFunction, code: Loaded, addresses: Sequence[int]) -> None:
        """Start a kernel over buffers at these addresses, the last of which is the status words';
        the device's context is the thread's."""
        words = [word & WORD_MASK for word in function.addressed(addresses)]
        packed = (ctypes.c_uint64 * len(words))(*words)
        sizes = function.blocks, function.threads, function.shared
        self.driver.launch(code.handle, *sizes, self.stream, packed)

    def wait(self) -> None:
        """Wait for all that was started, and raise what a failed check left."""
        self.enter()
        self.driver.wait_stream(self.stream)
        self.status.check()

    def trim(self) -> None:
        """Give what nobody uses back to the driver."""
        self.enter()
        self.modules.trim()
        self.lane.trim()
        self.pool.trim()


class _Current(threading.local):
    """The device that this thread's calls mean when they name none."""

    index: int = 0


CURRENT = _Current()


class _Devices:
    """The states of the driver in use."""

    def __init__(self) -> None:
        self.states: dict[int, DeviceState] = {}
        self.pinned: MemoryPool | None = None
        self.lock = threading.RLock()

    def other_driver(self) -> None:
        """Another driver is in use: its states are with itself.  In a forked process there are
        none, and another thread may have held the lock."""
        self.lock = threading.RLock()
        used = None if door.DOOR.forked else door.DOOR.driver
        own: Any = vars(used) if used is not None and hasattr(used, "__dict__") else {}
        self.states = own.setdefault("_hybrid_states", {})
        self.pinned = own.get("_hybrid_pinned")


_DEVICES = _Devices()
door.CHANGED.append(_DEVICES.other_driver)


def device_state(index: int = 0) -> DeviceState:
    """The state of a device; DeviceError where there is no such device, or it is too old."""
    found = _DEVICES.states.get(index)
    return found if found is not None else _made(index)


def _made(index: int) -> DeviceState:
    used = driver()
    with _DEVICES.lock:
        found = _DEVICES.states.get(index)
        if found is None:
            found = DeviceState(used, index)
            _DEVICES.states[index] = found
        return found


def current_state() -> DeviceState:
    """The state of the device that this thread means when it names none."""
    return device_state(CURRENT.index)


def known_states() -> list[DeviceState]:
    """The devices that were used so far."""
    return list(_DEVICES.states.values())


def enter(index: int = 0) -> DeviceState:
    """The state of a device, whose context is now this thread's."""
    found = device_state(index)
    found.enter()
    return found


def pinned_pool() -> MemoryPool:
    """Pinned memory of the host, which every device reads and writes directly."""
    with _DEVICES.lock:
        if _DEVICES.pinned is None:
            state = enter(0)
            used = state.driver

            def allocate(nbytes: int) -> int:
                state.enter()  # any thread may be the first to ask
                return used.allocate_host(nbytes)

            def free(address: int) -> None:
                state.enter()
                used.free_host(address)

            made = MemoryPool(allocate, free, _no_pinned, HOST_MEMORY)
            _DEVICES.pinned = made
            if hasattr(used, "__dict__"):
                vars(used)["_hybrid_pinned"] = made
        return _DEVICES.pinned


def _no_pinned(nbytes: int) -> str:
    return (
        f"the system has no {nbytes} bytes of memory that can be pinned; pin less, or raise the "
        "limit of locked memory (ulimit -l)"
    )


def load(functions: Any, index: int = 0) -> list[Loaded]:
    """Kernels on a device, for (symbol, LLVM IR text, bytes of dynamic shared memory) each."""
    return enter(index).modules.load(functions)
