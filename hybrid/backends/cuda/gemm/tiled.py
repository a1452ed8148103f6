"""The product in tiles: factors pass through shared memory, outputs stay in registers.

Invariant: an output's chain takes k in increasing order, starts from +0.0 in each block of 256 and
takes no padding; the sums of blocks are joined in order, the first as it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from .direct import add, multiply_add
from .finish import load_reads, store_results
from .forms import Element, Finish, OperandForm
from .load import TABLE, Factor, Range
from .tile import LoadForm, Tile
from .words import NEAR, Text, Writer

__all__ = ["TiledForm", "shared_bytes", "tiled_text"]

GROUP = 8  # rows of tiles that are walked together, so that neighbours share factors in L2


class TiledForm(NamedTuple):
    """`split`: each block of threads takes one block of k, and leaves its sums in the workspace.
    `several`: there is more than one block of k.  `ragged`: the last step is partial."""

    a: LoadForm
    b: LoadForm
    finish: Finish
    tile: Tile
    split: bool
    several: bool
    ragged: bool
    guarded: bool

    @property
    def element(self) -> Element:
        return self.finish.element


class _Layout(NamedTuple):
    """Bytes of shared memory: stages, tables of places, and finished sums, which lie over the
    stages where they come after them."""

    right: int
    stage: int
    table: int
    sums: int
    total: int


def _layout(form: TiledForm) -> _Layout:
    tile, element = form.tile, form.element
    right = tile.depth * form.a.pitch(tile.rows, element) * element.size
    stage = right + tile.depth * form.b.pitch(tile.cols, element) * element.size
    table = tile.stages * stage
    end = table + 8 * TABLE * (form.a.tabled + form.b.tabled)
    sums = end if form.several else 0
    return _Layout(right, stage, table, sums, max(end, sums + tile.rows * tile.cols * element.size))


def shared_bytes(form: TiledForm) -> int:
    """Dynamic shared memory of a block."""
    return _layout(form).total


class _Fragments(NamedTuple):
    """What a thread multiplies next: values of its rows and of its columns."""

    left: list[str]
    right: list[str]


class _Step(NamedTuple):
    """Where the loop over k stands: byte offsets of the stages to read and to fill, the k to be
    loaded next."""

    read: str
    fill: str
    k: str


class _Tiled:
    """A kernel under construction."""

    def __init__(self, form: TiledForm) -> None:
        self.form, self.tile, self.element = form, form.tile, form.element
        self.writer = Writer()
        self.code = self.writer.code
        self.layout = _layout(form)
        self.vector = 16 // self.element.size
        self.row_chunk = min(self.vector, self.tile.thread_rows)
        self.col_chunk = min(self.vector, self.tile.thread_cols)
        if form.guarded:
            self.writer.guard()
        self._locate()
        self._factors()

    # ---- where a block and a thread are
    def _locate(self) -> None:
        writer, tile = self.writer, self.tile
        self.m, self.n = writer.count("m"), writer.count("n")
        block = writer.register("ctaid.x")
        down, across = writer.count("tiles_down"), writer.count("tiles_across")
        self.batch, block = writer.divide(block, writer.integer("mul", down, across))
        self.part = "0"
        if self.form.split:
            self.part, self.batch = writer.divide(self.batch, writer.count("batch"))
        group, inside = writer.divide(block, writer.integer("mul", across, str(GROUP)))
        first = writer.integer("mul", group, str(GROUP))
        high = writer.least(writer.integer("sub", down, first), str(GROUP))
        tile_col, tile_row = writer.divide(inside, high)
        tile_row = writer.integer("add", first, tile_row)
        self.row = writer.integer("mul", tile_row, str(tile.rows))
        self.col = writer.integer("mul", tile_col, str(tile.cols))
        self._place_lanes()

    def _place_lanes(self) -> None:
        """Neighbouring lanes alternate between columns and rows: halves of a warp then read shared
        memory at once."""
        writer, tile = self.writer, self.tile
        thread = writer.register("tid.x")
        warp_row, warp_col = writer.divide(
            writer.integer("lshr", thread, "5"), str(tile.warps_across)
        )
        rows_left, bit = tile.lanes_down, 0
        cols_left = tile.lanes_across
        row, col, row_bit, col_bit = "0", "0", 0, 0
        for to_col in (True, False, False, True, False, True, True):
            if bit == 5 or (cols_left if to_col else rows_left) == 1:
                continue
            own = writer.integer("and", writer.integer("lshr", thread, str(bit)), "1")
            if to_col:
                col = writer.integer("or", col, writer.integer("shl", own, str(col_bit)))
                cols_left, col_bit = cols_left // 2, col_bit + 1
            else:
                row = writer.integer("or", row, writer.integer("shl", own, str(row_bit)))
                rows_left, row_bit = rows_left // 2, row_bit + 1
            bit += 1
        assert bit == 5 and rows_left == cols_left == 1
        self.lane_row = row
        rows = writer.integer("mul", warp_row, str(tile.lanes_down * tile.thread_rows))
        cols = writer.integer("mul", warp_col, str(tile.lanes_across * tile.thread_cols))
        self.own_row = writer.integer("add", rows, writer.integer("mul", row, str(self.row_chunk)))
        self.own_col = writer.integer("add", cols, writer.integer("mul", col, str(self.col_chunk)))

    def _factors(self) -> None:
        form, tile, element, layout = self.form, self.tile, self.element, self.layout
        tables = layout.table, layout.table + 8 * TABLE * form.a.tabled
        self.left = Factor(self.writer, form.a, tile, element, tile.rows, 0, tables[0])
        self.right = Factor(self.writer, form.b, tile, element, tile.cols, layout.right, tables[1])
        for factor, line, count in ((self.left, self.row, self.m), (self.right, self.col, self.n)):
            factor.begin(self.batch, line, count)
        writer, size = self.writer, str(element.size)
        self.left_at = writer.integer("mul", self.own_row, size)
        own = writer.integer("mul", self.own_col, size)
        self.right_at = writer.integer("add", own, str(layout.right))

    # ---- k
    def _span(self) -> tuple[Range, str, str]:
        """The k of this block of threads, whole steps in it, and k after them."""
        writer = self.writer
        first, last = "0", writer.count("k")
        if self.form.split:
            part = writer.integer("add", self.part, writer.count("first_part"))
            first = writer.integer("shl", part, "8")
            last = writer.least(last, writer.integer("add", first, "256"))
        depth = str(self.tile.depth)
        steps, rest = writer.divide(writer.integer("sub", last, first), depth)
        return Range(first, last, self.form.ragged), steps, rest

    def _next_stage(self, stage: str) -> str:
        code, size = self.code, self.layout.stage
        further = code.op(f"add i32 {stage}, {size}")
        over = code.op(f"icmp eq i32 {further}, {size * self.tile.stages}")
        return code.op(f"select i1 {over}, i32 0, i32 {further}")

    def _copy(self, k: str, stage: str, span: Range) -> None:
        """Begin to load the step from k on, if there is one."""
        code = self.code
        if self.form.a.direct or self.form.b.direct:
            there = code.op(f"icmp slt i32 {k}, {span.last}")

            def load() -> None:
                self.left.copy(k, stage, span)
                self.right.copy(k, stage, span)

            code.when(there, load)
        self.writer.commit()

    def _fragments(self, stage: str, k: int, moved: str | None = None) -> _Fragments:
        """Values at one k of a stage; `moved` k further on."""
        tile = self.tile
        found = []
        for factor, start, count, chunk, lanes in (
            (self.left, self.left_at, tile.thread_rows, self.row_chunk, tile.lanes_down),
            (self.right, self.right_at, tile.thread_cols, self.col_chunk, tile.lanes_across),
        ):
            offset = self.writer.integer("add", start, stage)
            if moved is not None:
                further = self.writer.integer("mul", moved, str(factor.pitch))
                offset = self.writer.integer("add", offset, further)
            place = self.writer.near(offset)
            spots = [
                k * factor.pitch + part * chunk * lanes * self.element.size
                for part in range(count // chunk)
            ]
            found.append([x for spot in spots for x in self._values(place, spot, chunk)])
        return _Fragments(*found)

    def _values(self, place: str, distance: int, count: int) -> list[str]:
        """Adjacent accumulators in shared memory."""
        code, scalar = self.code, self.element.scalar
        spot, align = self.writer.past(place, distance), count * self.element.size
        if count == 1:
            return [code.op(f"load {scalar}, {NEAR} {spot}, align {align}")]
        whole = code.op(f"load <{count} x {scalar}>, {NEAR} {spot}, align {align}")
        return [
            code.op(f"extractelement <{count} x {scalar}> {whole}, i64 {lane}")
            for lane in range(count)
        ]

    def _multiply(self, now: _Fragments, sums: list[str]) -> list[str]:
        code, element, columns = self.code, self.element, self.tile.thread_cols
        result = list(sums)
        for row, left in enumerate(now.left):
            for turn in range(columns):
                col = turn if row % 2 == 0 else columns - 1 - turn
                spot = row * columns + col
                result[spot] = multiply_add(code, element, left, now.right[col], sums[spot])
        return result

    # ---- the loop
    def _start(self, span: Range) -> tuple[_Step, _Fragments]:
        writer, tile = self.writer, self.tile
        block = writer.integer("lshr", span.first, "8")
        self._fill(block, span)
        self._fill(writer.integer("add", block, "1"), span)
        if self.form.a.tabled or self.form.b.tabled:
            writer.barrier()
        k = span.first
        for stage in range(tile.stages - 1):
            at = str(stage * self.layout.stage)
            self._copy(k, at, span)
            for factor in (self.left, self.right):
                factor.stash(factor.fetch(k, span), at)
            k = writer.integer("add", k, str(tile.depth))
        writer.wait(tile.stages - 2)
        writer.barrier()
        step = _Step("0", str((tile.stages - 1) * self.layout.stage), k)
        return step, self._fragments("0", 0)

    def _one_step(
        self, step: _Step, now: _Fragments, sums: list[str], span: Range
    ) -> tuple[_Step, _Fragments, list[str]]:
        """One whole step of k: meanwhile the step that lies stages - 1 further on is loaded."""
        writer, tile = self.writer, self.tile
        self._copy(step.k, step.fill, span)
        fetched = [factor.fetch(step.k, span) for factor in (self.left, self.right)]
        read = self._next_stage(step.read)
        for k in range(tile.depth - 1):
            following = self._fragments(step.read, k + 1)
            sums = self._multiply(now, sums)
            now = following
        for factor, values in zip((self.left, self.right), fetched):
            factor.stash(values, step.fill)
        writer.wait(tile.stages - 2)
        writer.barrier()
        following = self._fragments(read, 0)
        sums = self._multiply(now, sums)
        next_k = writer.integer("add", step.k, str(tile.depth))
        return _Step(read, self._next_stage(step.fill), next_k), following, sums

    def _carry(self, step: _Step, now: _Fragments) -> list[tuple[str, str]]:
        scalar = self.element.scalar
        return [("i32", x) for x in step] + [(scalar, x) for x in now.left + now.right]

    def _carried(self, names: list[str]) -> tuple[_Step, _Fragments, list[str]]:
        rows, cols = self.tile.thread_rows, self.tile.thread_cols
        now = _Fragments(names[3 : 3 + rows], names[3 + rows : 3 + rows + cols])
        return _Step(*names[:3]), now, names[3 + rows + cols :]

    def _block(
        self, step: _Step, now: _Fragments, steps: str, rest: str, span: Range
    ) -> tuple[_Step, _Fragments, list[str]]:
        """The chains of one block of k: whole steps, then what is left."""
        element, tile = self.element, self.tile
        zeros = [(element.scalar, element.zero)] * (tile.thread_rows * tile.thread_cols)

        def one(_: str, names: list[str]) -> list[str]:
            step, now, sums = self._one_step(*self._carried(names), span)
            return [*step, *now.left, *now.right, *sums]

        names = self.writer.loop(steps, self._carry(step, now) + zeros, one)
        step, now, sums = self._carried(names)
        if not self.form.ragged:
            return step, now, sums

        def rest_one(k: str, names: list[str]) -> list[str]:
            _, now, sums = self._carried(["", "", "", *names])
            sums = self._multiply(now, sums)
            following = self._fragments(step.read, 1, k)
            return [*following.left, *following.right, *sums]

        carried = self._carry(step, now)[3:] + [(element.scalar, x) for x in sums]
        names = self.writer.loop(rest, carried, rest_one)
        return step, now, names[tile.thread_rows + tile.thread_cols :]

    def compute(self) -> None:
        """All sums, into shared memory."""
        writer = self.writer
        span, steps, rest = self._span()
        step, now = self._start(span)
        if not self.form.several:
            _, _, sums = self._block(step, now, steps, rest, span)
            writer.barrier()
            self._keep(sums, None)
            return
        last = writer.integer("sub", writer.count("blocks"), "1")
        per_block = str(self.tile.steps)

        def block(number: str, names: list[str]) -> list[str]:
            step, now, _ = self._carried(names)
            if self.form.a.tabled or self.form.b.tabled:
                following = writer.integer("add", number, "1")
                self.code.when(
                    self.code.op(f"icmp ne i32 {number}, 0"), lambda: self._fill(following, span)
                )
            before = writer.integer("mul", number, per_block)
            own = writer.least(writer.integer("sub", steps, before), per_block)
            is_last = self.code.op(f"icmp eq i32 {number}, {last}")
            own_rest = self.code.op(f"select i1 {is_last}, i32 {rest}, i32 0")
            step, now, sums = self._block(step, now, own, own_rest, span)
            self._keep(sums, number)
            return [*step, *now.left, *now.right]

        writer.loop(writer.count("blocks"), self._carry(step, now), block)

    def _fill(self, block: str, span: Range) -> None:
        for factor in (self.left, self.right):
            factor.fill(block, span.last)

    # ---- finished sums
    def _spot(self, row: str, col: str) -> str:
        """Byte of a sum: chunks of rows that one access touches lie apart."""
        writer, size = self.writer, self.element.size
        chunk = writer.integer("udiv", col, str(self.vector))
        inside = writer.integer("and", col, str(self.vector - 1))
        if self.tile.cols >= 8 * self.vector:
            turn = writer.integer("and", writer.integer("udiv", row, str(self.row_chunk)), "3")
            chunk = writer.integer("xor", chunk, writer.integer("shl", turn, "1"))
        at = writer.integer("mul", chunk, "16")
        at = writer.integer("add", at, writer.integer("mul", inside, str(size)))
        line = writer.integer("mul", row, str(self.tile.cols * size))
        return writer.integer("add", writer.integer("add", line, at), str(self.layout.sums))

    def _keep(self, sums: list[str], block: str | None) -> None:
        """Join the sums of a block of k to those in shared memory."""
        writer, tile = self.writer, self.tile
        spots = []
        for part in range(tile.thread_cols // self.col_chunk):
            across = str(part * tile.lanes_across * self.col_chunk)
            col = writer.integer("add", self.own_col, across)
            spots.append(writer.near(self._spot(self.own_row, col)))
        if block is None:
            self._put(sums, spots, False)
            return
        code = self.code
        fresh, more, done = code.label("first"), code.label("more"), code.label("kept")
        code.branch(code.op(f"icmp eq i32 {block}, 0"), fresh, more)
        code.start(fresh)
        self._put(sums, spots, False)
        code.jump(done)
        code.start(more)
        self._put(sums, spots, True)
        code.jump(done)
        code.start(done)

    def _put(self, sums: list[str], spots: list[str], joined: bool) -> None:
        tile, chunk = self.tile, self.col_chunk
        for row in range(tile.thread_rows):
            down = row // self.row_chunk * tile.lanes_down * self.row_chunk + row % self.row_chunk
            distance = down * tile.cols * self.element.size
            for part, spot in enumerate(spots):
                start = row * tile.thread_cols + part * chunk
                values = sums[start : start + chunk]
                if joined:
                    old = self._values(spot, distance, chunk)
                    pairs = zip(old, values)
                    values = [add(self.code, self.element, *pair) for pair in pairs]
                self._write(spot, distance, values)

    def _write(self, place: str, distance: int, values: list[str]) -> None:
        code, scalar, count = self.code, self.element.scalar, len(values)
        spot, align = self.writer.past(place, distance), count * self.element.size
        if count == 1:
            code.do(f"store {scalar} {values[0]}, {NEAR} {spot}, align {align}")
            return
        whole, vector = "poison", f"<{count} x {scalar}>"
        for lane, value in enumerate(values):
            whole = code.op(f"insertelement {vector} {whole}, {scalar} {value}, i64 {lane}")
        code.do(f"store {vector} {whole}, {NEAR} {spot}, align {align}")

    # ---- results
    def store(self) -> None:
        """Finish the sums in shared memory, row by row."""
        writer, code, tile = self.writer, self.code, self.tile
        width = self.form.finish.width
        writer.barrier()
        per_row = tile.cols // width
        down, across = writer.divide(writer.register("tid.x"), str(per_row))
        across = writer.integer("mul", across, str(width))
        col = writer.integer("add", self.col, across)
        batch = self.batch
        if self.form.split:
            before = writer.integer("mul", self.part, writer.count("batch"))
            batch = writer.integer("add", before, batch)
        at_once = tile.threads // per_row
        rounds = -(-tile.rows // at_once)
        ahead = _rows_ahead(self.form.finish, rounds)

        def rows() -> None:
            starts = {s.name: writer.place(s, batch, "0", col) for s in self._streams()}

            def some(index: str, _: list[str]) -> list[str]:
                first = writer.integer("mul", index, str(at_once * ahead))
                first = writer.integer("add", first, down)
                own = [writer.integer("add", first, str(at_once * i)) for i in range(ahead)]
                self._finish_rows(own, across, starts)
                return []

            writer.loop(str(rounds // ahead), [], some)

        inside = code.op(f"icmp ult i32 {col}, {self.n}")
        if at_once > tile.rows:
            busy = code.op(f"icmp ult i32 {down}, {tile.rows}")
            inside = code.op(f"and i1 {inside}, {busy}")
        code.when(inside, rows)

    def _streams(self) -> tuple[OperandForm, ...]:
        return self.form.finish.reads + self.form.finish.outs

    def _finish_rows(self, rows: list[str], across: str, starts: dict[str, str]) -> None:
        """Finish the sums of some rows of the tile: all reads are under way before the first is
        waited for."""
        writer, code, finish = self.writer, self.code, self.form.finish
        last = writer.integer("sub", self.m, "1")
        numbers = [writer.integer("add", self.row, own) for own in rows]
        reads = []
        for number in numbers:
            row = writer.least(number, last) if finish.reads else number
            places = [self._place(read, starts, row) for read in finish.reads]
            reads.append(load_reads(writer, finish, places))
        for own, number, values in zip(rows, numbers, reads):

            def one(own: str = own, number: str = number, values: Any = values) -> None:
                sums = self._values(writer.near(self._spot(own, across)), 0, finish.width)
                places = [self._place(out, starts, number) for out in finish.outs]
                store_results(writer, finish, sums, values, places)

            code.when(code.op(f"icmp ult i32 {number}, {self.m}"), one)

    def _place(self, stream: OperandForm, starts: dict[str, str], row: str) -> str:
        offset = self.writer.offset(f"{stream.name}.rows", stream.rows, row)
        return self.writer.at(starts[stream.name], offset)


def _rows_ahead(finish: Finish, rounds: int) -> int:
    """How many rows a thread finishes at a time: the fewer, the longer the program."""
    if not finish.reads or finish.program is None:
        return 1
    work = len(finish.program.instrs) * finish.width
    return next(
        rows for rows in (4, 2, 1) if rounds % rows == 0 and (rows * work < 800 or rows == 1)
    )


@lru_cache(256)
def tiled_text(form: TiledForm) -> Text:
    """The text of a form."""
    kernel = _Tiled(form)
    kernel.compute()
    kernel.store()
    return kernel.writer.finish("tiles", form.tile.threads, form.tile.resident)
