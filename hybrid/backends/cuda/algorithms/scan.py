"""Running sums and products: totals of the blocks of a line, what is before each, then the results.

Invariant: chains (blocks of lines) and the order of totals are all that decides on a bit; schedules
only say which thread walks which chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import numpy as np

from ....core import dtypes as dt
from ....ir.algorithm import SCAN_BLOCK, Scan
from ...plan import HostStep
from ..function import Card, GpuFunction
from .scan_code import WARP, Chains, StagedChains
from .values import converted
from .writer import Memory, Text, Workspace, blocks_for

__all__ = ["generate"]


@lru_cache(None)
def _text(step: str, dtype: np.dtype, combine: str, guarded: bool, staged: bool) -> Text:
    sums = combine == "add"
    if dtype is dt.bool_:
        made = ("i8", "or", "0") if sums else ("i8", "and", "1")
    elif dt.is_float(dtype):
        kind = "double" if dtype is dt.float64 else "float"
        made = kind, f"f{combine}", "-0.0" if sums else "1.0"
    else:
        made = f"i{8 * dtype.itemsize}", combine, "0" if sums else "1"
    writer = StagedChains(guarded, *made) if staged else Chains(guarded, *made)
    getattr(writer, step)()
    return writer.finish(f"scan_{step}")


def generate(
    scan: Scan, step: HostStep, card: Card, temp_slot: int, guarded: bool
) -> list[GpuFunction]:
    """Functions that are a scan; values of other dtypes than they are combined in are converted
    before, and results after."""
    given, made = step.avals
    if not given.size:
        return []
    dtype, count, space = dt.compute_type(made.dtype), given.size, Workspace(temp_slot)
    source, target = Memory(step.inputs[0]), Memory(step.outputs[0])
    before, after = list[GpuFunction](), list[GpuFunction]()
    if given.dtype is not dtype:
        wide = space.take(count * dtype.itemsize)
        before = converted(count, (source, given.dtype), (wide, dtype), card, guarded)
        source = wide
    if made.dtype is not dtype:
        wide = space.take(count * dtype.itemsize)
        after = converted(count, (wide, dtype), (target, made.dtype), card, guarded)
        target = wide
    parts = _scanned(scan, given.shape, dtype, (source, target), space, guarded)
    return [*before, *parts, *after]


def _scanned(
    scan: Scan,
    shape: Sequence[int],
    dtype: np.dtype,
    operands: tuple[Memory, Memory],
    space: Workspace,
    guarded: bool,
) -> list[GpuFunction]:
    """The scan of contiguous values of the dtype that they are combined in."""
    extent = shape[scan.axis]
    blocks, lines = -(-extent // SCAN_BLOCK), prod(shape) // extent
    chains = lines * blocks
    totals = space.take(chains * dtype.itemsize if blocks > 1 else 0)
    values = dict[str, Memory | int](x=operands[0], out=operands[1], totals=totals)
    values |= dict(extent=extent, inner=prod(shape[scan.axis + 1 :]))
    values |= dict(blocks=blocks, chains=chains, lines=lines, longest=min(extent, SCAN_BLOCK))
    aside = values["inner"] == 1 and extent >= WARP  # chains whose elements are side by side

    def launch(name: str, items: int, staged: bool = False) -> GpuFunction:
        text = _text(name, dtype, scan.combine, guarded, staged)
        return text.launch(blocks_for(items, text.threads), space.size, **values)

    if blocks == 1:
        return [launch("results", chains, aside)]
    before = launch("before", lines)
    return [launch("totals", chains, aside), before, launch("behind", chains, aside)]
