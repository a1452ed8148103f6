"""Code of map kernels: every element on its own.

Invariant: an item is a block of one row along the inner axis; items write disjoint elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial, reduce

from ...ir.scalar.program import Program
from .body import WIDTH, Body
from .code import Code
from .form import Form, Walk
from .memory import Position, tail_mask
from .programs.analysis import code_size, cost

__all__ = ["emit_map", "unroll_of"]


_LONGEST = 400  # instructions of a loop and its tail: more take longer to compile than they save


def unroll_of(
    program: Program, numbers: Iterable[int], strided: bool, longest: int = _LONGEST
) -> int:
    """Vectors per turn of the main loop; 0: one masked loop does everything."""
    if strided:
        return 1
    numbers = list(numbers)
    work = cost(program, numbers)
    for unroll, heaviest in ((4, 56), (2, 96)):
        if work <= heaviest and code_size(program, numbers, unroll) <= longest:
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
        """Results at these positions.  Where loads have guards, there is one code for the usual
        case that they all hold, and one for the others."""
        body, code, guards = self.body, self.code, self.body.guards(numbers)
        if not guards:
            return self._store(numbers, positions, [{} for _ in positions], stream)
        if len(positions) > 1:
            for position in positions:
                self.store(numbers, position, stream=stream)
            return None
        known = body.vectors(body.elements(guards), positions)
        usual = self._all(guards, positions[0], known[0])
        whole, some, after = code.label("whole"), code.label("some"), code.label("after")
        code.branch(usual, whole, some)
        code.start(whole)
        true, splats = body.lanes.const("b1", 1), body.splats
        body.splats = splats | {g: true for g in guards if body.uniform[g]}
        always = {g: true for g in guards if not body.uniform[g]}
        self._store(numbers, positions, [names | always for names in known], stream)
        body.splats = splats
        code.jump(after)
        code.start(some)
        self._store(numbers, positions, known, stream)
        code.jump(after)
        code.start(after)

    def _all(self, guards: list[int], position: Position, names: dict[int, str]) -> str:
        """i1: whether all guards hold in all lanes that are on."""
        lanes = self.body.lanes
        held = [self.body.value(guard, names) for guard in guards]
        every = reduce(partial(lanes.binary, "and", "b1"), held)
        if position.mask is not None:
            off = lanes.binary("xor", "b1", position.mask, lanes.const("b1", 1))
            every = lanes.binary("or", "b1", every, off)
        return lanes.all(every)

    def _store(
        self,
        numbers: list[int],
        positions: Sequence[Position],
        known: Sequence[dict[int, str]],
        stream: bool,
    ) -> None:
        found = self.body.vectors(numbers, positions, known=known)
        for values, position in zip(found, positions):
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
        walks = self.form.walks
        unroll = unroll_of(self.form.program, numbers, Walk.STRIDED in walks)
        if Walk.GATHERED in walks:
            # reads at computed places wait: two vectors' overlap; guards hold for one more often
            unroll = 1 if body.guards(numbers) else max(unroll, 2)
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

        def visit(row: str) -> None:
            passed = code.op(f"mul i64 {row}, {blocks}")
            first = code.smax(code.op(f"sub i64 %begin, {passed}"), "0")
            last = code.smin(code.op(f"sub i64 %end, {passed}"), blocks)
            start = code.op(f"mul i64 {first}, {block}")
            self.part(start, code.smin(code.op(f"mul i64 {last}, {block}"), length))

        first = code.op(f"udiv i64 %begin, {blocks}")
        upper = code.op(f"add i64 %end, {code.op(f'sub i64 {blocks}, 1')}")
        body.each_row(first, code.op(f"udiv i64 {upper}, {blocks}"), visit)

    def short_items(self) -> None:
        """Rows of a few vectors: the tail mask is the same for all."""
        body, code = self.body, self.code
        count = self.form.short
        live = code.op(f"sub i64 {body.word(body.words.n)}, {WIDTH * (count - 1)}")
        positions = [Position(str(WIDTH * k)) for k in range(count)]
        if not self.form.whole:
            positions[-1] = Position(positions[-1].j, tail_mask(body.lanes, live), live)

        def visit(row: str) -> None:
            self.store(body.prepare(self.outs), *positions)

        body.each_row("%begin", "%end", visit)


def emit_map(form: Form) -> Code:
    """The function body of a map kernel."""
    writer = _Map(form)
    if form.short:
        writer.short_items()
    else:
        writer.items()
    writer.code.do("ret i64 0")
    return writer.code
