"""Code of map kernels: every element on its own.

Invariant: an item is a block of one row along the inner axis; items write disjoint elements.
"""

from __future__ import annotations

from .body import WIDTH, Body, cost
from .code import Code
from .form import Form, Walk
from .memory import Position, tail_mask

__all__ = ["emit_map", "unroll_of"]


def unroll_of(work: int, strided: bool) -> int:
    """Vectors per turn of the main loop; 0: one masked loop does everything."""
    if strided:
        return 1
    if work <= 56:
        return 4
    return 2 if work <= 96 else 0


class _Map:
    def __init__(self, form: Form) -> None:
        self.code = Code()
        self.body = Body(self.code, form)
        self.form, self.outs = form, form.program.outs
        self.fail = self.code.label("fail") if form.check else ""
        self.fails: list[tuple[str, str]] = []

    def store(self, numbers: list[int], *ats: Position, stream: bool = False) -> None:
        for env, at in zip(self.body.vectors(numbers, list(ats)), ats):
            if self.form.check:
                self._check(self.body.value(self.outs[0], env), at)
                continue
            for k, o in enumerate(self.outs):
                self.body.write(k, self.body.value(o, env), at, stream)

    def _check(self, bad: str, at: Position) -> None:
        """Leave with the position of a true lane."""
        code, lanes = self.code, self.body.lanes
        if at.mask is not None:
            bad = lanes.binary("and", "b1", bad, at.mask)
        bits = code.op(f"bitcast {lanes.ty('b1')} {bad} to i{WIDTH}")
        place = self.body.affine(len(self.form.affine) - 1, at)
        go_on, hit = code.label("fine"), code.label("hit")
        code.branch(code.op(f"icmp eq i{WIDTH} {bits}, 0"), go_on, hit)
        code.start(hit)
        lane = code.call(f"llvm.cttz.i{WIDTH}", f"i{WIDTH}", f"i{WIDTH} {bits}", "i1 true")
        found = code.op(f"extractelement {lanes.ty('i64')} {place}, i{WIDTH} {lane}")
        code.do(f"ret i64 {code.op(f'add i64 {found}, 1')}")
        code.start(go_on)

    def part(self, start: str, stop: str) -> None:
        """Elements start..stop of the current row."""
        body, code = self.body, self.code
        numbers = body.prepare(self.outs)
        walks = [o.walk for o in (*self.form.reads, *self.form.writes)]
        unroll = unroll_of(cost(self.form.program, numbers), Walk.STRIDED in walks)
        if unroll:

            def main(j: str, stream: bool) -> list[str]:
                self.store(
                    numbers,
                    *(Position(code.add(j, str(WIDTH * u))) for u in range(unroll)),
                    stream=stream,
                )
                return []

            far, step = body.streams(range(len(self.form.writes)), start, stop), WIDTH * unroll
            if far is not None:
                start, _ = code.loop(
                    start, far, str(step), [], lambda j, _: main(j, True), full=step
                )
            start, _ = code.loop(start, stop, str(step), [], lambda j, _: main(j, False), full=step)

        def tail(j: str, _: list[str]) -> list[str]:
            count = code.op(f"sub i64 {stop}, {j}")
            self.store(numbers, Position(j, tail_mask(body.lanes, count), count))
            return []

        code.loop(start, stop, str(WIDTH), [], tail)

    def items(self) -> None:
        body, code, w = self.body, self.code, self.body.words
        n, block, blocks = (body.word(w.n + k) for k in range(3))

        def item(t: str, _: list[str]) -> list[str]:
            row = code.op(f"udiv i64 {t}, {blocks}")
            b = code.op(f"sub i64 {t}, {code.op(f'mul i64 {row}, {blocks}')}")
            left, wanted = code.op(f"sub i64 {blocks}, {b}"), code.op(f"sub i64 %end, {t}")
            many = code.smin(left, wanted)
            body.begin_row(row)
            start = code.op(f"mul i64 {b}, {block}")
            stop = code.op(f"add i64 {start}, {code.op(f'mul i64 {many}, {block}')}")
            self.part(start, code.smin(stop, n))
            return [code.op(f"add i64 {t}, {many}")]

        code.loop("%begin", "%end", None, [], item)

    def short_items(self) -> None:
        """Rows of at most one vector: the tail mask is the same for all."""
        body, code = self.body, self.code
        n = body.word(body.words.n)
        mask = tail_mask(body.lanes, n)

        def item(t: str, _: list[str]) -> list[str]:
            body.begin_row(t)
            self.store(body.prepare(self.outs), Position("0", mask, n))
            return []

        code.loop("%begin", "%end", "1", [], item)


def emit_map(form: Form) -> Code:
    """The function body of a map kernel."""
    m = _Map(form)
    if form.short:
        m.short_items()
    else:
        m.items()
    m.code.do("ret i64 0")
    return m.code
