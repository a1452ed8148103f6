"""From a kernel and a tile to its functions.

Invariant: a schedule gives the bits of every other one; which one is best is for `choose` to say.
"""

from __future__ import annotations

from typing import NamedTuple

from ....core.shapes import collapse
from ...plan import Dims, GemmKernel
from ..function import Card, GpuFunction
from .direct import direct
from .forms import (
    Accumulator,
    FinishForm,
    GemmOperand,
    Numbers,
    Spacing,
    WalkForm,
    factor_form,
    finish_of,
    numbers_of,
)
from .join import JOIN_THREADS, JoinForm, join_text
from .lanes import LANES_THREADS, LanesForm, lanes_text, rows_at_once
from .shape import turned
from .tile import BLOCK, LoadForm, Tile, load_form
from .tiled import GROUP, TiledForm, shared_bytes, tiled_text
from .words import GemmText, with_status

__all__ = ["Schedule", "functions", "loads_of"]

WAVES = 512  # blocks of threads; of fewer it does not matter which tiles they take


class Schedule(NamedTuple):
    """How to run a product: in tiles, with blocks of k `split` over blocks of threads, or (no tile)
    with one thread per output, or in lanes.  `turned`: rows and columns are swapped.  `few`: a
    warp takes one row of lanes.  `together`: each group of threads of a block takes a block of
    k."""

    tile: Tile | None
    split: bool = False
    turned: bool = False
    few: bool = False
    together: bool = False

    @property
    def name(self) -> str:
        base = "direct" if self.tile is None else self.tile.name
        marks = {
            "split": self.split,
            "together": self.together,
            "few": self.few,
            "turned": self.turned,
        }
        return " ".join([base, *[mark for mark, is_set in marks.items() if is_set]])


def _run(dims: Dims) -> int:
    """Length of the fastest dimension."""
    sizes, _ = collapse(dims.sizes, [dims.strides])
    return sizes[-1] if sizes else 1


def loads_of(kernel: GemmKernel, element: Accumulator) -> tuple[LoadForm, LoadForm]:
    a, b = kernel.a, kernel.b
    found = []
    for name, operand, lines, k in (("a", a, a.rows, a.cols), ("b", b, b.cols, b.rows)):
        spread = sum(stride * size for size, stride in zip(lines.sizes, lines.strides))
        far = spread * operand.dtype.itemsize >= 1 << 32 or min(lines.strides, default=0) < 0
        form = factor_form(name, operand, element)
        found.append(load_form(form, element, (_run(lines), _run(k)), far))
    return found[0], found[1]


def _kept(kernel: GemmKernel, element: Accumulator, name: str) -> tuple[FinishForm, Numbers]:
    """Sums as results, row-major, in a part of the workspace called `name`."""
    row = kernel.n * element.size
    one, strided = WalkForm(1, Spacing.ADJACENT), WalkForm(1, Spacing.STRIDED)
    width = 16 // element.size
    form = GemmOperand(
        name, element.name, kernel.acc.name, element.size, strided, strided, one, 1, width, True
    )
    strides = {"batch": kernel.m * row, "rows": row, "cols": element.size}
    numbers = {f"{name}.{part}.stride0": stride for part, stride in strides.items()}
    finish = FinishForm(element, None, (), (form,), width if kernel.n % width == 0 else 1)
    return finish, numbers


def functions(
    kernel: GemmKernel, schedule: Schedule, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """The functions of a product of which no size but k is 0."""
    if schedule.turned:
        kernel = turned(kernel)
    if kernel.k == 0 or (schedule.tile is None and kernel.order == "chain"):
        return [direct(kernel, guarded)]
    numbers = with_status(numbers_of(kernel)) | {"blocks": -(-kernel.k // BLOCK)}
    if schedule.split:
        room = card.l2_bytes // 2
        return _split(_Plan(kernel, schedule, finish_of(kernel), numbers, guarded), temp_slot, room)
    return [_Plan(kernel, schedule, finish_of(kernel), numbers, guarded).first()]


def _split(plan: _Plan, slot: int, room: int) -> list[GpuFunction]:
    """Some blocks of k at a time, whose sums fit into `room` bytes, then their sums added to those
    of the blocks before."""
    kernel, blocks = plan.kernel, plan.numbers["blocks"]
    step = kernel.batch * kernel.m * kernel.n * plan.element.size
    at_once = min(blocks, max(room // step, 16))
    kept, more = _kept(kernel, plan.element, "temp")
    total, others = _kept(kernel, plan.element, "total")
    numbers = plan.numbers | more | others | {"block_bytes": step}
    numbers |= {"temp.slot": slot, "temp.offset": 0}
    numbers |= {"total.slot": slot, "total.offset": at_once * step}
    temp = (at_once + (blocks > at_once)) * step
    width = min(plan.finish.width, kept.width)
    made = []
    for first in range(0, blocks, at_once):
        count = min(at_once, blocks - first)
        now = numbers | {"first_part": first, "blocks": count}
        made.append(plan._replace(finish=kept, numbers=now).first())
        finish = plan.finish._replace(width=width) if first + count == blocks else total
        made.append(_join(plan._replace(finish=finish, numbers=now), first > 0))
    return [function._replace(temp=temp) for function in made]


def _made(
    text: GemmText, numbers: Numbers, blocks: int, threads: int, shared: int = 0
) -> GpuFunction:
    words, slots = text.words(numbers), text.slots()
    return GpuFunction(text.text, text.symbol, words, slots, blocks, threads, shared)


class _Plan(NamedTuple):
    """What a function of a product is made of; `finish` is the workspace's where it leaves sums of
    blocks of k there."""

    kernel: GemmKernel
    schedule: Schedule
    finish: FinishForm
    numbers: Numbers
    guarded: bool

    @property
    def element(self) -> Accumulator:
        return self.finish.element

    @property
    def parts(self) -> int:
        return self.numbers["blocks"] if self.schedule.split else 1

    def first(self) -> GpuFunction:
        """The function that multiplies."""
        return self._lanes() if self.kernel.order == "lanes" else self._tiles()

    def _tiles(self) -> GpuFunction:
        kernel, tile, split = self.kernel, self.schedule.tile, self.schedule.split
        assert tile is not None
        down, across = -(-kernel.m // tile.rows), -(-kernel.n // tile.cols)
        a, b = loads_of(kernel, self.element)
        groups = self.numbers["blocks"] if self.schedule.together else 1
        several = kernel.k > BLOCK and not split and groups == 1
        ragged = kernel.k % tile.depth != 0
        blocks = kernel.batch * self.parts * down * across
        form = TiledForm(
            a,
            b,
            self.finish,
            tile,
            split,
            several,
            ragged,
            self.guarded,
            groups,
            kernel.batch > 1,
            down > GROUP and blocks > WAVES,
        )
        numbers = self.numbers | {"tiles_down": down, "tiles_across": across}
        threads = tile.threads * groups
        return _made(tiled_text(form), numbers, blocks, threads, shared_bytes(form))

    def _lanes(self) -> GpuFunction:
        kernel, split = self.kernel, self.schedule.split
        a, b = (factor_form(n, o, self.element) for n, o in (("a", kernel.a), ("b", kernel.b)))
        by_thread, rows = rows_at_once(a, kernel.m, self.schedule.few)
        finish, ragged = self.finish._replace(width=1), kernel.k % BLOCK != 0
        form = LanesForm(a, b, finish, by_thread, rows, split, ragged, self.guarded)
        groups = -(-kernel.m // rows)
        units = groups * kernel.n * kernel.batch * self.parts
        numbers = self.numbers | {"row_groups": groups, "all_units": units}
        blocks = -(-units * 32 // LANES_THREADS)
        return _made(lanes_text(form), numbers, blocks, LANES_THREADS)


def _join(plan: _Plan, continued: bool) -> GpuFunction:
    """The function that adds the sums in the workspace; `continued`: to those there are."""
    kernel, finish = plan.kernel, plan.finish
    units = kernel.n // finish.width
    every = kernel.batch * kernel.m * units
    text = join_text(JoinForm(finish, continued, plan.guarded))
    numbers = plan.numbers | {"units": units, "all_units": every}
    return _made(text, numbers, -(-every // JOIN_THREADS), JOIN_THREADS)
