"""A driver whose device is the host's memory: enough for memory, copies, streams and events.

Invariant: what was not allocated, or was freed, is never read or written.
"""

from __future__ import annotations

import ctypes
from itertools import count

from gpu.natives import hidden

from hybrid.backends.cuda.machine.driver import OutOfMemory

ATTRIBUTES = {16: 132, 38: 50 << 20, 39: 2048, 75: 9, 76: 0, 97: 227 << 10}


@hidden
class FakeDriver:
    """Cards of `total` bytes each."""

    takes_ptx = True

    def __init__(self, cards: int = 1, total: int = 1 << 28, capability: int = 90) -> None:
        self.cards, self.total, self.capability = cards, total, capability
        self.current = 0
        self.live: dict[int, ctypes.Array] = {}
        self.pinned: dict[int, ctypes.Array] = {}
        self.calls: list[tuple] = []
        self.numbers = count(1)
        self.modules: dict[int, bytes] = {}

    def version(self) -> int:
        return 13000

    def device_count(self) -> int:
        return self.cards

    def context(self, device: int) -> int:
        return 1000 + device

    def address(self, name: str) -> int:
        return 0xDEAD000

    def use_device(self, device: int) -> None:
        self.current = device

    def attribute(self, device: int, number: int) -> int:
        known = {**ATTRIBUTES, 75: self.capability // 10, 76: self.capability % 10}
        return known[number]

    def device_name(self, device: int) -> str:
        return f"Fake {device}"

    def held(self) -> int:
        return sum(map(len, self.live.values()))

    def memory_info(self) -> tuple[int, int]:
        return self.total - self.held(), self.total

    def _take(self, nbytes: int, table: dict[int, ctypes.Array]) -> int:
        made = (ctypes.c_char * nbytes)()
        table[ctypes.addressof(made)] = made
        return ctypes.addressof(made)

    def allocate(self, nbytes: int) -> int:
        self.calls.append(("allocate", nbytes))
        if self.held() + nbytes > self.total:
            raise OutOfMemory("the CUDA driver refused cuMemAlloc_v2: out of memory")
        return self._take(nbytes, self.live)

    def free(self, address: int) -> None:
        self.calls.append(("free", address))
        del self.live[address]

    def allocate_host(self, nbytes: int) -> int:
        return self._take(nbytes, self.pinned)

    def free_host(self, address: int) -> None:
        del self.pinned[address]

    def _inside(self, address: int, nbytes: int) -> None:
        for start, block in [*self.live.items(), *self.pinned.items()]:
            if start <= address and address + nbytes <= start + len(block):
                return
        raise AssertionError(f"{address:#x} of {nbytes} bytes is no memory of the device")

    def _copy(self, kind: str, target: int, source: int, nbytes: int, stream: int) -> None:
        self.calls.append((kind, nbytes, stream))
        ctypes.memmove(target, source, nbytes)

    def to_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._inside(target, nbytes)
        self._copy("to_device", target, source, nbytes, stream)

    def to_host(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._inside(source, nbytes)
        self._copy("to_host", target, source, nbytes, stream)

    def on_device(self, target: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._inside(source, nbytes)
        self._inside(target, nbytes)
        self._copy("on_device", target, source, nbytes, stream)

    def fill(self, target: int, byte: int, nbytes: int, stream: int = 0) -> None:
        self._inside(target, nbytes)
        ctypes.memset(target, byte, nbytes)

    def new_stream(self) -> int:
        return next(self.numbers)

    def drop_stream(self, stream: int) -> None:
        self.calls.append(("drop_stream", stream))

    def wait_stream(self, stream: int) -> None:
        self.calls.append(("wait_stream", stream))

    def wait_device(self) -> None:
        self.calls.append(("wait_device",))

    def stream_done(self, stream: int) -> bool:
        return True

    def new_event(self, timing: bool = False) -> int:
        return next(self.numbers)

    def drop_event(self, event: int) -> None:
        self.calls.append(("drop_event", event))

    def record(self, event: int, stream: int) -> None:
        self.calls.append(("record", event, stream))

    def wait_event(self, stream: int, event: int) -> None:
        self.calls.append(("wait_event", stream, event))

    def event_done(self, event: int) -> bool:
        return True

    def finish_event(self, event: int) -> None:
        self.calls.append(("finish_event", event))

    def elapsed(self, start: int, stop: int) -> float:
        return 1.5

    def load(self, image: bytes) -> int:
        number = next(self.numbers)
        self.modules[number] = image
        return number

    def unload(self, module: int) -> None:
        del self.modules[module]

    def function(self, module: int, symbol: str, shared: int = 0) -> int:
        assert b".entry " + symbol.encode() in self.modules[module]
        return module << 8
