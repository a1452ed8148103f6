"""A program without reductions emitted at the current place: a kernel's epilogue, a NumPy loop.

Invariant: what the place does not give is an error while code is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....core.errors import BackendError
from ....ir.scalar.program import POSITIONS, Program
from ..lanes import Lanes
from .detours import Evaluation, steps

__all__ = ["emit_program"]


def emit_program(
    lanes: Lanes,
    program: Program,
    args: Sequence[str],
    params: Sequence[str],
    known: Mapping[int, str] | None = None,
) -> list[str]:
    """Emit a program without reductions at the current place; returns the names of its results.

    `args` and `params` are names of values of the lanes' width (b1 as i1); `known` names values of
    instructions that are there already ("" where only other known ones need it).
    """
    names: dict[int, str] = dict(known or {})

    def make(number: int, _: int, names: dict[int, str]) -> str:
        instr = program.instrs[number]
        if instr.prim == "arg":
            return args[int(instr.attr)]
        if instr.prim == "param":
            return params[int(instr.attr)]
        if instr.prim == "load" or instr.prim in POSITIONS:
            raise BackendError(f"this loop gives a program no {instr.prim!r}")
        operands = [names[x] for x in instr.args]
        return lanes.emit(instr, operands, [program.instrs[k].type for k in instr.args])

    todo = [n for n in range(len(program.instrs)) if n not in names]
    order = steps(program, todo, program.outs)
    Evaluation(lanes, program, make, lambda n, _, names: names[n]).run(order, [(0, names)])
    return [names[o] for o in program.outs]
