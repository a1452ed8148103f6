"""Map kernels that read an operand across their rows (transposed): square tiles, turned in shared
memory.

Invariant: a block is one tile; elements behind the ends of an axis read the first element and are
not stored.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import NamedTuple

from ...emit.code import Code
from ...emit.form import Form, Walk
from ...emit.lanes import memory_scalar
from ...emit.loops import Layout
from ...emit.memory import SIZE, Position, load_scalar, store_scalar
from .body import Group, Row, Threads, barrier, magic_of
from .lanes import shared_base
from .schedule import Numbers

__all__ = ["TileSchedule", "emit_tiles", "schedule_tiles", "THREADS"]

THREADS = 256
_SIDE, _LINE = 32, 33  # elements of a tile's side, and of its lines in shared memory
_STEP = THREADS // _SIDE
_SHORTEST = 16  # axes shorter than this are not worth tiles
_ALONG, _ALONG_MAGIC, _DOWN, _DOWN_MAGIC = range(4)  # words of the schedule: tiles along the axes


class TileSchedule(NamedTuple):
    """`turned`: instructions that read across the rows."""

    turned: tuple[int, ...]
    narrow: bool


def schedule_tiles(made: Layout) -> tuple[TileSchedule, tuple[int, ...], int, int] | None:
    """(schedule, its words, blocks, bytes of shared memory); None where an axis is short."""
    form, numbers = made.form, Numbers(made)
    dims = [numbers.at(numbers.words.dim(axis)) for axis in range(form.outer)]
    if min(dims[-1], numbers.length) < _SHORTEST:
        return None
    turned = tuple(
        k
        for k, instr in enumerate(form.program.instrs)
        if instr.prim == "arg" and form.reads[instr.attr].walk is Walk.TURNED
    )
    along, down = (-(-size // _SIDE) for size in (numbers.length, dims[-1]))
    own = (along, magic_of(along), down, magic_of(down))
    shared = sum(_tile_bytes(form, k) for k in turned)
    return TileSchedule(turned, numbers.narrow()), own, prod(dims[:-1]) * along * down, shared


def _tile_bytes(form: Form, number: int) -> int:
    return -(-_SIDE * _LINE * SIZE[memory_scalar(form.program.instrs[number].type)] // 16) * 16


class _Tiles(Threads):
    def __init__(self, form: Form, schedule: TileSchedule, guarded: bool) -> None:
        super().__init__(form, guarded, (), schedule.narrow)
        code, body, self.schedule = self.code, self.body, schedule
        self.x = code.once(f"and i64 {self.tid}, {_SIDE - 1}")
        self.y = code.once(f"lshr i64 {self.tid}, {_SIDE.bit_length() - 1}")
        self.length, self.axis = body.word(body.words.n), form.outer - 1
        self.height = body.word(body.words.dim(self.axis))
        along, down = (body.word(body.own(k)) for k in (_ALONG, _DOWN))
        rest, part = body.divide(self.cta, along, body.own(_ALONG_MAGIC))
        outer, strip = body.divide(rest, down, body.own(_DOWN_MAGIC))
        self.first_along = code.op(f"mul i64 {part}, {_SIDE}")
        self.first_down = code.op(f"mul i64 {strip}, {_SIDE}")
        body.begin_row(outer, self.axis)
        self.top = body.row()
        self.tiles: dict[int, str] = {}
        offset = 0
        for number in schedule.turned:
            self.tiles[number] = code.at("i8", shared_base(code), str(offset))
            offset += _tile_bytes(form, number)

    def inside(self, number: str, size: str) -> tuple[str, str]:
        """(whether the number is below a size, the number or 0)."""
        valid = self.code.op(f"icmp slt i64 {number}, {size}")
        return valid, self.code.op(f"select i1 {valid}, i64 {number}, i64 0")

    def fetch(self) -> None:
        """Put the tiles of all turned operands into shared memory, line by line."""
        code, body = self.code, self.body
        down = self.inside(code.add(self.first_down, self.x), self.height)[1]
        loaded = []
        for number in self.schedule.turned:
            instr = self.program.instrs[number]
            base = code.at(memory_scalar(instr.type), self.top.base[instr.attr], down)
            stride = body.words.stride(instr.attr, body.words.rank - 1)
            for step in range(0, _SIDE, _STEP):
                line = code.add(self.y, str(step))
                along = self.inside(code.add(self.first_along, line), self.length)[1]
                spot = code.at("i8", base, body.times_word(along, stride))
                loaded.append((number, line, load_scalar(code, instr.type, spot)))
        for number, line, value in loaded:
            spot = self.spot(number, line, self.x)
            store_scalar(code, self.program.instrs[number].type, value, spot)

    def spot(self, number: int, line: str, column: str) -> str:
        kind = memory_scalar(self.program.instrs[number].type)
        cell = self.code.add(self.code.op(f"mul i64 {line}, {_LINE}"), column)
        return self.code.at(kind, self.tiles[number], cell)

    def row_at(self, down: str) -> Row:
        code, body, words = self.code, self.body, self.body.words
        base = [
            x
            if body.walk(k) in (Walk.GATHERED, Walk.TURNED)
            else code.at("i8", x, body.times_word(down, words.stride(k, self.axis)))
            for k, x in enumerate(self.top.base)
        ]
        start = [
            code.add(x, body.times_word(down, words.stride(words.ops + k, self.axis)))
            for k, x in enumerate(self.top.start)
        ]
        return Row(base, start, {}, {})

    def run(self) -> None:
        code, body, outs = self.code, self.body, self.program.outs
        self.fetch()
        barrier(code)
        there, along = self.inside(code.add(self.first_along, self.x), self.length)
        groups, valid, lines, numbers = [], [], [], list[int]()
        for step in range(0, _SIDE, _STEP):
            line = code.add(self.y, str(step))
            below, down = self.inside(code.add(self.first_down, line), self.height)
            row = self.row_at(down)
            body.enter(row)
            numbers = body.prepare(outs)
            groups.append(Group(row, [Position(along)]))
            valid.append(code.op(f"and i1 {there}, {below}"))
            lines.append(line)
        turned = {
            number: [
                load_scalar(code, self.program.instrs[number].type, self.spot(number, self.x, line))
                for line in lines
            ]
            for number in self.schedule.turned
        }

        def known(number: int, group: int, lane: int) -> str | None:
            return turned[number][group] if number in turned else None

        values = body.evaluate(numbers, groups, None, known)
        for group, lanes, stored in zip(groups, values, valid):
            code.when(
                stored,
                partial(body.store, range(len(outs)), [group], [lanes], None),
            )


def emit_tiles(form: Form, schedule: TileSchedule, guarded: bool) -> Code:
    """The function body of a map kernel with turned operands."""
    writer = _Tiles(form, schedule, guarded)
    writer.run()
    return writer.code
