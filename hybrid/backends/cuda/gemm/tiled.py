"""The product in tiles: factors pass through shared memory, outputs stay in registers.

Invariant: an output's chain takes k in increasing order, starts from +0.0 in each block of 256 and
takes no padding; the sums of blocks are joined in order, the first as it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .direct import multiply_add
from .forms import Accumulator, FinishForm
from .load import (
    TABLE,
    FactorArea,
    FactorLines,
    LoadedFactor,
    LoadThreads,
    Range,
    visits_of,
)
from .results import ResultTiles, TilePosition
from .tile import LoadForm, Tile, is_deep
from .words import GemmText, GemmWriter

__all__ = ["GROUP", "TiledForm", "shared_bytes", "tiled_text"]

GROUP = 8  # rows of tiles that are walked together, so that neighbours share factors in L2


class TiledForm(NamedTuple):
    """`split`: each block of threads takes one block of k, and leaves its sums in the workspace.
    `several`: a thread takes more than one block of k.  `groups` of threads take one each, side by
    side.  `ragged`: the last step is partial.  `tall`: there are more than GROUP rows of tiles."""

    a: LoadForm
    b: LoadForm
    finish: FinishForm
    tile: Tile
    split: bool
    several: bool
    ragged: bool
    guarded: bool
    groups: int
    batched: bool
    tall: bool

    @property
    def element(self) -> Accumulator:
        return self.finish.element


class _Layout(NamedTuple):
    """Bytes of shared memory: stages and tables of offsets, for each group of threads; and finished
    sums, which lie over them where they come after them."""

    right: int
    stage: int
    table: int
    group: int
    sums: int
    total: int


def _layout(form: TiledForm) -> _Layout:
    tile, element = form.tile, form.element
    right = tile.depth * form.a.pitch(tile.rows, element) * element.size
    stage = right + tile.depth * form.b.pitch(tile.cols, element) * element.size
    table = tile.stages * stage
    group = table + 8 * TABLE * (form.a.tabled + form.b.tabled)
    loaded = group * form.groups
    sums = loaded if form.several else 0
    kept = sums + form.groups * tile.rows * tile.cols * element.size
    return _Layout(right, stage, table, group, sums, max(loaded, kept))


def shared_bytes(form: TiledForm) -> int:
    """Dynamic shared memory of a block."""
    return _layout(form).total


class _BlockPlace(NamedTuple):
    """Where a block of threads works: its batch position and its block of k, the first row and
    column of its tile and how many there are, and the number of this thread among those that share
    a stage."""

    batch: str
    part: str
    row: str
    col: str
    m: str
    n: str
    thread: str


class _OwnPlace(NamedTuple):
    """The first row and column of a thread in its tile."""

    row: str
    col: str


class _Factors(NamedTuple):
    """Both factors, and the bytes of the first stage where this thread's rows and columns are."""

    left: LoadedFactor
    right: LoadedFactor
    left_at: str
    right_at: str

    @property
    def both(self) -> tuple[LoadedFactor, LoadedFactor]:
        return self.left, self.right


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
        self.writer = GemmWriter()
        self.code = self.writer.code
        self.layout = _layout(form)
        self.vector = 16 // self.element.size
        self.row_chunk = min(self.vector, self.tile.thread_rows)
        self.col_chunk = min(self.vector, self.tile.thread_cols)
        if form.guarded:
            self.writer.guard()
        self.place = self._located()
        self.own = self._arranged(self.place.thread)
        self.factors = self._factors()
        self.results = ResultTiles(
            self.writer, form.finish, self.tile, form.groups, self.layout.sums, self._position()
        )

    # ---- where a block and a thread are
    def _located(self) -> _BlockPlace:
        writer, tile = self.writer, self.tile
        m, n = writer.count("m"), writer.count("n")
        block, part, batch = writer.register("ctaid.x"), "0", "0"
        down, across = writer.count("tiles_down"), writer.count("tiles_across")
        if self.form.batched or self.form.split:
            batch, block = writer.divide(block, writer.integer("mul", down, across))
        if self.form.split and self.form.batched:
            part, batch = writer.divide(batch, writer.count("batch"))
        elif self.form.split:
            part, batch = batch, "0"
        thread = writer.register("tid.x")
        if self.form.groups > 1:
            part, thread = writer.divide(thread, str(tile.threads))
        tile_row, tile_col = self._tile_of(block, down, across)
        row = writer.integer("mul", tile_row, str(tile.rows))
        col = writer.integer("mul", tile_col, str(tile.cols))
        return _BlockPlace(batch, part, row, col, m, n, thread)

    def _tile_of(self, block: str, down: str, across: str) -> tuple[str, str]:
        """Which tile a block takes: neighbours share factors in L2."""
        writer = self.writer
        if not self.form.tall:
            tile_col, tile_row = writer.divide(block, down)
            return tile_row, tile_col
        group, inside = writer.divide(block, writer.integer("mul", across, str(GROUP)))
        first = writer.integer("mul", group, str(GROUP))
        high = writer.least(writer.integer("sub", down, first), str(GROUP))
        tile_col, tile_row = writer.divide(inside, high)
        return writer.integer("add", first, tile_row), tile_col

    def _arranged(self, thread: str) -> _OwnPlace:
        """Neighbouring lanes alternate between columns and rows: halves of a warp then read shared
        memory at once."""
        writer, tile = self.writer, self.tile
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
        rows = writer.integer("mul", warp_row, str(tile.lanes_down * tile.thread_rows))
        cols = writer.integer("mul", warp_col, str(tile.lanes_across * tile.thread_cols))
        own_row = writer.integer("add", rows, writer.integer("mul", row, str(self.row_chunk)))
        own_col = writer.integer("add", cols, writer.integer("mul", col, str(self.col_chunk)))
        return _OwnPlace(own_row, own_col)

    def _position(self) -> TilePosition:
        writer, place, batch = self.writer, self.place, self.place.batch
        if self.form.split:
            before = place.part
            if self.form.batched:
                before = writer.integer("mul", before, writer.count("batch"))
            batch = writer.integer("add", before, batch)
        return TilePosition(batch, place.row, place.col, place.m, place.n)

    def _factors(self) -> _Factors:
        form, tile, element, layout = self.form, self.tile, self.element, self.layout
        writer, place, size = self.writer, self.place, str(element.size)
        start, table = "0", str(layout.table)
        if form.groups > 1:
            start = writer.integer("mul", place.part, str(layout.group))
            table = writer.integer("add", start, table)
        second = writer.integer("add", start, str(layout.right))
        next_table = writer.integer("add", table, str(8 * TABLE * form.a.tabled))
        threads = LoadThreads(place.thread, tile.threads)
        areas = FactorArea(tile.rows, start, table), FactorArea(tile.cols, second, next_table)
        lines = (
            FactorLines(place.batch, place.row, place.m),
            FactorLines(place.batch, place.col, place.n),
        )
        own_visits = []
        for f, area, count in zip((form.a, form.b), areas, (tile.thread_rows, tile.thread_cols)):
            deep = is_deep(f, tile, element, count, form.ragged)
            own_visits.append(visits_of(writer, f, tile, threads, area.lines, deep))
        left, right = (
            LoadedFactor(writer, f, tile, element, area, visits, line)
            for f, area, visits, line in zip((form.a, form.b), areas, own_visits, lines)
        )
        own_row = writer.integer("mul", self.own.row, size)
        own_col = writer.integer("mul", self.own.col, size)
        left_at, right_at = (
            writer.integer("add", own, area.start) for own, area in zip((own_row, own_col), areas)
        )
        return _Factors(left, right, left_at, right_at)

    def _meet(self) -> None:
        """Wait for the threads that share stages."""
        if self.form.groups == 1:
            self.writer.barrier()
        else:
            number = self.writer.integer("add", self.place.part, "1")
            self.writer.barrier_of(number, self.tile.threads)

    # ---- k
    def _span(self) -> tuple[Range, str, str]:
        """The k of this block of threads, whole steps in it, and k after them."""
        writer = self.writer
        first, last = "0", writer.count("k")
        if self.form.split or self.form.groups > 1:
            part = self.place.part
            if self.form.split:
                part = writer.integer("add", part, writer.count("first_part"))
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
                for factor in self.factors.both:
                    factor.copy(k, stage, span)

            code.when(there, load)
        self.writer.commit()

    def _fragments(self, stage: str, k: int, moved: str | None = None) -> _Fragments:
        """Values at one k of a stage; `moved` k further on."""
        tile, (left, right, left_at, right_at) = self.tile, self.factors
        found = []
        for factor, start, count, chunk, lanes in (
            (left, left_at, tile.thread_rows, self.row_chunk, tile.lanes_down),
            (right, right_at, tile.thread_cols, self.col_chunk, tile.lanes_across),
        ):
            offset = self.writer.integer("add", start, stage)
            if moved is not None:
                further = self.writer.integer("mul", moved, str(factor.pitch))
                offset = self.writer.integer("add", offset, further)
            pointer = self.writer.near(offset)
            spots = [
                k * factor.pitch + part * chunk * lanes * self.element.size
                for part in range(count // chunk)
            ]
            chunks = [self.writer.take(pointer, spot, chunk, self.element) for spot in spots]
            found.append([x for values in chunks for x in factor.arranged(k, values)])
        return _Fragments(*found)

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
            self._meet()
        k = span.first
        for stage in range(tile.stages - 1):
            at = str(stage * self.layout.stage)
            self._copy(k, at, span)
            for factor in self.factors.both:
                factor.stash(factor.fetch(k, span), at)
            k = writer.integer("add", k, str(tile.depth))
        writer.wait(tile.stages - 2)
        self._meet()
        step = _Step("0", str((tile.stages - 1) * self.layout.stage), k)
        return step, self._fragments("0", 0)

    def _one_step(
        self, step: _Step, now: _Fragments, sums: list[str], span: Range
    ) -> tuple[_Step, _Fragments, list[str]]:
        """One whole step of k: meanwhile the step that lies stages - 1 further on is loaded."""
        writer, tile = self.writer, self.tile
        self._copy(step.k, step.fill, span)
        fetched = [factor.fetch(step.k, span) for factor in self.factors.both]
        read = self._next_stage(step.read)
        for k in range(tile.depth - 1):
            following = self._fragments(step.read, k + 1)
            sums = self._multiply(now, sums)
            now = following
        for factor, values in zip(self.factors.both, fetched):
            factor.stash(values, step.fill)
        writer.wait(tile.stages - 2)
        self._meet()
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
            self.results.keep(sums, *self.own, self.place.part)
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
            self.results.join(sums, *self.own, number)
            return [*step, *now.left, *now.right]

        writer.loop(writer.count("blocks"), self._carry(step, now), block)

    def _fill(self, block: str, span: Range) -> None:
        for factor in self.factors.both:
            factor.fill(block, span.last)


@lru_cache(256)
def tiled_text(form: TiledForm) -> GemmText:
    """The text of a form."""
    kernel = _Tiled(form)
    kernel.compute()
    kernel.results.store()
    resident = max(1, form.tile.resident // form.groups)
    return kernel.writer.finish("tiles", form.tile.threads * form.groups, resident)
