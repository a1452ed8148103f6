"""What a branch of Python on the value of a tensor becomes in a graph: a check that the value has
the truth that it had when the call was recorded.

Invariant: a replay in which every check holds handed Python the truths that were recorded, so
Python went the recorded way; a check that fails ends the replay before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.aval import Aval
from ..core.errors import IndexOutOfRange, ShapeError
from ..ir.graph.graph import Node
from ..ir.op import NO_GRAD, MapOp, register
from ..ir.scalar.program import Builder, Val

__all__ = ["EXPECT", "checks_branch", "decision_of"]

_MESSAGE = "branch {} goes another way"
_PATTERN = re.compile(_MESSAGE.format(r"(\d+)"))


def decision_of(error: BaseException) -> int | None:
    """The number of the branch that went another way; None for any other error."""
    found = _PATTERN.match(str(error)) if type(error) is IndexOutOfRange else None
    return None if found is None else int(found[1])


def _infer(operand: Aval, truth: bool, number: int) -> tuple[Aval, ...]:
    if operand.size != 1:
        raise ShapeError(f"only one element has a truth, the shape is {operand.shape}")
    return (operand,)


def _differs(algebra: Builder, operand: Val, *, truth: bool, number: int) -> Val:
    return ~operand if truth else operand


def _samples(rng: np.random.Generator) -> Iterator[Any]:
    yield [np.array(True)], {"truth": True, "number": 0}
    yield [np.zeros((1, 1), np.bool_)], {"truth": False, "number": 3}


EXPECT = register(
    MapOp(
        "expect",
        1,
        _infer,
        body=lambda algebra, operand, truth, number: operand,
        check=_differs,
        check_message=lambda avals, params: _MESSAGE.format(params["number"]),
        params=("truth", "number"),
        accepts="b",
        reference=lambda operand, truth, number: operand,
        samples=_samples,
        ulp=0.0,
        vjp=NO_GRAD,
        doc="x, one truth value, which is the expected one; the other fails.",
    )
)


def checks_branch(node: Node, number: int) -> bool:
    """Whether a node of a graph checks the branch of this number."""
    return node.op is EXPECT and bool(node.params["number"] == number)
