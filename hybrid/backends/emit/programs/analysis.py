"""What is known of a form's program before code is made: what it costs, which values are the same
for a whole row and which grow by one per lane.

Invariant: only the form is asked, never a kernel's numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from ....ir.scalar.program import BITS, POSITIONS, PRIMS, REDUCTIONS, Program
from ..form import Form, Walk
from .detours import skipped

__all__ = ["cost", "code_size", "exposed_values", "length", "uniform_values"]


def cost(program: Program, numbers: Iterable[int]) -> int:
    """A rough count of vector instructions that run, detours left out."""
    numbers = list(numbers)
    return length(program, set(numbers) - skipped(program, numbers))


def length(program: Program, numbers: Iterable[int]) -> int:
    """A rough count of vector instructions."""
    return sum(PRIMS[program.instrs[i].prim].cost for i in numbers)


def code_size(program: Program, numbers: Iterable[int], unroll: int) -> int:
    """A rough count of the instructions of a loop that evaluates `unroll` vectors of 16 a turn
    (0: one, masked), and of its masked tail; a detour is in each of them once."""
    numbers = list(numbers)
    seldom, bodies = skipped(program, numbers), 1 + (unroll > 0)
    wide = 1 + any(BITS[program.instrs[i].type] == 64 for i in numbers)
    usual = length(program, set(numbers) - seldom)
    return wide * (usual * (1 + unroll) + length(program, seldom) * bodies)


def exposed_values(program: Program) -> set[int]:
    """Which instructions' values are stored or reduced."""
    reduced = (i.args for i in program.instrs if i.prim in REDUCTIONS)
    return set(program.outs).union(*reduced)


def uniform_values(form: Form) -> list[bool]:
    """Which instructions have one value per row (in a column kernel: per call)."""
    uniform: list[bool] = []
    affine = iter(form.affine)
    column = form.kind.columns
    for instr in form.program.instrs:
        if instr.prim in POSITIONS:
            uniform.append(next(affine)[1] is Walk.SAME and not column)
        elif instr.prim == "arg":
            uniform.append(not column and form.reads[instr.attr].walk is Walk.SAME)
        elif instr.prim in REDUCTIONS:
            uniform.append(not column)
        else:
            uniform.append(all(uniform[a] for a in instr.args))
    return uniform
