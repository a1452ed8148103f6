"""Code of map kernels: every element on its own.

Invariant: an item is a block of one row along the inner axis; items write disjoint elements.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.scalar.program import Program
from .body import WIDTH, Body
from .code import Code
from .form import Form, Walk
from .memory import Position, tail_mask
from .programs.analysis import code_size, cost

__all__ = ["emit_map", "unroll_of"]


_LONGEST = 400  # instructions of a loop and its tail: more take longer to compile than they save


def unroll_of(program: Program, numbers: Iterable[int], strided: bool) -> int:
    """Vectors per turn of the main loop; 0: one masked loop does everything."""
    if strided:
        return 1
    numbers = list(numbers)
    work = cost(program, numbers)
    for unroll, heaviest in ((4, 56), (2, 96)):
        if work <= heaviest and code_size(program, numbers, unroll) <= _LONGEST:
            return unroll
    return 0


class _Map:
    def __init__(self, form: Form) -> None:
        self.code = Code()
        self.body = Body(self.code, form)
        self.form, self.outs = form, form.program.outs
        self.fail = self.code.label("fail") if form.check else ""
        self.fails: list[tuple[str, str]] = []

    def store(self, numbers: list[int], *positions: Position, stream: bool = False) -> None:
        for values, position in zip(self.body.vectors(numbers, list(positions)), positions):
            if self.form.check:
                self._check(self.body.value(self.outs[0], values), position)
                continue
            for write, result in enumerate(self.outs):
                self.body.write(write, self.body.value(result, values), position, stream)

    def _check(self, invalid: str, position: Position) -> None:
        """Leave with the position of a true lane."""
        code, lanes = self.code, self.body.lanes
        if position.mask is not None:
            invalid = lanes.binary("and", "b1", invalid, position.mask)
        bits = code.op(f"bitcast {lanes.ty('b1')} {invalid} to i{WIDTH}")
        indices = self.body.affine(len(self.form.affine) - 1, position)
        go_on, hit = code.label("fine"), code.label("hit")
        code.branch(code.op(f"icmp eq i{WIDTH} {bits}, 0"), go_on, hit)
        code.start(hit)
        lane = code.call(f"llvm.cttz.i{WIDTH}", f"i{WIDTH}", f"i{WIDTH} {bits}", "i1 true")
        found = code.op(f"extractelement {lanes.ty('i64')} {indices}, i{WIDTH} {lane}")
        code.do(f"ret i64 {code.op(f'add i64 {found}, 1')}")
        code.start(go_on)

    def part(self, start: str, stop: str) -> None:
        """Elements start..stop of the current row."""
        body, code = self.body, self.code
        numbers = body.prepare(self.outs)
        walks = [o.walk for o in (*self.form.reads, *self.form.writes)]
        unroll = unroll_of(self.form.program, numbers, Walk.STRIDED in walks)
        if Walk.GATHERED in walks:  # reads at computed places wait: two vectors' overlap
            unroll = max(unroll, 2)
        if unroll:

            def main(element: str, stream: bool) -> list[str]:
                self.store(
                    numbers,
                    *(Position(code.add(element, str(WIDTH * u))) for u in range(unroll)),
                    stream=stream,
                )
                return []

            writes = range(len(self.form.writes))
            start = body.turns(writes, start, stop, WIDTH * unroll, main)

        def tail(element: str, _: list[str]) -> list[str]:
            count = code.op(f"sub i64 {stop}, {element}")
            self.store(numbers, Position(element, tail_mask(body.lanes, count), count))
            return []

        code.loop(start, stop, str(WIDTH), [], tail)

    def items(self) -> None:
        body, code, words = self.body, self.code, self.body.words
        length, block, blocks = (body.word(words.n + k) for k in range(3))

        def item(item: str, _: list[str]) -> list[str]:
            row = code.op(f"udiv i64 {item}, {blocks}")
            number = code.op(f"sub i64 {item}, {code.op(f'mul i64 {row}, {blocks}')}")
            left, wanted = code.op(f"sub i64 {blocks}, {number}"), code.op(f"sub i64 %end, {item}")
            many = code.smin(left, wanted)
            body.begin_row(row)
            start = code.op(f"mul i64 {number}, {block}")
            stop = code.op(f"add i64 {start}, {code.op(f'mul i64 {many}, {block}')}")
            self.part(start, code.smin(stop, length))
            return [code.op(f"add i64 {item}, {many}")]

        code.loop("%begin", "%end", None, [], item)

    def short_items(self) -> None:
        """Rows of at most one vector: the tail mask is the same for all."""
        body, code = self.body, self.code
        length = body.word(body.words.n)
        mask = tail_mask(body.lanes, length)

        def item(item: str, _: list[str]) -> list[str]:
            body.begin_row(item)
            self.store(body.prepare(self.outs), Position("0", mask, length))
            return []

        code.loop("%begin", "%end", "1", [], item)


def emit_map(form: Form) -> Code:
    """The function body of a map kernel."""
    writer = _Map(form)
    if form.short:
        writer.short_items()
    else:
        writer.items()
    writer.code.do("ret i64 0")
    return writer.code
