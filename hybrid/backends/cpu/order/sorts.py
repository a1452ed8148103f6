"""Sorted values of contiguous lines: each by a thread, or a single long one by all of them.

Invariant: sizes alone decide which way is taken, and both give the same bits.
"""

from __future__ import annotations

from typing import Any

from ...generated import Generated, pack_words
from ...plan import HostStep
from . import shared, values
from .lines import kind_of, sizes_of, words_of
from .values import CHUNK, network_of, scratch_of, sorting

__all__ = ["sorted_values"]

_SLOW = 32  # bits of elements whose sort takes much longer than to move them to their parts


def sorted_values(step: HostStep, temp_slot: int) -> list[Generated]:
    """The function that sorts contiguous lines."""
    sort: Any = step.algorithm
    given = step.avals[0]
    lines, extent, inner = sizes_of(given, sort.axis)
    elements, here = kind_of(given.dtype), values.registers()
    operands = step.inputs[0], 0, step.outputs[0], 0
    sizes = extent, inner, *words_of(given.dtype, sort.descending)
    if lines == 1 and extent >= shared.LONG and elements.bits >= _SLOW:
        long = shared.LongOrder(elements, False, here)
        return shared.sorted_by_all(long, (*operands, temp_slot), sizes)
    words = pack_words((*operands, *sizes), {})
    made = sorting(elements, network_of(elements, here, extent), here)
    grain = max(1, CHUNK // max(extent, 1))
    scratch = scratch_of(elements, extent, 1 if inner == 1 else 3)
    return [Generated(*made, words, lines if extent else 0, grain, scratch)]
