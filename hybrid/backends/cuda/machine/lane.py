"""The streams of a device: what work is in order with what, and its lane for copies from pinned
memory beside the work.

Invariant: a copy on the lane writes memory that no work of the device still uses, and all work that
is started after it waits for it; so the order that a program sees is that of its calls.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from functools import partial
from typing import Any

from .blocks import Outside
from .driver import Driver
from .memory import MemoryPool, block_address, size_class

__all__ = ["DeviceStreams", "Lane"]


class DeviceStreams:
    """The order of work on one device: its context, the stream that work goes to now, and what one
    stream waits for of another."""

    def __init__(self, used: Driver, index: int) -> None:
        self.driver, self.index = used, index
        self.stream_word = ctypes.c_int64(0)
        self._events: dict[int, int] = {}  # stream -> the event that others wait for
        self._lock = threading.RLock()

    def enter(self) -> None:
        """Make this device's context the thread's."""
        self.driver.use_device(self.index)

    @property
    def stream(self) -> int:
        """The stream that work goes to now."""
        return self.stream_word.value

    def _recorded(self, stream: int) -> int:
        """An event after what was started on a stream."""
        self.enter()
        event = self._events.get(stream)
        if event is None:
            event = self._events[stream] = self.driver.new_event()
        self.driver.record(event, stream)
        return event

    def order(self, first: int, then: int) -> None:
        """Let later work of a stream wait for what was started on another."""
        with self._lock:
            self.driver.wait_event(then, self._recorded(first))

    def follow(self, other: DeviceStreams) -> None:
        """Let later work of this device wait for what was started on another one."""
        with other._lock:
            event = other._recorded(other.stream)
            self.enter()
            self.driver.wait_event(self.stream, event)

    def use_stream(self, stream: int) -> int:
        """Let later work go to a stream, which waits for what was started; gives the one before."""
        with self._lock:
            before = self.stream_word.value
            if before != stream:
                self.order(before, stream)
                self.stream_word.value = stream
            return before

    def forget_stream(self, stream: int) -> None:
        """A stream that is dropped is no longer the current one."""
        with self._lock:
            if self.stream_word.value == stream:
                self.use_stream(0)
            event = self._events.pop(stream, None)
            if event is not None:
                self.driver.drop_event(event)


class Lane:
    """A stream for copies to one device and the memory they write."""

    def __init__(self, state: DeviceStreams, pool: MemoryPool) -> None:
        self._state, self._pool = state, pool
        self._stream = 0
        self._released: list[tuple[int, Any]] = []  # blocks whose last uses may not be done yet
        self._waiting: deque[tuple[int, list[tuple[int, Any]]]] = deque()  # (event, blocks)
        self._ready: dict[int, list[Any]] = {}
        self._flying: deque[tuple[int, Any]] = deque()  # (event, what must live until then)
        self._events: list[int] = []
        self._lock = threading.RLock()

    def send(self, source: int, nbytes: int, keep: Any) -> Any:
        """A block with a copy of pinned memory; `keep` owns that memory."""
        state = self._state
        with self._lock:
            state.enter()
            if not self._stream:
                self._stream = state.driver.new_stream(apart=True)
            self._look()
            block = self._block(nbytes)
            state.driver.to_device(block_address(block), source, nbytes, self._stream)
            event = self._event(self._stream)
            state.driver.wait_event(state.stream, event)
            self._flying.append((event, keep))
            return block

    def _event(self, stream: int) -> int:
        event = self._events.pop() if self._events else self._state.driver.new_event()
        self._state.driver.record(event, stream)
        return event

    def _look(self) -> None:
        """See which copies and which last uses of blocks are done."""
        done = self._state.driver.event_done
        while self._flying and done(self._flying[0][0]):
            self._events.append(self._flying.popleft()[0])
        while self._waiting and done(self._waiting[0][0]):
            event, blocks = self._waiting.popleft()
            self._events.append(event)
            for size, owner in blocks:
                self._ready.setdefault(size, []).append(owner)
        if self._released:
            count = len(self._released)
            blocks, self._released[:count] = self._released[:count], []
            self._waiting.append((self._event(self._state.stream), blocks))

    def _block(self, nbytes: int) -> Any:
        size = size_class(nbytes)
        ready = self._ready.get(size)
        if ready:
            owner = ready.pop()
        else:
            owner = self._pool.take(size)
            self._state.order(self._state.stream, self._stream)  # it may be in use
        # it goes back to the lane, not to the pool, as the pool's order is another
        back = partial(self._released.append, (size, owner))
        return Outside(block_address(owner), size, self._state.index, back)

    def trim(self) -> None:
        """Give the lane's unused memory back to the pool."""
        with self._lock:
            self._ready.clear()
            self._look()
            if self._waiting or self._flying:
                self._state.driver.wait_device()
                self._look()
            self._ready.clear()
