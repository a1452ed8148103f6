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

    def body(s: Any, a: Any, b: Any) -> Any:
        real_part, imaginary = function(s, a, b)
        return real_part * factor, imaginary * factor

    return body


def _one_minus_square(x: Tensor) -> Tensor:
    return subtract(1.0, square(x))


# ---- exponentials, logarithms, roots
analytic(exp, formulas.exp, lambda out, z: (out,), np.exp)
analytic(
    exp2,
    lambda s, a, b: formulas.exp(s, a * LN2, b * LN2),
    lambda out, z: (multiply(out, LN2),),
    lambda z: np.exp(z * np.log(np.longdouble(2))),
    ulp=16.0,
)
analytic(expm1, formulas.expm1, lambda out, z: (add(out, 1.0),), np.expm1, ulp=16.0)
analytic(log, formulas.log, lambda out, z: (reciprocal(z),), np.log, domain=(0.2, 3.0))
analytic(
    log2,
    _scaled(formulas.log, 1.0 / LN2),
    lambda out, z: (reciprocal(multiply(z, LN2)),),
    lambda z: np.log(z) / np.log(np.longdouble(2)),
    domain=(0.2, 3.0),
)
analytic(
    log10,
    _scaled(formulas.log, 1.0 / LN10),
    lambda out, z: (reciprocal(multiply(z, LN10)),),
    lambda z: np.log(z) / np.log(np.longdouble(10)),
    domain=(0.2, 3.0),
)
analytic(
    log1p, formulas.log1p, lambda out, z: (reciprocal(add(z, 1.0)),), np.log1p, domain=(0.1, 3.0)
)
analytic(sqrt, formulas.sqrt, lambda out, z: (divide(0.5, out),), np.sqrt, domain=(0.1, 3.0))


def _rsqrt(s: Any, a: Any, b: Any) -> Any:
    return formulas.reciprocal(s, *formulas.sqrt(s, a, b))


analytic(
    rsqrt,
    _rsqrt,
    lambda out, z: (multiply(multiply(out, square(out)), -0.5),),
    lambda z: 1 / np.sqrt(z),
    ulp=16.0,
    domain=(0.1, 3.0),
)
analytic(
    power,
    formulas.power,
    lambda out, z, w: (multiply(w, power(z, subtract(w, 1.0))), multiply(out, log(z))),
    np.power,
    ulp=64.0,
    domain=(0.2, 2.0),
)


def _sigmoid(s: Any, a: Any, b: Any) -> Any:
    """1 / (1 + e^-z)."""
    real_part, imaginary = formulas.exp(s, -a, -b)
    return formulas.reciprocal(s, real_part + 1.0, imaginary)


analytic(
    sigmoid,
    _sigmoid,
    lambda out, z: (multiply(out, subtract(1.0, out)),),
    lambda z: 1 / (1 + np.exp(-z)),
    ulp=32.0,
    domain=(-1.0, 2.0),
)

# ---- hyperbolic and trigonometric
analytic(sinh, formulas.sinh, lambda out, z: (cosh(z),), np.sinh)
analytic(cosh, formulas.cosh, lambda out, z: (sinh(z),), np.cosh)
analytic(tanh, formulas.tanh, lambda out, z: (_one_minus_square(out),), np.tanh, ulp=32.0)
analytic(sin, formulas.sin, lambda out, z: (cos(z),), np.sin)
analytic(cos, formulas.cos, lambda out, z: (negative(sin(z)),), np.cos)
analytic(tan, formulas.tan, lambda out, z: (add(square(out), 1.0),), np.tan, ulp=32.0)

# ---- inverse functions
analytic(asin, formulas.asin, lambda out, z: (rsqrt(_one_minus_square(z)),), np.arcsin, ulp=16.0)
analytic(
    acos,
    formulas.acos,
    lambda out, z: (negative(rsqrt(_one_minus_square(z))),),
    np.arccos,
    ulp=16.0,
)
analytic(
    atan, formulas.atan, lambda out, z: (reciprocal(add(square(z), 1.0)),), np.arctan, ulp=16.0
)
analytic(asinh, formulas.asinh, lambda out, z: (rsqrt(add(square(z), 1.0)),), np.arcsinh, ulp=16.0)


def _acosh_slope(z: Tensor) -> Tensor:
    """1 / (sqrt(z - 1) sqrt(z + 1)), whose cut is acosh's."""
    return multiply(rsqrt(subtract(z, 1.0)), rsqrt(add(z, 1.0)))


analytic(
    acosh,
    formulas.acosh,
    lambda out, z: (_acosh_slope(z),),
    np.arccosh,
    ulp=16.0,
)
analytic(
    atanh, formulas.atanh, lambda out, z: (reciprocal(_one_minus_square(z)),), np.arctanh, ulp=16.0
)
