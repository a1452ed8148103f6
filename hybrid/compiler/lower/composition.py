"""Programs of kernels as steps that are put together once for all kernels with the same steps.

Invariant: the steps hold all that a program depends on (operations, exact parameters, types, which
value goes where), so equal steps are one program, and what is not in them differs between kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ...core.aval import Aval
from ...core.cache import keep
from ...ir.contract import rounded
from ...ir.graph.graph import Node, param_key
from ...ir.scalar.compose import Composer
from ...ir.scalar.program import TYPE, Program

__all__ = ["Composition", "Programs"]

MOST = 4096  # programs of one graph that are known at a time

Step = tuple[Any, ...]  # its kind, then what that takes
StepKind = Literal["arg", "gather", "param", "zero", "rounded", "check", "op"]


class Programs:
    """The programs of one graph by their steps; `made`: how many were put together."""

    def __init__(self) -> None:
        self.made = 0
        self._known: dict[Any, Program] = {}

    def of(self, composition: Composition, *results: Any) -> Program:
        """The program that ends with these results."""
        identity = tuple(composition.steps), results
        try:
            found = self._known.get(identity)
        except TypeError:  # a parameter that cannot be a key
            return self._made(composition, *results)
        return found or keep(self._known, identity, self._made(composition, *results), MOST)

    def _made(self, composition: Composition, *results: Any) -> Program:
        self.made += 1
        return composition.program(*results)


class Composition:
    """The program of one kernel while it is described: a value is its number among all values."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.steps: list[Step] = []
        self._nodes: list[Node | None] = []  # of each step, as it has the parameters themselves
        self._values = 0

    # ---- description
    def _step(self, *step: Any) -> int:
        self.steps.append(step)
        self._nodes.append(None)
        self._values += 1
        return self._values - 1

    def arg(self, dtype: np.dtype) -> int:
        """A new operand, read at the current position."""
        return self._step("arg", dtype)

    def gather(self, aval: Aval) -> int:
        """A new contiguous operand, read anywhere."""
        return self._step("gather", aval)

    def param(self, dtype: np.dtype) -> int:
        """A new run-time scalar of that dtype."""
        return self._step("param", dtype)

    def zero(self, dtype: np.dtype) -> int:
        """What lies outside of a box."""
        return self._step("zero", dtype)

    def rounded(self, total: int, bias: int | None, dtype: np.dtype) -> int:
        """The accumulator of a contraction, plus its bias, as what is fused behind it reads it."""
        return self._step("rounded", total, bias, dtype)

    def _of_node(self, kind: str, node: Node, values: Sequence[int], count: int) -> list[int]:
        params = tuple([(name, param_key(value)) for name, value in node.params.items()])
        dtypes = tuple([v.aval.dtype for v in node.outputs])
        self.steps.append((kind, node.op, params, tuple(values), dtypes))
        self._nodes.append(node)
        self._values += count
        return list(range(self._values - count, self._values))

    def apply(self, node: Node, values: Sequence[int]) -> list[int]:
        """The results of a node, each rounded to its dtype."""
        return self._of_node("apply", node, values, len(node.outputs))

    def finish(self, values: Sequence[int], dtypes: Sequence[np.dtype]) -> Program:
        """The program whose results are these values, stored with these dtypes."""
        return self.programs.of(self, tuple(values), tuple(dtypes))

    def check(self, node: Node, values: Sequence[int]) -> Program:
        """The program that is true where the inputs of a node are invalid."""
        return self.programs.of(self, tuple(self._of_node("check", node, values, 1)), None)

    # ---- the program itself
    def program(self, results: tuple[int, ...], dtypes: tuple[np.dtype, ...] | None) -> Program:
        """What the steps give; without `dtypes` the results are stored as they are."""
        composer = Composer()
        values: list[Any] = []
        for step, node in zip(self.steps, self._nodes):
            values += self._done(composer, step, node, values)
        found = [values[number] for number in results]
        return composer.s.program(*found) if dtypes is None else composer.finish(found, dtypes)

    @staticmethod
    def _done(
        composer: Composer, step: Step, node: Node | None, values: Sequence[Any]
    ) -> Sequence[Any]:
        """The values that one step makes."""
        kind: StepKind = step[0]
        if node is not None:
            given = [values[number] for number in step[3]]
            if kind == "check":
                return (composer.check(node.op, node.params, given),)
            avals = [v.aval for v in node.inputs], [v.aval for v in node.outputs]
            return composer.apply(node.op, node.params, given, *avals)
        if kind == "zero":
            return (composer.s.const(TYPE[step[1]], 0),)
        if kind == "rounded":
            bias, dtype = None if step[2] is None else values[step[2]], step[3]
            return (composer.carried(rounded(composer.s, values[step[1]], bias, dtype), dtype),)
        return (getattr(composer, kind)(step[1]),)  # arg, gather, param
