"""Formulas whose results are exactly 0 over half of the line: no multiplication underflows on the
way there.

Invariant: a product that is subnormal, or 0 of operands that are not, costs a hundred cycles on many
cores.  It may come up only where the result itself is about to vanish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hybrid.backends.interpret import run_program
from hybrid.ir.scalar.program import Builder, Program
from hybrid.ops import formulas
from hybrid.ops.formulas import power, special
from hybrid.ops.products import attend

TYPE = {np.float32: "f32", np.float64: "f64"}
BELOW = {np.float32: -170.0, np.float64: -1200.0}  # of exp and exp2
FAR = {np.float32: 40.0, np.float64: 60.0}  # of a tail like exp(-x^2)


def _weight(algebra: Any, x: Any) -> Any:
    return attend._weight(algebra, x, algebra.const(x.type, 0.0))


def _half_to_the(algebra: Any, x: Any) -> Any:
    return power._pow_of_every(algebra, algebra.const(x.type, 0.5), -x)


FALLING: dict[str, Callable[..., Any]] = {  # 0 for arguments far below 0
    "exp": formulas.exp,
    "exp2": formulas.exp2,
    "attention weight": _weight,
    "pow beyond its usual way": _half_to_the,
    "k0": lambda algebra, x: special.k0(algebra, -x),
    "exp1": lambda algebra, x: special.exp1(algebra, -x),
}
TAILS: dict[str, Callable[..., Any]] = {  # of the square of the argument
    "erfc": formulas.erfc,
    "normal tail": lambda algebra, x: formulas.normal_tail(algebra, x)[0],
    "density": lambda algebra, x: formulas.normal_tail(algebra, x)[1],
    "ndtr": special.ndtr,
}


def _underflows(formula: Callable[..., Any], x: np.ndarray) -> list[str]:
    """The products of a formula that are tiny, or 0 of operands that are not."""
    algebra = Builder()
    program: Program = algebra.program(formula(algebra, algebra.arg(TYPE[x.dtype.type])))
    numbers = [n for n, instr in enumerate(program.instrs) if instr.type in TYPE.values()]
    values = dict(zip(numbers, run_program(program._replace(outs=tuple(numbers)), [x])))
    tiny, found = np.finfo(x.dtype).tiny, []
    for number in numbers:
        instr = program.instrs[number]
        if instr.prim not in ("mul", "fma"):
            continue
        value = np.abs(np.broadcast_to(values[number], x.shape))
        low = (value > 0) & (value < tiny)
        if instr.prim == "mul":
            low |= (value == 0) & (values[instr.args[0]] != 0) & (values[instr.args[1]] != 0)
        found += [f"{instr.prim} {number} at {x[low][0]}"] if low.any() else []
    return found


@pytest.mark.parametrize("d", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(FALLING) + sorted(TAILS))
def test_no_product_underflows_where_the_result_is_zero(name: str, d: type) -> None:
    start = BELOW[d] if name in FALLING else -FAR[d]
    x = np.concatenate([[-np.inf], np.linspace(start * 1e6, start, 500)]).astype(d)
    formula = FALLING[name] if name in FALLING else TAILS[name]
    for argument in (x, -x) if name in TAILS else (x,):
        assert _underflows(formula, argument) == []


@pytest.mark.parametrize("d", [np.float32, np.float64])
def test_the_check_sees_underflow(d: type) -> None:
    tiny = float(np.finfo(d).tiny)
    assert _underflows(lambda algebra, x: x * tiny * 0.5, np.ones(3, d))
    assert _underflows(lambda algebra, x: x * tiny * tiny, np.ones(3, d))
    assert not _underflows(lambda algebra, x: x * 0.0, np.ones(3, d))
