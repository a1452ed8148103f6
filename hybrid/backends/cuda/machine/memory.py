"""Memory of a device, or pinned memory of the host, as blocks that are used again.

Invariant: a block is handed to one owner at a time and comes back when the object that holds it
dies.  All work of a device is ordered by its stream, so memory that comes back while kernels still
use it is only written by kernels after them.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from .blocks import (
    BlockSource,
    block_address,
    block_bytes,
    block_device,
    block_source,
    is_block,
    new_array,
)
from .driver import OutOfMemory
from .history import History

__all__ = [
    "MemoryPool",
    "Stats",
    "block_address",
    "block_bytes",
    "block_device",
    "new_array",
    "size_class",
    "ALIGNMENT",
    "HOST_MEMORY",
]

ALIGNMENT = 512
HOST_MEMORY = -1
# blocks up to a size are cut from segments of another: (largest block, bytes of a segment)
_TIERS = ((1 << 20, 2 << 20), (8 << 20, 32 << 20))


class Stats(NamedTuple):
    """Bytes of a pool: in blocks that are in use, in blocks at all (the most since the last reset
    that were in use, size by size), and taken from the driver."""

    allocated: int
    peak: int
    reserved: int
    reserved_peak: int


class _Segment:
    """Memory from the driver, cut into blocks from its start on."""

    __slots__ = ("address", "nbytes", "used", "alone")

    def __init__(self, address: int, nbytes: int, alone: bool) -> None:
        self.address, self.nbytes, self.alone = address, nbytes, alone
        self.used = 0


def size_class(nbytes: int) -> int:
    """The size of the block that holds nbytes: at most eight sizes to each power of two.

    >>> size_class(1), size_class(1025), size_class(9 << 20)
    (512, 1536, 9437184)
    """
    step = 1 << max((max(nbytes, 1) - 1).bit_length() - 4, ALIGNMENT.bit_length() - 1)
    return -(-nbytes // step) * step or ALIGNMENT


class _Class:
    """The blocks of one size: how many there are, addresses of those that are free, and which were
    free all the time since the peak was reset."""

    __slots__ = ("source", "free", "made", "mark")

    def __init__(self, size: int, pool: MemoryPool) -> None:
        self.free: list[int] = []
        self.mark: list[int] = []
        self.made = 0
        whole = weakref.ref(pool)  # who takes a block has its pool

        def fresh() -> int:
            return whole().fresh_block(size)  # type: ignore[union-attr]

        note = partial(pool.history.freed, nbytes=size)
        self.source = BlockSource(self.free, fresh, pool.history.watched, note, size, pool.device)

    def untouched(self) -> int:
        """How many blocks have been free since the mark: an address that came back is another
        object than the one that went, and blocks go and come at the end of the list."""
        count = 0
        for now, then in zip(self.free, self.mark):
            if now is not then:
                break
            count += 1
        return count


class MemoryPool:
    """A caching allocator over two functions that take memory from the driver and give it back."""

    def __init__(
        self,
        allocate: Callable[[int], int],
        free: Callable[[int], None],
        explain: Callable[[int], str],
        device: int,
        whole: bool = False,
    ) -> None:
        """`whole`: every block is memory of its own from the driver."""
        self.device = device
        self._tiers = () if whole else _TIERS
        self._allocate, self._free, self._explain = allocate, free, explain
        self._classes: dict[int, _Class] = {}
        self._segments: list[_Segment] = []
        self._lock = threading.RLock()
        self._reserved = self._reserved_peak = self._peak = 0
        self.history = History()

    # ---- taking
    def source_of(self, nbytes: int) -> BlockSource:
        """Where blocks of at least so many bytes come from."""
        size = size_class(nbytes)
        found = self._classes.get(size)
        if found is None:
            found = self._classes.setdefault(size, _Class(size, self))
        return found.source

    def __contains__(self, block: object) -> bool:
        """Whether a block is of this pool."""
        if not is_block(block):
            return False
        source = block_source(block)
        return any(source == c.source.address for c in list(self._classes.values()))

    def maker(self, nbytes: int) -> Callable[[], Any]:
        """A function that takes a block of at least so many bytes."""
        return self.source_of(nbytes).new

    def take(self, nbytes: int) -> Any:
        """A block of at least so many bytes, undefined inside; OutOfMemory where there is none."""
        return self.source_of(nbytes).new()

    def fresh_block(self, size: int) -> int:
        """An address of that size: a free one, or memory that was not used before."""
        blocks = self._classes[size]
        with self._lock:
            address = blocks.free.pop() if blocks.free else self._carved(size)
        if self.history.watched:
            self.history.taken(address, size)
        return address

    def _carved(self, size: int) -> int:
        for largest, nbytes in self._tiers:
            if size <= largest:
                segment = self._with_room(size, nbytes)
                break
        else:
            segment = self._segment(size, True)
        address = segment.address + segment.used
        segment.used += size
        self._classes[size].made += 1
        return address

    def _with_room(self, size: int, nbytes: int) -> _Segment:
        for segment in reversed(self._segments):
            if segment.nbytes == nbytes and not segment.alone:
                if segment.used + size <= nbytes:
                    return segment
                break
        try:
            return self._segment(nbytes, False)
        except OutOfMemory:
            return self._segment(size, True)

    def _segment(self, nbytes: int, alone: bool) -> _Segment:
        segment = _Segment(self._from_driver(nbytes), nbytes, alone)
        self._segments.append(segment)
        self._reserved += nbytes
        self._reserved_peak = max(self._reserved_peak, self._reserved)
        return segment

    def _from_driver(self, nbytes: int) -> int:
        for clean in (lambda: None, gc.collect):
            try:
                return self._allocate(nbytes)
            except OutOfMemory:
                clean()
                self.trim()
        try:
            return self._allocate(nbytes)
        except OutOfMemory:
            pass
        raise OutOfMemory(self._explain(nbytes))

    # ---- giving back
    def trim(self) -> int:
        """Give segments that nobody uses back to the driver; how many bytes that were."""
        with self._lock:
            spare = self._spare()
            for segment in spare:
                self._free(segment.address)
                self._reserved -= segment.nbytes
            return sum(segment.nbytes for segment in spare)

    def _spare(self) -> list[_Segment]:
        """Take the segments all of whose blocks are free out of the books."""
        self._peak = max(self._peak, self.stats().peak)
        pulled = {size: _emptied(blocks.free) for size, blocks in list(self._classes.items())}
        ordered = sorted(self._segments, key=lambda segment: segment.address)
        starts = [segment.address for segment in ordered]
        unused = dict.fromkeys(starts, 0)
        for size, addresses in pulled.items():
            for address in addresses:
                unused[_start(starts, address)] += size
        spare = {s.address: s for s in ordered if s.used == unused[s.address]}
        for size, addresses in pulled.items():
            blocks = self._classes[size]
            kept = [a for a in addresses if _start(starts, a) not in spare]
            blocks.made -= len(addresses) - len(kept)
            blocks.free.extend(kept)
            blocks.mark = []
        self._segments = [s for s in self._segments if s.address not in spare]
        return list(spare.values())

    # ---- figures
    def stats(self) -> Stats:
        """What is in use and what is held."""
        classes = list(self._classes.items())
        allocated = sum(size * (c.made - len(c.free)) for size, c in classes)
        peak = sum(size * (c.made - c.untouched()) for size, c in classes)
        return Stats(allocated, max(peak, self._peak), self._reserved, self._reserved_peak)

    def reset_peak(self) -> None:
        """Let the peaks start from what is in use now."""
        with self._lock:
            for blocks in self._classes.values():
                blocks.mark = list(blocks.free)
            self._reserved_peak, self._peak = self._reserved, 0

    def largest(self) -> Iterator[tuple[int, int]]:
        """(bytes of a block, blocks in use) of every size, what takes most first."""
        counts = [(size, c.made - len(c.free)) for size, c in list(self._classes.items())]
        yield from sorted(counts, key=lambda pair: -pair[0] * pair[1])

    @contextmanager
    def watched(self) -> Iterator[History]:
        """Note who takes and frees what inside the block."""
        self.history.start()
        try:
            yield self.history
        finally:
            self.history.stop()


def _emptied(free: list[int]) -> list[int]:
    """The addresses of a list that is empty afterwards: others take from it and append to it."""
    pulled = []
    while free:
        try:
            pulled.append(free.pop())
        except IndexError:
            break
    pulled.reverse()
    return pulled


def _start(starts: list[int], address: int) -> int:
    """The last of the sorted starts that is not behind the address."""
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        if starts[middle] <= address:
            low = middle + 1
        else:
            high = middle
    return starts[low - 1]
