"""Places in one piece of memory: ranges that are taken, given back, merged, and taken again.

Invariant: ranges that are taken at one time share no byte, and begin at multiples of ALIGN.
"""

from __future__ import annotations

from bisect import bisect_left, insort

__all__ = ["ALIGN", "Arena", "aligned"]

ALIGN = 64


def aligned(size: int) -> int:
    """So many bytes and what fills the last line."""
    return -(-size // ALIGN) * ALIGN


class Arena:
    """Free ranges by offset and by size; grows at the end."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = []  # (offset, bytes), sorted, never adjacent
        self.sizes: list[tuple[int, int]] = []  # the same as (bytes, offset), sorted
        self.end = 0
        self.peak = 0

    def add(self, offset: int, size: int) -> None:
        insort(self.free, (offset, size))
        insort(self.sizes, (size, offset))

    def remove(self, number: int) -> tuple[int, int]:
        """Take out a free range."""
        offset, size = self.free.pop(number)
        del self.sizes[bisect_left(self.sizes, (size, offset))]
        return offset, size

    def take(self, size: int) -> int:
        """The start of a range of that size: the smallest free one that is large enough, else the
        last free one made longer where it touches the end, else the end."""
        best = bisect_left(self.sizes, (size, -1))
        if best < len(self.sizes):
            room, offset = self.sizes[best]
            self.remove(bisect_left(self.free, (offset, room)))
            if room > size:
                self.add(offset + size, room - size)
            return offset
        if self.free and sum(self.free[-1]) == self.end:
            offset, _ = self.remove(-1)
        else:
            offset = self.end
        self.end = offset + size
        self.peak = max(self.peak, self.end)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free a range and merge it with its neighbours, so that free ranges are never adjacent."""
        number = bisect_left(self.free, (offset, 0))
        if number < len(self.free) and offset + size == self.free[number][0]:
            size += self.remove(number)[1]
        if number > 0 and sum(self.free[number - 1]) == offset:
            before, room = self.remove(number - 1)
            offset, size = before, room + size
        self.add(offset, size)
