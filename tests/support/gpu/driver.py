"""A CUDA driver without a card: memory of the host, kernels run by the PTX interpreter.

Invariant: it refuses what NVIDIA's driver refuses (memory that is not there, waiting during a
capture, unknown handles); its log is the order in which work was done.
"""

from __future__ import annotations

import numpy as np

from hybrid.backends.cuda.machine.driver import OutOfMemory

from .captures import MOST_BLOCKS, SHARED, Captures, refusal
from .natives import CONTEXT, Natives, hidden
from .ptx.text import parse
from .work import Copy, Fill, Function

__all__ = ["SimulatedDriver"]

# of an H100 80GB, by CUdevice_attribute
ATTRIBUTES = {
    1: 1024,  # threads of a block
    2: 1024,
    5: MOST_BLOCKS,
    8: 48 << 10,  # shared memory of a block
    9: 64 << 10,  # constant memory
    10: 32,  # warp
    12: 65536,  # registers of a block
    13: 1_980_000,  # clock, kHz
    16: 132,  # multiprocessors
    36: 2_619_000,  # memory clock, kHz
    37: 5120,  # memory bus, bits
    38: 50 << 20,  # L2 cache
    39: 2048,  # threads of a multiprocessor
    41: 1,  # unified addressing
    100: 0,  # reads pageable memory through the host's page tables
    75: 9,  # compute capability
    76: 0,
    81: 228 << 10,  # shared memory of a multiprocessor
    82: 65536,
    97: SHARED,  # shared memory that a block may ask for
    106: 32,  # blocks of a multiprocessor
    115: 1,  # memory pools
}


@hidden
class SimulatedDriver(Captures):
    """`order`: the schedule of threads (0: in lock step; others: warps backwards or shuffled);
    `lazy`: work is done when the host waits for it, not before.  `log` lists what was done: (what,
    stream, details).  `launches` counts kernels that ran."""

    takes_ptx = True  # images are PTX text
    guards = True  # every block of memory is an allocation of its own, between guard zones

    def __init__(
        self, memory: int = 1 << 30, devices: int = 1, order: int = 0, lazy: bool = False
    ) -> None:
        super().__init__(memory, devices, order, lazy)
        self.pinned: set[int] = set()
        self.events: dict[int, tuple[bool, int, int]] = {}  # timing, entries of the log, item
        self.failed: Exception | None = None  # of native code's calls, until the host waits
        self._natives = Natives(self)

    def _surface(self) -> None:
        """An error of work that native code started shows where the host waits."""
        failed, self.failed = self.failed, None
        if failed is not None:
            raise failed

    def address(self, name: str) -> int:
        return self._natives.address(name)

    # ---- devices
    def version(self) -> int:
        return 13000

    def device_count(self) -> int:
        return len(self.arenas)

    def context(self, device: int) -> int:
        return CONTEXT + device

    def use_device(self, device: int) -> None:
        if not 0 <= device < len(self.arenas):
            raise refusal("cuDevicePrimaryCtxRetain", "CUDA_ERROR_INVALID_DEVICE")
        self.current = device

    def attribute(self, device: int, number: int) -> int:
        return ATTRIBUTES[number]

    def device_name(self, device: int) -> str:
        return "Simulated H100"

    def memory_info(self) -> tuple[int, int]:
        return self.memory - self.arena.live, self.memory

    # ---- memory
    def allocate(self, nbytes: int) -> int:
        self._outside("cuMemAlloc_v2")
        if nbytes <= 0:
            raise refusal("cuMemAlloc_v2", "CUDA_ERROR_INVALID_VALUE: invalid argument")
        address = self.arena.allocate(nbytes)
        if not address:
            raise OutOfMemory(
                "the CUDA driver refused cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
            )
        return address

    def free(self, address: int) -> None:
        self._outside("cuMemFree_v2")
        if not address:
            return
        self.finish_all()
        for arena in self.arenas:
            if arena.base <= address < arena.base + arena.size:
                arena.release(address)
                return
        raise refusal("cuMemFree_v2", "CUDA_ERROR_INVALID_VALUE: invalid argument")

    def allocate_host(self, nbytes: int) -> int:
        self._outside("cuMemHostAlloc")
        address = self.arenas[0].allocate(max(nbytes, 1))
        if not address:
            raise OutOfMemory("the CUDA driver refused cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY")
        self.arenas[0].live -= max(nbytes, 1)
        self.arenas[0].count -= 1
        self.pinned.add(address)
        return address

    def free_host(self, address: int) -> None:
        self.finish_all()
        self.pinned.remove(address)
        self.arenas[0].live += self.arenas[0].lengths[address]
        self.arenas[0].release(address)

    def to_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._move("cuMemcpyHtoDAsync_v2", "to_device", target, source, nbytes, stream)

    def to_host(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._move("cuMemcpyDtoHAsync_v2", "to_host", target, source, nbytes, stream)

    def on_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._move("cuMemcpyDtoDAsync_v2", "on_device", target, source, nbytes, stream)

    def _move(
        self, name: str, what: str, target: int, source: int, nbytes: int, stream: int
    ) -> None:
        """Host memory that is not pinned is read at once, and written before the call returns."""
        if not nbytes:
            return
        if what == "to_host":
            self._surface()
        self._stream(name, stream)
        if what != "to_device":
            self.device_bytes(name, source, nbytes)
        if what != "to_host":
            self.device_bytes(name, target, nbytes)
        host = {"to_device": source, "to_host": target}.get(what)
        plain = host is not None and self.where(host, nbytes) is None
        if plain and stream in self.capturing:
            raise refusal(name, "a captured copy of memory that is not pinned")
        held = self.content(source, nbytes) if plain and what == "to_device" else None
        self._start(stream, Copy(target, source, nbytes, held, what))
        if plain and what == "to_host":
            self.finish_stream(stream)

    def fill(self, target: int, byte: int, nbytes: int, stream: int = 0) -> None:
        if not nbytes:
            return
        self._stream("cuMemsetD8Async", stream)
        self.device_bytes("cuMemsetD8Async", target, nbytes)
        self._start(stream, Fill(target, byte, nbytes))

    # ---- streams and events
    def new_stream(self, apart: bool = False) -> int:
        stream = self._new()
        self.streams.add(stream)
        return stream

    def drop_stream(self, stream: int) -> None:
        self._stream("cuStreamDestroy_v2", stream)
        self.streams.remove(stream)

    def wait_stream(self, stream: int) -> None:
        self._outside("cuStreamSynchronize")
        self._stream("cuStreamSynchronize", stream)
        self.finish_stream(stream)
        self._surface()
        self.log.append(("wait_stream", stream))

    def wait_device(self) -> None:
        self._outside("cuCtxSynchronize")
        self.finish_all()
        self._surface()
        self.log.append(("wait_device",))

    def stream_done(self, stream: int) -> bool:
        self._outside("cuStreamQuery")
        self._stream("cuStreamQuery", stream)
        return self.is_done(self._last.get(stream, 0))

    def new_event(self, timing: bool = False) -> int:
        event = self._new()
        self.events[event] = (timing, 0, 0)
        return event

    def drop_event(self, event: int) -> None:
        del self.events[event]

    def record(self, event: int, stream: int) -> None:
        self._stream("cuEventRecord", stream)
        timing = self.events[event][0]

        def act() -> None:
            self.log.append(("record", stream, event))
            if event in self.events:
                _, _, item = self.events[event]
                self.events[event] = (timing, len(self.log), item)

        self.events[event] = (timing, 0, self._number + 1)
        self.submit(stream, act)

    def wait_event(self, stream: int, event: int) -> None:
        self._stream("cuStreamWaitEvent", stream)
        if event not in self.events:
            raise refusal("cuStreamWaitEvent", "CUDA_ERROR_INVALID_HANDLE")
        _, _, item = self.events[event]
        self.submit(stream, lambda: self.log.append(("wait_event", stream, event)), [item])

    def event_done(self, event: int) -> bool:
        self._outside("cuEventQuery")
        return self.is_done(self.events[event][2])

    def finish_event(self, event: int) -> None:
        self._outside("cuEventSynchronize")
        self.finish([self.events[event][2]])
        self._surface()
        self.log.append(("finish_event", event))

    def elapsed(self, start: int, stop: int) -> float:
        """A microsecond for every entry of the log between them."""
        self.finish([self.events[event][2] for event in (start, stop)])
        for event in (start, stop):
            if not self.events[event][0]:
                raise refusal("cuEventElapsedTime", "an event without timing")
            if not self.events[event][1]:
                raise refusal("cuEventElapsedTime", "an event that was not recorded")
        return (self.events[stop][1] - self.events[start][1]) * 1e-3

    # ---- code
    def load(self, image: bytes) -> int:
        self._outside("cuModuleLoadData")
        module = parse(bytes(image).rstrip(b"\0").decode())
        symbols = []
        for name, variable in module.variables.items():
            if variable.space in ("global", "const"):
                address = self.arena.allocate(variable.nbytes)
                content = self.arena.host(address, variable.nbytes, name)
                content[:] = 0
                content[: len(variable.content)] = np.frombuffer(variable.content, np.uint8)
                symbols.append((name, address))
        handle = self._new()
        self.modules[handle] = (module, tuple(symbols))
        return handle

    def unload(self, module: int) -> None:
        self.finish_all()
        _, symbols = self.modules.pop(module)
        for _, address in symbols:
            self.arena.release(address)
        for handle in [h for h, f in self.functions.items() if f.module == module]:
            del self.functions[handle]

    def function(self, module: int, symbol: str, shared: int = 0) -> int:
        if module not in self.modules:
            raise refusal("cuModuleGetFunction", "CUDA_ERROR_INVALID_HANDLE")
        if symbol not in self.modules[module][0].entries:
            raise refusal("cuModuleGetFunction", f"CUDA_ERROR_NOT_FOUND: {symbol}")
        if shared > SHARED:
            raise refusal("cuFuncSetAttribute", f"CUDA_ERROR_INVALID_VALUE: {shared} bytes")
        known = [h for h, f in self.functions.items() if (f.module, f.symbol) == (module, symbol)]
        handle = known[0] if known else self._new()
        allowed = shared if shared > 48 << 10 or not known else self.functions[handle].shared
        self.functions[handle] = Function(module, symbol, max(allowed, 48 << 10))
        return handle
