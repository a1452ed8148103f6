"""Records of Dawson's integral and of the exponential integrals.

Invariant: relative errors hold over the whole range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.surface import public
from ..elementwise.arithmetic import divide, multiply, negative, subtract
from ..elementwise.functions import exp, unary
from ..formulas import special as F
from . import oracles as true

Tensor = Any
Function = Callable[..., Any]


dawsn: Function = public(
    unary(
        "dawsn",
        F.dawsn,
        lambda gradient, out, operand: (
            multiply(gradient, subtract(1.0, multiply(multiply(operand, out), 2.0))),
        ),
        np.arctan,
        """Dawson's integral: e^(-x^2) times the integral of e^(t^2) from 0 to x.

        >>> hybrid.special.dawsn(hybrid.tensor([0.0, 1.0, -100.0]))
        tensor([ 0.    ,  0.5381, -0.005 ])
        """,
        reference=true.oracle(true.dawsn),
        ulp=4.0,
    ),
    hybrid=False,
    special=True,
)


def _rate(gradient: Tensor, operand: Tensor, by: Tensor) -> Tensor:
    return multiply(gradient, divide(exp(by), operand))


exp1: Function = public(
    unary(
        "exp1",
        F.exp1,
        lambda gradient, out, operand: (negative(_rate(gradient, operand, negative(operand))),),
        np.exp,
        """The exponential integral E1: that of e^-t / t from x to infinity; infinite at 0, NaN
        below.

        >>> hybrid.special.exp1(hybrid.tensor([0.0, 1.0, 10.0]))
        tensor([       inf, 2.1938e-01, 4.1570e-06])
        """,
        reference=true.oracle(true.exp1),
        domain=(0.3, 6.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
expi: Function = public(
    unary(
        "expi",
        F.expi,
        lambda gradient, out, operand: (_rate(gradient, operand, operand),),
        np.exp,
        """The exponential integral Ei: the principal value of that of e^t / t up to x; minus
        infinity at 0.

        >>> hybrid.special.expi(hybrid.tensor([-1.0, 0.0, 1.0, 10.0]))
        tensor([-2.1938e-01,       -inf,  1.8951e+00,  2.4922e+03])
        """,
        reference=true.oracle(true.expi),
        domain=(0.5, 6.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
