"""The kernels of a plan as one CUDA graph, with the table through which native code runs it.

Invariant: a graph holds kernels only; it allocates nothing and calls nothing on the host.  What
nodes point to is alive as long as the Graphs object.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import BackendError
from ...core.switches import SWITCHES
from ..cpu.machine import host
from ..cpu.machine.jit import NativeModule, compile_ir
from ..generated import WORD_MASK
from .function import CODE_SHIFT, STATUS, GpuFunction, LibraryCall
from .graph_ir import (
    COPY,
    FUNCTIONS,
    GRAPH_HEAD,
    NAMES,
    NODE,
    PARAMS,
    TABLE,
    TABLE_WORDS,
    WATCHED,
    plan_text,
)
from .machine.devices import DeviceState
from .machine.modules import Loaded
from .machine.status import Status

__all__ = ["Started", "GraphCopy", "Graphs", "drop_dead", "native_plan"]

# Instantiated graphs of a plan: results, gradients and batches take turns in few buffers.  A graph
# of many launches takes long to instantiate, and long enough to run that updates do not matter.
FEW_LAUNCHES, MANY_GRAPHS, FEW_GRAPHS = 256, 4, 2
KERNEL_NODE, GRAPH_NODE = 0, 4
_ALWAYS = np.ones(1, np.int64)


class Started(NamedTuple):
    """One launch: its function, loaded on the card, and the number of its check; or the call of a
    library, whose slots all have fixed addresses."""

    function: GpuFunction
    loaded: Loaded | None
    code: int = 0
    call: LibraryCall | None = None

    @staticmethod
    def of(call: LibraryCall) -> Started:
        return Started(GpuFunction("", call.symbol, (), (), 0, 0), None, 0, call)


class _Dead(NamedTuple):
    """Graphs that nobody uses any more, with the functions that their nodes name."""

    state: DeviceState
    graph: int
    instances: list[int]
    launches: Sequence[Started]


_DEAD: list[_Dead] = []


def drop_dead() -> None:
    """Give graphs that nobody uses back to the driver."""
    while _DEAD:
        state, graph, instances, _ = _DEAD.pop()
        state.enter()
        for instance in instances:
            state.driver.drop_executable(instance)
        state.driver.drop_graph(graph)


class GraphCopy(NamedTuple):
    """The memory of slot `target`, where it is not that of slot `source`, starts as a copy."""

    target: int
    source: int
    nbytes: int


@lru_cache(1)
def _module() -> NativeModule:
    made = compile_ir(plan_text(), NAMES)
    host.keep_forever(made)
    return made


def native_plan(name: str = "hy_gpu_plan") -> int:
    """Address of a native function of graph_ir.py."""
    return _module().address(name)


@lru_cache(1)
def _run() -> Any:
    address, integer = ctypes.c_void_p, ctypes.c_int64
    kinds = address, address, integer, address, integer, address
    return ctypes.PYFUNCTYPE(integer, *kinds)(native_plan())


class Graphs:
    """Launches over slots: `fixed` slots have one address, the others are watched.

    `after`: for each launch those that it waits for (default: the one before it).  `status`: of
    checks that each run waits for."""

    def __init__(
        self,
        state: DeviceState,
        launches: Sequence[Started],
        fixed: Mapping[int, int],
        copies: Sequence[GraphCopy] = (),
        after: Sequence[Sequence[int]] | None = None,
        status: Status | None = None,
    ) -> None:
        drop_dead()
        self.state, self.launches = state, launches
        self.status, self.settled = status or state.status, status is not None
        self.fixed = {**fixed, STATUS: self.status.address}
        self.after = after or [[k - 1] if k else [] for k in range(len(launches))]
        self._graph, self._instances = 0, list[int]()
        self._wanted = MANY_GRAPHS if len(launches) <= FEW_LAUNCHES else FEW_GRAPHS
        self._offsets = list(_starts(len(s.function.words) for s in launches))
        self._words = np.zeros(max(sum(len(s.function.words) for s in launches), 1), np.uint64)
        self._lists = np.zeros(max(len(launches), 1), np.uint64)
        self._params = np.zeros(max(len(launches), 1) * (PARAMS.size // 8), np.uint64)
        self.watched = self._write_words(fixed)
        self._describe()
        self.table, self._starts = self._table(copies)
        self._steps = np.array([self.table.ctypes.data], np.uint64)

    def _write_words(self, fixed: Mapping[int, int]) -> dict[int, list[tuple[int, int]]]:
        """Write the words that stay; gives the addresses that may change, by slot: (position in all
        words, number of the launch)."""
        watched: dict[int, list[tuple[int, int]]] = {}
        for number, (start, (function, _, code, _)) in enumerate(zip(self._offsets, self.launches)):
            words = [word & WORD_MASK for word in function.words]
            if function.check >= 0:
                words[function.check] = code << CODE_SHIFT
            for position in function.slots:
                slot = function.words[position]
                known = self.status.address if slot == STATUS else fixed.get(slot)
                words[position] = known or 0
                if known is None:
                    watched.setdefault(slot, []).append((start + position, number))
            self._words[start : start + len(words)] = words
        return watched

    def _describe(self) -> None:
        """The parameters of every launch, as the driver takes them."""
        words, lists = self._words.ctypes.data, self._lists.ctypes.data
        for number, (start, launch) in enumerate(zip(self._offsets, self.launches)):
            function = launch.function
            self._lists[number] = words + 8 * start
            sizes = function.blocks, 1, 1, function.threads, 1, 1, function.shared
            handle = 0 if launch.loaded is None else launch.loaded.handle
            packed = PARAMS.pack(handle, *sizes, lists + 8 * number)
            at = number * (PARAMS.size // 8)
            self._params[at : at + PARAMS.size // 8] = np.frombuffer(packed, np.uint64)

    def _table(self, copies: Sequence[GraphCopy]) -> tuple[np.ndarray, dict[str, int]]:
        """(the words of graph_ir.TABLE, then the records that they point to; where records of each
        kind start)."""
        slots = sorted(self.watched)
        fixups = [pair for slot in slots for pair in self.watched[slot]]
        sizes = {
            "nodes": len(self.launches) * NODE["size"],
            "watched": len(slots) * WATCHED["size"],
            "fixups": 16 * len(fixups),
            "copies": len(copies) * COPY["size"],
            "graphs": self._wanted * (GRAPH_HEAD + 8 * len(slots)),
        }
        starts = dict(zip(sizes, _starts((size // 8 for size in sizes.values()), TABLE_WORDS)))
        table = np.zeros(TABLE_WORDS + sum(sizes.values()) // 8, np.uint64)
        base = table.ctypes.data
        for number in range(len(self.launches)):
            at = starts["nodes"] + number * NODE["size"] // 8
            table[at + NODE["params"] // 8] = self._params.ctypes.data + number * PARAMS.size
        done = 0
        for number, slot in enumerate(slots):
            count = len(self.watched[slot])
            at, address = starts["watched"] + 3 * number, base + 8 * starts["fixups"] + 16 * done
            table[at : at + 3] = 8 * slot, count, address
            done += count
        for number, (position, launch) in enumerate(fixups):
            at = starts["fixups"] + 2 * number
            table[at : at + 2] = self._words.ctypes.data + 8 * position, launch
        for number, copy in enumerate(copies):
            at = starts["copies"] + 3 * number
            table[at : at + 3] = 8 * copy.target, 8 * copy.source, copy.nbytes
        self._head(table, starts, len(slots), len(copies))
        return table, starts

    def _head(
        self, table: np.ndarray, starts: Mapping[str, int], watched: int, copies: int
    ) -> None:
        state = self.state
        state.enter()
        words = {
            "nodes_n": len(self.launches),
            "watched_n": watched,
            "copies_n": copies,
            "graph_bytes": GRAPH_HEAD + 8 * watched,
            "limit": max(len(self.launches) // 4, 4),
            "stream": ctypes.addressof(state.stream_word),
            "wait": (_ALWAYS if self.settled else SWITCHES.words).ctypes.data,
            "failed": self.status.host_address,
            "status": self.status.address if self.settled else 0,
            "blank": self.status.blank_address,
            "context": state.driver.context(state.index),
            **{name: state.driver.address(name) for name in FUNCTIONS},
            **{
                name: table.ctypes.data + 8 * starts[name]
                for name in ("nodes", "watched", "copies", "graphs")
            },
        }
        for name, word in words.items():
            table[TABLE[name] // 8] = word

    # ---- graphs
    @property
    def instances(self) -> int:
        """How many graphs are instantiated."""
        return len(self._instances)

    def instantiate(self) -> None:
        """Make the graph and its instances; from now on runs are graph launches."""
        if self._graph or not self.launches:
            return
        driver, nodes = self.state.driver, list[int]()
        self.state.enter()
        graph = driver.new_graph()
        try:
            for number, (function, loaded, _, call) in enumerate(self.launches):
                start, before = self._offsets[number], [nodes[k] for k in self.after[number]]
                if loaded is None:
                    assert call is not None
                    nodes.append(self._captured(graph, before, call))
                    continue
                count = len(function.words)
                words = (ctypes.c_uint64 * count).from_address(self._words.ctypes.data + 8 * start)
                sizes = function.blocks, function.threads, function.shared
                nodes.append(driver.add_kernel(graph, before, loaded.handle, *sizes, words))
            if not {*driver.node_types(graph)} <= {KERNEL_NODE, GRAPH_NODE}:
                raise BackendError("a graph of kernels holds another kind of node")
            self._instances = [driver.instantiate(graph) for _ in range(self._wanted)]
        finally:
            self._graph = graph
        for number, node in enumerate(nodes):
            self.table[self._starts["nodes"] + number * NODE["size"] // 8] = node
        size = int(self.table[TABLE["graph_bytes"] // 8]) // 8
        for number, instance in enumerate(self._instances):
            self.table[self._starts["graphs"] + number * size] = instance
        self.table[TABLE["graphs_n"] // 8] = len(self._instances)

    def _captured(self, graph: int, before: Sequence[int], call: LibraryCall) -> int:
        """A node with what the library starts; once started before, so nothing is loaded while it
        is captured.  Other threads may go on: the stream that is captured is apart."""
        driver = self.state.driver
        call.run(self.fixed, self.state.stream)
        stream = driver.new_stream(apart=True)
        try:
            driver.begin_capture(stream)
            try:
                call.run(self.fixed, stream)
            finally:
                child = driver.end_capture(stream)
            node = driver.add_child(graph, before, child)
            driver.drop_graph(child)
        finally:
            driver.drop_stream(stream)
        return node

    # ---- running
    @property
    def steps(self) -> tuple[int, ...]:
        """The step descriptor through which an entry runs this plan."""
        return (self.table.ctypes.data, 0, 0, 0, 0, 0)

    def run(self, buffers: Any) -> int:
        """Run with the addresses of all slots in a ctypes array; the driver's status."""
        failed = ctypes.c_int64()
        status: int = _run()(
            None,
            self._steps.ctypes.data,
            1,
            ctypes.addressof(buffers),
            0,
            ctypes.addressof(failed),
        )
        return status

    def launch(self, number: int, buffers: Any) -> None:
        """Start one kernel by itself, for timing."""
        start, (function, loaded, _, call) = self._offsets[number], self.launches[number]
        if loaded is None:
            assert call is not None
            call.run(self.fixed, self.state.stream)
            return
        for position in function.slots:
            if function.words[position] in self.watched:
                self._words[start + position] = buffers[function.words[position]]
        words = (ctypes.c_uint64 * len(function.words)).from_address(
            self._words.ctypes.data + 8 * start
        )
        sizes = function.blocks, function.threads, function.shared
        self.state.driver.launch(loaded.handle, *sizes, self.state.stream, words)

    def __del__(self, dead: Any = _DEAD) -> None:
        if getattr(self, "_graph", 0):  # no driver call: this may run anywhere
            dead.append(_Dead(self.state, self._graph, self._instances, self.launches))


def _starts(sizes: Iterable[int], first: int = 0) -> Iterable[int]:
    """Where each piece starts when they lie side by side."""
    for size in sizes:
        yield first
        first += size
