"""A driver whose launches run the CPU's kernels on host memory, for all that is around kernels.

Invariant: a launch sees nothing but the words it was given; a graph keeps the words of its nodes.
"""

from __future__ import annotations

import ctypes
import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pytest
from fake_driver import FakeDriver
from gpu.natives import hidden, hide, unseen

from hybrid.backends.cpu.kernels import steps as cpu_steps
from hybrid.backends.cpu.machine.pool import run_steps
from hybrid.backends.cuda import executable
from hybrid.backends.cuda.function import STATUS, Card, GpuFunction
from hybrid.backends.cuda.graph_ir import PARAMS
from hybrid.backends.cuda.launch import prepare
from hybrid.backends.cuda.machine import driver as door
from hybrid.backends.plan import Kernel, LoopKernel, slots_of
from hybrid.ir.door.context import aside

TEXT = "define ptx_kernel void @{0}(ptr byval([{1} x i64]) align 8 %args) {{\n  ret void\n}}\n"


class Known(NamedTuple):
    kernel: Kernel
    slots: tuple[int, ...]
    guarded: bool


KNOWN: dict[str, Known] = {}


@hide
def generate(
    kernel: Kernel, card: Card, temp_slot: int, guarded: bool = False, *more: Any
) -> list[Any]:
    """One function that stands for a kernel: its words are the slots, the status and a code."""
    slots = tuple(sorted(slots_of(kernel)))
    symbol = "k" + hashlib.sha256(repr((kernel, guarded)).encode()).hexdigest()[:24]
    KNOWN[symbol] = Known(kernel, slots, guarded)
    words = (*slots, STATUS, 0)
    check = len(words) - 1 if isinstance(kernel, LoopKernel) and kernel.check else -1
    text = TEXT.format(symbol, len(words))
    return [GpuFunction(text, symbol, words, tuple(range(len(words) - 1)), 1, 32, check=check)]


@lru_cache(None)
def _steps(kernel: Kernel, temp_slot: int) -> tuple[list[Any], np.ndarray, Any]:
    """The CPU's steps of a kernel, its workspace, and what they point to."""
    rows, temp = cpu_steps([kernel], temp_slot)
    kept = [np.array(row.words, np.uint64) for row in rows]
    table = [
        (r.code.address, words.ctypes.data, r.items, max(r.grain, 1), r.scratch, 0)
        for r, words in zip(rows, kept)
    ]
    return table, np.zeros(temp + 64, np.uint8), (kept, rows)


class Node(NamedTuple):
    function: int
    words: tuple[int, ...]


@hidden
class HostDriver(FakeDriver):
    """Counts launches, graph launches and updates of nodes in `counts`."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.numbers = count(1 << 20)
        self.symbols: dict[int, str] = {}
        self.graphs: dict[int, list[int]] = {}
        self.nodes: dict[int, Node] = {}
        self.after: dict[int, set[int]] = {}
        self.dice = random.Random(0)
        self.started_on: list[int] = []  # of graph launches
        self.instances: dict[int, dict[int, Node]] = {}
        self.counts = dict.fromkeys(("launch", "graph", "update", "copy"), 0)
        self.fail: dict[str, int] = {}  # name of a function -> what it gives
        self._callbacks: dict[str, Any] = {}

    # ---- code
    def function(self, module: int, symbol: str, shared: int = 0) -> int:
        handle = super().function(module, symbol, shared)
        self.symbols[handle] = symbol
        return handle

    def _run(self, node: Node) -> None:
        kernel, slots, guarded = KNOWN[self.symbols[node.function]]
        *places, status_at, code = node.words
        status = (ctypes.c_int64 * 2).from_address(status_at)
        if guarded and status[0]:
            return
        table, work, _ = _steps(kernel, max(slots) + 1)
        buffers = [0] * (max(slots) + 2)
        for slot, place in zip(slots, places):
            buffers[slot] = place
        buffers[-1] = work.ctypes.data
        _, failed = run_steps(table, buffers)
        if failed and not status[0]:
            status[0] = code + failed
            ctypes.c_int64.from_address(status[1]).value = code + failed

    # ---- plain launches
    def launch(
        self, function: int, blocks: int, threads: int, shared: int, stream: int, words: Any
    ) -> None:
        self.counts["launch"] += 1
        self._run(Node(function, tuple(words)))

    # ---- graphs
    def new_graph(self) -> int:
        number = next(self.numbers)
        self.graphs[number] = []
        return number

    def drop_graph(self, graph: int) -> None:
        for node in self.graphs.pop(graph):
            del self.nodes[node]

    def add_kernel(self, graph, after, function, blocks, threads, shared, words) -> int:
        number = next(self.numbers)
        assert set(after) <= set(self.graphs[graph])
        self.graphs[graph].append(number)
        self.after[number] = set(after)
        self.nodes[number] = Node(function, tuple(words))
        return number

    def node_types(self, graph: int) -> list[int]:
        return [0] * len(self.graphs[graph])

    def instantiate(self, graph: int) -> int:
        number = next(self.numbers)
        self.instances[number] = {node: self.nodes[node] for node in self.graphs[graph]}
        return number

    def drop_executable(self, executable: int) -> None:
        del self.instances[executable]

    # ---- for native code
    def address(self, name: str) -> int:
        if name not in self._callbacks:
            p, u = ctypes.c_void_p, ctypes.c_uint
            kinds = {
                "cuCtxSetCurrent": (p,),
                "cuLaunchKernel": (p, u, u, u, u, u, u, u, p, p, p),
                "cuGraphLaunch": (p, p),
                "cuGraphExecKernelNodeSetParams_v2": (p, p, p),
                "cuMemcpyDtoDAsync_v2": (p, p, ctypes.c_size_t, p),
                "cuMemcpyHtoDAsync_v2": (p, p, ctypes.c_size_t, p),
                "cuMemcpyDtoHAsync_v2": (p, p, ctypes.c_size_t, p),
                "cuStreamSynchronize": (p,),
            }[name]
            act = getattr(self, "_" + name.split("_")[0])

            def call(*given: Any) -> int:
                if self.fail.get(name):
                    return self.fail[name]
                aside(act, *given)
                return 0

            self._callbacks[name] = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(unseen(call))
        return ctypes.cast(self._callbacks[name], ctypes.c_void_p).value or 0

    def _words(self, function: int, parameters: int) -> Node:
        count = len(KNOWN[self.symbols[function]].slots) + 2
        place = ctypes.c_uint64.from_address(parameters).value
        return Node(function, tuple((ctypes.c_uint64 * count).from_address(place)))

    def _cuCtxSetCurrent(self, context: int) -> None:
        self.current = context - self.context(0)

    def _cuLaunchKernel(self, function, *rest) -> None:
        assert rest[:7] == (1, 1, 1, 32, 1, 1, 0)
        self.counts["launch"] += 1
        self._run(self._words(function, rest[8]))

    def _cuGraphLaunch(self, instance: int, stream: int | None) -> None:
        self.counts["graph"] += 1
        self.started_on.append(stream or 0)
        nodes, done = self.instances[instance], set[int]()
        while len(done) < len(nodes):  # in any order that the edges allow
            ready = [n for n in nodes if n not in done and self.after[n] <= done]
            chosen = self.dice.choice(ready)
            self._run(nodes[chosen])
            done.add(chosen)

    def _cuGraphExecKernelNodeSetParams(self, instance: int, node: int, parameters: int) -> None:
        self.counts["update"] += 1
        function, *sizes, words = PARAMS.unpack(ctypes.string_at(parameters, PARAMS.size))
        assert sizes == [1, 1, 1, 32, 1, 1, 0]
        assert function == self.instances[instance][node].function
        self.instances[instance][node] = self._words(function, words)

    def _cuMemcpyDtoDAsync(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        self.counts["copy"] += 1
        self.on_device(target, source, nbytes, stream or 0)

    def _cuMemcpyHtoDAsync(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        self.to_device(target, source, nbytes, stream or 0)

    def _cuMemcpyDtoHAsync(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        self.to_host(target, source, nbytes, stream or 0)

    def _cuStreamSynchronize(self, stream: Any) -> None:
        self.wait_stream(stream or 0)


@contextmanager
def host_cards(patch: pytest.MonkeyPatch, **more: int) -> Iterator[HostDriver]:
    """Cards whose kernels are the CPU's."""
    patch.setattr(prepare, "generate", generate)
    patch.setattr(executable, "steps", lambda *given: generate(*given[:4]))
    made = HostDriver(**more)
    before = door.use(made)
    try:
        yield made
    finally:
        door.use(before)
