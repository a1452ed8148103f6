"""Loop kernels -> functions of a card: the schedule, the text, the argument words, the grid.

Invariant: the text depends on the form and the schedule only; sizes, strides, offsets, slots and
run-time scalars are words, and no schedule changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ....core.cache import Bounded
from ...emit.code import Code, check_externals, finish_module
from ...emit.loops import lay_out
from ...plan import LoopKernel
from ..function import Card, GpuFunction, signature
from .maps import THREADS, emit_map, schedule_map
from .places import SHARED, schedule_staged
from .plain import emit_columns
from .rows import THREADS as SHORT_THREADS
from .rows import emit_rows as emit_short_rows
from .rows import schedule_rows
from .schedule import extended
from .staged import emit_staged

__all__ = ["generate"]

_ROW_THREADS, _MOST_BLOCKS = 64, 1 << 20
_TEXTS = Bounded[tuple[str, str]](4096, 16 << 20, lambda made: len(made[0]))
Emitter = Callable[[], Code]


def _function(
    key: tuple[Any, ...],
    emit: Emitter,
    words: tuple[tuple[int, ...], tuple[int, ...]],
    blocks: int,
    threads: int,
    shared: int = 0,
) -> GpuFunction:
    """A function whose text depends on the key only."""

    def made() -> tuple[str, str]:
        code = emit()
        code.do("ret void")
        attributes = f'nounwind "nvvm.maxntid"="{threads}"'
        text, symbol = finish_module(code, signature(len(words[0])), key[0].kind, attributes)
        if "@shared" in text:
            text = f"{SHARED}\n{text}"
        check_externals(text)
        return text, symbol

    text, symbol = _TEXTS.of((*key, len(words[0]), threads), made)
    return GpuFunction(text, symbol, *words, blocks, threads, shared)


def _map(kernel: LoopKernel, card: Card, guarded: bool) -> list[GpuFunction]:
    made = lay_out(kernel, plain=True)
    if not prod(kernel.shape):
        return []
    schedule, own, blocks = schedule_map(made, card)
    return [
        _function(
            (made.form, schedule, guarded),
            lambda: emit_map(made.form, schedule, guarded),
            extended(made, own),
            blocks,
            THREADS,
        )
    ]


def _rows(kernel: LoopKernel, card: Card, guarded: bool) -> list[GpuFunction]:
    assert kernel.group is not None
    made, rows = lay_out(kernel, plain=True), prod(kernel.shape[: kernel.group[0]])
    if not rows:
        return []
    short = schedule_rows(made, card)
    if short is not None:
        schedule, own, blocks = short
        return [
            _function(
                (made.form, schedule, guarded),
                lambda: emit_short_rows(made.form, schedule, guarded),
                extended(made, own),
                blocks,
                SHORT_THREADS,
            )
        ]
    staged, own, shared = schedule_staged(made, card)
    return [
        _function(
            (made.form, staged, guarded),
            lambda: emit_staged(made.form, staged, guarded),
            extended(made, own),
            rows,
            staged.threads,
            shared,
        )
    ]


def _columns(kernel: LoopKernel, card: Card, guarded: bool) -> list[GpuFunction]:
    assert kernel.group is not None
    made, (start, stop) = lay_out(kernel, plain=True), kernel.group
    columns = prod(kernel.shape[:start] + kernel.shape[stop:])
    if not columns:
        return []
    return [
        _function(
            (made.form, guarded),
            lambda: emit_columns(made.form, guarded),
            extended(made),
            min(-(-columns // THREADS), _MOST_BLOCKS),
            THREADS,
        )
    ]


def generate(
    kernel: LoopKernel, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """Functions that together are a loop kernel, to run in order.

    >>> functions = generate(kernel, Card(), temp_slot=3)  # doctest: +SKIP
    """
    guarded = guarded or any(access.gather for access in kernel.reads)
    if kernel.group is None:
        return _map(kernel, card, guarded)
    if kernel.group[1] == len(kernel.shape):
        return _rows(kernel, card, guarded)
    return _columns(kernel, card, guarded)
