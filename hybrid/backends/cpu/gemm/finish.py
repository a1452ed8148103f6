"""From accumulators to results: the functions that run the epilogue over a finished tile and store
what it gives, in any layout.

Invariant: what is the same for all elements is computed once per call of the kernel, and no read of
a line is made after a store of that line.
"""

from __future__ import annotations

from typing import NamedTuple

from ....ir.scalar.program import Program
from ...emit.code import Code
from ...emit.lanes import Lanes, llvm_scalar, memory_scalar
from ...emit.memory import load_scalar, store_scalar
from ...emit.programs.whole import emit_program
from .epilogue import EpilogueOperand, Finish
from .factors import Runs
from .micro import DESCRIPTOR, mask_of, masked_load, masked_store, spread
from .pack import IndexWalk, each, offset_of
from .words import GemmWords, Loader

__all__ = [
    "call_fetch",
    "call_finish",
    "finish_functions",
    "prepare",
    "result_start",
    "result_stride",
]

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


# ---- for the kernel that calls
def prepare(finish: Finish, code: Code) -> str:
    """In the kernel, before its items: the pointer that calls of the finishing function get."""
    if not finish.passed:
        return "null"
    values = code.alloca(f"[{len(finish.passed)} x i64]")
    code.do(f"call void @NAME.uniform(ptr %bufs, ptr %args, ptr {values})")
    return values


class FinishedLines(NamedTuple):
    """Lines of one product of the batch, and the vectors of columns described at `descriptors`."""

    batch: str
    first: str
    lines: str  # how many
    descriptors: str
    vectors: int


def call_fetch(finish: Finish, code: Code, rows: FinishedLines) -> None:
    """Ask for the memory of a tile's operands before its sums are computed: the epilogue strides
    over lines, which the machine does not foresee, and waits for each of them otherwise."""
    if finish.fetched:
        code.do(
            f"call void @NAME.fetch(ptr %bufs, ptr %args, i64 {rows.batch}, i64 {rows.first}, "
            f"i64 {rows.lines}, ptr {rows.descriptors}, "
            f"i64 {rows.vectors})"
        )


def call_finish(code: Code, tile: str, rows: FinishedLines, uniform: str) -> None:
    """Finish a tile; `uniform` is what `prepare` gave."""
    code.do(
        f"call void @NAME.finish(ptr %bufs, ptr %args, ptr {tile}, "
        f"i64 {rows.batch}, i64 {rows.first}, "
        f"i64 {rows.lines}, ptr {rows.descriptors}, i64 {rows.vectors}, ptr {uniform})"
    )


def result_start(finish: Finish, loader: Loader, batch: str) -> str:
    """Where sums that need no finishing go."""
    return stream_start(loader, finish.outs[0], batch)


def result_stride(finish: Finish, loader: Loader) -> str:
    """Bytes from line to line there."""
    out = finish.outs[0]
    return loader.walk(out.name + ".lines", out.lines, out.size).stride


def finish_functions(finish: Finish, words: GemmWords) -> list[tuple[str, Code]]:
    """The finishing function and what it needs."""
    fetch = [_fetch_function(finish, words)] if finish.fetched else []
    functions = [_finish_function(finish, words), *fetch]
    if finish.passed:
        functions.append(_uniform_function(finish, words))
    return functions


# ---- vectors of operands: adjacent lanes are one access, others are visited one by one
class Walked(NamedTuple):
    """A stream in one function: where its product starts, and the walks from line to line and from
    lane to lane, which is along the tile's lines where results are transposed."""

    stream: EpilogueOperand
    start: str
    lines: IndexWalk
    lanes: IndexWalk
    runs: Runs  # of the lanes
    together: bool  # the lanes of a vector lie in one run

    @property
    def adjacent(self) -> bool:
        return self.together and self.runs.unit(self.stream.size)


class Spot(NamedTuple):
    """Lanes of one line of a stream."""

    pointer: str  # of the first lane where lanes lie together, else of lane 0 of the product
    start: str  # number of the first lane
    lanes: str  # how many
    mask: str | None
    buffer: str  # 16 elements, for lanes that are visited one by one


def walk_streams(
    finish: Finish, loader: Loader, streams: tuple[EpilogueOperand, ...]
) -> dict[str, Walked]:
    """Streams of a function over product `%b` of the batch, by name."""
    starts = [stream_start(loader, stream, "%b") for stream in streams]
    found = {}
    for stream, start in zip(streams, starts):
        lines = loader.walk(stream.name + ".lines", stream.lines, stream.size)
        columns = loader.walk(stream.name + ".cols", stream.columns, stream.size)
        if finish.transposed:
            walks, runs, together = (columns, lines), stream.lines, stream.together
        else:
            walks, runs, together = (lines, columns), stream.columns, stream.columns.uniform
        found[stream.name] = Walked(stream, start, *walks, runs, together)
    return found


def stream_start(loader: Loader, stream: EpilogueOperand, batch: str) -> str:
    """Where the elements of one product of the batch start."""
    base = loader.base(stream.name, stream.offset)
    walk = loader.walk(stream.name + ".batch", stream.batch, stream.size)
    return loader.code.at("i8", base, offset_of(loader.code, walk, batch))


def first_lane(code: Code, walked: Walked, start: str) -> str:
    """Pointer to lane `start` of line 0; of lane 0 where the lanes have no one stride."""
    if not walked.together:
        return walked.start
    return code.at("i8", walked.start, offset_of(code, walked.lanes, start))


def line_of(code: Code, walked: Walked, base: str, line: str) -> str:
    """Pointer to a line, from the pointer to line 0."""
    return code.at("i8", base, offset_of(code, walked.lines, line))


def load_lanes(code: Code, walked: Walked, spot: Spot) -> str:
    """16 lanes as values of the epilogue."""
    stream, scalar = walked.stream, memory_scalar(walked.stream.type)
    vector = f"<16 x {scalar}>"
    if walked.together and walked.runs.stride == 0:
        lanes = spread(code, scalar, code.op(f"load {scalar}, ptr {spot.pointer}"))
    elif walked.adjacent and spot.mask is None:
        lanes = code.op(f"load {vector}, ptr {spot.pointer}, align {stream.size}")
    elif walked.adjacent:
        lanes = masked_load(code, scalar, stream.size, spot.pointer, spot.mask)
    else:

        def one(lane: str) -> None:
            source = code.at("i8", spot.pointer, _lane_offset(code, walked, spot, lane))
            value = code.op(f"load {scalar}, ptr {source}")
            code.do(f"store {scalar} {value}, ptr {code.at(scalar, spot.buffer, lane)}")

        each(code, "0", spot.lanes, "1", one)
        lanes = code.op(f"load {vector}, ptr {spot.buffer}, align {stream.size}")
    if stream.type == "b1":
        return code.op(f"icmp ne {vector} {lanes}, zeroinitializer")
    return lanes


def store_lanes(code: Code, walked: Walked, spot: Spot, value: str) -> None:
    """Store the first lanes of a vector of values of the epilogue."""
    stream, scalar = walked.stream, memory_scalar(walked.stream.type)
    vector = f"<16 x {scalar}>"
    if stream.type == "b1":
        value = code.op(f"zext <16 x i1> {value} to {vector}")
    if walked.adjacent and spot.mask is None:
        code.do(f"store {vector} {value}, ptr {spot.pointer}, align {stream.size}")
        return
    if walked.adjacent:
        masked_store(code, scalar, stream.size, value, spot.pointer, spot.mask)
        return
    code.do(f"store {vector} {value}, ptr {spot.buffer}, align {stream.size}")

    def one(lane: str) -> None:
        own = code.op(f"load {scalar}, ptr {code.at(scalar, spot.buffer, lane)}")
        target = code.at("i8", spot.pointer, _lane_offset(code, walked, spot, lane))
        code.do(f"store {scalar} {own}, ptr {target}")

    each(code, "0", spot.lanes, "1", one)


def _lane_offset(code: Code, walked: Walked, spot: Spot, lane: str) -> str:
    """Byte offset of a lane from the pointer that `first_lane` gave."""
    if walked.together:
        return code.mul(lane, walked.lanes.stride)
    return offset_of(code, walked.lanes, code.add(spot.start, lane))


# ---- what is the same for all elements
def _uniform_function(finish: Finish, words: GemmWords) -> tuple[str, Code]:
    """The values of `passed`, one 8-byte cell each."""
    assert finish.program is not None
    code = Code()
    loader, program = Loader(code, words), finish.program
    instrs, needed = program.instrs, set(finish.passed)
    for number in range(len(instrs) - 1, -1, -1):
        needed.update(instrs[number].args if number in needed else ())
    args = [""] * len(program.args)
    for number in sorted(needed):
        if instrs[number].prim == "arg":
            argument = instrs[number].attr
            stream = finish.reads[argument - 1]
            base = loader.base(stream.name, stream.offset)
            args[argument] = load_scalar(code, stream.type, base)
    skipped = {number: "" for number in range(len(instrs)) if number not in needed}
    wanted = program._replace(outs=finish.passed)
    params = _params(finish, program, loader)
    values = emit_program(Lanes(1, code), wanted, args, params, known=skipped)
    for cell, (number, value) in enumerate(zip(finish.passed, values)):
        store_scalar(code, instrs[number].type, value, code.at("i64", "%out", str(cell)))
    code.do("ret void")
    return UNIFORM, code


def _params(finish: Finish, program: Program | None, loader: Loader) -> list[str]:
    """The run-time scalars of the epilogue, from their words."""
    if program is None:
        return []
    found = []
    for number, (type, bits) in enumerate(zip(program.params, finish.params)):
        signed = bits - (1 << 64) if bits >= 1 << 63 else bits
        value, scalar = loader.word(f"param{number}", signed), llvm_scalar(type)
        width = {"float": "i32", "double": "i64"}.get(scalar, scalar)
        if width != "i64":
            value = loader.code.op(f"trunc i64 {value} to {width}")
        if width != scalar:
            value = loader.code.op(f"bitcast {width} {value} to {scalar}")
        found.append(value)
    return found


# ---- the finishing function
class FinishBody(NamedTuple):
    """The finishing function under construction."""

    finish: Finish
    code: Code
    lanes: Lanes
    buffer: str
    walked: dict[str, Walked]
    params: list[str]
    known: dict[int, str]  # values of instructions that are there before any element is

    def evaluate(self, args: list[str]) -> list[str]:
        """The results for 16 sums and their reads."""
        program = self.finish.program
        if program is None:
            return args[:1] * len(self.finish.outs)
        return emit_program(self.lanes, program, args, self.params, known=self.known)


def _finish_function(finish: Finish, words: GemmWords) -> tuple[str, Code]:
    code = Code()
    loader, lanes = Loader(code, words), Lanes(16, code)
    buffer = code.alloca("[16 x <16 x i64>]")
    walked = walk_streams(finish, loader, finish.reads + finish.outs)
    types = () if finish.program is None else finish.program.params
    scalars = _params(finish, finish.program, loader)
    params = [lanes.splat(type, value) for type, value in zip(types, scalars)]
    known = _known(finish, lanes, params)
    body = FinishBody(finish, code, lanes, buffer, walked, params, known)

    def vector(number: str) -> None:
        if not finish.whole:
            _finish_vector(body, number)
            return
        # all lanes or none: a test of the count instead of masks on every access
        offset = code.add(code.mul(number, str(DESCRIPTOR)), "8")
        count = code.op(f"load i64, ptr {code.at('i8', '%desc', offset)}")
        some = code.op(f"icmp sgt i64 {count}, 0")
        code.when(some, lambda: _finish_vector(body, number))

    each(code, "0", "%vecs", "1", vector)
    code.do("ret void")
    return SIGNATURE, code


def _known(finish: Finish, lanes: Lanes, params: list[str]) -> dict[int, str]:
    """Uniform values in all lanes, loaded at the entry of the function."""
    if finish.program is None:
        return {}
    code, instrs = lanes.code, finish.program.instrs
    known = {number: "" for number, uniform in enumerate(finish.uniform) if uniform}
    for cell, number in enumerate(finish.passed):
        type = instrs[number].type
        scalar = memory_scalar(type)
        vector = f"<16 x {scalar}>"
        pointer = code.once(f"getelementptr i64, ptr %uniform, i64 {cell}")
        value = code.once(f"load {scalar}, ptr {pointer}")
        first = code.once(f"insertelement {vector} poison, {scalar} {value}, i64 0")
        whole = code.once(
            f"shufflevector {vector} {first}, {vector} poison, <16 x i32> zeroinitializer"
        )
        if type == "b1":
            whole = code.once(f"icmp ne {vector} {whole}, zeroinitializer")
        known[number] = whole
    for number, instr in enumerate(instrs):
        if instr.prim == "const":
            known[number] = lanes.const(instr.type, instr.attr)
        elif instr.prim == "param":
            known[number] = params[instr.attr]
    return known


class Described(NamedTuple):
    """A vector of columns of the tile, and how the function walks it."""

    lines: str  # how many
    first_line: str
    lanes: str  # how many
    first_lane: str


def _described(finish: Finish, code: Code, number: str) -> Described:
    """From its descriptor; of a transposed tile the lines are columns, and lanes are rows."""
    descriptor = code.at("i8", "%desc", code.mul(number, str(DESCRIPTOR)))
    count = code.op(f"load i64, ptr {code.at('i8', descriptor, '8')}")
    column = code.op(f"load i64, ptr {code.at('i8', descriptor, '16')}")
    if finish.transposed:
        return Described(count, column, "%rows", "%row")
    return Described("%rows", "%row", count, column)


def _finish_vector(body: FinishBody, number: str) -> None:
    """One vector of columns, all lines."""
    finish, code, element = body.finish, body.code, body.finish.element
    shape = _described(finish, code, number)
    source, step = code.at(element.vector, "%tile", number), finish.line_bytes
    if finish.transposed:
        source, step = _transpose(body, source, step), 16 * element.size
    mask = None if finish.whole else mask_of(code, shape.lanes)
    # all reads of a line stand before its stores: a read may be the very elements of a result
    streams = finish.reads + finish.outs
    bases = {
        stream.name: first_lane(code, body.walked[stream.name], shape.first_lane)
        for stream in streams
    }

    def line(index: str) -> None:
        where = code.at("i8", source, code.mul(index, str(step)))
        value = code.op(f"load {element.vector}, ptr {where}, align {element.size}")
        number = code.add(shape.first_line, index)

        def spot(name: str) -> Spot:
            pointer = line_of(code, body.walked[name], bases[name], number)
            return Spot(pointer, shape.first_lane, shape.lanes, mask, body.buffer)

        args = [value]
        for read in finish.reads:
            args.append(
                "" if read.uniform else load_lanes(code, body.walked[read.name], spot(read.name))
            )
        for out, result in zip(finish.outs, body.evaluate(args)):
            store_lanes(code, body.walked[out.name], spot(out.name), result)

    each(code, "0", shape.lines, "1", line)


def _transpose(body: FinishBody, tile: str, step: int) -> str:
    """The vector's column of the tile, one line per lane (rows past the tile's are unused)."""
    code, element = body.code, body.finish.element
    buffer = code.alloca(f"[16 x {element.vector}]")
    code.do(
        f"call void @NAME.transpose(ptr {tile}, i64 {step}, ptr {buffer}, i64 {16 * element.size})"
    )
    return buffer


# ---- bringing memory near
def _fetch_function(finish: Finish, words: GemmWords) -> tuple[str, Code]:
    """One line of memory for each line of a tile and vector of columns."""
    code = Code()
    walked = walk_streams(finish, Loader(code, words), finish.fetched)

    def vector(number: str) -> None:
        shape = _described(finish, code, number)
        bases = {
            name: first_lane(code, stream, shape.first_lane) for name, stream in walked.items()
        }

        def line(index: str) -> None:
            for name, stream in walked.items():
                number = code.add(shape.first_line, index)
                pointer = line_of(code, stream, bases[name], number)
                code.call("llvm.prefetch.p0", "void", f"ptr {pointer}", "i32 0", "i32 3", "i32 1")

        each(code, "0", shape.lines, "1", line)

    each(code, "0", "%vecs", "1", vector)
    code.do("ret void")
    return FETCH, code
