"""What a driver is asked to do on a card, and when it is done.

Invariant: work of a stream is done in order, that of the default stream and of others too; else only
events order it.  A lazy engine does nothing before somebody waits for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .machine import launch as run_kernel
from .memory import Arena, Array, MemoryFault
from .overlaps import Touched, check_overlaps
from .ptx.lower import lower
from .ptx.text import Module
from .races import Watch, grain_of

__all__ = ["Child", "Copy", "Engine", "Fill", "Function", "Launch", "NODE_TYPE", "Nodes", "Work"]


class Function(NamedTuple):
    """A kernel of a module, and the most dynamic shared memory that it may have."""

    module: int
    symbol: str
    shared: int


class Launch(NamedTuple):
    function: int
    blocks: int
    threads: int
    shared: int
    words: bytes
    device: int


class Copy(NamedTuple):
    """`content`: what the source held when the copy was asked for, where that is what counts."""

    target: int
    source: int
    nbytes: int
    content: bytes | None = None
    what: str = "on_device"


class Fill(NamedTuple):
    target: int
    byte: int
    nbytes: int


class Child(NamedTuple):
    graph: int


Work = Launch | Copy | Fill | Child
NODE_TYPE = {Launch: 0, Copy: 1, Fill: 2, Child: 4}
Nodes = dict[int, tuple[Work, tuple[int, ...]]]  # node -> work, nodes before it


class _Item(NamedTuple):
    act: Callable[[], Any]
    after: tuple[int, ...]


class Engine:
    """Does work.  `order`: the schedule of threads, and of nodes that no edge orders; `lazy`:
    nothing is done before somebody waits; `races`: launches and graphs look for races."""

    def __init__(self, memory: int, devices: int, order: int, lazy: bool) -> None:
        self.arenas = [Arena(memory) for _ in range(devices)]
        self.memory, self.order, self.lazy, self.current = memory, order, lazy, 0
        self.log: list[tuple[Any, ...]] = []
        self.launches = 0
        self.races = self._noting = False
        self.status: list[tuple[int, int]] = []  # addresses at which races are meant
        self.modules: dict[int, tuple[Module, tuple[tuple[str, int], ...]]] = {}
        self.functions: dict[int, Function] = {}
        self.graphs: dict[int, Nodes] = {}
        self._items: dict[int, _Item] = {}  # that are not done
        self._last: dict[int, int] = {}  # stream -> its last item
        self._number = 0

    @property
    def arena(self) -> Arena:
        return self.arenas[self.current]

    # ---- when
    def submit(self, stream: int, act: Callable[[], Any], after: Iterable[int] = ()) -> int:
        """Have something done in a stream; the number of it."""
        self._number += 1
        others = list(self._last) if stream == 0 else [stream, 0]
        before = {self._last[other] for other in others if other in self._last}
        before.update(after)
        self._items[self._number] = _Item(act, tuple(n for n in before if n in self._items))
        self._last[stream] = self._number
        if not self.lazy:
            self.finish([self._number])
        return self._number

    def finish(self, numbers: Iterable[int]) -> None:
        """Do these items, and first what they wait for."""
        stack = list(numbers)
        while stack:
            item = self._items.get(stack[-1])
            if item is None:
                stack.pop()
                continue
            before = [n for n in item.after if n in self._items]
            if before:
                stack += before
                continue
            del self._items[stack.pop()]
            item.act()

    def finish_stream(self, stream: int) -> None:
        self.finish([self._last[stream]] if stream in self._last else [])

    def finish_all(self) -> None:
        self.finish(sorted(self._items))

    def is_done(self, number: int) -> bool:
        """Whether an item is done; if not, it is afterwards, as time goes by."""
        done = number not in self._items
        self.finish([number])
        return done

    # ---- memory
    def where(self, address: int, nbytes: int) -> Array | None:
        """Bytes of a device's (or pinned) memory; None for other addresses of the host."""
        for arena in self.arenas:
            if arena.base <= address < arena.base + arena.size:
                return arena.host(address, nbytes, "a copy")
        return None

    def device_bytes(self, name: str, address: int, nbytes: int) -> Array:
        found = self.where(address, nbytes)
        if found is None:
            raise MemoryFault(f"{name}: {address:#x} is not an address of a device")
        return found

    # ---- what
    def do(self, work: Work, stream: int) -> Touched:
        """What it used is only known where races are looked for."""
        if isinstance(work, Launch):
            return self._launch(work, stream)
        if isinstance(work, Copy):
            self.log.append((work.what, stream, work.target, work.source, work.nbytes))
            self.where(work.target, work.nbytes)  # raises where it is not allocated
            if work.content is not None:
                ctypes.memmove(work.target, work.content, work.nbytes)
                return Touched.by_copy(work.target, None, work.nbytes)
            self.where(work.source, work.nbytes)
            ctypes.memmove(work.target, work.source, work.nbytes)
            return Touched.by_copy(work.target, work.source, work.nbytes)
        if isinstance(work, Fill):
            self.log.append(("fill", stream, work.target, work.byte, work.nbytes))
            self.device_bytes("cuMemsetD8Async", work.target, work.nbytes)[:] = work.byte
            return Touched.by_copy(work.target, None, work.nbytes)
        return self.run_graph(self.graphs[work.graph], stream, self._noting)

    def _launch(self, work: Launch, stream: int) -> Touched:
        function = self.functions[work.function]
        module, symbols = self.modules[function.module]
        self.log.append(("kernel", stream, function.symbol, work.blocks, work.threads))
        self.launches += 1
        code = lower(module, function.symbol, symbols)
        size = work.blocks, work.threads, work.shared
        watch = None
        if self.races or self._noting:
            watch = Watch(self.status, grain_of(code.lines), self.races)
        run_kernel(code, self.arenas[work.device], work.words, *size, self.order, watch)
        if watch is None:
            return Touched(function.symbol)
        return Touched.by_kernel(function.symbol, watch)

    def run_graph(self, nodes: Nodes, stream: int, note: bool = False) -> Touched:
        """In an order that the edges allow: the last node that may run first, where `order` is
        not 0, so that edges that are missing show.  `note`: compare what nodes use that may run
        side by side."""
        left, touched = dict(nodes), dict[int, Touched]()
        before, self._noting = self._noting, self._noting or note
        while left:
            ready = [n for n, (_, after) in left.items() if touched.keys() >= set(after)]
            if not ready:
                raise ValueError("a graph with a cycle")
            node = ready[-1] if self.order else ready[0]
            touched[node] = self.do(left.pop(node)[0], stream)
        self._noting = before
        if note:
            check_overlaps({node: (touched[node], after) for node, (_, after) in nodes.items()})
        return Touched.by_all("a graph", list(touched.values()))

    def content(self, address: int, nbytes: int) -> bytes:
        """A copy of bytes of the host."""
        return ctypes.string_at(address, nbytes)
