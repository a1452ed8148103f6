"""Elementary functions of complex numbers.

Invariant: results are within the stated units in the last place of their modulus (where it is a
normal number); real and imaginary zeros of operands stay exact, so that a real operand gives the
real function's value where that is real.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..elementwise.arithmetic import add, divide, multiply, negative, reciprocal, square, subtract
from ..elementwise.functions import (
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    rsqrt,
    sigmoid,
    sqrt,
)
from ..elementwise.powers import real_power as power
from ..elementwise.trigonometry import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    cos,
    cosh,
    sin,
    sinh,
    tan,
    tanh,
)
from . import formulas
from .records import analytic

Tensor = Any

LN2, LN10 = float(np.log(2.0)), float(np.log(10.0))


def _scaled(function: Any, factor: float) -> Any:
    """A formula times a real number."""

    def body(algebra: Any, re: Any, im: Any) -> Any:
        real_part, imaginary = function(algebra, re, im)
        return real_part * factor, imaginary * factor

    return body


def _one_minus_square(x: Tensor) -> Tensor:
    return subtract(1.0, square(x))


# ---- exponentials, logarithms, roots
analytic(exp, formulas.exp, lambda out, operand: (out,), np.exp)
analytic(
    exp2,
    lambda algebra, re, im: formulas.exp(algebra, re * LN2, im * LN2),
    lambda out, operand: (multiply(out, LN2),),
    lambda operand: np.exp(operand * np.log(np.longdouble(2))),
    ulp=16.0,
)
analytic(expm1, formulas.expm1, lambda out, operand: (add(out, 1.0),), np.expm1, ulp=16.0)
analytic(log, formulas.log, lambda out, operand: (reciprocal(operand),), np.log, domain=(0.2, 3.0))
analytic(
    log2,
    _scaled(formulas.log, 1.0 / LN2),
    lambda out, operand: (reciprocal(multiply(operand, LN2)),),
    lambda operand: np.log(operand) / np.log(np.longdouble(2)),
    domain=(0.2, 3.0),
)
analytic(
    log10,
    _scaled(formulas.log, 1.0 / LN10),
    lambda out, operand: (reciprocal(multiply(operand, LN10)),),
    lambda operand: np.log(operand) / np.log(np.longdouble(10)),
    domain=(0.2, 3.0),
)
analytic(
    log1p,
    formulas.log1p,
    lambda out, operand: (reciprocal(add(operand, 1.0)),),
    np.log1p,
    domain=(0.1, 3.0),
)
analytic(sqrt, formulas.sqrt, lambda out, operand: (divide(0.5, out),), np.sqrt, domain=(0.1, 3.0))


def _rsqrt(algebra: Any, re: Any, im: Any) -> Any:
    return formulas.reciprocal(algebra, *formulas.sqrt(algebra, re, im))


analytic(
    rsqrt,
    _rsqrt,
    lambda out, operand: (multiply(multiply(out, square(out)), -0.5),),
    lambda operand: 1 / np.sqrt(operand),
    ulp=16.0,
    domain=(0.1, 3.0),
)
analytic(
    power,
    formulas.power,
    lambda out, operand, power_: (
        multiply(power_, power(operand, subtract(power_, 1.0))),
        multiply(out, log(operand)),
    ),
    np.power,
    ulp=64.0,
    domain=(0.2, 2.0),
)


def _sigmoid(algebra: Any, re: Any, im: Any) -> Any:
    """1 / (1 + e^-z)."""
    real_part, imaginary = formulas.exp(algebra, -re, -im)
    return formulas.reciprocal(algebra, real_part + 1.0, imaginary)


analytic(
    sigmoid,
    _sigmoid,
    lambda out, operand: (multiply(out, subtract(1.0, out)),),
    lambda operand: 1 / (1 + np.exp(-operand)),
    ulp=32.0,
    domain=(-1.0, 2.0),
)

# ---- hyperbolic and trigonometric
analytic(sinh, formulas.sinh, lambda out, operand: (cosh(operand),), np.sinh)
analytic(cosh, formulas.cosh, lambda out, operand: (sinh(operand),), np.cosh)
analytic(tanh, formulas.tanh, lambda out, operand: (_one_minus_square(out),), np.tanh, ulp=32.0)
analytic(sin, formulas.sin, lambda out, operand: (cos(operand),), np.sin)
analytic(cos, formulas.cos, lambda out, operand: (negative(sin(operand)),), np.cos)
analytic(tan, formulas.tan, lambda out, operand: (add(square(out), 1.0),), np.tan, ulp=32.0)

# ---- inverse functions
analytic(
    asin,
    formulas.asin,
    lambda out, operand: (rsqrt(_one_minus_square(operand)),),
    np.arcsin,
    ulp=16.0,
)
analytic(
    acos,
    formulas.acos,
    lambda out, operand: (negative(rsqrt(_one_minus_square(operand))),),
    np.arccos,
    ulp=16.0,
)
analytic(
    atan,
    formulas.atan,
    lambda out, operand: (reciprocal(add(square(operand), 1.0)),),
    np.arctan,
    ulp=16.0,
)
analytic(
    asinh,
    formulas.asinh,
    lambda out, operand: (rsqrt(add(square(operand), 1.0)),),
    np.arcsinh,
    ulp=16.0,
)


def _acosh_slope(operand: Tensor) -> Tensor:
    """1 / (sqrt(z - 1) sqrt(z + 1)), whose cut is acosh's."""
    return multiply(rsqrt(subtract(operand, 1.0)), rsqrt(add(operand, 1.0)))


analytic(
    acosh,
    formulas.acosh,
    lambda out, operand: (_acosh_slope(operand),),
    np.arccosh,
    ulp=16.0,
)
analytic(
    atanh,
    formulas.atanh,
    lambda out, operand: (reciprocal(_one_minus_square(operand)),),
    np.arctanh,
    ulp=16.0,
)
