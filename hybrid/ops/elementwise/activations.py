"""Elementwise records of neural-network activations, with backward records where one kernel pays.

Invariant: values and gradients are PyTorch's, special points included (relu'(0) = 0); tails keep
relative accuracy where PyTorch's formulas cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from ...ir.door.bind import bind
from ...ir.door.flat import function_of
from ...ir.op import Op, Said, map_op
from ...ir.scalar.program import Builder, Val
from .. import formulas as F
from ..base.common import wide
from ..base.surface import public
from ..formulas.tools import clamp
from .arithmetic import abs, add, divide, multiply, reference_of, square, subtract
from .functions import DENSITY, by_element, normal_pdf, sigmoid, tanh
from .logic import greater, less, logical_and
from .selection import where

Tensor = Any
Function = Callable[..., Any]
ROOT_HALF = math.sqrt(0.5)


def _float_map(
    name: str, nin: int, body: Any, *, vjp: Any, reference: Any, doc: str, **more: Unpack[Said]
) -> Op:
    return map_op(
        name,
        nin,
        body,
        vjp=vjp,
        reference=reference,
        result="float",
        accepts="f",
        doc=doc,
        **more,
    )


# ---- relu and its kin
def _relu_body(algebra: Builder, operand: Val) -> Val:
    if operand.type[0] == "u":
        return operand
    return algebra.select(operand < 0, algebra.const(operand.type, 0), operand)


relu: Function = public(
    map_op(
        "relu",
        1,
        _relu_body,
        accepts="iuf",
        vjp=lambda gradient, out, operand: (relu_grad(gradient, out),),
        facts=frozenset(["idempotent"]),
        reference=lambda operand: np.where(operand < 0, np.zeros_like(operand), operand),
        doc="""x, or 0 where x is negative: -0 and NaN stay. The gradient is 0 at both zeros, as
        in PyTorch.

        >>> x = hybrid.tensor([-2.0, 0.0, 3.0], requires_grad=True)
        >>> hybrid.relu(x).sum().backward()
        >>> hybrid.relu(x).detach(), x.grad
        (tensor([0., 0., 3.]), tensor([0., 0., 1.]))
        """,
    ),
    functional=True,
    method=True,
    inplace=True,
)

relu_grad: Function = function_of(
    _float_map(
        "relu_grad",
        2,
        lambda algebra, gradient, result: algebra.select(result <= 0, 0.0, gradient),
        vjp=lambda outer, out, gradient, result: (lambda: relu_grad(outer, result), None),
        reference=lambda gradient, result: np.where(result <= 0, np.zeros_like(gradient), gradient),
        doc="g where y > 0, else 0.",
    )
)

_LEAKY = _float_map(
    "leaky_relu",
    1,
    lambda algebra, operand, *, slope: algebra.select(operand > 0, operand, operand * slope),
    params=("slope",),
    vjp=lambda gradient, out, operand, *, slope: (
        where(greater(operand, 0.0), gradient, multiply(gradient, slope)),
    ),
    reference=lambda operand, *, slope: np.where(operand > 0, wide(operand), wide(operand) * slope),
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"slope": 0.01})],
    doc="x, or slope*x below 0.",
)

_ELU = _float_map(
    "elu",
    1,
    lambda algebra, operand, *, alpha: algebra.select(
        operand > 0, operand, F.expm1(algebra, algebra.select(operand > 0, 0.0, operand)) * alpha
    ),
    params=("alpha",),
    vjp=lambda gradient, out, operand, *, alpha: (
        where(greater(operand, 0.0), gradient, multiply(gradient, add(out, alpha))),
    ),
    reference=lambda operand, *, alpha: np.where(
        operand > 0, wide(operand), alpha * np.expm1(np.minimum(wide(operand), 0))
    ),
    ulp=3.0,
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"alpha": 1.5})],
    doc="x, or alpha*(e^x - 1) below 0.",
)


_HARDTANH = _float_map(
    "hardtanh",
    1,
    lambda algebra, operand, *, low, high: clamp(algebra, operand, low, high),
    params=("low", "high"),
    vjp=lambda gradient, out, operand, *, low, high: (
        where(logical_and(greater(operand, low), less(operand, high)), gradient, 0.0),
    ),
    reference=lambda operand, *, low, high: np.clip(wide(operand), low, high),
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"low": -1.0, "high": 1.5})],
    doc="x limited to [low, high].",
)


@public(functional=True)
def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where positive, negative_slope * x elsewhere.

    Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models (2013).

    >>> hybrid.leaky_relu(hybrid.tensor([-2.0, 0.0, 3.0]), 0.1)
    tensor([-0.2,  0. ,  3. ])
    """
    return bind(_LEAKY, x, slope=float(negative_slope))


@public(functional=True)
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, alpha * (e^x - 1) elsewhere.

    Clevert, Unterthiner and Hochreiter, arXiv:1511.07289.

    >>> hybrid.elu(hybrid.tensor([-2.0, 0.0, 3.0]))
    tensor([-0.8647,  0.    ,  3.    ])
    """
    return bind(_ELU, x, alpha=float(alpha))


@public
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, alpha * (e^(x/alpha) - 1) elsewhere.

    Barron, arXiv:1704.07483: unlike elu, its slope is continuous for every alpha.

    >>> hybrid.celu(hybrid.tensor([-2.0, 0.0, 3.0]), alpha=2.0)
    tensor([-1.2642,  0.    ,  3.    ])
    """
    alpha = float(alpha)
    return where(greater(x, 0.0), x, multiply(elu(divide(x, alpha)), alpha))


@public
def selu(x: Tensor) -> Tensor:
    """1.0507 * elu(x, 1.6733): the self-normalising elu.

    Klambauer, Unterthiner, Mayr and Hochreiter, arXiv:1706.02515.

    >>> hybrid.selu(hybrid.tensor([-2.0, 0.0, 1.0]))
    tensor([-1.5202,  0.    ,  1.0507])
    """
    return multiply(elu(x, 1.6732632423543772), 1.0507009873554805)


@public
def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [min_val, max_val]; its gradient is 0 at the borders, unlike clip's.

    >>> hybrid.hardtanh(hybrid.tensor([-2.0, 0.5, 3.0]))
    tensor([-1. ,  0.5,  1. ])
    """
    return bind(_HARDTANH, x, low=float(min_val), high=float(max_val))


@public
def relu6(x: Tensor) -> Tensor:
    """x limited to [0, 6].

    Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10 (2010).

    >>> hybrid.relu6(hybrid.tensor([-2.0, 3.0, 8.0]))
    tensor([0., 3., 6.])
    """
    return hardtanh(x, 0.0, 6.0)


@public
def hardsigmoid(x: Tensor) -> Tensor:
    """x + 3 limited to [0, 6], divided by 6.

    >>> hybrid.hardsigmoid(hybrid.tensor([-4.0, 0.0, 1.5, 4.0]))
    tensor([0.  , 0.5 , 0.75, 1.  ])
    """
    return divide(relu6(add(x, 3.0)), 6.0)


@public
def hardswish(x: Tensor) -> Tensor:
    """x * hardsigmoid(x).

    Howard et al., Searching for MobileNetV3, arXiv:1905.02244.

    >>> hybrid.hardswish(hybrid.tensor([-3.5, -1.0, 1.0, 4.0]))
    tensor([-0.    , -0.3333,  0.6667,  4.    ])
    """
    return multiply(x, hardsigmoid(x))


@public
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|).

    >>> hybrid.softsign(hybrid.tensor([-3.0, 0.0, 1.0]))
    tensor([-0.75,  0.  ,  0.5 ])
    """
    return divide(x, add(abs(x), 1.0))


# ---- silu, softplus
def _sigmoid_wide(operand: np.ndarray) -> Any:
    power = np.exp(-np.abs(operand))
    return np.where(operand < 0, power, 1) / (1 + power)


def _limited(operand: Any) -> Any:
    """An array without its infinities: in a product with a tail that is 0 there,
    they count as large numbers."""
    return np.clip(operand, -1e4, 1e4)


def _silu_body(algebra: Builder, operand: Val) -> Val:
    quotient, scale = F.sigmoid_parts(algebra, operand)
    limit = -112.0 if operand.type == "f32" else -760.0  # the product is 0 there
    return clamp(algebra, operand, limit, None) * quotient * scale * scale


silu: Function = public(
    _float_map(
        "silu",
        1,
        _silu_body,
        vjp=lambda gradient, out, operand: (silu_grad(gradient, operand),),
        ulp=4.0,
        reference=reference_of(
            lambda operand: (
                np.where(operand > 0, operand, _limited(operand)) * _sigmoid_wide(operand)
            )
        ),
        doc="""x * sigmoid(x); -0 at minus infinity.

        Elfwing, Uchibe and Doya, arXiv:1702.03118; called swish in arXiv:1710.05941.

        >>> hybrid.silu(hybrid.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.2689,  0.    ,  1.7616])
        """,
    ),
    functional=True,
    method=True,
)


def _silu_grad_body(algebra: Builder, gradient: Val, operand: Val) -> Val:
    result = F.sigmoid(algebra, operand)
    return gradient * (result * algebra.fma(clamp(algebra, operand, -1e4, 1e4), 1.0 - result, 1.0))


def _silu_second(outer: Tensor, gradient: Tensor, operand: Tensor) -> Tensor:
    result = sigmoid(operand)
    bent = add(multiply(operand, subtract(1.0, multiply(result, 2.0))), 2.0)
    return multiply(
        multiply(outer, gradient), multiply(multiply(result, subtract(1.0, result)), bent)
    )


silu_grad: Function = function_of(
    _float_map(
        "silu_grad",
        2,
        _silu_grad_body,
        ulp=64.0,
        vjp=lambda outer, out, gradient, operand: (
            lambda: silu_grad(outer, operand),
            lambda: _silu_second(outer, gradient, operand),
        ),
        reference=reference_of(
            lambda gradient, operand: (
                gradient
                * (_sigmoid_wide(operand) * (1 + _limited(operand) * (1 - _sigmoid_wide(operand))))
            )
        ),
        doc="The gradient of silu(x).",
    )
)


def _log_of_sum(algebra: Builder, operand: Val) -> Val:
    """log(1 + e^x)."""
    return algebra.select(operand < 0, algebra.const(operand.type, 0.0), operand) + F.log1p_unit(
        algebra, F.exp(algebra, -algebra.abs(operand))
    )


def _softplus_body(algebra: Builder, operand: Val, *, beta: float, threshold: float) -> Val:
    result = operand if beta == 1.0 else operand * beta
    out = _log_of_sum(algebra, result)
    return algebra.select(result > threshold, operand, out if beta == 1.0 else out / beta)


def _softplus_reference(operand: np.ndarray, *, beta: float, threshold: float) -> Any:
    result = wide(operand) * beta
    return np.where(result > threshold, wide(operand), np.logaddexp(result, 0) / beta)


_SOFTPLUS = _float_map(
    "softplus",
    1,
    _softplus_body,
    params=("beta", "threshold"),
    ulp=4.0,
    vjp=lambda gradient, out, operand, *, beta, threshold: (
        softplus_grad(gradient, operand, beta, threshold),
    ),
    reference=_softplus_reference,
    samples=lambda rng: [([rng.uniform(-3, 3, (3, 5))], {"beta": 1.5, "threshold": 20.0})],
    doc="log(1 + e^(beta x)) / beta, x beyond the threshold.",
)
_SOFTPLUS_GRAD = _float_map(
    "softplus_grad",
    2,
    lambda algebra, gradient, operand, *, beta, threshold: algebra.select(
        operand * beta > threshold, gradient, gradient * F.sigmoid(algebra, operand * beta)
    ),
    params=("beta", "threshold"),
    ulp=4.0,
    vjp=lambda outer, out, gradient, operand, *, beta, threshold: (
        lambda: softplus_grad(outer, operand, beta, threshold),
        lambda: _softplus_second(outer, gradient, operand, beta, threshold),
    ),
    reference=lambda gradient, operand, *, beta, threshold: np.where(
        wide(operand) * beta > threshold,
        wide(gradient),
        wide(gradient) * _sigmoid_wide(wide(operand) * beta),
    ),
    samples=lambda rng: [
        ([rng.uniform(-3, 3, (3, 5)), rng.uniform(-3, 3, (3, 5))], {"beta": 1.5, "threshold": 20.0})
    ],
    doc="The gradient of softplus(x).",
)


@public(functional=True, method=True)
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta*x)) / beta, and x itself where beta*x > threshold.

    >>> hybrid.softplus(hybrid.tensor([-1.0, 0.0, 100.0]))
    tensor([  0.3133,   0.6931, 100.    ])
    """
    return bind(_SOFTPLUS, x, beta=float(beta), threshold=float(threshold))


def softplus_grad(
    gradient: Tensor, operand: Tensor, beta: float = 1.0, threshold: float = 20.0
) -> Tensor:
    """The gradient of softplus: times sigmoid(beta*x), or as it is beyond the threshold."""
    return bind(_SOFTPLUS_GRAD, gradient, operand, beta=float(beta), threshold=float(threshold))


def _softplus_second(
    outer: Tensor, gradient: Tensor, operand: Tensor, beta: float, threshold: float
) -> Tensor:
    result = sigmoid(multiply(operand, beta))
    bend = multiply(multiply(result, subtract(1.0, result)), beta)
    return where(
        greater(multiply(operand, beta), threshold), 0.0, multiply(multiply(outer, gradient), bend)
    )


log_sigmoid: Function = public(
    _float_map(
        "log_sigmoid",
        1,
        lambda algebra, operand: -_log_of_sum(algebra, -operand),
        ulp=4.0,
        vjp=lambda gradient, out, operand: (multiply(gradient, sigmoid(multiply(operand, -1.0))),),
        reference=reference_of(lambda operand: -np.logaddexp(-operand, 0)),
        doc="""log(sigmoid(x)) without overflow.

        >>> hybrid.log_sigmoid(hybrid.tensor([-1000.0, 0.0, 2.0]))
        tensor([-1.0000e+03, -6.9315e-01, -1.2693e-01])
        """,
    ),
    functional=("log_sigmoid", "logsigmoid"),
)


@public
def mish(x: Tensor) -> Tensor:
    """x * tanh(softplus(x)).

    Misra, arXiv:1908.08681.

    >>> hybrid.mish(hybrid.tensor([-1.0, 0.0, 2.0]))
    tensor([-0.3034,  0.    ,  1.944 ])
    """
    return multiply(x, tanh(softplus(x)))


# ---- gelu
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
    _float_map(
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
    _float_map(
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
    return operand * _sigmoid_wide(operand * (_K + _K * _C * operand * operand))


def _gelu_tanh_slope(gradient: Any, operand: Any) -> Any:
    operand = np.clip(operand, -32, 32)
    result = _sigmoid_wide(
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
    _float_map(
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
    _float_map(
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
