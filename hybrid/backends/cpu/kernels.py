"""Kernels of a plan -> native steps: generation and compilation, shared by eager calls and plans.

Invariant: kernels of equal structure share one function; what differs is in the argument words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.cache import Bounded
from ...core.errors import BackendError, blame, blamed
from ...ir.algorithm import Assign, BitsSpread, BitsTogether, Divisor, Scan
from ...ir.door.bind import current_mode
from ..emit.loops import generate_all as generate_loop
from ..generated import Generated, Template
from ..plan import AttendKernel, GemmKernel, HostStep, Kernel, LoopKernel, Operand, ScatterKernel
from . import integers, masks, order, scan, scatter
from .attend import generate as generate_attend
from .gemm import Target, over_slots, templates
from .machine.jit import compile_many
from .python.caller import NativeStep

__all__ = ["generated", "steps", "step_lists"]


def _text_bytes(made: list[Template]) -> int:
    return sum(len(template.function.text) for template in made)


# functions of products, for calls and plans that differ in their slots only
_GENERATED = Bounded[list[Template]](512, 8 << 20, _text_bytes)


def _gemm(kernel: GemmKernel, temp_slot: int, target: Target | None) -> list[Generated]:
    """Functions of a product, generated once for all slots."""

    def anywhere(operand: Operand) -> Operand:
        return operand._replace(slot=0)

    moved = kernel._replace(
        a=anywhere(kernel.a),
        b=anywhere(kernel.b),
        outs=tuple(map(anywhere, kernel.outs)),
        reads=tuple([read._replace(slot=0) for read in kernel.reads]),
    )
    workspace = temp_slot >= 0
    made = _GENERATED.of((moved, workspace, target), lambda: templates(moved, workspace, target))
    return over_slots(kernel, made, temp_slot)


_NATIVE: dict[Any, Callable[[HostStep, int], list[Generated]]] = {
    Scan: scan.generate,
    **order.GENERATE,
    Assign: scatter.assigned,
    Divisor: integers.divisors,
    BitsTogether: integers.together_bits,
    BitsSpread: integers.spread_bits,
    **masks.GENERATE,
}


def generated(kernel: Kernel, temp_slot: int, target: Target | None = None) -> list[Generated]:
    """Functions of a kernel, to run in order; their workspace is slot `temp_slot`.  They have the
    sizes of loops that suit a target (this machine)."""
    if isinstance(kernel, LoopKernel):
        return generate_loop(kernel, temp_slot)
    if isinstance(kernel, GemmKernel):
        return _gemm(kernel, temp_slot, target)
    if isinstance(kernel, ScatterKernel):
        return scatter.generate(kernel)
    if isinstance(kernel, AttendKernel):
        return generate_attend(kernel, target)
    if isinstance(kernel, HostStep) and kernel.native:
        return _NATIVE[type(kernel.algorithm)](kernel, temp_slot)
    raise BackendError(f"{type(kernel).__name__} is no native kernel")


def _culprit(
    error: Exception, kernels: Sequence[Kernel], made: list[list[Generated]]
) -> Kernel | None:
    """The kernel whose generation or compilation failed."""
    if len(made) < len(kernels):
        return kernels[len(made)]
    symbol = blamed(error).get("symbol")
    owners = (k for k, gs in zip(kernels, made) for g in gs if g.symbol == symbol)
    return next(owners, None)


def step_lists(kernels: Sequence[Kernel], temp_slot: int) -> tuple[list[list[NativeStep]], int]:
    """(steps of each kernel, most bytes of workspace in slot `temp_slot` that one uses)."""
    mode = current_mode()
    resume = mode.pause() if mode is not None else None
    made: list[list[Generated]] = []
    try:
        for kernel in kernels:
            made.append(generated(kernel, temp_slot))
        functions = [g for gs in made for g in gs]
        codes = iter(compile_many([(g.symbol, g.text) for g in functions]))
    except Exception as error:
        blame(error, kernel=_culprit(error, kernels, made))
        raise
    finally:
        if resume is not None:
            resume()
    temp = max((g.temp for g in functions), default=0)
    return [
        [NativeStep(next(codes), g.words, g.items, g.grain, g.scratch, g.temp) for g in gs]
        for gs in made
    ], temp


def steps(kernels: Sequence[Kernel], temp_slot: int) -> tuple[list[NativeStep], int]:
    """`step_lists` as one list."""
    lists, temp = step_lists(kernels, temp_slot)
    return [s for each in lists for s in each], temp
