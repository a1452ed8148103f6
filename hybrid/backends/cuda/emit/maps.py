"""Map kernels: every element on its own, several adjacent ones and several groups in flight per
thread.

Invariant: whole tiles of aligned groups come first, then single elements; both evaluate the same
program, so neither alignment nor the grid changes a bit.
"""

from __future__ import annotations

from typing import NamedTuple

from ...emit.code import Code
from ...emit.form import Form, Walk
from ...emit.loops import Layout
from ...emit.memory import Position
from ..function import Card
from .body import Group, Threads, grid_loop, magic_of
from .schedule import Numbers, widest, work_of

__all__ = ["MapSchedule", "schedule_map", "emit_map", "THREADS"]

THREADS = 256
_FLIGHT = 32  # bytes that a thread should have on their way
_LONGEST = 1600  # instructions of a thread's body
_MOST_BLOCKS = 1 << 20
_WHOLE, _TOTAL, _DIVISOR, _CHECK = range(4)  # words of the schedule


class MapSchedule(NamedTuple):
    """`vector` adjacent elements in each of `unroll` groups of a thread; operands in spans."""

    vector: int
    unroll: int
    spans: tuple[int, ...]
    narrow: bool


def _unroll(form: Form, vector: int, groups: int, card: Card) -> int:
    """Groups of a thread: enough bytes on their way, if threads remain for the whole card."""
    read = sum(
        {"i8": 1, "i16": 2}.get(o.type, 4) * vector
        for o in form.reads
        if o.walk not in (Walk.SAME, Walk.GATHERED)
    )
    unroll = 1
    while (
        unroll < 4
        and unroll * max(read, 1) < _FLIGHT
        and 2 * unroll * vector * work_of(form) <= _LONGEST
        and groups >= 2 * unroll * card.threads
    ):
        unroll *= 2
    return unroll


def schedule_map(made: Layout, card: Card) -> tuple[MapSchedule, tuple[int, ...], int]:
    """(schedule, its words, blocks)."""
    form, numbers = made.form, Numbers(made)
    total, length, narrow = numbers.outer * numbers.length, numbers.length, numbers.narrow()
    vector = widest(form)
    while vector > 1 and (
        vector * work_of(form) > _LONGEST
        or (form.outer and length % vector)
        or total < vector * card.threads // 2
    ):
        vector //= 2
    spans = numbers.wide_operands(vector)
    if not spans:
        vector = 1
    groups = total // vector
    unroll = _unroll(form, vector, groups, card)
    tile = THREADS * unroll
    whole = groups // tile * tile if vector * unroll > 1 else 0
    schedule = MapSchedule(vector, unroll, spans, narrow)
    tiles = whole // tile or -(-total // THREADS)
    own = (whole, total, magic_of(length // vector), 0)
    return schedule, own, max(1, min(tiles, _MOST_BLOCKS))


class _Map(Threads):
    def __init__(self, form: Form, schedule: MapSchedule, guarded: bool) -> None:
        super().__init__(form, guarded, schedule.spans, schedule.narrow)
        self.schedule, self.outs = schedule, form.program.outs
        self.length = self.body.word(self.body.words.n)
        self.numbers: list[int] = []
        if not form.outer:
            self.body.begin_row("0")
            self.numbers = self.body.prepare(self.outs)

    def group(self, item: str, count: int) -> Group:
        """The elements of a group with that number."""
        code, body = self.code, self.body
        element = item if count == 1 else code.op(f"mul i64 {item}, {count}")
        if self.form.outer:
            if count == 1:
                row, first = body.divide_by_word(item, body.words.n)
            else:
                row, first = self._row_of(item, count)
            body.begin_row(row)
            self.numbers = body.prepare(self.outs)
            element = first
        positions = [Position(code.add(element, str(k))) for k in range(count)]
        return Group(body.row(), positions)

    def _row_of(self, item: str, count: int) -> tuple[str, str]:
        code, body = self.code, self.body
        groups = code.once(f"udiv i64 {self.length}, {count}")
        row, rest = body.divide(item, groups, body.own(_DIVISOR))
        return row, code.op(f"mul i64 {rest}, {count}")

    def work(self, groups: list[Group], aligned: str | None) -> None:
        values = self.body.evaluate(self.numbers, groups, aligned)
        if self.form.check:
            for group, lanes in zip(groups, values):
                for position, names in zip(group.positions, lanes):
                    self._check(group, position, names)
            return
        self.body.store(range(len(self.outs)), groups, values, aligned)

    def _check(self, group: Group, position: Position, names: dict[int, str]) -> None:
        invalid = self.body.value_of(self.outs[0], group, names)
        where = self.body.affine(len(self.form.affine) - 1, position)
        check = self.body.word(self.body.own(_CHECK))
        self.code.when(invalid, lambda: self.fail(where, check))

    def run(self) -> None:
        code, body, schedule = self.code, self.body, self.schedule
        first, total = "0", body.word(body.own(_TOTAL))
        if schedule.vector * schedule.unroll > 1:
            whole = body.word(body.own(_WHOLE))
            if schedule.vector > 1:
                whole = code.op(f"select i1 {body.aligned(schedule.vector)}, i64 {whole}, i64 0")
            self._tiles(whole)
            first = code.mul(whole, str(schedule.vector))
        grid_loop(code, total, lambda item: self.work([self.group(item, 1)], None), first)

    def _tiles(self, whole: str) -> None:
        code, schedule = self.code, self.schedule
        tile = THREADS * schedule.unroll
        start = code.once(f"add i64 {code.once(f'mul i64 {self.cta}, {tile}')}, {self.tid}")
        step = code.once(f"mul i64 {self.ncta}, {tile}")

        def one(item: str, _: list[str]) -> list[str]:
            items = [code.add(item, str(THREADS * u)) for u in range(schedule.unroll)]
            self.work([self.group(item, schedule.vector) for item in items], "true")
            return []

        code.loop(start, whole, step, [], one)


def emit_map(form: Form, schedule: MapSchedule, guarded: bool) -> Code:
    """The function body of a map kernel."""
    writer = _Map(form, schedule, guarded)
    writer.run()
    return writer.code
