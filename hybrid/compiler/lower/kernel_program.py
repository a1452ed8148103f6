"""The scalar program of one kernel while it is put together from the instructions of a region.

Invariant: operands that read the same memory in the same way are one operand of the kernel, and
equal run-time scalars are one scalar.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...backends.plan import Access
from ...core.aval import Aval
from ...core.errors import GraphError
from ...ir.graph.graph import Const
from ...ir.scalar.compose import operand_type
from ...ir.scalar.program import Builder
from .affine import AffineView, Ints, walk_path
from .assignment import Assignment
from .composition import Composition
from .regions import (
    Box,
    BoxOperand,
    GatherOperand,
    Instruction,
    LiteralOperand,
    MemoryOperand,
    Operand,
    Region,
    ResultOperand,
)

__all__ = ["KernelProgram", "copy_program", "fill_program", "live_instructions"]


def copy_program(dtype: np.dtype) -> Any:
    builder = Builder()
    return builder.program(builder.arg(operand_type(dtype)))


def fill_program(dtype: np.dtype) -> Any:
    builder = Builder()
    return builder.program(builder.bits(operand_type(dtype), 0))


class KernelProgram:
    """One kernel's program under construction: operands by memory map, run-time scalars by bits."""

    def __init__(
        self, assignment: Assignment, composer: Composition, cell: Box | None = None
    ) -> None:
        self.assignment, self.composer, self.cell = assignment, composer, cell
        self.reads: list[Access] = []
        self.params: list[int] = []
        self._read: dict[Any, int] = {}  # value by operand
        self._scalars: dict[tuple[np.dtype, int], int] = {}  # by dtype and bits

    def param(self, literal: Const) -> int:
        identity = (literal.aval.dtype, literal.bits())
        if identity not in self._scalars:
            self._scalars[identity] = self.composer.param(literal.aval.dtype)
            self.params.append(identity[1])
        return self._scalars[identity]

    def read(self, operand: MemoryOperand) -> int:
        """The value of an operand in memory."""
        location, aval = self.assignment.home[operand.value], operand.value.aval
        affine = walk_path(operand.path, (location.offset, location.strides))
        if affine is None:
            raise GraphError(f"a kernel cannot walk {aval} at {location}")
        gathered = isinstance(operand, GatherOperand)
        if isinstance(operand, GatherOperand):
            visited = Access(location.slot, aval.dtype, affine[0], (), True)
            aval = _viewed(operand)
        elif isinstance(operand, BoxOperand):
            assert self.cell is not None
            if not all(b <= lo and hi <= e for (b, e), (lo, hi) in zip(operand.box, self.cell)):
                return self.composer.zero(aval.dtype)
            offset = affine[0] + sum(
                s * (lo - b) for s, (b, _), (lo, _) in zip(affine[1], operand.box, self.cell)
            )
            visited = Access(location.slot, aval.dtype, offset, affine[1])
        else:
            visited = Access(location.slot, aval.dtype, self.origin(affine), affine[1])
        identity = (visited, aval.shape if gathered else ())
        if identity not in self._read:
            self._read[identity] = (
                self.composer.gather(aval) if gathered else self.composer.arg(aval.dtype)
            )
            self.reads.append(visited)
        return self._read[identity]

    def origin(self, affine: tuple[int, Ints]) -> int:
        """Where a map over the region starts in this kernel's part of it."""
        return affine[0] + sum(s * lo for s, (lo, _) in zip(affine[1], self.cell or ()))

    def operands(self, operands: Sequence[Operand], computed: dict[int, list[int]]) -> list[int]:
        values = []
        for operand in operands:
            if isinstance(operand, LiteralOperand):
                values.append(self.param(operand.value))
            elif isinstance(operand, ResultOperand):
                values.append(computed[operand.instruction][operand.result])
            else:
                values.append(self.read(operand))
        return values

    def run(self, region: Region, wanted: Iterable[int], computed: dict[int, list[int]]) -> None:
        """Values of the instructions that the wanted ones need; `made` is filled."""
        needed = live_instructions(region.instructions, wanted)
        for number in sorted(needed):
            node = region.instructions[number].node
            values = self.operands(region.instructions[number].operands, computed)
            computed[number] = self.composer.apply(node, values)


def live_instructions(instructions: Sequence[Instruction], wanted: Iterable[int]) -> set[int]:
    """Numbers of the instructions that the wanted ones need, themselves included."""
    needed: set[int] = set()
    stack = [k for k in wanted if k >= 0]
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            used = (
                o.instruction for o in instructions[number].operands if isinstance(o, ResultOperand)
            )
            stack += [i for i in used if i >= 0]
    return needed


def _viewed(operand: GatherOperand) -> Aval:
    """The aval of what a gather operand reads."""
    last = operand.path[-1] if operand.path else None
    return last.node.outputs[0].aval if isinstance(last, AffineView) else operand.value.aval
