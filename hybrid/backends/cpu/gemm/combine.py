"""Block sums in a workspace -> results: the second kernel of a product whose k is split over items.

Invariant: the workspace is [block of k][batch][line][column] of accumulators; blocks are added in
order, starting from the first block's sum, exactly as one item would have done.
"""

from __future__ import annotations

from ...emit.code import Code
from .finish import Finish
from .micro import DESC, Element, describe, load, mask_of, store
from .words import Words

__all__ = ["COMBINE_VECS", "combine", "combine_items"]

COMBINE_VECS = 4  # vectors of columns added side by side


def combine_items(batch: int, m: int, n: int) -> int:
    return batch * m * -(-n // (16 * COMBINE_VECS))


def combine(
    finish: Finish, words: Words, elem: Element, batch: int, m: int, n: int, blocks: int
) -> Code:
    """The kernel: an item is 64 columns of one line."""
    c = Code()
    vecs = COMBINE_VECS
    desc = c.alloca(f"[{DESC * vecs} x i8]")
    uniform = finish.prepare(c)
    temp = words.temp(c)
    step = words.word(c, "block_bytes", batch * m * n * elem.size)
    pieces, lines = words.word(c, "pieces", -(-n // (16 * vecs))), words.word(c, "lines", m)
    columns, count = words.word(c, "n", n), words.word(c, "blocks", blocks)
    add = "fadd" if elem.is_float else "add"

    def item(it: str, _: list[str]) -> list[str]:
        number = c.op(f"udiv i64 {it}, {pieces}")
        col = c.mul(c.op(f"sub i64 {it}, {c.mul(number, pieces)}"), str(16 * vecs))
        b = c.op(f"udiv i64 {number}, {lines}")
        line = c.op(f"sub i64 {number}, {c.mul(b, lines)}")
        start = c.at(elem.scalar, temp, c.add(c.mul(number, columns), col))
        masks, left = [], c.op(f"sub i64 {columns}, {col}")
        for v in range(vecs):
            own = c.call(
                "llvm.smax.i64",
                "i64",
                f"i64 {c.smin(c.op(f'sub i64 {left}, {16 * v}'), '16')}",
                "i64 0",
            )
            masks.append(mask_of(c, own))
            describe(c, desc, v, own, c.add(col, str(16 * v)))

        def sums(p: str) -> list[str]:
            return [load(c, elem, c.at(elem.vec, p, str(v)), masks[v]) for v in range(vecs)]

        def block(kb: str, acc: list[str]) -> list[str]:
            new = sums(c.at("i8", start, c.mul(kb, step)))
            return [c.op(f"{add} {elem.vec} {old}, {own}") for old, own in zip(acc, new)]

        end, total = c.loop("1", count, "1", [(elem.vec, x) for x in sums(start)], block)
        for v in range(vecs):
            store(c, elem, total[v], c.at(elem.vec, "%scratch", str(v)), None)
        c.do(
            f"call void @NAME.finish(ptr %bufs, ptr %args, ptr %scratch, "
            f"i64 {b}, i64 {line}, i64 1, "
            f"ptr {desc}, i64 {vecs}, ptr {uniform})"
        )
        return []

    c.loop("%begin", "%end", "1", [], item)
    c.do("ret i64 0")
    return c
