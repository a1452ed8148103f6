"""The CUDA driver as a few Python functions over plain ints: devices, memory, code, launches.

Invariant: every failure is a DeviceError (out of memory: OutOfMemory) that names the call and what
the driver said; `use` puts another driver in its place, so all above runs without a card.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from ....core.errors import DeviceError
from ....core.signals import critical

__all__ = ["Driver", "CudaDriver", "OutOfMemory", "driver", "use", "CHANGED"]


class OutOfMemory(DeviceError, MemoryError):
    """The card has no memory left for an allocation."""


class Driver(Protocol):
    """What the backend asks of a driver.  Addresses, streams, events, functions, graphs and their
    nodes are ints; stream 0 is the default stream, which waits for and is waited for by others."""

    def address(self, name: str) -> int:
        """Address of a C function of the driver (or of one like it), for native code to call."""

    def version(self) -> int:
        """The newest CUDA it serves: 1000 times the major number plus 10 times the minor one."""

    def device_count(self) -> int: ...
    def use_device(self, device: int) -> None:
        """Make the device's context this thread's."""

    def context(self, device: int) -> int:
        """The device's context, which native code makes its thread's."""

    def attribute(self, device: int, number: int) -> int: ...
    def device_name(self, device: int) -> str: ...
    def memory_info(self) -> tuple[int, int]:
        """(free, total) bytes of the current device."""

    def allocate(self, nbytes: int) -> int: ...
    def free(self, address: int) -> None: ...
    def allocate_host(self, nbytes: int) -> int:
        """Pinned memory that the card sees at the same address."""

    def free_host(self, address: int) -> None: ...
    def to_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None: ...
    def to_host(self, target: int, source: int, nbytes: int, stream: int = 0) -> None: ...
    def on_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None: ...
    def fill(self, target: int, byte: int, nbytes: int, stream: int = 0) -> None: ...
    def new_stream(self, apart: bool = False) -> int:
        """`apart`: it neither waits for the default stream nor is waited for by it."""

    def drop_stream(self, stream: int) -> None: ...
    def wait_stream(self, stream: int) -> None:
        """The host waits for all work of a stream."""

    def wait_device(self) -> None: ...
    def stream_done(self, stream: int) -> bool: ...
    def new_event(self, timing: bool = False) -> int: ...
    def drop_event(self, event: int) -> None: ...
    def record(self, event: int, stream: int) -> None: ...
    def wait_event(self, stream: int, event: int) -> None:
        """Later work of the stream waits for the event."""

    def event_done(self, event: int) -> bool: ...
    def finish_event(self, event: int) -> None:
        """The host waits for an event."""

    def elapsed(self, start: int, stop: int) -> float:
        """Milliseconds between two events that were recorded with timing."""

    def load(self, image: bytes) -> int:
        """A module of a cubin (or of PTX text)."""

    def unload(self, module: int) -> None: ...
    def function(self, module: int, symbol: str, shared: int = 0) -> int:
        """A function of a module, which may be started with so much dynamic shared memory."""

    def launch(
        self, function: int, blocks: int, threads: int, shared: int, stream: int, words: Any
    ) -> None:
        """Start a kernel whose one parameter is the ctypes array `words`."""

    def begin_capture(self, stream: int) -> None: ...
    def end_capture(self, stream: int) -> int:
        """The graph of what was captured."""

    def new_graph(self) -> int: ...
    def drop_graph(self, graph: int) -> None: ...
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
        """A kernel node that runs after the given nodes."""

    def add_copy(self, graph: int, after: Sequence[int], target: int, source: int, n: int) -> int:
        """A node that copies n bytes on the device."""

    def add_child(self, graph: int, after: Sequence[int], child: int) -> int: ...
    def instantiate(self, graph: int) -> int: ...
    def drop_executable(self, executable: int) -> None: ...
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
        """New words for a kernel node of an instantiated graph."""

    def launch_graph(self, executable: int, stream: int) -> None: ...
    def node_types(self, graph: int) -> list[int]:
        """CUgraphNodeType of every node: 0 kernel, 1 copy, 2 fill, 4 child graph, ..."""


Handle = ctypes.c_void_p
Size = ctypes.c_size_t
_SHARED_LIMIT = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_CAPTURE = 2  # CU_STREAM_CAPTURE_MODE_RELAXED
_OUT_OF_MEMORY = 2
_OLDEST = 12000  # CUDA 12.0


class _KernelNode(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS (v2)."""

    _fields_ = [
        ("function", Handle),
        *[(f"{name}_{axis}", ctypes.c_uint) for name in ("grid", "block") for axis in "xyz"],
        ("shared", ctypes.c_uint),
        ("parameters", Handle),
        ("extra", Handle),
        ("kernel", Handle),
        ("context", Handle),
    ]


class _CopyNode(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = [
        *[(n, Size) for n in ("source_x", "source_y", "source_z", "source_lod")],
        ("source_kind", ctypes.c_uint),
        *[(n, Handle) for n in ("source_host", "source", "source_array", "source_reserved")],
        *[(n, Size) for n in ("source_pitch", "source_height")],
        *[(n, Size) for n in ("target_x", "target_y", "target_z", "target_lod")],
        ("target_kind", ctypes.c_uint),
        *[(n, Handle) for n in ("target_host", "target", "target_array", "target_reserved")],
        *[(n, Size) for n in ("target_pitch", "target_height")],
        *[(n, Size) for n in ("width", "height", "depth")],
    ]


class CudaDriver:
    """NVIDIA's driver library through ctypes, over the primary context of each device, which CuPy
    and PyTorch use too."""

    def __init__(self) -> None:
        self.library = _library()
        self._check("cuInit", 0)
        if self.version() < _OLDEST:
            raise DeviceError(
                f"this NVIDIA driver serves CUDA {_version_text(self.version())}, hybrid needs "
                f"{_version_text(_OLDEST)}; install a newer driver, or use device='cpu'"
            )
        self._contexts: dict[int, Handle] = {}

    def _check(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            self._raise(name, status)

    def _raise(self, name: str, status: int) -> None:
        text, code = ctypes.c_char_p(), ctypes.c_char_p()
        self.library.cuGetErrorString(status, ctypes.byref(text))
        self.library.cuGetErrorName(status, ctypes.byref(code))
        said = f"{(code.value or b'?').decode()}: {(text.value or b'unknown error').decode()}"
        kind = OutOfMemory if status == _OUT_OF_MEMORY else DeviceError
        raise kind(f"the CUDA driver refused {name}: {said}")

    def _made(self, name: str, *arguments: Any, kind: Any = Handle) -> int:
        made = kind()
        self._check(name, ctypes.byref(made), *arguments)
        return made.value or 0

    def address(self, name: str) -> int:
        return ctypes.cast(getattr(self.library, name), Handle).value or 0

    # ---- devices
    def version(self) -> int:
        return self._made("cuDriverGetVersion", kind=ctypes.c_int)

    def device_count(self) -> int:
        return self._made("cuDeviceGetCount", kind=ctypes.c_int)

    def use_device(self, device: int) -> None:
        context = self._contexts.get(device)
        if context is None:
            context = Handle(self._made("cuDevicePrimaryCtxRetain", device))
            self._contexts[device] = context
        self._check("cuCtxSetCurrent", context)

    def context(self, device: int) -> int:
        self.use_device(device)
        return self._contexts[device].value or 0

    def attribute(self, device: int, number: int) -> int:
        return self._made("cuDeviceGetAttribute", number, device, kind=ctypes.c_int)

    def device_name(self, device: int) -> str:
        name = ctypes.create_string_buffer(256)
        self._check("cuDeviceGetName", name, 256, device)
        return name.value.decode()

    def memory_info(self) -> tuple[int, int]:
        free, total = Size(), Size()
        self._check("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    # ---- memory
    def allocate(self, nbytes: int) -> int:
        return self._made("cuMemAlloc_v2", Size(nbytes))

    def free(self, address: int) -> None:
        self._check("cuMemFree_v2", Handle(address))

    def allocate_host(self, nbytes: int) -> int:
        return self._made("cuMemHostAlloc", Size(nbytes), 1)

    def free_host(self, address: int) -> None:
        self._check("cuMemFreeHost", Handle(address))

    def _copy(self, name: str, target: int, source: int, nbytes: int, stream: int) -> None:
        if nbytes:
            self._check(name, Handle(target), Handle(source), Size(nbytes), Handle(stream))

    def to_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._copy("cuMemcpyHtoDAsync_v2", target, source, nbytes, stream)

    def to_host(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._copy("cuMemcpyDtoHAsync_v2", target, source, nbytes, stream)

    def on_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._copy("cuMemcpyDtoDAsync_v2", target, source, nbytes, stream)

    def fill(self, target: int, byte: int, nbytes: int, stream: int = 0) -> None:
        if nbytes:
            self._check("cuMemsetD8Async", Handle(target), byte, Size(nbytes), Handle(stream))

    # ---- streams and events
    def new_stream(self, apart: bool = False) -> int:
        return self._made("cuStreamCreate", int(apart))

    def drop_stream(self, stream: int) -> None:
        self._check("cuStreamDestroy_v2", Handle(stream))

    def wait_stream(self, stream: int) -> None:
        self._check("cuStreamSynchronize", Handle(stream))

    def wait_device(self) -> None:
        self._check("cuCtxSynchronize")

    def _done(self, name: str, handle: int) -> bool:
        status = getattr(self.library, name)(Handle(handle))
        if status not in (0, 600):  # CUDA_ERROR_NOT_READY
            self._raise(name, status)
        return not status

    def stream_done(self, stream: int) -> bool:
        return self._done("cuStreamQuery", stream)

    def new_event(self, timing: bool = False) -> int:
        return self._made("cuEventCreate", 0 if timing else 2)

    def drop_event(self, event: int) -> None:
        self._check("cuEventDestroy_v2", Handle(event))

    def record(self, event: int, stream: int) -> None:
        self._check("cuEventRecord", Handle(event), Handle(stream))

    def wait_event(self, stream: int, event: int) -> None:
        self._check("cuStreamWaitEvent", Handle(stream), Handle(event), 0)

    def event_done(self, event: int) -> bool:
        return self._done("cuEventQuery", event)

    def finish_event(self, event: int) -> None:
        self._check("cuEventSynchronize", Handle(event))

    def elapsed(self, start: int, stop: int) -> float:
        self.finish_event(stop)
        taken = ctypes.c_float()
        # its v2 came with CUDA 12.8 and measures the same
        self._check("cuEventElapsedTime", ctypes.byref(taken), Handle(start), Handle(stop))
        return taken.value

    # ---- code
    def load(self, image: bytes) -> int:
        return self._made("cuModuleLoadData", image)

    def unload(self, module: int) -> None:
        self._check("cuModuleUnload", Handle(module))

    def function(self, module: int, symbol: str, shared: int = 0) -> int:
        found = self._made("cuModuleGetFunction", Handle(module), symbol.encode())
        if shared > 48 << 10:
            self._check("cuFuncSetAttribute", Handle(found), _SHARED_LIMIT, shared)
        return found

    def launch(
        self, function: int, blocks: int, threads: int, shared: int, stream: int, words: Any
    ) -> None:
        parameters = (Handle * 1)(ctypes.addressof(words))
        self._check(
            "cuLaunchKernel",
            Handle(function),
            *(blocks, 1, 1, threads, 1, 1, shared),
            Handle(stream),
            parameters,
            None,
        )

    # ---- graphs
    def begin_capture(self, stream: int) -> None:
        self._check("cuStreamBeginCapture_v2", Handle(stream), _CAPTURE)

    def end_capture(self, stream: int) -> int:
        graph = Handle()
        self._check("cuStreamEndCapture", Handle(stream), ctypes.byref(graph))
        return graph.value or 0

    def new_graph(self) -> int:
        return self._made("cuGraphCreate", 0)

    def drop_graph(self, graph: int) -> None:
        self._check("cuGraphDestroy", Handle(graph))

    def _node(self, name: str, graph: int, after: Sequence[int], *given: Any) -> int:
        before = (Handle * max(len(after), 1))(*after)
        return self._made(name, Handle(graph), before, Size(len(after)), *given)

    @staticmethod
    def _kernel(
        function: int, blocks: int, threads: int, shared: int, words: Any
    ) -> tuple[_KernelNode, Any]:
        parameters = (Handle * 1)(ctypes.addressof(words))
        address = ctypes.addressof(parameters)
        sizes = (blocks, 1, 1, threads, 1, 1, shared)
        return _KernelNode(function, *sizes, address, None, None, None), parameters

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
        node, _keep = self._kernel(function, blocks, threads, shared, words)
        return self._node("cuGraphAddKernelNode_v2", graph, after, ctypes.byref(node))

    def add_copy(self, graph: int, after: Sequence[int], target: int, source: int, n: int) -> int:
        copy = _CopyNode(source_kind=2, source=source, target_kind=2, target=target)
        copy.width, copy.height, copy.depth = n, 1, 1
        context = Handle()
        self._check("cuCtxGetCurrent", ctypes.byref(context))
        return self._node("cuGraphAddMemcpyNode", graph, after, ctypes.byref(copy), context)

    def add_child(self, graph: int, after: Sequence[int], child: int) -> int:
        return self._node("cuGraphAddChildGraphNode", graph, after, Handle(child))

    def instantiate(self, graph: int) -> int:
        return self._made("cuGraphInstantiateWithFlags", Handle(graph), ctypes.c_uint64(0))

    def drop_executable(self, executable: int) -> None:
        self._check("cuGraphExecDestroy", Handle(executable))

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
        params, _keep = self._kernel(function, blocks, threads, shared, words)
        self._check(
            "cuGraphExecKernelNodeSetParams_v2",
            Handle(executable),
            Handle(node),
            ctypes.byref(params),
        )

    def launch_graph(self, executable: int, stream: int) -> None:
        self._check("cuGraphLaunch", Handle(executable), Handle(stream))

    def node_types(self, graph: int) -> list[int]:
        count = Size()
        self._check("cuGraphGetNodes", Handle(graph), None, ctypes.byref(count))
        nodes = (Handle * max(count.value, 1))()
        self._check("cuGraphGetNodes", Handle(graph), nodes, ctypes.byref(count))
        return [self._node_type(nodes[i] or 0) for i in range(count.value)]

    def _node_type(self, node: int) -> int:
        kind = ctypes.c_int()
        self._check("cuGraphNodeGetType", Handle(node), ctypes.byref(kind))
        return kind.value


@lru_cache(1)
def _library() -> ctypes.CDLL:
    for name in ("libcuda.so.1", "libcuda.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise DeviceError(
        "no NVIDIA driver is installed (libcuda.so.1 was not found); "
        "install one, or use device='cpu'"
    )


def _version_text(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


class _Door:
    """The driver in use; `forked`: this process got it from its parent, where alone it works."""

    def __init__(self) -> None:
        self.driver: Driver | None = None
        self.forked = False
        self.changed: list[Callable[[], None]] = []  # called when another driver takes its place


DOOR = _Door()
CHANGED = DOOR.changed


def driver() -> Driver:
    """The driver; DeviceError without one."""
    found = DOOR.driver
    if found is None or DOOR.forked:
        found = _opened()
    return found


def _opened() -> Driver:
    if DOOR.forked:
        raise DeviceError(
            "CUDA does not work in a forked process whose parent has used it; start the process "
            "with multiprocessing's 'spawn' method"
        )
    made = CudaDriver()
    if DOOR.driver is None:
        use(made)
    return DOOR.driver or made


def use(other: Driver | None) -> Driver | None:
    """Put another driver in the place of NVIDIA's (None: NVIDIA's again); gives the one before."""
    before, DOOR.driver = DOOR.driver, other
    DOOR.forked = False
    for told in DOOR.changed:
        told()
    return before


@critical
def _in_child() -> None:
    # a driver that lives in host memory works in the child, too
    DOOR.forked = isinstance(DOOR.driver, CudaDriver)
    if DOOR.forked:
        for told in DOOR.changed:
            told()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
