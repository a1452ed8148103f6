"""A program without reductions emitted at the current place: a kernel's epilogue, a NumPy loop.

Invariant: what the place does not give is an error while code is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....core.errors import BackendError
from ....ir.scalar.program import POSITIONS, Program
from ..lanes import Lanes
from .detours import Evaluation, steps

__all__ = ["emit_program", "emit_together"]


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
    (results,) = emit_together(lanes, program, [args], params, known)
    return results


def emit_together(
    lanes: Lanes,
    program: Program,
    sets: Sequence[Sequence[str]],
    params: Sequence[str],
    known: Mapping[int, str] | None = None,
) -> list[list[str]]:
    """The same for several sets of arguments, instruction by instruction: chains of one set fill
    the waits of the others, and a detour is asked for once."""
    values: list[dict[int, str]] = [dict(known or {}) for _ in sets]

    def make(number: int, which: int, names: dict[int, str]) -> str:
        instr = program.instrs[number]
        if instr.prim == "arg":
            return sets[which][int(instr.attr)]
        if instr.prim == "param":
            return params[int(instr.attr)]
        if instr.prim == "load" or instr.prim in POSITIONS:
            raise BackendError(f"this loop gives a program no {instr.prim!r}")
        operands = [names[x] for x in instr.args]
        return lanes.emit(instr, operands, [program.instrs[k].type for k in instr.args])

    todo = [n for n in range(len(program.instrs)) if n not in values[0]]
    order = steps(program, todo, program.outs)
    evaluation = Evaluation(lanes, program, make, lambda n, _, names: names[n])
    evaluation.run(order, list(enumerate(values)))
    return [[names[o] for o in program.outs] for names in values]
