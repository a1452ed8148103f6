"""Trigonometric and hyperbolic functions and their inverses, over our own formulas.

Invariant: float32 and float64 results are at most 2 ulp from the true value, for huge arguments of
sin, cos and tan too; integers are computed as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.door.flat import function_of
from ...ir.op import map_op
from .. import formulas as F
from ..base.surface import public
from .arithmetic import add, divide, multiply, negative, reference_of, square, subtract
from .functions import rsqrt, unary
from .selection import flat_quotient

Tensor = Any
Function = Callable[..., Any]


sin: Function = public(
    unary(
        "sin",
        F.sin,
        lambda gradient, out, operand: (multiply(gradient, cos(operand)),),
        np.sin,
        """Sine, exact for huge arguments too.

        >>> hybrid.sin(hybrid.tensor([0.0, hybrid.pi / 2, 1e10]))
        tensor([ 0.    ,  1.    , -0.4875])
        """,
    ),
    method=True,
)
cos: Function = public(
    unary(
        "cos",
        F.cos,
        lambda gradient, out, operand: (negative(multiply(gradient, sin(operand))),),
        np.cos,
        """Cosine, exact for huge arguments too.

        >>> hybrid.cos(hybrid.tensor([0.0, hybrid.pi, hybrid.inf]))
        tensor([ 1., -1., nan])
        """,
    ),
    method=True,
)
tan: Function = public(
    unary(
        "tan",
        F.tan,
        lambda gradient, out, operand: (multiply(gradient, add(square(out), 1.0)),),
        np.tan,
        """Tangent, exact for huge arguments too.

        >>> hybrid.tan(hybrid.tensor([0.0, hybrid.pi / 4, -1.0]))
        tensor([ 0.    ,  1.    , -1.5574])
        """,
        domain=(-1.2, 1.2),
    ),
    method=True,
)
asin: Function = public(
    unary(
        "asin",
        F.asin,
        lambda gradient, out, operand: (multiply(gradient, rsqrt(subtract(1.0, square(operand)))),),
        np.arcsin,
        """Arcsine.

        >>> hybrid.asin(hybrid.tensor([-1.0, 0.0, 0.5, 2.0]))  # NaN outside of [-1, 1]
        tensor([-1.5708,  0.    ,  0.5236,     nan])
        """,
        domain=(-0.9, 0.9),
    ),
    hybrid=("asin", "arcsin"),
    method=True,
)
acos: Function = public(
    unary(
        "acos",
        F.acos,
        lambda gradient, out, operand: (
            negative(multiply(gradient, rsqrt(subtract(1.0, square(operand))))),
        ),
        np.arccos,
        """Arccosine.

        >>> hybrid.acos(hybrid.tensor([-1.0, 0.0, 1.0, 2.0]))  # NaN outside of [-1, 1]
        tensor([3.1416, 1.5708, 0.    ,    nan])
        """,
        domain=(-0.9, 0.9),
    ),
    hybrid=("acos", "arccos"),
    method=True,
)
atan: Function = public(
    unary(
        "atan",
        F.atan,
        lambda gradient, out, operand: (divide(gradient, add(square(operand), 1.0)),),
        np.arctan,
        """Arctangent.

        >>> hybrid.atan(hybrid.tensor([0.0, 1.0, -hybrid.inf]))
        tensor([ 0.    ,  0.7854, -1.5708])
        """,
    ),
    hybrid=("atan", "arctan"),
    method=True,
)
sinh: Function = public(
    unary(
        "sinh",
        F.sinh,
        lambda gradient, out, operand: (multiply(gradient, cosh(operand)),),
        np.sinh,
        """Hyperbolic sine.

        >>> hybrid.sinh(hybrid.tensor([-1.0, 0.0, 100.0]))
        tensor([-1.1752,  0.    ,     inf])
        """,
    ),
    method=True,
)
cosh: Function = public(
    unary(
        "cosh",
        F.cosh,
        lambda gradient, out, operand: (multiply(gradient, sinh(operand)),),
        np.cosh,
        """Hyperbolic cosine.

        >>> hybrid.cosh(hybrid.tensor([-1.0, 0.0, 100.0]))
        tensor([1.5431, 1.    ,    inf])
        """,
    ),
    method=True,
)
tanh: Function = public(
    unary(
        "tanh",
        F.tanh,
        lambda gradient, out, operand: (tanh_grad(gradient, out),),
        np.tanh,
        """Hyperbolic tangent.

        >>> x = hybrid.tensor([-0.5, 0.0, 20.0], requires_grad=True)
        >>> y = hybrid.tanh(x)
        >>> y.sum().backward()
        >>> y.detach(), x.grad
        (tensor([-0.4621,  0.    ,  1.    ]), tensor([0.7864, 1.    , 0.    ]))
        """,
    ),
    functional=True,
    method=True,
)
asinh: Function = public(
    unary(
        "asinh",
        F.asinh,
        lambda gradient, out, operand: (multiply(gradient, rsqrt(add(square(operand), 1.0))),),
        np.arcsinh,
        """Inverse hyperbolic sine.

        >>> hybrid.asinh(hybrid.tensor([-1.0, 0.0, 1e20]))
        tensor([-0.8814,  0.    , 46.7449])
        """,
    ),
    hybrid=("asinh", "arcsinh"),
    method=True,
)
acosh: Function = public(
    unary(
        "acosh",
        F.acosh,
        lambda gradient, out, operand: (multiply(gradient, rsqrt(subtract(square(operand), 1.0))),),
        np.arccosh,
        """Inverse hyperbolic cosine.

        >>> hybrid.acosh(hybrid.tensor([1.0, 2.0, 0.5]))  # NaN below 1
        tensor([0.   , 1.317,   nan])
        """,
        domain=(1.1, 5.0),
    ),
    hybrid=("acosh", "arccosh"),
    method=True,
)
atanh: Function = public(
    unary(
        "atanh",
        F.atanh,
        lambda gradient, out, operand: (divide(gradient, subtract(1.0, square(operand))),),
        np.arctanh,
        """Inverse hyperbolic tangent.

        >>> hybrid.atanh(hybrid.tensor([-1.0, 0.0, 0.5]))
        tensor([  -inf, 0.    , 0.5493])
        """,
        domain=(-0.9, 0.9),
    ),
    hybrid=("atanh", "arctanh"),
    method=True,
)


def _atan2_scale(gradient: Tensor, right: Tensor, left: Tensor) -> Tensor:
    """gradient / (width^2 + height^2), 0 at the origin."""
    norm = add(square(left), square(right))
    return flat_quotient(gradient, norm)


atan2: Function = public(
    map_op(
        "atan2",
        2,
        F.atan2,
        result="float",
        accepts="f",
        vjp=lambda gradient, out, right, left: (
            lambda: multiply(_atan2_scale(gradient, right, left), left),
            lambda: negative(multiply(_atan2_scale(gradient, right, left), right)),
        ),
        reference=reference_of(np.arctan2),
        doc="""The angle of the point (x, y), quadrants and signed zeros as in C.

        >>> y, x = hybrid.tensor([1.0, 1.0, -0.0]), hybrid.tensor([1.0, -1.0, -1.0])
        >>> hybrid.atan2(y, x)
        tensor([ 0.7854,  2.3562, -3.1416])
        """,
    ),
    hybrid=("atan2", "arctan2"),
)

tanh_grad: Function = function_of(
    map_op(
        "tanh_grad",
        2,
        lambda algebra, gradient, result: gradient * algebra.fma(-result, result, 1.0),
        result="float",
        accepts="f",
        vjp=lambda outer, out, gradient, result: (
            lambda: tanh_grad(outer, result),
            lambda: multiply(multiply(outer, gradient), multiply(result, -2.0)),
        ),
        reference=reference_of(lambda gradient, result: gradient * (1 - result * result)),
        doc="g * (1 - y^2): the gradient of y = tanh(x).",
    )
)
