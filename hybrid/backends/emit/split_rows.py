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
from .rows import BLOCK, PassWork, Rows, pass_targets, row_plan

__all__ = ["pass_forms", "cells_per_row", "emit_part", "emit_join"]


def _all_reductions(form: Form) -> list[Reduction]:
    return reductions_of(form.program, [i for p in row_plan(form).passes for i in p.reductions])


def pass_forms(form: Form) -> list[Form]:
    """The functions of a long row kernel, in order; empty when it must stay one function."""
    plan = row_plan(form)
    overwrites = any(form.writes[k].late for k in plan.once)
    if not plan.passes or not plan.passes[0].reductions:
        return []
    if overwrites and not plan.passes[-1].reductions:
        # results of rows are stored by the last join; where they overwrite an operand and another
        # pass over elements follows, that pass would read what the join has stored
        return []
    forms: list[Form] = []
    for number, row_pass in enumerate(plan.passes):
        forms.append(form._replace(kind=FormKind.ROW_PART, pass_number=number))
        if row_pass.reductions:
            forms.append(form._replace(kind=FormKind.ROW_JOIN, pass_number=number))
    return forms


def cells_per_row(form: Form, blocks: int) -> int:
    reductions = _all_reductions(form)
    return len(reductions) + blocks * sum(len(r.parts) for r in reductions)


class _SplitRows(Rows):
    def __init__(self, form: Form) -> None:
        super().__init__(form)
        body = self.body
        self.blocks = body.word(body.words.n + 2)
        self.reductions = _all_reductions(form)
        spot = self.code.once(f"getelementptr ptr, ptr %bufs, i64 {body.word(body.words.temp)}")
        self.temp = self.code.once(f"load ptr, ptr {spot}, align 8")

    def enter(self, row: str) -> str:
        """Start a row: reductions of earlier passes are known; gives where its cells are."""
        code, body = self.code, self.body
        body.begin_row(row)
        cells = code.at("i64", self.temp, code.mul(row, body.word(body.words.temp + 1)))
        done = {i for p in self.plan.passes[: self.form.pass_number] for i in p.reductions}
        for cell, reduction in enumerate(self.reductions):
            if reduction.number in done:
                scalar_type = self.program.instrs[reduction.number].type
                body.known[reduction.number] = load_scalar(
                    code, scalar_type, code.at("i64", cells, str(cell))
                )
        return cells

    def spots(self, cells: str, reduction: Reduction, block: str) -> list[str]:
        """Addresses of the parts of one block's result."""
        code, before = self.code, 0
        for other in self.reductions[: [x.number for x in self.reductions].index(reduction.number)]:
            before += len(other.parts)
        addresses = []
        for part in range(len(reduction.parts)):
            first = code.op(f"mul i64 {self.blocks}, {before + part}")
            addresses.append(
                code.at("i64", cells, code.add(code.add(first, block), str(len(self.reductions))))
            )
        return addresses

    def part(self, item: str, _: list[str]) -> list[str]:
        code, row_pass = self.code, self.plan.passes[self.form.pass_number]
        row = code.op(f"udiv i64 {item}, {self.blocks}")
        block = code.op(f"sub i64 {item}, {code.op(f'mul i64 {row}, {self.blocks}')}")
        cells = self.enter(row)
        start = code.op(f"mul i64 {block}, {BLOCK}")
        stop = code.smin(code.add(start, str(BLOCK)), self.n)
        work = PassWork(row_pass, self.body.prepare(pass_targets(self.form, row_pass)))
        if not row_pass.reductions:
            self.store_pass(work, start, stop)
            return []
        reductions = reductions_of(self.program, row_pass.reductions)
        boxes = self.make_boxes(reductions)
        element = self.main_loop(work, reductions, boxes, start, stop)
        self.tail_loop(work, reductions, boxes, element, stop)
        scalar = self.body.scalar
        parts = iter(
            self.fold_boxes(reductions, boxes, [e for r in reductions for e in r.neutral(scalar)])
        )
        for reduction in reductions:
            for scalar_type, spot in zip(reduction.parts, self.spots(cells, reduction, block)):
                store_scalar(code, scalar_type, next(parts), spot)
        return []

    def join(self, row: str, _: list[str]) -> list[str]:
        code, scalar, number = self.code, self.body.scalar, self.form.pass_number
        cells = self.enter(row)
        for reduction in reductions_of(self.program, self.plan.passes[number].reductions):
            start = [
                (memory_scalar(ty) if ty != "b1" else "i1", e)
                for ty, e in zip(reduction.parts, reduction.neutral(scalar))
            ]

            def one(block: str, total: list[str], reduction: Reduction = reduction) -> list[str]:
                part = [
                    load_scalar(code, ty, s)
                    for ty, s in zip(reduction.parts, self.spots(cells, reduction, block))
                ]
                return reduction.combine(scalar, total, part)

            joined = code.loop("0", self.blocks, "1", start, one)[1]
            value = self.body.known[reduction.number] = reduction.result(scalar, joined, self.empty)
            cell = [x.number for x in self.reductions].index(reduction.number)
            store_scalar(
                code,
                self.program.instrs[reduction.number].type,
                value,
                code.at("i64", cells, str(cell)),
            )
        if not any(p.reductions for p in self.plan.passes[number + 1 :]):
            self.write_once()
        return []


def emit_part(form: Form) -> Code:
    """One pass: an item is a block of a row."""
    split = _SplitRows(form)
    split.code.loop("%begin", "%end", "1", [], split.part)
    split.code.do("ret i64 0")
    return split.code


def emit_join(form: Form) -> Code:
    """Join the blocks of a pass in order: an item is a row."""
    split = _SplitRows(form)
    split.code.loop("%begin", "%end", "1", [], split.join)
    split.code.do("ret i64 0")
    return split.code
