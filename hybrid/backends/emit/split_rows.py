"""Code for few, long rows: each pass is a function over blocks of rows, and another joins the block
results.

Invariant: blocks are those of the lanes order and are joined in order, so results are those of a
whole row. Workspace, in cells of 8 bytes per row: the value of each reduction, then its block
results, part by part.
"""

from __future__ import annotations

from .code import Code
from .form import Form, FormKind
from .lanes import memory_scalar
from .memory import load_scalar, store_scalar
from .reduce import Reduction, reductions_of
from .rows import BLOCK, Rows, pass_targets, row_plan

__all__ = ["stages_of", "cells_per_row", "emit_part", "emit_join"]


def _all_reductions(form: Form) -> list[Reduction]:
    return reductions_of(form.program, [i for p in row_plan(form).passes for i in p.reductions])


def stages_of(form: Form) -> list[Form]:
    """The functions of a long row kernel, in order; empty when it must stay one function."""
    plan = row_plan(form)
    overwrites = any(form.writes[k].late for k in plan.once)
    if not plan.passes or not plan.passes[0].reductions:
        return []
    if overwrites and not plan.passes[-1].reductions:
        return []  # a later pass would read what joining has overwritten
    out: list[Form] = []
    for s, p in enumerate(plan.passes):
        out.append(form._replace(kind=FormKind.ROW_PART, stage=s))
        if p.reductions:
            out.append(form._replace(kind=FormKind.ROW_JOIN, stage=s))
    return out


def cells_per_row(form: Form, blocks: int) -> int:
    reds = _all_reductions(form)
    return len(reds) + blocks * sum(len(r.parts) for r in reds)


class _Staged(Rows):
    def __init__(self, form: Form) -> None:
        super().__init__(form)
        body = self.body
        self.blocks = body.word(body.words.n + 2)
        self.reds = _all_reductions(form)
        spot = self.code.once(f"getelementptr ptr, ptr %bufs, i64 {body.word(body.words.temp)}")
        self.temp = self.code.once(f"load ptr, ptr {spot}, align 8")
        self.cells = "%temp"

    def enter(self, row: str) -> None:
        """Start a row: reductions of earlier stages are known."""
        code, body = self.code, self.body
        body.begin_row(row)
        self.cells = code.at("i64", self.temp, code.mul(row, body.word(body.words.temp + 1)))
        done = {i for p in self.plan.passes[: self.form.stage] for i in p.reductions}
        for q, r in enumerate(self.reds):
            if r.number in done:
                ty = self.program.instrs[r.number].type
                body.known[r.number] = load_scalar(code, ty, code.at("i64", self.cells, str(q)))

    def spots(self, r: Reduction, block: str) -> list[str]:
        """Addresses of the parts of one block's result."""
        code, before = self.code, 0
        for other in self.reds[: [x.number for x in self.reds].index(r.number)]:
            before += len(other.parts)
        out = []
        for k in range(len(r.parts)):
            first = code.op(f"mul i64 {self.blocks}, {before + k}")
            out.append(
                code.at("i64", self.cells, code.add(code.add(first, block), str(len(self.reds))))
            )
        return out

    def part(self, t: str, _: list[str]) -> list[str]:
        code, p = self.code, self.plan.passes[self.form.stage]
        row = code.op(f"udiv i64 {t}, {self.blocks}")
        block = code.op(f"sub i64 {t}, {code.op(f'mul i64 {row}, {self.blocks}')}")
        self.enter(row)
        lo = code.op(f"mul i64 {block}, {BLOCK}")
        hi = code.smin(code.add(lo, str(BLOCK)), self.n)
        numbers = self.body.prepare(pass_targets(self.form, p))
        if not p.reductions:
            self.store_pass(p, numbers, lo, hi)
            return []
        reds = reductions_of(self.program, p.reductions)
        boxes = self.make_boxes(reds)
        j = self.main_loop(p, numbers, reds, boxes, lo, hi)
        self.tail_loop(p, numbers, reds, boxes, j, hi)
        scalar = self.body.scalar
        parts = iter(self.fold_boxes(reds, boxes, [e for r in reds for e in r.neutral(scalar)]))
        for r in reds:
            for ty, spot in zip(r.parts, self.spots(r, block)):
                store_scalar(code, ty, next(parts), spot)
        return []

    def join(self, row: str, _: list[str]) -> list[str]:
        code, scalar, stage = self.code, self.body.scalar, self.form.stage
        self.enter(row)
        for r in reductions_of(self.program, self.plan.passes[stage].reductions):
            start = [
                (memory_scalar(ty) if ty != "b1" else "i1", e)
                for ty, e in zip(r.parts, r.neutral(scalar))
            ]

            def one(b: str, total: list[str], r: Reduction = r) -> list[str]:
                part = [load_scalar(code, ty, s) for ty, s in zip(r.parts, self.spots(r, b))]
                return r.combine(scalar, total, part)

            joined = code.loop("0", self.blocks, "1", start, one)[1]
            value = self.body.known[r.number] = r.result(scalar, joined, self.empty)
            q = [x.number for x in self.reds].index(r.number)
            store_scalar(
                code, self.program.instrs[r.number].type, value, code.at("i64", self.cells, str(q))
            )
        if not any(p.reductions for p in self.plan.passes[stage + 1 :]):
            self.write_once()
        return []


def emit_part(form: Form) -> Code:
    """One pass: an item is a block of a row."""
    staged = _Staged(form)
    staged.code.loop("%begin", "%end", "1", [], staged.part)
    staged.code.do("ret i64 0")
    return staged.code


def emit_join(form: Form) -> Code:
    """Join the blocks of a pass in order: an item is a row."""
    staged = _Staged(form)
    staged.code.loop("%begin", "%end", "1", [], staged.join)
    staged.code.do("ret i64 0")
    return staged.code
