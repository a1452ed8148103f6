"""Kernels of a plan -> native steps: generation and compilation, shared by eager calls and plans.

Invariant: kernels of equal structure share one function; what differs is in the argument words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.cache import Bounded
from ...core.errors import BackendError, blame, blamed
from ...ir.door.bind import current_mode
from ..emit.loops import generate_all as generate_loop
from ..plan import AttendKernel, GemmKernel, Kernel, LoopKernel, Operand, ScatterKernel
from . import scatter
from .attend import generate as generate_attend
from .gemm import generate as generate_gemm
from .machine.jit import compile_many
from .python.caller import Step

__all__ = ["steps", "step_lists"]

# functions of products, for calls and plans that differ in their slots only
_GENERATED = Bounded[list[Any]](512, 8 << 20, lambda made: sum(len(g.text) for g in made))
# words that stand for slots; no size, offset or stride is that large
_MARK, _SPAN = (0x5107 << 48, 1 << 20)


def _gemm(kernel: GemmKernel, temp_slot: int) -> list[Any]:
    """Generated functions of a product from those of one that differs in its slots only."""
    if any(abs(p - _MARK) <= _SPAN for p in kernel.params):
        return generate_gemm(kernel, temp_slot)  # would be taken for slots
    slots = {temp_slot: _MARK}

    def mark(slot: int) -> int:
        return slots.setdefault(slot, _MARK + len(slots))

    def operand(o: Operand) -> Operand:
        return o._replace(slot=mark(o.slot))

    a, b, outs = operand(kernel.a), operand(kernel.b), tuple(map(operand, kernel.outs))
    reads = tuple(r._replace(slot=mark(r.slot)) for r in kernel.reads)
    kernel = kernel._replace(a=a, b=b, outs=outs, reads=reads)
    temp_slot = _MARK if temp_slot >= 0 else temp_slot
    made = _GENERATED.of((kernel, temp_slot), lambda: generate_gemm(kernel, temp_slot))
    back = {m: s for s, m in slots.items()}
    return [g._replace(words=tuple(back.get(w, w) for w in g.words)) for g in made]


def _generated(kernel: Kernel, temp_slot: int) -> list[Any]:
    """Functions of a kernel, to run in order; their workspace is slot `temp_slot`."""
    if isinstance(kernel, LoopKernel):
        return generate_loop(kernel, temp_slot)
    if isinstance(kernel, GemmKernel):
        return _gemm(kernel, temp_slot)
    if isinstance(kernel, ScatterKernel):
        return scatter.generate(kernel)
    if isinstance(kernel, AttendKernel):
        return generate_attend(kernel)
    raise BackendError(f"{type(kernel).__name__} is no native kernel")


def _culprit(error: Exception, kernels: Sequence[Kernel], made: list[list[Any]]) -> Kernel | None:
    """The kernel whose generation or compilation failed."""
    if len(made) < len(kernels):
        return kernels[len(made)]
    symbol = blamed(error).get("symbol")
    owners = (k for k, gs in zip(kernels, made) for g in gs if g.symbol == symbol)
    return next(owners, None)


def step_lists(kernels: Sequence[Kernel], temp_slot: int) -> tuple[list[list[Step]], int]:
    """(steps of each kernel, most bytes of workspace in slot `temp_slot` that one uses)."""
    mode = current_mode()
    resume = mode.pause() if mode is not None else None
    made: list[list[Any]] = []
    try:
        for k in kernels:
            made.append(_generated(k, temp_slot))
        flat = [g for gs in made for g in gs]
        codes = iter(compile_many([(g.symbol, g.text) for g in flat]))
    except Exception as e:
        blame(e, kernel=_culprit(e, kernels, made))
        raise
    finally:
        if resume is not None:
            resume()
    temp = max((getattr(g, "temp", 0) for g in flat), default=0)
    return [
        [Step(next(codes), g.words, g.items, g.grain, g.scratch) for g in gs] for gs in made
    ], temp


def steps(kernels: Sequence[Kernel], temp_slot: int) -> tuple[list[Step], int]:
    """`step_lists` as one list."""
    lists, temp = step_lists(kernels, temp_slot)
    return [s for each in lists for s in each], temp
