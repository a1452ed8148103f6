"""Finds places of memory that two threads use, one of them writing, with nothing that orders them.

Invariant: it never changes what a kernel computes.  Threads of a block are ordered by barriers,
those of a warp also by instructions that the warp executes together, blocks by nothing (blocks that
did an atomic before may read what others wrote).  One instruction may write one value often.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .memory import Array

if TYPE_CHECKING:
    from .access import Access

__all__ = ["Race", "Watch"]

_NOBODY = -1
# a thread is its block << 10 | its number in the block; a mark is barriers passed << 40 | steps
# taken with the warp << 20 | position of the instruction
_WARP, _BLOCK = 1 << 5, 1 << 10
_STEP, _EPOCH = 1 << 20, 1 << 40


class Race(RuntimeError):
    """Two threads use one place of memory, one of them writes, and nothing orders them."""


class Doing(NamedTuple):
    """An instruction of some threads, with the mark of each."""

    cohort: Access
    at: int
    space: str
    me: Array
    mark: Array


class _Cells:
    """The last write of each place, and the range of threads that have read it since."""

    def __init__(self, count: int, compare: bool = True) -> None:
        self.was_read, self.was_written = np.zeros((2, count), bool)
        if not compare:
            return
        self.writer, self.first, self.last = np.full((3, count), _NOBODY, np.int32)
        self.write_mark, self.read_mark = np.zeros((2, count), np.int64)


def _unordered(doing: Doing, first: Array, last: Array, mark: Array) -> Array:
    """Whether nothing orders these threads with some thread in [first, last]."""
    apart = (first ^ doing.me) | (last ^ doing.me)  # negative: nobody
    since = mark ^ doing.mark
    near = (since < _STEP) | ((apart >= _WARP) & (since < _EPOCH)) | (apart >= _BLOCK)
    return np.asarray((apart > 0) & near)


class Watch:
    """Of one launch.  `allowed`: ranges of addresses (status words) that are not looked at.  Where it
    does not `compare`, it only notes which words of global memory are read and written.

    A value that is read and never used counts as read."""

    def __init__(self, allowed: list[tuple[int, int]], grain: int, compare: bool = True) -> None:
        self.allowed, self.grain, self.compare = allowed, grain, compare
        self.device: dict[int, _Cells] = {}
        self.shared = _Cells(0)
        self.synced: set[int] = set()

    def begin(self, shared_bytes: int) -> None:
        """Other blocks run now, with shared memory of their own."""
        if self.compare:
            self.shared = _Cells(shared_bytes // self.grain + 16)

    # ---- what a cohort tells
    def atomic(self, cohort: Access, idx: Array | None) -> None:
        me, _ = cohort.stamp(idx)
        self.synced.update(np.unique(me >> 10).tolist())

    def read(
        self, cohort: Access, at: int, idx: Array | None, space: str, places: Array, nbytes: int
    ) -> None:
        """`places`: byte offsets into the space."""
        for doing, cells, where, _ in self._touched(cohort, at, idx, space, places, nbytes, "read"):
            self._against_write(doing, cells, where, "read")
            self._note_read(doing, cells, where)

    def write(
        self,
        cohort: Access,
        at: int,
        idx: Array | None,
        space: str,
        places: Array,
        nbytes: int,
        values: tuple[Array, ...],
        before: list[Array],
    ) -> None:
        """`before`: what the places hold until now."""
        count = max(nbytes // self.grain, 1)
        for doing, cells, where, number in self._touched(
            cohort, at, idx, space, places, nbytes, "written"
        ):
            part = number * len(values) // count
            same = _bits(values[part]) == _bits(before[part])
            self._against_write(doing, cells, where, "write", same)
            self._against_reads(doing, cells, where)
            self._note_write(doing, cells, where, values[part])

    # ---- helpers
    def _touched(
        self,
        cohort: Access,
        at: int,
        idx: Array | None,
        space: str,
        places: Array,
        nbytes: int,
        how: str,
    ) -> Iterator[tuple[Doing, _Cells, Array, int]]:
        """Every word of an access that has to be compared: who does what, the cells, where, and its
        number in the access.  Where nothing is compared, the words are only noted."""
        found = self._cells(cohort, space, places, nbytes)
        if found is None:
            return
        cells, first = found
        count = max(nbytes // self.grain, 1)
        if not self.compare:
            noted = cells.was_read if how == "read" else cells.was_written
            for number in range(count):
                noted[first + number] = True
            return
        me, mark = cohort.stamp(idx)
        doing = Doing(cohort, at, space, me, mark | at)
        first = np.broadcast_to(first, doing.me.shape)
        for number in range(count):
            yield doing, cells, first + number, number

    def _new(self, nbytes: int) -> _Cells:
        return _Cells(nbytes // self.grain + 16, self.compare)

    def _cells(
        self, cohort: Access, space: str, offsets: Array, nbytes: int
    ) -> tuple[_Cells, Array] | None:
        """State of the memory, and the first cell of every access."""
        if space == "shared":
            return (self.shared, offsets // self.grain) if self.compare else None
        if space not in ("global", "const"):
            return None
        arena = cohort.arena
        low, high = int(offsets.min()) + arena.base, int(offsets.max()) + arena.base + nbytes
        if any(start <= low and high <= stop for start, stop in self.allowed):
            return None
        start = arena.start_of(low)
        if high > start + arena.lengths[start]:
            return None  # several allocations in one instruction: not looked at
        cells = self.device.get(start)
        if cells is None:
            cells = self.device[start] = self._new(arena.lengths[start])
        return cells, (offsets + (arena.base - start)) // self.grain

    def _against_write(
        self, doing: Doing, cells: _Cells, where: Array, act: str, same: Array | None = None
    ) -> None:
        other, mark = cells.writer[where], cells.write_mark[where]
        bad = _unordered(doing, other, other, mark)
        if not bad.any():
            return
        if same is not None:  # the same instruction writes the same value again
            bad &= ~(same & (mark % _STEP == doing.at))
        if self.synced and doing.space != "shared":
            bad &= ~np.isin(doing.me >> 10, list(self.synced))
        self._fail(doing, bad, act, other, other, mark, "wrote")

    def _against_reads(self, doing: Doing, cells: _Cells, where: Array) -> None:
        first, last, mark = cells.first[where], cells.last[where], cells.read_mark[where]
        self._fail(doing, _unordered(doing, first, last, mark), "write", first, last, mark, "read")

    def _note_read(self, doing: Doing, cells: _Cells, where: Array) -> None:
        """Who read before and is not ordered with this stays noted.  Threads are in order, and of
        several that read one place the last assignment stays."""
        first, last = cells.first[where], cells.last[where]
        keep = _unordered(doing, first, last, cells.read_mark[where])
        least = np.where(keep, np.minimum(first, doing.me), doing.me)
        cells.first[where[::-1]] = least[::-1]
        cells.last[where] = np.where(keep, np.maximum(last, doing.me), doing.me)
        cells.read_mark[where] = doing.mark
        cells.was_read[where] = True

    def _note_write(self, doing: Doing, cells: _Cells, where: Array, value: Array) -> None:
        numbers = np.arange(len(where), dtype=np.int32)
        cells.writer[where] = numbers
        winner = cells.writer[where]
        if (winner != numbers).any():
            bits = _bits(np.broadcast_to(value, where.shape))
            other = doing.me[winner]
            self._fail(
                doing, bits != bits[winner], "write", other, other, doing.mark, "wrote otherwise"
            )
        cells.writer[where] = doing.me
        cells.write_mark[where] = doing.mark
        cells.was_written[where] = True
        cells.first[where] = cells.last[where] = _NOBODY

    def _fail(
        self, doing: Doing, bad: Array, act: str, first: Array, last: Array, mark: Array, did: str
    ) -> None:
        if not bad.any():
            return
        position = int(np.flatnonzero(bad)[0])
        code = doing.cohort.chunk.code
        who, whom, until = (self._name(int(a[position])) for a in (doing.me, first, last))
        whom = whom if whom == until else f"{whom} to {until}"
        before = code.lines[int(mark[position]) % _STEP]
        raise Race(
            f"{code.entry.name}: {who} would {act} {doing.space} memory (`{code.lines[doing.at]}`) "
            f"that {whom} {did} (`{before}`), and nothing orders them"
        )

    def _name(self, thread: int) -> str:
        return f"thread {thread % _BLOCK} of block {thread // _BLOCK}"


def _bits(value: Array) -> Array:
    return value.view(f"u{value.itemsize}")


def grain_of(lines: tuple[str, ...]) -> int:
    """Bytes of a cell: 1 where a kernel stores less than a word."""
    small: Any = (".b8", ".b16", ".u8", ".u16", ".s8", ".s16", ".f16", ".bf16")
    stores = (line.split(" ")[0] for line in lines if line.startswith("st."))
    return 1 if any(part.endswith(small) for part in stores) else 4
