"""What is left of a product after the library's: operands copied before, the epilogue after.

Invariant: an epilogue sees what an eager call stores, the sum (with its bias) rounded once to the
factors' dtype; rounding that again changes nothing.
"""

from __future__ import annotations

from ....core.shapes import contiguous_strides
from ....ir.scalar.compose import Composer, operand_type
from ....ir.scalar.program import BITS, Program, Val
from ...plan import Access, GemmKernel, LoopKernel, Operand
from ...product import bias_program

__all__ = ["copy_kernel", "epilogue_kernel", "stores_sum"]

Ints = tuple[int, ...]


def copy_kernel(operand: Operand, shape: Ints, strides: Ints, target: Access) -> LoopKernel:
    """The operand's elements into adjacent ones."""
    composer = Composer()
    element = composer.s.arg(operand_type(operand.dtype))
    read = Access(operand.slot, operand.dtype, operand.offset, strides)
    return LoopKernel(shape, None, composer.s.program(element), (read,), (target,))


def stores_sum(kernel: GemmKernel) -> bool:
    """Whether the kernel stores what the library gives, in one output, and nothing else."""
    if len(kernel.outs) != 1 or kernel.outs[0].dtype is not kernel.a.dtype:
        return False
    if kernel.epilogue is None:
        return True
    if not kernel.biased or len(kernel.reads) != 1:
        return False
    dtype = kernel.a.dtype
    return kernel.epilogue == bias_program(kernel.acc, kernel.reads[0].dtype, dtype)


def _shape(kernel: GemmKernel) -> Ints:
    out = kernel.outs[0]
    return (*out.batch.sizes, *out.rows.sizes, *out.cols.sizes)


def epilogue_kernel(kernel: GemmKernel, slot: int, offset: int) -> LoopKernel:
    """The epilogue over results of the library that lie at an offset of a slot."""
    shape = _shape(kernel)
    first = Access(slot, kernel.a.dtype, offset, contiguous_strides(shape))
    writes = tuple(
        Access(o.slot, o.dtype, o.offset, o.batch.strides + o.rows.strides + o.cols.strides)
        for o in kernel.outs
    )
    reads = (first, *kernel.reads[kernel.biased :])
    return LoopKernel(shape, None, _program(kernel), reads, writes, kernel.params)


def _program(kernel: GemmKernel) -> Program:
    """The epilogue with the rounded sum as its argument 0 and nothing more to add."""
    composer = Composer()
    total = composer.arg(kernel.a.dtype)
    if kernel.epilogue is None:
        return composer.finish([total], [kernel.outs[0].dtype])
    program, builder = kernel.epilogue, composer.s
    read = {instr.attr for instr in program.instrs if instr.prim == "arg"}
    arguments: dict[int, Val] = {0: total}
    for number, kind in enumerate(program.args[1:], 1):
        if number == 1 and kernel.biased:
            arguments[1] = builder.bits(kind, 1 << (BITS[kind] - 1))  # -0.0 changes no sum
        elif number in read:
            arguments[number] = builder.arg(kind)
        else:
            builder.operand(kind)
    params = [builder.param(kind) for kind in program.params]
    values: list[Val] = []
    for prim, kind, operands, attr in program.instrs:
        if prim == "arg":
            values.append(arguments[attr])
        elif prim == "param":
            values.append(params[attr])
        else:
            if prim == "load":
                attr -= kernel.biased
            values.append(builder.emit(prim, kind, tuple([values[x].id for x in operands]), attr))
    return builder.program(*[values[number] for number in program.outs])
