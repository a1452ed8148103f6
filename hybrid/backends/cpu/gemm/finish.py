"""From accumulators to results: the epilogue program over a finished tile, and stores of any
layout.

Invariant: the epilogue sees each finished sum once, reads its other arguments at the same (batch,
m, n), and every result is stored exactly once, after all its arguments were read (a read may share
memory with it).
"""

from __future__ import annotations

from typing import NamedTuple

from ....core import dtypes as dt
from ....ir.contract import rounded
from ....ir.scalar.program import Builder, Program
from ...emit.code import Code
from ...emit.lanes import Lanes, emit_program, llvm_scalar, memory_scalar
from ...emit.memory import load_scalar, store_scalar
from ...plan import Dims, GemmKernel
from .geometry import Runs, runs_of
from .micro import DESC, Element, mask_of
from .pack import Walk, offset_of
from .words import Words

__all__ = ["Finish", "epilogue_of"]

SIGNATURE = (
    "define internal void @NAME.finish(ptr %bufs, ptr %args, ptr %tile, i64 %b, i64 %row, "
    "i64 %rows, ptr %desc, i64 %vecs, ptr %uniform)"
)
FETCH = (
    "define internal void @NAME.fetch(ptr %bufs, ptr %args, i64 %b, i64 %row, "
    "i64 %rows, ptr %desc, "
    "i64 %vecs)"
)
UNIFORM = "define internal void @NAME.uniform(ptr %bufs, ptr %args, ptr %out)"


class Stream(NamedTuple):
    """A read or result of the epilogue: byte walks over batch, lines (tile rows) and columns."""

    name: str
    type: str  # program type
    offset: int  # bytes
    size: int
    batch: Runs
    lines: Runs
    cols: Runs

    @property
    def uniform(self) -> bool:
        """One element for the whole product."""
        return all(
            r.size == 1 or r.uniform and r.stride == 0 for r in (self.batch, self.lines, self.cols)
        )


def epilogue_of(kernel: GemmKernel, elem: Element) -> Program | None:
    """The program to run on finished sums; None when they are stored as they are."""
    if kernel.epilogue is not None:
        return kernel.epilogue
    out = kernel.outs[0].dtype
    if not dt.is_half(out) and out.itemsize == elem.size:
        return None
    s = Builder()
    x = s.arg(elem.name)
    return s.program(rounded(s, x, None, out))


class Finish:
    """Writes the finishing function of one product; tiles are `vecs` vectors wide.  `swap`: lines
    of the tile are columns of the result.  `whole`: a vector has 16 columns, or none.  `storable`:
    finished sums may go to the result without this function."""

    def __init__(
        self,
        kernel: GemmKernel,
        swap: bool,
        vecs: int,
        elem: Element,
        words: Words,
        whole: bool = False,
    ) -> None:
        self.kernel, self.swap, self.vecs, self.elem, self.words = kernel, swap, vecs, elem, words
        self.program = epilogue_of(kernel, elem)
        types = [elem.name] * len(kernel.outs)
        if self.program is not None:
            types = [self.program.instrs[o].type for o in self.program.outs]
        self.outs = [
            self._stream(f"out{i}", types[i], o.offset, o.dtype.itemsize, o.batch, o.rows, o.cols)
            for i, o in enumerate(kernel.outs)
        ]
        self.reads = [self._read(i) for i in range(len(kernel.reads))]
        first = self.outs[0]
        unit = first.cols.uniform and first.cols.unit(first.size)
        self.transposed = (
            not unit
            and first.lines.size > 1
            and first.lines.uniform
            and first.lines.unit(first.size)
        )
        self.whole = whole and not self.transposed
        self.storable = (
            self.program is None and unit and first.lines.uniform and len(self.outs) == 1
        )
        self.uniform = self._uniform()
        self.passed = self._passed()
        self.fetched = self._fetched()

    def _stream(
        self,
        name: str,
        type: str,
        offset: int,
        size: int,
        batch: Dims,
        rows: Dims,
        cols: Dims,
    ) -> Stream:
        lines, across = runs_of(rows, size), runs_of(cols, size)
        if self.swap:
            lines, across = across, lines
        return Stream(name, type, offset * size, size, runs_of(batch, size), lines, across)

    def _read(self, i: int) -> Stream:
        access, out = self.kernel.reads[i], self.kernel.outs[0]
        assert self.program is not None
        sizes = (out.batch.sizes, out.rows.sizes, out.cols.sizes)
        at, parts = 0, []
        for part in sizes:
            parts.append(Dims(part, tuple(access.strides[at : at + len(part)])))
            at += len(part)
        return self._stream(
            f"read{i}",
            self.program.args[i + 1],
            access.offset,
            access.dtype.itemsize,
            *parts,
        )

    # ---- what is the same for all elements
    def _uniform(self) -> list[bool]:
        """Which instructions of the epilogue have one value for the whole product."""
        out: list[bool] = []
        for ins in self.program.instrs if self.program is not None else ():
            if ins.prim == "arg":
                out.append(ins.attr > 0 and self.reads[ins.attr - 1].uniform)
            else:
                out.append(ins.prim != "load" and all(out[a] for a in ins.args))
        return out

    def _passed(self) -> list[int]:
        """Uniform instructions whose value elements use: computed once per call of the kernel."""
        if self.program is None:
            return []
        instrs = self.program.instrs
        used = {a for i, ins in enumerate(instrs) if not self.uniform[i] for a in ins.args} | set(
            self.program.outs
        )
        return [
            i for i in sorted(used) if self.uniform[i] and instrs[i].prim not in ("const", "param")
        ]

    def prepare(self, code: Code) -> str:
        """In the kernel, before its items: the pointer that calls of the finishing function get."""
        if not self.passed:
            return "null"
        out = code.alloca(f"[{len(self.passed)} x i64]")
        code.do(f"call void @NAME.uniform(ptr %bufs, ptr %args, ptr {out})")
        return out

    def functions(self) -> list[tuple[str, Code]]:
        """The finishing function and what it needs."""
        more = [self.build_fetch()] if self.fetched else []
        return [self.build(), *more, *([self.build_uniform()] if self.passed else [])]

    def build_uniform(self) -> tuple[str, Code]:
        """The values of `passed`, one 8-byte cell each."""
        assert self.program is not None
        code = self.code = Code()
        lanes, instrs = Lanes(1, code), self.program.instrs
        needed = set(self.passed)
        for i in range(len(instrs) - 1, -1, -1):
            needed.update(instrs[i].args if i in needed else ())
        args = [""] * len(self.program.args)
        for i in sorted(needed):
            if instrs[i].prim == "arg":
                s = self.reads[instrs[i].attr - 1]
                args[instrs[i].attr] = load_scalar(
                    code, s.type, self.words.base(code, s.name, s.offset)
                )
        skip = {i: "" for i in range(len(instrs)) if i not in needed}
        program = self.program._replace(outs=tuple(self.passed))
        values = emit_program(lanes, program, args, self._scalars(), known=skip)
        for k, (i, x) in enumerate(zip(self.passed, values)):
            store_scalar(code, instrs[i].type, x, code.at("i64", "%out", str(k)))
        code.do("ret void")
        return UNIFORM, code

    def _known(self) -> dict[int, str]:
        """Uniform values in all lanes, loaded at the entry of the finishing function."""
        assert self.program is not None
        code, known = self.code, {i: "" for i, u in enumerate(self.uniform) if u}
        for k, i in enumerate(self.passed):
            ty = self.program.instrs[i].type
            mem, at = memory_scalar(ty), code.once(f"getelementptr i64, ptr %uniform, i64 {k}")
            x = code.once(f"load {mem}, ptr {at}")
            first = code.once(f"insertelement <16 x {mem}> poison, {mem} {x}, i64 0")
            whole = code.once(
                f"shufflevector <16 x {mem}> {first}, "
                f"<16 x {mem}> poison, <16 x i32> zeroinitializer"
            )
            known[i] = (
                code.once(f"icmp ne <16 x {mem}> {whole}, zeroinitializer") if ty == "b1" else whole
            )
        for i, ins in enumerate(self.program.instrs):
            if ins.prim == "const":
                known[i] = self.lanes.const(ins.type, ins.attr)
            elif ins.prim == "param":
                known[i] = self.params[ins.attr]
        return known

    # ---- for direct stores
    def line_base(self, code: Code, batch: str) -> str:
        s = self.outs[0]
        base = self.words.base(code, s.name, s.offset)
        return code.at(
            "i8",
            base,
            offset_of(code, self.words.walk(code, s.name + ".batch", s.batch, s.size), batch),
        )

    def line_stride(self, code: Code) -> str:
        s = self.outs[0]
        return self.words.walk(code, s.name + ".lines", s.lines, s.size).stride

    # ---- the function
    def build(self) -> tuple[str, Code]:
        code = self.code = Code()
        self.lanes = Lanes(16, code)
        self.buffer = code.alloca("[16 x <16 x i64>]")
        streams = self.reads + self.outs
        self.starts = {s.name: self._start(s) for s in streams}
        self.walks = {s.name: self._walks(s) for s in streams}
        self.params = [
            self.lanes.splat(ty, x) for ty, x in zip(self.kernel_params(), self._scalars())
        ]
        self.known = self._known() if self.program is not None else {}
        code.loop("0", "%vecs", "1", [], self._vector)
        code.do("ret void")
        return SIGNATURE, code

    def _walks(self, s: Stream) -> tuple[Walk, Walk]:
        return (
            self.words.walk(self.code, s.name + ".lines", s.lines, s.size),
            self.words.walk(self.code, s.name + ".cols", s.cols, s.size),
        )

    def _start(self, s: Stream) -> str:
        code = self.code
        base = self.words.base(code, s.name, s.offset)
        return code.at(
            "i8",
            base,
            offset_of(code, self.words.walk(code, s.name + ".batch", s.batch, s.size), "%b"),
        )

    def kernel_params(self) -> tuple[str, ...]:
        """Types of the run-time scalars."""
        return () if self.program is None else tuple(self.program.params)

    def _scalars(self) -> list[str]:
        """The run-time scalars, from their words."""
        if self.program is None:
            return []
        out = []
        for i, (ty, bits) in enumerate(zip(self.program.params, self.kernel.params)):
            signed = bits - (1 << 64) if bits >= 1 << 63 else bits
            word, scalar = self.words.word(self.code, f"param{i}", signed), llvm_scalar(ty)
            width = {"float": "i32", "double": "i64"}.get(scalar, scalar)
            x = word if width == "i64" else self.code.op(f"trunc i64 {word} to {width}")
            out.append(x if width == scalar else self.code.op(f"bitcast {width} {x} to {scalar}"))
        return out

    def _vector(self, v: str, _: list[str]) -> list[str]:
        """One vector of columns, all lines."""
        if self.whole:
            at = self.code.at("i8", "%desc", self.code.add(self.code.mul(v, str(DESC)), "8"))
            some = self.code.op(f"icmp sgt i64 {self.code.op(f'load i64, ptr {at}')}, 0")
            self.code.when(some, lambda: self._columns(v))
        else:
            self._columns(v)
        return []

    def _columns(self, v: str) -> None:
        code, elem = self.code, self.elem
        desc = code.at("i8", "%desc", code.mul(v, str(DESC)))
        count = code.op(f"load i64, ptr {code.at('i8', desc, '8')}")
        col = code.op(f"load i64, ptr {code.at('i8', desc, '16')}")
        tile = code.at(elem.vec, "%tile", v)
        step = str(self.vecs * 16 * elem.size)
        if self.transposed:
            lines, first, source = count, col, self._transpose(tile, step)
            start, lanes, step = "%row", "%rows", str(16 * elem.size)
        else:
            lines, first, source, start, lanes = "%rows", "%row", tile, col, count
        mask = None if self.whole else mask_of(code, lanes)
        across = {s.name: self._across(s, start) for s in self.reads + self.outs}

        def line(i: str, _: list[str]) -> list[str]:
            where = code.at("i8", source, code.mul(i, step))
            value = code.op(f"load {elem.vec}, ptr {where}, align {elem.size}")
            at = code.add(first, i)
            args = [value] + [
                "" if s.uniform else self._load(s, across[s.name], at, start, lanes, mask)
                for s in self.reads
            ]
            values = args[:1] * len(self.outs)
            if self.program is not None:
                values = emit_program(self.lanes, self.program, args, self.params, known=self.known)
            for s, x in zip(self.outs, values):
                self._store(s, x, across[s.name], at, start, lanes, mask)
            return []

        code.loop("0", lines, "1", [], line)

    def _transpose(self, tile: str, step: str) -> str:
        """The vector's column of the tile, one line per lane (rows past the tile's are unused)."""
        code, elem = self.code, self.elem
        buffer = code.alloca(f"[16 x {elem.vec}]")
        code.do(
            f"call void @NAME.transpose(ptr {tile}, i64 {step}, ptr {buffer}, i64 {16 * elem.size})"
        )
        return buffer

    # ---- bringing memory near
    def fetch(self, code: Code, b: str, row: str, rows: str, desc: str, vecs: str) -> None:
        """Ask for the memory of a tile's operands before its sums are computed: the epilogue
        strides over lines, which the machine does not foresee, and waits for each of them
        otherwise."""
        if self.fetched:
            code.do(
                f"call void @NAME.fetch(ptr %bufs, ptr %args, i64 {b}, i64 {row}, "
                f"i64 {rows}, ptr {desc}, "
                f"i64 {vecs})"
            )

    def _fetched(self) -> list[Stream]:
        """Streams worth fetching."""

        def near(s: Stream) -> bool:
            along = s.lines if self.transposed else s.cols
            return along.uniform and along.unit(s.size)

        return [s for s in self.reads if near(s)]

    def build_fetch(self) -> tuple[str, Code]:
        """One line of memory for each line of a tile and vector of columns."""
        code = self.code = Code()
        self.starts = {s.name: self._start(s) for s in self.fetched}
        self.walks = {s.name: self._walks(s) for s in self.fetched}

        def vector(v: str, _: list[str]) -> list[str]:
            desc = code.at("i8", "%desc", code.mul(v, str(DESC)))
            count = code.op(f"load i64, ptr {code.at('i8', desc, '8')}")
            col = code.op(f"load i64, ptr {code.at('i8', desc, '16')}")
            lines, first, start = (
                (count, col, "%row") if self.transposed else ("%rows", "%row", col)
            )
            across = {s.name: self._across(s, start) for s in self.fetched}

            def line(i: str, _: list[str]) -> list[str]:
                for s in self.fetched:
                    p = self._line(s, across[s.name], code.add(first, i))
                    code.call("llvm.prefetch.p0", "void", f"ptr {p}", "i32 0", "i32 3", "i32 1")
                return []

            code.loop("0", lines, "1", [], line)
            return []

        code.loop("0", "%vecs", "1", [], vector)
        code.do("ret void")
        return FETCH, code

    # ---- vectors of streams
    def _pair(self, s: Stream) -> tuple[Walk, Walk, Runs]:
        """(walk over lines, walk over lanes, runs of the lanes) as this function walks the tile."""
        lines, cols = self.walks[s.name]
        return (cols, lines, s.lines) if self.transposed else (lines, cols, s.cols)

    def _across(self, s: Stream, start: str) -> str:
        """Pointer to the first lane of line 0."""
        _, lanes, runs = self._pair(s)
        if not runs.uniform:
            return self.starts[s.name]
        return self.code.at("i8", self.starts[s.name], offset_of(self.code, lanes, start))

    def _line(self, s: Stream, base: str, at: str) -> str:
        lines, _, _ = self._pair(s)
        return self.code.at("i8", base, offset_of(self.code, lines, at))

    def _suffix(self, scalar: str) -> str:
        return {"float": "v16f32", "double": "v16f64"}.get(scalar, f"v16{scalar}")

    def _load(self, s: Stream, base: str, at: str, start: str, count: str, mask: str | None) -> str:
        code, mem = self.code, memory_scalar(s.type)
        _, walk, runs = self._pair(s)
        p = self._line(s, base, at)
        vec = f"<16 x {mem}>"
        if runs.uniform and runs.stride == 0:
            x = code.op(f"load {mem}, ptr {p}")
            x = code.op(f"insertelement {vec} poison, {mem} {x}, i64 0")
            x = code.op(f"shufflevector {vec} {x}, {vec} poison, <16 x i32> zeroinitializer")
        elif runs.uniform and runs.unit(s.size) and mask is None:
            x = code.op(f"load {vec}, ptr {p}, align {s.size}")
        elif runs.uniform and runs.unit(s.size):
            x = code.call(
                f"llvm.masked.load.{self._suffix(mem)}.p0",
                vec,
                f"ptr {p}",
                f"i32 {s.size}",
                f"<16 x i1> {mask}",
                f"{vec} zeroinitializer",
            )
        else:

            def one(lane: str, _: list[str]) -> list[str]:
                x = code.op(
                    f"load {mem}, ptr {code.at('i8', p, self._lane(runs, walk, start, lane))}"
                )
                code.do(f"store {mem} {x}, ptr {code.at(mem, self.buffer, lane)}")
                return []

            code.loop("0", count, "1", [], one)
            x = code.op(f"load {vec}, ptr {self.buffer}, align {s.size}")
        return code.op(f"icmp ne {vec} {x}, zeroinitializer") if s.type == "b1" else x

    def _lane(self, runs: Runs, walk: Walk, start: str, lane: str) -> str:
        """Byte offset of a lane from the pointer `_across` gave."""
        if runs.uniform:
            return self.code.mul(lane, walk.stride)
        return offset_of(self.code, walk, self.code.add(start, lane))

    def _store(
        self, s: Stream, x: str, base: str, at: str, start: str, count: str, mask: str | None
    ) -> None:
        code, mem = self.code, memory_scalar(s.type)
        _, walk, runs = self._pair(s)
        p = self._line(s, base, at)
        vec = f"<16 x {mem}>"
        if s.type == "b1":
            x = code.op(f"zext <16 x i1> {x} to {vec}")
        if runs.uniform and runs.unit(s.size) and mask is None:
            code.do(f"store {vec} {x}, ptr {p}, align {s.size}")
            return
        if runs.uniform and runs.unit(s.size):
            code.call(
                f"llvm.masked.store.{self._suffix(mem)}.p0",
                "void",
                f"{vec} {x}",
                f"ptr {p}",
                f"i32 {s.size}",
                f"<16 x i1> {mask}",
            )
            return
        code.do(f"store {vec} {x}, ptr {self.buffer}, align {s.size}")

        def one(lane: str, _: list[str]) -> list[str]:
            value = code.op(f"load {mem}, ptr {code.at(mem, self.buffer, lane)}")
            code.do(
                f"store {mem} {value}, ptr {code.at('i8', p, self._lane(runs, walk, start, lane))}"
            )
            return []

        code.loop("0", count, "1", [], one)
