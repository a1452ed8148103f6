"""Nodes of a graph that may run side by side and use the same memory.

Invariant: two nodes are compared unless the edges of the graph order them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .memory import Array
from .races import Race, Watch

__all__ = ["Touched", "check_overlaps"]

_NONE = np.zeros(0, np.int64)


class Touched(NamedTuple):
    """Words (addresses over 4) that a node reads and writes, in increasing order."""

    name: str
    read: Array = _NONE
    written: Array = _NONE

    @staticmethod
    def by_kernel(name: str, watch: Watch) -> Touched:
        read, written = [_NONE], [_NONE]
        for start, cells in watch.device.items():
            for into, flags in ((read, cells.was_read), (written, cells.was_written)):
                into.append((start + np.flatnonzero(flags) * watch.grain) >> 2)
        return Touched(name, np.unique(np.concatenate(read)), np.unique(np.concatenate(written)))

    @staticmethod
    def by_copy(target: int, source: int | None, nbytes: int) -> Touched:
        def words(start: int) -> Array:
            return np.arange(start >> 2, (start + nbytes + 3) >> 2)

        return Touched("a copy", _NONE if source is None else words(source), words(target))

    @staticmethod
    def by_all(name: str, parts: list[Touched]) -> Touched:
        read = [_NONE, *(part.read for part in parts)]
        written = [_NONE, *(part.written for part in parts)]
        return Touched(name, np.unique(np.concatenate(read)), np.unique(np.concatenate(written)))


def _common(left: Array, right: Array) -> int | None:
    if not len(left) or not len(right) or left[0] > right[-1] or right[0] > left[-1]:
        return None
    found = np.intersect1d(left, right, assume_unique=True)
    return int(found[0]) * 4 if len(found) else None


def check_overlaps(nodes: dict[int, tuple[Touched, tuple[int, ...]]]) -> None:
    """Nodes by number, each with those that it runs after, which are listed before it."""
    before: dict[int, set[int]] = {}
    for number, (mine, after) in nodes.items():
        before[number] = set(after).union(*(before[a] for a in after))
        for other, (theirs, _) in nodes.items():
            if other == number:
                break
            if other in before[number]:
                continue
            pairs = (mine.written, theirs.written), (mine.written, theirs.read)
            for left, right in (*pairs, (mine.read, theirs.written)):
                place = _common(left, right)
                if place is not None:
                    raise Race(
                        f"{theirs.name} and {mine.name} use the word at {place:#x}, one writes it, "
                        "and no edge of the graph orders them"
                    )
