"""What the generators of attention share: operands, products, scores of a tile of queries.

A tile is 32 queries, the lanes of two vectors (of one where there are at most 16 queries); scores
and weights lie in memory of the thread as [keys of the block, 32].  Invariant: sizes, strides and
offsets are argument words, so that the text depends on dtypes, on which operands there are and on
the number of batch axes only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core import dtypes as dt
from ....ir.attend import BLOCK, TILE
from ....ir.scalar.program import bits_of
from ...emit.code import Code
from ...emit.generated import SlotRef
from ...emit.lanes import Lanes, emit_program
from ...plan import Access, AttendKernel
from ..gemm.geometry import Target
from ..gemm.micro import Element, load, mask_of, store
from ..gemm.pack import TRANSPOSE, transpose_function
from ..gemm.words import Loader, Words
from .tile import copy_function, tile_function, tile_shape, turn_function

__all__ = ["Work", "NAMES"]

NAMES = ("q", "k", "v", "mask", "factor", "g", "peak", "total", "delta")
ALIGN = 64  # bytes
FEW = 2  # queries for which keys are turned instead


class Work:
    """One function under construction."""

    def __init__(self, kernel: AttendKernel, elem: Element, target: Target) -> None:
        self.kernel, self.elem = kernel, elem
        self.code, self.words = Code(), Words()
        self.lanes = Lanes(16, self.code)
        self.vectors = range(-(-min(kernel.m, TILE) // 16))  # of a tile that hold queries
        self.few = kernel.m <= FEW and not kernel.backward
        self.shape = tile_shape(elem, target, len(self.vectors), self.few)
        self.reads = {n: a for n, a in zip(NAMES, kernel.reads) if a is not None}
        self.mask, self.factor = self.reads.get("mask"), self.reads.get("factor")
        self.scratch = 0
        self.line = TILE * elem.size
        self.lanes_used = str(16 * len(self.vectors))
        self.size = {n: self.w(n, getattr(kernel, n)) for n in "mnef"}
        self.scale = self._scale()
        self.place: dict[str, str] = {}  # where the block's mask and factor are
        self.areas: dict[str, str] = {}

    # ---- words and memory
    def w(self, name: str, value: int) -> str:
        return Loader(self.code, self.words).word(name, value)

    def _scale(self) -> str:
        c, ty = self.code, self.elem.name
        word = self.w("scale", bits_of(ty, self.kernel.scale))
        if ty == "f32":
            word = c.once(f"bitcast i32 {c.once(f'trunc i64 {word} to i32')} to float")
        else:
            word = c.once(f"bitcast i64 {word} to double")
        first = c.once(f"insertelement {self.elem.vec} poison, {self.elem.scalar} {word}, i64 0")
        none = "<16 x i32> zeroinitializer"
        return c.once(f"shufflevector {self.elem.vec} {first}, {self.elem.vec} poison, {none}")

    def area(self, name: str, rows: int, cols: int) -> str:
        """Memory of the thread for rows x cols elements."""
        at = self.w(f"area.{name}", self.scratch)
        self.scratch += -(-rows * cols * self.elem.size // ALIGN) * ALIGN
        return self.code.once(f"getelementptr i8, ptr %scratch, i64 {at}")

    def padded(self, name: str) -> int:
        """A number of columns as whole tiles."""
        return -(-getattr(self.kernel, name) // self.shape.width) * self.shape.width

    def split(self, batch: str) -> list[str]:
        """Coordinates of a batch number."""
        out: list[str] = []
        for d in range(len(self.kernel.batch) - 1, 0, -1):
            size = self.w(f"batch{d}", self.kernel.batch[d])
            rest = self.code.op(f"udiv i64 {batch}, {size}")
            out.append(self.code.op(f"sub i64 {batch}, {self.code.mul(rest, size)}"))
            batch = rest
        return [batch, *reversed(out)] if self.kernel.batch else []

    def pointer(self, name: str, a: Access, coords: Sequence[str]) -> str:
        """Where an operand's matrix or vector of one batch position starts."""
        base = Loader(self.code, self.words).base(name, SlotRef(name, is_offset=True))
        for d, i in enumerate(coords):
            step = self.w(f"{name}.batch{d}", a.strides[d] * a.dtype.itemsize)
            base = self.code.at("i8", base, self.code.mul(i, step))
        return base

    def step(self, name: str, a: Access, axis: int = 0) -> str:
        """Bytes from row to row (axis 1: from column to column)."""
        stride = a.strides[len(self.kernel.batch) + axis]
        return self.w(f"{name}.step{axis}", stride * a.dtype.itemsize)

    def row(self, name: str, a: Access, base: str, i: str) -> str:
        return self.code.at("i8", base, self.code.mul(i, self.step(name, a)))

    # ---- loops
    def each(self, start: str, stop: str, step: int, body: Callable[[str], None]) -> None:
        def run(i: str, _: list[str]) -> list[str]:
            body(i)
            return []

        self.code.loop(start, stop, str(step), [], run)

    def at(self, base: str, row: str, cols: int | str, v: int = 0) -> str:
        """Address of vector v of a row of an area with `cols` columns (a number or bytes)."""
        size = cols if isinstance(cols, str) else str(cols * self.elem.size)
        p = self.code.at("i8", base, self.code.mul(row, size))
        return self.code.at(self.elem.vec, p, str(v))

    def load(self, p: str, mask: str | None = None) -> str:
        return load(self.code, self.elem, p, mask)

    def store(self, value: str, p: str, mask: str | None = None) -> None:
        store(self.code, self.elem, value, p, mask)

    def fop(self, op: str, x: str, y: str) -> str:
        return self.code.op(f"{op} {self.elem.vec} {x}, {y}")

    def greater(self, x: str, y: str) -> str:
        """x where it is greater than y, else y: a NaN of x does not count."""
        return self.pick(self.code.op(f"fcmp ogt {self.elem.vec} {x}, {y}"), x, y)

    def pick(self, cond: str, x: str, y: str) -> str:
        return self.lanes.pick(self.elem.name, cond, x, y)

    def number(self, x: float) -> str:
        return self.lanes.const(self.elem.name, bits_of(self.elem.name, x))

    def weight(self, score: str, base: str) -> str:
        return emit_program(self.lanes, self.kernel.weight, (score, base), ())[0]

    def together(self, parts: Sequence[Callable[[], None]]) -> None:
        """Equal straight pieces of code, written line by line in turns: the machine's window then
        holds the starts of all of them."""
        lines = self.code.lines
        first, made = len(lines), []
        for part in parts:
            start = len(lines)
            part()
            made.append(lines[start:])
        if len({len(m) for m in made}) == 1:
            lines[first:] = [line for row in zip(*made) for line in row]

    def zero(self, base: str, rows: str, line: str) -> None:
        """Zeros in `rows` rows of `line` bytes."""
        count = self.code.op(f"sdiv i64 {self.code.mul(rows, line)}, {16 * self.elem.size}")
        self.each("0", count, 1, lambda k: self.store(self.number(0.0), self.at(base, k, 16)))

    def columns(self, count: str, body: Callable[[str, str | None], None]) -> None:
        """body(first column, mask) for every vector of columns; whole ones have no mask."""
        c = self.code
        whole = c.op(f"and i64 {count}, -16")
        self.each("0", whole, 16, lambda j: body(j, None))
        left = c.op(f"sub i64 {count}, {whole}")
        c.when(c.op(f"icmp ne i64 {left}, 0"), lambda: body(whole, mask_of(c, left)))

    # ---- products and turned operands
    def product(
        self,
        a: tuple[str, str, str],
        rows: str,
        b: tuple[str, str],
        cols: str,
        depth: str,
        to: tuple[str, str],
        more: str = "false",
    ) -> None:
        """to[rows, cols] = a[rows, depth] @ b[depth, cols]; a is (pointer, row step, depth step),
        b (pointer, depth step), to (pointer, row step)."""
        c, (pa, row, deep), (pc, line) = self.code, a, to

        def panel(j: str) -> None:
            left = c.op(f"sub i64 {cols}, {j}")
            pb, out = c.at(self.elem.scalar, b[0], j), c.at(self.elem.scalar, pc, j)

            def block(i: str) -> None:
                last = c.op(f"sub i64 {c.op(f'sub i64 {rows}, 1')}, {i}")
                at, to = c.at("i8", pa, c.mul(i, row)), c.at("i8", out, c.mul(i, line))
                c.do(
                    f"call void @NAME.tile(ptr {at}, i64 {row}, i64 {deep}, i64 {last}, ptr {pb}, "
                    f"i64 {b[1]}, i64 {left}, i64 {depth}, ptr {to}, i64 {line}, i1 {more})"
                )

            self.each("0", rows, self.shape.rows, block)

        self.each("0", cols, self.shape.width, panel)

    def turn(self, src: str, step: str, rows: str, cols: str, to: str) -> None:
        self.code.do(
            f"call void @NAME.turn(ptr {src}, i64 {step}, i64 {rows}, i64 {cols}, ptr {to})"
        )

    def by_row(self, a: Access) -> bool:
        """Whether all queries read the same values."""
        return a.strides[len(self.kernel.batch)] == 0

    def pairs(self, name: str, a: Access, base: str, rows: str, keys: str, to: str) -> None:
        """Values per pair of a tile, from base on, turned to [keys, 32]."""
        step, following = self.step(name, a), self.step(name, a, 1)
        c = self.code

        def copy() -> None:
            kind = "truth" if a.dtype is dt.bool_ else "copy"
            c.do(
                f"call void @NAME.{kind}(ptr {base}, i64 {step}, i64 {following}, i64 {rows}, "
                f"i64 {keys}, ptr {to})"
            )

        if a.dtype is dt.bool_:
            return copy()
        dense = c.op(f"icmp eq i64 {following}, {self.elem.size}")
        c.when(dense, lambda: self.turn(base, step, rows, keys, to))
        c.when(c.op(f"xor i1 {dense}, true"), copy)

    def functions(self) -> list[tuple[str, Code]]:
        """What the function calls."""
        out = [tile_function(self.elem, self.shape), turn_function(self.elem)]
        out.append((TRANSPOSE, transpose_function(self.elem)))
        kinds = {a.dtype is dt.bool_ for a in (self.mask, self.factor) if a is not None}
        for truth in sorted(kinds):
            signature, code = copy_function(self.elem, truth)
            out.append((signature.replace("copy", "truth") if truth else signature, code))
        return out

    # ---- scores
    def tile_memory(self) -> None:
        """Areas that every generator needs."""
        k = self.kernel
        self.turned_q = self.area("turned_q", k.e, TILE)
        self.scores = self.area("scores", BLOCK + 1, TILE)
        for name, a in (("mask", self.mask), ("factor", self.factor)):
            if a is not None and not (name == "mask" and self.by_row(a)):
                self.areas[name] = self.area(name, BLOCK + 1, TILE)

    def rows_from(self, name: str, at: dict[str, str], first: str) -> tuple[str, str]:
        """(pointer to a row of an operand, bytes from row to row)."""
        a = self.reads[name]
        return self.row(name, a, at[name], first), self.step(name, a)

    def raw_scores(self, at: dict[str, str], j0: str, keys: str, i0: str, rows: str) -> None:
        """Products of a tile of queries and a block of keys."""
        keys_at, step = self.rows_from("k", at, j0)
        self.product(
            (keys_at, step, str(self.elem.size)),
            keys,
            (self.turned_q, str(self.line)),
            self.lanes_used,
            self.size["e"],
            (self.scores, str(self.line)),
        )

    def prepare(self, at: dict[str, str], j0: str, keys: str, i0: str, rows: str) -> None:
        """Raw scores of a tile and a block of keys; mask and factor turned."""
        self.raw_scores(at, j0, keys, i0, rows)
        for name, a in (("mask", self.mask), ("factor", self.factor)):
            if a is None:
                continue
            base = self.code.at("i8", at[name], self.code.mul(j0, self.step(name, a, 1)))
            if name == "mask" and self.by_row(a):
                self.place[name] = base
            else:
                base = self.row(name, a, base, i0)
                self.place[name] = self.areas[name]
                self.pairs(name, a, base, rows, keys, self.place[name])

    def score(self, j: str, before: str, v: int, keys: str) -> str:
        """Vector v of the scores of key j of the block's `keys`, or one past them; `before`: the
        block's first key minus the tile's first query."""
        c = self.code
        x = self.fop("fmul", self.load(self.at(self.scores, j, TILE, v)), self.scale)
        if self.mask is not None:
            x = self._masked(x, j, v, keys)
        if self.kernel.causal:
            ahead = c.call("llvm.smax.i64", "i64", f"i64 {c.add(before, j)}", "i64 -1")
            key = self.lanes.splat("i32", c.op(f"trunc i64 {ahead} to i32"))
            queries = "<" + ", ".join(f"i32 {16 * v + i}" for i in range(16)) + ">"
            keep = c.op(f"icmp sle <16 x i32> {key}, {queries}")
            x = self.pick(keep, x, self.number(float("-inf")))
        return x

    def _masked(self, x: str, j: str, v: int, keys: str) -> str:
        c, a = self.code, self.mask
        assert a is not None
        truth = a.dtype is dt.bool_
        if self.by_row(a):
            there = c.smin(j, c.op(f"sub i64 {keys}, 1"))
            p = c.at("i8", self.place["mask"], c.mul(there, self.step("mask", a, 1)))
            if truth:
                one = c.op(f"icmp ne i8 {c.op(f'load i8, ptr {p}')}, 0")
                keep = self.lanes.splat("b1", one)
            else:
                y = self.lanes.splat(self.elem.name, c.op(f"load {self.elem.scalar}, ptr {p}"))
        else:
            y = self.load(self.at(self.place["mask"], j, TILE, v))
            if truth:
                keep = c.op(f"fcmp une {self.elem.vec} {y}, zeroinitializer")
        if truth:
            return self.pick(keep, x, self.number(float("-inf")))
        return self.fop("fadd", x, y)

    def times_factor(self, x: str, j: str, v: int) -> str:
        if self.factor is None:
            return x
        return self.fop("fmul", x, self.load(self.at(self.place["factor"], j, TILE, v)))

    def base_of(self, top: str) -> str:
        """0 where top is -inf, else top."""
        none = self.code.op(f"fcmp oeq {self.elem.vec} {top}, {self.number(float('-inf'))}")
        return self.pick(none, self.number(0.0), top)
