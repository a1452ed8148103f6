"""Records of the Bessel functions J, Y, I and K of orders 0 and 1.

Invariant: derivatives are those of DLMF 10.6 and 10.29, by the functions of the other order; at 0
they are the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, negative, sign, subtract
from ..elementwise.functions import unary
from ..elementwise.logic import equal
from ..elementwise.selection import where
from ..formulas import special as F
from . import oracles as true

Tensor = Any
Function = Callable[..., Any]


def _over(value: Tensor, operand: Tensor, limit: float) -> Tensor:
    """value / x, its limit at 0 without a division there."""
    at_zero = equal(operand, 0.0)
    return where(at_zero, limit, divide(value, where(at_zero, 1.0, operand)))


def _made(function: Callable[..., Any], *given: Any) -> Callable[..., Any]:
    return true.oracle(lambda x: function(x, *given))


# ---- I: growing, and without the exponential
def _i1_slope(gradient: Tensor, out: Tensor, operand: Tensor) -> Tensor:
    return multiply(gradient, subtract(i0(operand), _over(out, operand, 0.5)))


def _i0e_slope(gradient: Tensor, out: Tensor, operand: Tensor) -> Tensor:
    return multiply(gradient, subtract(i1e(operand), multiply(sign(operand), out)))


def _i1e_slope(gradient: Tensor, out: Tensor, operand: Tensor) -> Tensor:
    rest = add(_over(out, operand, 0.5), multiply(sign(operand), out))
    return multiply(gradient, subtract(i0e(operand), rest))


i0: Function = public(
    unary(
        "i0",
        F.i0,
        lambda gradient, out, operand: (multiply(gradient, i1(operand)),),
        np.cosh,
        """The modified Bessel function of the first kind of order 0; infinite at both infinities.

        >>> hybrid.i0(hybrid.tensor([0.0, 1.0, 10.0]))
        tensor([1.0000e+00, 1.2661e+00, 2.8157e+03])
        """,
        reference=_made(true.bessel_i, 0, False),
        ulp=5.0,
    ),
    special=True,
    method=True,
)
i0e: Function = public(
    unary(
        "i0e",
        F.i0e,
        lambda gradient, out, operand: (_i0e_slope(gradient, out, operand),),
        np.cosh,
        """i0(x) e^-|x|, which does not overflow.

        >>> hybrid.special.i0e(hybrid.tensor([0.0, 1.0, 1e10]))
        tensor([1.0000e+00, 4.6576e-01, 3.9894e-06])
        """,
        reference=_made(true.bessel_i, 0, True),
        domain=(0.3, 12.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
i1: Function = public(
    unary(
        "i1",
        F.i1,
        lambda gradient, out, operand: (_i1_slope(gradient, out, operand),),
        np.sinh,
        """The modified Bessel function of the first kind of order 1; infinite at both infinities.

        >>> hybrid.special.i1(hybrid.tensor([0.0, 1.0, -10.0]))
        tensor([ 0.0000e+00,  5.6516e-01, -2.6710e+03])
        """,
        reference=_made(true.bessel_i, 1, False),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
i1e: Function = public(
    unary(
        "i1e",
        F.i1e,
        lambda gradient, out, operand: (_i1e_slope(gradient, out, operand),),
        np.sinh,
        """i1(x) e^-|x|, which does not overflow.

        >>> hybrid.special.i1e(hybrid.tensor([0.0, 1.0, -1e10]))
        tensor([ 0.0000e+00,  2.0791e-01, -3.9894e-06])
        """,
        reference=_made(true.bessel_i, 1, True),
        domain=(0.3, 12.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)


# ---- K: vanishing, and without the exponential
def _k1_slope(gradient: Tensor, out: Tensor, operand: Tensor) -> Tensor:
    return multiply(negative(gradient), add(k0(operand), divide(out, operand)))


def _k1e_slope(gradient: Tensor, out: Tensor, operand: Tensor) -> Tensor:
    rest = add(k0e(operand), divide(out, operand))
    return multiply(gradient, subtract(out, rest))


k0: Function = public(
    unary(
        "k0",
        F.k0,
        lambda gradient, out, operand: (multiply(negative(gradient), k1(operand)),),
        np.exp,
        """The modified Bessel function of the second kind of order 0; infinite at 0, NaN below.

        >>> hybrid.special.k0(hybrid.tensor([0.0, 1.0, 10.0]))
        tensor([       inf, 4.2102e-01, 1.7780e-05])
        """,
        reference=_made(true.bessel_k, 0, False),
        domain=(0.3, 6.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
k0e: Function = public(
    unary(
        "k0e",
        F.k0e,
        lambda gradient, out, operand: (multiply(gradient, subtract(out, k1e(operand))),),
        np.exp,
        """k0(x) e^x, which does not vanish.

        >>> hybrid.special.k0e(hybrid.tensor([0.0, 1.0, 1e10]))
        tensor([       inf, 1.1445e+00, 1.2533e-05])
        """,
        reference=_made(true.bessel_k, 0, True),
        domain=(0.3, 6.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
k1: Function = public(
    unary(
        "k1",
        F.k1,
        lambda gradient, out, operand: (_k1_slope(gradient, out, operand),),
        np.exp,
        """The modified Bessel function of the second kind of order 1; infinite at 0, NaN below.

        >>> hybrid.special.k1(hybrid.tensor([0.0, 1.0, 10.0]))
        tensor([       inf, 6.0191e-01, 1.8649e-05])
        """,
        reference=_made(true.bessel_k, 1, False),
        domain=(0.3, 6.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
k1e: Function = public(
    unary(
        "k1e",
        F.k1e,
        lambda gradient, out, operand: (_k1e_slope(gradient, out, operand),),
        np.exp,
        """k1(x) e^x, which does not vanish.

        >>> hybrid.special.k1e(hybrid.tensor([0.0, 1.0, 1e10]))
        tensor([       inf, 1.6362e+00, 1.2533e-05])
        """,
        reference=_made(true.bessel_k, 1, True),
        domain=(0.3, 6.0),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)


# ---- J and Y
def _j1_slope(gradient: Tensor, out: Tensor, operand: Tensor) -> Tensor:
    return multiply(gradient, subtract(j0(operand), _over(out, operand, 0.5)))


def _y1_slope(gradient: Tensor, out: Tensor, operand: Tensor) -> Tensor:
    return multiply(gradient, subtract(y0(operand), divide(out, operand)))


_WAVES = """From 8 on, and for y0 next to its first zero, the error is 3 last places of the
        amplitude, sqrt(2 / (pi |x|)) and at most 1; 0 at infinity."""
j0: Function = public(
    unary(
        "j0",
        F.j0,
        lambda gradient, out, operand: (multiply(negative(gradient), j1(operand)),),
        np.cos,
        f"""The Bessel function of the first kind of order 0. {_WAVES}

        >>> hybrid.special.j0(hybrid.tensor([0.0, 2.404825, 100.0]))
        tensor([1.0000e+00, 3.0398e-07, 1.9986e-02])
        """,
        reference=_made(true.bessel_j, 0),
        domain=(0.0, 6.0),
        ulp=6.0,
    ),
    hybrid=False,
    special=True,
)
j1: Function = public(
    unary(
        "j1",
        F.j1,
        lambda gradient, out, operand: (_j1_slope(gradient, out, operand),),
        np.sin,
        f"""The Bessel function of the first kind of order 1. {_WAVES}

        >>> hybrid.special.j1(hybrid.tensor([0.0, 1.0, -100.0]))
        tensor([0.    , 0.4401, 0.0771])
        """,
        reference=_made(true.bessel_j, 1),
        domain=(0.0, 6.0),
        ulp=6.0,
    ),
    hybrid=False,
    special=True,
)
y0: Function = public(
    unary(
        "y0",
        F.y0,
        lambda gradient, out, operand: (multiply(negative(gradient), y1(operand)),),
        np.log,
        f"""The Bessel function of the second kind of order 0; minus infinity at 0, NaN below.
        {_WAVES}

        >>> hybrid.special.y0(hybrid.tensor([0.0, 1.0, 100.0]))
        tensor([   -inf,  0.0883, -0.0772])
        """,
        reference=_made(true.bessel_y, 0),
        domain=(1.5, 6.0),
        ulp=6.0,
    ),
    hybrid=False,
    special=True,
)
y1: Function = public(
    unary(
        "y1",
        F.y1,
        lambda gradient, out, operand: (_y1_slope(gradient, out, operand),),
        np.log,
        f"""The Bessel function of the second kind of order 1; minus infinity at 0, NaN below.
        {_WAVES}

        >>> hybrid.special.y1(hybrid.tensor([0.0, 1.0, 100.0]))
        tensor([   -inf, -0.7812, -0.0204])
        """,
        reference=_made(true.bessel_y, 1),
        domain=(0.5, 6.0),
        ulp=8.0,
    ),
    hybrid=False,
    special=True,
)
