"""gelu and its tanh form, each with the record of its gradient.

Invariant: tails keep relative accuracy where PyTorch's formulas cancel; the value at minus infinity
is -0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.door.flat import function_of
from ...ir.scalar.program import Builder, Val
from .. import formulas as F
from ..base.surface import public
from ..formulas.tools import clamp
from .activations import float_map, sigmoid_wide
from .arithmetic import add, multiply, reference_of, square, subtract
from .functions import DENSITY, by_element, normal_pdf, sigmoid

Tensor = Any
Function = Callable[..., Any]
ROOT_HALF = math.sqrt(0.5)


def _gelu_body(algebra: Builder, operand: Val) -> Val:
    """x*P(Z < x): the tail is computed for -|x|, so that nothing cancels."""
    tail, _ = F.normal_tail(algebra, operand)
    part = clamp(algebra, operand, -1e4, 1e4) * tail
    return algebra.select(operand > 0, operand - part, part)


def _gelu_grad_body(algebra: Builder, gradient: Val, operand: Val) -> Val:
    tail, bell = F.normal_tail(algebra, operand)
    below = algebra.select(operand < 0, tail, 1.0 - tail)
    return gradient * algebra.fma(clamp(algebra, operand, -1e4, 1e4) * DENSITY, bell, below)


def _phi(operand: float) -> float:
    return 0.5 * math.erfc(-operand * ROOT_HALF)


def _gelu_slope(gradient: float, operand: float) -> float:
    return gradient * (
        _phi(operand)
        + (operand * DENSITY * math.exp(-0.5 * operand * operand) if -1e4 < operand < 1e4 else 0.0)
    )


def _gelu_number(x: float) -> float:
    """gelu of a Python number: the product has no value at minus infinity."""
    if x > -1e4:
        return x * _phi(x)
    return -0.0 if x == x else x


gelu: Function = public(
    float_map(
        "gelu",
        1,
        _gelu_body,
        vjp=lambda gradient, out, operand: (gelu_grad(gradient, operand),),
        ulp=16.0,
        reference=by_element(_gelu_number),
        doc="""x * Phi(x), Phi the normal distribution function; -0 at minus infinity.

        Hendrycks and Gimpel, arXiv:1606.08415; Phi(x) = (1 + erf(x / sqrt(2))) / 2.

        >>> hybrid.gelu(hybrid.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.1587,  0.    ,  1.9545])
        """,
    ),
    method=True,
)
gelu_grad: Function = function_of(
    float_map(
        "gelu_grad",
        2,
        _gelu_grad_body,
        ulp=256.0,
        vjp=lambda outer, out, gradient, operand: (
            lambda: gelu_grad(outer, operand),
            lambda: multiply(
                multiply(outer, gradient),
                multiply(normal_pdf(operand), subtract(2.0, square(operand))),
            ),
        ),
        reference=by_element(_gelu_slope),
        doc="The gradient of gelu(x).",
    )
)

_K, _C = 2.0 * math.sqrt(2.0 / math.pi), 0.044715


def _tanh_form(algebra: Builder, operand: Val) -> Val:
    """1 / (1 + e^-2u) with u = sqrt(2/pi) (x + 0.044715 x^3):
    (1 + tanh u) / 2 without cancellation."""
    squared = operand * operand
    minus = operand * algebra.fma(squared, -_K * _C, -_K)
    return 1.0 + F.exp(algebra, minus)


def _gelu_tanh_body(algebra: Builder, operand: Val) -> Val:
    return clamp(algebra, operand, -32.0, None) / _tanh_form(
        algebra, operand
    )  # the result is -0 long before -32


def _gelu_tanh_grad_body(algebra: Builder, gradient: Val, operand: Val) -> Val:
    operand = clamp(algebra, operand, -32.0, 32.0)
    result = 1.0 / _tanh_form(algebra, operand)
    slope = algebra.fma(operand * operand, 3.0 * _K * _C, _K)
    return gradient * algebra.fma(operand * (result * (1.0 - result)), slope, result)


def _gelu_tanh_wide(operand: Any) -> Any:
    operand = np.maximum(operand, -32)
    return operand * sigmoid_wide(operand * (_K + _K * _C * operand * operand))


def _gelu_tanh_slope(gradient: Any, operand: Any) -> Any:
    operand = np.clip(operand, -32, 32)
    result = sigmoid_wide(
        (operand * (_K + _K * _C * operand * operand)).astype(np.float64)
    )  # 0 where the record's is
    return gradient * (
        result + operand * result * (1 - result) * (_K + 3 * _K * _C * operand * operand)
    )


def _gelu_tanh_second(outer: Tensor, gradient: Tensor, operand: Tensor) -> Tensor:
    squared = square(operand)
    result = sigmoid(multiply(operand, add(multiply(squared, _K * _C), _K)))
    slope = add(multiply(squared, 3.0 * _K * _C), _K)
    bend = multiply(result, subtract(1.0, result))
    inner = add(
        multiply(multiply(slope, slope), multiply(operand, subtract(1.0, multiply(result, 2.0)))),
        add(multiply(slope, 2.0), multiply(squared, 6.0 * _K * _C)),
    )
    return multiply(multiply(outer, gradient), multiply(bend, inner))


gelu_tanh: Function = public(
    float_map(
        "gelu_tanh",
        1,
        _gelu_tanh_body,
        vjp=lambda gradient, out, operand: (gelu_tanh_grad(gradient, operand),),
        ulp=64.0,
        reference=reference_of(_gelu_tanh_wide),
        doc="""gelu in Hendrycks and Gimpel's tanh form.

        x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2, arXiv:1606.08415.

        >>> hybrid.gelu_tanh(hybrid.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.1588,  0.    ,  1.9546])
        """,
    )
)
gelu_tanh_grad: Function = function_of(
    float_map(
        "gelu_tanh_grad",
        2,
        _gelu_tanh_grad_body,
        ulp=256.0,
        vjp=lambda outer, out, gradient, operand: (
            lambda: gelu_tanh_grad(outer, operand),
            lambda: _gelu_tanh_second(outer, gradient, operand),
        ),
        reference=reference_of(_gelu_tanh_slope),
        doc="The gradient of gelu_tanh(x).",
    )
)
