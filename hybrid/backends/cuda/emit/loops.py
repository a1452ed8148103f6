"""Loop kernels -> functions of a card: the schedule, the text, the argument words, the grid.

Invariant: the text depends on the form and the schedule only; sizes, strides, offsets, slots and
run-time scalars are words, and no schedule changes a bit.
"""

from __future__ import annotations

from math import prod

from ....core.cache import Bounded
from ...emit.code import check_externals, finish_module
from ...emit.form import Form, FormKind, Words
from ...emit.loops import Layout, lay_out
from ...plan import LoopKernel
from ..function import STATUS, Card, GpuFunction, signature
from .plain import CELLS, emit_columns, emit_map, emit_rows

__all__ = ["generate"]

_THREADS, _ROW_THREADS, _MOST_BLOCKS = 256, 64, 1 << 20
_EMIT = {FormKind.MAP: emit_map, FormKind.ROW: emit_rows, FormKind.COLUMN: emit_columns}
_TEXTS = Bounded[tuple[str, str]](4096, 16 << 20, lambda made: len(made[0]))


def _text(form: Form, guarded: bool) -> tuple[str, str]:
    status = Words(form).temp
    code = _EMIT[form.kind](form, status, guarded)
    code.do("ret void")
    threads = _ROW_THREADS if form.kind is FormKind.ROW else _THREADS
    attributes = f'nounwind "nvvm.maxntid"="{threads}"'
    text, symbol = finish_module(code, signature(status + 1), form.kind, attributes)
    if "@cells" in text:
        text = f"{CELLS}\n{text}"
    check_externals(text)
    return text, symbol


def _threads(kernel: LoopKernel) -> int:
    """Threads of a plain kernel: one for each element or column."""
    return prod(
        size
        for axis, size in enumerate(kernel.shape)
        if kernel.group is None or not kernel.group[0] <= axis < kernel.group[1]
    )


def _plain(kernel: LoopKernel, made: Layout, guarded: bool) -> GpuFunction:
    form = made.form
    text, symbol = _TEXTS.of((form, guarded), lambda: _text(form, guarded))
    threads = _ROW_THREADS if form.kind is FormKind.ROW else _THREADS
    if form.kind is FormKind.ROW:
        assert kernel.group is not None
        blocks = prod(kernel.shape[: kernel.group[0]])
    else:
        blocks = -(-_threads(kernel) // _THREADS)
    words = Words(form)
    slots = (*(words.slot(operand) for operand in range(words.ops)), words.temp)
    blocks = max(1, min(blocks, _MOST_BLOCKS))
    return GpuFunction(text, symbol, (*made.words, STATUS), slots, blocks, threads)


def generate(
    kernel: LoopKernel, card: Card, temp_slot: int, guarded: bool = False
) -> list[GpuFunction]:
    """Functions that together are a loop kernel, to run in order.

    >>> functions = generate(kernel, Card(), temp_slot=3)  # doctest: +SKIP
    """
    guarded = guarded or any(access.gather for access in kernel.reads)
    return [_plain(kernel, lay_out(kernel, plain=True), guarded)]
