"""Loop kernels -> functions of a card: the schedule, the text, the argument words, the grid.

Invariant: the text depends on the form and the schedule only; sizes, strides, offsets, slots and
run-time scalars are words, and no schedule changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from ....core.cache import Bounded
from ...emit.code import Code, check_externals, finish_module
from ...emit.form import FormKind
from ...emit.loops import Layout, lay_out
from ...plan import LoopKernel
from ..function import Card, GpuFunction, signature
from .areas import BESIDE, schedule_staged
from .columns import column_steps
from .lanes import SHARED
from .maps import THREADS, emit_map, schedule_map
from .rows import THREADS as ROW_THREADS
from .rows import emit_rows, schedule_rows
from .schedule import Numbers, extended, work_of
from .split import THREADS as SPLIT_THREADS
from .split import emit_split, is_split, split_steps
from .staged import emit_staged
from .strips import emit_columns
from .tiles import THREADS as TILE_THREADS
from .tiles import emit_tiles, schedule_tiles

__all__ = ["generate"]

_MOST_THREADS = 1024
# Threads of programs of more instructions get as many registers as they ask for; the others leave
# room for more blocks, which is faster wherever it was measured.
_LONG = 2000
_TEXTS = Bounded[tuple[str, str]](4096, 16 << 20, lambda made: len(made[0]))
Emitter = Callable[[], Code]


def _function(
    key: tuple[Any, ...],
    emit: Emitter,
    words: tuple[tuple[int, ...], tuple[int, ...]],
    blocks: int,
    threads: int,
    shared: int = 0,
    beside: int = 0,
) -> GpuFunction:
    """A function whose text depends on the key only; `beside`: blocks that have to fit on a
    multiprocessor, 0 where more registers are worth less than more blocks."""

    if threads == _MOST_THREADS or work_of(key[0]) > _LONG:
        beside = max(beside, 1)

    def made() -> tuple[str, str]:
        code = emit()
        code.do("ret void")
        attributes = f'nounwind "nvvm.maxntid"="{threads}"' + (
            f' "nvvm.minctasm"="{beside}"' if beside else ""
        )
        text, symbol = finish_module(code, signature(len(words[0])), key[0].kind, attributes)
        if "@shared" in text:
            text = f"{SHARED}\n{text}"
        check_externals(text)
        return text, symbol

    text, symbol = _TEXTS.of((*key, len(words[0]), threads, beside), made)
    return GpuFunction(text, symbol, *words, blocks, threads, shared)


def _map(kernel: LoopKernel, card: Card, guarded: bool) -> list[GpuFunction]:
    made = lay_out(kernel, plain=True)
    if not prod(kernel.shape):
        return []
    tiled = _tiles(kernel, guarded)
    if tiled is not None:
        return [tiled]
    schedule, own, blocks = schedule_map(made, card)
    words = extended(made, own)
    function = _function(
        (made.form, schedule, guarded),
        lambda: emit_map(made.form, schedule, guarded),
        words,
        blocks,
        THREADS,
    )
    # the number of the check is the last word of the schedule
    return [function._replace(check=len(words[0]) - 1 if kernel.check else -1)]


def _tiles(kernel: LoopKernel, guarded: bool) -> GpuFunction | None:
    """A map that reads across its rows; None where another schedule serves it."""
    made = lay_out(kernel)
    found = schedule_tiles(made) if made.form.kind is FormKind.TILED else None
    if found is None:
        return None
    schedule, own, blocks, shared = found
    return _function(
        (made.form, schedule, guarded),
        lambda: emit_tiles(made.form, schedule, guarded),
        extended(made, own),
        blocks,
        TILE_THREADS,
        shared,
    )


def _rows(kernel: LoopKernel, card: Card, temp_slot: int, guarded: bool) -> list[GpuFunction]:
    made = lay_out(kernel, plain=True)
    rows = Numbers(made).outer
    if not rows:
        return []
    if is_split(made, card):
        return _split_rows(made, temp_slot, guarded)
    short = schedule_rows(made, card)
    if short is not None:
        schedule, own, blocks = short
        return [
            _function(
                (made.form, schedule, guarded),
                lambda: emit_rows(made.form, schedule, guarded),
                extended(made, own),
                blocks,
                ROW_THREADS,
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
            BESIDE if staged.partly else 0,
        )
    ]


def _split_rows(made: Layout, temp_slot: int, guarded: bool) -> list[GpuFunction]:
    steps, temp = split_steps(made)
    return [
        _function(
            (made.form, step.schedule, guarded),
            partial(emit_split, made.form, step.schedule, guarded),
            extended(made, step.own, temp_slot),
            -(-step.warps * 32 // SPLIT_THREADS),
            SPLIT_THREADS,
        )._replace(temp=temp)
        for step in steps
    ]


def _columns(kernel: LoopKernel, card: Card, temp_slot: int, guarded: bool) -> list[GpuFunction]:
    made = lay_out(kernel, plain=True)
    if not Numbers(made).outer * Numbers(made).length:
        return []
    steps, temp = column_steps(made, card)
    return [
        _function(
            (made.form, step.schedule, guarded),
            partial(emit_columns, made.form, step.schedule, guarded),
            extended(made, step.own, temp_slot if temp else None),
            step.blocks,
            step.threads,
            step.shared,
        )._replace(temp=temp)
        for step in steps
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
        return _rows(kernel, card, temp_slot, guarded)
    return _columns(kernel, card, temp_slot, guarded)
