"""From a kernel and a tile to its functions.

Invariant: a schedule gives the bits of every other one; which one is best is for `choose` to say.
"""

from __future__ import annotations

from typing import NamedTuple

from ....core.shapes import collapse
from ...plan import Dims, GemmKernel, Operand
from ..function import Card, GpuFunction
from .direct import direct
from .forms import (
    Element,
    Finish,
    Numbers,
    OperandForm,
    Step,
    WalkForm,
    element_of,
    factor_form,
    finish_of,
    numbers_of,
)
from .join import JOIN_THREADS, JoinForm, join_text
from .tile import BLOCK, LoadForm, Tile, load_form
from .tiled import TiledForm, shared_bytes, tiled_text
from .words import with_status

__all__ = ["Schedule", "functions", "oriented", "turned"]


class Schedule(NamedTuple):
    """How to run a product: in tiles, with blocks of k `split` over blocks of threads, or (no tile)
    with one thread per output.  `turned`: rows and columns change places."""

    tile: Tile | None
    split: bool = False
    turned: bool = False

    @property
    def name(self) -> str:
        base = "direct" if self.tile is None else self.tile.name
        return base + (" split" if self.split else "") + (" turned" if self.turned else "")


def turned(kernel: GemmKernel) -> GemmKernel:
    """The transposed product: its rows are the columns of the other."""

    def turn(operand: Operand) -> Operand:
        return operand._replace(rows=operand.cols, cols=operand.rows)

    out = kernel.outs[0]
    batch, rows = len(out.batch.sizes), len(out.rows.sizes)
    reads = tuple(
        read._replace(
            strides=read.strides[:batch]
            + read.strides[batch + rows :]
            + read.strides[batch : batch + rows]
        )
        for read in kernel.reads
    )
    return kernel._replace(
        m=kernel.n,
        n=kernel.m,
        a=turn(kernel.b),
        b=turn(kernel.a),
        outs=tuple(turn(o) for o in kernel.outs),
        reads=reads,
    )


def oriented(kernel: GemmKernel) -> bool:
    """Whether the columns of the first result lie side by side, or its rows do not either."""

    def adjacent(dims: Dims) -> bool:
        sizes, (strides,) = collapse(dims.sizes, [dims.strides])
        return bool(strides) and strides[-1] == 1

    out = kernel.outs[0]
    return adjacent(out.cols) or not adjacent(out.rows)


def _run(dims: Dims) -> int:
    """Length of the fastest dimension."""
    sizes, _ = collapse(dims.sizes, [dims.strides])
    return sizes[-1] if sizes else 1


def _loads(kernel: GemmKernel, element: Element) -> tuple[LoadForm, LoadForm]:
    a, b = kernel.a, kernel.b
    found = []
    for name, operand, lines, k in (("a", a, a.rows, a.cols), ("b", b, b.cols, b.rows)):
        spread = sum(abs(stride) * size for size, stride in zip(lines.sizes, lines.strides))
        far = spread * operand.dtype.itemsize >= 1 << 31
        form = factor_form(name, operand, element)
        found.append(load_form(form, element, (_run(lines), _run(k)), far))
    return found[0], found[1]


def _workspace(kernel: GemmKernel, element: Element, slot: int) -> tuple[Finish, Numbers, int]:
    """Sums as results: rows of columns, for each batch, for each block of k; what is the number of
    bytes from block to block."""
    row = kernel.n * element.size
    one, strided = WalkForm(1, Step.ADJACENT), WalkForm(1, Step.STRIDED)
    width = 16 // element.size
    form = OperandForm(
        "temp", element.name, kernel.acc.name, element.size, strided, strided, one, 1, width
    )
    numbers = {
        "temp.slot": slot,
        "temp.offset": 0,
        "temp.batch.stride0": kernel.m * row,
        "temp.rows.stride0": row,
        "temp.cols.stride0": element.size,
    }
    finish = Finish(element, None, (), (form,), width if kernel.n % width == 0 else 1)
    return finish, numbers, kernel.batch * kernel.m * row


def functions(
    kernel: GemmKernel, schedule: Schedule, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """The functions of a product of which no size but k is 0."""
    tile = schedule.tile
    if schedule.turned:
        kernel = turned(kernel)
    if tile is None:
        return [direct(kernel, guarded)]
    element, finish = element_of(kernel.acc), finish_of(kernel)
    numbers = with_status(numbers_of(kernel))
    blocks = -(-kernel.k // BLOCK)
    down, across = -(-kernel.m // tile.rows), -(-kernel.n // tile.cols)
    numbers |= {"tiles_down": down, "tiles_across": across, "blocks": blocks}
    parts, own, temp, step = 1, finish, 0, 0
    if schedule.split:
        own, more, step = _workspace(kernel, element, temp_slot)
        numbers |= more
        parts, temp = blocks, blocks * step
    a, b = _loads(kernel, element)
    several = blocks > 1 and not schedule.split
    form = TiledForm(a, b, own, tile, schedule.split, several, kernel.k % tile.depth != 0, guarded)
    text = tiled_text(form)
    first = GpuFunction(
        text.text,
        text.symbol,
        text.words(numbers),
        text.slots(),
        kernel.batch * parts * down * across,
        tile.threads,
        shared_bytes(form),
        temp,
    )
    if not schedule.split:
        return [first]
    return [first, _join(kernel, numbers, finish, own.width, step, temp, guarded)]


def _join(
    kernel: GemmKernel,
    numbers: Numbers,
    finish: Finish,
    width: int,
    step: int,
    temp: int,
    guarded: bool,
) -> GpuFunction:
    width = min(finish.width, width)
    text = join_text(JoinForm(finish._replace(width=width), guarded))
    units = kernel.n // width
    every = kernel.batch * kernel.m * units
    numbers = numbers | {"units": units, "all_units": every, "block_bytes": step}
    return GpuFunction(
        text.text,
        text.symbol,
        text.words(numbers),
        text.slots(),
        -(-every // JOIN_THREADS),
        JOIN_THREADS,
        0,
        temp,
    )
