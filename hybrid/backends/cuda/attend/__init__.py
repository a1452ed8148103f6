"""Attention for CUDA: AttendKernel -> GpuFunctions.

Invariant: how the work is cut into blocks of threads depends on the sizes and the card; the bits
are those of ops/products/attend.py and of the CPU.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

from ....ir.attend import BLOCK
from ...attend import anywhere, check_rows
from ...emit.code import check_externals, finish_module
from ...generated import SlotRef, Word, pack_words
from ...plan import AttendKernel
from ..function import STATUS, Card, GpuFunction, signature
from .backward import Backward, Side
from .cores import MOST_COLUMNS
from .fast_backward import FastBackward
from .fast_forward import FastForward
from .forward import Forward
from .tile import LANE_ROWS, THREADS, WARPS, AttendTiling, Element

__all__ = ["generate"]

SHARED = "@shared = external addrspace(3) global [0 x i8], align 16"
# blocks of threads that a multiprocessor holds
BLOCKS_PER_CARD = 3
FAST_BLOCKS_PER_CARD = 3
# Of small problems: blocks a multiprocessor, and bytes of features and of values at a time.
_FEW, _LONG = 2, (128, 16384)


class _Made(NamedTuple):
    """A function over buffers that are not known."""

    function: GpuFunction
    words: tuple[Word, ...]

    def bound(self, numbers: dict[SlotRef, int]) -> GpuFunction:
        words, slots = list(pack_words(self.words, numbers)), []
        for position, word in enumerate(self.words):
            if isinstance(word, SlotRef) and not word.is_offset:
                words[position] = numbers[word]  # STATUS is negative
                slots.append(position)
        return self.function._replace(words=tuple(words), slots=tuple(slots))


def _attributes(blocks: int) -> str:
    return f'nounwind "nvvm.maxntid"="{THREADS}" "nvvm.minctasm"="{blocks}"'


def _rows(kernel: AttendKernel, element: Element, card: Card) -> int:
    """Rows of a thread: as many as registers hold, fewer where they would not be there, or where
    multiprocessors would have no work."""
    rows = 32 // element.size
    while rows > 2:
        fits = _fewest(kernel) > WARPS * LANE_ROWS * rows // 2
        if fits and _blocks(kernel, rows) >= card.multiprocessors:
            break
        rows //= 2
    return rows


def _fewest(kernel: AttendKernel) -> int:
    return min(kernel.m, kernel.n) if kernel.backward else kernel.m


def _blocks(kernel: AttendKernel, rows: int) -> int:
    """Blocks of threads of so many rows a thread."""
    return prod(kernel.batch) * -(-_fewest(kernel) // (WARPS * LANE_ROWS * rows))


def _is_small(kernel: AttendKernel, rows: int, card: Card) -> bool:
    """Whether a multiprocessor has few blocks, so that each should wait for memory as few times as
    can be."""
    return not _is_fast(kernel) and _blocks(kernel, rows) <= _FEW * card.multiprocessors


Way = Forward | Backward | FastForward | FastBackward


def _is_fast(kernel: AttendKernel) -> bool:
    """Whether tensor cores may and can do it; sizes and dtypes decide."""
    fits = min(kernel.e, kernel.f) > 0 and max(kernel.e, kernel.f) <= MOST_COLUMNS
    return fits and kernel.fast != ""


def _ways(kernel: AttendKernel, element: Element, rows: int, small: bool = False) -> list[Way]:
    forward = gradients = AttendTiling(element, rows, 4, 64)
    if small:
        forward = gradients = AttendTiling(element, rows, 4, *_LONG)
        part = forward.block_pairs
        forward = forward._replace(keys=min(BLOCK, max(-(-kernel.n // part), 1) * part))
    if _is_fast(kernel):
        if not kernel.backward:
            return [FastForward(kernel, forward)]
        sides: tuple[Side, Side] = ("keys", "queries")
        return [FastBackward(kernel, gradients, side) for side in sides]
    if not kernel.backward:
        return [Forward(kernel, forward)]
    return [Backward(kernel, gradients, "keys"), Backward(kernel, gradients, "queries")]


@lru_cache(64)
def _made(kernel: AttendKernel, rows: int, small: bool, guarded: bool) -> tuple[_Made, ...]:
    """The functions of a kernel whose operands may lie anywhere."""
    element = Element.of(kernel.writes[0].dtype)
    made: list[_Made] = []
    blocks = FAST_BLOCKS_PER_CARD if _is_fast(kernel) else BLOCKS_PER_CARD
    for one in _ways(kernel, element, rows, small):
        writer = one.writer
        if guarded:
            writer.guard()
        one.write()
        writer.code.do("ret void")
        words = tuple(writer.words.values)
        text, symbol = finish_module(
            writer.code, signature(len(words)), "attend", _attributes(blocks)
        )
        text = f"{SHARED}\n{text}"
        check_externals(text)
        grid = one.each * one.tiles
        function = GpuFunction(text, symbol, (), (), grid, THREADS, one.shared, beside=bool(made))
        made.append(_Made(function, words))
    return tuple(made)


def generate(
    kernel: AttendKernel, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """The functions that compute attention or its gradients, to run in order."""
    if not prod(kernel.batch) or not max(kernel.m, kernel.n if kernel.backward else 0):
        return []
    check_rows(kernel)
    moved, numbers = anywhere(kernel)
    numbers[SlotRef("status")] = STATUS
    rows = _rows(kernel, Element.of(kernel.writes[0].dtype), card)
    small = _is_small(kernel, rows, card)
    made = _made(moved, rows, small, guarded)
    return [one.bound(numbers) for one in made if one.function.blocks]
