"""Elementwise records of elementary and special functions, over our own formulas.

Invariant: float32 and float64 results are at most 2 ulp (power: 4) from the true value; integers
are computed as float32; the oracles use NumPy in extended precision or the math module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from ...ir.door.flat import function_of
from ...ir.op import Op, Said, map_op
from ...ir.scalar.program import Builder, Val
from .. import formulas as F
from ..base.surface import public
from .arithmetic import add, divide, multiply, negative, reference_of, square, subtract
from .logic import equal, isinf, logical_and
from .selection import where

Tensor = Any
Function = Callable[..., Any]
LN2, LN10 = math.log(2.0), math.log(10.0)
DENSITY = 1.0 / math.sqrt(2.0 * math.pi)  # of the standard normal distribution at 0


def unary(
    name: str,
    formula: Callable[..., Any],
    vjp: Any,
    function: Callable[..., Any],
    doc: str,
    *,
    reference: Callable[..., Any] | None = None,
    **more: Unpack[Said],
) -> Op:
    return map_op(
        name,
        1,
        formula,
        vjp=vjp,
        reference=reference or reference_of(function),
        result="float",
        accepts="f",
        doc=doc,
        **more,
    )


def by_element(function: Callable[..., float]) -> Callable[..., Any]:
    """A NumPy oracle from a function of Python floats."""

    def reference(*arrays: np.ndarray, **params: Any) -> np.ndarray:
        operands = np.broadcast_arrays(*[x.astype(np.float64) for x in arrays])
        out = [function(*map(float, v), **params) for v in zip(*[y.ravel() for y in operands])]
        return np.array(out, np.float64).reshape(operands[0].shape)

    return reference


# ---- exponentials and logarithms
exp: Function = public(
    unary(
        "exp",
        F.exp,
        lambda gradient, out, operand: (multiply(gradient, out),),
        np.exp,
        """e^x.

    >>> hybrid.exp(hybrid.tensor([0.0, 1.0, -hybrid.inf, 1000.0]))
    tensor([1.    , 2.7183, 0.    ,    inf])
    """,
    ),
    method=True,
    inplace=True,
)
exp2: Function = public(
    unary(
        "exp2",
        F.exp2,
        lambda gradient, out, operand: (multiply(gradient, multiply(out, LN2)),),
        np.exp2,
        """2^x.

        >>> hybrid.exp2(hybrid.tensor([-1.0, 0.5, 10.0]))
        tensor([5.0000e-01, 1.4142e+00, 1.0240e+03])
        """,
    ),
    special=True,
    method=True,
)
expm1: Function = public(
    unary(
        "expm1",
        F.expm1,
        lambda gradient, out, operand: (multiply(gradient, add(out, 1.0)),),
        np.expm1,
        """e^x - 1, exact near 0.

        >>> small = hybrid.tensor(1e-8)
        >>> hybrid.expm1(small).item() > 0, (hybrid.exp(small) - 1).item()
        (True, 0.0)
        """,
    ),
    special=True,
    method=True,
)
log: Function = public(
    unary(
        "log",
        F.log,
        lambda gradient, out, operand: (divide(gradient, operand),),
        np.log,
        """Natural logarithm.

        >>> hybrid.log(hybrid.tensor([1.0, hybrid.e, 0.0, -1.0]))
        tensor([  0.,   1., -inf,  nan])
        """,
        domain=(0.1, 5.0),
    ),
    method=True,
)
log2: Function = public(
    unary(
        "log2",
        F.log2,
        lambda gradient, out, operand: (divide(gradient, multiply(operand, LN2)),),
        np.log2,
        """Logarithm to base 2.

        >>> hybrid.log2(hybrid.tensor([0.125, 1.0, 1024.0]))
        tensor([-3.,  0., 10.])
        """,
        domain=(0.1, 5.0),
    ),
    method=True,
)
log10: Function = public(
    unary(
        "log10",
        F.log10,
        lambda gradient, out, operand: (divide(gradient, multiply(operand, LN10)),),
        np.log10,
        """Logarithm to base 10.

        >>> hybrid.log10(hybrid.tensor([0.001, 1.0, 50.0]))
        tensor([-3.   ,  0.   ,  1.699])
        """,
        domain=(0.1, 5.0),
    ),
    method=True,
)
log1p: Function = public(
    unary(
        "log1p",
        F.log1p,
        lambda gradient, out, operand: (divide(gradient, add(operand, 1.0)),),
        np.log1p,
        """log(1 + x), exact near 0.

        >>> small = hybrid.tensor(1e-8)
        >>> hybrid.log1p(small).item() > 0, hybrid.log(small + 1).item()
        (True, 0.0)
        """,
        domain=(-0.9, 3.0),
    ),
    special=True,
    method=True,
)


def _logaddexp_body(algebra: Builder, left: Val, right: Val) -> Val:
    top, low = algebra.max(left, right), algebra.min(left, right)
    diff = algebra.select(top == low, 0.0, low - top)  # equal infinities
    return top + F.log1p_unit(algebra, F.exp(algebra, diff))


def _share(left: Tensor, right: Tensor) -> Tensor:
    """e^x / (e^x + e^y): one half for equal operands, infinities too."""
    same = logical_and(equal(left, right), isinf(left))
    return sigmoid(where(same, 0.0, subtract(left, right)))


logaddexp: Function = public(
    map_op(
        "logaddexp",
        2,
        _logaddexp_body,
        result="float",
        accepts="f",
        facts=frozenset(["commutative"]),
        ulp=4.0,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, _share(left, right)),
            lambda: multiply(gradient, _share(right, left)),
        ),
        reference=reference_of(np.logaddexp),
        doc="""log(e^x + e^y) without overflow. Equal operands share the gradient, infinities too.
        The error is at most 2 last places of the result, or of 1 where that is larger: a result
        next to 0 has lost the digits that the two sizes cancel.

        >>> x = hybrid.tensor([0.0, 100.0, -hybrid.inf])
        >>> hybrid.logaddexp(x, hybrid.tensor([0.0, 100.0, 2.0]))
        tensor([  0.6931, 100.6931,   2.    ])
        """,
        domain=(0.5, 4.0),
    )
)


# ---- sigmoid
sigmoid_grad: Function = function_of(
    map_op(
        "sigmoid_grad",
        2,
        lambda algebra, gradient, result: gradient * (result * (1.0 - result)),
        result="float",
        accepts="f",
        vjp=lambda outer, out, gradient, result: (
            lambda: sigmoid_grad(outer, result),
            lambda: multiply(multiply(outer, gradient), subtract(1.0, multiply(result, 2.0))),
        ),
        reference=reference_of(lambda gradient, result: gradient * (result * (1 - result))),
        doc="g * y * (1 - y): the gradient of y = sigmoid(x).",
        ulp=4.0,
    )
)

sigmoid: Function = public(
    unary(
        "sigmoid",
        F.sigmoid,
        lambda gradient, out, operand: (sigmoid_grad(gradient, out),),
        lambda operand: (
            np.where(operand < 0, np.exp(-np.abs(operand)), 1) / (1 + np.exp(-np.abs(operand)))
        ),
        """1 / (1 + e^-x), accurate in both tails.

        >>> hybrid.sigmoid(hybrid.tensor([-100.0, 0.0, 2.0]))
        tensor([3.784e-44, 5.000e-01, 8.808e-01])
        """,
    ),
    hybrid=("sigmoid", "expit"),
    special="expit",
    functional=True,
    method=True,
)


# ---- roots and powers
sqrt: Function = public(
    unary(
        "sqrt",
        lambda algebra, operand: algebra.sqrt(operand),
        lambda gradient, out, operand: (divide(gradient, multiply(out, 2.0)),),
        np.sqrt,
        """Square root, correctly rounded.

        >>> hybrid.sqrt(hybrid.tensor([2.0, 9.0, -1.0]))
        tensor([1.4142, 3.    ,    nan])
        """,
        domain=(0.1, 5.0),
        ulp=1.0,
    ),
    method=True,
)
rsqrt: Function = public(
    unary(
        "rsqrt",
        F.rsqrt,
        lambda gradient, out, operand: (
            multiply(gradient, multiply(multiply(out, square(out)), -0.5)),
        ),
        lambda operand: 1 / np.sqrt(operand),
        """1 / sqrt(x).

        >>> hybrid.rsqrt(hybrid.tensor([4.0, 0.0, hybrid.inf]))
        tensor([0.5, inf, 0. ])
        """,
        domain=(0.1, 5.0),
    ),
    method=True,
)
cbrt: Function = public(
    unary(
        "cbrt",
        F.cbrt,
        lambda gradient, out, operand: (divide(gradient, multiply(square(out), 3.0)),),
        np.cbrt,
        """Cube root.

        >>> hybrid.cbrt(hybrid.tensor([27.0, -8.0, 2.0]))
        tensor([ 3.    , -2.    ,  1.2599])
        """,
        domain=(0.1, 5.0),
    ),
    special=True,
)


# ---- error functions
_TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)


def _bell(gradient: Tensor, operand: Tensor) -> Tensor:
    """The gradient times the derivative of erf."""
    return multiply(gradient, multiply(exp(negative(square(operand))), _TWO_OVER_ROOT_PI))


erf: Function = public(
    unary(
        "erf",
        F.erf,
        lambda gradient, out, operand: (_bell(gradient, operand),),
        np.sin,
        """The error function.

        >>> hybrid.erf(hybrid.tensor([-0.5, 0.0, 1.0]))
        tensor([-0.5205,  0.    ,  0.8427])
        """,
        reference=by_element(math.erf),
        ulp=3.0,
    ),
    special=True,
    method=True,
)
erfc: Function = public(
    unary(
        "erfc",
        F.erfc,
        lambda gradient, out, operand: (negative(_bell(gradient, operand)),),
        np.sin,
        """1 - erf(x), accurate in the tail.

        >>> hybrid.erfc(hybrid.tensor([0.0, 1.0])), hybrid.erfc(hybrid.tensor(9.0)).item() > 0
        (tensor([1.    , 0.1573]), True)
        """,
        reference=by_element(math.erfc),
        ulp=3.0,
    ),
    special=True,
)


@public
def normal_pdf(x: Tensor) -> Tensor:
    """e^(-x^2 / 2) / sqrt(2 pi): the density of the standard normal distribution.

    >>> hybrid.normal_pdf(hybrid.tensor([0.0, 1.0, -2.0]))
    tensor([0.3989, 0.242 , 0.054 ])
    """
    return multiply(exp(multiply(square(x), -0.5)), DENSITY)
