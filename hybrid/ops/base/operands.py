"""What a function of tensors makes of a number that it is given.

Invariant: a function that says so does nothing else with the number, as long as that is between
these two, so another number runs the same operations on other operands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...ir.op import Op

__all__ = ["NUMBER", "MadeOperands"]

NUMBER = object()  # in an expression: the number that was given


class MadeOperands(NamedTuple):
    """`name` and `position` of the parameter; the numbers that it is `between`, both excluded;
    `operands`: operations, each of which runs once and has one literal, and the expression of that:
    an operator of Python and its operands, which are numbers, NUMBER or such expressions."""

    name: str
    position: int
    between: tuple[float, float]
    operands: tuple[tuple[Op, tuple[Any, ...]], ...]
