"""Elementwise records of neural-network activations, with backward records where one kernel pays.

Invariant: values and gradients are PyTorch's, special points included (relu'(0) = 0); tails keep
relative accuracy where PyTorch's formulas cancel.
"""

from __future__ import annotations

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
from .arithmetic import abs, add, divide, multiply, reference_of, subtract
from .functions import sigmoid
from .logic import greater, less, logical_and
from .selection import where
from .trigonometry import tanh

Tensor = Any
Function = Callable[..., Any]


def float_map(
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
    float_map(
        "relu_grad",
        2,
        lambda algebra, gradient, result: algebra.select(result <= 0, 0.0, gradient),
        vjp=lambda outer, out, gradient, result: (lambda: relu_grad(outer, result), None),
        reference=lambda gradient, result: np.where(result <= 0, np.zeros_like(gradient), gradient),
        doc="g where y > 0, else 0.",
    )
)

_LEAKY = float_map(
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

_ELU = float_map(
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


_HARDTANH = float_map(
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
def sigmoid_wide(operand: np.ndarray) -> Any:
    power = np.exp(-np.abs(operand))
    return np.where(operand < 0, power, 1) / (1 + power)


def _limited(operand: Any) -> Any:
    """An array without its infinities: in a product with a tail that is 0 there,
    they count as large numbers."""
    return np.clip(operand, -1e4, 1e4)


silu: Function = public(
    float_map(
        "silu",
        1,
        F.silu,
        vjp=lambda gradient, out, operand: (silu_grad(gradient, operand),),
        ulp=4.0,
        reference=reference_of(
            lambda operand: (
                np.where(operand > 0, operand, _limited(operand)) * sigmoid_wide(operand)
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
    float_map(
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
                * (sigmoid_wide(operand) * (1 + _limited(operand) * (1 - sigmoid_wide(operand))))
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


_SOFTPLUS = float_map(
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
_SOFTPLUS_GRAD = float_map(
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
        wide(gradient) * sigmoid_wide(wide(operand) * beta),
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
    float_map(
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
