"""Streams and events of a device.

Invariant: all work of a device goes to its current stream, in the order of the program: a stream
that becomes the current one waits for the work before it, and what comes after its scope waits for
the work in it.  So no program needs events for right results; they time, and order other
libraries.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from ..core.aval import Device
from ..core.errors import ArgumentError, HybridError
from .devices import DeviceLike, device_of, effect, state_of

__all__ = ["Event", "ExternalStream", "Stream", "current_stream", "default_stream", "stream"]


class _Scopes(threading.local):
    """Streams that this thread's scopes will come back to."""

    def __init__(self) -> None:
        self.before: list[int] = []


_SCOPES = _Scopes()


class Stream:
    """A queue of work on a device.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     with hybrid.cuda.stream(hybrid.cuda.Stream()):
    ...         x = hybrid.ones(3, device="cuda")
    """

    __slots__ = ("cuda_stream", "index", "_state", "_owned", "__weakref__")

    def __init__(self, device: DeviceLike = None) -> None:
        state = state_of(device, "makes a stream")
        state.enter()
        self._fill(state, state.driver.new_stream(), True)

    def _fill(self, state: Any, handle: int, owned: bool) -> None:
        self._state, self.index = state, state.index
        self.cuda_stream: int = handle
        self._owned = owned

    @property
    def device(self) -> Device:
        """The device whose work it holds.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     assert hybrid.cuda.Stream().device.type == "cuda"
        """
        return device_of(self.index)

    def synchronize(self) -> None:
        """Wait for its work.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     hybrid.cuda.current_stream().synchronize()
        """
        effect("waits for a stream")
        self._state.enter()
        self._state.driver.wait_stream(self.cuda_stream)
        self._state.status.check()

    def query(self) -> bool:
        """Whether its work is done.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     queue = hybrid.cuda.current_stream()
        ...     queue.synchronize()
        ...     assert queue.query()
        """
        effect("looks at a stream")
        self._state.enter()
        return self._state.driver.stream_done(self.cuda_stream)

    def wait_stream(self, stream: Stream) -> None:
        """Let later work of this stream wait for what is on another one.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     hybrid.cuda.Stream().wait_stream(hybrid.cuda.current_stream())
        """
        self.wait_event(stream.record_event())

    def wait_event(self, event: Event) -> None:
        """Let later work of this stream wait for an event.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     hybrid.cuda.Stream().wait_event(hybrid.cuda.current_stream().record_event())
        """
        event.wait(self)

    def record_event(self, event: Event | None = None) -> Event:
        """Record an event (a new one by default) on this stream; gives it.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     mark = hybrid.cuda.current_stream().record_event()
        ...     mark.synchronize()
        ...     assert mark.query()
        """
        made = Event() if event is None else event
        made.record(self)
        return made

    def __cuda_stream__(self) -> tuple[int, int]:
        """(0, handle): how other libraries take streams."""
        return 0, self.cuda_stream

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return (self.cuda_stream, self.index) == (other.cuda_stream, other.index)

    def __hash__(self) -> int:
        return hash((self.cuda_stream, self.index))

    def __repr__(self) -> str:
        return f"<hybrid.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"

    def __enter__(self) -> Stream:
        effect("uses another stream")
        _SCOPES.before.append(self._state.use_stream(self.cuda_stream))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._state.use_stream(_SCOPES.before.pop())

    def __del__(self, _leaving: Any = sys.is_finalizing) -> None:
        if getattr(self, "_owned", False) and not _leaving():
            try:
                self._state.enter()
                self._state.forget_stream(self.cuda_stream)
                self._state.driver.drop_stream(self.cuda_stream)
            except HybridError:  # a device that failed keeps nothing
                pass


class ExternalStream(Stream):
    """A stream of another library, by its handle or as an object with `__cuda_stream__`,
    `cuda_stream` or `ptr`; it stays that library's.  Raises ArgumentError for what is none.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     same = hybrid.cuda.ExternalStream(hybrid.cuda.current_stream())
    ...     assert same == hybrid.cuda.current_stream()
    """

    __slots__ = ("_kept",)

    def __init__(self, stream: Any, device: DeviceLike = None) -> None:
        self._kept = stream
        self._fill(state_of(device, "makes a stream"), _handle(stream), False)


def _handle(stream: Any) -> int:
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int((protocol() if callable(protocol) else protocol)[1])
    for name in ("cuda_stream", "ptr"):
        found = getattr(stream, name, None)
        if isinstance(found, int):
            return found
    raise ArgumentError(f"a {type(stream).__name__} is no CUDA stream")


class Event:
    """A mark in a stream's work, which the host or another stream can wait for.

    `enable_timing`: two such events tell the time between them (`elapsed_time`).

    >>> import hybrid
    >>> hybrid.cuda.Event().query()  # nothing to wait for before it is recorded
    True
    """

    __slots__ = ("cuda_event", "_timing", "_state", "__weakref__")

    def __init__(self, enable_timing: bool = False) -> None:
        self.cuda_event = 0  # made where it is first recorded
        self._timing = enable_timing
        self._state: Any = None

    def record(self, stream: Stream | None = None) -> None:
        """Mark what is in a stream's queue now (default: the current stream).

        Raises HybridError on another device than where it was first recorded.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     mark = hybrid.cuda.Event()
        ...     mark.record()
        """
        effect("records an event")
        where = current_stream() if stream is None else stream
        if self._state is None:
            self._state = where._state
            where._state.enter()
            self.cuda_event = where._state.driver.new_event(self._timing)
        elif self._state is not where._state:
            raise HybridError("an event belongs to the device where it was first recorded")
        self._state.enter()
        self._state.driver.record(self.cuda_event, where.cuda_stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Let later work of a stream (default: the current one) wait for this event.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     hybrid.cuda.current_stream().record_event().wait(hybrid.cuda.Stream())
        """
        effect("waits for an event")
        where = current_stream() if stream is None else stream
        if self._state is not None:
            where._state.enter()
            where._state.driver.wait_event(where.cuda_stream, self.cuda_event)

    def query(self) -> bool:
        """Whether what it marks is done.

        >>> import hybrid
        >>> hybrid.cuda.Event().query()
        True
        """
        effect("looks at an event")
        if self._state is None:
            return True
        self._state.enter()
        return self._state.driver.event_done(self.cuda_event)

    def synchronize(self) -> None:
        """Wait for what it marks.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     hybrid.cuda.current_stream().record_event().synchronize()
        """
        effect("waits for an event")
        if self._state is not None:
            self._state.enter()
            self._state.driver.finish_event(self.cuda_event)
            self._state.status.check()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to a later one; both must have `enable_timing`.

        Raises HybridError for events without it and events that were not recorded.

        >>> import hybrid
        >>> if hybrid.cuda.is_available():
        ...     start, end = (hybrid.cuda.Event(enable_timing=True) for _ in range(2))
        ...     start.record()
        ...     x = hybrid.ones(1000, device="cuda").exp()
        ...     end.record()
        ...     end.synchronize()
        ...     assert start.elapsed_time(end) >= 0
        """
        if self._state is None or end._state is None:
            raise HybridError("elapsed_time needs two events that were recorded")
        if not (self._timing and end._timing):
            raise HybridError("elapsed_time needs events made with enable_timing=True")
        self._state.enter()
        return self._state.driver.elapsed(self.cuda_event, end.cuda_event)

    def __repr__(self) -> str:
        return f"<hybrid.cuda.Event {self.cuda_event:#x}>"

    def __del__(self, _leaving: Any = sys.is_finalizing) -> None:
        state = getattr(self, "_state", None)
        if state is not None and not _leaving():
            try:
                state.enter()
                state.driver.drop_event(self.cuda_event)
            except HybridError:
                pass


def _view(state: Any, handle: int) -> Stream:
    """A Stream for a handle that is not its own."""
    made = Stream.__new__(Stream)
    made._fill(state, handle, False)
    return made


def current_stream(device: DeviceLike = None) -> Stream:
    """The stream that a device's work goes to now.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     queue = hybrid.cuda.Stream()
    ...     with hybrid.cuda.stream(queue):
    ...         assert hybrid.cuda.current_stream() == queue
    """
    state = state_of(device, "looks at a stream")
    return _view(state, state.stream)


def default_stream(device: DeviceLike = None) -> Stream:
    """The stream of a device's work outside every scope.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.default_stream().cuda_stream == 0
    """
    return _view(state_of(device, "looks at a stream"), 0)


class stream:
    """Scope in which a device's work goes to a stream, after what came before and before what comes
    after; None: the current one.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     with hybrid.cuda.stream(hybrid.cuda.Stream()):
    ...         x = hybrid.ones(1000, device="cuda").exp()
    ...     assert x.shape == (1000,)
    """

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream

    def __enter__(self) -> Stream | None:
        return None if self._stream is None else self._stream.__enter__()

    def __exit__(self, *exception: Any) -> None:
        if self._stream is not None:
            self._stream.__exit__(*exception)
