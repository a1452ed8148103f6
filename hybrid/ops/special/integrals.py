"""Records of Dawson's integral and of the exponential integrals.

Invariant: relative errors hold over the whole range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.errors import ArgumentError
from ...core.shapes import whole
from ...ir.door.bind import as_tensor, bind
from ...ir.op import Op, map_op
from ..base.common import draw
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


def _expn_reference(x: np.ndarray, n: int) -> np.ndarray:
    """The continued fraction from far behind; below 1 steps up from E1."""
    place = np.where((x > 0) & np.isfinite(x), x, 1)
    total = place + n + 2 * 3000
    for k in reversed(range(1, 3001)):
        total = place + n + 2 * k - 2 - k * (n + k - 1) / total
    steps = true.exp1(np.minimum(place, 1))
    for k in range(1, n):
        steps = (np.exp(-np.minimum(place, 1)) - np.minimum(place, 1) * steps) / k
    result = np.where(place < 1, steps, np.exp(-place) / total)
    result = np.where(x == 0, 1 / (n - 1), np.where(x == np.inf, 0, result))
    return np.where(x >= 0, result, np.nan)


def _expn_vjp(gradient: Tensor, out: Tensor, operand: Tensor, n: int) -> tuple[Any]:
    return (negative(multiply(gradient, expn(n - 1, operand))),)


def _orders(rng: np.random.Generator) -> Any:
    for n, shape in ((2, (7,)), (3, (3, 5)), (4, ()), (2, (0, 2)), (12, (5,))):
        yield [draw(rng, *shape, low=0.3, high=6.0)], {"n": n}


EXPN: Op = map_op(
    "expn",
    1,
    lambda algebra, operand, *, n: F.expn(algebra, operand, n),
    vjp=_expn_vjp,
    reference=true.oracle(_expn_reference),
    result="float",
    accepts="f",
    params=("n",),
    samples=_orders,
    ulp=6.0,
    doc="The integral of e^(-x t) / t^n from 1 to infinity, n >= 2.",
)


@public(hybrid=False, special=True)
def expn(n: int, x: Tensor) -> Tensor:
    """The exponential integral E_n: that of e^(-x t) / t^n from 1 to infinity; n is a whole number,
    0 or more, not a tensor.

    NaN for negative x; the error is at most 6 last places.  Raises ArgumentError for another n.

    >>> hybrid.special.expn(2, hybrid.tensor([0.0, 1.0, 10.0]))
    tensor([1.0000e+00, 1.4850e-01, 3.8302e-06])
    """
    order = whole(n, "n")
    if order < 0:
        raise ArgumentError(f"expn: n is {order}; it must be 0 or more")
    if order == 0:
        return divide(exp(negative(x)), x)
    return exp1(x) if order == 1 else bind(EXPN, as_tensor(x), n=order)
