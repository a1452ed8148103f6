"""Which units form a gang, and in which order groups run.

Invariant: two units that conflict are in different groups, in the order of the plan; none passes a
fence.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..python.caller import NativeStep
from .cost import alone_us, is_wide, together_us
from .units import Unit, conflict

__all__ = ["gathered"]

PATIENCE = 8  # groups that pass a unit that waits for company
MOST = 96  # units of a gang
LEAST = 0.3  # microseconds that company must save,
PART = 0.003  # and the part of the group's time
FIRST = 2.0  # microseconds that units which are too small to be cut must save to be a gang


def gathered(units: Sequence[Unit], threads: int) -> list[list[Unit]]:
    """The units in groups for so many threads."""
    groups: list[list[Unit]] = []
    waiting = _Gathering(threads)
    for number, unit in enumerate(units):
        if unit.fence:
            groups += [*waiting.finished(), [unit]]
            waiting = _Gathering(threads)
        else:
            waiting.add(number, unit)
    return groups + waiting.finished()


class _Group:
    """Units that may run side by side."""

    def __init__(self, threads: int, units: Sequence[tuple[int, Unit]]) -> None:
        self.threads, self.units = threads, list[tuple[int, Unit]]()
        self.reads = self.writes = 0
        self.wide = False  # one of them keeps all threads busy
        self.total = self.apart = 0.0
        self.pieces = list[float]()
        for number, unit in units:
            self.add(number, unit)

    @property
    def time(self) -> float:
        if len(self.units) == 1:
            return self.apart
        return together_us(self.total, max(self.pieces), self.threads)

    def add(self, number: int, unit: Unit) -> None:
        self.units.append((number, unit))
        self.reads |= unit.reads
        self.writes |= unit.writes
        self.wide |= is_wide(_step(unit), self.threads)
        self.total += unit.cost
        self.pieces.append(_piece(unit))
        self.apart += alone_us(_step(unit), unit.cost, self.threads)

    def takes(self, unit: Unit) -> bool:
        """Whether a unit that conflicts with none of them would better be one of them."""
        if len(self.units) >= MOST:
            return False
        touched = self.writes & (unit.reads | unit.writes) or self.reads & unit.writes
        if touched and any(conflict(known, unit) for _, known in self.units):
            return False
        before = self.time + alone_us(_step(unit), unit.cost, self.threads)
        longest = max(*self.pieces, _piece(unit))
        after = together_us(self.total + unit.cost, longest, self.threads)
        least = LEAST if self.wide or is_wide(_step(unit), self.threads) else FIRST
        return before - after > max(least, PART * before)

    def ordered(self) -> list[Unit]:
        """The units as in the plan."""
        return [unit for _, unit in sorted(self.units, key=lambda pair: pair[0])]


def _step(unit: Unit) -> NativeStep:
    assert unit.step is not None
    return unit.step


def _piece(unit: Unit) -> float:
    """The part of a unit that cannot be cut."""
    return unit.cost / max(_step(unit).items, 1)


class _Gathering:
    """Units between two fences: groups, of which the last one is open, and units that wait for
    company, no two of which conflict."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.groups: list[_Group] = []
        self.waiting: list[tuple[int, Unit]] = []
        self.since: dict[int, int] = {}  # the groups there were when a unit began to wait

    def add(self, number: int, unit: Unit) -> None:
        first = [
            (other, known)
            for other, known in self.waiting
            if conflict(known, unit) or self.closed() - self.since[other] > PATIENCE
        ]
        if first:
            self.place(first)
        if not is_wide(_step(unit), self.threads):
            self.waiting.append((number, unit))
            self.since[number] = self.closed()
        else:
            if self.groups and self.groups[-1].takes(unit):
                self.groups[-1].add(number, unit)
            else:
                self.begin([(number, unit)])
            self.join(self.waiting)

    def closed(self) -> int:
        """How many groups are closed."""
        return max(len(self.groups) - 1, 0)

    def begin(self, units: Sequence[tuple[int, Unit]]) -> None:
        """Close the open group; these are the next one."""
        self.groups.append(_Group(self.threads, units))

    def join(self, units: Sequence[tuple[int, Unit]]) -> list[tuple[int, Unit]]:
        """Of units that wait, let those join the open group that gain by it; the others."""
        left = []
        for number, unit in list(units):
            if self.groups and self.groups[-1].takes(unit):
                self.groups[-1].add(number, unit)
                self.waiting[:] = [pair for pair in self.waiting if pair[0] != number]
            else:
                left.append((number, unit))
        return left

    def place(self, units: Sequence[tuple[int, Unit]]) -> None:
        """Units that can wait no longer: into the open group, or together, or one by one."""
        left = self.join(units)
        gone = {number for number, _ in left}
        self.waiting[:] = [pair for pair in self.waiting if pair[0] not in gone]
        if not left:
            return
        group = _Group(self.threads, left)
        if len(left) > 1 and group.apart - group.time > FIRST:
            self.begin(left)
            return
        for pair in left:
            self.begin([pair])

    def finished(self) -> list[list[Unit]]:
        """All groups, when nothing follows."""
        if self.waiting:
            self.place(list(self.waiting))
        return [group.ordered() for group in self.groups]
