"""Finds places of memory that two threads use, one of them writing, with nothing that orders them.

Invariant: it never changes what a kernel computes.  Threads of a block are ordered by barriers,
those of a warp also by instructions that the warp executes together, blocks by nothing (blocks that
did an atomic before may read what others wrote).  One instruction may write one value often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .memory import Array

if TYPE_CHECKING:
    from .access import Access

__all__ = ["Race", "Watch"]

_NOBODY, _BIG = -1, 1 << 60


class Race(RuntimeError):
    """Two threads use one place of memory, one of them writes, and nothing orders them."""


class Doing(NamedTuple):
    """An instruction of some threads: their numbers in the grid, barriers and warp steps so far."""

    cohort: Access
    at: int
    space: str
    me: Array
    epoch: Array
    step: Array


class _Cells:
    """The last write of each place, and the range of threads that have read it since."""

    def __init__(self, count: int) -> None:
        self.writer = np.full(count, _NOBODY, np.int64)
        self.first, self.last = np.full(count, _BIG, np.int64), np.full(count, _NOBODY, np.int64)
        self.marks = {doing: np.zeros((3, count), np.int32) for doing in ("read", "write")}


class Watch:
    """Of one launch.  `allowed`: ranges of addresses (status words) that are not looked at."""

    def __init__(self, allowed: list[tuple[int, int]], grain: int, size: int) -> None:
        self.allowed, self.grain, self.size = allowed, grain, size
        self.warps = -(-size // 32)
        self.device: dict[int, _Cells] = {}
        self.shared = _Cells(0)
        self.synced: set[int] = set()

    def begin(self, shared_bytes: int) -> None:
        """Other blocks run now, with shared memory of their own."""
        self.shared = _Cells(shared_bytes // self.grain + 16)

    # ---- what a cohort tells
    def atomic(self, cohort: Access, idx: Array | None) -> None:
        me, _, _ = cohort.stamp(idx)
        self.synced.update(np.unique(me // self.size).tolist())

    def read(
        self, cohort: Access, at: int, idx: Array | None, space: str, places: Array, nbytes: int
    ) -> None:
        """`places`: byte offsets into the space."""
        found = self._cells(cohort, space, places, nbytes)
        if found is None:
            return
        cells, first = found
        doing = Doing(cohort, at, space, *cohort.stamp(idx))
        first = np.broadcast_to(first, doing.me.shape)
        for number in range(max(nbytes // self.grain, 1)):
            where = first + number
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
        found = self._cells(cohort, space, places, nbytes)
        if found is None:
            return
        cells, first = found
        doing = Doing(cohort, at, space, *cohort.stamp(idx))
        first = np.broadcast_to(first, doing.me.shape)
        count = max(nbytes // self.grain, 1)
        for number in range(count):
            where = first + number
            part = number * len(values) // count
            same = _bits(values[part]) == _bits(before[part])
            self._against_write(doing, cells, where, "write", same)
            self._against_reads(doing, cells, where)
            self._note_write(doing, cells, where, values[part])

    # ---- helpers
    def _cells(
        self, cohort: Access, space: str, offsets: Array, nbytes: int
    ) -> tuple[_Cells, Array] | None:
        """State of the memory, and the first cell of every access."""
        if space == "shared":
            return self.shared, offsets // self.grain
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
            cells = self.device[start] = _Cells(arena.lengths[start] // self.grain + 16)
        return cells, (offsets + (arena.base - start)) // self.grain

    def _warp(self, thread: Array) -> Array:
        return (thread // self.size) * self.warps + thread % self.size // 32

    def _ordered(self, doing: Doing, first: Array, last: Array, marks: Array) -> Array:
        """Whether all of [first, last] came before: by a barrier, or a step of the warp."""
        epoch, step, _ = marks
        me, size = doing.me, self.size
        block = (first // size == me // size) & (last // size == me // size)
        mine = self._warp(me)
        warp = block & (self._warp(first) == mine) & (self._warp(last) == mine)
        return (block & (epoch != doing.epoch)) | (warp & (step != doing.step))

    def _against_write(
        self, doing: Doing, cells: _Cells, where: Array, act: str, same: Array | None = None
    ) -> None:
        other = cells.writer[where]
        bad = (other != doing.me) & (other != _NOBODY)
        if bad.any():
            marks = cells.marks["write"][:, where]
            bad &= ~self._ordered(doing, other, other, marks)
            if same is not None:  # the same instruction writes the same value again
                bad &= ~(same & (marks[2] == doing.at))
            if self.synced and doing.space != "shared" and bad.any():
                bad &= ~np.isin(doing.me // self.size, list(self.synced))
            self._fail(doing, bad, act, other, other, marks, "wrote")

    def _against_reads(self, doing: Doing, cells: _Cells, where: Array) -> None:
        first, last = cells.first[where], cells.last[where]
        bad = (last != _NOBODY) & ((first != doing.me) | (last != doing.me))
        if bad.any():
            marks = cells.marks["read"][:, where]
            bad &= ~self._ordered(doing, first, last, marks)
            self._fail(doing, bad, "write", first, last, marks, "read")

    def _note_read(self, doing: Doing, cells: _Cells, where: Array) -> None:
        marks = cells.marks["read"][:, where]
        over = self._ordered(doing, cells.first[where], cells.last[where], marks)
        cells.first[where[over]], cells.last[where[over]] = _BIG, _NOBODY
        np.minimum.at(cells.first, where, doing.me)
        np.maximum.at(cells.last, where, doing.me)
        cells.marks["read"][:, where] = doing.epoch, doing.step, np.full(len(where), doing.at)

    def _note_write(self, doing: Doing, cells: _Cells, where: Array, value: Array) -> None:
        numbers = np.arange(len(where))
        cells.writer[where] = numbers
        winner = cells.writer[where]
        if (winner != numbers).any():
            value = np.broadcast_to(value, where.shape)
            bits = _bits(value)
            bad = bits != bits[winner]
            marks = np.full((3, len(where)), doing.at)
            other = doing.me[winner]
            self._fail(doing, bad, "write", other, other, marks, "wrote otherwise")
        cells.writer[where] = doing.me
        cells.first[where], cells.last[where] = _BIG, _NOBODY
        cells.marks["write"][:, where] = doing.epoch, doing.step, np.full(len(where), doing.at)

    def _fail(
        self, doing: Doing, bad: Array, act: str, first: Array, last: Array, marks: Array, did: str
    ) -> None:
        if not bad.any():
            return
        position = int(np.flatnonzero(bad)[0])
        code = doing.cohort.chunk.code
        who, whom, until = (self._name(int(a[position])) for a in (doing.me, first, last))
        whom = whom if whom == until else f"{whom} to {until}"
        before = code.lines[int(marks[2, position])]
        raise Race(
            f"{code.entry.name}: {who} would {act} {doing.space} memory (`{code.lines[doing.at]}`) "
            f"that {whom} {did} (`{before}`), and nothing orders them"
        )

    def _name(self, thread: int) -> str:
        return f"thread {thread % self.size} of block {thread // self.size}"


def _bits(value: Array) -> Array:
    return value.view(f"u{value.itemsize}")


def grain_of(lines: tuple[str, ...]) -> int:
    """Bytes of a cell: 1 where a kernel stores less than a word."""
    small: Any = (".b8", ".b16", ".u8", ".u16", ".s8", ".s16", ".f16", ".bf16")
    stores = (line.split(" ")[0] for line in lines if line.startswith("st."))
    return 1 if any(part.endswith(small) for part in stores) else 4
