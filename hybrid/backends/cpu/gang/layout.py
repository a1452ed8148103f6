"""The chunks of a gang: which items of which member each runs.

Invariant: every item of every member is in exactly one chunk.  Each thread's run holds its own part
of each member that keeps all threads busy, the same rows that it has of steps by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..machine.pool import pool
from ..python.caller import GangPiece, NativeStep
from .cost import CHUNK, PIECE
from .units import Unit

__all__ = ["gang_step"]

MOST = 8  # chunks of a thread


class _Dispatch(NamedTuple):
    """The code of a gang."""

    address: int


class _Run:
    """What a thread does, and its cost."""

    def __init__(self) -> None:
        self.pieces: list[tuple[GangPiece, float]] = []
        self.cost = 0.0

    def add(self, piece: GangPiece, cost: float) -> None:
        self.pieces.append((piece, cost))
        self.cost += cost

    def chunks(self, count: int) -> list[tuple[GangPiece, ...]]:
        """The pieces in so many chunks of about one cost."""
        chunks: list[list[GangPiece]] = [[] for _ in range(count)]
        passed = 0.0
        for piece, cost in self.pieces:
            middle = (passed + cost / 2) / max(self.cost, 1e-9)
            chunks[min(int(middle * count), count - 1)].append(piece)
            passed += cost
        return [tuple(chunk) for chunk in chunks]


def gang_step(units: Sequence[Unit], threads: int) -> NativeStep:
    """The step in front of its members that runs them side by side."""
    steps = [unit.step for unit in units if unit.step is not None]
    total = sum(unit.cost for unit in units)
    busy = max(min(threads, int(total / PIECE)), 1)
    runs = [_Run() for _ in range(busy)]
    narrow: list[tuple[float, GangPiece]] = []
    for number, (unit, step) in enumerate(zip(units, steps)):
        if step.items >= busy and unit.cost >= busy * PIECE:
            for thread, run in enumerate(runs):
                begin, end = (step.items * k // busy for k in (thread, thread + 1))
                parts = min(max(round(unit.cost / busy / CHUNK), 1), MOST, end - begin)
                for part, cost in _parts(number, unit, begin, end, parts):
                    run.add(part, cost)
        else:
            parts = max(min(step.items, round(unit.cost / PIECE), busy), 1)
            narrow += [(cost, part) for part, cost in _parts(number, unit, 0, step.items, parts)]
    for cost, part in sorted(narrow, key=lambda pair: -pair[0]):
        min(runs, key=lambda run: run.cost).add(part, cost)
    longest = max(run.cost for run in runs)
    count = max(1, min(MOST, round(longest / CHUNK)))
    chunks = tuple([chunk for run in runs for chunk in run.chunks(count)])
    scratch = max(step.scratch for step in steps)
    code = _Dispatch(pool().address("hy_gang"))
    return NativeStep(code, (), len(chunks), 1, scratch, 0, chunks, len(steps))


def _parts(
    number: int, unit: Unit, begin: int, end: int, count: int
) -> list[tuple[GangPiece, float]]:
    """Items of a member in so many parts, each with its cost."""
    items = max(unit.step.items if unit.step is not None else 0, 1)
    edges = [begin + (end - begin) * k // count for k in range(count + 1)]
    return [
        (GangPiece(number, first, last), unit.cost * (last - first) / items)
        for first, last in zip(edges, edges[1:])
    ]
