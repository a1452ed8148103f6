"""Elementary and special functions written in the scalar algebra, for f32 and f64.

Invariant: every formula takes (algebra, x, ...) and returns a Val of x's type, at most 2 ulp (pow:
4) from the true value, with no table in memory, no branch and no external function.
"""

from .error import erf, erfc, normal_tail
from .exponential import cosh, exp, exp2, exp_parts, expm1, sigmoid, silu, sinh, tanh
from .inverse_trig import acos, asin, atan, atan2
from .logarithm import acosh, asinh, atanh, log, log1p, log1p_unit, log2, log10
from .power import cbrt, hypot, pow, rsqrt
from .trig import cos, cos_turns, sin, sin_turns, tan

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "cos",
    "cos_turns",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "exp_parts",
    "expm1",
    "hypot",
    "log",
    "log10",
    "log1p",
    "log1p_unit",
    "log2",
    "normal_tail",
    "pow",
    "rsqrt",
    "sigmoid",
    "silu",
    "sin",
    "sin_turns",
    "sinh",
    "tan",
    "tanh",
]
