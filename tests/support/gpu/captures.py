"""Captures and graphs of the simulated driver.

Invariant: during a capture nothing runs, and what would wait or allocate is refused; a graph that is
started runs as its nodes are then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from hybrid.core.errors import DeviceError

from .natives import hidden
from .work import NODE_TYPE, Child, Copy, Engine, Function, Launch, Nodes, Work

__all__ = ["Captures", "MOST_BLOCKS", "SHARED"]

MOST_BLOCKS, SHARED = (1 << 31) - 1, 227 << 10


def refusal(name: str, said: str) -> DeviceError:
    return DeviceError(f"the CUDA driver refused {name}: {said}")


@hidden
class Captures(Engine):
    """The part of a driver that is about graphs."""

    def __init__(self, memory: int, devices: int, order: int, lazy: bool) -> None:
        super().__init__(memory, devices, order, lazy)
        self.executables: dict[int, Nodes] = {}
        self._looked_at: set[int] = set()  # whose nodes have been compared as they are
        self.capturing: dict[int, int] = {}  # stream -> graph
        self._captured: dict[int, int] = {}  # stream -> last captured node
        self.streams: set[int] = {0}
        self._handle = 0x1000

    def _new(self) -> int:
        self._handle += 16
        return self._handle

    def _outside(self, name: str) -> None:
        if self.capturing:
            said = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: operation not permitted in a capture"
            raise refusal(name, said)

    def _stream(self, name: str, stream: int) -> None:
        if stream not in self.streams:
            raise refusal(name, f"CUDA_ERROR_INVALID_HANDLE: stream {stream}")
        if stream == 0 and self.capturing:
            said = "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT: the default stream during a capture"
            raise refusal(name, said)

    # ---- kernels
    def parameters(self, function: int) -> list[tuple[int, int]]:
        """(offset, bytes) of every parameter of a function."""
        found = self.functions[function]
        entry = self.modules[found.module][0].entries[found.symbol]
        return [(p.offset, p.nbytes) for p in entry.parameters.values()]

    def _launch_of(
        self, name: str, function: int, blocks: int, threads: int, shared: int, words: Any
    ) -> Launch:
        found = self.functions.get(function)
        if found is None:
            raise refusal(name, "CUDA_ERROR_INVALID_HANDLE: no such function")
        self._check_sizes(name, found, blocks, threads, shared)
        entry = self.modules[found.module][0].entries[found.symbol]
        wanted, content = entry.parameter_bytes, bytes(words)
        if len(content) < wanted:
            raise refusal(name, f"{len(content)} bytes of words, the kernel reads {wanted}")
        return Launch(function, blocks, threads, shared, content[:wanted], self.current)

    def _check_sizes(
        self, name: str, found: Function, blocks: int, threads: int, shared: int
    ) -> None:
        entry = self.modules[found.module][0].entries[found.symbol]
        if not 1 <= blocks <= MOST_BLOCKS or not 1 <= threads <= entry.most_threads:
            said = f"{blocks} blocks of {threads} threads, made for {entry.most_threads} (.maxntid)"
            raise refusal(name, f"CUDA_ERROR_INVALID_VALUE: {said}")
        if shared > found.shared or shared + entry.space_bytes("shared") > SHARED:
            raise refusal(name, f"CUDA_ERROR_INVALID_VALUE: {shared} bytes of shared memory")

    def launch(
        self, function: int, blocks: int, threads: int, shared: int, stream: int, words: Any
    ) -> None:
        self._stream("cuLaunchKernel", stream)
        work = self._launch_of("cuLaunchKernel", function, blocks, threads, shared, words)
        self._start(stream, work)

    def _start(self, stream: int, work: Work) -> None:
        """Into the graph of a capture, or into the stream."""
        if stream in self.capturing:
            last = self._captured.get(stream)
            after = () if last is None else (last,)
            self._captured[stream] = self._add_node(self.capturing[stream], after, work)
        else:
            self.submit(stream, partial(self.do, work, stream))

    # ---- captures
    def begin_capture(self, stream: int) -> None:
        name = "cuStreamBeginCapture_v2"
        if stream == 0:
            raise refusal(name, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: default stream")
        self._stream(name, stream)
        if stream in self.capturing:
            raise refusal(name, "CUDA_ERROR_ILLEGAL_STATE")
        self.capturing[stream] = self.new_graph()
        self._captured.pop(stream, None)

    def end_capture(self, stream: int) -> int:
        if stream not in self.capturing:
            raise refusal("cuStreamEndCapture", "CUDA_ERROR_ILLEGAL_STATE: no capture")
        return self.capturing.pop(stream)

    # ---- graphs
    def new_graph(self) -> int:
        graph = self._new()
        self.graphs[graph] = {}
        return graph

    def drop_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def _add_node(self, graph: int, after: Sequence[int], work: Work) -> int:
        nodes = self.graphs[graph]
        if any(node not in nodes for node in after):
            raise refusal("cuGraphAddNode", "CUDA_ERROR_INVALID_VALUE: an unknown node before")
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
        self.device_bytes("cuGraphAddMemcpyNode", target, n)
        self.device_bytes("cuGraphAddMemcpyNode", source, n)
        return self._add_node(graph, after, Copy(target, source, n))

    def add_child(self, graph: int, after: Sequence[int], child: int) -> int:
        copied = self.new_graph()
        self.graphs[copied] = dict(self.graphs[child])
        return self._add_node(graph, after, Child(copied))

    def instantiate(self, graph: int) -> int:
        self._outside("cuGraphInstantiateWithFlags")
        executable = self._new()
        self.executables[executable] = dict(self.graphs[graph])
        return executable

    def drop_executable(self, executable: int) -> None:
        del self.executables[executable]
        self._looked_at.discard(executable)

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
        if node not in nodes or not isinstance(nodes[node][0], Launch):
            raise refusal(name, "CUDA_ERROR_INVALID_VALUE: not a kernel node of this graph")
        work = self._launch_of(name, function, blocks, threads, shared, words)
        nodes[node] = (work, nodes[node][1])
        self._looked_at.discard(executable)

    def launch_graph(self, executable: int, stream: int) -> None:
        self._stream("cuGraphLaunch", stream)
        if executable not in self.executables:
            raise refusal("cuGraphLaunch", "CUDA_ERROR_INVALID_HANDLE")
        if stream in self.capturing:
            raise refusal("cuGraphLaunch", "a graph launched during a capture")
        nodes = dict(self.executables[executable])
        note = executable not in self._looked_at
        self._looked_at.add(executable)

        def act() -> None:
            self.log.append(("graph", stream, executable))
            self.run_graph(nodes, stream, note)

        self.submit(stream, act)

    def node_types(self, graph: int) -> list[int]:
        return [NODE_TYPE[type(work)] for work, _ in self.graphs[graph].values()]
