"""Memory of the simulated card: one arena of host memory with allocations, and spaces of a launch.

Invariant: a kernel touches only bytes of one live allocation (or of its own shared, local and
parameter space), aligned as the instruction wants; all else is a MemoryFault that names the thread.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right, insort
from typing import Any

import numpy as np

__all__ = ["Arena", "MemoryFault", "Space", "FRESH", "DEAD"]

Array = np.ndarray[Any, Any]
FRESH, DEAD = 0xFF, 0xDD  # bytes of memory that nobody has written, and of memory given back
_GAP, _ALIGN = 512, 512
TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
SHIFT = {1: 0, 2: 1, 4: 2, 8: 3}


class MemoryFault(RuntimeError):
    """A kernel or a copy touched memory that it may not."""


class Space:
    """Bytes with a view for every element type; addresses are offsets into it."""

    def __init__(self, content: Array) -> None:
        self.bytes = content
        self.views = {name: content.view(name) for name in TYPES}


class Arena(Space):
    """Device memory.  Addresses are those of the host, so host code may look at them."""

    def __init__(self, nbytes: int) -> None:
        self._map = mmap.mmap(
            -1, nbytes, flags=mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
        )
        super().__init__(np.frombuffer(self._map, np.uint8))
        self.base = int(self.bytes.ctypes.data)
        self.size = nbytes
        self.starts: list[int] = []
        self.lengths: dict[int, int] = {}
        self.free: list[tuple[int, int]] = [(_ALIGN, nbytes - _ALIGN)]  # offset, bytes
        self.live = self.peak = self.count = 0
        self._last = (0, 0)

    def allocate(self, nbytes: int) -> int:
        """An address, or 0 where there is no room; fresh memory is poisoned."""
        taken = -(-(max(nbytes, 1) + _GAP) // _ALIGN) * _ALIGN
        for at, (offset, room) in enumerate(self.free):
            if room >= taken:
                break
        else:
            return 0
        self.free[at : at + 1] = [(offset + taken, room - taken)] if room > taken else []
        self.bytes[offset : offset + nbytes] = FRESH
        address = self.base + offset
        insort(self.starts, address)
        self.lengths[address] = nbytes
        self.live += nbytes
        self.count += 1
        self.peak = max(self.peak, self.live)
        return address

    def release(self, address: int) -> None:
        if address not in self.lengths:
            raise MemoryFault(f"freed memory that is not allocated: {address:#x}")
        nbytes = self.lengths.pop(address)
        self.starts.remove(address)
        offset = address - self.base
        self.bytes[offset : offset + nbytes] = DEAD
        self.live -= nbytes
        self._last = (0, 0)
        taken = -(-(max(nbytes, 1) + _GAP) // _ALIGN) * _ALIGN
        insort(self.free, (offset, taken))
        joined: list[tuple[int, int]] = []
        for start, room in self.free:
            if joined and joined[-1][0] + joined[-1][1] == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + room)
            else:
                joined.append((start, room))
        self.free = joined

    def holds(self, first: int, stop: int) -> bool:
        """Whether [first, stop) lies inside one live allocation."""
        if self._last[0] <= first and stop <= self._last[1]:
            return True
        at = bisect_right(self.starts, first) - 1
        if at < 0:
            return False
        start = self.starts[at]
        end = start + self.lengths[start]
        if stop > end:
            return False
        self._last = (start, end)
        return True

    def start_of(self, address: int) -> int:
        """Where the allocation that holds an address begins."""
        return self.starts[bisect_right(self.starts, address) - 1]

    def wrong(self, addresses: Array, nbytes: int) -> int | None:
        """Position of the first address whose bytes are not inside one live allocation."""
        if self.holds(int(addresses.min()), int(addresses.max()) + nbytes):
            return None
        if not self.starts:
            return 0
        starts = np.array(self.starts, np.uint64)
        ends = np.array([s + self.lengths[s] for s in self.starts], np.uint64)
        at = np.searchsorted(starts, addresses, "right").astype(np.int64) - 1
        bad = (at < 0) | (addresses + np.uint64(nbytes) > ends[np.maximum(at, 0)])
        return int(np.flatnonzero(bad)[0]) if bad.any() else None

    def near(self, address: int) -> str:
        """Words about the allocation before an address, for an error."""
        at = bisect_right(self.starts, address) - 1
        if at < 0:
            return "no allocation lies before it"
        start = self.starts[at]
        past = address - start - self.lengths[start]
        return f"{past} bytes past the end of {self.lengths[start]} bytes at {start:#x}"

    def host(self, address: int, nbytes: int, what: str) -> Array:
        """The bytes of a copy."""
        if not self.holds(address, address + nbytes):
            raise MemoryFault(f"{what} of {nbytes} bytes at {address:#x}: {self.near(address)}")
        offset = address - self.base
        return self.bytes[offset : offset + nbytes]


def aligned_bytes(nbytes: int, fill: int) -> Array:
    """Fresh bytes, 16-aligned."""
    words = np.empty(max(nbytes, 16) // 16 + 1, np.complex128)
    content = words.view(np.uint8)
    content[:] = fill
    return content
