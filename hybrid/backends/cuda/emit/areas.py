"""What a row keeps in shared memory, in which areas, and with how many threads it is walked.

Invariant: a value takes the area of another only where no thread reads the old one any more, or
where each thread reads it, element by element, just before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from typing import NamedTuple

from ...emit.body import Body
from ...emit.code import Code
from ...emit.form import Form
from ...emit.lanes import memory_scalar
from ...emit.loops import Layout
from ...emit.memory import SIZE
from ...emit.programs.analysis import uniform_values
from ...emit.programs.spacing import running_values
from ...emit.reduce import Pick, Reduction, reductions_of
from ...emit.rows import RowPass, row_plan
from ..function import Card
from .lanes import BLOCK, LANES, is_ordered
from .rows import kept_values
from .schedule import Numbers, widest, work_of

__all__ = [
    "StagedSchedule",
    "PARTS",
    "BESIDE",
    "PassReductions",
    "pass_reductions",
    "pass_elements",
    "schedule_staged",
    "row_uses",
    "row_reductions",
    "joined_reductions",
    "cells_of",
]

PARTS = 32  # results of blocks that one chunk may have
_CHUNK = 16384  # elements staged at once, at most, where a row does not fit
_LONGEST = 1200  # instructions of a loop's body
_BEHIND = LANES  # elements behind a row that a walk may read
_SYSTEM = 1024  # bytes of shared memory that a block takes besides its own
BESIDE, _BESIDE_THREADS = 2, 512  # blocks on a multiprocessor whose rows are kept in part; theirs


class StagedSchedule(NamedTuple):
    """`threads` a row, `unroll` groups of `vector` adjacent elements at once; `areas`: values that
    have an area of shared memory, each with its number; those in `kept` stay for later passes, if
    `partly` only those of the first chunk of the row."""

    threads: int
    vector: int
    unroll: int
    areas: tuple[tuple[int, int], ...]
    kept: tuple[int, ...]
    partly: bool
    spans: tuple[int, ...]
    narrow: bool


class RowUse(NamedTuple):
    """What a pass puts into shared memory, what it reads there, and of that what is walked."""

    made: tuple[int, ...]
    read: frozenset[int]
    walked: frozenset[int]


def row_reductions(form: Form) -> list[Reduction]:
    """All reductions of a row, in the order of their passes."""
    return reductions_of(form.program, [i for p in row_plan(form).passes for i in p.reductions])


def joined_reductions(form: Form) -> list[Reduction]:
    """Those of a row whose parts threads give each other, in the order of their passes."""
    found = [pass_reductions(form, row_pass) for row_pass in row_plan(form).passes]
    return [r for reductions in found for r in (*reductions.ordered, *reductions.others)]


def cells_of(reduction: Reduction) -> int:
    """Cells of 8 bytes for the parts of a reduction."""
    return PARTS if is_ordered(reduction) else 32 * len(reduction.parts)


class PassReductions(NamedTuple):
    """Reductions of a pass: those whose order shows, those whose order does not, and those that
    take one element, which no thread has to look for."""

    ordered: tuple[Reduction, ...]
    others: tuple[Reduction, ...]
    picked: tuple[tuple[Reduction, Pick], ...]


@lru_cache(4096)
def pass_reductions(form: Form, row_pass: RowPass) -> PassReductions:
    uniform, running = uniform_values(form), running_values(form)
    ordered, others, picked = [], [], []
    for reduction in reductions_of(form.program, row_pass.reductions):
        pick = reduction.pick(form.program)
        if pick is not None and running[pick.position] and uniform[pick.wanted]:
            picked.append((reduction, pick))
        elif is_ordered(reduction):
            ordered.append(reduction)
        else:
            others.append(reduction)
    return PassReductions(tuple(ordered), tuple(others), tuple(picked))


def pass_elements(form: Form, row_pass: RowPass) -> list[int]:
    """What a pass evaluates for every element."""
    found = pass_reductions(form, row_pass)
    operands = [reduction.operand for reduction in (*found.ordered, *found.others)]
    return operands + [form.program.outs[k] for k in row_pass.writes]


def row_uses(form: Form, kept: Iterable[int], there: Set[int], row_pass: RowPass) -> RowUse:
    """Of a pass before which the values `there` are kept."""
    numbers = set(Body(Code(), form, 1).elements(pass_elements(form, row_pass), there))
    walked = frozenset(r.operand for r in pass_reductions(form, row_pass).ordered)
    made = (numbers & set(kept) | walked) - there
    return RowUse(tuple(sorted(made)), frozenset(numbers & there), walked)


def _uses(form: Form, kept: Sequence[int]) -> tuple[list[RowUse], dict[int, int]]:
    """(what each pass uses, the last pass that uses each value)."""
    there, uses = set[int](), []
    for row_pass in row_plan(form).passes:
        uses.append(row_uses(form, kept, there, row_pass))
        there |= set(uses[-1].made) & set(kept)
    last = {n: k for k, use in enumerate(uses) for n in (*use.made, *use.read, *use.walked)}
    return uses, last


def _areas(form: Form, kept: Sequence[int]) -> tuple[dict[int, int], list[int]]:
    """(area of each value, bytes of an element of each area)."""
    uses, last = _uses(form, kept)
    areas: dict[int, int] = {}
    sizes: list[int] = []
    for number_of_pass, use in enumerate(uses):
        for number in use.made:
            size = SIZE[memory_scalar(form.program.instrs[number].type)]
            busy = {
                area
                for other, area in areas.items()
                if last[other] > number_of_pass or other in use.made or other in use.walked
            }
            free = [k for k, other in enumerate(sizes) if other == size and k not in busy]
            if not free:
                free = [len(sizes)]
                sizes.append(size)
            areas[number] = free[0]
    return areas, sizes


def _front(form: Form) -> int:
    """Bytes of the cells before the areas."""
    return 8 * sum(map(cells_of, joined_reductions(form)))


def _threads(length: int, vector: int, nbytes: int, card: Card) -> int:
    """Threads of a row that takes so many bytes: with the rows that fit beside it as many as a
    multiprocessor holds, for fewer threads wait less for each other."""
    beside, threads = max(card.shared_bytes // max(nbytes, 1), 1), 1024
    while threads > 128 and threads * beside > 32 * card.warps:
        threads //= 2
    while threads > 64 and threads * vector >= 2 * length:
        threads //= 2
    return threads


def _offsets(form: Form, sizes: Sequence[int], count: int) -> tuple[list[int], int]:
    """The first byte of each area, of so many elements, and how many bytes there are in all."""
    offsets, total = [], -(-_front(form) // 16) * 16
    for size in sizes:
        offsets.append(total)
        total += -(-(count + _BEHIND) * size // 16) * 16
    return offsets, total


def _part(numbers: Numbers, kept: Sequence[int], sizes: Sequence[int], card: Card) -> int:
    """Elements of a row to keep so that the rows of two blocks fit, which compute and read in turn;
    0 where whole rows do fit or what is staged later would take the place of what is kept."""
    form = numbers.form
    uses, last = _uses(form, kept)
    walked = [(number, k) for k, use in enumerate(uses) for number in use.walked]
    if not kept or numbers.outer < BESIDE * card.multiprocessors:
        return 0
    if any(last[number] > k for number, k in walked):
        return 0
    room = (card.shared_bytes + _SYSTEM) // BESIDE - _SYSTEM
    if _offsets(form, sizes, numbers.length)[1] <= room:
        return 0
    chunk = PARTS * BLOCK
    while chunk and _offsets(form, sizes, chunk)[1] > room:
        chunk -= BLOCK
    return chunk


def schedule_staged(made: Layout, card: Card) -> tuple[StagedSchedule, tuple[int, ...], int]:
    """(schedule, its words, bytes of shared memory)."""
    form, numbers = made.form, Numbers(made)
    length, vector = numbers.length, widest(form, 4)
    while vector > 1 and length % vector:
        vector //= 2
    spans = numbers.wide_operands(vector)
    vector = vector if spans else 1
    kept, chunk = kept_values(form), -(-max(length, 1) // 4096) * 4096
    areas, sizes = _areas(form, kept)
    offsets, total = _offsets(form, sizes, length)
    part = _part(numbers, kept, sizes, card)
    if part:
        chunk = part
        offsets, total = _offsets(form, sizes, chunk)
    elif total > card.shared_bytes or chunk > 4096 * PARTS:
        kept, chunk = (), _CHUNK
        areas, sizes = _areas(form, kept)
        offsets, total = _offsets(form, sizes, chunk)
        while total > card.shared_bytes and chunk > BLOCK:
            chunk //= 2
            offsets, total = _offsets(form, sizes, chunk)
    unroll = 4
    while unroll > 1 and unroll * vector * work_of(form) > _LONGEST:
        unroll //= 2
    threads = _BESIDE_THREADS if part else _threads(length, vector, total, card)
    schedule = StagedSchedule(
        threads=threads,
        vector=vector,
        unroll=unroll,
        areas=tuple(sorted(areas.items())),
        kept=kept,
        partly=part > 0,
        spans=spans,
        narrow=numbers.narrow(),
    )
    return schedule, (chunk, *offsets), total
