"""Figures of a device's memory, and who held what over time.

Invariant: asking changes nothing but for `empty_cache` and `reset_peak_memory_stats`; memory that
tensors use is never given back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..core.errors import HybridError
from .devices import DeviceLike, effect, loaded, state_of
from .picture import Timeline, draw, timeline

__all__ = [
    "Snapshot",
    "empty_cache",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_snapshot",
    "record_memory",
    "reset_peak_memory_stats",
]


def _stats(device: DeviceLike) -> Any:
    return state_of(device, "reads figures of memory").pool.stats()


def memory_allocated(device: DeviceLike = None) -> int:
    """Bytes that tensors and arenas use.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     x = hybrid.ones(1000, device="cuda")
    ...     assert hybrid.cuda.memory_allocated() >= x.nbytes
    """
    return _stats(device).allocated


def max_memory_allocated(device: DeviceLike = None) -> int:
    """The most bytes that were used since the last `reset_peak_memory_stats`, counted size by size:
    never less than what was used at once.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.max_memory_allocated() >= hybrid.cuda.memory_allocated()
    """
    return _stats(device).peak


def memory_reserved(device: DeviceLike = None) -> int:
    """Bytes taken from the driver, used or kept for later.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.memory_reserved() >= hybrid.cuda.memory_allocated()
    """
    return _stats(device).reserved


def max_memory_reserved(device: DeviceLike = None) -> int:
    """The most bytes taken from the driver since the last `reset_peak_memory_stats`.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     assert hybrid.cuda.max_memory_reserved() >= hybrid.cuda.memory_reserved()
    """
    return _stats(device).reserved_peak


def reset_peak_memory_stats(device: DeviceLike = None) -> None:
    """Let the peaks start from what is used now.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     hybrid.cuda.reset_peak_memory_stats()
    ...     assert hybrid.cuda.max_memory_reserved() == hybrid.cuda.memory_reserved()
    """
    state_of(device, "resets figures of memory").pool.reset_peak()


def empty_cache() -> None:
    """Give memory that nothing uses back to the driver, for other programs: hybrid does so itself
    where memory is short.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     hybrid.cuda.empty_cache()
    """
    effect("gives memory back")
    loaded().trim()


def mem_get_info(device: DeviceLike = None) -> tuple[int, int]:
    """(free, total) bytes of a card, whoever uses the rest.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     free, total = hybrid.cuda.mem_get_info()
    ...     assert 0 <= free <= total
    """
    state = state_of(device, "reads figures of memory")
    state.enter()
    return state.driver.memory_info()


@contextmanager
def record_memory(device: DeviceLike = None) -> Iterator[None]:
    """Note in this scope which line takes which memory and when it comes back, for
    `memory_snapshot`.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     with hybrid.cuda.record_memory():
    ...         x = hybrid.ones(1000, device="cuda")
    ...     assert hybrid.cuda.memory_snapshot().timeline is not None
    """
    with state_of(device, "records memory").pool.watched():
        yield


class Snapshot(NamedTuple):
    """A device's memory: bytes used, the most used, bytes taken from the driver; `holders`: (bytes,
    what) of what holds most; `timeline`: what was used over time, where it was recorded.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     seen = hybrid.cuda.memory_snapshot()
    ...     assert seen.allocated <= seen.peak and "used" in str(seen)
    """

    name: str
    allocated: int
    peak: int
    reserved: int
    holders: list[tuple[int, str]]
    timeline: Timeline | None

    def plot(self, path: Any = None) -> Any:
        """The timeline as a picture (Matplotlib): a figure, and a file where a path is given.

        Raises HybridError where nothing was recorded, UnsupportedError without Matplotlib.

        >>> import hybrid
        >>> hybrid.cuda.Snapshot("cuda:0", 0, 0, 0, [], None).plot()
        Traceback (most recent call last):
        hybrid.core.errors.HybridError: ...
        """
        if self.timeline is None:
            raise HybridError("nothing was recorded: run the program in hybrid.cuda.record_memory")
        return draw(self.timeline, self.name, path)

    def __str__(self) -> str:
        text = loaded().size_text
        lines = [
            f"{self.name}: {text(self.allocated)} used, at most {text(self.peak)}, "
            f"{text(self.reserved)} taken from the driver"
        ]
        lines += [f"{text(nbytes):>12}  {what}" for nbytes, what in self.holders]
        if self.timeline is not None:
            lines.append("at the fullest moment:")
            for line, nbytes in self.timeline.fullest():
                lines.append(f"{text(nbytes):>12}  {line}")
        return "\n".join(lines)


def memory_snapshot(device: DeviceLike = None) -> Snapshot:
    """Who holds a device's memory now, and over the time that `record_memory` noted.

    >>> import hybrid
    >>> if hybrid.cuda.is_available():
    ...     x = hybrid.ones(1000, device="cuda")
    ...     assert hybrid.cuda.memory_snapshot().allocated >= x.nbytes
    """
    state = state_of(device, "reads figures of memory")
    stats = state.pool.stats()
    events = list(state.pool.history.events)
    return Snapshot(
        state.name,
        stats.allocated,
        stats.peak,
        stats.reserved,
        loaded().holders(state),
        timeline(events, stats.allocated) if events else None,
    )
