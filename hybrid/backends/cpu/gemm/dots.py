"""Products in 'lanes' order: dot products of lines with one vector, memory-bound.

Invariant: per block of 256 k, element k goes to lane k % 64; lanes are fma chains from +0.0, and
lanes or steps without elements change nothing; the 64 lanes are added as (v0 + v1) + (v2 + v3),
then halves of 8, 4, 2, 1; block sums are added in order.  Both ways of walking memory below perform
exactly these operations.
"""

from __future__ import annotations

from typing import NamedTuple

from ...emit.code import Code
from ...plan import GemmKernel
from .finish import Finish
from .geometry import BLOCK, DISPATCH, Factor, Target, factor
from .micro import DESC, Element, describe, load, mask_of, multiply_add, splat, store
from .pack import Storage, copy_walk, load_widened, offset_of
from .words import Words

__all__ = ["Dots", "DotShape", "dot_shape"]

MAX_VECS = 4  # vectors of 16 lines finished together


class DotShape(NamedTuple):
    """`lines` dot products with each of `others` vectors, per batch.  `across`: lines are adjacent
    in memory, and vectors run over them instead of over k."""

    swap: bool  # lines are the rows of the product (the vector is a column)
    lines: int
    others: int
    x: Factor  # the lines
    v: Factor  # the vectors
    across: bool
    batch: int
    blocks: int
    per_item: int  # groups of lines per item
    split: int = 0  # blocks of k per item; 0: all

    @property
    def vecs(self) -> int:
        """Vectors of lines in a group."""
        return max(1, min(MAX_VECS, -(-self.lines // 16)))

    @property
    def group(self) -> int:
        return 16 * self.vecs

    @property
    def parts(self) -> int:
        return -(-self.lines // (self.group * self.per_item))

    @property
    def items(self) -> int:
        groups = -(-self.blocks // self.split) if self.split else 1
        return self.parts * self.others * self.batch * groups


def dot_shape(kernel: GemmKernel, elem: Element, target: Target) -> DotShape:
    a, b = kernel.a, kernel.b
    swap = kernel.n == 1
    x, v = factor("a", a, elem, a.rows, a.cols), factor("b", b, elem, b.cols, b.rows)
    lines, others = kernel.m, kernel.n
    if not swap:
        x, v, lines, others = v, x, others, lines
    across = (
        x.lines.uniform
        and x.lines.unit(x.storage.size)
        and lines >= 4
        and not x.k.unit(x.storage.size)
    )
    k = max(kernel.k, 1)
    blocks = -(-k // BLOCK)
    shape = DotShape(swap, lines, others, x, v, across, kernel.batch, blocks, 1)
    groups = max(1, -(-lines // shape.group))
    cost = k * min(lines, shape.group) * 0.15 + 60  # of one group
    products = others * kernel.batch
    want = 1 if cost * groups * products < 2 * DISPATCH else 4 * target.threads
    shape = shape._replace(per_item=max(1, min(groups, groups * products // want)))
    if (
        target.workspace
        and want > 1
        and shape.items < target.threads
        and blocks >= 4 * target.threads
    ):
        shape = shape._replace(split=-(-blocks // (2 * target.threads)))
    return shape


class Dots:
    """Writes the kernel-ABI function of one product in 'lanes' order."""

    def __init__(
        self, kernel: GemmKernel, shape: DotShape, elem: Element, words: Words, finish: Finish
    ) -> None:
        self.kernel, self.s, self.elem, self.words = kernel, shape, elem, words
        self.finish_with = finish
        self.code = Code()
        size = shape.x.storage.size
        self.dense = shape.x.k.uniform and (shape.x.k.unit(size) or shape.across)
        self.rows = 1 if shape.lines == 1 else 4
        v = shape.v
        self.v_direct = v.k.uniform and v.k.unit(v.storage.size) and v.storage.widen == "same"
        self.line_bytes = BLOCK * elem.size
        self.vecs, self.group = shape.vecs, shape.group
        self.scratch = (2 + self.rows) * self.line_bytes + 64 * self.group * elem.size

    def w(self, name: str, value: int) -> str:
        return self.words.word(self.code, name, value)

    def build(self) -> Code:
        c = self.code
        self.tile, self.v_pack = "%scratch", c.at("i8", "%scratch", str(self.line_bytes))
        self.x_pack = c.at("i8", "%scratch", str(2 * self.line_bytes))
        self.lane_sums = c.at("i8", "%scratch", str((2 + self.rows) * self.line_bytes))
        self.desc = c.alloca(f"[{DESC * self.vecs} x i8]")
        self.uniform = "null" if self.s.split else self.finish_with.prepare(c)
        c.loop("%begin", "%end", "1", [], self.item)
        c.do("ret i64 0")
        return c

    def split_off(self, it: str, name: str, value: int) -> tuple[str, str]:
        """(quotient, remainder) of an item number by a word."""
        by = self.w(name, value)
        q = self.code.op(f"udiv i64 {it}, {by}")
        return q, self.code.op(f"sub i64 {it}, {self.code.mul(q, by)}")

    def item(self, it: str, _: list[str]) -> list[str]:
        c, s = self.code, self.s
        first, end = "0", self.w("blocks", s.blocks)
        if s.split:
            group, it = self.split_off(it, "items_bol", s.batch * s.others * s.parts)
            many = self.w("split", s.split)
            first = c.mul(group, many)
            end = c.smin(c.add(first, many), end)
        self.b, it = self.split_off(it, "items_ol", s.others * s.parts)
        self.other, part = self.split_off(it, "parts", s.parts)
        x = self.words.factor(c, "x", s.x, self.b)
        v = self.words.factor(c, "v", s.v, self.b)
        self.x_lines = self.words.walk(c, "x.lines", s.x.lines, s.x.storage.size)
        self.x_k = self.words.walk(c, "x.k", s.x.k, s.x.storage.size)
        self.v_k = self.words.walk(c, "v.k", s.v.k, s.v.storage.size)
        v = c.at(
            "i8",
            v,
            offset_of(c, self.words.walk(c, "v.lines", s.v.lines, s.v.storage.size), self.other),
        )
        lines, step = (
            self.w("line_count", s.lines),
            c.mul(self.w("per_item", s.per_item), str(self.group)),
        )
        start = c.mul(part, step)

        def group_of(line: str, _: list[str]) -> list[str]:
            count = c.smin(c.op(f"sub i64 {lines}, {line}"), str(self.group))

            def block(kb: str, _: list[str]) -> list[str]:
                self.block(x, v, kb, first, line, count)
                return []

            c.loop(first, end, "1", [], block)
            if not s.split:
                self.finish(line, count)
            return []

        c.loop(start, c.smin(c.add(start, step), lines), str(self.group), [], group_of)
        return []

    def finish(self, line: str, count: str) -> None:
        c = self.code
        for q in range(self.vecs):
            describe(c, self.desc, q, self.lanes(count, q), c.add(line, str(16 * q)))
        c.do(
            f"call void @NAME.finish(ptr %bufs, ptr %args, ptr {self.tile}, "
            f"i64 {self.b}, i64 {self.other}, "
            f"i64 1, ptr {self.desc}, i64 {self.vecs}, ptr {self.uniform})"
        )

    def lanes(self, count: str, q: int) -> str:
        """How many lines of a group lie in its vector q."""
        c = self.code
        own = c.smin(c.op(f"sub i64 {count}, {16 * q}"), "16")
        return own if q == 0 else c.call("llvm.smax.i64", "i64", f"i64 {own}", "i64 0")

    def block(self, x: str, v: str, kb: str, first: str, line: str, count: str) -> None:
        """Sums of one block for a group of lines, into the tile (split: into the workspace)."""
        c, s, elem = self.code, self.s, self.elem
        k0 = c.mul(kb, str(BLOCK))
        kc = c.smin(c.op(f"sub i64 {self.w('k', self.kernel.k)}, {k0}"), str(BLOCK))
        if self.v_direct:
            v = c.at("i8", v, c.mul(k0, str(s.v.storage.size)))
        else:
            copy_walk(c, s.v.storage, elem, v, self.v_k, k0, kc, self.v_pack)
            v = self.v_pack
        fresh = c.at(elem.vec, self.tile, str(self.vecs))  # sums of this block
        (self.across if s.across else self.along)(x, v, k0, kc, line, count, fresh)
        where = ""
        if s.split:
            number = c.mul(
                c.add(c.mul(kb, self.w("batch", s.batch)), self.b), self.w("others", s.others)
            )
            at = c.add(c.mul(c.add(number, self.other), self.w("line_count", s.lines)), line)
            where = c.at(elem.scalar, self.words.temp(c), at)
        for q in range(self.vecs):
            total = load(c, elem, c.at(elem.vec, fresh, str(q)), None)
            if s.split:
                store(
                    c, elem, total, c.at(elem.vec, where, str(q)), mask_of(c, self.lanes(count, q))
                )
                continue
            tile = c.at(elem.vec, self.tile, str(q))
            more = self.add(elem.vec, load(c, elem, tile, None), total)
            is_first = c.op(f"icmp eq i64 {kb}, {first}")
            store(
                c,
                elem,
                c.op(f"select i1 {is_first}, {elem.vec} {total}, {elem.vec} {more}"),
                tile,
                None,
            )

    # ---- vectors along k
    def along(self, x: str, v: str, k0: str, kc: str, line: str, count: str, fresh: str) -> None:
        """A few lines at a time, 64 k per step."""
        c, s, elem = self.code, self.s, self.elem
        last = c.op(f"sub i64 {count}, 1")
        st = (
            s.x.storage
            if self.dense
            else s.x.storage._replace(scalar=elem.scalar, size=elem.size, widen="same")
        )

        def few(i: str, _: list[str]) -> list[str]:
            bases = []
            for r in range(self.rows):
                at = c.add(line, c.smin(c.add(i, str(r)), last))
                src = c.at("i8", x, offset_of(c, self.x_lines, at))
                if self.dense:
                    bases.append(c.at("i8", src, c.mul(k0, str(st.size))))
                else:
                    bases.append(c.at("i8", self.x_pack, str(r * self.line_bytes)))
                    copy_walk(c, s.x.storage, elem, src, self.x_k, k0, kc, bases[-1])
            for r, value in enumerate(self.dots(bases, st, v, kc)):
                c.do(
                    f"store {elem.scalar} {value}, ptr {c.at(elem.scalar, fresh, c.add(i, str(r)))}"
                )
            return []

        c.loop("0", count, str(self.rows), [], few)

    def dots(self, bases: list[str], st: Storage, v: str, kc: str) -> list[str]:
        c, elem = self.code, self.elem

        def step(k: str, acc: list[str], masks: list[str] | None) -> list[str]:
            out = list(acc)
            for q in range(4):
                mask = masks[q] if masks else None
                y = load(c, elem, c.at(elem.vec, c.at(elem.scalar, v, k), str(q)), mask)
                for r, base in enumerate(bases):
                    xs = load_widened(
                        c, st, elem, c.at(st.vec, c.at(st.scalar, base, k), str(q)), mask
                    )
                    old = acc[4 * r + q]
                    new = multiply_add(c, elem, xs, y, old)
                    if mask:
                        new = c.op(f"select <16 x i1> {mask}, {elem.vec} {new}, {elem.vec} {old}")
                    out[4 * r + q] = new
            return out

        zero = [(elem.vec, "zeroinitializer")] * (4 * len(bases))
        rest, acc = c.loop("0", kc, "64", zero, lambda k, acc: step(k, acc, None), full=64)

        def tail(k: str, acc: list[str]) -> list[str]:
            left = c.op(f"sub i64 {kc}, {k}")
            return step(k, acc, [mask_of(c, c.op(f"sub i64 {left}, {16 * q}")) for q in range(4)])

        _, acc = c.loop(rest, kc, "64", [(elem.vec, a) for a in acc], tail)
        return [self.tree(acc[4 * r : 4 * r + 4]) for r in range(len(bases))]

    def add(self, ty: str, x: str, y: str) -> str:
        return self.code.op(f"{'fadd' if self.elem.is_float else 'add'} {ty} {x}, {y}")

    def tree(self, v: list[str]) -> str:
        """The contract's sum of 64 lanes."""
        c, elem = self.code, self.elem
        x = self.add(elem.vec, self.add(elem.vec, v[0], v[1]), self.add(elem.vec, v[2], v[3]))
        for width in (8, 4, 2, 1):
            lanes = ", ".join(f"i32 {i + width if i < width else i}" for i in range(16))
            high = c.op(f"shufflevector {elem.vec} {x}, {elem.vec} poison, <16 x i32> <{lanes}>")
            x = self.add(elem.vec, x, high)
        return c.op(f"extractelement {elem.vec} {x}, i64 0")

    # ---- vectors across lines
    def across(self, x: str, v: str, k0: str, kc: str, line: str, count: str, fresh: str) -> None:
        """Lane l of all lines of a group at once: vectors of lines, then one tree over vectors."""
        c, s, elem = self.code, self.s, self.elem
        every = range(self.vecs)
        masks = [mask_of(c, self.lanes(count, q)) for q in every]
        x = c.at("i8", x, c.mul(line, str(s.x.storage.size)))

        def lane(i: str, _: list[str]) -> list[str]:
            def step(k: str, acc: list[str]) -> list[str]:
                at = c.at("i8", x, offset_of(c, self.x_k, c.add(k0, k)))
                y = splat(c, elem, c.op(f"load {elem.scalar}, ptr {c.at(elem.scalar, v, k)}"))
                xs = [
                    load_widened(c, s.x.storage, elem, c.at(s.x.storage.vec, at, str(q)), masks[q])
                    for q in every
                ]
                return [multiply_add(c, elem, xs[q], y, acc[q]) for q in every]

            end, acc = c.loop(i, kc, "64", [(elem.vec, "zeroinitializer")] * self.vecs, step)
            for q in every:
                store(
                    c,
                    elem,
                    acc[q],
                    c.at(elem.vec, self.lane_sums, c.add(c.mul(i, str(self.vecs)), str(q))),
                    None,
                )
            return []

        c.loop("0", "64", "1", [], lane)

        def sums(q: str, _: list[str]) -> list[str]:
            base = c.at(elem.vec, self.lane_sums, q)
            lanes = [
                load(c, elem, c.at(elem.vec, base, str(i * self.vecs)), None) for i in range(64)
            ]
            parts = []
            for i in range(16):
                v0, v1, v2, v3 = lanes[i::16]
                parts.append(
                    self.add(elem.vec, self.add(elem.vec, v0, v1), self.add(elem.vec, v2, v3))
                )
            for width in (8, 4, 2, 1):
                parts = [self.add(elem.vec, parts[i], parts[i + width]) for i in range(width)]
            store(c, elem, parts[0], c.at(elem.vec, fresh, q), None)
            return []

        c.loop("0", str(self.vecs), "1", [], sums)
