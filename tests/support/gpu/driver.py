"""A CUDA driver without a card: memory of the host, kernels run by the PTX interpreter.

Invariant: it refuses what NVIDIA's driver refuses (memory that is not there, waiting during a
capture, unknown handles), and work happens at the call, in order, so its log is the order of a run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hybrid.backends.cuda.machine.driver import OutOfMemory
from hybrid.core.errors import DeviceError

from .lower import lower
from .machine import launch as run_kernel
from .memory import Arena, MemoryFault
from .natives import CONTEXT, Natives, hidden
from .text import Module, parse

__all__ = ["SimulatedDriver"]

# of an H100 80GB, by CUdevice_attribute
ATTRIBUTES = {
    1: 1024,  # threads of a block
    2: 1024,
    5: (1 << 31) - 1,  # blocks of a grid
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
    75: 9,  # compute capability
    76: 0,
    81: 228 << 10,  # shared memory of a multiprocessor
    82: 65536,
    97: 227 << 10,  # shared memory that a block may ask for
    106: 32,  # blocks of a multiprocessor
    115: 1,  # memory pools
}


class _Function(NamedTuple):
    module: int
    symbol: str
    shared: int


class _Launch(NamedTuple):
    function: int
    blocks: int
    threads: int
    shared: int
    words: bytes


class _Copy(NamedTuple):
    target: int
    source: int
    nbytes: int


class _Fill(NamedTuple):
    target: int
    byte: int
    nbytes: int


class _Child(NamedTuple):
    graph: int


_NODE_TYPE = {_Launch: 0, _Copy: 1, _Fill: 2, _Child: 4}
_Work = _Launch | _Copy | _Fill | _Child


@hidden
class SimulatedDriver:
    """`order`: the schedule of threads (0: in lock step; others: warps backwards or shuffled).
    `log` lists what ran: (what, stream, details).  `launches` counts kernels that ran."""

    takes_ptx = True  # images are PTX text
    guards = True  # every block of memory is an allocation of its own, between guard zones

    def __init__(self, memory: int = 1 << 30, devices: int = 1, order: int = 0) -> None:
        self.arenas = [Arena(memory) for _ in range(devices)]
        self.memory, self.order, self.current = memory, order, 0
        self.log: list[tuple[Any, ...]] = []
        self.launches = 0
        self.pinned: set[int] = set()
        self._handle = 0x1000
        self.modules: dict[int, tuple[Module, tuple[tuple[str, int], ...]]] = {}
        self.functions: dict[int, _Function] = {}
        self.streams: set[int] = {0}
        self.events: dict[int, tuple[bool, int]] = {}
        self.graphs: dict[int, dict[int, tuple[_Work, tuple[int, ...]]]] = {}
        self.executables: dict[int, dict[int, tuple[_Work, tuple[int, ...]]]] = {}
        self.capturing: dict[int, int] = {}  # stream -> graph
        self._last: dict[int, int] = {}  # stream -> last captured node
        self.failed: Exception | None = None  # of native code's calls, until the host waits
        self._natives = Natives(self)
        self.races = False  # whether launches look for races, which takes several times as long
        self.status: list[tuple[int, int]] = []  # addresses at which races are meant

    # ---- helpers
    @property
    def arena(self) -> Arena:
        return self.arenas[self.current]

    def _new(self) -> int:
        self._handle += 16
        return self._handle

    def _refuse(self, name: str, said: str) -> DeviceError:
        return DeviceError(f"the CUDA driver refused {name}: {said}")

    def _outside(self, name: str) -> None:
        if self.capturing:
            raise self._refuse(
                name, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: operation not permitted in a capture"
            )

    def _stream(self, name: str, stream: int) -> None:
        if stream not in self.streams:
            raise self._refuse(name, f"CUDA_ERROR_INVALID_HANDLE: stream {stream}")
        if stream == 0 and self.capturing:
            raise self._refuse(
                name, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT: the default stream during a capture"
            )

    def _where(self, address: int, nbytes: int) -> np.ndarray[Any, Any] | None:
        for arena in self.arenas:
            if arena.base <= address < arena.base + arena.size:
                return arena.host(address, nbytes, "a copy")
        return None

    def _device(self, name: str, address: int, nbytes: int) -> np.ndarray[Any, Any]:
        found = self._where(address, nbytes)
        if found is None:
            raise MemoryFault(f"{name}: {address:#x} is not an address of a device")
        return found

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
            raise self._refuse("cuDevicePrimaryCtxRetain", "CUDA_ERROR_INVALID_DEVICE")
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
            raise self._refuse("cuMemAlloc_v2", "CUDA_ERROR_INVALID_VALUE: invalid argument")
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
        for arena in self.arenas:
            if arena.base <= address < arena.base + arena.size:
                arena.release(address)
                return
        raise self._refuse("cuMemFree_v2", "CUDA_ERROR_INVALID_VALUE: invalid argument")

    def allocate_host(self, nbytes: int) -> int:
        self._outside("cuMemHostAlloc")
        address = self.arena.allocate(max(nbytes, 1))
        if not address:
            raise OutOfMemory("the CUDA driver refused cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY")
        self.arena.live -= max(nbytes, 1)
        self.arena.count -= 1
        self.pinned.add(address)
        return address

    def free_host(self, address: int) -> None:
        self.pinned.remove(address)
        self.arena.live += self.arena.lengths[address]
        self.arena.release(address)

    def to_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._move("cuMemcpyHtoDAsync_v2", "to_device", target, source, nbytes, stream)

    def to_host(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._move("cuMemcpyDtoHAsync_v2", "to_host", target, source, nbytes, stream)

    def on_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._move("cuMemcpyDtoDAsync_v2", "on_device", target, source, nbytes, stream)

    def _move(
        self, name: str, what: str, target: int, source: int, nbytes: int, stream: int
    ) -> None:
        if not nbytes:
            return
        if what == "to_host":
            self._surface()
        self._stream(name, stream)
        if what != "to_device":
            self._device(name, source, nbytes)
        if what != "to_host":
            self._device(name, target, nbytes)
        if stream in self.capturing:
            host = {"to_device": source, "to_host": target}.get(what)
            if host is not None and self._where(host, nbytes) is None:
                raise self._refuse(name, "a captured copy of memory that is not pinned")
            self._capture(stream, _Copy(target, source, nbytes))
            return
        self._do(_Copy(target, source, nbytes), stream, what)

    def fill(self, target: int, byte: int, nbytes: int, stream: int = 0) -> None:
        if not nbytes:
            return
        self._stream("cuMemsetD8Async", stream)
        self._device("cuMemsetD8Async", target, nbytes)
        if stream in self.capturing:
            self._capture(stream, _Fill(target, byte, nbytes))
        else:
            self._do(_Fill(target, byte, nbytes), stream)

    # ---- work
    def _do(self, work: _Work, stream: int, what: str = "copy") -> None:
        if isinstance(work, _Launch):
            function = self.functions[work.function]
            module, symbols = self.modules[function.module]
            self.log.append(("kernel", stream, function.symbol, work.blocks, work.threads))
            code = lower(module, function.symbol, symbols)
            self.launches += 1
            size = work.blocks, work.threads, work.shared
            races = self.status if self.races else None
            run_kernel(code, self.arena, work.words, *size, self.order, races)
        elif isinstance(work, _Copy):
            self.log.append((what, stream, work.target, work.source, work.nbytes))
            for place in (work.target, work.source):
                self._where(place, work.nbytes)  # raises where it is not allocated
            ctypes.memmove(work.target, work.source, work.nbytes)
        elif isinstance(work, _Fill):
            self.log.append(("fill", stream, work.target, work.byte, work.nbytes))
            self._device("cuMemsetD8Async", work.target, work.nbytes)[:] = work.byte
        else:
            self._run_graph(self.graphs[work.graph], stream)

    def _run_graph(self, nodes: dict[int, tuple[_Work, tuple[int, ...]]], stream: int) -> None:
        """In an order that the edges allow: the last node that may run first, where `order` is
        not 0, so that edges that are missing show."""
        left, done = dict(nodes), set[int]()
        while left:
            ready = [n for n, (_, after) in left.items() if done.issuperset(after)]
            if not ready:
                raise self._refuse("cuGraphLaunch", "a graph with a cycle")
            node = ready[-1] if self.order else ready[0]
            self._do(left.pop(node)[0], stream)
            done.add(node)

    # ---- streams and events
    def new_stream(self) -> int:
        stream = self._new()
        self.streams.add(stream)
        return stream

    def drop_stream(self, stream: int) -> None:
        self._stream("cuStreamDestroy_v2", stream)
        self.streams.remove(stream)

    def wait_stream(self, stream: int) -> None:
        self._outside("cuStreamSynchronize")
        self._stream("cuStreamSynchronize", stream)
        self._surface()
        self.log.append(("wait_stream", stream))

    def wait_device(self) -> None:
        self._outside("cuCtxSynchronize")
        self._surface()
        self.log.append(("wait_device",))

    def stream_done(self, stream: int) -> bool:
        self._outside("cuStreamQuery")
        self._stream("cuStreamQuery", stream)
        return True

    def new_event(self, timing: bool = False) -> int:
        event = self._new()
        self.events[event] = (timing, 0)
        return event

    def drop_event(self, event: int) -> None:
        del self.events[event]

    def record(self, event: int, stream: int) -> None:
        self._stream("cuEventRecord", stream)
        timing, _ = self.events[event]
        self.log.append(("record", stream, event))
        self.events[event] = (timing, len(self.log))

    def wait_event(self, stream: int, event: int) -> None:
        self._stream("cuStreamWaitEvent", stream)
        if event not in self.events:
            raise self._refuse("cuStreamWaitEvent", "CUDA_ERROR_INVALID_HANDLE")
        self.log.append(("wait_event", stream, event))

    def event_done(self, event: int) -> bool:
        self._outside("cuEventQuery")
        return event in self.events

    def finish_event(self, event: int) -> None:
        self._outside("cuEventSynchronize")
        self._surface()
        self.log.append(("finish_event", event))
        assert event in self.events

    def elapsed(self, start: int, stop: int) -> float:
        """A microsecond for every entry of the log between them."""
        for event in (start, stop):
            if not self.events[event][0]:
                raise self._refuse("cuEventElapsedTime", "an event without timing")
            if not self.events[event][1]:
                raise self._refuse("cuEventElapsedTime", "an event that was not recorded")
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
        _, symbols = self.modules.pop(module)
        for _, address in symbols:
            self.arena.release(address)
        for handle in [h for h, f in self.functions.items() if f.module == module]:
            del self.functions[handle]

    def function(self, module: int, symbol: str, shared: int = 0) -> int:
        if module not in self.modules:
            raise self._refuse("cuModuleGetFunction", "CUDA_ERROR_INVALID_HANDLE")
        if symbol not in self.modules[module][0].entries:
            raise self._refuse("cuModuleGetFunction", f"CUDA_ERROR_NOT_FOUND: {symbol}")
        if shared > ATTRIBUTES[97]:
            raise self._refuse("cuFuncSetAttribute", f"CUDA_ERROR_INVALID_VALUE: {shared} bytes")
        known = [h for h, f in self.functions.items() if (f.module, f.symbol) == (module, symbol)]
        handle = known[0] if known else self._new()
        allowed = shared if shared > 48 << 10 or not known else self.functions[handle].shared
        self.functions[handle] = _Function(module, symbol, max(allowed, 48 << 10))
        return handle

    def parameters(self, function: int) -> list[tuple[int, int]]:
        """(offset, bytes) of every parameter of a function."""
        found = self.functions[function]
        entry = self.modules[found.module][0].entries[found.symbol]
        return [(p.offset, p.nbytes) for p in entry.parameters.values()]

    def _launch_of(
        self, name: str, function: int, blocks: int, threads: int, shared: int, words: Any
    ) -> _Launch:
        found = self.functions.get(function)
        if found is None:
            raise self._refuse(name, "CUDA_ERROR_INVALID_HANDLE: no such function")
        entry = self.modules[found.module][0].entries[found.symbol]
        if not 1 <= blocks <= ATTRIBUTES[5] or not 1 <= threads <= min(1024, entry.most_threads):
            raise self._refuse(
                name, f"CUDA_ERROR_INVALID_VALUE: {blocks} blocks of {threads} threads"
            )
        if shared > found.shared or shared + entry.space_bytes("shared") > ATTRIBUTES[97]:
            raise self._refuse(name, f"CUDA_ERROR_INVALID_VALUE: {shared} bytes of shared memory")
        wanted = entry.parameter_bytes
        content = bytes(words)
        if len(content) < wanted:
            raise self._refuse(name, f"{len(content)} bytes of words, the kernel reads {wanted}")
        return _Launch(function, blocks, threads, shared, content[:wanted])

    def launch(
        self, function: int, blocks: int, threads: int, shared: int, stream: int, words: Any
    ) -> None:
        self._stream("cuLaunchKernel", stream)
        work = self._launch_of("cuLaunchKernel", function, blocks, threads, shared, words)
        if stream in self.capturing:
            self._capture(stream, work)
        else:
            self._do(work, stream)

    # ---- graphs
    def _capture(self, stream: int, work: _Work) -> None:
        graph = self.capturing[stream]
        last = self._last.get(stream)
        self._last[stream] = self._add_node(graph, () if last is None else (last,), work)

    def begin_capture(self, stream: int) -> None:
        if stream == 0:
            raise self._refuse(
                "cuStreamBeginCapture_v2", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: default stream"
            )
        self._stream("cuStreamBeginCapture_v2", stream)
        if stream in self.capturing:
            raise self._refuse("cuStreamBeginCapture_v2", "CUDA_ERROR_ILLEGAL_STATE")
        self.capturing[stream] = self.new_graph()
        self._last.pop(stream, None)

    def end_capture(self, stream: int) -> int:
        if stream not in self.capturing:
            raise self._refuse("cuStreamEndCapture", "CUDA_ERROR_ILLEGAL_STATE: no capture")
        return self.capturing.pop(stream)

    def new_graph(self) -> int:
        graph = self._new()
        self.graphs[graph] = {}
        return graph

    def drop_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def _add_node(self, graph: int, after: Sequence[int], work: _Work) -> int:
        nodes = self.graphs[graph]
        if any(node not in nodes for node in after):
            raise self._refuse("cuGraphAddNode", "CUDA_ERROR_INVALID_VALUE: an unknown node before")
        node = self._new()
        nodes[node] = (work, tuple(after))
        return node

    def add_kernel(
        self,
        graph: int,
        after: Sequence[int],
        function: int,
        blocks: int,
        threads: int,
        shared: int,
        words: Any,
    ) -> int:
        name = "cuGraphAddKernelNode_v2"
        work = self._launch_of(name, function, blocks, threads, shared, words)
        return self._add_node(graph, after, work)

    def add_copy(self, graph: int, after: Sequence[int], target: int, source: int, n: int) -> int:
        self._device("cuGraphAddMemcpyNode", target, n)
        self._device("cuGraphAddMemcpyNode", source, n)
        return self._add_node(graph, after, _Copy(target, source, n))

    def add_child(self, graph: int, after: Sequence[int], child: int) -> int:
        copied = self.new_graph()
        self.graphs[copied] = dict(self.graphs[child])
        return self._add_node(graph, after, _Child(copied))

    def instantiate(self, graph: int) -> int:
        self._outside("cuGraphInstantiateWithFlags")
        executable = self._new()
        self.executables[executable] = dict(self.graphs[graph])
        return executable

    def drop_executable(self, executable: int) -> None:
        del self.executables[executable]

    def update_kernel(
        self,
        executable: int,
        node: int,
        function: int,
        blocks: int,
        threads: int,
        shared: int,
        words: Any,
    ) -> None:
        name = "cuGraphExecKernelNodeSetParams_v2"
        nodes = self.executables[executable]
        if node not in nodes or not isinstance(nodes[node][0], _Launch):
            raise self._refuse(name, "CUDA_ERROR_INVALID_VALUE: not a kernel node of this graph")
        work = self._launch_of(name, function, blocks, threads, shared, words)
        nodes[node] = (work, nodes[node][1])

    def launch_graph(self, executable: int, stream: int) -> None:
        self._stream("cuGraphLaunch", stream)
        if executable not in self.executables:
            raise self._refuse("cuGraphLaunch", "CUDA_ERROR_INVALID_HANDLE")
        if stream in self.capturing:
            raise self._refuse("cuGraphLaunch", "a graph launched during a capture")
        self.log.append(("graph", stream, executable))
        self._run_graph(self.executables[executable], stream)

    def node_types(self, graph: int) -> list[int]:
        return [_NODE_TYPE[type(work)] for work, _ in self.graphs[graph].values()]
