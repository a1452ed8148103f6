"""Records of the error function's relatives: erfcx, the inverses, the normal distribution function.

Invariant: relative errors hold in both tails; derivatives are written so that they hold there, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.surface import public
from ..elementwise.arithmetic import divide, multiply, square, subtract
from ..elementwise.functions import exp, normal_pdf, unary
from ..formulas import special as F
from . import oracles as true

Tensor = Any
Function = Callable[..., Any]
_ROOT_PI = math.sqrt(math.pi)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


erfcx: Function = public(
    unary(
        "erfcx",
        F.erfcx,
        lambda gradient, out, operand: (
            multiply(gradient, subtract(multiply(multiply(operand, out), 2.0), 2.0 / _ROOT_PI)),
        ),
        np.exp,
        """e^(x^2) erfc(x): erfc without the factor that makes its tail vanish.

        >>> hybrid.special.erfcx(hybrid.tensor([0.0, 1.0, 1e20]))
        tensor([1.0000e+00, 4.2758e-01, 5.6419e-21])
        """,
        reference=true.oracle(true.erfcx),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)


def _inverse_slope(gradient: Tensor, out: Tensor, factor: float) -> Tensor:
    """The gradient times factor * e^(y^2)."""
    return multiply(gradient, multiply(exp(square(out)), factor))


erfinv: Function = public(
    unary(
        "erfinv",
        F.erfinv,
        lambda gradient, out, operand: (_inverse_slope(gradient, out, _ROOT_PI / 2),),
        np.arctanh,
        """The inverse of erf: y with erf(y) = x; infinite at -1 and 1, NaN beyond.

        >>> hybrid.erfinv(hybrid.tensor([-0.5, 0.0, 0.9, 1.0, 2.0]))
        tensor([-0.4769,  0.    ,  1.1631,     inf,     nan])
        """,
        reference=true.oracle(true.erfinv),
        domain=(-0.9, 0.9),
        ulp=4.0,
    ),
    special=True,
    method=True,
)


def _erfcinv_reference(x: np.ndarray) -> np.ndarray:
    below = np.minimum(x, 2 - x)
    result = np.copysign(true.erfinv(1 - below, below), 1 - x)
    result = np.where(x == 0, np.inf, np.where(x == 2, -np.inf, result))
    return np.where((x >= 0) & (x <= 2), result, np.nan)


erfcinv: Function = public(
    unary(
        "erfcinv",
        F.erfcinv,
        lambda gradient, out, operand: (_inverse_slope(gradient, out, -_ROOT_PI / 2),),
        np.arctanh,
        """The inverse of erfc: y with erfc(y) = x, for the smallest x too; infinite at 0 and 2,
        NaN beyond.

        >>> hybrid.special.erfcinv(hybrid.tensor([1e-30, 0.5, 1.0, 2.0]))
        tensor([8.1486, 0.4769, 0.    ,   -inf])
        """,
        reference=true.oracle(_erfcinv_reference),
        domain=(0.1, 1.9),
        ulp=4.0,
    ),
    hybrid=False,
    special=True,
)


def _ndtr_reference(x: np.ndarray) -> Any:
    return np.exp(true.logndtr(x))


ndtr: Function = public(
    unary(
        "ndtr",
        F.ndtr,
        lambda gradient, out, operand: (multiply(gradient, normal_pdf(operand)),),
        np.exp,
        """The distribution function of the standard normal distribution: P(Z <= x).

        >>> hybrid.special.ndtr(hybrid.tensor([-10.0, 0.0, 1.96]))
        tensor([7.6199e-24, 5.0000e-01, 9.7500e-01])
        """,
        reference=true.oracle(_ndtr_reference),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)


def _ndtri_reference(x: np.ndarray) -> np.ndarray:
    below = np.minimum(x, 1 - x)
    result = np.copysign(true.erfinv(1 - 2 * below, 2 * below), x - 0.5) * np.sqrt(np.longdouble(2))
    result = np.where(x == 0, -np.inf, np.where(x == 1, np.inf, result))
    return np.where((x >= 0) & (x <= 1), result, np.nan)


def _ndtri_slope(gradient: Tensor, out: Tensor) -> Tensor:
    return multiply(gradient, multiply(exp(multiply(square(out), 0.5)), _ROOT_TWO_PI))


ndtri: Function = public(
    unary(
        "ndtri",
        F.ndtri,
        lambda gradient, out, operand: (_ndtri_slope(gradient, out),),
        np.arctanh,
        """The inverse of ndtr: the quantile of the standard normal distribution; infinite at 0 and
        1, NaN beyond.

        >>> hybrid.special.ndtri(hybrid.tensor([1e-30, 0.5, 0.975]))
        tensor([-11.464,   0.   ,   1.96 ])
        """,
        reference=true.oracle(_ndtri_reference),
        domain=(0.1, 0.9),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)


def _log_ndtr_slope(gradient: Tensor, operand: Tensor) -> Tensor:
    """density / distribution = sqrt(2/pi) / erfcx(-x/sqrt(2)): neither vanishes on its own."""
    factor = erfcx(multiply(operand, -math.sqrt(0.5)))
    return divide(multiply(gradient, math.sqrt(2.0 / math.pi)), factor)


log_ndtr: Function = public(
    unary(
        "log_ndtr",
        F.log_ndtr,
        lambda gradient, out, operand: (_log_ndtr_slope(gradient, operand),),
        np.exp,
        """log(ndtr(x)), exact in both tails.

        >>> hybrid.special.log_ndtr(hybrid.tensor([-100.0, 0.0, 10.0]))
        tensor([-5.0055e+03, -6.9315e-01, -7.6199e-24])
        """,
        reference=true.oracle(true.logndtr),
        ulp=5.0,
    ),
    hybrid=False,
    special=True,
)
